use std::collections::VecDeque;

use super::*;
use crate::format::{Encoding, Format};
use crate::packet::Header;
use crate::payload::ParameterSets;
use crate::payload::testing::Gather;

const START: Time = Time::from_micros(1_000_000);

struct Bench {
    slab: Slab,
    session: Session,
    out: Gather,
    now: Time,
    ssrc: u32,
    payload_type: u8,
}

fn peer(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn h264() -> Format {
    Format::video(96, Encoding::H264 { sets: ParameterSets::EMPTY, depth: 0 })
}

fn setup(format: Option<Format>) -> SessionConfig {
    let track = TrackSetup { format, ..TrackSetup::default() };
    SessionConfig {
        tracks: [Some(track), None, None, None],
        redundant: true,
        ..SessionConfig::default()
    }
}

/// The slices of a stream: a picture a packet.
fn slice(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    vec![0x41, 0x9a, high, low, 0xff, 1, 2, 3, 4, 5]
}

impl Bench {
    fn new(config: &SessionConfig) -> Self {
        let room = Room { tracks: 2, window_packets: 256, pieces: 64, fec: true };
        let mut session = Session::new(&room);
        session.open(config, START);
        let slab = Slab::new(512).unwrap();
        Self { slab, session, out: Gather::default(), now: START, ssrc: 8, payload_type: 96 }
    }

    fn header(&self, sequence: u16) -> Header {
        Header {
            payload_type: self.payload_type,
            marker: true,
            sequence,
            timestamp: u32::from(sequence) * 3_000,
            ssrc: self.ssrc,
            ..Header::default()
        }
    }

    fn raw(&mut self, leg: usize, source: SocketAddr, bytes: &[u8]) {
        let datagram = Datagram::copy_from(&self.slab, bytes).unwrap();
        self.session.handle_rtp(self.now, self.now, leg, source, datagram, &mut self.out);
        self.check();
    }

    fn from(&mut self, leg: usize, source: SocketAddr, sequence: u16) {
        let bytes = [&self.header(sequence).encode()[..], &slice(sequence)].concat();
        self.raw(leg, source, &bytes);
    }

    fn send(&mut self, sequences: impl IntoIterator<Item = u16>) {
        for sequence in sequences {
            self.from(0, peer(5_004), sequence);
        }
    }

    /// Time passes, timers are served.
    fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.session.next_timeout() <= end {
            self.now = self.now.max(self.session.next_timeout());
            self.session.handle_timeout(self.now, &mut self.out);
            self.check();
            assert!(self.session.next_timeout() > self.now, "timers come to rest");
        }
        self.now = end;
    }

    fn check(&self) {
        let stats = self.session.stats();
        assert!(stats.is_balanced(), "{stats:#?}");
        let waiting = u64::from(self.slab.capacity() - self.slab.free());
        assert!(waiting >= stats.packets_held && waiting <= stats.packets_held + 64);
    }

    fn close(&mut self) {
        self.session.close(self.now, &mut self.out);
        self.check();
        assert_eq!(self.slab.free(), self.slab.capacity(), "every slot came back");
    }

    /// Which pictures came out, damaged ones negative.
    fn pictures(&self) -> Vec<i32> {
        let units = self.out.units.iter().filter(|(_, unit)| unit.bytes.len() > 7);
        units
            .map(|(_, unit)| {
                let number = i32::from(u16::from_be_bytes([unit.bytes[6], unit.bytes[7]]));
                if unit.damaged { -number } else { number }
            })
            .collect()
    }

    fn rtcp(&mut self, source: SocketAddr, bytes: &[u8]) {
        self.session.handle_rtcp(self.now, None, 0, source, bytes, &mut self.out);
        self.check();
    }
}

/// A sender report of `ssrc` at `ms` of wall clock.
fn sender_report(ssrc: u32, ms: u64, timestamp: u32) -> Vec<u8> {
    let ntp = (3_900_000_000 << 32) + (ms << 32) / 1_000;
    let mut bytes = vec![0x80, 200, 0, 6];
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend(ntp.to_be_bytes());
    bytes.extend(timestamp.to_be_bytes());
    bytes.extend([0; 8]);
    bytes
}

fn goodbye(ssrc: u32) -> Vec<u8> {
    let mut bytes = vec![0x80, 201, 0, 1];
    bytes.extend(ssrc.to_be_bytes());
    bytes.extend([0x81, 203, 0, 1]);
    bytes.extend(ssrc.to_be_bytes());
    bytes
}

#[test]
fn a_source_is_followed_from_its_first_packet_once_two_came() {
    let mut bench = Bench::new(&setup(Some(h264())));
    bench.send([100]);
    assert_eq!(bench.session.state(bench.now), State::Waiting);
    bench.send(101..106);
    assert_eq!(bench.session.state(bench.now), State::Active);
    bench.close();
    assert_eq!(bench.pictures(), [100, 101, 102, 103, 104, 105]);
    assert_eq!(bench.out.tracks.len(), 1);
}

