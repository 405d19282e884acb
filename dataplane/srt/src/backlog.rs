//! How many packets were handed on and are not due yet.
//!
//! A packet in order goes on at once, long before its delivery time; its frame waits for that time
//! in the consumer's memory. libsrt would still hold it. To tell how many there are without a queue
//! of due times, the count of packets is noted every few milliseconds beside the newest due time:
//! once that time has come, all packets counted until then have been due.

use std::collections::VecDeque;
use std::time::Duration;

use memory::Time;

/// Notes kept: with the step below they span a latency of any length.
const NOTES: u32 = 64;
const STEP_MIN: Duration = Duration::from_millis(5);

#[derive(Debug, Clone, Copy)]
struct Note {
    /// All packets counted until then are due by this time.
    due: Time,
    packets: u64,
}

/// Packets handed on, by the time they are due.
#[derive(Debug)]
pub(crate) struct Backlog {
    notes: VecDeque<Note>,
    step: Duration,
    noted_at: Time,
    /// Due time of the packet that is due last.
    newest: Time,
    /// Packets that have been due for sure.
    passed: u64,
}

impl Backlog {
    pub(crate) const BYTES: usize = NOTES as usize * size_of::<Note>();

    pub(crate) fn new() -> Self {
        Self {
            notes: VecDeque::with_capacity(NOTES as usize),
            step: STEP_MIN,
            noted_at: Time::ZERO,
            newest: Time::ZERO,
            passed: 0,
        }
    }

    pub(crate) fn reset(&mut self, latency: Duration, now: Time) {
        self.notes.clear();
        // Twice the latency: a sender's burst can be stamped ahead.
        self.step = (latency * 2 / NOTES).max(STEP_MIN);
        self.noted_at = now;
        self.newest = now;
        self.passed = 0;
    }

    /// A packet was handed on that is due then.
    #[inline]
    pub(crate) fn handed_on(&mut self, due: Time) {
        self.newest = self.newest.max(due);
    }

    /// How many of the `delivered` packets are not due yet, to within what is delivered in a step,
    /// and how long it is until the last of them is.
    pub(crate) fn waiting(&mut self, now: Time, delivered: u64) -> (u64, Duration) {
        if now.since(self.noted_at) >= self.step {
            self.noted_at = now;
            if self.notes.len() == NOTES as usize {
                // Stamps far ahead of the latency: the oldest count is given up as passed.
                self.pass_first();
            }
            self.notes.push_back(Note { due: self.newest, packets: delivered });
        }
        while self.notes.front().is_some_and(|note| note.due <= now) {
            self.pass_first();
        }
        if self.newest <= now {
            self.passed = delivered;
            self.notes.clear();
        }
        (delivered - self.passed, self.newest.since(now))
    }

    fn pass_first(&mut self) {
        if let Some(note) = self.notes.pop_front() {
            self.passed = note.packets;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;
    const START: Time = Time::from_micros(1_000_000);

    /// A packet each millisecond, due `latency` ms after it came, for `span` ms.
    fn fed(latency: u64, span: u64) -> (Backlog, Vec<(u64, Duration)>) {
        let mut backlog = Backlog::new();
        backlog.reset(MS(latency), START);
        let seen = (0..span)
            .map(|ms| {
                backlog.handed_on(START + MS(ms + latency));
                backlog.waiting(START + MS(ms), ms + 1)
            })
            .collect();
        (backlog, seen)
    }

    #[test]
    fn as_many_wait_as_came_within_the_latency() {
        let (_, seen) = fed(120, 1_000);
        assert_eq!(seen[0], (1, MS(120)));
        assert_eq!(seen[99], (100, MS(120)), "nothing has been due yet");
        for (waiting, span) in &seen[200..] {
            assert!((119..=126).contains(waiting), "{waiting}: exact to a step of 5 ms");
            assert_eq!(*span, MS(120));
        }
    }

    #[test]
    fn a_long_latency_is_spanned_with_longer_steps() {
        let (_, seen) = fed(8_000, 20_000);
        for (waiting, _) in &seen[9_000..] {
            assert!((7_999..=8_252).contains(waiting), "{waiting}");
        }
    }

    #[test]
    fn what_is_due_waits_no_longer() {
        let (mut backlog, _) = fed(120, 500);
        let (waiting, span) = backlog.waiting(START + MS(580), 500);
        assert!((39..=46).contains(&waiting), "{waiting}");
        assert_eq!(span, MS(39));
        assert_eq!(backlog.waiting(START + MS(619), 500), (0, Duration::ZERO));
        assert_eq!(backlog.waiting(START + MS(900), 500), (0, Duration::ZERO));
    }

    #[test]
    fn stamps_far_ahead_are_bounded() {
        let mut backlog = Backlog::new();
        backlog.reset(MS(10), START);
        for ms in 0..10_000 {
            backlog.handed_on(START + MS(3_600_000 + ms));
            let (waiting, _) = backlog.waiting(START + MS(ms), ms + 1);
            assert!(waiting <= 64 * 5 + 5, "{waiting}");
        }
        assert!(backlog.notes.len() <= NOTES as usize);
    }
}
