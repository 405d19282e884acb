//! Sources over REST, metrics and the command line.

use serde_json::json;
use shm::link::{SourceFailure, SourceFailures, SourceReport};

use crate::support::{System, called};

fn refused() -> SourceReport {
    SourceReport {
        state: "waiting".into(),
        breaker: "open".into(),
        breaker_open_ms: Some(60_000),
        next_try_ms: Some(60_000),
        attempts: 4,
        connections: 1,
        failures: SourceFailures { rejected: 3, ..SourceFailures::default() },
        last_failure: Some(SourceFailure {
            reason: "rejected".into(),
            code: Some(1_010),
            message: "the peer refused: code 1010, wrong passphrase".into(),
            unix_ns: 1_700_000_000_000_000_000,
        }),
        ..called("live/refused", "encoder.example:9000")
    }
}

#[test]
fn sources_are_listed_with_state_breaker_and_last_failure() {
    let system = System::start();
    assert_eq!(system.served.get("/api/v1/sources")["count"], 0);
    system.dataplane.world().sources.insert("live/refused".into(), refused());
    let body = system.served.eventually("/api/v1/sources", |_, body| body["count"] == 1);
    let source = &body["sources"][0];
    assert_eq!(source["state"], "waiting");
    assert_eq!(source["breaker"]["state"], "open");
    assert!(source["breaker"]["open_until"].as_str() > body["time"].as_str(), "{body}");
    assert_eq!(source["last_failure"]["code"], 1_010);
    assert_eq!(source["last_failure"]["at"], "2023-11-14T22:13:20Z");
    assert_eq!(source["failures"]["rejected"], 3);
    assert_eq!((&source["origin"], &body["stale"]), (&json!("api"), &json!(false)));
    let detail = system.served.get("/api/v1/sources/live%2Frefused");
    assert_eq!((&detail["id"], &detail["stale"]), (&json!("live/refused"), &json!(false)));
}

#[test]
fn more_sources_than_one_message_holds_are_all_listed() {
    let system = System::start();
    for place in 0..100 {
        let id = format!("cam{place:03}");
        system.dataplane.world().sources.insert(id.clone(), called(&id, "192.0.2.1:9000"));
    }
    let body = system.served.eventually("/api/v1/sources", |_, body| body["count"] == 100);
    assert_eq!(body["sources"][99]["id"], "cam099");
}

#[test]
fn a_source_is_added_called_at_once_and_removed() {
    let system = System::start();
    let served = &system.served;
    let source = r#"{"id": "live/cam", "address": "192.0.2.1:9000"}"#;
    let (status, body) = served.post("/api/v1/sources", source);
    assert_eq!((status, &body["data"]["source_id"]), (201, &json!("live/cam")), "{body}");
    assert_eq!(served.get("/api/v1/sources/live%2Fcam")["address"], "192.0.2.1:9000");
    let (status, body) = served.post("/api/v1/sources", source);
    assert_eq!((status, &body["code"]), (409, &json!("already_exists")));
    let (status, _) = served.request("POST", "/api/v1/sources/live%2Fcam/restart");
    assert_eq!(status, 200);
    assert_eq!(system.dataplane.world().restarted, ["live/cam"]);
    assert_eq!(served.request("DELETE", "/api/v1/sources/live%2Fcam").0, 200);
    for (method, path) in [
        ("GET", "/api/v1/sources/live%2Fcam"),
        ("DELETE", "/api/v1/sources/live%2Fcam"),
        ("POST", "/api/v1/sources/live%2Fcam/restart"),
    ] {
        let (status, body) = served.request(method, path);
        assert_eq!((status, &body["code"]), (404, &json!("source_not_found")), "{method} {path}");
    }
}

#[test]
fn what_is_wrong_with_a_source_is_named() {
    let system = System::start();
    let (status, body) = system.served.post("/api/v1/sources", "{}");
    assert_eq!((status, &body["key"]), (400, &json!("id")), "{body}");
    for wrong in ["[]", "{", ""] {
        let (status, body) = system.served.post("/api/v1/sources", wrong);
        assert_eq!((status, &body["key"]), (400, &json!("body")), "{body}");
    }
    let (status, body) = system.served.request("POST", "/api/v1/sources");
    assert_eq!((status, &body["key"]), (400, &json!("content-type")), "{body}");
    let long = format!(r#"{{"id": "{}"}}"#, "x".repeat(9_000));
    assert_eq!(system.served.post("/api/v1/sources", &long).0, 400, "longer than a message");
    let (status, _) = system.served.request("GET", "/api/v1/sources?x=1");
    assert_eq!(status, 400);
}

#[test]
fn a_silent_dataplane_takes_no_source() {
    let system = System::start();
    system.dataplane.set_silent(true);
    system.served.eventually("/api/v1/sources", |_, body| body["stale"] == true);
    let (status, body) = system.served.post("/api/v1/sources", r#"{"id": "cam"}"#);
    assert_eq!((status, &body["code"]), (503, &json!("dataplane_unavailable")));
}

#[test]
fn metrics_tell_state_breaker_and_failures_by_reason() {
    let system = System::start();
    system.dataplane.world().sources.insert("live/refused".into(), refused());
    system.served.eventually("/api/v1/sources", |_, body| body["count"] == 1);
    let text = system.served.text(system.served.address, "/metrics");
    for line in [
        r#"penstock_source_state{source="live/refused",state="waiting"} 1"#,
        r#"penstock_source_state{source="live/refused",state="connected"} 0"#,
        r#"penstock_source_breaker{source="live/refused",state="open"} 1"#,
        r#"penstock_source_connect_attempts_total{source="live/refused"} 4"#,
        r#"penstock_source_connect_failures_total{source="live/refused",reason="rejected"} 3"#,
    ] {
        assert!(text.contains(line), "{line} is missing in {text}");
    }
}
