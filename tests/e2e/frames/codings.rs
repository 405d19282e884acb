//! What encoders make.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use penstock_tests::generate::AccessUnit;
use penstock_tests::generate::clips::{self, AAC, H264, Shape};
use penstock_tests::oracle::Frame;
use penstock_tests::system::Penstock;

use super::{AUDIO, Expected, VIDEO, clip_is_true, is_true, options};

fn classes(frames: &[Frame]) -> impl Iterator<Item = &str> {
    frames.iter().map(|frame| frame.class.as_str())
}

#[test]
fn h264_high_with_b_frames_and_aac() -> Result<()> {
    let frames = clip_is_true(clips::h264_aac, &[AUDIO])?;
    for class in ["idr", "p", "b", "audio"] {
        ensure!(classes(&frames).any(|it| it == class), "no {class}");
    }
    Ok(())
}

#[test]
fn h264_with_four_slices_a_picture_and_no_delimiters() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (path, units) = clips::multi_slice_without_delimiters(folder.path())?;
    let system = Penstock::start(&options())?;
    is_true(&system, "slices", &Expected::generated(&path, &units))?;
    system.stop()
}

#[test]
fn mbaff_is_a_frame_a_picture() -> Result<()> {
    clip_is_true(clips::mbaff, &[])?;
    Ok(())
}

#[test]
fn hevc_main_with_b_frames_and_aac() -> Result<()> {
    let frames = clip_is_true(clips::hevc, &[AUDIO])?;
    ensure!(classes(&frames).any(|class| class == "b"), "no b");
    Ok(())
}

#[test]
fn hevc_main_10_with_b_frames_and_aac() -> Result<()> {
    let frames = clip_is_true(clips::hevc_main10, &[AUDIO])?;
    ensure!(classes(&frames).any(|class| class == "b"), "no b");
    Ok(())
}

/// Key frames that are no IDR pictures.
fn key_flags_are_true(coder: &[&str], class: &str) -> Result<()> {
    let make = |folder: &Path| clips::make(folder, "keys.ts", Shape::default(), coder);
    let frames = clip_is_true(make, &[])?;
    let keys = frames.iter().filter(|frame| frame.key && frame.class == class).count();
    ensure!(keys > 0, "no key frame of the class {class}");
    Ok(())
}

#[test]
fn an_open_group_of_h264_begins_with_a_key_frame_that_is_no_idr() -> Result<()> {
    key_flags_are_true(&[&H264[..], &["-x264-params", "open-gop=1", "-an"]].concat(), "i")
}

#[test]
fn intra_refresh_has_key_frames_that_are_p() -> Result<()> {
    key_flags_are_true(&[&H264[..], &["-x264-params", "intra-refresh=1", "-an"]].concat(), "p")
}

