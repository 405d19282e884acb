//! AV1 in its carriages through a transport stream: each temporal unit is the packet that FFmpeg
//! stores in Matroska of the same coding.

mod support;

use std::path::Path;

use codec::av1::{HAS_SIZE, ObuType, obus};
use codec::sink::Timestamps;
use support::muxer::Muxer;
use support::{Got, Packet, Rig, ffmpeg, packets, sha256};

const PID: u16 = 0x101;
const SOURCE: &str = "-f lavfi -i testsrc2=s=160x96:r=25:d=2";
const AV01: [u8; 12] = [0x05, 4, b'A', b'V', b'0', b'1', 0x80, 4, 0x81, 0, 0, 0];
const ENCODERS: [&str; 2] =
    ["-c:v libsvtav1 -preset 10 -g 12", "-c:v libaom-av1 -cpu-used 8 -row-mt 0 -g 12 -b:v 200k"];

/// A coding: its temporal units with delimiters, and what FFmpeg stores of each.
struct Sample {
    units: Vec<Vec<u8>>,
    stored: Vec<Packet>,
}

fn sample(folder: &Path, encoder: &str) -> Sample {
    ffmpeg(folder, &format!("{SOURCE} {encoder} -pix_fmt yuv420p a.mkv"));
    let stored = packets(&folder.join("a.mkv"), "v:0");
    let stream = std::fs::read(ffmpeg(folder, "-i a.mkv -c copy a.obu")).unwrap();
    let mut units: Vec<Vec<u8>> = Vec::new();
    for obu in obus(&stream) {
        let obu = obu.unwrap();
        if obu.header.obu_type == ObuType::TEMPORAL_DELIMITER {
            units.push(Vec::new());
        }
        units.last_mut().unwrap().extend(obu.bytes);
    }
    assert_eq!(units.len(), stored.len());
    Sample { units, stored }
}

fn pts(unit: usize) -> u64 {
    90_000 + 3_600 * u64::try_from(unit).unwrap()
}

fn stamps(unit: usize) -> Timestamps {
    Timestamps { pts: Some(pts(unit)), dts: None }
}

fn run(bytes: &[u8]) -> (Vec<Got>, shm::TrackInfo) {
    let mut rig = Rig::new(&[]);
    rig.transport_stream(bytes, None);
    rig.finish_here();
    let info = rig.stream.tracks()[0].info();
    (rig.got, info)
}

fn agrees(bytes: &[u8], sample: &Sample, what: &str) {
    let (got, info) = run(bytes);
    assert_eq!(got.len(), sample.stored.len(), "{what}");
    for (index, (got, stored)) in got.iter().zip(&sample.stored).enumerate() {
        let what = format!("{what}: temporal unit {index}");
        assert_eq!(got.sha256(), stored.sha256, "{what}");
        assert_eq!(got.frame.is_key(), stored.key, "{what}");
        assert_eq!(got.frame.class.label(), if stored.key { "idr" } else { "inter" }, "{what}");
        assert_eq!((got.frame.pts, got.frame.dts), (Some(pts(index)), Some(pts(index))), "{what}");
        assert!(!got.frame.is_damaged(), "{what}");
    }
    let shm::Format::Video(video) = info.format else { panic!("{what}: no format") };
    assert_eq!((info.codec.label(), video.width, video.height), ("av1", 160, 96), "{what}");
    assert_eq!((video.profile.as_str(), video.bit_depth), ("Main", 8), "{what}");
}

fn muxed(descriptors: &[u8], stream_id: u8, units: &[Vec<u8>]) -> Vec<u8> {
    let mut muxer = Muxer::with_descriptors(&[(PID, 0x06, descriptors)]);
    for (index, unit) in units.iter().enumerate() {
        muxer.pes(PID, stream_id, stamps(index), unit);
    }
    muxer.bytes
}

/// An OBU as AOM's carriage has it.
fn with_start_code(obu: &[u8]) -> Vec<u8> {
    let mut out = vec![0, 0, 1];
    let start = out.len();
    for byte in obu {
        if *byte <= 3 && out.len() >= start + 2 && out.ends_with(&[0, 0]) {
            out.push(3);
        }
        out.push(*byte);
    }
    out
}

/// A temporal unit as such OBUs, cut behind each frame; without sizes and delimiters if asked.
fn in_start_codes(unit: &[u8], sizes: bool, delimiters: bool) -> Vec<Vec<u8>> {
    let mut frames = vec![Vec::new()];
    for obu in obus(unit) {
        let obu = obu.unwrap();
        if obu.header.obu_type == ObuType::TEMPORAL_DELIMITER && !delimiters {
            continue;
        }
        let mut bytes = obu.bytes.to_vec();
        if !sizes {
            let header = if obu.header.layers.is_some() { 2 } else { 1 };
            bytes.drain(header..obu.header.header_bytes.into());
            bytes[0] &= !HAS_SIZE;
        }
        frames.last_mut().unwrap().extend(with_start_code(&bytes));
        if matches!(obu.header.obu_type, ObuType::FRAME | ObuType::FRAME_HEADER) {
            frames.push(Vec::new());
        }
    }
    frames.retain(|frame| !frame.is_empty());
    frames
}

