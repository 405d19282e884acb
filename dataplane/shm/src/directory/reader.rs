//! Reader's side of the directory.
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::counters::{ConductorCounter, StreamCounter, WorkerCounter};
use crate::{Error, HistogramSnapshot, StreamInfo, Text};

/// The directory as a reader sees it: mapped read-only, valid while the dataplane runs and after
/// it died.
#[derive(Debug)]
pub struct Directory {}
impl Directory {
    /// Maps a segment and checks it.
    pub fn map(_fd: BorrowedFd<'_>) -> Result<Self, Error> {
        todo!()
    }
    /// The facts that never change.
    pub fn header(&self) -> &Header {
        todo!()
    }
    /// The conductor's counters.
    pub fn conductor(&self) -> ConductorSnapshot {
        todo!()
    }
    /// Every worker's counters and latency.
    pub fn workers(&self) -> Vec<WorkerSnapshot> {
        todo!()
    }
    /// Every stream in the table. A slot that is torn (its writer died in it) is left out;
    /// [`Directory::stream_at`] tells.
    pub fn streams(&self) -> Vec<StreamSnapshot> {
        todo!()
    }
    /// The stream in one slot.
    pub fn stream_at(&self, _slot: u32) -> Result<Option<StreamSnapshot>, Error> {
        todo!()
    }
    /// The stream with this id; of several (a closed one beside its successor) the one created last.
    pub fn stream(&self, _id: &str) -> Option<StreamSnapshot> {
        todo!()
    }
    /// Whether the dataplane behind this directory runs.
    pub fn liveness(&self, _heartbeat_age_max: Duration) -> Liveness {
        todo!()
    }
    /// Whether [`Directory::liveness`] is [`Liveness::Alive`].
    pub fn is_alive(&self, heartbeat_age_max: Duration) -> bool {
        self.liveness(heartbeat_age_max) == Liveness::Alive
    }
    /// Time since the conductor's last turn.
    pub fn heartbeat_age(&self) -> Duration {
        todo!()
    }
}

/// Whether the dataplane runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// Its process exists and its conductor turned lately.
    Alive,
    /// Its process exists, but its conductor has not turned for this long.
    Silent {
        /// Time since the last turn.
        age: Duration,
    },
    /// Its process is gone.
    Gone,
}

/// The facts about a dataplane that never change while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Version of the ABI.
    pub abi_version: u32,
    /// Random: tells this run of the dataplane from others.
    pub epoch: u64,
    /// Process id of the dataplane.
    pub pid: u32,
    /// When it started, nanoseconds since the Unix epoch.
    pub started_unix_ns: u64,
    /// The same on `CLOCK_MONOTONIC`.
    pub started_monotonic_ns: u64,
    /// Workers.
    pub workers: u16,
    /// Places in the stream table.
    pub stream_slots: u32,
    /// The sum of its memory budget.
    pub memory_budget_bytes: u64,
    /// Name and version of the software.
    pub software: Text<64>,
}

/// The conductor's counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConductorSnapshot {
    counters: [u64; ConductorCounter::COUNT],
}
impl ConductorSnapshot {
    /// A counter's value.
    pub fn counter(&self, counter: ConductorCounter) -> u64 {
        self.counters[counter as usize]
    }
}

/// A worker at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSnapshot {
    /// Its number.
    pub worker: u16,
    /// The processor it is pinned to; `None` before it said so.
    pub cpu: Option<u32>,
    /// Its thread id; 0 before it said so.
    pub thread_id: u32,
    counters: [u64; WorkerCounter::COUNT],
    /// Publication latency.
    pub latency: HistogramSnapshot,
}
impl WorkerSnapshot {
    /// A counter's value.
    pub fn counter(&self, counter: WorkerCounter) -> u64 {
        self.counters[counter as usize]
    }
}

/// A stream at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSnapshot {
    /// Its place in the table.
    pub slot: u32,
    /// Identity, state, tracks.
    pub info: StreamInfo,
    counters: [u64; StreamCounter::COUNT],
}
impl StreamSnapshot {
    /// A counter's value.
    pub fn counter(&self, counter: StreamCounter) -> u64 {
        self.counters[counter as usize]
    }
}
fn _unused(fd: impl AsFd) {
    let _ = fd;
}
