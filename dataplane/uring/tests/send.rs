//! What leaves a ring.

mod common;

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use common::{LOCALHOST, LONG, add_socket, receive, ring};
use penstock_uring::socket;

fn peer(ip: std::net::IpAddr) -> (UdpSocket, SocketAddr) {
    let peer = UdpSocket::bind((ip, 0)).unwrap();
    peer.set_read_timeout(Some(LONG)).unwrap();
    let address = peer.local_addr().unwrap();
    (peer, address)
}

#[test]
fn a_batch_of_sends_leaves_with_one_wait_in_order() {
    let (mut ring, _) = ring(16, 32);
    let (index, local) = add_socket(&mut ring);
    let (peer, address) = peer(LOCALHOST);
    let enters = ring.counters().enters;
    for i in 0..100u32 {
        assert!(ring.send(index, address, &i.to_be_bytes()));
    }
    ring.wait(Duration::ZERO, LONG).unwrap();
    assert_eq!(ring.counters().enters, enters + 1);
    assert!(ring.next().is_none());
    let mut buffer = [0; 16];
    for i in 0..100u32 {
        let (len, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..len], i.to_be_bytes());
        assert_eq!(from, local);
    }
    assert_eq!(ring.counters().sent, 100);
}

#[test]
fn send_slots_are_used_again_and_again() {
    let (mut ring, _) = ring(16, 32);
    let (index, _) = add_socket(&mut ring);
    let (peer, address) = peer(LOCALHOST);
    let mut buffer = [0; 2048];
    for round in 0..20u8 {
        for _ in 0..200 {
            let written = ring.send_with(index, address, |slot| {
                slot[..1316].fill(round);
                1316
            });
            assert!(written);
        }
        while ring.counters().sent < 200 * (u64::from(round) + 1) {
            ring.wait(Duration::ZERO, LONG).unwrap();
            assert!(ring.next().is_none());
        }
        for _ in 0..50 {
            let len = peer.recv(&mut buffer).unwrap();
            assert_eq!(len, 1316);
        }
        // What is left would fill the peer's queue; it has said enough.
        peer.set_nonblocking(true).unwrap();
        while peer.recv(&mut buffer).is_ok() {}
        peer.set_nonblocking(false).unwrap();
    }
    assert_eq!(ring.counters().sends_dropped, 0);
}

#[test]
fn a_dual_stack_socket_answers_both_families_at_the_address_they_had() {
    let (mut ring, _) = ring(16, 32);
    let opened = socket::open((Ipv6Addr::UNSPECIFIED, 0).into(), 1 << 20).unwrap();
    let port = opened.local.port();
    let index = ring.add_socket(opened.fd).unwrap();
    for ip in [LOCALHOST, Ipv6Addr::LOCALHOST.into()] {
        let (peer, address) = peer(ip);
        peer.send_to(b"question", (ip, port)).unwrap();
        let mut from = None;
        receive(&mut ring, 1, |received| from = Some(received.peer));
        assert_eq!(from, Some(address));
        assert!(ring.send(index, address, b"answer"));
        ring.wait(Duration::ZERO, LONG).unwrap();
        assert!(ring.next().is_none());
        let mut buffer = [0; 16];
        let (len, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..len], from), (&b"answer"[..], (ip, port).into()));
    }
}

#[test]
fn what_does_not_fit_or_cannot_be_reached_is_dropped_and_counted() {
    let (mut ring, _) = ring(16, 32);
    let (index, _) = add_socket(&mut ring);
    let (_peer, address) = peer(LOCALHOST);
    assert!(!ring.send(index, address, &[0; 2049]));
    assert!(!ring.send(index, "[::1]:9".parse().unwrap(), b"x"));
    assert_eq!(ring.counters().sends_dropped, 2);
}

#[test]
fn a_send_the_kernel_refuses_is_counted_and_frees_its_slot() {
    let (mut ring, _) = ring(16, 32);
    let (index, _) = add_socket(&mut ring);
    let nowhere = SocketAddr::from((LOCALHOST, 0));
    for round in 1..=3 {
        for _ in 0..200 {
            assert!(ring.send(index, nowhere, b"x"));
        }
        while ring.counters().send_errors < 200 * round {
            ring.wait(Duration::ZERO, LONG).unwrap();
            assert!(ring.next().is_none());
        }
    }
    assert_eq!(ring.counters().sent, 0);
}
