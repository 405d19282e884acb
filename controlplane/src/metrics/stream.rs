//! Series of single streams; they vanish when the stream ends.

use std::fmt;

use shm::counters::StreamCounter;
use shm::{Measured, StreamKind, StreamSnapshot, StreamSpread};

use super::families::{Families, Labels, is_gauge};
use crate::dto::{bitrate, float, signed_float};
use crate::source::{Snapshot, frames_dropped};

/// Counters that mean a fault; the counter's name is the `error_type`.
const ERRORS: [StreamCounter; 35] = [
    StreamCounter::PacketsSkippedTooLate,
    StreamCounter::PacketsSkippedBySender,
    StreamCounter::PacketsDroppedWindow,
    StreamCounter::PacketsDroppedSlots,
    StreamCounter::PacketsDroppedInvalid,
    StreamCounter::PacketsUndecryptable,
    StreamCounter::PacketsDroppedClear,
    StreamCounter::PacketsDroppedRate,
    StreamCounter::PacketsDroppedSource,
    StreamCounter::PacketsDroppedUnmapped,
    StreamCounter::PacketsDroppedProbation,
    StreamCounter::PacketsDroppedJump,
    StreamCounter::PacketsDroppedUndetected,
    StreamCounter::RtcpInvalid,
    StreamCounter::FecInvalid,
    StreamCounter::PayloadsInvalid,
    StreamCounter::KeyFailures,
    StreamCounter::ControlInvalid,
    StreamCounter::WrongSource,
    StreamCounter::TsSyncLosses,
    StreamCounter::TsContinuityErrors,
    StreamCounter::TsTransportErrors,
    StreamCounter::TsInvalid,
    StreamCounter::PsiCrcErrors,
    StreamCounter::PsiInvalid,
    StreamCounter::PesInvalid,
    StreamCounter::TimelineJumps,
    StreamCounter::FramesDamaged,
    StreamCounter::FramesDroppedOversize,
    StreamCounter::FramesDroppedInvalid,
    StreamCounter::FramesDroppedPending,
    StreamCounter::FramesDroppedAborted,
    StreamCounter::FramesDroppedBandwidth,
    StreamCounter::FramesDroppedDamaged,
    StreamCounter::BandwidthExceeded,
];

fn by_id(stream: &StreamSnapshot) -> Labels {
    vec![("stream_id", stream.info.id.as_str().to_owned())]
}

fn by_protocol(stream: &StreamSnapshot) -> Labels {
    let mut labels = by_id(stream);
    labels.push(("protocol", stream.info.kind.label().to_owned()));
    labels
}

pub(super) fn encode(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    let live: Vec<&StreamSnapshot> = snapshot.live().collect();
    ingestion(families, &live)?;
    transport(families, &live)?;
    spreads(families, &live)?;
    buffers(families, &live)?;
    every_counter(families, &live)
}

fn ingestion(families: &mut Families<'_>, live: &[&StreamSnapshot]) -> fmt::Result {
    let totals = [
        ("stream_ingestion_bytes", "UDP payload bytes received", StreamCounter::BytesReceived),
        ("stream_ingestion_packets", "Data packets received", StreamCounter::PacketsReceived),
        ("stream_ingestion_packets_lost", "Packets found missing", StreamCounter::PacketsLost),
    ];
    for (name, help, counter) in totals {
        let series = live.iter().map(|stream| (by_protocol(stream), stream.counter(counter)));
        families.counters(name, help, series)?;
    }
    let errors = live.iter().flat_map(|stream| {
        ERRORS.iter().map(|counter| {
            let mut labels = by_protocol(stream);
            labels.push(("error_type", counter.label().to_owned()));
            (labels, stream.counter(*counter))
        })
    });
    families.counters("stream_ingestion_errors", "Faults by kind", errors)?;
    families.gauges(
        "stream_ingestion_bitrate",
        "Media bits per second",
        live.iter().map(|stream| (by_protocol(stream), float(bitrate(stream)))),
    )?;
    families.counters(
        "connection_reconnects",
        "Connections of the stream after its first",
        live.iter().map(|stream| {
            let connections = stream.counter(StreamCounter::Connections);
            (by_protocol(stream), connections.saturating_sub(1))
        }),
    )
}

