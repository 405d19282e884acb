//! The clocks of heartbeats.

use rustix::time::{ClockId, clock_gettime};

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let whole = u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000);
    whole.saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// `CLOCK_MONOTONIC`: the same for all processes since boot.
pub(super) fn monotonic_ns() -> u64 {
    nanos(ClockId::Monotonic)
}

/// Nanoseconds since the Unix epoch.
pub(super) fn unix_ns() -> u64 {
    nanos(ClockId::Realtime)
}
