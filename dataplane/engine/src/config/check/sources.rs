//! `ingestion.srt.sources`: the streams that are fetched.

use std::net::IpAddr;
use std::time::Duration;

use super::options::overrides;
use super::{Error, MS, SECOND, lasting, refuse, streams, within};
use crate::conductor::backoff::BackoffConfig;
use crate::conductor::breaker::BreakerConfig;
use crate::config::options::{StreamOptions, StreamOverrides};
use crate::config::schema::{Ingestion, Source, SourceMode, Span};
use crate::config::sources::{PeerAddress, SourceConfig, SourcePolicy, Sources};
use crate::config::srt::{Named, Rules};

/// A source that is silent is tried at least this often: so it is had back within five seconds of
/// its return, whatever else is left at its default.
const CAP_DEFAULT: Duration = Duration::from_secs(4);
/// A peer that is killed and started again says no goodbye: it is called again when it was silent
/// for this long and a first wait is over, within the same five seconds. libsrt's senders are never
/// silent for more than one.
const IDLE_DEFAULT: Duration = Duration::from_secs(4);
const FIRST_DEFAULT: Duration = Duration::from_millis(500);
const FIRST: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(3_600);

/// All sources, with the first listener's options under them.
pub(super) fn sources(
    ingestion: &Ingestion,
    options: &StreamOptions,
    rules: &Rules,
) -> Result<Sources, Error> {
    let srt = &ingestion.srt;
    let mut sources = Sources {
        list: Vec::new(),
        max: within("ingestion.srt.max_sources", srt.max_sources, 64, 0..=1_024)?,
        policy: policy(ingestion)?,
        connect_timeout: connect_timeout("ingestion.srt", srt.connect_timeout, 3 * SECOND)?,
        // Secrets of publishers are not those of the peers we call.
        options: options.with(&StreamOverrides {
            passphrase: Some(None),
            publish_key: Some(None),
            peer_idle_timeout: Some(options.peer_idle_timeout.min(IDLE_DEFAULT)),
            ..StreamOverrides::default()
        }),
    };
    let keys = srt.sources.as_deref().unwrap_or_default();
    if keys.len() > usize::from(sources.max) {
        return refuse(
            "ingestion.srt.sources",
            format!("{} sources; ingestion.srt.max_sources allows {}", keys.len(), sources.max),
        );
    }
    for (place, keys) in keys.iter().enumerate() {
        let at = format!("ingestion.srt.sources[{place}]");
        let source = source(&at, keys, &sources)?;
        if sources.list.iter().any(|other| other.id == source.id) {
            return refuse(&key(&at, "id"), format!("`{}` is used twice", source.id));
        }
        if rules.iter().any(|rule| rule.named == Named::Id(source.id.clone())) {
            return refuse(
                &key(&at, "id"),
                format!(
                    "`{}` is named in ingestion.streams, for publishers; a source has its own options",
                    source.id
                ),
            );
        }
        sources.list.push(source);
    }
    Ok(sources)
}

fn policy(ingestion: &Ingestion) -> Result<SourcePolicy, Error> {
    let srt = &ingestion.srt;
    let first = lasting(
        "ingestion.reconnect_interval",
        ingestion.reconnect_interval,
        FIRST_DEFAULT,
        FIRST,
    )?;
    let cap = lasting(
        "ingestion.srt.reconnect_cap",
        srt.reconnect_cap,
        CAP_DEFAULT.max(first),
        first..=3_600 * SECOND,
    )?;
    let multiplier = srt.reconnect_multiplier.unwrap_or(2.0);
    if !(1.0..=10.0).contains(&multiplier) {
        return refuse(
            "ingestion.srt.reconnect_multiplier",
            format!("{multiplier} is out of range; allowed are 1 to 10"),
        );
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 100 to 1,000"
    )]
    let multiplier_percent = (multiplier * 100.0).round() as u32;
    let tries: u32 =
        within("ingestion.srt.reconnect_max_tries", srt.reconnect_max_tries, 0, 0..=1_000_000)?;
    Ok(SourcePolicy {
        backoff: BackoffConfig {
            first,
            multiplier_percent,
            cap,
            tries_max: Some(tries).filter(|tries| *tries > 0),
        },
        breaker: BreakerConfig {
            threshold: within(
                "ingestion.srt.breaker_threshold",
                srt.breaker_threshold,
                3,
                1..=1_000,
            )?,
            open: lasting(
                "ingestion.srt.breaker_open",
                srt.breaker_open,
                60 * SECOND,
                100 * MS..=86_400 * SECOND,
            )?,
        },
    })
}

