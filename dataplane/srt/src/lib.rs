//! SRT for live ingest, sans-IO: a stateless listener, a caller and a rendezvous, the receiving
//! connection behind each of them, and the sender that tests and load generators need.
//!
//! ```text
//!  datagram to id 0 ──▶ Listener ──▶ ConnectRequest ──▶ (admission) ──▶ Connection::open ──▶ Answer
//!                                                                            │
//!  datagram to our id ────────────────────▶ Connection::handle_datagram ◀────┘
//!  next_timeout() has come ───────────────▶ Connection::handle_timeout
//!                                                │
//!                    Output: transmit (ACK, NAK, …), deliver (payload and due time), skipped
//! ```
//!
//! Handshake version 5, live mode: induction cookie, conclusion with HSREQ, KMREQ and StreamID,
//! acknowledgements and round trip, loss reports at once and periodic, drop requests, delivery times
//! with wrap and drift, too-late packet drop, flow window, keepalive, shutdown, idle timeout. What is
//! not served is refused with the reason that libsrt's callers understand: version 4, stream mode,
//! packet filters, groups, unknown ciphers.
//!
//! Encryption ([`crypto`]): AES-CTR and AES-GCM with keys of 128, 192 and 256 bits that change while
//! the stream runs. The key of a passphrase is derived by whoever decides about a request, never
//! here; a connection opened with keys delivers nothing that was not encrypted with one of them.
//!
//! There is no socket, clock, thread or timer here: time comes in as a parameter and
//! [`Connection::next_timeout`] says when to call again. Demultiplexing by socket id *and* source
//! address is the caller's task, and so is repeating the stored [`Answer`] when a conclusion comes
//! again ([`ConnectRequest::is_same_attempt`]).
//!
//! The invariant: nothing is allocated after [`Connection::new`], nothing at all before a conclusion
//! is accepted, and no input panics. Every sequence number from the first on is delivered or skipped
//! exactly once, in order; [`Stats`] says where every packet went.
//!
//! Clauses cited without a document are those of draft-sharabayko-srt-01.
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use memory::{Datagram, Slab, Time};
//! use srt::caller::{Caller, CallerConfig, CallerState};
//! use srt::packet::DataHeader;
//! use srt::sequence::Sequence;
//! use srt::{Connection, ConnectionConfig, Listener, ListenerEvent, Output, REJECTION_BYTES};
//!
//! struct Print;
//! impl Output for Print {
//!     fn transmit(&mut self, packet: &[u8]) {
//!         println!("send {} bytes", packet.len());
//!     }
//!     fn deliver(&mut self, payload: &[u8], _arrival: Time, due: Time) {
//!         println!("{payload:?} is due at {due:?}");
//!     }
//!     fn skipped(&mut self, packets: u32) {
//!         println!("{packets} packets are missing here");
//!     }
//! }
//!
//! let now = Time::from_micros(1_000_000);
//! let peer: SocketAddr = "192.0.2.1:5000".parse().unwrap();
//! let mut caller = Caller::new(CallerConfig::live(9, Sequence::new(100), peer.ip()), now);
//! let mut sent = Vec::new();
//! caller.handle_timeout(now, &mut |bytes: &[u8]| sent = bytes.to_vec());
//!
//! let listener = Listener::new([0x5e; 16]);
//! let mut reply = [0; REJECTION_BYTES];
//! let event = listener.handle(now, peer, &sent, &mut reply);
//! assert!(matches!(event, ListenerEvent::Reply(_)));
//! caller.handle_datagram(now, &reply, &mut |bytes: &[u8]| sent = bytes.to_vec());
//! let event = listener.handle(now, peer, &sent, &mut reply);
//! let ListenerEvent::Conclusion(request) = event else { panic!() };
//!
//! let mut connection = Connection::new(1_024);
//! let config = ConnectionConfig { local_id: 7, ..ConnectionConfig::default() };
//! let answer = connection.open(&request, &config, None, now);
//! caller.handle_datagram(now, answer.as_bytes(), &mut |_: &[u8]| {});
//! assert!(matches!(caller.state(), CallerState::Connected(_)));
//!
//! let slab = Slab::new(64).unwrap();
//! let mut packet = DataHeader::live(Sequence::new(100), 1, 0, 7).encode().to_vec();
//! packet.extend_from_slice(b"media");
//! let datagram = Datagram::copy_from(&slab, &packet).unwrap();
//! connection.handle_datagram(now, now, datagram, &mut Print);
//! assert_eq!(connection.stats().packets_delivered, 1);
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod backlog;
mod bytes;
pub mod caller;
mod connection;
pub mod control;
pub mod crypto;
mod error;
#[cfg(any(test, fuzzing, feature = "fuzz"))]
#[allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "assertions are the purpose"
)]
pub mod fuzz;
pub mod handshake;
#[cfg(test)]
mod key_sweep_tests;
mod listener;
mod measure;
pub mod packet;
mod rate;
pub mod rendezvous;
mod request;
mod rtt;
pub mod sender;
pub mod sequence;
mod stats;
mod tsbpd;
mod window;
mod work;

pub use connection::{Connection, ConnectionConfig, EndReason, Output, State};
pub use error::Error;
pub use listener::{Listener, ListenerEvent, is_for_listener};
pub use measure::{Measured, Spread};
pub use request::{ANSWER_BYTES, Answer, ConnectRequest, REJECTION_BYTES};
pub use stats::{Spreads, Stats};
