//! One port, several members: each datagram goes to the member its socket id names.

mod common;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use common::{LOCALHOST, LONG, ring, sender_to};
use penstock_uring::socket::{Group, open_steered_group};
use penstock_uring::{Error, Ring, Steering};

const MEMBERS: usize = 2;
const SOURCES: u16 = 64;

struct Members {
    rings: Vec<Ring>,
    local: SocketAddr,
}

impl Members {
    fn open(ip: IpAddr, members: usize) -> Self {
        Self::steered(ip, members, Steering::SrtSocketId)
    }

    fn steered(ip: IpAddr, members: usize, steering: Steering) -> Self {
        let Group { members, local, .. } =
            open_steered_group((ip, 0).into(), members, steering, 1 << 20).unwrap();
        let rings = members.into_iter().map(|socket| {
            let (mut ring, _) = ring(256, 512);
            ring.add_socket(socket).unwrap();
            ring
        });
        Self { rings: rings.collect(), local }
    }

    /// The member and the payload of each of the next `count` datagrams, sorted by payload.
    fn receive(&mut self, count: usize) -> Vec<(usize, Vec<u8>)> {
        let mut got = Vec::new();
        while got.len() < count {
            for (member, ring) in self.rings.iter_mut().enumerate() {
                // One cannot wait on two rings at once.
                ring.wait(Duration::ZERO, Duration::from_millis(1)).unwrap();
                ring.receive(&mut |received| {
                    got.push((member, received.datagram.payload().to_vec()));
                });
                assert!(ring.counters().enters < LONG.as_millis().try_into().unwrap());
            }
        }
        got.sort_by(|(_, a), (_, b)| a.cmp(b));
        got
    }
}

/// An SRT header to socket `id`; the first bytes tell the datagrams apart.
fn packet(number: u16, id: u32) -> Vec<u8> {
    let mut packet = vec![0; 100];
    packet[..2].copy_from_slice(&number.to_be_bytes());
    packet[12..16].copy_from_slice(&id.to_be_bytes());
    packet
}

fn each_goes_to_its_member(listen: IpAddr, destinations: &[IpAddr]) {
    let mut members = Members::open(listen, MEMBERS);
    for &destination in destinations {
        let address = SocketAddr::new(destination, members.local.port());
        // Ids whose value and whose bytes swapped have different remainders, and the extremes.
        let id = |number: u16| match number {
            0 => 1,
            1 => u32::MAX,
            2 => 1 << 24,
            number => u32::from(number) * 0x0101_0007,
        };
        for number in 0..SOURCES {
            sender_to(address).send(&packet(number, id(number))).unwrap();
        }
        for (number, (member, payload)) in (0..).zip(members.receive(SOURCES.into())) {
            assert_eq!(payload, packet(number, id(number)));
            assert_eq!(member, id(number) as usize % MEMBERS, "{destination}, id {}", id(number));
        }
    }
}

#[test]
fn rtp_and_rtcp_are_steered_by_their_ssrc() {
    for (steering, offset, header) in [(Steering::RtpSsrc, 8, 12_usize), (Steering::RtcpSsrc, 4, 8)]
    {
        let mut members = Members::steered(LOCALHOST, MEMBERS, steering);
        // 0 is an SSRC like any other.
        let ssrc = |number: u16| match number {
            0 => 0,
            1 => u32::MAX,
            number => u32::from(number) * 0x0101_0007,
        };
        let packet = |number: u16| {
            let mut packet = vec![0; header];
            packet[..2].copy_from_slice(&number.to_be_bytes());
            packet[offset..offset + 4].copy_from_slice(&ssrc(number).to_be_bytes());
            packet
        };
        for number in 0..SOURCES {
            sender_to(members.local).send(&packet(number)).unwrap();
        }
        for (number, (member, payload)) in (0..).zip(members.receive(SOURCES.into())) {
            assert_eq!(payload, packet(number));
            assert_eq!(member, ssrc(number) as usize % MEMBERS, "{steering:?} {number}");
        }
        // What is shorter than a header goes by the kernel's hash, and arrives.
        for byte in 0..SOURCES {
            sender_to(members.local).send(&vec![byte.to_be_bytes()[1]; header - 1]).unwrap();
        }
        let short = members.receive(SOURCES.into());
        let first = short.iter().filter(|(member, _)| *member == 0).count();
        assert!((1..usize::from(SOURCES)).contains(&first), "not all at one member: {first}");
    }
}

