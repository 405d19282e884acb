//! Bodies of the fuzz targets: each takes any bytes and checks what must hold for them.

use codec::sink::{Sink, TRACKS_MAX, Timestamps, TrackConfig};

use crate::{
    Config, Demuxer, State, crc32,
    packet::PACKET_BYTES,
    pes::{Header, Parsed, STAMP_MODULUS},
    psi::{Assembled, Assembler, Pat, Pmt, SECTION_BYTES_MAX, Section},
};

/// Checks the order of calls and sums them up, to compare two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Calls {
    tracks: usize,
    open: [bool; TRACKS_MAX],
    begun: [bool; TRACKS_MAX],
    bytes: u64,
    sum: u64,
}

impl Calls {
    fn note(&mut self, values: &[u64]) {
        for value in values {
            self.sum = (self.sum ^ value).wrapping_mul(0x0100_0000_01B3).rotate_left(23);
        }
    }

    fn track(&self, track: usize) -> usize {
        assert!(track < self.tracks, "a track that is not listed");
        track
    }
}

impl Sink for Calls {
    fn tracks(&mut self, tracks: &[TrackConfig]) {
        assert!(tracks.len() <= TRACKS_MAX);
        self.tracks = tracks.len();
        self.open = [false; TRACKS_MAX];
        self.begun = [false; TRACKS_MAX];
        for track in tracks {
            self.note(&[1, u64::from(track.pid), u64::from(track.stream_type)]);
        }
    }

    fn unit_start(&mut self, track: usize, stamps: Timestamps) {
        let at = self.track(track);
        self.open[at] = true;
        self.begun[at] = true;
        self.note(&[2, at as u64, stamps.pts.unwrap_or(7), stamps.dts.unwrap_or(7)]);
    }

    fn unit_data(&mut self, track: usize, bytes: &[u8]) {
        assert!(self.open[self.track(track)], "data outside a unit");
        assert!(!bytes.is_empty() && bytes.len() <= 184);
        self.bytes += bytes.len() as u64;
        self.note(&[3, track as u64, u64::from(crc32(bytes))]);
    }

    fn unit_end(&mut self, track: usize) {
        let at = self.track(track);
        assert!(self.open[at], "end of a unit that is not open");
        self.open[at] = false;
        self.note(&[4, at as u64]);
    }

    fn gap(&mut self, track: usize) {
        assert!(self.begun[self.track(track)], "gap before the first unit");
        self.note(&[5, track as u64]);
    }
}

fn run(pieces: &[&[u8]], losses: u32) -> (Calls, Demuxer) {
    let mut calls = Calls::default();
    let mut demuxer = Demuxer::new(Config::default());
    for piece in pieces {
        demuxer.push(piece, &mut calls);
        if losses > 0 {
            demuxer.lost(losses, &mut calls);
        }
    }
    demuxer.finish(&mut calls);
    check(&demuxer, &calls, pieces.iter().map(|piece| piece.len()).sum());
    (calls, demuxer)
}

fn check(demuxer: &Demuxer, calls: &Calls, pushed: usize) {
    let counters = demuxer.counters();
    let accounted = counters.ts_packets * PACKET_BYTES as u64 + counters.ts_bytes_skipped;
    assert!(accounted <= pushed as u64, "more bytes than came");
    // At most 16 bytes lie between packets.
    assert!(accounted + counters.ts_packets * 16 + 16 >= pushed as u64);
    assert!(calls.bytes <= pushed as u64);
    assert!(demuxer.programs().len() <= 64);
    assert_eq!(demuxer.tracks().len(), calls.tracks);
    let playing = matches!(demuxer.state(), State::Playing { .. });
    assert!(!playing || calls.tracks > 0);
}

/// Any bytes as a stream. The first byte says how it is cut, which must not matter; the second
/// how many datagrams are lost behind each piece.
pub fn demuxer(data: &[u8]) {
    let Some(([cut, losses], stream)) = data.split_first_chunk::<2>() else {
        return;
    };
    let pieces: Vec<&[u8]> = stream.chunks(usize::from(*cut).max(1)).collect();
    let (whole, _) = run(&[stream], 0);
    assert_eq!(run(&pieces, 0).0, whole, "the cut into pushes matters");
    if *losses > 0 {
        run(&pieces, u32::from(losses % 4));
    }
}

