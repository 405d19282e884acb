//! The circuit breaker of a source: a peer that says no again and again is left alone for a while.
//!
//! ```text
//!            refusals in a row reach the threshold
//!   Closed ────────────────────────────────────────▶ Open ──time is over──▶ Half-open
//!     ▲                                                ▲                      │ one probe
//!     ├────────────────── connected ───────────────────┼──────────────────────┤
//!     └──────────── (silence changes nothing)          └───────refused────────┘
//! ```
//!
//! Only refusals count: an answer with a code, or one that cannot be served. Silence does not, for a
//! remote encoder that is off is the ordinary case and must be had back within seconds of its return;
//! the waits of [`Backoff`](super::backoff::Backoff) are all that slows those tries down.

use std::time::Duration;

use memory::Time;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BreakerConfig {
    /// Refusals in a row that open it.
    pub threshold: u32,
    /// How long it stays open before one probe is let through.
    pub open: Duration,
}

/// Where the breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breaker {
    /// Tries are let through; so many refusals in a row have come.
    Closed(u32),
    /// No try before then.
    Open(Time),
    /// One try is under way; its end decides.
    HalfOpen,
}

impl Breaker {
    pub(crate) const NEW: Self = Self::Closed(0);

    /// Asks for a try at `now`: false when the breaker is open.
    pub(crate) fn lets_through(&mut self, now: Time) -> bool {
        match *self {
            Self::Closed(_) | Self::HalfOpen => true,
            Self::Open(until) if now < until => false,
            Self::Open(_) => {
                *self = Self::HalfOpen;
                true
            }
        }
    }

    /// The try was refused.
    pub(crate) fn refused(&mut self, config: &BreakerConfig, now: Time) {
        *self = match *self {
            Self::Closed(refusals) if refusals + 1 < config.threshold => Self::Closed(refusals + 1),
            Self::Closed(_) | Self::HalfOpen | Self::Open(_) => Self::Open(now + config.open),
        };
    }

    /// The try succeeded.
    pub(crate) const fn connected(&mut self) {
        *self = Self::NEW;
    }

    /// When the next try is let through at the earliest; `None`: at any time.
    pub(crate) const fn opens_until(&self) -> Option<Time> {
        match *self {
            Self::Open(until) => Some(until),
            Self::Closed(_) | Self::HalfOpen => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: BreakerConfig = BreakerConfig { threshold: 3, open: Duration::from_secs(60) };

    fn at(seconds: u64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn open() -> Breaker {
        let mut breaker = Breaker::NEW;
        for second in 0..3 {
            assert!(breaker.lets_through(at(second)));
            breaker.refused(&CONFIG, at(second));
        }
        breaker
    }

    #[test]
    fn the_third_refusal_in_a_row_opens_it_for_its_time() {
        let mut breaker = open();
        assert_eq!(breaker, Breaker::Open(at(62)));
        assert_eq!(breaker.opens_until(), Some(at(62)));
        assert!(!breaker.lets_through(at(61)));
    }

    #[test]
    fn after_its_time_one_probe_decides() {
        for refused in [true, false] {
            let mut breaker = open();
            assert!(breaker.lets_through(at(62)));
            assert_eq!(breaker, Breaker::HalfOpen);
            if refused {
                breaker.refused(&CONFIG, at(63));
                assert_eq!(breaker, Breaker::Open(at(123)));
            } else {
                breaker.connected();
                assert_eq!(breaker, Breaker::NEW);
            }
        }
    }

    #[test]
    fn a_success_between_refusals_starts_the_count_anew() {
        let mut breaker = Breaker::NEW;
        breaker.refused(&CONFIG, at(0));
        breaker.refused(&CONFIG, at(1));
        breaker.connected();
        breaker.refused(&CONFIG, at(2));
        assert_eq!(breaker, Breaker::Closed(1));
    }

    #[test]
    fn a_threshold_of_one_opens_at_the_first_refusal() {
        let mut breaker = Breaker::NEW;
        breaker.refused(&BreakerConfig { threshold: 1, ..CONFIG }, at(0));
        assert_eq!(breaker, Breaker::Open(at(60)));
    }
}
