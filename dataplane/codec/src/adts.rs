//! AAC in ADTS frames (ISO/IEC 14496-3, 1.A.2).
//!
//! ```text
//!  syncword 12 | ID 1 | layer 2 | protection_absent 1 | profile 2 | sampling_frequency_index 4 |
//!  private 1 | channel_configuration 3 | original 1 | home 1 |                the fixed header: 28
//!  copyright 2 | aac_frame_length 13 | buffer_fullness 11 | raw data blocks - 1 2 |   variable: 28
//!  [ block positions 16 × (blocks - 1) | CRC 16 ]                           when protection_absent 0
//!  raw_data_block() [ CRC 16, when there are several ] …
//! ```
//!
//! Twelve set bits occur in AAC data: [`audio::find`](crate::audio::find) searches with the next
//! header, which must say the same of the stream.

use crate::rbsp::BitReader;
use crate::sink::Codec;
use crate::{AudioFormat, Error};

/// Bytes that [`Header::parse`] needs.
pub const HEADER_BYTES: usize = 7;

/// Samples of one channel in a raw data block.
const BLOCK_SAMPLES: u16 = 1024;

/// sampling_frequency_index (1.6.3.3, table 1.18); 13 to 15 are not for ADTS.
pub(crate) const SAMPLE_RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// An ADTS frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole frame with its header, 7 to 8191.
    pub frame_bytes: u16,
    /// Bytes of the header, with its CRC and block positions: where the first raw data block
    /// starts.
    pub header_bytes: u8,
    /// Raw data blocks in the frame, 1 to 4.
    pub blocks: u8,
    /// A CRC is carried.
    pub protected: bool,
    /// What it says of the sound.
    pub format: AudioFormat,
}

impl Header {
    /// Parses the header at the start of `bytes` ([`HEADER_BYTES`] suffice).
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let Some(&[sync, kind, coding, channels, length, end, last]) = bytes.first_chunk() else {
            return Err(Error::Truncated);
        };
        // The syncword and a layer of 0.
        if sync != 0xff || kind & 0xf6 != 0xf0 {
            return Err(Error::NoSync);
        }
        let protected = kind & 1 == 0;
        let blocks = (last & 3) + 1;
        let header_bytes = 7 + if protected { 2 * blocks } else { 0 };
        let frame_bytes =
            u16::from(channels & 3) << 11 | u16::from(length) << 3 | u16::from(end) >> 5;
        if frame_bytes < u16::from(header_bytes) {
            return Err(Error::OutOfRange("aac_frame_length"));
        }
        let rate_index = (coding >> 2) & 0xf;
        let channel_configuration = (coding & 1) << 2 | channels >> 6;
        Ok(Self {
            frame_bytes,
            header_bytes,
            blocks,
            protected,
            format: format(coding >> 6, rate_index, channel_configuration)?,
        })
    }

    /// `next` can follow in the same stream: what the fixed header says is the same.
    pub fn is_followed_by(&self, next: &Self) -> bool {
        self.format == next.format && self.protected == next.protected
    }

    /// Samples of one channel in the frame.
    pub const fn samples(&self) -> u16 {
        BLOCK_SAMPLES * self.blocks as u16
    }

    /// The raw access units of a whole frame. Blocks that carry a CRC each are told apart; several
    /// blocks without are one piece, because only decoding finds the border between them.
    pub fn access_units<'a>(&self, frame: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let frame = frame.get(..usize::from(self.frame_bytes)).unwrap_or(frame);
        let (header, data) =
            frame.split_at_checked(usize::from(self.header_bytes)).unwrap_or((frame, &[]));
        let own_crc = self.protected && self.blocks > 1;
        let units = if own_crc { usize::from(self.blocks) } else { 1 };
        let position = move |unit: usize| match unit.checked_sub(1) {
            None => 0,
            Some(at) => match header.get(HEADER_BYTES + 2 * at..) {
                Some([high, low, ..]) => usize::from(u16::from_be_bytes([*high, *low])),
                _ => usize::MAX,
            },
        };
        (0..units).filter_map(move |unit| {
            let end = if unit + 1 < units { position(unit + 1) } else { data.len() };
            let bytes = data.get(position(unit)..end)?;
            if own_crc { bytes.get(..bytes.len().checked_sub(2)?) } else { Some(bytes) }
        })
    }
}

