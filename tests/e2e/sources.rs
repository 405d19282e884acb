//! Streams that are fetched: called, met in a rendezvous, lost and had again, refused and left
//! alone, added and removed while everything runs.

use std::time::Duration;

use anyhow::{Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::process::{Process, eventually};
use penstock_tests::publisher::Publisher;
use penstock_tests::senders::{self, SrtLiveTransmit};
use penstock_tests::system::{Options, PATIENCE, Penstock, free_udp_port};
use serde_json::{Value, json};

/// The system with these sources in its configuration.
fn with_sources(sources: &str) -> Options {
    let srt = format!("    max_bandwidth: 10000000\n    sources:\n{sources}");
    Options { srt, ..Options::default() }
}

fn is_connected(source: &Value) -> bool {
    source["state"] == "connected"
}

fn is_active(stream: &Value) -> bool {
    stream["status"] == "active" && stream["video_codec"] == "h264"
}

/// FFmpeg as the other side, in real time and for ever.
fn ffmpeg_listener(system: &Penstock, clip: &Clip, port: u16) -> Result<Process> {
    let url = format!("srt://127.0.0.1:{port}?mode=listener&latency=50000&pkt_size=1316");
    senders::ffmpeg(system, &["-stream_loop", "-1"], &clip.path, &url)
}

#[test]
fn frames_of_an_ffmpeg_that_listens_are_fetched() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let port = free_udp_port()?;
    let system = Penstock::start(&with_sources(&format!(
        "      - {{id: pulled/a, address: '127.0.0.1:{port}', latency: 350ms}}\n"
    )))?;
    let tap = system.frames_of("pulled/a")?;
    let url = format!("srt://127.0.0.1:{port}?mode=listener&linger=5&pkt_size=1316");
    let mut sender = senders::ffmpeg(&system, &[], &clip.path, &url)?;
    let stream = system.wait_stream("pulled/a", "active", is_active)?;
    let latency = &stream["stats"]["connection_stats"]["delivery_delay_ms"];
    assert_eq!(latency.as_f64(), Some(350.0), "ours is the larger: {stream}");
    ensure!(stream["source_addr"] == format!("127.0.0.1:{port}"), "{stream}");
    let source = system.wait_source("pulled/a", "connected", is_connected)?;
    ensure!(source["origin"] == "config" && source["breaker"]["state"] == "closed", "{source}");
    sender.succeed(PATIENCE)?;
    clip.is_whole(&tap.frames()?)?;
    system.stop()
}

#[test]
fn a_rendezvous_with_srt_live_transmit_brings_its_frames() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let (ours, theirs) = (free_udp_port()?, free_udp_port()?);
    let system = Penstock::start(&with_sources(&format!(
        "      - {{id: met, mode: rendezvous, address: '127.0.0.1:{theirs}', local_port: {ours}}}\n"
    )))?;
    let tap = system.frames_of("met")?;
    let url = format!("srt://127.0.0.1:{ours}?mode=rendezvous&port={theirs}&adapter=127.0.0.1");
    let mut sender = SrtLiveTransmit::start(&url, &system.path("said"))?;
    system.wait_source("met", "connected", is_connected)?;
    sender.feed(&clip)?;
    let packets = clip.bytes.chunks(1_316).count() as u64;
    system.wait_stream("met", "everything", |stream| {
        is_active(stream) && stream["counters"]["packets_delivered"].as_u64() >= Some(packets)
    })?;
    // It says goodbye: only then is the last picture known to be whole.
    sender.end()?;
    clip.is_whole(&tap.frames()?)?;
    system.stop()
}

#[test]
fn a_source_whose_peer_is_killed_is_had_again_with_its_id_and_counters() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let port = free_udp_port()?;
    let mut options = with_sources(&format!(
        "      - {{id: cam, address: '127.0.0.1:{port}', peer_idle_timeout: 1s}}\n"
    ));
    options.ingestion += "  reconnect_grace: 60s\n";
    let system = Penstock::start(&options)?;
    let mut peer = ffmpeg_listener(&system, &clip, port)?;
    let before = system.wait_stream("cam", "active", is_active)?;
    peer.kill();
    system.wait_stream("cam", "lost", |stream| stream["status"] == "lost")?;
    // Some tries meet nobody: the waits have grown by then.
    let lost = system.wait_source("cam", "tried again", |source| {
        source["failures"]["timeout"].as_u64() >= Some(2)
    })?;
    ensure!(lost["breaker"]["state"] == "closed", "silence opens no breaker: {lost}");
    let frames = |stream: &Value| {
        stream["stats"]["frame_buffer_stats"]["frames_assembled"].as_u64().unwrap_or(0)
    };
    let _again = ffmpeg_listener(&system, &clip, port)?;
    let returned = std::time::Instant::now();
    let back = system.wait_source("cam", "connected again", |source| source["connections"] == 2)?;
    ensure!(returned.elapsed() < Duration::from_secs(15), "a busy machine has 10 s to spare");
    ensure!(back["attempts"].as_u64() >= Some(4), "{back}");
    let after = system.wait_stream("cam", "active again", |stream| {
        is_active(stream)
            && stream["counters"]["connections"] == 2
            && frames(stream) > frames(&before)
    })?;
    assert_eq!(before["created_at"], after["created_at"]);
    system.stop()
}

