//! Slice segment header (7.3.6.1) as far as the picture order count.

use crate::rbsp::BitReader;
use crate::{Error, SliceType};

use super::{NalHeader, ParameterSets};

/// Bytes of a slice NAL unit, header first, that surely hold all that is parsed here: the fields
/// take at most 76 bits, with an emulation prevention byte after every two of their bytes in the
/// worst case.
pub const SLICE_PREFIX_BYTES: usize = 32;

/// The start of a slice segment header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceHeader {
    /// The NAL unit's header.
    pub nal: NalHeader,
    /// first_slice_segment_in_pic_flag: the segment starts a picture.
    pub first_in_picture: bool,
    /// slice_pic_parameter_set_id.
    pub pps_id: u8,
    /// dependent_slice_segment_flag.
    pub dependent: bool,
    /// slice_segment_address, in coding tree blocks.
    pub segment_address: u32,
    /// slice_type; a dependent segment has the type of the segment before it, so `None`.
    pub slice_type: Option<SliceType>,
    /// slice_pic_order_cnt_lsb, 0 in IDR pictures; a dependent segment has none.
    pub pic_order_cnt_lsb: Option<u16>,
}

impl SliceHeader {
    /// first_slice_segment_in_pic_flag of a slice NAL unit, which needs no parameter set: it
    /// starts an access unit after the last slice of the one before (7.4.2.4.5). `None` while the
    /// third byte is missing.
    pub fn is_first_in_picture(nal: &[u8]) -> Option<bool> {
        nal.get(2).map(|byte| byte & 0x80 != 0)
    }

    /// Parses the header of a slice NAL unit, header first; [`SLICE_PREFIX_BYTES`] suffice.
    pub fn parse(nal: &[u8], sets: &ParameterSets) -> Result<Self, Error> {
        let header = NalHeader::parse(nal)?;
        if !header.nal_type.is_slice() {
            return Err(Error::WrongType);
        }
        let bits = &mut BitReader::prefix(nal.get(2..).unwrap_or_default());
        let first_in_picture = bits.flag()?;
        if header.nal_type.is_irap() {
            let _no_output_of_prior_pics = bits.flag()?;
        }
        let pps_id = bits.ue8(63, "slice_pic_parameter_set_id")?;
        let pps = sets.pps(pps_id).ok_or(Error::UnknownPps(pps_id))?;
        let sps = sets.sps(pps.sps_id).ok_or(Error::UnknownSps(pps.sps_id))?;
        let dependent = !first_in_picture && pps.dependent_segments && bits.flag()?;
        let segment_address =
            if first_in_picture { 0 } else { bits.bits(sps.segment_address_bits)? };
        let mut slice = Self {
            nal: header,
            first_in_picture,
            pps_id,
            dependent,
            segment_address,
            slice_type: None,
            pic_order_cnt_lsb: None,
        };
        if dependent {
            return Ok(slice);
        }
        bits.skip(pps.extra_slice_header_bits.into())?;
        slice.slice_type = Some(read_slice_type(bits)?);
        let _pic_output = pps.output_flag && bits.flag()?;
        if sps.separate_colour_planes {
            let _colour_plane_id = bits.bits8(2)?;
        }
        let idr = header.nal_type.is_idr();
        slice.pic_order_cnt_lsb =
            Some(if idr { 0 } else { bits.bits16(sps.pic_order_cnt_lsb_bits)? });
        Ok(slice)
    }
}

/// slice_type (table 7-7).
fn read_slice_type(bits: &mut BitReader<'_>) -> Result<SliceType, Error> {
    match bits.ue()? {
        0 => Ok(SliceType::B),
        1 => Ok(SliceType::P),
        2 => Ok(SliceType::I),
        _ => Err(Error::OutOfRange("slice_type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::BitWriter;

    /// 640x480 in blocks of 64 (7 address bits), dependent segments, 2 extra bits.
    fn sets() -> ParameterSets {
        let mut sps = BitWriter::default();
        sps.u(4, 0).u(3, 0).u(1, 1).u(8, 1).u(32, 0x6000_0000).u(32, 0).u(16, 0).u(8, 93);
        sps.ue(0).ue(1).ue(640).ue(480).u(1, 0).ue(0).ue(0).ue(4).u(1, 1).ue(4).ue(2).ue(0);
        sps.ue(0).ue(3).ue(0).ue(3).ue(1).ue(1).u(4, 0).ue(0).u(4, 0).u(1, 0);
        let mut pps = BitWriter::default();
        pps.ue(9).ue(0).u(1, 1).u(1, 1).u(3, 2).u(8, 0);
        let mut sets = ParameterSets::new();
        sets.insert(&sps.nal(&[0x42, 1])).unwrap();
        sets.insert(&pps.nal(&[0x44, 1])).unwrap();
        sets
    }

    #[test]
    fn first_independent_and_dependent_segments() {
        let sets = sets();
        let idr = BitWriter::default().u(1, 1).u(1, 0).ue(9).u(2, 0).ue(2).u(8, 0).nal(&[0x26, 1]);
        let slice = SliceHeader::parse(&idr, &sets).unwrap();
        assert!(slice.first_in_picture && slice.nal.nal_type.is_idr());
        assert_eq!(slice.slice_type, Some(SliceType::I));

        let second =
            BitWriter::default().u(1, 0).ue(9).u(1, 0).u(7, 77).u(2, 3).ue(0).u(8, 0).nal(&[2, 1]);
        let slice = SliceHeader::parse(&second, &sets).unwrap();
        assert_eq!((slice.first_in_picture, slice.segment_address), (false, 77));
        assert_eq!(slice.slice_type, Some(SliceType::B));

        let dependent = BitWriter::default().u(1, 0).ue(9).u(1, 1).u(7, 78).u(8, 0).nal(&[2, 1]);
        let slice = SliceHeader::parse(&dependent, &sets).unwrap();
        assert!(slice.dependent);
        assert_eq!((slice.segment_address, slice.slice_type), (78, None));
    }

    #[test]
    fn missing_sets_and_bytes() {
        let slice = BitWriter::default().u(1, 1).ue(3).u(8, 0).nal(&[2, 1]);
        assert_eq!(SliceHeader::parse(&slice, &sets()), Err(Error::UnknownPps(3)));
        assert_eq!(SliceHeader::parse(&[2, 1], &sets()), Err(Error::Truncated));
        assert_eq!(SliceHeader::parse(&[0x40, 1, 0x80], &sets()), Err(Error::WrongType));
        assert_eq!(SliceHeader::is_first_in_picture(&[2, 1]), None);
        assert_eq!(SliceHeader::is_first_in_picture(&[2, 1, 0x80]), Some(true));
    }
}
