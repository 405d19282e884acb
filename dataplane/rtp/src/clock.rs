//! From the tracks' RTP timestamps to one 90 kHz line (RFC 3550, 5.1 and 6.4.1).
//!
//! ```text
//!  track 0  32-bit ticks ─unwrap─▶ 90 kHz ───────────────────────────▶ the line
//!  track 1  32-bit ticks ─unwrap─▶ 90 kHz ─▶ + offset to track 0 ────▶ the line
//!                                             by arrival until both sent a report,
//!                                             then by their wall clock, without a step
//! ```
//!
//! The first track that sends is the line: its first stamp equals the wire's. A timestamp that
//! moves otherwise than time did, by more than ten seconds, is a restart of the sender's clock and
//! not a pause: the line goes on by arrival.

use memory::Time;

use crate::rtcp::SenderInfo;

/// Ticks of the line in a second.
const LINE_HZ: i128 = 90_000;
/// Reports farther apart are of different wall clocks: a day.
const DAY_TICKS: i64 = 90_000 * 86_400;
/// A timestamp that is this far from where time went is another clock: ten seconds.
const JUMP_TICKS: i64 = 900_000;
/// Farther than this an offset is set at once, and within it moves slowly: half a second.
const STEP_TICKS: i64 = 45_000;
/// The offset moves by a tick for so many ticks of the track: 5 ms in a second.
const SLEW: i64 = 200;

/// One track's part of the line.
#[derive(Debug, Clone, Copy)]
pub struct TrackClock {
    clock_hz: u32,
    /// Last timestamp, unwrapped, and when its packet came.
    last: Option<(i64, Time)>,
    /// Added to the unwrapped timestamp in 90 kHz ticks to give the line.
    offset: i64,
    /// Where the offset moves to.
    offset_target: i64,
    /// Last position, for the speed of the offset.
    slewed_at: i64,
    /// Sender's report: its wall clock and the unwrapped timestamp.
    report: Option<(u64, u32)>,
    /// Times the sender's clock restarted.
    jumps: u64,
    /// The next timestamp is another source's.
    changed: bool,
}

impl TrackClock {
    /// Of a payload format's clock.
    pub const fn new(clock_hz: u32) -> Self {
        Self {
            clock_hz: if clock_hz == 0 { 90_000 } else { clock_hz },
            last: None,
            offset: 0,
            offset_target: 0,
            slewed_at: 0,
            report: None,
            jumps: 0,
            changed: false,
        }
    }

    /// Ticks a second.
    pub const fn clock_hz(&self) -> u32 {
        self.clock_hz
    }

    /// Another source takes the track over: its timestamps have nothing to do with those before, and
    /// the line goes on by arrival.
    pub const fn change_source(&mut self) {
        self.report = None;
        self.changed = true;
    }

    /// Times the sender's clock restarted.
    pub const fn jumps(&self) -> u64 {
        self.jumps
    }

    /// A sender report came. False when its wall clock goes back.
    pub fn report(&mut self, info: &SenderInfo) -> bool {
        if info.ntp == 0 || self.report.is_some_and(|(ntp, _)| info.ntp < ntp) {
            return false;
        }
        self.report = Some((info.ntp, info.timestamp));
        true
    }

    /// Middle 32 bits of the last report's wall clock.
    pub fn last_report(&self) -> u32 {
        let middle = self.report.map_or(0, |(ntp, _)| ntp >> 16 & 0xffff_ffff);
        u32::try_from(middle).unwrap_or(0)
    }

    /// Unwraps a timestamp next to the last one.
    fn unwrap(&self, timestamp: u32) -> i64 {
        match self.last {
            None => i64::from(timestamp),
            Some((last, _)) => last + i64::from(timestamp.wrapping_sub(low(last)).cast_signed()),
        }
    }

    fn line_ticks(&self, ticks: i64) -> i64 {
        // What all video has is the line's clock: nothing is to be divided.
        if i128::from(self.clock_hz) == LINE_HZ {
            return ticks;
        }
        let exact = i128::from(ticks) * LINE_HZ;
        let hz = i128::from(self.clock_hz);
        // To the nearest tick.
        i64::try_from((exact + hz / 2).div_euclid(hz)).unwrap_or(0)
    }

    /// Where on the line the report's moment lies by this track's own clock, without offset.
    fn reported(&self) -> Option<(u64, i64)> {
        let (ntp, timestamp) = self.report?;
        self.last?;
        Some((ntp, self.line_ticks(self.unwrap(timestamp))))
    }

