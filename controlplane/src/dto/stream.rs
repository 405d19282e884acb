//! One stream and the list of them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Number;
use shm::counters::StreamCounter;
use shm::{Cipher, StreamKind, StreamSnapshot, StreamState, TrackKind};

use super::connection::ConnectionStats;
use super::rtp::RtpStats;
use super::track::hertz;
use super::{Freshness, Track, float, ratio};
use crate::clock;
use crate::source::{Snapshot, frames_dropped};

/// `GET /streams`.
#[derive(Debug, Clone, Serialize)]
pub struct StreamList {
    /// The streams, ordered by id.
    pub streams: Vec<Stream>,
    /// How many.
    pub count: usize,
    /// When this was written.
    pub time: String,
    /// How old it is.
    #[serde(flatten)]
    pub freshness: Freshness,
}

/// `GET /streams/{id}`.
#[derive(Debug, Clone, Serialize)]
pub struct StreamDetail {
    /// The stream.
    #[serde(flatten)]
    pub stream: Stream,
    /// How old it is.
    #[serde(flatten)]
    pub freshness: Freshness,
}

/// One stream.
#[derive(Debug, Clone, Serialize)]
pub struct Stream {
    /// The id it is published under.
    pub id: String,
    /// `srt` or `rtp`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Address and port of the publisher.
    pub source_addr: Option<String>,
    /// `connecting`, `active`, `connected, no media`, `lost`, `closed`.
    pub status: &'static str,
    /// Why, where the status has a reason: `not_transport_stream`, `idle`, …
    pub status_reason: Option<&'static str>,
    /// First accepted under this id.
    pub created_at: String,
    /// Last accepted connection.
    pub connected_at: String,
    /// The end of a closed stream.
    pub ended_at: Option<String>,
    /// Last datagram from the publisher.
    pub last_heartbeat: String,
    /// Coding of the first video track.
    pub video_codec: Option<&'static str>,
    /// `1920x1080`.
    pub resolution: Option<String>,
    /// Media bits per second.
    pub bitrate: u64,
    /// Video frames per second: measured, else declared, else 0.
    pub frame_rate: f64,
    /// The worker it lives on.
    pub worker: u16,
    /// Accepted connections, the first included.
    pub connections: u64,
    /// SRT version of the publisher.
    pub peer_version: Option<String>,
    /// How it is encrypted on the wire.
    pub encryption: EncryptionInfo,
    /// Its elementary streams.
    pub tracks: Vec<Track>,
    /// The figures most asked for.
    pub stats: StreamStats,
    /// Every counter by its name.
    pub counters: BTreeMap<&'static str, Number>,
}

/// How a stream is encrypted on the wire.
#[derive(Debug, Clone, Serialize)]
pub struct EncryptionInfo {
    /// `clear` or `secured`.
    pub state: &'static str,
    /// `none`, `aes_ctr` or `aes_gcm`.
    pub cipher: &'static str,
    /// Bits of the key.
    pub key_bits: u16,
    /// Times the key was changed.
    pub refreshes: u64,
    /// Times a change was refused.
    pub refreshes_refused: u64,
}

impl EncryptionInfo {
    fn new(stream: &StreamSnapshot) -> Self {
        let cipher = stream.info.cipher;
        Self {
            state: if cipher == Cipher::None { "clear" } else { "secured" },
            cipher: cipher.label(),
            key_bits: stream.info.key_bits,
            refreshes: stream.counter(StreamCounter::KeyRefreshes),
            refreshes_refused: stream.counter(StreamCounter::KeyFailures),
        }
    }
}

/// `GET /streams/{id}/stats`.
#[derive(Debug, Clone, Serialize)]
pub struct StreamStatsDetail {
    /// Whose they are.
    pub stream_id: String,
    /// The figures most asked for.
    #[serde(flatten)]
    pub stats: StreamStats,
    /// Every counter by its name.
    pub counters: BTreeMap<&'static str, Number>,
    /// How old they are.
    #[serde(flatten)]
    pub freshness: Freshness,
}

