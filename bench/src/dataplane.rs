//! The dataplane as any local process sees it: counters, latency and frames in shared memory.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use shm::counters::{StreamCounter, WorkerCounter};
use shm::link::Link;
use shm::{Directory, FrameClass, GopReader, HistogramSnapshot, Next, SeekFrom, WorkerSnapshot};

use crate::connection::stream_id;
use crate::report::{Frames, Latency};
use crate::tag::Tag;

/// How long the dataplane may take to make its rings and answer, and a stream to have a ring.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const READY_STEP: Duration = Duration::from_millis(20);
/// Frames read back each time the load has a moment.
const FRAMES_PER_STEP: usize = 4;

/// A view of a running dataplane.
#[derive(Debug)]
pub(crate) struct Observer {
    link: Link,
    directory: Directory,
    /// Packets each stream had delivered before this load.
    delivered_before: HashMap<String, u64>,
    latency_before: HistogramSnapshot,
    datagrams_before: u64,
    checkers: Vec<Checker>,
    turn: usize,
    buffer: Vec<u8>,
}

impl Observer {
    /// Connects to the dataplane's socket; waits until there is one.
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let (link, directory) = retry(|| {
            let mut link = Link::connect(socket, READY_TIMEOUT)?;
            let directory = link.directory()?;
            Ok::<_, shm::Error>((link, directory))
        })
        .with_context(|| format!("no dataplane at {}", socket.display()))?;
        let delivered_before = delivered(&directory);
        Ok(Self {
            link,
            directory,
            delivered_before,
            latency_before: HistogramSnapshot::empty(),
            datagrams_before: 0,
            checkers: Vec::new(),
            turn: 0,
            buffer: Vec::new(),
        })
    }

    /// Attaches a reader to each of the first `count` streams.
    pub(crate) fn check_frames(&mut self, count: u32) -> Result<()> {
        for number in 0..count {
            let id = stream_id(number);
            let mut reader =
                retry(|| self.link.ring(&id)).with_context(|| format!("no frames of {id}"))?;
            reader.seek(SeekFrom::Oldest);
            self.checkers.push(Checker::new(number, reader));
        }
        Ok(())
    }

    /// The measured window begins.
    pub(crate) fn start_window(&mut self) {
        self.latency_before = latency(&self.directory);
        self.datagrams_before = datagrams(&self.directory);
    }

    /// Datagrams that all workers received and sent since the window began.
    pub(crate) fn datagrams(&self) -> u64 {
        datagrams(&self.directory) - self.datagrams_before
    }

    /// Connections on each worker.
    pub(crate) fn placement(&self) -> Vec<u32> {
        let mut counts = vec![0; self.directory.workers().len()];
        for stream in self.directory.streams() {
            let is_ours = stream.info.id.as_str().starts_with("bench/");
            if let Some(count) = counts.get_mut(usize::from(stream.info.worker)) {
                *count += u32::from(is_ours);
            }
        }
        counts
    }

    /// Publication latency since the window began.
    pub(crate) fn latency(&self) -> Latency {
        let since = latency(&self.directory).since(&self.latency_before);
        Latency {
            count: since.count(),
            p50_us: micros(since.percentile_ns(50.0)),
            p99_us: micros(since.percentile_ns(99.0)),
            p999_us: micros(since.percentile_ns(99.9)),
            max_us: micros(since.max_ns()),
        }
    }

    /// Packets delivered to the demultiplexer since the observer was made.
    pub(crate) fn packets_delivered(&self) -> u64 {
        delivered(&self.directory)
            .iter()
            .map(|(id, count)| count - self.delivered_before.get(id).unwrap_or(&0))
            .sum()
    }

    /// The sum of memory the dataplane printed at its start.
    pub(crate) fn memory_budget_bytes(&self) -> u64 {
        self.directory.header().memory_budget_bytes
    }

    /// Reads a few frames of the next stream that has some.
    pub(crate) fn step(&mut self) {
        let mut left = FRAMES_PER_STEP;
        for _ in 0..self.checkers.len() {
            self.turn = (self.turn + 1) % self.checkers.len();
            while left > 0 && self.checkers[self.turn].step(&mut self.buffer) {
                left -= 1;
            }
            if left == 0 {
                return;
            }
        }
    }

    /// Reads what is left and judges: of each stream all the frames begun but the last must have
    /// come.
    pub(crate) fn verdict(&mut self, begun: impl IntoIterator<Item = u64>) -> Option<Frames> {
        if self.checkers.is_empty() {
            return None;
        }
        let mut sum = Frames::default();
        for (checker, begun) in self.checkers.iter_mut().zip(begun) {
            while checker.step(&mut self.buffer) {}
            // The frame begun last may lack its end.
            let sent = begun.saturating_sub(1);
            let frames = checker.frames;
            let seen = checker.expected.min(sent);
            sum.sent += sent;
            sum.right += frames.right.min(sent);
            sum.missing += frames.missing + (sent - seen);
            sum.wrong += frames.wrong;
            sum.damaged += frames.damaged;
            sum.overrun += frames.overrun;
            sum.audio += frames.audio;
        }
        Some(sum)
    }
}

