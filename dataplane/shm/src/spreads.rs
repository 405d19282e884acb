//! Least, mean and largest of what varies: over the last whole interval of a second, and since the
//! stream's connection began.

use crate::segment::Words;

/// A quantity of a stream whose spread is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum StreamSpread {
    /// Round trips, each as it was measured, microseconds.
    RttUs,
    /// From a packet's arrival to its delivery time, microseconds: latency less what the network
    /// took.
    MarginUs,
    /// How long it is until the newest packet that came in order is due, microseconds.
    BufferedUs,
    /// Packets held behind holes.
    PacketsHeld,
    /// Received rate, bits per second over 100 ms each.
    ReceiveRateBps,
    /// Advertised free window, packets.
    FlowWindowPackets,
}

impl StreamSpread {
    /// Every quantity in the order of its index.
    pub const ALL: &'static [Self] = &[
        Self::RttUs,
        Self::MarginUs,
        Self::BufferedUs,
        Self::PacketsHeld,
        Self::ReceiveRateBps,
        Self::FlowWindowPackets,
    ];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its name in REST, metrics and tools.
    pub const fn label(self) -> &'static str {
        match self {
            Self::RttUs => "rtt_us",
            Self::MarginUs => "margin_us",
            Self::BufferedUs => "buffered_us",
            Self::PacketsHeld => "packets_held",
            Self::ReceiveRateBps => "receive_rate_bps",
            Self::FlowWindowPackets => "flow_window_packets",
        }
    }
}

/// Least, mean and largest value; zeros when there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spread {
    /// Least.
    pub min: u64,
    /// Mean.
    pub avg: u64,
    /// Largest.
    pub max: u64,
}

/// The spread of one quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measured {
    /// Over the last whole interval.
    pub interval: Spread,
    /// From the beginning of the connection to the end of that interval.
    pub total: Spread,
}

/// Words of one quantity.
const EACH: usize = 6;
/// Words of all.
pub(crate) const WORDS: usize = StreamSpread::COUNT * EACH;

/// Writes one quantity.
pub(crate) fn store(words: &Words, quantity: StreamSpread, measured: &Measured) {
    let Measured { interval, total } = measured;
    let values = [interval.min, interval.avg, interval.max, total.min, total.avg, total.max];
    words.store_array(quantity as usize * EACH, &values);
}

/// One quantity out of a copy of all words.
pub(crate) fn of(words: &[u64; WORDS], quantity: StreamSpread) -> Measured {
    let at = quantity as usize * EACH;
    let spread = |at| Spread { min: words[at], avg: words[at + 1], max: words[at + 2] };
    Measured { interval: spread(at), total: spread(at + 3) }
}
