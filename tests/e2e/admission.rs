//! Who may publish: listeners with their own policy, keys, limits, take-over, refusals as the
//! caller and the operator see them.

use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use penstock_tests::process::{Process, eventually};
use penstock_tests::publisher::{Publisher, Refused};
use penstock_tests::raw::{RawCaller, block, hello, hello_with, message, read};
use penstock_tests::system::{Options, PATIENCE, Penstock, free_udp_port, stream_path};
use serde_json::{Value, json};
use shm::counters::{ConductorCounter, WorkerCounter};
use srt::handshake::{Kind, extension, flag};

/// The code with which a publisher is refused; `None` when it is let in.
pub(crate) fn refusal(to: SocketAddr, stream_id: &str, seed: u32) -> Result<Option<u32>> {
    match Publisher::connect(to, stream_id, seed) {
        Ok(publisher) => publisher.close().map(|()| None),
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(Refused::Rejected(reason)) => Ok(Some(reason.code())),
            _ => Err(error),
        },
    }
}

/// Events of one kind, once there are so many.
pub(crate) fn wait_events(system: &Penstock, kind: &str, count: usize) -> Result<Vec<Value>> {
    let mut last = Value::Null;
    let found = eventually(&format!("{count} events {kind}"), PATIENCE, || {
        last = system.get(&format!("/api/v1/events?limit=1000&kind={kind}"))?;
        let events = last["events"].as_array().context("a list")?;
        Ok((events.len() >= count).then(|| events.clone()))
    });
    found.with_context(|| format!("the last answer was {last}"))
}

fn on_port(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

#[test]
fn each_listener_has_its_own_port_networks_key_and_latency() -> Result<()> {
    let (keyed, closed) = (free_udp_port()?, free_udp_port()?);
    let options = Options {
        workers: "[0, 1]".into(),
        srt: format!(
            "    max_bandwidth: 10000000\n    listeners:\n    - {{name: keyed, port: {keyed}, \
             publish_key: sesame, latency: 300ms}}\n    - {{name: closed, port: {closed}, \
             deny: [127.0.0.0/8]}}\n"
        ),
        ..Options::default()
    };
    let system = Penstock::start(&options)?;
    assert_eq!(refusal(on_port(closed), "a", 1)?, Some(2_403));
    assert_eq!(refusal(on_port(keyed), "a", 2)?, Some(2_401));
    // Several of each, so that both workers answer at both ports.
    let mut publishers = Vec::new();
    for number in 0..4 {
        let here =
            Publisher::connect(system.srt_address(), &format!("open/{number}"), 10 + number)?;
        let text = format!("#!::r=keyed/{number},s=sesame,m=publish");
        publishers.extend([here, Publisher::connect(on_port(keyed), &text, 20 + number)?]);
    }
    for publisher in &mut publishers {
        publisher.send(&[0x47; 1_316])?;
        publisher.drain()?;
    }
    for (id, latency_ms) in [("open/0", 120), ("keyed/0", 300)] {
        let stream = system
            .wait_stream(id, "a packet", |stream| stream["counters"]["packets_unique"] == 1)?;
        assert_eq!(stream["counters"]["latency_ms"], latency_ms, "{id}");
    }
    let accepted = wait_events(&system, "accepted", 8)?;
    let listeners = |name: &str| accepted.iter().filter(|e| e["listener"] == name).count();
    assert_eq!((listeners("srt"), listeners("keyed")), (4, 4));
    let refused = wait_events(&system, "refused", 2)?;
    let facts = |event: &Value| json!([event["listener"], event["reason"], event["code"]]);
    assert_eq!(facts(&refused[0]), json!(["closed", "source", 2_403]));
    assert_eq!(facts(&refused[1]), json!(["keyed", "key_missing", 2_401]));
    publishers.into_iter().try_for_each(Publisher::close)?;
    system.stop()
}

#[test]
fn a_session_is_reached_by_its_own_listener_only() -> Result<()> {
    let other = free_udp_port()?;
    let options = Options {
        srt: format!("    max_bandwidth: 10000000\n    listeners: [{{port: {other}}}]\n"),
        ..Options::default()
    };
    let system = Penstock::start(&options)?;
    let publisher = Publisher::connect(system.srt_address(), "a", 1)?;
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0))?;
    // A shutdown with the session's id, at the other port and from another address.
    let mut shutdown = [0; 20];
    shutdown[..4].copy_from_slice(&[0x80, 5, 0, 0]);
    shutdown[12..16].copy_from_slice(&publisher.listener_socket_id().to_be_bytes());
    socket.send_to(&shutdown, on_port(other))?;
    system.wait_stream("a", "the stranger is counted", |stream| {
        stream["counters"]["wrong_source"] == 1
    })?;
    assert_eq!(system.directory()?.streams().len(), 1);
    publisher.close()?;
    system.stop()
}

