//! Caller and sender against listener and connection over a link that loses, reorders and repeats,
//! in virtual time: a seed decides everything.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Duration;

use memory::{Datagram, Slab, Time};
use srt::caller::{Caller, CallerConfig, CallerState, Failure};
use srt::control::{Control, encode_handshake_header};
use srt::handshake::{Handshake, RejectReason, StreamId, extension, field};
use srt::packet::{HEADER_BYTES, Packet};
use srt::sender::{Sender, SenderState};
use srt::sequence::Sequence;
use srt::{
    Answer, ConnectRequest, Connection, ConnectionConfig, EndReason, Listener, ListenerEvent,
    Output, REJECTION_BYTES, State, Stats,
};

const ORIGIN: Time = Time::from_micros(1_000_000_000);
const PEER_PORT: u16 = 5_000;
const LOCAL_ID: u32 = 0x0bad;

struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }
}

#[derive(Debug, Clone, Copy)]
struct Scenario {
    seed: u64,
    rtt: Duration,
    latency: Duration,
    loss_per_mille: u64,
    reorder_per_mille: u64,
    duplicate_per_mille: u64,
    initial: u32,
    reorder_tolerance: u32,
    /// Time on the sender's clock when it connects.
    sender_age: Duration,
    packets: u32,
    interval: Duration,
}

