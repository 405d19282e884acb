//! Bodies of the fuzz targets: each takes any bytes and checks what must hold for them.

use std::net::SocketAddr;
use std::time::Duration;

use codec::sink::Timestamps;
use memory::{Datagram, Slab, Time};

use crate::clock::TrackClock;
use crate::detect::{Detector, Verdict};
use crate::format::{Encoding, Format};
use crate::packet::{HEADER_BYTES, Header, Kind, Packet};
use crate::payload::aac::AacParameters;
use crate::payload::testing::Gather;
use crate::payload::{Counters, Depacketizer, Held, Limits, Outlet, ParameterSets};
use crate::probation::WAITING_MAX;
use crate::redundancy::fec::Fec;
use crate::rtcp::{self, Compound};
use crate::rtx::Association;
use crate::session::{Room, Session, SessionConfig, State, TrackSetup};
use crate::table::{Arrival, Table};

const START: Time = Time::from_micros(10_000_000);
const LIMITS: Limits = Limits { frame_bytes_max: 2_000, elements_max: 40, fragments_max: 20 };
const PIECES: usize = 12;

thread_local! {
    // Mapping one for each input would take far longer than the input.
    static SLAB: Slab = Slab::new(256).unwrap();
}

/// One datagram's header.
pub fn packet(data: &[u8]) {
    let kind = Kind::of(data);
    match Header::parse(data) {
        Ok(header) => {
            assert_eq!(kind, Kind::Rtp);
            let payload = header.payload(data);
            assert_eq!(payload.len(), header.payload_len());
            assert!(
                payload.len() + HEADER_BYTES + 4 * usize::from(header.csrc_count) <= data.len()
            );
            let again = Header {
                payload_start: 12,
                payload_end: 12,
                csrc_count: 0,
                has_extension: false,
                ..header
            };
            assert_eq!(Header::parse(&header.encode()), Ok(again));
        }
        Err(_) => assert!(data.len() < HEADER_BYTES || kind != Kind::Rtp || data[0] & 0x3f != 0),
    }
}

/// One compound RTCP packet.
pub fn rtcp(data: &[u8]) {
    let Ok(compound) = Compound::parse(data) else { return };
    let mut packets = 0;
    for packet in compound {
        packets += 1;
        match packet {
            rtcp::Packet::SenderReport { blocks, .. }
            | rtcp::Packet::ReceiverReport { blocks, .. } => {
                for block in rtcp::blocks(blocks) {
                    assert!((-0x80_0000..=0x7f_ffff).contains(&block.cumulative_lost));
                }
            }
            rtcp::Packet::SourceDescription { chunks, body } => {
                assert!(rtcp::canonical_names(chunks, body).count() <= 31);
            }
            rtcp::Packet::Goodbye { sources, reason } => {
                assert!(rtcp::sources(sources).count() <= 31 && reason.len() <= 255);
            }
            _ => {}
        }
    }
    assert!((1..=64).contains(&packets), "every packet that was checked is read");
}

fn outlet<'a>(
    out: &'a mut Gather,
    counters: &'a mut Counters,
    timestamp: u32,
    clock_hz: u32,
) -> Outlet<'a, Gather> {
    let stamps = Timestamps { pts: Some(timestamp.into()), dts: None };
    Outlet { out, track: 0, limits: &LIMITS, counters, stamps, clock_hz }
}

