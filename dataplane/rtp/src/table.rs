//! Which session a packet of an anonymous port belongs to: by SSRC and source address.
//!
//! ```text
//!  packet ─▶ known (SSRC, address)? ──yes──▶ Known(session)
//!              └─no─▶ candidates: 4 a bucket; of the host that has most there, the oldest gives way
//!                       two numbers in a row ──▶ Proven: admission's turn, with the packets that wait
//! ```
//!
//! Nothing is made for a source before it is proven, and only what is not proven is ever evicted. The
//! work for a packet does not grow with sessions or sources. A flood of SSRCs from one host evicts its
//! own: another host's source keeps its place until its next packets come.

use std::cmp::Reverse;
use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use memory::Time;

use crate::packet::Packet;
use crate::probation::Probation;

/// Candidates that share a bucket.
const WAYS: usize = 4;

/// What a packet is to the table.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a box would be allocated for any sender's packet")]
pub enum Arrival {
    /// Of this session.
    Known(u32, Packet),
    /// Of a source that is not proven: its packet waits.
    Waiting {
        /// Packets that gave way or are of no use.
        dropped: u32,
    },
    /// It proves its source: whether that becomes a session is for the caller to say.
    Proven {
        /// This one and those that waited.
        packets: Probation,
        /// Packets that are of no use.
        dropped: u32,
    },
}

#[derive(Debug)]
struct Candidate {
    key: (u32, SocketAddr),
    packets: Probation,
    since: Time,
}

impl Candidate {
    fn waiting(&self) -> u32 {
        u32::try_from(self.packets.waiting()).unwrap_or(u32::MAX)
    }
}

/// A place of the sessions' table: empty, or who is there.
type Place = Option<((u32, SocketAddr), u32)>;

/// The table. Nothing is allocated after [`new`](Self::new).
#[derive(Debug)]
pub struct Table {
    /// Open addressing, at most half full.
    places: Box<[Place]>,
    sessions: usize,
    sessions_max: usize,
    candidates: Box<[Option<Candidate>]>,
    key: [u64; 2],
}

impl Table {
    /// For so many sessions and candidates. `key` is secret: senders must not choose who collides.
    pub fn new(sessions_max: usize, candidates: usize, key: [u64; 2]) -> Self {
        let places = (sessions_max.max(1) * 2).next_power_of_two();
        let candidates = candidates.max(WAYS).next_power_of_two();
        Self {
            places: (0..places).map(|_| None).collect(),
            sessions: 0,
            sessions_max,
            candidates: (0..candidates).map(|_| None).collect(),
            key,
        }
    }

    /// Bytes that it takes.
    pub const fn bytes(sessions_max: usize, candidates: usize) -> usize {
        sessions_max * 4 * size_of::<Place>() + candidates * 2 * size_of::<Option<Candidate>>()
    }

    /// Sessions in it.
    pub const fn sessions(&self) -> usize {
        self.sessions
    }

    /// Packets that wait for their source's proof.
    pub fn waiting(&self) -> usize {
        self.candidates.iter().flatten().map(|candidate| candidate.packets.waiting()).sum()
    }

    /// Where a packet belongs.
    pub fn arrive(&mut self, source: SocketAddr, packet: Packet, now: Time) -> Arrival {
        let key = (packet.header.ssrc, source);
        if let Some(session) = self.find(key.0, source) {
            return Arrival::Known(session, packet);
        }
        let bucket = self.bucket(&key);
        let Some(ways) = self.candidates.get_mut(bucket..bucket + WAYS) else {
            return Arrival::Waiting { dropped: 1 };
        };
        let own = ways.iter_mut().find(|way| way.as_ref().is_some_and(|one| one.key == key));
        if let Some(way) = own {
            return prove(way, packet, now);
        }
        let at = giving_way(ways, source.ip());
        let Some(way) = ways.get_mut(at) else { return Arrival::Waiting { dropped: 1 } };
        let evicted = way.replace(Candidate { key, packets: Probation::new(packet), since: now });
        Arrival::Waiting { dropped: evicted.map_or(0, |candidate| candidate.waiting()) }
    }

    /// The session of an SSRC and address.
    pub fn find(&self, ssrc: u32, source: SocketAddr) -> Option<u32> {
        let key = (ssrc, source);
        let mut at = self.home(&key);
        for _ in 0..self.places.len() {
            match self.places.get(at)? {
                Some((found, session)) if *found == key => return Some(*session),
                Some(_) => at = (at + 1) & (self.places.len() - 1),
                None => return None,
            }
        }
        None
    }

