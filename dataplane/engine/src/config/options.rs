//! What may differ from stream to stream, and in which order it is decided.
//!
//! ```text
//!  listener  ◀─ the stream's rule  ◀─ the answer of the authorization hook      later wins
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::secret::{Passphrase, PublishKey};

/// What happens to a second publisher of a live id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondPublisher {
    /// It is refused (2409), unless the first one fell silent and both are the same host.
    #[default]
    Refuse,
    /// It takes the id over: the first one's session is ended.
    TakeOver,
}

/// What happens to a publisher above its bandwidth for a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverBandwidth {
    /// It is reported.
    #[default]
    Event,
    /// What is above is dropped.
    Drop,
    /// The session is ended.
    Close,
}

/// Everything decided about one stream: a listener's values, those of the rule that matches the
/// stream, and those of the hook's answer, the later over the earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOptions {
    /// Receive latency asked for; the negotiated value is the larger of both sides'.
    pub latency: Duration,
    /// Longest latency a caller may ask for.
    pub latency_max: Duration,
    /// Highest rate, bits per second.
    pub max_bandwidth_bps: u64,
    /// What happens above it.
    pub over_bandwidth: OverBandwidth,
    /// Payload bytes of one packet.
    pub payload_bytes: u16,
    /// Flow window in packets.
    pub flow_window: u32,
    /// Bytes that may wait in the receive window; `None`: as many as rate and latency need.
    pub receive_buffer_bytes: Option<u64>,
    /// A peer silent for this long is gone.
    pub peer_idle_timeout: Duration,
    /// Packets a gap may wait for a reordered packet before it is reported.
    pub reorder_tolerance_packets: u32,
    /// The stream is encrypted with this; `None`: it comes in clear text.
    pub passphrase: Option<Passphrase>,
    /// Key length that is asked for, in bytes: 16, 24 or 32; `None`: what the caller has.
    pub key_bytes: Option<u16>,
    /// What a publisher must present.
    pub publish_key: Option<PublishKey>,
    /// Higher is more important: when a worker's packet slots are short, its streams of the lowest
    /// priority yield first.
    pub priority: u8,
    /// What happens to a second publisher.
    pub second_publisher: SecondPublisher,
}

/// Values over those of [`StreamOptions`]; `None` leaves them. A passphrase or publish key of
/// `Some(None)` takes it away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamOverrides {
    /// [`StreamOptions::latency`]
    pub latency: Option<Duration>,
    /// [`StreamOptions::latency_max`]
    pub latency_max: Option<Duration>,
    /// [`StreamOptions::max_bandwidth_bps`]
    pub max_bandwidth_bps: Option<u64>,
    /// [`StreamOptions::over_bandwidth`]
    pub over_bandwidth: Option<OverBandwidth>,
    /// [`StreamOptions::payload_bytes`]
    pub payload_bytes: Option<u16>,
    /// [`StreamOptions::flow_window`]
    pub flow_window: Option<u32>,
    /// [`StreamOptions::receive_buffer_bytes`]
    pub receive_buffer_bytes: Option<u64>,
    /// [`StreamOptions::peer_idle_timeout`]
    pub peer_idle_timeout: Option<Duration>,
    /// [`StreamOptions::reorder_tolerance_packets`]
    pub reorder_tolerance_packets: Option<u32>,
    /// [`StreamOptions::passphrase`]
    pub passphrase: Option<Option<Passphrase>>,
    /// [`StreamOptions::key_bytes`]
    pub key_bytes: Option<u16>,
    /// [`StreamOptions::publish_key`]
    pub publish_key: Option<Option<PublishKey>>,
    /// [`StreamOptions::priority`]
    pub priority: Option<u8>,
    /// [`StreamOptions::second_publisher`]
    pub second_publisher: Option<SecondPublisher>,
}

impl StreamOverrides {
    /// Of the options that can change at run time these, with `later` on top.
    #[must_use]
    pub fn merged(&self, later: &Self) -> Self {
        Self {
            latency: later.latency.or(self.latency),
            latency_max: later.latency_max.or(self.latency_max),
            max_bandwidth_bps: later.max_bandwidth_bps.or(self.max_bandwidth_bps),
            over_bandwidth: later.over_bandwidth.or(self.over_bandwidth),
            payload_bytes: later.payload_bytes.or(self.payload_bytes),
            flow_window: later.flow_window.or(self.flow_window),
            receive_buffer_bytes: later.receive_buffer_bytes.or(self.receive_buffer_bytes),
            peer_idle_timeout: later.peer_idle_timeout.or(self.peer_idle_timeout),
            reorder_tolerance_packets: later
                .reorder_tolerance_packets
                .or(self.reorder_tolerance_packets),
            priority: later.priority.or(self.priority),
            second_publisher: later.second_publisher.or(self.second_publisher),
            ..self.clone()
        }
    }

