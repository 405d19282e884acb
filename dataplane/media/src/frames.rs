//! From access units to published frames: stamps, groups of pictures, what is dropped and why.

use std::mem::offset_of;

use codec::FrameClass;
use codec::sink::{Carriage, Timestamps};
use memory::{Time, prefetch_start};
use shm::{FrameFlags, FrameMeta, Full, GopWriter, Published, RingTotals};

use crate::access_unit::{AccessUnit, Output, Structure};
use crate::audio::{AudioFrame, AudioOutput};
use crate::counters::{Counters, DropReason, shared_class};
use crate::data::{DataFrame, DataOutput};
use crate::decoding_times::{DecodingTimes, Picture};
use crate::frame_rate::{FrameRate, settled};
use crate::limiter::Limiter;
use crate::run::Run;
use crate::timeline::{FIELD_TICKS_UNKNOWN, Stamps, Timeline};
use crate::{Limits, STREAM_TICKS_A_SECOND};

/// A longer step, or one back, is a jump of the timeline.
const STEP_MAX_TICKS: u64 = 10 * STREAM_TICKS_A_SECOND;
/// Frames of a group when they carry no stamps to cut it by.
const UNSTAMPED_GOP_FRAMES: u64 = 50;

/// When a datagram arrived and is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Input {
    pub(crate) arrival: Time,
    pub(crate) due: Time,
}

/// The group of pictures that frames go to.
#[derive(Debug, Clone, Copy, Default)]
struct Gop {
    open: bool,
    start_pts: Option<u64>,
    frames: u64,
}

/// What a picture's unit carried for it.
#[derive(Debug, Clone, Copy)]
struct Carried {
    stamps: Timestamps,
    /// Some of it had to be derived.
    derived: bool,
    /// What the rate is measured by.
    paced: Option<u64>,
}

/// The open video frame in the ring.
#[derive(Debug, Clone, Copy, Default)]
struct OpenVideo {
    /// Position of its first byte in the track.
    from: u64,
    /// It is too large: its bytes are not kept.
    oversize: bool,
    /// Its first bytes went with a frame that was too large.
    cut: bool,
    input: OpenInput,
}

/// The datagram whose bytes begin at `current_from`, and the one before.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OpenInput {
    current: Input,
    current_from: u64,
    previous: Input,
}

impl OpenInput {
    fn of(input: Input) -> Self {
        Self { current: input, current_from: 0, previous: input }
    }

    const fn current(&self) -> Input {
        self.current
    }

    /// The bytes from `position` on came so.
    #[inline]
    pub(crate) fn datagram(&mut self, input: Input, position: u64) {
        if self.current != input {
            self.previous = self.current;
            self.current = input;
            self.current_from = position;
        }
    }
}

/// Everything behind the splitting of tracks. What each piece of video needs comes first.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Frames {
    /// The ring holds the former publisher's frames until there is input.
    pub(crate) waits: bool,
    /// A video frame ended since this was last cleared.
    pub(crate) video_ended: bool,
    /// The framed video track.
    pub(crate) video_track: Option<u8>,
    pub(crate) input: Input,
    open: OpenVideo,
    limits: Limits,
    ring: Option<GopWriter>,
    pub(crate) counters: Counters,
    totals_before: RingTotals,
    /// Presentation time of the picture before, where it carried one.
    last_pts: Option<u64>,
    last_dts: Option<u64>,
    gop: Gop,
    timeline: Timeline,
    pub(crate) limiter: Limiter,
    /// Where units carry presentation times alone.
    decoding: Option<DecodingTimes>,
    rate: FrameRate,
}

