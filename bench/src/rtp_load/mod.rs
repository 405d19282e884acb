//! `penstock-bench rtp`: one measured run of a load of RTP.

mod h264;
mod jpegxs;
mod load;
mod media;
mod saturate;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use self::load::{Load, LoadOptions};
use self::media::Media;
use crate::clock;
use crate::connection::GSO_PACKETS_MAX;
use crate::dataplane::Observer;
use crate::measure::{Options, Start, megabits, step};
use crate::process::udp_drops;
use crate::report::Report;
use crate::target::{Target, Usage};

/// Until what was sent is delivered: longer than any reorder window here.
const SETTLE: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where the receiver listens
    #[arg(long, value_name = "ADDRESS:PORT")]
    to: SocketAddr,
    /// What to send
    #[arg(long, value_enum)]
    media: Kind,
    /// Sources, each with an SSRC of its own
    #[arg(long, default_value_t = 1)]
    sessions: u32,
    /// Source k goes to port + k × N; 0 for one port for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    port_step: u16,
    /// Sockets to send from
    #[arg(long, default_value_t = 1)]
    sockets: u32,
    /// Payload rate of all sessions together; this or --packets-per-s
    #[arg(long, value_name = "MBIT/S", required_unless_present = "packets_per_s")]
    rate_mbit: Option<f64>,
    /// Packets of all sessions together
    #[arg(long, value_name = "PACKETS/S", conflicts_with = "rate_mbit")]
    packets_per_s: Option<f64>,
    /// Pictures a second of JPEG XS; with the rate it says how large they are
    #[arg(long, value_name = "PICTURES/S", default_value_t = 60)]
    frame_rate: u32,
    /// Transport stream with H.264, one access unit per PES packet, to be looped (not for JPEG XS)
    #[arg(long, value_name = "FILE")]
    clip: Option<PathBuf>,
    /// Packets a session sends at a time
    #[arg(long, default_value_t = 1)]
    burst: u32,
    /// Sessions that send back to back
    #[arg(long, default_value_t = 1)]
    batch: u32,
    /// Let the kernel cut bursts into packets
    #[arg(long)]
    gso: bool,
    /// Rounds of filling the receiver's queues while it is stopped; what it uses to empty them is
    /// measured, without the first round
    #[arg(long, value_name = "ROUNDS")]
    saturate: Option<u32>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// H.264, packetization mode 1
    H264,
    /// MPEG transport stream, seven packets each
    Ts,
    /// JPEG XS in codestream mode
    Jpegxs,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    arguments.check()?;
    arguments.options.pin()?;
    let media = arguments.media()?;
    let target = arguments.options.target()?;
    let report = match arguments.saturate {
        Some(rounds) => saturate::measure(arguments, &media, target, rounds)?,
        None => measure(arguments, &media, target)?,
    };
    arguments.options.print(&report)
}

impl Arguments {
    fn check(&self) -> Result<()> {
        ensure!(self.sessions > 0, "--sessions must be at least 1");
        ensure!(self.sockets > 0, "--sockets must be at least 1");
        let last = u32::from(self.port_step) * (self.sessions - 1) + u32::from(self.to.port());
        ensure!(last <= 65_535, "--port-step: the last session's port would be {last}");
        let rate = self.rate_mbit.or(self.packets_per_s).unwrap_or(0.0);
        ensure!(rate > 0.0, "--rate-mbit and --packets-per-s must be positive");
        ensure!(
            (1..=GSO_PACKETS_MAX).contains(&self.burst),
            "--burst must be 1 to {GSO_PACKETS_MAX}"
        );
        ensure!((1..=1_024).contains(&self.batch), "--batch must be 1 to 1024");
        ensure!(
            self.media != Kind::Jpegxs || self.rate_mbit.is_some(),
            "--media jpegxs needs --rate-mbit: it says how large pictures are"
        );
        self.options.check()
    }

    fn media(&self) -> Result<Media> {
        if self.media == Kind::Jpegxs {
            let frames_per_s = f64::from(self.sessions) * f64::from(self.frame_rate.max(1));
            let bytes = self.rate_mbit.unwrap_or(0.0) * 1e6 / 8.0 / frames_per_s;
            return Media::jpegxs(whole(bytes), self.frame_rate);
        }
        let path = self.clip.as_ref().context("--clip is missing")?;
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        if self.media == Kind::Ts { Media::transport(&bytes) } else { Media::h264(&bytes) }
    }

    fn load_options(&self, media: &Media) -> LoadOptions {
        let by_rate = self.rate_mbit.map(|rate| rate * 1e6 / 8.0 / media.mean_bytes());
        LoadOptions {
            to: self.to,
            port_step: self.port_step,
            sources: self.sessions,
            sockets: self.sockets,
            batch: self.batch.min(self.sessions),
            burst: self.burst,
            gso: self.gso,
            packets_per_s: self.packets_per_s.or(by_rate).unwrap_or(1.0),
        }
    }

