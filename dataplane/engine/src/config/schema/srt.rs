//! `ingestion.srt`, `ingestion.streams`, `ingestion.authorization`.

use serde::{Deserialize, Serialize};
use srt::crypto::Mode;

use super::Span;
use crate::config::options::{OverBandwidth, SecondPublisher};
use crate::config::secret::SecretText;

/// The option keys that a listener, a stream's rule and a source share.
#[derive(Debug, Clone, Default)]
pub(in crate::config) struct OptionKeys {
    pub(in crate::config) latency: Option<Span>,
    pub(in crate::config) latency_max: Option<Span>,
    pub(in crate::config) max_bandwidth: Option<u64>,
    pub(in crate::config) over_bandwidth: Option<OverBandwidth>,
    pub(in crate::config) payload_size: Option<u64>,
    pub(in crate::config) fc_window: Option<u64>,
    pub(in crate::config) receive_buffer: Option<u64>,
    pub(in crate::config) peer_idle_timeout: Option<Span>,
    pub(in crate::config) loss_reorder_tolerance: Option<u64>,
    pub(in crate::config) passphrase: Option<SecretText>,
    pub(in crate::config) key_length: Option<u64>,
    pub(in crate::config) publish_key: Option<SecretText>,
    pub(in crate::config) priority: Option<u64>,
    pub(in crate::config) second_publisher: Option<SecondPublisher>,
}

/// A section with the shared option keys beside its own. Where the passphrase stands differs.
macro_rules! section_with_options {
    ($(#[$meta:meta])* $name:ident { $($own:tt)* } passphrase: $($key:ident).+, key_length: $($length:ident).+) => {
        section! {
            $(#[$meta])*
            $name {
                $($own)*
                latency: Option<Span>,
                latency_max: Option<Span>,
                max_bandwidth: Option<u64>,
                over_bandwidth: Option<OverBandwidth>,
                payload_size: Option<u64>,
                #[serde(alias = "flow_window")]
                fc_window: Option<u64>,
                receive_buffer: Option<u64>,
                peer_idle_timeout: Option<Span>,
                loss_reorder_tolerance: Option<u64>,
                publish_key: Option<SecretText>,
                priority: Option<u64>,
                second_publisher: Option<SecondPublisher>,
            }
        }

        impl $name {
            pub(in crate::config) fn options(&self) -> OptionKeys {
                OptionKeys {
                    latency: self.latency,
                    latency_max: self.latency_max,
                    max_bandwidth: self.max_bandwidth,
                    over_bandwidth: self.over_bandwidth,
                    payload_size: self.payload_size,
                    fc_window: self.fc_window,
                    receive_buffer: self.receive_buffer,
                    peer_idle_timeout: self.peer_idle_timeout,
                    loss_reorder_tolerance: self.loss_reorder_tolerance,
                    passphrase: self.$($key).+.clone(),
                    key_length: self.$($length).+,
                    publish_key: self.publish_key.clone(),
                    priority: self.priority,
                    second_publisher: self.second_publisher,
                }
            }
        }
    };
}

section_with_options! {
    /// `ingestion.srt`: the first listener, and what all of SRT shares.
    Srt {
        enabled: Option<bool>,
        name: Option<String>,
        listen_addr: Option<String>,
        port: Option<u64>,
        open: Option<bool>,
        allow: Option<Vec<String>>,
        deny: Option<Vec<String>>,
        unlisted_streams: Option<Unlisted>,
        derived_id: Option<String>,
        input_bandwidth: Option<u64>,
        max_connections: Option<u64>,
        encryption: Encryption,
        listeners: Option<Vec<Listener>>,
        sources: Option<Vec<Source>>,
        max_sources: Option<u64>,
        connect_timeout: Option<Span>,
        reconnect_cap: Option<Span>,
        reconnect_multiplier: Option<f64>,
        reconnect_max_tries: Option<u64>,
        breaker_threshold: Option<u64>,
        breaker_open: Option<Span>,
    }
    passphrase: encryption.passphrase, key_length: encryption.key_length
}

section_with_options! {
    /// One of `ingestion.srt.listeners`; absent keys have the value of `ingestion.srt`.
    Listener {
        name: Option<String>,
        listen_addr: Option<String>,
        port: Option<u64>,
        open: Option<bool>,
        allow: Option<Vec<String>>,
        deny: Option<Vec<String>>,
        unlisted_streams: Option<Unlisted>,
        derived_id: Option<String>,
        max_connections: Option<u64>,
        passphrase: Option<SecretText>,
        key_length: Option<u64>,
    }
    passphrase: passphrase, key_length: key_length
}

section_with_options! {
    /// One of `ingestion.srt.sources`: a stream that is fetched.
    Source {
        id: Option<String>,
        mode: Option<SourceMode>,
        address: Option<String>,
        local_addr: Option<String>,
        local_port: Option<u64>,
        stream_id: Option<String>,
        connect_timeout: Option<Span>,
        passphrase: Option<SecretText>,
        key_length: Option<u64>,
        crypto_mode: Option<CryptoMode>,
    }
    passphrase: passphrase, key_length: key_length
}

section_with_options! {
    /// One of `ingestion.streams`: what holds for a stream id, or for all that match a pattern.
    Stream {
        id: Option<String>,
        pattern: Option<String>,
        max_connections: Option<u64>,
        passphrase: Option<SecretText>,
        key_length: Option<u64>,
    }
    passphrase: passphrase, key_length: key_length
}

section_with_options! {
    /// Options of one stream that are changed while the dataplane runs.
    StreamKeys {
        passphrase: Option<SecretText>,
        key_length: Option<u64>,
    }
    passphrase: passphrase, key_length: key_length
}

section! {
    /// `ingestion.srt.encryption`
    Encryption {
        enabled: Option<bool>,
        passphrase: Option<SecretText>,
        key_length: Option<u64>,
        pbkdf_iterations: Option<u64>,
    }
}

section! {
    /// `ingestion.authorization`: an HTTP service that is asked about each publisher.
    Authorization {
        url: Option<String>,
        timeout: Option<Span>,
        unavailable: Option<Unavailable>,
        max_outstanding: Option<u64>,
        token: Option<SecretText>,
    }
}

/// What a listener does with a stream id that no rule of `ingestion.streams` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unlisted {
    /// Takes it.
    #[default]
    Allow,
    /// Refuses it (2404).
    Deny,
}

/// How a source is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceMode {
    /// We call a listener.
    #[default]
    Caller,
    /// Both sides call each other.
    Rendezvous,
}

impl SourceMode {
    /// Its word in the file.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Rendezvous => "rendezvous",
        }
    }
}

/// How a source's payload is encrypted; libsrt's SRTO_CRYPTOMODE without its `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CryptoMode {
    /// AES in counter mode: every implementation has it.
    Ctr,
    /// AES in Galois/counter mode: authenticated; libsrt has it behind a build option.
    Gcm,
}

impl CryptoMode {
    /// As the protocol has it.
    pub const fn mode(self) -> Mode {
        match self {
            Self::Ctr => Mode::Ctr,
            Self::Gcm => Mode::Gcm,
        }
    }
}

/// The decision when the authorization service cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unavailable {
    /// Nobody gets in.
    #[default]
    Deny,
    /// Everybody gets in whom the configuration admits.
    Allow,
}
