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
        session_timeout: Option<Span>,
        relatch_after: Option<Span>,
        latency: Option<Span>,
        latency_max: Option<Span>,
        reorder_packets: Option<u64>,
        max_bandwidth: Option<u64>,
        over_bandwidth: Option<OverBandwidth>,
        rate_limit: Option<u64>,
        streams: Option<Vec<RtpSender>>,
    }
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