#[test]
fn packets_out_of_order_within_the_window_lose_nothing() {
    let mut bench = Bench::new(&setup(Some(h264())));
    bench.send([65_530, 65_531, 65_533, 65_532, 65_535, 0, 2, 1, 65_534, 3]);
    bench.close();
    let numbers = [65_530, 65_531, 65_532, 65_533, 65_534, 65_535, 0, 1, 2, 3];
    assert_eq!(bench.pictures(), numbers);
    assert_eq!(
        bench.session.stats().packets_reordered + bench.session.stats().packets_missing,
        3 + 3
    );
    assert_eq!(bench.session.stats().packets_lost, 0);
}

#[test]
fn the_first_packets_of_a_source_wait_for_those_sent_before_them() {
    let mut bench = Bench::new(&SessionConfig { first_wait: true, ..setup(Some(h264())) });
    bench.send([3, 65_534, 4, 1, 65_535, 0, 5]);
    bench.pass(99);
    assert_eq!((bench.pictures(), bench.session.stats().packets_held), (vec![], 7));
    bench.pass(1);
    assert_eq!(bench.pictures(), [65_534, 65_535, 0, 1], "2 is waited for as ever");
    bench.send([2, 6]);
    bench.close();
    assert_eq!(bench.pictures(), [65_534, 65_535, 0, 1, 2, 3, 4, 5, 6]);
    let stats = bench.session.stats();
    assert_eq!(
        (stats.packets_lost, stats.packets_late, stats.packets_dropped_probation),
        (0, 0, 0)
    );
}

#[test]
fn another_source_of_the_track_is_waited_for_as_the_first() {
    let mut bench = Bench::new(&SessionConfig { first_wait: true, ..setup(Some(h264())) });
    bench.send([1, 2]);
    bench.pass(100);
    bench.ssrc = 9;
    bench.send([72, 73, 71, 70]);
    bench.pass(100);
    bench.close();
    assert_eq!(bench.pictures(), [1, 2, 70, 71, 72, 73]);
    assert_eq!(bench.session.stats().ssrc_changes, 1);
}

#[test]
fn late_duplicate_and_lost_are_counted_apart() {
    let mut bench = Bench::new(&setup(Some(h264())));
    bench.send([1, 2, 2, 4]);
    bench.pass(600);
    bench.send([3, 4, 5]);
    bench.close();
    let stats = bench.session.stats();
    assert_eq!((stats.packets_duplicate, stats.packets_late, stats.packets_lost), (2, 1, 1));
    assert_eq!(bench.pictures(), [1, 2, 4, 5]);
}

#[test]
fn another_address_cannot_take_a_session_over() {
    let mut bench = Bench::new(&setup(Some(h264())));
    bench.send([1, 2]);
    for sequence in 3..50 {
        bench.from(0, peer(6_000), sequence);
    }
    bench.ssrc = 9;
    for sequence in 3..50 {
        bench.from(0, SocketAddr::from(([198, 51, 100, 7], 5_004)), sequence);
    }
    assert_eq!(bench.session.stats().packets_dropped_source, 94);
    bench.ssrc = 8;
    bench.send([3]);
    bench.pass(6_000);
    bench.from(0, peer(6_000), 4);
    bench.from(0, peer(6_000), 5);
    bench.close();
    assert_eq!(bench.pictures(), [1, 2, 3, 4, 5]);
    assert_eq!(bench.session.stats().relatches, 1);
}

#[test]
fn another_source_of_the_same_address_takes_over_when_it_proves_itself() {
    let mut bench = Bench::new(&setup(Some(h264())));
    bench.send([1, 2, 3]);
    bench.ssrc = 9;
    bench.send([500]);
    bench.ssrc = 8;
    bench.send([4]);
    bench.ssrc = 9;
    bench.send([501, 502]);
    bench.close();
    assert_eq!(bench.pictures(), [1, 2, 3, 4, 500, 501, 502]);
    assert_eq!(bench.session.stats().ssrc_changes, 1);
    let stamps: Vec<u64> = bench.out.units.iter().map(|(_, unit)| unit.pts).collect();
    assert!(stamps.windows(2).all(|pair| pair[1] - pair[0] <= 3_000), "{stamps:?}");
}

#[test]
fn a_flood_of_sources_holds_one_packet() {
    let mut bench = Bench::new(&setup(Some(h264())));
    for ssrc in 0..10_000 {
        bench.ssrc = ssrc * 2;
        bench.send([ssrc as u16]);
        assert!(bench.session.stats().packets_held <= 1);
    }
    assert_eq!(bench.session.stats().packets_dropped_probation, 9_999);
    assert_eq!(bench.session.state(bench.now), State::Waiting);
}

#[test]
fn a_restart_of_the_sequence_is_followed() {
    let mut bench = Bench::new(&setup(Some(h264())));
    bench.send([1, 2, 3, 30_001, 30_002, 30_003]);
    bench.close();
    assert_eq!(bench.pictures(), [1, 2, 3, 30_002, 30_003]);
    let stats = bench.session.stats();
    assert_eq!((stats.restarts, stats.packets_dropped_jump), (1, 1));
}

