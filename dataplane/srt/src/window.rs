//! The receive window: packets behind a hole, by sequence number, and the list of what is missing.
//!
//! ```text
//!        base                    end                     base + limit
//!  ...... |  ?  ?  #  #  ?  #  #  |  .  .  .  .  .  .  .  |
//!  done     loss  held  loss       nothing known yet        beyond: not accepted
//! ```
//!
//! Everything before `base` has been delivered or given up. Between `base` and `end` a place is
//! *held* (its packet waits here), *lost* (in the loss list), or given up by the sender (neither).
//! `base <= end <= base + limit` at all times, whatever a peer sends.

use std::collections::VecDeque;

use memory::{Datagram, Time};

use crate::sequence::{Sequence, SequenceRange};
use crate::work;

/// Most packets of a window; what limits it in earnest is the memory granted.
const PACKETS_MAX: u32 = 1 << 20;

/// Missing packets next to each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loss {
    pub(crate) first: Sequence,
    pub(crate) last: Sequence,
    /// When it was last reported or, before that, found.
    pub(crate) since: Time,
    /// Not reported yet: the packets may only be late.
    pub(crate) fresh: bool,
}

/// Where a packet was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// At the end.
    Next,
    /// Beyond the end: these many before it are missing now.
    Gap(u32),
    /// Into a hole.
    Recovered,
    /// Into a place that the sender had given up.
    Unexpected,
    /// Nowhere: its place is taken.
    Duplicate,
    /// Nowhere: the loss list is full.
    NoRoom,
}

/// What comes next in order.
#[derive(Debug)]
pub(crate) enum Ready {
    Packet(Datagram),
    /// These many packets that the sender gave up.
    GivenUp(u32),
}

pub(crate) struct Window {
    places: Box<[Option<Datagram>]>,
    /// `places.len() - 1`, the length being a power of two.
    mask: u32,
    limit: u32,
    base: Sequence,
    end: Sequence,
    held: u32,
    /// In order, apart from each other, all between `base` and `end`.
    losses: VecDeque<Loss>,
    losses_max: usize,
}

impl Window {
    /// Bytes that a window of `packets` takes.
    pub(crate) fn bytes(packets: u32) -> usize {
        let (places, losses_max) = sizes(packets);
        places * size_of::<Option<Datagram>>() + losses_max * size_of::<Loss>()
    }

    /// Room for `packets`, rounded up to a power of two.
    pub(crate) fn new(packets: u32) -> Self {
        let (places, losses_max) = sizes(packets);
        let len = u32::try_from(places).unwrap_or(PACKETS_MAX);
        Self {
            places: (0..len).map(|_| None).collect(),
            mask: len - 1,
            limit: len,
            base: Sequence::default(),
            end: Sequence::default(),
            held: 0,
            losses: VecDeque::with_capacity(losses_max),
            losses_max,
        }
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.mask + 1
    }

    /// Starts over, empty, at `base`.
    pub(crate) fn reset(&mut self, base: Sequence, limit: u32) {
        self.clear();
        self.base = base;
        self.end = base;
        self.limit = limit.clamp(2, self.capacity());
    }

    /// Drops every held packet; how many there were.
    pub(crate) fn clear(&mut self) -> u32 {
        let dropped = self.held;
        let mut sequence = self.base;
        while self.held > 0 {
            work::steps(1);
            if self.place(sequence).is_some_and(|place| place.take().is_some()) {
                self.held -= 1;
            }
            sequence = sequence.next();
        }
        self.losses.clear();
        self.end = self.base;
        dropped
    }

    #[inline]
    pub(crate) fn base(&self) -> Sequence {
        self.base
    }

