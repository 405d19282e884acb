//! Bodies of the fuzz targets: each takes any bytes and checks what must hold for them.

mod secured;

use std::net::SocketAddr;
use std::time::Duration;

use memory::{Datagram, Slab, Time};

use crate::caller::{Caller, CallerConfig, Connected, Failure};
use crate::control::{Control, DropRequest, NakWriter, encode_ackack, encode_shutdown};
use crate::crypto::{KeyMaterial, Parities, Parity, response_state};
use crate::handshake::{
    Capabilities, ExtensionWriter, Extensions, HANDSHAKE_BYTES, Handshake, Kind, StreamId,
    extension,
};
use crate::packet::{DataHeader, Encryption, HEADER_BYTES, PACKET_BYTES_MAX, Packet};
use crate::rendezvous::Rendezvous;
use crate::sequence::{Sequence, SequenceRange};
use crate::{
    ConnectRequest, Connection, ConnectionConfig, Listener, ListenerEvent, Output, REJECTION_BYTES,
    State,
};

const START: Time = Time::from_micros(3_600_000_000);
const LOCAL_ID: u32 = 0x1234;
const PEER_ID: u32 = 0x5678;

/// Any datagram.
pub fn packet(data: &[u8]) {
    match Packet::parse(data) {
        Ok(Packet::Data(header, payload)) => {
            assert_eq!(header.encode(), data[..HEADER_BYTES]);
            assert_eq!(payload, &data[HEADER_BYTES..]);
        }
        Ok(Packet::Control(header, Control::Nak(report))) => {
            let mut out = [0; 65_536];
            let mut nak = NakWriter::new(&mut out, header.timestamp_us, header.destination);
            let mut ranges = 0;
            for range in report.ranges() {
                assert!((1..=1 << 30).contains(&range.count()));
                assert!(nak.push(range));
                ranges += 1;
            }
            assert!(ranges * 4 <= data.len());
            if let Some(len) = nak.finish() {
                let Ok(Packet::Control(_, Control::Nak(again))) = Packet::parse(&out[..len]) else {
                    panic!("a report that was written is read");
                };
                assert!(again.ranges().eq(report.ranges()));
            }
        }
        Ok(Packet::Control(header, Control::DropRequest(request))) => {
            let encoded = request.encode(header.timestamp_us, header.destination);
            let again = Packet::parse(&encoded);
            assert_eq!(again, Ok(Packet::Control(header, Control::DropRequest(request))));
        }
        Ok(Packet::Control(..)) => assert!(data[0] & 0x80 != 0),
        Err(_) => {}
    }
    let _ = crate::packet::destination(data);
}

/// The body of a handshake packet.
pub fn handshake(data: &[u8]) {
    let Ok((handshake, extensions)) = Handshake::parse(data) else { return };
    let encoded = handshake.encode();
    assert_eq!(Handshake::parse(&encoded), Ok((handshake, Extensions::new(&[]))));
    let mut walked = HANDSHAKE_BYTES;
    for block in extensions {
        let Ok(block) = block else { break };
        walked += 4 + block.content.len();
        check_extension(block.kind, block.content);
    }
    assert!(walked <= data.len());
}

/// A key material message: the content of an extension or the body of a control packet.
pub fn key_material(data: &[u8]) {
    if let Some(state) = response_state(data) {
        let code = state.to_bytes();
        let reversed: Vec<u8> = code.iter().rev().copied().collect();
        assert!(data == code || data == reversed);
    }
    let Ok(material) = KeyMaterial::parse(data) else { return };
    assert_eq!(material.as_bytes(), data);
    assert_eq!(KeyMaterial::parse(material.as_bytes()), Ok(material));
    let (keys, _) = secured::senders(material.suite());
    let kek = keys.kek();
    let Ok(held) = kek.unwrap(&material) else { return };
    assert_eq!(held.suite(), material.suite());
    let (even, odd) = (held.holds(Encryption::Even), held.holds(Encryption::Odd));
    match material.parities() {
        Parities::Both => assert!(even && odd),
        Parities::One(parity) => {
            assert_eq!((even, odd), (parity == Parity::Even, parity == Parity::Odd))
        }
    }
}

