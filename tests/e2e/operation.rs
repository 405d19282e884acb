//! What an operator sees: streams appear with their facts, end, come back, are ended and kept out;
//! processes die and return.

use std::time::Duration;

use anyhow::{Result, ensure};
use penstock_tests::process::{Process, eventually};
use penstock_tests::publisher::Publisher;
use penstock_tests::system::{Options, PATIENCE, Penstock};
use rustix::process::Signal;
use serde_json::json;

/// A live test stream pushed by FFmpeg.
fn ffmpeg(system: &Penstock, id: &str) -> Result<Process> {
    let mut command = std::process::Command::new("ffmpeg");
    command.stderr(system.log()?);
    command
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-re"])
        .args(["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"])
        .args(["-f", "lavfi", "-i", "sine=sample_rate=48000"])
        .args([
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-profile:v",
            "main",
            "-pix_fmt",
            "yuv420p",
        ])
        .args(["-g", "25", "-b:v", "1M", "-c:a", "aac", "-f", "mpegts"])
        .arg(format!("srt://127.0.0.1:{}?streamid={id}&pkt_size=1316", system.srt_port));
    Process::start("ffmpeg", &mut command)
}

fn is_active(stream: &serde_json::Value) -> bool {
    stream["status"] == "active"
        && stream["video_codec"] != ""
        && stream["bitrate"].as_u64() > Some(0)
}

#[test]
fn a_stream_appears_with_codec_resolution_rate_and_bitrate() -> Result<()> {
    let system = Penstock::start(&Options::default())?;
    let _encoder = ffmpeg(&system, "live/cam")?;
    let stream = system.wait_stream("live/cam", "active", |stream| {
        is_active(stream) && stream["frame_rate"].as_f64() > Some(20.0)
    })?;
    assert_eq!(stream["id"], "live/cam");
    assert_eq!(stream["type"], "srt");
    assert_eq!(stream["video_codec"], "h264");
    assert_eq!(stream["resolution"], "640x360");
    let rate = stream["frame_rate"].as_f64().expect("a number");
    ensure!((24.0..26.0).contains(&rate), "frame rate {rate}");
    let list = system.get("/api/v1/streams")?;
    assert_eq!(list["count"], json!(1));
    system.stop()
}

#[test]
fn a_killed_publisher_comes_back_under_its_id() -> Result<()> {
    let system = Penstock::start(&Options::default())?;
    let mut encoder = ffmpeg(&system, "cam")?;
    let before = system.wait_stream("cam", "active", is_active)?;
    encoder.kill();
    let _again = ffmpeg(&system, "cam")?;
    let frames = |stream: &serde_json::Value| {
        stream["stats"]["frame_buffer_stats"]["frames_assembled"].as_u64().unwrap_or(0)
    };
    let after = system.wait_stream("cam", "active again", |stream| {
        is_active(stream)
            && stream["counters"]["connections"] == 2
            && frames(stream) > frames(&before)
    })?;
    assert_eq!(before["created_at"], after["created_at"]);
    system.stop()
}

#[test]
fn a_live_publisher_keeps_its_id_against_a_second() -> Result<()> {
    let system = Penstock::start(&Options::default())?;
    let _encoder = ffmpeg(&system, "cam")?;
    system.wait_stream("cam", "active", is_active)?;
    let address = ([127, 0, 0, 1], system.srt_port).into();
    let refused = Publisher::connect(address, "cam", 1).expect_err("the id is taken");
    ensure!(refused.to_string().contains("2409"), "{refused}");
    system.stop()
}

#[test]
fn a_silent_publisher_is_lost_and_after_its_grace_forgotten() -> Result<()> {
    let options = Options {
        srt: "    max_bandwidth: 10000000\n    peer_idle_timeout: 1s\n".into(),
        ingestion: "  reconnect_grace: 2s\n".into(),
        ..Options::default()
    };
    let system = Penstock::start(&options)?;
    let _silent = Publisher::connect(system.srt_address(), "cam", 1)?;
    let lost = system.wait_stream("cam", "lost", |stream| stream["status"] == "lost")?;
    assert_eq!(lost["status_reason"], "idle", "{lost}");
    eventually("forgotten", PATIENCE, || {
        Ok((system.request("GET", "/api/v1/streams/cam")?.0 == 404).then_some(()))
    })?;
    Publisher::connect(system.srt_address(), "cam", 2)?;
    system.stop()
}

