//! Figures of the whole system.

use std::collections::BTreeMap;

use serde::Serialize;
use shm::counters::{ConductorCounter, StreamCounter, WorkerCounter};
use shm::{Liveness, StreamKind, StreamSnapshot, StreamState, WorkerSnapshot};

use super::stream::bitrate;
use super::{Freshness, float, ratio};
use crate::clock;
use crate::source::{Snapshot, is_live};

/// `GET /stats`: what runs and what it carries, in one body.
#[derive(Debug, Clone, Serialize)]
pub struct SystemStats {
    /// Whether the dataplane runs.
    pub started: bool,
    /// Whether it was told to listen for SRT.
    pub srt_enabled: bool,
    /// Whether it listens for RTP.
    pub rtp_enabled: bool,
    /// Connected SRT publishers.
    pub srt_sessions: usize,
    /// Connected RTP publishers.
    pub rtp_sessions: usize,
    /// Streams that have not ended.
    pub total_streams: usize,
    /// Of these, the connected ones.
    pub active_handlers: usize,
    /// Of these, the ones with frames.
    pub active_streams: usize,
    /// Streams that ended by silence or a fault since the dataplane started.
    pub failed_streams: u64,
    /// Media bits per second of all streams.
    pub total_bitrate: u64,
    /// Dataplane's processor time over the last second, percent of one core.
    pub cpu_usage: Option<f64>,
    /// Dataplane's proportional set size, bytes.
    pub memory_usage: Option<u64>,
    /// Dataplane's uptime, seconds.
    pub uptime: u64,
    /// The sum of the dataplane's memory budget, bytes.
    pub memory_budget: u64,
    /// The dataplane's process.
    pub dataplane: Dataplane,
    /// Its workers.
    pub workers: Vec<Worker>,
    /// The conductor's counters.
    pub conductor: BTreeMap<&'static str, u64>,
    /// When this was written.
    pub time: String,
    /// How old it is.
    #[serde(flatten)]
    pub freshness: Freshness,
}

/// The dataplane's process.
#[derive(Debug, Clone, Serialize)]
pub struct Dataplane {
    /// Process id.
    pub pid: u32,
    /// Changes with every start; counters start again with it.
    pub epoch: String,
    /// Name and version.
    pub software: String,
    /// Version of the shared-memory ABI.
    pub abi_version: u32,
    /// When it started.
    pub started_at: String,
    /// Its unix socket.
    pub socket: String,
    /// `alive`, `silent` or `gone`.
    pub state: &'static str,
}

/// A worker.
#[derive(Debug, Clone, Serialize)]
pub struct Worker {
    /// Its number.
    pub worker: u16,
    /// The processor it is pinned to.
    pub cpu: Option<u32>,
    /// Time since its last duty cycle.
    pub heartbeat_age_ms: u64,
    /// From the moment a frame is due to its publication.
    pub publication_latency_us: Latency,
    /// Datagrams that the kernel dropped at its socket of each listener, by the listener's name.
    pub listener_kernel_drops: BTreeMap<String, u64>,
    /// Its counters.
    pub counters: BTreeMap<&'static str, u64>,
}

/// Percentiles of a latency.
#[derive(Debug, Clone, Serialize)]
pub struct Latency {
    /// How many values.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 99 of 100 lie below.
    pub p99: f64,
    /// 999 of 1,000 lie below.
    pub p999: f64,
    /// Largest.
    pub max: f64,
}

impl SystemStats {
    /// From a reading; `memory_usage` is read apart because it takes time.
    pub fn new(
        snapshot: &Snapshot,
        (srt_enabled, rtp_enabled): (bool, bool),
        socket: &std::path::Path,
        memory_usage: Option<u64>,
    ) -> Self {
        let sessions =
            |kind| snapshot.live().filter(|s| is_connected(s) && s.info.kind == kind).count();
        let conductor = |counter| snapshot.conductor.counter(counter);
        let started_ns = snapshot.header.started_unix_ns;
        Self {
            started: snapshot.liveness == Liveness::Alive,
            srt_enabled,
            rtp_enabled,
            srt_sessions: sessions(StreamKind::Srt),
            rtp_sessions: sessions(StreamKind::Rtp),
            total_streams: snapshot.live().count(),
            active_handlers: snapshot.live().filter(|stream| is_connected(stream)).count(),
            active_streams: snapshot
                .live()
                .filter(|stream| stream.info.state == StreamState::Active)
                .count(),
            failed_streams: conductor(ConductorCounter::EndedIdle)
                .saturating_add(conductor(ConductorCounter::EndedProtocol))
                .saturating_add(conductor(ConductorCounter::EndedPanicked)),
            total_bitrate: snapshot.live().map(bitrate).fold(0, u64::saturating_add),
            cpu_usage: snapshot.cpu_percent,
            memory_usage,
            uptime: clock::unix_ns().saturating_sub(started_ns) / 1_000_000_000,
            memory_budget: snapshot.header.memory_budget_bytes,
            dataplane: Dataplane::new(snapshot, socket),
            workers: snapshot.workers.iter().map(|it| Worker::new(snapshot, it)).collect(),
            conductor: ConductorCounter::ALL.iter().map(|c| (c.label(), conductor(*c))).collect(),
            time: clock::rfc3339_now(),
            freshness: Freshness::of(snapshot),
        }
    }
}

