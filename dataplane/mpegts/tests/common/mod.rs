//! A sink that records, and a small writer of transport streams.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::collections::HashMap;

use codec::sink::{Sink, Timestamps, TrackConfig};
use penstock_mpegts::{Config, Demuxer, crc32};

pub const PMT_PID: u16 = 0x1000;
pub const VIDEO: u16 = 0x100;
pub const AUDIO: u16 = 0x101;

#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Tracks(Vec<TrackConfig>),
    Start(usize, Option<u64>, Option<u64>),
    /// Neighbouring pieces joined.
    Data(usize, Vec<u8>),
    End(usize),
    Gap(usize),
}

#[derive(Debug, Default)]
pub struct Recorder {
    pub events: Vec<Event>,
}

impl Sink for Recorder {
    fn tracks(&mut self, tracks: &[TrackConfig]) {
        self.events.push(Event::Tracks(tracks.to_vec()));
    }
    fn unit_start(&mut self, track: usize, stamps: Timestamps) {
        self.events.push(Event::Start(track, stamps.pts, stamps.dts));
    }
    fn unit_data(&mut self, track: usize, bytes: &[u8]) {
        assert!(!bytes.is_empty(), "empty piece");
        match self.events.last_mut() {
            Some(Event::Data(open, data)) if *open == track => data.extend(bytes),
            _ => self.events.push(Event::Data(track, bytes.to_vec())),
        }
    }
    fn unit_end(&mut self, track: usize) {
        self.events.push(Event::End(track));
    }
    fn gap(&mut self, track: usize) {
        self.events.push(Event::Gap(track));
    }
}

impl Recorder {
    pub fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub fn gaps(&self) -> usize {
        let gap = |event: &&Event| matches!(event, Event::Gap(_));
        self.events.iter().filter(gap).count()
    }

    /// The payload of a track, all units joined.
    pub fn payload(&self, track: usize) -> Vec<u8> {
        let data = self.events.iter().filter_map(|event| match event {
            Event::Data(of, data) if *of == track => Some(data.as_slice()),
            _ => None,
        });
        data.collect::<Vec<_>>().concat()
    }

    /// Units of a track as (pts, dts, bytes).
    pub fn units(&self, track: usize) -> Vec<(Option<u64>, Option<u64>, usize)> {
        let mut units = Vec::new();
        for event in &self.events {
            match event {
                Event::Start(of, pts, dts) if *of == track => units.push((*pts, *dts, 0)),
                Event::Data(of, data) if *of == track => {
                    units.last_mut().unwrap().2 += data.len();
                }
                _ => {}
            }
        }
        units
    }

    pub fn tracks_told(&self) -> Vec<TrackConfig> {
        let told = self.events.iter().rev().find_map(|event| match event {
            Event::Tracks(tracks) => Some(tracks.clone()),
            _ => None,
        });
        told.unwrap_or_default()
    }
}

pub fn section(table_id: u8, extension: u16, version: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 9).unwrap();
    let mut bytes = vec![table_id];
    bytes.extend((0xB000 | length).to_be_bytes());
    bytes.extend(extension.to_be_bytes());
    bytes.extend([0xC1 | version << 1, 0, 0]);
    bytes.extend(body);
    bytes.extend(crc32(&bytes).to_be_bytes());
    bytes
}

pub fn pat(version: u8, programs: &[(u16, u16)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (number, pid) in programs {
        body.extend(number.to_be_bytes());
        body.extend((0xE000 | pid).to_be_bytes());
    }
    section(0, 1, version, &body)
}

/// `(stream_type, pid, descriptors)`
pub type Es<'a> = (u8, u16, &'a [u8]);

pub fn pmt(program: u16, version: u8, pcr_pid: u16, streams: &[Es<'_>]) -> Vec<u8> {
    let mut body = (0xE000 | pcr_pid).to_be_bytes().to_vec();
    body.extend([0xF0, 0]);
    for (stream_type, pid, descriptors) in streams {
        body.push(*stream_type);
        body.extend((0xE000 | pid).to_be_bytes());
        body.extend((0xF000 | u16::try_from(descriptors.len()).unwrap()).to_be_bytes());
        body.extend(*descriptors);
    }
    section(2, program, version, &body)
}

fn stamp(code: u8, value: u64) -> [u8; 5] {
    let byte = |shift: u32| u8::try_from(value >> shift & 0xFF).unwrap();
    [code << 4 | (byte(30) & 7) << 1 | 1, byte(22), byte(14) | 1, byte(7), byte(0) << 1 | 1]
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Pes {
    pub pts: Option<u64>,
    pub dts: Option<u64>,
    /// Writes the length; otherwise 0.
    pub bounded: bool,
}

impl Pes {
    pub fn bytes(self, stream_id: u8, payload: &[u8]) -> Vec<u8> {
        let mut fields = Vec::new();
        let mut flags = 0;
        if let Some(pts) = self.pts {
            let both = self.dts.is_some();
            flags |= if both { 0xC0 } else { 0x80 };
            fields.extend(stamp(if both { 3 } else { 2 }, pts));
        }
        fields.extend(self.dts.map(|dts| stamp(1, dts)).into_iter().flatten());
        let length =
            if self.bounded { u16::try_from(payload.len() + fields.len() + 3).unwrap() } else { 0 };
        let mut bytes = vec![0, 0, 1, stream_id];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0x80, flags, u8::try_from(fields.len()).unwrap()]);
        bytes.extend(fields);
        bytes.extend(payload);
        bytes
    }
}

