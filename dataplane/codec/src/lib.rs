//! What coded media says of itself, read from bytes without allocation: where NAL units and
//! frames of sound start, what parameter sets declare, where a picture begins and how it depends on others.
//!
//! | module | reads |
//! |---|---|
//! | [`annexb`] | start codes, over any split of the stream into pieces |
//! | [`rbsp`] | bits and Exp-Golomb codes of a NAL unit, emulation prevention bytes skipped |
//! | [`h264`] | NAL unit types, SPS, PPS, slice headers, recovery points |
//! | [`hevc`] | the same with VPS |
//! | [`mpeg_video`] | start codes and headers of MPEG-1 and MPEG-2 video |
//! | [`av1`] | OBUs, sequence headers, what a frame header begins with |
//! | [`jpeg_xs`] | the header of a codestream, the boxes before it |
//! | [`audio`] | frames of sound that announce themselves, resync |
//! | [`adts`] | AAC frame headers, AudioSpecificConfig |
//! | [`latm`] | AAC in LATM: its configuration, access units at any bit |
//! | [`ac3`], [`mpeg_audio`], [`opus`] | frame headers, sizes and durations |
//! | [`data`] | metadata cells, DVB subtitling segments |
//! | [`sink`] | the trait by which demultiplexers and depacketizers hand over what they find |
//!
//! It decodes no picture and no sound, keeps no stream and no time: gathering access units is the
//! work of `media`, which asks here whether the next NAL unit begins one. Clause numbers are those
//! of ITU-T H.264, ITU-T H.265 and ISO/IEC 14496-3.
//!
//! **Invariant.** Every function is total: any bytes give a value or an [`Error`], never a panic,
//! and take time in proportion to their length. What is stored is `Copy` and of fixed size, and
//! equal bytes give equal values, so formats can be compared.
//!
//! ```
//! use codec::{annexb, h264};
//!
//! let stream = [
//!     0, 0, 0, 1, 0x67, 0x42, 0x00, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xec, 0x04, 0x40, 0x00, 0x00,
//!     0x03, 0x00, 0x40, 0x00, 0x00, 0x0f, 0x03, 0xc5, 0x8b, 0xa8, 0, 0, 1, 0x68, 0xce, 0x3c, 0x80,
//! ];
//! let mut sets = h264::ParameterSets::new();
//! for nal in annexb::nal_units(&stream) {
//!     assert_eq!(sets.insert(nal), Ok(codec::SetChange::New));
//! }
//! let format = sets.format(0).unwrap();
//! assert_eq!((format.width, format.height), (1280, 720));
//! assert_eq!((format.profile, format.level), ("Baseline", "3.1"));
//! ```
#![forbid(unsafe_code)]
// Without `std` and `alloc` nothing here can allocate, read a clock or open a socket.
#![cfg_attr(not(any(test, fuzzing, feature = "fuzz")), no_std)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod ac3;
pub mod adts;
pub mod annexb;
pub mod audio;
pub mod av1;
pub mod data;
mod error;
mod format;
#[cfg(any(test, fuzzing, feature = "fuzz"))]
#[allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "assertions are the purpose"
)]
pub mod fuzz;
pub mod h264;
mod hash;
pub mod hevc;
pub mod jpeg_xs;
pub mod latm;
pub mod mpeg_audio;
pub mod mpeg_video;
pub mod opus;
pub mod rbsp;
mod sei;
pub mod sink;
#[cfg(test)]
mod testing;

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
