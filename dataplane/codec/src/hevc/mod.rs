//! HEVC (ITU-T H.265): NAL unit types, parameter sets, slice headers, access unit rules.

mod labels;
mod pps;
mod profile;
mod reference_sets;
mod sei;
mod sets;
mod slice;
mod sps;
mod vps;
mod vui;

pub use pps::Pps;
pub use sei::recovery_point;
pub use sets::ParameterSets;
pub use slice::{SLICE_PREFIX_BYTES, SliceHeader};
pub use sps::Sps;
pub use vps::Vps;

use crate::Error;

/// The two-byte NAL unit header (7.3.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NalHeader {
    /// nal_unit_type.
    pub nal_type: NalType,
    /// nuh_layer_id; above 0 in multi-layer extensions, which are no part of the base stream.
    pub layer_id: u8,
    /// TemporalId.
    pub temporal_id: u8,
}

impl NalHeader {
    /// Parses the first two bytes of a NAL unit. A forbidden bit or a temporal id of 0 on the wire
    /// is out of range.
    pub fn parse(nal: &[u8]) -> Result<Self, Error> {
        let [first, second, ..] = *nal else {
            return Err(Error::Truncated);
        };
        if first & 0x80 != 0 {
            return Err(Error::OutOfRange("forbidden_zero_bit"));
        }
        Ok(Self {
            nal_type: NalType::of(first),
            layer_id: (first & 1) << 5 | second >> 3,
            temporal_id: (second & 7)
                .checked_sub(1)
                .ok_or(Error::OutOfRange("nuh_temporal_id_plus1"))?,
        })
    }
}

/// nal_unit_type, table 7-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NalType(pub u8);

impl NalType {
    /// Video parameter set.
    pub const VPS: Self = Self(32);
    /// Sequence parameter set.
    pub const SPS: Self = Self(33);
    /// Picture parameter set.
    pub const PPS: Self = Self(34);
    /// Access unit delimiter.
    pub const AUD: Self = Self(35);
    /// End of sequence: the next CRA is handled like a BLA.
    pub const END_OF_SEQUENCE: Self = Self(36);
    /// End of bitstream.
    pub const END_OF_BITSTREAM: Self = Self(37);
    /// Filler data.
    pub const FILLER: Self = Self(38);
    /// Supplemental enhancement information before the picture.
    pub const PREFIX_SEI: Self = Self(39);
    /// Supplemental enhancement information after the picture.
    pub const SUFFIX_SEI: Self = Self(40);

    /// From the first byte of the NAL unit's header.
    pub const fn of(header: u8) -> Self {
        Self((header >> 1) & 0x3f)
    }

    /// Coded slice segment of a type that is not reserved (0 to 9, 16 to 21).
    pub const fn is_slice(self) -> bool {
        matches!(self.0, 0..=9 | 16..=21)
    }

    /// Coded picture data (0 to 31, the reserved ones too).
    pub const fn is_vcl(self) -> bool {
        self.0 <= 31
    }

    /// Intra random access point (16 to 23): a key frame.
    pub const fn is_irap(self) -> bool {
        matches!(self.0, 16..=23)
    }

    /// IDR_W_RADL or IDR_N_LP.
    pub const fn is_idr(self) -> bool {
        matches!(self.0, 19 | 20)
    }

    /// Clean random access: leading pictures may refer to what came before it.
    pub const fn is_cra(self) -> bool {
        self.0 == 21
    }

    /// Broken link access: its RASL pictures cannot be decoded.
    pub const fn is_bla(self) -> bool {
        matches!(self.0, 16..=18)
    }

    /// Random access skipped leading picture: not decodable when decoding starts at its IRAP.
    pub const fn is_rasl(self) -> bool {
        matches!(self.0, 8 | 9)
    }

    /// Random access decodable leading picture.
    pub const fn is_radl(self) -> bool {
        matches!(self.0, 6 | 7)
    }

    /// Starts an access unit when it comes after the last slice of the one before (7.4.2.4.4):
    /// VPS, SPS, PPS, AUD, prefix SEI, 41 to 44 and 48 to 55. The others (end of sequence, filler,
    /// suffix SEI) belong to the access unit before.
    pub const fn starts_access_unit(self) -> bool {
        matches!(self.0, 32..=35 | 39 | 41..=44 | 48..=55)
    }
}

/// What follows the header of a parameter set NAL unit of the base layer, if it is of `wanted` type.
fn payload_of(nal: &[u8], wanted: NalType) -> Result<&[u8], Error> {
    let header = NalHeader::parse(nal)?;
    if header.nal_type != wanted {
        return Err(Error::WrongType);
    }
    if header.layer_id != 0 {
        return Err(Error::OutOfRange("nuh_layer_id"));
    }
    nal.get(2..).ok_or(Error::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(predicate: fn(NalType) -> bool) -> Vec<u8> {
        (0..64).filter(|kind| predicate(NalType(*kind))).collect()
    }

    #[test]
    fn nal_types_that_start_an_access_unit_after_a_slice() {
        let starting = types(NalType::starts_access_unit);
        let expected: Vec<u8> = (32..=35).chain([39]).chain(41..=44).chain(48..=55).collect();
        assert_eq!(starting, expected);
    }

    #[test]
    fn classes_of_slices() {
        assert_eq!(types(NalType::is_irap), (16..=23).collect::<Vec<_>>());
        assert_eq!(types(NalType::is_idr), [19, 20]);
        assert_eq!(types(NalType::is_bla), [16, 17, 18]);
        assert_eq!(types(NalType::is_cra), [21]);
        assert_eq!(types(NalType::is_radl), [6, 7]);
        assert_eq!(types(NalType::is_rasl), [8, 9]);
        assert_eq!(types(NalType::is_vcl), (0..32).collect::<Vec<_>>());
        assert_eq!(types(NalType::is_slice), (0..10).chain(16..22).collect::<Vec<_>>());
    }

    #[test]
    fn headers() {
        let header = NalHeader::parse(&[0x40, 0x01, 0x0c, 0x01]).unwrap();
        assert_eq!(header, NalHeader { nal_type: NalType::VPS, layer_id: 0, temporal_id: 0 });
        let header = NalHeader::parse(&[0x03, 0x0b]).unwrap();
        assert_eq!(header, NalHeader { nal_type: NalType(1), layer_id: 33, temporal_id: 2 });
        assert_eq!(
            NalHeader::parse(&[0x40, 0x00]),
            Err(Error::OutOfRange("nuh_temporal_id_plus1"))
        );
        assert_eq!(NalHeader::parse(&[0xc0, 0x01]), Err(Error::OutOfRange("forbidden_zero_bit")));
        assert_eq!(NalHeader::parse(&[0x40]), Err(Error::Truncated));
    }
}