/// A script of packets for one depacketizer: `kind, length, bytes`. Of the kind the highest bit is a
/// loss before it, of as many packets as the length's lowest bits say, the next the marker, the rest
/// a step of time.
fn format(data: &[u8], encoding: Encoding, clock_hz: u32) {
    let format = Format { payload_type: 96, clock_hz, channels: 2, encoding };
    let mut depacketizer = Depacketizer::new(&format);
    let (mut out, mut counters) = (Gather::default(), Counters::default());
    let mut held = Held::new(PIECES);
    let slab = SLAB.with(Slab::clone);
    let (mut timestamp, mut sequence, mut rest) = (u32::MAX - 10_000, 0u16, data);
    while let Some(([kind, len], after)) = rest.split_first_chunk::<2>() {
        let (payload, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        timestamp =
            timestamp.wrapping_add([0, 0, 0, 3_000, 1, 90_000][usize::from(kind & 0x3f) % 6]);
        sequence = sequence.wrapping_add(1);
        if kind & 0x80 != 0 {
            depacketizer.lost(
                &mut outlet(&mut out, &mut counters, timestamp, clock_hz),
                u64::from(len & 3),
                &mut held,
            );
        }
        let header = Header {
            marker: kind & 0x40 != 0,
            payload_type: 96,
            sequence,
            timestamp,
            ..Header::default()
        };
        let bytes = [&header.encode()[..], payload].concat();
        let packet = Packet::new(Datagram::copy_from(&slab, &bytes).unwrap(), START).unwrap();
        if payload.is_empty() {
            continue;
        }
        depacketizer.push(
            &mut outlet(&mut out, &mut counters, timestamp, clock_hz),
            packet,
            START,
            &mut held,
        );
        assert!(usize::try_from(slab.capacity() - slab.free()).unwrap() <= PIECES);
    }
    depacketizer.finish(&mut outlet(&mut out, &mut counters, timestamp, clock_hz), &mut held);
    assert_eq!(slab.free(), slab.capacity(), "every slot came back");
    for (_, unit) in &out.units {
        assert!(unit.ended);
        let access_units = 1 + data.len() / 2;
        assert!(unit.bytes.len() <= LIMITS.frame_bytes_max * access_units);
    }
}

/// RFC 6184, with and without parameter sets in the description, and interleaved.
pub fn h264(data: &[u8]) {
    let mut sets = ParameterSets::EMPTY;
    format(data, Encoding::H264 { sets, depth: 0 }, 90_000);
    sets.push(&[0x67, 0x42, 0, 0x1f]);
    format(data, Encoding::H264 { sets, depth: 0 }, 90_000);
    format(data, Encoding::H264 { sets, depth: 3 }, 90_000);
}

/// RFC 7798, with and without decoding order numbers, and interleaved.
pub fn hevc(data: &[u8]) {
    let sets = ParameterSets::EMPTY;
    for (has_order, depth) in [(false, 0), (true, 0), (true, 2)] {
        format(data, Encoding::Hevc { sets, has_order, depth }, 90_000);
    }
}

/// AOM's format.
pub fn av1(data: &[u8]) {
    format(data, Encoding::Av1, 90_000);
}

/// RFC 9134.
pub fn jpegxs(data: &[u8]) {
    format(data, Encoding::JpegXs, 90_000);
}

/// RFC 3640, with the lengths of the modes and with every optional field.
pub fn aac(data: &[u8]) {
    let all = AacParameters {
        cts_delta_bits: 5,
        dts_delta_bits: 5,
        random_access: true,
        stream_state_bits: 3,
        auxiliary_size_bits: 8,
        ..AacParameters::HBR
    };
    let none = AacParameters {
        size_bits: 0,
        index_bits: 0,
        index_delta_bits: 0,
        constant_size: 3,
        ..AacParameters::HBR
    };
    let configuration = ([0; crate::format::CONFIGURATION_BYTES_MAX], 0);
    for parameters in [AacParameters::HBR, AacParameters::LBR, all, none] {
        format(data, Encoding::Aac { parameters, configuration }, 48_000);
    }
}

/// RFC 6416, with the multiplex in the stream and in the description.
pub fn latm(data: &[u8]) {
    let config = crate::sdp::mux_config(&[0x40, 0, 0x23, 0x20, 0x3f, 0xc0]);
    for config in [None, config] {
        format(data, Encoding::Latm { config }, 48_000);
    }
}

/// Any bytes as a description.
pub fn sdp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(description) = crate::sdp::Description::parse(&text) {
        assert!(!description.media.is_empty());
        for medium in &description.media {
            let format = medium.setup.format.unwrap();
            assert!(format.payload_type < 128 && format.clock_hz > 0);
            Depacketizer::new(&format);
        }
    }
    let (map, parameters) = text.split_once(' ').unwrap_or((&text, ""));
    let _ = crate::sdp::format(96, map, parameters);
}

