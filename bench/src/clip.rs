//! A clip of MPEG transport stream prepared for endless looping.
//!
//! Preparing happens once: every video access unit gets one SEI message that names it and carries
//! the checksum of its other bytes, and every place that must change from loop to loop is listed.
//! Playing then costs one copy, one byte per transport packet and a few bytes per frame, while a
//! reader of the frames can prove that nothing is missing and nothing is changed.
//!
//! ```text
//! transport packets   | PAT | PMT | video 0 … | audio | video 1 … | null |   one loop = `period`
//! per loop rewritten    cc    cc    cc, PCR,    cc,     cc, PCR,
//!                                   PTS, DTS,   PTS     PTS, DTS,
//!                                   tag                 tag
//! ```

use anyhow::{Context, Result, bail, ensure};

use crate::tag::{self, Tag};

/// Bytes of a transport packet.
pub(crate) const PACKET: usize = 188;
const SYNC: u8 = 0x47;
const PID_PAT: u16 = 0;
const PID_NULL: u16 = 0x1fff;
const STREAM_TYPE_H264: u8 = 0x1b;
/// Distinct PIDs a clip may use.
const PIDS_MAX: usize = 16;
const STAMP_MASK: u64 = (1 << 33) - 1;
/// 27 MHz ticks in one 90 kHz tick.
const PCR_PER_STAMP: u64 = 300;

/// One place of the clip whose value depends on the loop.
#[derive(Debug, Clone, Copy)]
struct Patch {
    /// Transport packet in the clip.
    packet: u32,
    /// Byte in that packet.
    offset: u8,
    value: Value,
}

#[derive(Debug, Clone, Copy)]
enum Value {
    /// PCR in 27 MHz ticks in loop 0.
    Pcr(u64),
    /// PTS or DTS in 90 kHz ticks in loop 0.
    Stamp(u64),
    /// The tag of a video access unit; `frame` counts from 0 in loop 0.
    Tag(Tag),
}

/// A prepared clip, shared by all connections.
#[derive(Debug)]
pub(crate) struct Clip {
    bytes: Vec<u8>,
    /// For each transport packet the index of its PID in `continuity_step`.
    pids: Vec<u8>,
    /// What a loop adds to the continuity counter of each PID.
    continuity_step: [u8; PIDS_MAX],
    patches: Vec<Patch>,
    frames: u32,
    period: u64,
}

impl Clip {
    /// Prepares a clip from transport-stream bytes: one H.264 track with one access unit per PES
    /// packet (as FFmpeg writes it), anything else untouched.
    pub(crate) fn prepare(ts: &[u8]) -> Result<Self> {
        let source = Source::parse(ts)?;
        let units = source.video_units()?;
        let period = period(&units)?;
        let bytes = source.merge(&units)?;
        Self::index(bytes, &source, &units, period)
    }

    /// Lists the places to rewrite and gives the video PID new continuity counters.
    fn index(mut bytes: Vec<u8>, source: &Source<'_>, units: &[Unit], period: u64) -> Result<Self> {
        let total = u64::try_from(bytes.len())?;
        let first_pcr = source.first_pcr.context("the clip carries no PCR")?;
        let mut table: Vec<u16> = Vec::new();
        let mut counts = [0u8; PIDS_MAX];
        let mut pids = Vec::with_capacity(bytes.len() / PACKET);
        let mut patches = Vec::new();
        let mut frame = 0u32;
        for (index, packet) in bytes.chunks_exact_mut(PACKET).enumerate() {
            let header = Header::parse(packet)?;
            let slot = pid_slot(&mut table, header.pid)?;
            pids.push(u8::try_from(slot)?);
            if header.pid == PID_NULL {
                continue;
            }
            if header.pid == source.video_pid {
                packet[3] = (packet[3] & 0xf0) | (counts[slot] & 0x0f);
            }
            if header.has_payload {
                counts[slot] = (counts[slot] + 1) & 0x0f;
            }
            let at = u32::try_from(index)?;
            if let Some(offset) = header.pcr_offset {
                let passed = u64::try_from(index * PACKET)? * period * PCR_PER_STAMP / total;
                patches.push(Patch { packet: at, offset, value: Value::Pcr(first_pcr + passed) });
            }
            push_stamps(&mut patches, at, packet, &header)?;
            if header.pid == source.video_pid && header.unit_start {
                let offset = tag::find(packet).context("a tag is not in its first packet")?;
                let unit = &units[usize::try_from(frame)?];
                patches.push(Patch {
                    packet: at,
                    offset: u8::try_from(offset)?,
                    value: Value::Tag(unit.tag(frame)),
                });
                frame += 1;
            }
        }
        Ok(Self { bytes, pids, continuity_step: counts, patches, frames: frame, period })
    }

