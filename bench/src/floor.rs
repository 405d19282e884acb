//! `penstock-bench floor`: what receiving alone costs here, as the floor under Penstock's figures.
//!
//! The receiver is the engine's ring, or `recvmmsg`, into slots of the engine's slab; behind it is
//! a sink that touches the first line of each payload. The sender is one socket on another core.
//!
//! - **R1**, saturated: a round queues 4,095 datagrams over 64 sockets, then the receiver empties
//!   the queues with the sender silent. CPU time of the receiving thread a packet, without the
//!   first round.
//! - **R2**, the real pattern: 120,000 datagrams a second over 1,000 sockets, four at a time, the
//!   receiver waiting as a worker does. CPU time of the receiving thread a packet, and the delay.
//!
//! One measurement is one process. Without `--receiver` this starts itself for each of them in
//! turn, changing which comes first, and prints their ratio.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use memory::Slab;
use rustix::event::epoll;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};
use uring::{BatchReceiver, Received, Ring, RingConfig, SocketIndex, socket};

use crate::clock;
use crate::report::{Latency, Report};
use crate::target::Usage;

/// A datagram like those of live video: seven TS packets behind an RTP header.
const PAYLOAD_BYTES: usize = 1328;
/// Buffers of the ring, so that a round of R1 fits them.
const BUFFERS: u16 = 4096;
const ROUND_PACKETS: u32 = BUFFERS as u32 - 1;
/// Datagrams of one `recvmmsg`.
const BATCH: usize = 64;
/// Datagrams the sender sends back to back in R2, and how many a second.
const BURST: u32 = 4;
const RATE: u32 = 120_000;
/// Of a stream number that ends the measurement.
const POISON: u32 = u32::MAX;
/// Longer than any round takes.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What to measure
    #[arg(value_enum)]
    work: Work,
    /// Measure this receiver alone, in this process
    #[arg(long, value_enum)]
    receiver: Option<Receiver>,
    /// Runs of each receiver when they are compared
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Sockets; 64 for R1 and 1,000 for R2 unless said
    #[arg(long)]
    sockets: Option<u16>,
    /// Minimum wait of R2 (for recvmmsg: the sleep after a wake-up)
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 500)]
    wait_us: u64,
    /// Rounds of R1, the first of which is not counted
    #[arg(long, default_value_t = 30)]
    rounds: u32,
    /// Seconds of R2
    #[arg(long, value_name = "SECONDS", default_value_t = 0.6)]
    duration: f64,
    /// With arrival stamps and drop counts, as the engine receives
    #[arg(long)]
    stamps: bool,
    /// The ring fills first what was freed last, as the engine's does; else each slot waits its turn
    #[arg(long)]
    warm_first: bool,
    /// The receiving CPU
    #[arg(long, default_value_t = 1)]
    cpu: usize,
    /// The sending CPU
    #[arg(long, default_value_t = 0)]
    sender_cpu: usize,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Print the line of JSON that `penstock-bench table` reads, under this row (needs --receiver)
    #[arg(long, value_name = "LABEL", requires = "receiver")]
    row: Option<String>,
    /// Number of the round of alternating runs
    #[arg(long, default_value_t = 0)]
    round: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
enum Work {
    /// The saturated cost
    R1,
    /// The cost at the real pattern
    R2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
enum Receiver {
    /// The engine's ring: one multishot receive a socket
    Ring,
    /// recvmmsg, in R2 with epoll
    Recvmmsg,
}

/// One measurement.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Measured {
    work: Work,
    receiver: Receiver,
    us_per_packet: f64,
    packets: u64,
    lost: u64,
    reordered: u64,
    truncated: u64,
    rearms: u64,
    calls_per_packet: f64,
    /// Delay from send to sink; of R2 only, in R1 it is the length of the queue.
    p50_us: Option<u64>,
    p99_us: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Some(receiver) = arguments.receiver else {
        return compare(arguments);
    };
    let measured = match arguments.work {
        Work::R1 => saturated(arguments, receiver)?,
        Work::R2 => paced(arguments, receiver)?,
    };
    if let Some(row) = &arguments.row {
        println!("{}", serde_json::to_string(&measured.as_run(arguments, row))?);
    } else if arguments.json {
        println!("{}", serde_json::to_string(&measured)?);
    } else {
        println!("{measured}");
    }
    Ok(())
}

