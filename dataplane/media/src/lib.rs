//! Elementary-stream pieces in, complete, timed and classified frames in the GOP ring out.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod access_unit;
mod adts;
mod counters;
mod frame_rate;
mod frames;
#[cfg(any(test, fuzzing, feature = "fuzz"))]
pub mod fuzz;
mod h264;
mod hevc;
mod limits;
mod ratio;
mod stream;
mod timeline;
mod track;
mod units;

pub use counters::Counters;
pub use limits::Limits;
pub use stream::Stream;
pub use track::{Framing, TrackState};

/// Ticks of the streams' clock in a second.
const STREAM_TICKS_A_SECOND: u64 = 90_000;
