//! [`StreamInfo`] to and from its bytes in shared memory. Decoding takes any bytes: unknown codes
//! become defaults, lengths are cut to what there is, texts to their valid prefix.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use bytemuck::Zeroable;

use crate::Text;
use crate::info::{
    AudioInfo, Chroma, Cipher, Codec, EndReason, Format, NoMediaReason, RingId, StreamId,
    StreamInfo, StreamKind, StreamState, TRACKS_MAX, TrackInfo, Tracks, VideoInfo,
};
use crate::layout::{StreamRecord, TrackRecord};

const FORMAT_VIDEO: u8 = 1;
const FORMAT_AUDIO: u8 = 2;
const FAMILY_V4: u8 = 4;
const FAMILY_V6: u8 = 6;
const NO_RING: u32 = u32::MAX;

impl StreamInfo {
    pub(crate) fn encode(&self) -> StreamRecord {
        let mut record = StreamRecord {
            occupied: 1,
            kind: self.kind.code(),
            state: self.state.code(),
            no_media: self.no_media.code(),
            end: self.end.code(),
            worker: self.worker,
            latency_ms: self.latency_ms,
            cipher: self.cipher.code(),
            key_bits: self.key_bits,
            created_unix_ns: self.created_unix_ns,
            connected_unix_ns: self.connected_unix_ns,
            ended_unix_ns: self.ended_unix_ns,
            ring_generation: self.ring_generation,
            ring: self.ring.map_or(NO_RING, |ring| ring.0),
            peer_version: self.peer_version,
            id_len: u16::try_from(self.id.len()).expect("at most 512"),
            tracks_len: u16::try_from(self.tracks().len()).expect("at most 16"),
            id: *self.id.padded(),
            ..StreamRecord::zeroed()
        };
        encode_source(self.source, &mut record);
        for (bytes, track) in record.tracks.iter_mut().zip(self.tracks()) {
            *bytes = track.encode();
        }
        record
    }

    /// The stream in a slot; `None` when the slot is free.
    pub(crate) fn decode(record: &StreamRecord) -> Option<Self> {
        if record.occupied == 0 {
            return None;
        }
        let tracks = record.tracks.map(|track| TrackInfo::decode(&track));
        let listed = usize::from(record.tracks_len).min(TRACKS_MAX);
        Some(Self {
            id: StreamId::from_hostile(&record.id, record.id_len.into()),
            kind: StreamKind::from_code(record.kind),
            state: StreamState::from_code(record.state),
            no_media: NoMediaReason::from_code(record.no_media),
            end: EndReason::from_code(record.end),
            source: decode_source(record),
            worker: record.worker,
            created_unix_ns: record.created_unix_ns,
            connected_unix_ns: record.connected_unix_ns,
            ended_unix_ns: record.ended_unix_ns,
            ring: (record.ring != NO_RING).then_some(RingId(record.ring)),
            ring_generation: record.ring_generation,
            peer_version: record.peer_version,
            latency_ms: record.latency_ms,
            cipher: Cipher::from_code(record.cipher),
            key_bits: record.key_bits,
            tracks: Tracks::new(&tracks[..listed]),
        })
    }
}

fn encode_source(source: Option<SocketAddr>, record: &mut StreamRecord) {
    let Some(source) = source else { return };
    record.source_port = source.port();
    match source {
        SocketAddr::V4(v4) => {
            record.source_family = FAMILY_V4;
            record.source_address[..4].copy_from_slice(&v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            record.source_family = FAMILY_V6;
            record.source_address = v6.ip().octets();
            record.source_scope = v6.scope_id();
        }
    }
}

fn decode_source(record: &StreamRecord) -> Option<SocketAddr> {
    let [a, b, c, d, ..] = record.source_address;
    match record.source_family {
        FAMILY_V4 => {
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), record.source_port))
        }
        FAMILY_V6 => {
            let address = Ipv6Addr::from(record.source_address);
            let v6 = SocketAddrV6::new(address, record.source_port, 0, record.source_scope);
            Some(SocketAddr::V6(v6))
        }
        _ => None,
    }
}

