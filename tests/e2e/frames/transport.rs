//! Programs, packet sizes, the wrap of the stamps, and where a stream is joined.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use penstock_tests::generate::clips::{self, AAC, H264, Shape, run};
use penstock_tests::generate::h264::{Paff, paff};
use penstock_tests::generate::mux::Stream;
use penstock_tests::generate::pack::{Packing, mux, pack};
use penstock_tests::generate::sha256;
use penstock_tests::oracle::Frame;
use penstock_tests::system::{Options, Penstock};

use super::{AUDIO, Expected, Tap, VIDEO, WRAP, clip_is_true, is_true, options, publish, tracks};

#[test]
fn the_first_program_is_taken_and_another_one_by_its_number() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = clips::two_programs(folder.path())?;
    let program = |number: u16| Options {
        ingestion: options().ingestion + &format!("  mpegts: {{program: {number}}}\n"),
        ..options()
    };
    for (options, video, audio) in
        [(options(), 0x100, 0x101), (program(9), 0x102, 0x103), (program(7), 0x100, 0x101)]
    {
        let system = Penstock::start(&options)?;
        let expected = Expected { video: Some(video), audio: &[audio], ..Expected::clip(&path) };
        is_true(&system, "programs", &expected).with_context(|| format!("PID {video:#x}"))?;
        system.stop()?;
    }
    Ok(())
}

#[test]
fn tracks_of_sound_beside_each_other() -> Result<()> {
    let make = |folder: &Path| {
        let maps = ["-map", "0:v", "-map", "1:a", "-map", "1:a", "-b:a:1", "96k"];
        clips::make(folder, "two.ts", Shape::default(), &[&maps, &H264[..], &AAC].concat())
    };
    clip_is_true(make, &[0x101, 0x102])?;
    Ok(())
}

#[test]
fn sound_that_is_listed_before_the_pictures() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let coder = [&["-map", "1:a", "-map", "0:v"], &H264[..], &AAC].concat();
    let path = clips::make(folder.path(), "order.ts", Shape::default(), &coder)?;
    let system = Penstock::start(&options())?;
    let expected = Expected { video: Some(0x101), audio: &[0x100], ..Expected::clip(&path) };
    is_true(&system, "order", &expected)?;
    system.stop()
}

#[test]
fn codings_that_are_only_listed_disturb_nothing() -> Result<()> {
    let make = |folder: &Path| {
        let maps = ["-map", "1:a", "-map", "0:v", "-map", "1:a", "-map", "0:v"];
        let order = ["-streamid", "0:300", "-streamid", "1:256", "-streamid", "2:257"];
        let codings = [
            "-c:a:0",
            "dca",
            "-b:a:0",
            "768k",
            "-strict",
            "-2",
            "-c:v:1",
            "mpeg4",
            "-profile:v:1",
            "0",
            "-streamid",
            "3:301",
        ];
        let coder = [&maps, &H264[..], &AAC, &codings, &order].concat();
        clips::make(folder, "listed.ts", Shape::default(), &coder)
    };
    clip_is_true(make, &[AUDIO])?;
    Ok(())
}

#[test]
fn a_multiplex_of_constant_rate_with_null_packets() -> Result<()> {
    let make = |folder: &Path| {
        let coder = [&H264[..], &AAC, &["-muxrate", "1500k"]].concat();
        clips::make(folder, "constant.ts", Shape::default(), &coder)
    };
    clip_is_true(make, &[AUDIO])?;
    Ok(())
}

#[test]
fn pictures_of_more_bytes_than_a_pes_packet_can_tell() -> Result<()> {
    let noise = ["-vf", "noise=alls=60:allf=t", "-qp", "34"];
    let shape = Shape { width: 640, height: 360, seconds: 1, ..Shape::default() };
    let make =
        |folder: &Path| clips::make(folder, "large.ts", shape, &[&H264[..], &AAC, &noise].concat());
    let frames = clip_is_true(make, &[AUDIO])?;
    let largest = frames.iter().map(|frame| frame.size).max();
    ensure!(largest > Some(1 << 16), "the largest has {largest:?} bytes");
    Ok(())
}

#[test]
fn sound_without_pictures() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let options_of_sound = [&AAC[..], &["-vn", "-ar", "44100"]].concat();
    let path = clips::make(folder.path(), "sound.ts", Shape::default(), &options_of_sound)?;
    let system = Penstock::start(&options())?;
    let expected = Expected { video: None, audio: &[VIDEO], ..Expected::clip(&path) };
    is_true(&system, "sound", &expected)?;
    system.stop()
}

/// The stamps rise from the wire's below 2^33 to values beyond it.
fn passes_the_wrap(frames: &[Frame]) -> Result<()> {
    let stamps: Vec<u64> = frames.iter().filter_map(|frame| frame.dts).collect();
    ensure!(stamps.len() == frames.len() && stamps.is_sorted(), "DTS {stamps:?}");
    let (first, last) = (stamps.first(), stamps.last());
    ensure!(first.is_some_and(|first| *first < WRAP), "begins with {first:?}");
    ensure!(last.is_some_and(|last| (WRAP..WRAP + 90_000 * 60).contains(last)), "{last:?}");
    Ok(())
}

