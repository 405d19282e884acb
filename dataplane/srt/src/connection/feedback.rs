//! What a receiver tells its sender: acknowledgements, loss reports, and the measurements in them.

use std::time::Duration;

use memory::Time;

use super::{Connection, Output, State};
use crate::control::{AckRates, AckTiming, NakWriter, encode_full_ack, encode_light_ack};
use crate::packet::PACKET_BYTES_MAX;
use crate::sequence::{Sequence, SequenceRange};
use crate::tsbpd::low32;
use crate::window::Loss;

/// Full acknowledgements are at least this far apart (3.2.4).
pub(super) const ACK_INTERVAL: Duration = Duration::from_millis(10);
/// An acknowledgement without an answer is repeated at most this far apart.
const ACK_REPEAT_MAX: Duration = Duration::from_secs(1);
/// Packets after which a light acknowledgement goes out before the full one.
const LIGHT_ACK_PACKETS: u32 = 64;
/// Silence of ours after which a keepalive goes out (3.2.3).
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// Loss reports in one go; what is left over follows with the next.
const NAKS_PER_ROUND: u32 = 4;
/// Least free buffer that is ever advertised: a libsrt sender told 0 for a second never recovers.
const AVAILABLE_MIN: u32 = 2;

impl Connection {
    /// Arms the acknowledgement after the base has moved.
    #[inline]
    pub(super) fn passed(&mut self, now: Time, out: &mut impl Output) {
        self.beyond.packets = 0;
        if self.ack_repeats > 0 || self.ack_at == Time::NEVER {
            self.ack_repeats = 0;
            self.ack_at = self.ack_at.min(now + ACK_INTERVAL);
        }
        if self.unacked_packets >= LIGHT_ACK_PACKETS {
            self.light_ack(now, out);
        }
    }

    pub(super) fn ackack(&mut self, arrival: Time, timestamp_us: u32, number: u32) {
        if !self.sent_acks.was_sent(number) {
            self.stats.control_invalid += 1;
            return;
        }
        self.stats.ackacks_received += 1;
        // The network may have doubled it, or it took too long.
        let Some((sequence, sent)) = self.sent_acks.take(number) else { return };
        let sample = arrival.since(sent);
        self.rtt.sample(sample);
        self.meters.rtt_us.add(u64::try_from(sample.as_micros()).unwrap_or(u64::MAX));
        self.stats.rtt_us = self.rtt.smoothed_us().into();
        self.stats.rtt_variance_us = self.rtt.variance_us().into();
        let excess = self.rtt.excess_us(sample);
        self.time_base.sample(arrival, timestamp_us, excess);
        self.stats.drift_us = self.time_base.drift_us();
        if self.nak_at != Time::NEVER {
            // Set while the round trip was still thought longer.
            self.nak_at = self.nak_at.min(arrival + self.rtt.nak_interval());
        }
        if self.ack_repeats > 0 && sequence == self.window.base() {
            self.ack_at = Time::NEVER;
            self.ack_repeats = 0;
        }
    }

    /// What a sender may have in flight. Acknowledged packets have been delivered, so holding costs
    /// nothing of it: only window and share count.
    pub(super) fn available(&self) -> u32 {
        self.window.limit().min(self.slots_max).min(self.window_max).max(AVAILABLE_MIN)
    }

    /// The free buffer is no longer `before`: the sender must hear of it.
    pub(super) fn window_changed(&mut self, before: u32, now: Time, out: &mut impl Output) {
        let available = self.available();
        self.stats.flow_window_packets = available.into();
        if self.state != State::Open || available == before {
            return;
        }
        if available > before {
            self.full_ack(now, out);
        } else {
            self.ack_at = self.ack_at.min(now + ACK_INTERVAL);
        }
    }

