//! How access units lie in PES packets.

use super::{
    AccessUnit,
    mux::{Muxer, Pes, Program, Stream},
};

/// The relation of access units to PES packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Each unit in a PES packet of its own.
    OnePerUnit,
    /// So many whole units in a PES packet; only the first has a stamp.
    UnitsPerPes(usize),
    /// Each unit over so many PES packets; only the first has a stamp.
    PesPerUnit(usize),
    /// PES packets of so many payload bytes, wherever units begin. A cut that would fall into
    /// the first bytes of a unit is moved in front of it: whose stamp that is, readers disagree.
    Unaligned(usize),
}

/// Bytes of a unit that stay together: a long start code and the first NAL unit's header.
const HEAD: usize = 6;

/// The presentation clock runs so far behind the program clock.
const CLOCK_AHEAD: u64 = 45_000;

/// Units as PES packets, and which units have a stamp of their own.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    /// The PES packets in order, with the decoding time that places them in the stream.
    pub pes: Vec<(u64, Pes)>,
    /// For each unit: the PES packet it begins in carries its stamp.
    pub stamped: Vec<bool>,
}

/// Puts units into PES packets.
pub fn pack(units: &[AccessUnit], packing: Packing, bounded: bool) -> Packed {
    let starts: Vec<usize> = units
        .iter()
        .scan(0, |at, unit| {
            let start = *at;
            *at += unit.bytes.len();
            Some(start)
        })
        .collect();
    let stream: Vec<u8> = units.iter().flat_map(|unit| unit.bytes.clone()).collect();
    let cuts = cuts(&starts, stream.len(), packing);
    let mut packed = Packed { pes: Vec::new(), stamped: vec![false; units.len()] };
    let mut time = 0;
    for (from, to) in cuts.iter().zip(cuts.iter().skip(1)) {
        let first = starts.iter().position(|start| (from..to).contains(&start));
        let unit = first.map(|index| {
            packed.stamped[index] = true;
            &units[index]
        });
        time = unit.map_or(time, |unit| unit.dts);
        let pes = Pes {
            pts: unit.map(|unit| unit.pts),
            dts: unit.map(|unit| unit.dts),
            pcr: unit.map(|unit| clock(unit.dts)),
            bounded,
            payload: stream[*from..*to].to_vec(),
        };
        packed.pes.push((time, pes));
    }
    packed
}

fn clock(dts: u64) -> u64 {
    ((dts + (1 << 33) - CLOCK_AHEAD) % (1 << 33)) * 300
}

/// Where PES packets begin, and the end.
fn cuts(starts: &[usize], end: usize, packing: Packing) -> Vec<usize> {
    let ends = starts.iter().skip(1).copied().chain([end]);
    let mut cuts: Vec<usize> = match packing {
        Packing::OnePerUnit => starts.to_vec(),
        Packing::UnitsPerPes(units) => starts.iter().copied().step_by(units).collect(),
        Packing::PesPerUnit(pieces) => starts
            .iter()
            .zip(ends)
            .flat_map(|(&start, end)| {
                let size = (end - start).div_ceil(pieces).max(HEAD);
                (start..end).step_by(size)
            })
            .collect(),
        Packing::Unaligned(size) => (0..end)
            .step_by(size)
            .map(|cut| {
                let unit = starts.iter().rev().find(|start| **start <= cut).copied();
                unit.filter(|start| cut - start < HEAD).unwrap_or(cut)
            })
            .collect(),
    };
    cuts.push(end);
    cuts.dedup();
    cuts
}

/// A whole stream of one program from packed tracks, in the order of decoding times, tables
/// repeated every `tables_every` PES packets.
pub fn mux(tracks: &[(Stream, Packed)], tables_every: usize) -> Vec<u8> {
    let streams = tracks.iter().map(|(stream, _)| stream.clone()).collect();
    let mut muxer = Muxer::new(vec![Program::single(streams)]);
    let mut order: Vec<(u64, &Stream, &Pes)> = tracks
        .iter()
        .flat_map(|(stream, packed)| packed.pes.iter().map(move |(time, pes)| (*time, stream, pes)))
        .collect();
    order.sort_by_key(|(time, _, _)| *time);
    for (number, (_, stream, pes)) in order.into_iter().enumerate() {
        if number.is_multiple_of(tables_every) {
            muxer.tables();
        }
        muxer.pes(stream, pes);
    }
    muxer.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(sizes: &[usize]) -> Vec<AccessUnit> {
        let unit = |(number, size): (u64, &usize)| AccessUnit {
            bytes: vec![u8::try_from(number).unwrap(); *size],
            pts: number * 3000,
            dts: number * 3000,
            key: number == 0,
            class: "p",
            field: None,
        };
        (0..).zip(sizes).map(unit).collect()
    }

    fn sizes(packed: &Packed) -> Vec<usize> {
        packed.pes.iter().map(|(_, pes)| pes.payload.len()).collect()
    }

    #[test]
    fn each_packing_keeps_all_bytes_in_order() {
        let units = units(&[100, 50, 7, 300]);
        let whole: Vec<u8> = units.iter().flat_map(|unit| unit.bytes.clone()).collect();
        for packing in [
            Packing::OnePerUnit,
            Packing::UnitsPerPes(3),
            Packing::PesPerUnit(4),
            Packing::Unaligned(64),
        ] {
            let packed = pack(&units, packing, true);
            let bytes: Vec<u8> =
                packed.pes.iter().flat_map(|(_, pes)| pes.payload.clone()).collect();
            assert_eq!(bytes, whole, "{packing:?}");
        }
    }

    #[test]
    fn the_stamp_is_that_of_the_first_unit_that_begins() {
        let packed = pack(&units(&[100, 50, 7, 300]), Packing::Unaligned(64), false);
        assert_eq!(sizes(&packed), [64, 64, 64, 64, 64, 64, 64, 9]);
        let stamps: Vec<_> = packed.pes.iter().map(|(_, pes)| pes.pts).collect();
        assert_eq!(stamps[..4], [Some(0), Some(3000), Some(6000), None]);
        assert_eq!(packed.stamped, [true, true, true, false]);
    }

    #[test]
    fn cuts_move_out_of_a_units_first_bytes() {
        let packed = pack(&units(&[60, 60]), Packing::Unaligned(64), false);
        assert_eq!(sizes(&packed), [60, 60]);
    }
}
