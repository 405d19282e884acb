//! Sequence parameter set (7.3.2.1.1).

use crate::Error;
use crate::format::{Chroma, VideoFormat};
use crate::rbsp::BitReader;
use crate::sink::Codec;

use super::vui::Vui;
use super::{NalType, labels};

/// Greatest picture size in macroblocks, either way: twice what level 6.2 allows (A.3.1 g), so
/// that sizes in samples stay far from overflow.
const SIZE_MBS_MAX: u32 = 2 * 1055;

/// What is kept of a sequence parameter set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sps {
    /// seq_parameter_set_id.
    pub id: u8,
    /// What it says of the pictures.
    pub format: VideoFormat,
    /// The six constraint_set flags and two reserved bits, as on the wire.
    pub constraints: u8,
    /// separate_colour_plane_flag.
    pub separate_colour_planes: bool,
    /// log2_max_frame_num_minus4 + 4.
    pub frame_num_bits: u8,
    /// How picture order counts are coded.
    pub pic_order: PicOrder,
    /// max_num_ref_frames.
    pub ref_frames_max: u8,
    /// frame_mbs_only_flag: no field pictures and no field macroblocks.
    pub frame_mbs_only: bool,
    /// max_num_reorder_frames, when declared.
    pub reorder_frames: Option<u8>,
    /// Slices of a picture may come in any order.
    pub arbitrary_slice_order: bool,
}

/// pic_order_cnt_type and the fields that the slice header depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PicOrder {
    /// Type 0: the low bits are coded in each slice.
    Lsb {
        /// log2_max_pic_order_cnt_lsb_minus4 + 4.
        bits: u8,
    },
    /// Type 1: an expected count with coded differences.
    Expected {
        /// delta_pic_order_always_zero_flag.
        always_zero: bool,
    },
    /// Type 2: output order is decoding order.
    Decoding,
}

/// The fields that only High profiles carry.
struct ChromaFormat {
    chroma: Chroma,
    separate_planes: bool,
    bit_depth_luma: u8,
    bit_depth_chroma: u8,
}

/// Picture size before and after cropping.
struct Size {
    frame_mbs_only: bool,
    coded: (u32, u32),
    cropped: (u32, u32),
}

impl Sps {
    /// Parses an SPS NAL unit, header byte first. A VUI that ends early counts as far as it goes:
    /// encoders cut it, and players show such streams.
    pub fn parse(nal: &[u8]) -> Result<Self, Error> {
        let [header, profile_idc, constraints, level_idc, rest @ ..] = nal else {
            return Err(Error::Truncated);
        };
        if NalType::of(*header) != NalType::SPS {
            return Err(Error::WrongType);
        }
        let (profile_idc, constraints, level_idc) = (*profile_idc, *constraints, *level_idc);
        let bits = &mut BitReader::new(rest);
        let id = bits.ue8(31, "seq_parameter_set_id")?;
        let planes = ChromaFormat::read(profile_idc, bits)?;
        let frame_num_bits = 4 + bits.ue8(12, "log2_max_frame_num_minus4")?;
        let pic_order = PicOrder::read(bits)?;
        let ref_frames_max = bits.ue8(16, "max_num_ref_frames")?;
        let _gaps_in_frame_num_allowed = bits.flag()?;
        let size = Size::read(&planes, bits)?;
        let vui = if bits.flag()? { Vui::read(bits) } else { Vui::ABSENT };
        Ok(Self {
            id,
            format: VideoFormat {
                codec: Codec::H264,
                profile_idc,
                profile: labels::profile(profile_idc, constraints),
                level_idc,
                level: labels::level(profile_idc, constraints, level_idc),
                width: size.cropped.0,
                height: size.cropped.1,
                coded_width: size.coded.0,
                coded_height: size.coded.1,
                bit_depth_luma: planes.bit_depth_luma,
                bit_depth_chroma: planes.bit_depth_chroma,
                chroma: planes.chroma,
                frame_rate: vui.frame_rate,
                field_coded: !size.frame_mbs_only,
                sar: vui.sar,
                colour: vui.colour,
            },
            constraints,
            separate_colour_planes: planes.separate_planes,
            frame_num_bits,
            pic_order,
            ref_frames_max,
            frame_mbs_only: size.frame_mbs_only,
            reorder_frames: vui.reorder_frames,
            arbitrary_slice_order: labels::has_arbitrary_slice_order(profile_idc, constraints),
        })
    }
}

