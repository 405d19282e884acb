//! Round-trip time from full acknowledgements and their ACKACKs (draft-sharabayko-srt-01, 4.10).

use std::time::Duration;

use memory::Time;

use crate::sequence::Sequence;

/// Acknowledgements remembered: at one each 10 ms a round trip of 2.5 s can still be measured.
const SENT_MAX: u32 = 256;

/// Smoothed round-trip time and its variance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rtt {
    smoothed_us: u32,
    variance_us: u32,
    /// The first sample: drift is measured against it.
    first_us: Option<u32>,
}

impl Rtt {
    /// 100 ms and 50 ms until the first sample.
    pub(crate) const fn new() -> Self {
        Self { smoothed_us: 100_000, variance_us: 50_000, first_us: None }
    }

    /// The first sample is taken as it is, with half of it as variance (as libsrt 1.5 does); later
    /// ones weigh 1/8 and their distance 1/4.
    pub(crate) fn sample(&mut self, sample: Duration) {
        let sample_us = u32::try_from(sample.as_micros()).unwrap_or(u32::MAX);
        if self.first_us.is_none() {
            self.first_us = Some(sample_us);
            self.smoothed_us = sample_us;
            self.variance_us = sample_us / 2;
            return;
        }
        let distance = sample_us.abs_diff(self.smoothed_us);
        self.variance_us = smooth(self.variance_us, distance, 4);
        self.smoothed_us = smooth(self.smoothed_us, sample_us, 8);
    }

    pub(crate) const fn smoothed_us(&self) -> u32 {
        self.smoothed_us
    }

    pub(crate) const fn variance_us(&self) -> u32 {
        self.variance_us
    }

    /// How much longer than the first sample `sample` took.
    pub(crate) fn excess_us(&self, sample: Duration) -> i64 {
        let first = i64::from(self.first_us.unwrap_or(0));
        i64::try_from(sample.as_micros()).unwrap_or(i64::MAX / 2) - first
    }

    /// RTT + 4 * variance: by then an answer should have come.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_micros(u64::from(self.smoothed_us) + 4 * u64::from(self.variance_us))
    }

    /// Time between reports of the same loss: half the patience, at least 20 ms (4.8.2).
    pub(crate) fn nak_interval(&self) -> Duration {
        (self.patience() / 2).max(Duration::from_millis(20))
    }
}

fn smooth(old: u32, sample: u32, weight: u32) -> u32 {
    let sum = u64::from(old) * u64::from(weight - 1) + u64::from(sample);
    u32::try_from(sum / u64::from(weight)).unwrap_or(u32::MAX)
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    number: u32,
    sequence: Sequence,
    at: Time,
}

/// Full acknowledgements on their way.
#[derive(Debug)]
pub(crate) struct SentAcks {
    ring: Box<[Sent]>,
    last: u32,
}

impl SentAcks {
    /// Bytes that the memory of acknowledgements takes.
    pub(crate) const BYTES: usize = SENT_MAX as usize * size_of::<Sent>();

    pub(crate) fn new() -> Self {
        let none = Sent { number: 0, sequence: Sequence::new(0), at: Time::ZERO };
        Self { ring: (0..SENT_MAX).map(|_| none).collect(), last: 0 }
    }

    pub(crate) fn reset(&mut self) {
        self.last = 0;
        for sent in &mut self.ring {
            sent.number = 0;
        }
    }

    /// The number of the next acknowledgement, from 1; 0 is left out when the count wraps.
    pub(crate) fn push(&mut self, sequence: Sequence, now: Time) -> u32 {
        self.last = self.last.wrapping_add(1).max(1);
        let number = self.last;
        if let Some(sent) = self.entry(number) {
            *sent = Sent { number, sequence, at: now };
        }
        number
    }

    /// True when an acknowledgement had this number, lately or long ago.
    pub(crate) const fn was_sent(&self, number: u32) -> bool {
        // Numbers do not wrap within a year of one each 10 ms.
        number != 0 && number <= self.last
    }

    /// What number `number` acknowledged and when, once.
    pub(crate) fn take(&mut self, number: u32) -> Option<(Sequence, Time)> {
        let sent = self.entry(number).filter(|sent| sent.number == number && number != 0)?;
        sent.number = 0;
        Some((sent.sequence, sent.at))
    }

    fn entry(&mut self, number: u32) -> Option<&mut Sent> {
        let index = usize::try_from(number % SENT_MAX).ok()?;
        self.ring.get_mut(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn starts_at_100_ms_and_takes_the_first_sample_whole() {
        let mut rtt = Rtt::new();
        assert_eq!((rtt.smoothed_us(), rtt.variance_us()), (100_000, 50_000));
        rtt.sample(MS(20));
        assert_eq!((rtt.smoothed_us(), rtt.variance_us()), (20_000, 10_000));
    }

    #[test]
    fn later_samples_weigh_an_eighth_and_a_quarter() {
        let mut rtt = Rtt::new();
        rtt.sample(MS(20));
        rtt.sample(MS(28));
        assert_eq!((rtt.smoothed_us(), rtt.variance_us()), (21_000, 9_500));
        rtt.sample(MS(0));
        assert_eq!((rtt.smoothed_us(), rtt.variance_us()), (18_375, 12_375));
    }

    #[test]
    fn loss_reports_repeat_after_half_the_patience_but_not_within_20_ms() {
        let mut rtt = Rtt::new();
        assert_eq!(rtt.nak_interval(), MS(150));
        rtt.sample(MS(1));
        assert_eq!(rtt.nak_interval(), MS(20));
    }

    #[test]
    fn an_acknowledgement_is_answered_once_and_number_0_never() {
        let mut sent = SentAcks::new();
        let number = sent.push(Sequence::new(7), Time::from_micros(5));
        assert_eq!(number, 1);
        assert!(sent.take(0).is_none());
        assert!(sent.take(2).is_none());
        assert_eq!(sent.take(1), Some((Sequence::new(7), Time::from_micros(5))));
        assert!(sent.take(1).is_none());
    }

    #[test]
    fn an_answer_to_a_forgotten_acknowledgement_counts_nothing() {
        let mut sent = SentAcks::new();
        for _ in 0..=SENT_MAX {
            sent.push(Sequence::new(1), Time::ZERO);
        }
        assert!(sent.take(1).is_none());
        assert!(sent.take(2).is_some());
        assert!(sent.take(SENT_MAX + 1).is_some());
    }

    #[test]
    fn numbers_skip_0_when_they_wrap() {
        let mut sent = SentAcks::new();
        sent.last = u32::MAX;
        assert_eq!(sent.push(Sequence::new(1), Time::ZERO), 1);
        assert!(sent.was_sent(1) && !sent.was_sent(0) && !sent.was_sent(2));
    }
}
