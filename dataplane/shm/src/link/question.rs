//! What a dataplane asks about a publisher, and the answer.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Who wants to publish what. Texts are as the caller sent them, at most 512 bytes in all.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// For the answer.
    pub question: u64,
    /// The public id.
    pub stream_id: String,
    /// The name of the listener.
    pub listener: String,
    /// The caller's address.
    pub source: SocketAddr,
    /// `u` of the StreamID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `r` of the StreamID; absent when the id is derived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// `h` of the StreamID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// `s` of the StreamID: may be a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The caller brings key material.
    pub encrypted: bool,
    /// The latency it asks for.
    pub latency_ms: u64,
    /// Its SRT version, `0x010503`.
    pub peer_version: u32,
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("question", &self.question)
            .field("stream_id", &self.stream_id)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Decision {
    /// It may publish, with these options over those of the configuration.
    Allow(Grants),
    /// It may not.
    Deny {
        /// The SRT reject code for the caller.
        code: u32,
        /// For people; reaches log and events.
        #[serde(default)]
        message: String,
    },
    /// Whoever decides could not be asked.
    Unavailable {
        /// What was wrong.
        #[serde(default)]
        message: String,
    },
}

/// Options that come with a permission; absent ones stay as configured.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// The stream is encrypted with this; empty: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
    /// Bits: 128, 192 or 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_length: Option<u64>,
    /// Receive latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    /// Highest rate, bits per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bandwidth: Option<u64>,
    /// Higher is more important.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u64>,
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grants")
            .field("passphrase", &self.passphrase.as_ref().map(|_| "(secret)"))
            .field("key_length", &self.key_length)
            .field("latency_ms", &self.latency_ms)
            .field("max_bandwidth", &self.max_bandwidth)
            .field("priority", &self.priority)
            .finish()
    }
}