impl TrackInfo {
    fn encode(&self) -> TrackRecord {
        let mut record = TrackRecord {
            codec: self.codec.code(),
            stream_type: self.stream_type,
            pid: self.pid,
            program: self.program,
            language: self.language.unwrap_or_default(),
            has_language: u8::from(self.language.is_some()),
            ..TrackRecord::zeroed()
        };
        match &self.format {
            Format::Unknown => {}
            Format::Video(video) => encode_video(video, &mut record),
            Format::Audio(audio) => encode_audio(audio, &mut record),
        }
        record
    }

    fn decode(record: &TrackRecord) -> Self {
        Self {
            codec: Codec::from_code(record.codec),
            pid: record.pid,
            stream_type: record.stream_type,
            program: record.program,
            language: (record.has_language != 0).then_some(record.language),
            format: match record.format {
                FORMAT_VIDEO => Format::Video(decode_video(record)),
                FORMAT_AUDIO => Format::Audio(decode_audio(record)),
                _ => Format::Unknown,
            },
        }
    }
}

const fn encode_video(video: &VideoInfo, record: &mut TrackRecord) {
    record.format = FORMAT_VIDEO;
    record.profile = *video.profile.padded();
    record.level = *video.level.padded();
    record.width = video.width;
    record.height = video.height;
    record.coded_width = video.coded_width;
    record.coded_height = video.coded_height;
    record.bit_depth = video.bit_depth;
    record.chroma = video.chroma.code();
    if let Some((num, den)) = video.frame_rate {
        record.frame_rate_num = num;
        record.frame_rate_den = den;
    }
    record.frame_rate_measured_mhz = video.frame_rate_measured_mhz;
    record.interlaced = video.interlaced as u8;
    (record.sample_aspect_width, record.sample_aspect_height) = video.sample_aspect;
}

fn decode_video(record: &TrackRecord) -> VideoInfo {
    let declared = (record.frame_rate_num, record.frame_rate_den);
    VideoInfo {
        profile: Text::from_hostile_padded(&record.profile),
        level: Text::from_hostile_padded(&record.level),
        width: record.width,
        height: record.height,
        coded_width: record.coded_width,
        coded_height: record.coded_height,
        bit_depth: record.bit_depth,
        chroma: Chroma::from_code(record.chroma),
        frame_rate: (declared.1 != 0).then_some(declared),
        frame_rate_measured_mhz: record.frame_rate_measured_mhz,
        interlaced: record.interlaced != 0,
        sample_aspect: (record.sample_aspect_width, record.sample_aspect_height),
    }
}

fn encode_audio(audio: &AudioInfo, record: &mut TrackRecord) {
    record.format = FORMAT_AUDIO;
    record.profile = *audio.profile.padded();
    record.sample_rate = audio.sample_rate;
    record.channels = audio.channels;
    record.samples_per_frame = audio.samples_per_frame.into();
    record.config = audio.config;
    record.config_len = audio.config_len;
}

