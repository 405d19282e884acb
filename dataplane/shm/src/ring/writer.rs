//! The writer of a ring: frames are built in place, wait for their due time, become visible, and
//! leave by whole groups of pictures.

use std::collections::VecDeque;
use std::ops::Range;

use super::geometry::{Geometry, Parts, size};
use super::index::Index;
use super::lane::Lane;
use super::open::OpenFrame;
use super::pending::{Pending, PendingFrame};
use super::{
    FrameFlags, FrameMeta, Full, GopLimits, GopReader, LANE_SIDE, LANE_VIDEO, Published, RingSpec,
    RingTotals, faulted_in,
};
use crate::layout::{Descriptor, WORD};
use crate::segment::{Mapping, Words};
use crate::{Error, RingId};

/// Makes rings.
#[derive(Debug)]
pub struct GopRing;

impl GopRing {
    /// Makes, populates and seals a ring: the writer, and the segment to be handed to readers.
    /// Takes up to 4 ms per MiB: made at start, never while a handshake waits.
    #[cfg(not(loom))]
    pub fn create(spec: &RingSpec) -> Result<(GopWriter, std::os::fd::OwnedFd), Error> {
        let geometry = Geometry::new(spec, rustix::param::page_size() as u64)?;
        let (parts, fd) = geometry.create(spec.ring.0)?;
        Ok((GopWriter::new(spec, parts), fd))
    }

    /// A ring on the heap and its reader, for tests and single-process use. Sizes are rounded up
    /// to words only, and no system call is made.
    pub fn in_process(spec: &RingSpec) -> Result<(GopWriter, GopReader), Error> {
        let geometry = Geometry::new(spec, WORD as u64)?;
        let memory = Mapping::zeroed(size(geometry.file_bytes));
        let parts = geometry.plain(&memory);
        parts.index.start(0, 0);
        parts.index.end(0);
        geometry.announce(spec.ring.0, &parts.header);
        let writer = GopWriter::new(spec, parts);
        Ok((writer, GopReader::new(spec.ring, geometry.plain(&memory))))
    }
}

impl RingSpec {
    /// Bytes the segment takes at most.
    pub fn file_bytes(&self) -> u64 {
        let page = if cfg!(miri) { 4096 } else { rustix::param::page_size() as u64 };
        Geometry::of(self, page).file_bytes
    }

    /// Bytes the writer takes beside the segment, in its own memory.
    pub fn writer_bytes(&self) -> u64 {
        let kept = u64::from(self.descriptors) * size_of::<Kept>() as u64;
        kept + u64::from(self.pending_frames) * size_of::<PendingFrame>() as u64
    }
}

/// What the writer remembers of a visible frame.
#[derive(Debug, Clone, Copy, Default)]
struct Kept {
    lane: usize,
    /// Offset behind its padding.
    end: u64,
    bytes: u64,
    gop: u64,
    published_ns: u64,
}

/// The one writer of a ring. Nothing allocates after it was made, and it reads nothing that
/// another process can write.
///
/// A frame goes through three states: *open* (bytes are appended; dropping the writer, a panic or
/// the death of the process here leaves no trace), *pending* (finished, waiting for its due time),
/// *visible* (published; readers may take it until it is evicted). Only visible frames are ever
/// evicted.
///
/// What each append and each look at the clock need comes first.
#[derive(Debug)]
#[repr(C)]
pub struct GopWriter {
    /// By lane number.
    lanes: [Lane; 2],
    pending: Pending,
    generation: u64,
    /// When the oldest group will be too old; until then nothing is to be evicted unless something is
    /// published.
    evict_at_ns: u64,
    ring: RingId,
    index: Index,
    descriptors: Words,
    descriptors_max: usize,
    /// Position of the stream's first frame.
    base: u64,
    /// Position of the next frame to be published.
    head: u64,
    /// The visible frames, oldest first; the oldest is at position `head - kept.len()`.
    kept: VecDeque<Kept>,
    kept_bytes: u64,
    /// How many of them are in each lane.
    kept_in: [usize; 2],
    /// Number of the open group of pictures.
    gop: u64,
    limits: GopLimits,
    totals: RingTotals,
}

impl GopWriter {
    fn new(spec: &RingSpec, parts: Parts) -> Self {
        let descriptors_max = parts.descriptors.len() / Descriptor::WORDS;
        Self {
            ring: spec.ring,
            index: parts.index,
            descriptors: parts.descriptors,
            descriptors_max,
            lanes: parts.lanes.map(Lane::new),
            generation: 0,
            base: 0,
            head: 0,
            kept: faulted_in(descriptors_max),
            kept_bytes: 0,
            kept_in: [0; 2],
            gop: 0,
            pending: Pending::new(size(u64::from(spec.pending_frames))),
            limits: GopLimits::default(),
            evict_at_ns: u64::MAX,
            totals: RingTotals::default(),
        }
    }

