//! What a connection counts, and how that reads in libsrt's terms.
//!
//! Each row was compared with libsrt's `docs/API/statistics.md` and its receiver. *Same* is the
//! same number for the same packets; every difference is said.
//!
//! | libsrt | here | difference |
//! |---|---|---|
//! | `pktRecvTotal` | `packets_received` | same; what is malformed or beyond the window counts too, and is told apart |
//! | `pktRecvUniqueTotal` | `packets_unique` | same |
//! | `pktRcvLossTotal` | `packets_lost` | same: counted when a gap opens, reordered packets included; and what a drop request names before it was missed |
//! | `pktRcvRetransTotal` | `packets_retransmitted` | same: by the flag in the header |
//! | – | `packets_recovered`, `packets_reordered` | missing packets that came in time; of these the ones that were only late |
//! | `pktRcvBelated` | `packets_belated` + a part of `packets_duplicate` | libsrt counts whatever lies before its acknowledgement, second copies too; here a second copy is a duplicate |
//! | `pktRcvAvgBelatedTime` | `belated_us / packets_belated` | same, belated as above |
//! | `pktRcvDropTotal` | `packets_skipped_too_late` + `packets_skipped_by_sender` + `packets_undecryptable` | same sum; libsrt counts a packet that cannot be decrypted in both its counters |
//! | `pktRcvUndecryptTotal` | `packets_undecryptable` | same |
//! | `pktSentACKTotal` | `acks_sent` | same: full acknowledgements; `light_acks_sent` are apart |
//! | `pktSentNAKTotal` | `naks_sent` | same |
//! | – | `ackacks_received` | |
//! | `msRTT` | `rtt_us` | same smoothing |
//! | `mbpsBandwidth` | `link_capacity_pps` | packets a second, of 1,500 bytes each in libsrt's figure |
//! | `mbpsRecvRate` | `receive_rate_bps` | UDP payload of everything that came, over the last second; libsrt adds 28 bytes a packet for IP and UDP and leaves control packets out |
//! | `pktRcvBuf`, `msRcvBuf` | `buffered_packets`, `buffered_us` | see below |
//! | `byteAvailRcvBuf` | `flow_window_packets` | packets, as acknowledgements advertise them |
//! | `msRcvTsbPdDelay` | `latency_ms` | same |
//! | `pktReorderTolerance` | `reorder_tolerance_packets` | as configured; libsrt adapts it below that |
//! | `pktReorderDistance` | `reorder_distance_packets` | largest since the opening, not bounded by the tolerance |
//!
//! # The buffer
//!
//! libsrt keeps every acknowledged packet until it is due. This connection hands packets in order on
//! at once, with their due time; what becomes of them waits for that time at the consumer. So there
//! are two numbers. `packets_held` is what waits *here*, behind a hole, not acknowledged, a packet
//! slot each: memory. `buffered_packets` is what was handed on and is not due yet, `buffered_us` how
//! long it is until the newest of it is due: what libsrt's receive buffer would hold, the protection
//! against jitter and loss. It is exact to within 5 ms of packets (1/32 of longer latencies).

use crate::measure::{Measured, Meter};

