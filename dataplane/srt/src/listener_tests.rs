//! Tables for the listener: one rule each.

use std::time::Duration;

use super::*;
use crate::control::{encode_handshake_header, encode_keepalive};
use crate::handshake::{Capabilities, ExtensionWriter, StreamId, extension, field, flag};
use crate::sequence::Sequence;

const NOW: Time = Time::from_micros(600_000_000);
const PEER: &str = "192.0.2.1:5000";

fn listener() -> Listener {
    Listener::new([1; 16])
}

fn peer() -> SocketAddr {
    PEER.parse().unwrap()
}

fn handshake(kind: Kind, cookie: u32) -> Handshake {
    let induction = kind == Kind::Induction;
    Handshake {
        version: if induction { 4 } else { 5 },
        encryption: 0,
        extension: if induction { 2 } else { field::HSREQ },
        initial_sequence: Sequence::new(77),
        mtu: 1_500,
        flow_window: 8_192,
        kind,
        socket_id: 0xabc,
        cookie,
        peer: peer().ip(),
    }
}

fn datagram(handshake: &Handshake, extensions: impl FnOnce(&mut ExtensionWriter<'_>)) -> Vec<u8> {
    let mut out = packet(handshake, 42, 0).to_vec();
    let mut blocks = [0; 4_096];
    let mut writer = ExtensionWriter::new(&mut blocks);
    extensions(&mut writer);
    let len = writer.finish().unwrap();
    out.extend_from_slice(&blocks[..len]);
    out
}

fn hsreq(writer: &mut ExtensionWriter<'_>, flags: u32) {
    let capabilities = Capabilities {
        version: 0x0001_0501,
        flags,
        receiver_latency_ms: 120,
        sender_latency_ms: 200,
    };
    writer.capabilities(extension::HSREQ, &capabilities);
}

fn handle(at: Time, from: SocketAddr, datagram: &[u8]) -> (ListenerEvent, Vec<u8>) {
    let mut reply = [0; REJECTION_BYTES];
    let event = listener().handle(at, from, datagram, &mut reply);
    (event, reply.to_vec())
}

fn answer(reply: &[u8]) -> (u32, Handshake) {
    let Ok(Packet::Control(header, Control::Handshake(body))) = Packet::parse(reply) else {
        panic!("not a handshake");
    };
    (header.destination, Handshake::parse(body).unwrap().0)
}

fn cookie() -> u32 {
    let (event, reply) = handle(NOW, peer(), &datagram(&handshake(Kind::Induction, 0), |_| {}));
    assert!(matches!(event, ListenerEvent::Reply(REJECTION_BYTES)));
    answer(&reply).1.cookie
}

/// The event of a conclusion with a good cookie and these extensions.
fn conclude(extensions: impl FnOnce(&mut ExtensionWriter<'_>)) -> ListenerEvent {
    handle(NOW, peer(), &datagram(&handshake(Kind::Conclusion, cookie()), extensions)).0
}

fn reason(event: &ListenerEvent) -> Option<RejectReason> {
    match event {
        ListenerEvent::Rejected(REJECTION_BYTES, reason) => Some(*reason),
        _ => None,
    }
}

#[test]
fn an_induction_is_answered_with_version_5_magic_and_cookie_and_no_more_bytes_than_asked() {
    let request = datagram(&handshake(Kind::Induction, 0), |_| {});
    let (_, reply) = handle(NOW, peer(), &request);
    let (to, answer) = answer(&reply);
    assert_eq!(to, 0xabc);
    assert_eq!((answer.version, answer.extension), (5, INDUCTION_MAGIC));
    assert_eq!(answer.kind, Kind::Induction);
    assert_ne!(answer.cookie, 0);
    assert!(reply.len() <= request.len());
}

#[test]
fn a_conclusion_with_the_cookie_becomes_a_request() {
    let event = conclude(|writer| {
        hsreq(writer, 0xbf);
        writer.text(extension::STREAM_ID, &StreamId::new(b"live/cam").unwrap());
    });
    let ListenerEvent::Conclusion(request) = event else { panic!("{event:?}") };
    assert_eq!(request.peer, peer());
    assert_eq!(request.arrival, NOW);
    assert_eq!(request.timestamp_us, 42);
    assert_eq!(request.caller_id, 0xabc);
    assert_eq!(request.initial_sequence, Sequence::new(77));
    assert_eq!((request.mtu, request.flow_window), (1_500, 8_192));
    assert_eq!(request.capabilities.sender_latency_ms, 200);
    assert_eq!(request.stream_id.as_bytes(), b"live/cam");
    assert!(!request.encrypted);
    assert!(request.is_same_attempt(&request));
}

#[test]
fn a_stream_id_may_be_missing_and_extensions_may_come_in_any_order() {
    let event = conclude(|writer| {
        writer.raw(99, &[1, 2, 3]);
        writer.text(extension::CONGESTION, &StreamId::new(b"live").unwrap());
        hsreq(writer, 0xbf);
    });
    let ListenerEvent::Conclusion(request) = event else { panic!("{event:?}") };
    assert!(request.stream_id.is_empty());
}

#[test]
fn a_cookie_is_good_for_its_address_in_its_minute_and_the_next() {
    let conclusion = datagram(&handshake(Kind::Conclusion, cookie()), |w| hsreq(w, 0xbf));
    let other_port = "192.0.2.1:5001".parse().unwrap();
    let other_host = "192.0.2.2:5000".parse().unwrap();
    let table = [
        (0, peer(), true),
        (59, peer(), true),
        (119, peer(), true),
        (120, peer(), false),
        (3_600, peer(), false),
        (0, other_port, false),
        (0, other_host, false),
    ];
    for (seconds, from, good) in table {
        let (event, _) = handle(NOW + Duration::from_secs(seconds), from, &conclusion);
        assert_eq!(matches!(event, ListenerEvent::Conclusion(_)), good, "{seconds} {from}");
        assert_eq!(matches!(event, ListenerEvent::BadCookie), !good);
    }
    let early = Time::from_micros(5);
    let zero = datagram(&handshake(Kind::Conclusion, 0), |w| hsreq(w, 0xbf));
    assert!(matches!(handle(early, peer(), &zero).0, ListenerEvent::BadCookie));
}

#[test]
fn another_key_makes_other_cookies() {
    let conclusion = datagram(&handshake(Kind::Conclusion, cookie()), |w| hsreq(w, 0xbf));
    let mut reply = [0; REJECTION_BYTES];
    let event = Listener::new([2; 16]).handle(NOW, peer(), &conclusion, &mut reply);
    assert!(matches!(event, ListenerEvent::BadCookie));
}

#[test]
fn a_caller_with_key_material_is_flagged_and_one_with_only_a_key_size_is_not() {
    let km = [0_u32; 375];
    for words in 0..=km.len() {
        let event = conclude(|writer| {
            hsreq(writer, 0xbf);
            writer.raw(extension::KMREQ, &km[..words]);
        });
        assert!(matches!(event, ListenerEvent::Conclusion(request) if request.encrypted));
    }
    let mut hint = handshake(Kind::Conclusion, cookie());
    hint.encryption = 4;
    let (event, _) = handle(NOW, peer(), &datagram(&hint, |w| hsreq(w, 0xbf)));
    let ListenerEvent::Conclusion(request) = event else { panic!("{event:?}") };
    assert_eq!((request.encrypted, request.key_bytes_hint), (false, 32));
    hint.extension |= field::KMREQ;
    let (event, _) = handle(NOW, peer(), &datagram(&hint, |w| hsreq(w, 0xbf)));
    assert!(matches!(event, ListenerEvent::Conclusion(request) if request.encrypted));
}

#[test]
fn what_cannot_be_served_is_rejected_with_its_reason() {
    type Build = fn(&mut ExtensionWriter<'_>);
    let table: [(Build, RejectReason); 9] = [
        (|w| hsreq(w, flag::STREAM), RejectReason::MESSAGE_API),
        (
            |w| {
                hsreq(w, 0xbf);
                w.text(extension::CONGESTION, &StreamId::new(b"file").unwrap());
            },
            RejectReason::CONGESTION,
        ),
        (
            |w| {
                hsreq(w, 0xbf);
                w.text(extension::FILTER, &StreamId::new(b"fec,cols:10").unwrap());
            },
            RejectReason::FILTER,
        ),
        (
            |w| {
                hsreq(w, 0xbf);
                w.raw(extension::GROUP, &[1, 2]);
            },
            RejectReason::GROUP,
        ),
        (|_| {}, RejectReason::ROGUE),
        (|w| w.raw(extension::HSREQ, &[1, 2]), RejectReason::ROGUE),
        (
            |w| {
                hsreq(w, 0xbf);
                hsreq(w, 0xbf);
            },
            RejectReason::ROGUE,
        ),
        (
            |w| {
                hsreq(w, 0xbf);
                w.raw(extension::STREAM_ID, &[0x6161_6161; 129]);
            },
            RejectReason::ROGUE,
        ),
        (
            |w| {
                hsreq(w, 0xbf);
                w.raw(extension::HSRSP, &[0; 3]);
            },
            RejectReason::ROGUE,
        ),
    ];
    for (build, expected) in table {
        assert_eq!(reason(&conclude(build)), Some(expected));
    }
}

#[test]
fn an_old_caller_is_rejected_by_version() {
    let mut old = handshake(Kind::Conclusion, cookie());
    old.version = 4;
    old.extension = 2;
    let (event, reply) = handle(NOW, peer(), &datagram(&old, |_| {}));
    assert_eq!(reason(&event), Some(RejectReason::VERSION));
    let (to, answer) = answer(&reply);
    assert_eq!((to, answer.kind), (0xabc, Kind::Rejected(RejectReason::VERSION)));
}

#[test]
fn a_cut_off_extension_is_rejected_and_answered_only_behind_a_good_cookie() {
    let whole = datagram(&handshake(Kind::Conclusion, cookie()), |w| hsreq(w, 0xbf));
    for len in 65..whole.len() {
        assert_eq!(reason(&handle(NOW, peer(), &whole[..len]).0), Some(RejectReason::ROGUE));
    }
    let mut bad = handshake(Kind::Conclusion, cookie() ^ 1);
    bad.version = 4;
    let (event, _) = handle(NOW, peer(), &datagram(&bad, |_| {}));
    assert!(matches!(event, ListenerEvent::BadCookie));
}

#[test]
fn negotiated_sizes_are_swept_without_harm() {
    let values = [0, 1, 15, 16, 17, 75, 76, 1_315, 1_316, 1_499, 1_500, 1_501, 65_535, u32::MAX];
    for mtu in values {
        for flow_window in values {
            let mut sent = handshake(Kind::Conclusion, cookie());
            sent.mtu = mtu;
            sent.flow_window = flow_window;
            let (event, _) = handle(NOW, peer(), &datagram(&sent, |w| hsreq(w, 0xbf)));
            match event {
                ListenerEvent::Conclusion(request) => {
                    assert!(mtu >= 76);
                    assert_eq!(u32::from(request.mtu), mtu.min(1_500));
                }
                event => {
                    assert!(mtu < 76);
                    assert_eq!(reason(&event), Some(RejectReason::ROGUE));
                }
            }
        }
    }
}

#[test]
fn everything_else_is_invalid_and_not_answered() {
    let mut not_to_listener = datagram(&handshake(Kind::Induction, 0), |_| {});
    not_to_listener[15] = 1;
    let mut huge_sequence = datagram(&handshake(Kind::Induction, 0), |_| {});
    huge_sequence[24] = 0x80;
    let table = [
        vec![],
        vec![0; 16],
        encode_keepalive(0, 0).to_vec(),
        encode_handshake_header(0, 0).to_vec(),
        not_to_listener,
        huge_sequence,
        datagram(&handshake(Kind::WaveAHand, 0), |_| {}),
        datagram(&handshake(Kind::Agreement, 0), |_| {}),
        datagram(&handshake(Kind::Rejected(RejectReason::CLOSE), 0), |_| {}),
        datagram(&handshake(Kind::Other(7), 0), |_| {}),
    ];
    for datagram in table {
        let (event, reply) = handle(NOW, peer(), &datagram);
        assert!(matches!(event, ListenerEvent::Invalid(_)), "{datagram:?}");
        assert_eq!(reply, [0; REJECTION_BYTES]);
    }
}

#[test]
fn a_rejection_carries_the_engines_reason_to_the_caller() {
    let ListenerEvent::Conclusion(request) = conclude(|w| hsreq(w, 0xbf)) else { panic!() };
    let (to, answer) = answer(&request.reject(RejectReason::CONFLICT, NOW));
    assert_eq!((to, answer.kind), (0xabc, Kind::Rejected(RejectReason::CONFLICT)));
}

#[test]
fn only_headers_to_id_0_are_for_the_listener() {
    assert!(is_for_listener(&encode_keepalive(0, 0)));
    assert!(!is_for_listener(&encode_keepalive(0, 1)));
    assert!(!is_for_listener(&[0; 15]));
}
