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
            + self.ahead_us(arrival, timestamp_us)
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
        self.sum_us -= self.ahead_us(arrival, timestamp_us) + excess_rtt_us / 2;
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
