//! `ingestion.rtp`.

use serde::{Deserialize, Serialize};

use super::Span;
use crate::config::options::OverBandwidth;

section! {
    /// `ingestion.rtp`: the shared port, and what all of RTP shares.
    Rtp {
        enabled: Option<bool>,
        listen_addr: Option<String>,
        port: Option<u64>,
        rtcp_port: Option<u64>,
        open: Option<bool>,
        allow: Option<Vec<String>>,
        deny: Option<Vec<String>>,
        derived_id: Option<String>,
        buffer_size: Option<u64>,
        max_sessions: Option<u64>,
        max_added_sessions: Option<u64>,
        max_added_tracks: Option<u64>,
        session_timeout: Option<Span>,
        relatch_after: Option<Span>,
        latency: Option<Span>,
        latency_max: Option<Span>,
        reorder_packets: Option<u64>,
        max_bandwidth: Option<u64>,
        over_bandwidth: Option<OverBandwidth>,
        rate_limit: Option<u64>,
        streams: Option<Vec<RtpSender>>,
        sessions: Option<Vec<RtpSession>>,
    }
}

section! {
    /// One of `ingestion.rtp.sessions`: a stream with sockets of its own. The keys of its only track
    /// stand with it.
    RtpSession {
        id: Option<String>,
        transport: Option<RtpTransport>,
        sdp: Option<String>,
        tracks: Option<Vec<RtpTrack>>,
        listen_addr: Option<String>,
        port: Option<u64>,
        rtcp_port: Option<u64>,
        payload_type: Option<u64>,
        codec: Option<String>,
        fmtp: Option<String>,
        ssrc: Option<u64>,
        rtx_payload_type: Option<u64>,
        group: Option<String>,
        source: Option<String>,
        interface: Option<String>,
        second_leg: Option<RtpLeg>,
        fec: Option<bool>,
        feedback: Option<Vec<FeedbackKey>>,
        open: Option<bool>,
        allow: Option<Vec<String>>,
        deny: Option<Vec<String>>,
        session_timeout: Option<Span>,
        latency: Option<Span>,
        latency_max: Option<Span>,
        reorder_packets: Option<u64>,
        max_bandwidth: Option<u64>,
        over_bandwidth: Option<OverBandwidth>,
        rate_limit: Option<u64>,
    }
}

section! {
    /// What can be changed of a stream of RTP while it runs.
    RtpOptions {
        max_bandwidth: Option<u64>,
        over_bandwidth: Option<OverBandwidth>,
        session_timeout: Option<Span>,
        relatch_after: Option<Span>,
        latency: Option<Span>,
        latency_max: Option<Span>,
        reorder_packets: Option<u64>,
        rate_limit: Option<u64>,
    }
}

section! {
    /// One of a session's `tracks`.
    RtpTrack {
        listen_addr: Option<String>,
        port: Option<u64>,
        rtcp_port: Option<u64>,
        payload_type: Option<u64>,
        codec: Option<String>,
        fmtp: Option<String>,
        ssrc: Option<u64>,
        rtx_payload_type: Option<u64>,
        group: Option<String>,
        source: Option<String>,
        interface: Option<String>,
    }
}

section! {
    /// A session's `second_leg`: where the same packets come a second time.
    RtpLeg {
        listen_addr: Option<String>,
        port: Option<u64>,
        rtcp_port: Option<u64>,
        group: Option<String>,
        source: Option<String>,
        interface: Option<String>,
    }
}

/// What a session's sockets take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RtpTransport {
    /// RTP.
    #[default]
    Rtp,
    /// A transport stream over UDP, without RTP.
    Ts,
}

/// What the sender of a session lets itself be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeedbackKey {
    /// Lost packets.
    Nack,
    /// Key pictures (RFC 4585).
    Pli,
    /// Key pictures (RFC 5104).
    Fir,
}

section! {
    /// One of `ingestion.rtp.streams`: which senders at the shared port have which id.
    RtpSender {
        id: Option<String>,
        source: Option<String>,
        source_port: Option<u64>,
        ssrc: Option<u64>,
        payload_type: Option<u64>,
    }
}

impl Rtp {
    /// Whether anything is said of it.
    pub(in crate::config) fn is_given(&self) -> bool {
        let keys = serde_json::to_value(self).unwrap_or_default();
        keys.as_object().is_some_and(|keys| keys.values().any(|value| !value.is_null()))
    }
}
