//! What one run of the load says, for people and as one line of JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::target::Usage;

/// One run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// What was measured, as given with `--label`.
    pub(crate) label: String,
    /// Which receiver, as given with `--receiver`.
    pub(crate) receiver: String,
    /// Which round of alternating runs it belongs to, as given with `--round`.
    #[serde(default)]
    pub(crate) round: u32,
    /// Connections.
    pub(crate) connections: u32,
    /// Payload rate asked for.
    pub(crate) offered_mbit: f64,
    /// Payload rate that left, over the measured window.
    pub(crate) sent_mbit: f64,
    /// Seconds of the measured window; 0 where only the emptying of queues is measured.
    pub(crate) window_s: f64,
    /// CPU that neither load nor receiver used in the window, in percent of one CPU.
    #[serde(default)]
    pub(crate) foreign_cpu_percent: f64,
    /// Longest delay of a burst behind its schedule, milliseconds.
    pub(crate) lag_max_ms: f64,
    /// Data packets sent in the whole run, each counted once.
    pub(crate) packets_sent: u64,
    /// Data packets the receiver handed on; `None` when it does not say.
    pub(crate) packets_delivered: Option<u64>,
    /// Sent and not delivered.
    pub(crate) packets_lost: Option<u64>,
    /// Data packets sent again.
    pub(crate) packets_retransmitted: u64,
    /// Packets the sender gave up.
    pub(crate) packets_dropped: u64,
    /// Packets not sent because the receiver's window stayed closed.
    pub(crate) packets_withheld: u64,
    /// Sends the kernel refused.
    pub(crate) send_errors: u64,
    /// Acknowledgements, full and light, that came back.
    pub(crate) acks: u64,
    /// Loss reports that came back.
    pub(crate) naks: u64,
    /// Datagrams dropped at the receiver's UDP sockets.
    pub(crate) socket_drops: u64,
    /// Connections the receiver ended.
    pub(crate) connections_lost: u32,
    /// Datagrams that the receiver's workers received and sent in the window, where they tell.
    #[serde(default)]
    pub(crate) datagrams: Option<u64>,
    /// Connections on each of its workers, where they tell.
    #[serde(default)]
    pub(crate) placement: Vec<u32>,
    /// CPU, threads and memory of the receiver over the window.
    pub(crate) usage: Option<Usage>,
    /// The sum of memory the receiver said it would take.
    #[serde(default)]
    pub(crate) memory_budget_bytes: Option<u64>,
    /// Delay of publication behind the due time.
    pub(crate) latency: Option<Latency>,
    /// What the frames in shared memory prove.
    pub(crate) frames: Option<Frames>,
}

/// Percentiles of the publication latency, microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Frames measured.
    pub(crate) count: u64,
    /// Median.
    pub(crate) p50_us: f64,
    /// 99th percentile.
    pub(crate) p99_us: f64,
    /// 99.9th percentile.
    pub(crate) p999_us: f64,
    /// Maximum.
    pub(crate) max_us: f64,
}

/// Video frames read back from the GOP rings and checked.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Frames {
    /// Frames whose every packet was sent.
    pub(crate) sent: u64,
    /// Frames read with the right tag, length and content.
    pub(crate) right: u64,
    /// Frames that never appeared.
    pub(crate) missing: u64,
    /// Frames with a wrong length, content or order.
    pub(crate) wrong: u64,
    /// Frames marked damaged.
    pub(crate) damaged: u64,
    /// Frames the checker itself was too slow to read.
    pub(crate) overrun: u64,
    /// Audio frames read.
    pub(crate) audio: u64,
}

impl Report {
    /// CPU seconds of the receiver for one Gbit of payload sent in the window.
    pub(crate) fn cpu_s_per_gbit(&self) -> Option<f64> {
        let gbit = self.sent_mbit * self.window_s / 1e3;
        self.usage.as_ref().map(|usage| usage.cpu_s / gbit)
    }

