//! A panic in one session ends that session only, and leaves its ring consistent.

mod common;

use anyhow::{Context, Result};
use common::{RtpSender, Running, transport_stream};
use penstock_engine::run_worker;
use penstock_tests::generate::h264::{Paff, paff};
use penstock_tests::process::eventually;
use penstock_tests::publisher::{PAYLOAD_BYTES, Publisher};
use penstock_tests::rtp::h264;
use penstock_tests::rtp::paced::Packet;
use penstock_tests::system::PATIENCE;
use shm::counters::{ConductorCounter, StreamCounter, WorkerCounter};
use shm::{EndReason, Next, SeekFrom};

/// As the session's fault injection has it.
const FAULT: &[u8] = b"penstock: inject a fault here";

#[test]
fn a_panic_in_the_middle_of_a_frame_ends_that_session_only() -> Result<()> {
    let stream = transport_stream(2)?;
    let running = Running::start("[0]", run_worker)?;
    let mut good = Publisher::connect(running.address(), "good", 1)?;
    let mut bad = Publisher::connect(running.address(), "bad", 2)?;
    let half = stream.len() / 2 / PAYLOAD_BYTES * PAYLOAD_BYTES;
    for payload in stream[..half].chunks(PAYLOAD_BYTES) {
        good.send(payload)?;
        bad.send(payload)?;
    }
    good.drain()?;
    bad.drain()?;
    let before = running.wait_frames("bad")?;
    bad.send(FAULT)?;
    let ended = running.wait_stream("bad", |stream| stream.info.end == EndReason::Panicked)?;
    assert_eq!(before.info.id, ended.info.id);

    // Whole frames only, up to the last one published.
    let mut reader = running.link()?.ring("bad")?;
    reader.seek(SeekFrom::Oldest);
    let (mut bytes, mut frames) = (Vec::new(), 0);
    while let Next::Frame(frame) = reader.next(&mut bytes)? {
        assert!(!frame.is_damaged());
        frames += 1;
    }
    assert!(frames > 0);

    // The other publisher lost nothing, and the place is good for another.
    for payload in stream[half..].chunks(PAYLOAD_BYTES) {
        good.send(payload)?;
    }
    good.drain()?;
    let table = running.table()?;
    let unharmed = running.wait_frames("good")?;
    assert_eq!(unharmed.counter(StreamCounter::PacketsSkippedTooLate), 0);
    assert_eq!(unharmed.counter(StreamCounter::FramesDamaged), 0);
    let panicked: u64 =
        table.workers().iter().map(|worker| worker.counter(WorkerCounter::SessionsPanicked)).sum();
    assert_eq!(panicked, 1);
    assert_eq!(table.conductor().counter(ConductorCounter::EndedPanicked), 1);
    let mut again = Publisher::connect(running.address(), "bad", 3)?;
    for payload in stream[..half].chunks(PAYLOAD_BYTES) {
        again.send(payload)?;
    }
    again.drain()?;
    running.wait_stream("bad", |stream| {
        stream.counter(StreamCounter::FramesPublished)
            > ended.counter(StreamCounter::FramesPublished)
    })?;
    good.close()?;
    again.close()?;
    running.stop()
}

/// Packets of pictures, and one with a fault in the middle of a picture.
fn pictures() -> (Vec<Packet>, Packet) {
    let packets = h264::packets(&paff(&Paff::default()), 1_200);
    let payload = [&[0x41, 0x9a, 1, 2][..], FAULT].concat();
    let last = packets.last().map_or(0, |packet| packet.ticks);
    (packets, Packet { unit: 0, ticks: last + 3_600, marker: false, payload })
}

