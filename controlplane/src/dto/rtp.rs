//! The RTP session of a stream: what came, what was missing, what was said back.

use serde::Serialize;
use shm::StreamSnapshot;
use shm::counters::StreamCounter as C;

use super::connection::{connection_time_ms, kernel_drops};
use super::float;
use crate::source::Snapshot;

/// The RTP session.
#[derive(Debug, Clone, Serialize)]
pub struct RtpStats {
    /// RTP packets received, retransmissions and those of both legs included.
    pub packets_received: u64,
    /// Packets handed on in order.
    pub packets_delivered: u64,
    /// Packets found missing at first sight.
    pub packets_lost: u64,
    /// Packets that never came in time.
    pub packets_unrecovered: u64,
    /// Packets that were missing and came in time.
    pub packets_recovered: RecoveredPackets,
    /// Packets that came as retransmissions.
    pub packets_retrans: u64,
    /// Packets that came too late.
    pub packets_belated: u64,
    /// Packets that came again.
    pub packets_duplicate: u64,
    /// Packets that came on the second leg too.
    pub packets_redundant: u64,
    /// What was not delivered, by reason.
    pub packets_dropped: DroppedRtp,
    /// Packets held behind a hole or until what they carry is found out.
    pub held_packets: u64,
    /// Interarrival jitter (RFC 3550, A.8).
    pub jitter_ms: f64,
    /// How long a missing packet is waited for.
    pub delivery_delay_ms: f64,
    /// Holes given up early because too many packets waited.
    pub window_overruns: u64,
    /// Sources that started over.
    pub restarts: u64,
    /// Changes of SSRC.
    pub ssrc_changes: u64,
    /// Changes of the sender's address.
    pub relatches: u64,
    /// Reports and requests.
    pub rtcp: Rtcp,
    /// Forward error correction.
    pub fec: Fec,
    /// The paths the packets came on; the second is at zero with one path.
    pub legs: [Leg; 2],
    /// How much later the second copy of the last packet came.
    pub leg_skew_ms: f64,
    /// The most of that.
    pub leg_skew_max_ms: f64,
    /// Datagrams the kernel dropped at the sockets of the stream's worker, whichever stream they
    /// belonged to.
    pub worker_kernel_drops: u64,
    /// Time since the session began, or how long it lasted.
    pub connection_time_ms: u64,
}

/// How missing packets came after all.
#[derive(Debug, Clone, Serialize)]
pub struct RecoveredPackets {
    /// They had only been overtaken.
    pub reordered: u64,
    /// By retransmission.
    pub rtx: u64,
    /// By forward error correction.
    pub fec: u64,
}

/// Packets that were not delivered.
#[derive(Debug, Clone, Serialize)]
pub struct DroppedRtp {
    /// Above the rate limit.
    pub rate: u64,
    /// Of another address.
    pub source: u64,
    /// Of a payload type the session does not have.
    pub unmapped: u64,
    /// Their source did not prove itself.
    pub probation: u64,
    /// Far from their sequence.
    pub jump: u64,
    /// What they carry was not recognised.
    pub undetected: u64,
    /// Malformed.
    pub invalid: u64,
    /// Held when the source or the session ended.
    pub at_end: u64,
}

/// Reports and requests.
#[derive(Debug, Clone, Serialize)]
pub struct Rtcp {
    /// Compounds received.
    pub received: u64,
    /// Of these: malformed, or from elsewhere.
    pub invalid: u64,
    /// Sender reports used.
    pub sender_reports: u64,
    /// Compounds sent.
    pub sent: u64,
    /// Packets asked for again.
    pub nacks_sent: u64,
    /// Key pictures asked for.
    pub key_requests_sent: u64,
}

/// Forward error correction.
#[derive(Debug, Clone, Serialize)]
pub struct Fec {
    /// Packets received.
    pub received: u64,
    /// Of these: malformed, or of no use.
    pub invalid: u64,
}

/// One path.
#[derive(Debug, Clone, Serialize)]
pub struct Leg {
    /// Packets received on it.
    pub packets_received: u64,
    /// Packets missing on it, whatever the other brought.
    pub packets_lost: u64,
}

impl RtpStats {
    /// From a reading of the stream table.
    pub(super) fn new(snapshot: &Snapshot, stream: &StreamSnapshot) -> Self {
        let count = |counter| stream.counter(counter);
        let milliseconds = |counter| float(count(counter)) / 1e3;
        let leg = |packets_received, packets_lost| Leg {
            packets_received: count(packets_received),
            packets_lost: count(packets_lost),
        };
        Self {
            packets_received: count(C::PacketsReceived),
            packets_delivered: count(C::PacketsDelivered),
            packets_lost: count(C::PacketsLost),
            packets_unrecovered: count(C::PacketsSkippedTooLate),
            packets_recovered: RecoveredPackets {
                reordered: count(C::PacketsReordered),
                rtx: count(C::PacketsRecoveredRtx),
                fec: count(C::PacketsRecoveredFec),
            },
            packets_retrans: count(C::PacketsRetransmitted),
            packets_belated: count(C::PacketsBelated),
            packets_duplicate: count(C::PacketsDuplicate),
            packets_redundant: count(C::PacketsRedundant),
            packets_dropped: DroppedRtp::new(stream),
            held_packets: count(C::PacketsHeld),
            jitter_ms: milliseconds(C::JitterUs),
            delivery_delay_ms: f64::from(stream.info.latency_ms),
            window_overruns: count(C::WindowOverruns),
            restarts: count(C::SourceRestarts),
            ssrc_changes: count(C::SsrcChanges),
            relatches: count(C::Relatches),
            rtcp: Rtcp::new(stream),
            fec: Fec { received: count(C::FecReceived), invalid: count(C::FecInvalid) },
            legs: [leg(C::Leg1Received, C::Leg1Lost), leg(C::Leg2Received, C::Leg2Lost)],
            leg_skew_ms: milliseconds(C::LegSkewUs),
            leg_skew_max_ms: milliseconds(C::LegSkewMaxUs),
            worker_kernel_drops: kernel_drops(snapshot, stream.info.worker),
            connection_time_ms: connection_time_ms(stream),
        }
    }
}

impl DroppedRtp {
    fn new(stream: &StreamSnapshot) -> Self {
        let count = |counter| stream.counter(counter);
        Self {
            rate: count(C::PacketsDroppedRate),
            source: count(C::PacketsDroppedSource),
            unmapped: count(C::PacketsDroppedUnmapped),
            probation: count(C::PacketsDroppedProbation),
            jump: count(C::PacketsDroppedJump),
            undetected: count(C::PacketsDroppedUndetected),
            invalid: count(C::PacketsDroppedInvalid),
            at_end: count(C::PacketsDiscardedAtEnd),
        }
    }
}

impl Rtcp {
    fn new(stream: &StreamSnapshot) -> Self {
        let count = |counter| stream.counter(counter);
        Self {
            received: count(C::RtcpReceived),
            invalid: count(C::RtcpInvalid),
            sender_reports: count(C::SenderReports),
            sent: count(C::RtcpSent),
            nacks_sent: count(C::NacksSent),
            key_requests_sent: count(C::KeyRequestsSent),
        }
    }
}