/// One source of the section `at`.
pub(in crate::config) fn source(
    at: &str,
    keys: &Source,
    sources: &Sources,
) -> Result<SourceConfig, Error> {
    let Some(id) = keys.id.as_deref() else {
        return refuse(&key(at, "id"), "missing; it is the id of the stream");
    };
    let mode = keys.mode.unwrap_or_default();
    let address = address(&key(at, "address"), keys.address.as_deref())?;
    let local_port = match (keys.local_port, mode) {
        (None, SourceMode::Caller) => None,
        (port, _) => {
            let default = u64::from(address.port);
            Some(within(&key(at, "local_port"), port, default, 1..=65_535)?)
        }
    };
    without_meaning(at, keys)?;
    let source = SourceConfig {
        id: streams::text(&key(at, "id"), id)?,
        local_ip: local_ip(&key(at, "local_addr"), keys.local_addr.as_deref(), &address)?,
        stream_id: stream_id(&key(at, "stream_id"), keys.stream_id.as_deref(), mode)?,
        connect_timeout: connect_timeout(at, keys.connect_timeout, sources.connect_timeout)?,
        options: sources.options.with(&overrides(at, &keys.options())?),
        crypto_mode: keys.crypto_mode,
        mode,
        address,
        local_port,
    };
    if source.options.passphrase.is_none() && keys.crypto_mode.is_some() {
        return refuse(&key(at, "crypto_mode"), "has no meaning without a passphrase");
    }
    Ok(source)
}

/// Keys of publishers.
fn without_meaning(at: &str, keys: &Source) -> Result<(), Error> {
    for (name, given) in [
        ("publish_key", keys.publish_key.is_some()),
        ("second_publisher", keys.second_publisher.is_some()),
    ] {
        if given {
            return refuse(&key(at, name), "has no meaning for a source, which nobody publishes");
        }
    }
    Ok(())
}

fn key(at: &str, name: &str) -> String {
    format!("{at}.{name}")
}

fn connect_timeout(at: &str, span: Option<Span>, default: Duration) -> Result<Duration, Error> {
    lasting(&key(at, "connect_timeout"), span, default, 100 * MS..=60 * SECOND)
}

fn address(key: &str, text: Option<&str>) -> Result<PeerAddress, Error> {
    let Some(text) = text else {
        return refuse(key, "missing; whom to call, as encoder.example:9000 or [2001:db8::1]:9000");
    };
    let Some(address) = PeerAddress::parse(text) else {
        return refuse(
            key,
            format!(
                "`{text}`; allowed are a name or an IP address with a port, as encoder.example:9000 \
                 or [2001:db8::1]:9000"
            ),
        );
    };
    Ok(address)
}

fn local_ip(key: &str, text: Option<&str>, peer: &PeerAddress) -> Result<Option<IpAddr>, Error> {
    let Some(text) = text else { return Ok(None) };
    let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() else {
        return refuse(key, format!("`{text}` is not an IP address"));
    };
    if peer.ip().is_some_and(|peer| peer.is_ipv4() != ip.is_ipv4()) {
        return refuse(key, format!("{ip} cannot reach {peer}: one is IPv4, the other IPv6"));
    }
    Ok(Some(ip))
}

fn stream_id(key: &str, text: Option<&str>, mode: SourceMode) -> Result<String, Error> {
    let text = text.unwrap_or_default();
    if text.len() > srt::handshake::STREAM_ID_BYTES_MAX {
        return refuse(key, format!("{} bytes; allowed are up to 512", text.len()));
    }
    if mode == SourceMode::Rendezvous && !text.is_empty() {
        return refuse(
            key,
            "a rendezvous carries none: which side could send it is decided by chance",
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