impl Frames {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            ring: None,
            waits: false,
            counters: Counters::default(),
            totals_before: RingTotals::default(),
            input: Input::default(),
            video_track: None,
            open: OpenVideo::default(),
            timeline: Timeline::default(),
            decoding: None,
            last_pts: None,
            rate: FrameRate::default(),
            gop: Gop::default(),
            limiter: Limiter::new(),
            last_dts: None,
            video_ended: false,
        }
    }

    /// Asks for the memory that each piece and each frame need.
    pub(crate) fn prefetch(&self) {
        prefetch_start(self, offset_of!(Self, decoding) + DecodingTimes::STATE_BYTES);
        prefetch_start(&self.rate, FrameRate::STATE_BYTES);
    }

    pub(crate) fn open(&mut self, mut ring: GopWriter) {
        ring.discard_open();
        ring.set_limits(self.limits.of_ring());
        let limits = self.limits;
        *self = Self::new(limits);
        self.totals_before = *ring.totals();
        self.counters.ring_capacity_bytes = ring.capacity_bytes();
        self.ring = Some(ring);
    }

    /// The publisher that was waited for has come: the ring is its own.
    pub(crate) fn start_generation(&mut self) {
        self.waits = false;
        let Some(ring) = &mut self.ring else { return };
        ring.start_generation();
        ring.set_limits(self.limits.of_ring());
        self.totals_before = *ring.totals();
    }

    pub(crate) fn generation(&self) -> u64 {
        self.ring.as_ref().map_or(0, GopWriter::generation)
    }

    pub(crate) fn close(&mut self) -> Option<GopWriter> {
        let mut ring = self.ring.take()?;
        ring.discard_open();
        Some(ring)
    }

    /// The video track changed: another group of pictures must begin.
    pub(crate) fn restart_video(&mut self, track: Option<u8>, carriage: Carriage) {
        if let Some(ring) = &mut self.ring {
            ring.discard_open();
        }
        self.video_track = track;
        self.open = OpenVideo { input: OpenInput::of(self.input), ..OpenVideo::default() };
        self.timeline = Timeline::default();
        self.decoding = (carriage == Carriage::AccessUnits).then(DecodingTimes::default);
        self.last_pts = None;
        self.rate = FrameRate::default();
        self.gop.open = false;
        self.video_ended = true;
    }

    pub(crate) fn frame_rate_mhz(&self) -> u32 {
        self.rate.millihertz()
    }

    /// Appends pieces of video, the first of which begins at `position`. `undecided_from` is asked for
    /// what may be forgotten while no frame is being kept.
    pub(crate) fn append_video(
        &mut self,
        pieces: [&[u8]; 2],
        position: u64,
        in_unit: bool,
        undecided_from: impl Fn() -> u64,
    ) {
        let Some(ring) = &mut self.ring else { return };
        let open = &mut self.open;
        open.input.datagram(self.input, position);
        let limit = usize::try_from(self.limits.frame_bytes_max).unwrap_or(usize::MAX);
        let len = pieces.iter().map(|piece| piece.len()).sum();
        open.oversize |= in_unit && ring.open_len().saturating_add(len) > limit;
        if open.oversize || !in_unit {
            let keep = undecided_from().max(open.from);
            ring.discard_front(index(keep - open.from));
            if !in_unit {
                self.counters.bytes_skipped += keep - open.from;
            }
            open.from = keep;
        }
        if append(ring, pieces).is_err() {
            // No room but what this frame holds: give that up.
            open.oversize = true;
            open.from = position;
            ring.discard_open();
            if append(ring, pieces).is_err() {
                ring.discard_open();
                open.from = position + length(len);
            }
        }
    }

    /// A run begins with what is known of the open frame; false when there is none that could go on.
    pub(crate) fn begin_run(&self, run: &mut Run) -> bool {
        let ring = self.ring.as_ref().filter(|_| !self.waits && !self.open.oversize);
        let Some(ring) = ring else { return false };
        let limit = usize::try_from(self.limits.frame_bytes_max).unwrap_or(usize::MAX);
        run.left = limit.saturating_sub(ring.open_len());
        run.input = self.open.input;
        ring.lend_open(&mut run.frame);
        true
    }

    /// The run is over.
    pub(crate) fn end_run(&mut self, run: &Run) {
        if let (Some(ring), Some(frame)) = (&mut self.ring, &run.frame) {
            ring.take_back(frame);
            self.open.input = run.input;
            self.input = run.input.current();
        }
    }

    /// Puts a few bytes in front of the video byte at `position`: a length that is known only now.
    /// Whether they are there.
    pub(crate) fn insert_video(&mut self, position: u64, bytes: &[u8]) -> bool {
        let Some(ring) = &mut self.ring else { return false };
        let at = position.checked_sub(self.open.from).map(index);
        match at.filter(|at| *at <= ring.open_len() && !self.open.oversize) {
            Some(at) if ring.insert(at, bytes).is_ok() => true,
            _ => {
                // Without it the frame means nothing: it goes like one that is too large.
                self.open.oversize = true;
                false
            }
        }
    }

    /// Publishes what is due at `now`; when the next frame is.
    pub(crate) fn publish(
        &mut self,
        now: Time,
        until: Time,
        mut each: impl FnMut(&Published),
    ) -> Option<Time> {
        let ring = self.ring.as_mut()?;
        let counters = &mut self.counters;
        let published = ring.publish_due(until.nanos(), now.nanos(), |frame| {
            counters.publish(frame);
            each(frame);
        });
        if published > 0 {
            let totals = ring.totals();
            let before = &self.totals_before;
            counters.gops_closed = totals.gops_closed - before.gops_closed;
            counters.gops_evicted = totals.gops_evicted - before.gops_evicted;
            counters.gop_overflow_frames = totals.gop_overflow_frames - before.gop_overflow_frames;
            counters.ring_used_bytes = ring.used_bytes();
            counters.ring_frames = u64::from(ring.frames());
            counters.ring_gops = ring.gops();
        }
        ring.next_due().map(Time::from_nanos)
    }

    /// Frames finished and not yet due.
    pub(crate) fn pending(&self) -> usize {
        self.ring.as_ref().map_or(0, GopWriter::pending_frames)
    }

    /// Evicts the oldest group of pictures unless it is the open one.
    pub(crate) fn drop_oldest_gop(&mut self) -> bool {
        self.ring.as_mut().is_some_and(|ring| ring.gops() > 1 && ring.evict_oldest_gop())
    }

    /// The ring, for a look.
    pub(crate) const fn ring(&self) -> Option<&GopWriter> {
        self.ring.as_ref()
    }

    /// Whole pictures may be missing.
    pub(crate) const fn pictures_skipped(&mut self) {
        self.timeline.interrupt();
        self.rate.interrupt();
    }

    /// Open frames end without becoming frames: so many.
    pub(crate) fn abort(&mut self, open: usize) {
        if let Some(ring) = &mut self.ring {
            ring.discard_open();
        }
        for _ in 0..open {
            self.counters.drop_frame(DropReason::Aborted);
        }
    }

    /// Why the ended access unit is not kept, if it is not.
    const fn video_drop_reason(&self, unit: &AccessUnit) -> Option<DropReason> {
        if self.open.oversize {
            Some(DropReason::Oversize)
        } else if !unit.is_valid() {
            Some(DropReason::Invalid)
        } else if self.limits.drops(unit.damaged || self.open.cut) {
            Some(DropReason::Damaged)
        } else if !self.gop.open && !is_entry(unit) {
            Some(DropReason::BeforeKey)
        } else {
            None
        }
    }

    /// Whether a picture goes because the stream is held to a rate.
    fn over_rate(&mut self, unit: &AccessUnit, end: u64) -> Option<DropReason> {
        let bytes = end.saturating_sub(self.open.from);
        let second = matches!(unit.structure, Structure::SecondField);
        let takes = self.limiter.takes_picture(self.input.arrival, bytes, unit.key, second);
        (!takes).then_some(DropReason::Bandwidth)
    }

    fn video_flags(&mut self, unit: &AccessUnit, stamps: &Stamps) -> FrameFlags {
        let mut flags = stamp_flags(stamps);
        if unit.key {
            flags |= FrameFlags::KEY;
        }
        if self.starts_gop(unit, stamps.pts) {
            flags |= FrameFlags::GOP_START;
        }
        if unit.damaged || self.open.cut {
            flags |= FrameFlags::DAMAGED;
        }
        match unit.structure {
            Structure::Frame => {}
            Structure::FirstField => flags |= FrameFlags::FIELD_FIRST,
            Structure::SecondField => flags |= FrameFlags::FIELD_SECOND,
        }
        if let Some(dts) = stamps.dts.filter(|_| !unit.doubtful_stamps) {
            let step = self.last_dts.map(|last| dts.wrapping_sub(last));
            if step.is_some_and(|step| step > STEP_MAX_TICKS) {
                flags |= FrameFlags::DISCONTINUITY;
            }
            self.last_dts = Some(dts);
        }
        flags
    }

    /// Stamps a picture, whether it will be kept or not: the next ones may hang on it.
    fn stamp(&mut self, unit: &AccessUnit) -> Stamps {
        let fields = unit.structure.fields();
        let Carried { stamps: own, derived, paced } = self.carried(unit);
        let sure = if unit.doubtful_stamps { Timestamps::default() } else { own };
        self.rate.picture(paced.filter(|_| !unit.doubtful_stamps), fields);
        self.timeline.set_field_ticks(settled(unit.field_ticks, self.rate.field_ticks()));
        let stamps = self.timeline.stamp(sure, unit.order, fields);
        match own.pts {
            Some(pts) => Stamps { pts: Some(pts), dts: own.dts.or(own.pts), derived },
            None => stamps,
        }
    }

    /// What the picture's unit carried for it, and whether some of it had to be derived.
    fn carried(&mut self, unit: &AccessUnit) -> Carried {
        let own = unit.stamps;
        let as_it_is = Carried { stamps: own, derived: false, paced: own.dts.or(own.pts) };
        let last = std::mem::replace(&mut self.last_pts, own.pts);
        let Some(decoding) = &mut self.decoding else { return as_it_is };
        let field_ticks = settled(unit.field_ticks, self.rate.field_ticks());
        let field_ticks = field_ticks.unwrap_or(FIELD_TICKS_UNKNOWN);
        // Both fields of a frame may have its time (RFC 6184, 5.1), in one unit or two. FFmpeg leaves
        // it to both; here the second comes half a frame later, marked as derived.
        let second = unit.structure == Structure::SecondField;
        let shares = second && own.pts.is_none_or(|pts| Some(pts) == last);
        let pts = match last.filter(|_| shares) {
            Some(last) => Some(last.saturating_add_signed(field_ticks.times(1))),
            None => own.pts,
        };
        let Some(pts) = pts else { return as_it_is };
        let fields = if unit.field_coded { unit.structure.fields() } else { 0 };
        let picture = Picture { pts, reorder: unit.reorder, fields, field_ticks };
        let decoded = decoding.picture(&picture);
        if decoded.learned {
            self.rate.interrupt();
        }
        Carried {
            stamps: Timestamps { pts: Some(pts), dts: Some(decoded.dts) },
            derived: decoded.derived || own.pts != Some(pts),
            paced: Some(decoded.due),
        }
    }

    /// When the last byte before `end` came.
    const fn video_input(&self, end: u64) -> Input {
        // A byte of the next start code may count to this frame: it does not make it later.
        let OpenInput { current, current_from, previous } = self.open.input;
        if end.saturating_sub(1) <= current_from { previous } else { current }
    }

    /// The open group ends with a frame at `pts`, which begins the next.
    fn next_gop(&mut self, pts: Option<u64>) {
        if self.gop.open {
            self.counters.gop_frames = self.gop.frames;
            let ticks = pts.zip(self.gop.start_pts).map(|(end, start)| end.saturating_sub(start));
            self.counters.gop_duration_us =
                ticks.unwrap_or(0).saturating_mul(1_000_000) / STREAM_TICKS_A_SECOND;
        }
        self.gop = Gop { open: true, start_pts: pts, frames: 0 };
    }

    /// Where every picture is a key picture, groups are cut by time.
    fn starts_gop(&self, unit: &AccessUnit, pts: Option<u64>) -> bool {
        is_entry(unit) && (!unit.all_key || self.time_starts_gop(pts))
    }

    /// A group that nothing in the stream ends lasts a second: that of sound without video, that of
    /// pictures which are all key pictures.
    fn time_starts_gop(&self, pts: Option<u64>) -> bool {
        match (pts, self.gop.start_pts) {
            _ if !self.gop.open => true,
            (Some(pts), Some(start)) => pts.wrapping_sub(start) >= STREAM_TICKS_A_SECOND,
            _ => self.gop.frames >= UNSTAMPED_GOP_FRAMES,
        }
    }

    fn finished(&mut self, result: Result<(), Full>) -> bool {
        match result {
            Ok(()) => self.counters.frames_finished += 1,
            Err(Full::Lane) => self.counters.drop_frame(DropReason::Oversize),
            Err(Full::Pending) => self.counters.drop_frame(DropReason::Pending),
        }
        result.is_ok()
    }

    /// The video bytes before `end` go.
    fn discard_video(&mut self, end: u64) {
        let bytes = index(end.saturating_sub(self.open.from));
        if let Some(ring) = &mut self.ring {
            ring.discard_front(bytes.min(ring.open_len()));
        }
    }

    /// The next video frame begins at `start`.
    const fn begin_video(&mut self, start: u64) {
        self.open.cut = self.open.from > start;
        if self.open.from < start {
            self.open.from = start;
        }
        self.open.oversize = false;
    }
}

