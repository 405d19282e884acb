//! Putting packets in order: the window, holes and when they are given up.

use memory::{Datagram, Time};

use super::feedback::ACK_INTERVAL;
use super::{Connection, Output};
use crate::control::DropRequest;
use crate::packet::{DataHeader, HEADER_BYTES};
use crate::sequence::SequenceRange;
use crate::window::{Inserted, Ready};
use crate::work;

/// A sender that is done for with the window: after this many packets in a row beyond it, with
/// nothing held, the window follows.
const RESYNC_PACKETS: u32 = 64;
/// Two packets of such a row are no further apart.
const RESYNC_STEP: i32 = 16;
/// Given-up ranges remembered, to tell belated packets from duplicates.
pub(super) const GIVEN_UP_MAX: usize = 32;

impl Connection {
    #[inline]
    pub(super) fn deliver(
        &mut self,
        payload: &[u8],
        arrival: Time,
        due: Time,
        out: &mut impl Output,
    ) {
        self.stats.packets_delivered += 1;
        self.stats.bytes_delivered += payload.len() as u64;
        self.meters.margin_ns.add(due.nanos().saturating_sub(arrival.nanos()));
        self.backlog.handed_on(due);
        self.unacked_packets += 1;
        out.deliver(payload, arrival, due);
    }

    #[inline(never)]
    pub(super) fn out_of_order(
        &mut self,
        now: Time,
        arrival: Time,
        header: DataHeader,
        mut datagram: Datagram,
        out: &mut impl Output,
    ) {
        let offset = header.sequence.offset_from(self.window.base());
        if offset < 0 {
            self.late(now, arrival, &header);
            return;
        }
        if offset.unsigned_abs() >= self.window.limit() {
            self.beyond(now, arrival, header, datagram, out);
            return;
        }
        if self.window.held() >= self.slots_max {
            self.stats.packets_dropped_slots += 1;
            return;
        }
        stash_arrival(&mut datagram, arrival);
        let inserted = self.window.insert(header.sequence, datagram, now);
        match inserted {
            Inserted::Duplicate => {
                self.stats.packets_duplicate += 1;
                return;
            }
            Inserted::NoRoom => {
                self.stats.packets_dropped_window += 1;
                return;
            }
            Inserted::Gap(missing) => self.stats.packets_lost += u64::from(missing),
            // Given up by the sender, and here all the same: found missing it was.
            Inserted::Recovered | Inserted::Unexpected => self.recovered(&header),
            Inserted::Next => {}
        }
        self.stats.packets_unique += 1;
        self.show_window();
        self.beyond.packets = 0;
        self.update_hole();
        self.report_ripe(now, out);
    }

    /// A packet from before the window: a duplicate, or one whose place was given up.
    pub(super) fn late(&mut self, now: Time, arrival: Time, header: &DataHeader) {
        let given_up = |range: &Option<SequenceRange>| {
            work::steps(1);
            range.is_some_and(|range| range.contains(header.sequence))
        };
        if self.given_up.iter().any(given_up) {
            self.stats.packets_belated += 1;
            let due = self.time_base.due(arrival, header.timestamp_us);
            self.stats.belated_us += arrival.micros().saturating_sub(due.micros());
        } else {
            self.stats.packets_duplicate += 1;
        }
        // The sender may not know what we have: tell it again.
        self.ack_at = self.ack_at.min(now + ACK_INTERVAL);
    }

    /// A packet from beyond the window moves nothing, unless the sender has plainly gone on there
    /// and nothing held would be lost by following.
    pub(super) fn beyond(
        &mut self,
        now: Time,
        arrival: Time,
        header: DataHeader,
        datagram: Datagram,
        out: &mut impl Output,
    ) {
        let step = header.sequence.offset_from(self.beyond.next);
        let in_row = self.beyond.packets > 0 && (0..RESYNC_STEP).contains(&step);
        self.beyond.packets = if in_row { self.beyond.packets.saturating_add(1) } else { 1 };
        self.beyond.next = header.sequence.next();
        if self.beyond.packets < RESYNC_PACKETS || self.window.held() > 0 {
            self.stats.packets_dropped_window += 1;
            return;
        }
        let base = self.window.base();
        let missing = header.sequence.offset_from(base).unsigned_abs();
        // Nothing is held: what lies inside the window was found missing before.
        self.stats.packets_lost += u64::from(missing - self.window.absent());
        self.stats.packets_skipped_too_late += u64::from(missing);
        self.remember(SequenceRange::new(base, header.sequence.previous()));
        self.window.reset(header.sequence, self.window.limit());
        self.hole = None;
        self.nak_at = Time::NEVER;
        self.show_window();
        out.skipped(missing);
        self.window.pass();
        self.stats.packets_unique += 1;
        let payload = datagram.payload().get(HEADER_BYTES..).unwrap_or_default();
        let due = self.time_base.due(arrival, header.timestamp_us);
        self.deliver(payload, arrival, due, out);
        self.passed(now, out);
    }

