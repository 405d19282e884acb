//! Slice header (7.3.3) as far as picture boundaries need it.

use crate::rbsp::BitReader;
use crate::{Error, SliceType};

use super::{NalType, ParameterSets, PicOrder, nal_ref_idc};

/// Bytes of a slice NAL unit, header byte first, that surely hold all that is parsed here: the
/// fields take at most 281 bits, with an emulation prevention byte after every two of their bytes
/// in the worst case.
pub const SLICE_PREFIX_BYTES: usize = 64;

/// The fields before the first that needs a parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceStart {
    /// first_mb_in_slice.
    pub first_mb: u32,
    /// slice_type.
    pub slice_type: SliceType,
    /// pic_parameter_set_id.
    pub pps_id: u8,
}

impl SliceStart {
    /// Parses the start of a slice NAL unit (types 1, 2, 5), header byte first.
    pub fn parse(nal: &[u8]) -> Result<Self, Error> {
        let (header, rest) = nal.split_first().ok_or(Error::Truncated)?;
        if !NalType::of(*header).is_slice() {
            return Err(Error::WrongType);
        }
        Self::read(&mut BitReader::prefix(rest))
    }

    fn read(bits: &mut BitReader<'_>) -> Result<Self, Error> {
        let first_mb = bits.ue()?;
        // Types 5 to 9 promise that all slices of the picture are alike (table 7-6).
        let slice_type = match bits.ue_max(9, "slice_type")? % 5 {
            1 => SliceType::B,
            2 | 4 => SliceType::I,
            _ => SliceType::P,
        };
        Ok(Self { first_mb, slice_type, pps_id: bits.ue8(255, "pic_parameter_set_id")? })
    }
}

/// The fields of a slice header that tell pictures apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceHeader {
    /// nal_ref_idc; 0 for a picture that no other refers to.
    pub nal_ref_idc: u8,
    /// IdrPicFlag: nal_unit_type is 5.
    pub idr: bool,
    /// first_mb_in_slice.
    pub first_mb: u32,
    /// slice_type.
    pub slice_type: SliceType,
    /// pic_parameter_set_id.
    pub pps_id: u8,
    /// seq_parameter_set_id of that PPS.
    pub sps_id: u8,
    /// colour_plane_id, 0 when planes are not coded apart.
    pub colour_plane_id: u8,
    /// frame_num.
    pub frame_num: u16,
    /// field_pic_flag: the picture is one field.
    pub field_pic: bool,
    /// bottom_field_flag.
    pub bottom_field: bool,
    /// idr_pic_id, 0 in other pictures.
    pub idr_pic_id: u16,
    /// The coded part of the picture order count.
    pub pic_order: SlicePicOrder,
    /// redundant_pic_cnt; above 0 the slice repeats one of the primary picture.
    pub redundant_pic_cnt: u8,
    /// The profile allows slices of a picture in any order (Baseline and Extended).
    pub arbitrary_slice_order: bool,
}

/// What a slice header codes of the picture order count, by pic_order_cnt_type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlicePicOrder {
    /// Type 0.
    Lsb {
        /// pic_order_cnt_lsb.
        lsb: u16,
        /// delta_pic_order_cnt_bottom.
        delta_bottom: i32,
    },
    /// Type 1: delta_pic_order_cnt.
    Expected([i32; 2]),
    /// Type 2.
    Decoding,
}

