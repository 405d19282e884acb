//! `ingestion.srt`: listeners, one by one and beside each other.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::options::{BANDWIDTH_BPS, overrides};
use super::{Error, optional, refuse, sources, streams, within};
use crate::config::options::StreamOptions;
use crate::config::schema::{Ingestion, Listener, Srt};
use crate::config::srt::{Access, ListenerConfig, SrtConfig};
use crate::stream_id::{self, DERIVED_ID_DEFAULT};

pub(super) const SRT: &str = "ingestion.srt";
/// Ports one worker serves.
const LISTENERS_MAX: usize = 64;

pub(super) fn srt(
    ingestion: &Ingestion,
    receive_buffer: Option<u64>,
) -> Result<Option<SrtConfig>, Error> {
    let srt = &ingestion.srt;
    if !srt.enabled.unwrap_or(true) {
        return Ok(None);
    }
    let listeners = listeners(ingestion)?;
    let first = &listeners[0].options;
    let input_bps = input_bandwidth(srt, first.max_bandwidth_bps)?;
    let rules = streams::rules(ingestion.streams.as_deref().unwrap_or_default())?;
    let config = SrtConfig {
        receive_buffer_bytes: receive_buffer_bytes(receive_buffer, input_bps, first.latency)?,
        sources: sources::sources(ingestion, first, &rules)?,
        rules,
        listeners,
    };
    Ok(Some(config))
}

