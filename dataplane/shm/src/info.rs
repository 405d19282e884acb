//! What a reader learns about a stream beside its counters: identity, state, tracks. Every
//! enumeration has a stable code in shared memory and a stable label in REST, metrics and tools.

use std::net::SocketAddr;

use crate::Text;

/// Most tracks of one stream that are listed.
pub const TRACKS_MAX: usize = 16;
/// Longest stream id in bytes: the longest SRT StreamID (SRT draft, 3.2.1.3).
pub const STREAM_ID_BYTES_MAX: usize = 512;

/// The id under which a stream is published.
pub type StreamId = Text<STREAM_ID_BYTES_MAX>;

macro_rules! labelled {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])+ $variant:ident = $code:literal => $label:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])+ $variant = $code,)+ }

        #[allow(dead_code, reason = "not every table is stored as a code")]
        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// Its name in REST, metrics and tools.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// Its code in shared memory.
            pub(crate) const fn code(self) -> u8 {
                self as u8
            }

            /// The value of a code; an unknown one becomes the default.
            pub(crate) fn from_code(code: u8) -> Self {
                match code { $($code => Self::$variant,)+ _ => Self::default() }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.label())
            }
        }
    };
}

labelled! {
    /// The transport a stream is published over.
    StreamKind {
        /// SRT with MPEG-TS inside.
        #[default]
        Srt = 1 => "srt",
        /// RTP.
        Rtp = 2 => "rtp",
    }
}

labelled! {
    /// Where a stream stands.
    StreamState {
        /// Accepted, nothing received yet.
        #[default]
        Connecting = 1 => "connecting",
        /// Frames are being published.
        Active = 2 => "active",
        /// Connected, but what arrives yields no frames; [`NoMediaReason`] says why.
        NoMedia = 3 => "no_media",
        /// The publisher is gone and may come back within the grace period.
        Lost = 4 => "lost",
        /// Over; [`EndReason`] says why.
        Closed = 5 => "closed",
    }
}

labelled! {
    /// Why a connected stream has no frames.
    NoMediaReason {
        /// It has, or nothing is known yet.
        #[default]
        None = 0 => "none",
        /// The payload is not MPEG-TS.
        NotTransportStream = 1 => "not_transport_stream",
        /// No program association table.
        NoPat = 2 => "no_pat",
        /// No program map table.
        NoPmt = 3 => "no_pmt",
        /// The program lists no track that can be framed.
        NoTracks = 4 => "no_tracks",
        /// Tracks are listed, but no frame is complete yet.
        NoFrames = 5 => "no_frames",
        /// The configured program is not in the program association table.
        NoProgram = 6 => "no_program",
        /// What the RTP packets carry was not recognised.
        UnknownFormat = 7 => "unknown_format",
    }
}

labelled! {
    /// Why a stream ended.
    EndReason {
        /// It has not.
        #[default]
        None = 0 => "none",
        /// The peer said goodbye.
        Shutdown = 1 => "shutdown",
        /// The peer fell silent.
        Idle = 2 => "idle",
        /// An operator ended it.
        Terminated = 3 => "terminated",
        /// The same publisher came back on a new connection.
        Replaced = 4 => "replaced",
        /// A fault of ours.
        Panicked = 5 => "panicked",
        /// The dataplane is stopping.
        Stopped = 6 => "stopped",
        /// The peer broke the protocol.
        Protocol = 7 => "protocol",
        /// Another publisher took the id over.
        TakenOver = 8 => "taken_over",
        /// It was above its bandwidth.
        OverBandwidth = 9 => "over_bandwidth",
        /// It was of no use, and its place was needed.
        Displaced = 10 => "displaced",
    }
}

labelled! {
    /// How a stream's payload is encrypted on the wire.
    Cipher {
        /// Not at all.
        #[default]
        None = 0 => "none",
        /// AES in counter mode.
        AesCtr = 1 => "aes_ctr",
        /// AES in Galois/counter mode: authenticated.
        AesGcm = 2 => "aes_gcm",
    }
}

labelled! {
    /// What a track carries.
    TrackKind {
        /// Pictures.
        Video = 1 => "video",
        /// Sound.
        Audio = 2 => "audio",
        /// Anything else.
        #[default]
        Data = 3 => "data",
    }
}

