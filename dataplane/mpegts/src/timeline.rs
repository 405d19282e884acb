//! One line of 90 kHz time for all tracks of a program, from 33-bit stamps.
//!
//! A stamp on the line is congruent to the wire's modulo 2^33, and the first equals it. Each track
//! goes on from its own last stamp, so that the tracks may cross the wrap at different moments. A
//! track's first stamp, and one that jumps, are placed next to where the program stands: all
//! tracks stay on one line. The line never goes below zero: a stamp before the wire's zero is
//! told as the wire says it, just below 2^33.

use codec::sink::Timestamps;

use crate::pes::STAMP_MODULUS;

/// A step of a track further than this, 10 s, is a jump: a new segment.
const JUMP_TICKS: i64 = 900_000;
const MODULUS: i64 = 1 << 33;
/// Far from overflow; only a stream of endless jumps gets there.
const LINE_END: i64 = 1 << 61;

/// Where the program stands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Timeline {
    last: Option<i64>,
}

/// Where one track stands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TrackTime {
    pub last: Option<i64>,
    /// The stream announced that its time base breaks here.
    pub announced: bool,
}

/// Stamps on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub stamps: Timestamps,
    /// A jump that nothing announced, the first of its segment.
    pub jumped: bool,
}

impl Timeline {
    pub(crate) const fn reset(&mut self) {
        self.last = None;
    }

    /// Places the stamps of one PES packet. `leads` says that the track moves the program's time;
    /// data tracks may keep a clock of their own.
    pub(crate) fn place(
        &mut self,
        track: &mut TrackTime,
        pts: Option<u64>,
        dts: Option<u64>,
        leads: bool,
    ) -> Placed {
        let Some(wire) = dts.or(pts) else {
            return Placed { stamps: Timestamps::default(), jumped: false };
        };
        let (time, jumped) = self.step(track, wire);
        track.last = Some(time);
        track.announced = false;
        if leads || self.last.is_none() {
            self.last = Some(time);
        }
        let stamps = Timestamps {
            pts: pts.map(|wire| told(near(time, wire))),
            dts: dts.map(|_| told(time)),
        };
        Placed { stamps, jumped }
    }

    fn step(self, track: &TrackTime, wire: u64) -> (i64, bool) {
        let Some(program) = self.last.or(track.last) else {
            return (on_wire(wire), false);
        };
        let Some(before) = track.last else {
            return (near(program, wire), false);
        };
        let time = near(before, wire);
        if (time - before).abs() <= JUMP_TICKS {
            return (time, false);
        }
        // Another track of the program may have gone there before.
        let time = near(program, wire);
        let follows = (time - program).abs() <= JUMP_TICKS;
        let time = if time < 0 { time + MODULUS } else { time };
        let time = if time > LINE_END { on_wire(wire) } else { time };
        (time, !follows && !track.announced)
    }
}

fn on_wire(wire: u64) -> i64 {
    i64::try_from(wire % STAMP_MODULUS).unwrap_or(0)
}

/// The value congruent to `wire` nearest to `time`.
fn near(time: i64, wire: u64) -> i64 {
    let ahead = (on_wire(wire) - time).rem_euclid(MODULUS);
    if ahead < MODULUS / 2 { time + ahead } else { time + ahead - MODULUS }
}

