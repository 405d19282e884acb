//! Messages.
/// Longest message.
pub const MESSAGE_BYTES_MAX: usize = 8192;

/// Why the dataplane refused a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct CommandError {
    /// Stable, for programs: "not_found".
    pub code: String,
    /// For people.
    pub message: String,
}
impl CommandError {
    /// No such stream.
    pub const NOT_FOUND: &'static str = "not_found";
    /// The stream is in a state in which that cannot be done.
    pub const WRONG_STATE: &'static str = "wrong_state";
    /// The reader was built for another version of the ABI.
    pub const ABI_MISMATCH: &'static str = "abi_mismatch";
    /// The message does not parse or says nothing known.
    pub const INVALID: &'static str = "invalid_request";
    /// The message is longer than [`MESSAGE_BYTES_MAX`].
    pub const OVERSIZE: &'static str = "oversize_request";
    /// [`super::CLIENTS_MAX`] clients are connected.
    pub const TOO_MANY_CLIENTS: &'static str = "too_many_clients";

    /// With a code and a message.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}
