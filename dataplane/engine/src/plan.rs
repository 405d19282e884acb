//! From a configuration to sizes: how many workers, places, slots, and what they weigh.

use shm::{DirectoryConfig, RingId, RingSpec};
use uring::RingConfig;

use crate::budget::Budget;
use crate::conductor::admission;
use crate::config::{Config, SrtConfig};
use crate::worker::session::{self, Session};
use crate::{Error, cpu};

/// Audio and data of one stream: 4 Mbit/s for 4 s.
const SIDE_LANE_BYTES: u64 = 2 << 20;
/// Huge pages need lanes of whole 2 MiB.
const LANE_UNIT_BYTES: u64 = 2 << 20;
/// A field pair is two frames, and up to three audio tracks have about as many frames as video.
const DESCRIPTORS_PER_PICTURE: u32 = 5;
/// Program, libraries, heap of the conductor, stacks.
const PROCESS_BYTES: u64 = 16 << 20;
/// What this is called in the directory.
pub(crate) const SOFTWARE: &str = concat!("penstock-dataplane ", env!("CARGO_PKG_VERSION"));

/// Every size that memory is taken by.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) cpus: Vec<u16>,
    /// Session places of one worker.
    pub(crate) sessions: u16,
    /// Slots of one worker that sessions may hold.
    pub(crate) session_slots: u32,
    pub(crate) ring: RingConfig,
    pub(crate) session: session::Sizes,
    pub(crate) streams: u16,
    pub(crate) gop_ring: RingSpec,
}

impl Plan {
    pub(crate) fn new(config: &Config, srt: &SrtConfig) -> Result<Self, Error> {
        let cpus = cpu::worker_cpus(&config.workers)?;
        let workers = u16::try_from(cpus.len()).map_err(|_| Error::TooManyWorkers)?;
        let sessions = config.connections_max.div_ceil(workers);
        let slots_per_session = admission::slots(srt, srt.latency);
        let gop_ring = gop_ring(config, srt);
        let send_slots =
            u16::try_from((u32::from(sessions) * 8).clamp(256, 8_192)).unwrap_or(8_192);
        Ok(Self {
            sessions,
            session_slots: slots_per_session.saturating_mul(u32::from(sessions)),
            ring: RingConfig {
                buffer_entries: config.buffer_entries,
                send_slots,
                sockets_max: 1,
                ..RingConfig::default()
            },
            session: session::Sizes {
                window_packets: window_packets(srt, slots_per_session),
                program: config.program,
                media: media::Limits {
                    frame_bytes_max: config.frame_bytes_max,
                    gop_count_max: config.gop_count_max,
                    gop_bytes_max: u64::MAX,
                    gop_age_max: config.gop_age_max,
                },
            },
            streams: config.connections_max,
            gop_ring,
            cpus,
        })
    }

    /// Number of workers.
    pub(crate) fn workers(&self) -> u16 {
        u16::try_from(self.cpus.len()).expect("checked when the plan was made")
    }

    /// Slots of one worker's slab: those of the sessions and those the kernel fills.
    pub(crate) fn slab_slots(&self) -> u32 {
        self.session_slots + u32::from(self.ring.buffer_entries)
    }

    pub(crate) fn directory(&self, memory_budget_bytes: u64) -> DirectoryConfig<'static> {
        DirectoryConfig {
            workers: self.workers(),
            stream_slots: self.streams.into(),
            memory_budget_bytes,
            software: SOFTWARE,
        }
    }

    /// The sum. It is fixed: nothing below grows after the start.
    pub(crate) fn budget(&self) -> Result<Budget, Error> {
        let (workers, streams) = (u64::from(self.workers()), u64::from(self.streams));
        let mut budget = Budget::default();
        let slab = memory::Slab::bytes(self.slab_slots()).ok_or(Error::TooManySlots)? as u64;
        budget.add(
            workers * slab,
            format!(
                "packet slots: {workers} workers x ({} for the kernel + {} sessions x {})",
                self.ring.buffer_entries,
                self.sessions,
                self.session_slots / u32::from(self.sessions)
            ),
        );
        let ring = self.ring.bytes().map_err(Error::Ring)? as u64;
        budget.add(workers * ring, format!("io_uring queues and send slots: {workers} workers"));
        let session = Session::bytes(&self.session) as u64;
        budget.add(
            workers * u64::from(self.sessions) * session,
            format!(
                "sessions: {workers} workers x {} x {} KiB",
                self.sessions,
                session.div_ceil(1024)
            ),
        );
        let gop = self.gop_ring.file_bytes();
        budget.add(streams * gop, format!("GOP rings: {streams} streams x {} KiB", gop / 1024));
        let directory = self.directory(0).file_bytes();
        budget.add(directory, format!("counters and stream table: {streams} streams"));
        budget.add(PROCESS_BYTES, "program, libraries, stacks, conductor".into());
        Ok(budget)
    }
}

/// The receive window: a round trip of up to half the latency again on top of what waits.
fn window_packets(srt: &SrtConfig, slots: u32) -> u32 {
    const LEAST: u32 = 1_024;
    slots.saturating_mul(2).clamp(LEAST.min(srt.flow_window), srt.flow_window).next_power_of_two()
}

/// The ring of one stream: its rate for the kept groups and the open one, room for two frames of
/// the largest size, at most its limit.
fn gop_ring(config: &Config, srt: &SrtConfig) -> RingSpec {
    let groups = u64::from(config.gop_count_max) + 1;
    let duration_ms = u64::try_from(config.gop_duration.as_millis()).unwrap_or(u64::MAX);
    let kept = (srt.max_bandwidth_bps / 8).saturating_mul(duration_ms) / 1_000;
    let video = kept
        .saturating_mul(groups)
        .max(2 * u64::from(config.frame_bytes_max))
        .min(config.memory_per_stream_max)
        .next_multiple_of(LANE_UNIT_BYTES);
    let pictures = u64::from(config.gop_frames_max).saturating_mul(groups);
    let descriptors = pictures.saturating_mul(DESCRIPTORS_PER_PICTURE.into()).min(1 << 20);
    RingSpec {
        ring: RingId(0),
        video_bytes: video,
        side_bytes: SIDE_LANE_BYTES,
        descriptors: u32::try_from(descriptors).unwrap_or(1 << 20),
        pending_frames: pending_frames(srt),
    }
}

/// Frames that wait for their delivery time: 60 field pairs and three times as many other frames a
/// second, for twice the configured latency (the caller may ask for more than is configured).
fn pending_frames(srt: &SrtConfig) -> u32 {
    const FRAMES_PER_SECOND: u128 = 480;
    let frames = srt.latency.as_millis() * 2 * FRAMES_PER_SECOND / 1_000;
    u32::try_from(frames.clamp(512, 16_384)).unwrap_or(16_384)
}