/// The figures most asked for.
#[derive(Debug, Clone, Serialize)]
pub struct StreamStats {
    /// UDP payload bytes received.
    pub bytes_received: u64,
    /// Data packets received.
    pub packets_received: u64,
    /// Packets found missing at first sight; most come again (see `packets_unrecovered`).
    pub packets_lost: u64,
    /// Packets that never came in time.
    pub packets_unrecovered: u64,
    /// Media bits per second.
    pub bitrate: u64,
    /// The GOP ring.
    pub frame_buffer_stats: FrameBufferStats,
    /// The SRT connection or the RTP session.
    pub connection_stats: TransportStats,
}

/// What is counted of the transport.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum TransportStats {
    /// An SRT connection.
    Srt(Box<ConnectionStats>),
    /// An RTP session.
    Rtp(Box<RtpStats>),
}

/// The GOP ring and what went through it.
#[derive(Debug, Clone, Serialize)]
pub struct FrameBufferStats {
    /// Bytes of the ring.
    pub capacity: u64,
    /// Bytes in use.
    pub used: u64,
    /// Bytes free.
    pub available: u64,
    /// Frames published.
    pub frames_assembled: u64,
    /// Frames dropped, for any reason.
    pub frames_dropped: u64,
    /// `used / capacity`, 0 to 1.
    pub queue_pressure: f64,
    /// Key frames.
    pub keyframes: u64,
    /// P frames.
    pub p_frames: u64,
    /// B frames.
    pub b_frames: u64,
    /// Frames in the ring.
    pub frames: u64,
    /// Groups of pictures in the ring, the open one included.
    pub gops: u64,
}

impl Stream {
    /// From a reading of the stream table.
    pub fn new(snapshot: &Snapshot, stream: &StreamSnapshot) -> Self {
        let info = &stream.info;
        let video = info.tracks().iter().find(|track| track.codec.kind() == TrackKind::Video);
        let size = video.and_then(|track| track.video()).filter(|video| video.width > 0);
        let version = info.peer_version;
        Self {
            id: info.id.as_str().to_owned(),
            kind: info.kind.label(),
            source_addr: info.source.map(|source| source.to_string()),
            status: status(info.state),
            status_reason: status_reason(stream),
            created_at: clock::rfc3339(info.created_unix_ns),
            connected_at: clock::rfc3339(info.connected_unix_ns),
            ended_at: (info.ended_unix_ns > 0).then(|| clock::rfc3339(info.ended_unix_ns)),
            last_heartbeat: clock::rfc3339(last_heartbeat(snapshot, stream)),
            video_codec: video.map(|track| track.codec.label()),
            resolution: size.map(|video| format!("{}x{}", video.width, video.height)),
            bitrate: bitrate(stream),
            frame_rate: frame_rate(stream),
            worker: info.worker,
            connections: stream.counter(StreamCounter::Connections),
            peer_version: (version > 0).then(|| {
                format!("{}.{}.{}", version >> 16 & 0xff, version >> 8 & 0xff, version & 0xff)
            }),
            encryption: EncryptionInfo::new(stream),
            tracks: info
                .tracks()
                .iter()
                .enumerate()
                .map(|(i, track)| Track::new(i, track))
                .collect(),
            stats: StreamStats::new(snapshot, stream),
            counters: counters(stream),
        }
    }
}

impl StreamStatsDetail {
    /// From a reading of the stream table.
    pub fn new(snapshot: &Snapshot, stream: &StreamSnapshot) -> Self {
        Self {
            stream_id: stream.info.id.as_str().to_owned(),
            stats: StreamStats::new(snapshot, stream),
            counters: counters(stream),
            freshness: Freshness::of(snapshot),
        }
    }
}

