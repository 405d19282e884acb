//! The bodies of the REST API. Field names and units are its contract: absent facts are `null`
//! or left out, numbers are always finite, times are RFC 3339, rates say what they are per.

mod backpressure;
mod connection;
mod event;
mod rtp;
mod rtp_session;
mod source;
mod stats;
mod stream;
mod track;

use serde::Serialize;

use crate::source::Snapshot;

pub use self::backpressure::{Backpressure, BackpressureDone};
pub use self::connection::{ConnectionStats, DroppedPackets, Range, Spreads};
pub use self::event::{EventBody, EventList};
pub use self::rtp::{DroppedRtp, Fec, Leg, RecoveredPackets, Rtcp, RtpStats};
pub use self::rtp_session::{
    RtpSessionBody, RtpSessionDetail, RtpSessionDone, RtpSessionDoneTo, RtpSessionsBody,
};
pub use self::source::{
    BreakerBody, FailureBody, SourceBody, SourceDetail, SourceDone, SourceDoneTo, SourcesBody,
};
pub(crate) use self::stats::heartbeat_age_ms;
pub use self::stats::{SystemStats, VideoStats, VideoStatsList};
pub use self::stream::{
    FrameBufferStats, Stream, StreamDetail, StreamList, StreamStats, StreamStatsDetail,
};
pub(crate) use self::stream::{bitrate, signed_float};
pub use self::track::Track;

/// How old the data of a body is. Every body made from shared memory carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Freshness {
    /// Whether the dataplane behind the data is gone or silent: nothing here is live.
    pub stale: bool,
    /// Milliseconds since the data was true.
    pub age_ms: u64,
}

impl Freshness {
    /// Of a reading, at this moment.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            stale: snapshot.is_stale(),
            age_ms: u64::try_from(snapshot.age().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The body of a control request that worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Done {
    /// What was done.
    pub message: &'static str,
    /// To what.
    pub data: DoneTo,
    /// When.
    pub timestamp: String,
}

/// What a control request was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DoneTo {
    /// The stream's id.
    pub stream_id: String,
    /// Seconds for which the id is kept out.
    pub block_s: u64,
}

/// `numerator / denominator` as a number that JSON can hold.
pub(crate) fn ratio(numerator: f64, denominator: f64) -> f64 {
    let ratio = numerator / denominator;
    if ratio.is_finite() { ratio } else { 0.0 }
}

/// A counter as a float: exact below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "REST shows figures, and 2^53 is beyond any of them"
)]
pub(crate) fn float(value: u64) -> f64 {
    value as f64
}