impl Output for Frames {
    fn access_unit(&mut self, unit: &AccessUnit, end: u64) {
        self.video_ended = true;
        let stamps = if unit.is_valid() { self.stamp(unit) } else { Stamps::default() };
        if unit.damaged {
            // Pictures may be missing behind it.
            self.timeline.interrupt();
            self.rate.interrupt();
        }
        let dropped = self.video_drop_reason(unit);
        if let Some(reason) = dropped.or_else(|| self.over_rate(unit, end)) {
            self.counters.drop_frame(reason);
            self.discard_video(end);
        } else {
            let flags = self.video_flags(unit, &stamps);
            let input = self.video_input(end);
            let track = self.video_track.unwrap_or_default();
            let meta = frame_meta(track, unit.class(), flags, &stamps, input);
            let bytes = index(end.saturating_sub(self.open.from));
            let Some(ring) = &mut self.ring else { return };
            // Not before the datagram that told where the frame ends.
            let due = input.due.max(self.input.arrival);
            let result = ring.split_open(bytes.min(ring.open_len()), &meta, due.nanos());
            if self.finished(result) {
                if flags.contains(FrameFlags::GOP_START) {
                    self.next_gop(stamps.pts);
                }
                self.gop.frames += 1;
            } else {
                self.discard_video(end);
            }
        }
        self.begin_video(end);
    }

