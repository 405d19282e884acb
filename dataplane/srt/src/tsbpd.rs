//! Delivery times from the sender's timestamps (TSBPD; draft-sharabayko-srt-01, 4.5 and 4.7).
//!
//! ```text
//!  due = base + timestamp + latency + drift      base = arrival of the conclusion - its timestamp
//! ```
//!
//! Timestamps count modulo 2^32 us (71 min 35 s). They are unwrapped against the local clock: a
//! packet's timestamp is the one of its 2^32 candidates nearest to `arrival - base`. So there is no
//! wrap period to enter and leave, and no packet can move the reference.

use std::time::Duration;

use memory::Time;

/// Samples to a drift estimate, as in libsrt.
const DRIFT_SAMPLES: u32 = 1_000;
/// No packet comes long before it was sent. A timestamp that says so is damaged or lies: it must
/// neither hold up what comes behind nor outweigh the other samples of drift.
const ERROR_MAX_US: i64 = 1_000_000;
/// Drift beyond this moves into the base.
const DRIFT_MAX_US: i64 = 5_000;

/// The time base of one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeBase {
    /// Local time, in microseconds, of the sender's timestamp 0; before our clock's origin when the
    /// sender has run for longer than we.
    base_us: i64,
    latency_us: i64,
    /// Part of the measured drift that has not moved into the base; it applies to due times too.
    drift_us: i64,
    /// All drift that has moved into the base.
    moved_us: i64,
    sum_us: i64,
    samples: u32,
}

impl TimeBase {
    /// From a packet of known arrival and timestamp.
    pub(crate) fn new(arrival: Time, timestamp_us: u32, latency: Duration) -> Self {
        Self {
            base_us: micros(arrival) - i64::from(timestamp_us),
            latency_us: i64::try_from(latency.as_micros()).unwrap_or(i64::MAX / 4),
            drift_us: 0,
            moved_us: 0,
            sum_us: 0,
            samples: 0,
        }
    }

    /// When a packet that came at `arrival` is due.
    #[inline]
    pub(crate) fn due(&self, arrival: Time, timestamp_us: u32) -> Time {
        let us = micros(arrival)
            + self.ahead_us(arrival, timestamp_us).min(ERROR_MAX_US)
            + self.latency_us
            + self.drift_us;
        Time::from_micros(u64::try_from(us).unwrap_or(0))
    }

    /// How far the timestamp lies ahead of the local clock on the sender's scale, wrap resolved.
    #[inline]
    fn ahead_us(&self, arrival: Time, timestamp_us: u32) -> i64 {
        let expected = low32((micros(arrival) - self.base_us).cast_unsigned());
        i64::from(timestamp_us.wrapping_sub(expected).cast_signed())
    }

    /// Takes the timestamp of a control packet as a drift sample. `excess_rtt_us` is how much longer
    /// than the first the round trip now is: half of it delayed this packet.
    pub(crate) fn sample(&mut self, arrival: Time, timestamp_us: u32, excess_rtt_us: i64) {
        let sample = self.ahead_us(arrival, timestamp_us) + excess_rtt_us / 2;
        self.sum_us -= sample.clamp(-ERROR_MAX_US, ERROR_MAX_US);
        self.samples += 1;
        if self.samples < DRIFT_SAMPLES {
            return;
        }
        let average = self.sum_us / i64::from(self.samples);
        let over = if average.abs() > DRIFT_MAX_US { DRIFT_MAX_US * average.signum() } else { 0 };
        self.base_us += over;
        self.moved_us += over;
        self.drift_us = average - over;
        self.sum_us = 0;
        self.samples = 0;
    }

    /// Drift measured since the start: moved and still applied.
    pub(crate) const fn drift_us(&self) -> i64 {
        self.moved_us + self.drift_us
    }
}

fn micros(time: Time) -> i64 {
    time.micros().cast_signed()
}