/// A transport stream in packets, and one with a fault.
fn transport_packets(stream: &[u8]) -> (Vec<Packet>, Packet) {
    let packet = |(unit, payload): (usize, &[u8])| {
        let ticks = unit as u64 * 900;
        Packet { unit, ticks, marker: false, payload: payload.to_vec() }
    };
    let mut faulty = vec![0xff; 188];
    faulty[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
    faulty[100..100 + FAULT.len()].copy_from_slice(FAULT);
    let packets: Vec<Packet> = stream.chunks(PAYLOAD_BYTES).enumerate().map(packet).collect();
    let ticks = packets.len() as u64 * 900;
    (packets, Packet { unit: 0, ticks, marker: false, payload: faulty })
}

#[test]
fn a_panic_in_a_session_of_rtp_ends_that_session_only_and_gives_its_slots_back() -> Result<()> {
    let stream = transport_stream(2)?;
    let running = Running::start("[0]", run_worker)?;
    let free = |running: &Running| -> Result<u64> {
        Ok(running.table()?.workers()[0].counter(WorkerCounter::SlotsFree))
    };
    let at_first = free(&running)?;
    let ((port, _), given) = (running.rtp_ports(), running.given_port());
    running.wait_stream("given", |_| true)?;
    // The struck ones, and beside each kind one that is not.
    let (pictures, fault) = pictures();
    let (transport, transport_fault) = transport_packets(&stream);
    let mut good = RtpSender::new(port, 3, 33)?;
    let mut bad = RtpSender::new(port, 2, 96)?;
    let mut bad_given = RtpSender::new(given, 4, 33)?;
    let (before, after) = transport.split_at(transport.len() / 2);
    for packet in before {
        good.send(packet)?;
        bad_given.send(packet)?;
    }
    pictures.iter().try_for_each(|packet| bad.send(packet))?;
    for id in ["two", "three", "given"] {
        running.wait_frames(id)?;
    }
    // Behind a hole, and with it packets that wait: they go with the session.
    bad.skip();
    bad.send(&fault)?;
    for packet in &pictures[..20] {
        bad.send(packet)?;
    }
    bad_given.send(&transport_fault)?;
    let table = running.table()?;
    eventually("both are struck", PATIENCE, || {
        let panicked = table.workers()[0].counter(WorkerCounter::SessionsPanicked);
        Ok((panicked == 2).then_some(()))
    })?;
    for id in ["two", "given"] {
        running.wait_stream(id, |stream| stream.info.end == EndReason::Panicked)?;
    }
    after.iter().try_for_each(|packet| good.send(packet))?;
    let sent = transport.len() as u64;
    let unharmed = running
        .wait_stream("three", |stream| stream.counter(StreamCounter::PacketsDelivered) == sent)?;
    assert_eq!(unharmed.counter(StreamCounter::PacketsSkippedTooLate), 0);
    assert_eq!(unharmed.counter(StreamCounter::FramesDamaged), 0);
    assert_eq!(table.workers()[0].counter(WorkerCounter::SessionsPanicked), 2);
    assert_eq!(table.conductor().counter(ConductorCounter::EndedPanicked), 2);
    penstock_tests::conservation::balanced(&table.stream("two").context("two is listed")?)?;

    // Both are served again: the one that is given on sockets of its own, once they are open.
    eventually("the session that is given is open again", PATIENCE, || {
        // It, and the one that goes on; its socket is bound before.
        let open = table.workers()[0].counter(WorkerCounter::Sessions);
        Ok((open == 2).then_some(()))
    })?;
    let published = |id: &str| -> Result<u64> {
        let stream = table.stream(id).context("listed")?;
        Ok(stream.counter(StreamCounter::FramesPublished))
    };
    let before = [published("two")?, published("given")?];
    pictures.iter().try_for_each(|packet| bad.send(packet))?;
    transport.iter().try_for_each(|packet| bad_given.send(packet))?;
    for (id, before) in ["two", "given"].into_iter().zip(before) {
        running
            .wait_stream(id, |stream| stream.counter(StreamCounter::FramesPublished) > before)?;
    }
    eventually("every slot is free again", PATIENCE, || {
        Ok((free(&running)? >= at_first).then_some(()))
    })?;
    running.stop()
}