fn format(profile: u8, rate_index: u8, channel_configuration: u8) -> Result<AudioFormat, Error> {
    let sample_rate = *SAMPLE_RATES
        .get(usize::from(rate_index))
        .ok_or(Error::OutOfRange("sampling_frequency_index"))?;
    let object_type = profile + 1;
    let mut config = ConfigBits::default();
    config.put(5, object_type.into());
    config.put(4, rate_index.into());
    config.put(4, channel_configuration.into());
    // GASpecificConfig: frames of 1024, no core coder, no extension (4.4.1).
    config.put(3, 0);
    Ok(AudioFormat {
        codec: Codec::Aac,
        object_type,
        profile: match object_type {
            1 => "Main",
            2 => "LC",
            3 => "SSR",
            _ => "LTP",
        },
        sample_rate,
        channels: if channel_configuration == 7 { 8 } else { channel_configuration },
        samples_per_frame: BLOCK_SAMPLES,
        // Without channels in it, the configuration needs the stream's program config element.
        config: if channel_configuration == 0 { Default::default() } else { config.bytes() },
    })
}

/// The format of a stream whose headers leave the channels open (channel_configuration 0), with
/// the program config element (4.4.1.1) that starts `access_unit`. `None` when none starts it.
pub fn with_program_config(format: &AudioFormat, access_unit: &[u8]) -> Option<AudioFormat> {
    const ID_PCE: u32 = 5;
    let mut from = BitReader::plain(access_unit);
    if from.bits(3).ok()? != ID_PCE {
        return None;
    }
    let rate_index = SAMPLE_RATES.iter().position(|rate| *rate == format.sample_rate)?;
    let mut to = ConfigBits::default();
    to.put(5, format.object_type.into());
    to.put(4, u32::try_from(rate_index).ok()?);
    to.put(4 + 3, 0);
    let channels = copy_program_config(&mut from, &mut to).ok()?;
    Some(AudioFormat { channels, config: to.bytes(), ..*format })
}

/// Copies a program_config_element without its comment and counts its channels.
fn copy_program_config(from: &mut BitReader<'_>, to: &mut ConfigBits) -> Result<u8, Error> {
    let mut copy = |bits: u8| {
        let value = from.bits8(bits)?;
        to.put(bits, value.into());
        Ok::<u8, Error>(value)
    };
    let _element_instance_tag = copy(4)?;
    let _object_type = copy(2)?;
    let _sampling_frequency_index = copy(4)?;
    let elements = [copy(4)?, copy(4)?, copy(4)?];
    let low_frequency = copy(2)?;
    let associated_data = copy(3)?;
    let coupling = copy(4)?;
    for mixdown_bits in [4, 4, 3] {
        if copy(1)? == 1 {
            copy(mixdown_bits)?;
        }
    }
    let mut channels = low_frequency;
    for _ in 0..elements.iter().sum() {
        let is_pair = copy(1)?;
        copy(4)?;
        channels += 1 + is_pair;
    }
    for _ in 0..low_frequency + associated_data {
        copy(4)?;
    }
    for _ in 0..coupling {
        copy(5)?;
    }
    to.align();
    let no_comment = 0;
    to.put(8, no_comment);
    Ok(channels)
}

/// An AudioSpecificConfig being written, most significant bit first.
#[derive(Default)]
pub(crate) struct ConfigBits {
    bits: u128,
    len: u8,
}

impl ConfigBits {
    /// Appends the low `count` bits of `value`. What is beyond 16 bytes makes it all unknown.
    pub(crate) fn put(&mut self, count: u8, value: u32) {
        self.len = self.len.saturating_add(count);
        if let Some(shift) = 128u8.checked_sub(self.len) {
            self.bits |= u128::from(value) << shift;
        }
    }

    fn align(&mut self) {
        self.len = self.len.checked_next_multiple_of(8).unwrap_or(u8::MAX);
    }