    /// A new stream takes the ring: everything in it goes, sequence and group numbers start at 0,
    /// limits are none, readers of the former stream see its end. Returns the new generation.
    pub fn start_generation(&mut self) -> u64 {
        self.generation += 1;
        self.discard_unpublished();
        self.kept.clear();
        self.kept_bytes = 0;
        self.kept_in = [0; 2];
        for lane in &mut self.lanes {
            lane.keep_from(lane.open_start());
        }
        self.base = self.head;
        self.gop = 0;
        self.limits = GopLimits::default();
        self.evict_at_ns = u64::MAX;
        self.totals = RingTotals::default();
        self.index.start(self.generation, self.head);
        self.generation
    }

    /// The stream is over: readers see its end behind the last visible frame. Frames that are open
    /// or pending are discarded.
    pub fn end(&mut self) {
        self.discard_unpublished();
        self.index.end(self.head);
    }

    fn discard_unpublished(&mut self) {
        self.pending.clear();
        for lane in &mut self.lanes {
            lane.discard_front(usize::MAX);
        }
    }

    /// Sets what is kept of the stream; takes effect with the next [`GopWriter::publish_due`].
    pub fn set_limits(&mut self, limits: GopLimits) {
        self.limits = limits;
        self.evict_at_ns = 0;
    }

    /// Where the next bytes of video will be written, unless they go to a frame that was lent out: a
    /// place to be asked for, as those below are.
    pub fn place(&self) -> *const u8 {
        self.lanes[LANE_VIDEO].place()
    }

    /// What the end of a frame of video writes to.
    pub fn end_places(&self) -> [*const u8; 6] {
        let descriptor = self.descriptors.run(self.slot() * Descriptor::WORDS, 1).0.as_ptr().cast();
        let [first, last] = self.pending.places();
        let kept = |kept: Option<&Kept>| kept.map_or(first, |kept| std::ptr::from_ref(kept).cast());
        let (oldest, newest) = (kept(self.kept.front()), kept(self.kept.back()));
        [self.index.place(), descriptor, first, last, oldest, newest]
    }

