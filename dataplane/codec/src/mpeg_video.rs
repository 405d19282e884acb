//! MPEG-1 and MPEG-2 video (ISO/IEC 11172-2, H.262): what start codes mean and what the headers
//! behind them say.
//!
//! ```text
//!  sequence_header B3 [ sequence_extension B5.1 ] [ group_of_pictures B8 ]
//!    picture 00 [ picture_coding_extension B5.8 ] slice 01…AF slice … picture 00 …
//! ```
//!
//! A header is given without its start code prefix, beginning with the byte that names it.

use crate::format::rate;
use crate::rbsp::BitReader;
use crate::sink::Codec;
use crate::{Chroma, Colour, Error, SliceType, VideoFormat};

/// Bytes of a header, its name included, that any of the parsers here reads.
pub const HEADER_BYTES: usize = 12;

/// What a start code begins (table 6-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartCode {
    /// picture_start_code.
    Picture,
    /// A slice.
    Slice,
    /// sequence_header_code.
    Sequence,
    /// extension_start_code.
    Extension,
    /// sequence_end_code.
    SequenceEnd,
    /// group_start_code.
    Group,
    /// User data, errors, reserved and system codes.
    Other,
}

impl StartCode {
    /// By the byte behind the prefix.
    pub const fn of(byte: u8) -> Self {
        match byte {
            0x00 => Self::Picture,
            0x01..=0xaf => Self::Slice,
            0xb3 => Self::Sequence,
            0xb5 => Self::Extension,
            0xb7 => Self::SequenceEnd,
            0xb8 => Self::Group,
            _ => Self::Other,
        }
    }
}

/// Frame rates by frame_rate_code (table 6-4).
const FRAME_RATES: [(u32, u32); 8] =
    [(24_000, 1001), (24, 1), (25, 1), (30_000, 1001), (30, 1), (50, 1), (60_000, 1001), (60, 1)];

/// What a sequence header says: the format of MPEG-1, and of MPEG-2 until its extension came.
pub fn sequence_header(header: &[u8]) -> Result<VideoFormat, Error> {
    let mut bits = BitReader::plain(header);
    if bits.bits(8)? != 0xb3 {
        return Err(Error::WrongType);
    }
    let (width, height) = (bits.bits(12)?, bits.bits(12)?);
    if width == 0 || height == 0 {
        return Err(Error::OutOfRange("horizontal_size or vertical_size"));
    }
    let aspect = bits.bits8(4)?;
    let frame_rate = usize::from(bits.bits8(4)?).checked_sub(1).and_then(|at| FRAME_RATES.get(at));
    Ok(VideoFormat {
        codec: Codec::Mpeg1Video,
        // Its aspect code, until the extension tells which table it is of.
        profile_idc: aspect,
        profile: "unknown",
        level_idc: 0,
        level: "unknown",
        width,
        height,
        coded_width: width.next_multiple_of(16),
        coded_height: height.next_multiple_of(16),
        bit_depth_luma: 8,
        bit_depth_chroma: 8,
        chroma: Chroma::C420,
        frame_rate: frame_rate.copied(),
        field_coded: false,
        sar: if aspect == 1 { (1, 1) } else { (0, 0) },
        colour: Colour::UNSPECIFIED,
    })
}

/// What a sequence_extension adds to the format of the sequence header before it.
pub fn sequence_extension(header: &[u8], sequence: &VideoFormat) -> Result<VideoFormat, Error> {
    let mut bits = BitReader::plain(header);
    if bits.bits(8)? != 0xb5 || bits.bits(4)? != 1 {
        return Err(Error::WrongType);
    }
    let indication = bits.bits8(8)?;
    let progressive = bits.flag()?;
    let chroma = match Chroma::from_idc(bits.bits(2)?) {
        Some(chroma) if chroma != Chroma::Mono => chroma,
        _ => return Err(Error::OutOfRange("chroma_format")),
    };
    let width = sequence.width & 0xfff | bits.bits(2)? << 12;
    let height = sequence.height & 0xfff | bits.bits(2)? << 12;
    bits.skip(12 + 1 + 8 + 1)?;
    let (numerator, denominator) = (bits.bits(2)? + 1, bits.bits(5)? + 1);
    let rows = if progressive { 16 } else { 32 };
    Ok(VideoFormat {
        codec: Codec::Mpeg2Video,
        profile_idc: indication,
        profile: profile(indication),
        level_idc: indication & 0x0f,
        level: level(indication),
        width,
        height,
        coded_width: width.next_multiple_of(16),
        coded_height: height.next_multiple_of(rows),
        chroma,
        frame_rate: sequence.frame_rate.and_then(|(frames, seconds)| {
            rate(u64::from(frames * numerator), u64::from(seconds * denominator))
        }),
        field_coded: !progressive,
        sar: sample_aspect(sequence.profile_idc, width, height),
        ..*sequence
    })
}

/// Of profile_and_level_indication (table 8-2, annex J), as `ffprobe` names it.
const fn profile(indication: u8) -> &'static str {
    match indication {
        0x82 | 0x85 => "4:2:2",
        _ => match indication >> 4 & 7 {
            1 => "High",
            2 => "Spatially Scalable",
            3 => "SNR Scalable",
            4 => "Main",
            5 => "Simple",
            _ => "unknown",
        },
    }
}

const fn level(indication: u8) -> &'static str {
    match indication {
        0x82 => return "High",
        0x85 => return "Main",
        _ => {}
    }
    match indication & 0x0f {
        4 => "High",
        6 => "High1440",
        8 => "Main",
        10 => "Low",
        _ => "unknown",
    }
}

