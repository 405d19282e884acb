//! Time as a parameter: a point on the monotonic clock that protocol code is told, never asks for.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);
    /// Later than any time that occurs.
    pub const NEVER: Self = Self(u64::MAX);

    /// From nanoseconds since the clock's origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From microseconds since the clock's origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// Nanoseconds since the clock's origin.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Whole microseconds since the clock's origin.
    pub const fn micros(self) -> u64 {
        self.0 / 1_000
    }

    /// The time from `earlier` to `self`, zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        let nanos = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let second = Duration::from_secs(1);
        assert_eq!(Time::NEVER + second, Time::NEVER);
        assert_eq!(Time::ZERO - second, Time::ZERO);
        assert_eq!(Time::from_micros(u64::MAX), Time::NEVER);
        assert_eq!(Time::from_nanos(5) + Duration::MAX, Time::NEVER);
    }

    #[test]
    fn since_an_earlier_time_is_the_difference_and_since_a_later_one_zero() {
        let (early, late) = (Time::from_micros(2), Time::from_nanos(3_500));
        assert_eq!(late.since(early), Duration::from_nanos(1_500));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late.micros(), 3);
    }
}