    /// CPU milliseconds of the receiver for one second of one stream.
    pub(crate) fn cpu_ms_per_stream_second(&self) -> Option<f64> {
        if self.window_s <= 0.0 {
            return None;
        }
        let stream_seconds = f64::from(self.connections) * self.window_s;
        self.usage.as_ref().map(|usage| usage.cpu_s * 1e3 / stream_seconds)
    }

    /// CPU microseconds of the receiver for one datagram, received or sent.
    #[expect(clippy::cast_precision_loss, reason = "datagrams of a run are far below 2^53")]
    pub(crate) fn cpu_us_per_datagram(&self) -> Option<f64> {
        let datagrams = self.datagrams.filter(|count| *count > 0)?;
        self.usage.as_ref().map(|usage| usage.cpu_s * 1e6 / datagrams as f64)
    }

    /// True when everything offered was sent and everything sent was delivered.
    pub(crate) fn is_lossless(&self) -> bool {
        self.packets_lost == Some(0)
            && self.packets_dropped == 0
            && self.packets_withheld == 0
            && self.connections_lost == 0
            && self.send_errors == 0
    }

    /// True when the sender kept to its schedule.
    pub(crate) fn is_paced(&self) -> bool {
        self.sent_mbit > 0.98 * self.offered_mbit
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_schedule(f)?;
        self.write_packets(f)?;
        writeln!(
            f,
            "came back: {} acknowledgements, {} loss reports; {} connections lost",
            self.acks, self.naks, self.connections_lost
        )?;
        if let (Some(datagrams), Some(cost)) = (self.datagrams, self.cpu_us_per_datagram()) {
            writeln!(
                f,
                "workers: {datagrams} datagrams in and out, {cost:.2} CPU-µs each; connections on each {:?}",
                self.placement
            )?;
        }
        if let Some(usage) = &self.usage {
            self.write_usage(f, usage)?;
        }
        if let Some(latency) = &self.latency {
            writeln!(f, "{latency}")?;
        }
        if let Some(frames) = &self.frames {
            writeln!(f, "{frames}")?;
        }
        Ok(())
    }
}

impl Report {
    fn write_schedule(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} connections, {:.1} of {:.1} Mbit/s sent over {:.1} s, latest burst {:.1} ms late, others used {:.0} % of a CPU",
            self.connections,
            self.sent_mbit,
            self.offered_mbit,
            self.window_s,
            self.lag_max_ms,
            self.foreign_cpu_percent
        )
    }

    fn write_packets(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "packets: sent {}", self.packets_sent)?;
        if let (Some(delivered), Some(lost)) = (self.packets_delivered, self.packets_lost) {
            write!(f, ", delivered {delivered}, lost {lost}")?;
        }
        writeln!(
            f,
            ", retransmitted {}, dropped {}, withheld {}, refused {}; socket drops {}",
            self.packets_retransmitted,
            self.packets_dropped,
            self.packets_withheld,
            self.send_errors,
            self.socket_drops
        )
    }

    fn write_usage(&self, f: &mut fmt::Formatter<'_>, usage: &Usage) -> fmt::Result {
        writeln!(
            f,
            "receiver: {:.3} CPU-s per Gbit, {:.2} CPU ms per stream-second, {} threads, {:.1} MiB proportional{}",
            self.cpu_s_per_gbit().unwrap_or(f64::NAN),
            self.cpu_ms_per_stream_second().unwrap_or(f64::NAN),
            usage.threads,
            mib(usage.proportional_set_bytes),
            self.memory_budget_bytes
                .map_or_else(String::new, |bytes| format!(" of {:.1}", mib(bytes)))
        )?;
        for thread in &usage.busiest {
            writeln!(f, "  thread {:<16} {:.3} CPU-s", thread.name, thread.cpu_s)?;
        }
        Ok(())
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "publication latency of {} frames: p50 {:.0} µs, p99 {:.0}, p99.9 {:.0}, max {:.0}",
            self.count, self.p50_us, self.p99_us, self.p999_us, self.max_us
        )
    }
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "video frames: sent {}, right {}, missing {}, wrong {}, damaged {}, not read in time {}; audio frames {}",
            self.sent, self.right, self.missing, self.wrong, self.damaged, self.overrun, self.audio
        )
    }
}

/// Bytes in MiB.
#[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
