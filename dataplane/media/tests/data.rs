//! Frames of data: what FFmpeg finds where it looks, and each access unit where it does not.

mod support;

use codec::sink::Timestamps;
use support::muxer::Muxer;
use support::{Got, Random, Rig, packets, stamps};

const KLV: u16 = 0x101;
const CELLS: u16 = 0x102;
const TELETEXT: u16 = 0x103;
const SUBTITLES: u16 = 0x104;
const SPLICE: u16 = 0x105;

/// A clock and five tracks of data.
fn muxer() -> Muxer {
    Muxer::with_descriptors(&[
        (KLV, 0x06, &[0x05, 4, b'K', b'L', b'V', b'A']),
        (CELLS, 0x15, &[0x26, 9, 1, 0, 0xff, b'K', b'L', b'V', b'A', 0, 0x0f]),
        (TELETEXT, 0x06, &[0x56, 5, b'e', b'n', b'g', 9, 0]),
        (SUBTITLES, 0x06, &[0x59, 8, b'e', b'n', b'g', 16, 0, 1, 0, 1]),
        (SPLICE, 0x86, &[]),
    ])
}

fn klv(n: u8) -> Vec<u8> {
    let mut bytes = vec![0x06, 0x0e, 0x2b, 0x34, 2, 0x0b, 1, 1, 0x0e, 1, 3, 1, 1, 0, 0, 0, 9];
    bytes.extend([n; 9]);
    bytes
}

fn cell(fragment: u8, bytes: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0, 1, fragment << 6 | 0x1f, high, low], bytes].concat()
}

/// An insertion that starts at once, as the standard's example has it.
fn splice(event: u8) -> Vec<u8> {
    let mut body = vec![0xfc, 0x30, 0x25, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xf0, 0x14, 5, 0, 0, 0, event];
    body.extend([0x7f, 0xef, 0xfe, 0x2d, 0x14, 0x2b, 0, 0xfe, 1, 0x23, 0xd3, 8, 0, 1, 1, 1, 0, 0]);
    body
}

fn stream(units: u64) -> Vec<u8> {
    let mut muxer = muxer();
    for n in 0..units {
        let (time, byte) = (90_000 + n * 18_000, u8::try_from(n).unwrap());
        let only = |offset| Timestamps { pts: Some(time + offset), dts: None };
        muxer.bounded(KLV, 0xbd, only(0), &klv(byte));
        muxer.bounded(CELLS, 0xfc, only(20), &cell(3, &klv(byte)));
        let page = [&[0x10][..], &[2, 0x2c, 0xe7, byte], &[0x55; 42].repeat(30)].concat();
        muxer.bounded(TELETEXT, 0xbd, only(30), &page);
        let segment = [0x0f, 0x10, 0, 1, 0, 2, byte, 0, 0x0f, 0x80, 0, 1, 0, 0];
        muxer.bounded(SUBTITLES, 0xbd, only(40), &[&[0x20, 0][..], &segment, &[0xff]].concat());
        muxer.splice(SPLICE, &splice(byte));
    }
    muxer.bytes
}

fn run(bytes: &[u8]) -> Vec<Got> {
    let mut rig = Rig::new(&[]);
    rig.transport_stream(bytes, None);
    rig.finish_here();
    rig.got
}

fn of(got: &[Got], track: u8) -> Vec<&Got> {
    got.iter().filter(|got| got.frame.track == track).collect()
}

#[test]
fn every_unit_is_the_packet_that_ffmpeg_finds() {
    let bytes = stream(20);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data.ts");
    std::fs::write(&file, &bytes).unwrap();
    let got = run(&bytes);
    for track in 0..5 {
        let expected = packets(&file, &track.to_string());
        let got = of(&got, track);
        assert_eq!(got.len(), 20, "track {track}");
        assert_eq!(expected.len(), 20, "track {track}");
        for (got, expected) in got.iter().zip(&expected) {
            assert_eq!(got.sha256(), expected.sha256, "track {track}: {:?}", got.frame);
            let stamps = (got.frame.pts.map(u64::cast_signed), got.frame.dts.map(u64::cast_signed));
            assert_eq!(stamps, (expected.pts, expected.dts), "track {track}");
            assert_eq!(got.frame.is_key(), expected.key, "track {track}");
            assert_eq!(got.frame.class.label(), "data", "track {track}");
            assert!(!got.frame.is_damaged(), "track {track}");
        }
    }
}

#[test]
fn each_metadata_access_unit_is_a_frame_and_fragments_are_joined() {
    let mut muxer = muxer();
    let first = [cell(3, b"one"), cell(3, b"two")].concat();
    let second = [cell(2, b"in "), cell(0, b"three "), cell(1, b"parts"), cell(3, b"x")].concat();
    muxer.bounded(CELLS, 0xfc, stamps(9_000, 9_000), &first);
    muxer.bounded(CELLS, 0xfc, stamps(18_000, 18_000), &second);
    muxer.bounded(CELLS, 0xfc, stamps(27_000, 27_000), &cell(1, b"late"));
    muxer.bounded(CELLS, 0xfc, stamps(36_000, 36_000), &[0, 1, 0xdf, 0, 9, 1]);
    let mut rig = Rig::new(&[]);
    rig.transport_stream(&muxer.bytes, None);
    rig.finish_here();
    let got: Vec<_> = rig
        .got
        .iter()
        .map(|got| (got.bytes.as_slice(), got.frame.pts.unwrap(), got.frame.is_damaged()))
        .collect();
    let wanted = [
        (&b"one"[..], 9_000, false),
        (b"two", 9_000, false),
        (b"in three parts", 18_000, false),
        (b"x", 18_000, false),
        (b"late", 27_000, true),
    ];
    assert_eq!(got, wanted);
    assert_eq!(rig.stream.counters().frames_dropped_invalid, 1);
}

#[test]
fn whatever_is_lost_what_is_clean_is_right() {
    let bytes = stream(30);
    let whole = run(&bytes);
    for seed in 0..80 {
        let mut random = Random::new(seed);
        let mut packets: Vec<&[u8]> = bytes.chunks(188).collect();
        for _ in 0..1 + random.below(6) {
            // Not the tables.
            packets.remove(2 + random.below(packets.len() - 2));
        }
        let got = run(&packets.concat());
        for got in got.iter().filter(|got| !got.frame.is_damaged()) {
            let is =
                |other: &&Got| other.frame.track == got.frame.track && other.bytes == got.bytes;
            assert!(whole.iter().any(|other| is(&other)), "seed {seed}: {:?}", got.frame);
        }
        assert!(got.len() + 14 > whole.len(), "seed {seed}: {} of {}", got.len(), whole.len());
    }
}
