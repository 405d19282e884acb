//! `penstock-bench srt`: one measured run of the load.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::clip::Clip;
use crate::clock;
use srt::crypto::{KeySize, Mode, Passphrase, Suite};

use crate::connection::{ConnectionOptions, GSO_PACKETS_MAX, PAYLOAD, Secret};
use crate::dataplane::Observer;
use crate::load::{Load, LoadOptions};
use crate::process::{CpuTimes, busy_time, udp_drops};
use crate::report::Report;
use crate::target::{Target, Usage};

/// Least packets of a send buffer.
const BUFFER_PACKETS_MIN: u32 = 1_024;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the receiver listens
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: SocketAddr,
    /// Publishers
    #[arg(long, default_value_t = 25)]
    connections: u32,
    /// Payload rate of all connections together
    #[arg(long, value_name = "MBIT/S")]
    rate_mbit: f64,
    /// Seconds to measure, after the warm-up
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    duration: f64,
    /// Seconds of load before measuring starts
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    warm_up: f64,
    /// Transport stream with H.264, one access unit per PES packet, to be looped
    #[arg(long, value_name = "FILE")]
    clip: PathBuf,
    /// Packets a connection sends at a time
    #[arg(long, default_value_t = 1)]
    burst: u32,
    /// Let the kernel cut bursts into packets (one send call a burst)
    #[arg(long)]
    gso: bool,
    /// Connection k goes to port + k
    #[arg(long)]
    consecutive_ports: bool,
    /// Latency asked for in the handshake
    #[arg(long, value_name = "MS", default_value_t = 120)]
    latency_ms: u16,
    /// Percentage of packets left out at their first transmission
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    omit: f64,
    /// CPU to run on
    #[arg(long)]
    cpu: Option<usize>,
    /// Process id of a receiver that runs already
    #[arg(long)]
    pid: Option<i32>,
    /// Unix socket of a Penstock dataplane: reads delivered packets and latency from its shared
    /// memory
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Reads every frame back from the GOP rings and checks it (needs --socket)
    #[arg(long, requires = "socket")]
    verify: bool,
    /// Encrypt with this passphrase
    #[arg(long, value_name = "TEXT")]
    passphrase: Option<String>,
    /// Length of the keys
    #[arg(long, value_name = "BITS", default_value_t = 128, requires = "passphrase")]
    key_bits: u16,
    /// AES-GCM instead of AES-CTR
    #[arg(long, requires = "passphrase")]
    gcm: bool,
    /// What to call the row in tables
    #[arg(long, default_value = "")]
    label: String,
    /// What to call the receiver in tables
    #[arg(long, default_value = "")]
    receiver: String,
    /// Waits for at most so long until the machine is quiet
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    quiet_wait: f64,
    /// Fails when everything else on the machine used more than this, in percent of one CPU
    #[arg(long, value_name = "PERCENT")]
    foreign_max: Option<f64>,
    /// Number of the round of alternating runs
    #[arg(long, default_value_t = 0)]
    round: u32,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Receiver to start, measure and stop: it prints {"packets":N,"bytes":N} at its end
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    arguments.check()?;
    if let Some(cpu) = arguments.cpu {
        clock::own_core(cpu).context("cannot pin to this CPU")?;
    }
    let bytes = std::fs::read(&arguments.clip)
        .with_context(|| format!("cannot read {}", arguments.clip.display()))?;
    let clip = Clip::prepare(&bytes)?;
    drop(bytes);
    wait_for_quiet(Duration::from_secs_f64(arguments.quiet_wait))?;
    let target = arguments.target()?;
    let report = measure(arguments, &clip, target)?;
    if let Some(most) = arguments.foreign_max {
        ensure!(
            report.foreign_cpu_percent <= most,
            "the machine was busy with something else: {:.0} % of one CPU",
            report.foreign_cpu_percent
        );
    }
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