#[test]
fn an_open_group_of_hevc_begins_with_a_key_frame_that_is_no_idr() -> Result<()> {
    let parameters = "log-level=none:bframes=3:open-gop=1";
    let coder = ["-c:v", "libx265", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-an"];
    key_flags_are_true(&[&coder[..], &["-x265-params", parameters]].concat(), "i")
}

#[test]
fn h264_at_a_constant_rate_with_filler_and_buffering_messages() -> Result<()> {
    let rate = ["-b:v", "1500k", "-maxrate", "1500k", "-bufsize", "1500k", "-an"];
    let parameters = ["-x264-params", "nal-hrd=cbr:force-cfr=1:slices=3"];
    let coder = [&H264[..], &parameters, &rate].concat();
    let shape = Shape { seconds: 2, ..Shape::default() };
    let make = |folder: &Path| {
        let path = clips::make(folder, "cbr.ts", shape, &coder)?;
        let units = clips::access_units(&path, VIDEO)?;
        let has_filler = |unit: &AccessUnit| unit.bytes.windows(4).any(|it| it == [0, 0, 1, 12]);
        ensure!(units.iter().any(has_filler), "no filler");
        Ok(path)
    };
    clip_is_true(make, &[])?;
    Ok(())
}

#[test]
fn hevc_with_four_slices_a_picture_and_layers_in_time() -> Result<()> {
    let parameters =
        "log-level=none:slices=4:bframes=3:temporal-layers=1:hrd=1:vbv-maxrate=500:vbv-bufsize=500";
    let coder = ["-c:v", "libx265", "-preset", "veryfast", "-x265-params", parameters, "-an"];
    clip_is_true(|folder| clips::make(folder, "slices.ts", Shape::default(), &coder), &[])?;
    Ok(())
}

#[test]
fn h264_in_ten_bits_of_4_2_2_at_a_rate_of_fractions() -> Result<()> {
    let coder = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv422p10le", "-bf", "3"];
    let coder = [&coder[..], &["-r", "30000/1001"], &AAC].concat();
    clip_is_true(|folder| clips::make(folder, "422.ts", Shape::default(), &coder), &[AUDIO])?;
    Ok(())
}

/// Each of these forms of a coding, one second long.
fn forms_are_true(coder: &[&str], forms: &[(&str, &[&str])]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let system = Penstock::start(&options())?;
    let shape = Shape { seconds: 1, ..Shape::default() };
    for (id, form) in forms {
        let options = [coder, &["-preset", "veryfast", "-g", "10", "-an"], form].concat();
        let path = clips::make(folder.path(), &format!("{id}.ts"), shape, &options)?;
        is_true(&system, id, &Expected { audio: &[], ..Expected::clip(&path) })?;
    }
    system.stop()
}

#[test]
fn h264_in_other_forms() -> Result<()> {
    let interlaced = ["-flags", "+ilme+ildct", "-x264-params", "tff=1:slices=4:bframes=3"];
    forms_are_true(
        &["-c:v", "libx264"],
        &[
            ("interlaced_slices", &interlaced),
            ("pyramid", &["-bf", "8", "-x264-params", "b-pyramid=normal:ref=8:b-adapt=2"]),
            ("slices_of_200_bytes", &["-x264-params", "slice-max-size=200:cabac=0"]),
            ("baseline", &["-profile:v", "baseline", "-pix_fmt", "yuv420p"]),
            ("lossless_4_4_4", &["-qp", "0", "-pix_fmt", "yuv444p"]),
            ("sets_in_each_picture", &["-bf", "2", "-bsf:v", "dump_extra=freq=all"]),
        ],
    )
}

#[test]
fn hevc_in_other_forms() -> Result<()> {
    forms_are_true(
        &["-c:v", "libx265"],
        &[
            ("ends_of_sequences", &["-x265-params", "log-level=none:eos=1:eob=1:open-gop=0"]),
            ("leading_pictures", &["-x265-params", "log-level=none:open-gop=0:radl=2:bframes=3"]),
            ("delimiters", &["-x265-params", "log-level=none:aud=1:repeat-headers=1"]),
            ("refresh", &["-x265-params", "log-level=none:intra-refresh=1:bframes=0"]),
            ("twelve_bits", &["-pix_fmt", "yuv444p12le", "-x265-params", "log-level=none"]),
        ],
    )
}

/// A clip that GStreamer codes and multiplexes: 60 pictures, and sound of their length.
fn by_gstreamer(folder: &Path, coder: &[&str]) -> Result<PathBuf> {
    let path = folder.join("gstreamer.ts");
    let mut command = Command::new("gst-launch-1.0");
    command.args(["-q", "mpegtsmux", "name=mux", "!", "filesink"]);
    command.arg(format!("location={}", path.display()));
    command.args(["videotestsrc", "num-buffers=60", "pattern=ball", "!"]);
    command.args(["video/x-raw,width=320,height=180,framerate=25/1", "!"]);
    command.args(coder).args(["!", "mux.sink_256"]);
    command.args(["audiotestsrc", "num-buffers=112", "samplesperbuffer=1024", "!"]);
    command.args(["audio/x-raw,rate=48000", "!", "audioconvert", "!", "voaacenc"]);
    command.args(["!", "aacparse", "!", "mux.sink_257"]);
    ensure!(command.status()?.success(), "gst-launch-1.0 {coder:?}");
    Ok(path)
}

#[test]
fn h264_of_gstreamers_multiplexer() -> Result<()> {
    let coder = ["x264enc", "speed-preset=veryfast", "key-int-max=25", "bframes=2", "bitrate=300"];
    let coder = [&coder[..], &["!", "h264parse"]].concat();
    clip_is_true(|folder| by_gstreamer(folder, &coder), &[AUDIO])?;
    Ok(())
}

#[test]
fn hevc_of_gstreamers_multiplexer() -> Result<()> {
    let coder = ["x265enc", "speed-preset=veryfast", "key-int-max=25", "bitrate=300"];
    let coder = [&coder[..], &["!", "h265parse"]].concat();
    clip_is_true(|folder| by_gstreamer(folder, &coder), &[AUDIO])?;
    Ok(())
}
