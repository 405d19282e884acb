//! The sequence header (5.5).

use crate::format::rate;
use crate::rbsp::BitReader;
use crate::sink::Codec;
use crate::{Chroma, Colour, Error, VideoFormat};

/// What a sequence header says, as far as it tells pictures and frame headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SequenceHeader {
    /// Frames have no header fields of their own: one key frame each.
    pub reduced_still_picture: bool,
    /// What the pictures look like; sizes are the largest that frames may have.
    pub format: VideoFormat,
}

/// Operating points are at most so many (operating_points_cnt_minus_1 has five bits).
const OPERATING_POINTS_MAX: u8 = 32;
/// Longest uvlc() accepted (4.10.3).
const UVLC_ZEROS_MAX: u8 = 32;

impl SequenceHeader {
    /// Parses the payload of a sequence header OBU.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut bits = BitReader::plain(payload);
        let profile_idc = bits.bits8(3)?;
        if profile_idc > 2 {
            return Err(Error::OutOfRange("seq_profile"));
        }
        let _still_picture = bits.flag()?;
        let reduced = bits.flag()?;
        let (level_idc, frame_rate) =
            if reduced { (bits.bits8(5)?, None) } else { operating_points(&mut bits)? };
        let (width_bits, height_bits) = (bits.bits8(4)? + 1, bits.bits8(4)? + 1);
        let (width, height) = (bits.bits(width_bits)? + 1, bits.bits(height_bits)? + 1);
        if !reduced && bits.flag()? {
            bits.skip(4 + 3)?; // frame id lengths
        }
        bits.skip(3)?; // 128x128 superblocks, filter intra, intra edge filter
        if !reduced {
            inter_tools(&mut bits)?;
        }
        bits.skip(3)?; // superres, cdef, restoration
        let colour = ColourConfig::parse(&mut bits, profile_idc)?;
        Ok(Self {
            reduced_still_picture: reduced,
            format: VideoFormat {
                codec: Codec::Av1,
                profile_idc,
                profile: match profile_idc {
                    0 => "Main",
                    1 => "High",
                    _ => "Professional",
                },
                level_idc,
                level: level(level_idc),
                width,
                height,
                coded_width: width,
                coded_height: height,
                bit_depth_luma: colour.bit_depth,
                bit_depth_chroma: colour.bit_depth,
                chroma: colour.chroma,
                frame_rate,
                field_coded: false,
                sar: (0, 0),
                colour: colour.colour,
            },
        })
    }
}

/// Timing, decoder model and operating points: the first one's level, and the frame rate where
/// pictures come at equal distances.
fn operating_points(bits: &mut BitReader<'_>) -> Result<(u8, Option<(u32, u32)>), Error> {
    let mut frame_rate = None;
    let mut delay_bits = None;
    if bits.flag()? {
        let (units_in_tick, time_scale) = (bits.bits(32)?, bits.bits(32)?);
        if bits.flag()? {
            let ticks = u64::from(uvlc(bits)?) + 1;
            frame_rate = rate(time_scale.into(), u64::from(units_in_tick) * ticks);
        }
        if bits.flag()? {
            delay_bits = Some(bits.bits8(5)? + 1);
            bits.skip(32 + 5 + 5)?; // num_units_in_decoding_tick and the lengths of two times
        }
    }
    let initial_delay = bits.flag()?;
    let points = bits.bits8(5)? + 1;
    let mut first = None;
    for _ in 0..points.min(OPERATING_POINTS_MAX) {
        bits.skip(12)?; // operating_point_idc
        let level = bits.bits8(5)?;
        first.get_or_insert(level);
        bits.skip(if level > 7 { 1 } else { 0 })?; // seq_tier
        if let Some(delay_bits) = delay_bits
            && bits.flag()?
        {
            bits.skip(2 * u32::from(delay_bits) + 1)?; // operating_parameters_info
        }
        if initial_delay && bits.flag()? {
            bits.skip(4)?;
        }
    }
    Ok((first.unwrap_or(0), frame_rate))
}

fn inter_tools(bits: &mut BitReader<'_>) -> Result<(), Error> {
    bits.skip(4)?; // interintra, masked, warped motion, dual filter
    let order_hint = bits.flag()?;
    bits.skip(if order_hint { 2 } else { 0 })?; // jnt_comp, ref_frame_mvs
    let screen_content = if bits.flag()? { 2 } else { bits.bits8(1)? };
    if screen_content > 0 && !bits.flag()? {
        bits.skip(1)?; // seq_force_integer_mv
    }
    bits.skip(if order_hint { 3 } else { 0 }) // order_hint_bits_minus_1
}

fn uvlc(bits: &mut BitReader<'_>) -> Result<u32, Error> {
    let mut zeros = 0;
    while !bits.flag()? {
        zeros += 1;
        if zeros >= UVLC_ZEROS_MAX {
            return Ok(u32::MAX);
        }
    }
    Ok((1u32 << zeros) - 1 + bits.bits(zeros)?)
}

/// color_config() (5.5.2).
struct ColourConfig {
    bit_depth: u8,
    chroma: Chroma,
    colour: Colour,
}

impl ColourConfig {
    fn parse(bits: &mut BitReader<'_>, profile: u8) -> Result<Self, Error> {
        let high = bits.flag()?;
        let bit_depth = match (profile, high) {
            (2, true) => 10 + 2 * bits.bits8(1)?,
            (_, true) => 10,
            (_, false) => 8,
        };
        let mono = profile != 1 && bits.flag()?;
        let mut colour = Colour::UNSPECIFIED;
        if bits.flag()? {
            colour.primaries = bits.bits8(8)?;
            colour.transfer = bits.bits8(8)?;
            colour.matrix = bits.bits8(8)?;
        }
        // sRGB: identity matrix, always full range and whole chroma.
        if !mono && (colour.primaries, colour.transfer, colour.matrix) == (1, 13, 0) {
            colour.full_range = true;
            return Ok(Self { bit_depth, chroma: Chroma::C444, colour });
        }
        colour.full_range = bits.flag()?;
        let chroma = match profile {
            _ if mono => Chroma::Mono,
            0 => Chroma::C420,
            1 => Chroma::C444,
            _ if bit_depth < 12 => Chroma::C422,
            // subsampling_x and subsampling_y.
            _ if !bits.flag()? => Chroma::C444,
            _ if bits.flag()? => Chroma::C420,
            _ => Chroma::C422,
        };
        Ok(Self { bit_depth, chroma, colour })
    }
}

/// Levels by seq_level_idx (annex A.3).
fn level(index: u8) -> &'static str {
    const NAMES: [&str; 24] = [
        "2.0", "2.1", "2.2", "2.3", "3.0", "3.1", "3.2", "3.3", "4.0", "4.1", "4.2", "4.3", "5.0",
        "5.1", "5.2", "5.3", "6.0", "6.1", "6.2", "6.3", "7.0", "7.1", "7.2", "7.3",
    ];
    match index {
        31 => "maximum",
        index => NAMES.get(usize::from(index)).copied().unwrap_or("unknown"),
    }
}
