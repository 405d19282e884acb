//! Stamps for pictures whose unit carries none of their own.
//!
//! Decoding times go on from the last stamped picture at the stream's rate. Presentation times
//! follow the picture order count: against a stamped picture of the same coded video sequence, and
//! after an IDR against the delay that the sequences before it showed.

use codec::sink::Timestamps;

use crate::ratio::Ratio;

/// 25 frames a second, until the stream says or shows its rate.
pub(crate) const FIELD_TICKS_UNKNOWN: Ratio = Ratio::new(1800, 1);

/// Picture order count within a coded video sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PictureOrder {
    /// Counts the sequences, so that counts of two are not compared.
    pub(crate) sequence: u32,
    /// PicOrderCnt, in fields (twice that of HEVC).
    pub(crate) count: i64,
    /// The sequence was seen from its first picture on, without a loss.
    pub(crate) whole: bool,
}

/// Unwraps the coded low bits of the picture order count (H.264 8.2.1.1, H.265 8.3.1).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OrderCounter {
    sequence: u32,
    whole: bool,
    /// Of the last picture that counts as reference for the next; none after a loss.
    reference: Option<(i64, i64)>,
}

impl OrderCounter {
    /// Nothing came yet.
    pub(crate) const NEW: Self = Self { sequence: 0, whole: false, reference: None };

    /// Pictures were lost.
    pub(crate) const fn interrupt(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
        self.whole = false;
        self.reference = None;
    }

    /// The next picture in decoding order: whether it starts a sequence, its low bits and how many
    /// they are, and whether the next ones count from it. Returns its whole count.
    pub(crate) fn picture(&mut self, starts: bool, lsb: u16, bits: u8, reference: bool) -> i64 {
        if starts {
            self.sequence = self.sequence.wrapping_add(1);
            self.whole = true;
            self.reference = None;
        }
        let lsb = i64::from(lsb);
        let range = 1i64 << bits.min(16);
        let (before_msb, before_lsb) = self.reference.unwrap_or((0, lsb));
        let msb = match lsb - before_lsb {
            step if step <= -range / 2 => before_msb + range,
            step if step > range / 2 => before_msb - range,
            _ => before_msb,
        };
        if reference || self.reference.is_none() {
            self.reference = Some((msb, lsb));
        }
        msb + lsb
    }

    /// The same for a picture whose place in decoding order is its place in output order, and that
    /// codes `fields` fields.
    pub(crate) const fn picture_in_order(&mut self, starts: bool, fields: u8) -> i64 {
        if starts {
            self.sequence = self.sequence.wrapping_add(1);
            self.whole = true;
            self.reference = None;
        }
        let (count, _) = match self.reference {
            Some(reference) => reference,
            None => (0, 0),
        };
        self.reference = Some((count + fields as i64, 0));
        count
    }

    /// The order of the picture with this count.
    pub(crate) const fn order(&self, count: i64) -> PictureOrder {
        PictureOrder { sequence: self.sequence, count, whole: self.whole }
    }
}

/// Stamps of a frame, and whether they were derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamps {
    pub(crate) pts: Option<u64>,
    pub(crate) dts: Option<u64>,
    pub(crate) derived: bool,
}

/// The last picture that carried stamps.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    pts: u64,
    dts: u64,
    order: Option<PictureOrder>,
    /// Fields decoded since its start.
    fields: i64,
}

/// The timeline of one video track.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeline {
    anchor: Option<Anchor>,
    field_ticks: Ratio,
    /// Fields that one step of the picture order count stands for, in halves.
    half_fields_per_count: i64,
    /// PTS - DTS of a picture that starts a coded video sequence, once one was seen from there.
    delay: Option<i64>,
    /// Sequence that is being decoded and the fields decoded of it.
    sequence: Option<u32>,
    sequence_fields: i64,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            anchor: None,
            field_ticks: FIELD_TICKS_UNKNOWN,
            half_fields_per_count: 2,
            delay: None,
            sequence: None,
            sequence_fields: 0,
        }
    }
}

