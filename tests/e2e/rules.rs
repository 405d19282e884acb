//! Options of streams by their rule: each changes what a real sender meets.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::process::eventually;
use penstock_tests::publisher::{Publisher, data_packet};
use penstock_tests::senders::SrtLiveTransmit;
use penstock_tests::system::{Options, PATIENCE, Penstock, stream_path};
use serde_json::{Value, json};
use shm::StreamSnapshot;

use crate::admission::{libsrt_says, refusal, wait_events};

/// A system with these rules and room for so many publishers of 10 Mbit/s and 120 ms.
fn with_rules(connections: u16, rules: &[&str]) -> Result<Penstock> {
    let rules: String = rules.iter().map(|rule| format!("  - {{{rule}}}\n")).collect();
    let ingestion = format!(
        "  frame: {{max_frame_size: 1048576}}\n  max_connections: {connections}\n  streams:\n{rules}"
    );
    Penstock::start(&Options { ingestion, ..Options::default() })
}

fn count(stream: &Value, counter: &str) -> u64 {
    stream["counters"][counter].as_u64().unwrap_or(u64::MAX)
}

/// libsrt's tool as a caller, connected.
fn libsrt(system: &Penstock, id: &str, query: &str) -> Result<SrtLiveTransmit> {
    let url = system.srt_url(id) + query;
    let sender = SrtLiveTransmit::start(&url, &system.path(&format!("{id}.log")))?;
    system.wait_stream(id, "connected", |_| true)?;
    Ok(sender)
}

#[test]
fn the_longer_latency_of_both_sides_holds_delays_and_is_shown() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let system = with_rules(8, &["id: far, latency: 2s", "id: near, latency: 80ms"])?;
    // Either side may be the one that wants more.
    for (id, asked_ms, agreed_ms) in [("far", 120, 2_000), ("near", 200, 200)] {
        let mut sender = libsrt(&system, id, &format!("&latency={asked_ms}"))?;
        sender.feed(&clip)?;
        let stream = system.wait_stream(id, "frames", |stream| {
            count(stream, "frames_published") > 50 && stream["status"] != "lost"
        })?;
        ensure!(count(&stream, "latency_ms") == agreed_ms, "{id}: {stream}");
        let stats = system.get(&(stream_path(id) + "/stats"))?;
        let connection = &stats["connection_stats"];
        ensure!(connection["delivery_delay_ms"].as_f64() == Some(agreed_ms as f64), "{stats}");
        // So long packets are kept from their arrival on: a second lies between the two.
        let margin = connection["since_connected"]["margin_ms"]["avg"].as_f64();
        let margin = margin.context("a mean")?;
        ensure!((margin > 1_000.0) == (agreed_ms > 1_000), "{id}: {margin} ms");
        sender.end()?;
    }
    let publisher = Publisher::connect(system.srt_address(), "far", 1)?;
    ensure!(publisher.peer_latency_ms() == 2_000, "the answer says so");
    system.stop()
}

#[test]
fn a_latency_for_which_there_are_no_slots_is_refused_with_the_figures() -> Result<()> {
    let system = with_rules(4, &["id: a, latency: 100ms"])?;
    // 10 Mbit/s for 4 s, and half as long again, in packets of 1,316 bytes.
    let says = libsrt_says(&(system.srt_url("a") + "&latency=4000"))?;
    ensure!(says.contains("Resource allocation failure"), "{says}");
    let refused = wait_events(&system, "refused", 1)?;
    let message = refused[0]["message"].as_str().context("a text")?;
    ensure!(message.contains("needs 5700 packet slots"), "{message}");
    ensure!(refused[0]["reason"] == "slots" && refused[0]["code"] == 1_003, "{refused:?}");
    assert_eq!(refusal(system.srt_address(), "a", 1)?, None, "with less it is let in");
    system.stop()
}

/// The free window that libsrt's sender was told last.
fn window_told(system: &Penstock, id: &str) -> Result<u64> {
    let path = system.path(&format!("{id}.stats"));
    let option = format!("-statsout:{}", path.display());
    let options = ["-s:1", "-pf:json", "-f", &option];
    let url = system.srt_url(id);
    let log = system.path(&format!("{id}.log"));
    let mut sender = SrtLiveTransmit::start_with(&url, &log, &options)?;
    system.wait_stream(id, "connected", |_| true)?;
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    sender.feed(&clip)?;
    let told = eventually("statistics", PATIENCE, || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let last = text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(last.and_then(|stats| stats["window"]["flow"].as_u64()))
    })?;
    sender.end()?;
    Ok(told)
}

#[test]
fn flow_window_and_receive_buffer_bound_what_libsrt_may_have_in_flight() -> Result<()> {
    let system =
        with_rules(8, &["id: window, fc_window: 48", "id: buffer, receive_buffer: 131600"])?;
    assert_eq!(window_told(&system, "window")?, 48);
    // 131,600 bytes are 100 packets; 10 Mbit/s for 120 ms, and half as long again, are 171.
    assert_eq!(window_told(&system, "buffer")?, 100);
    assert_eq!(window_told(&system, "other")?, 171);
    system.stop()
}

