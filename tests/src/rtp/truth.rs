//! Frames held against the source's access units, as the transport carries them.

use anyhow::{Context, Result, ensure};

use super::source::{Coding, Source, Unit};
use crate::generate::sha256;
use crate::oracle::{Frame, Packet};

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
/// codes itself), sound as it is. Before the first slice of a key picture come `sets`: the parameter
/// sets of its description, where it has none within.
pub fn of_rtp(source: &Source, sets: &[Vec<u8>]) -> Result<Vec<Expected>> {
    let frame = |unit: &Unit| {
        if !source.coding.is_video() {
            return Ok(Expected::new(source, unit, &unit.bytes));
        }
        let nal_units = with_sets(source, unit, sets)?;
        let bytes: Vec<u8> =
            nal_units.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect();
        Ok(Expected::new(source, unit, &bytes))
    };
    source.units.iter().map(frame).collect()
}

/// The NAL units of an access unit, with `sets` before the first slice of a key picture.
fn with_sets<'a>(source: &Source, unit: &'a Unit, sets: &'a [Vec<u8>]) -> Result<Vec<&'a [u8]>> {
    let mut nal_units = unit.nal_units()?;
    let is_key_slice = |first: u8| match source.coding {
        Coding::Hevc => matches!(first >> 1 & 0x3f, 16..=23),
        _ => first & 0x1f == 5,
    };
    let at = nal_units.iter().position(|nal| nal.first().is_some_and(|it| is_key_slice(*it)));
    if let Some(at) = at {
        nal_units.splice(at..at, sets.iter().map(Vec::as_slice));
    }
    Ok(nal_units)
}

/// The NAL units of an elementary stream, without zeros behind them.
pub fn nal_units(annex_b: &[u8]) -> Vec<&[u8]> {
    let codes = annex_b.windows(3).enumerate().filter(|(_, code)| *code == [0, 0, 1]);
    let starts: Vec<usize> = codes.map(|(at, _)| at).collect();
    let unit = |(number, start): (usize, &usize)| {
        let end = starts.get(number + 1).copied().unwrap_or(annex_b.len());
        let unit = &annex_b[start + 3..end];
        &unit[..unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)]
    };
    starts.iter().enumerate().map(unit).collect()
}

/// What a multiplexer of transport streams adds to a source's access units.
#[derive(Debug, Clone, Copy, Default)]
pub struct Additions<'a> {
    /// A delimiter before each.
    pub delimiter: Option<&'a [u8]>,
    /// NAL units before the first slice of a key picture.
    pub sets: &'a [Vec<u8>],
}

/// Access units as a transport stream carries them hold what the source's do beside what is added;
/// and their stamps lie as far apart.
pub fn of_transport_stream(
    source: &Source,
    packets: &[&Packet],
    pieces: &[Vec<u8>],
    added: &Additions<'_>,
) -> Result<()> {
    ensure!(packets.len() == source.units.len(), "{} packets", packets.len());
    let expected = of_rtp(source, &[])?;
    for (number, (unit, piece)) in source.units.iter().zip(pieces).enumerate() {
        let mut wanted = with_sets(source, unit, added.sets)?;
        wanted.splice(0..0, added.delimiter);
        ensure!(nal_units(piece) == wanted, "unit {number} holds something else");
        let (packet, at) = (packets[number], &expected[number]);
        for (stamp, wanted) in [(packet.pts, at.pts), (packet.dts, at.dts)] {
            let first = packets[0].pts.context("no PTS")?;
            let since = i64::try_from(stamp.context("no stamp")?)? - i64::try_from(first)?;
            let wanted = wanted - expected[0].pts;
            ensure!(since == wanted, "unit {number} is at {since}, not {wanted}");
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nal_units_lie_behind_either_start_code() {
        let stream = [0, 0, 0, 1, 9, 16, 0, 0, 1, 7, 0, 0, 3, 0, 0, 0, 0, 1, 5, 0];
        let units: [&[u8]; 3] = [&[9, 16], &[7, 0, 0, 3], &[5]];
        assert_eq!(nal_units(&stream), units);
        assert!(nal_units(&[0, 0]).is_empty());
    }
}