#[test]
fn a_pause_keeps_the_session_and_silence_ends_it() {
    let mut bench = Bench::new(&setup(Some(h264())));
    bench.send([1, 2, 3]);
    bench.pass(20_000);
    assert_eq!(bench.session.state(bench.now), State::Paused);
    bench.send([4]);
    assert_eq!(bench.session.state(bench.now), State::Active);
    // Reports alone keep it alive.
    for second in 0..100 {
        bench.pass(1_000);
        bench.rtcp(peer(5_005), &sender_report(8, second * 1_000, 0));
    }
    assert_eq!(bench.session.state(bench.now), State::Paused);
    bench.pass(31_000);
    assert_eq!(bench.session.state(bench.now), State::Ended(EndReason::Timeout));
    assert_eq!(bench.session.next_timeout(), Time::NEVER);
}

#[test]
fn goodbye_ends_it_only_from_its_own_host() {
    let mut bench = Bench::new(&setup(Some(h264())));
    bench.send([1, 2, 4]);
    bench.rtcp(SocketAddr::from(([198, 51, 100, 7], 5_005)), &goodbye(8));
    bench.rtcp(peer(5_005), &goodbye(77));
    assert_eq!(bench.session.state(bench.now), State::Active);
    bench.rtcp(peer(5_005), &goodbye(8));
    bench.pass(249);
    assert_eq!(bench.session.state(bench.now), State::Active, "the source may go on");
    bench.pass(1);
    assert_eq!(bench.session.state(bench.now), State::Ended(EndReason::Goodbye));
    assert_eq!(bench.pictures(), [1, 2, 4], "what waited is delivered");
    assert_eq!(bench.slab.free(), bench.slab.capacity());
}

#[test]
fn a_goodbye_is_void_when_its_source_goes_on() {
    let mut bench = Bench::new(&setup(Some(h264())));
    bench.send([1, 2]);
    bench.rtcp(peer(6_001), &goodbye(8));
    for sequence in 3..30 {
        bench.pass(40);
        bench.send([sequence]);
    }
    bench.pass(1_000);
    assert_eq!(bench.session.stats().goodbyes_void, 1);
    assert_eq!(bench.session.state(bench.now), State::Active);
    bench.rtcp(peer(5_005), &goodbye(8));
    // Overtaken by the goodbye.
    bench.pass(100);
    bench.send([30]);
    bench.pass(250);
    assert_eq!(bench.session.state(bench.now), State::Ended(EndReason::Goodbye));
    assert_eq!(bench.pictures(), (1..=30).collect::<Vec<_>>());
}

#[test]
fn a_track_that_left_while_others_stay_may_come_back() {
    let opus = Format { payload_type: 97, clock_hz: 48_000, channels: 2, encoding: Encoding::Opus };
    let mut config = setup(Some(h264()));
    config.tracks[1] = Some(TrackSetup { format: Some(opus), ..TrackSetup::default() });
    let mut bench = Bench::new(&config);
    let sound = |bench: &mut Bench, sequence: u16| {
        let header = Header { ssrc: 22, payload_type: 97, ..bench.header(sequence) };
        bench.raw(0, peer(5_006), &[&header.encode()[..], &[0x78, 1, 2]].concat());
    };
    bench.send([1, 2]);
    sound(&mut bench, 1);
    sound(&mut bench, 2);
    bench.rtcp(peer(5_007), &goodbye(22));
    for sequence in 3..20 {
        bench.pass(40);
        bench.send([sequence]);
    }
    sound(&mut bench, 3);
    bench.rtcp(peer(5_005), &goodbye(8));
    for sequence in 4..40 {
        bench.pass(20);
        sound(&mut bench, sequence);
    }
    assert_eq!(bench.session.state(bench.now), State::Active, "sound goes on");
    bench.rtcp(peer(5_007), &goodbye(22));
    bench.pass(300);
    assert_eq!(bench.session.state(bench.now), State::Ended(EndReason::Goodbye));
}

#[test]
fn a_report_of_another_host_does_not_place_the_source_in_time() {
    let opus = Format { payload_type: 97, clock_hz: 48_000, channels: 2, encoding: Encoding::Opus };
    let mut config = setup(Some(h264()));
    config.tracks[1] = Some(TrackSetup { format: Some(opus), ..TrackSetup::default() });
    let mut bench = Bench::new(&config);
    let elsewhere = SocketAddr::from(([198, 51, 100, 7], 5_005));
    for ssrc in [8, 22, 1, 2, 3] {
        bench.rtcp(elsewhere, &sender_report(ssrc, 99_000 + u64::from(ssrc), 0));
    }
    // One that does not prove itself uses none up.
    bench.from(0, elsewhere, 500);
    bench.rtcp(peer(5_005), &sender_report(8, 10_000, 30_000));
    bench.rtcp(peer(5_007), &sender_report(22, 10_000, 500));
    bench.send([10, 11]);
    (bench.ssrc, bench.payload_type) = (22, 97);
    for sequence in 0..3u16 {
        let header =
            Header { timestamp: 500 + u32::from(sequence) * 960, ..bench.header(sequence) };
        bench.raw(0, peer(5_006), &[&header.encode()[..], &[0x78, 1, 2]].concat());
    }
    assert_eq!(bench.session.stats().sender_reports, 2);
    bench.close();
    let sound: Vec<u64> =
        bench.out.units.iter().filter(|(track, _)| *track == 1).map(|(_, unit)| unit.pts).collect();
    assert_eq!(sound, [30_000, 31_800, 33_600]);
}

