//! Streams that FFmpeg makes, compared with what FFmpeg's own demultiplexer finds in them: the
//! payload of each elementary stream byte for byte, each PES packet's size and stamps.

mod common;

use std::{fs, path::Path, process::Command};

use codec::sink::{Codec, TrackConfig};
use common::Recorder;
use penstock_mpegts::{Config, Counters, Demuxer, State};
use serde_json::Value;

const MODULUS: u64 = 1 << 33;

fn output(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program)
        .args(["-v", "error"])
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    output.stdout
}

/// Two seconds of pictures and sound, coded as asked, as a transport stream.
fn make(folder: &Path, options: &[&str]) -> Vec<u8> {
    let path = folder.join("made.ts");
    let mut arguments = vec!["-y"];
    arguments.extend(["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=2"]);
    arguments.extend(["-f", "lavfi", "-i", "sine=440:r=48000:d=2"]);
    arguments.extend(options);
    arguments.extend(["-f", "mpegts", path.to_str().unwrap()]);
    output("ffmpeg", &arguments);
    fs::read(path).unwrap()
}

struct Demuxed {
    sink: Recorder,
    counters: Counters,
    tracks: Vec<TrackConfig>,
}

fn demux(bytes: &[u8], push: usize, config: Config) -> Demuxed {
    let mut demuxer = Demuxer::new(config);
    let mut sink = Recorder::default();
    bytes.chunks(push).for_each(|piece| demuxer.push(piece, &mut sink));
    assert!(matches!(demuxer.state(), State::Playing { .. }));
    demuxer.finish(&mut sink);
    Demuxed { sink, counters: *demuxer.counters(), tracks: demuxer.tracks().to_vec() }
}

type Unit = (Option<u64>, Option<u64>, usize);

/// What FFmpeg says of one PID: its payload, and its PES packets without parsing or guessing.
fn oracle(path: &Path, pid: u16) -> (Vec<u8>, Vec<Unit>) {
    let path = path.to_str().unwrap();
    let map = format!("0:i:{pid}");
    let copy = ["-i", path, "-map", &map, "-c", "copy", "-f", "data", "-"];
    let payload = output("ffmpeg", &copy);
    let flags = ["-fflags", "+nofillin+noparse"];
    let selected = ["-select_streams", &map[2..], "-show_packets", "-of", "json"];
    let json = output("ffprobe", &[&flags[..], &selected, &[path]].concat());
    let json: Value = serde_json::from_slice(&json).unwrap();
    let stamp = |value: &Value| {
        let signed = value.as_i64()?;
        u64::try_from(signed.rem_euclid(1 << 33)).ok()
    };
    let units = json["packets"].as_array().unwrap().iter().map(|packet| {
        let size = packet["size"].as_str().unwrap().parse().unwrap();
        (stamp(&packet["pts"]), stamp(&packet["dts"]), size)
    });
    (payload, units.collect())
}

/// Our units as FFmpeg tells them: no DTS means that of the PTS, stamps modulo 2^33.
fn as_told(units: &[Unit]) -> Vec<Unit> {
    let wire = |stamp: u64| stamp % MODULUS;
    units.iter().map(|&(pts, dts, size)| (pts.map(wire), dts.or(pts).map(wire), size)).collect()
}

/// Demultiplexes in several ways and compares all tracks that carry PES packets.
fn compare(options: &[&str]) -> Demuxed {
    let folder = tempfile::tempdir().unwrap();
    let bytes = make(folder.path(), options);
    let path = folder.path().join("made.ts");
    let demuxed = demux(&bytes, 1316, Config::default());
    assert!(demuxed.tracks.len() >= 2);
    for (index, track) in demuxed.tracks.iter().enumerate() {
        let (payload, units) = oracle(&path, track.pid);
        assert!(!units.is_empty());
        // FFmpeg takes Opus out of its control headers.
        let same = track.codec == Codec::Opus || demuxed.sink.payload(index) == payload;
        assert!(same, "payload of {track:?}");
        assert_eq!(as_told(&demuxed.sink.units(index)), units, "{track:?}");
    }
    for push in [1, 1000, bytes.len()] {
        let again = demux(&bytes, push, Config::default());
        assert!(again.sink.events == demuxed.sink.events, "pushes of {push}");
    }
    assert_eq!(demuxed.sink.gaps(), 0);
    assert_eq!(clean(&demuxed.counters), Counters::default());
    demuxed
}

/// The counters of what went wrong.
fn clean(counters: &Counters) -> Counters {
    Counters { ts_packets: 0, ts_bytes_skipped: 0, pes_packets: 0, ..*counters }
}

fn codecs(demuxed: &Demuxed) -> Vec<Codec> {
    demuxed.tracks.iter().map(|track| track.codec).collect()
}

const H264: [&str; 6] = ["-c:v", "libx264", "-preset", "fast", "-bf", "2"];
const AAC: [&str; 2] = ["-c:a", "aac"];

#[test]
fn h264_with_b_frames_and_aac() {
    let language = ["-metadata:s:a:0", "language=deu"];
    let demuxed = compare(&[&H264[..], &AAC, &language].concat());
    assert_eq!(codecs(&demuxed), [Codec::H264, Codec::Aac]);
    assert_eq!(demuxed.tracks[1].language, Some(*b"deu"));
    let units = demuxed.sink.units(0);
    assert!(units.iter().any(|(pts, dts, _)| dts.is_some() && pts > dts));
}