labelled! {
    /// The coding of a track.
    Codec {
        /// Not recognised; the track is listed with its stream type only.
        #[default]
        Unknown = 0 => "unknown",
        /// MPEG-1 video.
        Mpeg1Video = 1 => "mpeg1video",
        /// MPEG-2 video.
        Mpeg2Video = 2 => "mpeg2video",
        /// MPEG-4 part 2 video.
        Mpeg4Video = 3 => "mpeg4video",
        /// H.264 / AVC.
        H264 = 4 => "h264",
        /// H.265 / HEVC.
        Hevc = 5 => "hevc",
        /// H.266 / VVC.
        Vvc = 6 => "vvc",
        /// AV1.
        Av1 = 7 => "av1",
        /// JPEG 2000.
        Jpeg2000 = 8 => "jpeg2000",
        /// JPEG XS.
        JpegXs = 9 => "jpegxs",
        /// MPEG-1 or MPEG-2 audio, layers I to III.
        MpegAudio = 32 => "mpegaudio",
        /// AAC as raw access units.
        Aac = 33 => "aac",
        /// AAC in LATM/LOAS.
        AacLatm = 34 => "aac_latm",
        /// AC-3.
        Ac3 = 35 => "ac3",
        /// E-AC-3.
        Eac3 = 36 => "eac3",
        /// Opus.
        Opus = 37 => "opus",
        /// DTS.
        Dts = 38 => "dts",
        /// Linear PCM of 16 bits.
        L16 = 39 => "l16",
        /// Linear PCM of 24 bits.
        L24 = 40 => "l24",
        /// G.711 with A-law.
        Pcma = 41 => "pcma",
        /// G.711 with mu-law.
        Pcmu = 42 => "pcmu",
        /// SCTE-35 splice information.
        Scte35 = 64 => "scte35",
        /// KLV metadata.
        Klv = 65 => "klv",
        /// EBU teletext.
        Teletext = 66 => "teletext",
        /// DVB subtitles.
        DvbSubtitle = 67 => "dvb_subtitle",
    }
}

impl Codec {
    /// What a track of this coding carries.
    pub const fn kind(self) -> TrackKind {
        match self {
            Self::Mpeg1Video
            | Self::Mpeg2Video
            | Self::Mpeg4Video
            | Self::H264
            | Self::Hevc
            | Self::Vvc
            | Self::Av1
            | Self::Jpeg2000
            | Self::JpegXs => TrackKind::Video,
            Self::MpegAudio
            | Self::Aac
            | Self::AacLatm
            | Self::Ac3
            | Self::Eac3
            | Self::Opus
            | Self::Dts
            | Self::L16
            | Self::L24
            | Self::Pcma
            | Self::Pcmu => TrackKind::Audio,
            Self::Unknown | Self::Scte35 | Self::Klv | Self::Teletext | Self::DvbSubtitle => {
                TrackKind::Data
            }
        }
    }
}

labelled! {
    /// Chroma sampling of a video track.
    Chroma {
        /// Luma only.
        Mono = 1 => "4:0:0",
        /// Half in both directions.
        #[default]
        Yuv420 = 2 => "4:2:0",
        /// Half in width.
        Yuv422 = 3 => "4:2:2",
        /// Full.
        Yuv444 = 4 => "4:4:4",
    }
}

labelled! {
    /// What a frame is to a decoder.
    FrameClass {
        /// Instantaneous refresh (H.264 IDR, HEVC IDR).
        Idr = 1 => "idr",
        /// Intra-coded.
        I = 2 => "i",
        /// Predicted.
        P = 3 => "p",
        /// Bi-predicted.
        B = 4 => "b",
        /// Predicted, kind unknown.
        Inter = 5 => "inter",
        /// Sound.
        Audio = 6 => "audio",
        /// Anything else.
        #[default]
        Data = 7 => "data",
    }
}

/// Identity of a GOP ring within one dataplane process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RingId(pub u32);

/// The format of a video track, known once its parameter sets were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VideoInfo {
    /// Profile, in the words of its specification: "High", "Main 10".
    pub profile: Text<24>,
    /// Level: "4.1".
    pub level: Text<8>,
    /// Width after cropping.
    pub width: u32,
    /// Height after cropping.
    pub height: u32,
    /// Width as coded.
    pub coded_width: u32,
    /// Height as coded.
    pub coded_height: u32,
    /// Bits per luma sample.
    pub bit_depth: u8,
    /// Chroma sampling.
    pub chroma: Chroma,
    /// Frame rate the stream declares, numerator and denominator.
    pub frame_rate: Option<(u32, u32)>,
    /// Frame rate measured over the last frames, millihertz; 0 before there is a measure.
    pub frame_rate_measured_mhz: u32,
    /// Whether pictures may be coded as fields.
    pub interlaced: bool,
    /// Sample aspect ratio, 0:0 when not declared.
    pub sample_aspect: (u16, u16),
}

