//! The measured frame rate: decoding times over the last frames, so that it does not depend on
//! what the stream declares or on when datagrams arrive.

use std::mem::offset_of;

use crate::ratio::Ratio;

/// Frames the measure looks back over.
const WINDOW: usize = 64;
/// Frames before a first measure is given.
const FRAMES_MIN: u64 = 8;
/// A longer step is a jump, not a frame.
const STEP_MAX_TICKS: u64 = 10 * 90_000;

#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    dts: u64,
    /// Fields before this picture, since the measure began.
    fields: u64,
}

/// Measures one video track.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct FrameRate {
    len: usize,
    /// Where the next sample goes: those before it are the last ones, all the way round.
    next: usize,
    fields: u64,
    measured: Option<Ratio>,
    samples: [Sample; WINDOW],
}

impl Default for FrameRate {
    fn default() -> Self {
        let samples = [Sample::default(); WINDOW];
        Self { len: 0, next: 0, fields: 0, measured: None, samples }
    }
}

impl FrameRate {
    /// What each picture needs, but for two of the samples, lies within so many of the first bytes.
    pub(crate) const STATE_BYTES: usize = offset_of!(Self, samples);

    /// Frames were lost or the timeline jumped: the last measure stands until there is a new one.
    pub(crate) const fn interrupt(&mut self) {
        self.len = 0;
        self.fields = 0;
    }

    /// A picture of 1 or 2 fields; `dts` is the decoding time that its unit carried, if it did.
    pub(crate) fn picture(&mut self, dts: Option<u64>, fields: u8) {
        if let Some(dts) = dts {
            self.sample(dts);
        }
        self.fields += u64::from(fields);
    }

    fn sample(&mut self, dts: u64) {
        if self.len > 0 {
            let step = dts.wrapping_sub(self.before_next(1).dts);
            if step == 0 || step > STEP_MAX_TICKS {
                self.interrupt();
            }
        }
        if let Some(slot) = self.samples.get_mut(self.next) {
            *slot = Sample { dts, fields: self.fields };
        }
        self.next = (self.next + 1) % WINDOW;
        self.len = (self.len + 1).min(WINDOW);
        let oldest = self.before_next(self.len);
        let fields = self.fields - oldest.fields;
        if fields >= 2 * FRAMES_MIN {
            self.measured = Some(Ratio::new(dts - oldest.dts, fields));
        }
    }

    /// The sample that came so many before the next, at most as many as there are places.
    fn before_next(&self, count: usize) -> Sample {
        self.samples.get((self.next + WINDOW - count) % WINDOW).copied().unwrap_or_default()
    }

    /// Ticks of 90 kHz a field.
    pub(crate) const fn field_ticks(&self) -> Option<Ratio> {
        self.measured
    }

    /// Frames in 1,000 seconds, a field pair counted once; 0 before there is a measure.
    pub(crate) fn millihertz(&self) -> u32 {
        self.measured.map_or(0, |ticks| {
            let rate = ticks.invert().times(45_000_000);
            u32::try_from(rate).unwrap_or(u32::MAX)
        })
    }
}

/// Ticks of 90 kHz a field at so many frames a second.
pub(crate) fn field_ticks((frames, seconds): (u32, u32)) -> Ratio {
    Ratio::new(45_000 * u64::from(seconds), u64::from(frames))
}

/// The rate to count with: encoders declare wrong rates, and a measure of a right one is rough.
pub(crate) fn settled(declared: Option<Ratio>, measured: Option<Ratio>) -> Option<Ratio> {
    match (declared, measured) {
        (Some(declared), Some(measured)) if declared.is_near(measured, 100) => Some(declared),
        (declared, None) => declared,
        (_, measured) => measured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(steps: impl Iterator<Item = u64>, fields: u8) -> FrameRate {
        let mut rate = FrameRate::default();
        let mut dts = 1_000;
        for step in steps {
            rate.picture(Some(dts), fields);
            dts += step;
        }
        rate
    }

    #[test]
    fn a_steady_stream_is_measured_exactly() {
        assert_eq!(measure(std::iter::repeat_n(3003, 40), 2).millihertz(), 29_970);
        assert_eq!(measure(std::iter::repeat_n(3600, 200), 2).millihertz(), 25_000);
        let film = [3753u64, 3754, 3754, 3754].into_iter().cycle().take(41);
        assert_eq!(measure(film, 2).millihertz(), 23_976);
    }

    #[test]
    fn a_field_pair_counts_once() {
        assert_eq!(measure(std::iter::repeat_n(1800, 40), 1).millihertz(), 25_000);
    }

    #[test]
    fn pictures_without_stamps_count() {
        let mut rate = FrameRate::default();
        for frame in 0..60u64 {
            rate.picture((frame % 3 == 0).then_some(frame * 1500), 2);
        }
        assert_eq!(rate.millihertz(), 60_000);
    }

    #[test]
    fn a_jump_starts_over_and_keeps_the_last_measure() {
        let mut rate = measure(std::iter::repeat_n(3600, 20), 2);
        rate.picture(Some(5), 2);
        assert_eq!(rate.millihertz(), 25_000);
        for frame in 1..20u64 {
            rate.picture(Some(5 + frame * 1800), 2);
        }
        assert_eq!(rate.millihertz(), 50_000);
    }
}