    pub(crate) fn end(&self) -> Sequence {
        self.end
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    pub(crate) fn held(&self) -> u32 {
        self.held
    }

    pub(crate) fn losses(&self) -> impl Iterator<Item = &Loss> {
        self.losses.iter().inspect(|_| work::steps(1))
    }

    pub(crate) fn losses_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Loss> {
        self.losses.iter_mut().inspect(|_| work::steps(1))
    }

    pub(crate) fn has_losses(&self) -> bool {
        !self.losses.is_empty()
    }

    /// The packet at `base` has come and need not be held: moves past it. True when it was missing.
    #[inline]
    pub(crate) fn pass(&mut self) -> bool {
        let passed = self.base;
        self.base = passed.next();
        if self.end == passed {
            self.end = self.base;
            return false;
        }
        match self.losses.front_mut() {
            Some(loss) if loss.first == passed => {
                if loss.last == passed {
                    self.losses.pop_front();
                } else {
                    loss.first = passed.next();
                }
                true
            }
            _ => false,
        }
    }

    /// Puts away a packet `0 < offset < limit` behind `base`.
    pub(crate) fn insert(&mut self, sequence: Sequence, datagram: Datagram, now: Time) -> Inserted {
        let beyond = sequence.offset_from(self.end);
        let inserted = match beyond {
            0 => Inserted::Next,
            1.. if self.losses.len() >= self.losses_max => return Inserted::NoRoom,
            1.. => {
                self.losses.push_back(Loss {
                    first: self.end,
                    last: sequence.previous(),
                    since: now,
                    fresh: true,
                });
                Inserted::Gap(beyond.unsigned_abs())
            }
            _ if self.place(sequence).is_some_and(|place| place.is_some()) => {
                return Inserted::Duplicate;
            }
            _ => match self.fill(sequence) {
                Some(true) => Inserted::Recovered,
                Some(false) => Inserted::Unexpected,
                None => return Inserted::NoRoom,
            },
        };
        if beyond >= 0 {
            self.end = sequence.next();
        }
        if let Some(place) = self.place(sequence) {
            *place = Some(datagram);
            self.held += 1;
        }
        inserted
    }

    /// Takes one number out of the loss list; false when it is not in it, `None` when that would
    /// split a range and the list is full.
    fn fill(&mut self, sequence: Sequence) -> Option<bool> {
        let index = self.losses.partition_point(|loss| loss.last.is_before(sequence));
        let full = self.losses.len() >= self.losses_max;
        let Some(loss) = self.losses.get_mut(index) else {
            return Some(false);
        };
        if sequence.is_before(loss.first) {
            return Some(false);
        }
        let Loss { first, last, .. } = *loss;
        if first == last {
            work::steps(moved(index, self.losses.len()));
            self.losses.remove(index);
        } else if sequence == first {
            loss.first = sequence.next();
        } else if sequence == last {
            loss.last = sequence.previous();
        } else if full {
            return None;
        } else {
            let mut after = *loss;
            loss.last = sequence.previous();
            after.first = sequence.next();
            work::steps(moved(index, self.losses.len()));
            self.losses.insert(index + 1, after);
        }
        Some(true)
    }

    /// The next packet or run of given-up places in order; `None` at a hole or at the end.
    pub(crate) fn ready(&mut self) -> Option<Ready> {
        if self.base == self.end {
            return None;
        }
        if let Some(datagram) = self.place(self.base).and_then(Option::take) {
            self.held -= 1;
            self.base = self.base.next();
            return Some(Ready::Packet(datagram));
        }
        let stop = self.losses.front().map_or(self.end, |loss| loss.first);
        let mut count = 0;
        while self.base != stop && self.place(self.base).is_some_and(|place| place.is_none()) {
            work::steps(1);
            self.base = self.base.next();
            count += 1;
        }
        (count > 0).then_some(Ready::GivenUp(count))
    }

    /// Gives the hole at `base` up: its packets are not waited for any more.
    pub(crate) fn give_up(&mut self) -> Option<SequenceRange> {
        let loss = self.losses.front().filter(|loss| loss.first == self.base)?;
        let range = SequenceRange::new(loss.first, loss.last);
        self.base = loss.last.next();
        self.losses.pop_front();
        range
    }

    /// The sender gives up `range`: what of it is missing is not waited for any more. What lies
    /// outside `[base, base + limit)`, or behind an unknown stretch, is left alone. Returns how many
    /// missing packets left the loss list.
    pub(crate) fn drop_range(&mut self, range: SequenceRange) -> u32 {
        // As plain numbers: a range of half the sequence space has no place modulo 2^31.
        let offset = i64::from(range.first().offset_from(self.base));
        let last = (offset + i64::from(range.count()) - 1).min(i64::from(self.limit) - 1);
        let (Ok(first), Ok(last)) = (u32::try_from(offset.max(0)), u32::try_from(last)) else {
            return 0;
        };
        let (first, last) = (self.base.add(first), self.base.add(last));
        if last.is_before(first) || self.end.is_before(first) {
            return 0;
        }
        if !last.is_before(self.end) {
            self.end = last.next();
        }
        self.remove_losses(first, last)
    }

    /// The whole range at once: one by one, each would move those behind it.
    fn remove_losses(&mut self, first: Sequence, last: Sequence) -> u32 {
        let mut start = self.losses.partition_point(|loss| loss.last.is_before(first));
        let mut end = self.losses.partition_point(|loss| !last.is_before(loss.first));
        let (Some(&front), Some(&back)) =
            (self.losses.get(start), end.checked_sub(1).and_then(|at| self.losses.get(at)))
        else {
            return 0;
        };
        if end <= start {
            return 0;
        }
        let left = front.first.is_before(first);
        let right = last.is_before(back.last);
        if left && right && end - start == 1 && self.losses.len() >= self.losses_max {
            return 0;
        }
        let mut removed = 0;
        for loss in self.losses.range(start..end) {
            work::steps(1);
            let (first, last) = (later(loss.first, first), earlier(loss.last, last));
            removed += last.offset_from(first).unsigned_abs() + 1;
        }
        if left && right && end - start == 1 {
            work::steps(moved(start, self.losses.len()));
            self.losses.insert(start, front);
            end += 1;
        }
        if left && let Some(loss) = self.losses.get_mut(start) {
            loss.last = first.previous();
            start += 1;
        }
        if right && let Some(loss) = self.losses.get_mut(end - 1) {
            loss.first = last.next();
            end -= 1;
        }
        work::steps(moved(start, self.losses.len()));
        self.losses.drain(start..end);
        removed
    }

    /// The first held packet, which waits behind the hole at `base`.
    pub(crate) fn first_held(&self) -> Option<(Sequence, &Datagram)> {
        if self.held == 0 {
            return None;
        }
        let mut sequence = self.losses.front().map_or(self.base, |loss| loss.last.next());
        while sequence.is_before(self.end) {
            work::steps(1);
            if let Some(datagram) = self.places.get(self.index(sequence))?.as_ref() {
                return Some((sequence, datagram));
            }
            sequence = sequence.next();
        }
        None
    }

    /// Packets between base and end that are not here: waited for, or given up by the sender.
    pub(crate) fn absent(&self) -> u32 {
        self.end.offset_from(self.base).unsigned_abs() - self.held
    }

    #[inline]
    fn index(&self, sequence: Sequence) -> usize {
        // The number of places divides 2^31, so the index goes on smoothly over the wrap.
        usize::try_from(sequence.value() & self.mask).unwrap_or(usize::MAX)
    }

    #[inline]
    fn place(&mut self, sequence: Sequence) -> Option<&mut Option<Datagram>> {
        let index = self.index(sequence);
        self.places.get_mut(index)
    }
}

/// Places and loss ranges of a window of `packets`.
fn sizes(packets: u32) -> (usize, usize) {
    let places = packets.clamp(2, PACKETS_MAX).next_power_of_two();
    let places = usize::try_from(places).unwrap_or(usize::MAX);
    // An eighth of the window as separate holes is 12 % of single losses, all outstanding.
    (places, (places / 8).max(32))
}

/// Entries that move when one of `len` at `index` comes or goes.
const fn moved(index: usize, len: usize) -> usize {
    let behind = len - index;
    if index < behind { index } else { behind }
}

fn later(a: Sequence, b: Sequence) -> Sequence {
    if a.is_before(b) { b } else { a }
}

fn earlier(a: Sequence, b: Sequence) -> Sequence {
    if a.is_before(b) { a } else { b }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window")
            .field("base", &self.base)
            .field("end", &self.end)
            .field("limit", &self.limit)
            .field("held", &self.held)
            .field("losses", &self.losses)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