impl Arguments {
    fn check(&self) -> Result<()> {
        ensure!(self.connections > 0, "--connections must be at least 1");
        ensure!(self.rate_mbit > 0.0, "--rate-mbit must be positive");
        ensure!(
            (1..=GSO_PACKETS_MAX).contains(&self.burst),
            "--burst must be 1 to {GSO_PACKETS_MAX}"
        );
        ensure!((0.0..=50.0).contains(&self.omit), "--omit must be 0 to 50");
        ensure!(self.pid.is_none() || self.command.is_empty(), "give --pid or a command, not both");
        Ok(())
    }

    fn secret(&self) -> Result<Option<Secret>> {
        let Some(text) = &self.passphrase else { return Ok(None) };
        let passphrase =
            Passphrase::new(text.as_bytes()).context("--passphrase: 10 to 79 bytes")?;
        let size = match self.key_bits {
            128 => KeySize::Aes128,
            192 => KeySize::Aes192,
            256 => KeySize::Aes256,
            bits => bail!("--key-bits {bits}: allowed are 128, 192 and 256"),
        };
        let mode = if self.gcm { Mode::Gcm } else { Mode::Ctr };
        Ok(Some(Secret { passphrase, suite: Suite { mode, size } }))
    }

    fn observer(&self) -> Result<Option<Observer>> {
        self.socket.as_deref().map(Observer::connect).transpose()
    }

    fn target(&self) -> Result<Option<Target>> {
        if let Some(pid) = self.pid {
            return Ok(Some(Target::running(pid)));
        }
        if self.command.is_empty() {
            return Ok(None);
        }
        Target::start(&self.command).map(Some)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "both are checked to be small and positive"
    )]
    fn load_options(&self) -> LoadOptions {
        let rate_bps = self.rate_mbit * 1e6;
        let packets_per_s = rate_bps / f64::from(self.connections) / 8.0 / 1_316.0;
        LoadOptions {
            to: self.to,
            consecutive_ports: self.consecutive_ports,
            connections: self.connections,
            rate_bps,
            burst: self.burst,
            connection: ConnectionOptions {
                latency_ms: self.latency_ms,
                gso: self.gso,
                // A fifth of a second: on a path without delay more is outstanding only when the
                // receiver has stopped.
                buffer_packets: ((packets_per_s / 5.0) as u32).max(BUFFER_PACKETS_MIN),
                omit_ppm: (self.omit * 1e4) as u32,
                connect_timeout: Duration::from_secs(10),
            },
        }
    }

    fn ports(&self) -> std::ops::Range<u16> {
        let first = self.to.port();
        let count = if self.consecutive_ports { self.connections } else { 1 };
        first..first.saturating_add(u16::try_from(count).unwrap_or(u16::MAX))
    }
}

/// What is noted when the measured window begins.
struct Start {
    time: memory::Time,
    bytes: u64,
    cpu: Option<CpuTimes>,
    own_cpu: CpuTimes,
    busy: Duration,
}

impl Start {
    fn now(load: &Load, target: Option<&Target>) -> Result<Self> {
        Ok(Self {
            time: clock::now(),
            bytes: load.totals().bytes,
            cpu: target.map(Target::cpu_times).transpose()?,
            own_cpu: CpuTimes::read(own_pid()?)?,
            busy: busy_time()?,
        })
    }

    /// What others used since, in percent of one CPU. The kernel counts in ticks: a few percent
    /// mean nothing.
    fn foreign_cpu_percent(&self, usage: Option<&Usage>) -> Result<f64> {
        let busy = busy_time()?.saturating_sub(self.busy).as_secs_f64();
        let own = CpuTimes::read(own_pid()?)?.since(&self.own_cpu).as_secs_f64();
        let receiver = usage.map_or(0.0, |usage| usage.cpu_s);
        let window = clock::now().since(self.time).as_secs_f64();
        Ok(((busy - own - receiver) / window * 100.0).max(0.0))
    }
}

fn own_pid() -> Result<i32> {
    Ok(i32::try_from(std::process::id())?)
}

