//! What a session counts.

use codec::sink::Codec;

use crate::payload::Counters;

/// Counters of a session, from its opening on. Gauges are marked; the rest only grows.
///
/// ```text
///  packets_received + packets_recovered_fec
///      = delivered + held + discarded
///        + duplicate + redundant + late
///        + invalid + dropped_rate + dropped_source + dropped_unmapped
///        + dropped_probation + dropped_jump + dropped_undetected
///
///  packets_missing
///      = lost + reordered + recovered_rtx + recovered_fec + awaited
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Stats {
    /// RTP datagrams, retransmissions and those of redundant legs included.
    pub packets_received: u64,
    /// Their UDP payload bytes.
    pub bytes_received: u64,
    /// Packets handed on in order.
    pub packets_delivered: u64,
    /// Gauge: packets that wait for their order, their format or their proof.
    pub packets_held: u64,
    /// Packets discarded because their source or the session ended.
    pub packets_discarded: u64,
    /// Packets that were here before.
    pub packets_duplicate: u64,
    /// The second copies of packets that came on both legs.
    pub packets_redundant: u64,
    /// Packets that came after their place was given up.
    pub packets_late: u64,
    /// Sequence numbers found missing when a later packet came: given up, come after all, restored,
    /// or awaited.
    pub packets_missing: u64,
    /// Gauge: of these, those that may still come.
    pub packets_awaited: u64,
    /// Sequence numbers given up.
    pub packets_lost: u64,
    /// Packets found missing that came in time after all.
    pub packets_reordered: u64,
    /// Retransmissions received.
    pub packets_retransmitted: u64,
    /// Holes that retransmissions filled.
    pub packets_recovered_rtx: u64,
    /// Packets that forward error correction restored.
    pub packets_recovered_fec: u64,
    /// Datagrams that are no RTP.
    pub packets_invalid: u64,
    /// Packets above the rate limit.
    pub packets_dropped_rate: u64,
    /// Packets of an address that is not the session's.
    pub packets_dropped_source: u64,
    /// Packets of a payload type that the session does not have.
    pub packets_dropped_unmapped: u64,
    /// Packets of sources that did not prove themselves.
    pub packets_dropped_probation: u64,
    /// Packets far from their sequence.
    pub packets_dropped_jump: u64,
    /// Packets of a stream whose format was not detected.
    pub packets_dropped_undetected: u64,
    /// Holes given up early because too many packets waited.
    pub window_overruns: u64,
    /// Sources that started over with the same SSRC.
    pub restarts: u64,
    /// Changes of SSRC.
    pub ssrc_changes: u64,
    /// Changes of the sender's address after silence.
    pub relatches: u64,
    /// RTCP compounds received.
    pub rtcp_received: u64,
    /// RTCP that did not parse or came from elsewhere.
    pub rtcp_invalid: u64,
    /// Sender reports used.
    pub sender_reports: u64,
    /// Sender reports whose clock went back.
    pub sender_reports_refused: u64,
    /// Goodbyes after which their source went on.
    pub goodbyes_void: u64,
    /// RTCP compounds sent.
    pub rtcp_sent: u64,
    /// Packets asked for again.
    pub nacks_sent: u64,
    /// Key pictures asked for.
    pub key_requests_sent: u64,
    /// FEC packets received.
    pub fec_received: u64,
    /// FEC packets that do not parse or do not fit.
    pub fec_invalid: u64,
}

impl Stats {
    /// Those that every packet counts come first.
    pub(super) const OF_EACH_PACKET_BYTES: usize = std::mem::offset_of!(Self, packets_held);

    /// True when no packet has gone missing between the counters.
    pub const fn is_balanced(&self) -> bool {
        let fates = self.packets_lost
            + self.packets_reordered
            + self.packets_recovered_rtx
            + self.packets_recovered_fec
            + self.packets_awaited;
        if self.packets_missing != fates {
            return false;
        }
        self.packets_received + self.packets_recovered_fec
            == self.packets_delivered
                + self.packets_held
                + self.packets_discarded
                + self.packets_duplicate
                + self.packets_redundant
                + self.packets_late
                + self.packets_invalid
                + self.packets_dropped_rate
                + self.packets_dropped_source
                + self.packets_dropped_unmapped
                + self.packets_dropped_probation
                + self.packets_dropped_jump
                + self.packets_dropped_undetected
    }
}

/// Of one leg of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LegStats {
    /// Packets received on it.
    pub packets_received: u64,
    /// Packets missing on it, negative when it repeats some.
    pub packets_lost: i64,
    /// Packets that came on it first.
    pub packets_first: u64,
    /// How much later than the other leg's the last copy came, 0 when it came first.
    pub skew_us: u64,
    /// The most of that.
    pub skew_max_us: u64,
}

/// Of one track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackStats {
    /// Its source, once proven.
    pub ssrc: Option<u32>,
    /// Payload type.
    pub payload_type: u8,
    /// Coding; `Unknown` before detection and for transport streams.
    pub codec: Codec,
    /// Interarrival jitter.
    pub jitter_us: u64,
    /// Sequence numbers given up.
    pub packets_lost: u64,
    /// Restarts of the sender's clock.
    pub clock_jumps: u64,
    /// What its depacketizer counted.
    pub payload: Counters,
    /// Its legs.
    pub legs: [LegStats; 2],
}
