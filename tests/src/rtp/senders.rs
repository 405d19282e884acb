//! Senders of RTP as their users start them. All send a file in real time, without coding it anew.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::Process;
use crate::rtp::Intake;
use crate::system::Penstock;

/// Largest packet that they send.
const PACKET_BYTES: &str = "1200";

/// FFmpeg's `-f rtp` and `-f rtp_mpegts`.
#[derive(Debug, Clone, Copy)]
pub struct Ffmpeg<'a> {
    /// What is sent.
    pub file: &'a Path,
    /// Where to.
    pub to: SocketAddr,
    /// The port of RTCP, on the same host.
    pub rtcp_port: u16,
    /// Its SSRC.
    pub ssrc: u32,
    /// Further options of the output.
    pub options: &'a [&'a str],
}

impl Ffmpeg<'_> {
    /// Sends the elementary stream.
    pub fn rtp(&self, system: &Penstock) -> Result<Process> {
        self.start(system, &["-f", "rtp", "-ssrc", &self.ssrc.to_string()], PACKET_BYTES)
    }

    /// Sends a transport stream.
    pub fn mpegts(&self, system: &Penstock) -> Result<Process> {
        let options = format!("ssrc={}", self.ssrc);
        let format = ["-f", "rtp_mpegts", "-rtp_muxer_options", &options];
        // Seven packets of the transport stream and the header of RTP.
        self.start(system, &format, "1328")
    }

    fn start(&self, system: &Penstock, format: &[&str], packet_bytes: &str) -> Result<Process> {
        let Self { file, to, rtcp_port, options, .. } = self;
        let mut command = Command::new("ffmpeg");
        command.stdout(system.log()?).stderr(system.log()?);
        command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-re", "-i"]).arg(file);
        command.args(["-map", "0", "-c", "copy"]).args(*options).args(format);
        command.arg(format!("rtp://{to}?rtcpport={rtcp_port}&pkt_size={packet_bytes}"));
        Process::start("ffmpeg", &mut command)
    }
}

/// The description that FFmpeg writes of its RTP of a file, for a receiver at `port`.
pub fn description(intake: &Intake, file: &Path, port: u16) -> Result<String> {
    let text = intake.system.path("description.sdp");
    describe(file, port, &text)
}

/// The same with a scratch file.
pub fn describe(file: &Path, port: u16, scratch: &Path) -> Result<String> {
    let file = file.to_string_lossy();
    let scratch_text = scratch.to_string_lossy();
    // Nothing is sent: the description is written before the first packet.
    let url = format!("rtp://127.0.0.1:{port}");
    let arguments = ["-y", "-i", &file, "-map", "0", "-c", "copy", "-t", "0", "-f", "rtp"];
    crate::generate::clips::run(
        "ffmpeg",
        &[&arguments[..], &["-sdp_file", &scratch_text, &url]].concat(),
    )?;
    Ok(std::fs::read_to_string(scratch)?)
}

/// GStreamer: a file through `elements`, whose last is a payloader, at the pace of its stamps.
pub fn gstreamer(
    system: &Penstock,
    file: &Path,
    elements: &str,
    to: SocketAddr,
) -> Result<Process> {
    let mut command = Command::new("gst-launch-1.0");
    command.stdout(system.log()?).stderr(system.log()?);
    command.args(["-q", "filesrc"]).arg(format!("location={}", file.display())).arg("!");
    command.args(elements.split_ascii_whitespace());
    command.args(["!", "udpsink"]);
    command.args([format!("host={}", to.ip()), format!("port={}", to.port())]);
    Process::start("gst-launch-1.0", &mut command)
}