    /// Enters a session, or another SSRC or address of one. False when the table is full.
    pub fn insert(&mut self, ssrc: u32, source: SocketAddr, session: u32) -> bool {
        let key = (ssrc, source);
        let mut at = self.home(&key);
        for _ in 0..self.places.len() {
            match self.places.get_mut(at) {
                Some(Some((found, place))) if *found == key => {
                    *place = session;
                    return true;
                }
                Some(Some(_)) => at = (at + 1) & (self.places.len() - 1),
                Some(place) if self.sessions < self.sessions_max => {
                    *place = Some((key, session));
                    self.sessions += 1;
                    return true;
                }
                _ => return false,
            }
        }
        false
    }

    /// Takes a session out.
    pub fn remove(&mut self, ssrc: u32, source: SocketAddr) -> Option<u32> {
        let key = (ssrc, source);
        let mask = self.places.len() - 1;
        let mut at = self.home(&key);
        loop {
            match self.places.get(at)? {
                Some((found, _)) if *found == key => break,
                Some(_) => at = (at + 1) & mask,
                None => return None,
            }
        }
        let (_, session) = self.places.get_mut(at)?.take()?;
        self.sessions -= 1;
        self.close_gap(at);
        Some(session)
    }

    /// Drops the candidates of which nothing came since `time`; how many packets.
    pub fn expire(&mut self, time: Time) -> u32 {
        let mut dropped = 0;
        for way in &mut self.candidates {
            let expired = way.take_if(|one| one.since < time);
            dropped += expired.map_or(0, |candidate| candidate.waiting());
        }
        dropped
    }

    /// Moves back what a probe over the gap would miss.
    fn close_gap(&mut self, gap: usize) {
        let mask = self.places.len() - 1;
        let mut gap = gap;
        let mut at = (gap + 1) & mask;
        while let Some(Some((key, _))) = self.places.get(at) {
            let home = self.home(key);
            // The gap lies between its home and its place.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                self.places.swap(at, gap);
                gap = at;
            }
            at = (at + 1) & mask;
        }
    }

    fn home(&self, key: &(u32, SocketAddr)) -> usize {
        usize::try_from(self.hash(key)).unwrap_or(0) & (self.places.len() - 1)
    }

    fn bucket(&self, key: &(u32, SocketAddr)) -> usize {
        let buckets = self.candidates.len() / WAYS;
        (usize::try_from(self.hash(key) >> 7).unwrap_or(0) & (buckets - 1)) * WAYS
    }

    fn hash(&self, (ssrc, source): &(u32, SocketAddr)) -> u64 {
        let [first, second] = self.key;
        let mut hasher = siphasher::sip::SipHasher13::new_with_keys(first, second);
        hasher.write_u32(*ssrc);
        match source.ip() {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.write_u16(source.port());
        hasher.finish() & (u64::MAX >> 1)
    }
}

/// The place that a new source of `host` gets: a free one, else the oldest of whichever host has most
/// in the bucket, the newcomer counted in.
fn giving_way(ways: &[Option<Candidate>], host: IpAddr) -> usize {
    let host_of = |way: &Option<Candidate>| way.as_ref().map(|one| part_of(one.key.1.ip()));
    let own = Some(part_of(host));
    let rank = |way: &Option<Candidate>| {
        let of = host_of(way);
        let most =
            ways.iter().filter(|other| host_of(other) == of).count() + usize::from(of == own);
        (way.is_none(), most, Reverse(way.as_ref().map(|one| one.since)))
    };
    let most = ways.iter().enumerate().max_by_key(|(_, way)| rank(way));
    most.map_or(0, |(at, _)| at)
}

/// What one host may choose its address from: of IPv6 it has a whole /64.
fn part_of(host: IpAddr) -> u128 {
    match host.to_canonical() {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => u128::from(ip) >> 64 << 64,
    }
}

fn prove(way: &mut Option<Candidate>, packet: Packet, now: Time) -> Arrival {
    let Some(mut candidate) = way.take() else { return Arrival::Waiting { dropped: 0 } };
    let (is_proven, dropped) = candidate.packets.arrive(packet);
    if is_proven {
        return Arrival::Proven { packets: candidate.packets, dropped };
    }
    candidate.since = now;
    *way = Some(candidate);
    Arrival::Waiting { dropped }
}

#[cfg(test)]
mod tests {
    use memory::{Datagram, Slab};

    use super::*;
    use crate::packet::Header;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn packet(slab: &Slab, ssrc: u32, sequence: u16) -> Packet {
        let header = Header { ssrc, sequence, ..Header::default() }.encode();
        Packet::new(Datagram::copy_from(slab, &header).unwrap(), Time::ZERO).unwrap()
    }