#[test]
fn smaller_packets_take_more_slots_for_the_same_rate() -> Result<()> {
    let system = with_rules(4, &["id: half, payload_size: 658"])?;
    let to = system.srt_address();
    let half = Publisher::connect(to, "half", 1)?;
    let whole = Publisher::connect(to, "whole", 2)?;
    assert_eq!((half.flow_window(), whole.flow_window()), (342, 171));
    whole.close()?;
    // Changed while it runs it acts at the next connection; here there are no slots for so many.
    let (status, body) =
        system.patch(&(stream_path("whole") + "/options"), &json!({"payload_size": 188}))?;
    ensure!(status == 200 && body["next_connection"] == json!(["payload_size"]), "{body}");
    assert_eq!(refusal(to, "whole", 3)?, Some(1_003));
    half.close()?;
    system.stop()
}

/// How long a lost stream's peer had been silent, by the system's own clocks.
fn silence_ms(system: &Penstock, stream: &StreamSnapshot) -> Result<u64> {
    let directory = system.directory()?;
    let header = directory.header();
    let heard_ns = stream.counter(shm::counters::StreamCounter::LastReceivedNs);
    let heard_unix_ns = header.started_unix_ns + (heard_ns - header.started_monotonic_ns);
    Ok(stream.info.ended_unix_ns.saturating_sub(heard_unix_ns) / 1_000_000)
}

#[test]
fn a_peer_that_vanished_is_lost_after_the_silence_that_its_rule_allows() -> Result<()> {
    let system = with_rules(8, &["id: quick, peer_idle_timeout: 1s"])?;
    let mut senders = [libsrt(&system, "quick", "")?, libsrt(&system, "slow", "")?];
    senders.iter_mut().for_each(|sender| sender.process.kill());
    let mut silences = Vec::new();
    for id in ["quick", "slow"] {
        let lost = system.wait_stream(id, "lost", |stream| stream["status"] == "lost")?;
        ensure!(lost["status_reason"] == "idle", "{lost}");
        let stream = system.directory()?.stream(id).context("the stream is listed")?;
        silences.push(silence_ms(&system, &stream)?);
    }
    // The clocks of both stamps are read one after the other.
    ensure!((990..4_000).contains(&silences[0]), "{silences:?} ms");
    ensure!(silences[1] >= 4_990, "{silences:?} ms");
    system.stop()
}

#[test]
fn a_packet_overtaken_within_the_tolerance_is_not_reported_missing() -> Result<()> {
    let system = with_rules(
        8,
        &["id: patient, loss_reorder_tolerance: 3", "id: hasty, loss_reorder_tolerance: 2"],
    )?;
    for (seed, id, reports) in [(1, "patient", 0), (2, "hasty", 1), (3, "none", 1)] {
        let publisher = Publisher::connect(system.srt_address(), id, seed)?;
        system.wait_stream(id, "connected", |_| true)?;
        // All come at once, so that no timer decides: the third is overtaken by three.
        system.dataplane.pause()?;
        for number in [0, 1, 3, 4, 5, 2] {
            publisher.send_raw(&data_packet(&publisher, number, 1_000 + number))?;
        }
        system.dataplane.resume()?;
        let stream = system
            .wait_stream(id, "all packets", |stream| count(stream, "packets_delivered") == 6)?;
        ensure!(count(&stream, "naks_sent") == reports, "{id}: {stream}");
        ensure!(count(&stream, "packets_reordered") == 1, "{id}: {stream}");
    }
    system.stop()
}

#[test]
fn each_rule_has_its_own_passphrase_and_key_length() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let system = with_rules(
        8,
        &[
            "id: one, passphrase: the-first-secret, key_length: 256",
            "pattern: 'two/*', passphrase: another-secret",
        ],
    )?;
    for (id, passphrase, bytes) in
        [("one", "the-first-secret", 32), ("two/a", "another-secret", 16)]
    {
        let tap = system.frames_of(id)?;
        let url = system.srt_url(id) + &format!("&passphrase={passphrase}&pbkeylen={bytes}");
        let mut sender = SrtLiveTransmit::start(&url, &system.path("said"))?;
        let stream = system.wait_stream(id, "connected", |_| true)?;
        ensure!(stream["encryption"]["key_bits"] == bytes * 8, "{stream}");
        sender.feed(&clip)?;
        let packets = clip.bytes.chunks(1_316).count() as u64;
        system.wait_stream(id, "everything", |stream| {
            count(stream, "packets_delivered") >= packets
        })?;
        sender.end()?;
        clip.is_whole(&tap.frames()?)?;
    }
    let wrong = [
        ("one", "&passphrase=another-secret&pbkeylen=32", 1_010),
        ("one", "&passphrase=the-first-secret&pbkeylen=16", 1_017),
        ("two/b", "", 1_011),
        ("three", "&passphrase=another-secret", 1_011),
    ];
    for (place, (id, query, code)) in wrong.iter().enumerate() {
        libsrt_says(&(system.srt_url(id) + query))?;
        let refused = wait_events(&system, "refused", place + 1)?;
        let last = &refused[place];
        ensure!(last["code"] == *code && last["stream_id"] == *id, "{id}{query}: {last}");
    }
    let clear: SocketAddr = system.srt_address();
    assert_eq!(refusal(clear, "three", 1)?, None);
    system.stop()
}
