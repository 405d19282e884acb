//! Packets in a row that do no more than go on with a NAL unit.
//!
//! ```text
//!  V P X CC │ M PT │ sequence │ timestamp │ SSRC │ FU indicator, header │ bytes of the NAL unit …
//!  └────────────────────────── head ──────────────────────────────────┘
//! ```
//!
//! A picture of a few hundred kilobytes is some hundred packets, and all but the first and the last are
//! alike: what they begin with is known beforehand, but for the sequence number, which is one higher
//! each time. A packet that begins so, from where the one before came, brings further bytes of the open
//! NAL unit and changes nothing else that could not be made up for later by numbers. So it passes by
//! the session's state, which fills dozens of lines of the cache, with one look at a [`Run`], which
//! fills two. Anything else ends the run: the session is told of it first, then takes the packet as
//! always.

use std::net::SocketAddr;

use memory::Time;

use super::Session;
use crate::bytes::count;
use crate::packet::HEADER_BYTES;
use crate::source::Jitter;

/// Bytes of [`Run::head`].
const HEAD_BYTES: usize = 16;
/// Where the sequence number lies in it.
const SEQUENCE_SHIFT: usize = 8 * (HEAD_BYTES - 4);

/// What the next packet begins with, and what was counted of those that began so. The default is one
/// that no packet goes on with.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Run {
    /// The first bytes of the next packet, big-endian, and as many zeros as they are shorter.
    head: u128,
    head_bytes: u8,
    track: u8,
    leg: u8,
    packets_left: u32,
    packets: u32,
    peer: Option<SocketAddr>,
    bytes_left: usize,
    /// Bytes of the packets.
    bytes: u64,
    timestamp: u32,
    clock_hz: u32,
    jitter: Jitter,
    arrival: Time,
    due: Time,
    now: Time,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            head: 0,
            head_bytes: 0,
            track: 0,
            leg: 0,
            packets_left: 0,
            packets: 0,
            peer: None,
            bytes_left: 0,
            bytes: 0,
            timestamp: 0,
            clock_hz: 0,
            jitter: Jitter::default(),
            arrival: Time::ZERO,
            due: Time::ZERO,
            now: Time::ZERO,
        }
    }
}

const _: () = assert!(size_of::<Run>() == 128, "two lines of the cache");

impl Run {
    /// The bytes that a packet from `peer` brings, if it goes on with the run. `track` and `leg` are
    /// those of the socket that it came at, as for [`Session::handle_packet`].
    #[inline]
    pub fn body<'a>(
        &self,
        (track, leg): (Option<usize>, usize),
        peer: &SocketAddr,
        packet: &'a [u8],
    ) -> Option<&'a [u8]> {
        if !self.expects(0, peer, packet) {
            return None;
        }
        let of_socket = usize::from(self.leg) == leg
            && track.is_none_or(|track| track == usize::from(self.track));
        let body = packet.get(usize::from(self.head_bytes)..).filter(|_| of_socket)?;
        // Zeros at the end may be padding of the NAL unit.
        (body.len() <= self.bytes_left && body.last().is_some_and(|last| *last != 0))
            .then_some(body)
    }

    /// Whether a packet of `peer` begins as the one does that goes on with the run once `before` others
    /// have.
    #[inline]
    pub fn expects(&self, before: u32, peer: &SocketAddr, packet: &[u8]) -> bool {
        let spare = 8 * (HEAD_BYTES - usize::from(self.head_bytes));
        let head = self.head.wrapping_add(u128::from(before) << SEQUENCE_SHIFT);
        self.packets_left > before
            && self.peer.as_ref() == Some(peer)
            && packet
                .first_chunk::<HEAD_BYTES>()
                .is_some_and(|first| u128::from_be_bytes(*first) >> spare << spare == head)
    }

    /// The packet whose [`body`](Self::body) that was has been taken.
    #[inline]
    pub fn took(&mut self, packet_bytes: usize, arrival: Time, now: Time) {
        self.jitter.arrived(self.timestamp, arrival, self.clock_hz);
        // Before the number would wrap none is left.
        self.head += 1 << SEQUENCE_SHIFT;
        self.packets_left -= 1;
        self.packets += 1;
        self.bytes += count(packet_bytes);
        self.bytes_left -= packet_bytes.saturating_sub(self.head_bytes.into()).min(self.bytes_left);
        (self.arrival, self.due, self.now) = (arrival, self.due_of(arrival, now), now);
    }

    /// Since when the bytes of a packet can be delivered.
    #[inline]
    pub fn due_of(&self, arrival: Time, now: Time) -> Time {
        self.due.max(arrival.min(now))
    }

    /// No packet went on with it that the session was not told of.
    pub const fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// It is none from now on. For one that [is empty](Self::is_empty): what was counted stays.
    pub const fn stop(&mut self) {
        (self.packets_left, self.peer) = (0, None);
    }

    /// Track and leg of the socket that its packets come at, and their sender; `None` of no run.
    pub fn origin(&self) -> Option<((Option<usize>, usize), SocketAddr)> {
        Some(((Some(self.track()), self.leg()), self.peer?))
    }

    /// The track whose NAL unit it is.
    pub fn track(&self) -> usize {
        self.track.into()
    }

    pub(super) fn leg(&self) -> usize {
        self.leg.into()
    }

    pub(super) const fn packets(&self) -> u32 {
        self.packets
    }

    pub(super) const fn jitter(&self) -> Jitter {
        self.jitter
    }

    /// The time at which its last packet was taken.
    pub(super) const fn now(&self) -> Time {
        self.now
    }

    /// When its last packet came.
    pub const fn arrival(&self) -> Time {
        self.arrival
    }

    /// Bytes of the NAL unit that its packets brought.
    pub fn body_bytes(&self) -> u64 {
        self.bytes.saturating_sub(u64::from(self.packets) * u64::from(self.head_bytes))
    }
}