#[test]
fn ids_are_steered_exactly_on_ipv4() {
    each_goes_to_its_member(LOCALHOST, &[LOCALHOST]);
}

#[test]
fn ids_are_steered_exactly_on_ipv6() {
    each_goes_to_its_member(Ipv6Addr::LOCALHOST.into(), &[Ipv6Addr::LOCALHOST.into()]);
}

#[test]
fn ids_are_steered_exactly_on_dual_stack() {
    let destinations = [LOCALHOST, Ipv6Addr::LOCALHOST.into()];
    each_goes_to_its_member(Ipv6Addr::UNSPECIFIED.into(), &destinations);
}

#[test]
fn ids_are_steered_exactly_over_five_members() {
    let mut members = Members::open(LOCALHOST, 5);
    for id in 1..=SOURCES {
        sender_to(members.local).send(&packet(id, id.into())).unwrap();
    }
    for (id, (member, _)) in (1..).zip(members.receive(SOURCES.into())) {
        assert_eq!(member, id % 5);
    }
}

#[test]
fn what_names_no_id_stays_with_its_sender_and_spreads_over_the_members() {
    let mut members = Members::open(LOCALHOST, MEMBERS);
    let mut homes = Vec::new();
    for number in 0..SOURCES {
        let sender = sender_to(members.local);
        let handshake = packet(number, 0);
        // Induction and conclusion, and datagrams too short to have an id: junk must not all go to
        // member 0.
        for payload in [&handshake[..], &handshake, &[], &[9; 15]] {
            sender.send(payload).unwrap();
        }
        let got = members.receive(4);
        let home = got[0].0;
        assert!(got.iter().all(|&(member, _)| member == home));
        homes.push(home);
    }
    for member in 0..MEMBERS {
        assert!(homes.contains(&member));
    }
}

#[test]
fn sixteen_bytes_are_enough_for_an_id() {
    let mut members = Members::open(LOCALHOST, MEMBERS);
    for number in 0..SOURCES {
        sender_to(members.local).send(&packet(number, (number + 2).into())[..16]).unwrap();
    }
    for (number, (member, _)) in (0..).zip(members.receive(SOURCES.into())) {
        assert_eq!(member, number % MEMBERS);
    }
}

#[test]
fn a_second_group_does_not_join_the_first() {
    let members = Members::open(LOCALHOST, MEMBERS);
    let second = open_steered_group(members.local, MEMBERS, Steering::SrtSocketId, 1 << 16);
    assert!(matches!(second, Err(Error::PortHeld { .. })));
}

#[test]
fn a_group_of_one_is_a_plain_socket() {
    let mut members = Members::open(LOCALHOST, 1);
    sender_to(members.local).send(&packet(0, 7)).unwrap();
    assert_eq!(members.receive(1)[0].0, 0);
    assert!(std::net::UdpSocket::bind(members.local).is_err());
}

#[test]
fn a_closed_group_frees_its_port_at_once() {
    let mut local = SocketAddr::new(LOCALHOST, 0);
    for _ in 0..20 {
        let group = open_steered_group(local, MEMBERS, Steering::SrtSocketId, 1 << 16).unwrap();
        local = group.local;
        let mut rings = Vec::new();
        for socket in group.members {
            let (mut ring, _) = ring(16, 32);
            ring.add_socket(socket).unwrap();
            ring.wait(Duration::ZERO, Duration::from_millis(1)).unwrap();
            rings.push(ring);
        }
        rings.into_iter().for_each(|ring| ring.close().unwrap());
        drop(std::net::UdpSocket::bind(local).unwrap());
    }
}

#[test]
fn a_group_of_none_is_refused() {
    let none = open_steered_group((LOCALHOST, 0).into(), 0, Steering::SrtSocketId, 1 << 16);
    assert!(matches!(none, Err(Error::GroupSize { members: 0 })));
}
