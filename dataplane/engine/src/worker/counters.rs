//! From the counters of the protocol crates to the table in shared memory.

use memory::prefetch;
use shm::counters::{StreamCounter, WorkerCounter};
use shm::{Measured, Spread, StreamSlotWriter, StreamSpread, WorkerBlock};
use uring::RingCounters;

use super::pressure::Throttle;

/// What a stream's counters stood at when its session began: they belong to the stream id and go
/// on over a reconnect, while those of a session start at zero.
#[derive(Debug)]
pub(crate) struct Base {
    counters: Box<[u64; StreamCounter::COUNT]>,
    /// Most sessions are the first of their stream: then these need not be looked at.
    is_zero: bool,
}

impl Base {
    pub(crate) fn zero() -> Self {
        Self { counters: Box::new([0; StreamCounter::COUNT]), is_zero: true }
    }

    /// Takes the counters as they stand.
    pub(crate) fn take(&mut self, slot: &StreamSlotWriter) {
        for &counter in StreamCounter::ALL {
            self.counters[counter as usize] = slot.value(counter);
        }
        self.is_zero = self.counters.iter().all(|counter| *counter == 0);
    }

    /// Asks for the memory that showing needs.
    pub(crate) fn prefetch(&self) {
        if !self.is_zero {
            prefetch(&*self.counters);
        }
    }

    /// Shows totals of the session on top of what was before it. One that is zero was never anything
    /// else, and most are: their memory is left alone.
    pub(crate) fn show<const N: usize>(
        &self,
        slot: &mut StreamSlotWriter,
        totals: [(StreamCounter, u64); N],
    ) {
        for (counter, value) in totals {
            let before = if self.is_zero { 0 } else { self.counters[counter as usize] };
            if before + value > 0 {
                slot.set(counter, before + value);
            }
        }
    }
}

/// Shows gauges: they are what they are now.
pub(crate) fn show_gauges<const N: usize>(
    slot: &mut StreamSlotWriter,
    gauges: [(StreamCounter, u64); N],
) {
    for (counter, value) in gauges {
        slot.set(counter, value);
    }
}

/// What waits in a session that is over.
pub(crate) const NOTHING_WAITS: [(StreamCounter, u64); 4] = [
    (StreamCounter::PacketsHeld, 0),
    (StreamCounter::PacketsMissing, 0),
    (StreamCounter::BufferedPackets, 0),
    (StreamCounter::BufferedUs, 0),
];

/// Totals of an SRT connection.
pub(crate) const fn connection_totals(stats: &srt::Stats) -> [(StreamCounter, u64); 33] {
    use StreamCounter as C;
    [
        (C::DatagramsReceived, stats.datagrams_received),
        (C::BytesReceived, stats.bytes_received),
        (C::PacketsReceived, stats.packets_received),
        (C::PacketsUnique, stats.packets_unique),
        (C::PacketsDelivered, stats.packets_delivered),
        (C::BytesDelivered, stats.bytes_delivered),
        (C::PacketsLost, stats.packets_lost),
        (C::PacketsRetransmitted, stats.packets_retransmitted),
        (C::PacketsRecovered, stats.packets_recovered),
        (C::PacketsReordered, stats.packets_reordered),
        (C::PacketsBelated, stats.packets_belated),
        (C::BelatedUs, stats.belated_us),
        (C::PacketsDuplicate, stats.packets_duplicate),
        (C::PacketsSkippedTooLate, stats.packets_skipped_too_late),
        (C::PacketsSkippedBySender, stats.packets_skipped_by_sender),
        (C::PacketsDroppedWindow, stats.packets_dropped_window),
        (C::PacketsDroppedSlots, stats.packets_dropped_slots),
        (C::PacketsDroppedInvalid, stats.packets_dropped_invalid),
        (C::PacketsUndecryptable, stats.packets_undecryptable),
        (C::PacketsTagInvalid, stats.packets_tag_invalid),
        (C::PacketsDroppedClear, stats.packets_dropped_clear),
        (C::PacketsDiscardedAtEnd, stats.packets_discarded_at_end),
        (C::ControlInvalid, stats.control_invalid),
        (C::AcksSent, stats.acks_sent),
        (C::LightAcksSent, stats.light_acks_sent),
        (C::AckacksReceived, stats.ackacks_received),
        (C::NaksSent, stats.naks_sent),
        (C::DropRequestsReceived, stats.drop_requests_received),
        (C::KeepalivesReceived, stats.keepalives_received),
        (C::KeyMessagesReceived, stats.key_messages_received),
        (C::KeyMessagesIgnored, stats.key_messages_ignored),
        (C::KeyRefreshes, stats.key_refreshes),
        (C::KeyFailures, stats.key_failures),
    ]
}

