//! Parameter sets, frame headers and frame classes: pure functions on bytes.
pub mod sink;
