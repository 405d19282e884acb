//! The control plane from outside, over a stand-in for the dataplane.

mod command_line;
mod http;
mod metrics;
mod process;
mod rest;
mod rtp_sessions;
mod sources;
mod stale;
mod support;
