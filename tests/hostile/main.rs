//! Senders that mean harm. Beside each attack a well-behaved publisher sends a clip of 8 Mbit/s, of
//! which nothing may be missing at its end; and no datagram is missing between the counters.

mod death;
mod flood;
mod handshake;
mod intruder;
mod keys;
mod names;

use anyhow::{Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::conservation;
use penstock_tests::process::eventually;
use penstock_tests::system::{Options, PATIENCE, Penstock};
use penstock_tests::witness::Witness;
use shm::counters::WorkerCounter;

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
fn flood(system: &Penstock, count: u32, mut send: impl FnMut(u32) -> Result<()>) -> Result<()> {
    const WAITING_MAX: u64 = 2_048;
    let directory = system.directory()?;
    let taken = || {
        let worker = &directory.workers()[0];
        worker.counter(WorkerCounter::DatagramsReceived)
            + worker.counter(WorkerCounter::KernelDrops)
    };
    let before = taken();
    for number in 0..count {
        if number % 64 == 0 {
            eventually("the worker goes on", PATIENCE, || {
                Ok((before + u64::from(number) <= taken() + WAITING_MAX).then_some(()))
            })?;
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
