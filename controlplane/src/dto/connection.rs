//! The SRT connection of a stream: the receiver's counters with libsrt's meanings (the table in
//! the crate `srt`, module `stats`).

use serde::Serialize;
use shm::counters::{StreamCounter as C, WorkerCounter};
use shm::{Measured, Spread, StreamSnapshot, StreamSpread};

use super::stream::signed_float;
use super::{float, ratio};
use crate::clock;
use crate::source::Snapshot;

/// Bytes of a full link-layer packet, in which SRT estimates the capacity of a link.
const LINK_PACKET_BYTES: f64 = 1500.0;

/// The SRT connection.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionStats {
    /// Data packets received, of any kind.
    pub packets_received: u64,
    /// Data packets accepted for the first time.
    pub packets_unique: u64,
    /// Packets found missing.
    pub packets_lost: u64,
    /// Packets found missing that may still come.
    pub packets_missing: u64,
    /// Packets that came as retransmissions.
    pub packets_retrans: u64,
    /// Packets that were missing and came in time.
    pub packets_recovered: u64,
    /// Of these, the ones that had only been overtaken.
    pub packets_reordered: u64,
    /// Packets that came too late.
    pub packets_belated: u64,
    /// How late these were, on average.
    pub belated_avg_ms: f64,
    /// Packets that came again.
    pub packets_duplicate: u64,
    /// Packets that could not be decrypted.
    pub packets_undecryptable: u64,
    /// What was not delivered, by reason.
    pub packets_dropped: DroppedPackets,
    /// Full acknowledgements sent.
    pub acks_sent: u64,
    /// Light acknowledgements sent.
    pub light_acks_sent: u64,
    /// Answers to acknowledgements received.
    pub ackacks_received: u64,
    /// Loss reports sent.
    pub naks_sent: u64,
    /// Drop requests received.
    pub drop_requests_received: u64,
    /// Smoothed round-trip time.
    pub rtt_ms: f64,
    /// Its variance.
    pub rtt_variance_ms: f64,
    /// Rate of everything that came, over the last second.
    pub receive_rate_mbps: f64,
    /// Estimated capacity of the link.
    pub bandwidth_mbps: f64,
    /// Packets in order that are not due yet.
    pub buffer_packets: u64,
    /// Time until the last of them is due.
    pub buffer_ms: f64,
    /// Packets held behind a hole.
    pub held_packets: u64,
    /// Delay between sending and delivery that both ends agreed on.
    pub delivery_delay_ms: f64,
    /// Drift of the sender's clock moved into the time base.
    pub drift_ms: f64,
    /// Free buffer advertised to the sender.
    pub flow_window_packets: u64,
    /// Packets that may overtake a missing one before it is reported.
    pub reorder_tolerance_packets: u64,
    /// The most packets by which one was overtaken.
    pub reorder_distance_packets: u64,
    /// Datagrams the kernel dropped at the stream's socket since the connection began.
    pub socket_kernel_drops: u64,
    /// Whether that is a listener's socket, which carries other streams too: these drops may be
    /// theirs.
    pub socket_shared: bool,
    /// Datagrams the kernel dropped at all sockets of the stream's worker.
    pub worker_kernel_drops: u64,
    /// Time since the last accepted connection, or how long it lasted.
    pub connection_time_ms: u64,
    /// Least, mean and largest over the last whole second.
    pub interval: Spreads,
    /// The same since the connection began.
    pub since_connected: Spreads,
}

/// Packets that were not delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DroppedPackets {
    /// Missing at their delivery time.
    pub too_late: u64,
    /// Given up by the sender.
    pub by_sender: u64,
    /// Beyond the receive window.
    pub window: u64,
    /// Above the stream's share of packet slots.
    pub slots: u64,
    /// Malformed.
    pub invalid: u64,
    /// Clear text in an encrypted session.
    pub clear: u64,
    /// Held when the session ended.
    pub at_end: u64,
}

/// How quantities spread over a span of time.
#[derive(Debug, Clone, Serialize)]
pub struct Spreads {
    /// Round trips.
    pub rtt_ms: Range,
    /// From a packet's arrival to its delivery time: near 0 it was nearly lost.
    pub margin_ms: Range,
    /// What is buffered.
    pub buffer_ms: Range,
    /// Packets held behind holes.
    pub held_packets: Range,
    /// Received rate over 100 ms each.
    pub receive_rate_mbps: Range,
    /// Advertised free buffer.
    pub flow_window_packets: Range,
}

/// Least, mean, largest.
#[derive(Debug, Clone, Serialize)]
pub struct Range {
    /// Least.
    pub min: f64,
    /// Mean.
    pub avg: f64,
    /// Largest.
    pub max: f64,
}