/// Reads one stream's frames and holds them against their tags.
#[derive(Debug)]
struct Checker {
    number: u32,
    reader: GopReader,
    /// Number of the video frame that must come next.
    expected: u64,
    /// Frames were overrun: what comes next may have any number.
    jumped: bool,
    frames: Frames,
}

impl Checker {
    fn new(number: u32, reader: GopReader) -> Self {
        Self { number, reader, expected: 0, jumped: false, frames: Frames::default() }
    }

    /// Reads one frame; false when there is none.
    fn step(&mut self, buffer: &mut Vec<u8>) -> bool {
        match self.reader.next(buffer) {
            Ok(Next::Frame(frame)) if frame.class == FrameClass::Audio => self.frames.audio += 1,
            Ok(Next::Frame(frame)) => {
                self.frames.damaged += u64::from(frame.is_damaged());
                self.check(buffer);
            }
            Ok(Next::Overrun { .. }) => self.jumped = true,
            Ok(Next::Empty | Next::Ended) => return false,
            Err(_) => {
                self.frames.wrong += 1;
                return false;
            }
        }
        true
    }

    fn check(&mut self, bytes: &[u8]) {
        let number = self.number;
        let Some(tag) = Tag::verify(bytes, true).ok().filter(|tag| tag.stream == number) else {
            self.frames.wrong += 1;
            self.expected += 1;
            return;
        };
        let came = u64::from(tag.frame);
        if came < self.expected {
            self.frames.wrong += 1;
            return;
        }
        let skipped = came - self.expected;
        if std::mem::take(&mut self.jumped) {
            self.frames.overrun += skipped;
        } else {
            self.frames.missing += skipped;
        }
        self.frames.right += 1;
        self.expected = came + 1;
    }
}

fn delivered(directory: &Directory) -> HashMap<String, u64> {
    directory
        .streams()
        .iter()
        .filter(|stream| stream.info.id.as_str().starts_with("bench/"))
        .map(|stream| {
            let count = stream.counter(StreamCounter::PacketsDelivered);
            (stream.info.id.as_str().to_owned(), count)
        })
        .collect()
}

fn datagrams(directory: &Directory) -> u64 {
    let of_worker = |worker: &WorkerSnapshot| {
        let count = |counter| worker.counter(counter);
        count(WorkerCounter::DatagramsReceived) + count(WorkerCounter::DatagramsSent)
    };
    directory.workers().iter().map(of_worker).sum()
}

fn latency(directory: &Directory) -> HistogramSnapshot {
    let mut all = HistogramSnapshot::empty();
    for worker in directory.workers() {
        all.merge(&worker.latency);
    }
    all
}

fn retry<T, E>(mut attempt: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let begun = Instant::now();
    loop {
        match attempt() {
            Err(_) if begun.elapsed() < READY_TIMEOUT => std::thread::sleep(READY_STEP),
            done => return done,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^53 ns")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}