impl Scenario {
    fn new(seed: u64) -> Self {
        let rtt = Duration::from_millis(20);
        Self {
            seed,
            rtt,
            latency: rtt * 4,
            loss_per_mille: 0,
            reorder_per_mille: 0,
            duplicate_per_mille: 0,
            initial: 1_000,
            reorder_tolerance: 0,
            sender_age: Duration::ZERO,
            packets: 3_000,
            interval: Duration::from_millis(2),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    ToListener,
    ToCaller,
}

/// Arrival, order of sending, direction, bytes.
type Flying = (Time, u64, Direction, Vec<u8>);

/// Packets on their way, by time of arrival.
struct Link {
    random: Random,
    scenario: Scenario,
    /// Losses begin when the handshake is over.
    lossy: bool,
    sent: u64,
    flying: BinaryHeap<Reverse<Flying>>,
}

impl Link {
    fn send(&mut self, now: Time, direction: Direction, bytes: &[u8]) {
        let Scenario { rtt, loss_per_mille, reorder_per_mille, duplicate_per_mille, .. } =
            self.scenario;
        if self.lossy && self.random.chance(loss_per_mille) {
            return;
        }
        let copies = if self.lossy && self.random.chance(duplicate_per_mille) { 2 } else { 1 };
        for _ in 0..copies {
            let mut at = now + rtt / 2;
            if self.lossy && self.random.chance(reorder_per_mille) {
                at = at + Duration::from_micros(self.random.below(8_000));
            }
            self.sent += 1;
            self.flying.push(Reverse((at, self.sent, direction, bytes.to_vec())));
        }
    }

    fn next(&self) -> Time {
        self.flying.peek().map_or(Time::NEVER, |Reverse((at, ..))| *at)
    }

    fn arrived(&mut self, now: Time) -> Option<(Direction, Vec<u8>)> {
        if self.next() > now {
            return None;
        }
        self.flying.pop().map(|Reverse((_, _, direction, bytes))| (direction, bytes))
    }
}

/// What comes out, checked as it comes.
#[derive(Default)]
struct Received {
    next: u32,
    delivered: u32,
    skipped: u32,
    late: u32,
    transmit: Vec<Vec<u8>>,
    now: Time,
}

impl Output for Received {
    fn transmit(&mut self, packet: &[u8]) {
        self.transmit.push(packet.to_vec());
    }

    fn deliver(&mut self, payload: &[u8], arrival: Time, due: Time) {
        let index = u32::from_be_bytes(payload[..4].try_into().unwrap());
        assert_eq!(index, self.next, "in order, once");
        assert!(arrival <= self.now);
        self.late += u32::from(due < self.now);
        self.next += 1;
        self.delivered += 1;
    }

    fn skipped(&mut self, packets: u32) {
        self.next += packets;
        self.skipped += packets;
    }
}

struct World {
    scenario: Scenario,
    now: Time,
    peer: SocketAddr,
    link: Link,
    caller: Caller,
    sender: Sender,
    pushed: u32,
    next_push: Time,
    listener: Listener,
    accepted: Option<(ConnectRequest, Answer)>,
    connection: Connection,
    received: Received,
    slab: Slab,
}

impl World {
    fn new(scenario: Scenario) -> Self {
        let now = ORIGIN + scenario.sender_age;
        let peer = SocketAddr::from(([192, 0, 2, 1], PEER_PORT));
        let config = CallerConfig {
            latency_ms: u16::try_from(scenario.latency.as_millis()).unwrap(),
            stream_id: StreamId::new(b"sim").unwrap(),
            connect_timeout: scenario.sender_age + Duration::from_secs(3),
            ..CallerConfig::live(77, Sequence::new(scenario.initial), peer.ip())
        };
        Self {
            scenario,
            now,
            peer,
            link: Link {
                random: Random::new(scenario.seed),
                scenario,
                lossy: false,
                sent: 0,
                flying: BinaryHeap::new(),
            },
            caller: Caller::new(config, ORIGIN),
            sender: Sender::new(8_192, 1_316),
            pushed: 0,
            next_push: Time::NEVER,
            listener: Listener::new([3; 16]),
            accepted: None,
            connection: Connection::new(2_048),
            received: Received::default(),
            slab: Slab::new(2_048).unwrap(),
        }
    }

    /// Runs to the end of the session.
    fn run(&mut self) -> Stats {
        while self.connection.state() == State::Open || self.accepted.is_none() {
            let next = [
                self.link.next(),
                self.caller.next_timeout(),
                self.sender.next_timeout(),
                self.connection.next_timeout(),
                self.next_push,
            ];
            self.now = self.now.max(next.into_iter().min().unwrap());
            assert!(self.now.since(ORIGIN + self.scenario.sender_age) < Duration::from_secs(300));
            self.step();
        }
        assert!(self.connection.stats().is_balanced(), "{:#?}", self.connection.stats());
        assert_eq!(self.slab.free(), self.slab.capacity());
        *self.connection.stats()
    }

    fn step(&mut self) {
        let now = self.now;
        self.received.now = now;
        while let Some((direction, bytes)) = self.link.arrived(now) {
            match direction {
                Direction::ToListener => self.at_listener(&bytes),
                Direction::ToCaller => self.at_caller(&bytes),
            }
        }
        let mut out = Vec::new();
        self.caller.handle_timeout(now, &mut |bytes: &[u8]| out.push(bytes.to_vec()));
        self.push();
        self.sender.handle_timeout(now, &mut |bytes: &[u8]| out.push(bytes.to_vec()));
        while let Some(run) = self.sender.next_run(now, 64) {
            out.extend(run.bytes.chunks(run.segment_bytes).map(<[u8]>::to_vec));
        }
        for bytes in out {
            self.link.send(now, Direction::ToListener, &bytes);
        }
        if self.connection.next_timeout() <= now {
            self.connection.handle_timeout(now, &mut self.received);
            assert!(self.connection.next_timeout() > now);
        }
        for bytes in std::mem::take(&mut self.received.transmit) {
            self.link.send(now, Direction::ToCaller, &bytes);
        }
    }

    fn push(&mut self) {
        if self.now < self.next_push {
            return;
        }
        self.next_push = self.now + self.scenario.interval;
        // Nothing behind the last packets could reveal their loss: they come through.
        self.link.lossy &= self.pushed + 20 < self.scenario.packets;
        if self.pushed < self.scenario.packets {
            let index = self.pushed;
            let pushed = self.sender.push(self.now, 1_316, |payload| {
                payload[..4].copy_from_slice(&index.to_be_bytes());
            });
            self.pushed += u32::from(pushed);
        } else if self.sender.in_flight() == 0 {
            let mut out = Vec::new();
            self.sender.close(self.now, &mut |bytes: &[u8]| out.push(bytes.to_vec()));
            for bytes in out {
                self.link.send(self.now, Direction::ToListener, &bytes);
            }
            self.next_push = Time::NEVER;
        }
    }

    fn at_caller(&mut self, bytes: &[u8]) {
        let now = self.now;
        let mut out = Vec::new();
        self.caller.handle_datagram(now, bytes, &mut |bytes: &[u8]| out.push(bytes.to_vec()));
        if let CallerState::Connected(connected) = self.caller.state() {
            if self.sender.state() == SenderState::Idle {
                self.sender.open(&connected, now);
                self.next_push = now;
                self.link.lossy = true;
            } else {
                self.sender
                    .handle_datagram(now, bytes, &mut |bytes: &[u8]| out.push(bytes.to_vec()));
            }
        }
        for bytes in out {
            self.link.send(now, Direction::ToListener, &bytes);
        }
    }

    fn at_listener(&mut self, bytes: &[u8]) {
        let now = self.now;
        if !srt::is_for_listener(bytes) {
            let datagram = Datagram::copy_from(&self.slab, bytes).unwrap();
            self.connection.handle_datagram(now, now, datagram, &mut self.received);
            return;
        }
        let mut reply = [0; REJECTION_BYTES];
        match self.listener.handle(now, self.peer, bytes, &mut reply) {
            ListenerEvent::Reply(len) => {
                self.link.send(now, Direction::ToCaller, &reply[..len]);
            }
            ListenerEvent::Conclusion(request) => {
                let accepted = self.accepted.get_or_insert_with(|| {
                    let config = ConnectionConfig {
                        local_id: LOCAL_ID,
                        latency: Duration::ZERO,
                        reorder_tolerance: self.scenario.reorder_tolerance,
                        ..ConnectionConfig::default()
                    };
                    (request, self.connection.open(&request, &config, None, now))
                });
                assert!(request.is_same_attempt(&accepted.0));
                self.link.send(now, Direction::ToCaller, accepted.1.as_bytes());
            }
            event => panic!("{event:?}"),
        }
    }
}

/// Runs a scenario and checks that all came, in order, once; what the link lost, recovered.
fn all_delivered(scenario: Scenario) -> Stats {
    let mut world = World::new(scenario);
    let stats = world.run();
    let Received { delivered, skipped, .. } = world.received;
    assert_eq!((delivered, skipped), (scenario.packets, 0), "{scenario:?} {stats:#?}");
    assert_eq!(stats.packets_delivered, u64::from(scenario.packets));
    assert_eq!(stats.packets_recovered, stats.packets_lost, "{scenario:?}");
    assert_eq!(stats.control_invalid, 0, "doubled answers are no fault");
    stats
}

#[test]
fn a_clean_link_needs_no_loss_report() {
    let stats = all_delivered(Scenario::new(1));
    assert_eq!((stats.naks_sent, stats.packets_duplicate, stats.packets_lost), (0, 0, 0));
    assert_eq!(stats.control_invalid, 0);
    assert_eq!(stats.rtt_us, 20_000);
    assert_eq!(stats.drift_us, 0);
    // At 2 ms a packet, an acknowledgement covers five or six of them.
    assert!((450..=620).contains(&stats.acks_sent), "{}", stats.acks_sent);
}

#[test]
fn everything_comes_at_every_wrap_with_loss_reordering_and_duplication() {
    let top = Sequence::MASK;
    let clock_wrap = Duration::from_micros(1 << 32);
    for (seed, initial, sender_age) in [
        (1, 1_000, Duration::ZERO),
        (2, top - 1_500, Duration::ZERO),
        (3, top, Duration::ZERO),
        (4, 0, clock_wrap - Duration::from_secs(3)),
        (5, top - 10, clock_wrap - Duration::from_millis(1)),
        (6, (1 << 30) - 100, clock_wrap / 2 - Duration::from_secs(1)),
    ] {
        for loss_per_mille in [1, 10] {
            all_delivered(Scenario {
                initial,
                sender_age,
                loss_per_mille,
                reorder_per_mille: 10,
                duplicate_per_mille: 10,
                ..Scenario::new(seed * 100 + loss_per_mille)
            });
        }
    }
}

#[test]
fn at_5_percent_loss_nearly_all_comes_and_what_comes_is_in_order() {
    let mut delivered = 0;
    let mut sent = 0;
    for seed in 0..20 {
        let rtt = Duration::from_millis([5, 20, 60, 150][usize::try_from(seed % 4).unwrap()]);
        let scenario = Scenario {
            rtt,
            latency: (rtt * 4).max(Duration::from_millis(80)),
            loss_per_mille: 50,
            reorder_per_mille: 10,
            duplicate_per_mille: 10,
            initial: Sequence::MASK - 1_000,
            ..Scenario::new(seed)
        };
        let mut world = World::new(scenario);
        let stats = world.run();
        assert!(stats.packets_lost > 50);
        delivered += world.received.delivered;
        sent += scenario.packets;
        assert_eq!(world.received.delivered + world.received.skipped, scenario.packets);
    }
    assert!(sent - delivered <= sent / 10_000, "{delivered} of {sent}");
}

#[test]
fn a_session_longer_than_the_senders_clock_goes_on_over_its_wrap() {
    let stats = all_delivered(Scenario {
        sender_age: Duration::from_micros((1 << 32) - 30_000_000),
        packets: 6_000,
        interval: Duration::from_millis(12),
        loss_per_mille: 5,
        ..Scenario::new(9)
    });
    assert_eq!(stats.drift_us.abs() / 1_000, 0, "{}", stats.drift_us);
}

#[test]
fn reordering_alone_is_reported_as_loss_without_tolerance_and_not_with_enough() {
    let scenario = Scenario { reorder_per_mille: 100, ..Scenario::new(4) };
    let stats = all_delivered(scenario);
    assert!(stats.naks_sent > 100);
    assert!(stats.packets_duplicate > 100, "sent again without need");
    // 8 ms late at most, overtaken by 4 packets.
    let stats = all_delivered(Scenario { reorder_tolerance: 5, ..scenario });
    assert_eq!((stats.naks_sent, stats.packets_duplicate), (0, 0));
    assert!(stats.packets_recovered > 100);
}

/// A caller with a passphrase: the conclusion that libsrt sends, key material and all.
fn encrypt(conclusion: &[u8]) -> Vec<u8> {
    let Ok(Packet::Control(_, Control::Handshake(body))) = Packet::parse(conclusion) else {
        panic!("not a handshake");
    };
    let (handshake, _) = Handshake::parse(body).unwrap();
    let encrypted =
        Handshake { encryption: 2, extension: handshake.extension | field::KMREQ, ..handshake };
    let mut out = encode_handshake_header(0, 0).to_vec();
    out.extend_from_slice(&encrypted.encode());
    out.extend_from_slice(&conclusion[HEADER_BYTES + 48..]);
    out.extend_from_slice(&[0, u8::try_from(extension::KMREQ).unwrap(), 0, 14]);
    out.extend_from_slice(&[0x12, 0x20, 0x29, 0x01]);
    out.resize(out.len() + 52, 7);
    out
}

#[test]
fn an_encrypted_caller_is_refused_and_later_callers_are_served() {
    let listener = Listener::new([3; 16]);
    let peer = SocketAddr::from(([192, 0, 2, 9], PEER_PORT));
    for round in 0..1_000 {
        let now = ORIGIN + Duration::from_millis(round);
        let config = CallerConfig::live(8, Sequence::new(5), peer.ip());
        let mut caller = Caller::new(config, now);
        let mut sent = Vec::new();
        caller.handle_timeout(now, &mut |bytes: &[u8]| sent.push(bytes.to_vec()));
        let mut reply = [0; REJECTION_BYTES];
        listener.handle(now, peer, &sent[0], &mut reply);
        caller.handle_datagram(now, &reply, &mut |bytes: &[u8]| sent.push(bytes.to_vec()));
        let ListenerEvent::Conclusion(request) =
            listener.handle(now, peer, &encrypt(&sent[1]), &mut reply)
        else {
            panic!("no request");
        };
        assert!(request.encrypted);
        let refusal = request.reject(RejectReason::UNSECURE, now);
        caller.handle_datagram(now, &refusal, &mut |_: &[u8]| {});
        let failed = CallerState::Failed(Failure::Rejected(RejectReason::UNSECURE));
        assert_eq!(caller.state(), failed);
    }
    let mut world = World::new(Scenario { packets: 100, ..Scenario::new(1) });
    world.listener = listener;
    world.run();
    assert_eq!(world.received.delivered, 100);
    assert_eq!(world.connection.state(), State::Closed(EndReason::PeerShutdown));
}

#[test]
fn the_same_seed_gives_the_same_session() {
    let scenario = Scenario {
        loss_per_mille: 50,
        reorder_per_mille: 50,
        duplicate_per_mille: 50,
        ..Scenario::new(42)
    };
    assert_eq!(World::new(scenario).run(), World::new(scenario).run());
}