/// Counters of one connection, from its opening on. Gauges are marked; the rest only grows.
///
/// ```text
///  packets_received = unique + duplicate + belated + undecryptable
///                     + dropped_clear + dropped_window + dropped_slots + dropped_invalid
///  packets_unique   = delivered + held + discarded_at_end
///  packets_lost     = recovered + skipped_too_late + skipped_by_sender + missing
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
    /// Sequence numbers found missing: a later packet came, or the sender gave them up.
    pub packets_lost: u64,
    /// Data packets with the retransmitted flag.
    pub packets_retransmitted: u64,
    /// Packets found missing that came in time after all.
    pub packets_recovered: u64,
    /// Of these, the ones that were not retransmitted: they had only been overtaken.
    pub packets_reordered: u64,
    /// Packets that came after their place was given up.
    pub packets_belated: u64,
    /// How late these were, in all.
    pub belated_us: u64,
    /// Packets whose place was filled or delivered.
    pub packets_duplicate: u64,
    /// Sequence numbers given up at their delivery time, or missing at the end.
    pub packets_skipped_too_late: u64,
    /// Sequence numbers the sender gave up.
    pub packets_skipped_by_sender: u64,
    /// Data packets dropped: beyond the receive window, or the loss list is full.
    pub packets_dropped_window: u64,
    /// Data packets dropped: no slot within the session's share.
    pub packets_dropped_slots: u64,
    /// Data packets dropped: malformed or impossible.
    pub packets_dropped_invalid: u64,
    /// Data packets dropped: no key is held for them, or their authentication tag is wrong.
    pub packets_undecryptable: u64,
    /// Of these: their authentication tag is wrong.
    pub packets_tag_invalid: u64,
    /// Data packets dropped: clear text where everything is encrypted.
    pub packets_dropped_clear: u64,
    /// Accepted packets discarded because the session ended.
    pub packets_discarded_at_end: u64,
    /// Gauge: packets waiting behind a hole.
    pub packets_held: u64,
    /// Gauge: packets found missing that may still come.
    pub packets_missing: u64,
    /// Gauge: packets handed on that are not due yet.
    pub buffered_packets: u64,
    /// Gauge: time until the last of them is due.
    pub buffered_us: u64,
    /// Gauge: packets that may overtake a missing one before it is reported.
    pub reorder_tolerance_packets: u64,
    /// Gauge: the most packets by which a packet was overtaken.
    pub reorder_distance_packets: u64,
    /// Control packets that did not parse or made no sense.
    pub control_invalid: u64,
    /// Key material messages received.
    pub key_messages_received: u64,
    /// Of these: of the wrong layout, not asked for, or sooner after another than is looked at.
    pub key_messages_ignored: u64,
    /// Key changes that took effect.
    pub key_refreshes: u64,
    /// Key changes that were refused: the keys were wrapped with another passphrase or are for
    /// another cipher.
    pub key_failures: u64,
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
    /// Least, mean and largest of what varies.
    pub spreads: Spreads,
}

/// How the quantities that vary spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spreads {
    /// Round trips, each as it was measured.
    pub rtt_us: Measured,
    /// From a delivered packet's arrival to its due time: latency less what the network took. What
    /// comes near 0 has nearly been lost.
    pub margin_us: Measured,
    /// [`Stats::buffered_us`], looked at each 10 ms.
    pub buffered_us: Measured,
    /// The most packets held behind holes within each 10 ms.
    pub packets_held: Measured,
    /// Received rate over each 100 ms.
    pub receive_rate_bps: Measured,
    /// Advertised free window, looked at each 10 ms.
    pub flow_window_packets: Measured,
}

impl Stats {
    /// True when no packet has gone missing between the counters.
    pub const fn is_balanced(&self) -> bool {
        self.packets_received
            == self.packets_unique
                + self.packets_duplicate
                + self.packets_belated
                + self.packets_undecryptable
                + self.packets_dropped_clear
                + self.packets_dropped_window
                + self.packets_dropped_slots
                + self.packets_dropped_invalid
            && self.packets_unique
                == self.packets_delivered + self.packets_held + self.packets_discarded_at_end
            && self.packets_lost
                == self.packets_recovered
                    + self.packets_skipped_too_late
                    + self.packets_skipped_by_sender
                    + self.packets_missing
    }
}

/// Takes the values of all spreads.
#[derive(Debug)]
pub(crate) struct Meters {
    pub(crate) rtt_us: Meter,
    pub(crate) margin_ns: Meter,
    pub(crate) buffered_us: Meter,
    pub(crate) held: Meter,
    /// The most held since `held` took a value.
    pub(crate) held_peak: u64,
    pub(crate) receive_rate_bps: Meter,
    pub(crate) flow_window: Meter,
}

impl Meters {
    pub(crate) const fn new() -> Self {
        Self {
            rtt_us: Meter::new(),
            margin_ns: Meter::new(),
            buffered_us: Meter::new(),
            held: Meter::new(),
            held_peak: 0,
            receive_rate_bps: Meter::new(),
            flow_window: Meter::new(),
        }
    }

    /// Ends the interval.
    pub(crate) fn close(&mut self) -> Spreads {
        Spreads {
            rtt_us: self.rtt_us.close(),
            margin_us: self.margin_ns.close().per(1_000),
            buffered_us: self.buffered_us.close(),
            packets_held: self.held.close(),
            receive_rate_bps: self.receive_rate_bps.close(),
            flow_window_packets: self.flow_window.close(),
        }
    }
}
