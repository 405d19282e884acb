//! One rule each: what comes in, what goes out, and when it wants to be called again.

use std::net::SocketAddr;

use memory::Slab;

use super::*;
use crate::control::{
    Ack, Control, encode_ackack, encode_full_ack, encode_handshake_header, encode_light_ack,
};
use crate::handshake::{Capabilities, ExtensionWriter, Extensions, Handshake, Kind, extension};
use crate::packet::{MESSAGE_MASK, destination};

mod bounds;
mod measuring;

const ID: u32 = 0x11;
const PEER_ID: u32 = 0x22;
const TOP: u32 = Sequence::MASK;
/// The sender's clock at the start: it wraps after 50 ms.
const CLOCK: u32 = u32::MAX - 50_000;

#[derive(Debug, Default)]
struct Out {
    sent: Vec<Vec<u8>>,
    /// Payload and due time in ms after the start; gaps as errors.
    got: Vec<Result<(u32, i64), u32>>,
}

impl Output for Out {
    fn transmit(&mut self, packet: &[u8]) {
        assert_eq!(destination(packet), Some(PEER_ID));
        assert!(packet.len() <= PACKET_BYTES_MAX);
        self.sent.push(packet.to_vec());
    }

    fn deliver(&mut self, payload: &[u8], _: Time, due: Time) {
        let value = payload.first_chunk().map_or(u32::MAX, |bytes| u32::from_be_bytes(*bytes));
        let due_us = due.micros().cast_signed() - START.micros().cast_signed();
        self.got.push(Ok((value, due_us.div_euclid(1_000))));
    }

    fn skipped(&mut self, packets: u32) {
        self.got.push(Err(packets));
    }
}

const START: Time = Time::from_micros(1_000_000);

fn ms(ms: u64) -> Time {
    START + Duration::from_millis(ms)
}

fn request(initial: u32, sender_latency_ms: u16) -> ConnectRequest {
    let peer: SocketAddr = "192.0.2.1:5000".parse().unwrap();
    let handshake = Handshake {
        version: 5,
        encryption: 0,
        extension: 1,
        initial_sequence: Sequence::new(initial),
        mtu: 1_500,
        flow_window: 8_192,
        kind: Kind::Conclusion,
        socket_id: PEER_ID,
        cookie: 5,
        peer: peer.ip(),
    };
    let capabilities = Capabilities {
        version: 0x0001_0501,
        flags: 0xbf,
        receiver_latency_ms: 40,
        sender_latency_ms,
    };
    let mut block = [0; 16];
    let mut writer = ExtensionWriter::new(&mut block);
    writer.capabilities(extension::HSREQ, &capabilities);
    ConnectRequest::read(START, peer, CLOCK, &handshake, Extensions::new(&block)).unwrap()
}

struct Fixture {
    slab: Slab,
    connection: Connection,
    out: Out,
    initial: u32,
}

impl Fixture {
    fn new() -> Self {
        Self::with(TOP - 2, |_| {})
    }

    fn with(initial: u32, adjust: impl FnOnce(&mut ConnectionConfig)) -> Self {
        let mut config =
            ConnectionConfig { local_id: ID, flow_window: 256, ..ConnectionConfig::default() };
        adjust(&mut config);
        let mut connection = Connection::new(256);
        connection.open(&request(initial, 0), &config, None, START);
        thread_local! {
            static SLAB: Slab = Slab::new(512).unwrap();
        }
        Self { slab: SLAB.with(Slab::clone), connection, out: Out::default(), initial }
    }

    fn feed(&mut self, now: Time, bytes: &[u8]) {
        let datagram = Datagram::copy_from(&self.slab, bytes).unwrap();
        self.connection.handle_datagram(now, now, datagram, &mut self.out);
        assert!(self.connection.stats().is_balanced(), "{:#?}", self.connection.stats());
    }

    fn header(&self, n: u32, sent_ms: u32) -> DataHeader {
        let sequence = Sequence::new(self.initial).add(n);
        let timestamp = CLOCK.wrapping_add(sent_ms * 1_000);
        DataHeader::live(sequence, MESSAGE_MASK.wrapping_add(n), timestamp, ID)
    }

