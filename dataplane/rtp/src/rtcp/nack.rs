//! What is asked for again: a bounded list of missing packets (RFC 4585, 6.2.1).
//!
//! A number is asked for when it is found missing and again after a round trip, then more and more
//! seldom until its place in the window is given up: the first requests may have gone to a sender
//! that does not hear them yet. How long a round trip is shows when what was asked for comes. When
//! more are missing than the list holds, a picture is asked for instead.

use std::time::Duration;

use memory::Time;

/// More missing packets than this are not asked for one by one.
pub const MISSING_MAX: usize = 512;
/// Time between two requests where the round trip is not known.
const REPEAT: Duration = Duration::from_millis(40);
/// The least and the most that a measured round trip makes of it.
const REPEAT_MIN: Duration = Duration::from_millis(10);
const REPEAT_MAX: Duration = Duration::from_millis(400);
/// From the third request on each waits twice as long as the one before, so many times.
const DOUBLINGS_MAX: u8 = 8;

#[derive(Debug, Clone, Copy)]
struct Missing {
    number: u64,
    /// First request.
    asked: Time,
    next: Time,
    tries: u8,
}

/// The list.
#[derive(Debug)]
pub struct Nacks {
    missing: Vec<Missing>,
    round_trip: Option<Duration>,
    /// Wait so long before the first request: packets may only be out of order.
    tolerance: Duration,
}

impl Nacks {
    /// Takes its memory at once.
    pub fn new(tolerance: Duration) -> Self {
        Self { missing: Vec::with_capacity(MISSING_MAX), round_trip: None, tolerance }
    }

    /// Bytes that it takes.
    pub const fn bytes() -> usize {
        MISSING_MAX * size_of::<Missing>()
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.missing.clear();
        self.round_trip = None;
    }

    /// `first` to `end` (not included) are missing. False when they are too many.
    pub fn add(&mut self, first: u64, end: u64, now: Time) -> bool {
        let room = MISSING_MAX - self.missing.len();
        let count = end.saturating_sub(first);
        if count > crate::bytes::count(room) {
            return false;
        }
        let next = now + self.tolerance;
        self.missing.extend((first..end).map(|number| Missing {
            number,
            asked: now,
            next,
            tries: 0,
        }));
        true
    }

    /// `number` has come.
    pub fn found(&mut self, number: u64, now: Time) {
        let Ok(at) = self.missing.binary_search_by_key(&number, |missing| missing.number) else {
            return;
        };
        let missing = self.missing.remove(at);
        match (self.round_trip, missing.tries) {
            // Only out of order.
            (_, 0) => {}
            // Which of several requests was answered is not known.
            (Some(before), 1) => {
                self.round_trip = Some((before * 7 + now.since(missing.asked)) / 8);
            }
            (Some(_), _) => {}
            (None, _) => self.round_trip = Some(now.since(missing.asked)),
        }
    }

    /// Everything below `base` is delivered or given up.
    pub fn passed(&mut self, base: u64) {
        if self.missing.first().is_some_and(|missing| missing.number < base) {
            self.missing.retain(|missing| missing.number >= base);
        }
    }

    /// When something is to be asked for.
    pub fn next_timeout(&self) -> Time {
        self.missing.iter().map(|missing| missing.next).min().unwrap_or(Time::NEVER)
    }

    /// What is to be asked for now, in order.
    pub fn due(&mut self, now: Time) -> impl Iterator<Item = u16> {
        // A round trip and a half: what comes a little later is not asked for twice.
        let measured = self.round_trip.map(|time| (time * 3 / 2).clamp(REPEAT_MIN, REPEAT_MAX));
        let repeat = measured.unwrap_or(REPEAT);
        self.missing.iter_mut().filter_map(move |missing| {
            if missing.next > now {
                return None;
            }
            if missing.tries == 0 {
                missing.asked = now;
            }
            missing.next = now + repeat * (1 << missing.tries.saturating_sub(1).min(DOUBLINGS_MAX));
            missing.tries = missing.tries.saturating_add(1);
            u16::try_from(missing.number & 0xffff).ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Time {
        Time::from_micros(ms * 1_000)
    }

    fn due(nacks: &mut Nacks, at: u64) -> Vec<u16> {
        nacks.due(ms(at)).collect()
    }

    #[test]
    fn missing_packets_are_asked_for_again_after_a_round_trip() {
        let mut nacks = Nacks::new(Duration::from_millis(5));
        assert!(nacks.add(0xffff, 0x1_0002, ms(100)));
        assert_eq!(nacks.next_timeout(), ms(105));
        assert_eq!(due(&mut nacks, 104), []);
        assert_eq!(due(&mut nacks, 105), [0xffff, 0, 1]);
        // The round trip is 60 ms; a time and a half of it passes between later requests.
        nacks.found(0x1_0000, ms(165));
        assert_eq!(due(&mut nacks, 144), []);
        assert_eq!(due(&mut nacks, 145), [0xffff, 1]);
        assert_eq!(nacks.next_timeout(), ms(235));
    }

    #[test]
    fn requests_become_seldom_and_end_with_the_packets_place() {
        let mut nacks = Nacks::new(Duration::ZERO);
        nacks.add(3, 5, ms(0));
        let asked: Vec<u64> = (0..1_000).filter(|at| !due(&mut nacks, *at).is_empty()).collect();
        assert_eq!(asked, [0, 40, 80, 160, 320, 640]);
        nacks.add(9, 11, ms(1_000));
        nacks.passed(10);
        assert_eq!(due(&mut nacks, 1_000), [10]);
        nacks.passed(11);
        assert_eq!(nacks.next_timeout(), Time::NEVER);
    }

    #[test]
    fn the_round_trip_follows_what_was_asked_for_once_and_has_bounds() {
        let mut nacks = Nacks::new(Duration::ZERO);
        let mut repeat_after = |round_trip: u64, at: u64| {
            nacks.add(at, at + 2, ms(at));
            due(&mut nacks, at);
            nacks.found(at, ms(at + round_trip));
            due(&mut nacks, at + 10_000);
            let repeat = nacks.next_timeout().since(ms(at + 10_000));
            nacks.passed(at + 2);
            u64::try_from(repeat.as_millis()).unwrap()
        };
        assert_eq!(repeat_after(80, 0), 120, "the first counts whole");
        assert_eq!(repeat_after(160, 20_000), 135, "then by an eighth");
        assert_eq!(repeat_after(9_000, 40_000), 400);
        let mut last = 0;
        for step in 3..60 {
            last = repeat_after(0, step * 20_000);
        }
        assert_eq!(last, 10);
    }

    #[test]
    fn more_than_the_list_holds_is_refused_whole() {
        let mut nacks = Nacks::new(Duration::ZERO);
        assert!(!nacks.add(0, 513, ms(0)));
        assert!(!nacks.add(0, u64::MAX, ms(0)));
        assert!(nacks.add(0, 512, ms(0)));
        assert!(!nacks.add(600, 601, ms(0)));
    }
}
