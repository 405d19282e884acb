//! Which unit's stamps a frame takes, and which frames are surely whole after a loss.
//!
//! ```text
//!  units   |1 ........|2 .....|3 ...........|4 ....
//!  frames    A......B.....C..........D..E......F...      A 1   B -   C 2   D 3   E -   F 4
//! ```
//!
//! A unit's stamps belong to the first frame that starts in it (H.222.0, 2.4.3.7). A start code may
//! lie over the border of two units. Then, as in FFmpeg's parser, the byte that *decides* that
//! here is a start counts: the frame belongs to the unit of that byte, and so does the next frame,
//! which is the first whose bytes all lie there.

use codec::sink::Timestamps;

/// Units that are remembered: a start is decided at most some tens of bytes after it.
const UNITS: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Unit {
    start: u64,
    stamps: Timestamps,
}

/// The last units of a track. Positions count the track's bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Units {
    recent: [Option<Unit>; UNITS],
    trust: Trust,
}

/// What is surely whole after a loss.
///
/// A frame that starts after a loss may have started earlier, in what was lost. It is surely whole
/// if it starts with the first byte of a unit, or if a unit went by without a loss before its own
/// began: then the start found is the first after bytes that are all known.
#[derive(Debug, Clone, Copy, Default)]
enum Trust {
    /// Bytes are missing and no unit began since.
    #[default]
    Broken,
    /// One unit began since.
    Resuming { unit: u64 },
    /// From this position on starts can be relied on.
    Whole { from: u64 },
}

impl Units {
    /// A unit begins at `position`.
    pub(crate) fn start(&mut self, position: u64, stamps: Timestamps) {
        self.recent.rotate_right(1);
        if let Some(slot) = self.recent.first_mut() {
            *slot = Some(Unit { start: position, stamps });
        }
        self.trust = match self.trust {
            Trust::Broken => Trust::Resuming { unit: position },
            Trust::Resuming { .. } => Trust::Whole { from: position },
            whole @ Trust::Whole { .. } => whole,
        };
    }

    /// Bytes are missing here.
    pub(crate) const fn lost(&mut self) {
        self.trust = Trust::Broken;
    }

    /// First byte of the open unit.
    pub(crate) fn open(&self) -> Option<u64> {
        self.recent.first().copied().flatten().map(|unit| unit.start)
    }

    /// The stamps of a frame whose start is decided by the byte at `decisive`, after a frame that
    /// started at `previous`.
    pub(crate) fn stamps(&self, decisive: u64, previous: Option<u64>) -> Timestamps {
        let unit = self.recent.iter().flatten().find(|unit| unit.start <= decisive);
        match unit {
            Some(unit) if previous.is_none_or(|previous| previous < unit.start) => unit.stamps,
            _ => Timestamps::default(),
        }
    }

    /// Whether a frame whose start is decided at `decisive`, after one that started at `previous`,
    /// is the first that starts in its unit.
    pub(crate) fn is_first(&self, decisive: u64, previous: Option<u64>) -> bool {
        let unit = self.recent.iter().flatten().find(|unit| unit.start <= decisive);
        unit.is_some_and(|unit| previous.is_none_or(|previous| previous < unit.start))
    }

    /// Whether a frame whose start is decided at `decisive` surely starts there. `at_unit` is the
    /// unit with whose first byte it starts, if it does and that tells something.
    pub(crate) fn is_whole(&mut self, decisive: u64, at_unit: Option<u64>) -> bool {
        match self.trust {
            Trust::Whole { from } => decisive >= from,
            Trust::Resuming { unit } if at_unit == Some(unit) => {
                self.trust = Trust::Whole { from: unit };
                true
            }
            Trust::Resuming { .. } | Trust::Broken => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(pts: u64) -> Timestamps {
        Timestamps { pts: Some(pts), dts: None }
    }

    #[test]
    fn only_the_first_frame_of_a_unit_takes_its_stamps() {
        let mut units = Units::default();
        units.start(0, stamped(10));
        assert_eq!(units.stamps(0, None), stamped(10));
        assert_eq!(units.stamps(50, Some(0)), Timestamps::default());
        units.start(100, stamped(20));
        assert_eq!(units.stamps(150, Some(50)), stamped(20));
        assert_eq!(units.stamps(170, Some(150)), Timestamps::default());
    }

    #[test]
    fn a_start_over_a_border_belongs_to_the_unit_of_its_deciding_byte() {
        let mut units = Units::default();
        units.start(0, stamped(10));
        units.start(100, stamped(20));
        assert_eq!(units.stamps(101, Some(0)), stamped(20), "start code from 97 on");
        assert_eq!(units.stamps(180, Some(97)), stamped(20), "first that starts in the unit");
    }

    #[test]
    fn a_start_decided_after_the_next_unit_began_keeps_its_own_unit() {
        let mut units = Units::default();
        units.start(0, stamped(10));
        units.start(100, stamped(20));
        units.start(103, stamped(30));
        assert_eq!(units.stamps(101, Some(0)), stamped(20));
    }

    #[test]
    fn after_a_loss_the_start_of_a_unit_or_the_second_unit_is_whole() {
        let mut units = Units::default();
        assert!(!units.is_whole(0, Some(0)), "no unit yet");
        units.start(10, stamped(1));
        assert!(!units.is_whole(12, None));
        assert!(units.is_whole(10, Some(10)));
        assert!(units.is_whole(15, None));
        units.lost();
        assert!(!units.is_whole(20, None));
        units.start(30, stamped(1));
        assert!(!units.is_whole(35, None));
        units.start(40, stamped(1));
        assert!(!units.is_whole(39, None), "started in the first unit");
        assert!(units.is_whole(41, None));
    }
}