#[test]
fn a_dataplane_that_is_stopped_says_goodbye_to_its_publishers() -> Result<()> {
    let mut system = Penstock::start(&Options::default())?;
    let mut publisher = Publisher::connect(system.srt_address(), "cam", 1)?;
    system.dataplane.signal(Signal::TERM)?;
    system.dataplane.succeed(PATIENCE)?;
    // Its idle timeout is 5 s: whoever is told knows at once.
    ensure!(!publisher.is_open()?, "the publisher heard nothing");
    Ok(())
}

#[test]
fn delete_ends_a_stream_and_keeps_its_encoder_out() -> Result<()> {
    let system = Penstock::start(&Options::default())?;
    let address = ([127, 0, 0, 1], system.srt_port).into();
    let mut publisher = Publisher::connect(address, "cam", 1)?;
    system.wait_stream("cam", "listed", |_| true)?;
    let (status, body) = system.request("DELETE", "/api/v1/streams/cam?block_s=2")?;
    assert_eq!(status, 200, "{body}");
    eventually(
        "the publisher hears of it",
        PATIENCE,
        || Ok((!publisher.is_open()?).then_some(())),
    )?;
    let refused = Publisher::connect(address, "cam", 2).expect_err("kept out");
    ensure!(refused.to_string().contains("2403"), "{refused}");
    eventually("the stream is gone", PATIENCE, || {
        Ok((system.request("GET", "/api/v1/streams/cam")?.0 == 404).then_some(()))
    })?;
    eventually("the block ends", PATIENCE, || {
        Ok(Publisher::connect(address, "cam", 3).ok().map(drop))
    })?;
    let (status, body) = system.request("DELETE", "/api/v1/streams/none")?;
    assert_eq!((status, &body["code"]), (404, &json!("stream_not_found")));
    system.stop()
}

#[test]
fn the_control_plane_can_be_killed_without_a_packet_lost() -> Result<()> {
    let mut system = Penstock::start(&Options::default())?;
    let _encoder = ffmpeg(&system, "cam")?;
    let before = system.wait_stream("cam", "active", is_active)?;
    for _ in 0..5 {
        system.controlplane.kill();
        system.restart_controlplane()?;
        system.wait_ready()?;
    }
    let after = system.wait_stream("cam", "more packets", |stream| {
        stream["stats"]["packets_received"].as_u64() > before["stats"]["packets_received"].as_u64()
    })?;
    assert_eq!(after["created_at"], before["created_at"]);
    assert_eq!(after["counters"]["packets_skipped_too_late"], json!(0));
    assert_eq!(after["counters"]["connections"], json!(1));
    system.stop()
}

#[test]
fn the_control_plane_survives_the_dataplane() -> Result<()> {
    let options = Options::default();
    let mut system = Penstock::start(&options)?;
    let _encoder = ffmpeg(&system, "cam")?;
    system.wait_stream("cam", "active", is_active)?;
    for _ in 0..5 {
        system.dataplane.kill();
        eventually("not ready", PATIENCE, || {
            Ok((system.request("GET", "/ready")?.0 == 503).then_some(()))
        })?;
        let stale = system.get("/api/v1/streams")?;
        assert_eq!(stale["stale"], json!(true), "{stale}");
        system.restart_dataplane(&options)?;
        system.wait_ready()?;
        let again = system.get("/api/v1/streams")?;
        assert_eq!(again["count"], json!(0), "counters and streams start anew: {again}");
    }
    system.stop()
}

#[test]
fn a_stopped_dataplane_gives_port_and_socket_back_at_once() -> Result<()> {
    let options = Options { workers: "[0, 1]".into(), ..Options::default() };
    let mut system = Penstock::start(&options)?;
    let _encoder = ffmpeg(&system, "cam")?;
    system.wait_stream("cam", "active", is_active)?;
    system.dataplane.signal(Signal::TERM)?;
    system.dataplane.succeed(Duration::from_secs(10))?;
    ensure!(!system.socket().exists(), "the socket file is left");
    let port = std::net::UdpSocket::bind(("127.0.0.1", system.srt_port));
    ensure!(port.is_ok(), "the port is still held");
    Ok(())
}
