//! A hierarchical timer wheel: one deadline per key, exact to the nanosecond, preallocated.
//!
//! ```text
//!  level 0   64 slots of 2^18 ns (262 us)     the next 17 ms
//!  level 1   64 slots of 17 ms                the next 1.1 s
//!  level 2   64 slots of 1.1 s                the next 69 s
//!  …         up to level 7                    all of the clock
//!  due       collected, to be popped
//! ```
//!
//! A deadline lies on the level of the highest bit in which its tick differs from the current one,
//! so the earliest deadline is always in the lowest occupied slot of the lowest occupied level: two
//! bit scans find it. When time reaches a slot of a higher level, its keys move down. Setting and
//! cancelling cost the same whatever the number of keys; a key that is not set costs nothing.

use memory::Time;

const TICK_BITS: u32 = 18;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// 8 levels of 6 bits over 46 bits of ticks: every 64-bit time has its place.
const LEVELS: usize = 8;
/// The list of collected keys comes after the slots.
const DUE: u16 = 512;
const _: () = assert!(DUE as usize == LEVELS * SLOTS);
const UNSET: u16 = u16::MAX;
const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Entry {
    deadline: Time,
    next: u32,
    previous: u32,
    /// The list it is in, or `UNSET`.
    list: u16,
}

/// Deadlines of keys `0..keys`. Nothing is allocated after [`Wheel::new`].
#[derive(Debug)]
pub(crate) struct Wheel {
    entries: Box<[Entry]>,
    /// First key of each slot's list, and of the due list.
    heads: Box<[u32]>,
    /// One bit a slot that is not empty.
    occupied: [u64; LEVELS],
    /// The tick up to which time has come.
    tick: u64,
    now: Time,
    /// No deadline is earlier.
    next: Time,
    /// The key that `next` stood for has gone: look again.
    stale: bool,
}

impl Wheel {
    /// For keys below `keys`, starting at `now`.
    pub(crate) fn new(keys: u32, now: Time) -> Self {
        let unset = Entry { deadline: Time::NEVER, next: NONE, previous: NONE, list: UNSET };
        Self {
            entries: (0..keys).map(|_| unset).collect(),
            heads: (0..=DUE).map(|_| NONE).collect(),
            occupied: [0; LEVELS],
            tick: tick(now),
            now,
            next: Time::NEVER,
            stale: false,
        }
    }

    /// Sets the deadline of a key in place of its former one; `Time::NEVER` cancels it. A deadline
    /// that has passed is due at the next later time, so that a key set anew while it is handled
    /// cannot keep [`Wheel::pop`] busy.
    ///
    /// # Panics
    /// When `key` is not below the number of keys.
    pub(crate) fn set(&mut self, key: u32, deadline: Time) {
        let entry = self.entries[key as usize];
        if entry.list != UNSET {
            if entry.deadline == deadline {
                return;
            }
            self.unlink(key);
        }
        if deadline == Time::NEVER {
            return;
        }
        let soonest = Time::from_nanos(self.now.nanos() + 1);
        let deadline = deadline.max(soonest);
        self.entries[key as usize].deadline = deadline;
        self.link(key, self.list_of(deadline));
        self.next = self.next.min(deadline);
    }

    /// Forgets the deadline of a key.
    pub(crate) fn cancel(&mut self, key: u32) {
        if self.entries[key as usize].list != UNSET {
            self.unlink(key);
        }
    }

    /// The deadline of a key, `Time::NEVER` when it has none.
    pub(crate) fn deadline(&self, key: u32) -> Time {
        let entry = &self.entries[key as usize];
        if entry.list == UNSET { Time::NEVER } else { entry.deadline }
    }

    /// A key whose deadline has come; its deadline is forgotten. Call it until it says `None`.
    pub(crate) fn pop(&mut self, now: Time) -> Option<u32> {
        if self.heads[DUE as usize] == NONE {
            if now < self.next && !self.stale {
                return None;
            }
            self.collect(now);
        }
        let key = self.heads[DUE as usize];
        if key == NONE {
            return None;
        }
        self.unlink(key);
        Some(key)
    }

    /// When to call [`Wheel::pop`] again: never after the earliest deadline, and at most a few times
    /// before a far one.
    pub(crate) fn next_deadline(&mut self) -> Time {
        if self.heads[DUE as usize] != NONE {
            return self.now;
        }
        if self.stale {
            self.next = self.earliest();
            self.stale = false;
        }
        self.next
    }

    /// Moves time on to `now` and every key that has come due into the due list.
    fn collect(&mut self, now: Time) {
        self.now = self.now.max(now);
        let last = tick(self.now);
        while let Some((level, slot)) = self.first_slot() {
            let start = self.slot_start(level, slot);
            if start > last {
                break;
            }
            self.tick = start.max(self.tick);
            let waiting = self.empty_slot(level, slot);
            if !waiting {
                break;
            }
        }
        self.tick = last;
        self.next = self.earliest();
        self.stale = false;
    }

