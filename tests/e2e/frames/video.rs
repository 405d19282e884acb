//! The other codings of pictures.

use anyhow::{Context, Result, ensure};
use penstock_tests::generate::AccessUnit;
use penstock_tests::generate::clips::{self, AAC, Shape, run};
use penstock_tests::generate::mux::Stream;
use penstock_tests::generate::pack::{Packing, mux, pack};
use penstock_tests::generate::{av1, jpegxs};
use penstock_tests::oracle::Frame;
use penstock_tests::system::Penstock;
use serde_json::Value;

use super::{AUDIO, Expected, VIDEO, frames_of, is_true, options};

const SHAPE: Shape = Shape { width: 320, height: 180, rate: 25, seconds: 2 };

/// What REST says of the pictures of a stream.
fn track_of(system: &Penstock, id: &str) -> Result<Value> {
    let stream = system.get(&format!("/api/v1/streams/{id}"))?;
    let tracks = stream["tracks"].as_array().cloned().unwrap_or_default();
    let video = tracks.into_iter().find(|track| track["pid"] == VIDEO);
    video.with_context(|| format!("no track of pictures: {stream}"))
}

#[test]
fn mpeg2_and_mpeg1_are_framed_as_ffmpeg_finds_them() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let system = Penstock::start(&options())?;
    for (id, codec, coder) in [
        ("open_groups", "mpeg2video", &["-c:v", "mpeg2video", "-bf", "2", "-b:v", "1M"][..]),
        ("interlaced", "mpeg2video", &["-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-bf", "2"]),
        ("wide_4_2_2", "mpeg2video", &["-c:v", "mpeg2video", "-pix_fmt", "yuv422p", "-qmax", "8"]),
        ("mpeg1", "mpeg1video", &["-c:v", "mpeg1video", "-bf", "2"]),
    ] {
        let coder = [coder, &AAC].concat();
        let path = clips::make(folder.path(), &format!("{id}.ts"), SHAPE, &coder)?;
        is_true(&system, id, &Expected { audio: &[AUDIO], ..Expected::clip(&path) })?;
        let track = track_of(&system, id)?;
        let size = (&track["width"], &track["height"], &track["frame_rate_declared"]);
        ensure!(size == (&320.into(), &180.into(), &25.0.into()), "{id}: {track}");
        ensure!(track["codec"] == codec, "{id}: {track}");
    }
    system.stop()
}

fn is_each_unit(codec: &str, frames: &[Frame], units: &[AccessUnit], first_pts: u64) -> Result<()> {
    ensure!(frames.len() == units.len(), "{} frames of {}", frames.len(), units.len());
    for (frame, unit) in frames.iter().zip(units) {
        let pts = Some(unit.pts - units[0].pts + first_pts);
        let told = (frame.codec.as_str(), frame.class.as_str(), frame.key, frame.damaged);
        ensure!(told == (codec, unit.class, unit.key, false), "{frame:?}");
        ensure!((frame.pts, frame.dts) == (pts, pts), "{frame:?}, not {pts:?}");
        ensure!(frame.sha256 == unit.sha256() && frame.size == unit.bytes.len(), "{frame:?}");
    }
    Ok(())
}

