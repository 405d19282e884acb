//! A plain multiplexer of transport streams: every field is the caller's choice.

use std::collections::HashMap;

const PACKET: usize = 188;
const PAYLOAD: usize = 184;

/// One elementary stream.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Its PID.
    pub pid: u16,
    /// `stream_type` of the map table.
    pub stream_type: u8,
    /// `stream_id` of its PES packets.
    pub stream_id: u8,
    /// Its descriptors.
    pub descriptors: Vec<u8>,
}

impl Stream {
    /// H.264 on a PID.
    pub fn h264(pid: u16) -> Self {
        Self::of(pid, 0x1B, 0xE0)
    }

    /// HEVC on a PID.
    pub fn hevc(pid: u16) -> Self {
        Self::of(pid, 0x24, 0xE0)
    }

    /// AAC in ADTS on a PID.
    pub fn aac(pid: u16) -> Self {
        Self::of(pid, 0x0F, 0xC0)
    }

    /// AV1 on a PID, by its registration and video descriptor.
    pub fn av1(pid: u16) -> Self {
        let descriptors = [0x05, 4, b'A', b'V', b'0', b'1', 0x80, 4, 0x81, 0, 0, 0].to_vec();
        Self { descriptors, ..Self::of(pid, 0x06, 0xBD) }
    }

    /// JPEG XS on a PID, by its type and the first fields of its descriptor.
    pub fn jpegxs(pid: u16) -> Self {
        let descriptors = [0x3F, 5, 0x14, 0, 0x07, 0x80, 0x04].to_vec();
        Self { descriptors, ..Self::of(pid, 0x32, 0xE0) }
    }

    fn of(pid: u16, stream_type: u8, stream_id: u8) -> Self {
        Self { pid, stream_type, stream_id, descriptors: Vec::new() }
    }
}

/// One program; its first stream carries the clock.
#[derive(Debug, Clone)]
pub struct Program {
    /// `program_number`.
    pub number: u16,
    /// The PID of its map table.
    pub pmt_pid: u16,
    /// `version_number` of its map table.
    pub version: u8,
    /// Descriptors of the program.
    pub descriptors: Vec<u8>,
    /// Its streams.
    pub streams: Vec<Stream>,
}

impl Program {
    /// Program 1 with these streams.
    pub fn single(streams: Vec<Stream>) -> Self {
        Self { number: 1, pmt_pid: 0x1000, version: 0, descriptors: Vec::new(), streams }
    }
}

/// One PES packet. Stamps are taken modulo 2^33.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pes {
    /// Presentation time.
    pub pts: Option<u64>,
    /// Decoding time; written only with a PTS that differs.
    pub dts: Option<u64>,
    /// Clock reference in 27 MHz ticks, in the first packet.
    pub pcr: Option<u64>,
    /// Writes `PES_packet_length` where it fits 16 bits; 0 otherwise.
    pub bounded: bool,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Pes {
    /// The PES packet's bytes.
    pub fn bytes(&self, stream_id: u8) -> Vec<u8> {
        let mut fields = Vec::new();
        let dts = self.dts.filter(|dts| self.pts != Some(*dts));
        let flags: u8 = match (self.pts, dts) {
            (Some(pts), Some(dts)) => {
                fields.extend(stamp(3, pts));
                fields.extend(stamp(1, dts));
                0xC0
            }
            (Some(pts), None) => {
                fields.extend(stamp(2, pts));
                0x80
            }
            (None, _) => 0,
        };
        let length = u16::try_from(fields.len() + 3 + self.payload.len()).unwrap_or(0);
        let length = if self.bounded { length } else { 0 };
        let mut bytes = vec![0, 0, 1, stream_id];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0x80, flags, low_byte(fields.len() as u64)]);
        bytes.extend(fields);
        bytes.extend(&self.payload);
        bytes
    }
}

fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// A 33-bit stamp with its code and marker bits.
fn stamp(code: u8, value: u64) -> [u8; 5] {
    [
        code << 4 | (low_byte(value >> 30) & 7) << 1 | 1,
        low_byte(value >> 22),
        low_byte(value >> 14) | 1,
        low_byte(value >> 7),
        low_byte(value << 1) | 1,
    ]
}

fn pcr(value: u64) -> [u8; 6] {
    let (base, extension) = (value / 300, value % 300);
    [
        low_byte(base >> 25),
        low_byte(base >> 17),
        low_byte(base >> 9),
        low_byte(base >> 1),
        low_byte(base << 7) | 0x7E | low_byte(extension >> 8),
        low_byte(extension),
    ]
}