/// Gauges of an SRT connection.
pub(crate) const fn connection_gauges(stats: &srt::Stats) -> [(StreamCounter, u64); 13] {
    use StreamCounter as C;
    [
        (C::PacketsHeld, stats.packets_held),
        (C::PacketsMissing, stats.packets_missing),
        (C::BufferedPackets, stats.buffered_packets),
        (C::BufferedUs, stats.buffered_us),
        (C::ReorderTolerancePackets, stats.reorder_tolerance_packets),
        (C::ReorderDistancePackets, stats.reorder_distance_packets),
        (C::RttUs, stats.rtt_us),
        (C::RttVarianceUs, stats.rtt_variance_us),
        (C::LatencyMs, stats.latency_ms),
        (C::DriftUs, stats.drift_us.cast_unsigned()),
        (C::FlowWindowPackets, stats.flow_window_packets),
        (C::ReceiveRateBps, stats.receive_rate_bps),
        (C::LinkCapacityPps, stats.link_capacity_pps),
    ]
}

/// Shows the spreads of an SRT connection.
pub(crate) fn show_spreads(slot: &mut StreamSlotWriter, spreads: &srt::Spreads) {
    use StreamSpread as S;
    for (quantity, measured) in [
        (S::RttUs, &spreads.rtt_us),
        (S::MarginUs, &spreads.margin_us),
        (S::BufferedUs, &spreads.buffered_us),
        (S::PacketsHeld, &spreads.packets_held),
        (S::ReceiveRateBps, &spreads.receive_rate_bps),
        (S::FlowWindowPackets, &spreads.flow_window_packets),
    ] {
        let spread = |s: &srt::Spread| Spread { min: s.min, avg: s.avg, max: s.max };
        let (interval, total) = (spread(&measured.interval), spread(&measured.total));
        slot.set_spread(quantity, &Measured { interval, total });
    }
}

/// Shows the backpressure of a stream.
pub(crate) fn show_throttle(slot: &mut StreamSlotWriter, base: &Base, throttle: &Throttle) {
    use StreamCounter as C;
    let (changes, changed) = throttle.changes();
    base.show(slot, [(C::PressureChanges, changes)]);
    for (counter, value) in [
        (C::PressureMeasuredPermille, throttle.measured().into()),
        (C::PressurePermille, throttle.pressure().into()),
        (C::PressureSet, throttle.is_set().into()),
        (C::WindowLimitPackets, throttle.limit().unwrap_or(0).into()),
    ] {
        slot.set(counter, value);
    }
    if changes > 0 {
        slot.set(C::PressureChangedNs, changed.nanos());
    }
}

/// Totals of a demultiplexer.
pub(crate) const fn demuxer_totals(counters: &mpegts::Counters) -> [(StreamCounter, u64); 16] {
    use StreamCounter as C;
    [
        (C::TsPackets, counters.ts_packets),
        (C::TsSyncLosses, counters.ts_sync_losses),
        (C::TsBytesSkipped, counters.ts_bytes_skipped),
        (C::TsContinuityErrors, counters.ts_continuity_errors),
        (C::TsDuplicates, counters.ts_duplicates),
        (C::TsTransportErrors, counters.ts_transport_errors),
        (C::TsScrambled, counters.ts_scrambled),
        (C::TsInvalid, counters.ts_invalid),
        (C::PsiCrcErrors, counters.psi_crc_errors),
        (C::PsiInvalid, counters.psi_invalid),
        (C::PsiChanges, counters.psi_changes),
        (C::PsiProgramsUnlisted, counters.psi_programs_unlisted),
        (C::PsiTracksUnlisted, counters.psi_tracks_unlisted),
        (C::PesPackets, counters.pes_packets),
        (C::PesInvalid, counters.pes_invalid),
        (C::TimelineJumps, counters.timeline_jumps),
    ]
}

/// Shows what the ring counted.
pub(crate) fn show_ring(block: &mut WorkerBlock, ring: &RingCounters) {
    use WorkerCounter as C;
    for (counter, value) in [
        (C::DatagramsReceived, ring.datagrams),
        (C::BytesReceived, ring.bytes),
        (C::KernelDrops, ring.kernel_drops),
        (C::RearmsEmpty, ring.rearms_empty),
        (C::RearmsNoBuffers, ring.rearms_no_buffers),
        (C::RearmsOther, ring.rearms_other),
        (C::DatagramsSent, ring.sent),
        (C::SendErrors, ring.send_errors),
        (C::SendsDropped, ring.sends_dropped),
        (C::SlotsStarved, ring.slots_starved),
        (C::Enters, ring.enters),
    ] {
        block.set(counter, value);
    }
}
