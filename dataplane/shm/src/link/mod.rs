//! The conductor's unix socket.
mod client;
mod message;
mod server;
pub use client::Link;
pub use message::{CommandError, MESSAGE_BYTES_MAX};
pub use server::{CLIENTS_MAX, Handler, LinkServer, LinkTotals, RingGrant};