#[test]
fn what_others_send_is_none_of_the_senders_rate() {
    let config = SessionConfig { rate_limit_bps: Some(22 * 8 * 10), ..setup(Some(h264())) };
    let mut bench = Bench::new(&config);
    bench.send([1, 2]);
    for sequence in 0..100 {
        bench.from(0, peer(6_000), sequence);
    }
    bench.send(3..11);
    let stats = bench.session.stats();
    assert_eq!((stats.packets_dropped_source, stats.packets_dropped_rate), (100, 0));
    assert_eq!(stats.packets_delivered, 10);
    bench.close();
}

#[test]
fn only_what_is_of_the_sender_is_told_to_be() {
    let mut bench = Bench::new(&setup(Some(h264())));
    let told = |bench: &mut Bench, source: SocketAddr, ssrc: u32, sequence: u16| {
        let header = Header { ssrc, ..bench.header(sequence) };
        let bytes = [&header.encode()[..], &slice(sequence)].concat();
        let datagram = Datagram::copy_from(&bench.slab, &bytes).unwrap();
        bench.session.handle_rtp(bench.now, bench.now, 0, source, datagram, &mut bench.out)
    };
    let elsewhere = SocketAddr::from(([198, 51, 100, 7], 5_004));
    assert!(!told(&mut bench, peer(5_004), 8, 1), "not proven");
    assert!(told(&mut bench, peer(5_004), 8, 2));
    assert!(!told(&mut bench, elsewhere, 8, 3));
    assert!(!told(&mut bench, peer(5_004), 9, 500), "another source");
    let report = sender_report(8, 1, 0);
    let (now, out) = (bench.now, &mut bench.out);
    assert!(!bench.session.handle_rtcp(now, None, 0, elsewhere, &report, out));
    assert!(!bench.session.handle_rtcp(now, None, 0, peer(5_005), &report[..9], out), "cut");
    assert!(bench.session.handle_rtcp(now, None, 0, peer(5_005), &report, out));
    assert!(!bench.session.handle_fec(now, elsewhere, &[0; 40], &bench.slab, out));
    // Silence long enough for another address, which has not proven itself.
    bench.pass(6_000);
    assert!(!told(&mut bench, elsewhere, 8, 4));
    assert!(told(&mut bench, elsewhere, 8, 5));
    bench.close();
}

#[test]
fn a_second_leg_far_from_the_first_is_none() {
    let mut bench = Bench::new(&setup(Some(h264())));
    bench.send(1..10);
    let elsewhere = SocketAddr::from(([198, 51, 100, 7], 5_004));
    bench.from(1, elsewhere, 10);
    bench.from(1, elsewhere, 30_000);
    bench.from(1, elsewhere, 30_001);
    bench.send(10..20);
    assert_eq!(bench.session.stats().packets_late, 0);
    for sequence in 15..30 {
        bench.from(1, peer(5_008), sequence);
    }
    bench.close();
    assert_eq!(bench.pictures(), (1..30).collect::<Vec<_>>());
    let stats = bench.session.stats();
    assert_eq!((stats.packets_dropped_jump, stats.packets_dropped_probation), (2, 1));
}

#[test]
fn the_rate_limit_drops_and_counts() {
    let config = SessionConfig { rate_limit_bps: Some(22 * 8 * 10), ..setup(Some(h264())) };
    let mut bench = Bench::new(&config);
    bench.send(1..31);
    assert_eq!(bench.session.stats().packets_dropped_rate, 20);
    bench.pass(1_000);
    bench.send([31]);
    bench.close();
}

#[test]
fn other_payload_types_and_junk_are_counted() {
    let mut bench = Bench::new(&setup(Some(h264())));
    bench.send([1, 2]);
    bench.payload_type = 97;
    bench.send([3]);
    bench.payload_type = 96;
    bench.raw(0, peer(5_004), &[]);
    bench.raw(0, peer(5_004), &[0x80, 96, 0]);
    bench.raw(0, peer(5_004), &[0x81, 200, 0, 1, 0, 0, 0, 8]);
    let stats = bench.session.stats();
    assert_eq!((stats.packets_dropped_unmapped, stats.packets_invalid), (1, 3));
    bench.close();
}

