//! Whether a stream keeps to its bandwidth, second by second.

use std::time::Duration;

use memory::Time;

use crate::config::OverBandwidth;

/// So long a stream must be above its bandwidth, and below it again.
const SPAN: Duration = Duration::from_secs(1);

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It has been above its bandwidth for a second, at this rate.
    Over(u64),
    /// It has been within for a second.
    Within,
}

/// Watches the media rate of one stream.
#[derive(Debug)]
pub(crate) struct Watch {
    max_bps: u64,
    policy: OverBandwidth,
    from: (Time, u64),
    over: bool,
    /// Seconds that were above.
    exceeded: u64,
}

impl Watch {
    pub(crate) const fn new() -> Self {
        let policy = OverBandwidth::Event;
        Self { max_bps: u64::MAX, policy, from: (Time::ZERO, 0), over: false, exceeded: 0 }
    }

    /// A session begins.
    pub(crate) const fn open(&mut self, max_bps: u64, policy: OverBandwidth, now: Time) {
        *self = Self { max_bps, policy, from: (now, 0), over: false, exceeded: 0 };
    }

    /// Changes the terms of an open session; they are judged anew.
    pub(crate) const fn set(&mut self, max_bps: u64, policy: OverBandwidth) {
        self.max_bps = max_bps;
        self.policy = policy;
        self.over = false;
    }

    /// Takes the sum of media bytes so far.
    pub(crate) fn update(&mut self, now: Time, bytes: u64) -> Option<Change> {
        let (from, before) = self.from;
        let span = now.since(from);
        if span < SPAN {
            return None;
        }
        self.from = (now, bytes);
        let bits = u128::from(bytes.saturating_sub(before)) * 8;
        let rate = bits * 1_000_000_000 / span.as_nanos().max(1);
        let over = rate > u128::from(self.max_bps);
        self.exceeded += u64::from(over);
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        match (std::mem::replace(&mut self.over, over), over) {
            (false, true) => Some(Change::Over(rate)),
            (true, false) => Some(Change::Within),
            _ => None,
        }
    }

    pub(crate) const fn max_bps(&self) -> u64 {
        self.max_bps
    }

    pub(crate) const fn policy(&self) -> OverBandwidth {
        self.policy
    }

    pub(crate) const fn exceeded(&self) -> u64 {
        self.exceeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds so many bytes a second, each 10 ms, for `ms`; what changed and after how many ms.
    fn run(
        watch: &mut Watch,
        total: &mut u64,
        from: u64,
        ms: u64,
        rate: u64,
    ) -> Vec<(u64, Change)> {
        let mut changes = Vec::new();
        for at in (from + 10..=from + ms).step_by(10) {
            *total += rate / 100;
            let now = Time::from_micros(at * 1_000);
            changes.extend(watch.update(now, *total).map(|change| (at - from, change)));
        }
        changes
    }

    #[test]
    fn a_second_above_tells_once_and_a_second_within_tells_the_end() {
        let mut watch = Watch::new();
        watch.open(8_000_000, OverBandwidth::Event, Time::ZERO);
        let mut total = 0;
        assert_eq!(run(&mut watch, &mut total, 0, 3_000, 1_000_000), [], "exactly at it");
        let over = run(&mut watch, &mut total, 3_000, 3_000, 2_000_000);
        assert_eq!(over, [(1_000, Change::Over(16_000_000))]);
        assert_eq!(watch.exceeded(), 3);
        let within = run(&mut watch, &mut total, 6_000, 2_000, 0);
        assert_eq!(within, [(1_000, Change::Within)]);
    }

    #[test]
    fn half_a_second_above_is_none() {
        let mut watch = Watch::new();
        watch.open(8_000_000, OverBandwidth::Close, Time::ZERO);
        let mut total = 0;
        assert_eq!(run(&mut watch, &mut total, 0, 500, 1_900_000), []);
        assert_eq!(run(&mut watch, &mut total, 500, 2_500, 0), []);
    }

    #[test]
    fn new_terms_are_judged_anew() {
        let mut watch = Watch::new();
        watch.open(80_000, OverBandwidth::Event, Time::ZERO);
        let mut total = 0;
        assert_eq!(run(&mut watch, &mut total, 0, 2_000, 20_000).len(), 1);
        watch.set(80_000, OverBandwidth::Drop);
        assert_eq!(run(&mut watch, &mut total, 2_000, 2_000, 20_000).len(), 1);
    }
}