impl SliceHeader {
    /// Parses the header of a slice NAL unit (types 1, 2, 5), header byte first;
    /// [`SLICE_PREFIX_BYTES`] of it suffice.
    pub fn parse(nal: &[u8], sets: &ParameterSets) -> Result<Self, Error> {
        let (header, rest) = nal.split_first().ok_or(Error::Truncated)?;
        if !NalType::of(*header).is_slice() {
            return Err(Error::WrongType);
        }
        let bits = &mut BitReader::prefix(rest);
        let start = SliceStart::read(bits)?;
        let pps = sets.pps(start.pps_id).ok_or(Error::UnknownPps(start.pps_id))?;
        let sps = sets.sps(pps.sps_id).ok_or(Error::UnknownSps(pps.sps_id))?;
        let idr = NalType::of(*header) == NalType::IDR;
        let colour_plane_id = if sps.separate_colour_planes { bits.bits8(2)? } else { 0 };
        let frame_num = bits.bits16(sps.frame_num_bits)?;
        let field_pic = !sps.frame_mbs_only && bits.flag()?;
        let bottom_field = field_pic && bits.flag()?;
        let idr_pic_id = if idr { bits.ue_max(0xffff, "idr_pic_id")? } else { 0 };
        let has_bottom = pps.bottom_field_pic_order && !field_pic;
        let pic_order = SlicePicOrder::read(sps.pic_order, has_bottom, bits)?;
        let redundant_pic_cnt =
            if pps.redundant_pic_cnt { bits.ue8(127, "redundant_pic_cnt")? } else { 0 };
        Ok(Self {
            nal_ref_idc: nal_ref_idc(*header),
            idr,
            first_mb: start.first_mb,
            slice_type: start.slice_type,
            pps_id: start.pps_id,
            sps_id: pps.sps_id,
            colour_plane_id,
            frame_num,
            field_pic,
            bottom_field,
            idr_pic_id: u16::try_from(idr_pic_id).unwrap_or_default(),
            pic_order,
            redundant_pic_cnt,
            arbitrary_slice_order: sps.arbitrary_slice_order,
        })
    }

    /// The slice is the first of another primary picture than `prev`'s, the last primary slice
    /// before it (7.4.1.2.4).
    ///
    /// Encoders that repeat every compared field (all-intra cameras with a constant idr_pic_id)
    /// are told apart by first_mb_in_slice: where slices come in order, it does not go back
    /// within a picture.
    pub fn starts_new_picture(&self, prev: &Self) -> bool {
        if self.redundant_pic_cnt > 0 {
            return false;
        }
        let one_is_no_reference = self.nal_ref_idc == 0 || prev.nal_ref_idc == 0;
        let goes_back = !self.arbitrary_slice_order
            && self.colour_plane_id == prev.colour_plane_id
            && self.first_mb <= prev.first_mb;
        self.frame_num != prev.frame_num
            || self.pps_id != prev.pps_id
            || self.sps_id != prev.sps_id
            || self.field_pic != prev.field_pic
            || self.bottom_field != prev.bottom_field
            || (self.nal_ref_idc != prev.nal_ref_idc && one_is_no_reference)
            || self.pic_order != prev.pic_order
            || self.idr != prev.idr
            || self.idr_pic_id != prev.idr_pic_id
            || goes_back
    }

    /// The picture is the second field of the frame whose first field is `first`'s picture, the
    /// one directly before it and not itself a second field (3.30 and 3.31, complementary field
    /// pairs).
    pub fn is_second_field_of(&self, first: &Self) -> bool {
        self.field_pic
            && first.field_pic
            && self.bottom_field != first.bottom_field
            && self.frame_num == first.frame_num
            && !self.idr
            && (self.nal_ref_idc == 0) == (first.nal_ref_idc == 0)
    }
}

impl SlicePicOrder {
    fn read(coding: PicOrder, has_bottom: bool, bits: &mut BitReader<'_>) -> Result<Self, Error> {
        match coding {
            PicOrder::Lsb { bits: width } => {
                Ok(Self::Lsb { lsb: bits.bits16(width)?, delta_bottom: se_if(has_bottom, bits)? })
            }
            PicOrder::Expected { always_zero } => Ok(Self::Expected([
                se_if(!always_zero, bits)?,
                se_if(!always_zero && has_bottom, bits)?,
            ])),
            PicOrder::Decoding => Ok(Self::Decoding),
        }
    }
}

/// se(v) of a field that may be absent, which means 0.
fn se_if(present: bool, bits: &mut BitReader<'_>) -> Result<i32, Error> {
    if present { bits.se() } else { Ok(0) }
}
