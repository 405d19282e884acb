//! AV1 of real encoders, with the temporal units that FFmpeg stores of it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::clips::{Shape, make, run};
use super::{AccessUnit, sha256};
use crate::rtp::av1::obus;

const SEQUENCE_HEADER: u8 = 1;
const TEMPORAL_DELIMITER: u8 = 2;

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

/// The temporal units of a stream of OBUs with sizes and delimiters, each so many ticks after the one
/// before it.
pub fn temporal_units(bytes: &[u8], ticks: u64) -> Vec<AccessUnit> {
    let mut units: Vec<AccessUnit> = Vec::new();
    for obu in obus(bytes) {
        let kind = obu[0] >> 3 & 0x0f;
        match units.last_mut() {
            Some(unit) if kind != TEMPORAL_DELIMITER => unit.bytes.extend(obu),
            last => {
                let time = last.map_or(90_000, |unit| unit.pts + ticks);
                let bytes = Vec::new();
                let (pts, dts) = (time, time);
                units.push(AccessUnit { bytes, pts, dts, key: false, class: "inter", field: None });
            }
        }
    }
    for unit in &mut units {
        // Encoders put it in front of each key frame.
        if unit.bytes.first().is_some_and(|first| first >> 3 & 0x0f == SEQUENCE_HEADER) {
            (unit.key, unit.class) = (true, "idr");
        }
    }
    units
}