    /// Appends to the open frame of the video lane. On `Full` nothing was appended.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let need = self.lanes[LANE_VIDEO].open_len() + bytes.len();
        if need > self.lanes[LANE_VIDEO].room() {
            self.make_room(LANE_VIDEO, need)?;
        }
        self.lanes[LANE_VIDEO].push(bytes);
        Ok(())
    }

    /// Lends the open frame out: `frame` goes on where it ends. One that was lent before is used again.
    pub fn lend_open(&self, frame: &mut Option<OpenFrame>) {
        let lane = &self.lanes[LANE_VIDEO];
        match frame {
            Some(frame) if frame.is_of(lane) => frame.take_up(lane),
            _ => *frame = Some(OpenFrame::of(lane)),
        }
    }

    /// The frame that was lent comes back, with what was appended to it. Panics when it is another
    /// ring's.
    pub fn take_back(&mut self, frame: &OpenFrame) {
        let lane = &mut self.lanes[LANE_VIDEO];
        assert!(frame.is_of(lane), "a frame of this ring");
        let (open_len, carry) = frame.settle();
        lane.lengthen(open_len, carry);
    }

    /// Puts up to seven bytes in front of byte `at` of the open frame: a length that is known only
    /// behind what it is the length of. What lies behind `at` moves. On `Full` nothing changed but
    /// what was evicted. Panics when `at` is beyond the open frame.
    pub fn insert(&mut self, at: usize, bytes: &[u8]) -> Result<(), Full> {
        let need = self.open_len() + bytes.len();
        assert!(at <= self.open_len() && bytes.len() < WORD, "insert at {at}");
        if need > self.lanes[LANE_VIDEO].room() {
            self.make_room(LANE_VIDEO, need)?;
        }
        self.lanes[LANE_VIDEO].insert(at, bytes);
        Ok(())
    }

    /// Copies bytes of the open frame, as many of `range` as exist; returns how many.
    pub fn copy_open(&self, range: Range<usize>, out: &mut [u8]) -> usize {
        self.lanes[LANE_VIDEO].copy_open(range, out)
    }

    /// The first `at` bytes of the open frame become a finished frame, due at `due_ns`; the rest
    /// is the start of the next open frame. The rest moves by up to seven bytes, so it should be
    /// short. On `Full` nothing changed. Panics when `at` is beyond the open frame.
    pub fn split_open(&mut self, at: usize, meta: &FrameMeta, due_ns: u64) -> Result<(), Full> {
        let open_len = self.open_len();
        assert!(at <= open_len, "split at {at} of an open frame of {open_len} bytes");
        if self.pending.is_full() {
            return Err(Full::Pending);
        }
        if !self.lanes[LANE_VIDEO].fits_after_close(at) {
            self.make_room(LANE_VIDEO, (open_len + WORD).next_multiple_of(WORD))?;
        }
        self.close(LANE_VIDEO, at, meta, due_ns);
        Ok(())
    }

    /// The open frame is finished, due at `due_ns`; an empty one is open now. On `Full` nothing
    /// changed.
    pub fn finish(&mut self, meta: &FrameMeta, due_ns: u64) -> Result<(), Full> {
        self.split_open(self.open_len(), meta, due_ns)
    }

    /// Throws the first `at` bytes of the open frame away (what came before the first frame
    /// start); the rest moves to its front, so it should be short.
    pub fn discard_front(&mut self, at: usize) {
        self.lanes[LANE_VIDEO].discard_front(at);
    }

    /// Throws the open frame away.
    pub fn discard_open(&mut self) {
        self.lanes[LANE_VIDEO].discard_front(usize::MAX);
    }

    /// Adds a whole audio or data frame, due at `due_ns`. On `Full` nothing changed but what was
    /// evicted.
    pub fn append_frame(
        &mut self,
        bytes: &[u8],
        meta: &FrameMeta,
        due_ns: u64,
    ) -> Result<(), Full> {
        if self.pending.is_full() {
            return Err(Full::Pending);
        }
        if bytes.len() > self.lanes[LANE_SIDE].room() {
            self.make_room(LANE_SIDE, bytes.len())?;
        }
        self.lanes[LANE_SIDE].push(bytes);
        self.close(LANE_SIDE, bytes.len(), meta, due_ns);
        Ok(())
    }

    fn close(&mut self, lane: usize, at: usize, meta: &FrameMeta, due_ns: u64) {
        let offset = self.lanes[lane].open_start();
        self.lanes[lane].close(at);
        let length = u32::try_from(at).expect("no lane is larger than 2 GiB");
        self.pending.insert(PendingFrame { lane, offset, length, meta: *meta, due_ns });
    }

    /// Makes the frames visible that are due until `until_ns`, in the order of their due times,
    /// stamps them with `published_ns`, the present, and tells `each`; then evicts what the limits
    /// say. Returns how many became visible.
    ///
    /// At the end of a stream everything is due, however late, and what is kept stays readable: ages
    /// are counted to the present.
    pub fn publish_due(
        &mut self,
        until_ns: u64,
        published_ns: u64,
        mut each: impl FnMut(&Published),
    ) -> usize {
        let mut count = 0;
        while let Some(frame) = self.pending.take_due(until_ns) {
            let published = self.publish(&frame, published_ns);
            each(&published);
            count += 1;
        }
        if count > 0 || published_ns >= self.evict_at_ns {
            self.evict_by_limits(published_ns);
        }
        count
    }

    fn publish(&mut self, frame: &PendingFrame, published_ns: u64) -> Published {
        if self.kept.len() == self.descriptors_max {
            self.evict_some();
        }
        if frame.meta.flags.contains(FrameFlags::GOP_START) {
            self.totals.gops_closed += u64::from(self.gop > 0);
            self.gop += 1;
        }
        let published = Published {
            sequence: self.head - self.base,
            gop: self.gop,
            length: frame.length,
            meta: frame.meta,
            due_ns: frame.due_ns,
            published_ns,
        };
        self.store_descriptor(frame, &published);
        let bytes = u64::from(frame.length).next_multiple_of(WORD as u64);
        let (lane, end, gop) = (frame.lane, frame.offset + bytes, self.gop);
        self.kept.push_back(Kept { lane, end, bytes, gop, published_ns });
        self.kept_bytes += bytes;
        self.kept_in[lane] += 1;
        self.head += 1;
        self.totals.frames_published += 1;
        let is_key = frame.lane == LANE_VIDEO && frame.meta.flags.contains(FrameFlags::KEY);
        let is_entry = is_key && !frame.meta.flags.contains(FrameFlags::FIELD_SECOND);
        self.index.publish(self.head, is_entry);
        published
    }

    fn store_descriptor(&self, frame: &PendingFrame, published: &Published) {
        let none = u64::MAX;
        let descriptor = Descriptor {
            position: self.head,
            sequence: published.sequence,
            gop: published.gop,
            offset: frame.offset,
            length: frame.length,
            lane: u8::from(frame.lane == LANE_SIDE),
            track: frame.meta.track,
            class: frame.meta.class.code(),
            reserved_a: 0,
            flags: frame.meta.flags.bits(),
            reserved_b: 0,
            pts: frame.meta.pts.unwrap_or(none),
            dts: frame.meta.dts.unwrap_or(none),
            arrival_ns: frame.meta.arrival_ns,
            due_ns: published.due_ns,
            published_ns: published.published_ns,
            generation: self.generation,
            reserved_c: [0; 4],
        };
        self.descriptors.store_past(self.slot() * Descriptor::WORDS, &descriptor.pack());
    }

    /// The place of the next frame's descriptor.
    fn slot(&self) -> usize {
        size(self.head % self.descriptors_max as u64)
    }

    fn evict_by_limits(&mut self, now_ns: u64) {
        self.evict_at_ns = u64::MAX;
        while self.gops() > 1 {
            let Some(oldest) = self.kept.front() else { return };
            let age_ns = now_ns.saturating_sub(oldest.published_ns);
            let over = self.gops() - 1 > u64::from(self.limits.closed_gops_max)
                || self.kept_bytes > self.limits.bytes_max
                || age_ns > self.limits.age_max_ns;
            if !over {
                self.evict_at_ns =
                    oldest.published_ns.saturating_add(self.limits.age_max_ns).saturating_add(1);
                return;
            }
            self.evict_oldest_gop();
        }
    }

    /// Evicts until the open frame of the lane can have `need` bytes.
    #[cold]
    fn make_room(&mut self, lane: usize, need: usize) -> Result<(), Full> {
        let waiting = self.pending.first_offset(lane);
        let evictable_to = waiting.unwrap_or_else(|| self.lanes[lane].open_start());
        let unavailable = self.lanes[lane].open_start() - evictable_to;
        // Nothing goes when even everything would not do.
        if need as u64 > self.lanes[lane].bytes() - unavailable {
            return Err(Full::Lane);
        }
        while need > self.lanes[lane].room() {
            if self.kept_in[lane] == 0 {
                self.lanes[lane].keep_from(evictable_to);
                break;
            }
            self.evict_some();
        }
        if need > self.lanes[lane].room() { Err(Full::Lane) } else { Ok(()) }
    }

    /// Evicts the oldest group of pictures, or the oldest frame when only the open group is left.
    fn evict_some(&mut self) {
        if self.gops() > 1 {
            self.evict_oldest_gop();
        } else if let Some(kept) = self.kept.pop_front() {
            self.give_up(&kept);
            self.totals.gop_overflow_frames += 1;
            self.retire();
        }
    }

    /// Evicts the oldest group of pictures, the open one too when it is the only one; false when
    /// there is none.
    pub fn evict_oldest_gop(&mut self) -> bool {
        let Some(gop) = self.kept.front().map(|kept| kept.gop) else { return false };
        while let Some(kept) = self.kept.pop_front_if(|kept| kept.gop == gop) {
            self.give_up(&kept);
        }
        self.totals.gops_evicted += 1;
        self.retire();
        true
    }

    fn give_up(&mut self, kept: &Kept) {
        self.kept_bytes -= kept.bytes;
        self.kept_in[kept.lane] -= 1;
        self.lanes[kept.lane].keep_from(kept.end);
    }

    fn retire(&self) {
        self.index.retire(self.head - self.kept.len() as u64);
    }

    /// The ring's identity.
    pub const fn ring(&self) -> RingId {
        self.ring
    }

    /// The current generation; 0 before the first stream.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Length of the open frame.
    #[inline]
    pub const fn open_len(&self) -> usize {
        self.lanes[LANE_VIDEO].open_len()
    }

    /// When the next pending frame is due.
    pub fn next_due(&self) -> Option<u64> {
        self.pending.next_due()
    }

    /// Frames finished and not yet due.
    pub fn pending_frames(&self) -> usize {
        self.pending.len()
    }

    /// Frames that can wait for their due time.
    pub const fn pending_frames_max(&self) -> usize {
        self.pending.capacity()
    }

    /// Bytes of open and pending frames: what no eviction makes room of.
    pub const fn waiting_bytes(&self) -> u64 {
        self.used_bytes().saturating_sub(self.kept_bytes)
    }

    /// Visible frames.
    pub fn frames(&self) -> u32 {
        u32::try_from(self.kept.len()).expect("at most as many as descriptors")
    }

    /// Groups of pictures with visible frames, the open one included.
    pub fn gops(&self) -> u64 {
        self.kept.front().map_or(0, |oldest| self.gop - oldest.gop + 1)
    }

    /// Bytes in use: visible, pending and open.
    pub const fn used_bytes(&self) -> u64 {
        self.lanes[LANE_VIDEO].used() + self.lanes[LANE_SIDE].used()
    }

    /// Bytes of both lanes.
    pub const fn capacity_bytes(&self) -> u64 {
        self.lanes[LANE_VIDEO].bytes() + self.lanes[LANE_SIDE].bytes()
    }

    /// Bytes of the video lane: no frame can be larger.
    pub const fn video_capacity_bytes(&self) -> u64 {
        self.lanes[LANE_VIDEO].bytes()
    }

    /// What happened since the generation started.
    pub const fn totals(&self) -> &RingTotals {
        &self.totals
    }
}
