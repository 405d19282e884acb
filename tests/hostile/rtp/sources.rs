//! Sources without number, and sources that claim to be others.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::process::eventually;
use penstock_tests::relay::Random;
use penstock_tests::system::PATIENCE;
use shm::counters::{ConductorCounter, StreamCounter, WorkerCounter};

use super::witness::Sender;
use super::{
    ELSEWHERE, Header, NEWCOMER_SSRC, Target, WITNESS, WITNESS_SSRC, beside_witnesses, is_sound, of,
};
use crate::counter;
use crate::flood::own_address;

/// Where packets of sources end that nobody knows.
const UNKNOWN: [WorkerCounter; 4] = [
    WorkerCounter::DroppedUnproven,
    WorkerCounter::DroppedWaiting,
    WorkerCounter::DroppedRefused,
    WorkerCounter::PacketsWaiting,
];

fn lone(ssrc: u32) -> Vec<u8> {
    Header { payload_type: 96, ssrc, ..Header::default() }.packet(&[0x41; 40])
}

#[test]
fn sources_without_number_from_many_hosts_are_dropped_unproven() -> Result<()> {
    const HOSTS: u32 = 2_000;
    const EACH: u32 = 5;
    beside_witnesses(|target| {
        let mut socket = target.socket(ELSEWHERE, target.port)?;
        target.flood(HOSTS * EACH, |number| {
            if number % EACH == 0 {
                socket = target.socket(own_address(number / EACH), target.port)?;
            }
            socket.send(&lone(1 + number))?;
            Ok(())
        })?;
        target.counted_by_worker((HOSTS * EACH).into(), &UNKNOWN)?;
        assert_eq!(counter(&target.system, WorkerCounter::SendersProven)?, 1, "the witness");
        Ok(())
    })
}

#[test]
fn a_host_with_sources_without_number_keeps_no_other_host_from_proving_itself() -> Result<()> {
    const SENT: u32 = 20_000;
    beside_witnesses(|target| {
        let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
        let tap = target.system.frames_of("newcomer")?;
        let newcomer = Sender::new(target, Ipv4Addr::new(127, 7, 7, 7), NEWCOMER_SSRC)?;
        let attacker = target.socket(ELSEWHERE, target.port)?;
        let (bytes, rate) = (clip.bytes.clone(), clip.bits_per_second());
        let mut sending = None;
        target.flood(SENT, |number| {
            if number == SENT / 4 {
                let (bytes, newcomer) = (bytes.clone(), newcomer.again()?);
                sending = Some(std::thread::spawn(move || newcomer.send(&bytes, rate)));
            }
            attacker.send(&lone(1 + number))?;
            Ok(())
        })?;
        let sent = sending.map(|it| it.join().map_err(|_| anyhow::anyhow!("it panicked")));
        sent.transpose()?.transpose()?;
        let frames = tap.frames()?;
        if counter(&target.system, WorkerCounter::KernelDrops)? == 0 {
            clip.is_whole(&frames)?;
        }
        assert_eq!(counter(&target.system, WorkerCounter::SendersProven)?, 2, "both of them");
        Ok(())
    })
}

#[test]
fn a_host_that_takes_every_place_leaves_one_to_a_sender_of_another() -> Result<()> {
    const SOURCES: u32 = 3_000;
    beside_witnesses(|target| {
        let attacker = target.socket(ELSEWHERE, target.port)?;
        // Two in a row, and never again.
        target.flood(2 * SOURCES, |number| {
            let (ssrc, sequence) = (1 + number / 2, u16::try_from(number % 2)?);
            let header = Header { payload_type: 96, sequence, ssrc, ..Header::default() };
            attacker.send(&header.packet(&[0x41, 0x9a, 3, 4, 5, 6, 7, 8]))?;
            Ok(())
        })?;
        let directory = target.system.directory()?;
        eventually("every place is taken", PATIENCE, || {
            let refused = directory.conductor().counter(ConductorCounter::RejectedLimit);
            Ok((refused > 0).then_some(()))
        })?;
        let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
        let tap = target.system.frames_of("newcomer")?;
        let newcomer = Sender::new(target, Ipv4Addr::new(127, 7, 7, 7), NEWCOMER_SSRC)?;
        newcomer.send(&clip.bytes, clip.bits_per_second())?;
        let frames = tap.frames()?;
        if counter(&target.system, WorkerCounter::KernelDrops)? == 0 {
            clip.is_whole(&frames)?;
        }
        assert_eq!(directory.conductor().counter(ConductorCounter::EndedDisplaced), 1);
        // Its others: refused, or without a room to wait in.
        let refused = counter(&target.system, WorkerCounter::DroppedRefused)?
            + counter(&target.system, WorkerCounter::DroppedWaiting)?;
        ensure!(refused > 1_000, "{refused} packets of sources that were not let in");
        Ok(())
    })
}