    /// Bytes of one loop.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Video access units of one loop.
    pub(crate) const fn frames(&self) -> u32 {
        self.frames
    }

    /// Duration of one loop in 90 kHz ticks.
    pub(crate) const fn period(&self) -> u64 {
        self.period
    }
}

/// Where one connection is in the endless stream.
#[derive(Debug)]
pub(crate) struct Cursor {
    stream: u32,
    packet: usize,
    patch: usize,
    loops: u32,
    continuity: [u8; PIDS_MAX],
}

impl Cursor {
    /// The beginning of loop 0, as stream number `stream`.
    pub(crate) const fn new(stream: u32) -> Self {
        Self { stream, packet: 0, patch: 0, loops: 0, continuity: [0; PIDS_MAX] }
    }

    /// Video access units whose first packet has been written.
    pub(crate) fn frames_started(&self, clip: &Clip) -> u64 {
        let tags = clip.patches[..self.patch]
            .iter()
            .filter(|patch| matches!(patch.value, Value::Tag(_)))
            .count();
        u64::from(self.loops) * u64::from(clip.frames) + u64::try_from(tags).unwrap_or(0)
    }

    /// Writes the next transport packets over the whole of `out` (a multiple of 188 bytes).
    pub(crate) fn fill(&mut self, clip: &Clip, out: &mut [u8]) {
        let mut rest = out;
        while rest.len() >= PACKET {
            let count = (rest.len() / PACKET).min(clip.pids.len() - self.packet);
            let (now, later) = rest.split_at_mut(count * PACKET);
            self.fill_run(clip, now, count);
            rest = later;
            if self.packet == clip.pids.len() {
                self.rewind(clip);
            }
        }
    }

    fn fill_run(&mut self, clip: &Clip, out: &mut [u8], count: usize) {
        let start = self.packet;
        let end = start + count;
        out.copy_from_slice(&clip.bytes[start * PACKET..end * PACKET]);
        if self.loops > 0 {
            for (packet, pid) in out.chunks_exact_mut(PACKET).zip(&clip.pids[start..end]) {
                let step = self.continuity[usize::from(*pid)];
                packet[3] = (packet[3] & 0xf0) | (packet[3].wrapping_add(step) & 0x0f);
            }
        }
        let stamp_offset = u64::from(self.loops) * clip.period;
        while let Some(patch) = clip.patches.get(self.patch) {
            let packet = patch.packet as usize;
            if packet >= end {
                break;
            }
            let place = &mut out[(packet - start) * PACKET + usize::from(patch.offset)..];
            match patch.value {
                Value::Pcr(ticks) => write_pcr(place, ticks + stamp_offset * PCR_PER_STAMP),
                Value::Stamp(ticks) => write_stamp(place, ticks + stamp_offset),
                Value::Tag(tag) => {
                    let frame = tag.frame.wrapping_add(self.loops.wrapping_mul(clip.frames));
                    Tag { stream: self.stream, frame, ..tag }.write(place);
                }
            }
            self.patch += 1;
        }
        self.packet = end;
    }

    fn rewind(&mut self, clip: &Clip) {
        self.packet = 0;
        self.patch = 0;
        self.loops = self.loops.wrapping_add(1);
        for (sum, step) in self.continuity.iter_mut().zip(clip.continuity_step) {
            *sum = (*sum + step) & 0x0f;
        }
    }
}

