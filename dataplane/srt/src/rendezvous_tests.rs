//! Two sides against each other over a link that delays, loses and doubles, and single rules.

use std::net::IpAddr;
use std::time::Duration;

use super::*;
use crate::control::encode_keepalive;
use crate::crypto::{Initiator, KeySize, Mode, Passphrase, Refresh, Suite};
use crate::handshake::{SRT_VERSION, StreamId};
use crate::packet::DataHeader;
use crate::sequence::Sequence;

const START: Time = Time::from_micros(50_000_000);
const MS: Duration = Duration::from_millis(1);
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn config(id: u32) -> CallerConfig {
    CallerConfig {
        latency_ms: u16::try_from(100 + id).unwrap(),
        connect_timeout: Duration::from_secs(60),
        ..CallerConfig::live(id, Sequence::new(1_000 * id), PEER)
    }
}

fn side(id: u32, cookie: u32) -> Rendezvous {
    Rendezvous::new(config(id), cookie, START)
}

/// A small generator: the tests' only chance.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// What a link does to datagrams.
struct Link {
    dice: Dice,
    loss_percent: u64,
    delay: Duration,
    jitter_ms: u64,
    /// Arrival, to which side, what.
    on_the_way: Vec<(Time, usize, Vec<u8>)>,
    sent: u32,
}

impl Link {
    fn new(seed: u64, loss_percent: u64, delay: Duration) -> Self {
        let dice = Dice(seed);
        Self { dice, loss_percent, delay, jitter_ms: 5, on_the_way: Vec::new(), sent: 0 }
    }

    fn send(&mut self, now: Time, to: usize, bytes: &[u8]) {
        self.sent += 1;
        let copies = if self.dice.below(10) == 0 { 2 } else { 1 };
        for _ in 0..copies {
            if self.dice.below(100) >= self.loss_percent {
                let jitter = Duration::from_millis(self.dice.below(self.jitter_ms + 1));
                self.on_the_way.push((now + self.delay + jitter, to, bytes.to_vec()));
            }
        }
    }

    fn arrived(&mut self, now: Time) -> Vec<(usize, Vec<u8>)> {
        let (mut due, rest): (Vec<_>, Vec<_>) =
            self.on_the_way.drain(..).partition(|(at, ..)| *at <= now);
        self.on_the_way = rest;
        due.sort_by_key(|(at, ..)| *at);
        due.into_iter().map(|(_, to, bytes)| (to, bytes)).collect()
    }
}

/// Runs both until each has an outcome; a connected side sends keepalives, as its connection would.
fn meet(sides: &mut [Rendezvous; 2], starts: [Time; 2], link: &mut Link) {
    meet_with(sides, starts, link, &|_| Ok(()));
}

/// When key material is unwrapped, and what comes of it.
type Unwrapped = (Time, KeyMaterial, Result<(), RejectReason>);

/// The same, with what comes of unwrapping key material; that takes a while.
fn meet_with(
    sides: &mut [Rendezvous; 2],
    starts: [Time; 2],
    link: &mut Link,
    unwrap: &dyn Fn(&KeyMaterial) -> Result<(), RejectReason>,
) {
    let mut unwrapped: [Option<Unwrapped>; 2] = [None; 2];
    let ids = sides.each_ref().map(|side| side.config.socket_id);
    let mut now = START;
    while sides.iter().any(|side| side.outcome().is_none()) {
        now = now + MS;
        assert!(now < START + Duration::from_secs(70), "they come to an end");
        for (to, bytes) in link.arrived(now) {
            if now >= starts[to] {
                let mut said = Vec::new();
                sides[to].handle_datagram(now, &bytes, &mut |m: &[u8]| said.push(m.to_vec()));
                said.iter().for_each(|message| link.send(now, 1 - to, message));
            }
        }
        for me in 0..2 {
            if now < starts[me] {
                continue;
            }
            let mut said = Vec::new();
            if let Some(material) = sides[me].key_question() {
                unwrapped[me] = Some((now + 40 * MS, material, unwrap(&material)));
            }
            if let Some((at, material, result)) = unwrapped[me]
                && at <= now
            {
                unwrapped[me] = None;
                sides[me].answer_keys(now, &material, result, &mut |m: &[u8]| {
                    said.push(m.to_vec());
                });
            }
            sides[me].handle_timeout(now, &mut |m: &[u8]| said.push(m.to_vec()));
            if matches!(sides[me].outcome(), Some(Ok(_))) && now.micros() % 1_000_000 < 1_000 {
                said.push(encode_keepalive(0, ids[1 - me]).to_vec());
            }
            said.iter().for_each(|message| link.send(now, 1 - me, message));
        }
    }
}