#[test]
fn low_overhead_with_a_temporal_unit_in_each_pes_packet() {
    let folder = tempfile::tempdir().unwrap();
    for encoder in ENCODERS {
        let sample = sample(folder.path(), encoder);
        agrees(&muxed(&AV01, 0xbd, &sample.units), &sample, encoder);
        let gstreamer = [0x05, 4, b'A', b'V', b'1', b'G'];
        agrees(&muxed(&gstreamer, 0xbd, &sample.units), &sample, encoder);
    }
}

#[test]
fn low_overhead_without_delimiters() {
    let folder = tempfile::tempdir().unwrap();
    let sample = sample(folder.path(), ENCODERS[0]);
    let units: Vec<Vec<u8>> = sample.units.iter().map(|unit| unit[2..].to_vec()).collect();
    agrees(&muxed(&AV01, 0xbd, &units), &sample, "without delimiters");
}

#[test]
fn start_codes_with_a_frame_in_each_pes_packet() {
    let folder = tempfile::tempdir().unwrap();
    for encoder in ENCODERS {
        let sample = sample(folder.path(), encoder);
        for (sizes, delimiters) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut muxer = Muxer::with_descriptors(&[(PID, 0x06, &AV01)]);
            let mut hidden = 0;
            for (index, unit) in sample.units.iter().enumerate() {
                let frames = in_start_codes(unit, sizes, delimiters);
                hidden += frames.len() - 1;
                let last = frames.len() - 1;
                for (frame, bytes) in frames.iter().enumerate() {
                    // What is not shown has a time that means nothing, and is decoded at it.
                    let shown = if frame == last { pts(index) } else { pts(index) - 1 };
                    let own = Timestamps { pts: Some(shown), dts: Some(pts(index)) };
                    muxer.pes(PID, 0xbd, own, bytes);
                }
            }
            let what =
                format!("{encoder}, sizes {sizes}, delimiters {delimiters}, {hidden} hidden");
            agrees(&muxer.bytes, &sample, &what);
        }
    }
}

#[test]
fn several_temporal_units_in_a_pes_packet_and_over_many() {
    let folder = tempfile::tempdir().unwrap();
    let sample = sample(folder.path(), ENCODERS[0]);
    let mut together = Muxer::with_descriptors(&[(PID, 0x06, &AV01)]);
    for (index, units) in sample.units.chunks(3).enumerate() {
        together.pes(PID, 0xbd, stamps(3 * index), &units.concat());
    }
    agrees(&together.bytes, &sample, "three in one");
    let mut apart = Muxer::with_descriptors(&[(PID, 0x06, &AV01)]);
    for (index, unit) in sample.units.iter().enumerate() {
        for (piece, bytes) in unit.chunks(unit.len().div_ceil(3)).enumerate() {
            let own = if piece == 0 { stamps(index) } else { Timestamps::default() };
            apart.pes(PID, 0xbd, own, bytes);
        }
    }
    agrees(&apart.bytes, &sample, "one in three");
}

#[test]
fn what_ffmpeg_multiplexes_without_a_name_is_recognised() {
    let folder = tempfile::tempdir().unwrap();
    let sample = sample(folder.path(), ENCODERS[0]);
    // Without temporal delimiters, and with them.
    for source in ["a.mkv", "a.obu"] {
        let file =
            ffmpeg(folder.path(), &format!("-i {source} -c copy -muxdelay 0 -f mpegts a.ts"));
        let (got, info) = run(&std::fs::read(&file).unwrap());
        assert_eq!((info.codec.label(), info.stream_type), ("av1", 0x06), "{source}");
        let stored: Vec<_> = sample.stored.iter().map(|stored| stored.sha256.clone()).collect();
        assert_eq!(got.iter().map(Got::sha256).collect::<Vec<_>>(), stored, "{source}");
        let first = got[0].frame.pts.unwrap();
        assert!((0u64..).zip(&got).all(|(n, got)| got.frame.pts == Some(first + 3_600 * n)));
    }
}

#[test]
fn whatever_is_lost_what_is_clean_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let sample = sample(folder.path(), ENCODERS[0]);
    let whole: Vec<(String, u64)> =
        (0..).zip(&sample.stored).map(|(n, stored)| (stored.sha256.clone(), pts(n))).collect();
    let escaped = |delimiters| {
        let frames =
            sample.units.iter().map(|unit| in_start_codes(unit, true, delimiters).concat());
        muxed(&AV01, 0xbd, &frames.collect::<Vec<_>>())
    };
    for stream in [muxed(&AV01, 0xbd, &sample.units), escaped(true), escaped(false)] {
        for seed in 0..60 {
            let mut random = support::Random::new(seed);
            let mut packets: Vec<&[u8]> = stream.chunks(188).collect();
            for _ in 0..1 + random.below(5) {
                // Not the tables.
                packets.remove(2 + random.below(packets.len() - 2));
            }
            let (got, _) = run(&packets.concat());
            for got in got.iter().filter(|got| !got.frame.is_damaged()) {
                let is = |(hash, pts): &(String, u64)| {
                    *hash == sha256(&got.bytes) && got.frame.pts.is_none_or(|own| own == *pts)
                };
                assert!(whole.iter().any(is), "seed {seed}: {:?}", got.frame);
            }
            assert!(got.len() + 30 > whole.len(), "seed {seed}: {} frames", got.len());
        }
    }
}