#[test]
fn reports_tell_reception_and_name() {
    let mut config = setup(Some(h264()));
    config.ssrc = 0x1234;
    config.cname.0[..4].copy_from_slice(b"us@h");
    config.cname.1 = 4;
    let mut bench = Bench::new(&config);
    bench.rtcp(peer(5_005), &sender_report(8, 5_000, 3_000));
    bench.send([1, 2, 4, 5]);
    bench.pass(8_000);
    let reports = bench.out.sent.len();
    assert!((1..=4).contains(&reports), "{reports}");
    let packets: Vec<_> = Compound::parse(&bench.out.sent[0]).unwrap().collect();
    let rtcp::Packet::ReceiverReport { ssrc: 0x1234, blocks } = packets[0] else { panic!() };
    let block = rtcp::blocks(blocks).next().unwrap();
    assert_eq!((block.ssrc, block.cumulative_lost, block.fraction_lost), (8, 1, 51));
    assert_eq!(block.extended_highest, 5);
    // 3,900,000,005 s: middle 32 bits.
    assert_eq!(block.last_report, ((3_900_000_005u64 << 32 >> 16) & 0xffff_ffff) as u32);
    assert!(block.delay > 65_536 / 2 && block.delay < 8 * 65_536, "{}", block.delay);
    let rtcp::Packet::SourceDescription { chunks, body } = packets[1] else { panic!() };
    assert_eq!(rtcp::canonical_names(chunks, body).next(), Some((0x1234, &b"us@h"[..])));
    assert_eq!(bench.session.rtcp_peer(0, 0), Some(peer(5_005)));
    bench.close();
    let last = bench.out.sent.last().unwrap();
    assert!(Compound::parse(last).unwrap().any(|p| matches!(p, rtcp::Packet::Goodbye { .. })));
}

/// A report: its track and leg, the port it went to, its sources and what is lost of each.
type Reported = ((usize, usize), u16, Vec<(u32, i32)>);

fn reported(bench: &Bench) -> Vec<Reported> {
    let sent = bench.out.sent.iter().zip(&bench.out.sent_to);
    let reports = sent.map(|(bytes, (of, to))| {
        let first = Compound::parse(bytes).unwrap().next();
        let Some(rtcp::Packet::ReceiverReport { blocks, .. }) = first else { panic!() };
        let blocks = rtcp::blocks(blocks).map(|block| (block.ssrc, block.cumulative_lost));
        (*of, to.port(), blocks.collect())
    });
    reports.collect()
}

#[test]
fn picture_and_sound_each_hear_of_themselves_at_their_own_address() {
    let opus = Format { payload_type: 97, clock_hz: 48_000, channels: 2, encoding: Encoding::Opus };
    let mut config = setup(Some(h264()));
    config.tracks[1] = Some(TrackSetup { format: Some(opus), ..TrackSetup::default() });
    let mut bench = Bench::new(&config);
    bench.send([1, 2, 4]);
    (bench.ssrc, bench.payload_type) = (22, 97);
    for sequence in 0..3u16 {
        bench.raw(0, peer(5_006), &[&bench.header(sequence).encode()[..], &[0x78, 1]].concat());
    }
    let now = bench.now;
    let report = sender_report(8, 10_000, 30_000);
    bench.session.handle_rtcp(now, Some(0), 0, peer(7_000), &report, &mut bench.out);
    bench.pass(4_000);
    let mut reports = reported(&bench);
    reports.truncate(2);
    // Where the picture's came from; the port above that of sound.
    let expected = [((0, 0), 7_000, vec![(8, 1)]), ((1, 0), 5_007, vec![(22, 0)])];
    assert_eq!(reports, expected);
    bench.close();
    assert_eq!(bench.session.rtcp_peer(2, 0), None);
    let goodbyes = &bench.out.sent_to[bench.out.sent_to.len() - 2..];
    assert_eq!(goodbyes, [((0, 0), peer(7_000)), ((1, 0), peer(5_007))]);
}

#[test]
fn each_leg_hears_of_itself_where_its_own_reports_come_from() {
    let mut config = setup(Some(h264()));
    config.feedback.nack = true;
    let mut bench = Bench::new(&config);
    for sequence in [1, 2, 3, 5, 6] {
        bench.from(0, peer(5_004), sequence);
    }
    for sequence in [1, 2, 5, 6] {
        bench.from(1, peer(6_004), sequence);
    }
    let (now, report) = (bench.now, sender_report(8, 10_000, 30_000));
    bench.session.handle_rtcp(now, Some(0), 1, peer(6_105), &report, &mut bench.out);
    bench.pass(50);
    assert_eq!(bench.out.sent_to, [((0, 0), peer(5_005)); 2], "asked for on one leg");
    bench.out.sent.clear();
    bench.out.sent_to.clear();
    bench.pass(4_000);
    let mut reports = reported(&bench);
    reports.retain(|(.., blocks)| !blocks.is_empty());
    reports.truncate(2);
    assert_eq!(reports, [((0, 0), 5_005, vec![(8, 1)]), ((0, 1), 6_105, vec![(8, 2)])]);
    bench.close();
}

