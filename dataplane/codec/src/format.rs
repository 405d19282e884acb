//! What a track's pictures or samples look like, and how one frame depends on others.

use crate::sink::Codec;

/// How a frame depends on others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameClass {
    /// Instantaneous decoding refresh: nothing after it refers to anything before it.
    Idr,
    /// All slices are intra.
    I,
    /// At least one slice is predicted, none bipredicted.
    P,
    /// At least one slice is bipredicted.
    B,
    /// Inter-coded, in codings that do not tell P from B (AV1).
    Inter,
    /// Sound.
    Audio,
    /// Anything else.
    Data,
}

impl FrameClass {
    /// The class of a picture whose slices are at worst `worst`.
    pub const fn of_picture(idr: bool, worst: SliceType) -> Self {
        match (idr, worst) {
            (true, _) => Self::Idr,
            (false, SliceType::I) => Self::I,
            (false, SliceType::P) => Self::P,
            (false, SliceType::B) => Self::B,
        }
    }

    /// The name used in every interface.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Idr => "idr",
            Self::I => "i",
            Self::P => "p",
            Self::B => "b",
            Self::Inter => "inter",
            Self::Audio => "audio",
            Self::Data => "data",
        }
    }
}

/// The type of one H.264 or HEVC slice, ordered by dependence: the type of a picture is the
/// greatest of its slices. H.264's SP counts as P and SI as I.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SliceType {
    /// Intra.
    I,
    /// Predicted.
    P,
    /// Bipredicted.
    B,
}

/// Sampling of the colour planes (chroma_format_idc).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Chroma {
    /// Luma only.
    Mono,
    /// 4:2:0.
    #[default]
    C420,
    /// 4:2:2.
    C422,
    /// 4:4:4.
    C444,
}

impl Chroma {
    /// From `chroma_format_idc`; `None` when it is above 3.
    pub const fn from_idc(idc: u32) -> Option<Self> {
        match idc {
            0 => Some(Self::Mono),
            1 => Some(Self::C420),
            2 => Some(Self::C422),
            3 => Some(Self::C444),
            _ => None,
        }
    }

    /// SubWidthC and SubHeightC of H.264 table 6-1 and H.265 table 6-1; 1, 1 for luma only.
    pub const fn subsampling(self) -> (u32, u32) {
        match self {
            Self::C420 => (2, 2),
            Self::C422 => (2, 1),
            Self::Mono | Self::C444 => (1, 1),
        }
    }

    /// The name used in every interface.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Mono => "4:0:0",
            Self::C420 => "4:2:0",
            Self::C422 => "4:2:2",
            Self::C444 => "4:4:4",
        }
    }
}

/// Colour description, as code points of ISO/IEC 23091-2; 2 means unspecified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Colour {
    /// colour_primaries.
    pub primaries: u8,
    /// transfer_characteristics.
    pub transfer: u8,
    /// matrix_coefficients.
    pub matrix: u8,
    /// video_full_range_flag.
    pub full_range: bool,
}

impl Colour {
    /// What holds when the stream says nothing.
    pub const UNSPECIFIED: Self = Self { primaries: 2, transfer: 2, matrix: 2, full_range: false };
}

impl Default for Colour {
    fn default() -> Self {
        Self::UNSPECIFIED
    }
}

/// What the pictures of a video track look like, as its parameter sets declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VideoFormat {
    /// Of the pictures.
    pub codec: Codec,
    /// profile_idc or general_profile_idc; seq_profile of AV1, profile_and_level_indication of MPEG-2.
    pub profile_idc: u8,
    /// The profile's name as `ffprobe` prints it: "High", "Main 10"; "unknown" for the others.
    pub profile: &'static str,
    /// level_idc or general_level_idc; seq_level_idx of AV1.
    pub level_idc: u8,
    /// The level's name: "4.1", "1b"; "unknown" for values outside the tables.
    pub level: &'static str,
    /// Luma samples a line, after cropping.
    pub width: u32,
    /// Lines of a frame, after cropping; lines of a field where HEVC's field_seq_flag is set.
    pub height: u32,
    /// Luma samples a line as coded.
    pub coded_width: u32,
    /// Lines of a frame as coded.
    pub coded_height: u32,
    /// Bits of a luma sample.
    pub bit_depth_luma: u8,
    /// Bits of a chroma sample.
    pub bit_depth_chroma: u8,
    /// Sampling of the colour planes.
    pub chroma: Chroma,
    /// Declared frames a second as numerator and denominator in lowest terms. A field pair is one
    /// frame. Encoders get it wrong: prefer a measured rate when they disagree.
    pub frame_rate: Option<(u32, u32)>,
    /// Pictures may be interlaced: H.264 frame_mbs_only_flag is 0, HEVC field_seq_flag is 1.
    pub field_coded: bool,
    /// Sample aspect ratio; (0, 0) when not declared.
    pub sar: (u16, u16),
    /// Colour description.
    pub colour: Colour,
}

/// Sample aspect ratio of aspect_ratio_idc 1 to 16 (H.264 table E-1, H.265 table E.1); (0, 0) for
/// unspecified and reserved values.
pub(crate) fn sample_aspect_ratio(idc: u8) -> (u16, u16) {
    const TABLE: [(u16, u16); 17] = [
        (0, 0),
        (1, 1),
        (12, 11),
        (10, 11),
        (16, 11),
        (40, 33),
        (24, 11),
        (20, 11),
        (32, 11),
        (80, 33),
        (18, 11),
        (15, 11),
        (64, 33),
        (160, 99),
        (4, 3),
        (3, 2),
        (2, 1),
    ];
    TABLE.get(usize::from(idc)).copied().unwrap_or_default()
}

/// A rate in lowest terms, `None` when it is no number or does not fit.
pub(crate) fn rate(numerator: u64, denominator: u64) -> Option<(u32, u32)> {
    if numerator == 0 || denominator == 0 {
        return None;
    }
    let (mut divisor, mut rest) = (numerator, denominator);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    let numerator = u32::try_from(numerator / divisor).ok()?;
    let denominator = u32::try_from(denominator / divisor).ok()?;
    Some((numerator, denominator))
}

/// What the samples of an audio track look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AudioFormat {
    /// Of its frames.
    pub codec: Codec,
    /// MPEG-4 audio object type: 2 is AAC-LC; 0 in other codings.
    pub object_type: u8,
    /// The profile's name as `ffprobe` prints it: "LC"; the layer of MPEG audio; "unknown" for
    /// codings that have none.
    pub profile: &'static str,
    /// Samples a second of the core coder (spectral band replication may double it).
    pub sample_rate: u32,
    /// Channels; 0 while only the stream itself can tell (a program config element).
    pub channels: u8,
    /// Samples of one channel in one access unit.
    pub samples_per_frame: u16,
    /// AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1) of AAC, empty in other codings; see
    /// [`audio_specific_config`](Self::audio_specific_config).
    pub config: ([u8; 16], u8),
}

impl AudioFormat {
    /// The AudioSpecificConfig, empty when it is unknown.
    pub fn audio_specific_config(&self) -> &[u8] {
        let (bytes, len) = &self.config;
        bytes.get(..usize::from(*len)).unwrap_or_default()
    }
}