fn transport(families: &mut Families<'_>, live: &[&StreamSnapshot]) -> fmt::Result {
    let srt = || live.iter().filter(|stream| stream.info.kind == StreamKind::Srt);
    families.gauges(
        "srt_latency_milliseconds",
        "Delivery delay both ends agreed on",
        srt().map(|stream| (by_id(stream), float(stream.counter(StreamCounter::LatencyMs)))),
    )?;
    families.counters(
        "srt_packets_lost",
        "Packets found missing",
        srt().map(|stream| (by_id(stream), stream.counter(StreamCounter::PacketsLost))),
    )?;
    families.counters(
        "srt_packets_dropped",
        "Packets given up or discarded, by reason",
        srt().flat_map(|stream| DROPPED.iter().map(|counter| dropped(stream, *counter))),
    )?;
    families.gauges(
        "srt_encryption_key_bits",
        "Bits of the stream key, 0 for clear text",
        srt().map(|stream| {
            let mut labels = by_id(stream);
            labels.push(("cipher", stream.info.cipher.label().to_owned()));
            (labels, f64::from(stream.info.key_bits))
        }),
    )?;
    families.counters(
        "srt_packets_retransmitted",
        "Packets that came as retransmissions",
        srt().map(|stream| (by_id(stream), stream.counter(StreamCounter::PacketsRetransmitted))),
    )?;
    let rtp = || live.iter().filter(|stream| stream.info.kind == StreamKind::Rtp);
    families.gauges(
        "rtp_jitter_milliseconds",
        "Interarrival jitter (RFC 3550, A.8)",
        rtp().map(|stream| (by_id(stream), float(stream.counter(StreamCounter::JitterUs)) / 1e3)),
    )?;
    families.counters(
        "rtp_packets_lost",
        "Packets found missing",
        rtp().map(|stream| (by_id(stream), stream.counter(StreamCounter::PacketsLost))),
    )?;
    families.counters(
        "rtp_packets_unrecovered",
        "Packets that never came in time",
        rtp().map(|stream| (by_id(stream), stream.counter(StreamCounter::PacketsSkippedTooLate))),
    )?;
    families.counters(
        "rtp_packets_dropped",
        "Packets not delivered, by reason",
        rtp().flat_map(|stream| RTP_DROPPED.iter().map(|counter| dropped(stream, *counter))),
    )
}

/// RTP packets that were not delivered; the counter's name is the `reason`.
const RTP_DROPPED: [StreamCounter; 8] = [
    StreamCounter::PacketsDroppedRate,
    StreamCounter::PacketsDroppedSource,
    StreamCounter::PacketsDroppedUnmapped,
    StreamCounter::PacketsDroppedProbation,
    StreamCounter::PacketsDroppedJump,
    StreamCounter::PacketsDroppedUndetected,
    StreamCounter::PacketsDroppedInvalid,
    StreamCounter::PacketsDiscardedAtEnd,
];

/// Packets that were not delivered; the counter's name is the `reason`.
const DROPPED: [StreamCounter; 8] = [
    StreamCounter::PacketsSkippedTooLate,
    StreamCounter::PacketsSkippedBySender,
    StreamCounter::PacketsDroppedWindow,
    StreamCounter::PacketsDroppedSlots,
    StreamCounter::PacketsDroppedInvalid,
    StreamCounter::PacketsUndecryptable,
    StreamCounter::PacketsDroppedClear,
    StreamCounter::PacketsDiscardedAtEnd,
];

fn dropped(stream: &StreamSnapshot, counter: StreamCounter) -> (Labels, u64) {
    let mut labels = by_id(stream);
    labels.push(("reason", counter.label().to_owned()));
    (labels, stream.counter(counter))
}

/// Least, mean and largest of what varies, over the last second and since the connection began.
fn spreads(families: &mut Families<'_>, live: &[&StreamSnapshot]) -> fmt::Result {
    for quantity in StreamSpread::ALL {
        let series = live.iter().filter(|stream| stream.info.kind == StreamKind::Srt);
        let series = series.flat_map(|stream| {
            let Measured { interval, total } = stream.spread(*quantity);
            let spans = [("second", interval), ("connection", total)];
            spans.into_iter().flat_map(|(span, spread)| {
                let values = [("min", spread.min), ("avg", spread.avg), ("max", spread.max)];
                values.map(|(value, number)| {
                    let mut labels = by_id(stream);
                    labels.extend([("span", span.to_owned()), ("value", value.to_owned())]);
                    (labels, float(number))
                })
            })
        });
        let name = format!("penstock_stream_{}_spread", quantity.label());
        families.gauges(&name, "Least, mean and largest over a span of time", series)?;
    }
    Ok(())
}

fn buffers(families: &mut Families<'_>, live: &[&StreamSnapshot]) -> fmt::Result {
    families.gauges(
        "buffer_usage_bytes",
        "Bytes of the GOP ring in use",
        live.iter()
            .map(|stream| (by_id(stream), float(stream.counter(StreamCounter::RingUsedBytes)))),
    )?;
    families.counters(
        "buffer_drops",
        "Frames dropped for any reason",
        live.iter().map(|stream| (by_id(stream), frames_dropped(stream))),
    )
}

/// The whole counter table under its own names.
fn every_counter(families: &mut Families<'_>, live: &[&StreamSnapshot]) -> fmt::Result {
    for counter in StreamCounter::ALL {
        let name = format!("penstock_stream_{}", counter.label());
        let help = format!("Counter {} of the stream", counter.label());
        if *counter == StreamCounter::DriftUs {
            let series = live.iter().map(|s| (by_id(s), signed_float(s.counter(*counter))));
            families.gauges(&name, &help, series)?;
        } else if is_gauge(counter.label()) {
            let series = live.iter().map(|s| (by_id(s), float(s.counter(*counter))));
            families.gauges(&name, &help, series)?;
        } else {
            let series = live.iter().map(|s| (by_id(s), s.counter(*counter)));
            families.counters(&name, &help, series)?;
        }
    }
    Ok(())
}
