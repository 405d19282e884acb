//! Frames of data beside pictures: teletext, subtitles, metadata, splice information.

use anyhow::{Context, Result, ensure};
use penstock_tests::generate::clips::{self, H264, Shape};
use penstock_tests::generate::mux::{Muxer, Pes, Program, Stream};
use penstock_tests::oracle::{self, Frame};
use penstock_tests::system::Penstock;

use super::{VIDEO, frames_of, options};

const KLV: u16 = 0x110;
const CELLS: u16 = 0x111;
const TELETEXT: u16 = 0x112;
const SUBTITLES: u16 = 0x113;
const SPLICE: u16 = 0x114;

fn stream(pid: u16, stream_type: u8, stream_id: u8, descriptors: &[u8]) -> Stream {
    Stream { pid, stream_type, stream_id, descriptors: descriptors.to_vec() }
}

/// A KLV set of a few bytes.
fn klv(number: u8) -> Vec<u8> {
    let key = [0x06, 0x0E, 0x2B, 0x34, 2, 0x0B, 1, 1, 0x0E, 1, 3, 1, 1, 0, 0, 0];
    [&key[..], &[4], &[number; 4]].concat()
}

/// What each track of data sends with a picture.
fn payloads(number: u8) -> [(u16, Vec<u8>); 4] {
    let set = klv(number);
    let cell = [&[0, number, 0xDF, 0, 21][..], &set].concat();
    let page = [&[0x10, 2, 0x2C, 0xE7, number][..], &[0x55; 42].repeat(10)].concat();
    let segment = [0x0F, 0x10, 0, 1, 0, 2, number, 0];
    let subtitles = [&[0x20, 0][..], &segment, &segment, &[0xFF]].concat();
    [(KLV, set), (CELLS, cell), (TELETEXT, page), (SUBTITLES, subtitles)]
}

/// The example of SCTE 35 with an event's number; the CRC is right for number 1 alone.
const SPLICE_INSERT: [u8; 40] = [
    0xFC, 0x30, 0x25, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xF0, 0x14, 5, 0, 0, 0, 1, 0x7F, 0xEF, 0xFE, 0x2D,
    0x14, 0x2B, 0, 0xFE, 1, 0x23, 0xD3, 8, 0, 1, 1, 1, 0, 0, 0x7F, 0x15, 0x7A, 0x49,
];

#[test]
fn every_unit_of_data_is_a_frame_as_ffmpeg_finds_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shape = Shape { seconds: 2, ..Shape::default() };
    let source = clips::make(folder.path(), "source.ts", shape, &[&H264[..], &["-an"]].concat())?;
    let streams = vec![
        Stream::h264(VIDEO),
        stream(KLV, 0x06, 0xBD, b"\x05\x04KLVA"),
        stream(CELLS, 0x15, 0xFC, b"\x26\x09\x01\x00\xFFKLVA\x00\x0F"),
        stream(TELETEXT, 0x06, 0xBD, b"\x56\x05eng\x09\x00"),
        stream(SUBTITLES, 0x06, 0xBD, b"\x59\x08eng\x10\x00\x01\x00\x01"),
        stream(SPLICE, 0x86, 0, b""),
    ];
    let registered = b"\x05\x04CUEI".to_vec();
    let program = Program { descriptors: registered, ..Program::single(streams.clone()) };
    let mut muxer = Muxer::new(vec![program]);
    for (number, unit) in (0u8..).zip(clips::access_units(&source, VIDEO)?) {
        muxer.tables();
        let clock = Some((unit.dts - 9_000) * 300);
        let (pts, dts) = (Some(unit.pts), Some(unit.dts));
        let payload = unit.bytes;
        muxer.pes(&streams[0], &Pes { pts, dts, pcr: clock, bounded: false, payload });
        for ((pid, payload), offset) in payloads(number).into_iter().zip(0..) {
            let stream = streams.iter().find(|stream| stream.pid == pid).context("listed")?;
            let pts = dts.map(|dts| dts + offset);
            muxer.pes(stream, &Pes { pts, dts: None, pcr: None, bounded: true, payload });
        }
        muxer.section(SPLICE, &SPLICE_INSERT);
    }
    let path = folder.path().join("data.ts");
    std::fs::write(&path, muxer.into_bytes())?;
    let system = Penstock::start(&options())?;
    let frames = frames_of(&system, "data", &path)?;
    for (track, pid, codec) in [
        (1, KLV, "klv"),
        (2, CELLS, "klv"),
        (3, TELETEXT, "teletext"),
        (4, SUBTITLES, "dvb_subtitle"),
        (5, SPLICE, "scte35"),
    ] {
        let ours: Vec<&Frame> = frames.iter().filter(|frame| frame.track == track).collect();
        let theirs = oracle::packets(&path)?;
        let theirs: Vec<_> = theirs.iter().filter(|packet| packet.pid == pid).collect();
        ensure!(theirs.len() == 50 && ours.len() + 3 > theirs.len(), "{codec}: {}", ours.len());
        let behind = theirs.len() - ours.len();
        for (frame, packet) in ours.iter().zip(&theirs[behind..]) {
            let told = (frame.kind.as_str(), frame.codec.as_str(), frame.key, frame.damaged);
            ensure!(told == ("data", codec, packet.key, false), "{frame:?}");
            let same = frame.sha256 == packet.sha256 && frame.size == packet.size;
            ensure!(
                same && (frame.pts, frame.dts) == (packet.pts, packet.dts),
                "{frame:?} {packet:?}"
            );
        }
    }
    system.stop()
}
