//! A frame that may miss bytes is never clean, and a loss spreads no further than it must.

mod support;

use codec::sink::{Codec, Sink, Timestamps, TrackKind};
use support::{Got, Packet, Random, Rig, ffmpeg, packets, track};

const SOURCE: &str = "-f lavfi -i testsrc2=s=160x96:r=25:d=2,noise=alls=6:allf=t";

const TONE: &str = "-f lavfi -i sine=f=300:d=3:r=48000";

struct Sample {
    codec: Codec,
    bytes: Vec<u8>,
    packets: Vec<Packet>,
}

/// An elementary stream with the stamps that its frames have in a transport stream.
fn sample(codec: Codec, options: &str) -> Sample {
    let folder = tempfile::tempdir().unwrap();
    let (source, encoder, name) = match codec {
        Codec::H264 => (SOURCE, "libx264 -x264-params", "a.h264"),
        Codec::Hevc => (SOURCE, "libx265 -x265-params", "a.hevc"),
        Codec::Mpeg2Video => (SOURCE, "mpeg2video", "a.m2v"),
        Codec::Ac3 => (TONE, "ac3", "a.ac3"),
        Codec::Eac3 => (TONE, "eac3", "a.eac3"),
        Codec::MpegAudio => (TONE, "mp2", "a.mp2"),
        _ => (TONE, "aac", "a.aac"),
    };
    ffmpeg(folder.path(), &format!("{source} -c {encoder} {options} -pes_payload_size 0 a.ts"));
    let sound = codec.kind() == TrackKind::Audio;
    let select = if sound { "a:0" } else { "v:0" };
    let file = ffmpeg(folder.path(), &format!("-i a.ts -c copy {name}"));
    let stamped = packets(&folder.path().join("a.ts"), select);
    let mut packets = packets(&file, select);
    assert_eq!(packets.len(), stamped.len());
    for (packet, stamped) in packets.iter_mut().zip(stamped) {
        assert_eq!(packet.sha256, stamped.sha256);
        (packet.pts, packet.dts) = (stamped.pts, stamped.dts);
    }
    Sample { codec, bytes: std::fs::read(&file).unwrap(), packets }
}

fn samples() -> Vec<Sample> {
    vec![
        sample(Codec::H264, "bframes=2:keyint=15:aud=0"),
        sample(Codec::H264, "bframes=2:keyint=15:aud=1:slices=4"),
        sample(Codec::Hevc, "log-level=none:bframes=2:keyint=15"),
        sample(Codec::Mpeg2Video, "-bf 2 -g 15 -b:v 300k"),
        sample(Codec::Aac, "-b:a 128k"),
        sample(Codec::Ac3, "-b:a 128k"),
        sample(Codec::Eac3, "-b:a 128k"),
        sample(Codec::MpegAudio, "-b:a 128k"),
    ]
}

/// What happens to one unit.
#[derive(Clone)]
struct Unit {
    stamps: Timestamps,
    bytes: Vec<u8>,
    /// Bytes of it that are missing.
    hole: Option<std::ops::Range<usize>>,
    /// Its start is missing too: nothing says that a unit began.
    headless: bool,
}

/// Units that start at `cuts`, each with the stamps of the first frame that starts in it.
fn units(sample: &Sample, cuts: &[usize]) -> Vec<Unit> {
    let ends = cuts.iter().copied().skip(1).chain([sample.bytes.len()]);
    cuts.iter()
        .zip(ends)
        .map(|(start, end)| {
            let inside = |packet: &&Packet| (*start..end).contains(&position(packet));
            let first = sample.packets.iter().find(inside);
            let time = |stamp: Option<i64>| stamp.map(|stamp| u64::try_from(stamp).unwrap());
            let pts = first.and_then(|packet| time(packet.pts));
            let dts = first.and_then(|packet| time(packet.dts));
            let bytes = sample.bytes[*start..end].to_vec();
            Unit { stamps: Timestamps { pts, dts }, bytes, hole: None, headless: false }
        })
        .collect()
}

fn position(packet: &Packet) -> usize {
    usize::try_from(packet.pos).unwrap()
}

fn aligned(sample: &Sample) -> Vec<usize> {
    sample.packets.iter().map(position).collect()
}

fn run(sample: &Sample, units: &[Unit]) -> Vec<Got> {
    let mut rig = Rig::new(&[track(sample.codec, 256)]);
    let mut random = Random::new(5);
    for unit in units {
        if !unit.headless {
            rig.stream.unit_start(0, unit.stamps);
        }
        match &unit.hole {
            None => rig.data(0, &unit.bytes, 300, &mut random),
            Some(hole) => {
                rig.data(0, &unit.bytes[..hole.start], 300, &mut random);
                rig.stream.gap(0);
                rig.data(0, &unit.bytes[hole.end..], 300, &mut random);
            }
        }
    }
    rig.finish()
}

