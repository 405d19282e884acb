//! Peers of other makers as data: which program, on which side of the handshake, under which keys.
//! Each sends a transport stream; started as its users start it.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::clip::Clip;
use crate::process::{Process, eventually};
use crate::publisher::PAYLOAD_BYTES;
use crate::system::PATIENCE;

/// What sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// libsrt's own tool, as Debian has it.
    SrtLiveTransmit,
    /// FFmpeg on libsrt; it multiplexes anew.
    Ffmpeg,
    /// GStreamer's `srtsink`.
    Gstreamer,
    /// The srt-rs project: no line of libsrt in it.
    SrtTokio,
    /// A newer libsrt that speaks AES-GCM (`scripts/peers`).
    LibsrtGcm,
}

/// Which side of the handshake a peer is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It calls Penstock's listener and pushes.
    Caller,
    /// It listens and Penstock pulls.
    Listener,
}

/// What protects the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    /// Bytes of a key; 0 is clear text.
    pub bytes: usize,
    /// AES-GCM instead of AES-CTR.
    pub gcm: bool,
    /// Packets under one key; `None` for longer than any test.
    pub refresh: Option<u32>,
}

impl Keys {
    /// Clear text.
    pub const CLEAR: Self = Self { bytes: 0, gcm: false, refresh: None };

    /// AES-CTR with a key of so many bits.
    pub const fn ctr(bits: usize) -> Self {
        Self { bytes: bits / 8, gcm: false, refresh: None }
    }

    /// AES-GCM with a key of so many bits.
    pub const fn gcm(bits: usize) -> Self {
        Self { bytes: bits / 8, gcm: true, refresh: None }
    }
}

/// One connection that a peer is to make.
#[derive(Debug, Clone)]
pub struct Way<'a> {
    /// The peer's side.
    pub side: Side,
    /// Where to call, or where to listen.
    pub address: SocketAddr,
    /// Its StreamID where it calls.
    pub stream_id: &'a str,
    /// The passphrase, if any.
    pub passphrase: Option<&'a str>,
    /// The keys to make, where a passphrase is given.
    pub keys: Keys,
    /// Latency asked for, milliseconds.
    pub latency_ms: u32,
}

/// Packets before the switch at which a new key is announced: it has to arrive through a lossy
/// network in time.
pub fn announced(refresh: u32) -> u32 {
    (refresh - 1) / 2
}

impl Way<'_> {
    const fn mode(&self) -> &'static str {
        match self.side {
            Side::Caller => "caller",
            Side::Listener => "listener",
        }
    }

    /// libsrt's URL with its units; GStreamer takes the same.
    fn url(&self) -> String {
        let Self { address, latency_ms, keys, .. } = self;
        let mut url = format!("srt://{address}?mode={}&latency={latency_ms}", self.mode());
        if self.side == Side::Caller {
            url += &format!("&streamid={}", self.stream_id);
        }
        if let Some(passphrase) = self.passphrase {
            url += &format!("&passphrase={passphrase}&pbkeylen={}", keys.bytes);
        }
        if let Some(refresh) = keys.refresh {
            url += &format!("&kmrefreshrate={refresh}&kmpreannounce={}", announced(refresh));
        }
        url
    }

    /// FFmpeg's URL: latency in microseconds, and time enough to send what is left at the end.
    fn ffmpeg_url(&self) -> String {
        let latency = format!("latency={}", self.latency_ms);
        let url = self.url().replace(&latency, &format!("latency={}", self.latency_ms * 1_000));
        url + "&linger=20&connect_timeout=20000&listen_timeout=20000000&pkt_size=1316"
    }

    /// Of the peers that `scripts/peers` and this crate build.
    fn words(&self) -> Vec<String> {
        let Self { address, latency_ms, keys, .. } = self;
        let mut words = vec![
            self.mode().to_owned(),
            address.ip().to_string(),
            address.port().to_string(),
            format!("latency={latency_ms}"),
            format!("connect_timeout={}", 20_000),
        ];
        if self.side == Side::Caller {
            words.push(format!("streamid={}", self.stream_id));
        }
        if let Some(passphrase) = self.passphrase {
            words.push(format!("passphrase={passphrase}"));
            words.push(format!("pbkeylen={}", keys.bytes));
        }
        if keys.gcm {
            words.push("gcm=1".into());
        }
        if let Some(refresh) = keys.refresh {
            words.push(format!("km_refresh={refresh}"));
            words.push(format!("km_preannounce={}", announced(refresh)));
        }
        words
    }
}

