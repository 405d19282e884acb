//! From keys to values: defaults, bounds, and what does not go together.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::schema::{File, Ingestion, Srt, Workers};
use super::{Config, SrtConfig};

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
/// GOP rings and slots are sized from it: 10 Gbit/s is more than one core receives.
const BANDWIDTH_MAX_BPS: u64 = 10_000_000_000;

/// Every value with its default, checked alone and against the others.
pub(super) fn derive(file: &File, without_effect: Vec<String>) -> Result<Config, Error> {
    let ingestion = &file.ingestion;
    let dataplane = &file.dataplane;
    let srt = srt(ingestion, dataplane.receive_buffer)?;
    let frame_bytes_max: u32 = within(
        "ingestion.frame.max_frame_size",
        ingestion.frame.max_frame_size,
        10 << 20,
        64 << 10..=256 << 20,
    )?;
    Ok(Config {
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
        connections_max: connections_max(ingestion)?,
        reconnect_grace: lasting(
            "ingestion.reconnect_grace",
            ingestion.reconnect_grace,
            10 * SECOND,
            Duration::ZERO..=3_600 * SECOND,
        )?,
        frame_bytes_max,
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

fn connections_max(ingestion: &Ingestion) -> Result<u16, Error> {
    let all: u16 = within("ingestion.max_connections", ingestion.max_connections, 25, 1..=4_096)?;
    let srt: u16 = within(
        "ingestion.srt.max_connections",
        ingestion.srt.max_connections,
        u64::from(all),
        1..=4_096,
    )?;
    Ok(all.min(srt))
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

fn srt(ingestion: &Ingestion, receive_buffer: Option<u64>) -> Result<Option<SrtConfig>, Error> {
    let srt = &ingestion.srt;
    if !srt.enabled.unwrap_or(true) {
        return Ok(None);
    }
    refuse_encryption(srt)?;
    let max_bandwidth_bps: u64 = within(
        "ingestion.srt.max_bandwidth",
        srt.max_bandwidth,
        60_000_000,
        64_000..=BANDWIDTH_MAX_BPS,
    )?;
    let input_bps = input_bandwidth(srt, max_bandwidth_bps)?;
    let latency =
        lasting("ingestion.srt.latency", srt.latency, 120 * MS, Duration::ZERO..=60 * SECOND)?;
    let idle = srt.peer_idle_timeout.or(ingestion.stream_timeout);
    let allow = allow(srt)?;
    let listen = listen(srt)?;
    if !listen.ip().is_loopback() && allow.is_empty() && !srt.open.unwrap_or(false) {
        return refuse(
            "ingestion.srt.listen_addr",
            format!(
                "{} is reachable from other hosts and anyone could publish; give ingestion.srt.allow a list of \
                 source networks, or set ingestion.srt.open: true to accept everyone",
                listen.ip()
            ),
        );
    }
    Ok(Some(SrtConfig {
        listen,
        latency,
        max_bandwidth_bps,
        payload_bytes: within("ingestion.srt.payload_size", srt.payload_size, 1_316, 188..=1_456)?,
        flow_window: within("ingestion.srt.fc_window", srt.fc_window, 25_600, 32..=1 << 20)?,
        peer_idle_timeout: lasting(
            "ingestion.srt.peer_idle_timeout",
            idle,
            5 * SECOND,
            SECOND..=3_600 * SECOND,
        )?,
        allow,
        receive_buffer_bytes: receive_buffer_bytes(receive_buffer, input_bps, latency)?,
        reorder_tolerance_packets: within(
            "ingestion.srt.loss_reorder_tolerance",
            srt.loss_reorder_tolerance,
            0,
            0..=1_024,
        )?,
    }))
}

fn refuse_encryption(srt: &Srt) -> Result<(), Error> {
    let passphrase = srt.encryption.passphrase.as_deref().is_some_and(|text| !text.is_empty());
    if srt.encryption.enabled.unwrap_or(false) || passphrase {
        return refuse(
            "ingestion.srt.encryption",
            "encrypted input is not supported in this version; only enabled: false without a passphrase is allowed",
        );
    }
    Ok(())
}

fn input_bandwidth(srt: &Srt, max_bandwidth_bps: u64) -> Result<u64, Error> {
    let input: u64 = within(
        "ingestion.srt.input_bandwidth",
        srt.input_bandwidth,
        max_bandwidth_bps,
        64_000..=BANDWIDTH_MAX_BPS,
    )?;
    if input > max_bandwidth_bps {
        return refuse(
            "ingestion.srt.input_bandwidth",
            format!("{input} is above ingestion.srt.max_bandwidth {max_bandwidth_bps}"),
        );
    }
    Ok(input)
}

/// At least 8 MiB, twice what arrives within the latency of one publisher.
fn receive_buffer_bytes(
    given: Option<u64>,
    input_bps: u64,
    latency: Duration,
) -> Result<usize, Error> {
    let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
    let derived = (input_bps / 8).saturating_mul(latency_ms) / 1_000 * 2;
    within("dataplane.receive_buffer", given, derived.clamp(8 << 20, 1 << 30), 64 << 10..=1 << 30)
}

fn listen(srt: &Srt) -> Result<SocketAddr, Error> {
    let text = srt.listen_addr.as_deref().unwrap_or("127.0.0.1");
    let port: u16 = within("ingestion.srt.port", srt.port, 30_000, 1..=65_535)?;
    let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() else {
        return refuse("ingestion.srt.listen_addr", format!("`{text}` is not an IP address"));
    };
    Ok(SocketAddr::new(address, port))
}

fn allow(srt: &Srt) -> Result<Vec<IpNet>, Error> {
    let networks = srt.allow.as_deref().unwrap_or_default();
    networks.iter().map(|text| network(text)).collect()
}

fn network(text: &str) -> Result<IpNet, Error> {
    if let Ok(network) = text.parse::<IpNet>() {
        return Ok(network);
    }
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(IpNet::from(address)),
        Err(_) => refuse(
            "ingestion.srt.allow",
            format!("`{text}` is neither an address nor a network as 10.0.0.0/8"),
        ),
    }
}
