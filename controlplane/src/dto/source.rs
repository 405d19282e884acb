//! Sources: the streams that are fetched.

use std::time::Duration;

use serde::Serialize;
use shm::link::{SourceFailure, SourceFailures, SourceReport};

use super::Freshness;
use crate::clock;
use crate::source::{Snapshot, SourceList};

/// `GET /sources`
#[derive(Debug, Clone, Serialize)]
pub struct SourcesBody {
    /// All of them, by id.
    pub sources: Vec<SourceBody>,
    /// How many.
    pub count: usize,
    /// When this was answered.
    pub time: String,
    /// How old the data is.
    #[serde(flatten)]
    pub freshness: Freshness,
}

/// `GET /sources/{id}`
#[derive(Debug, Clone, Serialize)]
pub struct SourceDetail {
    /// The source.
    #[serde(flatten)]
    pub source: SourceBody,
    /// How old the data is.
    #[serde(flatten)]
    pub freshness: Freshness,
}

/// One source.
#[derive(Debug, Clone, Serialize)]
pub struct SourceBody {
    /// Its id and that of its stream.
    pub id: String,
    /// `caller` or `rendezvous`.
    pub mode: String,
    /// Whom it calls, as configured.
    pub address: String,
    /// The address that is called, or was connected last.
    pub peer: Option<String>,
    /// The StreamID it sends.
    pub stream_id: Option<String>,
    /// It has a passphrase, which is never shown.
    pub encrypted: bool,
    /// `config` or `api`.
    pub origin: &'static str,
    /// `idle`, `waiting`, `connecting` or `connected`.
    pub state: String,
    /// The circuit breaker.
    pub breaker: BreakerBody,
    /// When it is tried next.
    pub next_try_at: Option<String>,
    /// Tries.
    pub attempts: u64,
    /// Tries that came to a connection.
    pub connections: u64,
    /// Those that did not, by what was the matter.
    pub failures: SourceFailures,
    /// What was the matter last.
    pub last_failure: Option<FailureBody>,
    /// Since when it is connected.
    pub connected_at: Option<String>,
}

/// The circuit breaker of a source.
#[derive(Debug, Clone, Serialize)]
pub struct BreakerBody {
    /// `closed`, `open` or `half_open`.
    pub state: String,
    /// Refusals in a row while it is closed.
    pub refusals_in_a_row: u32,
    /// When it lets the next try through.
    pub open_until: Option<String>,
}

/// One failure.
#[derive(Debug, Clone, Serialize)]
pub struct FailureBody {
    /// A word of a closed set.
    pub reason: String,
    /// The code of a refusal.
    pub code: Option<u32>,
    /// For people.
    pub message: String,
    /// When.
    pub at: String,
}

impl From<&SourceFailure> for FailureBody {
    fn from(failure: &SourceFailure) -> Self {
        Self {
            reason: failure.reason.clone(),
            code: failure.code,
            message: failure.message.clone(),
            at: clock::rfc3339(failure.unix_ns),
        }
    }
}

impl SourceBody {
    /// As it stood when the list was read.
    pub(crate) fn new(list: &SourceList, source: &SourceReport) -> Self {
        let at = |ahead_ms: u64| {
            let ahead_ns = Duration::from_millis(ahead_ms).as_nanos();
            let ahead_ns = u64::try_from(ahead_ns).unwrap_or(u64::MAX);
            clock::rfc3339(list.read_unix_ns.saturating_add(ahead_ns))
        };
        let SourceReport { id, mode, address, peer, state, .. } = source.clone();
        Self {
            id,
            mode,
            address,
            peer,
            stream_id: Some(source.stream_id.clone()).filter(|id| !id.is_empty()),
            encrypted: source.encrypted,
            origin: if source.configured { "config" } else { "api" },
            state,
            breaker: BreakerBody {
                state: source.breaker.clone(),
                refusals_in_a_row: source.refusals_in_a_row,
                open_until: source.breaker_open_ms.map(at),
            },
            next_try_at: source.next_try_ms.map(at),
            attempts: source.attempts,
            connections: source.connections,
            failures: source.failures,
            last_failure: source.last_failure.as_ref().map(FailureBody::from),
            connected_at: source.connected_unix_ns.map(clock::rfc3339),
        }
    }
}

impl SourcesBody {
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let list = &snapshot.sources;
        let sources: Vec<_> =
            list.sources.iter().map(|source| SourceBody::new(list, source)).collect();
        Self {
            count: sources.len(),
            sources,
            time: clock::rfc3339_now(),
            freshness: Freshness::of(snapshot),
        }
    }
}

/// The body of a control request about a source that worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceDone {
    /// What was done.
    pub message: &'static str,
    /// To what.
    pub data: SourceDoneTo,
    /// When.
    pub timestamp: String,
}

/// What a control request was about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceDoneTo {
    /// The source's id.
    pub source_id: String,
}