/// Media and FEC packets: `kind, length, bytes`.
pub fn fec(data: &[u8]) {
    let mut fec = Fec::new();
    let (mut rest, mut highest) = (data, 70_000u64);
    while let Some(([kind, len], after)) = rest.split_first_chunk::<2>() {
        let (bytes, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        if kind & 1 == 0 {
            highest += u64::from(kind >> 1 & 3);
            let header = Header {
                payload_type: 33,
                sequence: u16::try_from(highest & 0xffff).unwrap(),
                ssrc: 5,
                ..Header::default()
            };
            fec.media(highest, &[&header.encode()[..], bytes].concat());
        } else {
            let _ = fec.parity(bytes, highest);
        }
        let mut restored = 0;
        while let Some((_, packet)) = fec.restore(highest) {
            assert!(Header::parse(packet.as_bytes()).is_ok());
            restored += 1;
            assert!(restored <= 64, "comes to an end");
        }
    }
}

/// Payloads to tell a format by: `kind, length, bytes` as for the depacketizers.
pub fn detect(data: &[u8]) {
    let mut detector = Detector::new();
    let (mut rest, mut sequence, mut timestamp) = (data, 0u16, 0u32);
    while let Some(([kind, len], after)) = rest.split_first_chunk::<2>() {
        let (payload, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        sequence = sequence.wrapping_add(1 + u16::from(kind >> 7));
        timestamp = timestamp.wrapping_add([0, 960, 1_024, 3_000][usize::from(kind & 3)]);
        let header = Header {
            marker: kind & 0x40 != 0,
            payload_type: 96,
            sequence,
            timestamp,
            ..Header::default()
        };
        let arrival = START + Duration::from_millis(sequence.into());
        match detector.observe(&header, payload, arrival) {
            Verdict::Undecided => assert!(detector.packets() < 100),
            Verdict::Found(format) => {
                assert!(detector.packets() >= 4 && format.clock_hz > 0);
                return;
            }
            Verdict::Unknown => {
                assert_eq!(detector.packets(), 100);
                return;
            }
        }
    }
}

struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        first
    }

    fn take(&mut self) -> &'a [u8] {
        let len = usize::from(self.byte());
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}

/// A script of packets, reports and time for a whole session. The first byte chooses its kind.
///
/// ```text
///  0..=159, length, payload   packet of the session's source, places after the last one, signed
///  160+, …                    other sources and legs, RTCP, FEC, time: see `step`
/// ```
pub fn session(data: &[u8]) {
    let slab = SLAB.with(Slab::clone);
    let mut script = Script { rest: data };
    let kind = script.byte();
    let mut session =
        Session::new(&Room { tracks: 2, window_packets: 64, pieces: PIECES, fec: true });
    session.open(&config(kind), START);
    let mut bench = Bench { now: START, last: 65_500, out: Gather::default(), slab };
    while !script.rest.is_empty() {
        step(&mut session, &mut bench, &mut script);
        check(&session, &bench);
    }
    session.close(bench.now, &mut bench.out);
    check(&session, &bench);
    assert_eq!(bench.slab.free(), bench.slab.capacity(), "every slot came back");
    assert!(matches!(session.state(bench.now), State::Ended(_)));
    assert_eq!(session.next_timeout(), Time::NEVER);
}

struct Bench {
    now: Time,
    last: u16,
    out: Gather,
    slab: Slab,
}

/// Packets of a track's window that wait.
const SLOTS_MAX: u32 = 40;

