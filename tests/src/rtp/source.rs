//! Clips of one elementary stream each, and their access units as FFmpeg finds them.
//!
//! They are MP4: stamps are exact, NAL units have their lengths before them and nothing between
//! them, so a sender's own framing cannot be taken for the coder's.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::generate::clips::run;
use crate::generate::sha256;

/// What a clip is coded as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// H.264 with B-frames, parameter sets within the stream, no delimiters.
    H264,
    /// The same, each picture in three slices.
    H264Slices,
    /// The same with delimiters.
    H264Delimited,
    /// H.264 whose parameter sets are in its description alone.
    H264Described,
    /// HEVC with B-frames, parameter sets within the stream, no delimiters.
    Hevc,
    /// AAC of 48 kHz.
    Aac,
    /// AAC of 44.1 kHz, whose frames last no whole number of 90 kHz ticks.
    Aac44100,
    /// Opus.
    Opus,
    /// Samples of 24 bits.
    L24,
}

impl Coding {
    /// As the tap names it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::H264 | Self::H264Slices | Self::H264Delimited | Self::H264Described => "h264",
            Self::Hevc => "hevc",
            Self::Aac | Self::Aac44100 => "aac",
            Self::Opus => "opus",
            Self::L24 => "l24",
        }
    }

    /// Whether it is pictures.
    pub const fn is_video(self) -> bool {
        matches!(self.clock_hz(), 90_000)
    }

    /// Ticks a second of its RTP timestamps.
    pub const fn clock_hz(self) -> u32 {
        match self {
            Self::Aac | Self::Opus | Self::L24 => 48_000,
            Self::Aac44100 => 44_100,
            _ => 90_000,
        }
    }

    /// Its file's name, which says what is in it: it is kept between runs.
    const fn file(self) -> &'static str {
        match self {
            Self::H264 => "rtp_h264_3s.mp4",
            Self::H264Slices => "rtp_h264_slices_3s.mp4",
            Self::H264Delimited => "rtp_h264_delimited_3s.mp4",
            Self::H264Described => "rtp_h264_described_3s.mp4",
            Self::Hevc => "rtp_hevc_3s.mp4",
            Self::Aac => "rtp_aac_48000_3s.mp4",
            Self::Aac44100 => "rtp_aac_44100_3s.mp4",
            Self::Opus => "rtp_opus_3s.mp4",
            Self::L24 => "rtp_l24_3s.mov",
        }
    }

    /// FFmpeg's options.
    const fn coder(self) -> &'static [&'static str] {
        match self {
            Self::H264 | Self::H264Delimited | Self::H264Described => {
                &["-c:v", "libx264", "-preset", "veryfast", "-bf", "2"]
            }
            Self::H264Slices => {
                &["-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-slices", "3"]
            }
            Self::Hevc => &X265,
            Self::Aac => &["-ar", "48000", "-c:a", "aac", "-b:a", "96k"],
            Self::Aac44100 => &["-ar", "44100", "-c:a", "aac", "-b:a", "96k"],
            Self::Opus => &["-ar", "48000", "-c:a", "libopus", "-b:a", "96k"],
            Self::L24 => &["-ar", "48000", "-c:a", "pcm_s24be"],
        }
    }

    /// Takes off what FFmpeg's transport streams have beside the pictures.
    const fn filter(self) -> Option<&'static str> {
        match self {
            Self::H264Delimited => None,
            Self::H264Described => Some("filter_units=remove_types=7-9"),
            Self::Hevc => Some("hevc_metadata=aud=remove"),
            _ => Some("h264_metadata=aud=remove"),
        }
    }
}

impl Source {
    /// The NAL units that the file has beside its pictures: parameter sets, and what the coder says of
    /// itself (ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1).
    pub fn described_units(&self) -> Result<Vec<Vec<u8>>> {
        let file = std::fs::read(&self.path)?;
        let named = |name: &[u8; 4]| file.windows(4).position(|window| window == name);
        let body = |at: usize, skipped: usize| file.get(at + 4 + skipped..).context("cut off");
        if let Some(at) = named(b"avcC") {
            let mut rest = body(at, 5)?;
            let sets = listed(&mut rest, 1)?;
            return Ok([sets, listed(&mut rest, 1)?].concat());
        }
        let mut rest = body(named(b"hvcC").context("nothing is described")?, 22)?;
        let mut units = Vec::new();
        for _ in 0..take(&mut rest, 1)? {
            take(&mut rest, 1)?; // their type
            units.extend(listed(&mut rest, 2)?);
        }
        Ok(units)
    }
}