impl Session {
    /// How a packet from `peer` would begin that goes on with what the last one brought there.
    pub fn begin_run(&self, (track, leg): (Option<usize>, usize), peer: SocketAddr) -> Option<Run> {
        // Where one socket has several tracks, the next packet may be of any.
        let index = track.or_else(|| (self.tracks_len == 1).then_some(0))?;
        let unlimited = self.ended.is_none() && self.config.rate_limit_bps.is_none();
        let track = self.tracks.get(index).filter(|_| unlimited && index < self.tracks_len)?;
        let (expected, sequence) = track.expects(leg, peer, &self.config.limits)?;
        let (fu, fu_bytes) = expected.head;
        let [a, b] = sequence.to_be_bytes();
        let [c, d, e, f] = expected.timestamp.to_be_bytes();
        let [g, h, i, j] = track.ssrc?.to_be_bytes();
        let [k, l, m] = fu;
        let head = [0x80, track.payload_type?, a, b, c, d, e, f, g, h, i, j, k, l, m, 0];
        let source = track.legs.get(leg)?.source?;
        Some(Run {
            head: u128::from_be_bytes(head),
            head_bytes: u8::try_from(HEADER_BYTES + fu_bytes).ok()?,
            track: u8::try_from(index).ok()?,
            leg: u8::try_from(leg).ok()?,
            clock_hz: self.clocks.get(index)?.clock_hz(),
            peer: Some(peer),
            packets_left: expected.packets_max.min(u32::from(u16::MAX - sequence)),
            bytes_left: expected.bytes_max,
            timestamp: expected.timestamp,
            jitter: source.jitter(),
            due: self.due,
            ..Run::default()
        })
    }

    /// The run is over: what its packets did not change yet is changed. Before anything else is asked
    /// of the session.
    pub fn end_run(&mut self, run: &Run) {
        let packets = u64::from(run.packets);
        self.stats.packets_received += packets;
        self.stats.bytes_received += run.bytes;
        self.stats.packets_delivered += packets;
        self.due = run.due;
        (self.heard_at, self.media_at) = (run.now, Some(run.now));
        let index = run.track();
        // All of them had one timestamp: the clock need know of the last only.
        self.line.stamp(&mut self.clocks, index, run.timestamp, run.arrival);
        if let Some(track) = self.tracks.get_mut(index) {
            track.went_on(run);
        }
    }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
