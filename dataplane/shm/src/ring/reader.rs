//! Reader's side of the ring.
use std::os::fd::BorrowedFd;

use super::Frame;
use crate::{Error, RingId};

/// Where a reader starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekFrom {
    /// At the oldest frame in the ring.
    Oldest,
    /// At the newest key frame, where a decoder can start at once; the oldest when there is none.
    Key,
    /// At the next frame to be published.
    Live,
}

/// What a reader finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A frame; its bytes are in the buffer.
    Frame(Frame),
    /// No new frame yet.
    Empty,
    /// The writer passed the reader; it goes on at the oldest frame in the ring.
    Overrun {
        /// Frames missed.
        lost: u64,
    },
    /// The stream is over and everything was read, or the ring belongs to another by now.
    Ended,
}

/// Reads the frames of one stream from any process. It never slows the writer.
#[derive(Debug)]
pub struct GopReader {}
impl GopReader {
    /// Maps a ring and attaches to its current stream, at the oldest frame.
    pub fn map(_fd: BorrowedFd<'_>) -> Result<Self, Error> {
        todo!()
    }
    /// Maps a ring and attaches to one generation; an error when the ring is at another.
    pub fn map_generation(_fd: BorrowedFd<'_>, _generation: u64) -> Result<Self, Error> {
        todo!()
    }
    /// The ring's identity.
    pub fn ring(&self) -> RingId {
        todo!()
    }
    /// The generation this reader is attached to.
    pub fn generation(&self) -> u64 {
        todo!()
    }
    /// Goes to another place.
    pub fn seek(&mut self, _from: SeekFrom) {
        todo!()
    }
    /// Copies the next frame into `out`, whose former content goes.
    pub fn next(&mut self, _out: &mut Vec<u8>) -> Result<Next, Error> {
        todo!()
    }
    /// Frames published and not yet read.
    pub fn lag(&self) -> u64 {
        todo!()
    }
}
