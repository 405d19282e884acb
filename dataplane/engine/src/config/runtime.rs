//! The options of a stream that can be changed while it is connected or for its next connection.

use serde_json::Value;

use super::check::{Error, rtp_options, runtime};
use super::options::StreamOverrides;
use super::rtp::{RtpConfig, RtpTerms};
use super::schema::{RtpOptions, StreamKeys};

/// Checked changes of a stream's options.
#[derive(Debug)]
pub struct RuntimeOptions {
    /// What is changed.
    pub over: StreamOverrides,
    /// The keys that were given, as the configuration names them.
    pub keys: Vec<&'static str>,
}

/// Every key that can be changed.
const KEYS: [&str; 11] = [
    "latency",
    "latency_max",
    "max_bandwidth",
    "over_bandwidth",
    "payload_size",
    "fc_window",
    "receive_buffer",
    "peer_idle_timeout",
    "loss_reorder_tolerance",
    "priority",
    "second_publisher",
];

impl RuntimeOptions {
    /// Reads and checks an object of options named and written as in the configuration.
    pub fn read(value: Value) -> Result<Self, Error> {
        object(&value)?;
        let given = |key: &&str| {
            let alias = *key == "fc_window" && value.get("flow_window").is_some();
            alias || value.get(*key).is_some_and(|value| !value.is_null())
        };
        let mut keys: Vec<&'static str> = KEYS.iter().copied().filter(given).collect();
        keys.sort_unstable();
        let parsed: StreamKeys = parse(value)?;
        Ok(Self { over: runtime("options", &parsed)?, keys })
    }
}

impl RtpOptions {
    /// Reads an object of options named and written as in the configuration.
    pub fn read(value: Value) -> Result<Self, Error> {
        object(&value)?;
        parse(value)
    }

    /// The keys that are given.
    pub fn keys(&self) -> Vec<String> {
        let keys = serde_json::to_value(self).unwrap_or_default();
        let keys = keys.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        keys.map(|(key, _)| key.clone()).collect()
    }

    /// These with `later` on top.
    #[must_use]
    pub fn merged(&self, later: &Self) -> Self {
        Self {
            max_bandwidth: later.max_bandwidth.or(self.max_bandwidth),
            over_bandwidth: later.over_bandwidth.or(self.over_bandwidth),
            session_timeout: later.session_timeout.or(self.session_timeout),
            relatch_after: later.relatch_after.or(self.relatch_after),
            latency: later.latency.or(self.latency),
            latency_max: later.latency_max.or(self.latency_max),
            reorder_packets: later.reorder_packets.or(self.reorder_packets),
            rate_limit: later.rate_limit.or(self.rate_limit),
        }
    }

    /// The terms of a stream, or of a transport stream without RTP, that has these over `base`.
    pub(crate) fn applied(
        &self,
        base: &RtpTerms,
        what: (&RtpConfig, bool),
    ) -> Result<RtpTerms, Error> {
        rtp_options("options", self, base, what)
    }
}

fn object(value: &Value) -> Result<(), Error> {
    if value.is_object() {
        return Ok(());
    }
    let problem = "not an object with an option for each key".to_owned();
    Err(Error::Key { key: "options".to_owned(), problem })
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let (key, problem) = (error.path().to_string(), error.into_inner().to_string());
        let key = if key == "." { "options".to_owned() } else { format!("options.{key}") };
        Error::Key { key, problem }
    })
}