/// A number of so many bytes.
fn take(rest: &mut &[u8], bytes: usize) -> Result<usize> {
    let (number, behind) = rest.split_at_checked(bytes).context("cut off")?;
    *rest = behind;
    Ok(number.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
}

/// NAL units behind their lengths, and their number before them.
fn listed(rest: &mut &[u8], bytes_of_number: usize) -> Result<Vec<Vec<u8>>> {
    let number = take(rest, bytes_of_number)? & 0x1f; // three bits are reserved
    let unit = |_| {
        let length = take(rest, 2)?;
        let (unit, behind) = rest.split_at_checked(length).context("cut off")?;
        *rest = behind;
        Ok(unit.to_vec())
    };
    (0..number).map(unit).collect()
}

/// HEVC, and not a word on standard error.
const X265: [&str; 6] =
    ["-c:v", "libx265", "-preset", "veryfast", "-x265-params", "log-level=none:bframes=3"];

/// One access unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its bytes as the file has them.
    pub bytes: Vec<u8>,
    /// Presentation time in ticks of the clip.
    pub pts: i64,
    /// Decoding time in ticks of the clip.
    pub dts: i64,
    /// A decoder can start here.
    pub key: bool,
    /// The class as the tap names it.
    pub class: &'static str,
}

impl Unit {
    /// The NAL units behind their lengths.
    pub fn nal_units(&self) -> Result<Vec<&[u8]>> {
        let mut rest = self.bytes.as_slice();
        let mut found = Vec::new();
        while let Some((length, behind)) = rest.split_first_chunk() {
            let length = usize::try_from(u32::from_be_bytes(*length))?;
            let (unit, behind) = behind.split_at_checked(length).context("a NAL unit is cut")?;
            found.push(unit);
            rest = behind;
        }
        ensure!(rest.is_empty(), "{} bytes behind the last NAL unit", rest.len());
        Ok(found)
    }
}

/// A clip of one elementary stream.
#[derive(Debug)]
pub struct Source {
    /// Its file.
    pub path: PathBuf,
    /// What it is coded as.
    pub coding: Coding,
    /// Ticks of its stamps in a second.
    pub ticks_a_second: i64,
    /// Its access units, in decoding order.
    pub units: Vec<Unit>,
}

impl Source {
    /// The clip of a coding, made in `folder` (a test's `CARGO_TARGET_TMPDIR`) unless it is there.
    pub fn in_folder(folder: &str, coding: Coding) -> Result<Self> {
        static MAKING: Mutex<()> = Mutex::new(());
        let folder = Path::new(folder);
        let path = folder.join(coding.file());
        let making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        if !path.exists() {
            std::fs::create_dir_all(folder)?;
            let scratch = tempfile::tempdir_in(folder)?;
            let made = make(scratch.path(), coding)?;
            std::fs::rename(made, &path)?;
        }
        drop(making);
        let (ticks_a_second, units) = units(&path, coding)?;
        Ok(Self { path, coding, ticks_a_second, units })
    }
}