impl Timeline {
    /// What one field lasts, when it is known.
    pub(crate) fn set_field_ticks(&mut self, ticks: Option<Ratio>) {
        self.field_ticks = ticks.unwrap_or(FIELD_TICKS_UNKNOWN);
    }

    /// Pictures were lost: nothing is derived across.
    pub(crate) const fn interrupt(&mut self) {
        self.anchor = None;
    }

    /// Stamps the next picture in decoding order. `own` are the stamps its unit carried.
    pub(crate) fn stamp(
        &mut self,
        own: Timestamps,
        order: Option<PictureOrder>,
        fields: u8,
    ) -> Stamps {
        if order.map(|order| order.sequence) != self.sequence || order.is_none() {
            self.sequence = order.map(|order| order.sequence);
            self.sequence_fields = 0;
        }
        let stamps = match own.pts {
            Some(pts) => self.carried(pts, own.dts.unwrap_or(pts), order),
            None => self.derived(order),
        };
        self.sequence_fields = self.sequence_fields.saturating_add(i64::from(fields));
        if let Some(anchor) = &mut self.anchor {
            anchor.fields = anchor.fields.saturating_add(i64::from(fields));
        }
        stamps
    }

    fn carried(&mut self, pts: u64, dts: u64, order: Option<PictureOrder>) -> Stamps {
        self.learn_scale(pts, order);
        if let Some(order) = order.filter(|order| order.whole) {
            self.delay = Some(difference(pts, dts) - self.offset_in_sequence(order));
        }
        self.anchor = Some(Anchor { pts, dts, order, fields: 0 });
        Stamps { pts: Some(pts), dts: Some(dts), derived: false }
    }

    fn derived(&self, order: Option<PictureOrder>) -> Stamps {
        let Some(anchor) = &self.anchor else {
            return Stamps { derived: true, ..Stamps::default() };
        };
        let dts = anchor.dts.saturating_add_signed(self.field_ticks.times(anchor.fields));
        let pts = match (order, anchor.order) {
            (Some(order), Some(from)) if order.sequence == from.sequence => {
                let steps = order.count.saturating_sub(from.count);
                Some(anchor.pts.saturating_add_signed(self.count_ticks(steps)))
            }
            (Some(order), _) => self.delay.filter(|_| order.whole).map(|delay| {
                let later = delay.saturating_add(self.offset_in_sequence(order));
                dts.saturating_add_signed(later)
            }),
            (None, _) => None,
        };
        Stamps { pts, dts: Some(dts), derived: true }
    }

    /// How much later than it is decoded a picture is shown, beyond the sequence's first.
    fn offset_in_sequence(&self, order: PictureOrder) -> i64 {
        self.count_ticks(order.count).saturating_sub(self.field_ticks.times(self.sequence_fields))
    }

    fn count_ticks(&self, steps: i64) -> i64 {
        self.field_ticks.times(steps.saturating_mul(self.half_fields_per_count)) / 2
    }

    /// Two stamped pictures of one sequence show what a step of the count lasts: a field with most
    /// encoders, other values with some.
    fn learn_scale(&mut self, pts: u64, order: Option<PictureOrder>) {
        let (Some(anchor), Some(order)) = (&self.anchor, order) else { return };
        let Some(from) = anchor.order.filter(|from| from.sequence == order.sequence) else {
            return;
        };
        let ticks = difference(pts, anchor.pts);
        let steps = order.count.saturating_sub(from.count);
        for halves in [2, 4, 1, 8] {
            let expected = self.field_ticks.times(steps.saturating_mul(halves)) / 2;
            if steps != 0 && (expected - ticks).abs() * 8 <= ticks.abs() {
                self.half_fields_per_count = halves;
                return;
            }
        }
    }
}