/// Cuts payloads into packets with running continuity counters.
#[derive(Debug, Default)]
pub struct Writer {
    counters: HashMap<u16, u8>,
}

impl Writer {
    pub fn skip(&mut self, pid: u16, packets: u8) {
        let counter = self.counters.entry(pid).or_default();
        *counter = (*counter + packets) & 15;
    }

    /// One packet with at most so many bytes of payload; stuffed by an adaptation field.
    pub fn packet(&mut self, pid: u16, start: bool, payload: &[u8], flags: u8) -> [u8; 188] {
        let counter = self.counters.entry(pid).or_default();
        let mut bytes = [0xFF; 188];
        let [high, low] = pid.to_be_bytes();
        bytes[0] = 0x47;
        bytes[1] = high | u8::from(start) << 6;
        bytes[2] = low;
        bytes[3] = 0x10 | *counter;
        *counter = (*counter + 1) & 15;
        let stuffing = 184 - payload.len();
        if stuffing > 0 {
            bytes[3] |= 0x20;
            bytes[4] = u8::try_from(stuffing - 1).unwrap();
            if stuffing > 1 {
                bytes[5] = flags;
            }
        }
        bytes[188 - payload.len()..].copy_from_slice(payload);
        bytes
    }

    /// A payload over as many packets as it needs, the first with at most `first` bytes.
    pub fn split(&mut self, pid: u16, payload: &[u8], first: usize) -> Vec<u8> {
        let (head, rest) = payload.split_at(first.min(184).min(payload.len()));
        let mut out = self.packet(pid, true, head, 0).to_vec();
        for chunk in rest.chunks(184) {
            out.extend(self.packet(pid, false, chunk, 0));
        }
        out
    }

    pub fn pes(&mut self, pid: u16, pes: Pes, payload: &[u8]) -> Vec<u8> {
        self.split(pid, &pes.bytes(0xE0, payload), 184)
    }

    pub fn section(&mut self, pid: u16, section: &[u8]) -> Vec<u8> {
        let mut payload = vec![0];
        payload.extend(section);
        payload.resize(payload.len().next_multiple_of(184), 0xFF);
        self.split(pid, &payload, 184)
    }

    /// A program of H.264 and AAC.
    pub fn tables(&mut self) -> Vec<u8> {
        let pmt = pmt(1, 0, VIDEO, &[(0x1B, VIDEO, &[]), (0x0F, AUDIO, &[])]);
        let mut out = self.section(0, &pat(0, &[(1, PMT_PID)]));
        out.extend(self.section(PMT_PID, &pmt));
        out
    }

    /// Null packets, so that a short stream gives a lock.
    pub fn nulls(&mut self, count: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..count {
            out.extend(self.packet(0x1FFF, false, &[0; 184], 0));
        }
        out
    }
}

/// A demultiplexer that is locked and knows its two tracks.
pub struct Bench {
    pub writer: Writer,
    pub demuxer: Demuxer,
    pub sink: Recorder,
}

impl Bench {
    pub fn new() -> Self {
        let mut bench = Self::bare(Config::default());
        let tables = bench.writer.tables();
        bench.push(&tables);
        bench.sink.take();
        bench
    }

    pub fn bare(config: Config) -> Self {
        let mut bench = Self {
            writer: Writer::default(),
            demuxer: Demuxer::new(config),
            sink: Recorder::default(),
        };
        let nulls = bench.writer.nulls(7);
        bench.push(&nulls);
        bench
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.demuxer.push(bytes, &mut self.sink);
    }

    pub fn pes(&mut self, pid: u16, pes: Pes, payload: &[u8]) {
        let bytes = self.writer.pes(pid, pes, payload);
        self.push(&bytes);
    }

    pub fn section(&mut self, pid: u16, section: &[u8]) {
        let bytes = self.writer.section(pid, section);
        self.push(&bytes);
    }

    pub fn events(&mut self) -> Vec<Event> {
        self.sink.take()
    }
}
