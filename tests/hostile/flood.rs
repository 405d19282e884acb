//! Many datagrams that are nobody's.

use std::collections::VecDeque;
use std::net::{IpAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use penstock_tests::process::eventually;
use penstock_tests::raw::{RawCaller, hello, message};
use penstock_tests::relay::Random;
use penstock_tests::system::{PATIENCE, Penstock};
use shm::counters::{ConductorCounter, WorkerCounter};

use super::{beside_a_witness, counter, flood};

fn socket(system: &Penstock) -> Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(system.srt_address())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Waits until every datagram sent was counted by one of `counters` or dropped by the kernel.
fn all_counted(system: &Penstock, sent: u64, counters: &[WorkerCounter]) -> Result<u64> {
    eventually("all are counted", PATIENCE, || {
        let mut counted = 0;
        for one in counters {
            counted += counter(system, *one)?;
        }
        let dropped = counter(system, WorkerCounter::KernelDrops)?;
        ensure!(counted <= sent, "{counted} counted of {sent}");
        Ok((counted + dropped >= sent).then_some(counted))
    })
}

/// Any of the sixteen million addresses that a machine has for itself.
pub(crate) fn own_address(number: u32) -> IpAddr {
    let [_, a, b, c] = (number.wrapping_mul(0x9e37_79b9) & 0xff_ffff).to_be_bytes();
    [127, a, b, c.clamp(1, 254)].into()
}

#[test]
fn a_flood_of_inductions_from_many_addresses_leaves_no_state_and_is_not_amplified() -> Result<()> {
    const SOURCES: u32 = 4_000;
    const EACH: u32 = 5;
    // What a page or two of anything may cost; a session is a megabyte, an attempt half a kilobyte.
    const GROWTH_MAX: u64 = 256 << 10;
    beside_a_witness(|system, _| {
        let lone = RawCaller::new(system.srt_address(), 1)?;
        let request = message(&lone.induction(), &[]);
        let before = system.dataplane.memory()?.own;
        let inductions = counter(system, WorkerCounter::Inductions)?;
        let (mut sent, mut answered) = (0, 0);
        let mut callers = VecDeque::new();
        flood(system, SOURCES * EACH, |number| {
            if number % EACH == 0 {
                let from = own_address(number / EACH);
                callers.push_back(RawCaller::at(from, system.srt_address(), 1 + number)?);
            }
            if callers.len() > 500
                && let Some(done) = callers.pop_front()
            {
                answered += bytes_of(&done.receive_all()?);
            }
            sent += request.len();
            callers.back().context("a caller")?.send(&request)
        })?;
        let all = u64::from(SOURCES * EACH) + inductions;
        all_counted(system, all, &[WorkerCounter::Inductions])?;
        for done in callers {
            answered += bytes_of(&done.receive_all()?);
        }
        ensure!(answered > 0 && answered <= sent, "{answered} bytes answer {sent}");
        let after = system.dataplane.memory()?.own;
        ensure!(after <= before + GROWTH_MAX, "{before} bytes before, {after} after");
        assert!(counter(system, WorkerCounter::Sessions)? <= 1, "sessions beside the witness");
        let directory = system.directory()?;
        assert_eq!(directory.streams().len(), 1);
        assert_eq!(directory.conductor().counter(ConductorCounter::Accepted), 1);
        Ok(())
    })
}

fn bytes_of(packets: &[Vec<u8>]) -> usize {
    packets.iter().map(Vec::len).sum()
}

#[test]
fn conclusions_with_guessed_or_stolen_cookies_are_counted_and_not_answered() -> Result<()> {
    const SENT: u32 = 8_000;
    beside_a_witness(|system, _| {
        let stolen = RawCaller::new(system.srt_address(), 3)?.cookie()?;
        let caller = RawCaller::new(system.srt_address(), 4)?;
        let mut random = Random::new(6);
        flood(system, SENT, |number| {
            let guess = u32::try_from(random.draw() >> 32)?;
            let cookie = if number % 2 == 0 { stolen } else { guess };
            caller.send(&message(&caller.conclusion(cookie), &hello(120, "thief")))
        })?;
        all_counted(system, SENT.into(), &[WorkerCounter::CookiesBad])?;
        assert_eq!(caller.receive(), None, "an answer");
        assert!(counter(system, WorkerCounter::Sessions)? <= 1, "sessions beside the witness");
        Ok(())
    })
}

#[test]
fn empty_datagrams_end_no_reception() -> Result<()> {
    const SENT: u32 = 2_000;
    beside_a_witness(|system, _| {
        let socket = socket(system)?;
        flood(system, SENT, |_| Ok(socket.send(&[]).map(drop)?))?;
        all_counted(system, SENT.into(), &[WorkerCounter::DroppedEmpty])?;
        let rearmed = counter(system, WorkerCounter::RearmsEmpty)?;
        ensure!(rearmed > 0, "no reception was armed again");
        Ok(())
    })
}

#[test]
fn oversize_datagrams_are_cut_counted_and_dropped() -> Result<()> {
    const SENT: u32 = 400;
    beside_a_witness(|system, witness| {
        let socket = socket(system)?;
        let mut datagram = vec![0x47; 65_507];
        datagram[12..16].copy_from_slice(&witness.socket_id().to_be_bytes());
        flood(system, SENT, |number| {
            let len = if number % 2 == 0 { 65_507 } else { 2_049 + usize::try_from(number)? };
            Ok(socket.send(&datagram[..len]).map(drop)?)
        })?;
        all_counted(system, SENT.into(), &[WorkerCounter::DroppedTruncated])?;
        Ok(())
    })
}

#[test]
fn random_bytes_are_dropped_each_under_its_reason() -> Result<()> {
    const SENT: u32 = 20_000;
    beside_a_witness(|system, _| {
        let socket = socket(system)?;
        let mut random = Random::new(7);
        let mut datagram = [0; 1_472];
        flood(system, SENT, |number| {
            for chunk in datagram.chunks_exact_mut(8) {
                chunk.copy_from_slice(&random.draw().to_be_bytes());
            }
            // Every third one to the listener, a few to places that exist.
            match number % 6 {
                0 | 1 => datagram[12..16].fill(0),
                2 => datagram[12..14].fill(0),
                _ => {}
            }
            if number % 4 == 0 {
                datagram[..2].copy_from_slice(&[0x80, 0]);
            }
            let len = 1 + usize::try_from(random.draw() % 1_472)?;
            Ok(socket.send(&datagram[..len]).map(drop)?)
        })?;
        all_counted(
            system,
            SENT.into(),
            &[
                WorkerCounter::DroppedShort,
                WorkerCounter::DroppedInvalid,
                WorkerCounter::DroppedUnknownSession,
                WorkerCounter::CookiesBad,
            ],
        )?;
        assert!(counter(system, WorkerCounter::Sessions)? <= 1, "sessions beside the witness");
        Ok(())
    })
}
