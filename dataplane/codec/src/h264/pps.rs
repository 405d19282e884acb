//! Picture parameter set (7.3.2.2) as far as slice headers need it. Nothing read here depends on
//! the sequence parameter set, which may come later.

use crate::Error;
use crate::rbsp::BitReader;

use super::NalType;

/// What is kept of a picture parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pps {
    /// pic_parameter_set_id.
    pub id: u8,
    /// seq_parameter_set_id.
    pub sps_id: u8,
    /// bottom_field_pic_order_in_frame_present_flag.
    pub bottom_field_pic_order: bool,
    /// redundant_pic_cnt_present_flag.
    pub redundant_pic_cnt: bool,
}

impl Pps {
    /// Parses a PPS NAL unit, header byte first.
    pub fn parse(nal: &[u8]) -> Result<Self, Error> {
        let (header, rest) = nal.split_first().ok_or(Error::Truncated)?;
        if NalType::of(*header) != NalType::PPS {
            return Err(Error::WrongType);
        }
        let bits = &mut BitReader::new(rest);
        let id = bits.ue8(255, "pic_parameter_set_id")?;
        let sps_id = bits.ue8(31, "seq_parameter_set_id")?;
        let _entropy_coding_mode = bits.flag()?;
        let bottom_field_pic_order = bits.flag()?;
        skip_slice_groups(bits)?;
        let _num_ref_idx_l0_default_active_minus1 =
            bits.ue_max(31, "num_ref_idx_l0_default_active_minus1")?;
        let _num_ref_idx_l1_default_active_minus1 =
            bits.ue_max(31, "num_ref_idx_l1_default_active_minus1")?;
        let _weighted_pred_and_bipred_idc = bits.bits(3)?;
        let _pic_init_qp_minus26 = bits.se()?;
        let _pic_init_qs_minus26 = bits.se()?;
        let _chroma_qp_index_offset = bits.se()?;
        let _deblocking_filter_control_present = bits.flag()?;
        let _constrained_intra_pred = bits.flag()?;
        Ok(Self { id, sps_id, bottom_field_pic_order, redundant_pic_cnt: bits.flag()? })
    }
}

/// The slice group map of flexible macroblock ordering (Baseline and Extended).
fn skip_slice_groups(bits: &mut BitReader<'_>) -> Result<(), Error> {
    let groups = bits.ue_max(7, "num_slice_groups_minus1")? + 1;
    if groups == 1 {
        return Ok(());
    }
    match bits.ue_max(6, "slice_group_map_type")? {
        0 => {
            for _ in 0..groups {
                let _run_length_minus1 = bits.ue()?;
            }
        }
        2 => {
            for _ in 1..groups {
                let _top_left = bits.ue()?;
                let _bottom_right = bits.ue()?;
            }
        }
        3..=5 => {
            let _slice_group_change_direction = bits.flag()?;
            let _slice_group_change_rate_minus1 = bits.ue()?;
        }
        6 => {
            let map_units = bits.ue()?;
            // Ceil(Log2(groups)) bits each; the end of the bytes bounds the loop.
            let id_bits = if groups > 4 { 3 } else { groups.to_le_bytes()[0].div_ceil(2) };
            for _ in 0..=map_units {
                let _slice_group_id = bits.bits(id_bits)?;
            }
        }
        _ => {}
    }
    Ok(())
}
