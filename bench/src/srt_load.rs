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
use crate::measure::{Options, Start, megabits, step};
use crate::process::udp_drops;
use crate::report::Report;
use crate::target::Target;

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
    /// Encrypt with this passphrase
    #[arg(long, value_name = "TEXT")]
    passphrase: Option<String>,
    /// Length of the keys
    #[arg(long, value_name = "BITS", default_value_t = 128, requires = "passphrase")]
    key_bits: u16,
    /// AES-GCM instead of AES-CTR
    #[arg(long, requires = "passphrase")]
    gcm: bool,
    #[command(flatten)]
    options: Options,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    arguments.check()?;
    let options = &arguments.options;
    options.pin()?;
    let bytes = std::fs::read(&arguments.clip)
        .with_context(|| format!("cannot read {}", arguments.clip.display()))?;
    let clip = Clip::prepare(&bytes)?;
    drop(bytes);
    let target = options.target()?;
    options.print(&measure(arguments, &clip, target)?)
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
        self.options.check()
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

fn measure(arguments: &Arguments, clip: &Clip, target: Option<Target>) -> Result<Report> {
    let options = &arguments.options;
    let mut observer = options.observer()?;
    let mut load = Load::connect(arguments.load_options(), arguments.secret()?)?;
    if let Some(observer) = observer.as_mut().filter(|_| options.verify) {
        observer.check_frames(arguments.connections)?;
    }
    let drops_before = udp_drops(arguments.ports());
    load.send_for(clip, options.warm_up(), || {
        step(&mut observer);
    })?;
    if let Some(observer) = &mut observer {
        observer.start_window();
    }
    let start = Start::now(load.totals().bytes, target.as_ref())?;
    load.send_for(clip, options.duration(), || {
        step(&mut observer);
    })?;
    let usage = start.usage(target.as_ref())?;
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
    let sent = load.connections().iter().map(|connection| connection.frames_started(clip));
    let frames = observer.as_mut().and_then(|observer| observer.verdict(sent));
    let seen = observer.as_ref().map(Observer::packets_delivered);
    load.close();
    std::thread::sleep(Duration::from_millis(100));
    let said = target.map(Target::stop).transpose()?.flatten();
    let delivered = seen.or_else(|| said.map(|said| said.packets));
    Ok(Report {
        label: options.label.clone(),
        receiver: options.receiver.clone(),
        round: options.round,
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

const _: () = assert!(PAYLOAD == 1_316);
