//! Sources: what is accepted and derived, and what is refused by which name.

use super::*;
use crate::config::schema::CryptoMode;
use crate::config::{Config, Sources};

fn sources(keys: &str) -> Result<Sources, Error> {
    let text = format!("ingestion:\n  {keys}\n");
    Config::from_yaml_with(&text, |_| None).map(|config| config.srt.expect("srt is on").sources)
}

#[test]
fn a_source_needs_an_id_and_an_address_and_has_the_first_listeners_options() {
    let keys = "srt: {latency: 200ms, publish_key: k, sources: [{id: cam, address: 'host:9'}]}";
    let sources = sources(keys).expect("accepted");
    let source = &sources.list[0];
    assert_eq!((source.id.as_str(), source.mode), ("cam", SourceMode::Caller));
    assert_eq!(source.options.latency, 200 * MS);
    assert_eq!((source.local_port, source.connect_timeout), (None, 3 * SECOND));
    assert_eq!(source.options.peer_idle_timeout, 4 * SECOND);
    assert!(source.options.publish_key.is_none(), "for publishers only");
}

#[test]
fn a_rendezvous_calls_from_the_port_it_calls_unless_told_otherwise() {
    let keys = "srt: {sources: [{id: a, mode: rendezvous, address: '10.0.0.1:9'}, \
                {id: b, mode: rendezvous, address: '10.0.0.1:9', local_port: 7}]}";
    let ports: Vec<_> =
        sources(keys).expect("accepted").list.iter().map(|it| it.local_port).collect();
    assert_eq!(ports, [Some(9), Some(7)]);
}

#[test]
fn sources_of_either_mode_may_be_encrypted_and_say_how() {
    let keys = "srt: {sources: [{id: a, address: 'h:9', passphrase: correct-horse}, \
                {id: b, mode: rendezvous, address: 'h:9', passphrase: correct-horse, \
                crypto_mode: gcm, key_length: 192}]}";
    let list = sources(keys).expect("accepted").list;
    let modes: Vec<_> = list.iter().map(|it| it.crypto_mode).collect();
    assert_eq!(modes, [None, Some(CryptoMode::Gcm)]);
    assert!(list.iter().all(|it| it.options.passphrase.is_some()));
    assert_eq!(list[1].options.key_bytes, Some(24));
}

#[test]
fn by_default_a_silent_peer_is_tried_within_four_seconds_and_only_refusals_open_the_breaker() {
    let policy = sources("srt: {}").expect("the default").policy;
    assert_eq!((policy.backoff.first, policy.backoff.cap), (500 * MS, 4 * SECOND));
    assert_eq!((policy.backoff.multiplier_percent, policy.backoff.tries_max), (200, None));
    assert_eq!((policy.breaker.threshold, policy.breaker.open), (3, 60 * SECOND));
}

#[test]
fn the_first_wait_is_the_reconnect_interval_and_the_cap_is_never_below_it() {
    let policy = sources("reconnect_interval: 5s").expect("accepted").policy;
    assert_eq!((policy.backoff.first, policy.backoff.cap), (5 * SECOND, 5 * SECOND));
    let keys = "srt: {reconnect_cap: 30s, reconnect_multiplier: 1.5, reconnect_max_tries: 7, \
                breaker_threshold: 5, breaker_open: 10s}";
    let policy = sources(keys).expect("accepted").policy;
    assert_eq!((policy.backoff.cap, policy.backoff.multiplier_percent), (30 * SECOND, 150));
    assert_eq!(policy.backoff.tries_max, Some(7));
    assert_eq!((policy.breaker.threshold, policy.breaker.open), (5, 10 * SECOND));
}

#[test]
fn what_is_wrong_is_named_by_its_key() {
    let source = |keys: &str| format!("srt: {{sources: [{{{keys}}}]}}");
    for (keys, names) in [
        (source("address: 'h:9'"), "sources[0].id: missing"),
        (source("id: a"), "sources[0].address: missing"),
        (source("id: a, address: host"), "sources[0].address: `host`"),
        (source("id: a, address: 'h:0'"), "h:0"),
        (source("id: ' a', address: 'h:9'"), "sources[0].id"),
        (source("id: a, adress: 'h:9'"), "adress"),
        (source("id: a, address: 'h:9', mode: listener"), "listener"),
        (source("id: a, address: 'h:9', local_port: 0"), "sources[0].local_port"),
        (source("id: a, address: 'h:9', local_addr: x"), "sources[0].local_addr"),
        (source("id: a, address: '10.0.0.1:9', local_addr: '::1'"), "one is IPv4"),
        (source("id: a, address: 'h:9', mode: rendezvous, stream_id: s"), "sources[0].stream_id"),
        (source("id: a, address: 'h:9', publish_key: k"), "sources[0].publish_key"),
        (source("id: a, address: 'h:9', second_publisher: refuse"), "second_publisher"),
        (source("id: a, address: 'h:9', connect_timeout: 1ms"), "sources[0].connect_timeout"),
        (source("id: a, address: 'h:9', latency: 61s"), "sources[0].latency"),
        (source("id: a, address: 'h:9', crypto_mode: gcm"), "sources[0].crypto_mode"),
        (source("id: a, address: 'h:9', crypto_mode: auto"), "`auto`"),
        ("srt: {sources: [{id: a, address: 'h:9'}, {id: a, address: 'g:9'}]}".into(), "used twice"),
        ("srt: {max_sources: 0, sources: [{id: a, address: 'h:9'}]}".into(), "max_sources"),
        (
            "streams: [{id: a}]\n  srt: {sources: [{id: a, address: 'h:9'}]}".into(),
            "ingestion.streams",
        ),
        ("srt: {reconnect_cap: 100ms}".into(), "reconnect_cap"),
        ("srt: {reconnect_multiplier: 0.5}".into(), "reconnect_multiplier"),
        ("srt: {breaker_threshold: 0}".into(), "breaker_threshold"),
        ("srt: {breaker_open: 0s}".into(), "breaker_open"),
    ] {
        let text = sources(&keys).expect_err(&keys).to_string();
        assert!(text.contains(names), "{keys}: {text}");
    }
}

#[test]
fn a_source_from_the_api_is_checked_in_the_same_way() {
    let sources = sources("srt: {latency: 200ms}").expect("accepted");
    let read = |json: &str| sources.read(serde_json::from_str(json).expect("JSON"));
    let source = read(r#"{"id": "cam", "address": "[::1]:9", "latency": "1s"}"#).expect("a source");
    assert_eq!((source.options.latency, source.address.port), (SECOND, 9));
    for (json, names) in [
        (r#"{"id": "cam"}"#, "source.address: missing"),
        (r#"{"id": "cam", "address": 5}"#, "source.address"),
        (r#"{"id": "cam", "address": "h:9", "x": 1}"#, "x"),
        (r#"["cam"]"#, "source"),
        (r#"{"id": "cam", "address": "h:9", "passphrase": 1234567890}"#, "source.passphrase"),
    ] {
        let text = read(json).expect_err(json).to_string();
        assert!(text.contains(names) && !text.contains("1234567890"), "{json}: {text}");
    }
}
