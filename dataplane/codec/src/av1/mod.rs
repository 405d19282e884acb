//! AV1: OBUs, the sequence header, and what the first bits of a frame header say (AV1 bitstream
//! specification, sections 5 and 6).
//!
//! ```text
//!  obu_header: forbidden 1 | obu_type 4 | extension_flag 1 | has_size_field 1 | reserved 1
//!              [ temporal_id 3 | spatial_id 2 | reserved 3 ]  [ obu_size leb128 ]  payload
//! ```

mod frame;
mod sequence;

pub use frame::{FrameHeader, FrameType};
pub use sequence::SequenceHeader;

use crate::Error;

/// Longest header of an OBU with its size.
pub const HEADER_BYTES_MAX: usize = 2 + LEB128_BYTES_MAX;
/// Longest leb128 (4.10.5).
pub const LEB128_BYTES_MAX: usize = 8;
/// obu_has_size_field in the first byte of an OBU.
pub const HAS_SIZE: u8 = 0x02;

/// obu_type (6.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObuType(pub u8);

#[allow(missing_docs, reason = "the specification's names")]
impl ObuType {
    pub const SEQUENCE_HEADER: Self = Self(1);
    pub const TEMPORAL_DELIMITER: Self = Self(2);
    pub const FRAME_HEADER: Self = Self(3);
    pub const TILE_GROUP: Self = Self(4);
    pub const METADATA: Self = Self(5);
    pub const FRAME: Self = Self(6);
    pub const REDUNDANT_FRAME_HEADER: Self = Self(7);
    pub const TILE_LIST: Self = Self(8);
    pub const PADDING: Self = Self(15);
}

impl ObuType {
    /// Types that mean something; the others are to be ignored by a decoder (6.2.2).
    pub const fn is_reserved(self) -> bool {
        !matches!(self.0, 1..=8 | 15)
    }

    /// Whether it is kept in a stored temporal unit: delimiters and padding say nothing, tile lists
    /// are of another application.
    pub const fn is_stored(self) -> bool {
        !matches!(self, Self::TEMPORAL_DELIMITER | Self::TILE_LIST | Self::PADDING)
    }
}

/// The header of an OBU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObuHeader {
    /// Its type.
    pub obu_type: ObuType,
    /// temporal_id and spatial_id, where there is an extension.
    pub layers: Option<(u8, u8)>,
    /// Bytes of the payload, where there is a size field.
    pub size: Option<u32>,
    /// Bytes of the header, size field included.
    pub header_bytes: u8,
}

impl ObuHeader {
    /// Parses the header at the start of `bytes`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (first, mut rest) = bytes.split_first().ok_or(Error::Truncated)?;
        if first & 0x80 != 0 {
            return Err(Error::OutOfRange("obu_forbidden_bit"));
        }
        let mut layers = None;
        if first & 0x04 != 0 {
            let (extension, behind) = rest.split_first().ok_or(Error::Truncated)?;
            layers = Some((extension >> 5, extension >> 3 & 3));
            rest = behind;
        }
        let mut size = None;
        if first & HAS_SIZE != 0 {
            let (value, bytes) = leb128(rest)?;
            size = Some(value);
            rest = rest.get(bytes..).unwrap_or_default();
        }
        Ok(Self {
            obu_type: ObuType(first >> 3 & 0x0f),
            layers,
            size,
            header_bytes: u8::try_from(bytes.len() - rest.len()).unwrap_or(u8::MAX),
        })
    }
}

/// A leb128 value and how many bytes it takes (4.10.5): at most eight, below 2^32.
pub fn leb128(bytes: &[u8]) -> Result<(u32, usize), Error> {
    let mut value = 0u64;
    for at in 0..LEB128_BYTES_MAX {
        let byte = bytes.get(at).ok_or(Error::Truncated)?;
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).map_err(|_| Error::OutOfRange("leb128"))?;
            return Ok((value, at + 1));
        }
    }
    Err(Error::OutOfRange("leb128"))
}

