//! Stamps, bytes and flags of transport streams are those that FFmpeg demultiplexes.

mod support;

use std::path::{Path, PathBuf};

use codec::sink::Timestamps;
use shm::FrameFlags;
use support::fields::{self, Picture};
use support::muxer::Muxer;
use support::{Got, Packet, Random, Rig, ffmpeg, packets};

const WRAP: u64 = 1 << 33;
const VIDEO: &str = "-f lavfi -i testsrc2=s=160x96:r=25:d=3";
const SOUND: &str = "-f lavfi -i sine=f=440:d=3:r=44100";

/// The frames of each track of a transport stream.
fn run(bytes: &[u8], program: Option<u16>) -> Vec<Vec<Got>> {
    let mut rig = Rig::new(&[]);
    rig.transport_stream(bytes, program);
    rig.finish_here();
    let tracks = rig.stream.tracks().len();
    (0..tracks)
        .map(|track| {
            let own = rig.got.iter().filter(|got| usize::from(got.frame.track) == track);
            own.cloned().collect()
        })
        .collect()
}

fn modulo(stamp: Option<i64>) -> Option<u64> {
    stamp.map(|stamp| u64::try_from(stamp.rem_euclid(1 << 33)).unwrap())
}

fn video_agrees(got: &[Got], expected: &[Packet], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}: number of frames");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_eq!(got.sha256(), expected.sha256, "{what}: bytes of frame {index}");
        assert_eq!(got.frame.is_key(), expected.key, "{what}: key flag of frame {index}");
        if expected.pts.is_some() {
            let pts = got.frame.pts.map(|pts| pts % WRAP);
            assert_eq!(pts, modulo(expected.pts), "{what}: PTS of frame {index}");
        }
        if expected.dts.is_some() {
            let dts = got.frame.dts.map(|dts| dts % WRAP);
            assert_eq!(dts, modulo(expected.dts), "{what}: DTS of frame {index}");
        }
        assert!(!got.frame.is_damaged(), "{what}: frame {index} is clean");
    }
}

/// FFmpeg keeps the ADTS headers, and all frames; ours begin with the first key frame.
fn audio_agrees(got: &[Got], file: &Path, select: &str, what: &str) {
    let expected = packets(file, select);
    let folder = file.parent().unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    let raw = ffmpeg(folder, &format!("-i {name} -map 0:{select} -c copy sound.aac"));
    let raw = std::fs::read(raw).unwrap();
    let mut position = 0;
    let frames: Vec<_> = expected
        .iter()
        .map(|packet| {
            let frame = raw[position + 7..position + packet.size].to_vec();
            position += packet.size;
            (frame, modulo(packet.pts).unwrap())
        })
        .collect();
    let skipped = expected.len() - got.len();
    assert!(skipped < 20, "{what}: {skipped} of {} frames before the first key", expected.len());
    for (index, (got, (bytes, pts))) in got.iter().zip(&frames[skipped..]).enumerate() {
        assert_eq!(&got.bytes, bytes, "{what}: bytes of audio frame {index}");
        let ours = got.frame.pts.unwrap() % WRAP;
        assert!(ours.abs_diff(*pts) <= 1, "{what}: PTS {ours} of audio frame {index}, not {pts}");
    }
}

fn encoded(folder: &Path, video: &str, options: &str) -> PathBuf {
    let command =
        format!("{VIDEO} {SOUND} -c:v {video} -c:a aac -b:a 96k {options} -f mpegts a.ts");
    ffmpeg(folder, &command)
}

fn compare(video: &str, options: &str) -> Vec<Vec<Got>> {
    let folder = tempfile::tempdir().unwrap();
    let file = encoded(folder.path(), video, options);
    let tracks = run(&std::fs::read(&file).unwrap(), None);
    video_agrees(&tracks[0], &packets(&file, "v:0"), video);
    audio_agrees(&tracks[1], &file, "a:0", video);
    tracks
}

#[test]
fn h264_with_b_frames_and_aac() {
    compare("libx264 -bf 3 -g 25 -pix_fmt yuv420p", "");
}

#[test]
fn h264_of_many_slices_without_delimiters() {
    compare("libx264 -bf 2 -g 20 -x264-params slices=4:aud=0", "");
}

#[test]
fn h264_mbaff() {
    compare("libx264 -bf 2 -g 20 -flags +ildct+ilme -x264-params tff=1", "");
}

#[test]
fn hevc_main_with_b_frames() {
    compare("libx265 -bf 3 -g 25 -x265-params log-level=none -pix_fmt yuv420p", "");
}

#[test]
fn hevc_main_10_with_b_frames() {
    compare("libx265 -bf 3 -g 25 -x265-params log-level=none -pix_fmt yuv420p10le", "");
}

#[test]
fn mpeg2_with_b_frames() {
    let tracks = compare("mpeg2video -bf 2 -g 12 -b:v 400k", "");
    for class in ["i", "p", "b"] {
        assert!(tracks[0].iter().any(|got| got.frame.class.label() == class), "no {class}");
    }
}