/// Bytes as steps that make a stream with right sync bytes and CRCs: `step, length, bytes`.
pub fn program(mut data: &[u8]) {
    let mut stream = Vec::new();
    let mut counter = 0u8;
    while let Some(([step, length], rest)) = data.split_first_chunk::<2>() {
        let (bytes, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        data = rest;
        counter = counter.wrapping_add(u8::from(step & 0x40 == 0));
        match step & 3 {
            0 => put(&mut stream, 0x40, 0, counter, &with_pointer(&section(0, 1, bytes))),
            1 => put(&mut stream, 0x40, 0x20, counter, &with_pointer(&section(2, 1, bytes))),
            2 => put(&mut stream, step & 0x80, step >> 2 & 7 | 0x20, counter, bytes),
            _ => put(&mut stream, 0x40 | step & 0x80, step >> 2 & 7 | 0x20, counter, bytes),
        }
    }
    let (whole, _) = run(&[&stream], 0);
    let pieces: Vec<&[u8]> = stream.chunks(1316).collect();
    assert_eq!(run(&pieces, 0).0, whole);
    run(&pieces, 1);
}

fn with_pointer(section: &[u8]) -> Vec<u8> {
    let mut payload = vec![0];
    payload.extend(section);
    payload.resize(payload.len().next_multiple_of(184), 0xFF);
    payload
}

/// Packets of one payload, stuffed by an adaptation field.
fn put(stream: &mut Vec<u8>, flags: u8, pid: u8, counter: u8, payload: &[u8]) {
    let mut flags = flags;
    for (number, chunk) in (0u8..).zip(payload.chunks(184)) {
        let continuity = counter.wrapping_add(number) & 15;
        let at = stream.len();
        stream.resize(at + PACKET_BYTES, 0xFF);
        let packet = &mut stream[at..];
        packet[..4].copy_from_slice(&[0x47, flags, pid, 0x10 | continuity]);
        if let Some(length) = 183usize.checked_sub(chunk.len()) {
            packet[3] |= 0x20;
            packet[4] = u8::try_from(length).unwrap_or(0);
            if length > 0 {
                packet[5] = 0;
            }
        }
        packet[PACKET_BYTES - chunk.len()..].copy_from_slice(chunk);
        flags &= !0x40;
    }
}

/// A section with right length and CRC around a body.
fn section(table_id: u8, extension: u16, body: &[u8]) -> Vec<u8> {
    let body = &body[..body.len().min(SECTION_BYTES_MAX - 12)];
    let length = u16::try_from(body.len() + 9).unwrap_or(0);
    let mut bytes = vec![table_id];
    bytes.extend((0xB000 | length).to_be_bytes());
    bytes.extend(extension.to_be_bytes());
    bytes.extend([0xC1, 0, 0]);
    bytes.extend(body);
    bytes.extend(crc32(&bytes).to_be_bytes());
    bytes
}

/// Any bytes as a section, as the body of both tables, and as payloads of a section PID.
pub fn psi_section(data: &[u8]) {
    if let Ok(section) = Section::parse(data) {
        assert_eq!(section.body.len() + 12, data.len());
        assert!(section.number <= section.last);
    }
    let bytes = section(0, 1, data);
    if let Ok(section) = Section::parse(&bytes) {
        let mut pat = Pat::new();
        let first = pat.section(&section, None);
        assert_eq!(first.is_ok(), section.body.len() % 4 == 0);
        assert!(pat.programs().iter().all(|program| program.number != 0));
    }
    let bytes = section(2, 1, data);
    if let Ok(section) = Section::parse(&bytes)
        && let Ok(pmt) = Pmt::parse(&section)
    {
        let streams = pmt.streams().map(|stream| 5 + stream.descriptors.len());
        assert_eq!(4 + pmt.descriptors.len() + streams.sum::<usize>(), section.body.len());
    }
    assemble(data);
}

fn assemble(data: &[u8]) {
    let mut assembler = <Assembler>::new();
    for chunk in data.chunks(184) {
        let start = chunk.first().is_some_and(|byte| byte & 1 == 0);
        assembler.push(start, chunk, &mut |assembled| {
            if let Assembled::Section(bytes) = assembled {
                assert!((3..=SECTION_BYTES_MAX).contains(&bytes.len()));
            }
        });
    }
}

/// Any bytes as the start of a PES packet: more bytes never change what was known.
pub fn pes_header(data: &[u8]) {
    let mut known = None;
    for length in 0..=data.len().min(300) {
        let parsed = Header::parse(&data[..length]);
        match parsed {
            Ok(Parsed::Need(wanted)) => {
                assert!(known.is_none() && wanted > length && wanted <= 264);
            }
            Ok(Parsed::Header(header)) => {
                assert!(header.header_bytes <= length);
                let stamps = [header.pts, header.dts];
                assert!(stamps.iter().flatten().all(|stamp| *stamp < STAMP_MODULUS));
                assert!(known.is_none_or(|before| before == parsed));
                known = Some(parsed);
            }
            Err(_) => {
                assert!(known.is_none_or(|before| before == parsed));
                known = Some(parsed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    type Body = fn(&[u8]);

    const BODIES: [(&str, Body); 4] = [
        ("demuxer", super::demuxer),
        ("program", super::program),
        ("psi_section", super::psi_section),
        ("pes_header", super::pes_header),
    ];

    fn corpus(name: &str) -> Vec<Vec<u8>> {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus");
        let folder = std::fs::read_dir(corpora.join(format!("mpegts_{name}"))).unwrap();
        let files: Vec<_> =
            folder.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
        assert!(files.len() >= 8, "the corpus of {name} is nearly empty");
        files
    }

    #[test]
    fn corpora() {
        for (name, body) in BODIES {
            corpus(name).iter().for_each(|input| body(input));
        }
    }

    #[test]
    fn every_truncation_and_flipped_bit_of_the_corpora() {
        for (name, body) in BODIES {
            for mut input in corpus(name) {
                input.truncate(188 * 7); // enough for a lock and the tables
                // Long inputs in strides, so that the sweep stays short.
                let stride = input.len() / 200 + 1;
                for length in (0..input.len()).step_by(stride) {
                    body(&input[..length]);
                }
                for bit in (0..input.len() * 8).step_by(stride * 3 + 1) {
                    input[bit / 8] ^= 1 << (bit % 8);
                    body(&input);
                    input[bit / 8] ^= 1 << (bit % 8);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes(data in proptest::collection::vec(any::<u8>(), 0..3000)) {
            for (_, body) in BODIES {
                body(&data);
            }
        }

        /// Packets with sync bytes and PIDs that mean something, else any bits.
        #[test]
        fn any_packets(packets in proptest::collection::vec(
            (0u8..4, any::<u8>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 184)), 5..30
        )) {
            let mut data = vec![47, 1];
            for (pid, flags, control, body) in packets {
                data.extend([0x47, flags & 0xE0, pid, control]);
                data.extend(body);
            }
            super::demuxer(&data);
        }
    }
}