/// A script for a secured connection; see its module.
pub fn secured(data: &[u8]) {
    if let Err(complaint) = secured::run(data, true) {
        panic!("{complaint}");
    }
}

fn check_extension(kind: u16, content: &[u8]) {
    let mut out = [0; 1_024];
    if let Ok(capabilities) = Capabilities::parse(content) {
        let mut writer = ExtensionWriter::new(&mut out);
        writer.capabilities(kind, &capabilities);
        let len = writer.finish().unwrap();
        assert_eq!(out[4..len], content[..12]);
    }
    if let Ok(id) = StreamId::parse(content) {
        let mut writer = ExtensionWriter::new(&mut out);
        writer.text(kind, &id);
        let len = writer.finish().unwrap();
        assert_eq!(StreamId::parse(&out[4..len]), Ok(id));
    }
    let _ = crate::handshake::is_text(content, b"live");
}

/// A datagram to the listener. The first byte says how old the cookie is, in half minutes; bit 7
/// leaves the datagram's own cookie in place.
pub fn listener(data: &[u8]) {
    let Some((&first, datagram)) = data.split_first() else { return };
    let peer = peer();
    let listener = Listener::new([9; 16]);
    let mut reply = [0; REJECTION_BYTES];
    let mut datagram = datagram.to_vec();
    let age = Duration::from_secs(30 * u64::from(first & 7));
    if first & 0x80 == 0
        && let Some(place) = datagram.get_mut(44..48)
    {
        place.copy_from_slice(&cookie(&listener, peer).to_be_bytes());
    }
    let event = listener.handle(START + age, peer, &datagram, &mut reply);
    match event {
        ListenerEvent::Reply(len) | ListenerEvent::Rejected(len, _) => {
            assert!(len <= datagram.len(), "no answer is longer than its question");
            let answer = Packet::parse(&reply[..len]);
            assert!(matches!(answer, Ok(Packet::Control(_, Control::Handshake(_)))));
        }
        ListenerEvent::Conclusion(request) => {
            assert!((76..=1_500).contains(&request.mtu));
            assert!(request.stream_id.as_bytes().len() <= 512);
            assert!(age <= Duration::from_secs(120));
            let mut connection = Connection::new(64);
            let config = ConnectionConfig { local_id: LOCAL_ID, ..ConnectionConfig::default() };
            let answer = connection.open(&request, &config, None, START + age);
            assert!(Packet::parse(answer.as_bytes()).is_ok());
            assert!(connection.next_timeout() > START + age);
        }
        ListenerEvent::BadCookie | ListenerEvent::Invalid(_) => {
            assert_eq!(reply, [0; REJECTION_BYTES], "nothing to send");
        }
    }
}

fn peer() -> SocketAddr {
    "[2001:db8::7]:5000".parse().unwrap()
}

fn induction(peer: SocketAddr) -> Handshake {
    Handshake {
        version: 4,
        encryption: 0,
        extension: 2,
        initial_sequence: Sequence::new(0x7fff_ff80),
        mtu: 1_500,
        flow_window: 64,
        kind: Kind::Induction,
        socket_id: PEER_ID,
        cookie: 0,
        peer: peer.ip(),
    }
}

fn cookie(listener: &Listener, peer: SocketAddr) -> u32 {
    let question = crate::request::packet(&induction(peer), 0, 0);
    let mut reply = [0; REJECTION_BYTES];
    listener.handle(START, peer, &question, &mut reply);
    u32::from_be_bytes(reply[44..48].try_into().unwrap())
}

