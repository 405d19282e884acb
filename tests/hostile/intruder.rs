//! Packets into connections: another's from outside, and one's own that break the rules.

use std::net::UdpSocket;

use anyhow::{Context, Result, ensure};
use penstock_tests::process::eventually;
use penstock_tests::publisher::Publisher;
use penstock_tests::system::PATIENCE;
use shm::counters::{StreamCounter, WorkerCounter};
use srt::control::{
    AckRates, AckTiming, DropRequest, NakWriter, encode_ackack, encode_full_ack, encode_keepalive,
    encode_shutdown,
};
use srt::packet::DataHeader;
use srt::sequence::{Sequence, SequenceRange};

use super::{beside_a_witness, counter};

/// Everything that could change a connection with this socket id.
fn packets(to: u32, first: Sequence) -> Vec<Vec<u8>> {
    let timing = AckTiming { rtt_us: 1, rtt_variance_us: 1, available_packets: 0 };
    let rates = AckRates { packets_per_s: 1, link_capacity_pps: 1, bytes_per_s: 1 };
    let far = first.add(1 << 29);
    let mut nak = [0; 64];
    let mut writer = NakWriter::new(&mut nak, 1, to);
    let all = SequenceRange::new(first, first.add((1 << 30) - 1)).expect("it runs forward");
    assert!(writer.push(all));
    let len = writer.finish().expect("it reports something");
    let mut list = vec![
        encode_shutdown(1, to).to_vec(),
        encode_keepalive(1, to).to_vec(),
        encode_ackack(1, 1, to).to_vec(),
        encode_full_ack(1, far, &timing, &rates, 1, to).to_vec(),
        DropRequest { message: 0, range: all }.encode(1, to).to_vec(),
        nak[..len].to_vec(),
    ];
    for ahead in [0, 1, 1_000, 8_192, 25_600, 1 << 20, 1 << 29, 1 << 30, (1 << 31) - 1] {
        let header = DataHeader::live(first.add(ahead), 1, 0, to).encode();
        list.push([&header[..], &[0x47; 1_316]].concat());
        list.push(header.to_vec());
    }
    list
}

#[test]
fn packets_from_another_address_change_nothing_and_are_counted() -> Result<()> {
    beside_a_witness(|system, witness| {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(system.srt_address())?;
        let mut sent = 0;
        for first in [0, 1_000, 0x3fff_ffff, 0x7fff_ffff] {
            for packet in packets(witness.socket_id(), Sequence::new(first)) {
                socket.send(&packet)?;
                sent += 1;
            }
        }
        eventually("all are counted", PATIENCE, || {
            let stream = system.directory()?.stream("witness").context("listed")?;
            let dropped = counter(system, WorkerCounter::DroppedWrongSource)?;
            let counted = stream.counter(StreamCounter::WrongSource);
            ensure!(counted <= sent, "{counted} counted of {sent}");
            Ok((counted == sent && dropped == sent).then_some(()))
        })
    })
}

#[test]
fn sequence_numbers_far_ahead_are_refused_without_work() -> Result<()> {
    beside_a_witness(|system, _| {
        let mut publisher = Publisher::connect(system.srt_address(), "leaper", 8)?;
        let (to, first) = (publisher.listener_socket_id(), publisher.initial_sequence());
        publisher.send(&[0x47; 1_316])?;
        publisher.drain()?;
        let mut sent = 0;
        for round in 0..200 {
            for ahead in [30_000, 1 << 20, 1 << 29, (1 << 30) - 200] {
                let header = DataHeader::live(first.add(ahead + round), 1, 0, to).encode();
                publisher.send_raw(&[&header[..], &[0x47; 1_316]].concat())?;
                sent += 1;
            }
        }
        eventually("all are dropped", PATIENCE, || {
            publisher.pump()?;
            let stream = system.directory()?.stream("leaper").context("listed")?;
            Ok((stream.counter(StreamCounter::PacketsDroppedWindow) == sent).then_some(()))
        })?;
        let stream = system.directory()?.stream("leaper").context("listed")?;
        assert_eq!(stream.counter(StreamCounter::PacketsUnique), 1);
        assert_eq!(stream.counter(StreamCounter::PacketsLost), 0, "holes that were believed");
        publisher.send(&[0x47; 1_316])?;
        publisher.drain().context("the connection goes on")?;
        publisher.close()
    })
}