fn decode_audio(record: &TrackRecord) -> AudioInfo {
    AudioInfo {
        profile: Text::from_hostile_padded(&record.profile),
        sample_rate: record.sample_rate,
        channels: record.channels,
        samples_per_frame: u16::try_from(record.samples_per_frame).unwrap_or(0),
        config: record.config,
        config_len: record.config_len.min(16),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn video() -> TrackInfo {
        let format = VideoInfo {
            profile: Text::new("High 4:2:2").unwrap(),
            level: Text::new("4.1").unwrap(),
            width: 1920,
            height: 1080,
            coded_width: 1920,
            coded_height: 1088,
            bit_depth: 10,
            chroma: Chroma::Yuv422,
            frame_rate: Some((30_000, 1_001)),
            frame_rate_measured_mhz: 29_970,
            interlaced: true,
            sample_aspect: (1, 1),
        };
        TrackInfo {
            codec: Codec::H264,
            pid: 256,
            stream_type: 0x1b,
            program: 1,
            language: None,
            format: Format::Video(format),
        }
    }

    fn audio() -> TrackInfo {
        let format = AudioInfo {
            profile: Text::new("LC").unwrap(),
            sample_rate: 48_000,
            channels: 2,
            samples_per_frame: 1024,
            config: [0x11, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            config_len: 2,
        };
        let language = Some(*b"eng");
        TrackInfo { codec: Codec::Aac, language, format: Format::Audio(format), ..video() }
    }

    fn info() -> StreamInfo {
        let mut info = StreamInfo {
            id: StreamId::new("live/küche").unwrap(),
            kind: StreamKind::Srt,
            state: StreamState::NoMedia,
            no_media: NoMediaReason::NoPmt,
            end: EndReason::Idle,
            source: Some("[fe80::1%3]:9000".parse().unwrap()),
            worker: 7,
            created_unix_ns: 1,
            connected_unix_ns: 2,
            ended_unix_ns: 3,
            ring: Some(RingId(4)),
            ring_generation: 5,
            peer_version: 0x01_05_03,
            latency_ms: 120,
            cipher: Cipher::AesGcm,
            key_bits: 256,
            ..StreamInfo::default()
        };
        info.set_tracks(&[video(), audio(), TrackInfo::default()]);
        info
    }

    #[test]
    fn a_stream_comes_back_as_it_went() {
        let info = info();
        assert_eq!(StreamInfo::decode(&info.encode()), Some(info));
        let v4 = StreamInfo { source: "10.0.0.1:9000".parse().ok(), ring: None, ..info };
        assert_eq!(StreamInfo::decode(&v4.encode()), Some(v4));
        let bare = StreamInfo::default();
        assert_eq!(StreamInfo::decode(&bare.encode()), Some(bare));
    }

    #[test]
    fn a_free_slot_is_no_stream() {
        assert_eq!(StreamInfo::decode(&StreamRecord::zeroed()), None);
    }

    #[test]
    fn lengths_beyond_the_record_are_cut() {
        let mut record = info().encode();
        record.id_len = u16::MAX;
        record.tracks_len = u16::MAX;
        record.tracks[0].config_len = 255;
        let decoded = StreamInfo::decode(&record).unwrap();
        assert_eq!(decoded.tracks().len(), TRACKS_MAX);
        assert_eq!(decoded.id.len(), 512);
    }

    #[test]
    fn more_tracks_than_fit_are_left_out() {
        let mut info = info();
        info.set_tracks(&[TrackInfo::default(); 20]);
        assert_eq!(info.tracks().len(), TRACKS_MAX);
    }

    #[test]
    fn every_label_is_unique_and_every_code_comes_back() {
        fn check<T: PartialEq + Copy + std::fmt::Debug>(
            all: &[T],
            label: fn(T) -> &'static str,
            again: impl Fn(T) -> T,
        ) {
            for (i, one) in all.iter().enumerate() {
                assert_eq!(again(*one), *one);
                assert!(all[..i].iter().all(|other| label(*other) != label(*one)), "{one:?}");
            }
        }
        check(Codec::ALL, Codec::label, |v| Codec::from_code(v.code()));
        check(StreamKind::ALL, StreamKind::label, |v| StreamKind::from_code(v.code()));
        check(StreamState::ALL, StreamState::label, |v| StreamState::from_code(v.code()));
        check(NoMediaReason::ALL, NoMediaReason::label, |v| NoMediaReason::from_code(v.code()));
        check(EndReason::ALL, EndReason::label, |v| EndReason::from_code(v.code()));
        check(Chroma::ALL, Chroma::label, |v| Chroma::from_code(v.code()));
    }
}
