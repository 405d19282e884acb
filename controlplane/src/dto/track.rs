//! One elementary stream.

use serde::Serialize;
use shm::{AudioInfo, TrackInfo, VideoInfo};

use super::{float, ratio};

/// One elementary stream; what does not apply, or is not known yet, is left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Track {
    /// Its place: the `track` of its frames.
    pub index: usize,
    /// `video`, `audio` or `data`.
    pub kind: &'static str,
    /// `h264`, `hevc`, `aac`, …
    pub codec: &'static str,
    /// MPEG-TS packet identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u16>,
    /// MPEG-TS stream_type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_type: Option<u8>,
    /// MPEG-TS program number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<u16>,
    /// ISO 639-2 code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The pictures' format.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub video: Option<Video>,
    /// The sound's format.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub audio: Option<Audio>,
}

/// The format of pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Video {
    /// `High`, `Main 10`.
    pub profile: String,
    /// `4.1`.
    pub level: String,
    /// After cropping.
    pub width: u32,
    /// After cropping.
    pub height: u32,
    /// As coded.
    pub coded_width: u32,
    /// As coded.
    pub coded_height: u32,
    /// Bits per luma sample.
    pub bit_depth: u8,
    /// `4:2:0`.
    pub chroma: &'static str,
    /// Whether pictures may be coded as fields.
    pub interlaced: bool,
    /// Frames per second that the stream declares.
    pub frame_rate_declared: Option<f64>,
    /// Frames per second measured over the last frames.
    pub frame_rate_measured: Option<f64>,
    /// `1:1`.
    pub sample_aspect_ratio: Option<String>,
}

/// The format of sound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Audio {
    /// `LC`.
    pub profile: String,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
    /// Samples per channel in one frame.
    pub samples_per_frame: u16,
    /// AudioSpecificConfig in hexadecimal; AAC frames are stored without headers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub audio_specific_config: String,
}

impl Track {
    /// From the stream table.
    pub fn new(index: usize, track: &TrackInfo) -> Self {
        let in_ts = track.pid != 0;
        Self {
            index,
            kind: track.codec.kind().label(),
            codec: track.codec.label(),
            pid: in_ts.then_some(track.pid),
            stream_type: in_ts.then_some(track.stream_type),
            program: in_ts.then_some(track.program),
            language: track.language().map(str::to_owned),
            video: track.video().map(Video::new),
            audio: track.audio().map(Audio::new),
        }
    }
}

impl Video {
    fn new(video: &VideoInfo) -> Self {
        let (across, down) = video.sample_aspect;
        let measured = video.frame_rate_measured_mhz;
        Self {
            profile: video.profile.as_str().to_owned(),
            level: video.level.as_str().to_owned(),
            width: video.width,
            height: video.height,
            coded_width: video.coded_width,
            coded_height: video.coded_height,
            bit_depth: video.bit_depth,
            chroma: video.chroma.label(),
            interlaced: video.interlaced,
            frame_rate_declared: video
                .frame_rate
                .filter(|(_, denominator)| *denominator != 0)
                .map(|(numerator, denominator)| ratio(numerator.into(), denominator.into())),
            frame_rate_measured: (measured > 0).then(|| hertz(measured.into())),
            sample_aspect_ratio: (across != 0 && down != 0).then(|| format!("{across}:{down}")),
        }
    }
}

impl Audio {
    fn new(audio: &AudioInfo) -> Self {
        let config = audio.config.iter().take(audio.config_len.into());
        Self {
            profile: audio.profile.as_str().to_owned(),
            sample_rate: audio.sample_rate,
            channels: audio.channels,
            samples_per_frame: audio.samples_per_frame,
            audio_specific_config: config.map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// Millihertz as frames per second.
pub(crate) fn hertz(millihertz: u64) -> f64 {
    float(millihertz) / 1000.0
}
