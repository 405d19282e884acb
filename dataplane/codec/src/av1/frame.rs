//! The first bits of a frame header (5.9.2): enough to tell what a temporal unit shows and whether
//! decoding can start at it.

use crate::Error;
use crate::rbsp::BitReader;

/// frame_type (6.8.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameType {
    /// Intra, and everything before it is forgotten when it is shown.
    Key,
    /// Predicted.
    Inter,
    /// Intra, but what follows may refer to frames before it.
    IntraOnly,
    /// Predicted, at a point where a decoder may change to another stream (S-frame).
    Switch,
}

/// What a frame header begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameHeader {
    /// A frame is coded.
    Coded {
        /// Its type.
        frame_type: FrameType,
        /// It is shown with this temporal unit (show_frame).
        shown: bool,
    },
    /// A frame that was decoded before is shown (show_existing_frame).
    Existing,
}

impl FrameHeader {
    /// Parses the first byte of the payload of a frame or frame header OBU, of a sequence with this
    /// [`reduced_still_picture`](super::SequenceHeader::reduced_still_picture).
    pub fn parse(payload: &[u8], reduced_still_picture: bool) -> Result<Self, Error> {
        if reduced_still_picture {
            return Ok(Self::Coded { frame_type: FrameType::Key, shown: true });
        }
        let mut bits = BitReader::plain(payload);
        if bits.flag()? {
            return Ok(Self::Existing);
        }
        let frame_type = match bits.bits(2)? {
            0 => FrameType::Key,
            1 => FrameType::Inter,
            2 => FrameType::IntraOnly,
            _ => FrameType::Switch,
        };
        Ok(Self::Coded { frame_type, shown: bits.flag()? })
    }

    /// The temporal unit shows a frame by it.
    pub const fn shows(self) -> bool {
        matches!(self, Self::Existing | Self::Coded { shown: true, .. })
    }

    /// Decoding can start here: a key frame that is shown at once. One that is shown later starts
    /// nothing by itself: what is shown between refers to frames before it.
    pub const fn is_random_access_point(self) -> bool {
        matches!(self, Self::Coded { frame_type: FrameType::Key, shown: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_four_bits_tell() {
        let parse = |byte| FrameHeader::parse(&[byte], false).unwrap();
        let key = parse(0b0001_0000);
        assert!(key.shows() && key.is_random_access_point());
        let hidden = parse(0b0000_0000);
        assert!(!hidden.shows() && !hidden.is_random_access_point());
        let coded = |frame_type, shown| FrameHeader::Coded { frame_type, shown };
        assert_eq!(parse(0b0011_0000), coded(FrameType::Inter, true));
        assert_eq!(parse(0b0100_0000), coded(FrameType::IntraOnly, false));
        assert_eq!(parse(0b0111_0000), coded(FrameType::Switch, true));
        assert_eq!(parse(0b1011_0000), FrameHeader::Existing);
        assert!(FrameHeader::Existing.shows() && !FrameHeader::Existing.is_random_access_point());
        assert_eq!(FrameHeader::parse(&[], true), Ok(coded(FrameType::Key, true)));
        assert_eq!(FrameHeader::parse(&[], false), Err(Error::Truncated));
    }
}
