//! Where the packets of a sender wait that proved itself, until the conductor has decided about it:
//! an encoder sends its first key picture at once, and nothing of it is to be lost.
//!
//! Rooms are few and their packets bounded, one by one and together; one host has at most half of the
//! rooms and three quarters of the packets, so that it keeps nobody else out. A room whose sender was
//! refused rests for a while: so its packets are dropped without a question for each.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use memory::Time;
use rtp::packet::Packet;

use crate::messages::Room;

/// Senders that wait for their admission at one time, on one worker.
pub(crate) const ROOMS: usize = 16;
/// Of these, those of one host.
const ROOMS_OF_HOST: usize = ROOMS / 2;
/// Packets that one sender may have waiting: 100 ms of 60 Mbit/s.
const ROOM_PACKETS_MAX: usize = 512;
/// Packets that may wait in all rooms.
pub(crate) const PACKETS_MAX: u32 = 1_024;
/// Of these, those of one host.
const PACKETS_OF_HOST: usize = PACKETS_MAX as usize / 4 * 3;
/// A sender that was refused is not asked about again for so long.
const REFUSED_FOR: Duration = Duration::from_secs(2);

/// Who is in a room.
pub(crate) type Key = (u32, SocketAddr);

#[derive(Debug)]
struct Waiting {
    key: Option<Key>,
    serial: u32,
    /// Until when its sender's packets are dropped.
    refused_until: Option<Time>,
    packets: VecDeque<Packet>,
}

impl Waiting {
    /// Whether a sender of that host waits here.
    fn is_of(&self, host: IpAddr) -> bool {
        self.refused_until.is_none() && self.key.is_some_and(|(_, peer)| peer.ip() == host)
    }
}

/// All rooms of a worker. Nothing is allocated after [`new`](Self::new).
#[derive(Debug)]
pub(crate) struct Rooms {
    rooms: Vec<Waiting>,
    packets: u32,
    serial: u32,
}

impl Rooms {
    pub(crate) fn new() -> Self {
        let room = || Waiting {
            key: None,
            serial: 0,
            refused_until: None,
            packets: VecDeque::with_capacity(ROOM_PACKETS_MAX),
        };
        Self { rooms: (0..ROOMS).map(|_| room()).collect(), packets: 0, serial: 0 }
    }

    /// Bytes of all of them.
    pub(crate) const fn bytes() -> usize {
        ROOMS * (size_of::<Waiting>() + ROOM_PACKETS_MAX * size_of::<Packet>())
    }

    /// Packets that wait.
    pub(crate) const fn packets(&self) -> u32 {
        self.packets
    }

    /// A room for a sender, and who was in it: one that was refused gives way. `None` when all are
    /// waiting, or too many of its host.
    pub(crate) fn take(&mut self, key: Key) -> Option<(Room, Option<Key>)> {
        let host = key.1.ip();
        if self.rooms.iter().filter(|room| room.is_of(host)).count() >= ROOMS_OF_HOST {
            return None;
        }
        let free = self.rooms.iter().position(|room| room.key.is_none());
        let refused = || {
            let refused = self.rooms.iter().enumerate();
            let refused = refused.filter_map(|(at, room)| Some((room.refused_until?, at)));
            refused.min().map(|(_, at)| at)
        };
        let at = free.or_else(refused)?;
        self.serial = self.serial.wrapping_add(1);
        let room = &mut self.rooms[at];
        room.serial = self.serial;
        room.refused_until = None;
        let before = room.key.replace(key);
        let index = u16::try_from(at).expect("rooms are few");
        Some((Room { index, serial: self.serial }, before))
    }

    /// Keeps a packet; false when it cannot be, and it is dropped.
    pub(crate) fn hold(&mut self, index: usize, packet: Packet) -> bool {
        let of_host = self.packets_beside(index);
        let Some(room) = self.rooms.get_mut(index) else { return false };
        let full = room.packets.len() >= ROOM_PACKETS_MAX
            || self.packets >= PACKETS_MAX
            || of_host >= PACKETS_OF_HOST;
        if full || room.refused_until.is_some() {
            return false;
        }
        room.packets.push_back(packet);
        self.packets += 1;
        true
    }

    /// Packets that wait of the host of a room.
    fn packets_beside(&self, index: usize) -> usize {
        let host = self.rooms.get(index).and_then(|room| Some(room.key?.1.ip()));
        let of_host = self.rooms.iter().filter(|room| host.is_some_and(|host| room.is_of(host)));
        of_host.map(|room| room.packets.len()).sum()
    }

    /// Whether the room's sender was refused.
    pub(crate) fn is_refused(&self, index: usize) -> bool {
        self.rooms.get(index).is_some_and(|room| room.refused_until.is_some())
    }

    /// Who is in that room, while its use goes on.
    pub(crate) fn key(&self, room: Room) -> Option<Key> {
        self.in_use(room)?.key
    }

    /// The next packet of a room.
    pub(crate) fn pop(&mut self, room: Room) -> Option<Packet> {
        let packet = self.in_use_mut(room)?.packets.pop_front()?;
        self.packets -= 1;
        Some(packet)
    }

    /// The room is free; its packets were taken.
    pub(crate) fn leave(&mut self, room: Room) {
        if let Some(room) = self.in_use_mut(room) {
            room.key = None;
        }
    }

    /// Its sender was refused. How many of its packets are dropped.
    pub(crate) fn refuse(&mut self, room: Room, now: Time) -> u32 {
        let Some(waiting) = self.in_use_mut(room) else { return 0 };
        waiting.refused_until = Some(now + REFUSED_FOR);
        let dropped = u32::try_from(waiting.packets.len()).unwrap_or(u32::MAX);
        waiting.packets.clear();
        self.packets -= dropped;
        dropped
    }

