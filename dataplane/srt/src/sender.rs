//! The sending side of a live connection, sans-IO: a send buffer whose slots hold whole packets,
//! retransmission on loss reports, the flow window, and giving up what is too late
//! (draft-sharabayko-srt-01, 3.2.4, 3.2.5, 3.2.8, 3.2.9, 4.6, 4.8).
//!
//! ```text
//!   sequence     acked      first        next_send     next_push
//!                  | given up | in flight    | waiting     |   free …
//!   buffer                    [slot][slot]…  [slot][slot]…
//!                                            ^ a run: packets of full size lie back to back, so
//!                                              that one segmented send carries many
//! ```
//!
//! The time is a parameter and what is to be sent goes to a closure, so the caller decides how
//! often to call: [`Sender::next_timeout`] says when it has to.

use std::time::Duration;

use memory::Time;

use crate::caller::Connected;
use crate::control::{
    Ack, Control, DropRequest, KEY_PACKET_BYTES_MAX, KMREQ_SUBTYPE, KMRSP_SUBTYPE, LossReport,
    encode_ackack, encode_keepalive, encode_key_packet, encode_shutdown,
};
use crate::crypto::Initiator;
use crate::packet::{DataHeader, HEADER_BYTES, MESSAGE_MASK, Packet};
use crate::sequence::{Sequence, SequenceRange};

/// A keepalive goes out after this long without any other packet (3.2.3).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time a packet stays before it is given up, as in libsrt.
const DROP_AFTER_MIN: Duration = Duration::from_millis(1_000);
/// What libsrt adds to either: twice the longest acknowledgement interval.
const DROP_AFTER_MARGIN: Duration = Duration::from_millis(20);
/// Round trip and variance before the first acknowledgement (4.10).
const RTT_START_US: u32 = 100_000;
const RTT_VARIANCE_START_US: u32 = 50_000;
/// Key material is repeated after one and a half round trips, as in libsrt.
const KEY_REPEAT_HALF_RTTS: u32 = 3;
const KEY_REPEAT_MIN: Duration = Duration::from_millis(10);
/// The retransmitted flag (R) in the fifth byte of a data header.
const RETRANSMITTED_BIT: u8 = 0x04;

/// Whether packets can still be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderState {
    /// No connection yet.
    Idle,
    /// Connected.
    Open,
    /// The receiver said goodbye.
    ClosedByPeer,
    /// The receiver fell silent.
    PeerIdle,
    /// Closed here.
    Closed,
}

/// What happened so far; counts of packets unless the name says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SenderStats {
    /// Data packets sent for the first time.
    pub packets_sent: u64,
    /// Their payload bytes.
    pub bytes_sent: u64,
    /// Data packets sent again.
    pub packets_retransmitted: u64,
    /// Packets given up as too late, whether sent before or not.
    pub packets_dropped: u64,
    /// Packets reported lost.
    pub packets_reported_lost: u64,
    /// Full acknowledgements.
    pub acks_received: u64,
    /// Light and small acknowledgements.
    pub light_acks_received: u64,
    /// Loss reports.
    pub naks_received: u64,
    /// Drop requests sent.
    pub drop_requests_sent: u64,
    /// Keepalives received.
    pub keepalives_received: u64,
    /// Key material messages sent.
    pub key_messages_sent: u64,
    /// Keys that the receiver confirmed after the first.
    pub keys_confirmed: u64,
    /// Packets that did not parse or made no sense.
    pub invalid: u64,
    /// Round trip as the receiver measures it, microseconds.
    pub rtt_us: u32,
    /// Its variance, microseconds.
    pub rtt_variance_us: u32,
}

/// What the buffer knows about one packet beside its bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// When it was pushed: its timestamp on the wire.
    origin: Time,
    /// When it was last sent.
    sent: Time,
    /// Bytes, header included.
    len: u16,
}

/// Consecutive packets ready to be sent, back to back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run<'a> {
    /// All packets; each but the last has `segment_bytes`.
    pub bytes: &'a [u8],
    /// Bytes of one packet.
    pub segment_bytes: usize,
    /// How many packets.
    pub packets: u32,
}

