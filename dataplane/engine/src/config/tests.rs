//! Config: both spellings, refusals by name, what does not go together.

use serde_json::{Value, json};

use super::*;

fn parse(text: &str) -> Result<Config, Error> {
    Config::from_yaml_with(text, |_| None)
}

fn refusal(text: &str) -> String {
    parse(text).expect_err("must be refused").to_string()
}

#[test]
fn embedded_default_is_on_loopback() {
    let config = parse(EMBEDDED).expect("embedded config");
    let srt = config.srt.expect("srt is on");
    let listen = srt.listeners[0].listen;
    assert!(listen.ip().is_loopback());
    assert_eq!(listen.port(), 30_000);
    assert!(config.without_effect.is_empty());
}

#[test]
fn empty_file_is_the_default() {
    assert!(parse("").is_ok());
    assert!(parse("ingestion:\n").is_ok());
}

#[test]
fn unknown_keys_are_refused_by_name() {
    let text = refusal("ingestion:\n  srt:\n    latencyy: 1s\n");
    assert!(text.contains("latencyy") && text.contains("latency"), "{text}");
    assert!(refusal("ingest: {}\n").contains("ingest"));
    assert!(refusal("ingestion:\n  rtp: {prot: 1}\n").contains("prot"));
}

#[test]
fn sections_of_the_control_plane_pass() {
    assert!(parse("server: {http_port: 1}\nmetrics: {whatever: 2}\n").is_ok());
}

#[test]
fn second_spelling_means_the_same() {
    let config =
        parse("ingestion:\n  srt: {flow_window: 1000}\n  memory: {global_limit: 100000000}\n");
    let config = config.expect("aliases");
    assert_eq!(config.srt.expect("srt").listeners[0].options.flow_window, 1_000);
    assert_eq!(config.memory_total_max, 100_000_000);
    assert!(
        refusal("ingestion:\n  srt: {flow_window: 1000, fc_window: 900}\n").contains("fc_window")
    );
}

#[test]
fn out_of_range_names_key_and_range() {
    let text = refusal("ingestion:\n  srt: {port: 70000}\n");
    assert!(text.contains("ingestion.srt.port") && text.contains("65535"), "{text}");
    let text = refusal("ingestion:\n  srt: {payload_size: 1500}\n");
    assert!(text.contains("ingestion.srt.payload_size"), "{text}");
}

#[test]
fn wrong_type_names_the_key() {
    let text = refusal("ingestion:\n  srt: {latency: soon}\n");
    assert!(text.contains("ingestion.srt.latency") && text.contains("120ms"), "{text}");
}

#[test]
fn open_listener_must_be_meant() {
    let text = refusal("ingestion:\n  srt: {listen_addr: 0.0.0.0}\n");
    assert!(text.contains("open: true") && text.contains("allow"), "{text}");
    assert!(parse("ingestion:\n  srt: {listen_addr: 0.0.0.0, open: true}\n").is_ok());
    assert!(parse("ingestion:\n  srt: {listen_addr: '::', allow: [10.0.0.0/8, '::1']}\n").is_ok());
    assert!(refusal("ingestion:\n  srt: {allow: [ten]}\n").contains("ten"));
}

#[test]
fn encryption_is_what_the_passphrase_says_unless_switched_off() {
    let of = |encryption: &str| {
        let config = parse(&format!("ingestion:\n  srt: {{encryption: {{{encryption}}}}}\n"));
        let options = config.expect("valid").srt.expect("srt").listeners[0].options.clone();
        (options.passphrase.is_some(), options.key_bytes)
    };
    assert_eq!(of("passphrase: correct horse"), (true, None));
    assert_eq!(of("passphrase: correct horse, key_length: 192"), (true, Some(24)));
    assert_eq!(of("passphrase: correct horse, pbkdf_iterations: 2048"), (true, None));
    assert_eq!(of("enabled: false, passphrase: correct horse"), (false, None));
    assert_eq!(of("enabled: false, passphrase: ''"), (false, None));
    for wrong in ["enabled: true", "passphrase: short", "key_length: 16", "pbkdf_iterations: 1000"]
    {
        let text = refusal(&format!("ingestion:\n  srt: {{encryption: {{{wrong}}}}}\n"));
        assert!(text.starts_with("ingestion.srt.encryption."), "{text}");
    }
}