/// Pictures or a tone that changes, coded.
fn make(folder: &Path, coding: Coding) -> Result<PathBuf> {
    let path = folder.join(coding.file());
    let text = path.to_string_lossy().into_owned();
    if !coding.is_video() {
        let tone = "aevalsrc=0.4*sin(2*PI*t*(300+200*t))|0.4*sin(2*PI*t*(500+90*t)):d=3";
        let input = ["-y", "-f", "lavfi", "-i", tone];
        // Without an edit list: not all senders begin before the edit, where the coder's delay is.
        let output = ["-use_editlist", "0", "-avoid_negative_ts", "make_zero", &text];
        run("ffmpeg", &[&input, coding.coder(), &output].concat())?;
        return Ok(path);
    }
    // Through a transport stream: a coder that writes MP4 keeps parameter sets out of the stream.
    let stream = folder.join("coded.ts").to_string_lossy().into_owned();
    let card = ["-y", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=3", "-g", "25"];
    run("ffmpeg", &[&card, coding.coder(), &[&stream]].concat())?;
    let filter = coding.filter().unwrap_or("null");
    let copy = ["-y", "-i", &stream, "-c", "copy", "-bsf:v", filter];
    run("ffmpeg", &[&copy[..], &["-video_track_timescale", "90000", &text]].concat())?;
    Ok(path)
}

/// The access units of a file's only stream, and the ticks of their stamps in a second.
fn units(path: &Path, coding: Coding) -> Result<(i64, Vec<Unit>)> {
    let text = path.to_string_lossy();
    let show = ["-show_packets", "-show_data_hash", "sha256", "-show_entries"];
    let entries = ["stream=time_base:packet=pts,dts,flags,size,data_hash", "-of", "json", &text];
    let json: Value = serde_json::from_slice(&run("ffprobe", &[show, entries].concat())?)?;
    let base = json["streams"][0]["time_base"].as_str().context("no time base")?;
    let ticks_a_second = base.strip_prefix("1/").context("no whole ticks")?.parse()?;
    let raw = ["-i", &text, "-map", "0", "-c", "copy", "-copyinkf", "-copypriorss", "1"];
    let bytes = run("ffmpeg", &[&raw[..], &["-f", "data", "-"]].concat())?;
    let types = if coding.is_video() { picture_types(&text)? } else { HashMap::new() };
    let mut rest = bytes.as_slice();
    let mut units = Vec::new();
    for packet in json["packets"].as_array().context("no packets")? {
        let size = packet["size"].as_str().context("no size")?.parse()?;
        let (bytes, behind) = rest.split_at_checked(size).context("bytes are missing")?;
        let hash = packet["data_hash"].as_str().context("no hash")?.to_lowercase();
        ensure!(hash == format!("sha256:{}", sha256(bytes)), "FFmpeg contradicts itself");
        rest = behind;
        let pts = packet["pts"].as_i64().context("no PTS")?;
        let key = packet["flags"].as_str().is_some_and(|flags| flags.contains('K'));
        let dts = packet["dts"].as_i64().context("no DTS")?;
        let mut unit = Unit { bytes: bytes.to_vec(), pts, dts, key, class: "audio" };
        if coding.is_video() {
            unit.class = class(&unit, coding, types.get(&pts).copied())?;
        }
        units.push(unit);
    }
    ensure!(rest.is_empty() && units.len() > 50, "{} units of {text}", units.len());
    Ok((ticks_a_second, units))
}

/// The class of a picture whose type the decoder found. Not every key picture resets the decoder:
/// HEVC's CRA does not.
fn class(unit: &Unit, coding: Coding, picture_type: Option<char>) -> Result<&'static str> {
    let resets = |nal: &&[u8]| match coding {
        Coding::Hevc => nal.first().is_some_and(|first| matches!(first >> 1 & 0x3f, 19 | 20)),
        _ => nal.first().is_some_and(|first| first & 0x1f == 5),
    };
    Ok(match picture_type {
        Some('I') if unit.nal_units()?.iter().any(resets) => "idr",
        Some('I') => "i",
        Some('P') => "p",
        Some('B') => "b",
        other => bail!("picture type {other:?} at {}", unit.pts),
    })
}

/// Picture types by presentation time, from the decoder.
fn picture_types(file: &str) -> Result<HashMap<i64, char>> {
    let entries = ["-show_entries", "frame=pts,pict_type", "-of", "json", file];
    let json: Value = serde_json::from_slice(&run("ffprobe", &entries)?)?;
    let pair = |frame: &Value| {
        Some((frame["pts"].as_i64()?, frame["pict_type"].as_str()?.chars().next()?))
    };
    Ok(json["frames"].as_array().context("no frames")?.iter().filter_map(pair).collect())
}