/// A script for one that asks for a connection: the first byte chooses between a caller, a
/// rendezvous that may win the cookie contest and one that may lose it. Then, again and again:
///
/// ```text
///  step of time in units of 4 ms, length of a datagram, its bytes
/// ```
///
/// A set lowest bit of the step puts the socket id in its place.
pub fn opening(data: &[u8]) {
    let mut script = Script { rest: data };
    let config = CallerConfig {
        stream_id: StreamId::new(b"cam").unwrap(),
        ..CallerConfig::live(LOCAL_ID, Sequence::new(0x7fff_ff80), "192.0.2.1".parse().unwrap())
    };
    let mut asking = match script.byte() % 3 {
        0 => Asking::Caller(Caller::new(config, START)),
        1 => Asking::Rendezvous(Rendezvous::new(config, u32::MAX >> 1, START)),
        _ => Asking::Rendezvous(Rendezvous::new(config, 1 << 31, START)),
    };
    let (mut now, mut ended) = (START, None);
    while !script.rest.is_empty() {
        let step = script.byte();
        now = now + Duration::from_millis(u64::from(step) * 4);
        let len = usize::from(script.byte());
        let mut bytes = script.take(len).to_vec();
        if step & 1 != 0
            && let Some(id) = bytes.get_mut(12..16)
        {
            id.copy_from_slice(&LOCAL_ID.to_be_bytes());
        }
        let mut sent = Vec::new();
        let out = &mut |bytes: &[u8]| sent.push(bytes.to_vec());
        let outcome = asking.run(now, &bytes, out);
        assert!(sent.len() <= 2, "no datagram makes a flood");
        for packet in &sent {
            assert!(packet.len() <= PACKET_BYTES_MAX);
            let Ok(Packet::Control(_, Control::Handshake(body))) = Packet::parse(packet) else {
                panic!("sent what is no handshake");
            };
            assert!(Handshake::parse(body).unwrap().1.all(|block| block.is_ok()));
        }
        assert!(ended.is_none() || ended == outcome, "an end is an end");
        ended = outcome;
        check_outcome(ended, now);
    }
}

enum Asking {
    Caller(Caller),
    Rendezvous(Rendezvous),
}

impl Asking {
    fn run(
        &mut self,
        now: Time,
        bytes: &[u8],
        out: &mut impl FnMut(&[u8]),
    ) -> Option<Result<Connected, Failure>> {
        let (outcome, next) = match self {
            Self::Caller(caller) => {
                caller.handle_timeout(now, out);
                caller.handle_datagram(now, bytes, out);
                (caller.outcome(), caller.next_timeout())
            }
            Self::Rendezvous(rendezvous) => {
                rendezvous.handle_timeout(now, out);
                rendezvous.handle_datagram(now, bytes, out);
                (rendezvous.outcome(), rendezvous.next_timeout())
            }
        };
        assert_eq!(outcome.is_some(), next == Time::NEVER);
        assert!(next > now, "timers come to rest");
        outcome
    }
}

fn check_outcome(outcome: Option<Result<Connected, Failure>>, now: Time) {
    let Some(Ok(connected)) = outcome else { return };
    assert!(connected.peer_socket_id != 0);
    assert!((76..=1_500).contains(&connected.mtu));
    assert!(connected.latency_ms >= 120 && connected.greeted <= now);
    let mut connection = Connection::new(64);
    let config = ConnectionConfig { local_id: LOCAL_ID, ..ConnectionConfig::default() };
    connection.open_connected(&connected, &config, None, now);
    assert!(connection.next_timeout() > now);
}

/// Counts what comes out: everything before the window's base has been delivered or skipped, once
/// and in order.
struct Progress {
    passed: u32,
    held_limit: u32,
}

impl Output for Progress {
    fn transmit(&mut self, packet: &[u8]) {
        assert!(packet.len() <= PACKET_BYTES_MAX);
        let Ok(Packet::Control(header, _)) = Packet::parse(packet) else {
            panic!("sent what cannot be read");
        };
        assert_eq!(header.destination, PEER_ID);
    }