#[test]
fn environment_goes_over_the_file() {
    let environment = |name: &str| match name {
        "PENSTOCK_INGESTION_SRT_PORT" => Some("4000".to_owned()),
        "PENSTOCK_DATAPLANE_WORKERS" => Some("[0]".to_owned()),
        _ => None,
    };
    let config = Config::from_yaml_with(EMBEDDED, environment).expect("valid");
    assert_eq!(config.srt.expect("srt").listeners[0].listen.port(), 4_000);
    assert_eq!(config.workers, Workers::Cpus(vec![0]));
}

#[test]
fn contradictions_are_refused() {
    let text =
        refusal("ingestion:\n  gop: {buffer_count: 3}\n  stream_handling: {gop_buffer_size: 4}\n");
    assert!(text.contains("gop_buffer_size"), "{text}");
    let text = refusal("ingestion:\n  srt: {max_bandwidth: 1000000, input_bandwidth: 2000000}\n");
    assert!(text.contains("input_bandwidth"), "{text}");
    let text = refusal("ingestion:\n  memory: {max_per_stream: 2000000}\n");
    assert!(text.contains("max_frame_size"), "{text}");
}

#[test]
fn workers_are_auto_or_cpus() {
    assert_eq!(parse("dataplane: {workers: auto}").expect("auto").workers, Workers::Auto);
    assert_eq!(parse("dataplane: {workers: [1]}").expect("list").workers, Workers::Cpus(vec![1]));
    assert!(refusal("dataplane: {workers: many}").contains("auto"));
    assert!(refusal("dataplane: {workers: [1, 1]}").contains("twice"));
}

#[test]
fn keys_without_effect_are_named() {
    let config =
        parse("ingestion:\n  buffer: {pool_size: 1}\n  sync: {enabled: true}\n").expect("valid");
    assert_eq!(config.without_effect, ["ingestion.buffer", "ingestion.sync"]);
}

#[test]
fn rtcp_of_tracks_and_of_second_legs_is_at_the_port_above_unless_it_is_said() {
    let ports = |legs: &str| -> Vec<u16> {
        let text = format!("ingestion: {{rtp: {{sessions: [{{id: a, open: true, {legs}}}]}}}}");
        let rtp = parse(&text).expect("valid").rtp.expect("on");
        rtp.sessions[0].sockets.iter().map(|socket| socket.listen.port()).collect()
    };
    assert_eq!(ports("port: 7000, second_leg: {port: 7100}"), [7000, 7001, 7100, 7101]);
    let said = "port: 7000, rtcp_port: 7009, second_leg: {port: 7100, rtcp_port: 7109}";
    assert_eq!(ports(said), [7000, 7009, 7100, 7109]);
    let same = "port: 7000, rtcp_port: 7000, second_leg: {port: 7100, rtcp_port: 7100}";
    assert_eq!(ports(same), [7000, 7100]);
}

#[test]
fn rtp_is_off_until_something_is_said_of_it_and_then_on_loopback() {
    assert!(parse("").expect("valid").rtp.is_none());
    assert!(parse("ingestion: {rtp: {enabled: false, port: 5004}}").expect("valid").rtp.is_none());
    let rtp = parse("ingestion: {rtp: {port: 6000, rate_limit: 50000000}}").expect("valid").rtp;
    let rtp = rtp.expect("on");
    assert_eq!(rtp.shared.rtp, ([127, 0, 0, 1], 6_000).into());
    assert_eq!(rtp.shared.rtcp, ([127, 0, 0, 1], 6_001).into());
    assert_eq!(rtp.session.rate_limit_bps, Some(50_000_000));
    let embedded = Config::embedded().expect("valid").rtp.expect("on");
    assert_eq!((embedded.shared.rtp.port(), embedded.shared.rtcp.port()), (5_004, 5_005));
}

#[test]
fn sessions_to_come_have_their_tracks_slots_and_places() {
    let rtp = |yaml: &str| {
        let config = parse(&format!("ingestion: {{rtp: {yaml}}}")).expect("valid");
        config.rtp.expect("on")
    };
    let (with, without) = (rtp("{port: 5004}"), rtp("{max_added_sessions: 0}"));
    assert_eq!((with.room.tracks, without.room.tracks), (2, 1));
    assert_eq!((with.further_slots(), without.further_slots()), (4 * with.slots(1), 0));
    assert_eq!((with.places(2), without.places(2)), (25, 23));
    assert_eq!(with.added.sockets_each(), 10);
}

