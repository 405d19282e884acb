//! Frames, and what a ring is made for.

use std::ops::{BitOr, BitOrAssign};

use crate::{FrameClass, RingId};

/// Marks on a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FrameFlags(u32);

impl FrameFlags {
    /// No mark.
    pub const NONE: Self = Self(0);
    /// A decoder can start here (IDR, IRAP, recovery point).
    pub const KEY: Self = Self(1);
    /// Bytes of the frame are missing.
    pub const DAMAGED: Self = Self(1 << 1);
    /// A new group of pictures starts with this frame. A stream without video sets it on a frame
    /// every second or so: eviction works by whole groups.
    pub const GOP_START: Self = Self(1 << 2);
    /// First field of a pair whose second field is the track's next frame.
    pub const FIELD_FIRST: Self = Self(1 << 3);
    /// Second field of a pair.
    pub const FIELD_SECOND: Self = Self(1 << 4);
    /// The timeline jumped before this frame.
    pub const DISCONTINUITY: Self = Self(1 << 5);
    /// The stamps were derived, not carried; in RTP the decoding time alone.
    pub const STAMPS_DERIVED: Self = Self(1 << 6);

    /// Whether all marks of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The marks as a number, as in shared memory.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From a number; unknown marks are kept.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

impl BitOr for FrameFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for FrameFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// What the writer knows about a finished frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrameMeta {
    /// Index into the stream's tracks.
    pub track: u8,
    /// What it is to a decoder.
    pub class: FrameClass,
    /// Marks.
    pub flags: FrameFlags,
    /// Presentation time, 90 kHz.
    pub pts: Option<u64>,
    /// Decoding time, 90 kHz.
    pub dts: Option<u64>,
    /// When its last datagram arrived, `CLOCK_MONOTONIC` nanoseconds.
    pub arrival_ns: u64,
}

/// A frame that has just become visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Place in the order of the stream's frames, from 0.
    pub sequence: u64,
    /// Group of pictures, from 0 (frames before the first [`FrameFlags::GOP_START`]).
    pub gop: u64,
    /// Size in bytes.
    pub length: u32,
    /// As given to the writer.
    pub meta: FrameMeta,
    /// When it was due.
    pub due_ns: u64,
    /// When it was published.
    pub published_ns: u64,
}

/// A frame as a reader gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Place in the order of the stream's frames, from 0.
    pub sequence: u64,
    /// Group of pictures, from 0 (frames before the first key frame).
    pub gop: u64,
    /// Index into the stream's tracks.
    pub track: u8,
    /// What it is to a decoder.
    pub class: FrameClass,
    /// Marks.
    pub flags: FrameFlags,
    /// Presentation time, 90 kHz; the first equals the wire's and later ones go on past 2^33.
    pub pts: Option<u64>,
    /// Decoding time, 90 kHz.
    pub dts: Option<u64>,
    /// Size in bytes.
    pub size: u32,
    /// When its last datagram arrived, `CLOCK_MONOTONIC` nanoseconds.
    pub arrival_ns: u64,
    /// When it was due.
    pub due_ns: u64,
    /// When it was published.
    pub published_ns: u64,
}

impl Frame {
    /// Whether a decoder can start here.
    pub const fn is_key(&self) -> bool {
        self.flags.contains(FrameFlags::KEY)
    }

    /// Whether bytes of it are missing.
    pub const fn is_damaged(&self) -> bool {
        self.flags.contains(FrameFlags::DAMAGED)
    }
}

/// Why the ring took no more; the caller drops the frame and counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The lane holds nothing that may be evicted: only the open frame and frames not yet due.
    #[error("the lane is full of frames that are open or not yet due")]
    Lane,
    /// Too many frames wait for their due time.
    #[error("too many frames wait for their due time")]
    Pending,
}

/// Sizes of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingSpec {
    /// Its identity.
    pub ring: RingId,
    /// Bytes of the video lane; rounded up to whole pages. A multiple of 2 MiB gets huge pages.
    pub video_bytes: u64,
    /// Bytes of the lane for audio and data; rounded up to whole pages.
    pub side_bytes: u64,
    /// Most published frames at a time.
    pub descriptors: u32,
    /// Most frames that wait for their due time.
    pub pending_frames: u32,
}

/// What is kept of a stream: groups of pictures leave the ring, oldest first, while any limit is
/// passed. The open group (the newest) stays whatever its size; only lack of room takes its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GopLimits {
    /// Closed groups kept beside the open one.
    pub closed_gops_max: u32,
    /// Bytes of all published frames.
    pub bytes_max: u64,
    /// Age of a closed group's first frame since its publication.
    pub age_max_ns: u64,
}

impl Default for GopLimits {
    /// No limit but the ring's size.
    fn default() -> Self {
        Self { closed_gops_max: u32::MAX, bytes_max: u64::MAX, age_max_ns: u64::MAX }
    }
}

/// What happened in a ring since its generation started; only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RingTotals {
    /// Frames published.
    pub frames_published: u64,
    /// Groups of pictures that ended because the next one started.
    pub gops_closed: u64,
    /// Groups of pictures evicted by count, bytes, age or lack of room.
    pub gops_evicted: u64,
    /// Frames evicted one by one from the group still open.
    pub gop_overflow_frames: u64,
}
