//! Streams with known truth, for what encoders do not make, and clips that FFmpeg makes.
//!
//! ```text
//!  h264::paff ─┐
//!              ├─▶ [AccessUnit] ─▶ pack (units to PES packets) ─▶ mux::Muxer ─▶ transport stream
//!  clips ──────┘        │
//!                       └─▶ the truth that frames are compared with
//! ```
//!
//! Nothing here is fast or complete: only what the tests need, written apart from the product's
//! parsers, so that a mistake there is not repeated here.

pub mod av1;
pub mod clips;
pub mod h264;
pub mod jpegxs;
pub mod mux;
pub mod numbered;
pub mod pack;

use sha2::{Digest, Sha256};

/// Which field of a pair a picture is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// It opens the pair.
    First,
    /// It completes the pair.
    Second,
}

impl Field {
    /// As `penstock tap` names it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
        }
    }
}

/// One access unit and all that is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// Its bytes as they lie in the elementary stream.
    pub bytes: Vec<u8>,
    /// Presentation time in 90 kHz ticks, not wrapped.
    pub pts: u64,
    /// Decoding time in 90 kHz ticks, not wrapped.
    pub dts: u64,
    /// A decoder can start here.
    pub key: bool,
    /// The class as `penstock tap` names it.
    pub class: &'static str,
    /// The field, for field pictures.
    pub field: Option<Field>,
}

impl AccessUnit {
    /// SHA-256 of the bytes, as lower-case hexadecimal.
    pub fn sha256(&self) -> String {
        sha256(&self.bytes)
    }
}

/// SHA-256 as lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}"); // cannot fail on a String
    }
    text
}