fn listeners(ingestion: &Ingestion) -> Result<Vec<ListenerConfig>, Error> {
    let srt = &ingestion.srt;
    let keys = srt.listeners.as_deref().unwrap_or_default();
    if keys.len() >= LISTENERS_MAX {
        return refuse(
            "ingestion.srt.listeners",
            format!("{} listeners; allowed are up to {}", keys.len(), LISTENERS_MAX - 1),
        );
    }
    let mut listeners = vec![first(ingestion)?];
    for (place, keys) in keys.iter().enumerate() {
        let listener = further(place, keys, srt, &listeners[0])?;
        let at = format!("{SRT}.listeners[{place}]");
        if listeners.iter().any(|other| other.name == listener.name) {
            return refuse(&key(&at, "name"), format!("`{}` is used twice", listener.name));
        }
        if listeners.iter().any(|other| other.listen == listener.listen) {
            return refuse(&key(&at, "port"), format!("{} is used twice", listener.listen));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

/// What `ingestion.srt` itself says: the first listener.
fn first(ingestion: &Ingestion) -> Result<ListenerConfig, Error> {
    let srt = &ingestion.srt;
    let mut keys = srt.options();
    keys.peer_idle_timeout = keys.peer_idle_timeout.or(ingestion.stream_timeout);
    let encrypted = encrypted(srt)?;
    keys.passphrase = keys.passphrase.filter(|_| encrypted);
    let text = srt.listen_addr.as_deref().unwrap_or("127.0.0.1");
    let port = within(&key(SRT, "port"), srt.port, 30_000, 1..=65_535)?;
    let listener = ListenerConfig {
        name: name(SRT, srt.name.as_deref().unwrap_or("srt"))?,
        listen: SocketAddr::new(address(SRT, text)?, port),
        access: Access {
            allow: networks(&key(SRT, "allow"), srt.allow.as_deref().unwrap_or_default())?,
            deny: networks(&key(SRT, "deny"), srt.deny.as_deref().unwrap_or_default())?,
        },
        unlisted: srt.unlisted_streams.unwrap_or_default(),
        derived_id: derived_id(SRT, srt.derived_id.as_deref().unwrap_or(DERIVED_ID_DEFAULT))?,
        // `ingestion.srt.max_connections` is for all of SRT.
        connections_max: None,
        options: StreamOptions::default().with(&overrides(SRT, &keys)?),
    };
    must_be_meant(SRT, listener.listen.ip(), &listener.access, srt.open.unwrap_or(false))?;
    Ok(listener)
}

/// A further listener: what it does not say is as with the first.
fn further(
    place: usize,
    keys: &Listener,
    srt: &Srt,
    first: &ListenerConfig,
) -> Result<ListenerConfig, Error> {
    let at = &format!("{SRT}.listeners[{place}]");
    let Some(port) = keys.port else {
        return refuse(&key(at, "port"), "missing; each listener has a port of its own");
    };
    let networks_or = |name: &str, own: Option<&[String]>, inherited: &[IpNet]| match own {
        Some(own) => networks(&key(at, name), own),
        None => Ok(inherited.to_vec()),
    };
    let listener = ListenerConfig {
        name: name(at, keys.name.as_deref().unwrap_or(&format!("srt{}", place + 2)))?,
        listen: SocketAddr::new(
            match keys.listen_addr.as_deref() {
                Some(text) => address(at, text)?,
                None => first.listen.ip(),
            },
            within(&key(at, "port"), Some(port), port, 1..=65_535)?,
        ),
        access: Access {
            allow: networks_or("allow", keys.allow.as_deref(), &first.access.allow)?,
            deny: networks_or("deny", keys.deny.as_deref(), &first.access.deny)?,
        },
        unlisted: keys.unlisted_streams.unwrap_or(first.unlisted),
        derived_id: derived_id(at, keys.derived_id.as_deref().unwrap_or(&first.derived_id))?,
        connections_max: optional(&key(at, "max_connections"), keys.max_connections, 1..=4_096)?,
        options: first.options.with(&overrides(at, &keys.options())?),
    };
    let open = keys.open.or(srt.open).unwrap_or(false);
    must_be_meant(at, listener.listen.ip(), &listener.access, open)?;
    Ok(listener)
}

fn key(at: &str, name: &str) -> String {
    format!("{at}.{name}")
}

/// SRT draft, 6.1.4.
const PBKDF_ITERATIONS: u64 = 2_048;

/// Whether the first listener is encrypted: it is when it has a passphrase, unless that is
/// switched off.
fn encrypted(srt: &Srt) -> Result<bool, Error> {
    let encryption = &srt.encryption;
    let passphrase = encryption.passphrase.as_ref().is_some_and(|text| !text.as_str().is_empty());
    if encryption.enabled == Some(true) && !passphrase {
        return refuse(
            "ingestion.srt.encryption.passphrase",
            "missing, while ingestion.srt.encryption.enabled is true",
        );
    }
    if encryption.pbkdf_iterations.is_some_and(|iterations| iterations != PBKDF_ITERATIONS) {
        return refuse(
            "ingestion.srt.encryption.pbkdf_iterations",
            "SRT fixes this number: allowed is 2048",
        );
    }
    Ok(passphrase && encryption.enabled != Some(false))
}

/// A port that other hosts can reach must not let everybody in by mistake.
pub(super) fn must_be_meant(
    at: &str,
    ip: IpAddr,
    access: &Access,
    open: bool,
) -> Result<(), Error> {
    if ip.is_loopback() || !access.allow.is_empty() || open {
        return Ok(());
    }
    refuse(
        &key(at, "listen_addr"),
        format!(
            "{ip} is reachable from other hosts and anyone could publish; give {at}.allow a list of \
             source networks, or set {at}.open: true to accept everyone"
        ),
    )
}

/// Names stand in metrics and URLs.
fn name(at: &str, text: &str) -> Result<String, Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if text.is_empty() || text.len() > 32 || !text.bytes().all(plain) {
        return refuse(
            &key(at, "name"),
            format!("`{text}`; allowed are 1 to 32 letters, digits, `-`, `_` and `.`"),
        );
    }
    Ok(text.to_owned())
}

pub(super) fn derived_id(at: &str, template: &str) -> Result<String, Error> {
    match stream_id::check_template(template) {
        Ok(()) => Ok(template.to_owned()),
        Err(problem) => refuse(&key(at, "derived_id"), problem),
    }
}

pub(super) fn address(at: &str, text: &str) -> Result<IpAddr, Error> {
    match text.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => Ok(address),
        Err(_) => refuse(&key(at, "listen_addr"), format!("`{text}` is not an IP address")),
    }
}

pub(super) fn networks(key: &str, texts: &[String]) -> Result<Vec<IpNet>, Error> {
    texts.iter().map(|text| network(key, text)).collect()
}

pub(super) fn network(key: &str, text: &str) -> Result<IpNet, Error> {
    if let Ok(network) = text.parse::<IpNet>() {
        return Ok(network);
    }
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(IpNet::from(address)),
        Err(_) => {
            refuse(key, format!("`{text}` is neither an address nor a network as 10.0.0.0/8"))
        }
    }
}

fn input_bandwidth(srt: &Srt, max_bandwidth_bps: u64) -> Result<u64, Error> {
    let input: u64 = within(
        "ingestion.srt.input_bandwidth",
        srt.input_bandwidth,
        max_bandwidth_bps,
        BANDWIDTH_BPS,
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