fn config(kind: u8) -> SessionConfig {
    let sets = ParameterSets::EMPTY;
    let format = match kind & 7 {
        0 => None,
        1 => Some(Encoding::H264 { sets, depth: 0 }),
        2 => Some(Encoding::Hevc { sets, has_order: false, depth: 0 }),
        3 => Some(Encoding::Av1),
        4 => Some(Encoding::JpegXs),
        5 => Some(Encoding::MpegTs),
        _ => Some(Encoding::Opus),
    };
    let format = format.map(|encoding| Format::video(96, encoding));
    let rtx = Some(Association { payload_type: 97, original: 96 });
    let mut config = SessionConfig {
        slots_max: SLOTS_MAX,
        limits: LIMITS,
        redundant: kind & 128 == 0,
        ..SessionConfig::default()
    };
    config.tracks[0] = Some(TrackSetup { format, ssrc: None, rtx, rist: kind & 8 != 0 });
    config.feedback.nack = kind & 16 != 0;
    config.first_wait = kind & 48 == 48;
    config.feedback.pli = kind & 32 != 0;
    config.rate_limit_bps = (kind & 64 != 0).then_some(20_000);
    config
}

fn step(session: &mut Session, bench: &mut Bench, script: &mut Script<'_>) {
    let peer = SocketAddr::from(([192, 0, 2, 1], 5_004));
    let other = SocketAddr::from(([192, 0, 2, 2], 5_004));
    let kind = script.byte();
    let header = |sequence, ssrc, payload_type| Header {
        marker: kind & 1 == 0,
        payload_type,
        sequence,
        timestamp: u32::from(sequence) * 1_500,
        ssrc,
        ..Header::default()
    };
    let mut leg = 0;
    let mut from = peer;
    let bytes = match kind {
        0..=159 => {
            let place = u16::from(kind >> 1).wrapping_sub(16);
            let sequence = bench.last.wrapping_add(if kind < 32 { 1 } else { place });
            if place < 0x8000 || kind < 32 {
                bench.last = sequence;
            }
            [&header(sequence, 8, 96).encode()[..], script.take()].concat()
        }
        160..=175 => {
            (leg, from) = (1, other);
            [
                &header(bench.last.wrapping_sub(u16::from(kind & 7)), 8, 96).encode()[..],
                script.take(),
            ]
            .concat()
        }
        176..=183 => {
            [&header(u16::from(script.byte()) << 8 | 9, 8, 97).encode()[..], script.take()].concat()
        }
        184..=191 => {
            let sequence = u16::from(script.byte());
            [&header(sequence, 9 + u32::from(kind & 3), 96).encode()[..], script.take()].concat()
        }
        192..=199 => {
            bench.last = bench.last.wrapping_add(u16::from(script.byte()) << 7);
            return;
        }
        200..=215 => {
            // From the source's host, and from elsewhere.
            let from = if kind < 212 { peer } else { other };
            session.handle_rtcp(bench.now, None, 0, from, script.take(), &mut bench.out);
            return;
        }
        216..=223 => {
            let from = if kind < 222 { peer } else { other };
            session.handle_fec(bench.now, from, script.take(), &bench.slab, &mut bench.out);
            return;
        }
        224..=247 => {
            return pass(
                session,
                bench,
                u64::from(script.byte()) * if kind < 244 { 2 } else { 200 },
            );
        }
        _ => {
            from = other;
            script.take().to_vec()
        }
    };
    let Some(datagram) = Datagram::copy_from(&bench.slab, &bytes) else { return };
    session.handle_rtp(bench.now, bench.now, leg, from, datagram, &mut bench.out);
}

fn pass(session: &mut Session, bench: &mut Bench, ms: u64) {
    let end = bench.now + Duration::from_millis(ms);
    while session.next_timeout() <= end {
        bench.now = bench.now.max(session.next_timeout());
        session.handle_timeout(bench.now, &mut bench.out);
        assert!(session.next_timeout() > bench.now, "timers come to rest");
    }
    bench.now = end;
}

