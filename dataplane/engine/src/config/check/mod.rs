//! From keys to values: defaults, bounds, and what does not go together.

mod authorization;
mod backpressure;
mod connections;
mod gop;
mod memory;
mod options;
mod rtp;
mod rtp_options;
mod rtp_sessions;
mod sources;
mod srt;
mod streams;
mod workers;

use std::path::PathBuf;
use std::time::Duration;

pub(super) use self::options::runtime;
pub(super) use self::rtp_options::rtp_options;
pub(super) use self::rtp_sessions::added_session;
pub(super) use self::sources::source;
use super::Config;
use super::options::StreamOptions;
use super::schema::File;
use super::srt::SrtConfig;

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

const SOCKET_DEFAULT: &str = "/run/penstock/dataplane.sock";
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Every value with its default, checked alone and against the others.
pub(super) fn derive(file: &File, without_effect: Vec<String>) -> Result<Config, Error> {
    let File { ingestion, dataplane, .. } = file;
    let srt = srt::srt(ingestion, dataplane.receive_buffer)?;
    let (connections_max, srt_connections_max) = connections::most(ingestion)?;
    let frame_bytes_max = memory::frame_bytes_max(&ingestion.frame)?;
    Ok(Config {
        rtp: rtp::rtp(ingestion, bandwidth_bps(srt.as_ref()), frame_bytes_max)?,
        workers: workers::workers(dataplane.workers.as_ref())?,
        socket: dataplane.socket.as_deref().unwrap_or(SOCKET_DEFAULT).into(),
        min_wait: workers::min_wait(dataplane.min_wait)?,
        spin: dataplane.spin.unwrap_or(false),
        buffer_entries: workers::buffer_entries(dataplane.buffer_entries)?,
        program: ingestion.mpegts.program,
        connections_max,
        srt_connections_max,
        connections_per_worker_max: connections::per_worker_max(ingestion)?,
        streams_per_source_max: connections::per_source_max(ingestion)?,
        authorization: authorization::authorization(&ingestion.authorization)?,
        reconnect_grace: connections::reconnect_grace(ingestion)?,
        take_over_hold: connections::take_over_hold(ingestion)?,
        frame_bytes_max,
        damaged_frames: ingestion.frame.damaged.unwrap_or_default(),
        gop_count_max: gop::count_max(ingestion)?,
        gop_frames_max: gop::frames_max(ingestion)?,
        gop_duration: gop::duration(ingestion)?,
        gop_age_max: gop::age_max(ingestion)?,
        memory_total_max: memory::total_max(&ingestion.memory)?,
        memory_per_stream_max: memory::per_stream_max(&ingestion.memory, frame_bytes_max)?,
        backpressure: backpressure::backpressure(&ingestion.backpressure)?,
        logging: logging(&file.logging)?,
        srt,
        without_effect,
    })
}

/// What a sender may send where nothing else is said: as much as at the first listener of SRT.
fn bandwidth_bps(srt: Option<&SrtConfig>) -> u64 {
    srt.map_or_else(
        || StreamOptions::default().max_bandwidth_bps,
        |srt| srt.listeners[0].options.max_bandwidth_bps,
    )
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