/// The sending side of one connection, reusable for the next one.
#[derive(Debug)]
pub struct Sender {
    buffer: Box<[u8]>,
    slots: Box<[Slot]>,
    /// Distance of two packets in `buffer`: header and largest payload.
    stride: usize,
    /// Slots - 1; the number of slots is a power of two, so a sequence number masked is a slot.
    mask: u32,
    state: SenderState,
    peer_id: u32,
    start: Time,
    /// Everything before was acknowledged.
    acked: Sequence,
    /// The oldest packet still held; after `acked` when packets were given up.
    first: Sequence,
    next_send: Sequence,
    next_push: Sequence,
    /// First sequence number the receiver has no room for.
    window_end: Sequence,
    message: u32,
    drop_after: Duration,
    peer_idle_timeout: Duration,
    last_sent: Time,
    last_received: Time,
    initiator: Option<Box<Initiator>>,
    /// When a key was last announced.
    announced: Option<Time>,
    stats: SenderStats,
}

impl Sender {
    /// Room for at least `packets` of up to `payload_bytes` each. All memory is taken and touched
    /// here.
    pub fn new(packets: u32, payload_bytes: u16) -> Self {
        let packets = packets.clamp(2, 1 << 24).next_power_of_two();
        let stride = HEADER_BYTES + usize::from(payload_bytes);
        let count = usize::try_from(packets).unwrap_or(usize::MAX);
        Self {
            // Not zero: pages of zeros would be taken one by one at their first use.
            buffer: vec![0xff; count * stride].into_boxed_slice(),
            slots: vec![Slot::default(); count].into_boxed_slice(),
            stride,
            mask: packets - 1,
            state: SenderState::Idle,
            peer_id: 0,
            start: Time::ZERO,
            acked: Sequence::default(),
            first: Sequence::default(),
            next_send: Sequence::default(),
            next_push: Sequence::default(),
            window_end: Sequence::default(),
            message: 1,
            drop_after: DROP_AFTER_MIN,
            peer_idle_timeout: Duration::from_secs(5),
            last_sent: Time::ZERO,
            last_received: Time::ZERO,
            initiator: None,
            announced: None,
            stats: SenderStats::default(),
        }
    }

    /// Encrypts everything from now on with the keys whose material the conclusion carried: called
    /// after [`Self::open`] and before the first packet.
    pub fn secure(&mut self, initiator: Box<Initiator>) {
        self.initiator = Some(initiator);
    }

    /// Starts a connection that a [`Caller`](crate::caller::Caller) made, in clear text.
    pub fn open(&mut self, connected: &Connected, now: Time) {
        let latency = Duration::from_millis(u64::from(connected.peer_latency_ms));
        let sequence = connected.initial_sequence;
        self.state = SenderState::Open;
        self.peer_id = connected.peer_socket_id;
        self.start = connected.start;
        self.acked = sequence;
        self.first = sequence;
        self.next_send = sequence;
        self.next_push = sequence;
        self.window_end = sequence.add(connected.flow_window);
        self.message = 1;
        self.drop_after = latency.max(DROP_AFTER_MIN) + DROP_AFTER_MARGIN;
        self.peer_idle_timeout = connected.peer_idle_timeout;
        self.last_sent = now;
        self.last_received = now;
        self.initiator = None;
        self.announced = None;
        self.stats = SenderStats {
            rtt_us: RTT_START_US,
            rtt_variance_us: RTT_VARIANCE_START_US,
            ..SenderStats::default()
        };
    }

