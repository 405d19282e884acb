//! A rate over the last second or so, from a total that only grows.

use std::time::Duration;

use memory::Time;

const PERIOD: Duration = Duration::from_secs(1);

/// Bits per second of a byte total.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    since: Option<(Time, u64)>,
    bps: u64,
}

impl Rate {
    /// The rate, measured anew when a second has passed since the last measure.
    pub(crate) fn update(&mut self, now: Time, bytes: u64) -> u64 {
        let Some((since, before)) = self.since else {
            self.since = Some((now, bytes));
            return 0;
        };
        let elapsed = now.since(since);
        if elapsed >= PERIOD {
            let bits = u128::from(bytes.saturating_sub(before)) * 8;
            let bps = bits * 1_000_000_000 / elapsed.as_nanos();
            self.bps = u64::try_from(bps).unwrap_or(u64::MAX);
            self.since = Some((now, bytes));
        }
        self.bps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_covers_the_time_since_its_last_measure() {
        let mut rate = Rate::default();
        let at = |ms: u64| Time::from_micros(ms * 1_000);
        assert_eq!(rate.update(at(0), 0), 0);
        assert_eq!(rate.update(at(500), 1_000), 0);
        assert_eq!(rate.update(at(1_000), 125_000), 1_000_000);
        assert_eq!(rate.update(at(3_000), 125_000), 0);
    }
}
