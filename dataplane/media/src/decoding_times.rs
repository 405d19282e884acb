//! Decoding times where units carry presentation times alone (RTP).
//!
//! Pictures are decoded so early that each is there when it is shown: with `delay` pictures decoded
//! ahead, the n-th in decoding order takes the n-th smallest presentation time, `delay` pictures
//! earlier. So does FFmpeg.
//!
//! ```text
//!  decoded    I0   P3   B1   B2   P6   …     delay 1
//!  shown       0    3    1    2    6   …
//!  decoded at -1    0    1    2    3   …
//! ```
//!
//! In a stream of fields and frames a frame counts as its two fields.
//!
//! The stream declares the delay (H.264 E.2.1 max_num_reorder_frames, H.265
//! sps_max_num_reorder_pics). Where it does not, or wrongly, the delay grows to what is seen: as many
//! pictures as came before one and are shown after it. Decoding times rise with each picture,
//! whatever is shown when.

use std::mem::offset_of;

use crate::ratio::Ratio;

/// Most pictures that may be decoded ahead: 16 frames of two fields.
const DELAY_MAX: usize = 32;
/// Presentation times that are looked back over.
const WINDOW: usize = DELAY_MAX + 2;
/// Places for them: a power of two.
const PLACES: usize = 64;
/// One farther from the last is of another timeline.
const JUMP_TICKS: u64 = 10 * crate::STREAM_TICKS_A_SECOND;

/// Of one video track.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct DecodingTimes {
    len: usize,
    /// Pictures found to be decoded ahead.
    learned: usize,
    newest: u64,
    last: Option<u64>,
    /// The place of the latest of `shown`.
    first: usize,
    /// The latest presentation times, the latest first, from `first` on all the way round: what comes is
    /// nearly the latest, and only what is later still has to move for it.
    shown: [u64; PLACES],
}

impl Default for DecodingTimes {
    fn default() -> Self {
        Self { len: 0, learned: 0, newest: 0, last: None, first: 0, shown: [0; PLACES] }
    }
}

/// What a picture takes of its track's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) pts: u64,
    /// Frames that the stream says are decoded ahead.
    pub(crate) reorder: Option<u8>,
    /// The stream has fields, and this picture so many of them; 0 where it has none.
    pub(crate) fields: u8,
    pub(crate) field_ticks: Ratio,
}

/// When a picture is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) dts: u64,
    /// What it would be if the delay had been known from the start: it tells the rate.
    pub(crate) due: u64,
    /// Pictures are decoded further ahead than was known.
    pub(crate) learned: bool,
    /// It is not simply the time at which it is shown.
    pub(crate) derived: bool,
}

impl DecodingTimes {
    /// What each picture needs, but for some of the times, lies within so many of the first bytes.
    pub(crate) const STATE_BYTES: usize = offset_of!(Self, shown);

    /// The next picture in decoding order.
    pub(crate) fn picture(&mut self, picture: &Picture) -> Decoded {
        let pts = picture.pts;
        let jumps = self.len > 0 && pts.abs_diff(self.newest) > JUMP_TICKS;
        if jumps || self.ahead_of(pts) > DELAY_MAX {
            self.len = 0;
            self.last = None;
        }
        self.newest = pts;
        let learned = self.learned.max(self.ahead_of(pts));
        let grown = std::mem::replace(&mut self.learned, learned) < learned;
        let (in_frame, step) = match picture.fields {
            0 => (1, picture.field_ticks.scaled(2)),
            _ => (2, picture.field_ticks),
        };
        let declared = usize::from(picture.reorder.unwrap_or(0)) * in_frame;
        let delay = declared.max(self.learned).min(DELAY_MAX);
        self.insert(pts);
        let mut place = delay;
        if picture.fields == 2 {
            self.insert(pts.saturating_add_signed(step.times(1)));
            place += 1;
        }
        let due = self.shown_at(place, step).unwrap_or(pts);
        let dts = match self.last {
            Some(last) if due <= last => last.saturating_add(1),
            _ => due,
        };
        self.last = Some(dts);
        Decoded { dts, due, learned: grown && learned > declared, derived: delay > 0 || dts != pts }
    }

    /// The presentation time at that place from the latest on. Those before the first are taken to
    /// lie as far apart as the stream's pictures do.
    fn shown_at(&self, place: usize, step: Ratio) -> Option<u64> {
        let oldest = self.len.checked_sub(1)?;
        let known = self.shown(place.min(oldest));
        let before = i64::try_from(place.saturating_sub(oldest)).ok()?;
        Some(known.saturating_add_signed(-step.times(before)))
    }

