//! Reading bits of a NAL unit: emulation prevention bytes are skipped on the way (H.264 and H.265,
//! 7.3.1.1 and 7.4.1.1), so a prefix of a slice can be read where it lies.

use core::iter;

use crate::{Error, annexb::trim_zeros};

/// Bits that are loaded at most.
const LOADED_BITS: u8 = 64;

/// Reads fields, most significant bit first. Copy it to look ahead.
#[derive(Debug, Clone, Copy)]
pub struct BitReader<'a> {
    /// What has not been loaded.
    bytes: &'a [u8],
    /// The next bits, from the top; zeros behind them.
    loaded: u64,
    /// How many they are.
    left: u8,
    /// Zero bytes just loaded, at most 2: a 03 after two is an emulation prevention byte.
    zeros: u8,
    /// Whether there are emulation prevention bytes at all.
    emulation: bool,
}

impl<'a> BitReader<'a> {
    /// Over a NAL unit's bytes after its header. Trailing zero bytes are not part of it.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::prefix(trim_zeros(bytes))
    }

    /// Over the first bytes of a NAL unit whose end is not among them.
    pub const fn prefix(bytes: &'a [u8]) -> Self {
        Self { bytes, loaded: 0, left: 0, zeros: 0, emulation: true }
    }

    /// Over bytes that are no NAL unit and hold no emulation prevention bytes.
    pub const fn plain(bytes: &'a [u8]) -> Self {
        Self { emulation: false, ..Self::prefix(bytes) }
    }

    fn next_byte(&mut self) -> Option<u8> {
        let (mut zeros, (mut byte, mut rest)) = (self.zeros, self.bytes.split_first()?);
        if self.emulation && zeros >= 2 && *byte == 3 {
            (zeros, (byte, rest)) = (0, rest.split_first()?);
        }
        self.zeros = if *byte == 0 { (zeros + 1).min(2) } else { 0 };
        self.bytes = rest;
        Some(*byte)
    }

    /// The next eight bytes and those behind them, if all eight are what they seem: none is an emulation
    /// prevention byte or a zero before one.
    fn plain_eight(&self) -> Option<(u64, &'a [u8])> {
        let (eight, rest) = self.bytes.split_first_chunk()?;
        let word = u64::from_be_bytes(*eight);
        let plain = !self.emulation || self.zeros < 2 && !holds_zero(word);
        plain.then_some((word, rest))
    }

    /// Loads what fits: behind it at least 57 bits are there, or all.
    fn load(&mut self) {
        let fit = (LOADED_BITS - self.left) / 8;
        if let Some((eight, _)) = self.plain_eight().filter(|_| fit > 0) {
            let bits = 8 * fit;
            self.loaded |= eight >> (LOADED_BITS - bits) << (LOADED_BITS - bits) >> self.left;
            self.left += bits;
            self.bytes = self.bytes.get(usize::from(fit)..).unwrap_or_default();
            self.zeros = 0;
            return;
        }
        while self.left <= LOADED_BITS - 8
            && let Some(byte) = self.next_byte()
        {
            self.left += 8;
            self.loaded |= u64::from(byte) << (LOADED_BITS - self.left);
        }
    }

    /// Passes over bits that are loaded, fewer than all that fit.
    fn consume(&mut self, count: u8) {
        self.loaded <<= count;
        self.left -= count;
    }

    /// There are fewer bits than were asked for: none is left.
    const fn end(&mut self) -> Error {
        (self.bytes, self.loaded, self.left) = (&[], 0, 0);
        Error::Truncated
    }

    /// u(1).
    pub fn flag(&mut self) -> Result<bool, Error> {
        Ok(self.bits(1)? == 1)
    }

    /// u(n) with n at most 32.
    pub fn bits(&mut self, count: u8) -> Result<u32, Error> {
        let count = count.min(32);
        if self.left < count {
            self.load();
            if self.left < count {
                return Err(self.end());
            }
        }
        // By no more than 63 at a time: of no bits nothing is left.
        let value = self.loaded >> 1 >> (63 - count);
        self.consume(count);
        Ok(u32::try_from(value).unwrap_or(u32::MAX))
    }

    /// u(n) with n at most 8.
    pub fn bits8(&mut self, count: u8) -> Result<u8, Error> {
        let [.., low] = self.bits(count.min(8))?.to_be_bytes();
        Ok(low)
    }

    /// u(n) with n at most 16.
    pub fn bits16(&mut self, count: u8) -> Result<u16, Error> {
        let [_, _, high, low] = self.bits(count.min(16))?.to_be_bytes();
        Ok(u16::from_be_bytes([high, low]))
    }

    /// Passes over `count` bits.
    pub fn skip(&mut self, count: u32) -> Result<(), Error> {
        let Some(behind) = count.checked_sub(self.left.into()) else {
            self.consume(count.to_le_bytes()[0]);
            return Ok(());
        };
        (self.loaded, self.left) = (0, 0);
        let mut bytes = behind / 8;
        while bytes > 0 {
            match self.plain_eight() {
                Some((_, rest)) if bytes >= 8 => {
                    (self.bytes, self.zeros) = (rest, 0);
                    bytes -= 8;
                }
                _ => {
                    self.next_byte().ok_or_else(|| self.end())?;
                    bytes -= 1;
                }
            }
        }
        self.bits((behind % 8).to_le_bytes()[0])?;
        Ok(())
    }

    /// Bits that are left, emulation prevention bytes among them counted.
    pub fn rest_bits(&self) -> usize {
        8 * self.bytes.len() + usize::from(self.left)
    }

    /// ue(v) (9.1): 0 to 2^32 - 2.
    pub fn ue(&mut self) -> Result<u32, Error> {
        let mut zeros = self.leading_zeros();
        if zeros >= self.left {
            self.load();
            zeros = self.leading_zeros();
        }
        if zeros > 31 {
            return Err(Error::ExpGolomb);
        }
        if zeros >= self.left {
            return Err(self.end());
        }
        self.consume(zeros + 1);
        let suffix = self.bits(zeros)?;
        Ok((1u32 << zeros) - 1 + suffix)
    }

    /// Of the bits that are loaded.
    fn leading_zeros(&self) -> u8 {
        self.loaded.leading_zeros().to_le_bytes()[0].min(self.left)
    }

    /// ue(v) of at most `max`; above it `field` is out of range.
    pub fn ue_max(&mut self, max: u32, field: &'static str) -> Result<u32, Error> {
        let value = self.ue()?;
        if value > max {
            return Err(Error::OutOfRange(field));
        }
        Ok(value)
    }

    /// ue(v) of at most `max`, as a byte.
    pub fn ue8(&mut self, max: u8, field: &'static str) -> Result<u8, Error> {
        let [.., low] = self.ue_max(u32::from(max), field)?.to_be_bytes();
        Ok(low)
    }

    /// se(v) (9.1.1): -(2^31 - 1) to 2^31 - 1.
    pub fn se(&mut self) -> Result<i32, Error> {
        let code = self.ue()?;
        let magnitude = i32::try_from(code.div_ceil(2)).map_err(|_| Error::ExpGolomb)?;
        Ok(if code % 2 == 1 { magnitude } else { -magnitude })
    }

    /// more_rbsp_data() (7.2): there is more than the stop bit and the zeros after it.
    pub fn more_data(&self) -> bool {
        let mut ahead = *self;
        match ahead.flag() {
            Err(_) => false,
            Ok(false) => true,
            Ok(true) => ahead.loaded != 0 || iter::from_fn(|| ahead.next_byte()).any(|it| it != 0),
        }
    }
}