impl Measured {
    /// As a run among others. The floor has no process of its own to be measured: memory and
    /// threads are not told.
    #[expect(clippy::cast_precision_loss, reason = "packets of a run are far below 2^53")]
    fn as_run(&self, arguments: &Arguments, row: &str) -> Report {
        let window_s = if self.work == Work::R2 { arguments.duration } else { 0.0 };
        let megabits = self.packets as f64 * PAYLOAD_BYTES as f64 * 8.0 / 1e6;
        let micros = |value: Option<u64>| value.map_or(f64::NAN, |value| value as f64);
        let cpu_s = self.us_per_packet * self.packets as f64 / 1e6;
        Report {
            label: row.to_owned(),
            receiver: format!("floor {:?}{}", self.work, arguments.refinement()),
            round: arguments.round,
            connections: arguments.sockets().into(),
            sent_mbit: if window_s > 0.0 { megabits / window_s } else { 0.0 },
            window_s,
            packets_sent: self.packets + self.lost,
            packets_delivered: Some(self.packets),
            packets_lost: Some(self.lost),
            datagrams: Some(self.packets),
            usage: Some(Usage { cpu_s, threads: 1, ..Usage::default() }),
            latency: self.p50_us.map(|_| Latency {
                count: self.packets,
                p50_us: micros(self.p50_us),
                p99_us: micros(self.p99_us),
                ..Latency::default()
            }),
            ..Report::default()
        }
    }
}

/// Runs each receiver in turn, one process a measurement.
fn compare(arguments: &Arguments) -> Result<()> {
    let mut all: Vec<Measured> = Vec::new();
    for run in 0..arguments.runs {
        let mut order = [Receiver::Ring, Receiver::Recvmmsg];
        if run % 2 == 1 {
            order.reverse();
        }
        for receiver in order {
            let output = Command::new(std::env::current_exe()?)
                .args(arguments.for_one(receiver))
                .output()?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let measured: Measured = serde_json::from_slice(&output.stdout)?;
            if !arguments.json {
                println!("{measured}");
            }
            all.push(measured);
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string(&all)?);
        return Ok(());
    }
    let ring = spread(&all, Receiver::Ring).context("no run of the ring")?;
    let batch = spread(&all, Receiver::Recvmmsg).context("no run of recvmmsg")?;
    println!("us a packet, min/median/max of {} runs:", arguments.runs);
    println!("  ring      {:.2}/{:.2}/{:.2}", ring[0], ring[1], ring[2]);
    println!("  recvmmsg  {:.2}/{:.2}/{:.2}", batch[0], batch[1], batch[2]);
    println!("  ratio of the medians {:.2}", ring[1] / batch[1]);
    Ok(())
}

impl Arguments {
    /// The command line that measures `receiver` alone and answers in JSON.
    fn for_one(&self, receiver: Receiver) -> Vec<String> {
        let named = |value: &dyn fmt::Debug| format!("{value:?}").to_lowercase();
        let mut words = vec!["floor".into(), named(&self.work)];
        let mut option = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        option("receiver", named(&receiver));
        option("wait-us", self.wait_us.to_string());
        option("rounds", self.rounds.to_string());
        option("duration", self.duration.to_string());
        option("cpu", self.cpu.to_string());
        option("sender-cpu", self.sender_cpu.to_string());
        option("sockets", self.sockets().to_string());
        words.push("--json".into());
        let switches = [("--stamps", self.stamps), ("--warm-first", self.warm_first)];
        words.extend(switches.iter().filter(|(_, on)| *on).map(|(name, _)| (*name).into()));
        words
    }

    /// What is not as in the floor's definition.
    const fn refinement(&self) -> &'static str {
        match (self.stamps, self.warm_first) {
            (false, false) => "",
            (true, false) => " with stamps",
            (false, true) => " warm first",
            (true, true) => " warm first, with stamps",
        }
    }

    fn sockets(&self) -> u16 {
        let usual = match self.work {
            Work::R1 => 64,
            Work::R2 => 1000,
        };
        self.sockets.unwrap_or(usual)
    }
}

/// Least, median and most CPU time a packet of one receiver.
fn spread(all: &[Measured], receiver: Receiver) -> Option<[f64; 3]> {
    let mut costs: Vec<f64> = all
        .iter()
        .filter(|measured| measured.receiver == receiver)
        .map(|measured| measured.us_per_packet)
        .collect();
    costs.sort_by(f64::total_cmp);
    Some([*costs.first()?, *costs.get(costs.len() / 2)?, *costs.last()?])
}

