//! Where an accepted connection goes: the least loaded worker that has a place and the slots.
//!
//! SRT and RTP have places and slots of their own.

use std::collections::VecDeque;
use std::ops::Range;

/// A session's place, with the packet slots reserved for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) worker: u16,
    pub(crate) session: u16,
    pub(crate) slots: u32,
}

/// Why a connection finds no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// Every session place is taken.
    Sessions,
    /// No worker has the slots that its rate and latency need.
    Slots { wanted: u32, free: u32 },
}

#[derive(Debug)]
struct WorkerPlaces {
    /// What each place is reckoned with.
    share: u32,
    /// Free places, the one free the longest first: a former id rests before its place is reused.
    free: VecDeque<u16>,
    taken: u16,
    slots_free: u32,
}

impl WorkerPlaces {
    /// What one connection may have: its share in any case, and beyond it what leaves half their
    /// share to all other free places, so that a caller that asks for a long latency does not shut
    /// the others out.
    fn slots_open(&self) -> u32 {
        if self.free.is_empty() { 0 } else { self.open(self.free.len(), self.slots_free) }
    }

    fn open(&self, places: usize, slots: u32) -> u32 {
        let others = u32::try_from(places - 1).unwrap_or(u32::MAX);
        let kept = (self.share / 2).saturating_mul(others);
        slots.saturating_sub(kept).max(slots.min(self.share))
    }

    /// The same once a place is given back.
    fn slots_open_after(&self, leaving: u32) -> u32 {
        self.open(self.free.len() + 1, self.slots_free + leaving)
    }
}

/// The places of all workers.
#[derive(Debug)]
pub(crate) struct Placement {
    places: Range<u16>,
    workers: Vec<WorkerPlaces>,
}

impl Placement {
    /// These places with `slots` packet slots in all on each worker, of which any session is to have
    /// `share`; what is above that is there for sessions that need more.
    pub(crate) fn new(workers: u16, places: Range<u16>, slots: u32, share: u32) -> Self {
        let worker =
            || WorkerPlaces { share, free: places.clone().collect(), taken: 0, slots_free: slots };
        Self { workers: (0..workers).map(|_| worker()).collect(), places: places.clone() }
    }

    /// Takes a place on that worker.
    pub(crate) fn take_on(&mut self, worker: u16, slots: u32) -> Result<Place, Full> {
        let places = self.workers.get_mut(usize::from(worker)).ok_or(Full::Sessions)?;
        let free = places.slots_open();
        if free < slots && !places.free.is_empty() {
            return Err(Full::Slots { wanted: slots, free });
        }
        let session = places.free.pop_front().ok_or(Full::Sessions)?;
        places.taken += 1;
        places.slots_free -= slots;
        Ok(Place { worker, session, slots })
    }

    /// Whether that worker has a place.
    pub(crate) fn has_place_on(&self, worker: u16) -> bool {
        self.workers.get(usize::from(worker)).is_some_and(|places| !places.free.is_empty())
    }

    /// Sessions on all workers.
    pub(crate) fn taken(&self) -> usize {
        self.workers.iter().map(|worker| usize::from(worker.taken)).sum()
    }

    /// Takes a place on the worker with the fewest sessions.
    pub(crate) fn take(&mut self, slots: u32) -> Result<Place, Full> {
        let open =
            self.workers.iter_mut().enumerate().filter(|(_, worker)| !worker.free.is_empty());
        let mut open: Vec<_> = open.collect();
        let Some(most) = open.iter().map(|(_, worker)| worker.slots_open()).max() else {
            return Err(Full::Sessions);
        };
        open.retain(|(_, worker)| worker.slots_open() >= slots);
        let Some((index, worker)) = open.into_iter().min_by_key(|(_, worker)| worker.taken) else {
            return Err(Full::Slots { wanted: slots, free: most });
        };
        let session = worker.free.pop_front().expect("the worker was chosen for its free place");
        worker.taken += 1;
        worker.slots_free -= slots;
        let worker = u16::try_from(index).expect("workers are numbered in 16 bits");
        Ok(Place { worker, session, slots })
    }