fn check(session: &Session, bench: &Bench) {
    let stats = session.stats();
    assert!(stats.is_balanced(), "{stats:#?}");
    let out = u64::from(bench.slab.capacity() - bench.slab.free());
    assert!(out >= stats.packets_held && out <= stats.packets_held + PIECES as u64);
    assert!(stats.packets_held <= u64::from(SLOTS_MAX + 2 * WAITING_MAX), "two legs' on probation");
    for packet in &bench.out.sent {
        assert!(Compound::parse(packet).is_ok());
    }
}

/// Packets of many sources at a shared port, and sessions that come and go. Of a step's first byte the
/// low three bits are the SSRC, the next two the host.
pub fn table(data: &[u8]) {
    let slab = SLAB.with(Slab::clone);
    let (mut script, mut now) = (Script { rest: data }, START);
    let mut table = Table::new(6, 16, [1, 2]);
    let mut model = std::collections::BTreeMap::new();
    let (mut sent, mut placed) = (0, 0);
    while !script.rest.is_empty() {
        let kind = script.byte();
        let ssrc = u32::from(kind & 7);
        let source = SocketAddr::from(([192, 0, 2, kind >> 3 & 3], 5_004));
        match kind >> 5 {
            0..=3 => {
                sent += 1;
                let sequence = u16::from(script.byte());
                let header = Header { ssrc, sequence, ..Header::default() }.encode();
                let packet = Packet::new(Datagram::copy_from(&slab, &header).unwrap(), now);
                placed += match table.arrive(source, packet.unwrap(), now) {
                    Arrival::Known(session, _) => {
                        assert_eq!(model.get(&(ssrc, source)), Some(&session));
                        1
                    }
                    Arrival::Waiting { dropped } => dropped,
                    Arrival::Proven { packets, dropped } => {
                        assert!(!model.contains_key(&(ssrc, source)));
                        let order = |one: u16, next: u16| next.wrapping_sub(one);
                        let sequences: Vec<u16> = packets.sequences().collect();
                        assert!(sequences.windows(2).all(|pair| order(pair[0], pair[1]) < 1 << 15));
                        assert!(sequences.windows(2).any(|pair| order(pair[0], pair[1]) == 1));
                        dropped + u32::try_from(packets.waiting()).unwrap()
                    }
                };
            }
            4 | 5 => {
                let session = u32::from(script.byte());
                let fits = model.len() < 6 || model.contains_key(&(ssrc, source));
                assert_eq!(table.insert(ssrc, source, session), fits);
                if fits {
                    model.insert((ssrc, source), session);
                }
            }
            6 => assert_eq!(table.remove(ssrc, source), model.remove(&(ssrc, source))),
            _ => {
                now = now + Duration::from_millis(u64::from(script.byte()));
                placed += table.expire(now);
            }
        }
        let waiting = u32::try_from(table.waiting()).unwrap();
        assert_eq!(sent, placed + waiting, "every packet has its place");
        assert!(waiting <= 64 && slab.free() + waiting == slab.capacity());
        assert_eq!(table.sessions(), model.len());
        assert!(model.iter().all(|((ssrc, source), it)| table.find(*ssrc, *source) == Some(*it)));
    }
}

/// Timestamps, reports and arrivals of a clock: 16 bytes a step.
pub fn clock(data: &[u8]) {
    let mut clocks = [TrackClock::new(90_000), TrackClock::new(44_100)];
    let mut line = crate::clock::Line::default();
    let mut arrival = START;
    for step in data.chunks_exact(16) {
        let timestamp = u32::from_be_bytes([step[0], step[1], step[2], step[3]]);
        let ntp = u64::from_be_bytes([
            step[4], step[5], step[6], step[7], step[8], step[9], step[10], step[11],
        ]);
        let track = usize::from(step[12] & 1);
        arrival = arrival + Duration::from_millis(u64::from(step[13]));
        if step[12] & 2 == 0 {
            line.stamp(&mut clocks, track, timestamp, arrival);
        } else {
            clocks[track].report(&rtcp::SenderInfo {
                ntp,
                timestamp,
                ..rtcp::SenderInfo::default()
            });
        }
    }
}

#[cfg(test)]
mod tests;
