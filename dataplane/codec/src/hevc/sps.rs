//! Sequence parameter set (7.3.2.2). Its extensions come after the VUI and are not read.

use crate::Error;
use crate::format::{Chroma, VideoFormat, rate};
use crate::rbsp::BitReader;
use crate::sink::Codec;

use super::profile::{ProfileTierLevel, read_sub_layer_ordering};
use super::reference_sets::{skip_long_term_pictures, skip_short_term_sets};
use super::vui::Vui;
use super::{NalType, labels, payload_of};

/// Greatest picture size in luma samples, either way: twice what level 6.2 allows (A.4.2).
const SIZE_MAX: u32 = 2 * 16_888;

/// What is kept of a sequence parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sps {
    /// sps_seq_parameter_set_id.
    pub id: u8,
    /// sps_video_parameter_set_id.
    pub vps_id: u8,
    /// What it says of the pictures.
    pub format: VideoFormat,
    /// general_tier_flag.
    pub high_tier: bool,
    /// separate_colour_plane_flag.
    pub separate_colour_planes: bool,
    /// log2_max_pic_order_cnt_lsb_minus4 + 4.
    pub pic_order_cnt_lsb_bits: u8,
    /// sps_max_num_reorder_pics of the highest sub-layer.
    pub reorder_pics: u8,
    /// Bits of slice_segment_address: Ceil(Log2(PicSizeInCtbsY)).
    pub segment_address_bits: u8,
}

/// Picture size before and after cropping.
struct Size {
    coded: (u32, u32),
    cropped: (u32, u32),
}

impl Sps {
    /// Parses an SPS NAL unit, header first. A VUI that ends early counts as far as it goes.
    pub fn parse(nal: &[u8]) -> Result<Self, Error> {
        let bits = &mut BitReader::new(payload_of(nal, NalType::SPS)?);
        let vps_id = bits.bits8(4)?;
        let sub_layers_minus1 = bits.bits8(3)?;
        let _temporal_id_nesting = bits.flag()?;
        let level = ProfileTierLevel::read(sub_layers_minus1, bits)?;
        let id = bits.ue8(15, "sps_seq_parameter_set_id")?;
        let chroma = Chroma::from_idc(bits.ue()?).ok_or(Error::OutOfRange("chroma_format_idc"))?;
        let separate_planes = chroma == Chroma::C444 && bits.flag()?;
        let size = Size::read(chroma, separate_planes, bits)?;
        let bit_depth_luma = 8 + bits.ue8(8, "bit_depth_luma_minus8")?;
        let bit_depth_chroma = 8 + bits.ue8(8, "bit_depth_chroma_minus8")?;
        let pic_order_cnt_lsb_bits = 4 + bits.ue8(12, "log2_max_pic_order_cnt_lsb_minus4")?;
        let reorder_pics = read_sub_layer_ordering(sub_layers_minus1, bits)?;
        let segment_address_bits = size.segment_address_bits(read_coding_tree_bits(bits)?);
        skip_tools(bits)?;
        skip_short_term_sets(bits)?;
        skip_long_term_pictures(pic_order_cnt_lsb_bits, bits)?;
        let _temporal_mvp = bits.flag()?;
        let _strong_intra_smoothing = bits.flag()?;
        let vui = if bits.flag()? { Vui::read(bits) } else { Vui::ABSENT };
        Ok(Self {
            id,
            vps_id,
            format: VideoFormat {
                codec: Codec::Hevc,
                profile_idc: level.profile_idc,
                profile: labels::profile(level.profile_idc),
                level_idc: level.level_idc,
                level: labels::level(level.level_idc),
                width: size.cropped.0,
                height: size.cropped.1,
                coded_width: size.coded.0,
                coded_height: size.coded.1,
                bit_depth_luma,
                bit_depth_chroma,
                chroma,
                frame_rate: frame_rate(vui.picture_rate, vui.field_seq),
                field_coded: vui.field_seq,
                sar: vui.sar,
                colour: vui.colour,
            },
            high_tier: level.high_tier,
            separate_colour_planes: separate_planes,
            pic_order_cnt_lsb_bits,
            reorder_pics,
            segment_address_bits,
        })
    }
}