impl Peer {
    /// As the table has it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::SrtLiveTransmit => "srt-live-transmit",
            Self::Ffmpeg => "FFmpeg",
            Self::Gstreamer => "GStreamer",
            Self::SrtTokio => "srt-tokio",
            Self::LibsrtGcm => "libsrt, newer",
        }
    }

    /// Whether each transport-stream packet passes through it unchanged.
    pub fn passes_unchanged(self) -> bool {
        self != Self::Ffmpeg
    }

    /// Bytes that it may hold back until more come.
    const fn held_back_bytes(self) -> usize {
        match self {
            Self::SrtLiveTransmit => 16 << 10,
            Self::Gstreamer => 8 << 10,
            Self::Ffmpeg | Self::SrtTokio | Self::LibsrtGcm => 0,
        }
    }

    /// Starts it; what it says goes to the file `log`. `clip` is for what reads files by itself.
    pub fn start(self, way: &Way<'_>, clip: &Clip, log: &Path) -> Result<Sending> {
        let mut command = self.command(way, clip)?;
        command.stdout(File::create(log)?).stderr(File::options().append(true).open(log)?);
        let mut process = Process::start_fed(self.label(), &mut command)?;
        let input = process.child().stdin.take();
        Ok(Sending { peer: self, process, input, log: log.to_owned() })
    }

    fn command(self, way: &Way<'_>, clip: &Clip) -> Result<Command> {
        Ok(match self {
            Self::SrtLiveTransmit => {
                let mut command = Command::new("srt-live-transmit");
                command.args(["-chunk:1316", "-autoreconnect:no", "file://con"]).arg(way.url());
                command
            }
            Self::Ffmpeg => {
                let mut command = Command::new("ffmpeg");
                command.args(["-hide_banner", "-loglevel", "info", "-nostats", "-nostdin"]);
                command.args(["-readrate", &SPEED.to_string(), "-i"]).arg(&clip.path);
                command.args(["-map", "0", "-c", "copy", "-f", "mpegts"]).arg(way.ffmpeg_url());
                command
            }
            Self::Gstreamer => {
                let mut command = Command::new("gst-launch-1.0");
                command.args(["-q", "fdsrc", "fd=0", "do-timestamp=true", "!"]);
                command.args(["tsparse", "alignment=7", "!", "srtsink", "sync=false"]);
                command.args(["wait-for-connection=true", &format!("uri={}", way.url())]);
                command
            }
            Self::SrtTokio => {
                let mut command = Command::new(crate::system::binary("srt-tokio-peer")?);
                command.args(way.words());
                command
            }
            Self::LibsrtGcm => {
                let program = newer_libsrt().context("PENSTOCK_LIBSRT_PEER is not set")?;
                let mut command = Command::new(program);
                command.arg("send").args(way.words());
                command
            }
        })
    }
}

/// The program that `scripts/peers` makes, where it was made.
pub fn newer_libsrt() -> Option<PathBuf> {
    std::env::var_os("PENSTOCK_LIBSRT_PEER").map(Into::into)
}

/// How much faster than real time clips are sent.
const SPEED: u32 = 2;

/// A peer that is sending.
#[derive(Debug)]
pub struct Sending {
    peer: Peer,
    /// The process.
    pub process: Process,
    input: Option<ChildStdin>,
    log: PathBuf,
}

impl Sending {
    /// What it said.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// `srt-live-transmit` throws away what it reads before it knows that it is connected.
    fn wait_connected(&self) -> Result<()> {
        if self.peer != Peer::SrtLiveTransmit {
            return Ok(());
        }
        eventually("the peer is connected", PATIENCE, || {
            let said = self.said();
            let words = ["SRT target connected", "Accepted SRT target connection"];
            Ok(words.iter().any(|it| said.contains(it)).then_some(()))
        })
    }

    /// Feeds it the clip, faster than real time, and what pushes the last of it out. What reads the
    /// file by itself is left alone.
    pub fn feed(&mut self, clip: &Clip) -> Result<()> {
        if self.peer == Peer::Ffmpeg {
            return Ok(());
        }
        self.wait_connected()?;
        let input = self.input.as_mut().context("it is fed once")?;
        let rate = clip.bits_per_second() * u64::from(SPEED);
        let start = Instant::now();
        for (index, payload) in (0_u64..).zip(clip.bytes.chunks(PAYLOAD_BYTES)) {
            let bits = index * PAYLOAD_BYTES as u64 * 8;
            let due = Duration::from_nanos(bits * 1_000_000_000 / rate);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            input.write_all(payload)?;
        }
        // The last payload is filled up, and what is held back is pushed out.
        let end = clip.bytes.len() + self.peer.held_back_bytes();
        let padding = end.next_multiple_of(PAYLOAD_BYTES) - clip.bytes.len();
        input.write_all(&null_packets(padding))?;
        input.flush()?;
        Ok(())
    }

    /// Lets it say goodbye. `srt-live-transmit` takes no end of its input for one.
    pub fn end(&mut self) -> Result<()> {
        self.input = None;
        if self.peer == Peer::SrtLiveTransmit {
            self.process.signal(Signal::INT)?;
        }
        Ok(())
    }
}

/// Transport-stream packets that mean nothing.
fn null_packets(bytes: usize) -> Vec<u8> {
    let mut packet = [0xff; 188];
    packet[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
    packet.repeat(bytes / packet.len())
}