#[test]
fn a_session_at_run_time_is_read_as_one_of_the_file_within_what_was_taken() {
    let yaml = "ingestion: {rtp: {listen_addr: 0.0.0.0, allow: [10.0.0.0/8], deny: [10.9.0.0/16]}}";
    let rtp = parse(yaml).expect("valid").rtp.expect("on");
    let read = |value: Value| rtp.read(value);
    let session = read(json!({"id": "a", "port": 6000})).expect("valid");
    assert_eq!(session.access.allow, rtp.access.allow, "as at the shared port");
    assert!(!session.access.admits([10, 9, 0, 1].into()));
    let own = json!({"id": "a", "port": 6000, "allow": ["192.0.2.0/24"]});
    assert!(read(own).expect("valid").access.admits([192, 0, 2, 1].into()));
    let long = json!({"id": "a", "port": 1, "group": "239.1.1.1", "interface": "x".repeat(16)});
    let legs = "v=0\na=group:DUP a b\na=group:DUP a c\nm=video 1 RTP/AVP 33\na=mid:a\n\
                m=video 5 RTP/AVP 33\na=mid:b\nm=video 9 RTP/AVP 33\na=mid:c\n";
    let tracks: Vec<_> = (0..3).map(|n| json!({"port": 2 * n + 1, "payload_type": 33})).collect();
    for (value, named) in [
        (long, "session.interface"),
        (json!({"id": "a", "tracks": tracks}), "session.tracks"),
        (json!({"id": "a", "sdp": legs, "open": true}), "session.sdp: more than two paths"),
        (json!({"id": "a", "port": 1, "fec": true}), "session.fec"),
        (json!({"id": "a", "port": "x"}), "session.port"),
        (json!([]), "session"),
    ] {
        let text = read(value).expect_err("refused").to_string();
        assert!(text.starts_with(named), "{text}");
    }
}

#[test]
fn what_is_wrong_with_rtp_is_named() {
    for (yaml, key) in [
        ("{port: 5004, rtcp_port: 5004}", "ingestion.rtp.rtcp_port"),
        ("{listen_addr: 0.0.0.0}", "ingestion.rtp.listen_addr"),
        ("{listen_addr: x}", "ingestion.rtp.listen_addr"),
        ("{port: 65535}", "ingestion.rtp.rtcp_port"),
        ("{latency: 1s, latency_max: 500ms}", "ingestion.rtp.latency_max"),
        ("{rate_limit: 1}", "ingestion.rtp.rate_limit"),
        ("{derived_id: x}", "ingestion.rtp.derived_id"),
        ("{streams: [{ssrc: 1}]}", "ingestion.rtp.streams[0].id"),
        ("{streams: [{id: a}]}", "ingestion.rtp.streams[0]"),
        ("{streams: [{id: a, payload_type: 128}]}", "ingestion.rtp.streams[0].payload_type"),
        ("{streams: [{id: a, source: 10.0.0.0/40}]}", "ingestion.rtp.streams[0].source"),
        ("{ssrc: 1}", "ingestion.rtp"),
        ("{sessions: [{port: 6000}]}", "ingestion.rtp.sessions[0].id"),
        ("{sessions: [{id: a}]}", "ingestion.rtp.sessions[0].port"),
        ("{sessions: [{id: a, port: 5004}]}", "ingestion.rtp.sessions[0].port"),
        ("{sessions: [{id: a, port: 1}, {id: a, port: 9}]}", "ingestion.rtp.sessions[1].id"),
        ("{sessions: [{id: a, port: 1}, {id: b, port: 2}]}", "ingestion.rtp.sessions[1].port"),
        ("{sessions: [{id: a, sdp: x}]}", "ingestion.rtp.sessions[0].sdp"),
        ("{sessions: [{id: a, sdp: x, port: 1}]}", "ingestion.rtp.sessions[0].port"),
        ("{sessions: [{id: a, sdp: x, ssrc: 1}]}", "ingestion.rtp.sessions[0].ssrc"),
        ("{sessions: [{id: a, tracks: [{port: 1}], codec: x}]}", "sessions[0].codec"),
        ("{sessions: [{id: a, transport: ts, port: 1, fec: true}]}", "sessions[0].fec"),
        ("{sessions: [{id: a, port: 1, group: 10.0.0.1}]}", "ingestion.rtp.sessions[0].group"),
        ("{sessions: [{id: a, port: 1, listen_addr: 0.0.0.0}]}", "sessions[0].listen_addr"),
        ("{sessions: [{id: a, port: 1, codec: vp8, payload_type: 96}]}", "sessions[0].codec"),
        ("{sessions: [{id: a, port: 1, latency: 1s}]}", "sessions[0].latency"),
        ("{sessions: [{id: a, tracks: [{port: 1}, {port: 3}]}]}", "tracks[0].codec"),
    ] {
        let text = refusal(&format!("ingestion: {{rtp: {yaml}}}"));
        assert!(text.contains(key), "{yaml}: {text}");
    }
}

