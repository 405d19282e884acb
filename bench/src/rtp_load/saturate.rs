//! The saturated cost, as floor R1 has it: the receiver is stopped while its queues are filled, then
//! it empties them with the sender silent. What it uses for that is measured, without the first
//! round.
//!
//! The floor's receiver is not stopped: it waits for its sender. Here a signal wakes every thread, also
//! those that have nothing to do with datagrams. What that costs is measured in rounds of no datagrams,
//! one before each, and left out.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::load::Load;
use super::media::Media;
use super::{Arguments, Ended, finish, settle, warm_up};
use crate::clock;
use crate::dataplane::Observer;
use crate::process::udp_drops;
use crate::report::Report;
use crate::target::{Target, Usage};

/// What a round queues: as many as in floor R1.
const ROUND_PACKETS: u64 = 4_095;
/// Longer than any round takes.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between looks this CPU sleeps, as the floor's sender does while its queues are emptied: where
/// the two CPUs are threads of one core, a loop here would slow the receiver down.
const LOOK_INTERVAL: Duration = Duration::from_micros(500);
/// By then a receiver that was stopped rests again when there is nothing to receive.
const REST: Duration = Duration::from_millis(2);

pub(super) fn measure(
    arguments: &Arguments,
    media: &Media,
    target: Option<Target>,
    rounds: u32,
) -> Result<Report> {
    let target = target.context("--saturate needs a receiver: a command or --pid")?;
    let mut observer = arguments.options.observer()?;
    ensure!(observer.is_some(), "--saturate needs --socket");
    let drops_before = udp_drops(arguments.ports());
    let mut load = Load::open(arguments.load_options(media))?;
    warm_up(arguments, media, &mut load, &mut observer)?;
    settle(&mut observer);
    let (mut cpu, mut packets) = (Duration::ZERO, 0);
    if let Some(observer) = &mut observer {
        observer.start_window();
    }
    for round in 0..rounds.max(2) {
        let seen = observer.as_ref().context("checked")?;
        let awake = woken(&target)?;
        let (used, received) = emptied(&target, seen, || load.send_at_once(media, ROUND_PACKETS))?;
        if round > 0 {
            cpu += used.saturating_sub(awake);
            packets += received;
        }
        // The queues are empty: frames are read back between rounds.
        for _ in 0..arguments.sessions {
            crate::measure::step(&mut observer);
        }
    }
    let idle = target.usage_since(&target.cpu_times()?)?;
    let ended = Ended {
        arguments,
        media,
        load: &load,
        window: Duration::ZERO,
        bytes: 0,
        usage: Some(Usage { cpu_s: cpu.as_secs_f64(), ..idle }),
        foreign_cpu_percent: 0.0,
        datagrams: Some(packets),
    };
    settle(&mut observer);
    let mut report = ended.report(&mut observer, drops_before);
    finish(Some(target), &mut report)?;
    Ok(report)
}

/// What the receiver uses to wake up where nothing is queued.
fn woken(target: &Target) -> Result<Duration> {
    let before = target.stop_for_now()?;
    target.go_on()?;
    std::thread::sleep(REST);
    Ok(target.cpu_times()?.since(&before))
}

/// What the receiver uses to empty queues that are filled while it is stopped, and how many datagrams
/// that was.
fn emptied(
    target: &Target,
    seen: &Observer,
    fill: impl FnOnce() -> Result<u64>,
) -> Result<(Duration, u64)> {
    // The workers' count: it is shown with each duty cycle, a stream's own only now and then.
    let (before, received) = (target.stop_for_now()?, seen.datagrams());
    let sent = fill()?;
    target.go_on()?;
    let deadline = clock::now() + PATIENCE;
    while seen.datagrams() - received < sent && clock::now() < deadline {
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok((target.cpu_times()?.since(&before), seen.datagrams() - received))
}