/// R1.
fn saturated(arguments: &Arguments, receiver: Receiver) -> Result<Measured> {
    clock::own_core(arguments.cpu).context("cannot pin the receiver")?;
    let (mut source, targets) = Source::open(arguments, receiver)?;
    let (start, starts) = mpsc::channel::<()>();
    let (queued, queues) = mpsc::channel::<()>();
    let cpu = arguments.sender_cpu;
    let sending = thread::spawn(move || -> Result<()> {
        clock::own_core(cpu).context("cannot pin the sender")?;
        let mut sender = Sender::new(targets)?;
        for () in starts {
            (0..ROUND_PACKETS).try_for_each(|_| sender.send())?;
            queued.send(())?;
        }
        Ok(())
    });
    let mut sink = Sink::new(arguments.sockets())?;
    let mut cpu_time = Duration::ZERO;
    let mut counted = (0, 0);
    for round in 0..arguments.rounds.max(2) {
        start.send(())?;
        queues.recv()?;
        let expected = sink.packets + u64::from(ROUND_PACKETS);
        let (before, calls, deadline) = (thread_cpu(), source.calls(), clock::now() + PATIENCE);
        while sink.packets < expected && clock::now() < deadline {
            source.drain(&mut sink)?;
        }
        if round > 0 {
            cpu_time += thread_cpu().saturating_sub(before);
            counted.0 += u64::from(ROUND_PACKETS) - expected.saturating_sub(sink.packets);
            counted.1 += source.calls() - calls;
        }
    }
    drop(start);
    sending.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    let sent = u64::from(arguments.rounds.max(2)) * u64::from(ROUND_PACKETS);
    Ok(source.finish(Work::R1, &sink, sent, cpu_time, counted, None))
}

/// R2.
fn paced(arguments: &Arguments, receiver: Receiver) -> Result<Measured> {
    clock::own_core(arguments.cpu).context("cannot pin the receiver")?;
    let (mut source, targets) = Source::open(arguments, receiver)?;
    let cpu = arguments.sender_cpu;
    let bursts = arguments.duration * f64::from(RATE / BURST);
    let sending = thread::spawn(move || -> Result<u64> {
        clock::own_core(cpu).context("cannot pin the sender")?;
        let mut sender = Sender::new(targets)?;
        let start = clock::now();
        let mut sent = 0;
        while f64::from(sent) < bursts {
            let due = start + Duration::from_secs(1) * sent / (RATE / BURST);
            while clock::now() < due {
                std::hint::spin_loop();
            }
            (0..BURST).try_for_each(|_| sender.send())?;
            sent += 1;
        }
        thread::sleep(Duration::from_millis(100));
        (0..5).try_for_each(|_| sender.poison())?;
        Ok(u64::from(sent) * u64::from(BURST))
    });
    let mut sink = Sink::new(arguments.sockets())?;
    let (before, calls) = (thread_cpu(), source.calls());
    let minimum = Duration::from_micros(arguments.wait_us);
    while !sink.poisoned {
        sink.now_ns = clock::now().nanos();
        source.wait(minimum, &mut sink)?;
    }
    let cpu_time = thread_cpu().saturating_sub(before);
    let counted = (sink.packets, source.calls() - calls);
    let sent = sending.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    let delays = Some((sink.delays.value_at_quantile(0.5), sink.delays.value_at_quantile(0.99)));
    Ok(source.finish(Work::R2, &sink, sent, cpu_time, counted, delays))
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Sends numbered datagrams round robin.
struct Sender {
    socket: UdpSocket,
    targets: Vec<SocketAddr>,
    sequences: Vec<u32>,
    next: usize,
    payload: [u8; PAYLOAD_BYTES],
}

impl Sender {
    fn new(targets: Vec<SocketAddr>) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let sequences = vec![0; targets.len()];
        Ok(Self { socket, targets, sequences, next: 0, payload: [0; PAYLOAD_BYTES] })
    }

    fn send(&mut self) -> Result<()> {
        let stream = self.next;
        let sequence = self.sequences[stream];
        self.sequences[stream] += 1;
        self.next = (stream + 1) % self.targets.len();
        self.payload[..4].copy_from_slice(&u32::try_from(stream)?.to_be_bytes());
        self.payload[4..8].copy_from_slice(&sequence.to_be_bytes());
        self.payload[8..16].copy_from_slice(&clock::now().nanos().to_be_bytes());
        self.socket.send_to(&self.payload, self.targets[stream])?;
        Ok(())
    }

    fn poison(&mut self) -> Result<()> {
        self.payload[..4].copy_from_slice(&POISON.to_be_bytes());
        self.socket.send_to(&self.payload, self.targets[0])?;
        Ok(())
    }
}

