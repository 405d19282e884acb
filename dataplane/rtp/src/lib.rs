//! RTP for live ingest, sans-IO: from datagrams of any sender to access units, and back to the sender
//! what RTCP has to tell it.
//!
//! ```text
//!  anonymous port ──▶ Table ──▶ Proven ──▶ (admission) ──▶ Session::open
//!                       └─ Known ──▶ Session::handle_rtp ──▶ source ─▶ window ─▶ depacketizer
//!  configured session ─────────────▶            ▲ rtx, FEC, second leg              │
//!  RTCP ───────────────────────────▶ handle_rtcp ─▶ clocks, goodbye                 ▼
//!  next_timeout() has come ────────▶ handle_timeout ─▶ transmit: reports, NACK, PLI   Output
//! ```
//!
//! | module | what | clause |
//! |---|---|---|
//! | [`packet`], [`probation`], [`source`], [`reorder`] | headers, sequences, the window over slots | RFC 3550, 5.1, A.1, A.3, A.8 |
//! | [`rtcp`], [`rtx`] | reports, feedback, retransmissions | RFC 3550, 6; RFC 4585; RFC 4588 |
//! | [`clock`] | one 90 kHz line for all tracks | RFC 3550, 6.4.1 |
//! | [`session`], [`table`] | a stream's tracks; whose packet it is | |
//! | [`payload`], [`mod@format`] | H.264, HEVC, AV1, JPEG XS, MPEG-TS, AAC, Opus, L16, L24, G.711 | see there |
//! | [`sdp`], [`detect`] | what a stream is, said or found out | RFC 8866 |
//! | [`redundancy`] | two legs, row and column FEC | SMPTE ST 2022-7, 2022-1 |
//!
//! Packets in a row that only go on with one NAL unit need not come here one by one: a
//! [`Run`](session::Run) takes them, and tells the session of all at once.
//!
//! There is no socket, clock, thread or timer here: time comes in as a parameter and
//! [`Session::next_timeout`](session::Session::next_timeout) says when to call again. A transport
//! stream is handed on as packets ([`Output::deliver_ts`]); its demultiplexer is `mpegts`.
//!
//! The invariants: nothing is allocated after a session's or table's `new` (descriptions apart), no
//! input panics, every loop over what came from the wire is bounded. Every packet is delivered, held or
//! dropped for a reason that is counted ([`session::Stats`]), and a unit that may miss a byte is never
//! told as whole.
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use codec::sink::{Sink, Timestamps, TrackConfig};
//! use memory::{Datagram, Slab, Time};
//! use rtp::Output;
//! use rtp::packet::Header;
//! use rtp::session::{Room, Session, SessionConfig, TrackSetup};
//!
//! #[derive(Default)]
//! struct Print;
//! impl Sink for Print {
//!     fn tracks(&mut self, tracks: &[TrackConfig]) {
//!         println!("{tracks:?}");
//!     }
//!     fn unit_start(&mut self, track: usize, stamps: Timestamps) {
//!         println!("{track} at {:?}", stamps.pts);
//!     }
//!     fn unit_data(&mut self, _: usize, bytes: &[u8]) {
//!         println!("{} bytes", bytes.len());
//!     }
//!     fn unit_end(&mut self, _: usize) {}
//!     fn gap(&mut self, _: usize) {}
//! }
//! impl Output for Print {
//!     fn transmit(&mut self, _: (usize, usize), to: SocketAddr, packet: &[u8]) {
//!         println!("send {} bytes of RTCP to {to}", packet.len());
//!     }
//!     fn input(&mut self, _: Time, _: Time) {}
//!     fn deliver_ts(&mut self, _: &[u8], _: Time, _: Time) {}
//!     fn ts_lost(&mut self, _: u32) {}
//! }
//!
//! let opus = rtp::sdp::format(96, "opus/48000/2", "").unwrap();
//! let track = TrackSetup { format: Some(opus), ..TrackSetup::default() };
//! let config = SessionConfig { tracks: [Some(track), None, None, None], ..SessionConfig::default() };
//! let mut session = Session::new(&Room::default());
//! let now = Time::from_micros(1_000_000);
//! session.open(&config, now);
//!
//! let slab = Slab::new(64).unwrap();
//! let sender: SocketAddr = "192.0.2.1:5004".parse().unwrap();
//! for sequence in 7..10 {
//!     let header = Header { payload_type: 96, sequence, ssrc: 1, ..Header::default() };
//!     let packet = [&header.encode()[..], &[0x78, 1, 2, 3]].concat();
//!     let datagram = Datagram::copy_from(&slab, &packet).unwrap();
//!     session.handle_rtp(now, now, 0, sender, datagram, &mut Print);
//! }
//! assert_eq!(session.stats().packets_delivered, 3);
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]
#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "tests make bytes of numbers"
    )
)]

mod bytes;
pub mod clock;
pub mod detect;
mod error;
pub mod format;
#[cfg(any(test, fuzzing, feature = "fuzz"))]
#[allow(
    missing_docs,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "assertions are the purpose"
)]
pub mod fuzz;
mod output;
pub mod packet;
pub mod payload;
pub mod probation;
pub mod redundancy;
pub mod reorder;
pub mod rtcp;
pub mod rtx;
pub mod sdp;
pub mod session;
pub mod source;
pub mod table;

pub use error::Error;
pub use output::Output;