#[test]
fn stamps_of_pictures_and_sound_go_on_past_the_wrap() -> Result<()> {
    let frames = clip_is_true(clips::wrap, &[AUDIO])?;
    for kind in ["video", "audio"] {
        for track in tracks(&frames, kind) {
            passes_the_wrap(&track).context(kind)?;
        }
    }
    Ok(())
}

#[test]
fn a_stream_may_begin_with_stamps_on_both_sides_of_the_wrap() -> Result<()> {
    let make = |folder: &Path| {
        // 2^33 ticks are 95,443.717 s; the multiplexer adds 1.4 s, and the first PTS is 80 ms later.
        let coder = [&H264[..], &AAC, &["-output_ts_offset", "95442.36"]].concat();
        clips::make(folder, "both.ts", Shape::default(), &coder)
    };
    let frames = clip_is_true(make, &[AUDIO])?;
    let first = frames.iter().find(|frame| frame.key && frame.kind == "video");
    let stamps = first.and_then(|first| first.dts.zip(first.pts));
    ensure!(stamps.is_some_and(|(dts, pts)| dts < WRAP && pts >= WRAP), "{first:?}");
    passes_the_wrap(&tracks(&frames, "video")[0])
}

#[test]
fn stamps_that_are_derived_go_on_past_the_wrap() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let units = paff(&Paff { start: WRAP - 20 * 3_600, ..Paff::default() });
    let path = folder.path().join("fields.ts");
    let packed = pack(&units, Packing::UnitsPerPes(5), true);
    std::fs::write(&path, mux(&[(Stream::h264(VIDEO), packed)], 20))?;
    let system = Penstock::start(&options())?;
    let frames = is_true(&system, "fields", &Expected::generated(&path, &units))?;
    passes_the_wrap(&frames)?;
    system.stop()
}

/// Packets of 188 bytes, each with so many bytes before and behind it.
fn repacked(folder: &Path, path: &Path, before: usize, behind: usize) -> Result<PathBuf> {
    let mut out = Vec::new();
    for packet in std::fs::read(path)?.chunks(188) {
        // Never a sync byte.
        out.extend(std::iter::repeat_n(0x11, before));
        out.extend(packet);
        out.extend(std::iter::repeat_n(0x22, behind));
    }
    let path = folder.join(format!("{}.ts", before + 188 + behind));
    std::fs::write(&path, out)?;
    Ok(path)
}

#[test]
fn packets_of_192_and_204_bytes_carry_the_same_frames() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = clips::h264_aac(folder.path())?;
    let system = Penstock::start(&options())?;
    for (before, behind) in [(4, 0), (0, 16)] {
        let path = repacked(folder.path(), &path, before, behind)?;
        is_true(&system, &format!("packets_{before}_{behind}"), &Expected::clip(&path))?;
    }
    system.stop()
}

/// A clip in this coding, without its first half second.
fn joined_late(folder: &Path, coder: &[&str]) -> Result<PathBuf> {
    let path = clips::make(folder, "whole.ts", Shape::default(), &[coder, &AAC[..]].concat())?;
    let bytes = std::fs::read(path)?;
    let path = folder.join("late.ts");
    // In the middle of a packet.
    std::fs::write(&path, &bytes[bytes.len() / 8 / 188 * 188 + 77..])?;
    Ok(path)
}

#[test]
fn a_stream_joined_between_key_frames_begins_with_the_next_one() -> Result<()> {
    let make = |folder: &Path| joined_late(folder, &H264);
    clip_is_true(make, &[AUDIO])?;
    Ok(())
}

/// What FFmpeg takes out of a file as an elementary stream.
fn elementary(path: &Path, format: &str) -> Result<Vec<u8>> {
    run("ffmpeg", &["-i", &path.to_string_lossy(), "-map", "0:v", "-c", "copy", "-f", format, "-"])
}

#[test]
fn annexb_is_the_elementary_stream_from_the_first_key_frame_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let system = Penstock::start(&options())?;
    let hevc = ["-c:v", "libx265", "-preset", "veryfast", "-x265-params", "log-level=none"];
    for (format, coder) in [("h264", &H264[..]), ("hevc", &hevc)] {
        let path = joined_late(folder.path(), coder)?;
        let tap = Tap::start(&system, format, "annexb")?;
        publish(&system, format, &std::fs::read(&path)?, &[&tap])?;
        let (ours, theirs) = (tap.end()?, elementary(&path, format)?);
        ensure!(
            sha256(&ours) == sha256(&theirs),
            "{format}: {} bytes, FFmpeg extracts {}, equal up to {:?}",
            ours.len(),
            theirs.len(),
            ours.iter().zip(&theirs).position(|(a, b)| a != b)
        );
    }
    system.stop()
}
