//! The shared-memory ABI.
pub mod counters;
