//! profile_tier_level() (7.3.3).
//!
//! ```text
//!  general:    space 2 | tier 1 | idc 5 | compatibility 32 | constraints 48 | level 8
//!  sub-layers: (profile present 1 | level present 1) each, to 8 of them when there is any
//!              [ 88 bits ] [ level 8 ] each, as present
//! ```

use crate::Error;
use crate::rbsp::BitReader;

/// The general profile, tier and level.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProfileTierLevel {
    pub(super) profile_idc: u8,
    pub(super) high_tier: bool,
    pub(super) level_idc: u8,
}

impl ProfileTierLevel {
    pub(super) fn read(sub_layers_minus1: u8, bits: &mut BitReader<'_>) -> Result<Self, Error> {
        let _general_profile_space = bits.bits(2)?;
        let high_tier = bits.flag()?;
        let mut profile_idc = bits.bits8(5)?;
        let compatibility = bits.bits(32)?;
        if profile_idc == 0 {
            // Flag j is bit 31 - j. The least profile that the stream conforms to stands in.
            let [least, ..] = (compatibility & 0x7fff_ffff).leading_zeros().to_le_bytes();
            profile_idc = least % 32;
        }
        bits.skip(48)?;
        let level_idc = bits.bits8(8)?;
        skip_sub_layers(sub_layers_minus1, bits)?;
        Ok(Self { profile_idc, high_tier, level_idc })
    }
}

fn skip_sub_layers(sub_layers_minus1: u8, bits: &mut BitReader<'_>) -> Result<(), Error> {
    if sub_layers_minus1 == 0 {
        return Ok(());
    }
    let present = bits.bits16(16)?;
    for layer in 0..sub_layers_minus1.min(8) {
        let flags = present << (2 * layer);
        if flags & 0x8000 != 0 {
            bits.skip(88)?;
        }
        if flags & 0x4000 != 0 {
            bits.skip(8)?;
        }
    }
    Ok(())
}

/// The sub-layer ordering of a VPS or SPS (7.3.2.1, 7.3.2.2): three codes for each sub-layer, or
/// for the highest only. Returns max_num_reorder_pics of the highest.
pub(super) fn read_sub_layer_ordering(
    sub_layers_minus1: u8,
    bits: &mut BitReader<'_>,
) -> Result<u8, Error> {
    let each = bits.flag()?;
    let mut reorder_pics = 0;
    for _ in if each { 0 } else { sub_layers_minus1 }..=sub_layers_minus1 {
        let _max_dec_pic_buffering_minus1 = bits.ue()?;
        reorder_pics = bits.ue8(16, "max_num_reorder_pics")?;
        let _max_latency_increase_plus1 = bits.ue()?;
    }
    Ok(reorder_pics)
}