/// One video PES packet of the source.
#[derive(Debug)]
struct Unit {
    pes_header: Vec<u8>,
    /// The access unit with a blank tag inserted.
    frame: Vec<u8>,
    /// Checksum of the access unit without the tag.
    crc: u32,
    random_access: bool,
}

impl Unit {
    fn parse(pes: &[u8], random_access: bool) -> Result<Self> {
        ensure!(
            pes.len() > 9 && pes[..3] == [0, 0, 1],
            "a video packet does not start with a PES header"
        );
        let header_len = 9 + usize::from(pes[8]);
        ensure!(pes.len() > header_len, "a PES packet without payload");
        let mut pes_header = pes[..header_len].to_vec();
        pes_header[4..6].fill(0); // unbounded, as the unit grows (13818-1, 2.4.3.7)
        let body = &pes[header_len..];
        let at = tag::place(body);
        let mut frame = Vec::with_capacity(body.len() + tag::NAL_LEN);
        frame.extend_from_slice(&body[..at]);
        frame.extend_from_slice(&tag::blank_nal());
        frame.extend_from_slice(&body[at..]);
        Ok(Self { pes_header, frame, crc: crc32fast::hash(body), random_access })
    }

    fn tag(&self, frame: u32) -> Tag {
        Tag {
            stream: 0,
            frame,
            length: u32::try_from(self.frame.len()).unwrap_or(u32::MAX),
            crc: self.crc,
        }
    }

    fn dts(&self) -> Option<u64> {
        let flags = self.pes_header.get(7)? >> 6;
        match flags {
            3 => read_stamp(self.pes_header.get(14..19)?),
            2 => read_stamp(self.pes_header.get(9..14)?),
            _ => None,
        }
    }

    /// Cuts the unit into transport packets; the first carries a PCR to be filled in later.
    fn packetize(&self, pid: u16) -> Vec<[u8; PACKET]> {
        let mut rest: Vec<u8> = self.pes_header.clone();
        rest.extend_from_slice(&self.frame);
        let mut rest = rest.as_slice();
        let mut packets = Vec::with_capacity(rest.len() / 176 + 1);
        while !rest.is_empty() {
            let first = packets.is_empty();
            let mut packet = [0xff_u8; PACKET];
            let [high, low] = pid.to_be_bytes();
            packet[0] = SYNC;
            packet[1] = high & 0x1f | if first { 0x40 } else { 0 };
            packet[2] = low;
            let field = if first { 8 } else { 0 };
            let room = PACKET - 4 - field;
            let take = rest.len().min(room);
            let field = PACKET - 4 - take;
            packet[3] = if field == 0 { 0x10 } else { 0x30 };
            if field > 0 {
                packet[4] = u8::try_from(field - 1).unwrap_or(0);
            }
            if field > 1 {
                packet[5] = 0;
            }
            if first {
                packet[5] = 0x10 | if self.random_access { 0x40 } else { 0 };
            }
            packet[4 + field..].copy_from_slice(&rest[..take]);
            rest = &rest[take..];
            packets.push(packet);
        }
        packets
    }
}

/// The source's transport packets and what is known about them.
struct Source<'a> {
    packets: &'a [u8],
    video_pid: u16,
    first_pcr: Option<u64>,
}

impl<'a> Source<'a> {
    fn parse(ts: &'a [u8]) -> Result<Self> {
        let packets = &ts[..ts.len() / PACKET * PACKET];
        ensure!(!packets.is_empty(), "the clip is empty");
        let pmt_pid = find_section(packets, PID_PAT, 0, pmt_pid_of).context("no PAT")?;
        let video_pid =
            find_section(packets, pmt_pid, 2, video_pid_of).context("no H.264 track in the PMT")?;
        let mut first_pcr = None;
        for packet in packets.chunks_exact(PACKET) {
            let header = Header::parse(packet)?;
            if let (None, Some(offset)) = (first_pcr, header.pcr_offset) {
                first_pcr = read_pcr(&packet[usize::from(offset)..]);
            }
        }
        Ok(Self { packets, video_pid, first_pcr })
    }

