//! The option keys that listeners, streams and sources share.

use std::time::Duration;

use super::srt::SRT;
use super::{Error, MS, SECOND, lasting, optional, refuse};
use crate::config::options::StreamOverrides;
use crate::config::schema::{OptionKeys, Span, StreamKeys};
use crate::config::secret::{Passphrase, PublishKey, SecretText};

/// GOP rings and slots are sized from it: 10 Gbit/s is more than one core receives.
pub(super) const BANDWIDTH_BPS: std::ops::RangeInclusive<u64> = 64_000..=10_000_000_000;

/// The values given in the section `at`.
pub(super) fn overrides(at: &str, keys: &OptionKeys) -> Result<StreamOverrides, Error> {
    let key = |name: &str| match name {
        // These two of the first listener stand in a section of their own.
        "passphrase" | "key_length" if at == SRT => format!("{at}.encryption.{name}"),
        _ => format!("{at}.{name}"),
    };
    let number = |name: &str, value, allowed| optional(&key(name), value, allowed);
    let time = |name: &str, value, allowed| span(&key(name), value, allowed);
    Ok(StreamOverrides {
        latency: time("latency", keys.latency, Duration::ZERO..=60 * SECOND)?,
        latency_max: time("latency_max", keys.latency_max, MS..=65 * SECOND)?,
        max_bandwidth_bps: number("max_bandwidth", keys.max_bandwidth, BANDWIDTH_BPS)?,
        over_bandwidth: keys.over_bandwidth,
        payload_bytes: optional(&key("payload_size"), keys.payload_size, 188..=1_456)?,
        flow_window: optional(&key("fc_window"), keys.fc_window, 32..=1 << 20)?,
        receive_buffer_bytes: number("receive_buffer", keys.receive_buffer, 64 << 10..=1 << 30)?,
        peer_idle_timeout: time(
            "peer_idle_timeout",
            keys.peer_idle_timeout,
            SECOND..=3_600 * SECOND,
        )?,
        reorder_tolerance_packets: optional(
            &key("loss_reorder_tolerance"),
            keys.loss_reorder_tolerance,
            0..=1_024,
        )?,
        passphrase: passphrase(&key("passphrase"), keys.passphrase.as_ref())?,
        key_bytes: key_bytes(&key("key_length"), keys.key_length)?,
        publish_key: publish_key(&key("publish_key"), keys.publish_key.as_ref())?,
        priority: optional(&key("priority"), keys.priority, 0..=255)?,
        second_publisher: keys.second_publisher,
    })
}

/// The values that can be changed while the dataplane runs.
pub(in crate::config) fn runtime(at: &str, keys: &StreamKeys) -> Result<StreamOverrides, Error> {
    let keys = keys.options();
    for (name, given) in [
        ("passphrase", keys.passphrase.is_some()),
        ("key_length", keys.key_length.is_some()),
        ("publish_key", keys.publish_key.is_some()),
    ] {
        if given {
            return refuse(
                &format!("{at}.{name}"),
                "decides who is let in, before there is a connection; it is set under \
                 ingestion.streams or by the authorization service",
            );
        }
    }
    overrides(at, &keys)
}

fn span(
    key: &str,
    value: Option<Span>,
    allowed: std::ops::RangeInclusive<Duration>,
) -> Result<Option<Duration>, Error> {
    value.map(|value| lasting(key, Some(value), value.0, allowed)).transpose()
}

/// An empty text takes away what would be inherited.
fn passphrase(key: &str, text: Option<&SecretText>) -> Result<Option<Option<Passphrase>>, Error> {
    let Some(text) = text.map(SecretText::as_str) else { return Ok(None) };
    if text.is_empty() {
        return Ok(Some(None));
    }
    match Passphrase::new(text.as_bytes()) {
        Some(passphrase) => Ok(Some(Some(passphrase))),
        None => refuse(
            key,
            format!("a passphrase of {} bytes; allowed are 10 to 79, or '' for none", text.len()),
        ),
    }
}

fn key_bytes(key: &str, bits: Option<u64>) -> Result<Option<u16>, Error> {
    match bits {
        None | Some(0) => Ok(None),
        Some(128) => Ok(Some(16)),
        Some(192) => Ok(Some(24)),
        Some(256) => Ok(Some(32)),
        Some(bits) => refuse(
            key,
            format!("{bits} bits; allowed are 128, 192, 256, or 0 for what the other side has"),
        ),
    }
}

fn publish_key(key: &str, text: Option<&SecretText>) -> Result<Option<Option<PublishKey>>, Error> {
    let Some(text) = text.map(SecretText::as_str) else { return Ok(None) };
    if text.is_empty() {
        return Ok(Some(None));
    }
    // It is presented in a StreamID, where a comma ends a value.
    let presentable = |byte: u8| byte.is_ascii_graphic() && byte != b',';
    if text.len() > 256 || !text.bytes().all(presentable) {
        return refuse(
            key,
            "allowed are up to 256 printable ASCII characters without space and comma",
        );
    }
    Ok(Some(Some(PublishKey::new(text))))
}
