//! Where an accepted connection goes: the least loaded worker that has a place and the slots.

use std::collections::VecDeque;

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
    /// Free places, the one free the longest first: a former id rests before its place is reused.
    free: VecDeque<u16>,
    taken: u16,
    slots_free: u32,
}

/// The places of all workers.
#[derive(Debug)]
pub(crate) struct Placement {
    workers: Vec<WorkerPlaces>,
}

impl Placement {
    pub(crate) fn new(workers: u16, sessions: u16, slots: u32) -> Self {
        let places = || WorkerPlaces { free: (0..sessions).collect(), taken: 0, slots_free: slots };
        Self { workers: (0..workers).map(|_| places()).collect() }
    }

    /// Takes a place on the worker with the fewest sessions.
    pub(crate) fn take(&mut self, slots: u32) -> Result<Place, Full> {
        let open =
            self.workers.iter_mut().enumerate().filter(|(_, worker)| !worker.free.is_empty());
        let mut open: Vec<_> = open.collect();
        let Some(most) = open.iter().map(|(_, worker)| worker.slots_free).max() else {
            return Err(Full::Sessions);
        };
        open.retain(|(_, worker)| worker.slots_free >= slots);
        let Some((index, worker)) = open.into_iter().min_by_key(|(_, worker)| worker.taken) else {
            return Err(Full::Slots { wanted: slots, free: most });
        };
        let session = worker.free.pop_front().expect("the worker was chosen for its free place");
        worker.taken += 1;
        worker.slots_free -= slots;
        let worker = u16::try_from(index).expect("workers are numbered in 16 bits");
        Ok(Place { worker, session, slots })
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
        let mut placement = Placement::new(2, 4, 100);
        let workers: Vec<u16> =
            (0..4).map(|_| placement.take(1).expect("a place").worker).collect();
        assert_eq!(workers, [0, 1, 0, 1]);
    }

    #[test]
    fn a_released_place_is_reused_last() {
        let mut placement = Placement::new(1, 2, 100);
        let first = placement.take(1).expect("a place");
        placement.release(first);
        assert_eq!(placement.take(1).expect("a place").session, 1);
    }

    #[test]
    fn what_is_missing_is_told() {
        let mut placement = Placement::new(1, 2, 10);
        assert_eq!(placement.take(11), Err(Full::Slots { wanted: 11, free: 10 }));
        let first = placement.take(10).expect("a place");
        assert_eq!(placement.take(1), Err(Full::Slots { wanted: 1, free: 0 }));
        placement.release(first);
        placement.take(5).expect("a place");
        placement.take(5).expect("a place");
        assert_eq!(placement.take(0), Err(Full::Sessions));
    }
}