fn connected(side: &Rendezvous) -> Connected {
    match side.outcome() {
        Some(Ok(connected)) => connected,
        other => panic!("{other:?}"),
    }
}

fn assert_agreed(sides: &[Rendezvous; 2]) {
    let [one, two] = sides.each_ref().map(connected);
    assert_eq!((one.socket_id, one.peer_socket_id), (7, 8));
    assert_eq!((two.socket_id, two.peer_socket_id), (8, 7));
    assert_eq!(one.initial_sequence, two.peer_initial_sequence);
    assert_eq!(two.initial_sequence, one.peer_initial_sequence);
    assert_eq!((one.latency_ms, one.peer_latency_ms), (108, 108), "the larger of both");
    assert_eq!((two.latency_ms, two.peer_latency_ms), (108, 108));
    assert_eq!(one.peer_version, SRT_VERSION);
}

#[test]
fn two_sides_meet_whoever_has_the_greater_cookie_and_whoever_starts_first() {
    for cookies in [(5, 9), (9, 5), (1, u32::MAX), (0x9000_0000, 0x7000_0000)] {
        for delay_ms in [0, 20, 150, 400] {
            for offset_ms in [0, 1, 10, 240, 260, 2_000] {
                for late in 0..2 {
                    let mut sides = [side(7, cookies.0), side(8, cookies.1)];
                    let mut starts = [START; 2];
                    starts[late] = START + offset_ms * MS;
                    let mut link = Link::new(1, 0, delay_ms * MS);
                    meet(&mut sides, starts, &mut link);
                    assert_agreed(&sides);
                }
            }
        }
    }
}

#[test]
fn two_sides_meet_over_a_link_that_loses_much() {
    for seed in 0..400 {
        let loss_percent = 20 + seed % 41;
        let mut sides = [side(7, 3 + u32::try_from(seed % 5).unwrap()), side(8, 5)];
        if sides[0].cookie == sides[1].cookie {
            continue;
        }
        let starts = [START, START + Duration::from_millis(seed * 37 % 600)];
        let mut link = Link::new(seed, loss_percent, Duration::from_millis(seed % 150));
        meet(&mut sides, starts, &mut link);
        assert_agreed(&sides);
        assert!(link.sent < 1_500, "nobody floods: {} messages", link.sent);
    }
}

#[test]
fn the_greater_cookie_is_the_initiator_by_its_difference_in_32_bits() {
    for (ours, theirs, role) in [
        (2, 1, Some(Role::Initiator)),
        (1, 2, Some(Role::Responder)),
        (u32::MAX, 1, Some(Role::Responder)),
        (1, u32::MAX, Some(Role::Initiator)),
        (7, 7, None),
        (0x8000_0001, 1, None),
    ] {
        assert_eq!(contest(ours, theirs), role, "{ours} {theirs}");
    }
}

#[test]
fn equal_cookies_end_the_attempt_on_both_sides() {
    let mut sides = [side(7, 5), side(8, 5)];
    meet(&mut sides, [START; 2], &mut Link::new(1, 0, MS));
    for side in &sides {
        let failure = side.outcome().unwrap().unwrap_err();
        let reason = RejectReason::RENDEZVOUS_COOKIE;
        assert!([Failure::Refused(reason), Failure::Rejected(reason)].contains(&failure));
    }
}