/// Whether a byte of the word is zero.
const fn holds_zero(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    word.wrapping_sub(ONES) & !word & (ONES << 7) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exp_golomb_codes_of_table_9_2() {
        // 1 010 011 00100 00101 00110 00111 0001000
        let mut bits = BitReader::new(&[
            0b1010_0110,
            0b0100_0010,
            0b1001_1000,
            0b1110_0010,
            0b0000_0000,
            0x80,
        ]);
        for expected in 0..=7 {
            assert_eq!(bits.ue(), Ok(expected));
        }
        let mut bits = BitReader::new(&[
            0b1010_0110,
            0b0100_0010,
            0b1001_1000,
            0b1110_0010,
            0b0000_0000,
            0x80,
        ]);
        for expected in [0, 1, -1, 2, -2, 3, -3, 4] {
            assert_eq!(bits.se(), Ok(expected));
        }
    }

    #[test]
    fn the_greatest_code_is_2_to_the_32_minus_2() {
        let greatest = [0, 0, 3, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x80];
        // 31 zeros, a one, 31 ones.
        assert_eq!(BitReader::new(&greatest).ue(), Ok(u32::MAX - 1));
        let beyond = [0, 0, 3, 0, 0, 3, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(BitReader::new(&beyond).ue(), Err(Error::ExpGolomb));
    }

    #[test]
    fn emulation_prevention_bytes_are_no_data() {
        let mut bits = BitReader::new(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 2]);
        let mut read = [0; 7];
        for byte in &mut read {
            *byte = bits.bits8(8).unwrap();
        }
        assert_eq!(read, [0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(bits.bits8(8), Ok(2));
        assert_eq!(bits.bits(1), Err(Error::Truncated));
    }

    #[test]
    fn a_last_03_after_two_zeros_is_no_data() {
        let mut bits = BitReader::new(&[0x80, 0, 0, 3]);
        assert_eq!(bits.bits(24), Ok(0x80_0000));
        assert_eq!(bits.bits(1), Err(Error::Truncated));
    }

    #[test]
    fn more_data_ends_at_the_stop_bit() {
        let mut bits = BitReader::new(&[0b1010_1000, 0, 0]);
        assert!(bits.more_data());
        bits.skip(4).unwrap();
        assert!(!bits.more_data());
        bits.skip(4).unwrap();
        assert!(!bits.more_data());
    }

    #[test]
    fn bits_that_are_passed_over_are_those_that_would_be_read() {
        let bytes: Vec<u8> = (1..=15u8).flat_map(|byte| [byte, 0, 0, 3, byte % 3]).collect();
        for before in 0..=64 {
            for count in 0..=256 {
                let mut read = BitReader::new(&bytes);
                read.skip(before).unwrap();
                let mut skipped = read;
                assert!((0..count).all(|_| read.flag().is_ok()));
                assert_eq!(skipped.skip(count), Ok(()));
                assert_eq!(skipped.bits(32), read.bits(32), "{count} behind {before}");
            }
        }
        let mut bits = BitReader::new(&bytes);
        assert_eq!(bits.skip(8 * 100), Err(Error::Truncated));
        assert_eq!(bits.flag(), Err(Error::Truncated));
    }

    /// The bytes without emulation prevention.
    fn data_of(nal: &[u8]) -> Vec<u8> {
        let mut data = Vec::new();
        let mut zeros = 0;
        for byte in nal {
            if zeros >= 2 && *byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if *byte == 0 { zeros + 1 } else { 0 };
            data.push(*byte);
        }
        data
    }

    proptest! {
        #[test]
        fn bytes_are_read_and_passed_over_wherever_emulation_prevention_lies(
            nal in prop::collection::vec(prop_oneof![
                6 => 4..=u8::MAX, 2 => Just(0), 1 => Just(3)
            ], 0..120),
            steps in prop::collection::vec((0u8..=32, 0u32..200), 0..20),
        ) {
            let data = data_of(&nal);
            let bit = |at: usize| data.get(at / 8).map(|byte| byte >> (7 - at % 8) & 1);
            let mut bits = BitReader::prefix(&nal);
            let mut at = 0;
            for (count, skip) in steps {
                let expected = (at..at + usize::from(count)).try_fold(0, |value, at| {
                    Some(value << 1 | u32::from(bit(at)?))
                });
                prop_assert_eq!(bits.bits(count).ok(), expected);
                if expected.is_none() {
                    break;
                }
                at += usize::from(count) + skip as usize;
                let skipped = bits.skip(skip);
                prop_assert_eq!(skipped.is_ok(), at <= 8 * data.len());
                if skipped.is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_code_of_63_bits_lies_anywhere() {
        for before in 0..=32u8 {
            // As many ones, 31 zeros, a one, 31 ones.
            let bits = u128::MAX.checked_shl(128 - u32::from(before)).unwrap_or(0)
                | ((1 << 32) - 1) << (65 - before);
            let bytes = bits.to_be_bytes();
            let mut bits = BitReader::plain(&bytes);
            assert_eq!(bits.bits(before), Ok(u32::try_from((1u64 << before) - 1).unwrap()));
            assert_eq!(bits.ue(), Ok(u32::MAX - 1));
        }
    }

    #[test]
    fn a_field_of_32_bits_over_byte_borders() {
        let mut bits = BitReader::new(&[0xf1, 0x23, 0x45, 0x67, 0x8f]);
        bits.skip(4).unwrap();
        assert_eq!(bits.bits(32), Ok(0x1234_5678));
        assert_eq!(bits.bits(0), Ok(0));
    }
}
