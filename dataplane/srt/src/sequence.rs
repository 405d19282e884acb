//! Sequence numbers modulo 2^31 (draft-sharabayko-srt-01, 3.1).

use std::fmt;

/// A 31-bit packet sequence number. It has no order of its own: compare distances.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sequence(u32);

impl Sequence {
    /// Mask of the 31 bits on the wire.
    pub const MASK: u32 = 0x7fff_ffff;

    /// From a number; the top bit is ignored.
    pub const fn new(value: u32) -> Self {
        Self(value & Self::MASK)
    }

    /// The number, below 2^31.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The next number.
    #[must_use]
    pub const fn next(self) -> Self {
        self.add(1)
    }

    /// The number before.
    #[must_use]
    pub const fn previous(self) -> Self {
        self.add(Self::MASK)
    }

    /// `count` numbers on, with wrap.
    #[must_use]
    pub const fn add(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count) & Self::MASK)
    }

    /// Signed distance from `base` to `self`, in -2^30 .. 2^30.
    ///
    /// ```text
    ///   base - 2^30 ........ base ........ base + 2^30 - 1
    ///        negative: earlier | positive: later
    /// ```
    #[inline]
    pub const fn offset_from(self, base: Self) -> i32 {
        // The 31-bit difference moved to the top of the word, then sign-extended back.
        (self.0.wrapping_sub(base.0) << 1).cast_signed() >> 1
    }

    /// True when `self` comes before `other`.
    #[inline]
    pub const fn is_before(self, other: Self) -> bool {
        self.offset_from(other) < 0
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Inclusive range of sequence numbers that does not run backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceRange {
    first: Sequence,
    last: Sequence,
}

impl SequenceRange {
    /// From its ends; `None` when `last` comes before `first`.
    pub const fn new(first: Sequence, last: Sequence) -> Option<Self> {
        if last.is_before(first) { None } else { Some(Self { first, last }) }
    }

    /// One number.
    pub const fn single(sequence: Sequence) -> Self {
        Self { first: sequence, last: sequence }
    }

    /// First number.
    pub const fn first(self) -> Sequence {
        self.first
    }

    /// Last number.
    pub const fn last(self) -> Sequence {
        self.last
    }

    /// How many numbers it holds, 1 to 2^30.
    pub const fn count(self) -> u32 {
        self.last.offset_from(self.first).unsigned_abs() + 1
    }

    /// True when `sequence` lies in it.
    pub const fn contains(self, sequence: Sequence) -> bool {
        !sequence.is_before(self.first) && !self.last.is_before(sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: u32 = Sequence::MASK;

    #[test]
    fn offset_is_signed_and_wraps_at_31_bits() {
        let table = [
            (0, 0, 0),
            (5, 3, 2),
            (3, 5, -2),
            (0, TOP, 1),
            (TOP, 0, -1),
            (10, TOP - 9, 20),
            (0x3fff_ffff, 0, 0x3fff_ffff),
            (0x4000_0000, 0, -0x4000_0000),
        ];
        for (sequence, base, offset) in table {
            assert_eq!(
                Sequence::new(sequence).offset_from(Sequence::new(base)),
                offset,
                "{sequence} from {base}"
            );
        }
    }

    #[test]
    fn next_and_previous_wrap() {
        assert_eq!(Sequence::new(TOP).next(), Sequence::new(0));
        assert_eq!(Sequence::new(0).previous(), Sequence::new(TOP));
    }

    #[test]
    fn reversed_range_does_not_exist() {
        let range = |first, last| SequenceRange::new(Sequence::new(first), Sequence::new(last));
        assert!(range(5, 4).is_none());
        assert!(range(0, TOP).is_none(), "one back, across the wrap");
        assert!(range(0, 0x4000_0000).is_none(), "half the space");
        let wrapped = range(TOP, 1);
        assert_eq!(wrapped.map(SequenceRange::count), Some(3));
        assert!(wrapped.is_some_and(|r| r.contains(Sequence::new(0))));
        assert!(wrapped.is_some_and(|r| !r.contains(Sequence::new(2))));
    }
}
