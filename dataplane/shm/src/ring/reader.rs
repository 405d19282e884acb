//! The reader of a ring, in any process. Every byte it reads may have been written by anybody:
//! lengths and places are checked against the mapping, loops are bounded by it, and a copy counts
//! only when the writer has not passed it meanwhile.

use super::geometry::{Parts, WHAT, size};
use super::index::{Index, NONE, Seen};
use super::{Frame, FrameFlags};
use crate::info::FrameClass;
use crate::layout::{Descriptor, WORD};
use crate::primitive::{AtomicU64, Ordering};
use crate::segment::Words;
use crate::{Error, RingId};

/// Where a reader starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekFrom {
    /// At the oldest frame in the ring.
    Oldest,
    /// At the newest video key frame, where a decoder can start at once; at the oldest frame when
    /// there is no key frame.
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
    /// The writer passed the reader, which goes on at the oldest frame in the ring.
    Overrun {
        /// Frames missed.
        lost: u64,
    },
    /// The stream is over and everything was read, or the ring belongs to another stream by now.
    Ended,
}

/// Reads the frames of one stream. It never slows the writer; one that lags is overrun.
#[derive(Debug)]
pub struct GopReader {
    ring: RingId,
    index: Index,
    descriptors: Words,
    descriptors_max: u64,
    /// By lane number.
    lanes: [Words; 2],
    generation: u64,
    next: u64,
}

impl GopReader {
    /// Maps a ring and attaches to its current stream, at the oldest frame.
    #[cfg(not(loom))]
    pub fn map(fd: std::os::fd::BorrowedFd<'_>) -> Result<Self, Error> {
        let (header, parts) = super::geometry::Geometry::map(fd)?;
        let ring = u32::try_from(header.ring);
        let field = "ring id";
        let ring = ring.map_err(|_| Error::Corrupt { what: WHAT, field, got: header.ring })?;
        Ok(Self::new(RingId(ring), parts))
    }

    /// Maps a ring and attaches to one generation; an error when the ring is at another.
    #[cfg(not(loom))]
    pub fn map_generation(fd: std::os::fd::BorrowedFd<'_>, generation: u64) -> Result<Self, Error> {
        let reader = Self::map(fd)?;
        if reader.generation == generation {
            Ok(reader)
        } else {
            Err(Error::Generation { got: reader.generation, expected: generation })
        }
    }

    /// Over a copy of a segment that may hold anything.
    #[cfg(any(test, fuzzing, feature = "fuzz"))]
    pub(crate) fn from_image(
        memory: &std::sync::Arc<crate::segment::Mapping>,
    ) -> Result<Self, Error> {
        let bytes = memory.bytes();
        let need = size_of::<crate::layout::RingHeader>();
        if bytes < need {
            return Err(Error::Length { what: WHAT, said: need as u64, real: bytes as u64 });
        }
        let header = super::geometry::read_header(&Words::new(memory, 0, bytes, false));
        let geometry = super::geometry::Geometry::from_header(&header, bytes as u64)?;
        Ok(Self::new(RingId(0), geometry.plain(memory)))
    }

    pub(crate) fn new(ring: RingId, parts: Parts) -> Self {
        let descriptors_max = (parts.descriptors.len() / Descriptor::WORDS) as u64;
        let Parts { index, descriptors, lanes, .. } = parts;
        let mut reader =
            Self { ring, index, descriptors, descriptors_max, lanes, generation: 0, next: 0 };
        reader.attach();
        reader
    }

    /// Turns to the stream that owns the ring now, at its oldest frame. Returns its generation.
    pub fn attach(&mut self) -> u64 {
        let seen = self.index.look();
        self.generation = seen.generation;
        self.next = seen.tail;
        self.generation
    }

    /// Goes to another place of the same stream.
    pub fn seek(&mut self, from: SeekFrom) {
        let seen = self.index.look();
        self.next = match from {
            SeekFrom::Live => seen.head.max(seen.tail),
            SeekFrom::Key if (seen.tail..seen.head).contains(&seen.key) => seen.key,
            SeekFrom::Key | SeekFrom::Oldest => seen.tail,
        };
    }

