//! Senders that mean harm. Beside each attack a well-behaved publisher sends a clip of 8 Mbit/s, of
//! which nothing may be missing at its end; and no datagram is missing between the counters.

mod death;
mod flood;
mod handshake;
mod intruder;
mod keys;
mod names;
mod rtp;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::conservation;
use penstock_tests::process::eventually;
use penstock_tests::system::{Options, PATIENCE, Penstock};
use penstock_tests::witness::Witness;
use shm::counters::{StreamCounter, WorkerCounter};

/// A system, and what the witness sends.
fn start() -> Result<(Penstock, Clip)> {
    let system = Penstock::start(&patient())?;
    Ok((system, Clip::busy_in_folder(env!("CARGO_TARGET_TMPDIR"))?))
}

/// Time to recover what the kernel drops of the witness in a flood.
fn patient() -> Options {
    Options {
        srt: "    max_bandwidth: 10000000\n    latency: 800ms\n    peer_idle_timeout: 20s\n".into(),
        ..Options::default()
    }
}

/// One worker's counter; there is one worker.
fn counter(system: &Penstock, counter: WorkerCounter) -> Result<u64> {
    Ok(system.directory()?.workers()[0].counter(counter))
}

/// Sends so many datagrams, as fast as the worker takes them: however long it was kept from its
/// CPU, it has buffers for those that wait.
fn flood(system: &Penstock, count: u32, send: impl FnMut(u32) -> Result<()>) -> Result<()> {
    flood_within(system, 2_048, count, send)
}

/// The same with so many waiting at most, and a few more: the witnesses' packets are shown with a
/// delay.
fn flood_within(
    system: &Penstock,
    waiting_max: u32,
    count: u32,
    mut send: impl FnMut(u32) -> Result<()>,
) -> Result<()> {
    let directory = system.directory()?;
    let taken = || {
        let worker = &directory.workers()[0];
        let all = worker.counter(WorkerCounter::DatagramsReceived)
            + worker.counter(WorkerCounter::KernelDrops);
        // Forged RTCP of one is not its own.
        let theirs = [
            ("witness", StreamCounter::DatagramsReceived),
            (rtp::WITNESS, StreamCounter::PacketsReceived),
        ];
        let theirs = theirs.map(|(id, it)| directory.stream(id).map_or(0, |of| of.counter(it)));
        all.saturating_sub(theirs.iter().sum())
    };
    let before = taken();
    for number in 0..count {
        if number % (waiting_max / 2).clamp(1, 64) == 0 {
            let deadline = Instant::now() + PATIENCE;
            while before + u64::from(number) > taken() + u64::from(waiting_max) {
                ensure!(Instant::now() < deadline, "the worker does not go on");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        send(number)?;
    }
    Ok(())
}

/// Runs an attack beside the witness. Whatever it was, no receive may have ended for want of
/// buffers and no session by a fault, and the counters must agree.
fn beside_a_witness(attack: impl FnOnce(&Penstock, &Witness) -> Result<()>) -> Result<()> {
    let (system, clip) = start()?;
    let witness = Witness::start(&system, &clip)?;
    attack(&system, &witness)?;
    witness.lost_nothing(&system, &clip)?;
    is_sound(&system)?;
    system.stop()
}

/// What must hold after any attack.
fn is_sound(system: &Penstock) -> Result<()> {
    for never in [
        WorkerCounter::RearmsNoBuffers,
        WorkerCounter::RearmsOther,
        WorkerCounter::SessionsPanicked,
        WorkerCounter::SlotsStarved,
    ] {
        ensure!(counter(system, never)? == 0, "{}: {}", never.label(), counter(system, never)?);
    }
    let directory = system.directory()?;
    let mut last = Ok(());
    let agreed = eventually("the counters agree", PATIENCE, || {
        last = conservation::check(&directory);
        Ok(last.is_ok().then_some(()))
    });
    last.and(agreed)
}