/// Writes packets with running continuity counters.
#[derive(Debug)]
pub struct Muxer {
    programs: Vec<Program>,
    counters: HashMap<u16, u8>,
    out: Vec<u8>,
}

impl Muxer {
    /// A stream of these programs; nothing is written yet.
    pub fn new(programs: Vec<Program>) -> Self {
        Self { programs, counters: HashMap::new(), out: Vec::new() }
    }

    /// The programs, to change them before the next tables.
    pub fn programs_mut(&mut self) -> &mut Vec<Program> {
        &mut self.programs
    }

    /// Writes the association table and all map tables.
    pub fn tables(&mut self) {
        let mut pat = Vec::new();
        for program in &self.programs {
            pat.extend(program.number.to_be_bytes());
            pat.extend((0xE000 | program.pmt_pid).to_be_bytes());
        }
        self.section(0, &section(0, 1, 0, &pat));
        for program in self.programs.clone() {
            self.section(program.pmt_pid, &map_table(&program));
        }
    }

    /// Writes a section on a PID.
    pub fn section(&mut self, pid: u16, section: &[u8]) {
        let mut payload = vec![0];
        payload.extend(section);
        payload.resize(payload.len().next_multiple_of(PAYLOAD), 0xFF);
        self.payload(pid, None, &payload);
    }

    /// Writes a PES packet of a stream.
    pub fn pes(&mut self, stream: &Stream, pes: &Pes) {
        self.payload(stream.pid, pes.pcr, &pes.bytes(stream.stream_id));
    }

    /// Writes null packets.
    pub fn nulls(&mut self, count: usize) {
        for _ in 0..count {
            self.packet(0x1FFF, false, None, &[0xFF; PAYLOAD]);
        }
    }

    /// Leaves out values of a continuity counter, as if packets were lost.
    pub fn skip_continuity(&mut self, pid: u16, packets: u8) {
        let counter = self.counters.entry(pid).or_default();
        *counter = counter.wrapping_add(packets) & 15;
    }

    /// What has been written.
    pub fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// What has been written since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// What has been written, and ends.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    fn payload(&mut self, pid: u16, pcr: Option<u64>, payload: &[u8]) {
        let room = if pcr.is_some() { PAYLOAD - 8 } else { PAYLOAD };
        let (first, rest) = payload.split_at(room.min(payload.len()));
        self.packet(pid, true, pcr, first);
        for chunk in rest.chunks(PAYLOAD) {
            self.packet(pid, false, None, chunk);
        }
    }

    fn packet(&mut self, pid: u16, start: bool, clock: Option<u64>, payload: &[u8]) {
        let counter = self.counters.entry(pid).or_default();
        let [high, low] = pid.to_be_bytes();
        let adaptation = PAYLOAD - payload.len();
        let control = if adaptation > 0 { 0x30 } else { 0x10 };
        self.out.extend([0x47, high | u8::from(start) << 6, low, control | *counter]);
        *counter = (*counter + 1) & 15;
        if let Some(length) = adaptation.checked_sub(1) {
            let mut field = vec![low_byte(length as u64)];
            if length > 0 {
                field.push(if clock.is_some() { 0x10 } else { 0 });
                field.extend(clock.map(pcr).into_iter().flatten());
            }
            field.resize(adaptation, 0xFF);
            self.out.extend(field);
        }
        self.out.extend(payload);
        debug_assert!(self.out.len().is_multiple_of(PACKET));
    }
}

fn map_table(program: &Program) -> Vec<u8> {
    let clock = program.streams.first().map_or(0x1FFF, |stream| stream.pid);
    let mut body = (0xE000 | clock).to_be_bytes().to_vec();
    body.extend([0xF0, low_byte(program.descriptors.len() as u64)]);
    body.extend(&program.descriptors);
    for stream in &program.streams {
        body.push(stream.stream_type);
        body.extend((0xE000 | stream.pid).to_be_bytes());
        body.extend([0xF0, low_byte(stream.descriptors.len() as u64)]);
        body.extend(&stream.descriptors);
    }
    section(2, program.number, program.version, &body)
}

/// A section with its length and CRC.
pub fn section(table_id: u8, extension: u16, version: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 9).unwrap_or(0);
    let mut bytes = vec![table_id];
    bytes.extend((0xB000 | length).to_be_bytes());
    bytes.extend(extension.to_be_bytes());
    bytes.extend([0xC1 | version << 1, 0, 0]);
    bytes.extend(body);
    bytes.extend(crc32(&bytes).to_be_bytes());
    bytes
}

/// CRC-32/MPEG-2, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            let carry = crc & 0x8000_0000 != 0;
            crc = crc << 1 ^ if carry { 0x04C1_1DB7 } else { 0 };
        }
    }
    crc
}