fn told(time: i64) -> u64 {
    u64::try_from(time).unwrap_or_else(|_| time.rem_euclid(MODULUS).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRAP: u64 = STAMP_MODULUS;

    #[derive(Default)]
    struct Program {
        line: Timeline,
        tracks: [TrackTime; 3],
        jumps: u32,
    }

    impl Program {
        fn pts(&mut self, track: usize, wire: u64) -> u64 {
            self.stamps(track, Some(wire), None).pts.unwrap()
        }

        fn stamps(&mut self, track: usize, pts: Option<u64>, dts: Option<u64>) -> Timestamps {
            let placed = self.line.place(&mut self.tracks[track], pts, dts, track < 2);
            self.jumps += u32::from(placed.jumped);
            placed.stamps
        }
    }

    #[test]
    fn first_stamp_is_the_wires() {
        assert_eq!(Program::default().pts(0, WRAP - 5), WRAP - 5);
    }

    #[test]
    fn tracks_pass_the_wrap_at_different_moments() {
        let mut program = Program::default();
        assert_eq!(program.pts(0, WRAP - 3000), WRAP - 3000);
        assert_eq!(program.pts(1, WRAP - 9000), WRAP - 9000);
        assert_eq!(program.pts(0, 600), WRAP + 600);
        assert_eq!(program.pts(1, WRAP - 100), WRAP - 100);
        assert_eq!(program.pts(1, 5), WRAP + 5);
        assert_eq!(program.pts(2, 9), WRAP + 9, "a track that comes after the wrap");
        assert_eq!(program.jumps, 0);
    }

    #[test]
    fn pts_and_dts_on_both_sides_of_the_wrap() {
        let stamps = Program::default().stamps(0, Some(100), Some(WRAP - 100));
        assert_eq!((stamps.pts, stamps.dts), (Some(WRAP + 100), Some(WRAP - 100)));
    }

    #[test]
    fn no_stamp_stays_none() {
        let mut program = Program::default();
        program.pts(0, 50);
        assert_eq!(program.stamps(0, None, None), Timestamps::default());
        assert_eq!(program.pts(0, 60), 60);
    }

    #[test]
    fn a_jump_of_all_tracks_counts_once_and_keeps_them_together() {
        let mut program = Program::default();
        program.pts(0, 10_000_000);
        program.pts(1, 10_000_500);
        assert_eq!(program.pts(0, 90_000), 90_000);
        assert_eq!(program.pts(1, 90_700), 90_700);
        assert_eq!(program.jumps, 1);
    }

    #[test]
    fn ten_seconds_are_no_jump() {
        let mut program = Program::default();
        program.pts(0, 0);
        assert_eq!(program.pts(0, 900_000), 900_000);
        assert_eq!(program.jumps, 0);
        program.pts(0, 1_800_001);
        assert_eq!(program.jumps, 1);
    }

    #[test]
    fn an_announced_jump_is_not_counted() {
        let mut program = Program::default();
        program.pts(0, 10_000_000);
        program.tracks[0].announced = true;
        assert_eq!(program.pts(0, 90_000), 90_000);
        program.pts(0, 10_000_000);
        assert_eq!(program.jumps, 1);
    }

    #[test]
    fn a_data_track_with_its_own_clock_moves_nobody() {
        let mut program = Program::default();
        program.pts(0, 1000);
        assert_eq!(program.pts(2, 5_000_000_000), 5_000_000_000 % WRAP);
        assert_eq!(program.pts(0, 4000), 4000);
        assert_eq!(program.pts(1, 4100), 4100);
        assert_eq!(program.pts(2, 5_000_003_000), 5_000_003_000);
        assert_eq!(program.jumps, 0);
    }

    #[test]
    fn a_stamp_before_the_wires_zero_is_told_as_on_the_wire() {
        let mut program = Program::default();
        program.pts(0, 100);
        assert_eq!(program.pts(1, WRAP - 50), WRAP - 50);
        assert_eq!(program.pts(1, 200), 200);
        assert_eq!(program.jumps, 0);
    }

    #[test]
    fn a_jump_forward_over_the_wrap_stays_congruent() {
        let mut program = Program::default();
        program.pts(0, WRAP - 10);
        assert_eq!(program.pts(0, 5_000_000), WRAP + 5_000_000);
        assert_eq!(program.jumps, 1);
    }

    #[test]
    fn endless_jumps_stay_congruent_and_bounded() {
        let mut program = Program::default();
        program.tracks[0].last = Some(LINE_END - 10);
        program.line.last = Some(LINE_END - 10);
        let mut wire = 0;
        for _ in 0..4 {
            wire = (wire + (1 << 32) - 1) % WRAP;
            let time = program.pts(0, wire);
            assert_eq!(time % WRAP, wire);
            assert!(time <= LINE_END.unsigned_abs());
        }
    }
}
