//! What a connection measures of itself: rates, what waits, and their spread over time.

use std::time::Duration;

use memory::Time;

use super::Connection;
use crate::packet::DataHeader;

/// Span of the received-rate gauge, and of an interval.
const INTERVAL: Duration = Duration::from_secs(1);
/// Rates are measured over so long for their spread.
const RATE_STEP: Duration = Duration::from_millis(100);

impl Connection {
    /// A packet found missing came in time.
    pub(super) fn recovered(&mut self, header: &DataHeader) {
        self.stats.packets_recovered += 1;
        if !header.retransmitted {
            self.stats.packets_reordered += 1;
            let distance = self.window.end().offset_from(header.sequence).unsigned_abs();
            let longest = &mut self.stats.reorder_distance_packets;
            *longest = (*longest).max(distance.saturating_sub(1).into());
        }
    }

    /// Shows what waits behind holes and what is missing.
    pub(super) fn show_window(&mut self) {
        let held = u64::from(self.window.held());
        self.stats.packets_held = held;
        self.stats.packets_missing = self.window.absent().into();
        self.meters.held_peak = self.meters.held_peak.max(held);
    }

    /// Takes the regular measures; called with every timer, that is each 10 ms while packets come.
    pub(super) fn measure(&mut self, now: Time) {
        let (packets, span) = self.backlog.waiting(now, self.stats.packets_delivered);
        self.stats.buffered_packets = packets;
        self.stats.buffered_us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.meters.buffered_us.add(self.stats.buffered_us);
        let held = u64::from(self.window.held());
        self.meters.held.add(self.meters.held_peak.max(held));
        self.meters.held_peak = held;
        self.meters.flow_window.add(self.stats.flow_window_packets);
        let received = self.stats.bytes_received;
        if let Some(rate) = rate(&mut self.rate_step_from, RATE_STEP, now, received) {
            self.meters.receive_rate_bps.add(rate);
        }
        if let Some(rate) = rate(&mut self.rate_from, INTERVAL, now, received) {
            self.stats.receive_rate_bps = rate;
            self.close_interval();
        }
    }

    /// Ends the interval of all spreads.
    pub(super) fn close_interval(&mut self) {
        self.stats.spreads = self.meters.close();
    }
}

/// Bits per second since `from`, once `span` has passed; then the next span begins.
fn rate(from: &mut (Time, u64), span: Duration, now: Time, bytes: u64) -> Option<u64> {
    let passed = now.since(from.0);
    if passed < span {
        return None;
    }
    let bits = u128::from(bytes - from.1) * 8;
    *from = (now, bytes);
    let rate = bits * 1_000_000_000 / passed.as_nanos().max(1);
    Some(u64::try_from(rate).unwrap_or(u64::MAX))
}
