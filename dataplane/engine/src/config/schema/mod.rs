//! The keys as they stand in the file. Both spellings of a key are aliases of one field.

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::rtp::RtpOptions;
pub(in crate::config) use self::rtp::*;
pub use self::srt::*;

/// A duration as text: `120ms`, `5s`, `1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub(crate) std::time::Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|error| {
            serde::de::Error::custom(format!("{error}; a duration is written as 120ms, 5s or 1m"))
        })
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $(#[doc = concat!("`", stringify!($field), "`")] $(#[$fmeta])* #[serde(default)] pub $field: $type,)*
        }
    };
}

mod rtp;
mod srt;

section! {
    /// The whole file without the control plane's sections.
    File {
        ingestion: Ingestion,
        dataplane: Dataplane,
        logging: Logging,
    }
}

/// Which CPUs carry workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(untagged, expecting = "expected `auto` or a list of CPU numbers, as [1, 2]")]
pub enum Workers {
    /// `auto`: all allowed CPUs, one left for the rest where there are more than two.
    #[default]
    #[serde(skip)]
    Auto,
    /// The word `auto`.
    Word(AutoWord),
    /// These CPUs.
    Cpus(Vec<u16>),
}

/// The word `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AutoWord {
    /// `auto`
    Auto,
}

section! {
    /// `dataplane`: how the process runs.
    Dataplane {
        workers: Option<Workers>,
        socket: Option<String>,
        min_wait: Option<Span>,
        spin: Option<bool>,
        buffer_entries: Option<u32>,
        receive_buffer: Option<u64>,
    }
}

section! {
    /// `logging`: shared with the control plane.
    Logging {
        level: Option<String>,
        format: Option<String>,
        output: Option<String>,
        max_size: Option<u64>,
        max_backups: Option<u64>,
        max_age: Option<u64>,
    }
}

section! {
    /// `ingestion`: what comes in and what is kept.
    Ingestion {
        max_connections: Option<u64>,
        max_connections_per_worker: Option<u64>,
        max_streams_per_source: Option<u64>,
        stream_timeout: Option<Span>,
        reconnect_interval: Option<Span>,
        reconnect_grace: Option<Span>,
        take_over_hold: Option<Span>,
        queue_dir: Option<String>,
        srt: Srt,
        streams: Option<Vec<Stream>>,
        authorization: Authorization,
        mpegts: MpegTs,
        rtp: Rtp,
        buffer: Option<Buffer>,
        registry: Registry,
        codecs: Option<Value>,
        ffmpeg: Option<Value>,
        memory: Memory,
        stream_handling: StreamHandling,
        backpressure: Backpressure,
        frame: Frame,
        gop: Gop,
        sync: Option<Sync>,
    }
}

section! {
    /// `ingestion.mpegts`
    MpegTs {
        program: Option<u16>,
    }
}

section! {
    /// `ingestion.buffer`
    Buffer {
        ring_size: Option<u64>,
        pool_size: Option<u64>,
        write_timeout: Option<Span>,
        read_timeout: Option<Span>,
        metrics_enabled: Option<bool>,
        default_bitrate: Option<u64>,
        target_duration: Option<Span>,
    }
}

section! {
    /// `ingestion.registry`
    Registry {
        redis_addr: Option<String>,
        redis_password: Option<String>,
        redis_db: Option<u64>,
        ttl: Option<Span>,
        heartbeat_interval: Option<Span>,
        heartbeat_timeout: Option<Span>,
        cleanup_interval: Option<Span>,
        max_streams_per_source: Option<u64>,
    }
}

section! {
    /// `ingestion.memory`
    Memory {
        #[serde(alias = "global_limit")]
        max_total: Option<u64>,
        #[serde(alias = "per_stream_limit")]
        max_per_stream: Option<u64>,
        gc_interval: Option<Span>,
    }
}

section! {
    /// `ingestion.stream_handling`
    StreamHandling {
        frame_assembly_timeout: Option<Span>,
        gop_buffer_size: Option<u64>,
        max_gop_age: Option<Span>,
        error_retry_limit: Option<u64>,
    }
}

section! {
    /// `ingestion.backpressure`
    Backpressure {
        enabled: Option<bool>,
        low_watermark: Option<f64>,
        medium_watermark: Option<f64>,
        high_watermark: Option<f64>,
        critical_watermark: Option<f64>,
        response_window: Option<Span>,
        frame_drop_ratio: Option<f64>,
        drop_strategy: Option<String>,
    }
}

section! {
    /// `ingestion.frame`
    Frame {
        assembly_timeout: Option<Span>,
        max_frame_size: Option<u64>,
        reorder_buffer: Option<u64>,
        damaged: Option<DamagedFrames>,
    }
}

/// What becomes of frames that miss bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DamagedFrames {
    /// They are published, marked as damaged.
    #[default]
    Keep,
    /// They are dropped and counted.
    Drop,
}

section! {
    /// `ingestion.gop`
    Gop {
        buffer_count: Option<u64>,
        max_gop_size: Option<u64>,
        duration: Option<Span>,
        force_idr_interval: Option<Span>,
    }
}

section! {
    /// `ingestion.sync`
    Sync {
        enabled: Option<bool>,
        threshold: Option<Span>,
        correction_rate: Option<f64>,
        max_drift: Option<Span>,
    }
}

/// Every key that holds a value, dotted: `ingestion.srt.port`. Sections without effect appear
/// as one key.
pub(crate) fn leaf_paths() -> Vec<String> {
    let mut paths = Vec::new();
    let tree = serde_json::to_value(File::default()).unwrap_or_default();
    collect(&tree, String::new(), &mut paths);
    paths
}

/// Whether the environment's value of a key is taken as it stands: `12345678901` may be a secret.
pub(crate) fn is_text(path: &str) -> bool {
    ["passphrase", "publish_key", "token"].iter().any(|key| path.ends_with(&format!(".{key}")))
}

fn collect(tree: &Value, prefix: String, paths: &mut Vec<String>) {
    let Some(keys) = tree.as_object() else {
        paths.push(prefix);
        return;
    };
    for (key, value) in keys {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        collect(value, path, paths);
    }
}
