//! Writer's side of the ring.
use std::ops::Range;
use std::os::fd::OwnedFd;

use super::{FrameMeta, Full, GopLimits, GopReader, Published, RingSpec, RingTotals};
use crate::{Error, RingId};

/// Makes rings.
#[derive(Debug)]
pub struct GopRing;
impl GopRing {
    /// Makes and seals a ring: the writer, and the segment to be handed to readers.
    pub fn create(_spec: &RingSpec) -> Result<(GopWriter, OwnedFd), Error> {
        todo!()
    }
    /// A ring on the heap with its reader, for tests and single-process use: no system call.
    pub fn in_process(_spec: &RingSpec) -> Result<(GopWriter, GopReader), Error> {
        todo!()
    }
}

/// The one writer of a ring. `Send`. Nothing allocates after `create`.
#[derive(Debug)]
pub struct GopWriter {}
impl GopWriter {
    /// The ring's identity.
    pub fn ring(&self) -> RingId {
        todo!()
    }
    /// The current generation; 0 before the first stream.
    pub fn generation(&self) -> u64 {
        todo!()
    }
    /// A new stream takes the ring: everything in it goes, sequence and group numbers start at 0,
    /// readers of the former stream see its end. Returns the new generation.
    pub fn start_generation(&mut self) -> u64 {
        todo!()
    }
    /// The stream is over: readers see its end behind the last published frame. Frames open or
    /// not yet published are discarded.
    pub fn end(&mut self) {
        todo!()
    }
    /// What is kept.
    pub fn set_limits(&mut self, _limits: GopLimits) {
        todo!()
    }

    /// Appends to the open frame of the video lane. On `Full` nothing was appended.
    pub fn append(&mut self, _bytes: &[u8]) -> Result<(), Full> {
        todo!()
    }
    /// Length of the open frame.
    pub fn open_len(&self) -> usize {
        todo!()
    }
    /// Copies bytes of the open frame, as many of `range` as exist; returns how many.
    pub fn copy_open(&self, _range: Range<usize>, _out: &mut [u8]) -> usize {
        todo!()
    }
    /// The first `at` bytes of the open frame become a finished frame, due at `due_ns`; the rest
    /// is the start of the next open frame. Moves the rest, which should be short. On `Full`
    /// nothing changed. Panics when `at` is beyond the open frame.
    pub fn split_open(&mut self, _at: usize, _meta: &FrameMeta, _due_ns: u64) -> Result<(), Full> {
        todo!()
    }
    /// The open frame is finished, due at `due_ns`; an empty one open is begun. On `Full` nothing
    /// changed: discard it.
    pub fn finish(&mut self, meta: &FrameMeta, due_ns: u64) -> Result<(), Full> {
        self.split_open(self.open_len(), meta, due_ns)
    }
    /// Throws away the first `at` bytes of the open frame (what came before the first frame start).
    pub fn discard_front(&mut self, _at: usize) {
        todo!()
    }
    /// Throws the open frame away.
    pub fn discard_open(&mut self) {
        todo!()
    }
    /// Adds a whole audio or data frame, due at `due_ns`. On `Full` nothing changed.
    pub fn append_frame(
        &mut self,
        _bytes: &[u8],
        _meta: &FrameMeta,
        _due_ns: u64,
    ) -> Result<(), Full> {
        todo!()
    }

    /// When the next finished frame is due.
    pub fn next_due(&self) -> Option<u64> {
        todo!()
    }
    /// Makes the frames visible that are due at `now_ns`, in the order of their due times, stamps
    /// them with `published_ns` and tells `each`. Then evicts what the limits say.
    pub fn publish_due(
        &mut self,
        _now_ns: u64,
        _published_ns: u64,
        _each: impl FnMut(&Published),
    ) -> usize {
        todo!()
    }
    /// Frames finished and not yet due.
    pub fn pending_frames(&self) -> usize {
        todo!()
    }

    /// Evicts the oldest group of pictures, the open one only when it is the last; false when
    /// there is none.
    pub fn evict_oldest_gop(&mut self) -> bool {
        todo!()
    }
    /// Published frames in the ring.
    pub fn frames(&self) -> u32 {
        todo!()
    }
    /// Groups of pictures in the ring, the open one included.
    pub fn gops(&self) -> u64 {
        todo!()
    }
    /// Bytes in use: published, not yet due, and open.
    pub fn used_bytes(&self) -> u64 {
        todo!()
    }
    /// Bytes of both lanes.
    pub fn capacity_bytes(&self) -> u64 {
        todo!()
    }
    /// Bytes of the video lane: no frame can be larger.
    pub fn video_capacity_bytes(&self) -> u64 {
        todo!()
    }
    /// What happened since the generation started.
    pub fn totals(&self) -> &RingTotals {
        todo!()
    }
}
impl RingSpec {
    /// Bytes the segment takes at most.
    pub fn file_bytes(&self) -> u64 {
        todo!()
    }
}
