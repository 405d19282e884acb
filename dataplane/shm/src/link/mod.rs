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
//!   {"request":"sources","after":"cam1"}                {"reply":"sources","sources":[…],
//!                                                         "more":false}
//!   {"request":"add_source","source":{"id":"cam2",       {"reply":"done"}
//!    "address":"192.0.2.1:9000"}}
//!   {"request":"remove_source","id":"cam2"}              {"reply":"done"}
//!   {"request":"restart_source","id":"cam2"}             {"reply":"done"}
//!   {"request":"rtp_sessions","after":"cam1"}           {"reply":"rtp_sessions",
//!                                                         "sessions":[…],"more":false}
//!   {"request":"add_rtp_session","session":              {"reply":"done"}
//!    {"id":"cam2","port":6000}}
//!   {"request":"remove_rtp_session","id":"cam2"}         {"reply":"done"}; it is told of until
//!                                                         its sockets are free
//!   {"request":"attend"}                                 {"reply":"done"}, then unasked:
//!                                                        {"push":"event","sequence":1,…}
//!                                                        {"push":"question","question":7,…}
//!   {"request":"decide","question":7,                    nothing
//!    "decision":{"verdict":"allow"}}
//!   {"request":"backpressure","stream_id":"live/a",      {"reply":"done"}
//!    "action":{"set_pressure":{"permille":900}}}
//!   {"request":"options","stream_id":"live/a"}          {"reply":"options","options":{…}}
//!   {"request":"set_options","stream_id":"live/a",       {"reply":"options_set","applied":[…],
//!    "options":{"latency":"1s"}}                          "next_connection":["latency"]}
//!   anything else                                        {"reply":"error","code":"invalid_request",
//!                                                         "message":"…"}
//! ```
//!
//! The segments are sealed: whoever holds one can read it and nothing else. The socket's file mode
//! (0660) says who may connect.
mod attendant;
mod backpressure;
mod client;
mod event;
mod message;
mod options;
mod page;
mod question;
mod rtp_sessions;
mod server;
mod sources;
#[cfg(all(test, not(miri)))]
mod tests;

pub use attendant::{Answerer, Attendant, Heard};
pub use backpressure::BackpressureAction;
pub use client::Link;
pub use event::{Event, EventKind};
pub use message::{CommandError, MESSAGE_BYTES_MAX};
pub use options::OptionsSet;
pub use page::Page;
pub use question::{Decision, Grants, Question};
pub use rtp_sessions::{RtpSessionReport, RtpSessionsPage, RtpSocketReport, RtpTrackReport};
pub use server::{CLIENTS_MAX, Handler, LinkServer, LinkTotals, RingGrant};
pub use sources::{SourceFailure, SourceFailures, SourceReport, SourcesPage};
