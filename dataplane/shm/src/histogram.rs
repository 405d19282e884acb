//! Latency in shared memory: a histogram of fixed log-linear buckets, which needs no lock, no
//! allocation and no agreement about its range, and adds up over workers.
//!
//! ```text
//!   value  0 1 2 … 15 │ 16 … 31 │ 32 34 … 62 │ 64 68 … 124 │ …  up to 2^36 ns (69 s)
//!   bucket 0 1 2 … 15 │ 16 … 31 │ 32 …    47 │ 48 …     63 │ …  527, which holds all above too
//!                       16 buckets for each power of two: a bucket is 1/16 of its value wide
//! ```

use crate::segment::Words;

const SUB_BITS: u32 = 4;
const SUB: usize = 1 << SUB_BITS;
/// Values from here on share the last bucket: 2^36 ns.
const VALUE_BITS: u32 = 36;
/// Buckets: 16 exact ones, then 16 for each power of two from 2^4 to 2^35.
pub(crate) const BUCKETS: usize = SUB + (VALUE_BITS - SUB_BITS) as usize * SUB;
/// Words of a histogram in shared memory: sum, maximum, buckets.
pub(crate) const WORDS: usize = 2 + BUCKETS;

const SUM: usize = 0;
const MAX: usize = 1;
const FIRST: usize = 2;

fn bucket(value_ns: u64) -> usize {
    let value = value_ns.min((1 << VALUE_BITS) - 1);
    let exponent = value.max(1).ilog2();
    if exponent < SUB_BITS {
        return usize::try_from(value).expect("below 16");
    }
    let shift = exponent - SUB_BITS;
    let sub = usize::try_from(value >> shift).expect("below 32");
    shift as usize * SUB + sub
}

/// Least value of a bucket, and its width.
fn bounds(bucket: usize) -> (u64, u64) {
    let shift = (bucket / SUB).saturating_sub(1);
    let sub = bucket - shift * SUB;
    ((sub as u64) << shift, 1 << shift)
}

/// The writer's side. One owner.
#[derive(Debug)]
pub struct Histogram {
    words: Words,
}

impl Histogram {
    pub(crate) const fn new(words: Words) -> Self {
        Self { words }
    }

    /// Counts one value.
    #[inline]
    pub fn record(&mut self, value_ns: u64) {
        self.words.add(FIRST + bucket(value_ns), 1);
        self.words.add(SUM, value_ns);
        if value_ns > self.words.load(MAX) {
            self.words.store(MAX, value_ns);
        }
    }
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    counts: Vec<u64>,
    sum_ns: u64,
    max_ns: u64,
}

impl HistogramSnapshot {
    /// A histogram without values, to merge others into.
    pub fn empty() -> Self {
        Self { counts: vec![0; BUCKETS], sum_ns: 0, max_ns: 0 }
    }

    pub(crate) fn read(words: &Words) -> Self {
        let counts = (0..BUCKETS).map(|i| words.load(FIRST + i)).collect();
        Self { counts, sum_ns: words.load(SUM), max_ns: words.load(MAX) }
    }

    /// Adds another worker's values.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.wrapping_add(*theirs);
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// The values recorded after `earlier` was taken. The maximum stays that of the whole time.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = self.counts.iter().zip(&earlier.counts);
        Self {
            counts: pairs.map(|(now, then)| now.wrapping_sub(*then)).collect(),
            sum_ns: self.sum_ns.wrapping_sub(earlier.sum_ns),
            max_ns: self.max_ns,
        }
    }

    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, n| sum.wrapping_add(*n))
    }

    /// Sum of all values.
    pub const fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// Largest value.
    pub const fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The value that `percent` (0 to 100) of all values do not exceed: the middle of its bucket,
    /// at most 3.2 % off up to 2^36 ns; 0 when nothing was recorded.
    pub fn percentile_ns(&self, percent: f64) -> u64 {
        let count = self.count();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank: rounding of counts above 2^53 does not matter"
        )]
        let rank = (count as f64 * percent.clamp(0.0, 100.0) / 100.0).ceil() as u64;
        let mut seen = 0_u64;
        for (index, n) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*n);
            if *n > 0 && seen >= rank {
                let (least, width) = bounds(index);
                return least + (width - 1) / 2;
            }
        }
        0
    }

    /// The buckets that hold values, ascending: the largest value each can hold, and its count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let full = self.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        full.map(|(index, n)| {
            let (least, width) = bounds(index);
            (least + width - 1, *n)
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::layout::WORD;
    use crate::segment::Mapping;

    fn histogram() -> (Histogram, Words) {
        let words = Words::new(&Mapping::zeroed(WORDS * WORD), 0, WORDS * WORD, false);
        (Histogram::new(words.clone()), words)
    }

    #[test]
    fn buckets_cover_every_value_without_gap_or_overlap() {
        let mut next = 0;
        for index in 0..BUCKETS {
            let (least, width) = bounds(index);
            assert_eq!(least, next);
            assert_eq!(bucket(least), index);
            assert_eq!(bucket(least + width - 1), index);
            next = least + width;
        }
        assert_eq!(next, 1 << VALUE_BITS);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn any_single_value_is_told_within_five_percent() {
        for exponent in (0..36).step_by(if cfg!(miri) { 11 } else { 1 }) {
            for value in [1_u64 << exponent, (1 << exponent) + (1 << exponent) / 3] {
                let (mut histogram, words) = histogram();
                histogram.record(value);
                let told = HistogramSnapshot::read(&words).percentile_ns(50.0);
                assert!(told.abs_diff(value) * 20 <= value, "{value} told as {told}");
            }
        }
    }

    #[test]
    fn percentiles_of_a_thousand_even_steps() {
        let (mut histogram, words) = histogram();
        (1..=1000).for_each(|step| histogram.record(step * 1000));
        let snapshot = HistogramSnapshot::read(&words);
        assert_eq!((snapshot.count(), snapshot.max_ns()), (1000, 1_000_000));
        assert_eq!(snapshot.sum_ns(), 500_500_000);
        for (percent, value) in [(50.0, 500_000), (99.0, 990_000), (100.0, 1_000_000)] {
            let told: u64 = snapshot.percentile_ns(percent);
            assert!(told.abs_diff(value) * 20 <= value, "p{percent} told as {told}");
        }
        assert_eq!(HistogramSnapshot::empty().percentile_ns(99.0), 0);
    }

    #[test]
    fn snapshots_add_up_and_subtract() {
        let (mut histogram, words) = histogram();
        histogram.record(10);
        let earlier = HistogramSnapshot::read(&words);
        histogram.record(1_000);
        let later = HistogramSnapshot::read(&words);
        assert_eq!(later.since(&earlier).count(), 1);
        assert_eq!(later.since(&earlier).buckets().collect::<Vec<_>>(), [(1023, 1)]);
        let mut sum = earlier.clone();
        sum.merge(&later);
        assert_eq!((sum.count(), sum.sum_ns(), sum.max_ns()), (3, 1_020, 1_000));
    }
}