    /// Packet `n`, sent at `sent_ms` and arriving then.
    fn packet(&mut self, n: u32, sent_ms: u32) {
        self.late_packet(n, sent_ms, sent_ms.into());
    }

    fn late_packet(&mut self, n: u32, sent_ms: u32, at_ms: u64) {
        let header = self.header(n, sent_ms);
        self.raw(header, n, at_ms);
    }

    fn raw(&mut self, header: DataHeader, n: u32, at_ms: u64) {
        let mut bytes = header.encode().to_vec();
        bytes.extend_from_slice(&n.to_be_bytes());
        self.feed(ms(at_ms), &bytes);
    }

    fn timeout(&mut self, at_ms: u64) {
        self.connection.handle_timeout(ms(at_ms), &mut self.out);
        assert!(self.connection.stats().is_balanced(), "{:#?}", self.connection.stats());
    }

    /// Runs every timer up to `at_ms`.
    fn run(&mut self, at_ms: u64) {
        while self.connection.next_timeout() <= ms(at_ms) {
            let now = self.connection.next_timeout();
            self.connection.handle_timeout(now, &mut self.out);
            assert!(self.connection.next_timeout() > now, "a timer that does not come to rest");
        }
    }

    fn sequence(&self, n: u32) -> Sequence {
        Sequence::new(self.initial).add(n)
    }

