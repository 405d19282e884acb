//! MPEG transport streams (ISO/IEC 13818-1, H.222.0): from datagrams to elementary streams.
//!
//! The crate finds packets in a byte stream whose pieces mean nothing, follows one program's
//! tables, puts PES packets together and hands their payload on in place, with timestamps on one
//! line for the whole program. It owns no socket and no clock, and allocates nothing after
//! [`Demuxer::new`].
//!
//! ```text
//!  bytes ─▶ sync ─▶ packet ─┬─ PID 0 ──▶ psi::Assembler ─▶ Pat ─▶ which program
//!                           ├─ its PMT ▶ psi::Assembler ─▶ Pmt ─▶ which tracks ──▶ Sink::tracks
//!                           └─ a track ▶ continuity ─▶ PES header ─▶ timeline ───▶ Sink::unit_*
//! ```
//!
//! Splice information sections (SCTE 35) are handed on whole, stamped with the program's clock. It
//! does not find access units, decode, or descramble.
//!
//! # What holds
//!
//! - How the stream is cut into pushes does not change the calls that the sink gets.
//! - A unit without a [`gap`](codec::sink::Sink::gap) is what the sender sent, byte for byte, as
//!   far as continuity counters and the transport's word can prove it.
//! - No input panics, and memory does not grow: at most 64 programs and 16 tracks are listed, the
//!   others counted.
//!
//! # Example
//!
//! ```
//! use codec::sink::{Sink, Timestamps, TrackConfig};
//! use penstock_mpegts::{Config, Demuxer, State};
//!
//! #[derive(Default)]
//! struct Bytes(u64);
//!
//! impl Sink for Bytes {
//!     fn tracks(&mut self, tracks: &[TrackConfig]) {
//!         println!("{tracks:?}");
//!     }
//!     fn unit_start(&mut self, _track: usize, _stamps: Timestamps) {}
//!     fn unit_data(&mut self, _track: usize, bytes: &[u8]) {
//!         self.0 += bytes.len() as u64;
//!     }
//!     fn unit_end(&mut self, _track: usize) {}
//!     fn gap(&mut self, _track: usize) {}
//! }
//!
//! let mut sink = Bytes::default();
//! let mut demuxer = Demuxer::new(Config::default());
//! for _ in 0..20 {
//!     demuxer.push(&[0; 1316], &mut sink);
//! }
//! assert_eq!(demuxer.state(), State::NotTransportStream);
//! demuxer.finish(&mut sink);
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod continuity;
mod counters;
mod crc;
mod demux;
mod error;
#[cfg(any(test, fuzzing, feature = "fuzz"))]
#[allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "assertions are the purpose"
)]
pub mod fuzz;
pub mod packet;
pub mod pes;
mod program;
pub mod psi;
mod splice;
mod stream_type;
mod sync;
mod timeline;
mod track;

pub use counters::Counters;
pub use crc::crc32;
pub use demux::{Config, Demuxer, State};
pub use error::Error;
pub use psi::Program;