/// `a - b` as a signed number.
const fn difference(a: u64, b: u64) -> i64 {
    a.wrapping_sub(b).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(pts: u64, dts: u64) -> Timestamps {
        Timestamps { pts: Some(pts), dts: Some(dts) }
    }

    fn order(sequence: u32, count: i64) -> Option<PictureOrder> {
        Some(PictureOrder { sequence, count, whole: true })
    }

    fn timeline() -> Timeline {
        let mut timeline = Timeline::default();
        timeline.set_field_ticks(Some(Ratio::new(3003, 2)));
        timeline
    }

    #[test]
    fn carried_stamps_are_untouched_and_an_absent_dts_is_the_pts() {
        let mut timeline = timeline();
        let stamps = timeline.stamp(Timestamps { pts: Some(7), dts: None }, order(0, 0), 2);
        assert_eq!(stamps, Stamps { pts: Some(7), dts: Some(7), derived: false });
    }

    #[test]
    fn b_frames_without_stamps_follow_the_picture_order() {
        let mut timeline = timeline();
        timeline.stamp(own(10_000, 10_000 - 6006), order(0, 0), 2);
        let p = timeline.stamp(Timestamps::default(), order(0, 6), 2);
        assert_eq!((p.pts, p.dts), (Some(10_000 + 9009), Some(10_000 - 3003)));
        let b = timeline.stamp(Timestamps::default(), order(0, 2), 2);
        assert_eq!((b.pts, b.dts), (Some(13_003), Some(10_000)));
        assert!(b.derived);
    }

    #[test]
    fn the_second_field_comes_half_a_frame_later() {
        let mut timeline = Timeline::default();
        timeline.stamp(own(9000, 9000), order(0, 0), 1);
        let second = timeline.stamp(Timestamps::default(), order(0, 1), 1);
        assert_eq!((second.pts, second.dts), (Some(10_800), Some(10_800)));
    }

    #[test]
    fn an_idr_without_stamps_has_the_delay_of_the_sequence_before() {
        let mut timeline = timeline();
        timeline.stamp(own(16_006, 10_000), order(0, 0), 2);
        for (count, pts) in [(4, 22_012), (2, 19_009)] {
            let stamps = timeline.stamp(Timestamps::default(), order(0, count), 2);
            assert_eq!(stamps.pts, Some(pts));
        }
        let idr = timeline.stamp(Timestamps::default(), order(1, 0), 2);
        assert_eq!((idr.pts, idr.dts), (Some(25_015), Some(19_009)));
        let next = timeline.stamp(Timestamps::default(), order(1, 4), 2);
        assert_eq!((next.pts, next.dts), (Some(31_021), Some(22_012)));
    }

    #[test]
    fn a_count_of_one_a_frame_is_learned_from_stamped_pictures() {
        let mut timeline = timeline();
        timeline.stamp(own(16_006, 10_000), order(0, 0), 2);
        timeline.stamp(own(25_015, 13_003), order(0, 3), 2);
        let b = timeline.stamp(Timestamps::default(), order(0, 1), 2);
        assert_eq!((b.pts, b.dts), (Some(19_009), Some(16_006)));
    }

    #[test]
    fn no_pts_is_derived_where_the_order_is_unknown_or_the_delay_was_never_seen() {
        let mut timeline = timeline();
        timeline.stamp(own(16_006, 10_000), None, 2);
        let blind = timeline.stamp(Timestamps::default(), None, 2);
        assert_eq!((blind.pts, blind.dts), (None, Some(13_003)));
        let idr = timeline.stamp(Timestamps::default(), order(1, 0), 2);
        assert_eq!((idr.pts, idr.dts), (None, Some(16_006)));
    }

    #[test]
    fn nothing_is_derived_before_the_first_stamp_or_across_a_loss() {
        let mut timeline = timeline();
        assert_eq!(timeline.stamp(Timestamps::default(), order(0, 0), 2).pts, None);
        timeline.stamp(own(10, 10), order(0, 2), 2);
        timeline.interrupt();
        assert_eq!(timeline.stamp(Timestamps::default(), order(0, 4), 2).dts, None);
    }
}