    /// Puts one packet of `len` payload bytes behind the others; `write` fills them in. False
    /// when the buffer is full, `len` is too large (a tag of the cipher needs room too) or the
    /// connection is over.
    #[inline]
    pub fn push(&mut self, now: Time, len: usize, write: impl FnOnce(&mut [u8])) -> bool {
        if self.state != SenderState::Open || self.free() == 0 {
            return false;
        }
        let mut header =
            DataHeader::live(self.next_push, self.message, self.timestamp_us(now), self.peer_id);
        let mut room = len;
        if let Some(initiator) = &self.initiator {
            header.encryption = initiator.kk();
            room += initiator.suite().overhead();
        }
        let index = self.index(self.next_push);
        let bytes = HEADER_BYTES + room;
        let place = self
            .buffer
            .get_mut(index * self.stride..(index + 1) * self.stride)
            .and_then(|slot| slot.get_mut(..bytes));
        let (Some(packet), Some(slot), Ok(bytes)) =
            (place, self.slots.get_mut(index), u16::try_from(bytes))
        else {
            return false;
        };
        if let Some((head, payload)) = packet.split_first_chunk_mut::<HEADER_BYTES>() {
            *head = header.encode();
            write(payload.get_mut(..len).unwrap_or_default());
        }
        if let Some(initiator) = &mut self.initiator
            && !initiator.encrypt(packet)
        {
            return false;
        }
        *slot = Slot { origin: now, sent: now, len: bytes };
        self.next_push = self.next_push.next();
        // Message numbers run from 1 and wrap to 1 (3.1).
        self.message = if self.message == MESSAGE_MASK { 1 } else { self.message + 1 };
        true
    }

    /// Packets that fit the buffer.
    pub fn free(&self) -> u32 {
        (self.mask + 1).saturating_sub(distance(self.next_push, self.first))
    }

    /// Packets sent and not yet acknowledged.
    pub fn in_flight(&self) -> u32 {
        distance(self.next_send, self.first)
    }

    /// Packets pushed and never sent.
    pub fn waiting(&self) -> u32 {
        distance(self.next_push, self.next_send)
    }