    /// Copies the next frame into `out`, whose former content goes. Anything but
    /// [`Next::Frame`] leaves `out` empty.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Result<Next, Error> {
        out.clear();
        let seen = self.index.look();
        if let Some(instead) = self.nothing_to_read(&seen) {
            return Ok(instead);
        }
        let read = self.copy_frame(out);
        // Whatever was read, right or wrong, counts only if the writer has not passed.
        if let Some(tail) = self.index.passed(self.next) {
            out.clear();
            return Ok(self.overrun(tail));
        }
        let frame = read.inspect_err(|_| out.clear())?;
        self.next = self.next.saturating_add(1);
        Ok(Next::Frame(frame))
    }

    fn nothing_to_read(&mut self, seen: &Seen) -> Option<Next> {
        if seen.generation != self.generation {
            return Some(Next::Ended);
        }
        if self.next < seen.tail {
            return Some(self.overrun(seen.tail));
        }
        if self.next < seen.head {
            return None;
        }
        let over = seen.end != NONE && seen.end <= self.next;
        Some(if over { Next::Ended } else { Next::Empty })
    }

    const fn overrun(&mut self, tail: u64) -> Next {
        let lost = tail.saturating_sub(self.next);
        self.next = tail;
        Next::Overrun { lost }
    }

    fn copy_frame(&self, out: &mut Vec<u8>) -> Result<Frame, Error> {
        let slot = size(self.next % self.descriptors_max);
        let words = self.descriptors.load_array(slot * Descriptor::WORDS);
        let descriptor = Descriptor::from_words(words);
        let corrupt = |field, got| Error::Corrupt { what: WHAT, field, got };
        if descriptor.position != self.next {
            return Err(corrupt("position of a frame", descriptor.position));
        }
        if descriptor.generation != self.generation {
            return Err(corrupt("generation of a frame", descriptor.generation));
        }
        let lane = self.lanes.get(usize::from(descriptor.lane));
        let lane = lane.ok_or_else(|| corrupt("lane of a frame", descriptor.lane.into()))?;
        let (length, bytes) = (u64::from(descriptor.length), lane.len() as u64 * WORD as u64);
        if length > bytes {
            return Err(corrupt("length of a frame", length));
        }
        if !descriptor.offset.is_multiple_of(WORD as u64) {
            return Err(corrupt("offset of a frame", descriptor.offset));
        }
        let start = size(descriptor.offset % bytes) / WORD;
        let length = size(length);
        let (one, two) = lane.run(start, length.div_ceil(WORD));
        copy_words(one, two, length, out);
        Ok(frame_of(&descriptor))
    }

    /// The whole of a segment on the heap.
    #[cfg(any(test, fuzzing, feature = "fuzz"))]
    pub(crate) fn words(&self) -> Words {
        self.descriptors.whole()
    }

    /// The ring's identity.
    pub const fn ring(&self) -> RingId {
        self.ring
    }

    /// The generation this reader is attached to.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Frames published and not yet read.
    pub fn lag(&self) -> u64 {
        self.index.look().head.saturating_sub(self.next)
    }
}

fn frame_of(descriptor: &Descriptor) -> Frame {
    let stamp = |ticks: u64| (ticks != u64::MAX).then_some(ticks);
    Frame {
        sequence: descriptor.sequence,
        gop: descriptor.gop,
        track: descriptor.track,
        class: FrameClass::from_code(descriptor.class),
        flags: FrameFlags::from_bits(descriptor.flags),
        pts: stamp(descriptor.pts),
        dts: stamp(descriptor.dts),
        size: descriptor.length,
        arrival_ns: descriptor.arrival_ns,
        due_ns: descriptor.due_ns,
        published_ns: descriptor.published_ns,
    }
}

/// Appends the first `length` bytes of the words to the empty `out`.
fn copy_words(one: &[AtomicU64], two: &[AtomicU64], length: usize, out: &mut Vec<u8>) {
    let words = one.len() + two.len();
    out.reserve(words * WORD);
    let room = &mut out.spare_capacity_mut()[..words * WORD];
    for (word, bytes) in one.iter().chain(two).zip(room.as_chunks_mut::<WORD>().0) {
        *bytes = word.load(Ordering::Relaxed).to_le_bytes().map(std::mem::MaybeUninit::new);
    }
    // JUSTIFICATION: filling a vector with zeros first costs as much as the copy.
    // SAFETY: the loop initialised `words * 8` bytes, which is no less than `length`, within the
    // capacity that was reserved.
    unsafe { out.set_len(length) };
}
