//! From a configuration to sizes: how many workers, places, slots, and what they weigh.

use std::time::Duration;

use shm::{DirectoryConfig, RingId, RingSpec};
use uring::{RingConfig, SocketIndex};

use crate::budget::Budget;
use crate::config::{Config, DamagedFrames, RtpConfig, SrtConfig, StreamOptions};
use crate::worker::rtp::session::{RtpSession, RtpSizes};
use crate::worker::rtp::{SHARED_SLOTS, SharedPort};
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
    /// Slots of any session; those whose rule needs more have that on top.
    pub(crate) session_share: u32,
    /// Slots of one worker that sessions may hold.
    pub(crate) session_slots: u32,
    pub(crate) ring: RingConfig,
    pub(crate) listeners: usize,
    pub(crate) session: session::Sizes,
    /// What there is of RTP.
    pub(crate) rtp: Option<RtpPlan>,
    pub(crate) streams: u16,
    pub(crate) gop_ring: RingSpec,
}

/// The sizes of RTP's places.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RtpPlan {
    /// Session places of one worker, behind those of SRT.
    pub(crate) sessions: u16,
    /// Slots of any session; those of several tracks have more on top.
    pub(crate) share: u32,
    /// Slots of one worker that they may hold.
    pub(crate) slots: u32,
    pub(crate) session: RtpSizes,
    /// Sockets of one worker that are there as long as it is.
    pub(crate) sockets: u16,
    /// Sockets of sessions that are given.
    session_sockets: u16,
}

impl RtpPlan {
    fn new(config: &Config, rtp: &RtpConfig, workers: u16, media: media::Limits) -> Self {
        let sessions = rtp.places(workers);
        Self {
            sessions,
            share: rtp.slots(1),
            slots: rtp
                .slots(1)
                .saturating_mul(u32::from(sessions))
                .saturating_add(rtp.further_slots()),
            session: RtpSizes { room: rtp.room, program: config.program, media },
            // RTP and RTCP of the shared port.
            sockets: 2,
            session_sockets: {
                let given: usize = rtp.sessions.iter().map(|it| it.sockets.len()).sum();
                let added = rtp.added.max * rtp.added.sockets_each();
                u16::try_from(given).unwrap_or(u16::MAX).saturating_add(added)
            },
        }
    }
}

impl Plan {
    pub(crate) fn new(config: &Config, srt: &SrtConfig) -> Result<Self, Error> {
        let cpus = cpu::worker_cpus(&config.workers)?;
        let workers = u16::try_from(cpus.len()).map_err(|_| Error::TooManyWorkers)?;
        let srt_max = if srt.listeners.is_empty() { 0 } else { config.srt_connections_max };
        let sessions = config
            .connections_per_worker_max
            .unwrap_or_else(|| srt_max.div_ceil(workers))
            .min(srt_max);
        let mut demand = Demand::new(srt);
        let media = media::Limits {
            frame_bytes_max: config.frame_bytes_max,
            gop_count_max: config.gop_count_max,
            gop_bytes_max: u64::MAX,
            gop_age_max: config.gop_age_max,
            damaged_frames: match config.damaged_frames {
                DamagedFrames::Keep => media::DamagedFrames::Keep,
                DamagedFrames::Drop => media::DamagedFrames::Drop,
            },
        };
        let rtp = config.rtp.as_ref();
        let rtp_max = rtp.map_or(0, |rtp| rtp.sessions_max);
        let added_max = rtp.map_or(0, |rtp| rtp.added.max);
        if let Some(rtp) = rtp {
            demand.max_bandwidth_bps = demand.max_bandwidth_bps.max(rtp.max_bandwidth_bps);
        }
        let rtp = rtp.map(|rtp| RtpPlan::new(config, rtp, workers, media));
        let rtp_sessions = rtp.map_or(0, |rtp| rtp.sessions);
        let gop_ring = gop_ring(config, &demand);
        let send_slots = u32::from(sessions) * 8 + u32::from(rtp_sessions) * 2;
        let send_slots = u16::try_from(send_slots.clamp(256, 8_192)).unwrap_or(8_192);
        Ok(Self {
            sessions,
            session_share: demand.slots,
            session_slots: demand
                .slots
                .saturating_mul(u32::from(sessions))
                .saturating_add(demand.single_slots),
            ring: RingConfig {
                buffer_entries: config.buffer_entries,
                send_slots,
                sockets_max: rtp.map_or(0, |rtp| rtp.sockets + rtp.session_sockets)
                    + sockets_max(srt),
                ..RingConfig::default()
            },
            session: session::Sizes {
                window_packets: window_packets(&demand),
                program: config.program,
                backpressure: config.backpressure,
                media,
            },
            rtp,
            listeners: srt.listeners.len(),
            streams: srt_max
                .saturating_add(rtp_max)
                .min(config.connections_max)
                .saturating_add(added_max),
            gop_ring,
            cpus,
        })
    }

    /// Number of workers.
    pub(crate) fn workers(&self) -> u16 {
        u16::try_from(self.cpus.len()).expect("checked when the plan was made")
    }

    /// The socket of RTP's shared port, on each worker.
    pub(crate) fn shared_rtp(&self) -> SocketIndex {
        SocketIndex::new(u16::try_from(self.listeners).expect("checked with the configuration"))
    }

    /// The socket of its RTCP.
    pub(crate) fn shared_rtcp(&self) -> SocketIndex {
        let index = u16::try_from(self.listeners).expect("checked with the configuration");
        SocketIndex::new(index + 1)
    }

