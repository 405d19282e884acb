//! What a stream may take.

use std::time::Duration;

/// What becomes of frames that miss bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DamagedFrames {
    /// They are published, marked.
    #[default]
    Keep,
    /// They are dropped and counted. Frames that lean on them are not damaged, and stay.
    Drop,
}

/// Limits of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a frame; a larger one is dropped.
    pub frame_bytes_max: u32,
    /// Closed groups of pictures kept beside the open one.
    pub gop_count_max: u32,
    /// Bytes of all published frames.
    pub gop_bytes_max: u64,
    /// Age of the first frame of a closed group.
    pub gop_age_max: Duration,
    /// What becomes of frames that miss bytes.
    pub damaged_frames: DamagedFrames,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 50 << 20,
            gop_count_max: 10,
            gop_bytes_max: u64::MAX,
            gop_age_max: Duration::MAX,
            damaged_frames: DamagedFrames::Keep,
        }
    }
}

impl Limits {
    /// Whether a frame is not kept for what it misses.
    pub(crate) const fn drops(&self, damaged: bool) -> bool {
        damaged && matches!(self.damaged_frames, DamagedFrames::Drop)
    }

    /// As the ring has them.
    pub(crate) fn of_ring(&self) -> shm::GopLimits {
        shm::GopLimits {
            closed_gops_max: self.gop_count_max,
            bytes_max: self.gop_bytes_max,
            age_max_ns: u64::try_from(self.gop_age_max.as_nanos()).unwrap_or(u64::MAX),
        }
    }
}
