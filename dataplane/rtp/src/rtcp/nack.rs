//! What is asked for again: a bounded list of missing packets (RFC 4585, 6.2.1).
//!
//! A number is asked for when it is found missing, again after a round trip, and given up after some
//! tries or with its place in the window. When more are missing than the list holds, a picture is
//! asked for instead.

use std::time::Duration;

use memory::Time;

/// More missing packets than this are not asked for one by one.
pub const MISSING_MAX: usize = 512;
/// Times that one is asked for.
const TRIES_MAX: u8 = 6;
/// Times between two requests where the round trip is not known, and the least.
const REPEAT: Duration = Duration::from_millis(40);
const REPEAT_MIN: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy)]
struct Missing {
    number: u64,
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

    /// The round trip, when it becomes known.
    pub const fn set_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = Some(round_trip);
    }

    /// `first` to `end` (not included) are missing. False when they are too many.
    pub fn add(&mut self, first: u64, end: u64, now: Time) -> bool {
        let room = MISSING_MAX - self.missing.len();
        let count = end.saturating_sub(first);
        if count > crate::bytes::count(room) {
            return false;
        }
        let next = now + self.tolerance;
        self.missing.extend((first..end).map(|number| Missing { number, next, tries: 0 }));
        true
    }

    /// `number` has come.
    pub fn found(&mut self, number: u64) {
        if let Ok(at) = self.missing.binary_search_by_key(&number, |missing| missing.number) {
            self.missing.remove(at);
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
        let repeat = self.round_trip.map_or(REPEAT, |time| time.max(REPEAT_MIN));
        self.missing.iter_mut().filter_map(move |missing| {
            if missing.next > now {
                return None;
            }
            missing.tries += 1;
            missing.next = if missing.tries < TRIES_MAX { now + repeat } else { Time::NEVER };
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
        nacks.found(0x1_0000);
        nacks.set_round_trip(Duration::from_millis(70));
        assert_eq!(due(&mut nacks, 144), []);
        assert_eq!(due(&mut nacks, 145), [0xffff, 1]);
        assert_eq!(nacks.next_timeout(), ms(215));
    }

    #[test]
    fn a_packet_is_given_up_after_six_tries_or_with_its_place() {
        let mut nacks = Nacks::new(Duration::ZERO);
        nacks.add(3, 5, ms(0));
        let asked: usize = (0..100).map(|step| due(&mut nacks, step * 40).len()).sum();
        assert_eq!(asked, 12);
        assert_eq!(nacks.next_timeout(), Time::NEVER);
        nacks.add(9, 11, ms(5_000));
        nacks.passed(10);
        assert_eq!(due(&mut nacks, 5_000), [10]);
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
