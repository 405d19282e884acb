//! Finished frames that wait for their due time, of both lanes in one order.

use std::collections::VecDeque;

use super::{FrameMeta, faulted_in};

/// A finished frame that is not yet visible.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PendingFrame {
    pub(crate) lane: usize,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) meta: FrameMeta,
    pub(crate) due_ns: u64,
}

/// Sorted by due time; frames of one lane stay in the order they were finished in, because their
/// bytes are given up in that order too.
#[derive(Debug)]
pub(crate) struct Pending {
    frames: VecDeque<PendingFrame>,
    max: usize,
    /// Latest due time handed in, by lane.
    latest_due_ns: [u64; 2],
}

impl Pending {
    pub(crate) fn new(max: usize) -> Self {
        Self { frames: faulted_in(max), max, latest_due_ns: [0; 2] }
    }

    /// The first and the last byte of the next frame's place, where none waits: it fills two lines of
    /// the cache.
    pub(crate) fn places(&self) -> [*const u8; 2] {
        let place = self.frames.as_slices().0.as_ptr();
        [place.cast(), place.wrapping_add(1).cast::<u8>().wrapping_sub(1)]
    }

    pub(crate) fn is_full(&self) -> bool {
        self.frames.len() >= self.max
    }

    pub(crate) const fn capacity(&self) -> usize {
        self.max
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Takes a frame in; one due before its predecessor in the lane is due with it instead. The
    /// caller has seen to the room.
    #[inline(always)]
    pub(crate) fn insert(&mut self, mut frame: PendingFrame) {
        debug_assert!(!self.is_full(), "room was seen to");
        let latest = &mut self.latest_due_ns[frame.lane];
        frame.due_ns = frame.due_ns.max(*latest);
        *latest = frame.due_ns;
        // Nearly always: then it is put together where it belongs, and not copied from elsewhere.
        if self.frames.back().is_none_or(|last| last.due_ns <= frame.due_ns) {
            self.frames.push_back(frame);
            return;
        }
        let place = self.frames.partition_point(|other| other.due_ns <= frame.due_ns);
        self.frames.insert(place, frame);
    }

    pub(crate) fn next_due(&self) -> Option<u64> {
        self.frames.front().map(|frame| frame.due_ns)
    }

    pub(crate) fn take_due(&mut self, now_ns: u64) -> Option<PendingFrame> {
        let due = self.frames.pop_front_if(|frame| frame.due_ns <= now_ns);
        if self.frames.is_empty() {
            // The next one has the same place, which is near, and not one after the other.
            self.frames.clear();
        }
        due
    }

    /// Where the oldest waiting frame of a lane starts.
    pub(crate) fn first_offset(&self, lane: usize) -> Option<u64> {
        self.frames.iter().find(|frame| frame.lane == lane).map(|frame| frame.offset)
    }

    pub(crate) fn clear(&mut self) {
        self.frames.clear();
        self.latest_due_ns = [0; 2];
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn frame(lane: usize, offset: u64, due_ns: u64) -> PendingFrame {
        PendingFrame { lane, offset, length: 1, meta: FrameMeta::default(), due_ns }
    }

    fn order(pending: &mut Pending) -> Vec<(usize, u64, u64)> {
        std::iter::from_fn(|| pending.take_due(u64::MAX))
            .map(|frame| (frame.lane, frame.offset, frame.due_ns))
            .collect()
    }

    #[test]
    fn lanes_interleave_by_due_time() {
        let mut pending = Pending::new(8);
        for (lane, offset, due) in [(0, 0, 10), (0, 8, 30), (1, 0, 5), (1, 8, 20), (1, 16, 30)] {
            pending.insert(frame(lane, offset, due));
        }
        assert_eq!(pending.next_due(), Some(5));
        assert_eq!(pending.first_offset(1), Some(0));
        let expected = [(1, 0, 5), (0, 0, 10), (1, 8, 20), (0, 8, 30), (1, 16, 30)];
        assert_eq!(order(&mut pending), expected);
    }

    #[test]
    fn a_due_time_that_steps_back_does_not_reorder_its_lane() {
        let mut pending = Pending::new(8);
        for (lane, offset, due) in [(0, 0, 30), (1, 0, 25), (0, 8, 20), (1, 8, 40)] {
            pending.insert(frame(lane, offset, due));
        }
        let expected = [(1, 0, 25), (0, 0, 30), (0, 8, 30), (1, 8, 40)];
        assert_eq!(order(&mut pending), expected);
    }

    #[test]
    fn nothing_leaves_before_it_is_due() {
        let mut pending = Pending::new(1);
        pending.insert(frame(0, 0, 10));
        assert!(pending.is_full());
        assert!(pending.take_due(9).is_none());
        assert!(pending.take_due(10).is_some());
    }
}
