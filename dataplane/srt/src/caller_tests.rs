//! Pulling: what a caller's connection starts from, and what a listener's answer must hold.

use std::net::SocketAddr;

use memory::{Datagram, Slab};

use super::*;
use crate::packet::DataHeader;
use crate::request::REJECTION_BYTES;
use crate::{Connection, ConnectionConfig, Listener, ListenerEvent, Output};

const START: Time = Time::from_micros(90_000_000);
const MS: Duration = Duration::from_millis(1);
const ID: u32 = 7;
const PEER_ID: u32 = 8;

fn config() -> CallerConfig {
    let peer = "192.0.2.1".parse().unwrap();
    CallerConfig::live(ID, Sequence::new(Sequence::MASK), peer)
}

fn caller_address() -> SocketAddr {
    "198.51.100.1:40000".parse().unwrap()
}

/// A caller that has asked for the connection.
fn concluding() -> Caller {
    let mut caller = Caller::new(config(), START);
    let listener = Listener::new([1; 16]);
    let mut sent = Vec::new();
    caller.handle_timeout(START, &mut |bytes: &[u8]| sent = bytes.to_vec());
    let mut reply = [0; REJECTION_BYTES];
    listener.handle(START, caller_address(), &sent, &mut reply);
    caller.handle_datagram(START, &reply, &mut |_: &[u8]| {});
    assert!(matches!(caller.state(), CallerState::Conclusion(_)));
    caller
}

/// A listener's answer, changed by `change`.
fn answer(timestamp_us: u32, change: impl FnOnce(&mut Handshake)) -> Vec<u8> {
    let mut handshake = Handshake {
        version: 5,
        encryption: 0,
        extension: field::HSREQ,
        initial_sequence: config().initial_sequence,
        mtu: 1_400,
        flow_window: 500,
        kind: Kind::Conclusion,
        socket_id: PEER_ID,
        cookie: 0,
        peer: "198.51.100.1".parse().unwrap(),
    };
    change(&mut handshake);
    let mut block = [0; 16];
    let mut writer = ExtensionWriter::new(&mut block);
    let capabilities = Capabilities {
        version: 0x0001_0501,
        flags: FLAGS,
        receiver_latency_ms: 200,
        sender_latency_ms: 300,
    };
    writer.capabilities(extension::HSRSP, &capabilities);
    let mut bytes = encode_handshake_header(timestamp_us, ID).to_vec();
    bytes.extend_from_slice(&handshake.encode());
    bytes.extend_from_slice(&block);
    bytes
}

fn connected(timestamp_us: u32, at: Time) -> Connected {
    let mut caller = concluding();
    caller.handle_datagram(at, &answer(timestamp_us, |_| {}), &mut |_: &[u8]| {});
    caller.outcome().unwrap().unwrap()
}

#[derive(Default)]
struct Out {
    sent: Vec<Vec<u8>>,
    due: Vec<(Vec<u8>, Time)>,
}

impl Output for Out {
    fn transmit(&mut self, packet: &[u8]) {
        self.sent.push(packet.to_vec());
    }
    fn deliver(&mut self, payload: &[u8], _: Time, due: Time) {
        self.due.push((payload.to_vec(), due));
    }
    fn skipped(&mut self, _: u32) {
        panic!("nothing is missing");
    }
}

fn take(connection: &mut Connection, slab: &Slab, at: Time, bytes: &[u8], out: &mut Out) {
    let datagram = Datagram::copy_from(slab, bytes).unwrap();
    connection.handle_datagram(at, at, datagram, out);
}

#[test]
fn the_larger_of_both_sides_latencies_is_agreed_for_each_direction() {
    let connected = connected(0, START);
    assert_eq!((connected.latency_ms, connected.peer_latency_ms), (300, 200));
    assert_eq!((connected.mtu, connected.flow_window), (1_400, 500));
    assert_eq!(connected.peer_socket_id, PEER_ID);
}

