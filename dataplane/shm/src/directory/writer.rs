//! The dataplane's side of the directory. Every block has one owner, who moves between threads;
//! writing is a relaxed store into the owner's own cache lines.

use bytemuck::Zeroable;

use super::geometry::Geometry;
use super::reader::Directory;
use crate::counters::{ConductorCounter, StreamCounter, WorkerCounter};
use crate::layout::{
    CONDUCTOR_PORTS, DirectoryHeader, PORT_NAME_BYTES, PORT_NAME_WORDS, PORTS_MAX, SLOT_COUNTERS,
    SLOT_RECORD, SLOT_SEQUENCE, SLOT_SPREADS, StreamRecord, WORD, WORKER_COUNTERS, WORKER_CPU,
    WORKER_LATENCY, WORKER_PORTS, WORKER_THREAD,
};
use crate::segment::{Mapping, Words};
use crate::spreads::{self, Measured, StreamSpread};
use crate::store::{LINE_WORDS, prefetch};
use crate::{Error, Histogram, StreamInfo, Text, histogram, seqlock};

/// What a directory has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryConfig<'a> {
    /// Workers.
    pub workers: u16,
    /// Streams at a time.
    pub stream_slots: u32,
    /// The sum of the memory budget, shown to readers.
    pub memory_budget_bytes: u64,
    /// Name and version of the software, shown to readers; at most 64 bytes count.
    pub software: &'a str,
}

impl DirectoryConfig<'_> {
    /// Bytes the segment takes.
    pub fn file_bytes(&self) -> u64 {
        let page = if cfg!(miri) { 4096 } else { rustix::param::page_size() };
        let geometry = Geometry { workers: self.workers, stream_slots: self.stream_slots };
        geometry.file_bytes(page) as u64
    }

    fn facts(&self) -> DirectoryHeader {
        DirectoryHeader {
            memory_budget_bytes: self.memory_budget_bytes,
            software: *Text::<64>::cut(self.software).padded(),
            ..DirectoryHeader::zeroed()
        }
    }
}

/// The directory as the dataplane holds it: gives every block to its owner, once.
#[derive(Debug)]
pub struct DirectoryWriter {
    #[cfg(not(loom))]
    fd: Option<std::os::fd::OwnedFd>,
    all: Words,
    geometry: Geometry,
    epoch: u64,
    taken: Taken,
}

/// Which blocks have an owner.
#[derive(Debug)]
struct Taken {
    conductor: bool,
    workers: Vec<bool>,
    streams: Vec<bool>,
}

impl Taken {
    fn none(geometry: Geometry) -> Self {
        let streams = usize::try_from(geometry.stream_slots).expect("a 64-bit machine");
        Self {
            conductor: false,
            workers: vec![false; usize::from(geometry.workers)],
            streams: vec![false; streams],
        }
    }
}

impl DirectoryWriter {
    /// Makes, populates and seals the segment.
    #[cfg(not(loom))]
    pub fn create(config: &DirectoryConfig<'_>) -> Result<Self, Error> {
        use super::geometry::WHAT;
        use super::process::Identity;
        use crate::segment::map::{self, Piece};

        let geometry = Geometry::new(config.workers, config.stream_slots)?;
        let bytes = geometry.file_bytes(rustix::param::page_size());
        let fd = map::create(WHAT, bytes as u64)?;
        let memory = map::writable(WHAT, bytes as u64, &fd, &[Piece { offset: 0, bytes }])?;
        let all = Words::new(&memory, 0, bytes, false);
        let own = Identity::own();
        let facts = DirectoryHeader {
            epoch: random(bytes as u64)?,
            pid: own.pid,
            pid_start_time: own.start_time,
            pid_namespace: own.namespace,
            started_unix_ns: super::clock::unix_ns(),
            started_monotonic_ns: super::clock::monotonic_ns(),
            ..config.facts()
        };
        geometry.announce(&all, &facts);
        map::seal(WHAT, bytes as u64, &fd)?;
        let taken = Taken::none(geometry);
        Ok(Self { fd: Some(fd), all, geometry, epoch: facts.epoch, taken })
    }