/// The sequence numbers that a NACK asks for.
fn asked(packet: &[u8]) -> Vec<u16> {
    let mut asked = Vec::new();
    for packet in Compound::parse(packet).unwrap() {
        if let rtcp::Packet::TransportFeedback { format: 1, body, .. } = packet {
            for entry in body.chunks_exact(4) {
                let first = u16::from_be_bytes([entry[0], entry[1]]);
                let bits = u16::from_be_bytes([entry[2], entry[3]]);
                asked.push(first);
                asked.extend(
                    (0..16)
                        .filter(|bit| bits >> bit & 1 == 1)
                        .map(|bit| first.wrapping_add(bit + 1)),
                );
            }
        }
    }
    asked
}

#[test]
fn lost_packets_are_asked_for_and_retransmissions_fill_their_places() {
    let mut config = setup(Some(h264()));
    config.feedback.nack = true;
    let rtx = rtx::Association { payload_type: 97, original: 96 };
    config.tracks[0].as_mut().unwrap().rtx = Some(rtx);
    let mut bench = Bench::new(&config);
    let mut repeats = VecDeque::new();
    let mut rtx_sequence = 0u16;
    for sequence in 60_000..=u16::MAX {
        if sequence % 100 != 50 {
            bench.send([sequence]);
        }
        bench.pass(5);
        for packet in std::mem::take(&mut bench.out.sent) {
            repeats.extend(asked(&packet).into_iter().map(|sequence| (bench.now, sequence)));
        }
        while repeats.front().is_some_and(|(at, _)| bench.now >= *at + Duration::from_millis(20)) {
            let (_, sequence) = repeats.pop_front().unwrap();
            rtx_sequence += 1;
            let header = Header {
                payload_type: 97,
                sequence: rtx_sequence,
                ssrc: 99,
                ..bench.header(sequence)
            };
            let bytes = [&header.encode()[..], &sequence.to_be_bytes(), &slice(sequence)].concat();
            bench.raw(0, peer(5_004), &bytes);
        }
    }
    bench.pass(600);
    let lost = (60_000..=u16::MAX).filter(|sequence| sequence % 100 == 50).count() as u64;
    let stats = bench.session.stats();
    assert_eq!((stats.packets_recovered_rtx, stats.packets_lost), (lost, 0));
    assert_eq!(stats.nacks_sent, lost);
    bench.close();
    let expected: Vec<i32> = (60_000..=i32::from(u16::MAX)).collect();
    assert_eq!(bench.pictures(), expected);
}

#[test]
fn a_lost_picture_is_asked_for_until_a_key_picture_comes() {
    let mut config = setup(Some(h264()));
    config.feedback.pli = true;
    let mut bench = Bench::new(&config);
    let key = |bench: &mut Bench, sequence: u16| {
        let bytes = [&bench.header(sequence).encode()[..], &[0x65, 0x88, 1, 2, 3]].concat();
        bench.raw(0, peer(5_004), &bytes);
    };
    bench.send([1, 2]);
    key(&mut bench, 3);
    bench.send([4, 6]);
    bench.pass(2_000);
    let requests = bench.session.stats().key_requests_sent;
    assert!((3..=5).contains(&requests), "{requests}");
    let pli = |packet: &Vec<u8>| {
        let pli = rtcp::Packet::PayloadFeedback { format: 1, sender: 1, media: 8, body: &[] };
        Compound::parse(packet).unwrap().any(|packet| packet == pli)
    };
    assert!(bench.out.sent.iter().any(pli));
    key(&mut bench, 7);
    bench.pass(4_000);
    assert_eq!(bench.session.stats().key_requests_sent, requests);
    bench.send([8, 10]);
    bench.pass(100_000);
    assert!(bench.session.stats().key_requests_sent <= requests + 10, "given up");
}

#[test]
fn an_unknown_stream_is_detected_without_a_loss() {
    let mut bench = Bench::new(&setup(None));
    for sequence in 0..40 {
        let payload = if sequence % 20 == 0 {
            vec![0x67, 0x42, 0xc0, 0x1f, 0xda, 1, 2]
        } else {
            // first_mb 0, slice type 5 (P only), set 0.
            vec![0x41, 0x9a, sequence as u8, 2, 3, 4, 5, 6, 7, 8]
        };
        let bytes = [&bench.header(sequence).encode()[..], &payload].concat();
        bench.raw(0, peer(5_004), &bytes);
        bench.pass(33);
    }
    bench.close();
    assert_eq!(bench.out.tracks[0].codec, codec::sink::Codec::H264);
    assert_eq!(bench.out.units.len(), 40);
}

#[test]
fn what_nothing_fits_is_dropped_and_told() {
    let mut bench = Bench::new(&setup(None));
    for sequence in 0..150 {
        let bytes = [&bench.header(sequence).encode()[..], &[0xff, 3, sequence as u8]].concat();
        bench.raw(0, peer(5_004), &bytes);
    }
    let stats = bench.session.stats();
    assert_eq!((stats.packets_dropped_undetected, stats.packets_held), (150, 0));
    assert_eq!(bench.session.undetected().unwrap().packets(), 100);
    assert!(bench.out.units.is_empty());
}