#[test]
fn mpeg2_with_closed_groups_and_interlaced_tools() {
    let tracks =
        compare("mpeg2video -bf 2 -g 12 -flags +cgop+ilme+ildct -sc_threshold 1000000000", "");
    let keys = tracks[0].iter().filter(|got| got.frame.is_key());
    assert!(keys.clone().count() > 4 && keys.clone().all(|got| got.frame.class.label() == "idr"));
}

#[test]
fn mpeg1() {
    compare("mpeg1video -bf 2 -g 12", "");
}

#[test]
fn stamps_go_on_past_33_bits() {
    let tracks = compare("libx264 -bf 2 -g 25", "-output_ts_offset 95442");
    let first = tracks[0].first().unwrap().frame.dts.unwrap();
    let last = tracks[0].last().unwrap().frame.dts.unwrap();
    assert!(first < WRAP && last > WRAP, "from {first} to {last}");
}

#[test]
fn the_second_program_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let file = ffmpeg(
        folder.path(),
        "-f lavfi -i testsrc2=s=160x96:r=25:d=2 -f lavfi -i testsrc=s=128x96:r=30:d=2 -map 0 -map 1 \
         -c:v libx264 -bf 2 -program title=a:program_num=1:st=0 \
         -program title=b:program_num=2:st=1 -f mpegts two.ts",
    );
    let bytes = std::fs::read(&file).unwrap();
    for (program, select) in [(None, "v:0"), (Some(2), "v:1")] {
        let tracks = run(&bytes, program);
        video_agrees(&tracks[0], &packets(&file, select), select);
    }
}

/// Muxes pictures with a unit at each of `cuts`, stamped as the first picture that starts in it.
fn mux(pictures: &[Picture], cuts: &[usize], field_ticks: u64) -> Vec<u8> {
    let bytes: Vec<u8> = pictures.iter().flat_map(|picture| picture.bytes.clone()).collect();
    let starts = starts(pictures);
    let mut muxer = Muxer::new(&[(0x101, 0x1b)]);
    for (index, start) in cuts.iter().enumerate() {
        let end = cuts.get(index + 1).copied().unwrap_or(bytes.len());
        let first = starts.iter().position(|place| (*start..end).contains(place));
        let stamps = first.map_or_else(Timestamps::default, |first| Timestamps {
            pts: Some(90_000 + pictures[first].pts * field_ticks),
            dts: Some(90_000 + pictures[first].dts * field_ticks),
        });
        muxer.pes(0x101, 0xe0, stamps, &bytes[*start..end]);
    }
    muxer.bytes
}

fn starts(pictures: &[Picture]) -> Vec<usize> {
    let mut next = 0;
    let place = |picture: &Picture| {
        let start = next;
        next += picture.bytes.len();
        start
    };
    pictures.iter().map(place).collect()
}

fn fields_agree(pictures: &[Picture], cuts: &[usize], what: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fields.ts");
    let bytes = mux(pictures, cuts, 1800);
    std::fs::write(&file, &bytes).unwrap();
    let tracks = run(&bytes, None);
    let got = &tracks[0];
    video_agrees(got, &packets(&file, "v:0"), what);
    for (index, (got, picture)) in got.iter().zip(pictures).enumerate() {
        let what = format!("{what}: picture {index}");
        assert_eq!(got.bytes, picture.bytes, "{what}");
        assert_eq!(got.frame.pts, Some(90_000 + picture.pts * 1800), "{what}");
        assert_eq!(got.frame.dts, Some(90_000 + picture.dts * 1800), "{what}");
        assert_eq!(got.frame.class.label(), picture.class, "{what}");
        assert_eq!(got.has(FrameFlags::FIELD_SECOND), picture.second, "{what}");
        let first = !picture.second && !picture.frame;
        assert_eq!(got.has(FrameFlags::FIELD_FIRST), first, "{what}");
    }
}

#[test]
fn each_field_is_a_frame_with_its_place_in_the_pair() {
    for delimiters in [true, false] {
        let pictures = fields::stream(60, delimiters);
        fields_agree(&pictures, &starts(&pictures), "a unit for each field");
    }
}

#[test]
fn fields_without_stamps_of_their_own_come_half_a_frame_apart() {
    for delimiters in [true, false] {
        let pictures = fields::stream(60, delimiters);
        let places = starts(&pictures);
        let pairs = pictures.iter().zip(&places).filter(|(picture, _)| !picture.second);
        let pairs: Vec<usize> = pairs.map(|(_, place)| *place).collect();
        fields_agree(&pictures, &pairs, "a unit for each pair");
        let many: Vec<usize> = places.iter().copied().step_by(7).collect();
        fields_agree(&pictures, &many, "a unit for seven");
    }
}

