//! The decision about one connection request: pure, from the request and what is configured.

use std::net::IpAddr;
use std::time::Duration;

use shm::counters::ConductorCounter;
use srt::ConnectRequest;
use srt::crypto::KeyMaterial;
use srt::handshake::RejectReason;

use crate::config::{ListenerConfig, Rules, StreamOptions, Unlisted};
use crate::stream_id::{self, DerivedIds, Wish};

/// Why a caller is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// the source address may not publish at this listener
    #[error("the source address may not publish at this listener")]
    Source,
    /// the caller encrypts, but the stream has no passphrase
    #[error("the caller encrypts, but the stream has no passphrase")]
    Encrypted,
    /// the stream has a passphrase, but the caller does not encrypt
    #[error("the stream has a passphrase, but the caller does not encrypt")]
    Clear,
    /// the caller's key material cannot be read
    #[error("the caller's key material cannot be read")]
    KeyMaterial,
    /// the passphrase is wrong
    #[error("the passphrase is wrong")]
    Passphrase,
    /// the caller's key has {has} bytes, key_length is {wanted}
    #[error("the caller's key has {has} bytes, key_length is {wanted}")]
    KeyLength { has: usize, wanted: u16 },
    /// the StreamID {0}
    #[error("the StreamID {0}")]
    StreamId(#[from] stream_id::Error),
    /// no rule of ingestion.streams names the id
    #[error("no rule of ingestion.streams names the id")]
    Unlisted,
    /// the publish key is missing
    #[error("the publish key is missing")]
    KeyMissing,
    /// the publish key is wrong
    #[error("the publish key is wrong")]
    KeyWrong,
    /// the id is kept out after a termination
    #[error("the id is kept out after a termination")]
    Blocked,
    /// the id has a live publisher
    #[error("the id has a live publisher")]
    Conflict,
    /// another host took the id over from this one, which has not left it alone for {hold:?} since
    #[error(
        "another host took the id over from this one, which has not left it alone for {hold:?} since"
    )]
    HeldOff { hold: Duration },
    /// as many publishers as allowed are connected: {0}
    #[error("as many publishers as allowed are connected: {0}")]
    Limit(Limit),
    /// the caller asks for a latency of {asked_ms} ms, {max_ms} ms are allowed
    #[error("the caller asks for a latency of {asked_ms} ms, {max_ms} ms are allowed")]
    Latency { asked_ms: u64, max_ms: u64 },
    /// the handshake asks for what is not served
    #[error("the handshake asks for what is not served")]
    Handshake(RejectReason),
    /// denied by the authorization service: {message}
    #[error("denied by the authorization service: {message}")]
    Denied { reason: RejectReason, message: String },
    /// the authorization service could not decide: {problem}
    #[error("the authorization service could not decide: {problem}")]
    Undecided { problem: String },
    /// rate × latency needs {wanted} packet slots, {free} are free
    #[error("rate x latency needs {wanted} packet slots, {free} are free")]
    Slots { wanted: u32, free: u32 },
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Limit {
    /// ingestion.max_connections
    #[error("ingestion.max_connections")]
    All,
    /// ingestion.max_connections_per_worker
    #[error("ingestion.max_connections_per_worker")]
    Worker,
    /// max_connections of the listener
    #[error("max_connections of the listener")]
    Listener,
    /// max_connections of the stream's rule
    #[error("max_connections of the stream's rule")]
    Rule,
    /// ingestion.max_streams_per_source
    #[error("ingestion.max_streams_per_source")]
    Source,
    /// ingestion.rtp.max_sessions
    #[error("ingestion.rtp.max_sessions")]
    RtpSessions,
    /// requests that wait for a decision
    #[error("requests that wait for a decision")]
    Requests,
}

impl Refusal {
    /// The code sent to the caller (SRT draft, 3.2.1.1; libsrt's access-control codes).
    pub(crate) const fn reason(&self) -> RejectReason {
        match self {
            Self::Source | Self::Blocked => RejectReason::FORBIDDEN,
            Self::Encrypted | Self::Clear => RejectReason::UNSECURE,
            Self::KeyMaterial | Self::Passphrase => RejectReason::BAD_SECRET,
            Self::KeyLength { .. } => RejectReason::CRYPTO,
            Self::StreamId(stream_id::Error::NotPublish) => RejectReason::BAD_MODE,
            Self::StreamId(stream_id::Error::NotStream) => RejectReason::NO_SUPPORT,
            Self::StreamId(_) => RejectReason::BAD_REQUEST,
            Self::Unlisted => RejectReason::NOT_FOUND,
            Self::KeyMissing | Self::KeyWrong => RejectReason::UNAUTHORIZED,
            Self::Conflict | Self::HeldOff { .. } => RejectReason::CONFLICT,
            Self::Limit(_) => RejectReason::OVERLOAD,
            Self::Latency { .. } => RejectReason::UNACCEPTABLE,
            Self::Slots { .. } => RejectReason::RESOURCE,
            Self::Handshake(reason) | Self::Denied { reason, .. } => *reason,
            Self::Undecided { .. } => RejectReason::UNAVAILABLE,
        }
    }