    pub(crate) fn bytes(&self) -> ([u8; 16], u8) {
        if self.len > 128 {
            return Default::default();
        }
        (self.bits.to_be_bytes(), self.len.div_ceil(8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::BitWriter;

    /// A frame of AAC-LC at 48 kHz.
    fn frame(channels: u32, blocks: u32, crc: bool, positions: &[u8], data: &[u8]) -> Vec<u8> {
        let check = if crc { &[0xab, 0xcd][..] } else { &[] };
        let length = 7 + positions.len() + check.len() + data.len();
        let mut bits = BitWriter::default();
        bits.u(12, 0xfff).u(3, 0).u(1, (!crc).into()).u(2, 1).u(4, 3).u(1, 0).u(3, channels);
        bits.u(4, 0).u(13, u32::try_from(length).unwrap()).u(11, 0x7ff).u(2, blocks - 1);
        let header = bits.nal(&[]);
        [&header[..7], positions, check, data].concat()
    }

    fn units(frame: &[u8]) -> Vec<&[u8]> {
        Header::parse(frame).unwrap().access_units(frame).collect()
    }

    #[test]
    fn fields_of_a_plain_header() {
        let bytes = frame(2, 1, false, &[], &[1, 2, 3]);
        let header = Header::parse(&bytes[..HEADER_BYTES]).unwrap();
        assert_eq!((header.frame_bytes, header.header_bytes, header.blocks), (10, 7, 1));
        assert_eq!((header.format.sample_rate, header.format.channels), (48_000, 2));
        assert_eq!((header.format.profile, header.samples()), ("LC", 1024));
        assert_eq!(header.format.audio_specific_config(), [0x11, 0x90]);
        assert_eq!(units(&bytes), [[1, 2, 3]]);
    }

    #[test]
    fn seven_means_eight_channels() {
        let bytes = frame(7, 1, false, &[], &[]);
        assert_eq!(Header::parse(&bytes).unwrap().format.channels, 8);
    }

    #[test]
    fn a_crc_is_not_part_of_the_access_unit() {
        assert_eq!(units(&frame(2, 1, true, &[], &[1, 2, 3])), [[1, 2, 3]]);
    }

    #[test]
    fn blocks_without_crc_are_one_piece() {
        let bytes = frame(2, 3, false, &[], &[1, 2, 3, 4]);
        assert_eq!(units(&bytes), [[1, 2, 3, 4]]);
        assert_eq!(Header::parse(&bytes).unwrap().samples(), 3072);
    }

    #[test]
    fn blocks_with_crc_are_told_apart_by_their_positions() {
        let data = [1, 2, 3, 0xee, 0xee, 4, 0xee, 0xee, 5, 6, 0xee, 0xee];
        let bytes = frame(2, 3, true, &[0, 5, 0, 8], &data);
        assert_eq!(units(&bytes), [&[1, 2, 3][..], &[4], &[5, 6]]);
    }

    #[test]
    fn positions_that_make_no_sense_give_no_block() {
        let bytes = frame(2, 2, true, &[0xff, 5], &[1, 2, 3, 0xee, 0xee]);
        assert_eq!(units(&bytes).len(), 0);
        let bytes = frame(2, 2, true, &[0, 1], &[1, 2, 3, 0xee, 0xee]);
        assert_eq!(units(&bytes), [[2, 3]]);
    }

    #[test]
    fn headers_that_are_none() {
        let good = frame(2, 1, false, &[], &[]);
        for (at, byte) in [(0, 0xfe), (1, 0xe1), (1, 0xf3)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert_eq!(Header::parse(&bad), Err(Error::NoSync));
        }
        let mut bad = good.clone();
        bad[2] = 0x74;
        assert_eq!(Header::parse(&bad), Err(Error::OutOfRange("sampling_frequency_index")));
        let mut bad = good.clone();
        bad[4] = 0;
        bad[5] = 0xc0;
        assert_eq!(Header::parse(&bad), Err(Error::OutOfRange("aac_frame_length")));
        assert_eq!(Header::parse(&good[..6]), Err(Error::Truncated));
    }

    #[test]
    fn the_stream_itself_names_its_channels() {
        // Two front elements (one, a pair), a back pair and a low-frequency channel: 5.1.
        let mut element = BitWriter::default();
        element.u(3, 5).u(4, 0).u(2, 1).u(4, 3).u(4, 2).u(4, 0).u(4, 1).u(2, 1).u(3, 0).u(4, 0);
        element.u(3, 0).u(5, 0).u(5, 0b10000).u(5, 0b10001).u(4, 0);
        let bytes = frame(0, 1, false, &[], &element.nal(&[]));
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(header.format.channels, 0);
        assert!(header.format.audio_specific_config().is_empty());
        let unit = units(&bytes)[0];
        let format = with_program_config(&header.format, unit).unwrap();
        assert_eq!(format.channels, 6);
        // 2 bytes of head, of which 16 bits less 0, then 53 bits of element, a comment of none.
        assert_eq!(format.audio_specific_config().len(), 10);
        assert_eq!(with_program_config(&header.format, &[0x20]), None);
        assert_eq!(with_program_config(&header.format, &unit[..4]), None);
    }
}
