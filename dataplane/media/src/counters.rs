//! What a stream counted, and how that maps to the table in shared memory.

use codec::FrameClass;
use shm::counters::StreamCounter;

/// Why a finished or open frame is not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DropReason {
    BeforeKey,
    Oversize,
    Invalid,
    Pending,
    Aborted,
    Bandwidth,
    Damaged,
}

/// Counters of one session, from 0 at [`Stream::open`](crate::Stream::open); each is named as in
/// [`StreamCounter`].
///
/// `frames_finished` = `frames_published` + the frames that wait for their due time + all
/// `frames_dropped_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each field has the meaning of its StreamCounter")]
pub struct Counters {
    /// Frames that ended, published or not.
    pub frames_finished: u64,
    pub frames_published: u64,
    pub frames_damaged: u64,
    pub frames_key: u64,
    pub frames_i: u64,
    pub frames_p: u64,
    pub frames_b: u64,
    pub frames_audio: u64,
    pub frames_data: u64,
    pub frame_bytes: u64,
    pub frames_dropped_before_key: u64,
    pub frames_dropped_oversize: u64,
    pub frames_dropped_invalid: u64,
    pub frames_dropped_pending: u64,
    pub frames_dropped_aborted: u64,
    pub frames_dropped_bandwidth: u64,
    pub frames_dropped_damaged: u64,
    pub bytes_skipped: u64,
    pub gops_closed: u64,
    pub gops_evicted: u64,
    pub gop_overflow_frames: u64,
    pub ring_used_bytes: u64,
    pub ring_capacity_bytes: u64,
    pub ring_frames: u64,
    pub ring_gops: u64,
    pub frame_rate_mhz: u64,
    pub gop_frames: u64,
    pub gop_duration_us: u64,
}

impl Counters {
    /// Those that only grow.
    pub const fn totals(&self) -> [(StreamCounter, u64); 20] {
        use StreamCounter as C;
        [
            (C::FramesPublished, self.frames_published),
            (C::FramesDamaged, self.frames_damaged),
            (C::FramesKey, self.frames_key),
            (C::FramesI, self.frames_i),
            (C::FramesP, self.frames_p),
            (C::FramesB, self.frames_b),
            (C::FramesAudio, self.frames_audio),
            (C::FramesData, self.frames_data),
            (C::FrameBytes, self.frame_bytes),
            (C::FramesDroppedBeforeKey, self.frames_dropped_before_key),
            (C::FramesDroppedOversize, self.frames_dropped_oversize),
            (C::FramesDroppedInvalid, self.frames_dropped_invalid),
            (C::FramesDroppedPending, self.frames_dropped_pending),
            (C::FramesDroppedAborted, self.frames_dropped_aborted),
            (C::FramesDroppedBandwidth, self.frames_dropped_bandwidth),
            (C::FramesDroppedDamaged, self.frames_dropped_damaged),
            (C::BytesSkipped, self.bytes_skipped),
            (C::GopsClosed, self.gops_closed),
            (C::GopsEvicted, self.gops_evicted),
            (C::GopOverflowFrames, self.gop_overflow_frames),
        ]
    }

    /// Those that may go down.
    pub const fn gauges(&self) -> [(StreamCounter, u64); 7] {
        use StreamCounter as C;
        [
            (C::RingUsedBytes, self.ring_used_bytes),
            (C::RingCapacityBytes, self.ring_capacity_bytes),
            (C::RingFrames, self.ring_frames),
            (C::RingGops, self.ring_gops),
            (C::FrameRateMhz, self.frame_rate_mhz),
            (C::GopFrames, self.gop_frames),
            (C::GopDurationUs, self.gop_duration_us),
        ]
    }

    /// Frames dropped, for whatever reason.
    pub const fn frames_dropped(&self) -> u64 {
        self.frames_dropped_before_key
            + self.frames_dropped_oversize
            + self.frames_dropped_invalid
            + self.frames_dropped_pending
            + self.frames_dropped_aborted
            + self.frames_dropped_bandwidth
            + self.frames_dropped_damaged
    }

    pub(crate) const fn drop_frame(&mut self, reason: DropReason) {
        let counter = match reason {
            DropReason::BeforeKey => &mut self.frames_dropped_before_key,
            DropReason::Oversize => &mut self.frames_dropped_oversize,
            DropReason::Invalid => &mut self.frames_dropped_invalid,
            DropReason::Pending => &mut self.frames_dropped_pending,
            DropReason::Aborted => &mut self.frames_dropped_aborted,
            DropReason::Bandwidth => &mut self.frames_dropped_bandwidth,
            DropReason::Damaged => &mut self.frames_dropped_damaged,
        };
        *counter += 1;
        self.frames_finished += 1;
    }

    pub(crate) fn publish(&mut self, frame: &shm::Published) {
        use shm::FrameClass as Class;
        self.frames_published += 1;
        self.frame_bytes += u64::from(frame.length);
        let picture = !matches!(frame.meta.class, Class::Audio | Class::Data);
        self.frames_key += u64::from(picture && frame.meta.flags.contains(shm::FrameFlags::KEY));
        self.frames_damaged += u64::from(frame.meta.flags.contains(shm::FrameFlags::DAMAGED));
        match frame.meta.class {
            Class::Idr | Class::I => self.frames_i += 1,
            Class::P | Class::Inter => self.frames_p += 1,
            Class::B => self.frames_b += 1,
            Class::Audio => self.frames_audio += 1,
            Class::Data => self.frames_data += 1,
        }
    }
}

/// The class as shared memory has it.
pub(crate) const fn shared_class(class: FrameClass) -> shm::FrameClass {
    match class {
        FrameClass::Idr => shm::FrameClass::Idr,
        FrameClass::I => shm::FrameClass::I,
        FrameClass::P => shm::FrameClass::P,
        FrameClass::B => shm::FrameClass::B,
        FrameClass::Inter => shm::FrameClass::Inter,
        FrameClass::Audio => shm::FrameClass::Audio,
        FrameClass::Data => shm::FrameClass::Data,
    }
}
