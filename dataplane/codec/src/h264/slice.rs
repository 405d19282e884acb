//! Slice header (7.3.3) as far as picture boundaries need it.

use crate::{Error, SliceType};

use super::ParameterSets;

/// Bytes of a slice NAL unit, header byte first, that surely hold all that is parsed here.
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
    pub fn parse(_nal: &[u8]) -> Result<Self, Error> {
        unimplemented!()
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
    /// pic_order_cnt_type of the SPS.
    pub pic_order_cnt_type: u8,
    /// pic_order_cnt_lsb (type 0).
    pub pic_order_cnt_lsb: u16,
    /// delta_pic_order_cnt_bottom (type 0).
    pub delta_pic_order_cnt_bottom: i32,
    /// delta_pic_order_cnt (type 1).
    pub delta_pic_order_cnt: [i32; 2],
    /// redundant_pic_cnt; above 0 the slice repeats one of the primary picture.
    pub redundant_pic_cnt: u8,
    /// The profile allows slices of a picture in any order (Baseline and Extended).
    pub arbitrary_slice_order: bool,
}

impl SliceHeader {
    /// Parses the header of a slice NAL unit (types 1, 2, 5), header byte first;
    /// [`SLICE_PREFIX_BYTES`] of it suffice.
    pub fn parse(_nal: &[u8], _sets: &ParameterSets) -> Result<Self, Error> {
        unimplemented!()
    }

    /// The slice is the first of another primary picture than `prev`'s, the last primary slice
    /// before it (7.4.1.2.4).
    pub fn starts_new_picture(&self, _prev: &Self) -> bool {
        unimplemented!()
    }

    /// The picture is the second field of the frame whose first field is `first`'s picture, the
    /// one directly before it and not itself a second field (3.30, complementary field pairs).
    pub fn is_second_field_of(&self, _first: &Self) -> bool {
        unimplemented!()
    }
}