    fn offered_mbit(&self, media: &Media) -> f64 {
        let bits = self.packets_per_s.map(|rate| rate * media.mean_bytes() * 8.0 / 1e6);
        self.rate_mbit.or(bits).unwrap_or(0.0)
    }

    fn ports(&self) -> std::ops::Range<u16> {
        let first = self.to.port();
        let span = u32::from(self.port_step) * (self.sessions - 1) + 1;
        first..first.saturating_add(u16::try_from(span).unwrap_or(u16::MAX))
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes of a picture")]
const fn whole(bytes: f64) -> usize {
    bytes as usize
}

/// What is known when all has been sent and has arrived.
struct Ended<'a> {
    arguments: &'a Arguments,
    media: &'a Media,
    load: &'a Load,
    window: Duration,
    /// Payload bytes sent in the window.
    bytes: u64,
    usage: Option<Usage>,
    foreign_cpu_percent: f64,
    /// Datagrams of the window.
    datagrams: Option<u64>,
}

impl Ended<'_> {
    fn report(self, observer: &mut Option<Observer>, drops_before: u64) -> Report {
        let options = &self.arguments.options;
        let latency = observer.as_ref().map(Observer::latency);
        let begun = self.load.frames_begun(self.media);
        let frames = observer.as_mut().and_then(|observer| observer.verdict(begun));
        let observer = observer.as_ref();
        let delivered = observer.map(Observer::packets_delivered);
        let totals = self.load.totals();
        let window_s = self.window.as_secs_f64();
        Report {
            label: options.label.clone(),
            receiver: options.receiver.clone(),
            round: options.round,
            connections: self.arguments.sessions,
            offered_mbit: self.arguments.offered_mbit(self.media),
            sent_mbit: if window_s > 0.0 { megabits(self.bytes) / window_s } else { 0.0 },
            window_s,
            foreign_cpu_percent: self.foreign_cpu_percent,
            lag_max_ms: self.load.lag_max().as_secs_f64() * 1e3,
            packets_sent: totals.packets,
            packets_delivered: delivered,
            packets_lost: delivered.map(|count| totals.packets.saturating_sub(count)),
            send_errors: totals.refused,
            socket_drops: udp_drops(self.arguments.ports()).saturating_sub(drops_before),
            datagrams: self.datagrams,
            placement: observer.map(Observer::placement).unwrap_or_default(),
            usage: self.usage,
            memory_budget_bytes: observer.map(Observer::memory_budget_bytes),
            latency,
            frames,
            ..Report::default()
        }
    }
}

fn measure(arguments: &Arguments, media: &Media, target: Option<Target>) -> Result<Report> {
    let options = &arguments.options;
    let mut observer = options.observer()?;
    let drops_before = udp_drops(arguments.ports());
    let mut load = Load::open(arguments.load_options(media))?;
    warm_up(arguments, media, &mut load, &mut observer)?;
    if let Some(observer) = &mut observer {
        observer.start_window();
    }
    let start = Start::now(load.totals().bytes, target.as_ref())?;
    load.send_for(media, options.duration(), || step(&mut observer))?;
    let usage = start.usage(target.as_ref())?;
    let ended = Ended {
        arguments,
        media,
        load: &load,
        window: clock::now().since(start.time),
        bytes: load.totals().bytes - start.bytes,
        foreign_cpu_percent: start.foreign_cpu_percent(usage.as_ref())?,
        usage,
        datagrams: observer.as_ref().map(Observer::datagrams),
    };
    settle(&mut observer);
    let mut report = ended.report(&mut observer, drops_before);
    finish(target, &mut report)?;
    Ok(report)
}

/// Sends for a while; the readers that check frames attach meanwhile.
fn warm_up(
    arguments: &Arguments,
    media: &Media,
    load: &mut Load,
    observer: &mut Option<Observer>,
) -> Result<()> {
    let options = &arguments.options;
    if !options.verify {
        return load.send_for(media, options.warm_up(), || {});
    }
    // A stream is there once its sender has proved itself: until then there is nothing to attach to.
    let half = options.warm_up() / 2;
    load.send_for(media, half, || {})?;
    if let Some(observer) = observer {
        observer.check_frames(arguments.sessions)?;
    }
    load.send_for(media, half, || step(observer))
}

/// Lets the receiver deliver what is on its way.
fn settle(observer: &mut Option<Observer>) {
    let end = clock::now() + SETTLE;
    while clock::now() < end {
        step(observer);
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Stops a receiver started here; one that is not Penstock says now what it got.
fn finish(target: Option<Target>, report: &mut Report) -> Result<()> {
    let said = target.map(Target::stop).transpose()?.flatten();
    if let (None, Some(said)) = (report.packets_delivered, said) {
        report.packets_delivered = Some(said.packets);
        report.packets_lost = Some(report.packets_sent.saturating_sub(said.packets));
    }
    Ok(())
}
