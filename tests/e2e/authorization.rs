//! An HTTP service decides who may publish, while the handshake is held.

use anyhow::{Context, Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::hook::{Answer, Service};
use penstock_tests::process::eventually;
use penstock_tests::publisher::{PAYLOAD_BYTES, Publisher};
use penstock_tests::senders::SrtLiveTransmit;
use penstock_tests::system::{Options, PATIENCE, Penstock};
use serde_json::Value;
use shm::WorkerSnapshot;
use shm::counters::WorkerCounter;

use crate::admission::{libsrt_says, refusal, wait_events};

fn options(service: &Service, more: &str) -> Options {
    let url = service.url();
    Options {
        workers: "[0, 1]".into(),
        ingestion: format!(
            "  frame: {{max_frame_size: 1048576}}\n  authorization: {{url: '{url}'{more}}}\n"
        ),
        ..Options::default()
    }
}

fn by_id(question: &Value) -> Answer {
    match question["id"].as_str() {
        Some("slow") => Answer::Say(
            200,
            r#"{"allow": true, "options": {"latency_ms": 450, "max_bandwidth": 8000000}}"#.into(),
        ),
        Some("secret") => Answer::Say(
            200,
            r#"{"allow": true, "options": {"passphrase": "granted-by-the-service",
                "key_length": 256, "latency_ms": 300, "priority": 7}}"#
                .into(),
        ),
        Some("denied") => Answer::Say(200, r#"{"allow": false, "message": "not today"}"#.into()),
        Some("payment") => Answer::Say(402, String::new()),
        Some("held") => Answer::Hold,
        Some("broken") => Answer::Say(500, String::new()),
        _ => Answer::Say(204, String::new()),
    }
}

#[test]
fn the_service_allows_with_options_and_denies_with_a_code() -> Result<()> {
    let service = Service::start(by_id)?;
    let system = Penstock::start(&options(&service, ", timeout: 5s, token: Xyzzy-token"))?;
    let to = system.srt_address();
    let plain = Publisher::connect(to, "#!::r=plain,u=ann,h=example.org,s=Xyzzy-session", 1)?;
    let slow = Publisher::connect(to, "slow", 2)?;
    system.wait_stream("slow", "its latency", |stream| stream["counters"]["latency_ms"] == 450)?;
    assert_eq!(refusal(to, "denied", 3)?, Some(2_403));
    assert_eq!(refusal(to, "payment", 4)?, Some(2_402));
    assert_eq!(refusal(to, "broken", 5)?, Some(2_503));

    let asked = service.asked();
    assert_eq!(asked.len(), 5, "each publisher is asked about once: {asked:?}");
    let question = &asked[0];
    assert_eq!(question.authorization.as_deref(), Some("Bearer Xyzzy-token"));
    for (key, value) in [
        ("id", "plain"),
        ("resource", "plain"),
        ("user", "ann"),
        ("host", "example.org"),
        ("session", "Xyzzy-session"),
        ("mode", "publish"),
        ("listener", "srt"),
        ("address", "127.0.0.1"),
        ("source", &plain.local()?.to_string()),
    ] {
        assert_eq!(question.body[key], value, "{key}");
    }
    assert_eq!(question.body["encrypted"], false);

    let refused = wait_events(&system, "refused", 3)?;
    let reasons: Vec<&Value> = refused.iter().map(|event| &event["reason"]).collect();
    assert_eq!(reasons, ["denied", "denied", "undecided"]);
    ensure!(refused[0]["message"].as_str().is_some_and(|text| text.contains("not today")));
    let metrics = system.get("/metrics")?;
    let metrics = metrics.as_str().context("text")?;
    for line in [
        "penstock_authorizations_total{outcome=\"allow\"} 2",
        "penstock_authorizations_total{outcome=\"deny\"} 2",
        "penstock_authorizations_total{outcome=\"unavailable\"} 1",
    ] {
        ensure!(metrics.contains(line), "no {line} in {metrics}");
    }
    let log = std::fs::read_to_string(system.path("log"))?;
    ensure!(!log.contains("Xyzzy") && !metrics.contains("Xyzzy"), "{log}");
    slow.close()?;
    plain.close()?;
    system.stop()
}

