//! Metric families written straight to a scrape.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;

/// Label names and values of one series.
pub(super) type Labels = Vec<(&'static str, String)>;

/// Values of the counter table that may go down. A test compares this list with the table.
const GAUGES: [&str; 40] = [
    "socket_shared",
    "priority",
    "jitter_us",
    "leg1_lost",
    "leg2_lost",
    "leg_skew_us",
    "leg_skew_max_us",
    "rtp_packets_waiting",
    "max_bandwidth_bps",
    "pressure_measured_permille",
    "pressure_permille",
    "pressure_set",
    "window_limit_packets",
    "pressure_changed_ns",
    "packets_held",
    "packets_missing",
    "buffered_packets",
    "buffered_us",
    "reorder_tolerance_packets",
    "reorder_distance_packets",
    "rtt_us",
    "rtt_variance_us",
    "latency_ms",
    "drift_us",
    "flow_window_packets",
    "receive_rate_bps",
    "link_capacity_pps",
    "last_received_ns",
    "ring_used_bytes",
    "ring_capacity_bytes",
    "ring_frames",
    "ring_gops",
    "frame_rate_mhz",
    "bitrate_bps",
    "gop_frames",
    "gop_duration_us",
    "heartbeat_ns",
    "sessions",
    "kernel_drops",
    "slots_free",
];

/// Whether a value of the counter table may go down.
pub(super) fn is_gauge(label: &str) -> bool {
    GAUGES.contains(&label)
}

/// A histogram's buckets: upper bounds, each with its own count.
pub(super) struct Buckets {
    pub(super) bounds: Vec<(f64, u64)>,
    pub(super) sum: f64,
    pub(super) count: u64,
}

/// Writes families one after another.
pub(super) struct Families<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl<'a> Families<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self { encoder }
    }

    /// Totals; `_total` is appended to the name. A family without series is left out.
    pub(super) fn counters<V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels, V)>,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in series {
            in_series(&mut family, &labels, |series| {
                series.encode_counter::<NoLabelSet, V, u64>(&value, None)
            })?;
        }
        Ok(())
    }

    /// Values at this moment.
    pub(super) fn gauges<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels, V)>,
    ) -> fmt::Result {
        self.values(name, help, MetricType::Gauge, series)
    }

    /// Totals under exactly this name, for names that are fixed without `_total`.
    pub(super) fn named_totals(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let series = series.into_iter().map(|(labels, value)| (labels, crate::dto::float(value)));
        self.values(name, help, MetricType::Unknown, series)
    }

    fn values<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        series: impl IntoIterator<Item = (Labels, V)>,
    ) -> fmt::Result {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return Ok(());
        }
        let mut family = self.encoder.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in series {
            in_series(&mut family, &labels, |series| series.encode_gauge(&value))?;
        }
        Ok(())
    }

    /// Distributions.
    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels, Buckets)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, buckets) in series {
            in_series(&mut family, &labels, |series| {
                let Buckets { bounds, sum, count } = &buckets;
                series.encode_histogram::<NoLabelSet>(*sum, *count, bounds, None)
            })?;
        }
        Ok(())
    }
}

/// Writes one series; without labels its name stands without braces.
fn in_series(
    family: &mut MetricEncoder<'_>,
    labels: &Labels,
    write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if labels.is_empty() { write(family) } else { write(&mut family.encode_family(labels)?) }
}