    fn video_units(&self) -> Result<Vec<Unit>> {
        let mut units = Vec::new();
        let mut pes: Vec<u8> = Vec::new();
        let mut random_access = false;
        for packet in self.packets.chunks_exact(PACKET) {
            let header = Header::parse(packet)?;
            if header.pid != self.video_pid || !header.has_payload {
                continue;
            }
            if header.unit_start {
                if !pes.is_empty() {
                    units.push(Unit::parse(&pes, random_access)?);
                    pes.clear();
                }
                random_access = header.random_access;
            }
            if header.unit_start || !pes.is_empty() {
                pes.extend_from_slice(&packet[header.payload..]);
            }
        }
        if !pes.is_empty() {
            units.push(Unit::parse(&pes, random_access)?);
        }
        Ok(units)
    }

    /// The source with its video packets replaced. What the tags add takes the place of null
    /// packets where there are any, so that a constant rate stays one.
    fn merge(&self, units: &[Unit]) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(self.packets.len() + units.len() * PACKET);
        let mut pending: std::collections::VecDeque<[u8; PACKET]> =
            std::collections::VecDeque::new();
        let mut next = units.iter();
        for packet in self.packets.chunks_exact(PACKET) {
            let header = Header::parse(packet)?;
            if header.pid == self.video_pid && header.unit_start {
                out.extend(pending.drain(..).flatten());
                let unit = next.next().context("more units than parsed")?;
                pending.extend(unit.packetize(self.video_pid));
            }
            if header.pid == self.video_pid || header.pid == PID_NULL {
                match pending.pop_front() {
                    Some(video) => out.extend_from_slice(&video),
                    None if header.pid == PID_NULL => out.extend_from_slice(packet),
                    None => {}
                }
            } else {
                out.extend_from_slice(packet);
            }
        }
        out.extend(pending.drain(..).flatten());
        Ok(out)
    }
}

/// The fields of a transport packet's header (ISO/IEC 13818-1, 2.4.3.2) that matter here.
struct Header {
    pid: u16,
    unit_start: bool,
    has_payload: bool,
    random_access: bool,
    pcr_offset: Option<u8>,
    /// Where the payload begins.
    payload: usize,
}

impl Header {
    fn parse(packet: &[u8]) -> Result<Self> {
        ensure!(
            packet.len() == PACKET && packet[0] == SYNC,
            "the clip is not aligned transport stream"
        );
        let has_field = packet[3] & 0x20 != 0;
        let field_len = if has_field { usize::from(packet[4]) } else { 0 };
        let payload = if has_field { 5 + field_len } else { 4 };
        ensure!(payload <= PACKET, "an adaptation field is too long");
        let flags = if field_len > 0 { packet[5] } else { 0 };
        Ok(Self {
            pid: u16::from_be_bytes([packet[1] & 0x1f, packet[2]]),
            unit_start: packet[1] & 0x40 != 0,
            has_payload: packet[3] & 0x10 != 0,
            random_access: flags & 0x40 != 0,
            pcr_offset: (flags & 0x10 != 0 && field_len >= 7).then_some(6),
            payload,
        })
    }
}

fn pid_slot(table: &mut Vec<u16>, pid: u16) -> Result<usize> {
    if let Some(slot) = table.iter().position(|known| *known == pid) {
        return Ok(slot);
    }
    ensure!(table.len() < PIDS_MAX, "the clip has too many PIDs");
    table.push(pid);
    Ok(table.len() - 1)
}

/// Lists the PTS and DTS of a PES header that begins in this packet.
fn push_stamps(patches: &mut Vec<Patch>, at: u32, packet: &[u8], header: &Header) -> Result<()> {
    let pes = &packet[header.payload.min(PACKET)..];
    if !header.unit_start || pes.len() < 14 || pes[..3] != [0, 0, 1] {
        return Ok(());
    }
    let count = match pes[7] >> 6 {
        2 => 1,
        3 => 2,
        _ => 0,
    };
    for index in 0..count {
        let offset = 9 + index * 5;
        let bytes =
            pes.get(offset..offset + 5).context("a PES header does not fit its first packet")?;
        patches.push(Patch {
            packet: at,
            offset: u8::try_from(header.payload + offset)?,
            value: Value::Stamp(read_stamp(bytes).context("a broken timestamp")?),
        });
    }
    Ok(())
}

