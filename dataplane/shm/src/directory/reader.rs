//! The reader's side of the directory, in any process. It works while the dataplane runs and after
//! it died: the segment stays as long as somebody holds it. Every byte may have been written by
//! anybody; all sizes are checked against the segment before anything is read by them.

use std::time::Duration;

use super::clock;
use super::geometry::Geometry;
use super::process::Identity;
use crate::counters::{ConductorCounter, StreamCounter, WorkerCounter};
use crate::layout::{
    ABI_VERSION, CONDUCTOR_PORTS, DirectoryHeader, PORT_NAME_BYTES, PORT_NAME_WORDS, PORTS_MAX,
    SLOT_COUNTERS, SLOT_RECORD, SLOT_SEQUENCE, SLOT_SPREADS, StreamRecord, WORKER_COUNTERS,
    WORKER_CPU, WORKER_LATENCY, WORKER_PORTS, WORKER_THREAD,
};
use crate::segment::Words;
use crate::spreads::{self, Measured, StreamSpread};
use crate::{Error, HistogramSnapshot, StreamInfo, Text, histogram, seqlock};

/// The directory as a reader sees it.
#[derive(Debug)]
pub struct Directory {
    all: Words,
    geometry: Geometry,
    process: Identity,
    header: Header,
}

impl Directory {
    /// Maps a segment read-only and checks that it is one this build can read; the error says what
    /// differs.
    #[cfg(not(loom))]
    pub fn map(fd: std::os::fd::BorrowedFd<'_>) -> Result<Self, Error> {
        use super::geometry::WHAT;
        use crate::segment::map::{self, Piece};

        let real = map::sealed_bytes(WHAT, fd)?;
        let field = "size of the segment";
        let bytes = usize::try_from(real);
        let bytes = bytes.map_err(|_| Error::Corrupt { what: WHAT, field, got: real })?;
        let memory = map::readable(WHAT, fd, &[Piece { offset: 0, bytes }])?;
        Self::new(Words::new(&memory, 0, bytes, false))
    }

    pub(crate) fn new(all: Words) -> Result<Self, Error> {
        let (record, geometry) = Geometry::check(&all)?;
        let header = Header::new(&record, geometry);
        Ok(Self { all, geometry, process: Identity::of(&record), header })
    }

    /// Where the first stream slot starts, for inputs that aim at it.
    #[cfg(all(test, not(miri), not(loom)))]
    pub(crate) fn first_slot_word(&self) -> u16 {
        u16::try_from(self.geometry.streams_offset() / crate::layout::WORD).expect("a small one")
    }

    /// The facts that never change.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The conductor's counters.
    pub fn conductor(&self) -> ConductorSnapshot {
        ConductorSnapshot { counters: self.geometry.conductor(&self.all).load_array(0) }
    }

    /// The names of the listening ports, in their order.
    pub fn ports(&self) -> Vec<Text<PORT_NAME_BYTES>> {
        let words = self.geometry.conductor(&self.all);
        let name = |port: usize| -> Text<PORT_NAME_BYTES> {
            let at = CONDUCTOR_PORTS + port * PORT_NAME_WORDS;
            let words: [u64; PORT_NAME_WORDS] = words.load_array(at);
            let bytes: [u8; PORT_NAME_BYTES] = bytemuck::cast(words);
            Text::from_hostile_padded(&bytes)
        };
        (0..PORTS_MAX).map(name).take_while(|name| !name.as_str().is_empty()).collect()
    }

    /// Every worker's counters and latency.
    pub fn workers(&self) -> Vec<WorkerSnapshot> {
        let workers = 0..self.geometry.workers;
        workers.map(|w| WorkerSnapshot::read(w, &self.geometry.worker(&self.all, w))).collect()
    }

    /// Every stream in the table. A slot that is torn (its writer died in the middle of a change)
    /// is left out; [`Directory::stream_at`] tells.
    pub fn streams(&self) -> Vec<StreamSnapshot> {
        let slots = 0..self.geometry.stream_slots;
        slots.filter_map(|slot| self.stream_at(slot).ok().flatten()).collect()
    }

