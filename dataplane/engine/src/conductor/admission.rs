//! The decision about one connection request: pure, from the request and what is configured.

use std::net::IpAddr;
use std::time::Duration;

use shm::counters::ConductorCounter;
use srt::ConnectRequest;
use srt::handshake::RejectReason;

use crate::config::SrtConfig;
use crate::stream_id;

/// Why a caller is refused, as far as the request itself says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// the source address is not in ingestion.srt.allow
    #[error("the source address is not in ingestion.srt.allow")]
    Source,
    /// the caller encrypts; this listener takes clear text
    #[error("the caller encrypts; this listener takes clear text")]
    Encrypted,
    /// the StreamID {0}
    #[error("the StreamID {0}")]
    StreamId(#[from] stream_id::Error),
    /// the id is kept out after a termination
    #[error("the id is kept out after a termination")]
    Blocked,
    /// the id has a live publisher
    #[error("the id has a live publisher")]
    Conflict,
    /// ingestion.max_connections publishers are connected
    #[error("ingestion.max_connections publishers are connected")]
    Limit,
    /// rate × latency needs {wanted} packet slots, {free} are free
    #[error("rate x latency needs {wanted} packet slots, {free} are free")]
    Slots { wanted: u32, free: u32 },
}

impl Refusal {
    /// The code sent to the caller (SRT draft, 3.2.1.1; libsrt's access-control codes).
    pub(crate) const fn reason(&self) -> RejectReason {
        match self {
            Self::Source | Self::Blocked => RejectReason::FORBIDDEN,
            Self::Encrypted => RejectReason::UNSECURE,
            Self::StreamId(stream_id::Error::NotPublish) => RejectReason::BAD_MODE,
            Self::StreamId(_) => RejectReason::BAD_REQUEST,
            Self::Conflict => RejectReason::CONFLICT,
            Self::Limit => RejectReason::OVERLOAD,
            Self::Slots { .. } => RejectReason::RESOURCE,
        }
    }

    /// Where it is counted.
    pub(crate) const fn counter(&self) -> ConductorCounter {
        match self {
            Self::Source => ConductorCounter::RejectedSource,
            Self::Encrypted => ConductorCounter::RejectedUnsupported,
            Self::StreamId(_) => ConductorCounter::RejectedId,
            Self::Blocked => ConductorCounter::RejectedBlocked,
            Self::Conflict => ConductorCounter::RejectedConflict,
            Self::Limit => ConductorCounter::RejectedLimit,
            Self::Slots { .. } => ConductorCounter::RejectedSlots,
        }
    }
}

/// The public id a request asks for (`None`: to be derived), unless the request alone is reason to
/// refuse it.
pub(crate) fn examine<'a>(
    request: &'a ConnectRequest,
    config: &SrtConfig,
) -> Result<Option<&'a str>, Refusal> {
    let source = canonical(request.peer.ip());
    if !config.allow.is_empty() && !config.allow.iter().any(|network| network.contains(&source)) {
        return Err(Refusal::Source);
    }
    if request.encrypted {
        return Err(Refusal::Encrypted);
    }
    Ok(stream_id::public_id(request.stream_id.as_bytes())?)
}

/// An IPv4 caller on a dual-stack socket is an IPv4 caller.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The receive latency of a connection: the larger of what both sides ask (SRT draft, 4.4).
pub(crate) fn latency(request: &ConnectRequest, config: &SrtConfig) -> Duration {
    let asked = Duration::from_millis(request.capabilities.sender_latency_ms.into());
    config.latency.max(asked)
}

/// Packet slots that hold a connection's rate for its latency, and half as long again for the
/// round trip of the last retransmission.
pub(crate) fn slots(config: &SrtConfig, latency: Duration) -> u32 {
    const LEAST: u64 = 64;
    let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
    let bytes = (config.max_bandwidth_bps / 8).saturating_mul(latency_ms) / 1_000 * 3 / 2;
    let packets = bytes.div_ceil(u64::from(config.payload_bytes)).max(LEAST);
    u32::try_from(packets).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_rate_and_latency() {
        let crate::config::Config { srt: Some(mut srt), .. } =
            crate::config::Config::from_yaml_with("", |_| None).expect("default")
        else {
            panic!("the default has an SRT listener")
        };
        srt.max_bandwidth_bps = 60_000_000;
        assert_eq!(slots(&srt, Duration::from_millis(120)), 1_026);
        assert_eq!(slots(&srt, Duration::ZERO), 64);
    }
}