/// What a side says to a message, with its kind and whether there is a greeting in it.
fn say(side: &mut Rendezvous, now: Time, message: &[u8]) -> Vec<(Kind, u16)> {
    let mut said = Vec::new();
    side.handle_datagram(now, message, &mut |bytes: &[u8]| {
        let Ok(Packet::Control(_, Control::Handshake(body))) = Packet::parse(bytes) else {
            panic!("a side says handshakes");
        };
        let (handshake, mut extensions) = Handshake::parse(body).unwrap();
        let greeting = extensions.next().map_or(0, |block| block.unwrap().kind);
        said.push((handshake.kind, greeting));
    });
    said
}

/// A message of peer 8 to side 7.
fn message(kind: Kind, cookie: u32, block: Option<u16>) -> Vec<u8> {
    let mut peer = side(8, cookie);
    peer.peer_id = 7;
    let capabilities = peer.config.capabilities();
    let mut handshake = peer.config.handshake(kind);
    handshake.extension = block.map_or(0, |_| field::HSREQ);
    let mut bytes = Vec::new();
    let block = block.map(|kind| (kind, capabilities));
    peer.send(START, &handshake, block, &mut |message: &[u8]| bytes = message.to_vec());
    bytes
}

#[test]
fn an_initiator_answers_every_repeated_conclusion_with_the_agreement() {
    let mut side = side(7, 9);
    let wave = message(Kind::WaveAHand, 5, None);
    assert_eq!(say(&mut side, START, &wave), [(Kind::Conclusion, extension::HSREQ)]);
    let empty = message(Kind::Conclusion, 5, None);
    assert_eq!(say(&mut side, START, &empty), [(Kind::Conclusion, extension::HSREQ)]);
    let answer = message(Kind::Conclusion, 5, Some(extension::HSRSP));
    for _ in 0..3 {
        assert_eq!(say(&mut side, START, &answer), [(Kind::Agreement, 0)]);
        connected(&side);
    }
    assert_eq!(say(&mut side, START, &message(Kind::Agreement, 5, None)), []);
}

#[test]
fn a_responder_answers_every_repeated_greeting_until_the_agreement_and_after_it() {
    let mut side = side(7, 5);
    let greeting = message(Kind::Conclusion, 9, Some(extension::HSREQ));
    for _ in 0..3 {
        assert_eq!(say(&mut side, START, &greeting), [(Kind::Conclusion, extension::HSRSP)]);
        assert_eq!(side.state(), RendezvousState::Initiated);
    }
    assert_eq!(say(&mut side, START, &message(Kind::Agreement, 9, None)), []);
    connected(&side);
    assert_eq!(say(&mut side, START, &greeting), [(Kind::Conclusion, extension::HSRSP)]);
}

#[test]
fn an_agreement_that_carries_the_greeting_connects_an_initiator() {
    // What libsrt says to a conclusion when it is connected already.
    let mut side = side(7, 9);
    say(&mut side, START, &message(Kind::WaveAHand, 5, None));
    let agreement = message(Kind::Agreement, 0, None);
    assert_eq!(say(&mut side, START, &agreement), [(Kind::Conclusion, extension::HSREQ)]);
    let agreement = message(Kind::Agreement, 0, Some(extension::HSRSP));
    assert_eq!(say(&mut side, START, &agreement), []);
    connected(&side);
}

#[test]
fn two_attentive_responders_do_not_answer_each_other() {
    let mut side = side(7, 5);
    let empty = message(Kind::Conclusion, 9, None);
    assert_eq!(say(&mut side, START, &empty), [(Kind::Conclusion, 0)]);
    assert_eq!(say(&mut side, START, &empty), []);
}

#[test]
fn data_stands_in_for_a_lost_agreement_and_only_then() {
    let data = DataHeader::live(Sequence::new(8_000), 1, 0, 7).encode();
    let mut side = side(7, 5);
    assert_eq!(say(&mut side, START, &data), []);
    assert_eq!(side.outcome(), None, "nothing is agreed yet");
    say(&mut side, START, &message(Kind::Conclusion, 9, Some(extension::HSREQ)));
    let mut foreign = data;
    foreign[15] = 6;
    say(&mut side, START, &foreign);
    assert_eq!(side.outcome(), None, "data of another connection");
    say(&mut side, START, &data);
    assert_eq!(connected(&side).peer_socket_id, 8);
}

