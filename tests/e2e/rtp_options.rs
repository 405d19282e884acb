//! Options of a stream of RTP, changed while it runs: each does what it says, at once.

use std::process::Command;

use anyhow::{Result, ensure};
use penstock_tests::process::{Process, eventually};
use penstock_tests::system::{Options, PATIENCE, Penstock, free_rtp_port, free_udp_port};
use serde_json::{Value, json};

const OPTIONS: &str = "/api/v1/streams/cam/options";

/// A session at a port of its own, whose sender may be silent for longer than any test waits.
fn start() -> Result<(Penstock, u16)> {
    let (port, rtcp_port, own) = (free_udp_port()?, free_udp_port()?, free_rtp_port()?);
    let defaults = Options::default();
    let ingestion = format!(
        "{}  rtp: {{port: {port}, rtcp_port: {rtcp_port}, session_timeout: 10m, \
         sessions: [{{id: cam, port: {own}}}]}}\n",
        defaults.ingestion
    );
    Ok((Penstock::start(&Options { ingestion, ..defaults })?, own))
}

/// A test card of a few hundred kbit/s, for ever.
fn ffmpeg(system: &Penstock, port: u16) -> Result<Process> {
    let mut command = Command::new("ffmpeg");
    command.stderr(system.log()?).stdout(system.log()?);
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin"]);
    command.args(["-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]);
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-f", "rtp"]);
    command.arg(format!("rtp://127.0.0.1:{port}?pkt_size=1200"));
    Process::start("ffmpeg", &mut command)
}

fn change(system: &Penstock, options: &Value) -> Result<Value> {
    let (status, body) = system.patch(OPTIONS, options)?;
    ensure!(status == 200, "{options}: {status} {body}");
    Ok(body)
}

fn counter(stream: &Value, name: &str) -> u64 {
    stream["counters"][name].as_u64().unwrap_or(0)
}

#[test]
fn a_rate_limit_drops_and_a_shorter_timeout_holds_for_the_next_sender_too() -> Result<()> {
    let (system, port) = start()?;
    let mut sender = ffmpeg(&system, port)?;
    system.wait_stream("cam", "active", |stream| stream["status"] == "active")?;
    let body = change(&system, &json!({"rate_limit": 64_000}))?;
    ensure!(body["applied"] == json!(["rate_limit"]), "{body}");
    system.wait_stream("cam", "drops", |it| counter(it, "packets_dropped_rate") > 10)?;
    change(&system, &json!({"rate_limit": 0, "session_timeout": "1s"}))?;
    for connections in 1..=2 {
        system.wait_stream("cam", "active", |stream| {
            stream["status"] == "active" && counter(stream, "connections") == connections
        })?;
        sender.kill();
        let lost = system.wait_stream("cam", "lost", |stream| stream["status"] == "lost")?;
        ensure!(lost["status_reason"] == "idle", "{lost}");
        sender = ffmpeg(&system, port)?;
    }
    let shown = system.get(OPTIONS)?;
    ensure!(shown["options"]["session_timeout"] == "1s", "{shown}");
    ensure!(shown["options"]["rate_limit"] == 0, "{shown}");
    system.stop()
}

#[test]
fn a_stream_above_a_bandwidth_that_was_lowered_is_closed_and_told_of() -> Result<()> {
    let (system, port) = start()?;
    let _sender = ffmpeg(&system, port)?;
    system.wait_stream("cam", "active", |stream| stream["status"] == "active")?;
    let refused = system.patch(OPTIONS, &json!({"fc_window": 100}))?;
    ensure!(refused.0 == 400 && refused.1["key"] == "fc_window", "{refused:?}");
    ensure!(refused.1["message"].to_string().contains("`max_bandwidth`"), "{refused:?}");
    let mut set = system.cli(&["set", "cam", "max_bandwidth=64000", "over_bandwidth=close"])?;
    let set = set.output()?;
    ensure!(set.status.success(), "{set:?}");
    ensure!(String::from_utf8_lossy(&set.stdout).contains("max_bandwidth acts now"), "{set:?}");
    let events = |kind: &str| {
        eventually(kind, PATIENCE, || {
            let list = system.get(&format!("/api/v1/events?kind={kind}&stream_id=cam"))?;
            let list = list["events"].as_array().cloned().unwrap_or_default();
            Ok(list.into_iter().next())
        })
    };
    let over = events("over_bandwidth")?;
    ensure!(over["max_bandwidth"] == 64_000, "{over}");
    let ended = events("ended")?;
    ensure!(ended["reason"] == "over_bandwidth", "{ended}");
    system.stop()
}
