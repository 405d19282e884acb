//! The unix socket over which a dataplane hands its memory to readers and takes commands.
//!
//! One packet is one message (`SOCK_SEQPACKET`), a JSON object; a descriptor rides along where the
//! answer hands memory over. The client asks, the dataplane answers in order.
//!
//! ```text
//!   {"request":"hello","abi":2}                          {"reply":"directory"}            + memfd
//!   {"request":"ring","stream_id":"live/a"}              {"reply":"ring","ring":3,
//!                                                         "generation":7}                 + memfd
//!   {"request":"terminate","stream_id":"live/a",         {"reply":"done"}
//!    "block_ms":5000}
//!   anything else                                        {"reply":"error","code":"invalid_request",
//!                                                         "message":"…"}
//! ```
//!
//! The segments are sealed: whoever holds one can read it and nothing else. The socket's file mode
//! (0660) says who may connect.
mod client;
mod message;
mod server;
#[cfg(all(test, not(miri)))]
mod tests;

pub use client::Link;
pub use message::{CommandError, MESSAGE_BYTES_MAX};
pub use server::{CLIENTS_MAX, Handler, LinkServer, LinkTotals, RingGrant};
