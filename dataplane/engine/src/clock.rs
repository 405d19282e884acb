//! The only clock of the engine: read once a duty cycle, told to everyone else.

use memory::Time;
use rustix::time::{ClockId, Timespec, clock_gettime};

fn nanos(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1_000_000_000 + nanos
}

/// Now, on `CLOCK_MONOTONIC`.
pub(crate) fn now() -> Time {
    Time::from_nanos(nanos(clock_gettime(ClockId::Monotonic)))
}

/// Now, nanoseconds since 1970. For labels only: nothing is timed with it.
pub(crate) fn unix_nanos() -> u64 {
    nanos(clock_gettime(ClockId::Realtime))
}

/// Turns the kernel's receive stamps (`CLOCK_REALTIME`) into monotonic time. The distance of the
/// two clocks moves when the wall clock is set, so it is measured again each second.
#[derive(Debug)]
pub(crate) struct ArrivalClock {
    realtime_minus_monotonic: i128,
    measure_at: Time,
}

impl ArrivalClock {
    const MEASURE_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

    pub(crate) fn new() -> Self {
        let mut clock = Self { realtime_minus_monotonic: 0, measure_at: Time::ZERO };
        clock.tick(now());
        clock
    }

    /// For stamps that are monotonic time already.
    #[cfg(feature = "simulation")]
    pub(crate) const fn still() -> Self {
        Self { realtime_minus_monotonic: 0, measure_at: Time::NEVER }
    }

    /// Measures again when it is time to.
    pub(crate) fn tick(&mut self, now: Time) {
        if now >= self.measure_at {
            let monotonic = i128::from(self::now().nanos());
            self.realtime_minus_monotonic = i128::from(unix_nanos()) - monotonic;
            self.measure_at = now + Self::MEASURE_EVERY;
        }
    }

    /// The monotonic time of a kernel stamp. A stamp that is missing, ahead of `now` or more than
    /// a minute old (the wall clock was set in between) counts as `now`.
    pub(crate) fn arrival(&self, stamp_ns: Option<u64>, now: Time) -> Time {
        const BELIEVED_NS: i128 = 60_000_000_000;
        let Some(stamp) = stamp_ns else { return now };
        let monotonic = i128::from(stamp) - self.realtime_minus_monotonic;
        let age = i128::from(now.nanos()) - monotonic;
        if !(0..=BELIEVED_NS).contains(&age) {
            return now;
        }
        u64::try_from(monotonic).map_or(now, Time::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_stamp_becomes_monotonic() {
        let clock = ArrivalClock { realtime_minus_monotonic: 1_000, measure_at: Time::NEVER };
        let now = Time::from_nanos(500);
        assert_eq!(clock.arrival(Some(1_400), now), Time::from_nanos(400));
        assert_eq!(clock.arrival(None, now), now);
    }

    #[test]
    fn stamps_of_a_clock_that_was_set_are_not_believed() {
        let clock = ArrivalClock { realtime_minus_monotonic: 1_000, measure_at: Time::NEVER };
        let now = Time::from_nanos(100_000_000_000);
        assert_eq!(clock.arrival(Some(200_000_000_000), now), now);
        assert_eq!(clock.arrival(Some(2_000), now), now);
    }
}