/// A control packet of type `kind` about the numbers from `first` to `last`, in whatever order.
fn about(kind: u8, first: Sequence, last: Sequence, to: u32) -> Vec<u8> {
    // A loss report marks the beginning of a range, a drop request does not.
    let mark = if kind == 3 { 1 << 31 } else { 0 };
    let mut packet = vec![0x80, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for word in [to, first.value() | mark, last.value()] {
        packet.extend(word.to_be_bytes());
    }
    packet
}

#[test]
fn what_is_said_of_packets_that_nobody_sent_changes_counters_only() -> Result<()> {
    const LOSS_REPORT: u8 = 3;
    const DROP_REQUEST: u8 = 7;
    beside_a_witness(|system, _| {
        let mut publisher = Publisher::connect(system.srt_address(), "liar", 10)?;
        let (to, first) = (publisher.listener_socket_id(), publisher.initial_sequence());
        publisher.send(&[0x47; 1_316])?;
        publisher.drain()?;
        // Far behind, far ahead, half a space away; each pair of them in both directions.
        let far = [1 << 20, 1 << 29, (1 << 30) - 1, 1 << 30, (1 << 30) + 1, (1 << 31) - 9_000];
        let timing = AckTiming { rtt_us: 1, rtt_variance_us: 1, available_packets: 0 };
        let rates = AckRates { packets_per_s: 1, link_capacity_pps: 1, bytes_per_s: 1 };
        let (mut invalid, mut requests) = (0, 0);
        for from in far {
            for until in far {
                let (from, until) = (first.add(from), first.add(until));
                publisher.send_raw(&about(LOSS_REPORT, from, until, to))?;
                publisher.send_raw(&encode_full_ack(7_000_000, from, &timing, &rates, 1, to))?;
                publisher.send_raw(&encode_ackack(7_000_000 + until.value() / 2, 1, to))?;
                invalid += 3;
                let range = SequenceRange::new(from, until);
                if range.is_some_and(|range| range.contains(first.add(1))) {
                    continue; // That would be its own to give up.
                }
                publisher.send_raw(&about(DROP_REQUEST, from, until, to))?;
                *(if range.is_some() { &mut requests } else { &mut invalid }) += 1;
            }
        }
        ensure!(requests > 10 && invalid > 100, "{requests} requests, {invalid} invalid");
        let told = eventually("all are counted", PATIENCE, || {
            publisher.pump()?;
            let told = system.directory()?.stream("liar").context("listed")?;
            let all = told.counter(StreamCounter::ControlInvalid) == invalid
                && told.counter(StreamCounter::DropRequestsReceived) == requests;
            Ok(all.then_some(told))
        })?;
        assert_eq!(told.counter(StreamCounter::PacketsUnique), 1);
        assert_eq!(told.counter(StreamCounter::PacketsLost), 0, "holes that were believed");
        publisher.send(&[0x47; 1_316])?;
        publisher.drain().context("the connection goes on")?;
        publisher.close()
    })
}

#[test]
fn tiny_packets_behind_a_hole_hold_no_more_slots_than_the_share_of_one() -> Result<()> {
    beside_a_witness(|system, _| {
        let free = counter(system, WorkerCounter::SlotsFree)?;
        let publisher = Publisher::connect(system.srt_address(), "hoarder", 9)?;
        let (to, first) = (publisher.listener_socket_id(), publisher.initial_sequence());
        let mut least = free;
        // The first one never comes, and no flow window is heeded.
        for number in 1..6_000 {
            let header = DataHeader::live(first.add(number), number, 0, to).encode();
            publisher.send_raw(&[&header[..], &[0x47]].concat())?;
            if number % 64 == 0 {
                least = least.min(counter(system, WorkerCounter::SlotsFree)?);
            }
        }
        let dropped = eventually("the hoard is dropped", PATIENCE, || {
            least = least.min(counter(system, WorkerCounter::SlotsFree)?);
            let stream = system.directory()?.stream("hoarder").context("listed")?;
            let dropped = stream.counter(StreamCounter::PacketsDroppedSlots)
                + stream.counter(StreamCounter::PacketsDroppedWindow);
            let settled = stream.counter(StreamCounter::PacketsHeld) == 0;
            Ok((settled && dropped > 0).then_some(dropped))
        })?;
        ensure!(dropped > 1_000, "only {dropped} were dropped");
        // 10 Mbit/s for 800 ms, and half as long again.
        let share = 1_140;
        ensure!(free - least < 2 * share, "of {free} free slots {least} were left");
        publisher.close()
    })
}

#[test]
fn a_publisher_that_breaks_every_rule_harms_only_itself() -> Result<()> {
    beside_a_witness(|system, _| {
        for (seed, packet) in (20..).zip(0..packets(1, Sequence::new(0)).len()) {
            let publisher = Publisher::connect(system.srt_address(), &format!("bad{seed}"), seed)?;
            let (to, first) = (publisher.listener_socket_id(), publisher.initial_sequence());
            for first in [first, first.add(1 << 30)] {
                let packet = &packets(to, first)[packet];
                for len in (0..packet.len().min(48)).chain([packet.len()]) {
                    publisher.send_raw(&packet[..len])?;
                }
            }
            publisher.close()?;
        }
        eventually("they are gone", PATIENCE, || {
            Ok((counter(system, WorkerCounter::Sessions)? <= 1).then_some(()))
        })
    })
}