    fn skipped(&mut self, end: u64) {
        self.counters.bytes_skipped += end.saturating_sub(self.open.from);
        self.discard_video(end);
        self.begin_video(end);
    }
}

/// Takes the frames of one track of sound or data.
pub(crate) struct SideTrack<'a> {
    pub(crate) frames: &'a mut Frames,
    pub(crate) track: u8,
    /// It makes the groups when there is no video.
    pub(crate) leads: bool,
    /// It may begin the first of them.
    pub(crate) opens: bool,
}

impl SideTrack<'_> {
    /// A decoder can start at any of them.
    fn frame(&mut self, bytes: &[u8], class: FrameClass, stamps: &Stamps, damaged: bool) {
        let frames = &mut *self.frames;
        if frames.limits.drops(damaged) {
            return frames.counters.drop_frame(DropReason::Damaged);
        }
        let alone = frames.video_track.is_none();
        let opens = alone && self.opens && !frames.gop.open;
        if !(frames.gop.open || opens) {
            return frames.counters.drop_frame(DropReason::BeforeKey);
        }
        let (arrival, size) = (frames.input.arrival, bytes.len() as u64);
        if !frames.limiter.takes_sound(arrival, size, !alone) {
            return frames.counters.drop_frame(DropReason::Bandwidth);
        }
        let mut flags = stamp_flags(stamps) | FrameFlags::KEY;
        if damaged {
            flags |= FrameFlags::DAMAGED;
        }
        let starts = opens || alone && self.leads && frames.time_starts_gop(stamps.pts);
        if starts {
            flags |= FrameFlags::GOP_START;
        }
        let input = frames.input;
        let meta = frame_meta(self.track, class, flags, stamps, input);
        let Some(ring) = &mut frames.ring else { return };
        let result = ring.append_frame(bytes, &meta, input.due.nanos());
        if frames.finished(result) {
            if starts {
                frames.next_gop(stamps.pts);
            }
            frames.gop.frames += u64::from(alone);
        }
    }
}