    /// The next packets to send, at most `packets_max` and no more than the receiver has room
    /// for; they count as sent.
    #[inline]
    pub fn next_run(&mut self, now: Time, packets_max: u32) -> Option<Run<'_>> {
        let window = distance(self.window_end, self.next_send);
        let start = self.index(self.next_send);
        let limit = self.waiting().min(window).min(packets_max);
        let limit = usize::try_from(limit).unwrap_or(0);
        let mut bytes = 0;
        let mut packets = 0;
        // A short packet ends a run, as the next one does not follow it directly.
        for slot in self.slots.iter_mut().skip(start).take(limit) {
            slot.sent = now;
            bytes += usize::from(slot.len);
            packets += 1;
            if usize::from(slot.len) != self.stride {
                break;
            }
        }
        if packets == 0 {
            return None;
        }
        self.next_send = self.next_send.add(packets);
        self.last_sent = now;
        self.stats.packets_sent += u64::from(packets);
        let headers = HEADER_BYTES * usize::try_from(packets).unwrap_or(0);
        self.stats.bytes_sent += u64::try_from(bytes - headers).unwrap_or(0);
        let begin = start * self.stride;
        let bytes = self.buffer.get(begin..begin + bytes)?;
        Some(Run { bytes, segment_bytes: self.stride.min(bytes.len()), packets })
    }

    /// Takes a datagram from the receiver; `out` gets what is to be sent at once.
    pub fn handle_datagram(&mut self, now: Time, datagram: &[u8], out: &mut impl FnMut(&[u8])) {
        if self.state != SenderState::Open {
            return;
        }
        let Ok(Packet::Control(_, control)) = Packet::parse(datagram) else {
            self.stats.invalid += 1;
            return;
        };
        self.last_received = now;
        match control {
            Control::Ack(ack) => self.handle_ack(now, &ack, out),
            Control::Nak(report) => self.handle_nak(now, report, out),
            Control::Keepalive => self.stats.keepalives_received += 1,
            Control::Shutdown => self.state = SenderState::ClosedByPeer,
            // A repeated conclusion answer, and what a live receiver never needs.
            Control::Handshake(_) | Control::CongestionWarning | Control::PeerError(_) => {}
            Control::UserDefined(subtype, body) => self.key_message(subtype, body),
            Control::Ackack(_) | Control::DropRequest(_) => self.stats.invalid += 1,
        }
    }

    /// Gives up what is too late, keeps the connection alive, notices a silent peer.
    pub fn handle_timeout(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        if self.state != SenderState::Open {
            return;
        }
        if now >= self.last_received + self.peer_idle_timeout {
            self.state = SenderState::PeerIdle;
            return;
        }
        self.drop_too_late(now, out);
        self.announce_key(now, out);
        if now >= self.last_sent + KEEPALIVE_INTERVAL {
            self.last_sent = now;
            out(&encode_keepalive(self.timestamp_us(now), self.peer_id));
        }
    }

    /// When [`Self::handle_timeout`] is next needed.
    pub fn next_timeout(&self) -> Time {
        if self.state != SenderState::Open {
            return Time::NEVER;
        }
        let idle = self.last_received + self.peer_idle_timeout;
        let keepalive = self.last_sent + KEEPALIVE_INTERVAL;
        let late = self.oldest().map_or(Time::NEVER, |at| at + self.drop_after);
        let announcement = self.initiator.as_ref().and_then(|it| it.announcement());
        let announce = announcement.map_or(Time::NEVER, |_| self.announce_at());
        idle.min(keepalive).min(late).min(announce)
    }

    /// Ends the connection: what was not sent stays unsent.
    pub fn close(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        if self.state == SenderState::Open {
            out(&encode_shutdown(self.timestamp_us(now), self.peer_id));
            self.state = SenderState::Closed;
        }
    }

    /// Whether it can still send.
    pub const fn state(&self) -> SenderState {
        self.state
    }

    /// What happened so far.
    pub const fn stats(&self) -> &SenderStats {
        &self.stats
    }

    fn handle_ack(&mut self, now: Time, ack: &Ack, out: &mut impl FnMut(&[u8])) {
        if ack.sequence.offset_from(self.next_send) > 0 {
            self.stats.invalid += 1; // acknowledges what was never sent
            return;
        }
        if ack.number == 0 {
            self.stats.light_acks_received += 1;
        } else {
            self.stats.acks_received += 1;
            let timestamp_us = self.timestamp_us(now);
            out(&encode_ackack(ack.number, timestamp_us, self.peer_id));
        }
        if ack.sequence.is_before(self.acked) {
            return; // overtaken by a later one
        }
        self.acked = ack.sequence;
        if self.first.is_before(self.acked) {
            self.first = self.acked;
        }
        if let Some(timing) = &ack.timing {
            // What was given up takes no room, though the receiver may not know of it yet: a window
            // that stayed behind would never open again.
            self.window_end = self.first.add(timing.available_packets.min(1 << 29));
            self.stats.rtt_us = timing.rtt_us;
            self.stats.rtt_variance_us = timing.rtt_variance_us;
        }
    }

    fn handle_nak(&mut self, now: Time, report: LossReport<'_>, out: &mut impl FnMut(&[u8])) {
        self.stats.naks_received += 1;
        for range in report.ranges() {
            if range.last().offset_from(self.next_send) >= 0 {
                self.stats.invalid += 1; // reports what was never sent
                continue;
            }
            if let Some(given_up) = intersection(range, self.acked, self.first) {
                self.request_drop(now, given_up, out);
            }
            let Some(held) = intersection(range, self.first, self.next_send) else {
                continue; // acknowledged in the meantime
            };
            self.stats.packets_reported_lost += u64::from(held.count());
            for offset in 0..held.count() {
                self.retransmit(now, held.first().add(offset), out);
            }
        }
    }

    /// Sends one packet again with its original timestamp, unless the last attempt may still be
    /// on its way.
    fn retransmit(&mut self, now: Time, sequence: Sequence, out: &mut impl FnMut(&[u8])) {
        let on_its_way = Duration::from_micros(u64::from(
            self.stats.rtt_us.saturating_sub(self.stats.rtt_variance_us.saturating_mul(4)),
        ));
        let index = self.index(sequence);
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let place = index * self.stride..index * self.stride + usize::from(slot.len);
        let Some(packet) = self.buffer.get_mut(place) else {
            return;
        };
        let again = packet.get(4).is_some_and(|byte| byte & RETRANSMITTED_BIT != 0);
        if again && now.since(slot.sent) < on_its_way {
            return;
        }
        if let Some(byte) = packet.get_mut(4) {
            *byte |= RETRANSMITTED_BIT;
        }
        slot.sent = now;
        self.last_sent = now;
        self.stats.packets_retransmitted += 1;
        out(packet);
    }

    /// Gives up packets older than the receiver can still use (4.6).
    fn drop_too_late(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        let before = self.first;
        while self.oldest().is_some_and(|at| at + self.drop_after <= now) {
            self.first = self.first.next();
        }
        if self.next_send.is_before(self.first) {
            self.next_send = self.first;
        }
        if before != self.first {
            let count = distance(self.first, before);
            self.stats.packets_dropped += u64::from(count);
            self.window_end = self.window_end.add(count);
            if let Some(range) = SequenceRange::new(before, self.first.previous()) {
                self.request_drop(now, range, out);
            }
        }
    }

    /// Announces the next key until the receiver confirms it (6.1.6).
    fn announce_key(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        let announcement = self.initiator.as_ref().and_then(|it| it.announcement());
        let Some(material) = announcement.filter(|_| self.announce_at() <= now) else { return };
        let mut packet = [0; KEY_PACKET_BYTES_MAX];
        let (timestamp_us, to) = (self.timestamp_us(now), self.peer_id);
        out(encode_key_packet(&mut packet, KMREQ_SUBTYPE, material.as_bytes(), timestamp_us, to));
        self.announced = Some(now);
        self.last_sent = now;
        self.stats.key_messages_sent += 1;
    }

    /// When a key is announced, or again. The round trip is the one of now: a report of it that was
    /// wrong puts nothing off for longer than until the next one.
    fn announce_at(&self) -> Time {
        let rtt = Duration::from_micros(self.stats.rtt_us.into());
        let interval = (rtt * KEY_REPEAT_HALF_RTTS / 2).max(KEY_REPEAT_MIN);
        self.announced.map_or(self.start, |at| at + interval)
    }

    /// Only the echo of what was announced means anything; a key in use is never given up.
    fn key_message(&mut self, subtype: u16, body: &[u8]) {
        let confirmed = subtype == KMRSP_SUBTYPE
            && self.initiator.as_mut().is_some_and(|initiator| initiator.confirm(body));
        if confirmed {
            self.stats.keys_confirmed += 1;
        }
    }

    fn request_drop(&mut self, now: Time, range: SequenceRange, out: &mut impl FnMut(&[u8])) {
        self.stats.drop_requests_sent += 1;
        self.last_sent = now;
        let request = DropRequest { message: 0, range };
        out(&request.encode(self.timestamp_us(now), self.peer_id));
    }

    fn oldest(&self) -> Option<Time> {
        if self.first == self.next_push {
            return None;
        }
        self.slots.get(self.index(self.first)).map(|slot| slot.origin)
    }

    fn index(&self, sequence: Sequence) -> usize {
        usize::try_from(sequence.value() & self.mask).unwrap_or(0)
    }

    fn timestamp_us(&self, now: Time) -> u32 {
        wire_timestamp(self.start, now)
    }
}

/// Microseconds from `start` to `now` as on the wire, modulo 2^32.
pub(crate) fn wire_timestamp(start: Time, now: Time) -> u32 {
    let micros = now.micros().wrapping_sub(start.micros()) & u64::from(u32::MAX);
    u32::try_from(micros).unwrap_or(0)
}

/// How far `later` is ahead of `earlier`, 0 when it is not.
fn distance(later: Sequence, earlier: Sequence) -> u32 {
    u32::try_from(later.offset_from(earlier)).unwrap_or(0)
}

/// The part of `range` in `from..to`.
fn intersection(range: SequenceRange, from: Sequence, to: Sequence) -> Option<SequenceRange> {
    if from == to {
        return None;
    }
    let first = if range.first().is_before(from) { from } else { range.first() };
    let last = if range.last().is_before(to) { range.last() } else { to.previous() };
    SequenceRange::new(first, last)
}

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
