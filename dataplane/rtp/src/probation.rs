//! A source on probation: packets wait until two of them have numbers next to each other (RFC 3550,
//! A.1, where it takes two in a row). In whichever order: a network that reorders must not cost a stream
//! its first packets, which carry the key picture.

use crate::packet::Packet;
use crate::source::{MISORDER_MAX, Source};

/// Packets of a source that wait for their neighbour.
pub const WAITING_MAX: u32 = 4;
/// And a place for the one that proves the source.
const PLACES: usize = WAITING_MAX as usize + 1;

/// The packets of one source that is not proven.
#[derive(Debug)]
pub struct Probation {
    /// As they came; once they prove the source, by number.
    packets: [Option<Packet>; PLACES],
}

impl Probation {
    /// With the first packet.
    pub fn new(first: Packet) -> Self {
        let mut packets = [const { None }; PLACES];
        if let Some(place) = packets.first_mut() {
            *place = Some(first);
        }
        Self { packets }
    }

    /// Another packet of the source came: whether it proves it, and how many packets are no longer kept.
    pub fn arrive(&mut self, packet: Packet) -> (bool, u32) {
        let sequence = packet.header.sequence;
        let before = self.waiting();
        let is_proven = self.sequences().any(|other| distance(other, sequence) == 1);
        if is_proven {
            // Not of the sequence that the two prove.
            let far = |other: &mut Packet| distance(other.header.sequence, sequence) > MISORDER_MAX;
            self.packets.iter_mut().for_each(|place| drop(place.take_if(far)));
        } else if self.sequences().any(|other| other == sequence) {
            return (false, 1);
        } else if before == PLACES - 1
            && let Some(oldest) = self.packets.first_mut()
        {
            *oldest = None;
            self.packets.rotate_left(1);
        }
        let dropped = before - self.waiting();
        if let Some(place) = self.packets.iter_mut().find(|place| place.is_none()) {
            *place = Some(packet);
        }
        if is_proven {
            self.sort(sequence);
        }
        (is_proven, u32::try_from(dropped).unwrap_or(u32::MAX))
    }

    /// Packets that wait.
    pub fn waiting(&self) -> usize {
        self.packets.iter().flatten().count()
    }

    /// Their numbers, of a source that was proven in order.
    pub fn sequences(&self) -> impl Iterator<Item = u16> {
        self.packets.iter().flatten().map(|packet| packet.header.sequence)
    }

    /// SSRC and payload type of the first.
    pub fn origin(&self) -> (u32, u8) {
        let first = self.packets.iter().flatten().next();
        first.map_or((0, 0), |packet| (packet.header.ssrc, packet.header.payload_type))
    }

    /// The source that they prove, and the extended number of the first.
    pub fn source(&self) -> (Source, u64) {
        let first = self.sequences().next().unwrap_or(0);
        let mut source = Source::new(first);
        for sequence in self.sequences() {
            source.update(sequence);
        }
        (source, source.extend(first))
    }

    /// They, as in [`sequences`](Self::sequences).
    pub fn into_packets(self) -> impl Iterator<Item = Packet> {
        self.packets.into_iter().flatten()
    }

    /// By number, all of which are close to one.
    fn sort(&mut self, one: u16) {
        self.packets.sort_unstable_by_key(|place| {
            place.as_ref().map(|it| it.header.sequence.wrapping_sub(one).cast_signed())
        });
    }
}

/// How far apart two numbers are.
fn distance(one: u16, other: u16) -> u16 {
    one.wrapping_sub(other).cast_signed().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use memory::{Datagram, Slab, Time};

    use super::*;
    use crate::packet::Header;

    fn packet(slab: &Slab, sequence: u16) -> Packet {
        let header = Header { sequence, ..Header::default() }.encode();
        Packet::new(Datagram::copy_from(slab, &header).unwrap(), Time::ZERO).unwrap()
    }

    /// Dropped on the way to the proof, and what is left, by number; `None` without a proof.
    fn proven_by(sequences: &[u16]) -> Option<(u32, Vec<u16>)> {
        let slab = Slab::new(16).unwrap();
        let mut sequences = sequences.iter();
        let mut probation = Probation::new(packet(&slab, *sequences.next().unwrap()));
        let mut dropped = 0;
        for sequence in sequences {
            let (is_proven, gone) = probation.arrive(packet(&slab, *sequence));
            dropped += gone;
            if is_proven {
                let left = probation.into_packets().map(|it| it.header.sequence);
                return Some((dropped, left.collect()));
            }
            assert!(probation.waiting() < PLACES);
        }
        None
    }

    #[test]
    fn two_neighbours_prove_a_source_in_whichever_order() {
        assert_eq!(proven_by(&[7, 8]), Some((0, vec![7, 8])));
        assert_eq!(proven_by(&[8, 7]), Some((0, vec![7, 8])));
        assert_eq!(proven_by(&[65_535, 0]), Some((0, vec![65_535, 0])));
        assert_eq!(proven_by(&[0, 65_535]), Some((0, vec![65_535, 0])));
    }

    #[test]
    fn what_came_before_the_neighbours_is_kept() {
        assert_eq!(proven_by(&[1, 3, 4]), Some((0, vec![1, 3, 4])));
        assert_eq!(proven_by(&[3, 1, 5, 2]), Some((0, vec![1, 2, 3, 5])));
        assert_eq!(proven_by(&[9, 1, 5, 3, 2]), Some((0, vec![1, 2, 3, 5, 9])));
    }

    #[test]
    fn of_more_than_may_wait_the_oldest_goes() {
        assert_eq!(proven_by(&[1, 3, 5, 7, 9, 10]), Some((1, vec![3, 5, 7, 9, 10])));
    }

    #[test]
    fn what_is_far_from_the_neighbours_is_none_of_the_source() {
        assert_eq!(proven_by(&[30_000, 8, 7]), Some((1, vec![7, 8])));
        assert_eq!(proven_by(&[107, 8, 7]), Some((0, vec![7, 8, 107])));
        assert_eq!(proven_by(&[108, 8, 7]), Some((1, vec![7, 8])));
    }

    #[test]
    fn a_proven_source_has_received_what_waited() {
        let slab = Slab::new(4).unwrap();
        let mut probation = Probation::new(packet(&slab, 1));
        for sequence in [65_535, 2] {
            probation.arrive(packet(&slab, sequence));
        }
        let (source, first) = probation.source();
        assert_eq!((source.highest() - first, source.lost()), (3, 1));
    }

    #[test]
    fn a_packet_that_is_repeated_proves_nothing() {
        assert_eq!(proven_by(&[7, 7, 7, 5]), None);
        assert_eq!(proven_by(&[7, 7, 8]), Some((1, vec![7, 8])));
    }
}
