//! Least, mean and largest of a quantity: over the last whole interval and over the whole
//! connection.

/// Least, mean and largest value; zeros when there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spread {
    /// Least.
    pub min: u64,
    /// Mean.
    pub avg: u64,
    /// Largest.
    pub max: u64,
}

/// The spread of a quantity over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measured {
    /// Over the last whole interval: a second, or as long as nothing came.
    pub interval: Spread,
    /// From the opening of the connection to the end of that interval.
    pub total: Spread,
}

impl Spread {
    const fn per(self, divisor: u64) -> Self {
        Self { min: self.min / divisor, avg: self.avg / divisor, max: self.max / divisor }
    }
}

impl Measured {
    /// In a unit that is so many times larger.
    pub(crate) const fn per(self, divisor: u64) -> Self {
        Self { interval: self.interval.per(divisor), total: self.total.per(divisor) }
    }
}

/// Values on their way to a [`Spread`].
#[derive(Debug, Clone, Copy)]
struct Sum {
    min: u64,
    max: u64,
    sum: u128,
    count: u64,
}

impl Sum {
    const EMPTY: Self = Self { min: u64::MAX, max: 0, sum: 0, count: 0 };

    #[inline]
    fn add(&mut self, value: u64) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.sum += u128::from(value);
        self.count += 1;
    }

    fn merge(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.count += other.count;
    }

    fn spread(&self) -> Spread {
        let mean = self.sum.checked_div(self.count.into());
        mean.map_or_else(Spread::default, |mean| Spread {
            min: self.min,
            avg: u64::try_from(mean).unwrap_or(u64::MAX),
            max: self.max,
        })
    }
}

/// Takes the values of one quantity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter {
    interval: Sum,
    total: Sum,
}

impl Meter {
    pub(crate) const fn new() -> Self {
        Self { interval: Sum::EMPTY, total: Sum::EMPTY }
    }

    #[inline]
    pub(crate) fn add(&mut self, value: u64) {
        self.interval.add(value);
    }

    /// Ends the interval.
    pub(crate) fn close(&mut self) -> Measured {
        let interval = std::mem::replace(&mut self.interval, Sum::EMPTY);
        self.total.merge(&interval);
        Measured { interval: interval.spread(), total: self.total.spread() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(meter: &mut Meter, values: &[u64]) -> Measured {
        values.iter().for_each(|value| meter.add(*value));
        meter.close()
    }

    #[test]
    fn an_interval_forgets_and_the_total_remembers() {
        let mut meter = Meter::new();
        let first = closed(&mut meter, &[4, 10, 1]);
        assert_eq!(first.interval, Spread { min: 1, avg: 5, max: 10 });
        assert_eq!(first.total, first.interval);
        let second = closed(&mut meter, &[20]);
        assert_eq!(second.interval, Spread { min: 20, avg: 20, max: 20 });
        assert_eq!(second.total, Spread { min: 1, avg: 8, max: 20 });
    }

    #[test]
    fn an_interval_without_values_shows_zeros_and_spoils_no_total() {
        let mut meter = Meter::new();
        assert_eq!(meter.close(), Measured::default());
        closed(&mut meter, &[7]);
        let silent = meter.close();
        assert_eq!(silent.interval, Spread::default());
        assert_eq!(silent.total, Spread { min: 7, avg: 7, max: 7 });
    }

    #[test]
    fn the_largest_values_do_not_overflow() {
        let all = closed(&mut Meter::new(), &[u64::MAX, u64::MAX]);
        assert_eq!(all.total, Spread { min: u64::MAX, avg: u64::MAX, max: u64::MAX });
    }
}
