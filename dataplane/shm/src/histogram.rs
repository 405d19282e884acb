//! Latency histogram in shared memory: fixed log-linear buckets.
/// Words of a histogram in shared memory.
pub(crate) const WORDS: usize = 2 + BUCKETS;
/// Buckets: 16 exact ones, then 16 for each power of two up to 2^36 ns (69 s).
pub(crate) const BUCKETS: usize = 16 + 32 * 16;

/// Writer's side. One owner.
#[derive(Debug)]
pub struct Histogram {
    _p: (),
}
impl Histogram {
    /// Counts one value, nanoseconds.
    pub fn record(&mut self, _value_ns: u64) {
        todo!()
    }
}

/// A copy of a histogram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    counts: Vec<u64>,
    sum_ns: u64,
    max_ns: u64,
}
impl HistogramSnapshot {
    /// A histogram without values.
    pub fn empty() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            sum_ns: 0,
            max_ns: 0,
        }
    }
    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        todo!()
    }
    /// Sum of all values, nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }
    /// Largest value, nanoseconds.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }
    /// The value below which `percent` (0 to 100) of all values lie, within 5 %; 0 when empty.
    pub fn percentile_ns(&self, _percent: f64) -> u64 {
        todo!()
    }
    /// Adds another worker's values.
    pub fn merge(&mut self, _other: &Self) {
        todo!()
    }
    /// The values recorded after `earlier` was taken (its maximum is the whole time's).
    #[must_use]
    pub fn since(&self, _earlier: &Self) -> Self {
        todo!()
    }
    /// Buckets that hold values: upper bound in nanoseconds and count, ascending.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.counts.iter().map(|c| (0, *c))
    }
}