#[test]
fn two_legs_are_merged_and_only_double_losses_are_missing() {
    let mut bench = Bench::new(&setup(Some(h264())));
    let (one, two) = (peer(5_004), SocketAddr::from(([203, 0, 113, 9], 5_004)));
    let mut seed = 3u64;
    let mut lost = [vec![], vec![]];
    let mut delayed: VecDeque<(Time, u16)> = VecDeque::new();
    for sequence in 0..4_000u16 {
        let mut roll = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            sequence > 10 && sequence < 3_900 && (seed >> 33).is_multiple_of(20)
        };
        if roll() {
            lost[0].push(sequence)
        } else {
            bench.from(0, one, sequence)
        }
        if roll() {
            lost[1].push(sequence)
        } else {
            delayed.push_back((bench.now + Duration::from_millis(30), sequence))
        }
        bench.pass(1);
        while delayed.front().is_some_and(|(at, _)| *at <= bench.now) {
            let (_, sequence) = delayed.pop_front().unwrap();
            bench.from(1, two, sequence);
        }
    }
    while let Some((at, sequence)) = delayed.pop_front() {
        bench.now = bench.now.max(at);
        bench.from(1, two, sequence);
    }
    bench.pass(1_000);
    let both: Vec<u16> = lost[0].iter().filter(|s| lost[1].contains(s)).copied().collect();
    assert!(both.len() >= 3 && lost[0].len() > 150);
    let stats = bench.session.stats();
    assert_eq!(stats.packets_lost, both.len() as u64);
    assert_eq!(stats.packets_duplicate + stats.packets_late, 0);
    let track = bench.session.track_stats().next().unwrap();
    assert_eq!(track.legs[0].packets_lost, lost[0].len() as i64);
    assert_eq!(track.legs[1].packets_lost, lost[1].len() as i64);
    assert_eq!(track.legs[1].skew_max_us, 30_000);
    let expected: Vec<i32> = (0..4_000).filter(|s| !both.contains(s)).map(i32::from).collect();
    bench.close();
    assert_eq!(bench.pictures().iter().map(|p| p.abs()).collect::<Vec<_>>(), expected);
}

#[test]
fn one_leg_alone_carries_the_session() {
    let mut bench = Bench::new(&setup(Some(h264())));
    let (one, two) = (peer(5_004), peer(5_006));
    for sequence in 0..2_000u16 {
        if !(500..=1_500).contains(&sequence) {
            bench.from(0, one, sequence);
        }
        if sequence < 200 || (400..1_600).contains(&sequence) {
            bench.from(1, two, sequence);
        }
        bench.pass(1);
    }
    assert_eq!(bench.session.stats().packets_lost, 0);
    bench.close();
    let expected: Vec<i32> = (0..2_000).collect();
    assert_eq!(bench.pictures(), expected, "{:#?}", bench.session.stats());
}

#[test]
fn tracks_share_one_line_by_their_reports() {
    let opus = Format { payload_type: 97, clock_hz: 48_000, channels: 2, encoding: Encoding::Opus };
    let mut config = setup(Some(h264()));
    config.tracks[1] = Some(TrackSetup { format: Some(opus), ..TrackSetup::default() });
    let mut bench = Bench::new(&config);
    bench.rtcp(peer(5_005), &sender_report(8, 10_000, 30_000));
    bench.rtcp(peer(5_007), &sender_report(22, 10_000, 500));
    bench.send([10, 11]);
    bench.ssrc = 22;
    bench.payload_type = 97;
    for sequence in 0..3u16 {
        let header =
            Header { timestamp: 500 + u32::from(sequence) * 960, ..bench.header(sequence) };
        bench.raw(0, peer(5_006), &[&header.encode()[..], &[0x78, 1, 2]].concat());
    }
    bench.close();
    let sound: Vec<u64> =
        bench.out.units.iter().filter(|(track, _)| *track == 1).map(|(_, unit)| unit.pts).collect();
    assert_eq!(sound, [30_000, 31_800, 33_600]);
}

#[test]
fn other_terms_act_at_once_on_what_waits_too() {
    let mut bench = Bench::new(&setup(Some(h264())));
    bench.send([0, 1, 2, 4]);
    let held = bench.session.stats().packets_held;
    let terms = bench.session.config.terms();
    let window = Window { packets: 0, time: Duration::ZERO, time_max: Duration::ZERO };
    let short = Terms { window, timeout: Duration::from_secs(2), ..terms };
    bench.session.set_terms(&short, bench.now);
    bench.pass(0);
    assert_eq!((held, bench.session.stats().packets_held), (1, 0), "nothing is waited for");
    bench.pass(1_999);
    assert!(!matches!(bench.session.state(bench.now), State::Ended(_)));
    bench.pass(2);
    assert_eq!(bench.session.state(bench.now), State::Ended(EndReason::Timeout));
    let mut bench = Bench::new(&setup(Some(h264())));
    bench.send(0..10);
    let none = Terms { rate_limit_bps: Some(8), ..terms };
    bench.session.set_terms(&none, bench.now);
    bench.send(10..20);
    assert_eq!(bench.session.stats().packets_dropped_rate, 10);
    bench.session.set_terms(&terms, bench.now);
    bench.send(20..30);
    assert_eq!(bench.session.stats().packets_dropped_rate, 10);
}