    /// A directory on the heap and its reader, for tests and single-process use. No system call is
    /// made, so its header names no process and no start time.
    pub fn in_process(config: &DirectoryConfig<'_>) -> Result<(Self, Directory), Error> {
        let geometry = Geometry::new(config.workers, config.stream_slots)?;
        let bytes = geometry.file_bytes(WORD);
        let all = Words::new(&Mapping::zeroed(bytes), 0, bytes, false);
        geometry.announce(&all, &config.facts());
        let reader = Directory::new(all.clone())?;
        let taken = Taken::none(geometry);
        let writer = Self {
            #[cfg(not(loom))]
            fd: None,
            all,
            geometry,
            epoch: 0,
            taken,
        };
        Ok((writer, reader))
    }

    /// The segment, to be handed to readers. Panics for a directory on the heap, which has none.
    #[cfg(not(loom))]
    pub fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(self.fd.as_ref().expect("a directory on the heap has no segment"))
    }

    #[cfg(all(any(test, fuzzing, feature = "fuzz"), not(loom)))]
    pub(crate) const fn words(&self) -> &Words {
        &self.all
    }

    /// The random number that tells this run from others.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The conductor's block. Panics when it was taken before: it has one owner.
    pub fn conductor(&mut self) -> ConductorBlock {
        take(&mut self.taken.conductor, "the conductor's block");
        let words = self.geometry.conductor(&self.all);
        let counters = words.part(0, ConductorCounter::COUNT);
        let ports = words.part(CONDUCTOR_PORTS, PORTS_MAX * PORT_NAME_WORDS);
        ConductorBlock { counters, ports }
    }

    /// A worker's block. Panics when it was taken before or does not exist: it has one owner.
    pub fn worker(&mut self, worker: u16) -> WorkerBlock {
        let words = self.geometry.worker(&self.all, worker);
        take(&mut self.taken.workers[usize::from(worker)], "a worker's block");
        let latency = Histogram::new(words.part(WORKER_LATENCY, histogram::WORDS));
        let counters = words.part(WORKER_COUNTERS, WorkerCounter::COUNT);
        let ports = words.part(WORKER_PORTS, PORTS_MAX);
        WorkerBlock { identity: words.part(0, WORKER_COUNTERS), counters, latency, ports }
    }

    /// A stream slot. Panics when it was taken before or does not exist: it has one owner.
    pub fn stream(&mut self, slot: u32) -> StreamSlotWriter {
        let words = self.geometry.stream(&self.all, slot);
        let index = usize::try_from(slot).expect("a 64-bit machine");
        take(&mut self.taken.streams[index], "a stream slot");
        let counters = words.part(SLOT_COUNTERS, StreamCounter::COUNT);
        let spreads = words.part(SLOT_SPREADS, spreads::WORDS);
        StreamSlotWriter { slot, words, counters, spreads, lines_set: 0 }
    }
}

fn take(taken: &mut bool, what: &str) {
    assert!(!std::mem::replace(taken, true), "{what} was taken twice: it has one owner");
}

#[cfg(not(loom))]
fn random(bytes: u64) -> Result<u64, Error> {
    let mut epoch = [0; WORD];
    let (what, step) = (super::geometry::WHAT, "getrandom");
    let flags = rustix::rand::GetRandomFlags::empty();
    rustix::rand::getrandom(&mut epoch, flags).map_err(|e| Error::Create {
        what,
        bytes,
        step,
        source: e.into(),
    })?;
    Ok(u64::from_le_bytes(epoch))
}

/// The conductor's counters. `Send`, one owner.
#[derive(Debug)]
pub struct ConductorBlock {
    counters: Words,
    ports: Words,
}

impl ConductorBlock {
    /// Names a listening port, before the first reader comes; a name is cut at
    /// [`PORT_NAME_BYTES`], and a port beyond [`PORTS_MAX`] is not shown.
    pub fn name_port(&mut self, port: usize, name: &str) {
        if port >= PORTS_MAX {
            return;
        }
        let name = Text::<PORT_NAME_BYTES>::cut(name);
        let words: [u64; PORT_NAME_WORDS] = bytemuck::cast(*name.padded());
        self.ports.store_array(port * PORT_NAME_WORDS, &words);
    }

    /// Adds to a counter.
    pub fn add(&mut self, counter: ConductorCounter, n: u64) {
        self.counters.add(counter as usize, n);
    }

    /// Sets a gauge.
    pub fn set(&mut self, counter: ConductorCounter, value: u64) {
        self.counters.store(counter as usize, value);
    }

