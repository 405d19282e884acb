//! Sound in transport streams: every frame, its stamps and its format are those that FFmpeg finds.

mod support;

use std::path::Path;

use codec::sink::{Codec, Sink, Timestamps};
use shm::FrameFlags;
use support::muxer::Muxer;
use support::{Got, Packet, Random, Rig, ffmpeg, packets, track};

const PID: u16 = 0x101;

/// The frames of the only track, and what is shown of it.
fn run(bytes: &[u8]) -> (Vec<Got>, shm::TrackInfo) {
    let mut rig = Rig::new(&[]);
    rig.transport_stream(bytes, None);
    rig.finish_here();
    let tracks = rig.stream.tracks();
    assert_eq!(tracks.len(), 1);
    let info = tracks[0].info();
    (rig.got, info)
}

fn agrees(got: &[Got], expected: &[Packet], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}: number of frames");
    let mut derived = 0;
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_eq!(got.sha256(), expected.sha256, "{what}: bytes of frame {index}");
        derived = if got.has(FrameFlags::STAMPS_DERIVED) { derived + 1 } else { 0 };
        stamps_agree(got, expected, derived, &format!("{what}: frame {index}"));
    }
}

/// FFmpeg cuts the fraction of a tick off each frame of AC-3 and MPEG audio whose stamp it derives:
/// it may be a tick below for each, and never above.
fn stamps_agree(got: &Got, expected: &Packet, derived: u64, what: &str) {
    let near = |ours: Option<u64>, theirs: Option<i64>| {
        let theirs = u64::try_from(theirs.unwrap().rem_euclid(1 << 33)).unwrap();
        let ahead = (ours.unwrap() + 1).wrapping_sub(theirs) % (1 << 33);
        ahead <= if derived > 0 { derived + 2 } else { 2 } && (derived > 0 || ahead == 1)
    };
    assert!(near(got.frame.pts, expected.pts), "{what}: PTS {:?}, {expected:?}", got.frame.pts);
    assert!(near(got.frame.dts, expected.dts), "{what}: DTS {:?}, {expected:?}", got.frame.dts);
    assert!(got.frame.is_key() && !got.frame.is_damaged(), "{what}: clean, and one to start at");
}

/// Derived stamps are exact: so many samples behind the last stamp that was carried.
fn clock_is_exact(got: &[Got], rate: u32, samples: u16, what: &str) {
    let (mut anchor, mut behind) = (0, 0u64);
    for (index, got) in got.iter().enumerate() {
        let pts = got.frame.pts.unwrap();
        if got.has(FrameFlags::STAMPS_DERIVED) {
            behind += u64::from(samples);
        } else {
            (anchor, behind) = (pts, 0);
        }
        let exact = anchor + behind * 90_000 / u64::from(rate);
        assert!(pts.abs_diff(exact) <= 1, "{what}: frame {index} at {pts}, not {exact}");
    }
}

/// FFmpeg codes three seconds in these ways.
fn coded(codec: shm::Codec, coder: &str, channels: u8, rate: u32, samples: u16) {
    for packing in ["", "-pes_payload_size 0", "-pes_payload_size 9000"] {
        let folder = tempfile::tempdir().unwrap();
        let command =
            format!("-f lavfi -i sine=f=440:d=3:r=48000 {coder} {packing} -f mpegts a.ts");
        let file = ffmpeg(folder.path(), &command);
        let (got, info) = run(&std::fs::read(&file).unwrap());
        agrees(&got, &packets(&file, "a:0"), &command);
        clock_is_exact(&got, rate, samples, &command);
        let shm::Format::Audio(audio) = info.format else { panic!("{command}: no format") };
        assert_eq!(info.codec, codec, "{command}");
        assert_eq!(
            (audio.channels, audio.sample_rate, audio.samples_per_frame),
            (channels, rate, samples),
            "{command}"
        );
    }
}

#[test]
fn ac3() {
    coded(shm::Codec::Ac3, "-c:a ac3 -ac 2 -b:a 192k", 2, 48_000, 1536);
    coded(shm::Codec::Ac3, "-c:a ac3 -ac 6 -ar 44100 -b:a 448k", 6, 44_100, 1536);
    coded(
        shm::Codec::Ac3,
        "-c:a ac3 -ac 1 -ar 32000 -b:a 32k -mpegts_flags system_b",
        1,
        32_000,
        1536,
    );
}

