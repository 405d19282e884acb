//! The codings of sound, beside pictures.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use penstock_tests::generate::clips::{self, AAC, H264, Shape};
use penstock_tests::oracle::{self, Check, Frame, compare};
use penstock_tests::system::Penstock;
use serde_json::Value;

use super::{AUDIO, Expected, frames_of, is_true, options, tracks};

const SHAPE: Shape = Shape { width: 320, height: 180, rate: 25, seconds: 2 };

fn clip(folder: &Path, name: &str, sound: &[&str]) -> Result<PathBuf> {
    clips::make(folder, &format!("{name}.ts"), SHAPE, &[&H264[..], sound].concat())
}

/// What REST says of the sound of a stream.
fn track_of(system: &Penstock, id: &str) -> Result<Value> {
    let stream = system.get(&format!("/api/v1/streams/{id}"))?;
    let tracks = stream["tracks"].as_array().cloned().unwrap_or_default();
    let sound = tracks.into_iter().find(|track| track["pid"] == AUDIO);
    sound.ok_or_else(|| anyhow::anyhow!("no track of sound: {stream}"))
}

/// FFmpeg's count of channels.
fn format_of(path: &Path) -> Result<Value> {
    let select = ["-select_streams", "a", "-show_entries", "stream=channels", "-of", "json"];
    let json = clips::run("ffprobe", &[&select[..], &[&path.to_string_lossy()]].concat())?;
    Ok(serde_json::from_slice::<Value>(&json)?["streams"][0]["channels"].take())
}

#[test]
fn each_coding_of_sound_is_framed_as_ffmpeg_finds_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let system = Penstock::start(&options())?;
    for (id, codec, sound) in [
        ("ac3", "ac3", &["-c:a", "ac3", "-ac", "2", "-b:a", "192k"][..]),
        ("ac3_of_dvb", "ac3", &["-c:a", "ac3", "-ac", "6", "-mpegts_flags", "system_b"]),
        ("eac3", "eac3", &["-c:a", "eac3", "-ac", "6", "-b:a", "256k"]),
        ("eac3_of_dvb", "eac3", &["-c:a", "eac3", "-ac", "2", "-mpegts_flags", "system_b"]),
        ("layer_2", "mpegaudio", &["-c:a", "mp2", "-ac", "2", "-b:a", "192k"]),
        ("layer_3", "mpegaudio", &["-c:a", "libmp3lame", "-b:a", "96k"]),
        ("opus", "opus", &["-c:a", "libopus", "-ac", "2", "-b:a", "96k"]),
        ("opus_surround", "opus", &["-c:a", "libopus", "-ac", "6", "-mapping_family", "1"]),
    ] {
        let path = clip(folder.path(), id, sound)?;
        let frames = is_true(&system, id, &Expected::clip(&path))?;
        ensure!(frames.iter().any(|frame| frame.codec == codec), "{id} is not {codec}");
        let track = track_of(&system, id)?;
        let told = (&track["codec"], &track["sample_rate"], &track["channels"]);
        let probed = format_of(&path)?;
        ensure!(told == (&codec.into(), &48_000.into(), &probed), "{id}: {track}, not {probed}");
    }
    system.stop()
}

#[test]
fn aac_in_latm_is_framed_as_the_raw_access_units_that_adts_carries() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sound = [&AAC[..], &["-bitexact"]].concat();
    let plain = clip(folder.path(), "plain", &sound)?;
    let path = clip(folder.path(), "latm", &[&sound[..], &["-mpegts_flags", "latm"]].concat())?;
    // Stamps and order are FFmpeg's of the LATM stream, bytes those of the same coding in ADTS.
    let mut packets = oracle::track(&path, AUDIO)?;
    let raw = oracle::track(&plain, AUDIO)?;
    ensure!(packets.len() == raw.len(), "{} and {} frames", packets.len(), raw.len());
    for (packet, raw) in packets.iter_mut().zip(raw) {
        (packet.size, packet.sha256) = (raw.size, raw.sha256);
    }
    let system = Penstock::start(&options())?;
    let frames = frames_of(&system, "latm", &path)?;
    let sound: Vec<Frame> = tracks(&frames, "audio").concat();
    let compared = compare(&sound, &packets, &Check::default())?;
    ensure!(compared.frames + 8 > packets.len(), "{} of {}", compared.frames, packets.len());
    system.stop()
}
