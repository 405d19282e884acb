//! The tracks of a stream, as interfaces show them.

use codec::sink::{Codec, TrackConfig};
use codec::{AudioFormat, Chroma, VideoFormat};
use shm::{AudioInfo, Format, Text, TrackInfo, VideoInfo};

/// What is made of a track's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// Frames.
    Framed,
    /// Nothing: its coding is only listed.
    #[default]
    CodecNotFramed,
    /// Nothing: the stream's video frames come from an earlier track.
    SecondVideo,
}

/// One track: what the transport says, and what its frames showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackState {
    /// What the transport says.
    pub config: TrackConfig,
    /// What is made of it.
    pub framing: Framing,
    /// Its pictures, once parameter sets and a slice came.
    pub video: Option<VideoFormat>,
    /// Its sound, once a frame came.
    pub audio: Option<AudioFormat>,
    /// Measured frame rate, millihertz; 0 before there is a measure. A field pair counts once.
    pub frame_rate_mhz: u32,
    /// Bytes received.
    pub bytes: u64,
}

impl TrackState {
    /// As the stream table shows it.
    pub fn info(&self) -> TrackInfo {
        let config = &self.config;
        TrackInfo {
            codec: shared_codec(self.codec(), self.framing),
            pid: config.pid,
            stream_type: config.stream_type,
            program: config.program,
            language: config.language,
            format: match (&self.video, &self.audio) {
                (Some(video), _) => Format::Video(self.video_info(video)),
                (None, Some(audio)) => Format::Audio(audio_info(audio)),
                (None, None) => Format::Unknown,
            },
        }
    }

    /// The coding, as its frames show it: MPEG-1 video is multiplexed under MPEG-2's stream type.
    const fn codec(&self) -> Codec {
        match (self.config.codec, &self.video) {
            (Codec::Mpeg1Video | Codec::Mpeg2Video, Some(video)) => video.codec,
            (listed, _) => listed,
        }
    }

    fn video_info(&self, format: &VideoFormat) -> VideoInfo {
        VideoInfo {
            profile: Text::cut(format.profile),
            level: Text::cut(format.level),
            width: format.width,
            height: format.height,
            coded_width: format.coded_width,
            coded_height: format.coded_height,
            bit_depth: format.bit_depth_luma,
            chroma: match format.chroma {
                Chroma::Mono => shm::Chroma::Mono,
                Chroma::C420 => shm::Chroma::Yuv420,
                Chroma::C422 => shm::Chroma::Yuv422,
                Chroma::C444 => shm::Chroma::Yuv444,
            },
            frame_rate: format.frame_rate,
            frame_rate_measured_mhz: self.frame_rate_mhz,
            interlaced: format.field_coded,
            sample_aspect: format.sar,
        }
    }
}

fn audio_info(format: &AudioFormat) -> AudioInfo {
    let (config, config_len) = format.config;
    AudioInfo {
        profile: Text::cut(format.profile),
        sample_rate: format.sample_rate,
        channels: format.channels,
        samples_per_frame: format.samples_per_frame,
        config,
        config_len,
    }
}

/// The coding of what is published: LATM is taken off, what is left is as ADTS carries it.
const fn shared_codec(codec: Codec, framing: Framing) -> shm::Codec {
    match codec {
        Codec::AacLatm if matches!(framing, Framing::Framed) => shm::Codec::Aac,
        Codec::Unknown => shm::Codec::Unknown,
        Codec::Mpeg1Video => shm::Codec::Mpeg1Video,
        Codec::Mpeg2Video => shm::Codec::Mpeg2Video,
        Codec::Mpeg4Video => shm::Codec::Mpeg4Video,
        Codec::H264 => shm::Codec::H264,
        Codec::Hevc => shm::Codec::Hevc,
        Codec::Vvc => shm::Codec::Vvc,
        Codec::Av1 => shm::Codec::Av1,
        Codec::Jpeg2000 => shm::Codec::Jpeg2000,
        Codec::JpegXs => shm::Codec::JpegXs,
        Codec::MpegAudio => shm::Codec::MpegAudio,
        Codec::Aac => shm::Codec::Aac,
        Codec::AacLatm => shm::Codec::AacLatm,
        Codec::Ac3 => shm::Codec::Ac3,
        Codec::Eac3 => shm::Codec::Eac3,
        Codec::Opus => shm::Codec::Opus,
        Codec::Dts => shm::Codec::Dts,
        Codec::L16 => shm::Codec::L16,
        Codec::L24 => shm::Codec::L24,
        Codec::Pcma => shm::Codec::Pcma,
        Codec::Pcmu => shm::Codec::Pcmu,
        Codec::Scte35 => shm::Codec::Scte35,
        Codec::Klv => shm::Codec::Klv,
        Codec::Teletext => shm::Codec::Teletext,
        Codec::DvbSubtitle => shm::Codec::DvbSubtitle,
    }
}
