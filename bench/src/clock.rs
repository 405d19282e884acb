//! The monotonic clock, and waiting on it.

use std::time::Duration;

use memory::Time;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Waits shorter than this spin: on a virtual machine a sleep overshoots by about as much.
const SPIN_BELOW: Duration = Duration::from_micros(250);
/// A sleep ends this much early, the rest is spun.
const WAKE_EARLY: Duration = Duration::from_micros(150);

/// The present.
pub(crate) fn now() -> Time {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(tv_sec).unwrap_or(0);
    Time::from_nanos(seconds * 1_000_000_000 + u64::try_from(tv_nsec).unwrap_or(0))
}

/// Waits until about `until` without oversleeping: sleeps when there is enough time, else spins.
pub(crate) fn wait_until(until: Time) {
    let left = until.since(now());
    if left > SPIN_BELOW {
        std::thread::sleep(left - WAKE_EARLY);
    } else {
        std::hint::spin_loop();
    }
}

/// Pins this thread to one CPU and makes its sleeps precise.
pub(crate) fn own_core(cpu: usize) -> std::io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set)?;
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;
    Ok(())
}
