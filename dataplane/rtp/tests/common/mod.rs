//! Captures, and a receiver over one session.
#![allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]

use std::net::SocketAddr;
use std::path::Path;

use codec::sink::{Sink, Timestamps, TrackConfig};
use memory::{Datagram, Slab, Time};
use rtp::Output;
use rtp::format::Format;
use rtp::packet::{Header, Kind};
use rtp::session::{Room, Session, SessionConfig, TrackSetup};

/// One captured datagram.
#[derive(Debug, Clone)]
pub struct Record {
    pub port: u8,
    pub arrival: Time,
    pub bytes: Vec<u8>,
}

impl Record {
    pub fn is_rtp(&self) -> bool {
        Kind::of(&self.bytes) == Kind::Rtp
    }
}

/// A file of the vectors.
pub fn vector(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    std::fs::read(folder.join(name)).expect("a vector")
}

/// A capture.
pub fn capture(name: &str) -> Vec<Record> {
    let bytes = vector(&format!("{name}.rtp"));
    let (mut rest, mut records) = (&bytes[..], Vec::new());
    while let [port, a, b, c, d, e, f, after @ ..] = rest {
        let micros = u32::from_be_bytes([*a, *b, *c, *d]);
        let (datagram, after) = after.split_at(usize::from(u16::from_be_bytes([*e, *f])));
        let arrival = Time::from_micros(1_000_000 + u64::from(micros));
        records.push(Record { port: *port, arrival, bytes: datagram.to_vec() });
        rest = after;
    }
    assert!(records.len() > 5, "{name} holds packets");
    records
}

/// The timestamps of a capture, each once, in order.
pub fn timestamps(records: &[Record]) -> Vec<u32> {
    let mut timestamps: Vec<u32> =
        records.iter().filter_map(|r| Some(Header::parse(&r.bytes).ok()?.timestamp)).collect();
    timestamps.dedup();
    timestamps
}

/// The NAL units of an Annex B stream.
pub fn nals_of(bytes: &[u8]) -> Vec<Vec<u8>> {
    codec::annexb::nal_units(bytes).map(<[u8]>::to_vec).collect()
}

/// One unit.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    pub track: usize,
    pub pts: u64,
    pub bytes: Vec<u8>,
    pub damaged: bool,
    pub ended: bool,
}

/// Gathers what a session gives.
#[derive(Debug, Default)]
pub struct Gather {
    frames: Vec<Frame>,
    open: [Option<usize>; 16],
    tracks: Vec<TrackConfig>,
    ts: Vec<u8>,
    pub sent: Vec<Vec<u8>>,
}

impl Gather {
    fn open(&mut self, track: usize) -> &mut Frame {
        let at = self.open[track].expect("a unit is open");
        &mut self.frames[at]
    }
}

impl Sink for Gather {
    fn tracks(&mut self, tracks: &[TrackConfig]) {
        self.tracks = tracks.to_vec();
    }

    fn unit_start(&mut self, track: usize, stamps: Timestamps) {
        assert!(self.open[track].is_none());
        self.open[track] = Some(self.frames.len());
        let pts = stamps.pts.expect("a stamp");
        self.frames.push(Frame { track, pts, ..Frame::default() });
    }

    fn unit_data(&mut self, track: usize, bytes: &[u8]) {
        self.open(track).bytes.extend_from_slice(bytes);
    }

    fn unit_end(&mut self, track: usize) {
        self.open(track).ended = true;
        self.open[track] = None;
    }

    fn gap(&mut self, track: usize) {
        self.open(track).damaged = true;
    }
}

impl Output for Gather {
    fn transmit(&mut self, _: (usize, usize), _: SocketAddr, packet: &[u8]) {
        self.sent.push(packet.to_vec());
    }

    fn input(&mut self, _: Time, _: Time) {}

    fn deliver_ts(&mut self, payload: &[u8], _: Time, _: Time) {
        self.ts.extend_from_slice(payload);
    }

    fn ts_lost(&mut self, _: u32) {}
}

/// One session of one track.
pub struct Receiver {
    session: Session,
    slab: Slab,
    now: Time,
    out: Gather,
}

impl Receiver {
    pub fn new(format: Option<Format>) -> Self {
        let track = TrackSetup { format, ..TrackSetup::default() };
        let tracks = [Some(track), None, None, None];
        let mut session = Session::new(&Room::default());
        session.open(&SessionConfig { tracks, ..SessionConfig::default() }, Time::ZERO);
        Self { session, slab: Slab::new(512).unwrap(), now: Time::ZERO, out: Gather::default() }
    }

    pub fn put(&mut self, record: &Record) {
        self.pass(record.arrival);
        let source = SocketAddr::from(([127, 0, 0, 1], 40_000 + u16::from(record.port)));
        if record.is_rtp() {
            // Captures have one payload type each; what the test calls it is 96.
            let mut bytes = record.bytes.clone();
            if bytes[1] & 0x7f >= 96 {
                bytes[1] = bytes[1] & 0x80 | 96;
            }
            let datagram = Datagram::copy_from(&self.slab, &bytes).unwrap();
            self.session.handle_rtp(self.now, record.arrival, 0, source, datagram, &mut self.out);
        } else {
            self.session.handle_rtcp(self.now, None, 0, source, &record.bytes, &mut self.out);
        }
        assert!(self.session.stats().is_balanced());
    }

    pub fn pass(&mut self, until: Time) {
        while self.session.next_timeout() <= until {
            self.now = self.now.max(self.session.next_timeout());
            self.session.handle_timeout(self.now, &mut self.out);
        }
        self.now = self.now.max(until);
    }

    pub fn finish(&mut self) {
        self.session.close(self.now, &mut self.out);
        assert!(self.session.stats().is_balanced());
        assert_eq!(self.slab.free(), self.slab.capacity(), "every slot came back");
    }

    pub fn session(&self) -> &Session {
        &self.session
    }

    pub fn frames(&self) -> &[Frame] {
        &self.out.frames
    }

    pub fn tracks(&self) -> &[TrackConfig] {
        &self.out.tracks
    }

    pub fn transport_stream(&self) -> &[u8] {
        &self.out.ts
    }
}
