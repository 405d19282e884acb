//! The dataplane's configuration: YAML in, checked and derived values out.
//!
//! One file serves both processes. The dataplane owns `ingestion` and `dataplane` and shares
//! `logging`; the sections of the control plane pass through unread. A key nobody knows is
//! refused by name.

mod check;
mod options;
mod pattern;
mod rtp;
mod runtime;
mod schema;
mod secret;
mod sources;
mod srt;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

pub use self::check::Error;
pub use self::options::{OverBandwidth, SecondPublisher, StreamOptions, StreamOverrides};
pub use self::pattern::Pattern;
pub use self::rtp::{
    AddedSessions, Purpose, RtpConfig, RtpTerms, SenderRule, SessionSetup, SharedPort, SocketSetup,
};
pub use self::runtime::RuntimeOptions;
pub use self::schema::{
    CryptoMode, DamagedFrames, File, RtpOptions, SourceMode, StreamKeys, Unavailable, Unlisted,
    Workers,
};
pub use self::secret::{Passphrase, PublishKey, SecretText};
pub use self::sources::{PeerAddress, SourceConfig, SourcePolicy, Sources};
pub use self::srt::{Access, Authorization, ListenerConfig, Named, Rule, Rules, SrtConfig};

/// Sections of the shared file that the control plane reads and checks.
const CONTROLPLANE_SECTIONS: &[&str] = &["server", "metrics", "registry", "redis"];

/// Keys that are accepted, so that a file written for the whole product is valid, while nothing
/// in this version acts on them. They are named in one line at start.
const KEYS_WITHOUT_EFFECT: &[&str] = &[
    "ingestion.queue_dir",
    "ingestion.buffer",
    "ingestion.registry.redis_addr",
    "ingestion.registry.redis_password",
    "ingestion.registry.redis_db",
    "ingestion.registry.ttl",
    "ingestion.registry.heartbeat_interval",
    "ingestion.registry.heartbeat_timeout",
    "ingestion.registry.cleanup_interval",
    "ingestion.codecs",
    "ingestion.ffmpeg",
    "ingestion.memory.gc_interval",
    "ingestion.backpressure.frame_drop_ratio",
    "ingestion.backpressure.drop_strategy",
    "ingestion.sync",
    "ingestion.frame.assembly_timeout",
    "ingestion.frame.reorder_buffer",
    "ingestion.gop.force_idr_interval",
    "ingestion.stream_handling.frame_assembly_timeout",
    "ingestion.stream_handling.error_retry_limit",
    "logging.max_size",
    "logging.max_backups",
    "logging.max_age",
];

/// What the dataplane runs with: every value checked, every default filled in.
#[derive(Debug, Clone)]
pub struct Config {
    /// CPUs the workers are pinned to; their number is the number of workers.
    pub workers: Workers,
    /// Unix socket of the conductor.
    pub socket: PathBuf,
    /// Longest time a worker collects completions before it looks at them.
    pub min_wait: Duration,
    /// Workers never sleep.
    pub spin: bool,
    /// Entries of each worker's provided buffer ring, a power of two.
    pub buffer_entries: u16,
    /// SRT input; `None` when `ingestion.srt.enabled` is false.
    pub srt: Option<SrtConfig>,
    /// RTP input; `None` when nothing is said of it or `ingestion.rtp.enabled` is false.
    pub rtp: Option<RtpConfig>,
    /// MPEG-TS program to demultiplex; `None` takes the first of the PAT.
    pub program: Option<u16>,
    /// Publishers at one time, over all workers.
    pub connections_max: u16,
    /// Those of SRT among them.
    pub srt_connections_max: u16,
    /// Publishers at one time on one worker; `None`: an even share.
    pub connections_per_worker_max: Option<u16>,
    /// Publishers at one time from one address; `None`: any number.
    pub streams_per_source_max: Option<u16>,
    /// Who is asked about each publisher; `None`: nobody.
    pub authorization: Option<Authorization>,
    /// How long a lost stream keeps its id, counters and ring.
    pub reconnect_grace: Duration,
    /// How long a host whose publisher was displaced by a take-over must leave the id alone before it
    /// may take it back; zero: it may at once.
    pub take_over_hold: Duration,
    /// Largest frame kept, bytes.
    pub frame_bytes_max: u32,
    /// What becomes of frames that miss bytes.
    pub damaged_frames: DamagedFrames,
    /// Closed groups of pictures kept.
    pub gop_count_max: u32,
    /// Frames of one group of pictures that descriptors are sized for.
    pub gop_frames_max: u32,
    /// Length of one group of pictures that rings are sized for.
    pub gop_duration: Duration,
    /// Age at which closed groups of pictures are evicted.
    pub gop_age_max: Duration,
    /// Limit of all memory, bytes.
    pub memory_total_max: u64,
    /// Limit of one stream's ring, bytes.
    pub memory_per_stream_max: u64,
    /// When streams are throttled.
    pub backpressure: BackpressureConfig,
    /// Log filter and format.
    pub logging: schema::Logging,
    /// Keys that were given and have no effect.
    pub without_effect: Vec<String>,
}