#[test]
fn a_passphrase_and_options_that_the_service_grants_hold_for_a_libsrt_caller() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let service = Service::start(by_id)?;
    let system = Penstock::start(&options(&service, ", timeout: 5s"))?;
    let tap = system.frames_of("secret")?;
    let url = |passphrase: &str, bytes: u32| {
        system.srt_url("secret") + &format!("&passphrase={passphrase}&pbkeylen={bytes}")
    };
    let right = url("granted-by-the-service", 32);
    let mut sender = SrtLiveTransmit::start(&right, &system.path("srt-live-transmit.log"))?;
    let stream = system.wait_stream("secret", "connected", |_| true)?;
    ensure!(stream["encryption"]["key_bits"] == 256, "{stream}");
    sender.feed(&clip)?;
    let packets = clip.bytes.chunks(PAYLOAD_BYTES).count() as u64;
    let stream = system.wait_stream("secret", "everything", |stream| {
        stream["counters"]["packets_delivered"].as_u64() >= Some(packets)
    })?;
    ensure!(stream["counters"]["latency_ms"] == 300, "{stream}");
    ensure!(stream["counters"]["priority"] == 7, "{stream}");
    let shown = system.get("/api/v1/streams/secret/options")?;
    ensure!(shown["options"]["encrypted"] == true, "{shown}");
    sender.end()?;
    clip.is_whole(&tap.frames()?)?;
    // Nothing else opens it: no other passphrase, no other key, no clear text.
    let wrong = [
        (url("granted-by-nobody", 32), 1_010),
        (url("granted-by-the-service", 16), 1_017),
        (system.srt_url("secret"), 1_011),
    ];
    for (place, (url, code)) in wrong.iter().enumerate() {
        libsrt_says(url)?;
        let refused = wait_events(&system, "refused", place + 1)?;
        ensure!(refused[place]["code"] == *code, "{url}: {}", refused[place]);
    }
    let asked = service.asked();
    ensure!(asked.iter().all(|it| it.body["id"] == "secret"), "{asked:?}");
    let encrypted: Vec<&Value> = asked.iter().map(|it| &it.body["encrypted"]).collect();
    assert_eq!(encrypted, [true, true, true, false]);
    let log = std::fs::read_to_string(system.path("log"))?;
    ensure!(!log.contains("granted-by"), "{log}");
    system.stop()
}

#[test]
fn a_silent_service_holds_one_caller_and_nobody_else() -> Result<()> {
    let service = Service::start(by_id)?;
    let system = Penstock::start(&options(&service, ", timeout: 2s"))?;
    let to = system.srt_address();
    let held = std::thread::spawn(move || refusal(to, "held", 1));
    eventually("it is asked", PATIENCE, || Ok((!service.asked().is_empty()).then_some(())))?;
    // The handshake is held now, and a worker that waited would answer nobody.
    let mut others = Vec::new();
    for number in 0..6 {
        let mut publisher = Publisher::connect(to, &format!("other/{number}"), 10 + number)?;
        publisher.send(&[0x47; 1_316])?;
        publisher.drain()?;
        others.push(publisher);
    }
    let code = held.join().map_err(|_| anyhow::anyhow!("the caller failed"))??;
    assert_eq!(code, Some(2_503));
    others.into_iter().try_for_each(Publisher::close)?;
    system.stop()
}

#[test]
fn without_the_control_plane_callers_are_refused_by_default_and_its_successor_decides_at_once()
-> Result<()> {
    let service = Service::start(by_id)?;
    let mut system = Penstock::start(&options(&service, ", timeout: 1s"))?;
    let to = system.srt_address();
    let before = Publisher::connect(to, "before", 1)?;
    system.controlplane.kill();
    assert_eq!(refusal(to, "during", 2)?, Some(2_503));
    system.restart_controlplane()?;
    system.wait_ready()?;
    let attended = || Ok(system.get("/api/v1/events")?["attending"].as_bool().filter(|yes| *yes));
    eventually("it attends", PATIENCE, attended)?;
    assert_eq!(refusal(to, "after", 3)?, None);
    before.close()?;
    system.stop()
}

#[test]
fn a_caller_that_waits_is_answered_by_the_control_plane_that_comes_next() -> Result<()> {
    let service = Service::start(by_id)?;
    let mut system = Penstock::start(&options(&service, ", timeout: 20s"))?;
    let to = system.srt_address();
    system.controlplane.kill();
    let caller = penstock_tests::raw::RawCaller::new(to, 9)?;
    let conclusion = caller.conclusion(caller.cookie()?);
    let hello = penstock_tests::raw::hello(120, "patient");
    let message = penstock_tests::raw::message(&conclusion, &hello);
    caller.send(&message)?;
    caller.send(&message)?;
    eventually("the second is counted", PATIENCE, || {
        let workers = system.directory()?.workers();
        let undecided = |it: &WorkerSnapshot| it.counter(WorkerCounter::ConclusionsUndecided) == 1;
        Ok(workers.iter().any(undecided).then_some(()))
    })?;
    system.restart_controlplane()?;
    assert_eq!(caller.refusal(&conclusion, &hello)?, None);
    assert_eq!(service.asked().len(), 1);
    system.stop()
}

#[test]
fn by_configuration_callers_are_let_in_while_nobody_can_decide() -> Result<()> {
    let service = Service::start(by_id)?;
    let mut system = Penstock::start(&options(&service, ", timeout: 500ms, unavailable: allow"))?;
    let to = system.srt_address();
    assert_eq!(refusal(to, "denied", 1)?, Some(2_403), "who can decide does");
    assert_eq!(refusal(to, "broken", 2)?, None);
    assert_eq!(refusal(to, "held", 3)?, None);
    system.controlplane.kill();
    assert_eq!(refusal(to, "denied", 4)?, None);
    system.restart_controlplane()?;
    system.wait_ready()?;
    system.stop()
}