    /// The first socket that is not there for as long as its worker.
    pub(crate) fn first_socket(&self) -> usize {
        self.listeners + usize::from(self.rtp.map_or(0, |rtp| rtp.sockets))
    }

    /// Places of one worker.
    pub(crate) fn places(&self) -> u16 {
        self.sessions + self.rtp.map_or(0, |rtp| rtp.sessions)
    }

    /// Slots of one worker that sessions may hold, and what waits at RTP's shared port.
    pub(crate) fn held_slots(&self) -> u32 {
        let rtp = self.rtp.map_or(0, |rtp| rtp.slots.saturating_add(SHARED_SLOTS));
        self.session_slots.saturating_add(rtp)
    }

    /// Slots of one worker's slab: those of the sessions and those the kernel fills.
    pub(crate) fn slab_slots(&self) -> u32 {
        self.held_slots().saturating_add(self.ring.buffer_entries.into())
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
        budget.add(workers * slab, self.slots_reason());
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
        if let Some(rtp) = &self.rtp {
            let (sessions, session) = (rtp.sessions, RtpSession::bytes(&rtp.session) as u64);
            let kib = session.div_ceil(1024);
            budget.add(
                workers * u64::from(sessions) * session,
                format!("RTP sessions: {workers} workers x {sessions} x {kib} KiB"),
            );
            let shared = SharedPort::bytes(sessions.into()) as u64;
            budget.add(workers * shared, format!("senders at the RTP port: {workers} workers"));
        }
        let gop = self.gop_ring.file_bytes();
        budget.add(streams * gop, format!("GOP rings: {streams} streams x {} KiB", gop / 1024));
        let directory = self.directory(0).file_bytes();
        budget.add(directory, format!("counters and stream table: {streams} streams"));
        budget.add(PROCESS_BYTES, "program, libraries, stacks, conductor".into());
        Ok(budget)
    }
}

impl Plan {
    fn slots_reason(&self) -> String {
        let mut reason = format!(
            "packet slots: {} workers x ({} for the kernel + {} sessions x {}",
            self.workers(),
            self.ring.buffer_entries,
            self.sessions,
            self.session_slots / u32::from(self.sessions.max(1))
        );
        if let Some(rtp) = &self.rtp {
            let RtpPlan { sessions, share, slots, .. } = *rtp;
            let further = slots.saturating_sub(share.saturating_mul(sessions.into()));
            reason += &format!(
                " + {sessions} of RTP x {share} + {further} for further tracks + {SHARED_SLOTS} that wait"
            );
        }
        reason + ")"
    }
}

/// What the configured streams need at most.
#[derive(Debug, Default)]
struct Demand {
    /// Slots of any session.
    slots: u32,
    /// Slots of a worker for the streams with a rule of their own that need more.
    single_slots: u32,
    /// Slots of the largest session.
    slots_max: u32,
    max_bandwidth_bps: u64,
    latency: Duration,
    flow_window: u32,
}

impl Demand {
    fn new(srt: &SrtConfig) -> Self {
        let mut demand = Self::default();
        for options in srt.shared_options() {
            demand.slots = demand.slots.max(options.slots(options.latency));
            demand.max_bandwidth_bps = demand.max_bandwidth_bps.max(options.max_bandwidth_bps);
            demand.widen(&options);
        }
        for stream in srt.single_options() {
            let slots = stream.iter().map(|options| options.slots(options.latency)).max();
            let more = slots.unwrap_or(0).saturating_sub(demand.slots);
            demand.single_slots = demand.single_slots.saturating_add(more);
            stream.iter().for_each(|options| demand.widen(options));
        }
        demand
    }

    fn widen(&mut self, options: &StreamOptions) {
        self.slots_max = self.slots_max.max(options.slots(options.latency));
        self.latency = self.latency.max(options.latency);
        self.flow_window = self.flow_window.max(options.flow_window);
    }
}

/// The listeners' and those of what we call.
fn sockets_max(srt: &SrtConfig) -> u16 {
    let listeners = u16::try_from(srt.listeners.len()).expect("checked with the configuration");
    listeners + srt.sources.max
}

/// The receive window: a round trip of up to half the latency again on top of what waits.
fn window_packets(demand: &Demand) -> u32 {
    const LEAST: u32 = 1_024;
    let most = demand.flow_window;
    demand.slots_max.saturating_mul(2).clamp(LEAST.min(most), most).next_power_of_two()
}

/// The ring of one stream: its rate for the kept groups and the open one, room for two frames of
/// the largest size, at most its limit.
fn gop_ring(config: &Config, demand: &Demand) -> RingSpec {
    let groups = u64::from(config.gop_count_max) + 1;
    let duration_ms = u64::try_from(config.gop_duration.as_millis()).unwrap_or(u64::MAX);
    let kept = (demand.max_bandwidth_bps / 8).saturating_mul(duration_ms) / 1_000;
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
        pending_frames: pending_frames(demand),
    }
}

/// Frames that wait for their delivery time: 60 field pairs and three times as many other frames a
/// second, for twice the configured latency (the caller may ask for more than is configured).
fn pending_frames(demand: &Demand) -> u32 {
    const FRAMES_PER_SECOND: u128 = 480;
    let frames = demand.latency.as_millis() * 2 * FRAMES_PER_SECOND / 1_000;
    u32::try_from(frames.clamp(512, 16_384)).unwrap_or(16_384)
}