impl StreamStats {
    fn new(snapshot: &Snapshot, stream: &StreamSnapshot) -> Self {
        let count = |counter| stream.counter(counter);
        Self {
            bytes_received: count(StreamCounter::BytesReceived),
            packets_received: count(StreamCounter::PacketsReceived),
            packets_lost: count(StreamCounter::PacketsLost),
            packets_unrecovered: count(StreamCounter::PacketsSkippedTooLate)
                .saturating_add(count(StreamCounter::PacketsSkippedBySender)),
            bitrate: bitrate(stream),
            frame_buffer_stats: FrameBufferStats::new(stream),
            connection_stats: match stream.info.kind {
                StreamKind::Srt => {
                    TransportStats::Srt(Box::new(ConnectionStats::new(snapshot, stream)))
                }
                StreamKind::Rtp => TransportStats::Rtp(Box::new(RtpStats::new(snapshot, stream))),
            },
        }
    }
}

impl FrameBufferStats {
    fn new(stream: &StreamSnapshot) -> Self {
        let count = |counter| stream.counter(counter);
        let capacity = count(StreamCounter::RingCapacityBytes);
        let used = count(StreamCounter::RingUsedBytes).min(capacity);
        Self {
            capacity,
            used,
            available: capacity - used,
            frames_assembled: count(StreamCounter::FramesPublished),
            frames_dropped: frames_dropped(stream),
            queue_pressure: ratio(float(used), float(capacity)),
            keyframes: count(StreamCounter::FramesKey),
            p_frames: count(StreamCounter::FramesP),
            b_frames: count(StreamCounter::FramesB),
            frames: count(StreamCounter::RingFrames),
            gops: count(StreamCounter::RingGops),
        }
    }
}

/// The state in the words of the API.
fn status(state: StreamState) -> &'static str {
    match state {
        StreamState::NoMedia => "connected, no media",
        other => other.label(),
    }
}

fn status_reason(stream: &StreamSnapshot) -> Option<&'static str> {
    let reason = match stream.info.state {
        StreamState::NoMedia => stream.info.no_media.label(),
        StreamState::Lost | StreamState::Closed => stream.info.end.label(),
        StreamState::Connecting | StreamState::Active => return None,
    };
    (reason != "none").then_some(reason)
}

fn last_heartbeat(snapshot: &Snapshot, stream: &StreamSnapshot) -> u64 {
    match stream.counter(StreamCounter::LastReceivedNs) {
        0 => stream.info.connected_unix_ns,
        received_ns => snapshot.wall_ns(received_ns),
    }
}

/// Media bits per second; a stream without a publisher has none, whatever was measured last.
pub(crate) fn bitrate(stream: &StreamSnapshot) -> u64 {
    match stream.info.state {
        StreamState::Lost | StreamState::Closed => 0,
        _ => stream.counter(StreamCounter::BitrateBps),
    }
}

fn frame_rate(stream: &StreamSnapshot) -> f64 {
    let measured = stream.counter(StreamCounter::FrameRateMhz);
    if matches!(stream.info.state, StreamState::Lost | StreamState::Closed) {
        return 0.0;
    }
    if measured > 0 {
        return hertz(measured);
    }
    let declared = stream.info.tracks().iter().find_map(|track| track.video()?.frame_rate);
    declared.map_or(0.0, |(numerator, denominator)| ratio(numerator.into(), denominator.into()))
}

fn counters(stream: &StreamSnapshot) -> BTreeMap<&'static str, Number> {
    let all = StreamCounter::ALL.iter();
    all.map(|counter| (counter.label(), number(*counter, stream.counter(*counter)))).collect()
}

/// Drift is the one signed figure.
fn number(counter: StreamCounter, value: u64) -> Number {
    match counter {
        StreamCounter::DriftUs => Number::from(value.cast_signed()),
        _ => Number::from(value),
    }
}

/// A two's complement counter as a float.
pub(crate) fn signed_float(value: u64) -> f64 {
    let signed = value.cast_signed();
    let size = float(signed.unsigned_abs());
    if signed < 0 { -size } else { size }
}