#[test]
fn streams_that_are_well_keep_their_places_whoever_asks() -> Result<()> {
    let places = 2;
    let target = Target::with_places(places)?;
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    // One host has both of them.
    let mut sending = Vec::new();
    let mut taps = Vec::new();
    for (id, ssrc) in [(WITNESS, WITNESS_SSRC), ("newcomer", NEWCOMER_SSRC)] {
        taps.push(target.system.frames_of(id)?);
        let sender = Sender::new(&target, ELSEWHERE, ssrc)?;
        let (bytes, rate) = (clip.bytes.clone(), clip.bits_per_second());
        sending.push(std::thread::spawn(move || sender.send(&bytes, rate)));
        target.system.wait_stream(id, "it is active", |stream| stream["status"] == "active")?;
    }
    let other = target.socket(Ipv4Addr::LOCALHOST, target.port)?;
    let directory = target.system.directory()?;
    let mut sequence = 0;
    eventually("another host is refused", PATIENCE, || {
        let header = Header { payload_type: 96, sequence, ssrc: 5, ..Header::default() };
        other.send(&header.packet(&[0x41; 40]))?;
        sequence += 1;
        let refused = directory.conductor().counter(ConductorCounter::RejectedLimit);
        Ok((refused > 0).then_some(()))
    })?;
    for sending in sending {
        sending.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
    }
    for tap in taps {
        let frames = tap.frames()?;
        if counter(&target.system, WorkerCounter::KernelDrops)? == 0 {
            clip.is_whole(&frames)?;
        }
    }
    assert_eq!(directory.conductor().counter(ConductorCounter::EndedDisplaced), 0);
    is_sound(&target.system)?;
    target.system.stop()
}

#[test]
fn another_address_with_a_live_ssrc_is_refused_and_changes_nothing() -> Result<()> {
    const SENT: u16 = 5_000;
    beside_witnesses(|target| {
        let attacker = target.socket(ELSEWHERE, target.port)?;
        target.flood(SENT.into(), |number| {
            let sequence = u16::try_from(number)?;
            let header = Header {
                payload_type: 33,
                sequence,
                timestamp: number * 90,
                ssrc: WITNESS_SSRC,
                ..Header::default()
            };
            attacker.send(&header.packet(&[0x47; 1_316]))?;
            Ok(())
        })?;
        target.counted_by_worker(SENT.into(), &UNKNOWN)?;
        let stream = target.stream(WITNESS)?;
        assert_eq!(
            of(&stream, &[StreamCounter::PacketsDroppedSource, StreamCounter::Relatches]),
            0
        );
        Ok(())
    })
}

#[test]
fn another_address_at_the_port_of_a_session_is_dropped_and_counted() -> Result<()> {
    const SENT: u16 = 2_000;
    beside_witnesses(|target| {
        let own = target.socket(Ipv4Addr::LOCALHOST, target.h264)?;
        let header = |sequence| Header {
            marker: true,
            payload_type: 96,
            sequence,
            timestamp: u32::from(sequence) * 3_600,
            ssrc: 77,
        };
        for sequence in 0..2 {
            own.send(&header(sequence).packet(&[0x41, 0x9a, 3, 4, 5, 6]))?;
        }
        let packets = |stream: &shm::StreamSnapshot| of(stream, &[StreamCounter::PacketsDelivered]);
        target.wait_stream("given/h264", "it has its sender", |it| packets(it) == 2)?;
        let attacker = target.socket(ELSEWHERE, target.h264)?;
        target.flood(SENT.into(), |number| {
            // With its SSRC and with another.
            let ssrc = if number % 2 == 0 { 77 } else { 78 };
            let header = Header { ssrc, ..header(2 + u16::try_from(number / 2)?) };
            attacker.send(&header.packet(&[0x41, 0x9a, 3, 4, 5, 6]))?;
            Ok(())
        })?;
        let dropped = [StreamCounter::PacketsDroppedSource];
        target.counted(SENT.into(), |it| Ok(of(&it.stream("given/h264")?, &dropped)))?;
        assert_eq!(packets(&target.stream("given/h264")?), 2);
        Ok(())
    })
}

#[test]
fn empty_cut_and_random_datagrams_are_dropped_each_under_its_reason() -> Result<()> {
    const SENT: u32 = 6_000;
    beside_witnesses(|target| {
        let ports = [target.port, target.rtcp_port, target.h264, target.ts, target.raw];
        let sockets = ports.map(|port| target.socket(ELSEWHERE, port));
        let sockets = sockets.into_iter().collect::<Result<Vec<_>>>()?;
        let mut random = Random::new(11);
        let mut datagram = [0; 1_472];
        target.flood(SENT, |number| {
            for chunk in datagram.chunks_exact_mut(8) {
                chunk.copy_from_slice(&random.draw().to_be_bytes());
            }
            if number % 3 == 0 {
                datagram[0] = 0x80 | datagram[0] & 0x3f;
            }
            let len = if number % 7 == 0 { 0 } else { usize::try_from(random.draw() % 1_472)? };
            let [.., low] = number.to_be_bytes();
            sockets[usize::from(low) % ports.len()].send(&datagram[..len])?;
            Ok(())
        })?;
        target.at_least((SENT / 7).into(), WorkerCounter::DroppedEmpty)?;
        target.at_least((SENT / 10).into(), WorkerCounter::DroppedInvalidRtp)?;
        // Large ones one by one: a few fill the socket's buffer.
        super::flood_within(&target.system, 1, 40, |number| {
            let [.., low] = number.to_be_bytes();
            sockets[usize::from(low) % ports.len()].send(&vec![0x80; 65_507])?;
            Ok(())
        })?;
        target.counted_by_worker(40, &[WorkerCounter::DroppedTruncated])
    })
}
