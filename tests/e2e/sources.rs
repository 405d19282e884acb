//! Streams that are fetched: called, met in a rendezvous, lost and had again, refused and left
//! alone, added and removed while everything runs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::process::{Process, eventually};
use penstock_tests::senders::{self, SrtLiveTransmit};
use penstock_tests::system::{Options, PATIENCE, Penstock, free_udp_port};
use serde_json::Value;

/// The system with these sources in its configuration.
fn with_sources(sources: &str) -> Options {
    let srt = format!("    max_bandwidth: 10000000\n    sources:\n{sources}");
    Options { srt, ..Options::default() }
}

/// A source as the dataplane tells it, once `condition` holds.
fn wait_source(
    system: &Penstock,
    id: &str,
    what: &str,
    condition: impl Fn(&shm::link::SourceReport) -> bool,
) -> Result<shm::link::SourceReport> {
    let mut link = system.link()?;
    let mut last = None;
    eventually(what, PATIENCE, || {
        let (sources, _) = link.sources(None)?;
        last = sources.into_iter().find(|source| source.id == id);
        Ok(last.clone().filter(|source| condition(source)))
    })
    .with_context(|| format!("the last answer was {last:?}"))
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
    let source = wait_source(&system, "pulled/a", "connected", |it| it.state == "connected")?;
    ensure!(source.configured && source.breaker == "closed", "{source:?}");
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
    wait_source(&system, "met", "connected", |it| it.state == "connected")?;
    sender.feed(&clip)?;
    let packets = clip.bytes.chunks(1_316).count() as u64;
    system.wait_stream("met", "everything", |stream| {
        is_active(stream) && stream["counters"]["packets_delivered"].as_u64() >= Some(packets)
    })?;
    drop(sender);
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
    let lost = wait_source(&system, "cam", "tried again", |it| it.failures.timeout >= 2)?;
    ensure!(lost.breaker == "closed", "silence opens no breaker: {lost:?}");
    let frames = |stream: &Value| {
        stream["stats"]["frame_buffer_stats"]["frames_assembled"].as_u64().unwrap_or(0)
    };
    let _again = ffmpeg_listener(&system, &clip, port)?;
    let returned = std::time::Instant::now();
    let back = wait_source(&system, "cam", "connected again", |it| it.connections == 2)?;
    ensure!(returned.elapsed() < Duration::from_secs(15), "a busy machine has 10 s to spare");
    ensure!(back.attempts >= 4, "{back:?}");
    let after = system.wait_stream("cam", "active again", |stream| {
        is_active(stream)
            && stream["counters"]["connections"] == 2
            && frames(stream) > frames(&before)
    })?;
    assert_eq!(before["created_at"], after["created_at"]);
    system.stop()
}