#[test]
fn eac3() {
    coded(shm::Codec::Eac3, "-c:a eac3 -ac 6 -b:a 384k", 6, 48_000, 1536);
    coded(
        shm::Codec::Eac3,
        "-c:a eac3 -ac 2 -ar 44100 -b:a 96k -mpegts_flags system_b",
        2,
        44_100,
        1536,
    );
}

#[test]
fn mpeg_audio() {
    coded(shm::Codec::MpegAudio, "-c:a mp2 -ac 2 -b:a 192k", 2, 48_000, 1152);
    coded(shm::Codec::MpegAudio, "-c:a mp2 -ac 1 -ar 22050 -b:a 32k", 1, 22_050, 1152);
    coded(shm::Codec::MpegAudio, "-c:a libmp3lame -ac 2 -ar 44100 -b:a 128k", 2, 44_100, 1152);
    coded(shm::Codec::MpegAudio, "-c:a libmp3lame -ac 1 -ar 16000 -b:a 24k", 1, 16_000, 576);
}

#[test]
fn opus() {
    coded(shm::Codec::Opus, "-c:a libopus -ac 2 -b:a 96k", 2, 48_000, 960);
    coded(shm::Codec::Opus, "-c:a libopus -ac 1 -b:a 24k -frame_duration 60", 1, 48_000, 2880);
    coded(shm::Codec::Opus, "-c:a libopus -ac 1 -b:a 64k -frame_duration 2.5", 1, 48_000, 120);
    coded(shm::Codec::Opus, "-c:a libopus -ac 6 -b:a 256k -mapping_family 1", 6, 48_000, 960);
}

/// The raw access units of a LATM stream are those that ADTS carries of the same coding.
fn latm(coder: &str) {
    let folder = tempfile::tempdir().unwrap();
    let source = format!("-f lavfi -i sine=f=440:d=3:r=48000 -c:a aac -bitexact {coder}");
    let plain = ffmpeg(folder.path(), &format!("{source} -pes_payload_size 0 -f mpegts plain.ts"));
    let (truth, truth_info) = run(&std::fs::read(&plain).unwrap());
    for packing in ["", "-pes_payload_size 0"] {
        let options = format!("{packing} -mpegts_flags latm -f mpegts latm.ts");
        let file = ffmpeg(folder.path(), &format!("{source} {options}"));
        let (got, info) = run(&std::fs::read(&file).unwrap());
        let expected = packets(&file, "a:0");
        assert_eq!(got.len(), expected.len(), "{coder}");
        for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let derived = u64::from(got.has(FrameFlags::STAMPS_DERIVED));
            stamps_agree(got, expected, derived, &format!("{coder}: frame {index}"));
            assert_eq!(got.bytes, truth[index].bytes, "{coder}: frame {index}");
        }
        assert_eq!((info.codec, info.stream_type), (shm::Codec::Aac, 0x11), "{coder}");
        assert_eq!(info.format, truth_info.format, "{coder}");
    }
}

#[test]
fn aac_in_latm_gives_the_same_access_units_as_in_adts() {
    latm("-ac 1 -b:a 64k");
    latm("-ac 2 -ar 44100 -b:a 128k");
    latm("-ac 6 -b:a 256k");
}

/// A track of the test's multiplexer with these PES packets.
fn muxed(stream_type: u8, descriptors: &[u8], pes: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut muxer = Muxer::with_descriptors(&[(PID, stream_type, descriptors)]);
    for (pts, bytes) in pes {
        muxer.pes(PID, 0xbd, Timestamps { pts: Some(*pts), dts: None }, bytes);
    }
    muxer.bytes
}

/// The elementary stream that FFmpeg writes, and its packets.
fn elementary(folder: &Path, coder: &str, format: &str) -> (Vec<u8>, Vec<Packet>) {
    let source = "-f lavfi -i sine=f=440:d=2:r=48000 -bitexact";
    let file = ffmpeg(folder, &format!("{source} {coder} a.{format}"));
    (std::fs::read(&file).unwrap(), packets(&file, "a:0"))
}

