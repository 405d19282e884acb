//! What a payload type stands for.

use codec::sink::{Carriage, Codec, TrackConfig};

use crate::payload::ParameterSets;
use crate::payload::aac::AacParameters;

/// Longest AudioSpecificConfig that is kept.
pub const CONFIGURATION_BYTES_MAX: usize = 32;

/// How a payload is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "made once a track, and must not allocate")]
pub enum Encoding {
    /// RFC 6184.
    H264 {
        /// Of the description.
        sets: ParameterSets,
        /// NAL units that may come before one that they follow; 0: none, they come in order.
        depth: u8,
    },
    /// RFC 7798.
    Hevc {
        /// Of the description.
        sets: ParameterSets,
        /// DONL and DOND are there: sprop-max-don-diff is above 0.
        has_order: bool,
        /// NAL units that may come before one that they follow; 0: none, they come in order.
        depth: u8,
    },
    /// AOM's payload format.
    Av1,
    /// RFC 9134.
    JpegXs,
    /// RFC 2250, 2.
    MpegTs,
    /// RFC 3640.
    Aac {
        /// Lengths of header fields.
        parameters: AacParameters,
        /// AudioSpecificConfig and its length, 0 where it is not known.
        configuration: ([u8; CONFIGURATION_BYTES_MAX], u8),
    },
    /// RFC 6416.
    Latm {
        /// The multiplex of the description; `None` when it is in the stream.
        config: Option<codec::latm::MuxConfig>,
    },
    /// RFC 7587.
    Opus,
    /// RFC 3551, 4.5.11.
    L16,
    /// RFC 3190.
    L24,
    /// RFC 3551, 4.5.14, A-law.
    Pcma,
    /// RFC 3551, 4.5.14, mu-law.
    Pcmu,
}

/// A payload type's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Payload type, below 128.
    pub payload_type: u8,
    /// Ticks of the timestamps in a second.
    pub clock_hz: u32,
    /// Channels of sound, 0 for anything else.
    pub channels: u8,
    /// How it is read.
    pub encoding: Encoding,
}

impl Format {
    /// A format of video's clock without parameters.
    pub const fn video(payload_type: u8, encoding: Encoding) -> Self {
        Self { payload_type, clock_hz: 90_000, channels: 0, encoding }
    }

    /// What a static payload type stands for (RFC 3551, 6); `None` when it is not static or not
    /// supported.
    pub const fn of_static(payload_type: u8) -> Option<Self> {
        let (clock_hz, channels, encoding) = match payload_type {
            0 => (8_000, 1, Encoding::Pcmu),
            8 => (8_000, 1, Encoding::Pcma),
            10 => (44_100, 2, Encoding::L16),
            11 => (44_100, 1, Encoding::L16),
            33 => (90_000, 0, Encoding::MpegTs),
            _ => return None,
        };
        Some(Self { payload_type, clock_hz, channels, encoding })
    }

    /// The coding of the elementary stream; `Unknown` for a transport stream.
    pub const fn codec(&self) -> Codec {
        match self.encoding {
            Encoding::H264 { .. } => Codec::H264,
            Encoding::Hevc { .. } => Codec::Hevc,
            Encoding::Av1 => Codec::Av1,
            Encoding::JpegXs => Codec::JpegXs,
            Encoding::MpegTs => Codec::Unknown,
            Encoding::Aac { .. } | Encoding::Latm { .. } => Codec::Aac,
            Encoding::Opus => Codec::Opus,
            Encoding::L16 => Codec::L16,
            Encoding::L24 => Codec::L24,
            Encoding::Pcma => Codec::Pcma,
            Encoding::Pcmu => Codec::Pcmu,
        }
    }

    /// The encoding's name in a session description.
    pub const fn name(&self) -> &'static str {
        match self.encoding {
            Encoding::H264 { .. } => "H264",
            Encoding::Hevc { .. } => "H265",
            Encoding::Av1 => "AV1",
            Encoding::JpegXs => "jxsv",
            Encoding::MpegTs => "MP2T",
            Encoding::Aac { .. } => "mpeg4-generic",
            Encoding::Latm { .. } => "MP4A-LATM",
            Encoding::Opus => "opus",
            Encoding::L16 => "L16",
            Encoding::L24 => "L24",
            Encoding::Pcma => "PCMA",
            Encoding::Pcmu => "PCMU",
        }
    }

    /// What the sink is told of the track.
    pub fn track_config(&self) -> TrackConfig {
        TrackConfig {
            codec: self.codec(),
            channels: self.channels,
            carriage: Carriage::AccessUnits,
            clock_hz: self.clock_hz,
            payload_type: self.payload_type,
            ..TrackConfig::default()
        }
    }

    /// What describes the track apart from its bytes.
    pub fn configuration(&self) -> &[u8] {
        match &self.encoding {
            Encoding::Aac { configuration: (bytes, len), .. } => {
                bytes.get(..usize::from(*len)).unwrap_or_default()
            }
            Encoding::Latm { config: Some(config) } => config.format.audio_specific_config(),
            _ => &[],
        }
    }

    /// Bytes of one sample of all channels, where payloads are multiples of it.
    pub const fn block_bytes(&self) -> usize {
        let channels = if self.channels == 0 { 1 } else { self.channels as usize };
        match self.encoding {
            Encoding::L16 => 2 * channels,
            Encoding::L24 => 3 * channels,
            _ => 1,
        }
    }
}
