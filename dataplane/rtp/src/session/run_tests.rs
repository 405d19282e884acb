//! Two sessions hear the same packets, one of them in runs: nobody can tell which.

use std::time::Duration;

use codec::sink::Sink;
use memory::{Datagram, Slab};

use super::*;
use crate::format::{Encoding, Format};
use crate::output::Output;
use crate::packet::{Header, Packet};
use crate::payload::ParameterSets;
use crate::payload::testing::Gather;
use crate::reorder::Window;
use crate::session::{Feedback, Room, SessionConfig, TrackSetup};

const PEER: ([u8; 4], u16) = ([192, 0, 2, 1], 5_004);
const SOCKET: (Option<usize>, usize) = (Some(0), 0);

fn config(encoding: Encoding) -> SessionConfig {
    let track = TrackSetup { format: Some(Format::video(96, encoding)), ..TrackSetup::default() };
    SessionConfig {
        tracks: [Some(track), None, None, None],
        feedback: Feedback { nack: true, pli: true, fir: false },
        window: Window {
            packets: 8,
            time: Duration::from_millis(3),
            time_max: Duration::from_millis(9),
        },
        ..SessionConfig::default()
    }
}

fn h264() -> Encoding {
    Encoding::H264 { sets: ParameterSets::EMPTY, depth: 0 }
}

fn hevc() -> Encoding {
    Encoding::Hevc { sets: ParameterSets::EMPTY, has_order: false, depth: 0 }
}

struct Twins {
    plain: Session,
    runs: Session,
    run: Run,
    outs: [Gather; 2],
    slab: Slab,
    now: Time,
    /// Packets that went on with a run.
    in_runs: u64,
}

impl Twins {
    fn new(config: &SessionConfig) -> Self {
        let room = Room { tracks: 1, window_packets: 128, pieces: 64, fec: false };
        let now = Time::from_micros(1_000_000);
        let [plain, runs] = [(); 2].map(|()| {
            let mut session = Session::new(&room);
            session.open(config, now);
            session
        });
        let slab = Slab::new(600).unwrap();
        Self {
            plain,
            runs,
            run: Run::default(),
            outs: [(); 2].map(|()| Gather::default()),
            slab,
            now,
            in_runs: 0,
        }
    }

    fn send(&mut self, peer: SocketAddr, bytes: &[u8]) {
        let packet = || Packet::new(Datagram::copy_from(&self.slab, bytes).unwrap(), self.now);
        let [for_plain, for_runs] = [packet().unwrap(), packet().unwrap()];
        let [plain, runs] = &mut self.outs;
        let (track, leg) = SOCKET;
        self.plain.handle_packet(self.now, track, leg, peer, for_plain, plain);
        if let Some(body) = self.run.body(SOCKET, &peer, bytes) {
            runs.input(self.now, self.run.due_of(self.now, self.now));
            runs.unit_data(self.run.track(), body);
            self.run.took(bytes.len(), self.now, self.now);
            self.in_runs += 1;
            return;
        }
        self.end_run();
        let [_, runs] = &mut self.outs;
        self.runs.handle_packet(self.now, track, leg, peer, for_runs, runs);
        self.run = self.runs.begin_run(SOCKET, peer).unwrap_or_default();
    }

    fn end_run(&mut self) {
        if self.run.is_empty() {
            return self.run.stop();
        }
        let run = std::mem::take(&mut self.run);
        self.runs.end_run(&run);
    }

    /// Time passes, timers are served, and all that can be seen is the same.
    fn pass(&mut self, ms: u64) {
        self.end_run();
        let end = self.now + Duration::from_millis(ms);
        let [plain, runs] = &mut self.outs;
        while self.plain.next_timeout() <= end {
            self.now = self.now.max(self.plain.next_timeout());
            self.plain.handle_timeout(self.now, plain);
            self.runs.handle_timeout(self.now, runs);
        }
        self.now = end;
        assert_eq!(self.plain.next_timeout(), self.runs.next_timeout());
        assert_eq!(self.plain.stats(), self.runs.stats());
        assert!(self.plain.stats().is_balanced());
        assert!(self.plain.track_stats().eq(self.runs.track_stats()));
        assert_eq!(plain.units, runs.units);
        assert_eq!(plain.sent, runs.sent);
        assert_eq!(plain.due, runs.due);
    }
}

