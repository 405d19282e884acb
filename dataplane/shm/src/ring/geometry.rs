//! Where the parts of a ring lie: in the segment, which two processes agree on, and in the address
//! space of whoever maps it.

use std::sync::Arc;

use super::index::{self, Index};
use super::{LANE_SIDE, LANE_VIDEO, RingSpec};
use crate::error::Error;
use crate::layout::{
    ABI_VERSION, CURSORS_OFFSET, DESCRIPTORS_OFFSET, Descriptor, LAYOUT_HASH, RING_MAGIC,
    RingHeader, WORD, check_head,
};
use crate::primitive::{Ordering, fence};
use crate::segment::{self, Mapping, Words};

/// Name of such a segment in errors and in /proc/PID/maps.
pub(crate) const WHAT: &str = "penstock-gop-ring";

/// No lane is larger: a frame's length is 32 bits, and half of that is far beyond any stream.
pub(crate) const LANE_BYTES_MAX: u64 = 1 << 31;
/// No ring has more descriptors: 128 MiB of them.
pub(crate) const DESCRIPTORS_MAX: u64 = 1 << 20;
/// No ring has more frames waiting: 10 s at 6,500 frames a second.
pub(crate) const PENDING_MAX: u64 = 1 << 16;

const HUGE_PAGE: u64 = segment::HUGE_PAGE as u64;
const DESCRIPTOR_BYTES: u64 = (Descriptor::WORDS * WORD) as u64;

/// Sizes and offsets in the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) descriptors: u64,
    pub(crate) side_offset: u64,
    pub(crate) side_bytes: u64,
    pub(crate) video_offset: u64,
    pub(crate) video_bytes: u64,
    pub(crate) file_bytes: u64,
}

/// The parts of a ring in this process.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) header: Words,
    pub(crate) index: Index,
    pub(crate) descriptors: Words,
    /// By lane number.
    pub(crate) lanes: [Words; 2],
}

fn within(what: &'static str, got: u64, max: u64) -> Result<(), Error> {
    if (1..=max).contains(&got) { Ok(()) } else { Err(Error::Size { what, got, min: 1, max }) }
}

impl Geometry {
    /// For a specification, in units of `page` bytes.
    pub(crate) fn new(spec: &RingSpec, page: u64) -> Result<Self, Error> {
        within("video lane bytes", spec.video_bytes, LANE_BYTES_MAX)?;
        within("side lane bytes", spec.side_bytes, LANE_BYTES_MAX)?;
        within("descriptors of a ring", spec.descriptors.into(), DESCRIPTORS_MAX)?;
        within("pending frames of a ring", spec.pending_frames.into(), PENDING_MAX)?;
        Ok(Self::of(spec, page))
    }

    /// The same without the checks; sizes beyond the limits count as the limits.
    pub(crate) fn of(spec: &RingSpec, page: u64) -> Self {
        let video = spec.video_bytes.min(LANE_BYTES_MAX);
        let side = spec.side_bytes.min(LANE_BYTES_MAX);
        let descriptors = u64::from(spec.descriptors).min(DESCRIPTORS_MAX);
        let video_bytes = video.next_multiple_of(page);
        let side_bytes = side.next_multiple_of(page);
        let head = DESCRIPTORS_OFFSET as u64 + descriptors * DESCRIPTOR_BYTES;
        let side_offset = head.next_multiple_of(page);
        // Huge pages need the file offset at a boundary too; the gap before it is never touched.
        let huge = video_bytes.is_multiple_of(HUGE_PAGE);
        let video_align = if huge { HUGE_PAGE } else { page };
        let video_offset = (side_offset + side_bytes).next_multiple_of(video_align);
        let file_bytes = video_offset + video_bytes;
        Self { descriptors, side_offset, side_bytes, video_offset, video_bytes, file_bytes }
    }

    /// From the header of a segment of `real` bytes that anybody may have written.
    pub(crate) fn from_header(header: &RingHeader, real: u64) -> Result<Self, Error> {
        check_head(WHAT, RING_MAGIC, &header.head(), real)?;
        let geometry = Self {
            descriptors: header.descriptors,
            side_offset: header.side_offset,
            side_bytes: header.side_bytes,
            video_offset: header.video_offset,
            video_bytes: header.video_bytes,
            file_bytes: header.file_bytes,
        };
        let corrupt = |field, got| Err(Error::Corrupt { what: WHAT, field, got });
        let lane = |offset: u64, bytes: u64, least: u64| {
            let whole = offset.is_multiple_of(8) && bytes.is_multiple_of(8) && bytes > 0;
            let end = offset.checked_add(bytes).filter(|end| *end <= real);
            whole && offset >= least && bytes <= LANE_BYTES_MAX && end.is_some()
        };
        if !(1..=DESCRIPTORS_MAX).contains(&geometry.descriptors) {
            return corrupt("number of descriptors", geometry.descriptors);
        }
        let head = DESCRIPTORS_OFFSET as u64 + geometry.descriptors * DESCRIPTOR_BYTES;
        if !lane(geometry.side_offset, geometry.side_bytes, head) {
            return corrupt("place of the side lane", geometry.side_offset);
        }
        let side_end = geometry.side_offset + geometry.side_bytes;
        if !lane(geometry.video_offset, geometry.video_bytes, side_end) {
            return corrupt("place of the video lane", geometry.video_offset);
        }
        Ok(geometry)
    }

