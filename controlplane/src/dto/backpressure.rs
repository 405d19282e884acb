//! `GET /streams/{id}/backpressure`.

use serde::Serialize;
use shm::counters::StreamCounter as C;
use shm::{StreamSnapshot, StreamSpread};

use super::{Freshness, float, ratio};
use crate::clock;
use crate::source::Snapshot;

/// From this pressure on a group of pictures should be given up.
const DROP_GOP_PERMILLE: u64 = 900;
/// At the low watermark's default streams are let go.
const TARGET_PERMILLE: u64 = 600;

/// What is done because memory is short. It sheds load: the sender drops what it may not send; an
/// encoder is not slowed.
#[derive(Debug, Clone, Serialize)]
pub struct Backpressure {
    /// Whose it is.
    pub stream_id: String,
    /// The pressure that is acted on, 0 to 1.
    pub current_pressure: f64,
    /// The measured pressure: the worker's free slots, the stream's share of them, its frames that
    /// wait to be published, whichever is nearest its limit.
    pub measured_pressure: f64,
    /// Whether an operator's value is acted on.
    pub is_set: bool,
    /// Most packets of free buffer that are advertised; absent while pressure limits nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_limit_packets: Option<u64>,
    /// Free buffer advertised at this moment, packets.
    pub flow_window_packets: u64,
    /// Received bits per second over the last second.
    pub current_rate_bps: u64,
    /// Packets that the sender gave up instead of sending.
    pub packets_dropped_by_sender: u64,
    /// The figures under their inherited names.
    pub statistics: Statistics,
    /// Whether the pressure is so high that a group of pictures should be given up.
    pub should_drop_gop: bool,
    /// When this was written.
    pub timestamp: String,
    /// How old it is.
    #[serde(flatten)]
    pub freshness: Freshness,
}

/// Statistics of backpressure.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statistics {
    /// Received bits per second.
    pub current_rate: u64,
    /// The pressure that is acted on.
    pub current_pressure: f64,
    /// The measured pressure.
    pub smoothed_pressure: f64,
    /// Times that pressure changed the advertised window.
    pub adjustment_count: u64,
    /// Groups of pictures given up by order.
    #[serde(rename = "GOPsDropped")]
    pub gops_dropped: u64,
    /// The last change of the window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_adjustment: Option<String>,
    /// The pressure below which nothing is limited.
    pub target_pressure: f64,
    /// Least received rate over 100 ms since the connection began.
    pub min_rate: u64,
    /// Largest.
    pub max_rate: u64,
    /// Groups of pictures a second, by the last one.
    #[serde(rename = "GOPsPerSecond")]
    pub gops_per_second: f64,
}

impl Backpressure {
    /// From a reading of the stream table.
    pub fn new(snapshot: &Snapshot, stream: &StreamSnapshot) -> Self {
        let count = |counter| stream.counter(counter);
        let limit = count(C::WindowLimitPackets);
        let acted_on = count(C::PressurePermille);
        Self {
            stream_id: stream.info.id.as_str().to_owned(),
            current_pressure: share(acted_on),
            measured_pressure: share(count(C::PressureMeasuredPermille)),
            is_set: count(C::PressureSet) > 0,
            window_limit_packets: (limit > 0).then_some(limit),
            flow_window_packets: count(C::FlowWindowPackets),
            current_rate_bps: count(C::ReceiveRateBps),
            packets_dropped_by_sender: count(C::PacketsSkippedBySender),
            statistics: Statistics::new(snapshot, stream),
            should_drop_gop: acted_on >= DROP_GOP_PERMILLE,
            timestamp: clock::rfc3339_now(),
            freshness: Freshness::of(snapshot),
        }
    }
}

impl Statistics {
    fn new(snapshot: &Snapshot, stream: &StreamSnapshot) -> Self {
        let count = |counter| stream.counter(counter);
        let rate = stream.spread(StreamSpread::ReceiveRateBps).total;
        let changed_ns = count(C::PressureChangedNs);
        Self {
            current_rate: count(C::ReceiveRateBps),
            current_pressure: share(count(C::PressurePermille)),
            smoothed_pressure: share(count(C::PressureMeasuredPermille)),
            adjustment_count: count(C::PressureChanges),
            gops_dropped: count(C::GopsDropped),
            last_adjustment: (changed_ns > 0).then(|| clock::rfc3339(snapshot.wall_ns(changed_ns))),
            target_pressure: share(TARGET_PERMILLE),
            min_rate: rate.min,
            max_rate: rate.max,
            gops_per_second: ratio(1e6, float(count(C::GopDurationUs))),
        }
    }
}

fn share(permille: u64) -> f64 {
    float(permille) / 1e3
}

/// The answer to a control request.
#[derive(Debug, Clone, Serialize)]
pub struct BackpressureDone {
    /// Whose backpressure it was.
    pub stream_id: String,
    /// What was asked.
    pub action: &'static str,
    /// That it was ordered; a failure has another body.
    pub success: bool,
    /// When.
    pub timestamp: String,
}