    #[test]
    fn two_packets_in_a_row_prove_a_source() {
        let slab = Slab::new(8).unwrap();
        let mut table = Table::new(4, 16, [1, 2]);
        let mut arrive =
            |ssrc, sequence| table.arrive(peer(1), packet(&slab, ssrc, sequence), Time::ZERO);
        assert!(matches!(arrive(7, 1), Arrival::Waiting { dropped: 0 }));
        assert!(matches!(arrive(7, 5), Arrival::Waiting { dropped: 0 }));
        let Arrival::Proven { packets, dropped: 0 } = arrive(7, 6) else { panic!() };
        let sequences = packets.into_packets().map(|packet| packet.header.sequence);
        assert_eq!(sequences.collect::<Vec<_>>(), [1, 5, 6]);
        assert_eq!((table.waiting(), slab.free()), (0, 8));
    }

    #[test]
    fn the_same_ssrc_of_another_address_is_another_source() {
        let slab = Slab::new(8).unwrap();
        let mut table = Table::new(4, 16, [1, 2]);
        assert!(table.insert(7, peer(1), 3));
        let known = table.arrive(peer(1), packet(&slab, 7, 1), Time::ZERO);
        assert!(matches!(known, Arrival::Known(3, _)));
        let other = table.arrive(peer(2), packet(&slab, 7, 1), Time::ZERO);
        assert!(matches!(other, Arrival::Waiting { .. }));
        assert_eq!((table.find(7, peer(2)), table.remove(7, peer(1))), (None, Some(3)));
        assert_eq!(table.find(7, peer(1)), None);
    }

    #[test]
    fn the_table_refuses_more_than_its_sessions() {
        let mut table = Table::new(3, 4, [1, 2]);
        for ssrc in 0..3 {
            assert!(table.insert(ssrc, peer(1), ssrc));
        }
        assert!(!table.insert(9, peer(1), 9));
        assert!(table.insert(2, peer(1), 22), "one that is there");
        table.remove(1, peer(1));
        assert!(table.insert(9, peer(1), 9));
        assert_eq!(table.sessions(), 3);
    }

    #[test]
    fn a_flood_of_a_million_sources_evicts_only_the_unproven() {
        let slab = Slab::new(80).unwrap();
        let mut table = Table::new(16, 64, [1, 2]);
        for session in 0..16 {
            table.insert(session, peer(5), session);
        }
        let mut dropped = 0;
        for ssrc in 100..1_000_100 {
            let arrival =
                table.arrive(peer(6), packet(&slab, ssrc, 1), Time::from_nanos(ssrc.into()));
            let Arrival::Waiting { dropped: one } = arrival else { panic!() };
            dropped += one;
        }
        assert!(table.waiting() <= 64 && slab.free() >= 16);
        assert_eq!(dropped as usize + table.waiting(), 1_000_000);
        assert!((0..16).all(|session| table.find(session, peer(5)) == Some(session)));
        assert!(table.expire(Time::NEVER) <= 64);
        assert_eq!(slab.free(), 80);
    }

    #[test]
    fn a_flood_of_one_host_evicts_no_candidate_of_another() {
        let slab = Slab::new(80).unwrap();
        for candidates in [4, 64] {
            let mut table = Table::new(16, candidates, [1, 2]);
            let good = SocketAddr::from(([192, 0, 2, 77], 5_004));
            let mut time = 0;
            let mut flood = |table: &mut Table, ssrcs: std::ops::Range<u32>| {
                for ssrc in ssrcs {
                    time += 1;
                    table.arrive(peer(6), packet(&slab, ssrc, 1), Time::from_nanos(time));
                }
            };
            flood(&mut table, 100..5_000);
            table.arrive(good, packet(&slab, 7, 1), Time::ZERO);
            flood(&mut table, 5_000..10_000);
            let proven = table.arrive(good, packet(&slab, 7, 2), Time::ZERO);
            assert!(matches!(proven, Arrival::Proven { .. }), "{proven:?}");
        }
    }

    #[test]
    fn removing_never_hides_another() {
        let mut seed = 9u64;
        let mut table = Table::new(64, 4, [3, 4]);
        let mut there = std::collections::BTreeMap::new();
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let ssrc = (seed >> 33) as u32 % 100;
            if seed >> 62 & 1 == 0 {
                if table.insert(ssrc, peer(1), ssrc + 1_000) {
                    there.insert(ssrc, ssrc + 1_000);
                }
            } else {
                assert_eq!(table.remove(ssrc, peer(1)), there.remove(&ssrc));
            }
            for ssrc in 0..100 {
                assert_eq!(table.find(ssrc, peer(1)), there.get(&ssrc).copied());
            }
        }
    }
}
