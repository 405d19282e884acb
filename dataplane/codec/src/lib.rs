//! Parameter sets, frame headers and frame classes: pure functions on bytes.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod adts;
pub mod annexb;
mod error;
mod format;
pub mod h264;
mod hash;
pub mod hevc;
pub mod rbsp;
mod sei;
pub mod sink;

pub use error::Error;
pub use format::{AudioFormat, Chroma, Colour, FrameClass, SliceType, VideoFormat};

/// What storing a parameter set did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SetChange {
    /// The same bytes were stored already.
    Unchanged,
    /// Its id was free.
    New,
    /// Its id held other bytes.
    Changed,
}
