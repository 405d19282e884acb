//! From keys to values: defaults, bounds, and what does not go together.

mod authorization;
mod backpressure;
mod options;
mod rtp;
mod rtp_options;
mod rtp_sessions;
mod sources;
mod srt;
mod streams;

use std::path::PathBuf;
use std::time::Duration;

pub(super) use self::options::runtime;
pub(super) use self::rtp_options::rtp_options;
pub(super) use self::rtp_sessions::added_session;
pub(super) use self::sources::source;
use super::Config;
use super::options::StreamOptions;
use super::schema::{File, Ingestion, Workers};

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// cannot read {path}: {cause}
    #[error("cannot read {path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// not valid YAML: {problem}
    #[error("not valid YAML: {problem}")]
    Syntax {
        /// Where and what.
        problem: String,
    },
    /// {key}: {problem}
    #[error("{key}: {problem}")]
    Key {
        /// The key, dotted.
        key: String,
        /// What was wrong and what is allowed.
        problem: String,
    },
}

fn refuse<T>(key: &str, problem: impl Into<String>) -> Result<T, Error> {
    Err(Error::Key { key: key.to_owned(), problem: problem.into() })
}

/// `value` if it lies within the bounds, `default` if there is none.
fn within<T: TryFrom<u64>>(
    key: &str,
    value: Option<u64>,
    default: u64,
    allowed: std::ops::RangeInclusive<u64>,
) -> Result<T, Error> {
    let value = value.unwrap_or(default);
    if allowed.contains(&value)
        && let Ok(value) = T::try_from(value)
    {
        return Ok(value);
    }
    refuse(
        key,
        format!("{value} is out of range; allowed are {} to {}", allowed.start(), allowed.end()),
    )
}

/// The same where there is no default.
fn optional<T: TryFrom<u64>>(
    key: &str,
    value: Option<u64>,
    allowed: std::ops::RangeInclusive<u64>,
) -> Result<Option<T>, Error> {
    value.map(|value| within(key, Some(value), value, allowed)).transpose()
}