#[test]
fn dependent_substreams_go_with_the_frame_before_them_as_in_ffmpeg() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, frames) = elementary(folder.path(), "-c:a eac3 -ac 6 -b:a 256k", "eac3");
    let mut at = 0;
    let mut units = Vec::new();
    for frame in &frames {
        let independent = &bytes[at..at + frame.size];
        at += frame.size;
        let mut dependent = independent.to_vec();
        dependent[2] |= 0x40;
        units.push([independent, &dependent].concat());
    }
    let tick = 1536 * 90_000 / 48_000;
    let pes: Vec<(u64, Vec<u8>)> =
        (0..).zip(&units).map(|(n, unit)| (9_000 + n * tick, unit.clone())).collect();
    let stream = muxed(0x06, &[0x7a, 1, 0], &pes);
    let file = folder.path().join("dependent.ts");
    std::fs::write(&file, &stream).unwrap();
    let (got, _) = run(&stream);
    agrees(&got, &packets(&file, "a:0"), "dependent");
    assert!(got.iter().zip(&units).all(|(got, unit)| got.bytes == *unit));
    assert_eq!(got.len(), units.len());
}

#[test]
fn frames_may_begin_anywhere_in_a_pes_packet() {
    let folder = tempfile::tempdir().unwrap();
    for (codec, coder, format, samples) in [
        (Codec::Ac3, "-c:a ac3 -b:a 128k", "ac3", 1536),
        (Codec::Eac3, "-c:a eac3 -b:a 128k", "eac3", 1536),
        (Codec::MpegAudio, "-c:a mp2 -b:a 128k", "mp2", 1152),
    ] {
        let (bytes, frames) = elementary(folder.path(), coder, format);
        let mut random = Random::new(11);
        let mut rig = Rig::new(&[track(codec, PID)]);
        let (mut at, mut frame, mut start) = (0, 0, 0);
        while at < bytes.len() {
            let end = (at + 1 + random.below(3_000)).min(bytes.len());
            // The first frame that starts in it gives the stamp.
            while start < at {
                start += frames[frame].size;
                frame += 1;
            }
            let pts = u64::try_from(frame).unwrap() * samples * 90_000 / 48_000;
            let own = (start < end).then_some(90_000 + pts);
            rig.stream.unit_start(0, Timestamps { pts: own, dts: None });
            rig.data(0, &bytes[at..end], 300, &mut random);
            at = end;
        }
        let got = rig.finish();
        assert_eq!(got.len(), frames.len(), "{codec:?}");
        for (index, (got, frame)) in (0u64..).zip(got.iter().zip(&frames)) {
            assert_eq!(got.sha256(), frame.sha256, "{codec:?} frame {index}");
            let pts = 90_000 + index * samples * 90_000 / 48_000;
            assert_eq!(got.frame.pts, Some(pts), "{codec:?} frame {index}");
        }
    }
}

#[test]
fn several_opus_packets_of_one_unit_follow_each_other() {
    let pes = |n: u8| {
        let unit = |byte: u8| [&[0x7f, 0xe0, 4, 0xfc][..], &[byte, n, 7]].concat();
        (90_000 + u64::from(n) * 5_400, [unit(1), unit(2), unit(3)].concat())
    };
    let pes: Vec<(u64, Vec<u8>)> = (0..20).map(pes).collect();
    let registered = [0x05, 4, b'O', b'p', b'u', b's', 0x7f, 2, 0x80, 2];
    let (got, info) = run(&muxed(0x06, &registered, &pes));
    assert_eq!(got.len(), 60);
    for (index, got) in (0u64..).zip(&got) {
        assert_eq!(got.frame.pts, Some(90_000 + index * 1_800), "frame {index}");
        let byte = u8::try_from(index % 3).unwrap() + 1;
        assert_eq!(got.bytes, [0xfc, byte, u8::try_from(index / 3).unwrap(), 7]);
    }
    let shm::Format::Audio(audio) = info.format else { panic!("no format") };
    assert_eq!((audio.channels, audio.sample_rate), (2, 48_000));
}
