//! The dataplane as the control plane sees it: a thread reads shared memory five times a second
//! and keeps the last reading, so that no request touches the mapping and no number of requests
//! costs the dataplane anything.
//!
//! The reading outlives the dataplane. It says how old it is, and is *stale* once the process is
//! gone or its conductor silent, at most a second after its death; a restarted dataplane (another
//! epoch) replaces it.

mod history;
mod process;
mod sampler;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use shm::counters::{ConductorCounter, StreamCounter};
use shm::link::{RtpSessionReport, SourceReport};
use shm::{
    ConductorSnapshot, Header, Liveness, PORT_NAME_BYTES, StreamSnapshot, StreamState, Text,
    WorkerSnapshot,
};
use tokio::sync::oneshot;

pub use self::history::{DURATION_BOUNDS_S, History};
use self::process::Memory;
use crate::{Error, clock};

/// Time between two readings.
pub const INTERVAL: Duration = Duration::from_millis(200);
/// A conductor silent for this long counts as dead; it turns ten times a second.
pub const SILENCE_MAX: Duration = Duration::from_millis(700);
/// Data is stale when the conductor's last known turn is this old: within a second of its death,
/// with room for a reading that missed the last turns.
pub const STALE_AFTER: Duration = Duration::from_millis(900);
const _: () = assert!(SILENCE_MAX.as_millis() + INTERVAL.as_millis() <= STALE_AFTER.as_millis());
/// Refresh requests that may wait for the sampler.
const REFRESHES_WAITING_MAX: usize = 16;

/// The sources, as the dataplane told them last.
#[derive(Debug, Default)]
pub struct SourceList {
    /// All of them, by id.
    pub sources: Vec<SourceReport>,
    /// When they were told, Unix nanoseconds.
    pub read_unix_ns: u64,
}

/// One reading of the dataplane's shared memory.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Facts about the dataplane that never change.
    pub header: Header,
    /// The conductor.
    pub conductor: ConductorSnapshot,
    /// The workers.
    pub workers: Vec<WorkerSnapshot>,
    /// Names of the listening ports.
    pub ports: Vec<Text<PORT_NAME_BYTES>>,
    /// One entry for each id: the live stream, or the one that ended last. Ordered by id.
    pub streams: Vec<StreamSnapshot>,
    /// The streams that are fetched.
    pub sources: Arc<SourceList>,
    /// The sessions of RTP that are given.
    pub rtp_sessions: Arc<[RtpSessionReport]>,
    /// Whether the dataplane runs.
    pub liveness: Liveness,
    /// `CLOCK_MONOTONIC` nanoseconds of the reading.
    pub taken_ns: u64,
    /// CPU of the dataplane over the last second, percent of one core; `None` when unknown.
    pub cpu_percent: Option<f64>,
    /// What outlives a stream's slot.
    pub history: History,
}

impl Snapshot {
    /// Streams that have not ended.
    pub fn live(&self) -> impl Iterator<Item = &StreamSnapshot> {
        self.streams.iter().filter(|stream| is_live(stream))
    }

    /// The stream with this id, live or ended.
    pub fn stream(&self, id: &str) -> Option<&StreamSnapshot> {
        self.streams.iter().find(|stream| stream.info.id.as_str() == id)
    }

    /// Whether the data no longer follows a running dataplane. This is judged when it is asked, so
    /// that it holds even if no reading was taken since.
    pub fn is_stale(&self) -> bool {
        self.liveness != Liveness::Alive || since(self.last_sign_ns()) > STALE_AFTER
    }

    /// Time since the data was true: since the reading, or since the dataplane's last sign of life
    /// when it is stale.
    pub fn age(&self) -> Duration {
        let last_true_ns =
            if self.is_stale() { self.last_sign_ns().min(self.taken_ns) } else { self.taken_ns };
        since(last_true_ns)
    }

    /// A `CLOCK_MONOTONIC` time of the dataplane on the wall clock, Unix nanoseconds.
    pub fn wall_ns(&self, monotonic_ns: u64) -> u64 {
        let since = monotonic_ns.saturating_sub(self.header.started_monotonic_ns);
        self.header.started_unix_ns.saturating_add(since)
    }

    /// The conductor's last turn, or the start when it has not turned yet.
    fn last_sign_ns(&self) -> u64 {
        let heartbeat_ns = self.conductor.counter(ConductorCounter::HeartbeatNs);
        heartbeat_ns.max(self.header.started_monotonic_ns)
    }
}

fn since(monotonic_ns: u64) -> Duration {
    Duration::from_nanos(clock::monotonic_ns().saturating_sub(monotonic_ns))
}

/// Whether a stream has not ended.
pub fn is_live(stream: &StreamSnapshot) -> bool {
    stream.info.state != StreamState::Closed
}

/// Frames a stream dropped, for whatever reason.
pub fn frames_dropped(stream: &StreamSnapshot) -> u64 {
    [
        StreamCounter::FramesDroppedBeforeKey,
        StreamCounter::FramesDroppedOversize,
        StreamCounter::FramesDroppedInvalid,
        StreamCounter::FramesDroppedPending,
        StreamCounter::FramesDroppedAborted,
        StreamCounter::FramesDroppedBandwidth,
        StreamCounter::FramesDroppedDamaged,
    ]
    .iter()
    .fold(0, |sum, counter| stream.counter(*counter).saturating_add(sum))
}

/// What is known about the dataplane at this moment.
#[derive(Debug, Clone)]
enum View {
    /// No dataplane has answered yet; why not.
    Never(String),
    /// The last reading.
    Seen(Arc<Snapshot>),
}

/// The running sampler. Dropping it ends the thread.
#[derive(Debug)]
pub struct Source {
    socket: PathBuf,
    view: Arc<RwLock<View>>,
    refresh: SyncSender<oneshot::Sender<()>>,
    memory: Mutex<Memory>,
}

impl Source {
    /// Starts the sampler on the dataplane's socket; the dataplane need not be there yet.
    pub fn start(socket: &Path) -> Result<Self, Error> {
        let never = format!("no dataplane has answered at {} yet", socket.display());
        let view = Arc::new(RwLock::new(View::Never(never)));
        let (refresh, refreshes) = sync_channel(REFRESHES_WAITING_MAX);
        sampler::start(socket.to_owned(), Arc::clone(&view), refreshes)?;
        Ok(Self { socket: socket.to_owned(), view, refresh, memory: Mutex::default() })
    }

    /// The dataplane's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The last reading, or why there is none.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, String> {
        match &*self.view.read().unwrap_or_else(PoisonError::into_inner) {
            View::Seen(snapshot) => Ok(Arc::clone(snapshot)),
            View::Never(reason) => Err(reason.clone()),
        }
    }

    /// Reads shared memory now and returns when that is done, or after two intervals.
    pub async fn refresh(&self) {
        let (done, read) = oneshot::channel();
        if self.refresh.try_send(done).is_ok() {
            let _ = tokio::time::timeout(INTERVAL * 2, read).await;
        }
    }

    /// Proportional set size of the dataplane in bytes, at most a second old; `None` when it
    /// cannot be read. Blocks for as long as the kernel walks the page tables.
    pub fn memory_bytes(&self, snapshot: &Snapshot) -> Option<u64> {
        if snapshot.liveness == Liveness::Gone {
            return Some(0);
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.bytes(snapshot.header.pid)
    }
}