/// Looks at the first line of each payload.
struct Sink {
    /// The sequence number expected next, of each stream.
    expected: Vec<u32>,
    packets: u64,
    reordered: u64,
    truncated: u64,
    poisoned: bool,
    /// Read once a batch.
    now_ns: u64,
    delays: Histogram<u64>,
}

impl Sink {
    fn new(streams: u16) -> Result<Self> {
        Ok(Self {
            expected: vec![0; streams.into()],
            packets: 0,
            reordered: 0,
            truncated: 0,
            poisoned: false,
            now_ns: 0,
            delays: Histogram::new_with_max(10_000_000, 2)?,
        })
    }

    fn take(&mut self, received: &Received) {
        let Some((stream, rest)) = received.datagram.payload().split_first_chunk::<4>() else {
            return;
        };
        let stream = u32::from_be_bytes(*stream);
        if stream == POISON {
            self.poisoned = true;
            return;
        }
        let expected = usize::try_from(stream).ok().and_then(|at| self.expected.get_mut(at));
        let (Some(expected), Some((sequence, rest))) = (expected, rest.split_first_chunk::<4>())
        else {
            return;
        };
        let sequence = u32::from_be_bytes(*sequence);
        self.reordered += u64::from(sequence < *expected);
        *expected = sequence + 1;
        self.packets += 1;
        self.truncated += u64::from(received.truncated);
        if let Some(sent) = rest.first_chunk::<8>() {
            let delay_ns = self.now_ns.saturating_sub(u64::from_be_bytes(*sent));
            self.delays.saturating_record(delay_ns / 1000);
        }
    }
}

/// A receiver with its sockets.
enum Source {
    Ring(Box<Ring>),
    Batch(Batch),
}

struct Batch {
    receiver: BatchReceiver,
    sockets: Vec<OwnedFd>,
    epoll: OwnedFd,
    ready: Vec<epoll::Event>,
    calls: u64,
}

impl Source {
    /// Opens the sockets, and says where they are.
    fn open(arguments: &Arguments, receiver: Receiver) -> Result<(Self, Vec<SocketAddr>)> {
        let count = arguments.sockets();
        let (sockets, targets) = (0..count)
            .map(|_| open_socket(arguments))
            .collect::<Result<(Vec<_>, Vec<_>)>>()
            .context("opening the sockets (is `ulimit -n` high enough?)")?;
        let slab = Slab::new(u32::from(BUFFERS) * 2)?;
        let source = match receiver {
            Receiver::Ring => {
                let config = RingConfig {
                    buffer_entries: BUFFERS,
                    completion_entries: 32_768,
                    send_slots: 1,
                    sockets_max: count,
                    warm_first: arguments.warm_first,
                };
                let mut ring = Ring::new(&config, slab)?;
                for socket in sockets {
                    ring.add_socket(socket)?;
                }
                // Arms the receives, so that the first measured call does not.
                ring.wait(Duration::ZERO, Duration::ZERO)?;
                Self::Ring(Box::new(ring))
            }
            Receiver::Recvmmsg => {
                let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
                for (index, socket) in (0..).zip(&sockets) {
                    let data = epoll::EventData::new_u64(index);
                    epoll::add(&epoll, socket, data, epoll::EventFlags::IN)?;
                }
                let receiver = BatchReceiver::new(BATCH, slab);
                let ready = Vec::with_capacity(sockets.len());
                Self::Batch(Batch { receiver, sockets, epoll, ready, calls: 0 })
            }
        };
        Ok((source, targets))
    }

    /// Takes what waits, without a wait.
    fn drain(&mut self, sink: &mut Sink) -> Result<()> {
        match self {
            Self::Ring(ring) => {
                ring.wait(Duration::ZERO, Duration::ZERO)?;
                ring.receive(&mut |received| sink.take(&received));
            }
            Self::Batch(batch) => {
                for index in 0..batch.sockets.len() {
                    batch.empty(index, sink)?;
                }
            }
        }
        Ok(())
    }

