//! Frames held against the source's access units, as the transport carries them.

use anyhow::{Context, Result, ensure};

use super::source::{Source, Unit};
use crate::generate::sha256;
use crate::oracle::Frame;

/// Ticks a second of published stamps.
const LINE_HZ: i64 = 90_000;

/// A frame as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Bytes.
    pub size: usize,
    /// Presentation time in 90 kHz ticks, of the source's beginning.
    pub pts: i64,
    /// Decoding time likewise.
    pub dts: i64,
    /// A decoder can start here.
    pub key: bool,
    /// The class as the tap names it.
    pub class: &'static str,
}

impl Expected {
    /// A unit of a source whose frame has these bytes.
    pub fn new(source: &Source, unit: &Unit, bytes: &[u8]) -> Self {
        let line = |ticks: i64| {
            let (exact, hz) = (ticks * LINE_HZ, source.ticks_a_second);
            (exact + hz / 2).div_euclid(hz)
        };
        Self {
            sha256: sha256(bytes),
            size: bytes.len(),
            pts: line(unit.pts),
            dts: line(unit.dts),
            key: unit.key,
            class: unit.class,
        }
    }
}

/// What RTP makes of a source: NAL units behind start codes of four bytes (it carries no start
/// codes itself), sound as it is.
pub fn of_rtp(source: &Source) -> Result<Vec<Expected>> {
    let frame = |unit: &Unit| {
        if !source.coding.is_video() {
            return Ok(Expected::new(source, unit, &unit.bytes));
        }
        let nal_units = unit.nal_units()?;
        let bytes: Vec<u8> =
            nal_units.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect();
        Ok(Expected::new(source, unit, &bytes))
    };
    source.units.iter().map(frame).collect()
}

/// How stamps are compared.
#[derive(Debug, Clone, Copy)]
pub struct Stamps {
    /// Where the first frame is on the line.
    pub first: u64,
    /// By how much a stamp may be off: what the sender rounded.
    pub tolerance_ticks: u64,
}

/// Every frame is there, in order, whole, and what it must be.
pub fn compare(codec: &str, frames: &[Frame], expected: &[Expected], stamps: Stamps) -> Result<()> {
    for (number, (frame, wanted)) in frames.iter().zip(expected).enumerate() {
        same(codec, frame, wanted, expected, stamps)
            .with_context(|| format!("frame {number}: {frame:?}\nshould be {wanted:?}"))?;
        ensure!(frame.seq == number as u64, "frame {number} has the number {}", frame.seq);
    }
    ensure!(
        frames.len() == expected.len(),
        "{} frames of {}; the last is {:?}",
        frames.len(),
        expected.len(),
        frames.last()
    );
    Ok(())
}

/// One frame.
pub fn same(
    codec: &str,
    frame: &Frame,
    wanted: &Expected,
    expected: &[Expected],
    stamps: Stamps,
) -> Result<()> {
    ensure!(!frame.damaged, "marked damaged");
    ensure!(!frame.discontinuity, "marked as a jump of the timeline");
    ensure!(frame.codec == codec, "other codec");
    ensure!(frame.sha256 == wanted.sha256 && frame.size == wanted.size, "other bytes");
    ensure!(frame.key == wanted.key, "other key flag");
    ensure!(frame.class == wanted.class, "other class");
    let first = expected.first().context("nothing is expected")?;
    for (name, ours, theirs) in [("PTS", frame.pts, wanted.pts), ("DTS", frame.dts, wanted.dts)] {
        let ours = ours.with_context(|| format!("no {name}"))?;
        let wanted = stamps.first.checked_add_signed(theirs - first.pts).context("negative")?;
        let off = ours.abs_diff(wanted);
        ensure!(off <= stamps.tolerance_ticks, "{name} is {ours}, not {wanted}");
    }
    Ok(())
}
