//! SRT, sans-IO: listener, receiving connection and the codecs of every packet they need.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod bytes;
pub mod caller;
mod connection;
pub mod control;
mod error;
pub mod handshake;
mod listener;
pub mod packet;
mod rate;
mod request;
mod rtt;
pub mod sender;
pub mod sequence;
mod stats;
mod tsbpd;
mod window;

pub use connection::{Connection, ConnectionConfig, EndReason, Output, State};
pub use error::Error;
pub use listener::{Listener, ListenerEvent, is_for_listener};
pub use request::{ANSWER_BYTES, Answer, ConnectRequest, REJECTION_BYTES};
pub use stats::Stats;