#[test]
fn the_complete_example_is_accepted_as_it_stands() {
    let text = include_str!("../../../../controlplane/tests/vectors/reference-config.yaml");
    let config = parse(text).expect("accepted");
    let srt = config.srt.expect("srt is on");
    let options = &srt.listeners[0].options;
    assert_eq!((options.flow_window, options.peer_idle_timeout.as_secs()), (25_600, 30));

    assert_eq!((config.gop_count_max, config.frame_bytes_max), (3, 10_485_760));
    let rtp = config.rtp.expect("rtp is on");
    assert_eq!((rtp.shared.rtp.port(), rtp.shared.rtcp.port()), (5_004, 5_005));
    assert_eq!((rtp.sessions_max, rtp.session.timeout.as_secs()), (30, 30));
}

#[test]
fn damaged_frames_are_kept_or_dropped_and_nothing_else() {
    assert_eq!(parse("").expect("valid").damaged_frames, DamagedFrames::Keep);
    let config = parse("ingestion: {frame: {damaged: drop}}").expect("valid");
    assert_eq!(config.damaged_frames, DamagedFrames::Drop);
    let error = parse("ingestion: {frame: {damaged: mark}}").expect_err("no such policy");
    let text = error.to_string();
    assert!(
        text.contains("ingestion.frame.damaged") && text.contains("`keep` or `drop`"),
        "{text}"
    );
}

#[test]
fn further_listeners_inherit_what_they_do_not_say() {
    let config = parse(
        "ingestion:\n  srt:\n    latency: 300ms\n    allow: [10.0.0.0/8]\n    listeners:\n    \
         - {port: 30001}\n    - {name: far, listen_addr: '::1', port: 30000, latency: 1s, allow: []}\n",
    );
    let listeners = config.expect("valid").srt.expect("srt").listeners;
    assert_eq!(listeners.len(), 3);
    assert_eq!(listeners[1].options, listeners[0].options);
    assert_eq!(listeners[1].access.allow, listeners[0].access.allow);
    assert_eq!((listeners[1].name.as_str(), listeners[2].name.as_str()), ("srt2", "far"));
    assert_eq!(listeners[2].options.latency.as_secs(), 1);
    assert!(listeners[2].access.allow.is_empty());
}

#[test]
fn wrong_listeners_and_streams_are_named_by_their_place() {
    for (yaml, key) in [
        ("srt: {listeners: [{latency: 1s}]}", "ingestion.srt.listeners[0].port"),
        ("srt: {listeners: [{port: 30000}]}", "ingestion.srt.listeners[0].port"),
        ("srt: {listeners: [{port: 1, name: srt}]}", "ingestion.srt.listeners[0].name"),
        ("srt: {listeners: [{port: 1, deny: [x]}]}", "ingestion.srt.listeners[0].deny"),
        (
            "srt: {listeners: [{port: 1, listen_addr: 0.0.0.0}]}",
            "ingestion.srt.listeners[0].listen_addr",
        ),
        ("srt: {derived_id: 'x'}", "ingestion.srt.derived_id"),
        ("streams: [{id: a}, {id: a}]", "ingestion.streams[1]"),
        ("streams: [{latency: 1s}]", "ingestion.streams[0]"),
        ("streams: [{id: a, pattern: b}]", "ingestion.streams[0]"),
        ("streams: [{id: a, max_bandwidth: 1}]", "ingestion.streams[0].max_bandwidth"),
        ("streams: [{id: a, key_length: 100}]", "ingestion.streams[0].key_length"),
        ("authorization: {timeout: 1s}", "ingestion.authorization"),
        ("authorization: {url: ftp://x}", "ingestion.authorization.url"),
        ("max_streams_per_source: 0", "ingestion.max_streams_per_source"),
    ] {
        let text = refusal(&format!("ingestion:\n  {yaml}\n"));
        assert!(text.starts_with(&format!("{key}: ")), "{text}");
    }
    let text = refusal("ingestion:\n  streams: [{id: a, publish_keyy: x}]\n");
    assert!(text.contains("publish_keyy"), "{text}");
}

