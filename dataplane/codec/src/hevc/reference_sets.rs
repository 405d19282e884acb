//! Reference picture sets of the SPS (7.3.7): nothing in them is kept, but the VUI comes after.

use crate::Error;
use crate::rbsp::BitReader;

/// num_short_term_ref_pic_sets (7.4.3.2.1).
const SHORT_TERM_SETS_MAX: u32 = 64;
/// Pictures of a set before, and after, the current one: at most sps_max_dec_pic_buffering_minus1,
/// which MaxDpbSize bounds (A.4.2).
const PICTURES_MAX: usize = 16;

/// POC differences on one side of the current picture, nearest first (DeltaPocS0 or S1).
#[derive(Clone, Copy, Default)]
struct Side {
    deltas: [i32; PICTURES_MAX],
    len: usize,
}

impl Side {
    fn push(&mut self, delta: i32) -> Result<(), Error> {
        *self.deltas.get_mut(self.len).ok_or(Error::OutOfRange("NumDeltaPocs"))? = delta;
        self.len += 1;
        Ok(())
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = i32> + ExactSizeIterator {
        self.deltas.iter().copied().take(self.len)
    }
}

/// A short-term set: the pictures before and after the current one.
#[derive(Clone, Copy, Default)]
struct ShortTermSet {
    before: Side,
    after: Side,
}

/// All short-term sets of an SPS. Each may be predicted from the one before it, so that one is
/// followed exactly.
pub(super) fn skip_short_term_sets(bits: &mut BitReader<'_>) -> Result<(), Error> {
    let count = bits.ue_max(SHORT_TERM_SETS_MAX, "num_short_term_ref_pic_sets")?;
    let mut set = ShortTermSet::default();
    for index in 0..count {
        let inter_prediction = index != 0 && bits.flag()?;
        set = if inter_prediction { set.predict(bits)? } else { ShortTermSet::read(bits)? };
    }
    Ok(())
}

impl ShortTermSet {
    fn read(bits: &mut BitReader<'_>) -> Result<Self, Error> {
        let before = bits.ue_max(16, "num_negative_pics")?;
        let after = bits.ue_max(16, "num_positive_pics")?;
        let mut set = Self::default();
        let mut delta = 0;
        for _ in 0..before {
            delta -= read_delta(bits)?;
            let _used_by_curr_pic = bits.flag()?;
            set.before.push(delta)?;
        }
        delta = 0;
        for _ in 0..after {
            delta += read_delta(bits)?;
            let _used_by_curr_pic = bits.flag()?;
            set.after.push(delta)?;
        }
        Ok(set)
    }

    /// Equations 7-61 and 7-62, with this set as RefRps.
    fn predict(&self, bits: &mut BitReader<'_>) -> Result<Self, Error> {
        let negative = bits.flag()?;
        let magnitude = read_delta(bits)?;
        let shift = if negative { -magnitude } else { magnitude };
        // use_delta_flag of each picture of the set, before then after, and of the set's own.
        let mut used = 0u64;
        let count = self.before.len + self.after.len;
        for index in 0..=count {
            let used_by_curr_pic = bits.flag()?;
            if used_by_curr_pic || bits.flag()? {
                used |= 1 << index;
            }
        }
        let keeps = |index: usize| used >> index & 1 == 1;
        let before = || self.before.iter().enumerate();
        let after = || {
            let first = self.before.len;
            self.after.iter().enumerate().map(move |(index, delta)| (first + index, delta))
        };
        let own = core::iter::once((count, 0));
        let mut set = Self::default();
        for (index, delta) in after().rev().chain(own.clone()).chain(before()) {
            if keeps(index) && delta + shift < 0 {
                set.before.push(delta + shift)?;
            }
        }
        for (index, delta) in before().rev().chain(own).chain(after()) {
            if keeps(index) && delta + shift > 0 {
                set.after.push(delta + shift)?;
            }
        }
        Ok(set)
    }
}

/// delta_poc_s0_minus1, delta_poc_s1_minus1 or abs_delta_rps_minus1, plus 1: at most 2^15.
fn read_delta(bits: &mut BitReader<'_>) -> Result<i32, Error> {
    let delta = bits.ue_max(0x7fff, "delta_poc_minus1")?;
    Ok(i32::try_from(delta).unwrap_or_default() + 1)
}

/// The long-term pictures of an SPS, whose POCs have `poc_lsb_bits` bits.
pub(super) fn skip_long_term_pictures(
    poc_lsb_bits: u8,
    bits: &mut BitReader<'_>,
) -> Result<(), Error> {
    if bits.flag()? {
        let count = bits.ue_max(32, "num_long_term_ref_pics_sps")?;
        // lt_ref_pic_poc_lsb_sps and used_by_curr_pic_lt_sps_flag.
        bits.skip(count * (u32::from(poc_lsb_bits) + 1))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deltas(set: &ShortTermSet) -> (Vec<i32>, Vec<i32>) {
        (set.before.iter().collect(), set.after.iter().collect())
    }

    #[test]
    fn a_predicted_set_follows_equations_7_61_and_7_62() {
        let mut set = ShortTermSet::default();
        for delta in [-2, -4] {
            set.before.push(delta).unwrap();
        }
        set.after.push(2).unwrap();
        // delta_rps_sign 1, abs_delta_rps_minus1 1 (010): shift by -2; all four used.
        let predicted = set.predict(&mut BitReader::new(&[0b1010_1111, 0x80])).unwrap();
        // -2 and -4 move to -4 and -6, the set's own picture to -2, and 2 to the current picture
        // itself, which is in neither side.
        assert_eq!(deltas(&predicted), (vec![-2, -4, -6], vec![]));
        // Sign 0, abs 1 (code 1): shift by 1; first used, second neither, third by use_delta,
        // own used.
        let predicted = set.predict(&mut BitReader::new(&[0b0110_0011, 0x80])).unwrap();
        assert_eq!(deltas(&predicted), (vec![-1], vec![1, 3]));
    }

    #[test]
    fn more_pictures_than_a_decoder_holds_are_out_of_range() {
        let seventeen = [0b0000_1001, 0b0100_0000];
        assert_eq!(
            ShortTermSet::read(&mut BitReader::new(&seventeen)).err(),
            Some(Error::OutOfRange("num_negative_pics"))
        );
    }
}
