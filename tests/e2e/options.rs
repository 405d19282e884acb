//! Options of one stream, changed while it is connected: each does what it says.

use anyhow::{Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::publisher::Publisher;
use penstock_tests::system::{Options, Penstock, stream_path};
use serde_json::{Value, json};

const ID: &str = "cam";

fn change(system: &Penstock, options: &Value) -> Result<Value> {
    let path = stream_path(ID) + "/options";
    let (status, body) = system.patch(&path, options)?;
    ensure!(status == 200, "{options}: {status} {body}");
    Ok(body)
}

fn count(stream: &Value, counter: &str) -> u64 {
    stream["counters"][counter].as_u64().unwrap_or(0)
}

/// The clip, at its own pace of about 2 Mbit/s.
fn send_until_closed(publisher: &mut Publisher, clip: &Clip) -> Result<()> {
    let sent = publisher.send_stream(&clip.bytes, clip.bits_per_second());
    // Whoever is cut off cannot send to the end.
    ensure!(sent.is_ok() || !publisher.is_open()?, "{sent:?}");
    Ok(())
}

#[test]
fn a_stream_above_its_bandwidth_loses_whole_frames_and_is_told_of() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let system = Penstock::start(&Options::default())?;
    let tap = system.frames_of(ID)?;
    let mut publisher = Publisher::connect(system.srt_address(), ID, 1)?;
    system.wait_stream(ID, "connected", |_| true)?;
    let body = change(&system, &json!({"max_bandwidth": 700_000, "over_bandwidth": "drop"}))?;
    ensure!(body["applied"] == json!(["max_bandwidth", "over_bandwidth"]), "{body}");
    publisher.send_stream(&clip.bytes, clip.bits_per_second())?;
    let stream = system.wait_stream(ID, "frames dropped", |stream| {
        count(stream, "frames_dropped_bandwidth") > 10
            && count(stream, "bandwidth_exceeded_seconds") > 1
    })?;
    ensure!(count(&stream, "max_bandwidth_bps") == 700_000, "{stream}");
    let events = system.get("/api/v1/events")?;
    ensure!(events.to_string().contains("\"over_bandwidth\""), "{events}");
    publisher.close()?;
    let frames = tap.frames()?;
    // What is left is right, and begins again at a key picture after each gap.
    clip.clean_frames_are_true(&frames)?;
    let pictures = frames.iter().filter(|frame| frame.track == 0).count();
    ensure!(pictures > 0 && pictures < clip.video.len(), "{pictures} pictures are left");
    system.stop()
}

#[test]
fn a_stream_above_its_bandwidth_is_closed_where_that_is_the_policy() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let options = Options {
        ingestion: "  frame: {max_frame_size: 1048576}\n  streams:\n  \
                    - {id: cam, max_bandwidth: 500000, over_bandwidth: close}\n"
            .into(),
        ..Options::default()
    };
    let system = Penstock::start(&options)?;
    let mut publisher = Publisher::connect(system.srt_address(), ID, 1)?;
    send_until_closed(&mut publisher, &clip)?;
    let lost = system.wait_stream(ID, "closed", |stream| stream["status"] == "lost")?;
    ensure!(lost["status_reason"] == "over_bandwidth", "{lost}");
    system.stop()
}

#[test]
fn a_shorter_idle_limit_acts_at_once_and_a_flow_window_at_the_next_connection() -> Result<()> {
    let system = Penstock::start(&Options::default())?;
    let _silent = Publisher::connect(system.srt_address(), ID, 1)?;
    system.wait_stream(ID, "connected", |_| true)?;
    // The default is 5 s; a tolerance shows as what it is.
    let body = change(
        &system,
        &json!({"peer_idle_timeout": "1s", "loss_reorder_tolerance": 7, "fc_window": 50}),
    )?;
    ensure!(body["next_connection"] == json!(["fc_window"]), "{body}");
    let shown = system.get(&(stream_path(ID) + "/options"))?;
    ensure!(shown["options"]["peer_idle_timeout"] == "1s", "{shown}");
    ensure!(shown["next_connection"] == json!({"fc_window": 50}), "{shown}");
    let lost = system.wait_stream(ID, "lost", |stream| stream["status"] == "lost")?;
    ensure!(lost["status_reason"] == "idle", "{lost}");
    ensure!(count(&lost, "reorder_tolerance_packets") == 7, "{lost}");
    let again = Publisher::connect(system.srt_address(), ID, 2)?;
    ensure!(again.flow_window() == 50, "the answer grants {}", again.flow_window());
    system.stop()
}

#[test]
fn what_cannot_be_changed_is_refused_by_name_and_changes_nothing() -> Result<()> {
    let system = Penstock::start(&Options::default())?;
    let _publisher = Publisher::connect(system.srt_address(), ID, 1)?;
    system.wait_stream(ID, "connected", |_| true)?;
    let path = stream_path(ID) + "/options";
    for (options, key) in [
        (json!({"passphrase": "correct horse"}), "passphrase"),
        (json!({"peer_idle_timeout": "2s", "fc_window": 1}), "fc_window"),
        (json!({"latencyy": "1s"}), "latencyy"),
    ] {
        let (status, body) = system.patch(&path, &options)?;
        ensure!(status == 400 && body.to_string().contains(key), "{options}: {status} {body}");
    }
    ensure!(system.get(&path)?["options"]["peer_idle_timeout"] == "5s");
    ensure!(system.patch("/api/v1/streams/none/options", &json!({}))?.0 == 404);
    let output = system.cli(&["set", ID, "peer_idle_timeout=3s", "latency=300ms"])?.output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(text.contains("peer_idle_timeout acts now"), "{text}");
    ensure!(text.contains("latency acts from the next connection on"), "{text}");
    system.stop()
}
