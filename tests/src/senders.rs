//! Real senders: FFmpeg, libsrt's own tool and GStreamer, each as its users start it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::clip::Clip;
use crate::process::Process;
use crate::publisher::PAYLOAD_BYTES;
use crate::system::{PATIENCE, Penstock};

/// FFmpeg sends a file in real time without coding it anew. `input` goes before `-i`.
pub fn ffmpeg(system: &Penstock, input: &[&str], clip: &Path, url: &str) -> Result<Process> {
    let mut command = Command::new("ffmpeg");
    command.stderr(system.log()?);
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-re"]).args(input);
    command.arg("-i").arg(clip).args(["-map", "0", "-c", "copy", "-f", "mpegts"]).arg(url);
    Process::start("ffmpeg", &mut command)
}

/// GStreamer sends a file at the pace of its clock references.
pub fn gstreamer(system: &Penstock, clip: &Path, properties: &[&str]) -> Result<Process> {
    let mut command = Command::new("gst-launch-1.0");
    command.stdout(system.log()?).stderr(system.log()?);
    command.args(["-q", "filesrc"]).arg(format!("location={}", clip.display()));
    command.args(["!", "tsparse", "set-timestamps=true", "alignment=7", "!", "srtsink"]);
    command.args(properties);
    Process::start("gst-launch-1.0", &mut command)
}

/// `srt-live-transmit`, fed through its standard input.
///
/// It throws away what it reads before it is connected, and what it has not sent when its input
/// ends: what it is to send waits for [`Self::feed`], and its input stays open until it is dropped.
#[derive(Debug)]
pub struct SrtLiveTransmit {
    /// The process.
    pub process: Process,
    input: ChildStdin,
}

impl SrtLiveTransmit {
    /// Starts it towards `url`, with what it says in the file `log`. There is no second try when
    /// the listener refuses.
    pub fn start(url: &str, log: &Path) -> Result<Self> {
        Self::with(&["-autoreconnect:no"], url, log)
    }

    /// The same, and it begins anew whenever a connection has come to nothing.
    pub fn start_again_and_again(url: &str, log: &Path) -> Result<Self> {
        Self::with(&[], url, log)
    }

    /// The same as [`Self::start`] with further options.
    pub fn start_with(url: &str, log: &Path, options: &[&str]) -> Result<Self> {
        Self::with(&[&["-autoreconnect:no"], options].concat(), url, log)
    }

    fn with(options: &[&str], url: &str, log: &Path) -> Result<Self> {
        let mut command = Command::new("srt-live-transmit");
        // Payload of 1,316 bytes a packet.
        command.arg("-chunk:1316").args(options).args(["file://con", url]);
        command.stdout(File::create(log)?).stderr(File::options().append(true).open(log)?);
        let mut process = Process::start_fed("srt-live-transmit", &mut command)?;
        let input = process.child().stdin.take().context("it is fed")?;
        Ok(Self { process, input })
    }

    /// Ends it in order, once everything has been sent: the other side hears a goodbye.
    pub fn end(self) -> Result<()> {
        let Self { mut process, input } = self;
        // It hears the signal when its read returns.
        process.signal(Signal::TERM)?;
        drop(input);
        process.wait(PATIENCE)?;
        Ok(())
    }

    /// Its standard input, to be fed by other means.
    pub const fn input(&mut self) -> &mut ChildStdin {
        &mut self.input
    }

    /// Feeds it the clip in real time, and padding that pushes the clip's last packets out of its
    /// input buffer.
    pub fn feed(&mut self, clip: &Clip) -> Result<()> {
        let rate = clip.bits_per_second();
        let start = Instant::now();
        for (index, payload) in (0_u64..).zip(clip.bytes.chunks(PAYLOAD_BYTES)) {
            let bits = index * PAYLOAD_BYTES as u64 * 8;
            let due = Duration::from_nanos(bits * 1_000_000_000 / rate);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            self.input.write_all(payload)?;
        }
        self.input.write_all(&null_packets(INPUT_BUFFER_BYTES))?;
        Ok(())
    }
}

/// Bytes that `srt-live-transmit` may hold back, and a packet more.
const INPUT_BUFFER_BYTES: usize = 16 << 10;

/// Transport-stream packets that mean nothing.
fn null_packets(bytes: usize) -> Vec<u8> {
    let mut packet = [0xff; 188];
    packet[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
    packet.repeat(bytes / packet.len())
}