/// Frames a second from pictures a second: a picture is a field where field_seq_flag is set.
pub(super) fn frame_rate(picture_rate: Option<(u32, u32)>, field_seq: bool) -> Option<(u32, u32)> {
    let (numerator, denominator) = picture_rate?;
    let pictures = if field_seq { 2 } else { 1 };
    rate(numerator.into(), u64::from(denominator) * pictures)
}

impl Size {
    fn read(
        chroma: Chroma,
        separate_planes: bool,
        bits: &mut BitReader<'_>,
    ) -> Result<Self, Error> {
        let width = bits.ue_max(SIZE_MAX, "pic_width_in_luma_samples")?;
        let height = bits.ue_max(SIZE_MAX, "pic_height_in_luma_samples")?;
        if width == 0 || height == 0 {
            return Err(Error::OutOfRange("picture size"));
        }
        let mut cropped = (width, height);
        if bits.flag()? {
            let (unit_x, unit_y) = if separate_planes { (1, 1) } else { chroma.subsampling() };
            cropped.0 = crop(width, unit_x, bits)?;
            cropped.1 = crop(height, unit_y, bits)?;
        }
        Ok(Self { coded: (width, height), cropped })
    }

    /// Ceil(Log2(PicSizeInCtbsY)) for coding tree blocks of 2^`ctb_bits` samples.
    fn segment_address_bits(&self, ctb_bits: u8) -> u8 {
        let blocks = |samples: u32| samples.div_ceil(1 << ctb_bits);
        let count = blocks(self.coded.0) * blocks(self.coded.1);
        let [bits, ..] = count.next_power_of_two().trailing_zeros().to_le_bytes();
        bits
    }
}

/// What two conformance window offsets leave of `coded` samples (7.4.3.2.1).
fn crop(coded: u32, unit: u32, bits: &mut BitReader<'_>) -> Result<u32, Error> {
    let before = u64::from(bits.ue()?);
    let after = u64::from(bits.ue()?);
    match u32::try_from((before + after) * u64::from(unit)) {
        Ok(cut) if cut < coded => Ok(coded - cut),
        _ => Err(Error::OutOfRange("conf_win_offset")),
    }
}

/// Block sizes; returns CtbLog2SizeY, which is at most 6.
fn read_coding_tree_bits(bits: &mut BitReader<'_>) -> Result<u8, Error> {
    let smallest = 3 + bits.ue8(3, "log2_min_luma_coding_block_size_minus3")?;
    let difference = bits.ue8(6 - smallest, "log2_diff_max_min_luma_coding_block_size")?;
    let _log2_min_luma_transform_block_size_minus2 = bits.ue()?;
    let _log2_diff_max_min_luma_transform_block_size = bits.ue()?;
    let _max_transform_hierarchy_depth_inter = bits.ue()?;
    let _max_transform_hierarchy_depth_intra = bits.ue()?;
    Ok(smallest + difference)
}

/// Scaling lists, the amp and sao flags, pcm.
fn skip_tools(bits: &mut BitReader<'_>) -> Result<(), Error> {
    let scaling_list_enabled = bits.flag()?;
    if scaling_list_enabled && bits.flag()? {
        skip_scaling_lists(bits)?;
    }
    let _amp_enabled = bits.flag()?;
    let _sample_adaptive_offset_enabled = bits.flag()?;
    if bits.flag()? {
        let _pcm_bit_depths_minus1 = bits.bits(8)?;
        let _log2_min_pcm_luma_coding_block_size_minus3 = bits.ue()?;
        let _log2_diff_max_min_pcm_luma_coding_block_size = bits.ue()?;
        let _pcm_loop_filter_disabled = bits.flag()?;
    }
    Ok(())
}

/// scaling_list_data() (7.3.4).
fn skip_scaling_lists(bits: &mut BitReader<'_>) -> Result<(), Error> {
    for size_id in 0..4u32 {
        let matrices = if size_id == 3 { 2 } else { 6 };
        for _ in 0..matrices {
            if !bits.flag()? {
                let _scaling_list_pred_matrix_id_delta = bits.ue()?;
                continue;
            }
            let dc = u32::from(size_id > 1);
            for _ in 0..dc + 64.min(16 << (2 * size_id)) {
                let _coefficient = bits.se()?;
            }
        }
    }
    Ok(())
}