/// Numbers that look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

/// A sender whose pictures are one NAL unit in fragments.
struct Sender {
    hevc: bool,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
}

impl Sender {
    fn packet(&mut self, marker: bool, payload: &[u8]) -> Vec<u8> {
        let header = Header {
            marker,
            payload_type: 96,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            ..Header::default()
        };
        self.sequence = self.sequence.wrapping_add(1);
        [&header.encode()[..], payload].concat()
    }

    /// Fragment `at` of `count`.
    fn fragment(&mut self, at: u64, count: u64, body: &[u8]) -> Vec<u8> {
        let bits = u8::from(at == 0) << 7 | u8::from(at + 1 == count) << 6;
        let head: &[u8] = if self.hevc { &[49 << 1, 1, bits | 19] } else { &[0x7c, bits | 5] };
        self.packet(at + 1 == count, &[head, body].concat())
    }

    fn picture(&mut self, dice: &mut Dice) -> Vec<Vec<u8>> {
        let count = 2 + dice.roll(40);
        let packets = (0..count).map(|at| {
            let len = 3 + dice.roll(30);
            let mut body: Vec<u8> = (0..len).map(|_| dice.roll(256) as u8 | 0x80).collect();
            match dice.roll(24) {
                0 => body.extend([0, 0]),
                1 => body.extend([0, 0, 1, 0x41, 9]),
                2 => body.extend([0, 7]),
                3 if at > 0 => body.clear(),
                _ => {}
            }
            self.fragment(at, count, &body)
        });
        let packets = packets.collect();
        self.timestamp = self.timestamp.wrapping_add(3_000);
        packets
    }
}

/// What may happen to a picture's packets on their way.
fn disturb(packets: &mut Vec<Vec<u8>>, dice: &mut Dice) {
    let at = dice.roll(packets.len() as u64) as usize;
    match dice.roll(12) {
        0 => drop(packets.remove(at)),
        1 => packets.insert(at, packets[at].clone()),
        2 if at > 0 => packets.swap(at - 1, at),
        // An extension's bit, another payload type, a marker, the reserved bit of FU.
        3 => packets[at][0] |= 0x10,
        4 => packets[at][1] ^= 3,
        5 => packets[at][1] |= 0x80,
        6 => packets[at][13] |= 0x20,
        7 => packets[at].truncate(13),
        8 => drop(packets.drain(at..)),
        _ => {}
    }
}

#[test]
fn a_session_is_the_same_whether_its_packets_came_in_runs_or_not() {
    let (peer, other) = (SocketAddr::from(PEER), SocketAddr::from(([192, 0, 2, 9], 5_004)));
    let mut in_runs = 0;
    for seed in 1..=200_u64 {
        let hevc_sent = seed % 2 == 0;
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut twins = Twins::new(&config(if hevc_sent { hevc() } else { h264() }));
        let sequence = (65_500 + dice.roll(40)) as u16;
        let mut sender = Sender { hevc: hevc_sent, sequence, timestamp: 9, ssrc: 8 };
        for picture in 0..30 {
            let mut packets = sender.picture(&mut dice);
            if picture > 3 {
                disturb(&mut packets, &mut dice);
            }
            for packet in packets {
                twins.now = twins.now + Duration::from_micros(dice.roll(900));
                let from = if dice.roll(60) == 0 { other } else { peer };
                if Header::parse(&packet).is_ok() {
                    twins.send(from, &packet);
                }
                if dice.roll(50) == 0 {
                    twins.pass(dice.roll(30));
                }
            }
            sender.ssrc += u32::from(dice.roll(25) == 0);
        }
        twins.pass(2_000);
        in_runs += twins.in_runs;
    }
    assert!(in_runs > 30_000, "{in_runs} packets went on with runs");
}