    /// The parts in a mapping where the segment lies as it is, lanes once.
    pub(crate) fn plain(&self, memory: &Arc<Mapping>) -> Parts {
        let side = Words::new(memory, size(self.side_offset), size(self.side_bytes), false);
        let video = Words::new(memory, size(self.video_offset), size(self.video_bytes), false);
        self.parts(&Words::new(memory, 0, size(self.side_offset), false), side, video)
    }

    fn parts(&self, head: &Words, side: Words, video: Words) -> Parts {
        const { assert!(LANE_VIDEO == 0 && LANE_SIDE == 1, "lanes by number") };
        let descriptors = size(self.descriptors) * Descriptor::WORDS;
        Parts {
            header: head.part(0, RingHeader::WORDS),
            index: Index::new(head.part(CURSORS_OFFSET / WORD, index::WORDS)),
            descriptors: head.part(DESCRIPTORS_OFFSET / WORD, descriptors),
            lanes: [video, side],
        }
    }

    /// Fills the header of a new segment in; the magic last, so that whoever sees it sees all.
    pub(crate) fn announce(&self, ring: u32, header: &Words) {
        let record = RingHeader {
            magic: 0,
            abi_version: u64::from(ABI_VERSION),
            layout_hash: LAYOUT_HASH,
            file_bytes: self.file_bytes,
            ring: u64::from(ring),
            descriptors: self.descriptors,
            side_offset: self.side_offset,
            side_bytes: self.side_bytes,
            video_offset: self.video_offset,
            video_bytes: self.video_bytes,
            reserved: [0; 6],
        };
        header.store_array(0, &record.to_words());
        header.word(0).store(RING_MAGIC, Ordering::Release);
    }
}

/// The first words of a header; the magic is looked at before the rest.
pub(crate) fn read_header(words: &Words) -> RingHeader {
    let magic = words.load(0);
    fence(Ordering::Acquire);
    let mut header = RingHeader::from_words(words.load_array(0));
    header.magic = magic;
    header
}

/// A size that was checked against a file or a limit below 2^63.
pub(crate) fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("the ABI is for 64-bit machines")
}

#[cfg(not(loom))]
mod mapped {
    use std::os::fd::{BorrowedFd, OwnedFd};

    use super::{Geometry, Parts, RingHeader, WHAT, read_header, size};
    use crate::Error;
    use crate::layout::WORD;
    use crate::segment::Words;
    use crate::segment::map::{self, Piece};

    impl Geometry {
        /// Address space: both lanes twice, the video lane first because it wants the boundary of
        /// a huge page, then the rest.
        fn pieces(&self) -> [Piece; 5] {
            let video = Piece { offset: self.video_offset, bytes: size(self.video_bytes) };
            let side = Piece { offset: self.side_offset, bytes: size(self.side_bytes) };
            let head = Piece { offset: 0, bytes: size(self.side_offset) };
            [video, video, side, side, head]
        }

        fn mirrored(&self, memory: &std::sync::Arc<crate::segment::Mapping>) -> Parts {
            let [video, _, side, _, head] = self.pieces();
            let side_at = 2 * video.bytes;
            let head_at = side_at + 2 * side.bytes;
            let video = Words::new(memory, 0, video.bytes, true);
            let side = Words::new(memory, side_at, side.bytes, true);
            self.parts(&Words::new(memory, head_at, head.bytes, false), side, video)
        }

        /// Makes the segment: size, maps, pages, header, seals, in this order.
        pub(crate) fn create(&self, ring: u32) -> Result<(Parts, OwnedFd), Error> {
            let fd = map::create(WHAT, self.file_bytes)?;
            let memory = map::writable(WHAT, self.file_bytes, &fd, &self.pieces())?;
            let parts = self.mirrored(&memory);
            parts.index.start(0, 0);
            parts.index.end(0);
            self.announce(ring, &parts.header);
            map::seal(WHAT, self.file_bytes, &fd)?;
            Ok((parts, fd))
        }

        /// Maps a segment that somebody handed over.
        pub(crate) fn map(fd: BorrowedFd<'_>) -> Result<(RingHeader, Parts), Error> {
            let real = map::sealed_bytes(WHAT, fd)?;
            let head = RingHeader::WORDS * WORD;
            if real < head as u64 {
                return Err(Error::Length { what: WHAT, said: head as u64, real });
            }
            let page = Piece { offset: 0, bytes: rustix::param::page_size() };
            let memory = map::readable(WHAT, fd, &[page])?;
            let header = read_header(&Words::new(&memory, 0, head, false));
            let geometry = Self::from_header(&header, real)?;
            let memory = map::readable(WHAT, fd, &geometry.pieces())?;
            Ok((header, geometry.mirrored(&memory)))
        }
    }
}