    /// Of these the ones that act on an open connection.
    #[must_use]
    pub fn live(&self) -> Self {
        Self {
            max_bandwidth_bps: self.max_bandwidth_bps,
            over_bandwidth: self.over_bandwidth,
            peer_idle_timeout: self.peer_idle_timeout,
            reorder_tolerance_packets: self.reorder_tolerance_packets,
            priority: self.priority,
            ..Self::default()
        }
    }
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(120),
            latency_max: Duration::from_secs(10),
            max_bandwidth_bps: 60_000_000,
            over_bandwidth: OverBandwidth::default(),
            payload_bytes: 1_316,
            flow_window: 25_600,
            receive_buffer_bytes: None,
            peer_idle_timeout: Duration::from_secs(5),
            reorder_tolerance_packets: 0,
            passphrase: None,
            key_bytes: None,
            publish_key: None,
            priority: 0,
            second_publisher: SecondPublisher::default(),
        }
    }
}

impl StreamOptions {
    /// These with `over` on top.
    #[must_use]
    pub fn with(&self, over: &StreamOverrides) -> Self {
        let latency = over.latency.unwrap_or(self.latency);
        Self {
            latency,
            // Who asks for a latency means it: the limit is for what callers ask.
            latency_max: over.latency_max.unwrap_or(self.latency_max).max(latency),
            max_bandwidth_bps: over.max_bandwidth_bps.unwrap_or(self.max_bandwidth_bps),
            over_bandwidth: over.over_bandwidth.unwrap_or(self.over_bandwidth),
            payload_bytes: over.payload_bytes.unwrap_or(self.payload_bytes),
            flow_window: over.flow_window.unwrap_or(self.flow_window),
            receive_buffer_bytes: over.receive_buffer_bytes.or(self.receive_buffer_bytes),
            peer_idle_timeout: over.peer_idle_timeout.unwrap_or(self.peer_idle_timeout),
            reorder_tolerance_packets: over
                .reorder_tolerance_packets
                .unwrap_or(self.reorder_tolerance_packets),
            passphrase: over.passphrase.clone().unwrap_or_else(|| self.passphrase.clone()),
            key_bytes: over.key_bytes.or(self.key_bytes),
            publish_key: over.publish_key.clone().unwrap_or_else(|| self.publish_key.clone()),
            priority: over.priority.unwrap_or(self.priority),
            second_publisher: over.second_publisher.unwrap_or(self.second_publisher),
        }
    }

    /// Packet slots that hold the rate for `latency`, and half as long again for the round trip of
    /// the last retransmission.
    pub(crate) fn slots(&self, latency: Duration) -> u32 {
        const LEAST: u64 = 64;
        let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        let bytes = (self.max_bandwidth_bps / 8).saturating_mul(latency_ms) / 1_000 * 3 / 2;
        let bytes = bytes.min(self.receive_buffer_bytes.unwrap_or(u64::MAX));
        let packets = bytes.div_ceil(u64::from(self.payload_bytes)).max(LEAST);
        u32::try_from(packets).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_follow_rate_and_latency_up_to_the_receive_buffer() {
        let mut options = StreamOptions::default();
        assert_eq!(options.slots(Duration::from_millis(120)), 1_026);
        assert_eq!(options.slots(Duration::ZERO), 64);
        options.receive_buffer_bytes = Some(131_600);
        assert_eq!(options.slots(Duration::from_millis(120)), 100);
    }

    #[test]
    fn later_values_win_and_absent_ones_leave() {
        let listener = StreamOptions::default().with(&StreamOverrides {
            priority: Some(1),
            passphrase: Some(Passphrase::new(b"correct horse")),
            ..StreamOverrides::default()
        });
        let second = Duration::from_secs(1);
        let over = StreamOverrides { latency: Some(20 * second), ..StreamOverrides::default() };
        let stream = listener.with(&over);
        assert_eq!((stream.priority, stream.latency), (1, 20 * second));
        assert_eq!(stream.latency_max, 20 * second, "a limit never excludes the own value");
        assert_eq!(stream.passphrase, listener.passphrase);
        let cleared = StreamOverrides { passphrase: Some(None), ..StreamOverrides::default() };
        assert_eq!(stream.with(&cleared).passphrase, None);
    }
}
