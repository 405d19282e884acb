//! When reports are sent (RFC 3550, 6.2 and A.7).

use std::time::Duration;

/// Share of the session bandwidth that RTCP may take (6.2).
const SHARE: f64 = 0.05;
/// Compensates the timer reconsideration that converges below the average: e - 3/2.
const COMPENSATION: f64 = 1.218_28;
/// UDP and IPv4 headers count as well.
const HEADERS_BYTES: f64 = 28.0;

/// What an interval is computed from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Least interval before it is spread: 5 s, or less where the bandwidth is high (6.2).
    pub min: Duration,
    avg_size: f64,
    random: u64,
    first: bool,
}

impl Interval {
    /// With the seed of its spread.
    pub const fn new(min: Duration, seed: u64) -> Self {
        Self { min, avg_size: 128.0, random: seed | 1, first: true }
    }

    /// An RTCP packet of `bytes` was sent or received.
    pub fn packet(&mut self, bytes: usize) {
        let size = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) + HEADERS_BYTES;
        self.avg_size += (size - self.avg_size) / 16.0;
    }

    /// The time to the next report of one that does not send, in a session of `members` of which
    /// `senders` send, with `bandwidth_bps` in all.
    pub fn next(&mut self, members: u32, senders: u32, bandwidth_bps: u64) -> Duration {
        let bytes_per_second = bandwidth_bps as f64 / 8.0 * SHARE;
        let mut min = self.min.as_secs_f64();
        if std::mem::replace(&mut self.first, false) {
            min /= 2.0;
        }
        let (members, senders) = (f64::from(members.max(1)), f64::from(senders));
        // Few senders: receivers share three quarters.
        let (share, sharing) = if senders <= members * 0.25 {
            (bytes_per_second * 0.75, members - senders)
        } else {
            (bytes_per_second, members)
        };
        let time = (self.avg_size * sharing / share.max(1.0)).max(min);
        let spread = time * (self.uniform() + 0.5) / COMPENSATION;
        Duration::try_from_secs_f64(spread.min(3_600.0)).unwrap_or(self.min)
    }

    /// From 0 to 1 (xorshift).
    fn uniform(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        f64::from(u32::try_from(self.random >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(interval: &mut Interval, members: u32, senders: u32, bps: u64) -> f64 {
        let sum: f64 = (0..2_000).map(|_| interval.next(members, senders, bps).as_secs_f64()).sum();
        sum / 2_000.0
    }

    #[test]
    fn the_minimum_holds_halved_at_first_and_is_spread() {
        let mut interval = Interval::new(Duration::from_secs(5), 7);
        let first = interval.next(2, 1, 5_000_000).as_secs_f64();
        assert!((2.5 * 0.5 / 1.219..2.5 * 1.5 / 1.218).contains(&first), "{first}");
        for _ in 0..1_000 {
            let next = interval.next(2, 1, 5_000_000).as_secs_f64();
            assert!((5.0 * 0.5 / 1.219..5.0 * 1.5 / 1.218).contains(&next), "{next}");
        }
        let mean = mean(&mut interval, 2, 1, 5_000_000);
        assert!((mean - 5.0 / 1.21828).abs() < 0.1, "{mean}");
    }

    #[test]
    fn many_members_share_a_twentieth_of_the_bandwidth() {
        let mut interval = Interval::new(Duration::from_secs(5), 7);
        for _ in 0..500 {
            interval.packet(72);
        }
        // 100 bytes for each of 999 receivers over three quarters of 5 % of 64 kbit/s.
        let expected = 100.0 * 999.0 / (8_000.0 * 0.05 * 0.75) / 1.21828;
        let mean = mean(&mut interval, 1_000, 1, 64_000);
        assert!((mean / expected - 1.0).abs() < 0.05, "{mean} {expected}");
    }

    #[test]
    fn a_seed_repeats_its_intervals() {
        let row = |seed| {
            let mut interval = Interval::new(Duration::from_secs(5), seed);
            (0..5).map(|_| interval.next(2, 1, 1_000)).collect::<Vec<_>>()
        };
        assert_eq!(row(3), row(3));
        assert_ne!(row(3), row(5));
    }

    #[test]
    fn no_bandwidth_is_survived() {
        let mut interval = Interval::new(Duration::from_secs(5), 1);
        assert!(interval.next(u32::MAX, 0, 0) <= Duration::from_secs(3_600));
    }
}
