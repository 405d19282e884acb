//! What one datagram or one timer may cost: never more than its window, counted in steps of loops.

use super::*;
use crate::work;

/// A connection with a window of so many packets.
fn open(packets: u32) -> (Connection, Slab) {
    let config = ConnectionConfig {
        local_id: ID,
        flow_window: packets,
        slots_max: packets,
        ..ConnectionConfig::default()
    };
    let mut connection = Connection::new(packets);
    connection.open(&request(TOP - 2, 0), &config, None, START);
    (connection, Slab::new(packets).unwrap())
}

struct Nothing;

impl Output for Nothing {
    fn transmit(&mut self, _: &[u8]) {}
    fn deliver(&mut self, _: &[u8], _: Time, _: Time) {}
    fn skipped(&mut self, _: u32) {}
}

/// Steps of one datagram.
fn cost(connection: &mut Connection, slab: &Slab, now: Time, bytes: &[u8]) -> usize {
    work::take();
    if let Some(datagram) = Datagram::copy_from(slab, bytes) {
        connection.handle_datagram(now, now, datagram, &mut Nothing);
    }
    work::take()
}

fn cost_of_timeout(connection: &mut Connection, now: Time) -> usize {
    work::take();
    connection.handle_timeout(now, &mut Nothing);
    work::take()
}

fn data(sequence: Sequence) -> [u8; HEADER_BYTES] {
    DataHeader::live(sequence, 1, CLOCK, ID).encode()
}

fn drop_request(first: Sequence, last: Sequence) -> Vec<u8> {
    // Put together by hand: a range that runs backwards cannot be made otherwise.
    let mut bytes = vec![0x80, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for word in [ID, first.value(), last.value()] {
        bytes.extend(word.to_be_bytes());
    }
    bytes
}

#[test]
fn no_sequence_number_and_no_range_costs_more_than_the_window() {
    let distances = [
        0,
        1,
        2,
        63,
        64,
        255,
        256,
        257,
        8_192,
        1 << 20,
        1 << 29,
        (1 << 30) - 1,
        1 << 30,
        (1 << 30) + 1,
        TOP - 300,
        TOP - 1,
        TOP,
    ];
    for held in [0, 100] {
        for from in distances {
            for to in distances {
                let (mut connection, slab) = open(256);
                // Every second packet, so that there are as many holes as there can be.
                for n in 1..=held {
                    cost(&mut connection, &slab, START, &data(Sequence::new(TOP - 2).add(2 * n)));
                }
                let base = connection.window.base();
                let (first, last) = (base.add(from), base.add(to));
                let mut nak = [0x80, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
                nak[12..16].copy_from_slice(&ID.to_be_bytes());
                nak.extend((first.value() | 1 << 31).to_be_bytes());
                nak.extend(last.value().to_be_bytes());
                for packet in [data(first).to_vec(), drop_request(first, last), nak] {
                    let steps = cost(&mut connection, &slab, ms(1), &packet);
                    assert!(steps <= 2 * 256, "{steps} steps for {from}..{to}, {held} held");
                }
                let steps = cost_of_timeout(&mut connection, ms(200));
                assert!(steps <= 4 * 256, "{steps} steps of a timer, {from}..{to}, {held} held");
            }
        }
    }
}

#[test]
fn a_drop_request_over_half_of_all_holes_costs_no_more_than_the_window() {
    const WINDOW: u32 = 4_096;
    let (mut connection, slab) = open(WINDOW);
    let base = connection.window.base();
    for n in 0..WINDOW / 8 {
        cost(&mut connection, &slab, START, &data(base.add(2 * n + 1)));
    }
    let holes = connection.window.losses().count();
    assert_eq!(holes, 512, "the list is full");
    let range = drop_request(base.add(WINDOW / 16), base.add(WINDOW / 16 * 3));
    let steps = cost(&mut connection, &slab, START, &range);
    assert!(connection.window.losses().count() < holes / 2 + 2);
    assert!(steps <= 2 * WINDOW as usize, "{steps} steps");
}

/// Seeded sequences of packets in and around the window, drop requests of any range and time: the
/// most that one of them costs is within the window.
#[test]
fn the_most_expensive_of_many_hostile_packets_is_within_the_window() {
    let mut seed = 11_u64;
    let mut random = move |below: u32| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((seed >> 33) % u64::from(below)).unwrap()
    };
    for window in [64, 512, 2_048] {
        let (mut connection, slab) = open(window);
        let (mut now, mut most, mut most_of_timer) = (START, 0, 0);
        for _ in 0..40_000 {
            let near = |n: u32| connection.window.base().add(n);
            let packet = match random(16) {
                0 => drop_request(near(random(window)), near(random(2 * window))),
                1 => drop_request(near(random(TOP)), near(random(TOP))),
                2 => data(near(random(TOP))).to_vec(),
                3 => data(near(TOP - random(window))).to_vec(),
                _ => data(near(random(window))).to_vec(),
            };
            most = most.max(cost(&mut connection, &slab, now, &packet));
            if random(64) == 0 {
                now = now + Duration::from_millis(random(60).into());
                most_of_timer = most_of_timer.max(cost_of_timeout(&mut connection, now));
            }
            assert!(connection.stats().is_balanced());
        }
        let window = window as usize;
        assert!((window / 8..=2 * window).contains(&most), "{most} steps, window {window}");
        assert!(most_of_timer <= 4 * window, "{most_of_timer} steps of a timer, window {window}");
    }
}