/// The format of an audio track, known once a frame header was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AudioInfo {
    /// Profile: "LC".
    pub profile: Text<24>,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
    /// Samples per channel in one frame.
    pub samples_per_frame: u16,
    /// AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1); its first `config_len` bytes count.
    pub config: [u8; 16],
    /// Length of `config`.
    pub config_len: u8,
}

/// What is known about the coded format of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Nothing yet, or nothing that applies.
    #[default]
    Unknown,
    /// Pictures.
    Video(VideoInfo),
    /// Sound.
    Audio(AudioInfo),
}

/// One elementary stream of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackInfo {
    /// Its coding; [`Codec::kind`] says what it carries.
    pub codec: Codec,
    /// MPEG-TS packet identifier, 0 elsewhere.
    pub pid: u16,
    /// MPEG-TS stream_type, 0 elsewhere.
    pub stream_type: u8,
    /// MPEG-TS program number, 0 elsewhere.
    pub program: u16,
    /// ISO 639-2 code, when given.
    pub language: Option<[u8; 3]>,
    /// Its coded format.
    pub format: Format,
}

impl TrackInfo {
    /// The video format, when it is known.
    pub const fn video(&self) -> Option<&VideoInfo> {
        match &self.format {
            Format::Video(video) => Some(video),
            _ => None,
        }
    }

    /// The audio format, when it is known.
    pub const fn audio(&self) -> Option<&AudioInfo> {
        match &self.format {
            Format::Audio(audio) => Some(audio),
            _ => None,
        }
    }

    /// The language code as text, when it is given and ASCII letters.
    pub fn language(&self) -> Option<&str> {
        let code = self.language.as_ref()?;
        let letters = code.iter().all(u8::is_ascii_alphabetic);
        std::str::from_utf8(code).ok().filter(|_| letters)
    }
}

/// One stream as the stream table shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamInfo {
    /// The id it is published under.
    pub id: StreamId,
    /// Its transport.
    pub kind: StreamKind,
    /// Where it stands.
    pub state: StreamState,
    /// Why it has no frames, in state [`StreamState::NoMedia`].
    pub no_media: NoMediaReason,
    /// Why it ended, in state [`StreamState::Closed`] (and why it was lost, in
    /// [`StreamState::Lost`]).
    pub end: EndReason,
    /// Address of the publisher.
    pub source: Option<SocketAddr>,
    /// The worker it lives on.
    pub worker: u16,
    /// First accepted, nanoseconds since the Unix epoch.
    pub created_unix_ns: u64,
    /// Last accepted connection, nanoseconds since the Unix epoch.
    pub connected_unix_ns: u64,
    /// Ended, nanoseconds since the Unix epoch; 0 before.
    pub ended_unix_ns: u64,
    /// The ring its frames are in.
    pub ring: Option<RingId>,
    /// Generation of that ring which is this stream's.
    pub ring_generation: u64,
    /// Version the peer announced, as on the wire (0x00MMmmpp); 0 unknown.
    pub peer_version: u32,
    /// Negotiated receive latency.
    pub latency_ms: u16,
    /// How it is encrypted on the wire.
    pub cipher: Cipher,
    /// Bits of its key, 0 for none.
    pub key_bits: u16,
    /// Its tracks; a frame's track number is an index into them.
    pub tracks: Tracks,
}

/// A list of at most [`TRACKS_MAX`] tracks, `Copy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tracks {
    tracks: [TrackInfo; TRACKS_MAX],
    len: usize,
}

impl Tracks {
    /// These tracks; those beyond [`TRACKS_MAX`] are left out.
    pub fn new(tracks: &[TrackInfo]) -> Self {
        let mut list = Self { len: tracks.len().min(TRACKS_MAX), ..Self::default() };
        list.tracks[..list.len].copy_from_slice(&tracks[..list.len]);
        list
    }

    /// As a slice.
    pub fn as_slice(&self) -> &[TrackInfo] {
        &self.tracks[..self.len]
    }
}

impl StreamInfo {
    /// The listed tracks.
    pub fn tracks(&self) -> &[TrackInfo] {
        self.tracks.as_slice()
    }

    /// Lists these tracks; those beyond [`TRACKS_MAX`] are left out.
    pub fn set_tracks(&mut self, tracks: &[TrackInfo]) {
        self.tracks = Tracks::new(tracks);
    }
}
