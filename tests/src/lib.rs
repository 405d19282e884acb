//! Shared parts of the whole-system tests: both processes on loopback, real senders, an impairing
//! relay, generated streams and FFmpeg as the oracle.
//!
//! What is tested is what a user starts. Of the product's own code two parts are used: the sending
//! side of SRT, for what FFmpeg and libsrt cannot be made to send, and the reader of shared memory,
//! which every local program may use.

#![forbid(unsafe_code)]

pub mod clip;
pub mod conservation;
pub mod footprint;
pub mod generate;
pub mod hook;
pub mod openapi;
pub mod oracle;
pub mod paths;
pub mod peers;
pub mod process;
pub mod publisher;
pub mod raw;
pub mod relay;
pub mod rtp;
pub mod senders;
pub mod system;
pub mod wire;
pub mod witness;