/// A picture of many packets, in a stream that is in step.
fn in_step(config: &SessionConfig) -> (Twins, Sender) {
    let mut twins = Twins::new(config);
    let mut sender = Sender { hevc: false, sequence: 100, timestamp: 9, ssrc: 8 };
    for at in 0..4 {
        let packet = sender.fragment(at, 1_000, &[0x88, 1, 2, 3]);
        twins.send(SocketAddr::from(PEER), &packet);
    }
    (twins, sender)
}

fn goes_on(config: &SessionConfig) -> u64 {
    let (mut twins, mut sender) = in_step(config);
    for at in 4..10 {
        let packet = sender.fragment(at, 1_000, &[0x88, 1, 2, 3]);
        twins.send(SocketAddr::from(PEER), &packet);
    }
    twins.pass(0);
    twins.in_runs
}

#[test]
fn where_packets_are_looked_at_one_by_one_there_are_no_runs() {
    assert_eq!(goes_on(&config(h264())), 8, "all but the two that prove the source");
    let redundant = SessionConfig { redundant: true, ..config(h264()) };
    assert_eq!(goes_on(&redundant), 0, "arrivals of two legs are compared");
    let limited = SessionConfig { rate_limit_bps: Some(1_000_000), ..config(h264()) };
    assert_eq!(goes_on(&limited), 0, "each packet is of the rate");
    assert_eq!(goes_on(&config(Encoding::H264 { sets: ParameterSets::EMPTY, depth: 4 })), 0);
}

#[test]
fn a_run_ends_at_the_limits_of_its_unit() {
    let mut config = config(h264());
    config.limits.fragments_max = 7;
    assert_eq!(goes_on(&config), 5, "the seventh fragment is the last that is taken");
    config.limits.fragments_max = 1_000;
    config.limits.frame_bytes_max = 4 * 6 + 6;
    assert_eq!(goes_on(&config), 4, "start code, header and six fragments");
}

#[test]
fn a_packet_of_another_socket_or_address_is_none_of_the_run() {
    let (twins, mut sender) = in_step(&config(h264()));
    let packet = sender.fragment(4, 1_000, &[0x88, 1, 2, 3]);
    let peer = SocketAddr::from(PEER);
    assert_eq!(twins.run.body(SOCKET, &peer, &packet), Some(&[0x88, 1, 2, 3][..]));
    assert_eq!(twins.run.body((None, 0), &peer, &packet), Some(&[0x88, 1, 2, 3][..]));
    for socket in [(Some(1), 0), (Some(0), 1)] {
        assert_eq!(twins.run.body(socket, &peer, &packet), None);
    }
    for peer in [([192, 0, 2, 2], 5_004), ([192, 0, 2, 1], 5_005)] {
        assert_eq!(twins.run.body(SOCKET, &SocketAddr::from(peer), &packet), None);
    }
}

#[test]
fn nothing_goes_on_with_a_run_that_is_stopped() {
    let (mut twins, mut sender) = in_step(&config(h264()));
    let packet = sender.fragment(4, 1_000, &[0x88, 1, 2, 3]);
    let peer = SocketAddr::from(PEER);
    assert!(twins.run.body(SOCKET, &peer, &packet).is_some() && twins.run.origin().is_some());
    twins.run.stop();
    assert_eq!(twins.run.body(SOCKET, &peer, &packet), None);
    assert_eq!(twins.run.origin(), None);
}

#[test]
fn packets_in_a_row_are_expected_by_their_numbers() {
    let (twins, mut sender) = in_step(&config(h264()));
    let peer = SocketAddr::from(PEER);
    let packets: Vec<_> = (4..7).map(|at| sender.fragment(at, 1_000, &[0x88, 1, 2, 3])).collect();
    for (packet, number) in packets.iter().zip(0..) {
        for before in 0..4 {
            let expected = twins.run.expects(before, &peer, packet);
            assert_eq!(expected, before == number, "{before} before packet {number}");
        }
    }
    let last = sender.fragment(999, 1_000, &[0x88, 1, 2, 3]);
    assert!(!twins.run.expects(3, &peer, &last), "it ends its unit");
    assert!(!Run::default().expects(0, &peer, &packets[0]), "there is no run");
}