/// Returns when less than a tenth of one CPU was used for a while, or after `most`.
fn wait_for_quiet(most: Duration) -> Result<()> {
    const SAMPLE: Duration = Duration::from_millis(500);
    let begun = clock::now();
    while clock::now().since(begun) < most {
        let busy = busy_time()?;
        std::thread::sleep(SAMPLE);
        if busy_time()?.saturating_sub(busy) < SAMPLE / 10 {
            break;
        }
    }
    Ok(())
}

fn measure(arguments: &Arguments, clip: &Clip, target: Option<Target>) -> Result<Report> {
    let mut observer = arguments.observer()?;
    let mut load = Load::connect(arguments.load_options(), arguments.secret()?)?;
    if let Some(observer) = observer.as_mut().filter(|_| arguments.verify) {
        observer.check_frames(arguments.connections)?;
    }
    let drops_before = udp_drops(arguments.ports());
    load.send_for(clip, Duration::from_secs_f64(arguments.warm_up), || {
        step(&mut observer);
    })?;
    if let Some(observer) = &mut observer {
        observer.start_window();
    }
    let start = Start::now(&load, target.as_ref())?;
    load.send_for(clip, Duration::from_secs_f64(arguments.duration), || {
        step(&mut observer);
    })?;
    let usage = usage(target.as_ref(), &start)?;
    let foreign_cpu_percent = start.foreign_cpu_percent(usage.as_ref())?;
    let latency = observer.as_ref().map(Observer::latency);
    let datagrams = observer.as_ref().map(Observer::datagrams);
    let placement = observer.as_ref().map(Observer::placement).unwrap_or_default();
    let window = clock::now().since(start.time);
    let bytes = load.totals().bytes - start.bytes;
    load.drain()?;
    // Until the last packet is due at the receiver.
    let due = Duration::from_millis(u64::from(arguments.latency_ms) + 200);
    load.linger(due, |_| {
        step(&mut observer);
        false
    })?;
    let totals = load.totals();
    let socket_drops = udp_drops(arguments.ports()).saturating_sub(drops_before);
    let frames = observer.as_mut().and_then(|observer| observer.verdict(clip, load.connections()));
    let seen = observer.as_ref().map(Observer::packets_delivered);
    load.close();
    std::thread::sleep(Duration::from_millis(100));
    let said = target.map(Target::stop).transpose()?.flatten();
    let delivered = seen.or_else(|| said.map(|said| said.packets));
    Ok(Report {
        label: arguments.label.clone(),
        receiver: arguments.receiver.clone(),
        round: arguments.round,
        connections: arguments.connections,
        offered_mbit: arguments.rate_mbit,
        sent_mbit: megabits(bytes) / window.as_secs_f64(),
        window_s: window.as_secs_f64(),
        foreign_cpu_percent,
        lag_max_ms: load.lag_max().as_secs_f64() * 1e3,
        packets_sent: totals.packets,
        packets_delivered: delivered,
        packets_lost: delivered.map(|count| totals.packets.saturating_sub(count)),
        packets_retransmitted: totals.retransmitted,
        packets_dropped: totals.dropped,
        packets_withheld: totals.withheld,
        send_errors: totals.send_errors,
        acks: totals.acks + totals.light_acks,
        naks: totals.naks,
        socket_drops,
        connections_lost: arguments.connections - totals.open,
        datagrams,
        placement,
        usage,
        memory_budget_bytes: observer.as_ref().map(Observer::memory_budget_bytes),
        latency,
        frames,
    })
}

fn step(observer: &mut Option<Observer>) {
    if let Some(observer) = observer {
        observer.step();
    }
}

fn usage(target: Option<&Target>, start: &Start) -> Result<Option<Usage>> {
    let (Some(target), Some(cpu)) = (target, &start.cpu) else {
        return Ok(None);
    };
    target.usage_since(cpu).map(Some)
}

#[expect(clippy::cast_precision_loss, reason = "a run sends far less than 2^53 bytes")]
fn megabits(bytes: u64) -> f64 {
    bytes as f64 * 8.0 / 1e6
}

const _: () = assert!(PAYLOAD == 1_316);
