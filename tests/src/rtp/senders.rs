//! Senders of RTP as their users start them. All send a file in real time, without coding it anew.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::generate::clips::run;
use crate::process::Process;
use crate::system::Penstock;

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
    /// Its largest packet, header and all.
    pub packet_bytes: u32,
}

impl Ffmpeg<'_> {
    /// Sends the elementary stream.
    pub fn rtp(&self, system: &Penstock) -> Result<Process> {
        self.start(system, &["-f", "rtp", "-ssrc", &self.ssrc.to_string()])
    }

    /// Sends a transport stream.
    pub fn mpegts(&self, system: &Penstock) -> Result<Process> {
        let options = format!("ssrc={}", self.ssrc);
        let format = ["-f", "rtp_mpegts", "-rtp_muxer_options", &options];
        self.start(system, &format)
    }

    fn start(&self, system: &Penstock, format: &[&str]) -> Result<Process> {
        let Self { file, to, rtcp_port, packet_bytes, .. } = self;
        let mut command = Command::new("ffmpeg");
        command.stdout(system.log()?).stderr(system.log()?);
        command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-re", "-i"]).arg(file);
        command.args(["-map", "0", "-c", "copy"]).args(format);
        command.arg(format!("rtp://{to}?rtcpport={rtcp_port}&pkt_size={packet_bytes}"));
        Process::start("ffmpeg", &mut command)
    }
}

/// The description that FFmpeg writes of its RTP of a file, for a receiver at `port`.
pub fn description_of_ffmpeg(file: &Path, port: u16) -> Result<String> {
    let scratch = tempfile::NamedTempFile::new()?;
    let (file, text) = (file.to_string_lossy(), scratch.path().to_string_lossy());
    let url = format!("rtp://127.0.0.1:{port}");
    // Nothing is sent: the description is written before the first packet.
    let input = ["-y", "-i", &file, "-map", "0", "-c", "copy", "-t", "0"];
    let output = ["-f", "rtp", "-sdp_file", &text, &url];
    run("ffmpeg", &[&input[..], &output].concat())?;
    Ok(std::fs::read_to_string(scratch.path())?)
}

/// What GStreamer's payloader says of a file, as a description for a receiver at `port`.
pub fn description_of_gstreamer(file: &Path, elements: &str, port: u16) -> Result<String> {
    let location = format!("location={}", file.display());
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-v", "filesrc", &location, "!"]).args(elements.split_ascii_whitespace());
    let output = command.args(["!", "fakesink", "sync=false"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let caps = text.lines().find_map(|line| line.split_once("caps = application/x-rtp, "));
    let (_, caps) = caps.with_context(|| format!("no description in {text}"))?;
    // `name=(type)value`
    let mut fields = Vec::new();
    for field in caps.split(", ") {
        let (name, value) = field.split_once("=(").context("a field")?;
        fields.push((name, value.split_once(')').context("a type")?.1));
    }
    let of =
        |wanted: &str| fields.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let field = |name: &str| of(name).with_context(|| format!("no {name} in {caps}"));
    let (media, number) = (field("media")?, field("payload")?);
    let channels = of("encoding-params").map(|it| format!("/{it}")).unwrap_or_default();
    let (name, clock_hz) = (field("encoding-name")?, field("clock-rate")?);
    // What is left over are the parameters of the format.
    let said = ["media", "payload", "clock-rate", "encoding-name", "encoding-params", "channels"];
    let of_the_source = ["ssrc", "timestamp-offset", "seqnum-offset"];
    let rest =
        fields.iter().filter(|(name, _)| !said.contains(name) && !of_the_source.contains(name));
    let rest: Vec<_> = rest.map(|(name, value)| format!("{name}={value}")).collect();
    Ok(format!(
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n\
         m={media} {port} RTP/AVP {number}\na=rtpmap:{number} {name}/{clock_hz}{channels}\n\
         a=fmtp:{number} {}\n",
        rest.join(";")
    ))
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
