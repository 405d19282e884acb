//! The streams that are fetched.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use super::Error;
use super::options::StreamOptions;
use super::schema::{CryptoMode, SourceMode};
use crate::conductor::backoff::BackoffConfig;
use crate::conductor::breaker::BreakerConfig;

/// Where a peer is: a name or an address, and a UDP port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// A name or an IP address without brackets.
    pub host: String,
    /// UDP port.
    pub port: u16,
}

impl PeerAddress {
    /// `host:port`, an IPv6 address in brackets.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
        let host = match host.strip_prefix('[') {
            Some(host) => host.strip_suffix(']').filter(|host| is_v6(host))?,
            None => Some(host).filter(|host| is_name(host))?,
        };
        Some(Self { host: host.to_owned(), port })
    }

    /// The address, when it is not a name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

fn is_v6(host: &str) -> bool {
    host.parse::<std::net::Ipv6Addr>().is_ok()
}

/// A host name (RFC 1123) or an IPv4 address.
fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    host.len() <= 253 && host.trim_end_matches('.').split('.').all(label)
}

/// One stream that is fetched.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// The public id of its stream.
    pub id: String,
    /// How it is reached.
    pub mode: SourceMode,
    /// Whom we call.
    pub address: PeerAddress,
    /// The address we call from; `None`: what the kernel chooses.
    pub local_ip: Option<IpAddr>,
    /// The port we call from; `None`: any.
    pub local_port: Option<u16>,
    /// The StreamID we send; empty sends none.
    pub stream_id: String,
    /// How long a call may take.
    pub connect_timeout: Duration,
    /// How payload is encrypted; `None`: in counter mode where we make the keys, as the peer likes where it
    /// does.
    pub crypto_mode: Option<CryptoMode>,
    /// What its stream has.
    pub options: StreamOptions,
}

/// When a source is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SourcePolicy {
    /// Waits between tries.
    pub backoff: BackoffConfig,
    /// When a peer that refuses is left alone.
    pub breaker: BreakerConfig,
}

/// `ingestion.srt.sources`, and what further sources are made with at run time.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Those of the file.
    pub list: Vec<SourceConfig>,
    /// Sources at one time.
    pub max: u16,
    /// When they are tried again.
    pub policy: SourcePolicy,
    /// How long a call may take, where the source does not say.
    pub connect_timeout: Duration,
    /// What a source has where it does not say.
    pub options: StreamOptions,
}

impl Sources {
    /// None, and none to come.
    pub(crate) fn none() -> Self {
        Self {
            list: Vec::new(),
            max: 0,
            policy: SourcePolicy::default(),
            connect_timeout: Duration::from_secs(3),
            options: StreamOptions::default(),
        }
    }

    /// A source from an object with the keys of `ingestion.srt.sources`.
    pub fn read(&self, value: Value) -> Result<SourceConfig, Error> {
        let keys = serde_path_to_error::deserialize(value).map_err(|error| {
            let (key, problem) = (error.path().to_string(), error.into_inner().to_string());
            let key = if key == "." { "source".to_owned() } else { format!("source.{key}") };
            Error::Key { key, problem }
        })?;
        super::check::source("source", &keys, self)
    }
}

#[cfg(test)]
impl SourceConfig {
    /// One to test with.
    pub(crate) fn example(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            mode: SourceMode::Caller,
            address: PeerAddress { host: "127.0.0.1".into(), port: 9 },
            local_ip: None,
            local_port: None,
            stream_id: String::new(),
            connect_timeout: Duration::from_secs(3),
            crypto_mode: None,
            options: StreamOptions::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_name_or_an_ip_address_with_a_port() {
        for (text, host, port) in [
            ("encoder.example:9000", "encoder.example", 9_000),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[2001:db8::1]:65535", "2001:db8::1", 65_535),
        ] {
            let address = PeerAddress::parse(text).expect(text);
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for text in [
            "",
            "host",
            "host:",
            ":9",
            "host:0",
            "host:65536",
            "2001:db8::1:9",
            "[10.0.0.1]:9",
            "a b:9",
            "srt://host:9",
            "host:9?x",
            "a..b:9",
            "[::1:9",
        ] {
            assert_eq!(PeerAddress::parse(text), None, "{text}");
        }
    }
}