/// A session of a transport stream in RTP with error correction.
fn corrected() -> Bench {
    let mut config = setup(Some(Format::video(33, Encoding::MpegTs)));
    config.window.time = Duration::from_millis(200);
    let mut bench = Bench::new(&config);
    bench.payload_type = 33;
    bench
}

impl Bench {
    fn ts(&self, sequence: u16) -> Vec<u8> {
        let header = Header { marker: false, ..self.header(sequence) };
        let mut ts = [sequence as u8; 188];
        ts[0] = 0x47;
        [&header.encode()[..], &ts].concat()
    }

    fn send_ts(&mut self, sequences: impl Iterator<Item = u16>) {
        for sequence in sequences {
            self.raw(0, peer(5_004), &self.ts(sequence));
        }
    }

    /// The correction of the row of five that begins at `first`.
    fn row(&self, first: u16) -> Vec<u8> {
        let (mut xor, mut timestamp) = ([0u8; 188], 0);
        for sequence in first..first + 5 {
            let bytes = self.ts(sequence);
            timestamp ^= crate::bytes::u32_at(&bytes, 4).unwrap();
            xor.iter_mut().zip(&bytes[12..]).for_each(|(to, byte)| *to ^= byte);
        }
        let mut fec = Header { payload_type: 96, ..Header::default() }.encode().to_vec();
        fec.extend(first.to_be_bytes());
        fec.extend([0, 188, 0x80 | 33, 0, 0, 0]);
        fec.extend(timestamp.to_be_bytes());
        fec.extend([0x40, 1, 5, 0]);
        fec.extend(xor);
        fec
    }

    fn fec(&mut self, fec: &[u8]) {
        self.session.handle_fec(self.now, peer(5_006), fec, &self.slab, &mut self.out);
        self.check();
    }

    fn ts_delivered(&self) -> Vec<u8> {
        self.out.ts.chunks(188).map(|ts| ts[1]).collect()
    }
}

#[test]
fn fec_restores_a_loss_of_a_transport_stream() {
    let mut bench = corrected();
    bench.send_ts((0..20).filter(|sequence| *sequence != 7));
    let row = bench.row(5);
    bench.fec(&row);
    assert_eq!(bench.ts_delivered(), (0..20).collect::<Vec<u8>>());
    let stats = bench.session.stats();
    assert_eq!((stats.packets_recovered_fec, stats.packets_lost), (1, 0));
    bench.fec(&row[..20]);
    assert_eq!(bench.session.stats().fec_invalid, 1);
    bench.close();
    assert!(bench.out.tracks.is_empty(), "the demultiplexer lists its tracks");
}

#[test]
fn fec_waits_until_the_newest_packet_is_known_to_be_missing() {
    let mut bench = corrected();
    // 9 is lost; 14 only comes after the correction of its row, which took another way.
    bench.send_ts(0..9);
    bench.fec(&bench.row(5));
    bench.send_ts(10..14);
    bench.fec(&bench.row(10));
    bench.send_ts(14..16);
    let stats = bench.session.stats();
    assert_eq!((stats.packets_missing, stats.packets_recovered_fec), (1, 1));
    assert_eq!((stats.packets_lost, stats.packets_duplicate), (0, 0));
    assert_eq!(bench.ts_delivered(), (0..16).collect::<Vec<u8>>());
    bench.close();
}

#[test]
fn fec_that_names_what_is_far_off_restores_nothing() {
    let mut bench = corrected();
    bench.send_ts(0..9);
    // A correction of one packet alone is a copy of it, wherever it claims to belong.
    let mut copy = bench.row(30);
    copy[26] = 1;
    bench.fec(&copy);
    let stats = bench.session.stats();
    assert_eq!((stats.packets_recovered_fec, stats.packets_missing), (0, 0));
    bench.close();
}

#[test]
fn slots_beyond_the_share_are_not_held() {
    let config = SessionConfig { slots_max: 10, ..setup(Some(h264())) };
    let mut bench = Bench::new(&config);
    bench.send([1, 2]);
    bench.send((4..200).step_by(2));
    assert!(bench.session.stats().packets_held <= 10);
    assert!(bench.session.stats().window_overruns > 0);
    bench.close();
}

#[test]
fn what_waited_is_due_when_the_hole_before_it_is_filled_or_given_up() {
    let mut bench = Bench::new(&setup(Some(h264())));
    bench.send(0..4);
    assert_eq!(bench.out.due, START, "when it came");
    bench.now = START + Duration::from_millis(10);
    bench.send([5]);
    let filled = START + Duration::from_millis(30);
    bench.now = filled;
    bench.send([4]);
    assert_eq!(bench.out.due, filled);
    bench.send([7]);
    let given_up = bench.session.next_timeout();
    // The timer is served late.
    bench.now = given_up + Duration::from_millis(5);
    bench.session.handle_timeout(bench.now, &mut bench.out);
    assert_eq!((bench.out.due, bench.pictures().len()), (given_up, 7));
    bench.close();
}