    fn deliver(&mut self, payload: &[u8], _: Time, _: Time) {
        if let Some(place) = payload.first_chunk::<4>() {
            let place = u32::from_be_bytes(*place);
            assert!(place == u32::MAX || place == self.passed, "out of order");
        }
        self.passed += 1;
    }

    fn skipped(&mut self, packets: u32) {
        assert!(packets > 0);
        self.passed += packets;
    }
}

/// A script of datagrams and steps of time for a connection of 64 packets.
///
/// ```text
///  0..=127, place   data packet, place packets after the last end, signed; a small number repeats
///  128+, …          control packet, raw datagram, time, share of slots: see `step`
/// ```
pub fn connection(data: &[u8]) {
    thread_local! {
        // Mapping one for each input would take far longer than the input.
        static SLAB: Slab = Slab::new(128).unwrap();
    }
    let slab = SLAB.with(Slab::clone);
    let mut connection = Connection::new(64);
    let mut now = START;
    open(&mut connection, now);
    let mut out = Progress { passed: 0, held_limit: 32 };
    let mut script = Script { rest: data };
    while !script.rest.is_empty() && connection.state() == State::Open {
        step(&mut connection, &slab, &mut script, &mut now, &mut out);
        check(&connection, &slab, &out);
    }
    connection.close(now, &mut out);
    check(&connection, &slab, &out);
    assert_eq!(slab.free(), slab.capacity(), "every slot came back");
    assert_eq!(connection.next_timeout(), Time::NEVER);
}

fn open(connection: &mut Connection, now: Time) {
    let config = ConnectionConfig {
        local_id: LOCAL_ID,
        latency: Duration::from_millis(50),
        slots_max: 32,
        reorder_tolerance: 1,
        ..ConnectionConfig::default()
    };
    connection.open(&request(now), &config, None, now);
}

fn request(now: Time) -> ConnectRequest {
    let mut block = [0; 16];
    let mut writer = ExtensionWriter::new(&mut block);
    let capabilities = Capabilities {
        version: 0x0001_0501,
        flags: 0xbf,
        receiver_latency_ms: 0,
        sender_latency_ms: 50,
    };
    writer.capabilities(extension::HSREQ, &capabilities);
    let conclusion = Handshake { version: 5, extension: 1, ..induction(peer()) };
    let extensions = Extensions::new(&block);
    // The sender's clock wraps after a second.
    let clock = u32::MAX - 1_000_000;
    ConnectRequest::read(now, peer(), clock, &conclusion, extensions).unwrap()
}