#[test]
fn publish_keys_right_wrong_and_missing_and_no_key_is_ever_shown() -> Result<()> {
    const KEY: &str = "Xyzzy-right";
    const WRONG: &str = "Xyzzy-wrong";
    let options = Options {
        ingestion: format!(
            "  frame: {{max_frame_size: 1048576}}\n  streams:\n  - {{id: live/a, publish_key: \
             {KEY}}}\n"
        ),
        ..Options::default()
    };
    let system = Penstock::start(&options)?;
    let to = system.srt_address();
    assert_eq!(refusal(to, "live/a", 1)?, Some(2_401));
    assert_eq!(refusal(to, &format!("#!::r=live/a,s={WRONG}"), 2)?, Some(2_401));
    assert_eq!(refusal(to, "other", 3)?, None);
    let publisher = Publisher::connect(to, &format!("#!::r=live/a,s={KEY},m=publish"), 4)?;
    let refused = wait_events(&system, "refused", 2)?;
    assert_eq!([&refused[0]["reason"], &refused[1]["reason"]], ["key_missing", "key_wrong"]);
    assert_eq!([&refused[0]["stream_id"], &refused[1]["stream_id"]], ["live/a", "live/a"]);
    let metrics = eventually("the metrics count them", PATIENCE, || {
        let metrics = system.get("/metrics")?.as_str().context("text")?.to_owned();
        Ok(metrics.contains("penstock_conductor_rejected_key_total 2").then_some(metrics))
    })?;
    for path in ["/api/v1/events", "/api/v1/streams?status=all", &stream_path("live/a")] {
        let text = system.get(path)?.to_string();
        ensure!(!text.contains("Xyzzy"), "{path}: {text}");
    }
    ensure!(!metrics.contains("Xyzzy"));
    let log = std::fs::read_to_string(system.path("log"))?;
    ensure!(log.contains("publish key is wrong") && !log.contains("Xyzzy"), "{log}");
    publisher.close()?;
    system.stop()
}

