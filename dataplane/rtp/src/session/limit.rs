//! A rate limit: a token bucket in bits that holds a second's worth.

use memory::Time;

/// The bucket. Without a rate everything passes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RateLimit {
    bits_per_second: Option<u64>,
    /// Nanobits: bits × 10^9, so that no time is lost in rounding.
    tokens: u128,
    filled_at: Time,
}

const NANO: u128 = 1_000_000_000;

impl RateLimit {
    pub(crate) fn new(bits_per_second: Option<u64>, now: Time) -> Self {
        let tokens = u128::from(bits_per_second.unwrap_or(0)) * NANO;
        Self { bits_per_second, tokens, filled_at: now }
    }

    /// Whether a packet of `bytes` passes.
    pub(crate) fn admits(&mut self, bytes: usize, now: Time) -> bool {
        let Some(rate) = self.bits_per_second else { return true };
        let capacity = u128::from(rate) * NANO;
        let passed = now.since(self.filled_at).as_nanos();
        self.filled_at = self.filled_at.max(now);
        self.tokens = (self.tokens + passed.saturating_mul(rate.into())).min(capacity);
        let cost = u128::from(crate::bytes::count(bytes)) * 8 * NANO;
        match self.tokens.checked_sub(cost) {
            Some(rest) => {
                self.tokens = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_passes_at_once_and_then_the_rate() {
        let mut limit = RateLimit::new(Some(80_000), Time::ZERO);
        let passed = (0..200).filter(|_| limit.admits(100, Time::ZERO)).count();
        assert_eq!(passed, 100);
        let at = |ms: u64| Time::from_micros(ms * 1_000);
        let passed = (0..2_000).filter(|ms| limit.admits(100, at(*ms))).count();
        assert_eq!(passed, 199, "800 bits each 10 ms");
    }

    #[test]
    fn without_a_rate_everything_passes() {
        let mut limit = RateLimit::new(None, Time::ZERO);
        assert!((0..10_000).all(|_| limit.admits(1_500, Time::ZERO)));
    }
}
