//! Who is admitted, with what, and with which code others are refused.

use std::net::SocketAddr;

use memory::Time;
use srt::caller::{Caller, CallerConfig};
use srt::handshake::StreamId;
use srt::sequence::Sequence;
use srt::{Listener, ListenerEvent, REJECTION_BYTES};

use super::*;
use crate::config::{Config, SecondPublisher, SrtConfig};

/// What a listener makes of a caller's handshake.
pub(crate) fn request(peer: &str, stream_id: &str, latency_ms: u16) -> ConnectRequest {
    let peer: SocketAddr = peer.parse().expect("an address");
    let mut config = CallerConfig::live(77, Sequence::new(1), peer.ip());
    config.stream_id = StreamId::new(stream_id.as_bytes()).expect("short enough");
    config.latency_ms = latency_ms;
    let now = Time::from_micros(1_000_000);
    let listener = Listener::new([7; 16]);
    let mut caller = Caller::new(config, now);
    let mut packet = Vec::new();
    caller.handle_timeout(now, &mut |bytes| packet = bytes.to_vec());
    let mut reply = [0; REJECTION_BYTES];
    let ListenerEvent::Reply(_) = listener.handle(now, peer, &packet, &mut reply) else {
        panic!("an induction is answered")
    };
    caller.handle_datagram(now, &reply, &mut |bytes| packet = bytes.to_vec());
    match listener.handle(now, peer, &packet, &mut reply) {
        ListenerEvent::Conclusion(request) => request,
        other => panic!("{other:?}"),
    }
}

fn config(yaml: &str) -> SrtConfig {
    Config::from_yaml_with(yaml, |_| None).expect("valid").srt.expect("srt is on")
}

fn examine_at(
    srt: &SrtConfig,
    listener: usize,
    peer: &str,
    stream_id: &str,
) -> Result<Admissible, Refusal> {
    let request = request(peer, stream_id, 120);
    examine(&request, &srt.listeners[listener], &srt.rules, &mut DerivedIds::default())
}

const HERE: &str = "127.0.0.1:9";

fn code(refused: Result<Admissible, Refusal>) -> u32 {
    refused.expect_err("refused").reason().code()
}

#[test]
fn each_listener_has_its_own_networks() {
    let srt = config(
        "ingestion:\n  srt:\n    allow: [10.0.0.0/8]\n    deny: [10.66.0.0/16]\n    listeners:\n    \
         - {port: 30001, allow: [127.0.0.0/8]}\n    - {port: 30002, allow: [], deny: []}\n",
    );
    let admitted = |listener, peer| examine_at(&srt, listener, peer, "a").is_ok();
    assert!(admitted(0, "10.1.1.1:9") && !admitted(0, HERE) && !admitted(0, "10.66.1.1:9"));
    assert!(admitted(1, HERE) && !admitted(1, "10.1.1.1:9"));
    assert!(admitted(2, HERE) && admitted(2, "10.66.1.1:9"));
    assert_eq!(code(examine_at(&srt, 0, HERE, "a")), 2_403);
}

#[test]
fn an_ipv4_caller_on_a_dual_stack_socket_is_an_ipv4_caller() {
    let srt = config("ingestion:\n  srt: {deny: [10.0.0.0/8]}\n");
    assert!(examine_at(&srt, 0, "[::ffff:10.0.0.1]:9", "a").is_err());
    assert!(examine_at(&srt, 0, "[::1]:9", "a").is_ok());
}

#[test]
fn a_publish_key_is_presented_as_the_session() {
    let srt = config(
        "ingestion:\n  srt: {}\n  streams:\n  - {id: live/a, publish_key: k3y}\n  \
         - {pattern: 'open/*'}\n",
    );
    assert!(examine_at(&srt, 0, HERE, "#!::r=live/a,s=k3y").is_ok());
    assert!(examine_at(&srt, 0, HERE, "open/b").is_ok());
    let missing = examine_at(&srt, 0, HERE, "live/a");
    assert_eq!(missing, Err(Refusal::KeyMissing));
    let wrong = examine_at(&srt, 0, HERE, "#!::r=live/a,s=other");
    assert_eq!(wrong, Err(Refusal::KeyWrong));
    assert_eq!((code(missing), code(wrong)), (2_401, 2_401));
}

#[test]
fn a_key_of_the_listener_holds_unless_a_rule_takes_it_away() {
    let srt = config(
        "ingestion:\n  srt: {publish_key: all}\n  streams:\n  - {id: free, publish_key: ''}\n",
    );
    assert_eq!(code(examine_at(&srt, 0, HERE, "x")), 2_401);
    assert!(examine_at(&srt, 0, HERE, "#!::r=x,s=all").is_ok());
    assert!(examine_at(&srt, 0, HERE, "free").is_ok());
}

#[test]
fn ids_that_no_rule_names_can_be_kept_out() {
    let srt = config(
        "ingestion:\n  srt: {unlisted_streams: deny}\n  streams:\n  - {pattern: 'live/*'}\n",
    );
    assert!(examine_at(&srt, 0, HERE, "live/a").is_ok());
    assert_eq!(code(examine_at(&srt, 0, HERE, "other")), 2_404);
    assert_eq!(code(examine_at(&srt, 0, HERE, "")), 2_404);
}

#[test]
fn what_a_publisher_cannot_ask_has_its_own_code() {
    let srt = config("");
    for (stream_id, expected) in
        [("#!::r=a,m=request", 2_405), ("#!::r=a,t=file", 2_415), ("#!::nonsense", 2_400)]
    {
        assert_eq!(code(examine_at(&srt, 0, HERE, stream_id)), expected, "{stream_id}");
    }
}

#[test]
fn a_rule_goes_over_its_listener() {
    let srt = config(
        "ingestion:\n  srt:\n    latency: 200ms\n    listeners:\n    \
         - {name: far, port: 30001, latency: 2s, derived_id: '{listener}/{number}'}\n  streams:\n  \
         - {id: a, max_bandwidth: 1000000, second_publisher: take_over}\n",
    );
    let admissible = examine_at(&srt, 1, HERE, "a").expect("admitted");
    assert_eq!(admissible.rule, Some(0));
    assert_eq!(admissible.options.latency, Duration::from_secs(2));
    assert_eq!(admissible.options.max_bandwidth_bps, 1_000_000);
    assert_eq!(admissible.options.second_publisher, SecondPublisher::TakeOver);
    let derived = examine_at(&srt, 1, HERE, "").expect("admitted");
    assert_eq!((derived.id.as_str(), derived.rule), ("far/001", None));
}

#[test]
fn the_longer_latency_counts_up_to_the_limit() {
    let srt = config("ingestion:\n  srt: {latency: 200ms, latency_max: 1s}\n");
    let options = &srt.listeners[0].options;
    let ask = |ms| latency(&request(HERE, "a", ms), options);
    assert_eq!(ask(120), Ok(Duration::from_millis(200)));
    assert_eq!(ask(1_000), Ok(Duration::from_secs(1)));
    let refused = ask(1_001).expect_err("refused");
    assert_eq!(refused.reason().code(), 2_406);
    assert!(refused.to_string().contains("1001 ms"), "{refused}");
}
