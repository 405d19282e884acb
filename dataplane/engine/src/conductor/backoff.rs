//! How long a source that could not be had waits before it is tried again.

use std::time::Duration;

/// What the waits are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackoffConfig {
    /// The first wait.
    pub first: Duration,
    /// Each wait is this many times the one before it, in percent: 200 doubles.
    pub multiplier_percent: u32,
    /// No wait is longer, jitter included.
    pub cap: Duration,
    /// Waits in a row after which nothing is tried any more; `None`: never.
    pub tries_max: Option<u32>,
}

/// A wait is up to this much shorter or longer, so that sources lost together do not come back
/// together.
const JITTER_PERCENT: u32 = 20;

/// The waits of one source.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    config: BackoffConfig,
    next: Duration,
    tries: u32,
}

impl Backoff {
    pub(crate) const fn new(config: BackoffConfig) -> Self {
        Self { config, next: config.first, tries: 0 }
    }

    /// The next wait, with `random` deciding about its jitter; `None` when all tries are used up.
    pub(crate) fn wait(&mut self, random: u32) -> Option<Duration> {
        if self.config.tries_max.is_some_and(|max| self.tries >= max) {
            return None;
        }
        self.tries += 1;
        let wait = self.next;
        self.next = (wait * self.config.multiplier_percent / 100).min(self.config.cap);
        let percent = 100 - JITTER_PERCENT + random % (2 * JITTER_PERCENT + 1);
        Some((wait * percent / 100).min(self.config.cap))
    }

    /// Starts over: the source was had.
    pub(crate) const fn reset(&mut self) {
        self.next = self.config.first;
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const CONFIG: BackoffConfig = BackoffConfig {
        first: Duration::from_millis(500),
        multiplier_percent: 200,
        cap: Duration::from_secs(4),
        tries_max: None,
    };
    /// The jitter that leaves a wait as it is.
    const PLAIN: u32 = JITTER_PERCENT;

    #[test]
    fn waits_grow_to_the_cap_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(CONFIG);
        for ms in [500, 1_000, 2_000, 4_000, 4_000, 4_000] {
            assert_eq!(backoff.wait(PLAIN), Some(ms * MS));
        }
        backoff.reset();
        assert_eq!(backoff.wait(PLAIN), Some(500 * MS));
    }

    #[test]
    fn jitter_is_a_fifth_either_way_and_never_passes_the_cap() {
        let mut seen = std::collections::BTreeSet::new();
        for random in 0..10_000 {
            let wait = Backoff::new(CONFIG).wait(random).expect("tries without end");
            assert!((400 * MS..=600 * MS).contains(&wait), "{wait:?}");
            seen.insert(wait);
        }
        assert_eq!(seen.len(), 41);
        let mut backoff = Backoff::new(CONFIG);
        for random in 0..1_000 {
            assert!(backoff.wait(random * 7).expect("tries without end") <= CONFIG.cap);
        }
    }

    #[test]
    fn tries_are_counted_from_the_last_success() {
        let mut backoff = Backoff::new(BackoffConfig { tries_max: Some(2), ..CONFIG });
        assert!(backoff.wait(0).is_some() && backoff.wait(0).is_some());
        assert_eq!(backoff.wait(0), None);
        backoff.reset();
        assert!(backoff.wait(0).is_some());
    }

    #[test]
    fn waits_do_not_overflow() {
        let config = BackoffConfig {
            first: Duration::from_secs(3_600),
            multiplier_percent: 1_000,
            cap: Duration::from_secs(3_600),
            ..CONFIG
        };
        let mut backoff = Backoff::new(config);
        for _ in 0..1_000 {
            assert!(backoff.wait(u32::MAX).expect("tries without end") <= config.cap);
        }
    }
}