impl AudioOutput for SideTrack<'_> {
    fn audio_frame(&mut self, frame: &AudioFrame<'_>) {
        self.frame(frame.bytes, FrameClass::Audio, &frame.stamps, frame.damaged);
    }

    fn skipped_bytes(&mut self, bytes: u64) {
        self.frames.counters.bytes_skipped += bytes;
    }

    fn dropped(&mut self, reason: DropReason) {
        self.frames.counters.drop_frame(reason);
    }
}

impl DataOutput for SideTrack<'_> {
    fn data_frame(&mut self, frame: &DataFrame<'_>) {
        self.frame(frame.bytes, FrameClass::Data, &frame.stamps, frame.damaged);
    }

    fn dropped(&mut self, reason: DropReason) {
        self.frames.counters.drop_frame(reason);
    }
}

/// Decoding can start here. A second field goes with the first, whatever it is.
const fn is_entry(unit: &AccessUnit) -> bool {
    unit.key && !matches!(unit.structure, Structure::SecondField)
}

const fn stamp_flags(stamps: &Stamps) -> FrameFlags {
    if stamps.derived { FrameFlags::STAMPS_DERIVED } else { FrameFlags::NONE }
}

const fn frame_meta(
    track: u8,
    class: FrameClass,
    flags: FrameFlags,
    stamps: &Stamps,
    input: Input,
) -> FrameMeta {
    FrameMeta {
        track,
        class: shared_class(class),
        flags,
        pts: stamps.pts,
        dts: stamps.dts,
        arrival_ns: input.arrival.nanos(),
    }
}

/// On `Full` the first piece may have been appended.
fn append(ring: &mut GopWriter, pieces: [&[u8]; 2]) -> Result<(), Full> {
    let mut pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
    pieces.try_for_each(|piece| ring.append(piece))
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