#[test]
fn units_may_begin_anywhere_in_a_picture() {
    for delimiters in [true, false] {
        let pictures = fields::stream(60, delimiters);
        let places = starts(&pictures);
        let end = places.last().unwrap();
        for seed in 0..4 {
            let mut random = Random::new(seed);
            let mut cuts: Vec<usize> = (0..40).map(|_| random.below(*end)).collect();
            // Not inside what a start is recognised by: there FFmpeg stamps two pictures alike.
            cuts.retain(|cut| {
                places.iter().all(|place| !(1..8).contains(&cut.wrapping_sub(*place)))
            });
            cuts.push(0);
            cuts.sort_unstable();
            cuts.dedup();
            fields_agree(&pictures, &cuts, &format!("anywhere {seed}"));
        }
    }
}

#[test]
fn a_start_over_a_border_is_stamped_as_by_ffmpeg() {
    let pictures = fields::stream(30, false);
    let places = starts(&pictures);
    for inside in 1..7 {
        let cuts: Vec<usize> = places.iter().step_by(4).map(|place| place + inside).collect();
        let cuts: Vec<usize> = [0].into_iter().chain(cuts.into_iter().skip(1)).collect();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("border.ts");
        let bytes = mux(&pictures, &cuts, 1800);
        std::fs::write(&file, &bytes).unwrap();
        let tracks = run(&bytes, None);
        let mut expected = packets(&file, "v:0");
        for (packet, place) in expected.iter_mut().zip(&places) {
            if cuts.iter().any(|cut| (1..8).contains(&cut.wrapping_sub(*place))) {
                // From two equal PTS FFmpeg concludes DTS of its own.
                packet.dts = None;
            }
        }
        video_agrees(&tracks[0], &expected, &format!("{inside} bytes in"));
        for (index, (got, picture)) in tracks[0].iter().zip(&pictures).enumerate() {
            if got.has(FrameFlags::STAMPS_DERIVED) {
                let what = format!("picture {index}, {inside} bytes in");
                assert_eq!(got.frame.pts, Some(90_000 + picture.pts * 1800), "{what}");
                assert_eq!(got.frame.dts, Some(90_000 + picture.dts * 1800), "{what}");
            }
        }
    }
}

/// Encodes, and puts three access units in each PES packet: their stamps are derived.
fn three_in_a_unit(encoder: &str, stream_type: u8, name: &str, rate: &str) {
    let folder = tempfile::tempdir().unwrap();
    let source = format!("-f lavfi -i testsrc2=s=160x96:r={rate}:d=3");
    ffmpeg(folder.path(), &format!("{source} {encoder} -f mpegts a.ts"));
    let elementary = ffmpeg(folder.path(), &format!("-i a.ts -c copy {name}"));
    let truth = packets(&folder.path().join("a.ts"), "v:0");
    let bytes = std::fs::read(&elementary).unwrap();
    let places: Vec<usize> = packets(&elementary, "v:0")
        .iter()
        .map(|packet| usize::try_from(packet.pos).unwrap())
        .collect();
    let mut muxer = Muxer::new(&[(0x101, stream_type)]);
    for (index, unit) in places.chunks(3).enumerate() {
        let end = places.get(3 * index + 3).copied().unwrap_or(bytes.len());
        let own = &truth[3 * index];
        let stamps = Timestamps { pts: modulo(own.pts), dts: modulo(own.dts) };
        muxer.pes(0x101, 0xe0, stamps, &bytes[unit[0]..end]);
    }
    let tracks = run(&muxer.bytes, None);
    assert_eq!(tracks[0].len(), truth.len(), "{name}");
    let derived = tracks[0].iter().filter(|got| got.has(FrameFlags::STAMPS_DERIVED));
    assert_eq!(derived.count(), truth.len() - places.len().div_ceil(3), "{name}");
    for (index, (got, truth)) in tracks[0].iter().zip(&truth).enumerate() {
        let near = |ours: Option<u64>, truth: Option<i64>| {
            ours.unwrap().abs_diff(modulo(truth).unwrap()) <= 1
        };
        let what = format!("{name} frame {index}: {:?}, not {truth:?}", got.frame);
        assert!(near(got.frame.pts, truth.pts) && near(got.frame.dts, truth.dts), "{what}");
    }
}

#[test]
fn stamps_of_access_units_without_their_own_are_derived_from_order_and_rate() {
    let x264 = "-c:v libx264 -bf 3 -g 25 -pix_fmt yuv420p";
    let x265 = "-c:v libx265 -bf 3 -g 25 -pix_fmt yuv420p -x265-params log-level=none";
    three_in_a_unit(x264, 0x1b, "a.h264", "25");
    three_in_a_unit(x264, 0x1b, "a.h264", "30000/1001");
    three_in_a_unit(x264, 0x1b, "a.h264", "24000/1001");
    let in_order = "-c:v libx264 -profile:v baseline -g 25 -pix_fmt yuv420p";
    three_in_a_unit(in_order, 0x1b, "a.h264", "25");
    three_in_a_unit(x265, 0x24, "a.hevc", "25");
    three_in_a_unit(x265, 0x24, "a.hevc", "60000/1001");
    let mpeg2 = "-c:v mpeg2video -bf 2 -g 12";
    three_in_a_unit(mpeg2, 0x02, "a.m2v", "25");
    three_in_a_unit(mpeg2, 0x02, "a.m2v", "30000/1001");
}