#[test]
fn hevc_and_ac3() {
    let hevc = ["-c:v", "libx265", "-preset", "ultrafast"];
    let quiet = ["-x265-params", "log-level=none", "-c:a", "ac3"];
    let demuxed = compare(&[&hevc[..], &quiet].concat());
    assert_eq!(codecs(&demuxed), [Codec::Hevc, Codec::Ac3]);
}

#[test]
fn mpeg2_video_and_mp2() {
    let demuxed = compare(&["-c:v", "mpeg2video", "-c:a", "mp2"]);
    assert_eq!(codecs(&demuxed), [Codec::Mpeg2Video, Codec::MpegAudio]);
}

#[test]
fn mpeg4_video_and_eac3() {
    let demuxed = compare(&["-c:v", "mpeg4", "-c:a", "eac3"]);
    assert_eq!(codecs(&demuxed), [Codec::Mpeg4Video, Codec::Eac3]);
}

#[test]
fn opus_by_its_registration() {
    let demuxed = compare(&[&H264[..], &["-c:a", "libopus"]].concat());
    assert_eq!(codecs(&demuxed), [Codec::H264, Codec::Opus]);
}

#[test]
fn aac_in_latm() {
    let latm = ["-mpegts_flags", "+latm"];
    let demuxed = compare(&[&H264[..], &AAC, &latm].concat());
    assert_eq!(codecs(&demuxed), [Codec::H264, Codec::AacLatm]);
}

#[test]
fn bounded_video() {
    compare(&[&H264[..], &AAC, &["-omit_video_pes_length", "0"]].concat());
}

#[test]
fn tables_at_each_key_frame_discontinuity_and_dvb_flags() {
    let flags = "+resend_headers+pat_pmt_at_frames+system_b+initial_discontinuity";
    compare(&[&H264[..], &AAC, &["-mpegts_flags", flags]].concat());
}

#[test]
fn constant_rate_with_null_packets() {
    let rate = ["-muxrate", "2500k", "-pcr_period", "20"];
    compare(&[&H264[..], &AAC, &rate].concat());
}

#[test]
fn one_access_unit_of_sound_a_pes_packet() {
    compare(&[&H264[..], &AAC, &["-pes_payload_size", "0"]].concat());
}

#[test]
fn stamps_past_the_wrap() {
    // 2^33 ticks are 95,443.7 s; the stream crosses them.
    let demuxed = compare(&[&H264[..], &AAC, &["-output_ts_offset", "95441.2"]].concat());
    for track in 0..2 {
        let stamps: Vec<u64> =
            demuxed.sink.units(track).iter().filter_map(|unit| unit.1.or(unit.0)).collect();
        assert!(stamps[0] < MODULUS && stamps[stamps.len() - 1] > MODULUS);
        assert!(stamps.is_sorted());
    }
    assert_eq!(demuxed.counters.timeline_jumps, 0);
}

#[test]
fn two_programs_by_config_and_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let maps = ["-map", "0:v", "-map", "1:a", "-map", "0:v", "-map", "1:a"];
    let programs = ["-program", "program_num=7:st=0:st=1", "-program", "program_num=9:st=2:st=3"];
    let bytes =
        make(folder.path(), &[&maps[..], &programs, &H264, &AAC, &["-b:v:1", "100k"]].concat());
    let path = folder.path().join("made.ts");
    let mut payloads = Vec::new();
    for (program, config) in [(7, None), (7, Some(7)), (9, Some(9))] {
        let demuxed = demux(&bytes, 1316, Config { program: config });
        assert_eq!(codecs(&demuxed), [Codec::H264, Codec::Aac]);
        for (index, track) in demuxed.tracks.iter().enumerate() {
            assert_eq!(track.program, program);
            let (payload, units) = oracle(&path, track.pid);
            assert!(demuxed.sink.payload(index) == payload);
            assert_eq!(as_told(&demuxed.sink.units(index)), units);
        }
        payloads.push(demuxed.sink.payload(0));
    }
    assert!(payloads[0] == payloads[1] && payloads[0] != payloads[2]);
}

#[test]
fn packets_of_192_and_204_bytes_give_the_same_as_188() {
    let folder = tempfile::tempdir().unwrap();
    let coded = [&H264[..], &AAC, &["-flags", "+bitexact", "-threads", "1"]].concat();
    let plain = make(folder.path(), &coded);
    let wanted = demux(&plain, 1316, Config::default());
    let packets = || (1u32..).map(|n| n.wrapping_mul(0x9E37_79B1)).zip(plain.chunks(188));
    let stamped: Vec<u8> =
        packets().flat_map(|(stamp, packet)| [&stamp.to_be_bytes(), packet].concat()).collect();
    let parity: Vec<u8> = packets()
        .flat_map(|(parity, packet)| [packet, &parity.to_le_bytes(), &[0; 12]].concat())
        .collect();
    for (bytes, pushes) in [(stamped, [192 * 7, 1000]), (parity, [204 * 7, 1000])] {
        for push in pushes {
            let demuxed = demux(&bytes, push, Config::default());
            assert!(demuxed.sink.events == wanted.sink.events, "pushes of {push}");
        }
    }
}

#[test]
fn m2ts_of_ffmpeg() {
    let m2ts = ["-mpegts_m2ts_mode", "1"];
    let demuxed = compare(&[&H264[..], &["-c:a", "ac3"], &m2ts].concat());
    assert_eq!(codecs(&demuxed), [Codec::H264, Codec::Ac3]);
    assert_eq!(demuxed.counters.ts_bytes_skipped, 4, "the first time stamp");
}
