//! The options of a stream that can be changed while it is connected or for its next connection.

use serde_json::Value;

use super::check::{Error, runtime};
use super::options::StreamOverrides;
use super::schema::StreamKeys;

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
        if !value.is_object() {
            let problem = "not an object with an option for each key".to_owned();
            return Err(Error::Key { key: "options".to_owned(), problem });
        }
        let given = |key: &&str| {
            let alias = *key == "fc_window" && value.get("flow_window").is_some();
            alias || value.get(*key).is_some_and(|value| !value.is_null())
        };
        let mut keys: Vec<&'static str> = KEYS.iter().copied().filter(given).collect();
        keys.sort_unstable();
        let parsed: StreamKeys = serde_path_to_error::deserialize(value).map_err(|error| {
            let (key, problem) = (error.path().to_string(), error.into_inner().to_string());
            let key = if key == "." { "options".to_owned() } else { format!("options.{key}") };
            Error::Key { key, problem }
        })?;
        Ok(Self { over: runtime("options", &parsed)?, keys })
    }
}
