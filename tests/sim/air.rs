//! Datagrams on their way.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use memory::Time;

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// With the ports that are meant.
    Engine {
        from: SocketAddr,
        port: u16,
    },
    Publisher {
        index: usize,
        port: u16,
    },
}

#[derive(Debug)]
pub(crate) struct Flight {
    at: Time,
    order: u64,
    pub(crate) to: To,
    pub(crate) bytes: Vec<u8>,
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Datagrams on their way, the next one on top.
#[derive(Debug, Default)]
pub(crate) struct Air {
    flights: BinaryHeap<Reverse<Flight>>,
    order: u64,
}

impl Air {
    pub(crate) fn send(&mut self, at: Time, to: To, bytes: Vec<u8>) {
        self.order += 1;
        self.flights.push(Reverse(Flight { at, order: self.order, to, bytes }));
    }

    pub(crate) fn next_time(&self) -> Time {
        self.flights.peek().map_or(Time::NEVER, |Reverse(flight)| flight.at)
    }

    pub(crate) fn land(&mut self, now: Time) -> Option<Flight> {
        if self.next_time() > now {
            return None;
        }
        self.flights.pop().map(|Reverse(flight)| flight)
    }
}
