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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hevc::ParameterSets;
    use crate::testing::BitWriter;
    use proptest::prelude::*;

    const HEADER: [u8; 2] = [0x42, 0x01];

    /// profile_tier_level of Main 4.1 with sub-layers: those of odd number carry a profile, all
    /// carry a level.
    fn write_level(bits: &mut BitWriter, sub_layers_minus1: u32) {
        let general = |bits: &mut BitWriter| {
            bits.u(8, 1).u(32, 0x6000_0000).u(32, 0x9000_0000).u(16, 0);
        };
        general(bits);
        bits.u(8, 123);
        for layer in 0..sub_layers_minus1 {
            bits.u(1, layer % 2).u(1, 1);
        }
        if sub_layers_minus1 > 0 {
            for _ in sub_layers_minus1..8 {
                bits.u(2, 0);
            }
        }
        for layer in 0..sub_layers_minus1 {
            if layer % 2 == 1 {
                general(bits);
            }
            bits.u(8, 90);
        }
    }

    /// One short-term set as it is coded.
    #[derive(Debug, Clone)]
    enum Coded {
        /// (delta_poc_minus1, used) before and after.
        Explicit(Vec<(u32, bool)>, Vec<(u32, bool)>),
        /// Sign, abs_delta_rps_minus1 and, for as many pictures as needed, used_by_curr_pic and
        /// use_delta.
        Predicted(bool, u32, Vec<(bool, bool)>),
    }

    /// Writes the sets and follows them by the letter of 7.4.8: returns false when one holds more
    /// pictures than there can be.
    fn write_sets(bits: &mut BitWriter, coded: &[Coded]) -> bool {
        bits.ue(u32::try_from(coded.len()).unwrap());
        let mut previous: (Vec<i32>, Vec<i32>) = Default::default();
        for (index, set) in coded.iter().enumerate() {
            let mut next: (Vec<i32>, Vec<i32>) = Default::default();
            if index > 0 {
                bits.u(1, matches!(set, Coded::Predicted(..)).into());
            }
            match set {
                Coded::Predicted(negative, magnitude, flags) if index > 0 => {
                    bits.u(1, u32::from(*negative)).ue(*magnitude);
                    let shift = i32::try_from(magnitude + 1).unwrap();
                    let shift = if *negative { -shift } else { shift };
                    // dPoc of each picture of the set before, then of its own: 0 + deltaRps.
                    let all: Vec<i32> =
                        previous.0.iter().chain(&previous.1).chain(&[0]).copied().collect();
                    for (delta, (used, kept)) in all.iter().zip(flags.iter().cycle()) {
                        bits.u(1, u32::from(*used));
                        if !used {
                            bits.u(1, u32::from(*kept));
                        }
                        let moved = delta + shift;
                        if (*used || *kept) && moved < 0 {
                            next.0.push(moved);
                        } else if (*used || *kept) && moved > 0 {
                            next.1.push(moved);
                        }
                    }
                    // Nearest first; a difference that occurs twice keeps both.
                    next.0.sort_by_key(|delta| -delta);
                    next.1.sort_unstable();
                }
                Coded::Predicted(..) => {
                    bits.ue(0).ue(0);
                }
                Coded::Explicit(before, after) => {
                    bits.ue(u32::try_from(before.len()).unwrap());
                    bits.ue(u32::try_from(after.len()).unwrap());
                    let mut delta = 0;
                    for (step, used) in before {
                        bits.ue(*step).u(1, u32::from(*used));
                        delta -= i32::try_from(step + 1).unwrap();
                        next.0.push(delta);
                    }
                    delta = 0;
                    for (step, used) in after {
                        bits.ue(*step).u(1, u32::from(*used));
                        delta += i32::try_from(step + 1).unwrap();
                        next.1.push(delta);
                    }
                }
            }
            if next.0.len() > 16 || next.1.len() > 16 {
                return false;
            }
            previous = next;
        }
        true
    }

    /// An SPS of 1920x1080 with these sets, long-term pictures, scaling lists, PCM, and timing at
    /// the end: to find 50 pictures a second, all before must be passed over exactly.
    fn sps(
        sub_layers_minus1: u32,
        sets: &[Coded],
        long_term: u32,
        field_seq: bool,
    ) -> Option<Vec<u8>> {
        let mut bits = BitWriter::default();
        bits.u(4, 2).u(3, sub_layers_minus1).u(1, 1);
        write_level(&mut bits, sub_layers_minus1);
        bits.ue(3).ue(1).ue(1920).ue(1088).u(1, 1).ue(0).ue(0).ue(0).ue(4).ue(2).ue(0).ue(4);
        bits.u(1, 1);
        for layer in 0..=sub_layers_minus1 {
            bits.ue(4).ue(layer.min(2)).ue(0);
        }
        // Blocks of 8 to 64, transforms of 4 to 32.
        bits.ue(0).ue(3).ue(0).ue(3).ue(1).ue(1);
        bits.u(1, 1).u(1, 1);
        for size in 0..4u32 {
            for matrix in 0..if size == 3 { 2 } else { 6 } {
                if matrix % 2 == 0 {
                    bits.u(1, 0).ue(0);
                    continue;
                }
                bits.u(1, 1);
                for coefficient in 0..64.min(16 << (2 * size)) + i32::from(size > 1) {
                    bits.se(coefficient % 5 - 2);
                }
            }
        }
        bits.u(2, 3).u(1, 1).u(8, 0x77).ue(0).ue(1).u(1, 0);
        if !write_sets(&mut bits, sets) {
            return None;
        }
        bits.u(1, 1).ue(long_term);
        for picture in 0..long_term {
            bits.u(8, picture).u(1, 1);
        }
        bits.u(2, 3).u(1, 1);
        // VUI: only the default display window and the timing.
        bits.u(4, 0).u(1, 0).u(1, field_seq.into()).u(1, 0).u(1, 1).ue(0).ue(1).ue(2).ue(3);
        bits.u(1, 1).u(32, 1001).u(32, 50_050).u(1, 0).u(1, 0).u(1, 0).u(1, 0);
        Some(bits.nal(&HEADER))
    }

    fn coded_set() -> impl Strategy<Value = Coded> {
        let side = || prop::collection::vec((0u32..40, any::<bool>()), 0..6);
        prop_oneof![
            (side(), side()).prop_map(|(before, after)| Coded::Explicit(before, after)),
            (any::<bool>(), 0u32..60, prop::collection::vec(any::<(bool, bool)>(), 1..40))
                .prop_map(|(sign, magnitude, flags)| Coded::Predicted(sign, magnitude, flags)),
        ]
    }

    proptest! {
        #[test]
        fn all_fields_before_the_timing_are_passed_over_exactly(
            sets in prop::collection::vec(coded_set(), 0..20),
            sub_layers_minus1 in 0u32..7,
            long_term in 0u32..33,
            field_seq: bool,
        ) {
            let nal = sps(sub_layers_minus1, &sets, long_term, field_seq);
            prop_assume!(nal.is_some());
            let sps = Sps::parse(&nal.unwrap()).unwrap();
            let rate = if field_seq { (25, 1) } else { (50, 1) };
            prop_assert_eq!(sps.format.frame_rate, Some(rate));
            prop_assert_eq!(sps.format.field_coded, field_seq);
            prop_assert_eq!((sps.id, sps.vps_id), (3, 2));
            prop_assert_eq!((sps.format.width, sps.format.height), (1920, 1080));
            prop_assert_eq!((sps.format.bit_depth_luma, sps.format.bit_depth_chroma), (10, 8));
            prop_assert_eq!(sps.format.level, "4.1");
            prop_assert_eq!(u32::from(sps.reorder_pics), sub_layers_minus1.min(2));
            // 30 by 17 blocks of 64.
            prop_assert_eq!(sps.segment_address_bits, 9);
        }
    }

    #[test]
    fn a_profile_of_zero_is_the_least_compatible_one() {
        let mut bits = BitWriter::default();
        bits.u(8, 0).u(32, 0x6000_0000).u(32, 0).u(16, 0).u(8, 93);
        let level = ProfileTierLevel::read(0, &mut BitReader::new(&bits.nal(&[]))).unwrap();
        assert_eq!((level.profile_idc, level.level_idc), (1, 93));
        let mut bits = BitWriter::default();
        bits.u(8, 0x20).u(32, 0).u(32, 0).u(16, 0).u(8, 93);
        let level = ProfileTierLevel::read(0, &mut BitReader::new(&bits.nal(&[]))).unwrap();
        assert_eq!((level.profile_idc, level.high_tier), (0, true));
    }

    #[test]
    fn the_vps_gives_the_rate_that_the_sps_lacks() {
        let mut vps = BitWriter::default();
        vps.u(4, 2).u(2, 3).u(6, 0).u(3, 1).u(1, 1).u(16, 0xffff);
        write_level(&mut vps, 1);
        vps.u(1, 0).ue(4).ue(2).ue(0);
        // Two layer sets over layers 0 to 2, then the timing.
        vps.u(6, 2).ue(1).u(3, 5).u(1, 1).u(32, 1001).u(32, 30_000);
        let mut sps = BitWriter::default();
        sps.u(4, 2).u(3, 0).u(1, 1);
        write_level(&mut sps, 0);
        sps.ue(0).ue(1).ue(64).ue(64).u(1, 0).ue(0).ue(0).ue(4).u(1, 1).ue(4).ue(2).ue(0);
        sps.ue(0).ue(3).ue(0).ue(3).ue(1).ue(1).u(4, 0).ue(0).u(4, 0).u(1, 0);
        let mut pps = BitWriter::default();
        pps.ue(5).ue(0).u(8, 0);
        let mut sets = ParameterSets::new();
        sets.insert(&pps.nal(&[0x44, 1])).unwrap();
        assert_eq!(sets.format(5), None);
        sets.insert(&sps.nal(&HEADER)).unwrap();
        assert_eq!(sets.format(5).unwrap().frame_rate, None);
        let hash = sets.content_hash(5);
        sets.insert(&vps.nal(&[0x40, 1])).unwrap();
        assert_eq!(sets.format(5).unwrap().frame_rate, Some((30_000, 1001)));
        assert_ne!(sets.content_hash(5), hash);
    }

    #[test]
    fn sets_of_other_layers_are_not_the_base_layers() {
        let error = Err(Error::OutOfRange("nuh_layer_id"));
        assert_eq!(Sps::parse(&[0x42, 0x09, 0, 0, 0, 0]), error);
    }
}
