//! AC-3 and E-AC-3 syncframes (ETSI TS 102 366, ATSC A/52).
//!
//! ```text
//!  AC-3    0B77 | crc1 16 | fscod 2 | frmsizecod 6 | bsid 5 | bsmod 3 | acmod 3 | … | lfeon 1
//!  E-AC-3  0B77 | strmtyp 2 | substreamid 3 | frmsiz 11 | fscod 2 | numblkscod 2 | acmod 3 |
//!               | lfeon 1 | bsid 5
//! ```
//!
//! Both have `bsid` at the same place: up to 10 it is AC-3, 11 to 16 E-AC-3 (annex E).
//!
//! An E-AC-3 access unit is the independent substream 0 and what belongs to the same time behind
//! it: dependent substreams, further independent ones.

use crate::rbsp::BitReader;
use crate::sink::Codec;
use crate::{AudioFormat, Error};

/// Bytes that [`Header::parse`] needs.
pub const HEADER_BYTES: usize = 8;

/// Samples of one channel in an audio block.
const BLOCK_SAMPLES: u16 = 256;
/// Nominal rates in kbit/s by half of frmsizecod (table 4.13).
const RATES_KBPS: [u16; 19] =
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
/// Sample rates by fscod.
const SAMPLE_RATES: [u32; 3] = [48_000, 44_100, 32_000];
/// Channels by acmod, without the low-frequency one (table 4.3).
const CHANNELS: [u8; 8] = [2, 1, 2, 3, 3, 4, 4, 5];

/// The header of a syncframe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the syncframe, 2 to 4096.
    pub frame_bytes: u16,
    /// It belongs to the access unit of the syncframe before it: a dependent substream, or one of
    /// another programme at the same time.
    pub continues: bool,
    /// What it says of the sound; of the independent substream alone.
    pub format: AudioFormat,
}

impl Header {
    /// Parses the header at the start of `bytes` ([`HEADER_BYTES`] suffice).
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let Some(&[0x0b, 0x77, _, _, _, identification, ..]) = bytes.first_chunk::<HEADER_BYTES>()
        else {
            return Err(if bytes.len() < HEADER_BYTES { Error::Truncated } else { Error::NoSync });
        };
        let mut bits = BitReader::plain(bytes);
        bits.skip(16)?;
        match identification >> 3 {
            id @ 0..=10 => Self::parse_ac3(&mut bits, id),
            11..=16 => Self::parse_eac3(&mut bits),
            _ => Err(Error::OutOfRange("bsid")),
        }
    }

    fn parse_ac3(bits: &mut BitReader<'_>, id: u8) -> Result<Self, Error> {
        bits.skip(16)?;
        let rate_code = bits.bits8(2)?;
        let size_code = bits.bits8(6)?;
        bits.skip(8)?;
        let mode = bits.bits8(3)?;
        // Mix levels, or the surround flag of two channels (4.4.2.4 to 4.4.2.6).
        bits.skip(if mode & 1 != 0 && mode != 1 { 2 } else { 0 })?;
        bits.skip(if mode & 4 != 0 { 2 } else { 0 })?;
        bits.skip(if mode == 2 { 2 } else { 0 })?;
        let low_frequency = bits.bits8(1)?;
        let full_rate = sample_rate(rate_code)?;
        let rate =
            *RATES_KBPS.get(usize::from(size_code >> 1)).ok_or(Error::OutOfRange("frmsizecod"))?;
        // 1,536 samples last 32 ms at 48 kHz; at 44.1 kHz every other code has a word more.
        let words = match full_rate {
            48_000 => rate * 2,
            32_000 => rate * 3,
            _ => {
                u16::try_from(u32::from(rate) * 1_536_000 / (44_100 * 16)).unwrap_or(u16::MAX)
                    + u16::from(size_code & 1)
            }
        };
        // 9 and 10 are the half and the quarter of the sample rate, as decoders read them.
        let shift = id.saturating_sub(8);
        Ok(Self {
            frame_bytes: words * 2,
            continues: false,
            format: format(Codec::Ac3, full_rate >> shift, mode, low_frequency, 6),
        })
    }

    fn parse_eac3(bits: &mut BitReader<'_>) -> Result<Self, Error> {
        let kind = bits.bits8(2)?;
        let substream = bits.bits8(3)?;
        let words = bits.bits16(11)? + 1;
        let rate_code = bits.bits8(2)?;
        let second_code = bits.bits8(2)?;
        let mode = bits.bits8(3)?;
        let low_frequency = bits.bits8(1)?;
        if kind == 3 {
            return Err(Error::OutOfRange("strmtyp"));
        }
        // fscod 3: a reduced rate, always with six blocks (E.1.3.1.4).
        let (rate, blocks) = match rate_code {
            3 => (sample_rate(second_code)? / 2, 6),
            code => {
                let blocks = [1, 2, 3, 6].get(usize::from(second_code)).copied();
                (sample_rate(code)?, blocks.unwrap_or(6))
            }
        };
        let frame_bytes = words * 2;
        if usize::from(frame_bytes) < HEADER_BYTES {
            return Err(Error::OutOfRange("frmsiz"));
        }
        Ok(Self {
            frame_bytes,
            continues: kind == 1 || substream != 0,
            format: format(Codec::Eac3, rate, mode, low_frequency, blocks),
        })
    }

    /// `next` can follow in the same stream; a dependent substream may have other channels.
    pub const fn is_followed_by(&self, next: &Self) -> bool {
        self.format.sample_rate == next.format.sample_rate
    }
}