#[test]
fn no_refusal_quotes_a_secret() {
    // A comma makes it no publish key, its length no passphrase.
    let secret = "Xyz,Plugh";
    for yaml in [
        format!("ingestion: {{streams: [{{id: a, publish_key: '{secret}'}}]}}"),
        format!("ingestion: {{streams: [{{id: a, publish_key: [{secret}]}}]}}"),
        format!("ingestion: {{srt: {{encryption: {{passphrase: {{a: '{secret}'}}}}}}}}"),
        format!("ingestion: {{srt: {{encryption: {{passphrase: '{secret}'}}}}}}"),
        format!("ingestion: {{srt: {{listeners: [{{port: 1, passphrase: '{secret}'}}]}}}}"),
    ] {
        let text = refusal(&yaml);
        assert!(!text.contains("Plugh"), "{text}");
    }
}

#[test]
fn a_secret_from_the_environment_is_text() {
    let environment =
        |name: &str| (name == "PENSTOCK_INGESTION_SRT_PUBLISH_KEY").then(|| "0123456789".into());
    let config = Config::from_yaml_with("", environment).expect("valid");
    let key = config.srt.expect("srt").listeners[0].options.publish_key.clone();
    assert!(key.expect("a key").admits("0123456789"));
}

#[test]
fn lists_come_from_the_environment_too() {
    let environment =
        |name: &str| (name == "PENSTOCK_INGESTION_SRT_LISTENERS").then(|| "[{port: 30001}]".into());
    let config = Config::from_yaml_with("", environment).expect("valid");
    assert_eq!(config.srt.expect("srt").listeners.len(), 2);
}

#[test]
fn streams_per_source_are_limited_from_either_spelling_and_off_by_default() {
    let max = |yaml: &str| parse(yaml).expect("valid").streams_per_source_max;
    assert_eq!(max(""), None);
    assert_eq!(max("ingestion: {max_streams_per_source: 3}"), Some(3));
    assert_eq!(max("ingestion: {registry: {max_streams_per_source: 4}}"), Some(4));
    assert_eq!(max("registry: {max_streams_per_source: 5}"), Some(5));
    let text =
        refusal("registry: {max_streams_per_source: 5}\ningestion: {max_streams_per_source: 3}");
    assert!(text.contains("max_streams_per_source"), "{text}");
}

#[test]
fn keys_without_effect_are_found_inside_lists() {
    let document = json!({"ingestion": {"streams": [{"id": "a"}, {"id": "b", "x": 3}]}});
    assert!(is_given(&document, "ingestion.streams.x"));
    assert!(!is_given(&document, "ingestion.streams.y"));
}

#[test]
fn watermarks_of_both_spellings_rise_from_low_to_critical() {
    let marks = |text: &str| {
        let config = parse(&format!("ingestion:\n  backpressure: {text}\n"));
        config.map(|config| config.backpressure)
    };
    let config = marks("{high_watermark: 0.8, low_watermark: 0.6, response_window: 1s}");
    let config = config.expect("the second spelling");
    assert_eq!((config.low_permille, config.high_permille), (600, 800));
    assert_eq!(config.response_window, Duration::from_secs(1));
    let first = "{low_watermark: .25, medium_watermark: .5, high_watermark: .75}";
    assert_eq!(marks(first).expect("the first").critical_permille, 900);
    for (text, named) in [
        ("{low_watermark: 0.95}", "medium_watermark"),
        ("{critical_watermark: 1.5}", "critical_watermark"),
        ("{low_watermark: 0}", "low_watermark"),
        ("{response_window: 2m}", "response_window"),
    ] {
        let refusal = marks(text).expect_err(text).to_string();
        assert!(refusal.contains(&format!("ingestion.backpressure.{named}")), "{refusal}");
    }
}