/// What srt-live-transmit says when it is refused.
pub(crate) fn libsrt_says(url: &str) -> Result<String> {
    let output = std::process::Command::new("srt-live-transmit")
        .args(["-v", "-loglevel:note", "-a:no", "-t:5", "file://con", url])
        .stdin(Stdio::piped())
        .output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn a_libsrt_caller_hears_why_it_is_refused() -> Result<()> {
    let denied = free_udp_port()?;
    let options = Options {
        ingestion: "  frame: {max_frame_size: 1048576}\n  max_connections: 2\n  streams:\n  \
                    - {id: kept, publish_key: sesame}\n"
            .into(),
        srt: format!(
            "    max_bandwidth: 10000000\n    latency_max: 1s\n    listeners: [{{port: {denied}, \
             deny: [127.0.0.0/8]}}]\n"
        ),
        ..Options::default()
    };
    let system = Penstock::start(&options)?;
    let here = |text: &str| format!("srt://127.0.0.1:{}?{text}", system.srt_port);
    // libsrt has one text for all codes of an application, and its own for each of its own.
    let access = "Application-defined rejection reason";
    let codes = [
        (here("streamid=kept"), 2_401, access),
        (format!("srt://127.0.0.1:{denied}?streamid=a"), 2_403, access),
        (here("streamid=#!::r=a,m=request"), 2_405, access),
        (here("streamid=a&latency=2000"), 2_406, access),
        (here("streamid=a&latency=900"), 1_003, "Resource allocation failure"),
    ];
    for (url, code, says) in &codes {
        let text = libsrt_says(url)?;
        ensure!(text.contains(says), "{code}, {url}: no {says:?} in {text}");
    }
    let refused = wait_events(&system, "refused", codes.len())?;
    let seen: Vec<&Value> = refused.iter().map(|event| &event["code"]).collect();
    assert_eq!(seen, codes.iter().map(|(_, code, _)| code).collect::<Vec<_>>());
    system.stop()
}

#[test]
fn limits_by_source_listener_and_rule_hold_and_free_places_are_given_again() -> Result<()> {
    let limited = free_udp_port()?;
    let options = Options {
        ingestion:
            "  frame: {max_frame_size: 1048576}\n  max_streams_per_source: 4\n  streams:\n  \
                    - {pattern: 'pair/*', max_connections: 2}\n"
                .into(),
        srt: format!(
            "    max_bandwidth: 10000000\n    listeners: [{{name: one, port: {limited}, \
             max_connections: 1}}]\n"
        ),
        ..Options::default()
    };
    let system = Penstock::start(&options)?;
    let to = system.srt_address();
    let first = Publisher::connect(on_port(limited), "x", 1)?;
    assert_eq!(refusal(on_port(limited), "y", 2)?, Some(2_402), "one at that listener");
    let pair = [Publisher::connect(to, "pair/1", 3)?, Publisher::connect(to, "pair/2", 4)?];
    assert_eq!(refusal(to, "pair/3", 5)?, Some(2_402), "two under that rule");
    let fourth = Publisher::connect(to, "z", 6)?;
    assert_eq!(refusal(to, "one more", 7)?, Some(2_402), "four from here");
    let refused = wait_events(&system, "refused", 3)?;
    let messages: Vec<&str> =
        refused.iter().filter_map(|event| event["message"].as_str()).collect();
    for (message, named) in
        messages.iter().zip(["of the listener", "of the stream's rule", "max_streams_per_source"])
    {
        ensure!(message.contains(named), "{messages:?}");
    }
    first.close()?;
    wait_events(&system, "ended", 1)?;
    Publisher::connect(on_port(limited), "y", 8)?.close()?;
    pair.into_iter().chain([fourth]).try_for_each(Publisher::close)?;
    system.stop()
}

#[test]
fn a_second_publisher_is_refused_or_takes_over_by_policy() -> Result<()> {
    let options = Options {
        ingestion: "  frame: {max_frame_size: 1048576}\n  streams:\n  - {pattern: 'take/*', \
                    second_publisher: take_over}\n"
            .into(),
        ..Options::default()
    };
    let system = Penstock::start(&options)?;
    let to = system.srt_address();
    let mut first = Publisher::connect(to, "take/a", 1)?;
    first.send(&[0x47; 1_316])?;
    first.drain()?;
    let mut second = Publisher::connect(to, "take/a", 2)?;
    eventually("the first one hears of it", PATIENCE, || Ok((!first.is_open()?).then_some(())))?;
    second.send(&[0x47; 1_316])?;
    second.drain()?;
    let stream = system.wait_stream("take/a", "both packets", |stream| {
        stream["counters"]["packets_unique"] == 2
    })?;
    assert_eq!(stream["counters"]["connections"], 2);
    let events = wait_events(&system, "taken_over", 1)?;
    assert_eq!(events[0]["source"], second.local()?.to_string());
    let ended = wait_events(&system, "ended", 1)?;
    assert_eq!([&ended[0]["reason"], &ended[0]["stream_id"]], ["taken_over", "take/a"]);
    assert_eq!(ended[0]["source"], first.local()?.to_string());

    let mut kept = Publisher::connect(to, "keep/a", 3)?;
    let keeping = std::thread::spawn(move || -> Result<Publisher> {
        // A publisher that lives sends all the time.
        for _ in 0..100 {
            kept.send(&[0x47; 1_316])?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(kept)
    });
    assert_eq!(refusal(to, "keep/a", 4)?, Some(2_409));
    let Ok(kept) = keeping.join() else { bail!("the publisher failed") };
    assert!(kept?.is_open()?);
    system.stop()
}

/// A host of its own, as far as addresses tell.
fn host(number: u8) -> IpAddr {
    [127, 0, 0, number].into()
}

#[test]
fn encoders_that_call_again_whenever_they_are_cut_off_do_not_take_turns_for_ever() -> Result<()> {
    let options = Options {
        ingestion: "  frame: {max_frame_size: 1048576}\n  take_over_hold: 60s\n  streams:\n  \
                    - {pattern: 'take/*', second_publisher: take_over, peer_idle_timeout: 60s}\n"
            .into(),
        ..Options::default()
    };
    let system = Penstock::start(&options)?;
    let connect = |from: u8, seed| {
        Publisher::connect_from(host(from), system.srt_address(), "take/a", seed, None)
    };
    let refused = |from: u8, seed| match connect(from, seed) {
        Ok(_) => bail!("127.0.0.{from} was let in"),
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(Refused::Rejected(reason)) => Ok(reason.code()),
            _ => Err(error),
        },
    };
    let mut first = connect(2, 1)?;
    let mut second = connect(3, 2)?;
    eventually("the first is displaced", PATIENCE, || Ok((!first.is_open()?).then_some(())))?;
    for seed in 3..6 {
        assert_eq!(refused(2, seed)?, 2_409);
    }
    ensure!(second.is_open()?, "who took the id over has it");
    let told = wait_events(&system, "refused", 3)?;
    assert!(told.iter().all(|event| event["reason"] == "held_off"), "{told:?}");
    let conductor = system.directory()?.conductor();
    assert_eq!(conductor.counter(ConductorCounter::RejectedHeldOff), 3);
    // It is not the id that is kept: a third one takes it over, and now two are held off.
    let third = connect(4, 6)?;
    eventually("the second is displaced", PATIENCE, || Ok((!second.is_open()?).then_some(())))?;
    assert_eq!([refused(2, 7)?, refused(3, 8)?], [2_409, 2_409]);
    // Nobody is displaced by who comes to an id without a publisher.
    third.close()?;
    system.wait_stream("take/a", "lost", |stream| stream["status"] == "lost")?;
    let again = connect(2, 9)?;
    let stream = system.wait_stream("take/a", "back", |stream| stream["status"] != "lost")?;
    assert_eq!(stream["source_addr"], again.local()?.to_string());
    system.stop()
}

#[test]
fn a_caller_that_is_alike_in_all_is_let_in_anew_once_its_session_is_over() -> Result<()> {
    let options = Options { workers: "[0, 1]".into(), ..Options::default() };
    let system = Penstock::start(&options)?;
    // Several, so that the session is on the worker that took the handshake and on the other.
    for number in 1..=6_u32 {
        let id = format!("cam{number}");
        let caller = RawCaller::new(system.srt_address(), number)?;
        let conclusion = message(&caller.conclusion(caller.cookie()?), &hello(120, &id));
        let session = |answer: Vec<u8>| {
            let answer = read(&answer).ok().filter(|it| it.kind == Kind::Conclusion);
            answer.map(|it| it.socket_id)
        };
        let first = eventually("it is let in", PATIENCE, || {
            caller.send(&conclusion)?;
            Ok(caller.receive().and_then(session))
        })?;
        let mut shutdown = [0; 20];
        shutdown[..4].copy_from_slice(&[0x80, 5, 0, 0]);
        shutdown[12..16].copy_from_slice(&first.to_be_bytes());
        caller.send(&shutdown)?;
        system.wait_stream(&id, "lost", |stream| stream["status"] == "lost")?;
        // The worker that took the handshake may hear of the end a moment after everybody else; of
        // itself it would forget its answer after ten seconds.
        let mut second = None;
        for _ in 0..20 {
            caller.send(&conclusion)?;
            second = caller.receive().and_then(session).filter(|id| *id != first);
            if second.is_some() {
                break;
            }
        }
        ensure!(second.is_some(), "the answer of the session that is over, again and again");
        system.wait_stream(&id, "two connections", |stream| {
            stream["counters"]["connections"] == 2 && stream["status"] != "lost"
        })?;
    }
    system.stop()
}

#[test]
fn a_limit_for_each_worker_holds_below_that_for_all() -> Result<()> {
    let options = Options {
        workers: "[0, 1]".into(),
        ingestion: "  frame: {max_frame_size: 1048576}\n  max_connections: 4\n  \
                    max_connections_per_worker: 1\n"
            .into(),
        ..Options::default()
    };
    let system = Penstock::start(&options)?;
    let to = system.srt_address();
    let first = Publisher::connect(to, "a", 1)?;
    let second = Publisher::connect(to, "b", 2)?;
    assert_eq!(refusal(to, "c", 3)?, Some(2_402));
    let refused = wait_events(&system, "refused", 1)?;
    let message = refused[0]["message"].as_str().context("a text")?;
    ensure!(message.contains("max_connections_per_worker"), "{message}");
    let directory = system.directory()?;
    let sessions = directory.workers();
    let sessions: Vec<u64> =
        sessions.iter().map(|it| it.counter(WorkerCounter::Sessions)).collect();
    assert_eq!(sessions, [1, 1]);
    first.close()?;
    wait_events(&system, "ended", 1)?;
    assert_eq!(refusal(to, "c", 4)?, None, "a place is free again");
    second.close()?;
    system.stop()
}

#[test]
fn a_caller_that_asks_for_too_long_a_latency_does_not_shut_the_others_out() -> Result<()> {
    let options = Options {
        ingestion: "  frame: {max_frame_size: 1048576}\n  max_connections: 8\n".into(),
        srt: "    max_bandwidth: 10000000\n    latency_max: 60s\n".into(),
        ..Options::default()
    };
    let system = Penstock::start(&options)?;
    let greedy = RawCaller::new(system.srt_address(), 77)?;
    let conclusion = greedy.conclusion(greedy.cookie()?);
    assert_eq!(greedy.refusal(&conclusion, &hello(60_000, "greedy"))?, Some(1_003));
    let refused = wait_events(&system, "refused", 1)?;
    let message = refused[0]["message"].as_str().context("a text")?;
    ensure!(message.contains("packet slots"), "{message}");
    // What it may have leaves room for the others.
    let modest = RawCaller::new(system.srt_address(), 78)?;
    let conclusion = modest.conclusion(modest.cookie()?);
    assert_eq!(modest.refusal(&conclusion, &hello(400, "modest"))?, None);
    let others = (0..4).map(|n| Publisher::connect(system.srt_address(), &format!("o{n}"), 80 + n));
    others.collect::<Result<Vec<_>>>()?.into_iter().try_for_each(Publisher::close)?;
    system.stop()
}

#[test]
fn handshakes_refused_by_what_they_ask_are_events_too() -> Result<()> {
    let system = Penstock::start(&Options::default())?;
    let caller = RawCaller::new(system.srt_address(), 5)?;
    let conclusion = caller.conclusion(caller.cookie()?);
    let stream_mode = hello_with(flag::TSBPDSND | flag::STREAM, 120, "a");
    assert_eq!(caller.refusal(&conclusion, &stream_mode)?, Some(1_012));
    let group = [hello(120, "a"), block(extension::GROUP, &[1, 2])].concat();
    assert_eq!(caller.refusal(&conclusion, &group)?, Some(1_015));
    let refused = wait_events(&system, "refused", 2)?;
    assert_eq!([&refused[0]["code"], &refused[1]["code"]], [1_012, 1_015]);
    assert!(refused.iter().all(|event| event["reason"] == "handshake"));
    system.stop()
}

#[test]
fn any_printable_id_is_a_path_of_rest_and_never_a_file() -> Result<()> {
    let system = Penstock::start(&Options::default())?;
    let ids = [
        "../../etc/passwd",
        "/",
        "a//b/",
        "%2e%2e%2fx",
        "\\u002e\\u00e9",
        "a b?c#d&e",
        "..",
        "%00",
    ];
    let mut publishers = Vec::new();
    for (seed, id) in (1..).zip(ids) {
        publishers.push(Publisher::connect(system.srt_address(), &format!("#!::r={id}"), seed)?);
        let stream = system.wait_stream(id, "listed", |_| true)?;
        assert_eq!(stream["id"], id);
    }
    let accepted = wait_events(&system, "accepted", ids.len())?;
    assert!(accepted.iter().zip(ids).all(|(event, id)| event["stream_id"] == id));
    for id in ids {
        let (status, body) = system.request("DELETE", &stream_path(id))?;
        assert_eq!((status, &body["data"]["stream_id"]), (200, &json!(id)), "{body}");
    }
    let (status, _) = system.request("GET", "/api/v1/streams/%ff%fe")?;
    assert_eq!(status, 400, "no UTF-8");
    drop(publishers);
    system.stop()
}

#[test]
fn events_are_listed_followed_and_survive_a_control_plane_that_is_killed() -> Result<()> {
    let mut system = Penstock::start(&Options::default())?;
    let to = system.srt_address();
    Publisher::connect(to, "a", 1)?.close()?;
    wait_events(&system, "ended", 1)?;
    let output = system.path("followed");
    let mut command = system.cli(&["--json", "events", "--follow", "--stream", "a"])?;
    command.stdout(std::fs::File::create(&output)?);
    let mut follower = Process::start("penstock events", &mut command)?;
    let followed = |count: usize| {
        eventually(&format!("{count} events are followed"), PATIENCE, || {
            let text = std::fs::read_to_string(&output)?;
            let kinds: Vec<String> = text
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .filter_map(|event| event["kind"].as_str().map(str::to_owned))
                .collect();
            Ok((kinds.len() >= count).then_some(kinds))
        })
    };
    followed(2)?;
    Publisher::connect(to, "b", 2)?.close()?;
    Publisher::connect(to, "a", 3)?.close()?;
    assert_eq!(followed(4)?, ["accepted", "ended", "reconnected", "ended"]);
    follower.kill();

    let listed = system.get("/api/v1/events?limit=2")?;
    let (next, count) = (listed["next"].as_u64().context("a cursor")?, &listed["count"]);
    assert_eq!(
        (count, &listed["attending"], &listed["missed"]),
        (&json!(2), &json!(true), &json!(0))
    );
    // What happens while nobody listens is heard by who comes next.
    system.controlplane.kill();
    Publisher::connect(to, "c", 4)?.close()?;
    system.restart_controlplane()?;
    system.wait_ready()?;
    let events = eventually("the missed ones", PATIENCE, || {
        let body = system.get(&format!("/api/v1/events?after={next}"))?;
        Ok((body["count"].as_u64() >= Some(2)).then(|| body["events"].clone()))
    })?;
    assert_eq!([&events[0]["kind"], &events[0]["stream_id"]], ["accepted", "c"]);
    system.stop()
}
