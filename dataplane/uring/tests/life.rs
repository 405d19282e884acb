//! A ring's wait is ended from outside, and its end leaves nothing behind.

mod common;

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use common::{LOCALHOST, LONG, add_socket, receive, ring, sender_to};
use penstock_uring::{Error, Waker, socket};

#[test]
fn a_waker_on_another_thread_ends_a_wait() {
    let (mut ring, _) = ring(16, 32);
    // Each wake is sent only after the one before was heard, by way of a channel.
    let (heard, hears) = std::sync::mpsc::channel::<()>();
    let waker = ring.waker();
    let other = thread::spawn(move || {
        for () in hears {
            waker.wake();
        }
    });
    for wakes in 1..=20 {
        heard.send(()).unwrap();
        while ring.counters().wakes < wakes {
            ring.wait(Duration::ZERO, Duration::from_secs(600)).unwrap();
            assert!(ring.next().is_none());
        }
    }
    drop(heard);
    other.join().unwrap();
}

#[test]
fn wakes_before_a_wait_end_it_and_count_once() {
    let (mut ring, _) = ring(16, 32);
    let waker = ring.waker();
    waker.wake();
    waker.wake();
    while ring.counters().wakes == 0 {
        ring.wait(Duration::ZERO, Duration::from_secs(600)).unwrap();
        assert!(ring.next().is_none());
    }
    ring.wait(Duration::ZERO, Duration::from_millis(1)).unwrap();
    assert!(ring.next().is_none());
    assert_eq!(ring.counters().wakes, 1);
}

#[test]
fn a_waker_may_outlive_its_ring_and_cross_threads() {
    fn crosses<T: Send + Sync>(_: &T) {}
    let (ring, _) = ring(16, 32);
    let waker: Waker = ring.waker();
    crosses(&waker);
    ring.close().unwrap();
    waker.wake();
}

#[test]
fn a_closed_ring_frees_its_port_and_its_slots_at_once() {
    let mut address = (LOCALHOST, 0).into();
    for round in 0..50 {
        let (mut ring, slab) = ring(32, 128);
        let opened = socket::open(address, 1 << 20).unwrap();
        address = opened.local;
        let index = ring.add_socket(opened.fd).unwrap();
        let sender = sender_to(address);
        for _ in 0..10 {
            sender.send(b"some still unread").unwrap();
        }
        // One is taken; others are left in the completion queue, or in the socket's.
        ring.wait(Duration::ZERO, LONG).unwrap();
        while ring.next().is_none() {
            ring.wait(Duration::ZERO, LONG).unwrap();
        }
        ring.send(index, sender.local_addr().unwrap(), b"bye");
        if round % 2 == 0 {
            ring.close().unwrap();
        } else {
            drop(ring);
        }
        assert_eq!(slab.free(), slab.capacity());
        // Bound without a second try.
        drop(UdpSocket::bind(address).unwrap());
    }
}

#[test]
fn sends_queued_before_the_close_leave() {
    let (mut ring, _) = ring(16, 32);
    let (index, _) = add_socket(&mut ring);
    let peer = UdpSocket::bind((LOCALHOST, 0)).unwrap();
    peer.set_read_timeout(Some(LONG)).unwrap();
    for _ in 0..10 {
        assert!(ring.send(index, peer.local_addr().unwrap(), b"shutdown"));
    }
    ring.close().unwrap();
    let mut buffer = [0; 16];
    for _ in 0..10 {
        assert_eq!(peer.recv(&mut buffer).unwrap(), 8);
    }
}

#[test]
fn datagrams_outlive_their_ring() {
    let (mut ring, slab) = ring(16, 32);
    let (_, address) = add_socket(&mut ring);
    sender_to(address).send(b"kept").unwrap();
    let mut kept = None;
    receive(&mut ring, 1, |received| kept = Some(received.datagram));
    ring.close().unwrap();
    drop(slab);
    assert_eq!(kept.unwrap().payload(), b"kept");
}

#[test]
fn a_port_that_stays_held_is_an_error_that_names_it() {
    let holder = socket::open((LOCALHOST, 0).into(), 1 << 16).unwrap();
    let error = socket::open(holder.local, 1 << 16).unwrap_err();
    assert!(matches!(error, Error::PortHeld { address, .. } if address == holder.local));
    assert!(error.to_string().contains(&holder.local.to_string()), "{error}");
}

#[test]
fn the_effective_receive_buffer_is_told() {
    let opened = socket::open((LOCALHOST, 0).into(), 1 << 20).unwrap();
    // The kernel doubles what it is asked for; without CAP_NET_ADMIN net.core.rmem_max limits it.
    assert!(opened.receive_buffer_bytes > 0 && opened.receive_buffer_bytes <= 2 << 20);
}
