//! Events as the REST API shows them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock;
use crate::events::Kept;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventBody {
    /// Where to go on from.
    pub cursor: u64,
    /// The dataplane's own number; a gap are events that nobody heard.
    pub sequence: u64,
    /// When.
    pub time: String,
    /// What.
    pub kind: &'static str,
    /// The stream's id.
    pub stream_id: Option<String>,
    /// The other side's address.
    pub source: Option<String>,
    /// The listener's name.
    pub listener: Option<String>,
    /// Why, as a stable word.
    pub reason: Option<String>,
    /// Why, for people.
    pub message: Option<String>,
    /// Figures, each with its unit in its name.
    #[serde(flatten)]
    pub attributes: BTreeMap<String, u64>,
}

impl EventBody {
    /// Of an event that is kept.
    pub(crate) fn new(kept: &Kept) -> Self {
        let event = &kept.event;
        Self {
            cursor: kept.cursor,
            sequence: event.sequence,
            time: clock::rfc3339(event.unix_ns),
            kind: event.kind.label(),
            stream_id: event.stream_id.clone(),
            source: event.source.map(|source| source.to_string()),
            listener: event.listener.clone(),
            reason: event.reason.clone(),
            message: event.message.clone(),
            attributes: event.attributes.clone(),
        }
    }
}

/// `GET /events`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EventList {
    /// The oldest first.
    pub events: Vec<EventBody>,
    /// How many.
    pub count: usize,
    /// The value of `after` for what comes next.
    pub next: u64,
    /// Whether the dataplane is heard at this moment.
    pub attending: bool,
    /// Events that the dataplane numbered and nobody heard, since the control plane began.
    pub missed: u64,
    /// When.
    pub time: String,
}
