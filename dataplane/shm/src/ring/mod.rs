//! The GOP ring: the last groups of pictures of one stream, written by one worker, read by any
//! process that was handed the segment.
//!
//! ```text
//!   positions      tail                                  head
//!   descriptors ───┬──────┬──────┬──────┬──────┬──────┬───┬────────
//!                  │ I  0 │ a  1 │ P  0 │ a  1 │ I  0 │ … │  one order over both lanes
//!   ───────────────┴──┬───┴──┬───┴──┬───┴──┬───┴──┬───┴───┴────────
//!   lane 0, video  ───┴─ I ──│──────┴ P ───│──────┴─ I ─── pending ── open ▒▒
//!   lane 1, audio  ──────────┴─ a ─────────┴─ a ───
//! ```
//!
//! Video is appended in place, piece by piece; audio and data frames, which are small, go into
//! their own lane whole, so that none waits for an open picture.
mod frame;
pub(crate) mod geometry;
mod index;
mod lane;
mod open;
mod pending;
mod reader;
#[cfg(all(test, not(loom)))]
mod tests;
mod writer;

use std::collections::VecDeque;

pub use frame::{Frame, FrameFlags, FrameMeta, Full, GopLimits, Published, RingSpec, RingTotals};
pub use open::OpenFrame;
pub use reader::{GopReader, Next, SeekFrom};
pub use writer::{GopRing, GopWriter};

/// An empty queue with room for so many, all of whose memory has been touched: no page is waited for
/// while packets are worked on.
fn faulted_in<T: Copy + Default>(capacity: usize) -> VecDeque<T> {
    let mut queue = VecDeque::from(vec![T::default(); capacity]);
    queue.clear();
    queue
}

/// Number of the lane of the first video track.
pub(crate) const LANE_VIDEO: usize = 0;
/// Number of the lane of everything else.
pub(crate) const LANE_SIDE: usize = 1;