    fn slew(&mut self, position: i64) {
        let passed = (position - self.slewed_at).abs();
        let away = self.offset_target - self.offset;
        if away.abs() > STEP_TICKS {
            self.offset = self.offset_target;
        } else if passed >= SLEW && away != 0 {
            self.offset += away.signum() * (passed / SLEW).min(away.abs());
            self.slewed_at = position;
        }
        if away == 0 {
            self.slewed_at = position;
        }
    }
}

/// The line of a session's tracks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Line {
    /// Index of the track that the line is.
    leader: Option<usize>,
}

impl Line {
    /// Forgets the leader.
    pub const fn reset(&mut self) {
        self.leader = None;
    }

    /// The place on the line of a timestamp of `track`, whose packet came at `arrival`.
    pub fn stamp(
        &mut self,
        clocks: &mut [TrackClock],
        track: usize,
        timestamp: u32,
        arrival: Time,
    ) -> Option<u64> {
        let leader = *self.leader.get_or_insert(track);
        let lead = if track == leader { None } else { Some(*clocks.get(leader)?) };
        let clock = clocks.get_mut(track)?;
        let ticks = clock.unwrap(timestamp);
        let position = clock.line_ticks(ticks);
        let mut jumped = false;
        match clock.last {
            None if let Some(lead) = &lead => {
                clock.offset = first_offset(lead, clock, position, ticks, arrival)?;
                clock.offset_target = clock.offset;
                clock.slewed_at = position;
            }
            Some((last, at)) => {
                let expected = clock.line_ticks(last) + elapsed_ticks(at, arrival);
                let changed = std::mem::take(&mut clock.changed);
                jumped = changed || (position - expected).abs() > JUMP_TICKS;
                if jumped {
                    clock.jumps += u64::from(!changed);
                    clock.offset += expected - position;
                    clock.offset_target = clock.offset;
                    clock.slewed_at = position;
                    clock.report = None;
                }
            }
            None => {}
        }
        clock.last = Some(match clock.last {
            // A late timestamp does not move the line back.
            Some((last, at)) if last > ticks && !jumped => (last, at),
            _ => (ticks, arrival),
        });
        if let Some(lead) = &lead
            && let Some(target) = reported_offset(lead, clock)
        {
            clock.offset_target = target;
        }
        clock.slew(position);
        Some(wire(position + clock.offset))
    }
}

/// The offset of a track at its first packet: by the reports, else by arrival.
fn first_offset(
    lead: &TrackClock,
    clock: &TrackClock,
    position: i64,
    ticks: i64,
    arrival: Time,
) -> Option<i64> {
    let started = TrackClock { last: Some((ticks, arrival)), ..*clock };
    if let Some(offset) = reported_offset(lead, &started) {
        return Some(offset);
    }
    let (last, at) = lead.last?;
    Some(lead.line_ticks(last) + lead.offset + elapsed_ticks(at, arrival) - position)
}

/// What brings a track to the leader's line by their reports.
fn reported_offset(lead: &TrackClock, clock: &TrackClock) -> Option<i64> {
    let (lead_ntp, lead_at) = lead.reported()?;
    let (ntp, at) = clock.reported()?;
    let apart = i128::from(ntp) - i128::from(lead_ntp);
    let apart = i64::try_from((apart * LINE_HZ + (1 << 31)) >> 32).ok()?;
    // Reports that are days apart are of different clocks.
    let sane = apart.abs() < DAY_TICKS;
    sane.then_some(lead_at + lead.offset + apart - at)
}

/// Ticks of the line from `earlier` to `later`, negative when they are swapped.
fn elapsed_ticks(earlier: Time, later: Time) -> i64 {
    let nanos = later.nanos().wrapping_sub(earlier.nanos()).cast_signed();
    // 9 ticks are 100 us. What no 64 bits hold is 32 years.
    nanos.checked_mul(9).map_or(0, |nanos| nanos / 100_000)
}

/// The low 32 bits.
fn low(ticks: i64) -> u32 {
    u32::try_from(ticks & 0xffff_ffff).unwrap_or(0)
}

