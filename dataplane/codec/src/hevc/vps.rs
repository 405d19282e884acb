//! Video parameter set (7.3.2.1) as far as its timing.

use crate::Error;
use crate::format::rate;
use crate::rbsp::BitReader;

use super::profile::{ProfileTierLevel, read_sub_layer_ordering};
use super::{NalType, payload_of};

/// What is kept of a video parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vps {
    /// vps_video_parameter_set_id.
    pub id: u8,
    /// Pictures a second, when declared.
    pub picture_rate: Option<(u32, u32)>,
}

impl Vps {
    /// Parses a VPS NAL unit, header first.
    pub fn parse(nal: &[u8]) -> Result<Self, Error> {
        let bits = &mut BitReader::new(payload_of(nal, NalType::VPS)?);
        let id = bits.bits8(4)?;
        // Base layer flags and vps_max_layers_minus1.
        bits.skip(2 + 6)?;
        let sub_layers_minus1 = bits.bits8(3)?;
        let _temporal_id_nesting = bits.flag()?;
        let _reserved_0xffff = bits.bits(16)?;
        ProfileTierLevel::read(sub_layers_minus1, bits)?;
        read_sub_layer_ordering(sub_layers_minus1, bits)?;
        let max_layer_id = bits.bits(6)?;
        let layer_sets_minus1 = bits.ue_max(1023, "vps_num_layer_sets_minus1")?;
        // layer_id_included_flag of each layer in each set but the first.
        bits.skip(layer_sets_minus1 * (max_layer_id + 1))?;
        let picture_rate = if bits.flag()? { read_tick_rate(bits)? } else { None };
        Ok(Self { id, picture_rate })
    }
}

/// num_units_in_tick and time_scale, alike in VPS and VUI: ticks a second. A picture takes one.
pub(super) fn read_tick_rate(bits: &mut BitReader<'_>) -> Result<Option<(u32, u32)>, Error> {
    let units_in_tick = u64::from(bits.bits(32)?);
    let time_scale = u64::from(bits.bits(32)?);
    Ok(rate(time_scale, units_in_tick))
}