    /// Waits as a worker does, then takes what came.
    fn wait(&mut self, minimum: Duration, sink: &mut Sink) -> Result<()> {
        match self {
            Self::Ring(ring) => {
                ring.wait(minimum, Duration::from_secs(1))?;
                sink.now_ns = clock::now().nanos();
                ring.receive(&mut |received| sink.take(&received));
            }
            Self::Batch(batch) => batch.wait(minimum, sink)?,
        }
        Ok(())
    }

    fn calls(&self) -> u64 {
        match self {
            Self::Ring(ring) => ring.counters().enters,
            Self::Batch(batch) => batch.calls,
        }
    }

    /// `counted`: packets and calls that `cpu_time` was for.
    fn finish(
        self,
        work: Work,
        sink: &Sink,
        sent: u64,
        cpu_time: Duration,
        counted: (u64, u64),
        delays: Option<(u64, u64)>,
    ) -> Measured {
        let (receiver, rearms) = match &self {
            Self::Ring(ring) => {
                let counters = ring.counters();
                let rearms = counters.rearms_no_buffers + counters.rearms_other;
                (Receiver::Ring, rearms + counters.rearms_empty)
            }
            Self::Batch(_) => (Receiver::Recvmmsg, 0),
        };
        let packets = u32::try_from(counted.0.max(1)).map_or(f64::MAX, f64::from);
        let calls = u32::try_from(counted.1).map_or(f64::MAX, f64::from);
        Measured {
            work,
            receiver,
            us_per_packet: cpu_time.as_secs_f64() * 1e6 / packets,
            packets: counted.0,
            lost: sent.saturating_sub(sink.packets),
            reordered: sink.reordered,
            truncated: sink.truncated,
            rearms,
            calls_per_packet: calls / packets,
            p50_us: delays.map(|(p50, _)| p50),
            p99_us: delays.map(|(_, p99)| p99),
        }
    }
}

impl Batch {
    fn wait(&mut self, sleep: Duration, sink: &mut Sink) -> Result<()> {
        self.ready.clear();
        let timeout = rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 };
        let ready = rustix::buffer::spare_capacity(&mut self.ready);
        epoll::wait(&self.epoll, ready, Some(&timeout))?;
        self.calls += 1;
        if !sleep.is_zero() {
            thread::sleep(sleep);
            self.calls += 1;
        }
        sink.now_ns = clock::now().nanos();
        for at in 0..self.ready.len() {
            let index = self.ready[at].data.u64();
            self.empty(usize::try_from(index)?, sink)?;
        }
        Ok(())
    }

    /// Takes all that waits at one socket.
    fn empty(&mut self, index: usize, sink: &mut Sink) -> Result<()> {
        let socket = self.sockets[index].as_fd();
        let name = SocketIndex::new(u16::try_from(index)?);
        loop {
            self.calls += 1;
            match self.receiver.receive(socket, name, &mut |received| sink.take(&received)) {
                Ok(BATCH) => {}
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A socket on a port of its own, with or without stamps and drop counts.
fn open_socket(arguments: &Arguments) -> Result<(OwnedFd, SocketAddr)> {
    let buffer_bytes = match arguments.work {
        Work::R1 => 64_000_000,
        Work::R2 => 4_000_000,
    };
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    if arguments.stamps {
        let opened = socket::open(any_port, buffer_bytes)?;
        return Ok((opened.fd, opened.local));
    }
    let plain = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    plain.set_recv_buffer_size(buffer_bytes)?;
    plain.bind(&any_port.into())?;
    let local = plain.local_addr()?.as_socket().context("an IPv4 socket")?;
    Ok((plain.into(), local))
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {:<9} {:.2} us a packet; {} packets, {} lost, {} reordered, {} truncated, \
             {} re-arms, {:.4} calls a packet",
            self.work,
            format!("{:?}", self.receiver).to_lowercase(),
            self.us_per_packet,
            self.packets,
            self.lost,
            self.reordered,
            self.truncated,
            self.rearms,
            self.calls_per_packet,
        )?;
        if let (Some(p50), Some(p99)) = (self.p50_us, self.p99_us) {
            write!(f, ", delay p50 {p50} us, p99 {p99} us")?;
        }
        Ok(())
    }
}