fn is_connected(stream: &StreamSnapshot) -> bool {
    is_live(stream) && stream.info.state != StreamState::Lost
}

impl Dataplane {
    fn new(snapshot: &Snapshot, socket: &std::path::Path) -> Self {
        let header = &snapshot.header;
        Self {
            pid: header.pid,
            epoch: format!("{:016x}", header.epoch),
            software: header.software.as_str().to_owned(),
            abi_version: header.abi_version,
            started_at: clock::rfc3339(header.started_unix_ns),
            socket: socket.display().to_string(),
            state: match snapshot.liveness {
                Liveness::Alive => "alive",
                Liveness::Silent { .. } => "silent",
                Liveness::Gone => "gone",
            },
        }
    }
}

/// Time since a worker's last duty cycle, milliseconds.
pub(crate) fn heartbeat_age_ms(worker: &WorkerSnapshot) -> u64 {
    let heartbeat_ns = worker.counter(WorkerCounter::HeartbeatNs);
    clock::monotonic_ns().saturating_sub(heartbeat_ns) / 1_000_000
}

impl Worker {
    fn new(snapshot: &Snapshot, worker: &WorkerSnapshot) -> Self {
        let names = snapshot.ports.iter().map(|name| name.as_str().to_owned());
        let microseconds = |nanoseconds| float(nanoseconds) / 1e3;
        let percentile = |percent| microseconds(worker.latency.percentile_ns(percent));
        Self {
            worker: worker.worker,
            cpu: worker.cpu,
            heartbeat_age_ms: heartbeat_age_ms(worker),
            publication_latency_us: Latency {
                count: worker.latency.count(),
                p50: percentile(50.0),
                p99: percentile(99.0),
                p999: percentile(99.9),
                max: microseconds(worker.latency.max_ns()),
            },
            listener_kernel_drops: names.zip((0..).map(|port| worker.port_drops(port))).collect(),
            counters: WorkerCounter::ALL.iter().map(|c| (c.label(), worker.counter(*c))).collect(),
        }
    }
}

/// `GET /streams/stats/video`.
#[derive(Debug, Clone, Serialize)]
pub struct VideoStatsList {
    /// By stream id.
    pub streams: BTreeMap<String, VideoStats>,
    /// How many.
    pub count: usize,
    /// When this was written.
    pub timestamp: String,
    /// How old it is.
    #[serde(flatten)]
    pub freshness: Freshness,
}

/// The video of one stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VideoStats {
    /// Video frames published.
    pub frames_assembled: u64,
    /// Frames dropped, for any reason.
    pub frames_dropped: u64,
    /// Key frames.
    pub keyframes: u64,
    /// P frames.
    pub p_frames: u64,
    /// B frames.
    pub b_frames: u64,
    /// Groups of pictures closed.
    pub gop_count: u64,
    /// Mean number of video frames in a group.
    pub avg_gop_size: f64,
}

impl VideoStatsList {
    /// Of the streams that have not ended.
    pub fn new(snapshot: &Snapshot) -> Self {
        let streams: BTreeMap<_, _> = snapshot
            .live()
            .map(|stream| (stream.info.id.as_str().to_owned(), VideoStats::new(stream)))
            .collect();
        Self {
            count: streams.len(),
            streams,
            timestamp: clock::rfc3339_now(),
            freshness: Freshness::of(snapshot),
        }
    }
}

impl VideoStats {
    fn new(stream: &StreamSnapshot) -> Self {
        let count = |counter| stream.counter(counter);
        let closed = count(StreamCounter::GopsClosed);
        let others = count(StreamCounter::FramesAudio) + count(StreamCounter::FramesData);
        let video = count(StreamCounter::FramesPublished).saturating_sub(others);
        // The open group counts as one: its frames are in the sum.
        let groups = closed + u64::from(video > 0);
        Self {
            frames_assembled: video,
            frames_dropped: crate::source::frames_dropped(stream),
            keyframes: count(StreamCounter::FramesKey),
            p_frames: count(StreamCounter::FramesP),
            b_frames: count(StreamCounter::FramesB),
            gop_count: closed,
            avg_gop_size: ratio(float(video), float(groups)),
        }
    }
}