    /// Moves the keys of a slot down, or into the due list. False when some of them must wait within
    /// the current tick.
    fn empty_slot(&mut self, level: usize, slot: usize) -> bool {
        let list = list(level, slot);
        let mut all = true;
        let mut key = self.heads[list as usize];
        while key != NONE {
            let Entry { deadline, next, .. } = self.entries[key as usize];
            if deadline <= self.now {
                self.unlink(key);
                self.link(key, DUE);
            } else if level == 0 {
                all = false;
            } else {
                self.unlink(key);
                self.link(key, self.list_of(deadline));
            }
            key = next;
        }
        all
    }

    /// The slot with the earliest deadlines.
    fn first_slot(&self) -> Option<(usize, usize)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        Some((level, self.occupied[level].trailing_zeros() as usize))
    }

    /// A time that no deadline is before: exact on level 0, a slot's start above.
    fn earliest(&self) -> Time {
        let Some((level, slot)) = self.first_slot() else { return Time::NEVER };
        if level > 0 {
            return Time::from_nanos(self.slot_start(level, slot) << TICK_BITS);
        }
        let mut earliest = Time::NEVER;
        let mut key = self.heads[slot];
        while key != NONE {
            let entry = &self.entries[key as usize];
            earliest = earliest.min(entry.deadline);
            key = entry.next;
        }
        earliest
    }

    /// First tick of a slot.
    fn slot_start(&self, level: usize, slot: usize) -> u64 {
        let shift = shift(level);
        let above = self.tick >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
        above | (slot as u64) << shift
    }

    fn list_of(&self, deadline: Time) -> u16 {
        let tick = tick(deadline).max(self.tick);
        let differing = (tick ^ self.tick) | 1;
        let level = ((63 - differing.leading_zeros()) / SLOT_BITS) as usize;
        list(level, low_bits(tick >> shift(level)))
    }

    fn link(&mut self, key: u32, list: u16) {
        let head = self.heads[list as usize];
        let entry = &mut self.entries[key as usize];
        entry.list = list;
        entry.previous = NONE;
        entry.next = head;
        if head != NONE {
            self.entries[head as usize].previous = key;
        }
        self.heads[list as usize] = key;
        if list != DUE {
            self.occupied[list as usize / SLOTS] |= 1 << (list as usize % SLOTS);
        }
    }

    fn unlink(&mut self, key: u32) {
        let Entry { deadline, next, previous, list } = self.entries[key as usize];
        self.stale |= deadline == self.next;
        self.entries[key as usize].list = UNSET;
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if previous != NONE {
            self.entries[previous as usize].next = next;
            return;
        }
        self.heads[list as usize] = next;
        if next == NONE && list != DUE {
            self.occupied[list as usize / SLOTS] &= !(1 << (list as usize % SLOTS));
        }
    }
}

const fn tick(time: Time) -> u64 {
    time.nanos() >> TICK_BITS
}

/// Place of a level's lowest bit in a tick.
#[expect(clippy::cast_possible_truncation, reason = "below 48")]
const fn shift(level: usize) -> u32 {
    level as u32 * SLOT_BITS
}

#[expect(clippy::cast_possible_truncation, reason = "below 64")]
const fn low_bits(tick: u64) -> usize {
    (tick & (SLOTS as u64 - 1)) as usize
}