    /// Frees a room whose sender was refused long enough ago; who was in it.
    pub(crate) fn expire(&mut self, now: Time) -> Option<Key> {
        let over = |room: &&mut Waiting| room.refused_until.is_some_and(|until| until <= now);
        let room = self.rooms.iter_mut().find(over)?;
        room.refused_until = None;
        room.key.take()
    }

    fn in_use(&self, room: Room) -> Option<&Waiting> {
        self.rooms.get(usize::from(room.index)).filter(|it| it.serial == room.serial)
    }

    fn in_use_mut(&mut self, room: Room) -> Option<&mut Waiting> {
        self.rooms.get_mut(usize::from(room.index)).filter(|it| it.serial == room.serial)
    }
}

#[cfg(test)]
mod tests {
    use memory::{Datagram, Slab};
    use rtp::packet::Header;

    use super::*;

    /// Two senders a host.
    fn key(ssrc: u32) -> Key {
        let [.., host] = (ssrc / 2).to_be_bytes();
        (ssrc, SocketAddr::from(([127, 0, 0, host], 9)))
    }

    fn packet(slab: &Slab, sequence: u16) -> Packet {
        let header = Header { sequence, ..Header::default() }.encode();
        let datagram = Datagram::copy_from(slab, &header).expect("a slot");
        Packet::new(datagram, Time::ZERO).expect("a packet")
    }

    #[test]
    fn packets_leave_in_the_order_they_came() {
        let slab = Slab::new(8).expect("a slab");
        let mut rooms = Rooms::new();
        let (room, before) = rooms.take(key(1)).expect("a room");
        assert_eq!((before, rooms.key(room)), (None, Some(key(1))));
        for sequence in 0..3 {
            assert!(rooms.hold(room.index.into(), packet(&slab, sequence)));
        }
        let left = std::iter::from_fn(|| rooms.pop(room)).map(|packet| packet.header.sequence);
        assert_eq!(left.collect::<Vec<_>>(), [0, 1, 2]);
        rooms.leave(room);
        assert_eq!((rooms.packets(), rooms.key(room), slab.free()), (0, None, 8));
    }

    #[test]
    fn more_than_the_bound_is_not_kept() {
        let slab = Slab::new(PACKETS_MAX + 8).expect("a slab");
        let mut rooms = Rooms::new();
        let mut kept = 0;
        for ssrc in 0..3 {
            let (room, _) = rooms.take(key(ssrc)).expect("a room");
            let index = room.index.into();
            let held = (0..600).filter(|n| rooms.hold(index, packet(&slab, *n))).count();
            assert!(held <= ROOM_PACKETS_MAX);
            kept += held;
        }
        assert_eq!((kept, rooms.packets()), (PACKETS_MAX as usize, PACKETS_MAX));
    }

    #[test]
    fn who_waits_keeps_its_room_and_who_was_refused_gives_way() {
        let slab = Slab::new(8).expect("a slab");
        let mut rooms = Rooms::new();
        let taken: Vec<Room> =
            (0..16).map(|ssrc| rooms.take(key(ssrc)).expect("a room").0).collect();
        assert_eq!(rooms.take(key(19)), None);
        assert!(rooms.hold(3, packet(&slab, 0)));
        assert_eq!(rooms.refuse(taken[3], Time::ZERO), 1);
        assert!(rooms.is_refused(3) && !rooms.hold(3, packet(&slab, 1)));
        let (room, before) = rooms.take(key(19)).expect("that of the refused");
        assert_eq!((room.index, before), (3, Some(key(3))));
        assert_eq!(rooms.key(taken[3]), None, "the former use is over");
        assert_eq!(rooms.refuse(taken[3], Time::ZERO), 0);
        assert!(rooms.hold(3, packet(&slab, 2)));
    }

    #[test]
    fn one_host_leaves_rooms_and_packets_to_others() {
        let slab = Slab::new(PACKETS_MAX + 8).expect("a slab");
        let mut rooms = Rooms::new();
        let of_one = |ssrc| (ssrc, SocketAddr::from(([10, 0, 0, 1], 1_000)));
        let taken: Vec<Room> =
            (0..8).map(|ssrc| rooms.take(of_one(ssrc)).expect("a room").0).collect();
        assert_eq!(rooms.take(of_one(8)), None);
        let fill = |rooms: &mut Rooms, room: Room| {
            (0..500).filter(|n| rooms.hold(room.index.into(), packet(&slab, *n))).count()
        };
        let held: usize = taken.iter().map(|room| fill(&mut rooms, *room)).sum();
        assert_eq!(held, PACKETS_OF_HOST);
        let (other, _) = rooms.take(key(1)).expect("a room for another host");
        assert_eq!(fill(&mut rooms, other), PACKETS_MAX as usize - PACKETS_OF_HOST);
        rooms.refuse(taken[0], Time::ZERO);
        assert!(rooms.take(of_one(8)).is_some(), "who was refused does not count");
    }

    #[test]
    fn a_refusal_ends_with_its_time() {
        let mut rooms = Rooms::new();
        let (room, _) = rooms.take(key(1)).expect("a room");
        rooms.refuse(room, Time::ZERO);
        assert_eq!(rooms.expire(Time::from_micros(1_999_999)), None);
        assert_eq!(rooms.expire(Time::from_micros(2_000_000)), Some(key(1)));
        assert_eq!(rooms.key(room), None);
    }
}