/// The shortest leb128 of a value, and its length.
pub fn to_leb128(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut len = 0;
    for place in &mut bytes {
        *place = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        len += 1;
        if value == 0 {
            break;
        }
        *place |= 0x80;
    }
    (bytes, len)
}

/// The OBUs of a low-overhead byte stream (5.2), each with its header and payload. One without a
/// size goes to the end. A header that does not parse, or more bytes than there are, end it.
pub fn obus(bytes: &[u8]) -> impl Iterator<Item = Result<Obu<'_>, Error>> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let obu = Obu::parse(rest);
        rest = match &obu {
            Ok(obu) => rest.get(obu.bytes.len()..).unwrap_or_default(),
            Err(_) => &[],
        };
        Some(obu)
    })
}

/// One whole OBU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obu<'a> {
    /// Its header.
    pub header: ObuHeader,
    /// Header and payload.
    pub bytes: &'a [u8],
    /// What lies behind the header.
    pub payload: &'a [u8],
}

impl<'a> Obu<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let header = ObuHeader::parse(bytes)?;
        let start = usize::from(header.header_bytes);
        let end = match header.size {
            Some(size) => start.saturating_add(usize::try_from(size).unwrap_or(usize::MAX)),
            None => bytes.len(),
        };
        let payload = bytes.get(start..end).ok_or(Error::Truncated)?;
        Ok(Self { header, bytes: bytes.get(..end).unwrap_or_default(), payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leb128_of_every_length() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 1 << 21, u32::MAX] {
            let (bytes, len) = to_leb128(value);
            assert_eq!(leb128(&bytes[..len]), Ok((value, len)), "{value}");
            for cut in 0..len {
                assert_eq!(leb128(&bytes[..cut]), Err(Error::Truncated), "{value}");
            }
        }
        assert_eq!(leb128(&[0x81, 0x80, 0x80, 0]), Ok((1, 4)), "padding is legal");
        assert_eq!(leb128(&[0x80; 8]), Err(Error::OutOfRange("leb128")));
        assert_eq!(leb128(&[0xff, 0xff, 0xff, 0xff, 0x7f]), Err(Error::OutOfRange("leb128")));
    }

    #[test]
    fn headers_with_and_without_extension_and_size() {
        let parse = |bytes: &[u8]| ObuHeader::parse(bytes).unwrap();
        let delimiter = parse(&[0x12, 0]);
        assert_eq!(delimiter.obu_type, ObuType::TEMPORAL_DELIMITER);
        assert_eq!((delimiter.size, delimiter.header_bytes, delimiter.layers), (Some(0), 2, None));
        let layered = parse(&[0x36, 0x28, 0x83, 0x01, 9]);
        assert_eq!((layered.obu_type, layered.layers), (ObuType::FRAME, Some((1, 1))));
        assert_eq!((layered.size, layered.header_bytes), (Some(131), 4));
        let unsized_obu = parse(&[0x30, 7, 7]);
        assert_eq!((unsized_obu.size, unsized_obu.header_bytes), (None, 1));
        assert_eq!(ObuHeader::parse(&[0x92, 0]), Err(Error::OutOfRange("obu_forbidden_bit")));
        assert_eq!(ObuHeader::parse(&[0x36, 0]), Err(Error::Truncated));
    }

    #[test]
    fn obus_end_with_their_bytes() {
        let stream = [0x12, 0, 0x32, 2, 7, 8, 0x30, 5, 6, 7];
        let found: Vec<_> = obus(&stream).map(|obu| obu.map(|obu| obu.payload)).collect();
        assert_eq!(found, [Ok(&[][..]), Ok(&[7, 8]), Ok(&[5, 6, 7])]);
        let cut: Vec<_> = obus(&stream[..5]).collect();
        assert_eq!((cut.len(), cut[1]), (2, Err(Error::Truncated)));
    }
}
