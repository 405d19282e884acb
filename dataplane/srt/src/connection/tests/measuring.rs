//! What a connection tells of itself, and the terms that change while it is open.

use super::*;
use crate::measure::Spread;

fn spread(min: u64, avg: u64, max: u64) -> Spread {
    Spread { min, avg, max }
}

/// Lets the timers fire each 10 ms up to the end of the first second.
fn first_second(f: &mut Fixture, from_ms: u64) {
    (from_ms..=1_000).step_by(10).for_each(|at| f.timeout(at));
}

/// Answers the last full acknowledgement at `at_ms`.
fn answer(f: &mut Fixture, number: u32, at_ms: u64) {
    f.feed(ms(at_ms), &encode_ackack(number, CLOCK, ID));
}

#[test]
fn round_trips_spread_as_they_were_measured_and_not_smoothed() {
    let mut f = Fixture::new();
    for (number, at, trip) in [(1, 0, 20), (2, 100, 60), (3, 200, 40)] {
        f.packet(number - 1, at);
        f.run((at + 10).into());
        answer(&mut f, number, (at + 10 + trip).into());
    }
    first_second(&mut f, 300);
    assert_eq!(f.stats().spreads.rtt_us.interval, spread(20_000, 40_000, 60_000));
    f.timeout(2_000);
    let rtt = f.stats().spreads.rtt_us;
    assert_eq!((rtt.interval, rtt.total), (Spread::default(), spread(20_000, 40_000, 60_000)));
}

#[test]
fn the_margin_is_what_of_the_latency_the_network_left() {
    let mut f = Fixture::new();
    for (n, took) in [(0, 0), (1, 30), (2, 90)] {
        f.late_packet(n, 100 * n, u64::from(100 * n) + took);
    }
    first_second(&mut f, 300);
    assert_eq!(f.stats().spreads.margin_us.interval, spread(30_000, 80_000, 120_000));
}

#[test]
fn the_margin_of_a_packet_behind_a_hole_counts_from_its_own_arrival() {
    let mut f = Fixture::new();
    f.packet(1, 10);
    f.late_packet(0, 0, 100);
    first_second(&mut f, 300);
    assert_eq!(f.stats().spreads.margin_us.interval, spread(20_000, 70_000, 120_000));
}

#[test]
fn packets_handed_on_are_buffered_until_they_are_due() {
    let mut f = Fixture::new();
    for n in 0..100 {
        f.packet(n, n * 10);
        f.run(u64::from(n) * 10);
    }
    let stats = f.stats();
    assert!((12..=14).contains(&stats.buffered_packets), "{}", stats.buffered_packets);
    assert!((110_000..=120_000).contains(&stats.buffered_us), "{}", stats.buffered_us);
    assert_eq!(stats.packets_held, 0);
    f.run(2_200);
    assert_eq!((f.stats().buffered_packets, f.stats().buffered_us), (0, 0));
}

#[test]
fn the_most_packets_held_are_seen_however_short_the_hole() {
    let mut f = Fixture::new();
    for n in 1..=7 {
        f.packet(n, 1);
    }
    f.packet(0, 2);
    first_second(&mut f, 10);
    let held = f.stats().spreads.packets_held.interval;
    assert_eq!((held.min, held.max), (0, 7));
}

#[test]
fn a_missing_packet_is_lost_recovered_or_reordered_by_what_comes() {
    let mut f = Fixture::new();
    f.packet(4, 0);
    assert_eq!((f.stats().packets_lost, f.stats().packets_missing), (4, 4));
    // Two come late, one again, one never.
    for (n, retransmitted) in [(2, false), (0, false), (1, true)] {
        let mut header = f.header(n, 0);
        header.retransmitted = retransmitted;
        f.raw(header, n, 1);
    }
    f.run(120);
    let stats = f.stats();
    assert_eq!((stats.packets_recovered, stats.packets_reordered), (3, 2));
    assert_eq!((stats.packets_skipped_too_late, stats.packets_missing), (1, 0));
    assert_eq!(stats.reorder_distance_packets, 4);
}

#[test]
fn what_a_drop_request_names_is_lost_even_if_nobody_had_missed_it() {
    let mut f = Fixture::new();
    let range = SequenceRange::new(f.sequence(0), f.sequence(4)).unwrap();
    let request = crate::control::DropRequest { message: 0, range };
    f.feed(ms(1), &request.encode(CLOCK, ID));
    assert_eq!((f.stats().packets_lost, f.stats().packets_skipped_by_sender), (5, 5));
}

