//! From the counters of a session of RTP to the table in shared memory.

use rtp::session::{Stats, TrackStats};
use shm::StreamSlotWriter;
use shm::counters::StreamCounter;

use crate::worker::counters::Base;

/// Totals of a session. What SRT counts too has its name; what is found missing and what is given up
/// are told apart as there.
pub(super) const fn session_totals(stats: &Stats) -> [(StreamCounter, u64); 37] {
    use StreamCounter as C;
    [
        (C::DatagramsReceived, stats.packets_received + stats.rtcp_received + stats.fec_received),
        (C::BytesReceived, stats.bytes_received),
        (C::PacketsReceived, stats.packets_received),
        (C::PacketsUnique, stats.packets_delivered + stats.packets_discarded),
        (C::PacketsDelivered, stats.packets_delivered),
        (C::PacketsLost, stats.packets_missing),
        (C::PacketsSkippedTooLate, stats.packets_lost),
        (C::PacketsRetransmitted, stats.packets_retransmitted),
        (
            C::PacketsRecovered,
            stats.packets_reordered + stats.packets_recovered_rtx + stats.packets_recovered_fec,
        ),
        (C::PacketsReordered, stats.packets_reordered),
        (C::PacketsRecoveredRtx, stats.packets_recovered_rtx),
        (C::PacketsRecoveredFec, stats.packets_recovered_fec),
        (C::PacketsBelated, stats.packets_late),
        (C::PacketsDuplicate, stats.packets_duplicate),
        (C::PacketsRedundant, stats.packets_redundant),
        (C::PacketsDroppedInvalid, stats.packets_invalid),
        (C::PacketsDroppedRate, stats.packets_dropped_rate),
        (C::PacketsDroppedSource, stats.packets_dropped_source),
        (C::PacketsDroppedUnmapped, stats.packets_dropped_unmapped),
        (C::PacketsDroppedProbation, stats.packets_dropped_probation),
        (C::PacketsDroppedJump, stats.packets_dropped_jump),
        (C::PacketsDroppedUndetected, stats.packets_dropped_undetected),
        (C::PacketsDiscardedAtEnd, stats.packets_discarded),
        (C::WindowOverruns, stats.window_overruns),
        (C::SourceRestarts, stats.restarts),
        (C::SsrcChanges, stats.ssrc_changes),
        (C::Relatches, stats.relatches),
        (C::RtcpReceived, stats.rtcp_received),
        (C::RtcpInvalid, stats.rtcp_invalid),
        (C::SenderReports, stats.sender_reports),
        (C::SenderReportsRefused, stats.sender_reports_refused),
        (C::GoodbyesVoid, stats.goodbyes_void),
        (C::RtcpSent, stats.rtcp_sent),
        (C::NacksSent, stats.nacks_sent),
        (C::KeyRequestsSent, stats.key_requests_sent),
        (C::FecReceived, stats.fec_received),
        (C::FecInvalid, stats.fec_invalid),
    ]
}

/// Shows what is counted by track and leg: sums, and of gauges the largest.
pub(super) fn show_tracks(
    slot: &mut StreamSlotWriter,
    base: &Base,
    tracks: impl Iterator<Item = TrackStats>,
) {
    use StreamCounter as C;
    let mut jitter_us = 0;
    let (mut clock_jumps, mut invalid, mut fragments, mut cut) = (0, 0, 0, 0);
    let (mut received, mut lost) = ([0; 2], [0_u64; 2]);
    let (mut skew_us, mut skew_max_us) = (0, 0);
    for track in tracks {
        jitter_us = track.jitter_us.max(jitter_us);
        clock_jumps += track.clock_jumps;
        let payload = &track.payload;
        invalid += payload.payloads_invalid + payload.elements_invalid;
        invalid += payload.elements_unsupported;
        fragments += payload.fragments_without_start + payload.fragments_unfinished;
        fragments += payload.fragments_inconsistent;
        cut += payload.frames_oversize + payload.frames_too_many_elements;
        cut += payload.elements_too_fragmented;
        for (leg, stats) in track.legs.iter().enumerate() {
            received[leg] += stats.packets_received;
            lost[leg] += u64::try_from(stats.packets_lost).unwrap_or(0);
            skew_us = stats.skew_us.max(skew_us);
            skew_max_us = stats.skew_max_us.max(skew_max_us);
        }
    }
    base.show(
        slot,
        [
            (C::ClockJumps, clock_jumps),
            (C::PayloadsInvalid, invalid),
            (C::FragmentsInvalid, fragments),
            (C::UnitsCut, cut),
            (C::Leg1Received, received[0]),
            (C::Leg2Received, received[1]),
            (C::Leg1Lost, lost[0]),
            (C::Leg2Lost, lost[1]),
        ],
    );
    for (gauge, value) in
        [(C::JitterUs, jitter_us), (C::LegSkewUs, skew_us), (C::LegSkewMaxUs, skew_max_us)]
    {
        slot.set(gauge, value);
    }
}
