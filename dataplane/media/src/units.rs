//! Which unit's stamps a frame takes.
//!
//! ```text
//!  units   |1 ........|2 .....|3 ...........|4 ....
//!  frames    A......B.....C..........D..E......F...      A 1   B -   C 2   D 3   E -   F 4
//! ```
//!
//! A unit's stamps belong to the first frame that starts in it (H.222.0, 2.4.3.7). A start code may
//! lie over the border of two units. Then, as in FFmpeg's parser, the byte that *decides* that
//! here is a start counts: the frame belongs to the unit of that byte, and so does the next frame,
//! which is the first whose bytes all lie there. One of the two is stamped wrongly then: nothing is
//! concluded from the stamps of the one over the border.
//!
//! After a loss inside a unit nobody knows which frame was the first to start in it: its stamps are
//! void.

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
}

impl Units {
    /// A unit begins at `position`.
    pub(crate) fn start(&mut self, position: u64, stamps: Timestamps) {
        self.recent.rotate_right(1);
        if let Some(slot) = self.recent.first_mut() {
            *slot = Some(Unit { start: position, stamps });
        }
    }

    /// Bytes are missing here.
    pub(crate) fn lost(&mut self) {
        if let Some(Some(open)) = self.recent.first_mut() {
            open.stamps = Timestamps::default();
        }
    }

    /// First byte of the open unit.
    pub(crate) fn open(&self) -> Option<u64> {
        self.recent.first().copied().flatten().map(|unit| unit.start)
    }

    /// Stamps of the open unit.
    pub(crate) fn open_stamps(&self) -> Timestamps {
        self.recent.first().copied().flatten().map_or_else(Timestamps::default, |unit| unit.stamps)
    }

    /// Whether the byte at `decisive` lies in a later unit than the byte at `start`.
    pub(crate) fn is_between(&self, start: u64, decisive: u64) -> bool {
        let unit = self.recent.iter().flatten().find(|unit| unit.start <= decisive);
        unit.is_some_and(|unit| start < unit.start)
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
    fn a_loss_voids_the_stamps_of_the_open_unit_alone() {
        let mut units = Units::default();
        units.start(0, stamped(10));
        units.lost();
        assert_eq!(units.stamps(50, None), Timestamps::default());
        units.start(100, stamped(20));
        assert_eq!(units.stamps(150, Some(50)), stamped(20));
    }
}