/// The low 32 bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the point is to keep the low half")]
pub(crate) const fn low32(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Duration = Duration::from_millis(120);
    const START: Time = Time::from_micros(5_000_000);

    fn after(us: u64) -> Time {
        START + Duration::from_micros(us)
    }

    #[test]
    fn a_packet_is_due_latency_after_its_time_on_the_senders_clock() {
        let base = TimeBase::new(START, 1_000, LATENCY);
        for (arrival, timestamp, due) in
            [(0, 1_000, 120_000), (90_000, 51_000, 170_000), (0, 901_000, 1_020_000)]
        {
            assert_eq!(base.due(after(arrival), timestamp), after(due));
        }
    }

    #[test]
    fn a_timestamp_far_ahead_holds_nothing_up_and_moves_no_drift() {
        let mut base = TimeBase::new(START, 1_000, LATENCY);
        for lie in [2_000_000, 1 << 30, (1 << 31) - 5] {
            assert_eq!(base.due(START, 1_000 + lie), after(1_120_000));
        }
        base.sample(START, 1_000 + (1 << 30), 0);
        for _ in 1..DRIFT_SAMPLES {
            base.sample(START, 1_000, 0);
        }
        assert_eq!(base.drift_us(), -1_000, "a thousandth of a second");
    }

    #[test]
    fn timestamps_go_on_over_each_32_bit_wrap() {
        let hour_us = 3_600_000_000_u64;
        for start in [0, u32::MAX - 5, u32::MAX / 2 - 5] {
            let base = TimeBase::new(START, start, LATENCY);
            for elapsed in (0..5 * hour_us).step_by(7_000_001) {
                let timestamp = low32(u64::from(start) + elapsed);
                // Up to a second late and, by a retransmission, older than what came before.
                for late in [0, 20_000, 1_000_000] {
                    assert_eq!(
                        base.due(after(elapsed + late), timestamp),
                        after(elapsed + 120_000)
                    );
                }
            }
        }
    }

    #[test]
    fn a_sender_older_than_our_clock_is_no_problem() {
        let base = TimeBase::new(Time::from_micros(10), 4_000_000_000, LATENCY);
        assert_eq!(base.due(Time::from_micros(20), 4_000_000_010), Time::from_micros(120_020));
    }

    #[test]
    fn no_timestamp_moves_the_base_or_wraps_below_zero() {
        let base = TimeBase::new(Time::from_micros(10), 0, LATENCY);
        assert_eq!(base.due(Time::from_micros(10), 1 << 31), Time::ZERO, "far in the past");
        let far = base.due(Time::from_micros(10), (1 << 31) - 1);
        assert_eq!(far, Time::from_micros(10 + 1_000_000 + 120_000), "a second ahead at most");
        assert_eq!(base.due(Time::from_micros(10), 0), Time::from_micros(120_010));
    }

    fn drifted(base: &mut TimeBase, drift_us: i64, samples: u32) {
        for sample in 1..=u64::from(samples) {
            let arrival = after(sample * 10_000).micros().checked_add_signed(drift_us).unwrap();
            base.sample(Time::from_micros(arrival), low32(sample * 10_000), 0);
        }
    }

    #[test]
    fn drift_applies_after_1000_samples_and_not_before() {
        let mut base = TimeBase::new(START, 0, LATENCY);
        drifted(&mut base, 2_000, 999);
        assert_eq!(base.drift_us(), 0);
        drifted(&mut base, 2_000, 1);
        assert_eq!(base.drift_us(), 2_000);
        assert_eq!(base.moved_us, 0);
        assert_eq!(base.due(after(0), 0), after(122_000));
    }

    #[test]
    fn drift_beyond_5_ms_moves_5_ms_into_the_base() {
        for sign in [1, -1] {
            let mut base = TimeBase::new(START, 0, LATENCY);
            drifted(&mut base, sign * 7_000, 1_000);
            assert_eq!((base.moved_us, base.drift_us()), (sign * 5_000, sign * 7_000));
            let due = after(120_000).micros().checked_add_signed(sign * 7_000).unwrap();
            assert_eq!(base.due(after(0), 0), Time::from_micros(due));
            drifted(&mut base, sign * 7_000, 1_000);
            assert_eq!(base.drift_us(), sign * 7_000, "measured against the moved base");
        }
    }

    #[test]
    fn half_of_a_longer_round_trip_is_not_drift() {
        let mut base = TimeBase::new(START, 0, LATENCY);
        for sample in 1..=1_000 {
            base.sample(after(sample * 10_000 + 3_000), low32(sample * 10_000), 6_000);
        }
        assert_eq!(base.drift_us(), 0);
    }
}
