//! A positive fraction, for times that are no whole number of ticks (1001/30000).

/// `num / den`, `den` above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ratio {
    num: u64,
    den: u64,
}

impl Ratio {
    /// A zero denominator stands for zero.
    pub(crate) const fn new(num: u64, den: u64) -> Self {
        if den == 0 { Self { num: 0, den: 1 } } else { Self { num, den } }
    }

    pub(crate) const fn invert(self) -> Self {
        Self::new(self.den, self.num)
    }

    /// So many times this, exactly.
    pub(crate) const fn scaled(self, count: u8) -> Self {
        Self::new(self.num.saturating_mul(count as u64), self.den)
    }

    /// `count` times this, rounded to the nearest, halves away from zero as FFmpeg does.
    pub(crate) fn times(self, count: i64) -> i64 {
        let product = i128::from(count) * i128::from(self.num);
        let den = i128::from(self.den);
        let rounded = (product.abs() * 2 + den) / (2 * den);
        let rounded = i64::try_from(rounded).unwrap_or(i64::MAX);
        if product < 0 { -rounded } else { rounded }
    }

    /// Whether the two differ by at most one part in `parts`.
    pub(crate) fn is_near(self, other: Self, parts: u64) -> bool {
        let a = u128::from(self.num) * u128::from(other.den);
        let b = u128::from(other.num) * u128::from(self.den);
        a.abs_diff(b).saturating_mul(u128::from(parts)) <= a.max(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_the_nearest_away_from_zero() {
        let half = Ratio::new(3, 2);
        assert_eq!((half.times(1), half.times(-1), half.times(3)), (2, -2, 5));
        assert_eq!(Ratio::new(3003, 1).times(7), 21_021);
        assert_eq!(Ratio::new(5, 0).times(7), 0);
    }

    #[test]
    fn nearness_is_relative() {
        assert!(Ratio::new(3003, 2).is_near(Ratio::new(3000, 2), 100));
        assert!(!Ratio::new(3600, 2).is_near(Ratio::new(3000, 2), 100));
    }
}
