//! The listener: induction and conclusion, without state (draft-sharabayko-srt-01, 4.3.1).
//!
//! ```text
//!  caller                                   listener
//!    induction v4, cookie 0     ──────────▶
//!                               ◀──────────  induction v5, magic, cookie(address, minute)
//!    conclusion, cookie, HSREQ… ──────────▶  cookie right? ──▶ ConnectRequest
//!                               ◀──────────  conclusion + HSRSP, or a rejection
//! ```
//!
//! Nothing is remembered before a conclusion with a valid cookie has come, and no answer is longer
//! than its question.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use memory::Time;
use siphasher::sip::SipHasher24;

use crate::Error;
use crate::control::Control;
use crate::handshake::{Handshake, INDUCTION_MAGIC, Kind, RejectReason};
use crate::packet::{HEADER_BYTES, MTU_MAX, Packet};
use crate::request::{ConnectRequest, REJECTION_BYTES, packet};
use crate::tsbpd::low32;

/// Length of the step that cookies live by: the current and the previous minute are accepted.
const COOKIE_PERIOD_US: u64 = 60_000_000;

/// Answers handshakes that carry socket id 0. Stateless: one per worker, all with the same key.
#[derive(Debug)]
pub struct Listener {
    cookie_key: [u8; 16],
}

/// What a datagram to the listener means.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a request travels by value: nothing is allocated before a caller is accepted"
)]
pub enum ListenerEvent {
    /// Send this many bytes of the reply buffer back: the answer to an induction.
    Reply(usize),
    /// Send this many bytes back: a conclusion that cannot be served, and why.
    Rejected(usize, RejectReason),
    /// A conclusion with a valid cookie.
    Conclusion(ConnectRequest),
    /// A conclusion whose cookie is wrong or too old. No answer: its address is not proven.
    BadCookie,
    /// Not a handshake of a caller. No answer.
    Invalid(Error),
}

impl Listener {
    /// With a secret key for cookies: random, the same for all workers of a port.
    pub const fn new(cookie_key: [u8; 16]) -> Self {
        Self { cookie_key }
    }

    /// Reads a datagram with destination socket id 0 that came at `arrival`.
    pub fn handle(
        &self,
        arrival: Time,
        peer: SocketAddr,
        datagram: &[u8],
        reply: &mut [u8; REJECTION_BYTES],
    ) -> ListenerEvent {
        let (timestamp_us, body) = match Packet::parse(datagram) {
            Ok(Packet::Control(header, Control::Handshake(body))) if header.destination == 0 => {
                (header.timestamp_us, body)
            }
            Ok(_) => return ListenerEvent::Invalid(Error::NotAHandshake),
            Err(error) => return ListenerEvent::Invalid(error),
        };
        let (handshake, extensions) = match Handshake::parse(body) {
            Ok(parsed) => parsed,
            Err(error) => return ListenerEvent::Invalid(error),
        };
        match handshake.kind {
            Kind::Induction => {
                *reply = self.induction(arrival, peer, &handshake);
                ListenerEvent::Reply(REJECTION_BYTES)
            }
            Kind::Conclusion if !self.is_cookie(arrival, peer, handshake.cookie) => {
                ListenerEvent::BadCookie
            }
            Kind::Conclusion => {
                match ConnectRequest::read(arrival, peer, timestamp_us, &handshake, extensions) {
                    Ok(request) => ListenerEvent::Conclusion(request),
                    Err(reason) => {
                        *reply = rejection(arrival, peer, &handshake, reason);
                        ListenerEvent::Rejected(REJECTION_BYTES, reason)
                    }
                }
            }
            _ => ListenerEvent::Invalid(Error::NotAHandshake),
        }
    }

    fn induction(
        &self,
        arrival: Time,
        peer: SocketAddr,
        request: &Handshake,
    ) -> [u8; REJECTION_BYTES] {
        let answer = Handshake {
            version: 5,
            encryption: 0,
            extension: INDUCTION_MAGIC,
            mtu: request.mtu.min(u32::try_from(MTU_MAX).unwrap_or(u32::MAX)),
            cookie: self.cookie(arrival.micros() / COOKIE_PERIOD_US, peer),
            peer: peer.ip(),
            ..*request
        };
        // No clock runs yet, and srt-tokio puts this stamp into its conclusion as if it were its
        // own: anything but 0 would shift its delivery times by as much.
        packet(&answer, 0, request.socket_id)
    }

    /// Accepts the cookies of this minute and of the one before.
    fn is_cookie(&self, arrival: Time, peer: SocketAddr, cookie: u32) -> bool {
        let period = arrival.micros() / COOKIE_PERIOD_US;
        cookie == self.cookie(period, peer)
            || period.checked_sub(1).is_some_and(|previous| cookie == self.cookie(previous, peer))
    }

    /// Keyed hash of address and minute; never 0, which callers send before they have one.
    fn cookie(&self, period: u64, peer: SocketAddr) -> u32 {
        let mut hasher = SipHasher24::new_with_key(&self.cookie_key);
        hasher.write_u64(period);
        match peer.ip() {
            IpAddr::V4(v4) => hasher.write(&v4.octets()),
            IpAddr::V6(v6) => hasher.write(&v6.octets()),
        }
        hasher.write_u16(peer.port());
        low32(hasher.finish()).max(1)
    }
}

fn rejection(
    arrival: Time,
    peer: SocketAddr,
    request: &Handshake,
    reason: RejectReason,
) -> [u8; REJECTION_BYTES] {
    let answer = Handshake {
        version: 5,
        encryption: 0,
        extension: 0,
        kind: Kind::Rejected(reason),
        peer: peer.ip(),
        ..*request
    };
    packet(&answer, low32(arrival.micros()), request.socket_id)
}

/// True when a datagram is for the listener: long enough for a header, and to socket id 0.
pub fn is_for_listener(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_BYTES && crate::packet::destination(datagram) == Some(0)
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