struct Script<'a> {
    rest: &'a [u8],
}

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        first
    }

    fn word(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    fn take(&mut self, len: usize) -> &[u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}

fn step(
    connection: &mut Connection,
    slab: &Slab,
    script: &mut Script<'_>,
    now: &mut Time,
    out: &mut Progress,
) {
    let elapsed = u32::try_from(now.since(START).as_micros() % (1 << 32)).unwrap();
    let timestamp_us = (u32::MAX - 1_000_000).wrapping_add(elapsed);
    let end = connection.window_ends().1;
    let near = |place: u8| end.add(u32::from(place)).add(Sequence::MASK - 39);
    let bytes = match script.byte() {
        place @ 0..=127 => {
            let sequence = near(place);
            let mut header = DataHeader::live(sequence, 1, timestamp_us, LOCAL_ID);
            header.retransmitted = place & 1 == 0;
            let position = sequence.offset_from(connection.window_ends().0);
            let position = out.passed.wrapping_add_signed(position);
            let mut bytes = header.encode().to_vec();
            bytes.extend_from_slice(&position.to_be_bytes());
            bytes
        }
        128..=159 => {
            let range = SequenceRange::new(near(script.byte()), near(script.byte()));
            let Some(range) = range else { return };
            DropRequest { message: 0, range }.encode(timestamp_us, LOCAL_ID).to_vec()
        }
        160..=175 => {
            let (first, last) = (script.word(), script.word());
            let range = SequenceRange::new(Sequence::new(first), Sequence::new(last));
            let Some(range) = range else { return };
            DropRequest { message: first, range }.encode(timestamp_us, LOCAL_ID).to_vec()
        }
        176..=191 => encode_ackack(script.byte().into(), timestamp_us, LOCAL_ID).to_vec(),
        192..=223 => {
            *now = *now + Duration::from_micros(u64::from(script.byte()) * 400);
            connection.handle_timeout(*now, out);
            assert!(connection.next_timeout() > *now, "timers come to rest");
            return;
        }
        224..=231 => {
            let share = script.byte().into();
            out.held_limit = out.held_limit.max(share);
            connection.set_slots_max(share, *now, out);
            connection.set_window_max(script.byte().into(), *now, out);
            return;
        }
        232 => encode_shutdown(timestamp_us, LOCAL_ID).to_vec(),
        // Any bytes, mostly with the right socket id; its payload says that it has no known place.
        kind @ 233..=255 => {
            let len = usize::from(script.byte());
            let mut bytes = script.take(len).to_vec();
            if kind < 250
                && let Some(id) = bytes.get_mut(12..16)
            {
                id.copy_from_slice(&LOCAL_ID.to_be_bytes());
            }
            if let Some(payload) = bytes.get_mut(16..20)
                && kind < 240
            {
                payload.fill(0xff);
            } else {
                bytes.truncate(19);
            }
            bytes
        }
    };
    let datagram = Datagram::copy_from(slab, &bytes).unwrap();
    connection.handle_datagram(*now, *now, datagram, out);
}

fn check(connection: &Connection, slab: &Slab, out: &Progress) {
    let stats = connection.stats();
    assert!(stats.is_balanced(), "{stats:#?}");
    let (base, end) = connection.window_ends();
    assert!((0..=64).contains(&end.offset_from(base)));
    assert_eq!(base, Sequence::new(0x7fff_ff80).add(out.passed));
    assert_eq!(u64::from(slab.capacity() - slab.free()), stats.packets_held);
    assert!(stats.packets_held <= u64::from(out.held_limit));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Every file of a target's corpus, and each of them cut to every length and with every single
    /// bit changed.
    fn replay(target: &str, body: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus");
        let mut files = 0;
        for file in fs::read_dir(corpus.join(target)).unwrap() {
            let data = fs::read(file.unwrap().path()).unwrap();
            files += 1;
            for len in 0..=data.len() {
                body(&data[..len]);
            }
            for bit in 0..data.len().min(100) * 8 {
                let mut changed = data.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                body(&changed);
            }
        }
        assert!(files >= 10, "{target} has a corpus");
    }

    #[test]
    fn corpus_packet() {
        replay("srt_packet", packet);
    }

    #[test]
    fn corpus_handshake() {
        replay("srt_handshake", handshake);
    }

    #[test]
    fn corpus_listener() {
        replay("srt_listener", listener);
    }

    #[test]
    fn corpus_opening() {
        replay("srt_opening", opening);
    }

    #[test]
    fn corpus_connection() {
        replay("srt_connection", connection);
    }

    #[test]
    fn corpus_key_material() {
        replay("srt_key_material", key_material);
    }

    #[test]
    fn corpus_secured() {
        replay("srt_secured", secured);
    }

    #[test]
    fn random_scripts_keep_every_promise_of_a_connection() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::new();
        for round in 0..2_000 {
            bytes.clear();
            for _ in 0..400 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round | 1);
                let byte = seed.to_be_bytes()[0];
                // Shutdowns end the script: few of them.
                bytes.push(if byte == 232 && round % 4 != 0 { 200 } else { byte });
            }
            connection(&bytes);
        }
    }
}
