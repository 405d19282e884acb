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
use crate::ts::{
    Header, PACKET, PCR_PER_STAMP, PID_NULL, STAMP_MASK, SYNC, h264_pid, read_pcr, read_stamp,
    write_pcr, write_stamp,
};

/// Distinct PIDs a clip may use.
const PIDS_MAX: usize = 16;

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
}

/// One access unit as it is in the source.
#[derive(Debug)]
pub(crate) struct AccessUnit {
    /// Annex B.
    pub(crate) bytes: Vec<u8>,
    /// Ticks of presentation behind the least of all.
    pub(crate) pts_ticks: u32,
}

/// The H.264 access units of a transport stream, in the order of decoding, and the ticks after which
/// they may come again.
pub(crate) fn access_units(ts: &[u8]) -> Result<(Vec<AccessUnit>, u64)> {
    let source = Source::parse(ts)?;
    let period = period(&source.video_units()?)?;
    let mut units = Vec::new();
    for (pes, _) in source.video_pes()? {
        let unit = Unit::parse(&pes, false)?;
        let pts = read_stamp(unit.pes_header.get(9..14).context("a unit without timestamps")?);
        units.push((pes[unit.pes_header.len()..].to_vec(), pts.context("a broken timestamp")?));
    }
    // Modulo 2^33: behind the first by less than half of that, before it by a few pictures.
    let first = units.first().map_or(0, |unit| unit.1);
    let ahead = |pts: u64| pts.wrapping_sub(first).wrapping_add(1 << 20) & STAMP_MASK;
    let least = units.iter().map(|unit| ahead(unit.1)).min().unwrap_or(0);
    let unit = |(bytes, pts): (Vec<u8>, u64)| {
        Ok(AccessUnit { bytes, pts_ticks: u32::try_from(ahead(pts) - least)? })
    };
    Ok((units.into_iter().map(unit).collect::<Result<_>>()?, period))
}