impl ChromaFormat {
    fn read(profile_idc: u8, bits: &mut BitReader<'_>) -> Result<Self, Error> {
        let mut planes = Self {
            chroma: Chroma::C420,
            separate_planes: false,
            bit_depth_luma: 8,
            bit_depth_chroma: 8,
        };
        if !matches!(
            profile_idc,
            100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135 | 144
        ) {
            return Ok(planes);
        }
        planes.chroma =
            Chroma::from_idc(bits.ue()?).ok_or(Error::OutOfRange("chroma_format_idc"))?;
        if planes.chroma == Chroma::C444 {
            planes.separate_planes = bits.flag()?;
        }
        planes.bit_depth_luma = 8 + bits.ue8(6, "bit_depth_luma_minus8")?;
        planes.bit_depth_chroma = 8 + bits.ue8(6, "bit_depth_chroma_minus8")?;
        let _qpprime_y_zero_transform_bypass = bits.flag()?;
        if bits.flag()? {
            let lists = if planes.chroma == Chroma::C444 { 12 } else { 8 };
            for list in 0..lists {
                if bits.flag()? {
                    skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
        Ok(planes)
    }
}

/// scaling_list() (7.3.2.1.1.1).
fn skip_scaling_list(bits: &mut BitReader<'_>, size: u8) -> Result<(), Error> {
    let mut last = 8i32;
    for _ in 0..size {
        let delta = bits.se()?;
        if !(-128..=127).contains(&delta) {
            return Err(Error::OutOfRange("delta_scale"));
        }
        last = (last + delta).rem_euclid(256);
        if last == 0 {
            break;
        }
    }
    Ok(())
}

impl PicOrder {
    fn read(bits: &mut BitReader<'_>) -> Result<Self, Error> {
        match bits.ue()? {
            0 => Ok(Self::Lsb { bits: 4 + bits.ue8(12, "log2_max_pic_order_cnt_lsb_minus4")? }),
            1 => {
                let always_zero = bits.flag()?;
                let _offset_for_non_ref_pic = bits.se()?;
                let _offset_for_top_to_bottom_field = bits.se()?;
                let cycle = bits.ue_max(255, "num_ref_frames_in_pic_order_cnt_cycle")?;
                for _ in 0..cycle {
                    bits.se()?;
                }
                Ok(Self::Expected { always_zero })
            }
            2 => Ok(Self::Decoding),
            _ => Err(Error::OutOfRange("pic_order_cnt_type")),
        }
    }
}

impl Size {
    fn read(planes: &ChromaFormat, bits: &mut BitReader<'_>) -> Result<Self, Error> {
        let width = bits.ue_max(SIZE_MBS_MAX - 1, "pic_width_in_mbs_minus1")? + 1;
        let height = bits.ue_max(SIZE_MBS_MAX - 1, "pic_height_in_map_units_minus1")? + 1;
        let frame_mbs_only = bits.flag()?;
        if !frame_mbs_only {
            let _mb_adaptive_frame_field = bits.flag()?;
        }
        let _direct_8x8_inference = bits.flag()?;
        // A map unit of a stream with fields is a pair of macroblock rows of the frame (7-18).
        let field_factor = if frame_mbs_only { 1 } else { 2 };
        let coded = (width * 16, height * 16 * field_factor);
        let mut cropped = coded;
        if bits.flag()? {
            let (unit_x, unit_y) =
                if planes.separate_planes { (1, 1) } else { planes.chroma.subsampling() };
            cropped.0 = crop(coded.0, unit_x, bits)?;
            cropped.1 = crop(coded.1, unit_y * field_factor, bits)?;
        }
        Ok(Self { frame_mbs_only, coded, cropped })
    }
}

/// What two frame_crop offsets leave of `coded` samples (7-19 to 7-22).
fn crop(coded: u32, unit: u32, bits: &mut BitReader<'_>) -> Result<u32, Error> {
    let before = u64::from(bits.ue()?);
    let after = u64::from(bits.ue()?);
    let cut = (before + after) * u64::from(unit);
    match u32::try_from(cut) {
        Ok(cut) if cut < coded => Ok(coded - cut),
        _ => Err(Error::OutOfRange("frame_crop_offset")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::BitWriter;

    /// An SPS of 1920x1088 in `chroma_format_idc`, with these crop offsets.
    fn cropped(chroma: u32, separate: bool, frame_mbs_only: bool, crop: [u32; 4]) -> Vec<u8> {
        let mut bits = BitWriter::default();
        bits.ue(0).ue(chroma);
        if chroma == 3 {
            bits.u(1, separate.into());
        }
        bits.ue(0).ue(0).u(2, 0).ue(0).ue(2).ue(1).u(1, 0).ue(119);
        if frame_mbs_only {
            bits.ue(67).u(1, 1);
        } else {
            bits.ue(33).u(1, 0).u(1, 0);
        }
        bits.u(1, 1).u(1, 1);
        for offset in crop {
            bits.ue(offset);
        }
        bits.u(1, 0).nal(&[0x67, 244, 0, 40])
    }

    fn size(nal: &[u8]) -> (u32, u32) {
        let format = Sps::parse(nal).unwrap().format;
        assert_eq!((format.coded_width, format.coded_height), (1920, 1088));
        (format.width, format.height)
    }

    #[test]
    fn crop_units_follow_the_chroma_format_and_the_fields() {
        assert_eq!(size(&cropped(1, false, true, [0, 0, 0, 4])), (1920, 1080));
        assert_eq!(size(&cropped(1, false, false, [0, 0, 0, 2])), (1920, 1080));
        assert_eq!(size(&cropped(2, false, true, [1, 2, 0, 8])), (1914, 1080));
        assert_eq!(size(&cropped(3, false, true, [1, 2, 0, 8])), (1917, 1080));
        assert_eq!(size(&cropped(3, true, true, [1, 2, 0, 8])), (1917, 1080));
        assert_eq!(size(&cropped(0, false, true, [1, 2, 3, 5])), (1917, 1080));
        assert_eq!(size(&cropped(0, false, false, [0, 0, 0, 4])), (1920, 1080));
    }

    #[test]
    fn a_crop_that_leaves_nothing_is_out_of_range() {
        for crop in [[480, 480, 0, 0], [0, 0, 272, 272], [u32::MAX - 1, u32::MAX - 1, 0, 0]] {
            let nal = cropped(1, false, true, crop);
            assert_eq!(Sps::parse(&nal), Err(Error::OutOfRange("frame_crop_offset")));
        }
    }

    #[test]
    fn sizes_beyond_all_levels_are_out_of_range() {
        let mut bits = BitWriter::default();
        bits.ue(0).ue(0).ue(2).ue(1).u(1, 0).ue(5_000).ue(5_000).u(4, 0b1100);
        let error = Err(Error::OutOfRange("pic_width_in_mbs_minus1"));
        assert_eq!(Sps::parse(&bits.nal(&[0x67, 77, 0, 40])), error);
    }

    #[test]
    fn a_vui_cut_short_counts_as_far_as_it_goes() {
        let mut bits = BitWriter::default();
        bits.ue(0).ue(0).ue(2).ue(1).u(1, 0).ue(19).ue(14).u(1, 1).u(1, 1).u(1, 0).u(1, 1);
        // Extended aspect ratio, no overscan, no signal type, no chroma location, timing cut.
        bits.u(1, 1).u(8, 255).u(16, 59).u(16, 54).u(3, 0).u(1, 1).u(32, 1);
        let format = Sps::parse(&bits.nal(&[0x67, 77, 0, 40])).unwrap().format;
        assert_eq!(format.sar, (59, 54));
        assert_eq!(format.frame_rate, None);
        assert_eq!((format.width, format.height), (320, 240));
    }

    #[test]
    fn hand_vectors() {
        let emulated = [
            0x67, 0x42, 0x00, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xec, 0x04, 0x40, 0x00, 0x00, 0x03,
            0x00, 0x40, 0x00, 0x00, 0x0f, 0x03, 0xc5, 0x8b, 0xa8,
        ];
        let format = Sps::parse(&emulated).unwrap().format;
        assert_eq!((format.width, format.height), (1280, 720));
        assert_eq!(format.frame_rate, Some((30, 1)));
        // Its VUI ends inside the HRD parameters.
        let odd = [
            0x67, 0x42, 0x00, 0x1f, 0x9a, 0x66, 0x02, 0x80, 0x2d, 0xd8, 0x35, 0x04, 0x04, 0x05,
            0x80,
        ];
        let format = Sps::parse(&odd).unwrap().format;
        assert_eq!((format.width, format.height), (1280, 720));
    }

    #[test]
    fn labels_are_ffprobes() {
        for (profile, constraints, label) in [
            (66, 0xc0, "Constrained Baseline"),
            (66, 0, "Baseline"),
            (77, 0x40, "Main"),
            (100, 0, "High"),
            (110, 0x10, "High 10 Intra"),
            (122, 0, "High 4:2:2"),
            (244, 0, "High 4:4:4 Predictive"),
            (1, 0, "unknown"),
        ] {
            assert_eq!(labels::profile(profile, constraints), label);
        }
        assert_eq!(labels::level(66, 0x10, 11), "1b");
        assert_eq!(labels::level(100, 0x10, 11), "1.1");
        assert_eq!(labels::level(100, 0, 9), "1b");
        assert_eq!(labels::level(100, 0, 41), "4.1");
    }
}