/// Clean frames are frames of the lossless run, in order, with its stamps.
fn clean_are_right(got: &[Got], lossless: &[Got], what: &str) -> usize {
    let mut next = 0;
    let mut clean = 0;
    for (index, frame) in got.iter().enumerate().filter(|(_, frame)| !frame.frame.is_damaged()) {
        let found = lossless[next..].iter().position(|other| {
            other.bytes == frame.bytes
                && frame.frame.pts.is_none_or(|pts| Some(pts) == other.frame.pts)
                && frame.frame.dts.is_none_or(|dts| Some(dts) == other.frame.dts)
                && frame.frame.is_key() == other.frame.is_key()
                && frame.frame.class == other.frame.class
        });
        let Some(found) = found else {
            let twin = lossless.iter().position(|other| other.bytes == frame.bytes);
            panic!(
                "{what}: frame {index} {:?} of {} bytes is clean and wrong; same bytes at {twin:?}: {:?}",
                frame.frame,
                frame.bytes.len(),
                twin.map(|twin| lossless[twin].frame),
            );
        };
        next += found + 1;
        clean += 1;
    }
    clean
}

#[test]
fn a_hole_inside_a_frame_damages_that_frame_alone() {
    for sample in samples() {
        let whole = units(&sample, &aligned(&sample));
        let lossless = run(&sample, &whole);
        for index in [1, 7, 20, 33] {
            let mut units = whole.clone();
            let len = units[index].bytes.len();
            units[index].hole = Some(len / 2..len / 2 + 9);
            let got = run(&sample, &units);
            let what = format!("{:?} frame {index}", sample.codec);
            assert_eq!(got.len(), lossless.len(), "{what}");
            for (place, (got, lossless)) in got.iter().zip(&lossless).enumerate() {
                assert_eq!(got.frame.is_damaged(), place == index, "{what} at {place}");
                if place != index {
                    assert_eq!(got.bytes, lossless.bytes, "{what} at {place}");
                    assert_eq!(got.frame.pts, lossless.frame.pts, "{what} at {place}");
                }
            }
        }
    }
}

#[test]
fn a_hole_over_a_border_damages_both_sides() {
    for sample in samples() {
        let whole = units(&sample, &aligned(&sample));
        let lossless = run(&sample, &whole);
        let mut units = whole.clone();
        let len = units[8].bytes.len();
        units[8].hole = Some(len - 20..len);
        units[9].hole = Some(0..60);
        units[9].headless = true;
        let got = run(&sample, &units);
        let clean = clean_are_right(&got, &lossless, &format!("{:?}", sample.codec));
        assert_eq!(clean, lossless.len() - 2, "{:?}", sample.codec);
    }
}

#[test]
fn a_lost_unit_is_noticed() {
    for sample in samples() {
        let whole = units(&sample, &aligned(&sample));
        let lossless = run(&sample, &whole);
        let mut units = whole.clone();
        let len = units[8].bytes.len();
        units[8].hole = Some(0..len);
        units[8].headless = true;
        let got = run(&sample, &units);
        let clean = clean_are_right(&got, &lossless, &format!("{:?}", sample.codec));
        // The frame before was open or not: it may count as damaged.
        assert!(clean >= lossless.len() - 2, "{:?}", sample.codec);
    }
}

#[test]
fn whatever_is_lost_what_is_clean_is_right() {
    let mut random = Random::new(2026);
    for sample in samples() {
        let len = sample.bytes.len();
        let mut anywhere: Vec<usize> = (0..60).map(|_| random.below(len)).collect();
        anywhere.push(0);
        anywhere.sort_unstable();
        anywhere.dedup();
        let starts = aligned(&sample);
        let thirds: Vec<usize> = starts.iter().copied().step_by(3).collect();
        for (name, cuts) in [("aligned", starts), ("thirds", thirds), ("anywhere", anywhere)] {
            let whole = units(&sample, &cuts);
            let lossless = run(&sample, &whole);
            for round in 0..12 {
                let mut units = whole.clone();
                for _ in 0..1 + random.below(4) {
                    let index = random.below(units.len());
                    let unit = &mut units[index];
                    let start = random.below(unit.bytes.len());
                    let size = [1, 4, 60, 184, 1316, 5000][random.below(6)];
                    let end = (start + size).min(unit.bytes.len());
                    unit.hole = Some(start..end);
                    unit.headless = start == 0 && random.below(2) == 0;
                }
                let got = run(&sample, &units);
                let what = format!("{:?} {name} round {round}", sample.codec);
                clean_are_right(&got, &lossless, &what);
            }
        }
    }
}
