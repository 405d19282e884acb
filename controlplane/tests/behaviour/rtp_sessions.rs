//! Sessions of RTP over REST.

use serde_json::json;

use crate::support::{System, listening};

const SESSIONS: &str = "/api/v1/rtp/sessions";

#[test]
fn sessions_are_listed_with_state_addresses_and_the_figures_of_their_streams() {
    let system = System::start();
    assert_eq!(system.served.get(SESSIONS)["count"], 0);
    {
        let mut world = system.dataplane.world();
        let mut session = listening("studio/cam");
        (session.state, session.source) = ("receiving".into(), Some("192.0.2.1:5000".into()));
        session.configured = true;
        world.rtp_sessions.insert("studio/cam".into(), session);
        world.rtp_sessions.insert("z".into(), listening("z"));
        world.publish("studio/cam");
    }
    let body = system.served.eventually(SESSIONS, |_, body| body["count"] == 2);
    let session = &body["sessions"][0];
    assert_eq!((&session["id"], &session["origin"]), (&json!("studio/cam"), &json!("config")));
    assert_eq!((&session["state"], &session["stale"]), (&json!("receiving"), &json!(null)));
    assert_eq!(session["source_addr"], "192.0.2.1:5000");
    assert_eq!(session["sockets"][0]["address"], "127.0.0.1:6000");
    let detail = system.served.eventually(&format!("{SESSIONS}/studio%2Fcam"), |_, body| {
        body["packets_received"].as_u64() > Some(0)
    });
    let stream = system.served.get("/api/v1/streams/studio%2Fcam");
    for figure in ["packets_received", "bytes_received", "packets_lost"] {
        assert_eq!(detail[figure], stream["counters"][figure], "{figure}");
    }
    assert_eq!(body["sessions"][1]["packets_received"], 0, "without a stream");
}

#[test]
fn a_session_is_added_and_removed_once_its_sockets_are_closed() {
    let system = System::start();
    let served = &system.served;
    let (status, body) = served.post(SESSIONS, r#"{"id": "a", "port": 6000}"#);
    assert_eq!((status, &body["data"]["session_id"]), (201, &json!("a")), "{body}");
    assert_eq!(body["data"]["left_out"].as_array().map(Vec::len), Some(1), "{body}");
    assert_eq!(served.get(&format!("{SESSIONS}/a"))["state"], "listening");
    let (status, body) = served.post(SESSIONS, r#"{"id": "a", "port": 6002}"#);
    assert_eq!((status, &body["code"]), (409, &json!("already_exists")));
    system.dataplane.world().closing_turns.set(5);
    assert_eq!(served.request("DELETE", &format!("{SESSIONS}/a")).0, 200);
    assert_eq!(system.dataplane.world().closing_turns.get(), 0, "it was waited for");
    for method in ["GET", "DELETE"] {
        let (status, body) = served.request(method, &format!("{SESSIONS}/a"));
        assert_eq!((status, &body["code"]), (404, &json!("session_not_found")), "{method}");
    }
}

#[test]
fn a_session_is_added_by_its_description() {
    let system = System::start();
    let served = &system.served;
    let post = |query: &str, kind: &str, body: &str| {
        served.post_as(&format!("{SESSIONS}{query}"), kind, body)
    };
    let (status, body) = post("?id=a%2Fb&allow=10.0.0.0/8", "application/sdp", "v=0\r\n");
    assert_eq!((status, &body["data"]["session_id"]), (201, &json!("a/b")), "{body}");
    for (query, kind, sdp, key) in [
        ("", "application/sdp", "v=0", "id"),
        ("?id=x&port=1", "application/sdp", "v=0", "port"),
        ("?id=x", "application/sdp", "nonsense", "sdp"),
        ("?id=x", "application/json", "{}", "id"),
        ("?id=x", "text/plain", "v=0", "content-type"),
    ] {
        let (status, body) = post(query, kind, sdp);
        assert_eq!((status, &body["key"]), (400, &json!(key)), "{query} {kind}: {body}");
    }
    let (status, body) = post("?id=x", "application/sdp", &"a=x\r\n".repeat(3_000));
    assert_eq!((status, &body["key"]), (400, &json!("body")), "longer than a message: {body}");
}

#[test]
fn conflicts_are_told_by_their_words() {
    let system = System::start();
    for (port, code) in [(9, "address_in_use"), (10, "limit_reached"), (11, "wrong_state")] {
        let session = format!(r#"{{"id": "a", "port": {port}}}"#);
        let (status, body) = system.served.post(SESSIONS, &session);
        assert_eq!((status, &body["code"]), (409, &json!(code)), "{body}");
    }
}
