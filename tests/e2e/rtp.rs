//! RTP at the shared port: senders that nobody announced become streams, whole from their first
//! picture on.

use std::process::Command;

use anyhow::{Result, ensure};
use penstock_tests::process::Process;
use penstock_tests::system::{Options, Penstock, free_udp_port};
use serde_json::Value;

/// A Penstock that takes RTP too.
struct Rtp {
    system: Penstock,
    port: u16,
    rtcp_port: u16,
}

impl Rtp {
    /// With further keys of `ingestion.rtp`.
    fn start(further: &str) -> Result<Self> {
        let (port, rtcp_port) = (free_udp_port()?, free_udp_port()?);
        let defaults = Options::default();
        let ingestion = format!(
            "{}  rtp: {{port: {port}, rtcp_port: {rtcp_port}, max_sessions: 4, session_timeout: 3s{further}}}\n",
            defaults.ingestion
        );
        let system = Penstock::start(&Options { ingestion, ..defaults })?;
        Ok(Self { system, port, rtcp_port })
    }

    fn url(&self) -> String {
        format!("rtp://127.0.0.1:{}?rtcpport={}&pkt_size=1200", self.port, self.rtcp_port)
    }

    /// Pictures of a test card, coded as `coding` says, at most so many.
    fn ffmpeg(&self, pictures: u32, coding: &[&str], format: &str) -> Result<Process> {
        let mut command = Command::new("ffmpeg");
        command.stderr(self.system.log()?).stdout(self.system.log()?);
        command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-re"]);
        command.args(["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]);
        command.args(["-frames:v", &pictures.to_string()]).args(coding);
        command.args(["-f", format]).arg(self.url());
        Process::start("ffmpeg", &mut command)
    }

    /// The only stream, once `condition` holds.
    fn only_stream(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Result<Value> {
        let system = &self.system;
        penstock_tests::process::eventually(what, penstock_tests::system::PATIENCE, || {
            let list = system.get("/api/v1/streams")?;
            let streams = list["streams"].as_array().cloned().unwrap_or_default();
            ensure!(streams.len() <= 1, "more than one stream: {list}");
            Ok(streams.into_iter().find(|stream| condition(stream)))
        })
    }
}

const H264: [&str; 6] = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25"];

fn counter(stream: &Value, name: &str) -> u64 {
    stream["counters"][name].as_u64().unwrap_or(0)
}

/// Every packet is accounted for.
fn assert_balanced(stream: &Value) {
    let of = |name| counter(stream, name);
    let received = of("packets_received") + of("packets_recovered_fec");
    let known = [
        "packets_delivered",
        "packets_held",
        "packets_discarded_at_end",
        "packets_duplicate",
        "packets_redundant",
        "packets_belated",
        "packets_dropped_invalid",
        "packets_dropped_rate",
        "packets_dropped_source",
        "packets_dropped_unmapped",
        "packets_dropped_probation",
        "packets_dropped_jump",
        "packets_dropped_undetected",
    ];
    assert_eq!(received, known.into_iter().map(of).sum::<u64>(), "{stream}");
}

/// A stream of all pictures that were sent, none missing.
fn assert_whole(stream: &Value, pictures: u64) {
    assert_eq!(counter(stream, "frames_published"), pictures, "{stream}");
    assert_eq!(counter(stream, "frames_dropped_before_key"), 0);
    assert_eq!(counter(stream, "packets_skipped_too_late"), 0);
    assert_balanced(stream);
}

#[test]
fn h264_of_ffmpeg_is_a_stream_from_its_first_picture_on() -> Result<()> {
    let rtp = Rtp::start("")?;
    let mut sender = rtp.ffmpeg(75, &H264, "rtp")?;
    let stream = rtp.only_stream("active", |stream| stream["status"] == "active")?;
    assert_eq!(stream["type"], "rtp");
    assert_eq!(stream["video_codec"], "h264");
    let id = stream["id"].as_str().unwrap_or_default();
    ensure!(id.starts_with("rtp_") && id.ends_with("_001"), "{id}");
    sender.succeed(penstock_tests::system::PATIENCE)?;
    // FFmpeg says no goodbye.
    let ended = rtp.only_stream("lost", |stream| stream["status"] == "lost")?;
    assert_eq!(ended["status_reason"], "idle");
    assert_eq!(ended["resolution"], "320x180");
    assert_whole(&ended, 75);
    assert_eq!(counter(&ended, "frames_damaged"), 0);
    ensure!(counter(&ended, "rtcp_sent") > 0, "{ended}");
    rtp.system.stop()
}

#[test]
fn a_transport_stream_of_ffmpeg_is_a_stream_from_its_first_picture_on() -> Result<()> {
    let rtp = Rtp::start(", streams: [{payload_type: 33, id: studio/ts}]")?;
    let mut sender = rtp.ffmpeg(75, &H264, "rtp_mpegts")?;
    let stream = rtp.only_stream("active", |stream| stream["status"] == "active")?;
    assert_eq!((&stream["id"], &stream["type"]), (&"studio/ts".into(), &"rtp".into()));
    assert_eq!(stream["video_codec"], "h264");
    sender.succeed(penstock_tests::system::PATIENCE)?;
    let ended = rtp.only_stream("lost", |stream| stream["status"] == "lost")?;
    assert_whole(&ended, 75);
    // A PES packet of unknown length ends with the next one: the last may have been cut off.
    assert_eq!(counter(&ended, "frames_damaged"), 1);
    let stats = rtp.system.get("/api/v1/stats")?;
    assert_eq!((&stats["rtp_enabled"], &stats["rtp_sessions"]), (&true.into(), &0.into()));
    rtp.system.stop()
}

#[test]
fn a_sender_from_elsewhere_is_dropped_and_told_of() -> Result<()> {
    let rtp = Rtp::start(", allow: [10.0.0.0/8]")?;
    let mut sender = rtp.ffmpeg(25, &H264, "rtp")?;
    let events = "/api/v1/events?kind=refused";
    let refused =
        penstock_tests::process::eventually("a refusal", penstock_tests::system::PATIENCE, || {
            let list = rtp.system.get(events)?;
            let list = list["events"].as_array().cloned().unwrap_or_default();
            Ok(list.into_iter().next())
        })?;
    assert_eq!((&refused["reason"], &refused["listener"]), (&"source".into(), &"rtp".into()));
    sender.succeed(penstock_tests::system::PATIENCE)?;
    assert_eq!(rtp.system.get("/api/v1/streams")?["count"], 0);
    let stats = rtp.system.get("/api/v1/stats")?;
    let dropped = &stats["workers"][0]["counters"]["rtp_packets_dropped_refused"];
    ensure!(dropped.as_u64() > Some(10), "{stats}");
    rtp.system.stop()
}