    pub(super) fn full_ack(&mut self, now: Time, out: &mut impl Output) {
        let sequence = self.window.base();
        let number = self.sent_acks.push(sequence, now);
        let timing = AckTiming {
            rtt_us: self.rtt.smoothed_us(),
            rtt_variance_us: self.rtt.variance_us(),
            available_packets: self.available(),
        };
        let (packets_per_s, bytes_per_s) = self.rates.receive_rate();
        let rates =
            AckRates { packets_per_s, link_capacity_pps: self.rates.link_capacity(), bytes_per_s };
        self.stats.link_capacity_pps = rates.link_capacity_pps.into();
        let to = self.peer_id;
        let packet = encode_full_ack(number, sequence, &timing, &rates, self.timestamp(now), to);
        self.transmit(now, &packet, out);
        self.stats.acks_sent += 1;
        self.acked = sequence;
        self.unacked_packets = 0;
        // Until its ACKACK comes it is repeated, ever more seldom.
        let patience = self.rtt.patience().max(ACK_INTERVAL) * (1 << self.ack_repeats.min(7));
        self.ack_at = now + patience.min(ACK_REPEAT_MAX);
        self.ack_repeats += 1;
    }

    pub(super) fn light_ack(&mut self, now: Time, out: &mut impl Output) {
        self.unacked_packets = 0;
        if self.acked == self.window.base() {
            return;
        }
        self.acked = self.window.base();
        let packet = encode_light_ack(self.acked, self.timestamp(now), self.peer_id);
        self.transmit(now, &packet, out);
        self.stats.light_acks_sent += 1;
    }

    /// Reports new losses that enough packets have overtaken.
    pub(super) fn report_ripe(&mut self, now: Time, out: &mut impl Output) {
        if self.nak_at == Time::NEVER && self.window.has_losses() {
            self.nak_at = now + self.rtt.nak_interval();
        }
        let tolerance = self.reorder_tolerance;
        let end = self.window.end();
        let ripe = |last: Sequence| end.offset_from(last).unsigned_abs() > tolerance + 1;
        let any = self
            .window
            .losses_mut()
            .rev()
            .take_while(|loss| loss.fresh)
            .any(|loss| ripe(loss.last));
        if any {
            self.report(now, out, |loss| loss.fresh && ripe(loss.last));
        }
    }

    /// Reports, oldest first, what was last reported one interval ago.
    pub(super) fn report_losses(&mut self, now: Time, out: &mut impl Output) {
        let interval = self.rtt.nak_interval();
        self.report(now, out, |loss| loss.since + interval <= now);
        let next = self.window.losses().map(|loss| loss.since).min();
        // What did not fit into this round follows after a while.
        let earliest = now + ACK_INTERVAL;
        self.nak_at = next.map_or(Time::NEVER, |since| (since + interval).max(earliest));
    }

    pub(super) fn report(
        &mut self,
        now: Time,
        out: &mut impl Output,
        wanted: impl Fn(&Loss) -> bool,
    ) {
        let timestamp_us = self.timestamp(now);
        let to = self.peer_id;
        let mut bytes = [0; PACKET_BYTES_MAX];
        let limit = self.nak_bytes_max.min(PACKET_BYTES_MAX);
        for _ in 0..NAKS_PER_ROUND {
            let mut full = false;
            let mut nak =
                NakWriter::new(bytes.get_mut(..limit).unwrap_or_default(), timestamp_us, to);
            for loss in self.window.losses_mut().filter(|loss| wanted(loss)) {
                let Some(range) = SequenceRange::new(loss.first, loss.last) else {
                    continue;
                };
                if !nak.push(range) {
                    full = true;
                    break;
                }
                loss.since = now;
                loss.fresh = false;
            }
            let Some(len) = nak.finish() else { return };
            self.stats.naks_sent += 1;
            self.transmit(now, bytes.get(..len).unwrap_or_default(), out);
            if !full {
                return;
            }
        }
    }

    #[inline]
    pub(super) fn transmit(&mut self, now: Time, packet: &[u8], out: &mut impl Output) {
        self.sent_at = now;
        out.transmit(packet);
    }

    pub(super) fn timestamp(&self, now: Time) -> u32 {
        low32(now.micros() - self.opened.micros().min(now.micros()))
    }
}
