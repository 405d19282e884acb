//! The OpenAPI document says what is served.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::support::{System, called, listening};

type Routes = BTreeMap<String, BTreeSet<String>>;

/// Paths and methods of the document.
fn documented(document: &Value) -> Routes {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().map(|(path, item)| (path.clone(), keys(item))).collect()
}

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

/// Those of the router, read from its source.
fn routed() -> Routes {
    let source = include_str!("../../src/routes/mod.rs");
    let (_, source) = source.split_once("fn service_routes").unwrap();
    let (source, _) = source.split_once("/// What surrounds").unwrap();
    let (service, api) = source.split_once("fn api_routes").unwrap();
    let mut routes = Routes::new();
    for (prefix, source) in [("", service), ("/api/v1", api)] {
        for route in source.split(".route(\"").skip(1) {
            let (path, handlers) = route.split_once('"').unwrap();
            let methods = ["get", "post", "patch", "delete"];
            let serves = |method: &&&str| handlers.contains(&format!("{method}("));
            let methods = methods.iter().filter(serves).map(|method| (*method).to_owned());
            routes.insert(format!("{prefix}{path}"), methods.collect());
        }
    }
    routes
}

/// Every `$ref` below a value.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_route_and_method_stands_in_the_document_and_nothing_else() {
    let document = System::start().served.get("/api/v1/openapi.json");
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(documented(&document), routed());
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn bodies_have_exactly_the_fields_that_are_documented() {
    let system = System::start();
    {
        let mut world = system.dataplane.world();
        world.publish("a");
        world.sources.insert("s".into(), called("s", "192.0.2.1:9000"));
        let mut session = listening("r");
        session.tracks.push(shm::link::RtpTrackReport {
            payload_type: Some(96),
            encoding: Some("H264".into()),
            clock_hz: Some(90_000),
            channels: None,
            ssrc: None,
            rtx_payload_type: None,
        });
        world.rtp_sessions.insert("r".into(), session);
    }
    let served = &system.served;
    served.eventually("/api/v1/rtp/sessions", |_, body| body["count"] == 1);
    served.eventually("/api/v1/streams", |_, body| body["count"] == 1);
    let document = served.get("/api/v1/openapi.json");
    let fields = |schema: &str| keys(&document["components"]["schemas"][schema]["properties"]);
    for (path, schema) in [
        ("/streams", "Streams"),
        ("/streams/a", "StreamDetail"),
        ("/streams/a/stats", "StreamStats"),
        ("/sources", "Sources"),
        ("/sources/s", "SourceDetail"),
        ("/rtp/sessions", "RtpSessions"),
        ("/rtp/sessions/r", "RtpSessionDetail"),
    ] {
        let body = served.get(&format!("/api/v1{path}"));
        assert_eq!(keys(&body), fields(schema), "{path}");
    }
    let session = served.get("/api/v1/rtp/sessions/r");
    assert_eq!(keys(&session["sockets"][0]), fields("RtpSocket"));
    assert_eq!(keys(&session["tracks"][0]), fields("RtpTrack"));
    let (status, body) = served.post("/api/v1/rtp/sessions", r#"{"id": "b", "port": 6000}"#);
    assert_eq!((status, keys(&body)), (201, fields("RtpSessionDone")));
    let (status, body) = served.post("/api/v1/rtp/sessions", "[]");
    assert_eq!((status, keys(&body)), (400, fields("Error")));
}
