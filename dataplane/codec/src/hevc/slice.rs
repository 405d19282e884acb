//! Slice segment header (7.3.6.1) as far as slice_type.

use crate::{Error, SliceType};

use super::{NalHeader, ParameterSets};

/// Bytes of a slice NAL unit, header first, that surely hold all that is parsed here.
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
}

impl SliceHeader {
    /// first_slice_segment_in_pic_flag of a slice NAL unit, which needs no parameter set: it
    /// starts an access unit after the last slice of the one before.
    pub fn is_first_in_picture(_nal: &[u8]) -> Option<bool> {
        unimplemented!()
    }

    /// Parses the header of a slice NAL unit, header first; [`SLICE_PREFIX_BYTES`] suffice.
    pub fn parse(_nal: &[u8], _sets: &ParameterSets) -> Result<Self, Error> {
        unimplemented!()
    }
}
