//! AAC in ADTS frames (ISO/IEC 14496-3, 1.A.2).

use crate::{AudioFormat, Error};

/// Bytes that [`Header::parse`] needs.
pub const HEADER_BYTES: usize = 7;

/// An ADTS frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole frame with its header, 7 to 8191.
    pub frame_bytes: u16,
    /// Bytes of the header, with its CRC and block positions: where the raw access unit starts.
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
    pub fn parse(_bytes: &[u8]) -> Result<Self, Error> {
        unimplemented!()
    }

    /// `next` can follow in the same stream: the fixed part of the header is the same.
    pub fn is_followed_by(&self, _next: &Self) -> bool {
        unimplemented!()
    }
}

/// Result of looking for a frame in bytes of unknown alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// A frame starts at `offset` and another of the same kind follows it.
    Confirmed {
        /// Bytes before it.
        offset: usize,
        /// Its header.
        header: Header,
    },
    /// A header stands at `offset`, but its successor is not among the bytes: to confirm it,
    /// `offset + frame_bytes + HEADER_BYTES` bytes are needed.
    Unconfirmed {
        /// Bytes before it.
        offset: usize,
        /// Its header.
        header: Header,
    },
    /// No header starts in the first `skip` bytes; the rest is too short to tell.
    None {
        /// Bytes that hold no start of a frame.
        skip: usize,
    },
}

/// Looks for the first frame in `bytes`.
pub fn find(_bytes: &[u8]) -> Sync {
    unimplemented!()
}
