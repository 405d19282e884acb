//! Series of the dataplane as a whole, its workers and its conductor.

use std::fmt;

use shm::counters::{ConductorCounter, WorkerCounter};
use shm::{HistogramSnapshot, Liveness, StreamKind, WorkerSnapshot};

use super::families::{Buckets, Families, Labels, is_gauge};
use crate::dto::float;
use crate::source::{DURATION_BOUNDS_S, History, Snapshot};

/// Upper bounds of latency histograms in nanoseconds: 10 µs to 1 s.
const LATENCY_BOUNDS_NS: [u64; 16] = [
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
];

fn one<V>(value: V) -> [(Labels, V); 1] {
    [(Labels::new(), value)]
}

fn up(families: &mut Families<'_>, up: bool) -> fmt::Result {
    families.gauges("penstock_up", "Whether the dataplane runs", one(i64::from(up)))?;
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    families.gauges(
        "penstock_build",
        "1, with the version of the control plane",
        [(version, 1_i64)],
    )
}

/// No dataplane has answered yet.
pub(super) fn absent(families: &mut Families<'_>) -> fmt::Result {
    up(families, false)
}

pub(super) fn encode(
    families: &mut Families<'_>,
    snapshot: &Snapshot,
    memory: Option<u64>,
) -> fmt::Result {
    up(families, snapshot.liveness == Liveness::Alive)?;
    families.gauges(
        "penstock_data_age_seconds",
        "Time since the figures of the dataplane were true",
        one(snapshot.age().as_secs_f64()),
    )?;
    families.gauges(
        "penstock_dataplane_start_time_seconds",
        "Start of the dataplane, Unix time",
        one(float(snapshot.header.started_unix_ns) / 1e9),
    )?;
    families.gauges(
        "penstock_dataplane_cpu_percent",
        "Processor time over the last second, percent of one core",
        snapshot.cpu_percent.map(|percent| (Labels::new(), percent)),
    )?;
    families.gauges(
        "penstock_dataplane_memory_bytes",
        "Proportional set size",
        memory.map(|bytes| (Labels::new(), float(bytes))),
    )?;
    families.gauges(
        "penstock_dataplane_memory_budget_bytes",
        "Sum of the memory budget",
        one(float(snapshot.header.memory_budget_bytes)),
    )?;
    sessions(families, snapshot)?;
    totals(families, snapshot)?;
    workers(families, &snapshot.workers)?;
    ports(families, snapshot)?;
    conductor(families, snapshot)
}

fn sessions(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    let live = |kind| snapshot.live().filter(|stream| stream.info.kind == kind).count();
    let count = |kind| i64::try_from(live(kind)).unwrap_or(i64::MAX);
    families.gauges(
        "stream_ingestion_active_total",
        "Streams that have not ended",
        StreamKind::ALL
            .iter()
            .map(|kind| (vec![("protocol", kind.label().to_owned())], count(*kind))),
    )?;
    families.gauges(
        "rtp_sessions_active_total",
        "RTP streams that have not ended",
        one(count(StreamKind::Rtp)),
    )?;
    families.gauges("activeStreams", "Streams that have not ended", {
        let all = i64::try_from(snapshot.live().count()).unwrap_or(i64::MAX);
        one(all)
    })?;
    families.histograms(
        "connection_duration_seconds",
        "How long ended connections lasted",
        [(Labels::new(), durations(&snapshot.history))],
    )
}

fn durations(history: &History) -> Buckets {
    let bounds = DURATION_BOUNDS_S.iter().map(|bound| float(*bound)).chain([f64::INFINITY]);
    Buckets {
        bounds: bounds.zip(history.durations).collect(),
        sum: history.durations_sum_s,
        count: history.durations.iter().sum(),
    }
}

fn totals(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    let received = snapshot.workers.iter().map(|w| w.counter(WorkerCounter::DatagramsReceived));
    families.named_totals(
        "packetsReceived",
        "Datagrams received by all workers",
        one(received.fold(0, u64::saturating_add)),
    )?;
    families.named_totals(
        "framesAssembled",
        "Frames published by all streams",
        one(snapshot.history.frames_assembled),
    )?;
    families.named_totals(
        "framesDropped",
        "Frames dropped by all streams",
        one(snapshot.history.frames_dropped),
    )?;
    let used = snapshot.live().map(|s| s.counter(shm::counters::StreamCounter::RingUsedBytes));
    families.gauges(
        "bufferUsage",
        "Bytes of all GOP rings in use",
        one(float(used.fold(0, u64::saturating_add))),
    )?;
    let mut all = HistogramSnapshot::empty();
    snapshot.workers.iter().for_each(|worker| all.merge(&worker.latency));
    families.histograms(
        "frameLatency",
        "Seconds from the moment a frame is due to its publication, all workers",
        [(Labels::new(), latency(&all))],
    )?;
    let free = snapshot.workers.iter().map(|worker| worker.counter(WorkerCounter::SlotsFree));
    families.gauges(
        "buffer_pool_free_total",
        "Free receive slots of all workers",
        one(float(free.fold(0, u64::saturating_add))),
    )
}

fn by_worker(worker: &WorkerSnapshot) -> Labels {
    vec![("worker", worker.worker.to_string())]
}

fn workers(families: &mut Families<'_>, workers: &[WorkerSnapshot]) -> fmt::Result {
    for counter in WorkerCounter::ALL {
        let name = format!("penstock_worker_{}", counter.label());
        let help = format!("Counter {} of the worker", counter.label());
        let series = workers.iter().map(|worker| (by_worker(worker), worker.counter(*counter)));
        if is_gauge(counter.label()) {
            let series = series.map(|(labels, value)| (labels, float(value)));
            families.gauges(&name, &help, series)?;
        } else {
            families.counters(&name, &help, series)?;
        }
    }
    families.histograms(
        "penstock_publication_latency_seconds",
        "From the moment a frame is due to its publication",
        workers.iter().map(|worker| (by_worker(worker), latency(&worker.latency))),
    )
}

/// What the kernel dropped at the workers' sockets of each listener.
fn ports(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    let series = snapshot.workers.iter().flat_map(|worker| {
        snapshot.ports.iter().enumerate().map(move |(port, name)| {
            let mut labels = by_worker(worker);
            labels.push(("listener", name.as_str().to_owned()));
            (labels, worker.port_drops(port))
        })
    });
    families.counters(
        "penstock_listener_kernel_drops",
        "Datagrams the kernel dropped at the worker's socket of the listener",
        series,
    )
}

/// A latency histogram in fixed buckets: a series must not change its bounds.
fn latency(histogram: &HistogramSnapshot) -> Buckets {
    let mut counts = [0_u64; LATENCY_BOUNDS_NS.len() + 1];
    for (upper_ns, count) in histogram.buckets() {
        let place = LATENCY_BOUNDS_NS.partition_point(|bound| *bound < upper_ns);
        counts[place] += count;
    }
    let bounds = LATENCY_BOUNDS_NS.iter().map(|bound| float(*bound) / 1e9).chain([f64::INFINITY]);
    Buckets {
        bounds: bounds.zip(counts).collect(),
        sum: float(histogram.sum_ns()) / 1e9,
        count: counts.iter().sum(),
    }
}

fn conductor(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    for counter in ConductorCounter::ALL {
        let name = format!("penstock_conductor_{}", counter.label());
        let help = format!("Counter {} of the conductor", counter.label());
        let value = snapshot.conductor.counter(*counter);
        if is_gauge(counter.label()) {
            families.gauges(&name, &help, one(float(value)))?;
        } else {
            families.counters(&name, &help, one(value))?;
        }
    }
    Ok(())
}