/// aspect_ratio_information of MPEG-2 (table 6-3): of the picture, but for 1.
fn sample_aspect(code: u8, width: u32, height: u32) -> (u16, u16) {
    let (x, y) = match code {
        1 => return (1, 1),
        2 => (4u32, 3u32),
        3 => (16, 9),
        4 => (221, 100),
        _ => return (0, 0),
    };
    let sar = rate(u64::from(x * height), u64::from(y * width));
    let sar = sar.and_then(|(x, y)| Some((u16::try_from(x).ok()?, u16::try_from(y).ok()?)));
    sar.unwrap_or_default()
}

/// The headers and slices of a stream, each from the byte that names it to the end of the stream.
pub fn headers(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..bytes.len()).filter_map(|at| bytes.get(at..)?.strip_prefix(&[0, 0, 1]))
}

/// Whether a group_of_pictures_header says that its first pictures refer to none before it.
pub fn is_closed_group(header: &[u8]) -> bool {
    matches!(header, [0xb8, _, _, _, last, ..] if last & 0x40 != 0)
}

/// What a picture_header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureHeader {
    /// temporal_reference: its place in output order since the group's start, modulo 1024.
    pub temporal_reference: u16,
    /// picture_coding_type; D pictures of MPEG-1 count as intra.
    pub slice_type: SliceType,
}

impl PictureHeader {
    /// Parses it.
    pub fn parse(header: &[u8]) -> Result<Self, Error> {
        let mut bits = BitReader::plain(header);
        if bits.bits(8)? != 0 {
            return Err(Error::WrongType);
        }
        let temporal_reference = bits.bits16(10)?;
        let slice_type = match bits.bits8(3)? {
            1 | 4 => SliceType::I,
            2 => SliceType::P,
            3 => SliceType::B,
            _ => return Err(Error::OutOfRange("picture_coding_type")),
        };
        Ok(Self { temporal_reference, slice_type })
    }
}

/// Whether a picture_coding_extension says that the picture is a field; `None` when the header is
/// another one.
pub fn is_field(header: &[u8]) -> Option<bool> {
    match header {
        [0xb5, id, _, structure, ..] if id >> 4 == 8 => Some(structure & 3 != 3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::BitWriter;

    fn sequence(width: u32, height: u32, aspect: u32, rate: u32) -> Vec<u8> {
        let mut bits = BitWriter::default();
        bits.u(8, 0xb3).u(12, width).u(12, height).u(4, aspect).u(4, rate).u(32, 0x1234_5678);
        bits.raw()
    }

    fn extension(indication: u32, progressive: u32, chroma: u32, high: (u32, u32)) -> Vec<u8> {
        let mut bits = BitWriter::default();
        bits.u(8, 0xb5).u(4, 1).u(8, indication).u(1, progressive).u(2, chroma);
        bits.u(2, high.0).u(2, high.1).u(12, 0).u(1, 1).u(8, 0).u(1, 0).u(2, 0).u(5, 0);
        bits.raw()
    }

    #[test]
    fn mpeg1_is_its_sequence_header() {
        let format = sequence_header(&sequence(352, 240, 1, 4)).unwrap();
        assert_eq!((format.width, format.height, format.sar), (352, 240, (1, 1)));
        assert_eq!((format.codec, format.frame_rate), (Codec::Mpeg1Video, Some((30_000, 1001))));
    }

    #[test]
    fn the_extension_adds_profile_size_and_aspect() {
        let header = sequence_header(&sequence(720, 576, 3, 3)).unwrap();
        let format = sequence_extension(&extension(0x48, 0, 1, (0, 0)), &header).unwrap();
        assert_eq!((format.profile, format.level, format.sar), ("Main", "Main", (64, 45)));
        assert_eq!((format.field_coded, format.coded_height), (true, 576));
        let header = sequence_header(&sequence(0xf00, 0x438, 1, 3)).unwrap();
        let format = sequence_extension(&extension(0x82, 1, 2, (1, 0)), &header).unwrap();
        assert_eq!((format.width, format.height), (0x1f00, 0x438));
        assert_eq!((format.profile, format.level, format.chroma), ("4:2:2", "High", Chroma::C422));
    }

    #[test]
    fn pictures_and_groups() {
        let picture = PictureHeader::parse(&[0, 0x02, 0x9f, 0xff]).unwrap();
        assert_eq!((picture.temporal_reference, picture.slice_type), (10, SliceType::B));
        let bad = PictureHeader::parse(&[0, 0x02, 0x80, 0]);
        assert_eq!(bad, Err(Error::OutOfRange("picture_coding_type")));
        assert!(is_closed_group(&[0xb8, 0, 8, 0, 0x40]) && !is_closed_group(&[0xb8, 0, 8, 0, 0]));
        assert_eq!(is_field(&[0xb5, 0x8f, 0xff, 0xf3, 0]), Some(false));
        assert_eq!(is_field(&[0xb5, 0x8f, 0xff, 0xf1, 0]), Some(true));
        assert_eq!(is_field(&[0xb5, 0x1f, 0xff, 0xf1, 0]), None);
    }

    #[test]
    fn headers_that_are_none() {
        assert_eq!(
            sequence_header(&sequence(0, 576, 3, 3)),
            Err(Error::OutOfRange("horizontal_size or vertical_size"))
        );
        assert_eq!(sequence_header(&[0xb3, 1, 2]), Err(Error::Truncated));
        let header = sequence_header(&sequence(720, 576, 3, 3)).unwrap();
        let mono = sequence_extension(&extension(0x48, 0, 0, (0, 0)), &header);
        assert_eq!(mono, Err(Error::OutOfRange("chroma_format")));
        assert_eq!(sequence_extension(&[0xb5, 0x80, 0], &header), Err(Error::WrongType));
        assert_eq!(sequence_extension(&[0xb5, 0x14], &header), Err(Error::Truncated));
    }
}