#[test]
fn a_peer_that_refuses_is_left_alone_then_probed_and_had_when_it_takes_us() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    // The peer is a listener that wants a passphrase; its code is libsrt's for a missing one.
    let port = free_udp_port()?;
    let mut options = with_sources(&format!("      - {{id: cam, address: '127.0.0.1:{port}'}}\n"));
    options.srt += "    breaker_open: 3s\n    reconnect_cap: 500ms\n";
    let system = Penstock::start(&options)?;
    let url = format!("srt://127.0.0.1:{port}?mode=listener&passphrase=correct-horse");
    let mut strict = SrtLiveTransmit::start_again_and_again(&url, &system.path("said"))?;
    let refused = system
        .wait_source("cam", "an open breaker", |source| source["breaker"]["state"] == "open")?;
    ensure!(refused["last_failure"]["code"] == 1_011, "{refused}");
    ensure!(refused["failures"]["rejected"].as_u64() >= Some(3), "{refused}");
    ensure!(refused["breaker"]["open_until"] == refused["next_try_at"], "{refused}");
    let tries = refused["failures"]["rejected"].as_u64();
    let probed = system.wait_source("cam", "one probe, refused", |source| {
        source["failures"]["rejected"].as_u64() > tries && source["breaker"]["state"] == "open"
    })?;
    ensure!(
        probed["failures"]["rejected"].as_u64() == tries.map(|tries| tries + 1),
        "one probe and no more: {probed}"
    );
    strict.process.kill();
    let _willing = ffmpeg_listener(&system, &clip, port)?;
    let had = system.wait_source("cam", "connected", is_connected)?;
    ensure!(had["breaker"]["state"] == "closed", "{had}");
    system.stop()
}

#[test]
fn sources_come_and_go_while_everything_runs() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let port = free_udp_port()?;
    let system = Penstock::start(&Options::default())?;
    let _peer = ffmpeg_listener(&system, &clip, port)?;
    let source = json!({"id": "live/cam", "address": format!("localhost:{port}")});
    let (status, body) = system.post("/api/v1/sources", &source)?;
    ensure!(status == 201, "{body}");
    system.wait_stream("live/cam", "active", is_active)?;
    let known = system.wait_source("live/cam", "connected", is_connected)?;
    ensure!(known["peer"] == format!("127.0.0.1:{port}") && known["origin"] == "api", "{known}");

    // Its id is taken, for sources and publishers alike.
    ensure!(system.post("/api/v1/sources", &source)?.0 == 409);
    let refused = Publisher::connect(system.srt_address(), "live/cam", 1).expect_err("taken");
    ensure!(refused.to_string().contains("2409"), "{refused}");
    let wrong = json!({"id": "x", "address": "nowhere"});
    let (status, body) = system.post("/api/v1/sources", &wrong)?;
    ensure!(status == 400 && body["key"] == "address", "{body}");

    let removed = system.cli(&["source", "remove", "live/cam"])?.output()?;
    ensure!(removed.status.success(), "{removed:?}");
    eventually("its stream has ended", PATIENCE, || {
        Ok((system.request("GET", "/api/v1/streams/live%2Fcam")?.0 == 404).then_some(()))
    })?;
    eventually("it is forgotten", PATIENCE, || {
        Ok((system.get("/api/v1/sources")?["count"] == 0).then_some(()))
    })?;
    Publisher::connect(system.srt_address(), "live/cam", 2)?;
    system.stop()
}

#[test]
fn a_name_without_an_address_is_told_and_tried_again() -> Result<()> {
    let system = Penstock::start(&with_sources(
        "      - {id: cam, address: 'no-such-host.invalid:9000'}\n",
    ))?;
    let source = system.wait_source("cam", "tried twice", |source| {
        source["failures"]["unresolved"].as_u64() >= Some(2)
    })?;
    ensure!(source["breaker"]["state"] == "closed", "{source}");
    ensure!(source["last_failure"]["reason"] == "unresolved", "{source}");
    system.stop()
}

#[test]
fn a_call_restarted_by_an_operator_does_not_wait() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let port = free_udp_port()?;
    let mut options = with_sources(&format!(
        "      - {{id: cam, address: '127.0.0.1:{port}', connect_timeout: 100ms}}\n"
    ));
    options.ingestion += "  reconnect_interval: 1h\n";
    let system = Penstock::start(&options)?;
    system.wait_source("cam", "one try", |source| source["state"] == "waiting")?;
    let _peer = ffmpeg_listener(&system, &clip, port)?;
    // FFmpeg may not listen yet when it is called: each restart is one try.
    eventually("connected", PATIENCE, || {
        ensure!(system.post("/api/v1/sources/cam/restart", &Value::Null)?.0 == 200);
        let source =
            system.wait_source("cam", "tried", |source| source["state"] != "connecting")?;
        Ok(is_connected(&source).then_some(()))
    })?;
    system.wait_stream("cam", "active", is_active)?;
    system.stop()
}

#[test]
fn frames_of_a_gstreamer_that_listens_are_fetched() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let port = free_udp_port()?;
    let system = Penstock::start(&with_sources(&format!(
        "      - {{id: g, address: '127.0.0.1:{port}'}}\n"
    )))?;
    let uri = format!("uri=srt://127.0.0.1:{port}?mode=listener");
    let _sender = senders::gstreamer(&system, &clip.path, &[&uri, "wait-for-connection=true"])?;
    let stream = system.wait_stream("g", "active", is_active)?;
    ensure!(stream["resolution"] == "640x360", "{stream}");
    system.stop()
}