#[test]
fn a_pulled_packet_is_due_by_the_clock_of_the_listeners_answer() {
    // The answer came 40 ms after the start and was sent at 5 s of the listener's clock.
    let at = START + 40 * MS;
    let connected = connected(5_000_000, at);
    let config = ConnectionConfig { local_id: ID, ..ConnectionConfig::default() };
    let (mut connection, mut out) = (Connection::new(64), Out::default());
    connection.open_connected(&connected, &config, None, at);
    assert_eq!(connection.stats().latency_ms, 300);
    let slab = Slab::new(8).unwrap();
    for (offset, payload) in [(0, b"one"), (1, b"two")] {
        let sequence = config_sequence().add(offset);
        let timestamp_us = 5_010_000 + offset * 10_000;
        let mut packet = DataHeader::live(sequence, 1 + offset, timestamp_us, ID).encode().to_vec();
        packet.extend_from_slice(payload);
        take(&mut connection, &slab, at + 25 * MS, &packet, &mut out);
    }
    let due = [(b"one".to_vec(), at + 310 * MS), (b"two".to_vec(), at + 320 * MS)];
    assert_eq!(out.due, due);
    connection.handle_timeout(at + 40 * MS, &mut out);
    let ack = Packet::parse(&out.sent[0]).unwrap();
    let Packet::Control(header, Control::Ack(ack)) = ack else { panic!("{ack:?}") };
    assert_eq!(header.destination, PEER_ID);
    assert_eq!(header.timestamp_us, 80_000, "its clock started with the handshake");
    assert_eq!(ack.sequence, config_sequence().add(2));
}

fn config_sequence() -> Sequence {
    config().initial_sequence
}

#[test]
fn an_answer_repeated_into_the_open_connection_changes_nothing() {
    let connected = connected(0, START);
    let config = ConnectionConfig { local_id: ID, ..ConnectionConfig::default() };
    let (mut connection, mut out) = (Connection::new(64), Out::default());
    connection.open_connected(&connected, &config, None, START);
    let before = *connection.stats();
    let slab = Slab::new(8).unwrap();
    take(&mut connection, &slab, START + 250 * MS, &answer(0, |_| {}), &mut out);
    assert_eq!(connection.state(), crate::State::Open);
    assert_eq!(connection.stats().control_invalid, before.control_invalid);
    assert_eq!(connection.stats().latency_ms, before.latency_ms);
    assert!(out.sent.is_empty() && out.due.is_empty());
}

#[test]
fn an_answer_to_another_question_is_no_answer() {
    type Change = fn(&mut Handshake);
    let wrong: [Change; 4] = [
        |answer| answer.initial_sequence = Sequence::new(1),
        |answer| answer.version = 4,
        |answer| answer.socket_id = 0,
        |answer| answer.mtu = 75,
    ];
    for change in wrong {
        let mut caller = concluding();
        caller.handle_datagram(START, &answer(0, change), &mut |_: &[u8]| {});
        assert_eq!(caller.outcome(), Some(Err(Failure::BadAnswer)));
    }
}

#[test]
fn a_round_trip_longer_than_the_repetition_connects_once() {
    let listener = Listener::new([1; 16]);
    let mut caller = Caller::new(config(), START);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let mut attempts = Vec::new();
    for step in 0..1_500_u32 {
        let now = START + step * MS;
        let mut sent = Vec::new();
        caller.handle_timeout(now, &mut |bytes: &[u8]| sent.push(bytes.to_vec()));
        down.retain(|(at, bytes): &(Time, Vec<u8>)| {
            if *at == now {
                caller.handle_datagram(now, bytes, &mut |m: &[u8]| sent.push(m.to_vec()));
            }
            *at > now
        });
        up.extend(sent.into_iter().map(|bytes| (now + 150 * MS, bytes)));
        up.retain(|(at, bytes): &(Time, Vec<u8>)| {
            if *at == now {
                let mut reply = [0; REJECTION_BYTES];
                match listener.handle(now, caller_address(), bytes, &mut reply) {
                    ListenerEvent::Reply(_) => down.push((now + 150 * MS, reply.to_vec())),
                    ListenerEvent::Conclusion(request) => {
                        attempts.push(request);
                        down.push((now + 150 * MS, answer(0, |_| {})));
                    }
                    other => panic!("{other:?}"),
                }
            }
            *at > now
        });
    }
    assert!(matches!(caller.state(), CallerState::Connected(_)));
    assert!(attempts.len() > 1, "the conclusion was repeated");
    assert!(attempts.iter().all(|again| again.is_same_attempt(&attempts[0])));
    let Some(Ok(connected)) = caller.outcome() else { panic!("connected") };
    assert_eq!(connected.greeted, START + 600 * MS, "by the first answer");
}
