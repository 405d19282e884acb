//! Sessions of RTP that are given.

use serde::Serialize;
use shm::counters::StreamCounter as C;
use shm::link::{RtpSessionReport, RtpSocketReport, RtpTrackReport};

use super::Freshness;
use crate::clock;
use crate::source::Snapshot;

/// `GET /rtp/sessions`
#[derive(Debug, Clone, Serialize)]
pub struct RtpSessionsBody {
    /// All of them, by id.
    pub sessions: Vec<RtpSessionBody>,
    /// How many.
    pub count: usize,
    /// When this was answered.
    pub time: String,
    /// How old the data is.
    #[serde(flatten)]
    pub freshness: Freshness,
}

/// `GET /rtp/sessions/{id}`
#[derive(Debug, Clone, Serialize)]
pub struct RtpSessionDetail {
    /// The session.
    #[serde(flatten)]
    pub session: RtpSessionBody,
    /// How old the data is.
    #[serde(flatten)]
    pub freshness: Freshness,
}

/// One session.
#[derive(Debug, Clone, Serialize)]
pub struct RtpSessionBody {
    /// Its id and that of its stream.
    pub id: String,
    /// `config` or `api`.
    pub origin: &'static str,
    /// `rtp` or `ts`.
    pub transport: String,
    /// `waiting`, `listening`, `receiving` or `closing`.
    pub state: String,
    /// Why it is not open.
    pub trouble: Option<String>,
    /// Where its sender is.
    pub source_addr: Option<String>,
    /// Where its packets come.
    pub sockets: Vec<RtpSocketReport>,
    /// What they carry, as far as that is given.
    pub tracks: Vec<RtpTrackReport>,
    /// Media of its description that are not received, and why.
    pub left_out: Vec<String>,
    /// RTP packets, or datagrams of a transport stream; of all senders that it has had, as the other
    /// figures.
    pub packets_received: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Packets found missing at first sight.
    pub packets_lost: u64,
    /// Datagrams from hosts that may not send.
    pub datagrams_dropped_source: u64,
}

impl RtpSessionBody {
    /// With the figures of its stream.
    pub(crate) fn new(snapshot: &Snapshot, session: &RtpSessionReport) -> Self {
        let stream = snapshot.stream(&session.id);
        let count = |counter| stream.map_or(0, |stream| stream.counter(counter));
        let session = session.clone();
        Self {
            id: session.id,
            origin: if session.configured { "config" } else { "api" },
            transport: session.transport,
            state: session.state,
            trouble: session.trouble,
            source_addr: session.source,
            sockets: session.sockets,
            tracks: session.tracks,
            left_out: session.left_out,
            packets_received: count(C::PacketsReceived),
            bytes_received: count(C::BytesReceived),
            packets_lost: count(C::PacketsLost),
            datagrams_dropped_source: count(C::WrongSource),
        }
    }
}

impl RtpSessionsBody {
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let sessions = snapshot.rtp_sessions.iter();
        let sessions: Vec<_> =
            sessions.map(|session| RtpSessionBody::new(snapshot, session)).collect();
        Self {
            count: sessions.len(),
            sessions,
            time: clock::rfc3339_now(),
            freshness: Freshness::of(snapshot),
        }
    }
}

/// The body of a control request about a session that worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RtpSessionDone {
    /// What was done.
    pub message: &'static str,
    /// To what.
    pub data: RtpSessionDoneTo,
    /// When.
    pub timestamp: String,
}

/// What a control request was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RtpSessionDoneTo {
    /// The session's id.
    pub session_id: String,
    /// Media of its description that are not received, and why.
    pub left_out: Vec<String>,
}

impl RtpSessionDone {
    /// Now.
    pub(crate) fn new(message: &'static str, session_id: String, left_out: Vec<String>) -> Self {
        let data = RtpSessionDoneTo { session_id, left_out };
        Self { message, data, timestamp: clock::rfc3339_now() }
    }
}
