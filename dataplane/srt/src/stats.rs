//! What a connection counts.

/// Counters of one connection, from its opening on. Gauges are marked; the rest only grows.
///
/// ```text
///  packets_received = unique + duplicate + belated + undecryptable
///                     + dropped_window + dropped_slots + dropped_invalid
///  packets_unique   = delivered + held + discarded_at_end
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Datagrams of any kind.
    pub datagrams_received: u64,
    /// Their UDP payload bytes.
    pub bytes_received: u64,
    /// Data packets.
    pub packets_received: u64,
    /// Data packets accepted for the first time.
    pub packets_unique: u64,
    /// Data packets handed on in order.
    pub packets_delivered: u64,
    /// Payload bytes handed on in order.
    pub bytes_delivered: u64,
    /// Sequence numbers found missing when a later packet came.
    pub packets_lost: u64,
    /// Data packets with the retransmitted flag.
    pub packets_retransmitted: u64,
    /// Packets found missing that came in time after all.
    pub packets_recovered: u64,
    /// Packets that came after their place was given up.
    pub packets_belated: u64,
    /// Packets whose place was filled or delivered.
    pub packets_duplicate: u64,
    /// Sequence numbers given up at their delivery time.
    pub packets_skipped_too_late: u64,
    /// Sequence numbers the sender gave up.
    pub packets_skipped_by_sender: u64,
    /// Data packets dropped: beyond the receive window, or the loss list is full.
    pub packets_dropped_window: u64,
    /// Data packets dropped: no slot within the session's share.
    pub packets_dropped_slots: u64,
    /// Data packets dropped: malformed or impossible.
    pub packets_dropped_invalid: u64,
    /// Data packets dropped: encrypted without a key.
    pub packets_undecryptable: u64,
    /// Accepted packets discarded because the session ended.
    pub packets_discarded_at_end: u64,
    /// Gauge: packets waiting behind a hole.
    pub packets_held: u64,
    /// Control packets that did not parse or made no sense.
    pub control_invalid: u64,
    /// Full acknowledgements sent.
    pub acks_sent: u64,
    /// Light acknowledgements sent.
    pub light_acks_sent: u64,
    /// ACKACKs received.
    pub ackacks_received: u64,
    /// Loss reports sent.
    pub naks_sent: u64,
    /// Drop requests received.
    pub drop_requests_received: u64,
    /// Keepalives received.
    pub keepalives_received: u64,
    /// Gauge: smoothed round-trip time.
    pub rtt_us: u64,
    /// Gauge: its variance.
    pub rtt_variance_us: u64,
    /// Gauge: negotiated receive latency.
    pub latency_ms: u64,
    /// Gauge: drift measured so far.
    pub drift_us: i64,
    /// Gauge: advertised free window.
    pub flow_window_packets: u64,
    /// Gauge: received rate over the last second.
    pub receive_rate_bps: u64,
    /// Gauge: estimated link capacity.
    pub link_capacity_pps: u64,
    /// Gauge: monotonic nanoseconds of the last datagram.
    pub last_received_ns: u64,
}

impl Stats {
    /// True when no packet has gone missing between the counters.
    pub const fn is_balanced(&self) -> bool {
        self.packets_received
            == self.packets_unique
                + self.packets_duplicate
                + self.packets_belated
                + self.packets_undecryptable
                + self.packets_dropped_window
                + self.packets_dropped_slots
                + self.packets_dropped_invalid
            && self.packets_unique
                == self.packets_delivered + self.packets_held + self.packets_discarded_at_end
    }
}