fn period(units: &[Unit]) -> Result<u64> {
    let (Some(first), Some(last)) = (units.first(), units.last()) else {
        bail!("the clip has no video");
    };
    let count = u64::try_from(units.len())?;
    ensure!(count > 1, "the clip has one frame only");
    let first = first.dts().context("a unit without timestamps")?;
    let last = last.dts().context("a unit without timestamps")?;
    let span = last.wrapping_sub(first) & STAMP_MASK;
    Ok(span + span / (count - 1))
}

/// Applies `read` to the first complete section with `table_id` that fits one packet of `pid`.
fn find_section(
    packets: &[u8],
    pid: u16,
    table_id: u8,
    read: fn(&[u8]) -> Option<u16>,
) -> Option<u16> {
    packets.chunks_exact(PACKET).find_map(|packet| {
        let header = Header::parse(packet).ok()?;
        if header.pid != pid || !header.unit_start {
            return None;
        }
        let pointer = usize::from(*packet.get(header.payload)?);
        let section = packet.get(header.payload + 1 + pointer..)?;
        let length = usize::from(u16::from_be_bytes([section.get(1)? & 0x0f, *section.get(2)?]));
        let section = section.get(..3 + length)?;
        (section[0] == table_id).then(|| read(section)).flatten()
    })
}

fn pmt_pid_of(section: &[u8]) -> Option<u16> {
    section
        .get(8..section.len().checked_sub(4)?)?
        .chunks_exact(4)
        .find(|entry| entry[..2] != [0, 0])
        .map(|entry| u16::from_be_bytes([entry[2] & 0x1f, entry[3]]))
}

fn video_pid_of(section: &[u8]) -> Option<u16> {
    let info = usize::from(u16::from_be_bytes([section.get(10)? & 0x0f, *section.get(11)?]));
    let mut entries = section.get(12 + info..section.len().checked_sub(4)?)?;
    while let [stream_type, high, low, info_high, info_low, rest @ ..] = entries {
        if *stream_type == STREAM_TYPE_H264 {
            return Some(u16::from_be_bytes([high & 0x1f, *low]));
        }
        let info = usize::from(u16::from_be_bytes([info_high & 0x0f, *info_low]));
        entries = rest.get(info..)?;
    }
    None
}

/// PTS or DTS of a PES header (2.4.3.6): 33 bits over five bytes with marker bits.
fn read_stamp(bytes: &[u8]) -> Option<u64> {
    let [b0, b1, b2, b3, b4] = *bytes.first_chunk::<5>()?;
    Some(
        (u64::from(b0 >> 1 & 7) << 30)
            | (u64::from(b1) << 22)
            | (u64::from(b2 >> 1) << 15)
            | (u64::from(b3) << 7)
            | u64::from(b4 >> 1),
    )
}

fn write_stamp(place: &mut [u8], ticks: u64) {
    place[0] = (place[0] & 0xf1) | (low_byte(ticks >> 30) & 7) << 1;
    place[1] = low_byte(ticks >> 22);
    place[2] = low_byte(ticks >> 15) << 1 | 1;
    place[3] = low_byte(ticks >> 7);
    place[4] = low_byte(ticks) << 1 | 1;
}

const fn low_byte(value: u64) -> u8 {
    value.to_be_bytes()[7]
}

/// PCR of an adaptation field (2.4.3.5): base (33) reserved (6) extension (9).
fn read_pcr(bytes: &[u8]) -> Option<u64> {
    let b = *bytes.first_chunk::<6>()?;
    let all = u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]]);
    Some((all >> 15) * PCR_PER_STAMP + (all & 0x1ff))
}

fn write_pcr(place: &mut [u8], ticks: u64) {
    let base = (ticks / PCR_PER_STAMP) & STAMP_MASK;
    let all = base << 15 | 0x3f << 9 | ticks % PCR_PER_STAMP;
    place[..6].copy_from_slice(&all.to_be_bytes()[2..]);
}
