//! Receive rate and link capacity as full acknowledgements report them: means of what lies within
//! an eighth to eight times the median, over the last packets and over probing pairs
//! (draft-sharabayko-srt-01, 5.1.2; libsrt's filter).

use memory::Time;

use crate::packet::{HEADER_BYTES, UDP_IP_BYTES};
use crate::sequence::Sequence;

const ARRIVALS: usize = 16;
const PAIRS: usize = 64;
/// A probing pair starts at every 16th sequence number: its packets are sent back to back.
const PAIR_MASK: u32 = 15;
/// Payload that a pair's interval is scaled to.
const FULL_PAYLOAD_BYTES: u64 = 1_456;
const NANOS: u64 = 1_000_000_000;

/// What arrived lately.
#[derive(Debug)]
pub(crate) struct Rates {
    last: Option<Time>,
    intervals_ns: [u32; ARRIVALS],
    payload_bytes: [u32; ARRIVALS],
    next: usize,
    pair_start: Option<(Sequence, Time)>,
    pair_ns: [u32; PAIRS],
    next_pair: usize,
    capacity_pps: u32,
    pairs_changed: bool,
}

impl Rates {
    pub(crate) const fn new() -> Self {
        Self {
            last: None,
            // One packet a second until there are enough.
            intervals_ns: [1_000_000_000; ARRIVALS],
            payload_bytes: [0; ARRIVALS],
            next: 0,
            pair_start: None,
            // 1,000 packets a second until there are enough.
            pair_ns: [1_000_000; PAIRS],
            next_pair: 0,
            capacity_pps: 1_000,
            pairs_changed: false,
        }
    }

    /// Notes a data packet. `in_order` is false for retransmissions and for packets out of order:
    /// they prove nothing about the link's pace.
    #[inline]
    pub(crate) fn arrived(
        &mut self,
        arrival: Time,
        sequence: Sequence,
        payload_bytes: usize,
        in_order: bool,
    ) {
        let bytes = u32::try_from(payload_bytes).unwrap_or(u32::MAX);
        if let Some(last) = self.last.replace(arrival)
            && let Some(interval) = self.intervals_ns.get_mut(self.next)
            && let Some(place) = self.payload_bytes.get_mut(self.next)
        {
            *interval = nanos(arrival, last);
            *place = bytes;
            self.next = (self.next + 1) % ARRIVALS;
        }
        match sequence.value() & PAIR_MASK {
            0 => self.pair_start = in_order.then_some((sequence, arrival)),
            1 if in_order => self.pair_ends(arrival, sequence, bytes),
            _ => {}
        }
    }

    fn pair_ends(&mut self, arrival: Time, sequence: Sequence, bytes: u32) {
        let Some((_, start)) = self.pair_start.take().filter(|(first, _)| first.next() == sequence)
        else {
            return;
        };
        let interval = u64::from(nanos(arrival, start)) * FULL_PAYLOAD_BYTES;
        if let Some(place) = self.pair_ns.get_mut(self.next_pair) {
            *place = u32::try_from(interval / u64::from(bytes.max(1))).unwrap_or(u32::MAX);
            self.next_pair = (self.next_pair + 1) % PAIRS;
            self.pairs_changed = true;
        }
    }

    /// Packets and bytes a second, headers included; zeros while the last packets are too uneven.
    pub(crate) fn receive_rate(&self) -> (u32, u32) {
        let (low, high) = band(self.intervals_ns);
        let mut count = 0;
        let mut sum_ns = 0;
        let mut bytes = 0;
        for (interval, payload) in self.intervals_ns.iter().zip(&self.payload_bytes) {
            let interval = u64::from(*interval);
            if low < interval && interval < high {
                count += 1;
                sum_ns += interval;
                bytes += u64::from(*payload);
            }
        }
        if count <= ARRIVALS as u64 / 2 {
            return (0, 0);
        }
        bytes += count * (HEADER_BYTES + UDP_IP_BYTES) as u64;
        (per_second(count, sum_ns), per_second(bytes, sum_ns))
    }