    /// Pictures that came before one shown at `pts` and are shown after it.
    fn ahead_of(&self, pts: u64) -> usize {
        (0..self.len).find(|at| self.shown(*at) <= pts).unwrap_or(self.len)
    }

    /// The presentation time with so many later ones.
    fn shown(&self, later: usize) -> u64 {
        self.shown.get((self.first + later) % PLACES).copied().unwrap_or_default()
    }

    fn set_shown(&mut self, later: usize, pts: u64) {
        if let Some(place) = self.shown.get_mut((self.first + later) % PLACES) {
            *place = pts;
        }
    }

    fn insert(&mut self, pts: u64) {
        let at = self.ahead_of(pts);
        self.len = (self.len + 1).min(WINDOW);
        self.first = (self.first + PLACES - 1) % PLACES;
        for later in 0..at {
            self.set_shown(later, self.shown(later + 1));
        }
        self.set_shown(at, pts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 900_000;

    fn picture(pts: u64, reorder: Option<u8>) -> Picture {
        Picture { pts, reorder, fields: 0, field_ticks: Ratio::new(1_800, 1) }
    }

    /// Decoding times, in frames from the first picture's presentation.
    fn decoded(shown: &[i64], reorder: Option<u8>) -> Vec<i64> {
        let mut times = DecodingTimes::default();
        let at = |frame: i64| START.strict_add_signed(3_600 * frame);
        shown
            .iter()
            .map(|frame| times.picture(&picture(at(*frame), reorder)).dts)
            .map(|dts| (dts.cast_signed() - START.cast_signed()).div_euclid(3_600))
            .collect()
    }

    #[test]
    fn without_reordering_pictures_are_decoded_when_they_are_shown() {
        let mut times = DecodingTimes::default();
        for frame in 0..50 {
            let pts = START + 3_600 * frame;
            let decoded = times.picture(&picture(pts, Some(0)));
            assert_eq!(decoded, Decoded { dts: pts, due: pts, learned: false, derived: false });
        }
    }

    #[test]
    fn declared_reordering_is_decoded_ahead_from_the_first_picture_on() {
        assert_eq!(decoded(&[0, 3, 1, 2, 6, 4, 5], Some(1)), [-1, 0, 1, 2, 3, 4, 5]);
        // A pyramid.
        let shown = [0, 4, 2, 1, 3, 8, 6, 5, 7];
        assert_eq!(decoded(&shown, Some(2)), [-2, -1, 0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn reordering_that_is_not_declared_or_too_low_is_learned() {
        let shown = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8, 12, 10, 11];
        for reorder in [None, Some(0)] {
            let got = decoded(&shown, reorder);
            assert_eq!(got[4..], [3, 4, 5, 6, 7, 8, 9, 10, 11], "once one was shown too early");
        }
    }

    #[test]
    fn frames_among_fields_count_as_two() {
        // I as fields, P as a frame, B as fields, B as a frame: first field, fields of the picture.
        let pictures = [(0, 1), (1, 1), (6, 2), (2, 1), (3, 1), (4, 2), (12, 2), (8, 2), (10, 2)];
        let mut times = DecodingTimes::default();
        let mut at = -2;
        for (shown, fields) in pictures {
            let pts = START + 1_800 * shown;
            let made = Picture { fields, ..picture(pts, Some(1)) };
            let dts = START.strict_add_signed(1_800 * at);
            assert_eq!(times.picture(&made).dts, dts, "shown at {shown}");
            at += i64::from(fields);
        }
    }

    #[test]
    fn decoding_times_rise_whatever_is_shown_when() {
        let mut times = DecodingTimes::default();
        let mut last = 0;
        let mut random = 7u64;
        for round in 0..2_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let reorder = (round % 5 == 0).then_some(u8::try_from(random >> 60).unwrap());
            let pts = START + 3_600 * round + (random >> 33) % 50_000;
            let fields = [0, 1, 2][usize::try_from(random >> 40).unwrap() % 3];
            let dts = times.picture(&Picture { fields, ..picture(pts, reorder) }).dts;
            assert!(dts > last, "{round}");
            last = dts;
        }
    }

    #[test]
    fn a_clock_that_is_set_back_starts_over() {
        let mut times = DecodingTimes::default();
        for frame in 0..100 {
            times.picture(&picture(START + 3_600 * frame, None));
        }
        for frame in 0..50 {
            let pts = START + 3_600 * frame;
            let decoded = times.picture(&picture(pts, None));
            assert_eq!(decoded, Decoded { dts: pts, due: pts, learned: false, derived: false });
        }
    }

    #[test]
    fn another_timeline_starts_over() {
        let mut times = DecodingTimes::default();
        for pts in [START, 100 * START, 3 * START] {
            assert_eq!(times.picture(&picture(pts, Some(0))).dts, pts);
        }
    }
}