    /// The counter's value as last written.
    pub fn value(&self, counter: ConductorCounter) -> u64 {
        self.counters.load(counter as usize)
    }
}

/// A worker's counters and latency. `Send`, one owner.
#[derive(Debug)]
pub struct WorkerBlock {
    identity: Words,
    counters: Words,
    latency: Histogram,
    ports: Words,
}

impl WorkerBlock {
    /// Shows what the kernel dropped at the worker's socket of a listening port; one beyond
    /// [`PORTS_MAX`] is not shown.
    pub fn set_port_drops(&mut self, port: usize, drops: u64) {
        if port < PORTS_MAX {
            self.ports.store(port, drops);
        }
    }

    /// Shows where the worker runs.
    pub fn set_identity(&mut self, cpu: u32, thread_id: u32) {
        // One more than the number, so that zeroed memory means "not said yet".
        self.identity.store(WORKER_CPU, u64::from(cpu) + 1);
        self.identity.store(WORKER_THREAD, thread_id.into());
    }

    /// Adds to a counter.
    #[inline]
    pub fn add(&mut self, counter: WorkerCounter, n: u64) {
        self.counters.add(counter as usize, n);
    }

    /// Sets a counter or gauge.
    #[inline]
    pub fn set(&mut self, counter: WorkerCounter, value: u64) {
        self.counters.store(counter as usize, value);
    }

    /// The counter's value as last written.
    pub fn value(&self, counter: WorkerCounter) -> u64 {
        self.counters.load(counter as usize)
    }

    /// Publication latency.
    pub const fn latency(&mut self) -> &mut Histogram {
        &mut self.latency
    }
}

/// One place in the stream table. `Send`, one owner; it moves between conductor and worker with
/// the session.
#[derive(Debug)]
pub struct StreamSlotWriter {
    slot: u32,
    words: Words,
    counters: Words,
    spreads: Words,
    /// Lines of counters that were set: a bit for each.
    lines_set: u32,
}

const _: () = assert!(StreamCounter::COUNT.div_ceil(LINE_WORDS) <= 32, "a bit for each line");

impl StreamSlotWriter {
    /// Its number.
    pub const fn slot(&self) -> u32 {
        self.slot
    }

    /// A new stream takes the slot: its counters start at zero and `info` is shown, in one step
    /// for readers.
    pub fn open(&mut self, info: &StreamInfo) {
        self.show(&info.encode(), true);
    }

    /// Shows new facts about the stream; counters go on.
    pub fn set_info(&mut self, info: &StreamInfo) {
        self.show(&info.encode(), false);
    }

    /// Frees the slot: readers see no stream in it.
    pub fn clear(&mut self) {
        self.show(&StreamRecord::zeroed(), false);
    }

    fn show(&self, record: &StreamRecord, fresh: bool) {
        let words = record.to_words();
        seqlock::write(self.words.word(SLOT_SEQUENCE), || {
            if fresh {
                for words in [&self.counters, &self.spreads] {
                    (0..words.len()).for_each(|word| words.store(word, 0));
                }
            }
            self.words.store_array(SLOT_RECORD, &words);
        });
    }

    /// Asks for the memory of those counters that are set at all, to set them soon.
    pub fn prefetch(&self) {
        let mut lines = self.lines_set;
        while lines > 0 {
            prefetch(self.counters.run(lines.trailing_zeros() as usize * LINE_WORDS, 1).0);
            lines &= lines - 1;
        }
    }

    /// Adds to a counter.
    #[inline]
    pub fn add(&mut self, counter: StreamCounter, n: u64) {
        self.counters.add(counter as usize, n);
    }

    /// Sets a counter or gauge.
    #[inline]
    pub fn set(&mut self, counter: StreamCounter, value: u64) {
        self.lines_set |= 1 << (counter as usize / LINE_WORDS);
        self.counters.store(counter as usize, value);
    }

    /// The counter's value as last written.
    pub fn value(&self, counter: StreamCounter) -> u64 {
        self.counters.load(counter as usize)
    }

    /// Shows the spread of a quantity.
    pub fn set_spread(&mut self, quantity: StreamSpread, measured: &Measured) {
        spreads::store(&self.spreads, quantity, measured);
    }
}