/// The same for durations.
fn lasting(
    key: &str,
    value: Option<super::schema::Span>,
    default: Duration,
    allowed: std::ops::RangeInclusive<Duration>,
) -> Result<Duration, Error> {
    let value = value.map_or(default, |span| span.0);
    if allowed.contains(&value) {
        return Ok(value);
    }
    refuse(
        key,
        format!(
            "{value:?} is out of range; allowed are {:?} to {:?}",
            allowed.start(),
            allowed.end()
        ),
    )
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Every value with its default, checked alone and against the others.
pub(super) fn derive(file: &File, without_effect: Vec<String>) -> Result<Config, Error> {
    let ingestion = &file.ingestion;
    let dataplane = &file.dataplane;
    let srt = srt::srt(ingestion, dataplane.receive_buffer)?;
    let (connections_max, srt_connections_max) = connections_max(ingestion)?;
    let frame_bytes_max: u32 = within(
        "ingestion.frame.max_frame_size",
        ingestion.frame.max_frame_size,
        10 << 20,
        64 << 10..=256 << 20,
    )?;
    let bandwidth_bps = srt.as_ref().map_or_else(
        || StreamOptions::default().max_bandwidth_bps,
        |srt| srt.listeners[0].options.max_bandwidth_bps,
    );
    Ok(Config {
        rtp: rtp::rtp(ingestion, bandwidth_bps, frame_bytes_max)?,
        workers: workers(dataplane.workers.as_ref())?,
        socket: dataplane.socket.as_deref().unwrap_or("/run/penstock/dataplane.sock").into(),
        min_wait: lasting(
            "dataplane.min_wait",
            dataplane.min_wait,
            MS / 2,
            Duration::ZERO..=20 * MS,
        )?,
        spin: dataplane.spin.unwrap_or(false),
        buffer_entries: buffer_entries(dataplane.buffer_entries)?,
        program: ingestion.mpegts.program,
        connections_max,
        srt_connections_max,
        connections_per_worker_max: optional(
            "ingestion.max_connections_per_worker",
            ingestion.max_connections_per_worker,
            1..=4_096,
        )?,
        streams_per_source_max: streams_per_source(ingestion)?,
        authorization: authorization::authorization(&ingestion.authorization)?,
        reconnect_grace: lasting(
            "ingestion.reconnect_grace",
            ingestion.reconnect_grace,
            10 * SECOND,
            Duration::ZERO..=3_600 * SECOND,
        )?,
        take_over_hold: lasting(
            "ingestion.take_over_hold",
            ingestion.take_over_hold,
            10 * SECOND,
            Duration::ZERO..=3_600 * SECOND,
        )?,
        frame_bytes_max,
        damaged_frames: ingestion.frame.damaged.unwrap_or_default(),
        gop_count_max: gop_count_max(ingestion)?,
        gop_frames_max: within(
            "ingestion.gop.max_gop_size",
            ingestion.gop.max_gop_size,
            300,
            1..=100_000,
        )?,
        gop_duration: lasting(
            "ingestion.gop.duration",
            ingestion.gop.duration,
            SECOND,
            100 * MS..=60 * SECOND,
        )?,
        gop_age_max: lasting(
            "ingestion.stream_handling.max_gop_age",
            ingestion.stream_handling.max_gop_age,
            30 * SECOND,
            100 * MS..=3_600 * SECOND,
        )?,
        memory_total_max: within(
            "ingestion.memory.max_total",
            ingestion.memory.max_total,
            2_684_354_560,
            64 << 20..=1 << 46,
        )?,
        memory_per_stream_max: per_stream_max(ingestion, frame_bytes_max)?,
        backpressure: backpressure::backpressure(&ingestion.backpressure)?,
        logging: logging(&file.logging)?,
        srt,
        without_effect,
    })
}

fn workers(workers: Option<&Workers>) -> Result<Workers, Error> {
    match workers {
        None | Some(Workers::Auto | Workers::Word(_)) => Ok(Workers::Auto),
        Some(Workers::Cpus(cpus)) if cpus.is_empty() => refuse(
            "dataplane.workers",
            "the list is empty; allowed are `auto` or CPU numbers, as [1, 2]",
        ),
        Some(Workers::Cpus(cpus)) => {
            let mut unique = cpus.clone();
            unique.sort_unstable();
            unique.dedup();
            if unique.len() != cpus.len() {
                return refuse(
                    "dataplane.workers",
                    "a CPU is listed twice; each carries one worker",
                );
            }
            Ok(Workers::Cpus(cpus.clone()))
        }
    }
}

fn buffer_entries(entries: Option<u32>) -> Result<u16, Error> {
    let entries: u16 =
        within("dataplane.buffer_entries", entries.map(u64::from), 4_096, 64..=32_768)?;
    if !entries.is_power_of_two() {
        return refuse("dataplane.buffer_entries", format!("{entries} is not a power of two"));
    }
    Ok(entries)
}

/// Of all publishers, and of those of SRT.
fn connections_max(ingestion: &Ingestion) -> Result<(u16, u16), Error> {
    let all: u16 = within("ingestion.max_connections", ingestion.max_connections, 25, 1..=4_096)?;
    let srt: u16 = within(
        "ingestion.srt.max_connections",
        ingestion.srt.max_connections,
        u64::from(all),
        1..=4_096,
    )?;
    Ok((all, all.min(srt)))
}

fn streams_per_source(ingestion: &Ingestion) -> Result<Option<u16>, Error> {
    let key = "ingestion.max_streams_per_source";
    let (own, registry) =
        (ingestion.max_streams_per_source, ingestion.registry.max_streams_per_source);
    if let (Some(own), Some(registry)) = (own, registry)
        && own != registry
    {
        return refuse(
            key,
            format!(
                "{own} contradicts ingestion.registry.max_streams_per_source {registry}; give one of them"
            ),
        );
    }
    optional(key, own.or(registry), 1..=4_096)
}

fn gop_count_max(ingestion: &Ingestion) -> Result<u32, Error> {
    let (gop, handling) = (ingestion.gop.buffer_count, ingestion.stream_handling.gop_buffer_size);
    if let (Some(gop), Some(handling)) = (gop, handling)
        && gop != handling
    {
        return refuse(
            "ingestion.gop.buffer_count",
            format!(
                "{gop} contradicts ingestion.stream_handling.gop_buffer_size {handling}; give one of them"
            ),
        );
    }
    within("ingestion.gop.buffer_count", gop.or(handling), 3, 1..=1_000)
}

fn per_stream_max(ingestion: &Ingestion, frame_bytes_max: u32) -> Result<u64, Error> {
    let bytes: u64 = within(
        "ingestion.memory.max_per_stream",
        ingestion.memory.max_per_stream,
        209_715_200,
        1 << 20..=1 << 40,
    )?;
    let least = 2 * u64::from(frame_bytes_max);
    if bytes < least {
        return refuse(
            "ingestion.memory.max_per_stream",
            format!(
                "{bytes} holds less than two frames of ingestion.frame.max_frame_size; at least {least}"
            ),
        );
    }
    Ok(bytes)
}

fn logging(logging: &super::schema::Logging) -> Result<super::schema::Logging, Error> {
    if let Some(level) = logging.level.as_deref()
        && !["trace", "debug", "info", "warn", "error"].contains(&level)
    {
        return refuse(
            "logging.level",
            format!("`{level}`; allowed are trace, debug, info, warn, error"),
        );
    }
    if let Some(format) = logging.format.as_deref()
        && !["json", "text"].contains(&format)
    {
        return refuse("logging.format", format!("`{format}`; allowed are json, text"));
    }
    if let Some(output) = logging.output.as_deref()
        && !["stdout", "stderr"].contains(&output)
    {
        return refuse("logging.output", format!("`{output}`; allowed are stdout, stderr"));
    }
    Ok(logging.clone())
}