/// When and for how long streams are throttled. Pressures are thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackpressureConfig {
    /// Whether the measured pressure acts.
    pub enabled: bool,
    /// Below it streams are let go.
    pub low_permille: u16,
    /// From here on a quarter of the load is shed.
    pub medium_permille: u16,
    /// Half of it.
    pub high_permille: u16,
    /// All that can be without losing the sender: it keeps a round trip's packets, and two at least.
    pub critical_permille: u16,
    /// How long the pressure must be low before streams are let go.
    pub response_window: Duration,
}

impl Config {
    /// The configuration that runs without a file: SRT on loopback, UDP 30000, RTP on
    /// 5004 and RTCP on 5005.
    pub fn embedded() -> Result<Self, Error> {
        Self::from_yaml(EMBEDDED)
    }

    /// Reads and checks a file.
    pub fn from_path(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|cause| Error::Unreadable {
            path: path.to_owned(),
            cause: cause.to_string(),
        })?;
        Self::from_yaml(&text)
    }

    /// Reads and checks YAML text, with `PENSTOCK_<SECTION>_<KEY>` of the environment on top.
    pub fn from_yaml(text: &str) -> Result<Self, Error> {
        Self::from_yaml_with(text, |name| std::env::var(name).ok())
    }

    /// The same with a given environment.
    pub fn from_yaml_with(
        text: &str,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let mut document = parse_document(text)?;
        overlay(&mut document, environment)?;
        let without_effect = without_effect(&document);
        let file: File = serde_path_to_error::deserialize(document).map_err(|error| {
            Error::Key { key: error.path().to_string(), problem: error.into_inner().to_string() }
        })?;
        check::derive(&file, without_effect)
    }
}

/// The embedded configuration.
pub const EMBEDDED: &str = include_str!("embedded.yaml");

/// YAML to a tree, with the control plane's sections taken out.
fn parse_document(text: &str) -> Result<Value, Error> {
    let document: Option<Value> = serde_saphyr::from_str(text)
        .map_err(|error| Error::Syntax { problem: error.to_string() })?;
    let mut document = document.unwrap_or(Value::Null);
    if document.is_null() {
        document = Value::Object(serde_json::Map::new());
    }
    // One key of the control plane's sections is about admission.
    let per_source = document.pointer("/registry/max_streams_per_source").cloned();
    if let Some(per_source) = per_source
        && document.pointer("/ingestion/registry/max_streams_per_source").is_none()
    {
        insert(&mut document, "ingestion.registry.max_streams_per_source", per_source);
    }
    if let Some(sections) = document.as_object_mut() {
        sections.retain(|key, value| {
            !CONTROLPLANE_SECTIONS.contains(&key.as_str()) && !value.is_null()
        });
    }
    Ok(document)
}

/// Puts environment values over the document. The names are derived from the schema, so an
/// underscore inside a key is no ambiguity.
fn overlay(
    document: &mut Value,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<(), Error> {
    for path in schema::leaf_paths() {
        let name = format!("PENSTOCK_{}", path.replace('.', "_").to_uppercase());
        let Some(text) = environment(&name) else {
            continue;
        };
        let value = if schema::is_text(&path) {
            Value::String(text)
        } else {
            serde_saphyr::from_str(&text)
                .map_err(|error| Error::Key { key: name, problem: error.to_string() })?
        };
        insert(document, &path, value);
    }
    Ok(())
}

/// Sets the value at a dotted path, making the sections on the way.
fn insert(document: &mut Value, path: &str, value: Value) {
    let mut place = document;
    for key in path.split('.') {
        if !place.is_object() {
            *place = Value::Object(serde_json::Map::new());
        }
        place = &mut place[key];
    }
    *place = value;
}

/// The given keys that nothing acts on. In a list, those of any element.
fn without_effect(document: &Value) -> Vec<String> {
    KEYS_WITHOUT_EFFECT
        .iter()
        .filter(|path| is_given(document, path))
        .map(|path| (*path).to_owned())
        .collect()
}

fn is_given(place: &Value, path: &str) -> bool {
    if let Some(elements) = place.as_array() {
        return elements.iter().any(|element| is_given(element, path));
    }
    let (key, rest) = path.split_once('.').map_or((path, None), |(key, rest)| (key, Some(rest)));
    match (place.get(key), rest) {
        (None | Some(Value::Null), _) => false,
        (Some(value), Some(rest)) => is_given(value, rest),
        (Some(_), None) => true,
    }
}

#[cfg(test)]
mod tests;
