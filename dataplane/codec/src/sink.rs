//! The joint between protocol crates and `media`: demultiplexers and depacketizers push
//! elementary-stream bytes into a [`Sink`], in order, without owning them.

/// Most tracks of one stream that are listed and framed.
pub const TRACKS_MAX: usize = 16;

/// The coding of one elementary stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Not recognised; the track is listed with its stream type only.
    #[default]
    Unknown,
    /// MPEG-1 video (ISO/IEC 11172-2).
    Mpeg1Video,
    /// MPEG-2 video (H.262).
    Mpeg2Video,
    /// MPEG-4 part 2 video.
    Mpeg4Video,
    /// H.264 / AVC.
    H264,
    /// H.265 / HEVC.
    Hevc,
    /// H.266 / VVC.
    Vvc,
    /// AV1.
    Av1,
    /// JPEG 2000.
    Jpeg2000,
    /// JPEG XS.
    JpegXs,
    /// MPEG-1 or MPEG-2 audio, layers I to III.
    MpegAudio,
    /// AAC, as raw access units whatever the carriage was (ADTS).
    Aac,
    /// AAC in LATM/LOAS.
    AacLatm,
    /// AC-3.
    Ac3,
    /// E-AC-3.
    Eac3,
    /// Opus.
    Opus,
    /// DTS.
    Dts,
    /// Linear PCM of 16 bits, big-endian (RFC 3551, 4.5.11).
    L16,
    /// Linear PCM of 24 bits, big-endian (RFC 3190).
    L24,
    /// G.711 with A-law.
    Pcma,
    /// G.711 with mu-law.
    Pcmu,
    /// SCTE-35 splice information.
    Scte35,
    /// KLV metadata (SMPTE ST 336).
    Klv,
    /// EBU teletext.
    Teletext,
    /// DVB subtitles.
    DvbSubtitle,
}

/// What a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Anything else.
    Data,
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

/// What the transport says about one elementary stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackConfig {
    /// Its coding.
    pub codec: Codec,
    /// MPEG-TS packet identifier, 0 elsewhere.
    pub pid: u16,
    /// MPEG-TS stream_type, 0 elsewhere.
    pub stream_type: u8,
    /// MPEG-TS program number, 0 elsewhere.
    pub program: u16,
    /// ISO 639-2 code from the transport, when given.
    pub language: Option<[u8; 3]>,
    /// Channels of sound as the transport says, where the coded stream cannot (Opus); 0 otherwise.
    pub channels: u8,
    /// How units and access units go together.
    pub carriage: Carriage,
    /// RTP: the clock's ticks in a second, for sound its sample rate; 0 elsewhere.
    pub clock_hz: u32,
    /// RTP payload type, 0 elsewhere.
    pub payload_type: u8,
}

/// How a track's units and access units go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Carriage {
    /// A unit is any part of the elementary stream (PES).
    #[default]
    Stream,
    /// A unit holds whole access units, mostly one, and ends with the last of them. H.264 and HEVC
    /// come as Annex B with four-byte start codes, AV1 as OBUs with sizes, sound without framing.
    AccessUnits,
}

/// Which field of a frame a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The first in time.
    First,
    /// The second.
    Second,
}

/// Timestamps of one unit in 90 kHz ticks: the first of a stream equals the wire's 33-bit value,
/// later ones continue past 2^33.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamps {
    /// Presentation time.
    pub pts: Option<u64>,
    /// Decoding time; a PES that carries only a PTS leaves it `None`.
    pub dts: Option<u64>,
}

/// Receives elementary-stream bytes. A *unit* is what the transport stamps as one piece: a PES
/// packet's payload in MPEG-TS, an access unit in RTP. A unit may hold several access units or a
/// part of one; finding access units is the sink's work.
///
/// `track` is an index into the list given by the last [`Sink::tracks`] call.
pub trait Sink {
    /// The stream's tracks, first and after each change. Indices of the former list are void; a
    /// unit that was open on a former track ended without a call.
    fn tracks(&mut self, tracks: &[TrackConfig]);
    /// A unit begins; an open unit of the track ends here.
    fn unit_start(&mut self, track: usize, stamps: Timestamps);
    /// The unit that has just begun is one field of a frame, as the transport says (RFC 9134). For
    /// codings that say so themselves it is not called.
    fn field(&mut self, track: usize, field: Field) {
        let _ = (track, field);
    }
    /// The next bytes of the track's open unit.
    fn unit_data(&mut self, track: usize, bytes: &[u8]);
    /// The next bytes of the track's open unit, where a NAL unit begins: a start code of four bytes with
    /// what of the header, two bytes at most, is not among `bytes`, and then those: there are some. It is
    /// the same as [`unit_data`](Self::unit_data) with one and with the other, for less work.
    fn nal_unit(&mut self, track: usize, code_and_header: &[u8], bytes: &[u8]) {
        self.unit_data(track, code_and_header);
        self.unit_data(track, bytes);
    }
    /// The track's open unit is known to be complete (a bounded PES that reached its length, an
    /// RTP marker). Units of unknown length end at the next start instead.
    fn unit_end(&mut self, track: usize);
    /// Bytes of the track are missing here: what is open is damaged.
    fn gap(&mut self, track: usize);
    /// What describes the track apart from its bytes (RTP, from SDP): AAC's AudioSpecificConfig.
    fn configuration(&mut self, track: usize, bytes: &[u8]) {
        let _ = (track, bytes);
    }
    /// Whole units may be missing between the last one and the next: what refers to them cannot be
    /// decoded, but no unit is damaged.
    fn skipped(&mut self, track: usize) {
        let _ = track;
    }
}