    /// The stream in one slot, `None` when the slot is free.
    pub fn stream_at(&self, slot: u32) -> Result<Option<StreamSnapshot>, Error> {
        let slots = self.geometry.stream_slots;
        if slot >= slots {
            return Err(Error::NoSlot { slot, slots });
        }
        let words = self.geometry.stream(&self.all, slot);
        // Most slots are free most of the time; the first word of the record says so.
        let read = seqlock::read(words.word(SLOT_SEQUENCE), || {
            let free = words.load(SLOT_RECORD) & 0xff == 0;
            (!free).then(|| {
                let (counters, spreads) = (SLOT_COUNTERS, SLOT_SPREADS);
                let measured = (words.load_array(counters), words.load_array(spreads));
                (words.load_array(SLOT_RECORD), measured)
            })
        });
        let read = read.ok_or(Error::Torn { slot, tries: seqlock::TRIES_MAX })?;
        Ok(read.and_then(|(record, (counters, spreads))| {
            let info = StreamInfo::decode(&StreamRecord::from_words(record))?;
            Some(StreamSnapshot { slot, info, counters, spreads })
        }))
    }

    /// The stream with this id; of several (a closed one beside its successor) the one created
    /// last.
    pub fn stream(&self, id: &str) -> Option<StreamSnapshot> {
        let named = self.streams().into_iter().filter(|stream| stream.info.id.as_str() == id);
        named.max_by_key(|stream| stream.info.created_unix_ns)
    }

    /// Whether the dataplane behind this directory runs: its process must exist (where that can be
    /// told) and its conductor must have turned within `heartbeat_age_max`.
    pub fn liveness(&self, heartbeat_age_max: Duration) -> Liveness {
        if self.process.exists() == Some(false) {
            return Liveness::Gone;
        }
        let age = self.heartbeat_age();
        if age > heartbeat_age_max { Liveness::Silent { age } } else { Liveness::Alive }
    }

    /// Whether [`Directory::liveness`] is [`Liveness::Alive`].
    pub fn is_alive(&self, heartbeat_age_max: Duration) -> bool {
        self.liveness(heartbeat_age_max) == Liveness::Alive
    }

    /// Time since the conductor's last turn, or since the start when it has not turned yet.
    pub fn heartbeat_age(&self) -> Duration {
        let beat = self.conductor().counter(ConductorCounter::HeartbeatNs);
        let last = beat.max(self.header.started_monotonic_ns);
        Duration::from_nanos(clock::monotonic_ns().saturating_sub(last))
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

impl Header {
    fn new(record: &DirectoryHeader, geometry: Geometry) -> Self {
        Self {
            abi_version: ABI_VERSION,
            epoch: record.epoch,
            pid: u32::try_from(record.pid).unwrap_or(0),
            started_unix_ns: record.started_unix_ns,
            started_monotonic_ns: record.started_monotonic_ns,
            workers: geometry.workers,
            stream_slots: geometry.stream_slots,
            memory_budget_bytes: record.memory_budget_bytes,
            software: Text::from_hostile_padded(&record.software),
        }
    }
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
    ports: [u64; PORTS_MAX],
    /// Publication latency.
    pub latency: HistogramSnapshot,
}
impl WorkerSnapshot {
    fn read(worker: u16, words: &Words) -> Self {
        let cpu = words.load(WORKER_CPU).checked_sub(1);
        Self {
            worker,
            cpu: cpu.and_then(|cpu| u32::try_from(cpu).ok()),
            thread_id: u32::try_from(words.load(WORKER_THREAD)).unwrap_or(0),
            counters: words.load_array(WORKER_COUNTERS),
            ports: words.load_array(WORKER_PORTS),
            latency: HistogramSnapshot::read(&words.part(WORKER_LATENCY, histogram::WORDS)),
        }
    }

    /// A counter's value.
    pub fn counter(&self, counter: WorkerCounter) -> u64 {
        self.counters[counter as usize]
    }

    /// Datagrams the kernel dropped at its socket of a listening port.
    pub fn port_drops(&self, port: usize) -> u64 {
        self.ports.get(port).copied().unwrap_or(0)
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
    spreads: [u64; spreads::WORDS],
}
impl StreamSnapshot {
    /// A counter's value.
    pub fn counter(&self, counter: StreamCounter) -> u64 {
        self.counters[counter as usize]
    }

    /// The spread of a quantity.
    pub fn spread(&self, quantity: StreamSpread) -> Measured {
        spreads::of(&self.spreads, quantity)
    }
}
