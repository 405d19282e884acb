//! Clips that FFmpeg makes: real encoders' streams in a directory of the test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    AccessUnit,
    mux::Stream,
    pack::{Packing, mux, pack},
};
use crate::oracle;

/// Runs one of FFmpeg's programs and gives what it prints.
pub fn run(program: &str, arguments: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(program)
        .args(["-v", "error"])
        .args(arguments)
        .output()
        .with_context(|| format!("{program} does not start; is FFmpeg installed?"))?;
    ensure!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// Size, rate and length of a clip.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Pixels wide.
    pub width: u32,
    /// Pixels high.
    pub height: u32,
    /// Frames a second.
    pub rate: u32,
    /// Seconds.
    pub seconds: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self { width: 320, height: 180, rate: 25, seconds: 4 }
    }
}

/// H.264 High with B-frames and a key frame each second.
pub const H264: [&str; 8] =
    ["-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", "-bf", "2"];
/// AAC.
pub const AAC: [&str; 4] = ["-c:a", "aac", "-b:a", "64k"];

/// Makes `name` in `folder`: moving pictures and a tone, coded by `options`.
pub fn make(folder: &Path, name: &str, shape: Shape, options: &[&str]) -> Result<PathBuf> {
    let path = folder.join(name);
    let Shape { width, height, rate, seconds } = shape;
    let pictures = format!("testsrc2=s={width}x{height}:r={rate}:d={seconds}");
    let tone = format!("sine=440:r=48000:d={seconds}");
    let group = rate.to_string();
    let mut arguments = vec!["-y", "-f", "lavfi", "-i", &pictures];
    arguments.extend(["-f", "lavfi", "-i", &tone, "-g", &group]);
    arguments.extend(options);
    let text = path.to_string_lossy();
    arguments.push(&text);
    run("ffmpeg", &arguments)?;
    Ok(path)
}

fn with(parts: &[&[&'static str]]) -> Vec<&'static str> {
    parts.concat()
}

/// H.264 High with B-frames, and AAC.
pub fn h264_aac(folder: &Path) -> Result<PathBuf> {
    make(folder, "h264_aac.ts", Shape::default(), &with(&[&H264, &AAC]))
}

/// As [`h264_aac`], with stamps that pass 2^33 in the middle.
pub fn wrap(folder: &Path) -> Result<PathBuf> {
    // 2^33 ticks are 95,443.72 s, and the multiplexer starts 1.4 s late.
    let offset = ["-output_ts_offset", "95440.3"];
    make(folder, "wrap.ts", Shape::default(), &with(&[&H264, &AAC, &offset]))
}

/// H.264 with macroblock-adaptive frame/field coding.
pub fn mbaff(folder: &Path) -> Result<PathBuf> {
    let interlaced = ["-flags", "+ilme+ildct", "-x264-params", "tff=1", "-an"];
    make(folder, "mbaff.ts", Shape::default(), &with(&[&H264, &interlaced]))
}

/// HEVC Main with B-frames, and AAC.
pub fn hevc(folder: &Path) -> Result<PathBuf> {
    let coder = hevc_coder("yuv420p");
    make(folder, "hevc.ts", Shape::default(), &with(&[&coder, &AAC]))
}

/// HEVC Main 10 with B-frames, and AAC.
pub fn hevc_main10(folder: &Path) -> Result<PathBuf> {
    let coder = hevc_coder("yuv420p10le");
    make(folder, "hevc_main10.ts", Shape::default(), &with(&[&coder, &AAC]))
}

fn hevc_coder(format: &'static str) -> [&'static str; 8] {
    let parameters = "log-level=none:bframes=3";
    ["-c:v", "libx265", "-preset", "veryfast", "-pix_fmt", format, "-x265-params", parameters]
}

/// Two programs, 7 and 9, each H.264 and AAC; the second coded smaller.
pub fn two_programs(folder: &Path) -> Result<PathBuf> {
    let maps = ["-map", "0:v", "-map", "1:a", "-map", "0:v", "-map", "1:a"];
    let programs = ["-program", "program_num=7:st=0:st=1", "-program", "program_num=9:st=2:st=3"];
    let smaller = ["-b:v:1", "100k", "-b:a:1", "32k"];
    make(
        folder,
        "two_programs.ts",
        Shape::default(),
        &with(&[&maps, &programs, &H264, &AAC, &smaller]),
    )
}

/// H.264 with four slices a picture and no delimiters, by the multiplexer of the tests (FFmpeg's
/// adds delimiters). Gives the path and the access units.
pub fn multi_slice_without_delimiters(folder: &Path) -> Result<(PathBuf, Vec<AccessUnit>)> {
    let slices = ["-x264-params", "slices=4:aud=0", "-an"];
    let shape = Shape::default();
    let source = make(folder, "source.ts", shape, &with(&[&H264, &slices]))?;
    let mut units = access_units(&source, 0x100)?;
    for unit in &mut units {
        ensure!(unit.bytes.starts_with(&[0, 0, 0, 1, 9]), "no delimiter");
        unit.bytes.drain(..6);
    }
    let path = folder.join("multi_slice.ts");
    let packed = pack(&units, Packing::OnePerUnit, false);
    fs::write(&path, mux(&[(Stream::h264(0x100), packed)], 25))?;
    Ok((path, units))
}

/// The access units of one PID as FFmpeg finds them; pictures with slices of one type.
pub fn access_units(path: &Path, pid: u16) -> Result<Vec<AccessUnit>> {
    let packets = oracle::track(path, pid)?;
    let types = oracle::picture_types(path, pid)?;
    let pieces = oracle::payloads(path, pid, &packets.iter().collect::<Vec<_>>())?;
    let unit = |(packet, bytes): (&oracle::Packet, Vec<u8>)| {
        let pts = packet.pts.context("a packet without PTS")?;
        let class = match (types.get(&pts), packet.key) {
            (Some('I'), true) => "idr",
            (Some('I'), false) => "i",
            (Some('P'), _) => "p",
            (Some('B'), _) => "b",
            (other, _) => bail!("picture type {other:?} at {pts}"),
        };
        Ok(AccessUnit {
            bytes,
            pts,
            dts: packet.dts.context("a packet without DTS")?,
            key: packet.key,
            class,
            field: None,
        })
    };
    packets.iter().zip(pieces).map(unit).collect()
}

/// The AAC frames of one PID as FFmpeg finds them, with their ADTS headers.
pub fn adts_frames(path: &Path, pid: u16) -> Result<Vec<AccessUnit>> {
    let mut packets = oracle::packets(path)?;
    packets.retain(|packet| packet.pid == pid);
    let pieces = oracle::payloads(path, pid, &packets.iter().collect::<Vec<_>>())?;
    let unit = |(packet, bytes): (&oracle::Packet, Vec<u8>)| {
        let pts = packet.pts.context("a packet without PTS")?;
        Ok(AccessUnit { bytes, pts, dts: pts, key: true, class: "audio", field: None })
    };
    packets.iter().zip(pieces).map(unit).collect()
}