    pub(super) fn remember(&mut self, range: Option<SequenceRange>) {
        if let Some(place) = self.given_up.get_mut(self.next_given_up) {
            *place = range;
        }
        self.next_given_up = (self.next_given_up + 1) % GIVEN_UP_MAX;
    }

    /// Delivers what is in order now.
    pub(super) fn drain(&mut self, out: &mut impl Output) {
        loop {
            work::steps(1);
            let base = self.window.base();
            match self.window.ready() {
                Some(Ready::Packet(datagram)) => {
                    let (arrival, timestamp_us) = stashed(&datagram);
                    let due = self.time_base.due(arrival, timestamp_us);
                    let payload = datagram.payload().get(HEADER_BYTES..).unwrap_or_default();
                    self.deliver(payload, arrival, due, out);
                }
                Some(Ready::GivenUp(count)) => {
                    self.stats.packets_skipped_by_sender += u64::from(count);
                    self.remember(SequenceRange::new(base, base.add(count - 1)));
                    out.skipped(count);
                }
                None => break,
            }
        }
        self.show_window();
        self.update_hole();
    }

    /// Keeps the time at which the hole at the base is given up: when the first packet behind it is
    /// due (TLPKTDROP, 4.6).
    pub(super) fn update_hole(&mut self) {
        let Some((sequence, datagram)) = self.window.first_held() else {
            self.hole = None;
            if !self.window.has_losses() {
                self.nak_at = Time::NEVER;
            }
            return;
        };
        if self.hole.is_none_or(|(known, _)| known != sequence) {
            let (arrival, timestamp_us) = stashed(datagram);
            self.hole = Some((sequence, self.time_base.due(arrival, timestamp_us)));
        }
    }

    /// Gives the hole at the base up and delivers what waited behind it.
    pub(super) fn skip_hole(&mut self, now: Time, out: &mut impl Output) {
        if let Some(range) = self.window.give_up() {
            self.stats.packets_skipped_too_late += u64::from(range.count());
            self.remember(Some(range));
            out.skipped(range.count());
        }
        self.hole = None;
        self.drain(out);
        self.passed(now, out);
    }

    pub(super) fn drop_request(&mut self, now: Time, request: DropRequest, out: &mut impl Output) {
        self.stats.drop_requests_received += 1;
        let base = self.window.base();
        let end = self.window.end();
        self.window.drop_range(request.range);
        // What had not been missed yet is missing now, by the sender's word.
        self.stats.packets_lost += u64::from(self.window.end().offset_from(end).unsigned_abs());
        self.drain(out);
        if self.window.base() != base {
            self.passed(now, out);
        }
    }

    /// Delivers everything held, given-up holes between: no retransmission will come any more.
    pub(super) fn flush(&mut self, out: &mut impl Output) {
        while self.window.held() > 0 {
            let base = self.window.base();
            if let Some(range) = self.window.give_up() {
                self.stats.packets_skipped_too_late += u64::from(range.count());
                out.skipped(range.count());
            }
            self.drain(out);
            debug_assert!(base != self.window.base(), "every round passes something");
        }
    }
}

/// A held packet's sequence and message number are known from its place and not needed again: the
/// first two words of its header keep the time of its arrival instead.
fn stash_arrival(datagram: &mut Datagram, arrival: Time) {
    if let Some(words) = datagram.payload_mut().first_chunk_mut::<8>() {
        *words = arrival.nanos().to_be_bytes();
    }
}

/// Arrival and timestamp of a held packet.
fn stashed(datagram: &Datagram) -> (Time, u32) {
    let bytes = datagram.payload();
    let arrival = bytes.first_chunk::<8>().map_or(0, |b| u64::from_be_bytes(*b));
    let timestamp_us = crate::bytes::word(bytes, 8).unwrap_or(0);
    (Time::from_nanos(arrival), timestamp_us)
}