/// Stamps are not negative: what lies before zero is told as 2^33 later, as in MPEG-TS.
fn wire(position: i64) -> u64 {
    u64::try_from(position)
        .unwrap_or_else(|_| u64::try_from(position.rem_euclid(1 << 33)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        line: Line,
        clocks: [TrackClock; 2],
    }

    impl Bench {
        fn new(rates: [u32; 2]) -> Self {
            Self { line: Line::default(), clocks: rates.map(TrackClock::new) }
        }

        fn at(&mut self, track: usize, timestamp: u32, ms: u64) -> u64 {
            let arrival = Time::from_micros(ms * 1_000);
            self.line.stamp(&mut self.clocks, track, timestamp, arrival).unwrap()
        }

        fn report(&mut self, track: usize, ms: u64, timestamp: u32) -> bool {
            let ntp = (3_900_000_000 << 32) + (ms << 32) / 1_000;
            self.clocks[track].report(&SenderInfo { ntp, timestamp, ..SenderInfo::default() })
        }
    }

    #[test]
    fn the_first_stamp_is_the_wires_and_wraps_go_on() {
        let mut bench = Bench::new([90_000; 2]);
        let start = u32::MAX - 2_999;
        assert_eq!(bench.at(0, start, 0), u64::from(start));
        assert_eq!(bench.at(0, 600, 40), u64::from(start) + 3_600);
        assert_eq!(bench.at(0, start, 50), u64::from(start), "a late one of the earlier cycle");
        assert_eq!(bench.at(0, 4_200, 80), u64::from(start) + 7_200);
        assert_eq!(bench.clocks[0].jumps(), 0);
    }

    #[test]
    fn many_wraps_do_not_drift() {
        let mut bench = Bench::new([48_000, 90_000]);
        let mut exact = 0u64;
        for step in 0..40u64 {
            exact = step * 1_000_000_000;
            let stamp = bench.at(0, (exact & 0xffff_ffff) as u32, exact / 48);
            assert_eq!(stamp, (exact * 90_000 + 24_000) / 48_000);
        }
        assert!(exact > u64::from(u32::MAX) * 8);
    }

    #[test]
    fn without_reports_tracks_meet_by_arrival() {
        let mut bench = Bench::new([90_000, 48_000]);
        bench.at(0, 1_000_000, 100);
        assert_eq!(bench.at(1, 5, 200), 1_009_000);
        assert_eq!(bench.at(1, 5 + 48_000, 1_200), 1_099_000);
    }

    #[test]
    fn reports_before_the_first_packets_are_exact_from_the_start() {
        let mut bench = Bench::new([90_000, 48_000]);
        bench.report(0, 500, 1_000_000);
        bench.report(1, 600, 7_000);
        bench.at(0, 1_000_000, 100);
        // 100 ms after track 0's moment, whatever the arrival.
        assert_eq!(bench.at(1, 7_000, 250), 1_009_000);
    }

    #[test]
    fn later_reports_move_the_track_slowly() {
        let mut bench = Bench::new([90_000, 48_000]);
        bench.at(0, 0, 0);
        assert_eq!(bench.at(1, 0, 10), 900);
        bench.report(0, 0, 0);
        // 30 ms off.
        bench.report(1, 40, 0);
        let mut before = 900;
        for step in 1..=400u32 {
            let stamp = bench.at(1, step * 960, 10 + u64::from(step) * 20);
            let moved = stamp - before;
            assert!((1_800..=1_810).contains(&moved), "{moved}");
            before = stamp;
        }
        assert_eq!(before, 400 * 1_800 + 3_600);
    }

    #[test]
    fn a_report_that_goes_back_is_refused() {
        let mut bench = Bench::new([90_000; 2]);
        assert!(bench.report(0, 1_000, 90_000));
        assert!(!bench.report(0, 999, 180_000));
        assert!(bench.report(0, 2_000, 180_000));
        let zero = SenderInfo::default();
        assert!(!bench.clocks[0].report(&zero), "a sender without a wall clock");
    }

    #[test]
    fn a_pause_is_no_jump_and_a_restart_is_no_gap_of_hours() {
        let mut bench = Bench::new([90_000; 2]);
        bench.at(0, 1_000, 0);
        assert_eq!(bench.at(0, 1_000 + 90_000 * 60, 60_000), 1_000 + 90_000 * 60);
        assert_eq!(bench.clocks[0].jumps(), 0);
        let stamp = bench.at(0, 0xdead_beef, 61_000);
        assert_eq!(stamp, 1_000 + 90_000 * 61, "goes on by arrival");
        assert_eq!(bench.at(0, 0xdead_beef + 3_600, 61_040), stamp + 3_600);
        assert_eq!(bench.clocks[0].jumps(), 1);
    }
}