#[test]
fn belated_packets_say_how_late_they_were() {
    let mut f = Fixture::new();
    f.packet(1, 0);
    f.run(120);
    f.late_packet(0, 0, 135);
    assert_eq!((f.stats().packets_belated, f.stats().belated_us), (1, 15_000));
}

#[test]
fn the_received_rate_spreads_over_steps_of_100_ms() {
    let mut f = Fixture::new();
    // 20 bytes each 10 ms for 500 ms, then silence.
    for n in 0..50 {
        f.packet(n, n * 10);
        f.run(u64::from(n) * 10);
    }
    first_second(&mut f, 500);
    let rate = f.stats().spreads.receive_rate_bps.interval;
    assert_eq!(rate.min, 0);
    // A step may have a packet at both its ends.
    assert!((16_000..=17_600).contains(&rate.max), "{rate:?}");
    assert!((7_000..9_000).contains(&rate.avg), "{rate:?}");
}

#[test]
fn the_end_of_a_connection_ends_its_interval() {
    let mut f = Fixture::new();
    f.packet(0, 0);
    f.connection.close(ms(5), &mut f.out);
    let total = f.stats().spreads.margin_us.total;
    assert_eq!(total, spread(120_000, 120_000, 120_000));
    f.connection.close(ms(6), &mut f.out);
    assert_eq!(f.stats().spreads.margin_us.total, total);
}

fn told(f: &mut Fixture) -> Vec<u32> {
    let sent = std::mem::take(&mut f.out.sent);
    let window = |bytes: &Vec<u8>| match Packet::parse(bytes) {
        Ok(Packet::Control(_, Control::Ack(ack))) => Some(ack.timing?.available_packets),
        _ => None,
    };
    sent.iter().filter_map(window).collect()
}

#[test]
fn a_smaller_window_is_told_with_the_next_acknowledgement_and_a_larger_one_at_once() {
    let mut f = Fixture::new();
    f.connection.set_window_max(0, ms(1), &mut f.out);
    assert_eq!(told(&mut f), [], "less can wait for an acknowledgement's interval");
    assert_eq!(f.connection.next_timeout(), ms(11), "but no longer, although nothing has come");
    f.run(11);
    assert_eq!(told(&mut f), [2], "never less than two packets");
    f.connection.set_window_max(u32::MAX, ms(12), &mut f.out);
    assert_eq!(told(&mut f), [256]);
    f.connection.set_window_max(u32::MAX, ms(13), &mut f.out);
    assert_eq!(told(&mut f), [], "nothing has changed");
}

#[test]
fn a_smaller_window_takes_nothing_away_from_what_is_in_flight() {
    let mut f = Fixture::new();
    f.connection.set_window_max(2, ms(1), &mut f.out);
    for n in 1..10 {
        f.packet(n, 2);
    }
    assert_eq!((f.stats().packets_held, f.stats().packets_dropped_slots), (9, 0));
    assert_eq!(f.stats().flow_window_packets, 2);
}

#[test]
fn a_new_session_starts_with_its_whole_window() {
    let mut f = Fixture::new();
    f.connection.set_window_max(2, ms(1), &mut f.out);
    let config = ConnectionConfig { local_id: ID, ..ConnectionConfig::default() };
    f.connection.open(&request(5, 0), &config, None, ms(2));
    assert_eq!(f.stats().flow_window_packets, 256);
}

#[test]
fn the_idle_limit_can_change_while_open() {
    let mut f = Fixture::new();
    f.packet(0, 0);
    f.connection.set_peer_idle_timeout(Duration::from_secs(2));
    f.run(1_999);
    assert_eq!(f.connection.state(), State::Open);
    f.run(2_000);
    assert_eq!(f.connection.state(), State::Closed(EndReason::PeerIdle));
}

#[test]
fn the_reorder_tolerance_can_change_while_open() {
    let mut f = Fixture::new();
    f.connection.set_reorder_tolerance(3);
    assert_eq!(f.stats().reorder_tolerance_packets, 3);
    for n in 1..=3 {
        f.packet(n, 0);
    }
    assert_eq!(f.sent(), []);
    f.packet(4, 0);
    assert_eq!(f.sent(), [Sent::Nak(vec![(0, 0)])]);
}
