//! AV1 of real encoders, with the temporal units that FFmpeg stores of it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::clips::{Shape, make, run};
use super::{AccessUnit, sha256};

/// SVT-AV1: frames that are not shown, and later shown as they are.
pub const SVT: [&str; 4] = ["-c:v", "libsvtav1", "-preset", "10"];
/// libaom.
pub const AOM: [&str; 6] = ["-c:v", "libaom-av1", "-cpu-used", "8", "-b:v", "300k"];

/// AV1 in Matroska, and its temporal units as FFmpeg stores them there: without delimiters. Stamps
/// begin with a second.
pub fn units(folder: &Path, shape: Shape, coder: &[&str]) -> Result<(PathBuf, Vec<AccessUnit>)> {
    let coder = [coder, &["-pix_fmt", "yuv420p", "-an"]].concat();
    let path = make(folder, "av1.mkv", shape, &coder)?;
    let text = path.to_string_lossy();
    let show = ["-show_packets", "-show_data_hash", "sha256", "-of", "json", &text];
    let json: Value = serde_json::from_slice(&run("ffprobe", &show)?)?;
    let arguments = ["-i", &text, "-map", "0:v", "-c", "copy", "-f", "data", "-"];
    let bytes = run("ffmpeg", &arguments)?;
    let mut rest = bytes.as_slice();
    let packets = json["packets"].as_array().context("no packets")?.iter().enumerate();
    let step = u64::from(90_000 / shape.rate);
    let unit = |(number, packet): (usize, &Value)| {
        let size = packet["size"].as_str().context("no size")?.parse()?;
        let (bytes, behind) = rest.split_at(size);
        rest = behind;
        ensure!(packet["data_hash"] == format!("SHA256:{}", sha256(bytes)), "other bytes");
        let key = packet["flags"].as_str().is_some_and(|flags| flags.contains('K'));
        let time = 90_000 + step * u64::try_from(number)?;
        let class = if key { "idr" } else { "inter" };
        Ok(AccessUnit { bytes: bytes.to_vec(), pts: time, dts: time, key, class, field: None })
    };
    let units = packets.map(unit).collect::<Result<Vec<_>>>()?;
    Ok((path, units))
}