#[test]
fn a_peer_that_started_anew_is_met_anew() {
    let mut side = side(7, 5);
    say(&mut side, START, &message(Kind::Conclusion, 9, Some(extension::HSREQ)));
    assert_eq!(side.state(), RendezvousState::Initiated);
    let mut wave = message(Kind::WaveAHand, 2, None);
    wave[16 + 27] = 77; // its socket id
    assert_eq!(say(&mut side, START, &wave), [(Kind::Conclusion, extension::HSREQ)]);
    assert_eq!(side.state(), RendezvousState::Attention(Role::Initiator));
}

#[test]
fn what_cannot_be_served_is_refused_with_its_reason() {
    for (kind, reason) in [
        (extension::KMREQ, RejectReason::UNSECURE),
        (extension::FILTER, RejectReason::FILTER),
        (extension::GROUP, RejectReason::GROUP),
        (extension::CONGESTION, RejectReason::CONGESTION),
    ] {
        let mut side = side(7, 5);
        let refused = say(&mut side, START, &message(Kind::Conclusion, 9, Some(kind)));
        assert_eq!(refused, [(Kind::Rejected(reason), 0)]);
        assert_eq!(side.outcome(), Some(Err(Failure::Refused(reason))));
    }
    let mut side = side(7, 5);
    let mut old = message(Kind::WaveAHand, 9, None);
    old[19] = 4;
    assert_eq!(say(&mut side, START, &old), [(Kind::Rejected(RejectReason::VERSION), 0)]);
}

#[test]
fn a_rejection_is_told_and_ends_it() {
    let mut side = side(7, 5);
    let rejection = message(Kind::Rejected(RejectReason::UNSECURE), 9, None);
    assert_eq!(say(&mut side, START, &rejection), []);
    assert_eq!(side.outcome(), Some(Err(Failure::Rejected(RejectReason::UNSECURE))));
    assert_eq!(side.next_timeout(), Time::NEVER);
}

#[test]
fn a_side_alone_waves_each_250_ms_and_gives_up() {
    let mut side = side(7, 5);
    let mut waves = 0;
    while side.outcome().is_none() {
        let at = side.next_timeout();
        side.handle_timeout(at, &mut |_: &[u8]| waves += 1);
    }
    assert_eq!(waves, 240);
    assert_eq!(side.outcome(), Some(Err(Failure::Timeout)));
}

#[test]
fn an_initiator_sends_its_stream_id() {
    let mut config = config(7);
    config.stream_id = StreamId::new(b"cam").unwrap();
    let mut side = Rendezvous::new(config, 9, START);
    let mut said = Vec::new();
    let wave = message(Kind::WaveAHand, 5, None);
    side.handle_datagram(START, &wave, &mut |bytes: &[u8]| said = bytes.to_vec());
    let (handshake, extensions) = Handshake::parse(&said[HEADER_BYTES..]).unwrap();
    assert_eq!(handshake.extension, field::HSREQ | field::CONFIG);
    let kinds: Vec<u16> = extensions.map(|block| block.unwrap().kind).collect();
    assert_eq!(kinds, [extension::HSREQ, extension::STREAM_ID]);
}

/// A side with key material of its own.
fn secured(id: u32, cookie: u32, passphrase: &[u8]) -> (Rendezvous, Initiator) {
    let suite = Suite { mode: Mode::Ctr, size: KeySize::Aes256 };
    let passphrase = Passphrase::new(passphrase).unwrap();
    let seed = [u8::try_from(id).unwrap(); 32];
    let initiator = Initiator::new(&passphrase, suite, Refresh::default(), &seed).unwrap();
    let key_material = initiator.material();
    (Rendezvous::new(CallerConfig { key_material, ..config(id) }, cookie, START), initiator)
}