impl ConnectionStats {
    /// From a reading of the stream table.
    pub(super) fn new(snapshot: &Snapshot, stream: &StreamSnapshot) -> Self {
        let count = |counter| stream.counter(counter);
        let milliseconds = |counter| float(count(counter)) / 1e3;
        let info = &stream.info;
        Self {
            packets_received: count(C::PacketsReceived),
            packets_unique: count(C::PacketsUnique),
            packets_lost: count(C::PacketsLost),
            packets_missing: count(C::PacketsMissing),
            packets_retrans: count(C::PacketsRetransmitted),
            packets_recovered: count(C::PacketsRecovered),
            packets_reordered: count(C::PacketsReordered),
            packets_belated: count(C::PacketsBelated),
            belated_avg_ms: ratio(milliseconds(C::BelatedUs), float(count(C::PacketsBelated))),
            packets_duplicate: count(C::PacketsDuplicate),
            packets_undecryptable: count(C::PacketsUndecryptable),
            packets_dropped: DroppedPackets::new(stream),
            acks_sent: count(C::AcksSent),
            light_acks_sent: count(C::LightAcksSent),
            ackacks_received: count(C::AckacksReceived),
            naks_sent: count(C::NaksSent),
            drop_requests_received: count(C::DropRequestsReceived),
            rtt_ms: milliseconds(C::RttUs),
            rtt_variance_ms: milliseconds(C::RttVarianceUs),
            receive_rate_mbps: float(count(C::ReceiveRateBps)) / 1e6,
            bandwidth_mbps: float(count(C::LinkCapacityPps)) * LINK_PACKET_BYTES * 8.0 / 1e6,
            buffer_packets: count(C::BufferedPackets),
            buffer_ms: milliseconds(C::BufferedUs),
            held_packets: count(C::PacketsHeld),
            delivery_delay_ms: float(match count(C::LatencyMs) {
                0 => info.latency_ms.into(),
                latency_ms => latency_ms,
            }),
            drift_ms: signed_float(count(C::DriftUs)) / 1e3,
            flow_window_packets: count(C::FlowWindowPackets),
            reorder_tolerance_packets: count(C::ReorderTolerancePackets),
            reorder_distance_packets: count(C::ReorderDistancePackets),
            socket_kernel_drops: count(C::SocketKernelDrops),
            socket_shared: count(C::SocketShared) == 1,
            worker_kernel_drops: kernel_drops(snapshot, info.worker),
            connection_time_ms: connection_time_ms(stream),
            interval: Spreads::new(stream, |measured| measured.interval),
            since_connected: Spreads::new(stream, |measured| measured.total),
        }
    }
}

/// Since the last connection, or how long it lasted.
pub(super) fn connection_time_ms(stream: &StreamSnapshot) -> u64 {
    let info = &stream.info;
    let until = if info.ended_unix_ns > 0 { info.ended_unix_ns } else { clock::unix_ns() };
    until.saturating_sub(info.connected_unix_ns) / 1_000_000
}

pub(super) fn kernel_drops(snapshot: &Snapshot, worker: u16) -> u64 {
    let worker = snapshot.workers.iter().find(|other| other.worker == worker);
    worker.map_or(0, |worker| worker.counter(WorkerCounter::KernelDrops))
}

impl DroppedPackets {
    fn new(stream: &StreamSnapshot) -> Self {
        let count = |counter| stream.counter(counter);
        Self {
            too_late: count(C::PacketsSkippedTooLate),
            by_sender: count(C::PacketsSkippedBySender),
            window: count(C::PacketsDroppedWindow),
            slots: count(C::PacketsDroppedSlots),
            invalid: count(C::PacketsDroppedInvalid),
            clear: count(C::PacketsDroppedClear),
            at_end: count(C::PacketsDiscardedAtEnd),
        }
    }
}

impl Spreads {
    fn new(stream: &StreamSnapshot, span: fn(Measured) -> Spread) -> Self {
        let range = |quantity, unit: f64| {
            let Spread { min, avg, max } = span(stream.spread(quantity));
            let [min, avg, max] = [min, avg, max].map(|value| float(value) / unit);
            Range { min, avg, max }
        };
        Self {
            rtt_ms: range(StreamSpread::RttUs, 1e3),
            margin_ms: range(StreamSpread::MarginUs, 1e3),
            buffer_ms: range(StreamSpread::BufferedUs, 1e3),
            held_packets: range(StreamSpread::PacketsHeld, 1.0),
            receive_rate_mbps: range(StreamSpread::ReceiveRateBps, 1e6),
            flow_window_packets: range(StreamSpread::FlowWindowPackets, 1.0),
        }
    }
}
