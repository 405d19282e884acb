//! Shared parts of the whole-system tests: both processes on loopback, real senders, an impairing
//! relay, generated streams and FFmpeg as the oracle.
//!
//! Nothing here knows the engine's code: what is tested is what a user starts.

#![forbid(unsafe_code)]

pub mod process;
pub mod system;
