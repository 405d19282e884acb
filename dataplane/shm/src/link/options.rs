//! Options of a stream that are changed while the dataplane runs.

use serde::{Deserialize, Serialize};

/// What became of a change, by keys of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OptionsSet {
    /// In effect.
    pub applied: Vec<String>,
    /// In effect from the next connection on: SRT agrees on them in the handshake.
    pub next_connection: Vec<String>,
}
