//! Video usability information (annex E).

use crate::Error;
use crate::format::{Colour, rate, sample_aspect_ratio};
use crate::rbsp::BitReader;

/// What is kept of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vui {
    pub(super) sar: (u16, u16),
    pub(super) colour: Colour,
    pub(super) frame_rate: Option<(u32, u32)>,
    pub(super) reorder_frames: Option<u8>,
}

/// aspect_ratio_idc that is followed by the ratio itself.
pub(crate) const EXTENDED_SAR: u8 = 255;

impl Vui {
    pub(super) const ABSENT: Self =
        Self { sar: (0, 0), colour: Colour::UNSPECIFIED, frame_rate: None, reorder_frames: None };

    /// Reads as far as the bits make sense.
    pub(super) fn read(bits: &mut BitReader<'_>) -> Self {
        let mut vui = Self::ABSENT;
        let _cut_short = vui.fill(bits).is_err();
        vui
    }

    fn fill(&mut self, bits: &mut BitReader<'_>) -> Result<(), Error> {
        if bits.flag()? {
            self.sar = match bits.bits8(8)? {
                EXTENDED_SAR => (bits.bits16(16)?, bits.bits16(16)?),
                idc => sample_aspect_ratio(idc),
            };
        }
        if bits.flag()? {
            let _overscan_appropriate = bits.flag()?;
        }
        if bits.flag()? {
            self.colour = read_video_signal_type(bits)?;
        }
        if bits.flag()? {
            let _chroma_sample_loc_type_top_field = bits.ue()?;
            let _chroma_sample_loc_type_bottom_field = bits.ue()?;
        }
        if bits.flag()? {
            let units_in_tick = u64::from(bits.bits(32)?);
            let time_scale = u64::from(bits.bits(32)?);
            let _fixed_frame_rate = bits.flag()?;
            // A tick is a field (E.2.1, table E-6), also in streams without fields.
            self.frame_rate = rate(time_scale, 2 * units_in_tick);
        }
        let nal_hrd = bits.flag()?;
        if nal_hrd {
            skip_hrd(bits)?;
        }
        let vcl_hrd = bits.flag()?;
        if vcl_hrd {
            skip_hrd(bits)?;
        }
        if nal_hrd || vcl_hrd {
            let _low_delay_hrd = bits.flag()?;
        }
        let _pic_struct_present = bits.flag()?;
        if bits.flag()? {
            let _motion_vectors_over_pic_boundaries = bits.flag()?;
            let _max_bytes_per_pic_denom = bits.ue()?;
            let _max_bits_per_mb_denom = bits.ue()?;
            let _log2_max_mv_length_horizontal = bits.ue()?;
            let _log2_max_mv_length_vertical = bits.ue()?;
            self.reorder_frames = Some(bits.ue8(16, "max_num_reorder_frames")?);
        }
        Ok(())
    }
}

/// video_format, video_full_range_flag and the colour description, alike in H.264 and H.265.
pub(crate) fn read_video_signal_type(bits: &mut BitReader<'_>) -> Result<Colour, Error> {
    let _video_format = bits.bits(3)?;
    let mut colour = Colour { full_range: bits.flag()?, ..Colour::UNSPECIFIED };
    if bits.flag()? {
        colour.primaries = bits.bits8(8)?;
        colour.transfer = bits.bits8(8)?;
        colour.matrix = bits.bits8(8)?;
    }
    Ok(colour)
}

/// hrd_parameters() (E.1.2).
fn skip_hrd(bits: &mut BitReader<'_>) -> Result<(), Error> {
    let cpb_count = bits.ue_max(31, "cpb_cnt_minus1")? + 1;
    let _bit_rate_scale = bits.bits(4)?;
    let _cpb_size_scale = bits.bits(4)?;
    for _ in 0..cpb_count {
        let _bit_rate_value = bits.ue()?;
        let _cpb_size_value = bits.ue()?;
        let _cbr = bits.flag()?;
    }
    // Four lengths of 5 bits.
    bits.skip(20)
}