    /// Estimated packets a second that the link can carry.
    pub(crate) fn link_capacity(&mut self) -> u32 {
        if self.pairs_changed {
            self.pairs_changed = false;
            let (low, high) = band(self.pair_ns);
            let mut count = 0;
            let mut sum_ns = 0;
            for interval in self.pair_ns {
                let interval = u64::from(interval);
                if low < interval && interval < high {
                    count += 1;
                    sum_ns += interval;
                }
            }
            self.capacity_pps = per_second(count, sum_ns);
        }
        self.capacity_pps
    }
}

fn nanos(later: Time, earlier: Time) -> u32 {
    // Two packets of one kernel batch can carry the same stamp: 1 ns keeps the median positive.
    let ns = later.nanos().saturating_sub(earlier.nanos()).max(1);
    u32::try_from(ns).unwrap_or(u32::MAX)
}

/// An eighth of the median and eight times it, both outside the band.
fn band<const N: usize>(mut values: [u32; N]) -> (u64, u64) {
    let (_, median, _) = values.select_nth_unstable(N / 2);
    let median = u64::from(*median);
    (median / 8, median * 8)
}

fn per_second(count: u64, sum_ns: u64) -> u32 {
    u32::try_from((count * NANOS).div_ceil(sum_ns.max(1))).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of 1,316 bytes `gap_us` apart, pairs back to back `pair_us` apart.
    fn after(packets: u32, gap_us: u64, pair_us: u64, in_order: bool) -> Rates {
        let mut rates = Rates::new();
        let mut now = 1_000_000;
        for sequence in 0..packets {
            now += if sequence % 16 == 1 { pair_us } else { gap_us };
            rates.arrived(Time::from_micros(now), Sequence::new(sequence), 1_316, in_order);
        }
        rates
    }

    #[test]
    fn even_arrivals_give_their_rate_with_headers() {
        let rates = after(100, 1_000, 1_000, true);
        assert_eq!(rates.receive_rate(), (1_000, 1_360_000));
    }

    #[test]
    fn outliers_beyond_an_eighth_and_eight_times_the_median_do_not_count() {
        let mut rates = after(100, 1_000, 1_000, true);
        rates.arrived(Time::from_micros(60_000_000), Sequence::new(5), 1_316, true);
        rates.arrived(Time::from_micros(60_000_001), Sequence::new(6), 1_316, true);
        assert_eq!(rates.receive_rate().0, 1_000);
    }

    #[test]
    fn too_few_packets_give_no_rate() {
        assert_eq!(Rates::new().receive_rate().0, 1, "one a second is where it starts");
        assert_eq!(after(5, 1_000, 1_000, true).receive_rate().0, 1);
        assert_eq!(after(9, 1_000, 1_000, true).receive_rate().0, 0, "half of them are real");
    }

    #[test]
    fn probing_pairs_tell_the_capacity_scaled_to_full_packets() {
        let mut rates = after(16 * 64, 1_000, 100, true);
        // 100 us for 1,316 bytes are 110.638 us for 1,456.
        assert_eq!(rates.link_capacity(), 9_039);
    }

    #[test]
    fn retransmitted_packets_are_no_probing_pairs() {
        let mut rates = after(16 * 64, 1_000, 100, false);
        assert_eq!(rates.link_capacity(), 1_000);
    }

    #[test]
    fn a_pair_with_a_packet_between_is_none() {
        let mut rates = Rates::new();
        for sequence in [16, 18, 33, 48, 48, 65] {
            rates.arrived(Time::from_micros(1), Sequence::new(sequence), 1_316, true);
        }
        assert!(!rates.pairs_changed);
    }

    #[test]
    fn equal_stamps_do_not_divide_by_zero() {
        let mut rates = after(16 * 64, 0, 0, true);
        assert!(rates.receive_rate().0 > 0);
        assert!(rates.link_capacity() > 0);
    }
}