#[test]
fn the_responder_unwraps_the_initiators_key_material_over_any_link() {
    for (cookies, winner) in [((9, 5), 0), ((5, 9), 1)] {
        for seed in 0..60 {
            let (one, keys_one) = secured(7, cookies.0, b"correct horse");
            let (two, keys_two) = secured(8, cookies.1, b"correct horse");
            let expected = [keys_one, keys_two][winner].material().unwrap();
            let asked = std::cell::Cell::new(0);
            let mut sides = [one, two];
            let mut link = Link::new(seed, seed % 40, Duration::from_millis(seed));
            let starts = [START, START + Duration::from_millis(seed * 37 % 600)];
            meet_with(&mut sides, starts, &mut link, &|material| {
                asked.set(asked.get() + 1);
                assert_eq!(material.as_bytes(), expected.as_bytes());
                Ok(())
            });
            assert_agreed(&sides);
            assert_eq!(asked.get(), 1, "nothing is derived twice");
        }
    }
}

#[test]
fn keys_that_do_not_unwrap_end_it_with_the_reason_on_both_sides() {
    let mut sides = [secured(7, 9, b"correct horse").0, secured(8, 5, b"another horse").0];
    let wrong = RejectReason::BAD_SECRET;
    meet_with(&mut sides, [START; 2], &mut Link::new(1, 0, MS), &|_| Err(wrong));
    assert_eq!(sides[0].outcome(), Some(Err(Failure::Rejected(wrong))));
    assert_eq!(sides[1].outcome(), Some(Err(Failure::Refused(wrong))));
}

#[test]
fn a_side_with_keys_does_not_meet_one_without() {
    for cookies in [(9, 5), (5, 9)] {
        let mut sides = [secured(7, cookies.0, b"correct horse").0, side(8, cookies.1)];
        meet(&mut sides, [START; 2], &mut Link::new(1, 0, MS));
        for side in &sides {
            let failure = side.outcome().unwrap().unwrap_err();
            let reason = RejectReason::UNSECURE;
            assert!([Failure::Refused(reason), Failure::Rejected(reason)].contains(&failure));
        }
    }
}

#[test]
fn an_answer_to_other_keys_is_refused() {
    let (mut side, _) = secured(7, 9, b"correct horse");
    say(&mut side, START, &message(Kind::WaveAHand, 5, None));
    let unsecured = message(Kind::Conclusion, 5, Some(extension::HSRSP));
    let refused = [(Kind::Rejected(RejectReason::UNSECURE), 0)];
    assert_eq!(say(&mut side, START, &unsecured), refused);
}

#[test]
fn of_an_initiator_that_starts_anew_only_the_last_keys_count_and_one_question_is_open() {
    let mut responder = secured(7, 5, b"correct horse").0;
    // The same initiator, twice: another socket id, other keys.
    let greet = |id: u32| {
        let (mut side, initiator) = secured(id, 9, b"correct horse");
        let (mut said, mut wave) = (Vec::new(), message(Kind::WaveAHand, 5, None));
        wave[12..16].fill(0);
        side.handle_datagram(START, &wave, &mut |bytes: &[u8]| said = bytes.to_vec());
        said[12..16].fill(0);
        (said, initiator.material().unwrap())
    };
    let ((first, stale), (second, last)) = (greet(8), greet(9));
    assert_eq!(say(&mut responder, START, &first), []);
    assert_eq!(responder.key_question(), Some(stale));
    assert_eq!(say(&mut responder, START, &second), []);
    assert_eq!(responder.key_question(), None, "the first is not answered yet");
    let mut said = 0;
    let mut count = |_: &[u8]| said += 1;
    assert!(!responder.answer_keys(START, &stale, Ok(()), &mut count));
    assert_eq!(responder.state(), RendezvousState::Securing);
    assert_eq!(responder.key_question(), Some(last));
    assert!(responder.answer_keys(START, &last, Ok(()), &mut count));
    assert_eq!((responder.state(), said), (RendezvousState::Initiated, 1));
}