    /// Whether so many slots are to be had once `leaving` is given back.
    pub(crate) fn fits(&self, slots: u32, leaving: Place) -> bool {
        (0..).zip(&self.workers).any(|(index, worker)| {
            let left = index == leaving.worker && self.places.contains(&leaving.session);
            slots <= if left { worker.slots_open_after(leaving.slots) } else { worker.slots_open() }
        })
    }

    /// The most slots that one connection could have.
    pub(crate) fn slots_free(&self) -> u32 {
        self.workers.iter().map(WorkerPlaces::slots_open).max().unwrap_or(0)
    }

    /// Gives a place back.
    pub(crate) fn release(&mut self, place: Place) {
        let worker = &mut self.workers[usize::from(place.worker)];
        worker.free.push_back(place.session);
        worker.taken -= 1;
        worker.slots_free += place.slots;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_spread_over_workers() {
        let mut placement = Placement::new(2, 0..4, 100, 25);
        let workers: Vec<u16> =
            (0..4).map(|_| placement.take(1).expect("a place").worker).collect();
        assert_eq!(workers, [0, 1, 0, 1]);
    }

    #[test]
    fn a_released_place_is_reused_last() {
        let mut placement = Placement::new(1, 0..2, 100, 50);
        let first = placement.take(1).expect("a place");
        placement.release(first);
        assert_eq!(placement.take(1).expect("a place").session, 1);
    }

    #[test]
    fn a_greedy_connection_leaves_half_their_share_to_the_others() {
        let mut placement = Placement::new(1, 0..5, 100, 20);
        assert_eq!(placement.take(61), Err(Full::Slots { wanted: 61, free: 60 }));
        let greedy = placement.take(60).expect("a place");
        let next = placement.take(21);
        assert_eq!(next, Err(Full::Slots { wanted: 21, free: 20 }), "a share remains");
        placement.take(20).expect("a share");
        placement.release(greedy);
        placement.take(20).expect("a share");
    }

    #[test]
    fn what_a_predecessor_gives_back_counts_for_its_successor() {
        let mut placement = Placement::new(1, 0..1, 100, 100);
        let place = placement.take(60).expect("a place");
        assert!(placement.fits(100, place) && !placement.fits(101, place));
    }

    #[test]
    fn what_is_there_for_one_that_needs_more_is_not_kept_for_the_others() {
        // Eight of 10 slots, and 100 more for one whose rule says so.
        let mut placement = Placement::new(1, 0..8, 180, 10);
        placement.take(110).expect("as configured");
        for _ in 0..7 {
            placement.take(10).expect("a share");
        }
    }

    #[test]
    fn a_place_on_a_given_worker_and_nowhere_else() {
        let mut placement = Placement::new(2, 5..7, 100, 50);
        let places = [placement.take_on(1, 10), placement.take_on(1, 10)];
        let sessions = places.map(|place| place.map(|place| (place.worker, place.session)));
        assert_eq!(sessions, [Ok((1, 5)), Ok((1, 6))]);
        assert_eq!(placement.take_on(1, 10), Err(Full::Sessions));
        assert_eq!(placement.take_on(0, 101), Err(Full::Slots { wanted: 101, free: 75 }));
        assert_eq!(placement.taken(), 2);
        let elsewhere = Place { worker: 0, session: 2, slots: 1_000 };
        assert!(!placement.fits(500, elsewhere), "what is not ours gives nothing back");
    }

    #[test]
    fn what_is_missing_is_told() {
        let mut placement = Placement::new(1, 0..2, 10, 5);
        assert_eq!(placement.take(9), Err(Full::Slots { wanted: 9, free: 8 }));
        let first = placement.take(8).expect("a place");
        assert_eq!(placement.take(3), Err(Full::Slots { wanted: 3, free: 2 }));
        placement.release(first);
        placement.take(5).expect("a place");
        placement.take(5).expect("a place");
        assert_eq!(placement.take(0), Err(Full::Sessions));
    }
}