/// The NAL units of an access unit in Annex B, without what follows their trailing bits.
pub(crate) fn nal_units(annex_b: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts: Vec<usize> =
        annex_b.windows(3).enumerate().filter(|(_, w)| *w == [0, 0, 1]).map(|(at, _)| at).collect();
    let ends = starts.clone().into_iter().skip(1).chain([annex_b.len()]);
    starts.into_iter().zip(ends).filter_map(|(start, end)| {
        let nal = &annex_b[start + 3..end];
        let len = nal.iter().rposition(|byte| *byte != 0)? + 1;
        Some(&nal[..len])
    })
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
        let video_pid = h264_pid(packets)?;
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
        self.video_pes()?
            .iter()
            .map(|(pes, random_access)| Unit::parse(pes, *random_access))
            .collect()
    }

    /// The video PES packets whole, each with its random access indicator.
    fn video_pes(&self) -> Result<Vec<(Vec<u8>, bool)>> {
        let mut all: Vec<(Vec<u8>, bool)> = Vec::new();
        for packet in self.packets.chunks_exact(PACKET) {
            let header = Header::parse(packet)?;
            if header.pid != self.video_pid || !header.has_payload {
                continue;
            }
            if header.unit_start {
                all.push((Vec::new(), header.random_access));
            }
            if let Some((pes, _)) = all.last_mut() {
                pes.extend_from_slice(&packet[header.payload..]);
            }
        }
        Ok(all)
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

#[cfg(test)]
pub(crate) mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::tag::Fault;

    /// Two seconds of small H.264 with B-frames and AAC, as FFmpeg writes it.
    pub(crate) fn source() -> Vec<u8> {
        let made = Command::new("ffmpeg")
            .args(
                "-v error -f lavfi -i testsrc2=s=320x180:r=30 -f lavfi -i sine=r=48000".split(' '),
            )
            .args("-t 2 -c:v libx264 -preset ultrafast -bf 2 -g 30 -b:v 900k".split(' '))
            .args("-c:a aac -f mpegts -muxrate 1500k -".split(' '))
            .stderr(Stdio::inherit())
            .output()
            .expect("ffmpeg");
        assert!(made.status.success());
        made.stdout
    }

    fn looped(clip: &Clip, loops: usize) -> Vec<u8> {
        let mut out = vec![0; clip.bytes.len() * loops];
        let mut cursor = Cursor::new(7);
        for chunk in out.chunks_mut(7 * PACKET) {
            cursor.fill(clip, chunk);
        }
        out
    }

    /// Payload of each video PES packet.
    fn frames(ts: &[u8]) -> Vec<Vec<u8>> {
        let pes = Source::parse(ts).unwrap().video_pes().unwrap();
        pes.iter().map(|(pes, _)| pes[9 + usize::from(pes[8])..].to_vec()).collect()
    }

    #[test]
    fn every_frame_of_every_loop_proves_itself() {
        let clip = Clip::prepare(&source()).unwrap();
        let frames = frames(&looped(&clip, 3));
        assert_eq!(frames.len(), 3 * 60);
        for (number, frame) in frames.iter().enumerate() {
            let tag = Tag::verify(frame, true).unwrap();
            assert_eq!((tag.stream, tag.frame as usize), (7, number));
        }
    }

    #[test]
    fn a_changed_a_shortened_and_an_untagged_frame_are_told_apart() {
        let clip = Clip::prepare(&source()).unwrap();
        let frame = frames(&looped(&clip, 1)).remove(3);
        let mut changed = frame.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(Tag::verify(&changed, true), Err(Fault::Content));
        assert_eq!(Tag::verify(&frame[..frame.len() - 1], true), Err(Fault::Length));
        assert_eq!(Tag::verify(&frame[100..], true), Err(Fault::Missing));
        let mut broken = frame;
        broken[40] ^= 1;
        assert_eq!(Tag::verify(&broken, true), Err(Fault::Broken));
    }

    #[test]
    fn without_their_tags_the_frames_are_the_encoders() {
        let source = source();
        let clip = Clip::prepare(&source).unwrap();
        let tagged = frames(&looped(&clip, 1));
        for (before, after) in frames(&source).iter().zip(&tagged) {
            let at = tag::place(before);
            let mut stripped = after.clone();
            stripped.drain(at..at + tag::NAL_LEN);
            assert!(stripped == *before);
        }
    }

    #[test]
    fn counters_and_clocks_go_on_across_the_seams() {
        let clip = Clip::prepare(&source()).unwrap();
        let ts = looped(&clip, 20);
        let mut continuity = [None; 0x2000];
        let mut last_pcr = None;
        for packet in ts.chunks_exact(PACKET) {
            let header = Header::parse(packet).unwrap();
            if header.has_payload && header.pid != PID_NULL {
                let counter = packet[3] & 15;
                let last = continuity[usize::from(header.pid)].replace(counter);
                assert_eq!(counter, last.map_or(counter, |last| (last + 1) & 15));
            }
            if let Some(offset) = header.pcr_offset {
                let pcr = read_pcr(&packet[usize::from(offset)..]).unwrap();
                let step = last_pcr.replace(pcr).map_or(900_000, |last| pcr - last);
                assert!((100_000..2_700_000).contains(&step), "{step}");
            }
        }
        let units = Source::parse(&ts).unwrap().video_units().unwrap();
        let stamps: Vec<u64> = units.iter().map(|unit| unit.dts().unwrap()).collect();
        assert!(stamps.windows(2).all(|pair| pair[1] - pair[0] == 3_000));
    }

    #[test]
    fn a_demultiplexer_finds_nothing_wrong() {
        let clip = Clip::prepare(&source()).unwrap();
        let dir = std::env::temp_dir().join(format!("penstock-bench-{}", std::process::id()));
        std::fs::write(&dir, looped(&clip, 3)).unwrap();
        let probed = Command::new("ffprobe")
            .args("-v warning -select_streams v -count_frames".split(' '))
            .args("-show_entries stream=nb_read_frames -of csv=p=0".split(' '))
            .arg(&dir)
            .output()
            .expect("ffprobe");
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(String::from_utf8_lossy(&probed.stderr), "");
        assert!(String::from_utf8_lossy(&probed.stdout).starts_with("180"));
    }
}