    /// What was sent since the last call.
    fn sent(&mut self) -> Vec<Sent> {
        let initial = Sequence::new(self.initial);
        let place = |sequence: Sequence| sequence.offset_from(initial).cast_unsigned();
        std::mem::take(&mut self.out.sent)
            .iter()
            .map(|bytes| match Packet::parse(bytes).unwrap() {
                Packet::Control(_, Control::Ack(Ack { number: 0, sequence, .. })) => {
                    Sent::LightAck(place(sequence))
                }
                Packet::Control(_, Control::Ack(ack)) => {
                    assert!(ack.rates.is_some());
                    Sent::Ack(ack.number, place(ack.sequence))
                }
                Packet::Control(_, Control::Nak(report)) => Sent::Nak(
                    report.ranges().map(|r| (place(r.first()), place(r.last()))).collect(),
                ),
                Packet::Control(_, Control::Keepalive) => Sent::Keepalive,
                Packet::Control(_, Control::Shutdown) => Sent::Shutdown,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn got(&mut self) -> Vec<Result<(u32, i64), u32>> {
        std::mem::take(&mut self.out.got)
    }

    fn stats(&self) -> &Stats {
        self.connection.stats()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Ack(u32, u32),
    LightAck(u32),
    Nak(Vec<(u32, u32)>),
    Keepalive,
    Shutdown,
}

#[test]
fn the_answer_grants_the_larger_latency_and_what_fits_the_window() {
    for (own, asked, granted) in [(120, 80, 120), (120, 300, 300), (0, 0, 0)] {
        let mut connection = Connection::new(256);
        let config = ConnectionConfig {
            local_id: ID,
            latency: Duration::from_millis(own),
            slots_max: 100,
            ..ConnectionConfig::default()
        };
        let answer = connection.open(&request(7, asked), &config, None, START);
        let Ok(Packet::Control(header, Control::Handshake(body))) =
            Packet::parse(answer.as_bytes())
        else {
            panic!("not a handshake");
        };
        assert_eq!(header.destination, PEER_ID);
        let (handshake, mut extensions) = Handshake::parse(body).unwrap();
        assert_eq!(handshake.kind, Kind::Conclusion);
        assert_eq!(handshake.socket_id, ID);
        assert_eq!(handshake.initial_sequence, Sequence::new(7));
        assert_eq!((handshake.flow_window, handshake.extension), (100, 1));
        let block = extensions.next().unwrap().unwrap();
        assert_eq!(block.kind, extension::HSRSP);
        let response = Capabilities::parse(block.content).unwrap();
        assert_eq!(response.receiver_latency_ms, granted);
        assert_eq!(response.sender_latency_ms, 40);
        assert_eq!(response.flags & 0x40, 0, "message mode");
        assert_eq!(extensions.next(), None);
        assert_eq!(connection.stats().latency_ms, granted.into());
    }
}

#[test]
fn the_memory_of_a_connection_follows_its_window() {
    assert_eq!(Connection::bytes(300), Connection::bytes(512));
    let bytes = Connection::bytes(8_192);
    assert!((196_608..262_144).contains(&bytes), "{bytes}");
    assert_eq!(Connection::new(300).window_capacity(), 512);
}

#[test]
fn packets_in_order_are_delivered_at_once_over_every_wrap() {
    let mut f = Fixture::new();
    for n in 0..6 {
        f.packet(n, n * 20);
        assert_eq!(f.got(), [Ok((n, i64::from(n) * 20 + 120))]);
    }
    assert_eq!(f.stats().packets_delivered, 6);
    assert_eq!(f.stats().bytes_delivered, 24);
    assert_eq!(f.slab.free(), f.slab.capacity());
}

#[test]
fn packets_behind_a_hole_wait_and_follow_when_it_is_filled() {
    let mut f = Fixture::new();
    f.packet(0, 0);
    f.packet(3, 30);
    f.packet(4, 40);
    f.packet(2, 20);
    assert_eq!(f.got(), [Ok((0, 120))]);
    assert_eq!(f.stats().packets_held, 3);
    f.late_packet(1, 10, 50);
    assert_eq!(f.got(), [Ok((1, 130)), Ok((2, 140)), Ok((3, 150)), Ok((4, 160))]);
    assert_eq!(f.stats().packets_lost, 2);
    assert_eq!(f.stats().packets_recovered, 2);
    assert_eq!(f.stats().packets_held, 0);
}

#[test]
fn a_hole_is_given_up_when_the_next_present_packet_is_due() {
    let mut f = Fixture::new();
    f.packet(0, 0);
    f.packet(3, 30);
    f.packet(5, 50);
    f.got();
    f.run(149);
    assert_eq!(f.got(), []);
    f.run(150);
    assert_eq!(f.got(), [Err(2), Ok((3, 150))]);
    f.run(169);
    assert_eq!(f.got(), []);
    f.run(170);
    assert_eq!(f.got(), [Err(1), Ok((5, 170))]);
    assert_eq!(f.stats().packets_skipped_too_late, 3);
    f.sent();
    f.run(180);
    assert!(f.sent().iter().any(|s| matches!(s, Sent::Ack(_, 6))), "acknowledged past the hole");
}

#[test]
fn two_holes_due_together_are_given_up_together() {
    let mut f = Fixture::new();
    f.packet(1, 0);
    f.packet(3, 0);
    f.timeout(500);
    assert_eq!(f.got(), [Err(1), Ok((1, 120)), Err(1), Ok((3, 120))]);
}

#[test]
fn a_packet_that_comes_after_its_place_was_given_up_is_belated() {
    let mut f = Fixture::new();
    f.packet(2, 0);
    f.run(120);
    f.got();
    f.late_packet(0, 0, 130);
    f.late_packet(1, 0, 130);
    f.late_packet(2, 0, 130);
    assert_eq!(f.got(), []);
    assert_eq!((f.stats().packets_belated, f.stats().packets_duplicate), (2, 1));
}

#[test]
fn a_packet_that_comes_twice_is_a_duplicate_held_or_delivered() {
    let mut f = Fixture::new();
    f.packet(0, 0);
    f.packet(0, 0);
    f.packet(2, 0);
    f.packet(2, 0);
    assert_eq!(f.stats().packets_duplicate, 2);
    assert_eq!(f.got().len(), 1);
}

#[test]
fn a_packet_beyond_the_window_changes_nothing() {
    let mut f = Fixture::new();
    f.packet(0, 0);
    f.packet(257, 0);
    f.packet(1 << 29, 0);
    assert_eq!(f.stats().packets_dropped_window, 2);
    assert_eq!(f.stats().packets_lost, 0);
    f.packet(256, 0);
    assert_eq!(f.stats().packets_lost, 255);
    f.packet(1, 10);
    assert_eq!(f.got().len(), 2);
}

#[test]
fn the_window_follows_a_sender_that_has_gone_on_beyond_it() {
    let mut f = Fixture::new();
    f.packet(0, 0);
    for n in 1_000..1_063 {
        f.packet(n, 10);
    }
    assert_eq!(f.got(), [Ok((0, 120))]);
    f.packet(1_063, 10);
    f.packet(1_064, 10);
    assert_eq!(f.got(), [Err(1_062), Ok((1_063, 130)), Ok((1_064, 130))]);
    assert_eq!(f.stats().packets_skipped_too_late, 1_062);
    assert_eq!(f.stats().packets_lost, 1_062);
    f.packet(1_062, 10);
    assert_eq!(f.stats().packets_belated, 1);
}

#[test]
fn the_window_does_not_follow_scattered_packets_or_while_any_is_held() {
    let mut f = Fixture::new();
    for n in 0..200 {
        f.packet(1_000 + n * 20, 10);
    }
    f.packet(0, 0);
    f.packet(2, 0);
    for n in 1_000..1_200 {
        f.packet(n, 10);
    }
    assert_eq!(f.got(), [Ok((0, 120))]);
    assert_eq!(f.stats().packets_dropped_window, 400);
}

#[test]
fn held_packets_stay_within_the_share_and_packets_in_order_need_none() {
    let mut f = Fixture::with(5, |config| config.slots_max = 3);
    for n in 1..10 {
        f.packet(n, 0);
    }
    assert_eq!((f.stats().packets_held, f.stats().packets_dropped_slots), (3, 6));
    f.packet(0, 0);
    assert_eq!(f.got().len(), 4);
    f.packet(4, 0);
    assert_eq!(f.got().len(), 1);
}

#[test]
fn a_grown_share_is_told_at_once_and_never_less_than_2() {
    let mut f = Fixture::with(5, |config| config.slots_max = 0);
    let advertised = |f: &mut Fixture| {
        let bytes = f.out.sent.pop()?;
        match Packet::parse(&bytes) {
            Ok(Packet::Control(_, Control::Ack(ack))) => Some(ack.timing?.available_packets),
            _ => None,
        }
    };
    assert_eq!(f.stats().flow_window_packets, 2);
    for (share, told) in [(1, None), (50, Some(50)), (10, None), (1_000, Some(256))] {
        f.connection.set_slots_max(share, ms(1), &mut f.out);
        assert_eq!(advertised(&mut f), told);
    }
}

#[test]
fn a_full_acknowledgement_goes_out_10_ms_after_the_first_packet() {
    let mut f = Fixture::new();
    f.packet(0, 3);
    f.packet(1, 9);
    assert_eq!(f.connection.next_timeout(), ms(13));
    f.timeout(12);
    assert_eq!(f.sent(), []);
    f.timeout(13);
    assert_eq!(f.sent(), [Sent::Ack(1, 2)]);
    f.packet(2, 14);
    f.run(24);
    assert_eq!(f.sent(), [Sent::Ack(2, 3)]);
}

#[test]
fn an_acknowledgement_repeats_ever_more_seldom_until_it_is_answered() {
    let mut f = Fixture::new();
    f.packet(0, 0);
    f.run(10);
    assert_eq!(f.sent(), [Sent::Ack(1, 1)]);
    // RTT 100 ms + 4 * 50 ms, then twice that, then 1 s at most.
    f.run(309);
    assert_eq!(f.sent(), []);
    f.run(310);
    assert_eq!(f.sent(), [Sent::Ack(2, 1)]);
    f.run(909);
    assert_eq!(f.sent(), []);
    f.run(910);
    assert_eq!(f.sent(), [Sent::Ack(3, 1)]);
    f.feed(ms(930), &encode_ackack(3, 0, ID));
    assert_eq!(f.stats().rtt_us, 20_000);
    assert_eq!(f.connection.next_timeout(), ms(1_910), "only the keepalive is left");
}

#[test]
fn an_answer_to_an_older_acknowledgement_does_not_silence_a_newer_one() {
    let mut f = Fixture::new();
    f.packet(0, 0);
    f.run(10);
    f.packet(1, 12);
    f.feed(ms(13), &encode_ackack(1, 0, ID));
    f.sent();
    f.run(22);
    assert_eq!(f.sent(), [Sent::Ack(2, 2)]);
}

#[test]
fn a_light_acknowledgement_goes_out_after_64_packets() {
    let mut f = Fixture::new();
    for n in 0..130 {
        f.packet(n, 0);
    }
    assert_eq!(f.sent(), [Sent::LightAck(64), Sent::LightAck(128)]);
    f.run(10);
    assert_eq!(f.sent(), [Sent::Ack(1, 130)]);
}

#[test]
fn a_gap_is_reported_at_once_and_again_while_it_lasts() {
    let mut f = Fixture::new();
    f.packet(0, 0);
    f.packet(2, 0);
    f.packet(6, 0);
    assert_eq!(f.sent(), [Sent::Nak(vec![(1, 1)]), Sent::Nak(vec![(3, 5)])]);
    f.run(10);
    f.feed(ms(30), &encode_ackack(1, 0, ID));
    // RTT 20 ms + 4 * 10 ms, halved.
    f.sent();
    f.late_packet(4, 0, 40);
    f.run(59);
    assert_eq!(f.sent(), []);
    f.run(60);
    assert_eq!(f.sent(), [Sent::Nak(vec![(1, 1), (3, 3), (5, 5)])]);
    f.run(89);
    assert_eq!(f.sent(), []);
    f.run(90);
    assert_eq!(f.sent(), [Sent::Nak(vec![(1, 1), (3, 3), (5, 5)])]);
    f.late_packet(1, 0, 91);
    f.late_packet(3, 0, 91);
    f.late_packet(5, 0, 91);
    f.run(119);
    assert_eq!(f.sent(), [Sent::Ack(2, 7)], "nothing to report any more");
}

#[test]
fn loss_reports_repeat_no_faster_than_20_ms_on_a_fast_link() {
    let mut f = Fixture::new();
    f.packet(0, 0);
    f.run(10);
    f.feed(ms(10), &encode_ackack(1, 0, ID));
    f.packet(2, 11);
    f.sent();
    f.run(100);
    let naks = f.sent().iter().filter(|s| matches!(s, Sent::Nak(_))).count();
    assert_eq!(naks, 4, "at 31, 51, 71, 91 ms");
}

#[test]
fn with_reorder_tolerance_a_gap_is_reported_after_that_many_overtakers_or_an_interval() {
    let mut f = Fixture::with(9, |config| {
        config.reorder_tolerance = 2;
        config.latency = Duration::from_millis(200);
    });
    f.packet(1, 0);
    f.packet(2, 0);
    assert_eq!(f.sent(), []);
    f.packet(3, 0);
    assert_eq!(f.sent(), [Sent::Nak(vec![(0, 0)])]);
    f.packet(0, 0);
    f.packet(5, 0);
    f.packet(4, 0);
    assert_eq!(f.sent(), [], "came by itself");
    f.packet(7, 0);
    f.run(10);
    f.sent();
    f.run(150);
    assert!(f.sent().contains(&Sent::Nak(vec![(6, 6)])));
}

#[test]
fn a_loss_report_fits_the_negotiated_mtu_and_the_rest_follows() {
    let mut small = request(0, 0);
    small.mtu = 76;
    let config = ConnectionConfig {
        local_id: ID,
        latency: Duration::from_secs(1),
        reorder_tolerance: 100,
        ..ConnectionConfig::default()
    };
    let mut f = Fixture::with(0, |_| {});
    f.connection = Connection::new(1_024);
    f.connection.open(&small, &config, None, START);
    for n in 0..40 {
        f.packet(n * 2 + 1, 0);
    }
    f.run(149);
    assert_eq!(f.sent(), [], "fresh, and all may only be late");
    f.run(150);
    assert!(f.out.sent.iter().all(|packet| packet.len() <= 48));
    let nak = |first: u32| Sent::Nak((0..8).map(|n| (first + n * 2, first + n * 2)).collect());
    assert_eq!(f.sent(), [nak(0), nak(16), nak(32), nak(48)], "oldest first");
    f.run(160);
    assert_eq!(f.sent(), [nak(64)]);
}

#[test]
fn an_idle_connection_wants_nothing_but_a_keepalive_each_second() {
    let mut f = Fixture::new();
    assert_eq!(f.connection.next_timeout(), ms(1_000));
    f.run(999);
    assert_eq!(f.sent(), []);
    f.run(4_000);
    assert_eq!(f.sent(), [Sent::Keepalive, Sent::Keepalive, Sent::Keepalive, Sent::Keepalive]);
}

#[test]
fn a_silent_peer_ends_the_connection_and_what_is_held_still_goes_out() {
    let mut f = Fixture::with(0, |config| {
        config.latency = Duration::from_secs(30);
        config.peer_idle_timeout = Duration::from_secs(7);
    });
    f.packet(0, 0);
    f.packet(2, 500);
    f.run(7_499);
    assert_eq!(f.connection.state(), State::Open);
    f.got();
    f.run(7_500);
    assert_eq!(f.connection.state(), State::Closed(EndReason::PeerIdle));
    assert_eq!(f.got(), [Err(1), Ok((2, 30_500))]);
    assert_eq!(f.connection.next_timeout(), Time::NEVER);
    assert_eq!(f.slab.free(), f.slab.capacity());
}

#[test]
fn a_shutdown_delivers_what_is_held_and_ends_the_connection() {
    let mut f = Fixture::new();
    f.packet(0, 0);
    f.packet(2, 0);
    f.packet(5, 0);
    f.got();
    f.feed(ms(1), &encode_shutdown(0, ID));
    assert_eq!(f.got(), [Err(1), Ok((2, 120)), Err(2), Ok((5, 120))]);
    assert_eq!(f.connection.state(), State::Closed(EndReason::PeerShutdown));
    let before = *f.stats();
    f.packet(6, 0);
    f.timeout(9_000);
    assert_eq!(*f.stats(), before, "a closed connection does nothing");
    assert_eq!(f.got(), []);
}

#[test]
fn closing_tells_the_peer_and_discards_what_is_held() {
    let mut f = Fixture::new();
    f.packet(2, 0);
    f.sent();
    f.connection.close(ms(1), &mut f.out);
    assert_eq!(f.sent(), [Sent::Shutdown]);
    assert_eq!(f.connection.state(), State::Closed(EndReason::Local));
    assert_eq!(f.stats().packets_discarded_at_end, 1);
    assert!(f.stats().is_balanced());
    assert_eq!(f.slab.free(), f.slab.capacity());
    f.connection.close(ms(2), &mut f.out);
    assert_eq!(f.sent(), []);
}

#[test]
fn a_drop_request_ends_the_wait() {
    let mut f = Fixture::new();
    f.packet(0, 0);
    f.packet(4, 0);
    f.got();
    let range = SequenceRange::new(f.sequence(1), f.sequence(3)).unwrap();
    let request = crate::control::DropRequest { message: 0, range };
    f.feed(ms(5), &request.encode(0, ID));
    assert_eq!(f.got(), [Err(3), Ok((4, 120))]);
    assert_eq!(f.stats().packets_skipped_by_sender, 3);
    f.late_packet(2, 0, 6);
    assert_eq!(f.stats().packets_belated, 1);
    // Beyond what is known: the numbers up to there will not come.
    let range = SequenceRange::new(f.sequence(5), f.sequence(7)).unwrap();
    f.feed(ms(7), &crate::control::DropRequest { message: 9, range }.encode(0, ID));
    assert_eq!(f.got(), [Err(3)]);
    f.packet(8, 8);
    assert_eq!(f.got(), [Ok((8, 128))]);
}

#[test]
fn a_hole_filled_before_a_part_the_sender_gave_up_goes_on_behind_it() {
    let mut f = Fixture::new();
    f.packet(6, 0);
    let range = SequenceRange::new(f.sequence(1), f.sequence(9)).unwrap();
    f.feed(ms(1), &crate::control::DropRequest { message: 0, range }.encode(0, ID));
    assert_eq!(f.got(), []);
    f.packet(0, 0);
    assert_eq!(f.got(), [Ok((0, 120)), Err(5), Ok((6, 120)), Err(3)]);
    f.packet(10, 0);
    assert_eq!(f.got(), [Ok((10, 120))]);
}

#[test]
fn what_a_clear_connection_cannot_use_is_counted_by_reason() {
    let mut f = Fixture::new();
    for (encryption, destination) in [
        (Encryption::Even, ID),
        (Encryption::Odd, ID),
        (Encryption::Both, ID),
        (Encryption::Clear, ID + 1),
    ] {
        let header = DataHeader { encryption, destination, ..f.header(0, 0) };
        f.raw(header, 0, 0);
    }
    assert_eq!(f.got(), []);
    assert_eq!(f.stats().packets_undecryptable, 2);
    assert_eq!(f.stats().packets_dropped_invalid, 2);
    f.packet(0, 0);
    assert_eq!(f.got().len(), 1);
}

#[test]
fn retransmitted_packets_are_counted_and_otherwise_alike() {
    let mut f = Fixture::new();
    f.packet(1, 0);
    let header = DataHeader { retransmitted: true, ..f.header(0, 0) };
    f.raw(header, 0, 5);
    assert_eq!(f.got().len(), 2);
    assert_eq!(f.stats().packets_retransmitted, 1);
    assert_eq!(f.stats().packets_recovered, 1);
}

#[test]
fn an_empty_payload_keeps_its_place() {
    let mut f = Fixture::new();
    struct Empty(u32);
    impl Output for Empty {
        fn transmit(&mut self, _: &[u8]) {}
        fn deliver(&mut self, payload: &[u8], _: Time, _: Time) {
            assert!(payload.is_empty());
            self.0 += 1;
        }
        fn skipped(&mut self, _: u32) {}
    }
    let mut out = Empty(0);
    for n in [1, 0] {
        let datagram = Datagram::copy_from(&f.slab, &f.header(n, 0).encode()).unwrap();
        f.connection.handle_datagram(START, START, datagram, &mut out);
    }
    assert_eq!(out.0, 2);
}

#[test]
fn control_packets_that_make_no_sense_are_counted() {
    let mut f = Fixture::new();
    let table = [
        vec![],
        vec![0x80; 15],
        encode_keepalive(0, ID + 1).to_vec(),
        encode_light_ack(Sequence::new(0), 0, ID).to_vec(),
        encode_full_ack(1, Sequence::new(0), &Default::default(), &Default::default(), 0, ID)
            .to_vec(),
        encode_ackack(0, 0, ID).to_vec(),
        encode_ackack(77, 0, ID).to_vec(),
    ];
    for (count, packet) in (1..).zip(&table) {
        f.feed(ms(0), packet);
        assert_eq!(f.stats().control_invalid, count);
    }
    f.feed(ms(0), &encode_keepalive(0, ID));
    f.feed(ms(0), &encode_handshake_header(0, ID));
    assert_eq!(f.stats().control_invalid, 7);
    assert_eq!(f.stats().keepalives_received, 1);
    f.packet(0, 0);
    assert_eq!(f.got().len(), 1);
}

#[test]
fn a_duplicate_from_an_unknowing_sender_is_answered_with_an_acknowledgement() {
    let mut f = Fixture::new();
    f.packet(0, 0);
    f.run(10);
    f.feed(ms(20), &encode_ackack(1, 0, ID));
    f.sent();
    f.late_packet(0, 0, 500);
    f.run(510);
    assert_eq!(f.sent(), [Sent::Ack(2, 1)]);
}

#[test]
fn a_connection_is_as_new_when_it_is_opened_again() {
    let mut f = Fixture::new();
    for n in [0, 2, 4, 300] {
        f.packet(n, 0);
    }
    f.connection.close(ms(1), &mut f.out);
    let config = ConnectionConfig { local_id: ID, ..ConnectionConfig::default() };
    f.initial = 5;
    f.connection.open(&request(5, 0), &config, None, ms(2));
    f.got();
    f.sent();
    assert_eq!(f.stats().packets_received, 0);
    for n in 0..3 {
        f.packet(n, 0);
    }
    assert_eq!(f.got().len(), 3);
    f.run(20);
    assert_eq!(f.sent(), [Sent::Ack(1, 3)]);
}

#[test]
fn the_received_rate_covers_the_last_second_and_falls_to_zero() {
    let mut f = Fixture::new();
    for n in 0..120 {
        f.packet(n, n * 10);
        f.run(u64::from(n) * 10);
    }
    let rate = f.stats().receive_rate_bps;
    assert!((15_000..17_000).contains(&rate), "20 bytes each 10 ms, not {rate}");
    f.run(4_000);
    assert_eq!(f.stats().receive_rate_bps, 0);
}

#[test]
fn no_single_changed_bit_and_no_truncation_of_a_packet_harms_the_connection() {
    let drop_request = |f: &Fixture| {
        let range = SequenceRange::new(f.sequence(1), f.sequence(3)).unwrap();
        crate::control::DropRequest { message: 0, range }.encode(0, ID).to_vec()
    };
    let f = Fixture::new();
    let mut data = f.header(1, 0).encode().to_vec();
    data.extend_from_slice(&[0; 8]);
    let vectors = [
        data,
        drop_request(&f),
        encode_ackack(1, 0, ID).to_vec(),
        encode_shutdown(0, ID).to_vec(),
        encode_full_ack(1, Sequence::new(0), &Default::default(), &Default::default(), 0, ID)
            .to_vec(),
    ];
    for vector in vectors {
        for case in 0..vector.len() * 9 {
            let mut bytes = vector.clone();
            if case < vector.len() {
                bytes.truncate(case);
            } else {
                let bit = case - vector.len();
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            let mut f = Fixture::new();
            f.packet(2, 0);
            f.run(10);
            f.feed(ms(11), &bytes);
            f.run(300);
            let (base, end) = (f.connection.window.base(), f.connection.window.end());
            assert!((0..=256).contains(&end.offset_from(base)));
        }
    }
}

/// A thousand mutated control packets, then the good flow goes on within a round trip and a timer.
#[test]
fn mutated_control_packets_do_not_wedge_the_connection() {
    let mut seed = 7_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    for round in 0..50 {
        let mut f = Fixture::new();
        f.packet(0, 0);
        for _ in 0..1_000 {
            let range = SequenceRange::new(f.sequence(0), f.sequence(5)).unwrap();
            let mut bytes = match random() % 4 {
                0 => crate::control::DropRequest { message: 0, range }.encode(0, ID).to_vec(),
                1 => encode_ackack(1, 0, ID).to_vec(),
                2 => encode_keepalive(0, ID).to_vec(),
                _ => encode_light_ack(f.sequence(9), 0, ID).to_vec(),
            };
            for _ in 0..random() % 3 {
                let at = random() % bytes.len();
                bytes[at] = u8::try_from(random() % 256).unwrap();
            }
            // A shutdown would rightly end it.
            if bytes[..2] != [0x80, 5] && bytes[0] & 0x80 != 0 {
                f.feed(ms(1), &bytes);
            }
        }
        f.run(150);
        f.got();
        let base = f.connection.window.base();
        let n = base.offset_from(Sequence::new(f.initial)).cast_unsigned();
        f.packet(n, 160);
        assert_eq!(f.got().len(), 1, "round {round}");
    }
}
