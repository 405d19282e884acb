//! Bytes of a slice that go past the framer: of many packets in a row, each of which only goes on with
//! the one before.
//!
//! A slice is found out about by its first bytes and ends with a start code or its unit. What lies
//! between has only to be looked through and stored; the framer is told of it at the end, in one.

use memory::{Places, Time};
use shm::OpenFrame;

use crate::frames::{Input, OpenInput};

/// Bytes between [`Stream::begin_run`](crate::Stream::begin_run) and
/// [`Stream::end_run`](crate::Stream::end_run); apart from the stream, so that a packet touches nothing
/// else.
#[derive(Debug, Default)]
pub struct Run {
    /// Where the bytes go. Kept from run to run.
    pub(crate) frame: Option<OpenFrame>,
    /// Position of the next byte in the track, and how many there may be.
    pub(crate) position: u64,
    pub(crate) left: usize,
    pub(crate) input: OpenInput,
}

impl Run {
    /// Takes the next bytes, of a datagram that arrived and is due so. False when they may be more than
    /// the midst of a slice, or there is no room for them: then nothing happened.
    #[inline]
    pub fn push(&mut self, bytes: &[u8], arrival: Time, due: Time) -> bool {
        let Some(frame) = self.frame.as_mut().filter(|_| bytes.len() <= self.left) else {
            return false;
        };
        // A zero at the end may be the start of a code.
        let ends_calm = bytes.last().is_some_and(|last| *last != 0);
        if !ends_calm || !frame.append(bytes) {
            return false;
        }
        self.left -= bytes.len();
        self.input.datagram(Input { arrival, due }, self.position);
        self.position += u64::try_from(bytes.len()).unwrap_or_default();
        true
    }

    /// Where the next bytes will be written.
    pub fn places(&self, places: &mut Places) {
        if let Some(frame) = &self.frame {
            places.add([frame.place()]);
        }
    }

    /// Gives back what it keeps of a ring.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}