#[test]
fn av1_is_stored_as_in_matroska_whatever_carries_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let system = Penstock::start(&options())?;
    for (name, coder) in [("svt", &av1::SVT[..]), ("aom", &av1::AOM)] {
        let (source, units) = av1::units(folder.path(), SHAPE, coder)?;
        // FFmpeg's multiplexer gives AV1 no name.
        let unnamed = folder.path().join("unnamed.ts");
        let text = (source.to_string_lossy(), unnamed.to_string_lossy());
        run("ffmpeg", &["-y", "-i", &text.0, "-c", "copy", "-muxdelay", "0", &text.1])?;
        let id = format!("{name}_unnamed");
        let frames = frames_of(&system, &id, &unnamed)?;
        let first = frames.first().and_then(|frame| frame.pts).context("no frame")?;
        is_each_unit("av1", &frames, &units, first).context(id.clone())?;
        let track = track_of(&system, &id)?;
        let told = (&track["codec"], &track["width"], &track["height"], &track["profile"]);
        let wanted = (&"av1".into(), &320.into(), &180.into(), &"Main".into());
        ensure!(told == wanted, "{id}: {track}");
        // By its registration, in low overhead and in AOM's start codes.
        let escaped: Vec<AccessUnit> = units
            .iter()
            .map(|unit| AccessUnit { bytes: in_start_codes(unit), ..unit.clone() })
            .collect();
        for (form, carried) in [("low_overhead", &units), ("start_codes", &escaped)] {
            let path = folder.path().join(format!("{form}.ts"));
            let packed = pack(carried, Packing::OnePerUnit, true);
            std::fs::write(&path, mux(&[(Stream::av1(VIDEO), packed)], 25))?;
            let id = format!("{name}_{form}");
            is_each_unit("av1", &frames_of(&system, &id, &path)?, &units, 90_000).context(id)?;
        }
    }
    system.stop()
}

/// Frames of JPEG XS, and what carries each in a transport stream: its header and the codestreams of
/// its fields.
fn jpegxs_frames(interlaced: bool) -> (Vec<AccessUnit>, Vec<AccessUnit>) {
    let pictures = jpegxs::pictures(40, interlaced, 220);
    let frame = |fields: &[jpegxs::Picture]| {
        let bytes = fields.iter().flat_map(jpegxs::Picture::codestream).collect();
        AccessUnit { bytes, field: None, ..fields[0].unit() }
    };
    let units: Vec<_> = pictures.chunks(if interlaced { 2 } else { 1 }).map(frame).collect();
    let carried = units.iter().map(|unit| {
        let bytes = [jpegxs::jxes(interlaced), unit.bytes.clone()].concat();
        AccessUnit { bytes, ..unit.clone() }
    });
    let carried = carried.collect();
    (units, carried)
}

#[test]
fn jpeg_xs_is_a_frame_a_pes_packet_of_one_picture_or_two_fields() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let system = Penstock::start(&options())?;
    for (id, interlaced) in [("progressive", false), ("interlaced", true)] {
        let (units, carried) = jpegxs_frames(interlaced);
        for (form, packing, bounded) in
            [("bounded", Packing::OnePerUnit, true), ("open", Packing::OnePerUnit, false)]
        {
            let path = folder.path().join(format!("{id}_{form}.ts"));
            let packed = pack(&carried, packing, bounded);
            std::fs::write(&path, mux(&[(Stream::jpegxs(VIDEO), packed)], 25))?;
            let id = format!("{id}_{form}");
            let frames = frames_of(&system, &id, &path)?;
            is_each_unit("jpegxs", &frames, &units, 90_000).context(id.clone())?;
            let track = track_of(&system, &id)?;
            let told = (&track["codec"], &track["width"], &track["height"], &track["profile"]);
            let wanted = (&"jpegxs".into(), &1920.into(), &1080.into(), &"Main 422.10".into());
            ensure!(told == wanted, "{id}: {track}");
        }
    }
    system.stop()
}

/// The OBUs of a temporal unit as AOM's carriage has them, without sizes.
fn in_start_codes(unit: &AccessUnit) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = unit.bytes.as_slice();
    while let Some(first) = rest.first() {
        let header = if first & 4 != 0 { 2 } else { 1 };
        let mut size = 0;
        let mut at = header;
        for shift in (0..).step_by(7) {
            let byte = rest[at];
            at += 1;
            size |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        out.extend([0, 0, 1, first & !2]);
        let start = out.len() - 1;
        for byte in rest[1..header].iter().chain(&rest[at..at + size]) {
            if *byte <= 3 && out.len() >= start + 2 && out.ends_with(&[0, 0]) {
                out.push(3);
            }
            out.push(*byte);
        }
        rest = &rest[at + size..];
    }
    out
}
