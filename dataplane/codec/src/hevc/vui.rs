//! Video usability information (annex E) as far as its timing.

use crate::Error;
use crate::format::{Colour, sample_aspect_ratio};
use crate::h264::vui::{EXTENDED_SAR, read_video_signal_type};
use crate::rbsp::BitReader;

use super::vps::read_tick_rate;

/// What is kept of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vui {
    pub(super) sar: (u16, u16),
    pub(super) colour: Colour,
    pub(super) field_seq: bool,
    pub(super) picture_rate: Option<(u32, u32)>,
}

impl Vui {
    pub(super) const ABSENT: Self =
        Self { sar: (0, 0), colour: Colour::UNSPECIFIED, field_seq: false, picture_rate: None };

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
        let _neutral_chroma_indication = bits.flag()?;
        self.field_seq = bits.flag()?;
        let _frame_field_info_present = bits.flag()?;
        if bits.flag()? {
            for _default_display_window_offset in 0..4 {
                bits.ue()?;
            }
        }
        if bits.flag()? {
            self.picture_rate = read_tick_rate(bits)?;
        }
        Ok(())
    }
}