#[expect(clippy::cast_possible_truncation, reason = "512 lists")]
const fn list(level: usize, slot: usize) -> u16 {
    (level * SLOTS + slot) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(nanos: u64) -> Time {
        Time::from_nanos(nanos)
    }

    fn pop_all(wheel: &mut Wheel, now: Time) -> Vec<u32> {
        let mut keys: Vec<u32> = std::iter::from_fn(|| wheel.pop(now)).collect();
        keys.sort_unstable();
        keys
    }

    #[test]
    fn a_key_is_due_at_its_deadline_and_not_a_nanosecond_before() {
        for deadline in [1, 262_143, 262_144, 5 * MS, 17 * MS, 1_200 * MS, 80_000 * MS, 1 << 60] {
            let mut wheel = Wheel::new(1, at(0));
            wheel.set(0, at(deadline));
            assert_eq!(wheel.pop(at(deadline - 1)), None, "{deadline}");
            assert_eq!(wheel.pop(at(deadline)), Some(0), "{deadline}");
            assert_eq!(wheel.pop(at(deadline)), None);
            assert_eq!(wheel.next_deadline(), Time::NEVER);
        }
    }

    #[test]
    fn next_never_lies_after_the_earliest_deadline_and_reaches_it_in_few_steps() {
        for deadline in [1, 300_000, 20 * MS, 5_000 * MS, 3_600_000 * MS] {
            let mut wheel = Wheel::new(2, at(0));
            wheel.set(0, at(deadline));
            wheel.set(1, at(deadline + 4_000_000 * MS));
            let mut steps = 0;
            loop {
                let next = wheel.next_deadline();
                assert!(next <= at(deadline));
                if let Some(key) = wheel.pop(next) {
                    assert_eq!((key, next), (0, at(deadline)));
                    break;
                }
                steps += 1;
                assert!(steps <= LEVELS, "{deadline}");
            }
        }
    }

    #[test]
    fn setting_again_replaces_the_deadline() {
        let mut wheel = Wheel::new(1, at(0));
        wheel.set(0, at(5 * MS));
        wheel.set(0, at(50 * MS));
        assert_eq!(wheel.deadline(0), at(50 * MS));
        assert_eq!(wheel.pop(at(49 * MS)), None);
        wheel.set(0, at(49 * MS + 1));
        assert_eq!(wheel.pop(at(50 * MS)), Some(0));
    }

    #[test]
    fn a_cancelled_key_is_never_due() {
        let mut wheel = Wheel::new(2, at(0));
        wheel.set(0, at(MS));
        wheel.set(1, at(MS));
        wheel.cancel(0);
        wheel.cancel(0);
        assert_eq!(pop_all(&mut wheel, at(2 * MS)), [1]);
        wheel.set(1, at(3 * MS));
        wheel.set(1, Time::NEVER);
        assert_eq!(wheel.next_deadline(), Time::NEVER);
        assert!(pop_all(&mut wheel, at(1 << 40)).is_empty());
    }

    #[test]
    fn a_collected_key_can_still_be_cancelled_or_moved() {
        let mut wheel = Wheel::new(3, at(0));
        for key in 0..3 {
            wheel.set(key, at(MS));
        }
        let first = wheel.pop(at(MS)).unwrap();
        let others: Vec<u32> = (0..3).filter(|key| *key != first).collect();
        assert_eq!(wheel.next_deadline(), at(MS), "two are still due");
        wheel.cancel(others[0]);
        wheel.set(others[1], at(2 * MS));
        assert_eq!(wheel.pop(at(MS)), None);
        assert_eq!(wheel.pop(at(2 * MS)), Some(others[1]));
    }

    #[test]
    fn a_key_set_to_the_past_while_handled_is_due_at_the_next_later_time() {
        let mut wheel = Wheel::new(1, at(0));
        wheel.set(0, at(MS));
        assert_eq!(wheel.pop(at(MS)), Some(0));
        wheel.set(0, at(MS / 2));
        assert_eq!(wheel.pop(at(MS)), None);
        assert_eq!(wheel.pop(at(MS + 1)), Some(0));
    }

    #[test]
    fn a_clock_that_stands_or_steps_back_is_harmless() {
        let mut wheel = Wheel::new(1, at(10 * MS));
        wheel.set(0, at(20 * MS));
        assert_eq!(wheel.pop(at(5 * MS)), None);
        assert_eq!(wheel.pop(at(20 * MS)), Some(0));
        wheel.set(0, at(30 * MS));
        assert_eq!(wheel.pop(at(20 * MS)), None);
        assert_eq!(wheel.pop(at(30 * MS)), Some(0));
    }

    /// Against a plain list, with random deadlines on all scales and random steps of time.
    #[test]
    fn agrees_with_a_plain_list() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        for start in [0, 17 * MS - 5, (1 << 42) - 3, 1 << 50] {
            let mut now = start;
            let mut wheel = Wheel::new(64, at(now));
            let mut plain = [None; 64];
            for _ in 0..20_000 {
                let key = usize::try_from(random(64)).unwrap();
                let id = u32::try_from(key).unwrap();
                match random(4) {
                    0 => {
                        wheel.cancel(id);
                        plain[key] = None;
                    }
                    1 | 2 => {
                        let scale = 1 << random(38);
                        let deadline = now + 1 + random(scale);
                        wheel.set(id, at(deadline));
                        plain[key] = Some(deadline);
                    }
                    _ => {
                        let scale = 1 << random(34);
                        now += random(scale);
                        let earliest = plain.iter().flatten().min();
                        assert!(earliest.is_none_or(|e| wheel.next_deadline() <= at(*e)));
                        let mut due = Vec::new();
                        for (key, deadline) in (0..).zip(&mut plain) {
                            if deadline.is_some_and(|deadline| deadline <= now) {
                                *deadline = None;
                                due.push(key);
                            }
                        }
                        assert_eq!(pop_all(&mut wheel, at(now)), due, "at {now}");
                    }
                }
            }
        }
    }
}
