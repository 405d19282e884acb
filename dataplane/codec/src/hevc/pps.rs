//! Picture parameter set (7.3.2.3) as far as slice headers need it.

use crate::Error;
use crate::rbsp::BitReader;

use super::{NalType, payload_of};

/// What is kept of a picture parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pps {
    /// pps_pic_parameter_set_id.
    pub id: u8,
    /// pps_seq_parameter_set_id.
    pub sps_id: u8,
    /// dependent_slice_segments_enabled_flag.
    pub dependent_segments: bool,
    /// output_flag_present_flag.
    pub output_flag: bool,
    /// num_extra_slice_header_bits.
    pub extra_slice_header_bits: u8,
}

impl Pps {
    /// Parses a PPS NAL unit, header first.
    pub fn parse(nal: &[u8]) -> Result<Self, Error> {
        let bits = &mut BitReader::new(payload_of(nal, NalType::PPS)?);
        Ok(Self {
            id: bits.ue8(63, "pps_pic_parameter_set_id")?,
            sps_id: bits.ue8(15, "pps_seq_parameter_set_id")?,
            dependent_segments: bits.flag()?,
            output_flag: bits.flag()?,
            extra_slice_header_bits: bits.bits8(3)?,
        })
    }
}
