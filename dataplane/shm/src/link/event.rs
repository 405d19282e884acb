//! What happens in a dataplane, as it is told to whoever attends it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $variant:ident => $label:literal,)+) => {
        /// What an event is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[doc = $doc])+ #[serde(rename = $label)] $variant,)+
            /// A kind that this reader does not know.
            #[serde(other, rename = "other")]
            Other,
        }

        impl EventKind {
            /// Every kind that is known.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+ Self::Other];

            /// Its name in REST, metrics and tools.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ Self::Other => "other" }
            }
        }
    };
}

kinds! {
    /// A publisher was accepted under an id that nobody had.
    Accepted => "accepted",
    /// A publisher came back to its id within the grace period.
    Reconnected => "reconnected",
    /// A publisher took an id over from another.
    TakenOver => "taken_over",
    /// A caller was refused.
    Refused => "refused",
    /// A publisher is gone.
    Ended => "ended",
    /// A source was called and is connected.
    SourceConnected => "source_connected",
    /// A source could not be had; told again when there is another reason than the last time.
    SourceFailed => "source_failed",
    /// A source has refused too often and is left alone for a while.
    SourceBreakerOpened => "source_breaker_opened",
    /// A stream has been above its bandwidth for a second: `rate_bps`, `max_bandwidth`.
    OverBandwidth => "over_bandwidth",
}

/// One event. What a kind has beside the common fields stands in `attributes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up by one from 1 within a dataplane's life; a gap are events that were lost.
    pub sequence: u64,
    /// When, Unix nanoseconds.
    pub unix_ns: u64,
    /// What.
    pub kind: EventKind,
    /// The stream's public id, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// The other side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SocketAddr>,
    /// The name of the listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Why, as one of a bounded number of labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Figures of this kind of event, by name with its unit: `code`, `latency_ms`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, u64>,
}

impl Event {
    /// An event that has only a kind; the dataplane numbers and dates it when it is told.
    pub const fn new(kind: EventKind) -> Self {
        Self {
            sequence: 0,
            unix_ns: 0,
            kind,
            stream_id: None,
            source: None,
            listener: None,
            reason: None,
            message: None,
            attributes: BTreeMap::new(),
        }
    }

    /// With a stream's id.
    #[must_use]
    pub fn stream(mut self, id: impl Into<String>) -> Self {
        self.stream_id = Some(id.into());
        self
    }

    /// With the other side's address.
    #[must_use]
    pub const fn source(mut self, source: SocketAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// With a listener's name.
    #[must_use]
    pub fn listener(mut self, name: impl Into<String>) -> Self {
        self.listener = Some(name.into());
        self
    }

    /// With a reason: a label, and a text for people.
    #[must_use]
    pub fn reason(mut self, label: impl Into<String>, message: impl Into<String>) -> Self {
        (self.reason, self.message) = (Some(label.into()), Some(message.into()));
        self
    }

    /// With a figure.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: u64) -> Self {
        self.attributes.insert(name.to_owned(), value);
        self
    }
}
