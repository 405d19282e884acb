//! Datagrams that the kernel gave to the wrong worker, on their way to the right one.
//!
//! Steering makes this rare: a packet that arrives while the group is being set up, or on a kernel
//! that ignores the program. It is counted on both sides, never assumed impossible.

use std::net::SocketAddr;

use memory::Time;
use memory::spsc::{Consumer, Producer};
use uring::SocketIndex;

/// Datagrams in flight between two workers.
pub(crate) const HANDOVERS: usize = 64;
/// The longest SRT datagram (MTU 1,500 less IP and UDP headers), rounded up.
const DATAGRAM_BYTES_MAX: usize = 1_500;

/// A datagram by value: a slot cannot leave its worker's slab.
#[derive(Debug)]
pub(crate) struct Handover {
    /// The socket it came on: listeners have the same index on every worker.
    pub(crate) socket: SocketIndex,
    pub(crate) peer: SocketAddr,
    pub(crate) arrival: Time,
    len: usize,
    bytes: [u8; DATAGRAM_BYTES_MAX],
}

impl Handover {
    /// `None` when the datagram is longer than any SRT packet.
    pub(crate) fn new(
        socket: SocketIndex,
        peer: SocketAddr,
        arrival: Time,
        payload: &[u8],
    ) -> Option<Self> {
        let mut bytes = [0; DATAGRAM_BYTES_MAX];
        bytes.get_mut(..payload.len())?.copy_from_slice(payload);
        Some(Self { socket, peer, arrival, len: payload.len(), bytes })
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// One worker's ends of the rings to and from every other.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    /// By worker; `None` at one's own place.
    pub(crate) to: Vec<Option<Producer<Handover>>>,
    pub(crate) from: Vec<Consumer<Handover>>,
}

impl Neighbours {
    /// Rings between all pairs of workers.
    pub(crate) fn mesh(workers: usize) -> Vec<Self> {
        let mut mesh: Vec<Self> = (0..workers).map(|_| Self::default()).collect();
        for sender in 0..workers {
            for receiver in 0..workers {
                if sender == receiver {
                    mesh[sender].to.push(None);
                    continue;
                }
                let (producer, consumer) = memory::spsc::channel(HANDOVERS);
                mesh[sender].to.push(Some(producer));
                mesh[receiver].from.push(consumer);
            }
        }
        mesh
    }

    /// Sends a datagram to its owner; false when the ring is full or the datagram too long.
    pub(crate) fn send(&mut self, owner: u16, handover: Option<Handover>) -> bool {
        let ring = self.to.get_mut(usize::from(owner)).and_then(Option::as_mut);
        let Some((ring, handover)) = ring.zip(handover) else { return false };
        ring.push(handover).is_ok()
    }

    /// The next datagram from any neighbour.
    pub(crate) fn receive(&mut self) -> Option<Handover> {
        self.from.iter_mut().find_map(Consumer::pop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_reaches_its_owner_by_value() {
        let mut mesh = Neighbours::mesh(3);
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        let handover = Handover::new(SocketIndex::new(3), peer, Time::from_nanos(5), b"packet");
        assert!(mesh[0].send(2, handover));
        let taken = mesh[2].receive().expect("handed over");
        assert_eq!((taken.payload(), taken.peer), (&b"packet"[..], peer));
        assert_eq!(taken.socket, SocketIndex::new(3));
        assert!(mesh[1].receive().is_none());
    }

    #[test]
    fn nothing_is_sent_to_oneself_or_beyond_the_ring() {
        let mut mesh = Neighbours::mesh(2);
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        let new = |bytes: &[u8]| Handover::new(SocketIndex::new(0), peer, Time::ZERO, bytes);
        let handover = || new(b"x");
        assert!(!mesh[0].send(0, handover()));
        assert!(!mesh[0].send(7, handover()));
        assert!((0..HANDOVERS).all(|_| mesh[0].send(1, handover())));
        assert!(!mesh[0].send(1, handover()));
        assert!(new(&[0; 1_501]).is_none());
    }
}
