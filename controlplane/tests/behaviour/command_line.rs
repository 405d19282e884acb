//! `penstock` as an operator runs it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};
use shm::{EndReason, FrameClass};

use crate::support::{System, audio, free_port, video};

fn penstock(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
    command.args(["--url", url]).args(arguments);
    command.env_remove("PENSTOCK_SOCKET").env_remove("PENSTOCK_URL").stdin(Stdio::null());
    command
}

fn run(system: &System, arguments: &[&str]) -> Output {
    penstock(&system.served.url(), arguments).output().unwrap()
}

fn start(system: &System, arguments: &[&str]) -> Child {
    let mut command = penstock(&system.served.url(), arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A system with one stream of four frames.
fn with_frames() -> System {
    let system = System::with("", 1);
    system.publish(&["a"]);
    let mut world = system.dataplane.world();
    world.with_ring("a", 1 << 20);
    world.frame("a", &video(FrameClass::Idr, true, 90_000), b"\0\0\0\x01\x65key");
    world.frame("a", &audio(90_010), b"sound");
    world.frame("a", &video(FrameClass::P, false, 93_000), b"\0\0\0\x01\x41p");
    world.frame("a", &video(FrameClass::Idr, true, 96_000), b"\0\0\0\x01\x65again");
    drop(world);
    system
}

#[test]
fn streams_are_a_table_or_json() {
    let system = System::with("", 1);
    system.publish(&["studio-a"]);
    let table = run(&system, &["streams"]);
    assert_eq!(code(&table), 0);
    let lines = text(&table.stdout);
    assert!(lines.lines().next().unwrap().starts_with("ID"), "{lines}");
    for word in ["studio-a", "active", "h264", "1920x1080", "29.97", "5.00"] {
        assert!(lines.contains(word), "{word} is missing in\n{lines}");
    }
    let json: Value = serde_json::from_slice(&run(&system, &["--json", "streams"]).stdout).unwrap();
    assert_eq!(json["streams"][0]["id"], "studio-a");
}

#[test]
fn sessions_of_rtp_are_added_listed_shown_and_removed() {
    let system = System::start();
    let says = |arguments: &[&str]| {
        let output = run(&system, arguments);
        (code(&output), text(&output.stdout) + &text(&output.stderr))
    };
    let (exit, said) =
        says(&["rtp", "add", "studio/a", "--port", "6000", "--feedback", "nack,pli"]);
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains("left out: m=audio 6002"), "{said}");
    let (_, lines) = says(&["rtp", "list"]);
    assert!(lines.contains("studio/a") && lines.contains("127.0.0.1:6000"), "{lines}");
    assert!(says(&["rtp", "show", "studio/a"]).1.contains("sockets[0]"));
    let mut add = penstock(&system.served.url(), &["rtp", "add", "b", "--sdp", "-"]);
    let add = add.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut add = add.unwrap();
    add.stdin.take().unwrap().write_all(b"SDP:\nnonsense").unwrap();
    let output = add.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert!(code(&output) == 2 && said.contains("session.sdp: line 1"), "{said}");
    for (port, why) in [("9", "port 9 is held"), ("10", "4 sessions were added")] {
        let (exit, said) = says(&["rtp", "add", "c", "--port", port]);
        assert!(exit == 4 && said.contains(why), "{said}");
    }
    assert_eq!(says(&["rtp", "remove", "studio/a"]).0, 0);
    let (exit, said) = says(&["rtp", "remove", "studio/a"]);
    assert!(exit == 3 && said.contains("studio/a"), "{said}");
}

#[test]
fn sources_are_added_listed_shown_called_and_removed() {
    let system = System::start();
    let says = |arguments: &[&str]| {
        let output = run(&system, arguments);
        (code(&output), text(&output.stdout) + &text(&output.stderr))
    };
    let added = says(&["source", "add", "live/cam", "192.0.2.1:9000", "--latency", "200ms"]);
    assert_eq!(added.0, 0, "{}", added.1);
    let (_, lines) = says(&["sources"]);
    assert!(lines.starts_with("ID") && lines.contains("192.0.2.1:9000"), "{lines}");
    assert!(says(&["source", "show", "live/cam"]).1.contains("breaker.state"));
    assert_eq!(says(&["source", "restart", "live/cam"]).0, 0);
    assert_eq!(says(&["source", "add", "live/cam", "192.0.2.1:9000"]).0, 4, "it exists");
    assert_eq!(says(&["source", "remove", "live/cam"]).0, 0);
    assert_eq!(says(&["source", "remove", "live/cam"]).0, 3);
    let (wrong, why) = says(&["source", "add", "a", "b:1", "--passphrase-env", "NOT_SET_ANYWHERE"]);
    assert!(wrong == 2 && why.contains("NOT_SET_ANYWHERE"), "{why}");
}

#[test]
fn one_stream_is_shown_with_tracks_and_counters() {
    let system = System::with("", 1);
    system.publish(&["live/a"]);
    let shown = run(&system, &["stream", "live/a"]);
    assert_eq!(code(&shown), 0);
    let lines = text(&shown.stdout);
    for word in
        ["live/a", "192.0.2.7:41022", "High", "4:2:0", "48000 Hz, 2 channels", "packets_lost"]
    {
        assert!(lines.contains(word), "{word} is missing in\n{lines}");
    }
    assert!(!lines.contains("ts_invalid"), "counters at 0 are left out:\n{lines}");
    let json = run(&system, &["stream", "live/a", "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&json.stdout).unwrap()["id"], "live/a");
}

#[test]
fn exit_codes_tell_the_cause() {
    let system = System::with("", 1);
    system.publish(&["a"]);
    assert_eq!(code(&run(&system, &["stream", "nobody"])), 3);
    assert_eq!(code(&run(&system, &["kick", "nobody"])), 3);
    assert_eq!(code(&run(&system, &["tap", "nobody"])), 3);
    assert_eq!(code(&run(&system, &["streams", "--status", "asleep"])), 2);
    assert_eq!(code(&run(&system, &["dance"])), 2);
    assert_eq!(code(&run(&system, &["--help"])), 0);
    assert_eq!(code(&run(&system, &["kick", "a", "--block", "5"])), 0);
    assert_eq!(code(&run(&system, &["kick", "a"])), 4);
    let nobody = format!("http://127.0.0.1:{}", free_port());
    assert_eq!(code(&penstock(&nobody, &["streams"]).output().unwrap()), 5);
    let socket = system.socket().with_extension("none");
    let tap = run(&system, &["tap", "a", "--socket", socket.to_str().unwrap()]);
    assert_eq!(code(&tap), 5, "{}", text(&tap.stderr));
}

#[test]
fn failures_are_json_where_json_is_asked_for() {
    let system = System::with("", 1);
    let failure = run(&system, &["--json", "stream", "nobody"]);
    let body: Value = serde_json::from_slice(&failure.stderr).unwrap();
    assert_eq!((&body["code"], &body["exit"]), (&"not_found".into(), &3.into()));
}

#[test]
fn tap_writes_one_line_for_each_frame_and_ends_with_the_stream() {
    let system = with_frames();
    let tap = start(&system, &["tap", "a"]);
    system.dataplane.world().frame("a", &video(FrameClass::B, false, 99_000), b"b");
    system.dataplane.world().end("a", EndReason::Shutdown);
    let output = tap.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let lines: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    let hash = Sha256::digest(b"\0\0\0\x01\x65key");
    assert_eq!(
        lines[0],
        format!(
            "{{\"seq\":0,\"track\":0,\"kind\":\"video\",\"codec\":\"h264\",\"pts\":90000,\"dts\":90000,\
             \"class\":\"idr\",\"key\":true,\"damaged\":false,\"size\":8,\"sha256\":\"{hash:x}\"}}"
        )
    );
    let audio: Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!(
        (&audio["track"], &audio["kind"], &audio["codec"], &audio["class"], &audio["dts"]),
        (&1.into(), &"audio".into(), &"aac".into(), &"audio".into(), &Value::Null)
    );
    let last: Value = serde_json::from_str(&lines[4]).unwrap();
    assert_eq!((&last["seq"], &last["class"]), (&4.into(), &"b".into()));
}

#[test]
fn tap_starts_where_it_is_told() {
    for (from, expected) in [("oldest", 4), ("key", 1), ("live", 0)] {
        let system = with_frames();
        let mut tap = start(&system, &["tap", "a", "--from", from]);
        // The last frame is sure to come after the start: it is published until it is seen.
        let mut lines = BufReader::new(tap.stdout.take().unwrap()).lines();
        let feeding = std::sync::atomic::AtomicBool::new(true);
        let first = std::thread::scope(|scope| {
            scope.spawn(|| {
                while feeding.load(std::sync::atomic::Ordering::Relaxed) {
                    let meta = video(FrameClass::P, false, 99_000);
                    system.dataplane.world().frame("a", &meta, b"later");
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
            });
            let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            feeding.store(false, std::sync::atomic::Ordering::Relaxed);
            first
        });
        let seq = first["seq"].as_u64().unwrap();
        match expected {
            4 => assert_eq!(seq, 0, "oldest"),
            1 => assert_eq!(seq, 3, "key"),
            _ => assert!(seq >= 4, "live: {seq}"),
        }
        system.dataplane.world().end("a", EndReason::Shutdown);
        lines.for_each(drop);
        assert!(tap.wait().unwrap().success());
    }
}

#[test]
fn tap_writes_the_bytes_of_one_track() {
    let system = with_frames();
    let socket = system.socket();
    let socket = socket.to_str().unwrap();
    let annexb = start(&system, &["tap", "a", "--format", "annexb"]);
    let raw = start(&system, &["tap", "a", "--format", "raw", "--track", "1", "--socket", socket]);
    let refused = run(&system, &["tap", "a", "--format", "annexb", "--track", "1"]);
    let unlisted = run(&system, &["tap", "a", "--format", "raw", "--track", "9"]);
    // Both have attached: they are waiting for more.
    let mut annexb = annexb;
    let mut first = [0; 8];
    annexb.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let mut raw = raw;
    let mut sound = [0; 5];
    raw.stdout.as_mut().unwrap().read_exact(&mut sound).unwrap();
    system.dataplane.world().end("a", EndReason::Shutdown);
    let rest = annexb.wait_with_output().unwrap().stdout;
    assert_eq!(
        [&first[..], &rest].concat(),
        b"\0\0\0\x01\x65key\0\0\0\x01\x41p\0\0\0\x01\x65again"
    );
    assert_eq!([&sound[..], &raw.wait_with_output().unwrap().stdout].concat(), b"sound");
    assert_eq!(code(&refused), 2);
    assert!(text(&refused.stderr).contains("--format raw"));
    assert_eq!(code(&unlisted), 3);
}

#[test]
fn tap_waits_for_a_stream_that_is_yet_to_come() {
    let system = System::with("", 1);
    let tap = start(&system, &["tap", "late", "--wait", "20"]);
    system.publish(&["late"]);
    {
        let mut world = system.dataplane.world();
        world.with_ring("late", 1 << 20);
        world.frame("late", &video(FrameClass::Idr, true, 1), b"key");
    }
    let mut tap = tap;
    let mut lines = BufReader::new(tap.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"seq\":0"));
    system.dataplane.world().end("late", EndReason::Shutdown);
    assert!(tap.wait().unwrap().success());
}

#[test]
fn tap_ends_quietly_when_its_reader_goes() {
    let system = with_frames();
    let mut tap = start(&system, &["tap", "a", "--format", "annexb"]);
    let mut first = [0; 1];
    tap.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let status = loop {
        let meta = video(FrameClass::P, false, 99_000);
        system.dataplane.world().frame("a", &meta, b"nobody reads this");
        if let Some(status) = tap.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert_eq!(status.code(), Some(0));
    let mut said = String::new();
    tap.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn tap_says_how_many_frames_it_missed() {
    let system = System::with("", 1);
    system.publish(&["a"]);
    system.dataplane.world().with_ring("a", 1 << 21);
    let big = vec![7; 200_000];
    let key = video(FrameClass::Idr, true, 1);
    system.dataplane.world().frame("a", &key, &big);
    let mut tap = start(&system, &["tap", "a", "--format", "annexb"]);
    let mut out = tap.stdout.take().unwrap();
    out.read_exact(&mut [0; 1]).unwrap();
    // Nobody reads on: the pipe fills and tap stands still while the ring goes round.
    for _ in 0..100 {
        system.dataplane.world().frame("a", &key, &big);
    }
    system.dataplane.world().end("a", EndReason::Shutdown);
    std::io::copy(&mut out, &mut std::io::sink()).unwrap();
    let output = tap.wait_with_output().unwrap();
    assert_eq!(code(&output), 0);
    let line: Value = serde_json::from_str(text(&output.stderr).lines().next().unwrap()).unwrap();
    assert!(line["overrun"].as_u64().unwrap() > 0);
}