    /// Its name in events and logs.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Encrypted => "encrypted",
            Self::Clear => "not_encrypted",
            Self::KeyMaterial => "key_material",
            Self::Passphrase => "passphrase",
            Self::KeyLength { .. } => "key_length",
            Self::StreamId(_) => "stream_id",
            Self::Unlisted => "unlisted",
            Self::KeyMissing => "key_missing",
            Self::KeyWrong => "key_wrong",
            Self::Blocked => "blocked",
            Self::Conflict => "conflict",
            Self::HeldOff { .. } => "held_off",
            Self::Limit(_) => "limit",
            Self::Latency { .. } => "latency",
            Self::Slots { .. } => "slots",
            Self::Handshake(_) => "handshake",
            Self::Denied { .. } => "denied",
            Self::Undecided { .. } => "undecided",
        }
    }

    /// Where it is counted.
    pub(crate) const fn counter(&self) -> ConductorCounter {
        match self {
            Self::Source => ConductorCounter::RejectedSource,
            Self::Encrypted | Self::Clear | Self::KeyMaterial | Self::Passphrase => {
                ConductorCounter::RejectedPassphrase
            }
            Self::KeyLength { .. } => ConductorCounter::RejectedKeyLength,
            Self::StreamId(_) => ConductorCounter::RejectedId,
            Self::Unlisted => ConductorCounter::RejectedUnlisted,
            Self::KeyMissing | Self::KeyWrong => ConductorCounter::RejectedKey,
            Self::Blocked => ConductorCounter::RejectedBlocked,
            Self::Conflict => ConductorCounter::RejectedConflict,
            Self::HeldOff { .. } => ConductorCounter::RejectedHeldOff,
            Self::Limit(_) => ConductorCounter::RejectedLimit,
            Self::Latency { .. } => ConductorCounter::RejectedLatency,
            Self::Slots { .. } => ConductorCounter::RejectedSlots,
            Self::Handshake(_) => ConductorCounter::RejectedHandshake,
            Self::Denied { .. } => ConductorCounter::RejectedDenied,
            Self::Undecided { .. } => ConductorCounter::RejectedUndecided,
        }
    }
}

/// What a request may have, as far as the request and the configuration say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Admissible {
    pub(crate) id: String,
    pub(crate) rule: Option<usize>,
    pub(crate) options: StreamOptions,
}

/// What a request that came at `listener` may have, unless it alone is reason to refuse it.
pub(crate) fn examine(
    request: &ConnectRequest,
    listener: &ListenerConfig,
    rules: &Rules,
    derived: &mut DerivedIds,
) -> Result<Admissible, Refusal> {
    let source = canonical(request.peer.ip());
    if !listener.access.admits(source) {
        return Err(Refusal::Source);
    }
    let wish = stream_id::parse(request.stream_id.as_bytes())?;
    let id = wish
        .resource
        .map_or_else(|| derived.next(&listener.derived_id, &listener.name, source), str::to_owned);
    let rule = rules.of(&id);
    if rule.is_none() && listener.unlisted == Unlisted::Deny {
        return Err(Refusal::Unlisted);
    }
    let options = match rule {
        Some((_, rule)) => listener.options.with(&rule.over),
        None => listener.options.clone(),
    };
    check_key(&wish, &options)?;
    Ok(Admissible { id, rule: rule.map(|(place, _)| place), options })
}

fn check_key(wish: &Wish<'_>, options: &StreamOptions) -> Result<(), Refusal> {
    match (&options.publish_key, wish.session) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Refusal::KeyMissing),
        (Some(key), Some(presented)) if key.admits(presented) => Ok(()),
        (Some(_), Some(_)) => Err(Refusal::KeyWrong),
    }
}

/// The key material of a caller that has to encrypt; both sides have a passphrase, or neither
/// (libsrt's SRTO_ENFORCEDENCRYPTION).
pub(crate) fn encryption(
    request: &ConnectRequest,
    options: &StreamOptions,
) -> Result<Option<KeyMaterial>, Refusal> {
    match (&options.passphrase, request.encrypted) {
        (None, false) => return Ok(None),
        (None, true) => return Err(Refusal::Encrypted),
        (Some(_), false) => return Err(Refusal::Clear),
        (Some(_), true) => {}
    }
    let material = request.key_material.ok_or(Refusal::KeyMaterial)?;
    let has = material.suite().size.bytes();
    match options.key_bytes {
        Some(wanted) if usize::from(wanted) != has => Err(Refusal::KeyLength { has, wanted }),
        _ => Ok(Some(material)),
    }
}

/// An IPv4 caller on a dual-stack socket is an IPv4 caller.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The receive latency of a connection: the larger of what both sides ask (SRT draft, 4.4), unless
/// the caller asks for more than it may.
pub(crate) fn latency(
    request: &ConnectRequest,
    options: &StreamOptions,
) -> Result<Duration, Refusal> {
    let asked = Duration::from_millis(request.capabilities.sender_latency_ms.into());
    if asked > options.latency_max {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        return Err(Refusal::Latency { asked_ms: ms(asked), max_ms: ms(options.latency_max) });
    }
    Ok(options.latency.max(asked))
}

#[cfg(test)]
#[path = "admission_tests.rs"]
pub(crate) mod tests;
