//! What the tests of this crate share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use memory::Slab;
use penstock_uring::{Received, Ring, RingConfig, SocketIndex, socket};

/// Longer than anything here takes: it ends a test that hangs, and decides nothing else.
pub(crate) const LONG: Duration = Duration::from_secs(10);
pub(crate) const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(crate) fn config(buffer_entries: u16) -> RingConfig {
    RingConfig {
        buffer_entries,
        completion_entries: 1024,
        send_slots: 256,
        sockets_max: 8,
        ..RingConfig::default()
    }
}

pub(crate) fn ring(buffer_entries: u16, slots: u32) -> (Ring, Slab) {
    let slab = Slab::new(slots).unwrap();
    (Ring::new(&config(buffer_entries), slab.clone()).unwrap(), slab)
}

/// Opens a loopback socket in `ring`.
pub(crate) fn add_socket(ring: &mut Ring) -> (SocketIndex, SocketAddr) {
    let opened = socket::open((LOCALHOST, 0).into(), 8 << 20).unwrap();
    (ring.add_socket(opened.fd).unwrap(), opened.local)
}

pub(crate) fn sender_to(address: SocketAddr) -> UdpSocket {
    let local: IpAddr = match address {
        SocketAddr::V4(_) => LOCALHOST,
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    let sender = UdpSocket::bind((local, 0)).unwrap();
    sender.connect(address).unwrap();
    sender
}

/// Waits until `count` datagrams have come in all, handing each to `f`.
pub(crate) fn receive(ring: &mut Ring, count: usize, mut f: impl FnMut(Received)) {
    let mut got = 0;
    while got < count {
        let before = got;
        ring.wait(Duration::ZERO, LONG).unwrap();
        ring.receive(&mut |received| {
            got += 1;
            f(received);
        });
        // The socket's first arming and other news may end a wait without a datagram.
        let idle = ring.counters().enters > 100_000;
        assert!(got > before || !idle, "only {got} of {count} datagrams came");
    }
    assert_eq!(got, count);
}

pub(crate) fn number(received: &Received) -> u32 {
    u32::from_be_bytes(*received.datagram.payload().first_chunk().unwrap())
}
