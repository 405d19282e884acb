//! Writer's side of the directory.
use std::os::fd::BorrowedFd;

use crate::counters::{ConductorCounter, StreamCounter, WorkerCounter};
use crate::{Error, Histogram, StreamInfo};

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
        todo!()
    }
}

/// The directory as the dataplane holds it.
#[derive(Debug)]
pub struct DirectoryWriter {}
impl DirectoryWriter {
    /// Makes and seals the segment.
    pub fn create(_config: &DirectoryConfig<'_>) -> Result<Self, Error> {
        todo!()
    }
    /// The segment, to be handed to readers.
    pub fn fd(&self) -> BorrowedFd<'_> {
        todo!()
    }
    /// The random number that tells this run from others.
    pub fn epoch(&self) -> u64 {
        todo!()
    }
    /// The conductor's block. Panics when it was taken before: it has one owner.
    pub fn conductor(&mut self) -> ConductorBlock {
        todo!()
    }
    /// A worker's block. Panics when it was taken before or does not exist: it has one owner.
    pub fn worker(&mut self, _worker: u16) -> WorkerBlock {
        todo!()
    }
    /// A stream slot. Panics when it was taken before or does not exist: it has one owner.
    pub fn stream(&mut self, _slot: u32) -> StreamSlotWriter {
        todo!()
    }
}

/// The conductor's counters. `Send`, one owner.
#[derive(Debug)]
pub struct ConductorBlock {}
impl ConductorBlock {
    /// Adds to a counter.
    pub fn add(&mut self, _counter: ConductorCounter, _n: u64) {
        todo!()
    }
    /// Sets a gauge.
    pub fn set(&mut self, _counter: ConductorCounter, _value: u64) {
        todo!()
    }
    /// The counter's value as last written.
    pub fn value(&self, _counter: ConductorCounter) -> u64 {
        todo!()
    }
}

/// A worker's counters and latency. `Send`, one owner.
#[derive(Debug)]
pub struct WorkerBlock {}
impl WorkerBlock {
    /// Shows where the worker runs.
    pub fn set_identity(&mut self, _cpu: u32, _thread_id: u32) {
        todo!()
    }
    /// Adds to a counter.
    pub fn add(&mut self, _counter: WorkerCounter, _n: u64) {
        todo!()
    }
    /// Sets a counter or gauge.
    pub fn set(&mut self, _counter: WorkerCounter, _value: u64) {
        todo!()
    }
    /// The counter's value as last written.
    pub fn value(&self, _counter: WorkerCounter) -> u64 {
        todo!()
    }
    /// Publication latency.
    pub fn latency(&mut self) -> &mut Histogram {
        todo!()
    }
}

/// One place in the stream table. `Send`, one owner; it moves between conductor and worker with
/// the session.
#[derive(Debug)]
pub struct StreamSlotWriter {}
impl StreamSlotWriter {
    /// Its number.
    pub fn slot(&self) -> u32 {
        todo!()
    }
    /// A new stream takes the slot: counters start at zero, `info` is shown.
    pub fn open(&mut self, _info: &StreamInfo) {
        todo!()
    }
    /// Shows new facts about the stream; counters go on.
    pub fn set_info(&mut self, _info: &StreamInfo) {
        todo!()
    }
    /// Frees the slot: readers see no stream in it.
    pub fn clear(&mut self) {
        todo!()
    }
    /// Adds to a counter.
    pub fn add(&mut self, _counter: StreamCounter, _n: u64) {
        todo!()
    }
    /// Sets a counter or gauge.
    pub fn set(&mut self, _counter: StreamCounter, _value: u64) {
        todo!()
    }
    /// The counter's value as last written.
    pub fn value(&self, _counter: StreamCounter) -> u64 {
        todo!()
    }
}