fn sample_rate(code: u8) -> Result<u32, Error> {
    SAMPLE_RATES.get(usize::from(code)).copied().ok_or(Error::OutOfRange("fscod"))
}

fn format(codec: Codec, rate: u32, mode: u8, low_frequency: u8, blocks: u16) -> AudioFormat {
    AudioFormat {
        codec,
        object_type: 0,
        profile: "unknown",
        sample_rate: rate,
        channels: CHANNELS.get(usize::from(mode)).copied().unwrap_or(0) + low_frequency,
        samples_per_frame: BLOCK_SAMPLES * blocks,
        config: Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::BitWriter;

    fn ac3(rate_code: u32, size_code: u32, id: u32, mode: u32, low_frequency: u32) -> Vec<u8> {
        let mut bits = BitWriter::default();
        bits.u(16, 0x0b77).u(16, 0).u(2, rate_code).u(6, size_code).u(5, id).u(3, 0).u(3, mode);
        if mode & 1 != 0 && mode != 1 {
            bits.u(2, 3);
        }
        if mode & 4 != 0 {
            bits.u(2, 3);
        }
        if mode == 2 {
            bits.u(2, 3);
        }
        bits.u(1, low_frequency).u(8, 0).u(8, 0).u(8, 0);
        bits.raw()
    }

    fn eac3(kind: u32, substream: u32, words: u32, rate: (u32, u32), mode: (u32, u32)) -> Vec<u8> {
        let mut bits = BitWriter::default();
        bits.u(16, 0x0b77).u(2, kind).u(3, substream).u(11, words - 1).u(2, rate.0).u(2, rate.1);
        bits.u(3, mode.0).u(1, mode.1).u(5, 16).u(19, 0).u(8, 0);
        bits.raw()
    }

    #[test]
    fn sizes_of_table_4_13() {
        for (rate_code, size_code, bytes) in
            [(0, 0, 128), (0, 36, 2560), (1, 0, 138), (1, 1, 140), (1, 37, 2788), (2, 37, 3840)]
        {
            let header = Header::parse(&ac3(rate_code, size_code, 8, 2, 0)).unwrap();
            assert_eq!(header.frame_bytes, bytes, "{rate_code} {size_code}");
            assert_eq!(header.format.samples_per_frame, 1536);
        }
    }

    #[test]
    fn the_low_frequency_channel_lies_behind_the_mix_levels() {
        for (mode, channels) in [(0, 2), (1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 4), (7, 5)] {
            for low_frequency in [0, 1] {
                let header = Header::parse(&ac3(0, 20, 8, mode, low_frequency)).unwrap();
                let wanted = channels + u8::try_from(low_frequency).unwrap();
                assert_eq!(header.format.channels, wanted, "mode {mode}");
            }
        }
    }

    #[test]
    fn low_rates_by_identification() {
        let rate = |id| Header::parse(&ac3(0, 0, id, 2, 0)).unwrap().format.sample_rate;
        assert_eq!([rate(6), rate(8), rate(9), rate(10)], [48_000, 48_000, 24_000, 12_000]);
    }

    #[test]
    fn blocks_and_reduced_rates_of_eac3() {
        let header = Header::parse(&eac3(0, 0, 384, (0, 3), (7, 1))).unwrap();
        assert_eq!((header.frame_bytes, header.format.channels), (768, 6));
        assert_eq!((header.format.codec, header.format.samples_per_frame), (Codec::Eac3, 1536));
        let short = Header::parse(&eac3(0, 0, 384, (1, 0), (2, 0))).unwrap();
        assert_eq!((short.format.sample_rate, short.format.samples_per_frame), (44_100, 256));
        let reduced = Header::parse(&eac3(0, 0, 384, (3, 0), (2, 0))).unwrap();
        assert_eq!((reduced.format.sample_rate, reduced.format.samples_per_frame), (24_000, 1536));
    }

    #[test]
    fn what_goes_with_the_substream_before() {
        let continues = |kind, substream| {
            Header::parse(&eac3(kind, substream, 100, (0, 3), (2, 0))).unwrap().continues
        };
        assert!(!continues(0, 0) && continues(1, 0) && continues(0, 1) && !continues(2, 0));
    }

    #[test]
    fn headers_that_are_none() {
        assert_eq!(Header::parse(&ac3(3, 0, 8, 2, 0)), Err(Error::OutOfRange("fscod")));
        assert_eq!(Header::parse(&ac3(0, 38, 8, 2, 0)), Err(Error::OutOfRange("frmsizecod")));
        assert_eq!(Header::parse(&ac3(0, 0, 17, 2, 0)), Err(Error::OutOfRange("bsid")));
        let reserved = eac3(3, 0, 100, (0, 3), (2, 0));
        assert_eq!(Header::parse(&reserved), Err(Error::OutOfRange("strmtyp")));
        let rate = eac3(0, 0, 100, (3, 3), (2, 0));
        assert_eq!(Header::parse(&rate), Err(Error::OutOfRange("fscod")));
        let tiny = eac3(0, 0, 3, (0, 3), (2, 0));
        assert_eq!(Header::parse(&tiny), Err(Error::OutOfRange("frmsiz")));
        let mut other = ac3(0, 0, 8, 2, 0);
        other[1] = 0x78;
        assert_eq!(Header::parse(&other), Err(Error::NoSync));
        assert_eq!(Header::parse(&other[..7]), Err(Error::Truncated));
    }
}
