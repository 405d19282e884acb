//! Tests that look inside the ring; what its users see is tested in `tests/`.

use super::*;
use std::net::{Ipv4Addr, UdpSocket};

const LONG: Duration = Duration::from_secs(10);

fn small_ring() -> Ring {
    let config = RingConfig {
        buffer_entries: 16,
        completion_entries: 64,
        send_slots: 8,
        sockets_max: 2,
        ..RingConfig::default()
    };
    Ring::new(&config, Slab::new(64).unwrap()).unwrap()
}

fn add_socket(ring: &mut Ring) -> (SocketIndex, UdpSocket) {
    let opened = socket::open((Ipv4Addr::LOCALHOST, 0).into(), 1 << 20).unwrap();
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    sender.connect(opened.local).unwrap();
    (ring.add_socket(opened.fd).unwrap(), sender)
}

#[test]
fn tokens_survive_the_kernel() {
    for token in [Token::Receive(7), Token::Send(u32::MAX), Token::Wake, Token::Cancel] {
        assert_eq!(Token::decode(token.encode()), Some(token));
    }
    assert_eq!(Token::decode(0), None);
    assert_eq!(Token::decode(u64::MAX), None);
}

#[test]
fn an_operation_outside_the_allowlist_is_denied() {
    let mut ring = small_ring();
    let forbidden = [
        opcode::Nop::new().build(),
        opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, 0).build(),
        opcode::OpenAt::new(io_uring::types::Fd(libc::AT_FDCWD), c"/".as_ptr()).build(),
        opcode::Send::new(io_uring::types::Fd(-1), std::ptr::null(), 0).build(),
    ];
    let count = forbidden.len();
    for request in forbidden {
        ring.push(request.user_data(99));
    }
    ring.enter(count, 0, LONG).unwrap();
    for _ in 0..count {
        let completion = ring.completion().unwrap();
        assert_eq!((completion.user_data(), completion.result()), (99, -libc::EACCES));
    }
    ring.close().unwrap();
}

#[test]
fn a_register_operation_outside_the_allowlist_is_denied() {
    let ring = small_ring();
    let mut probe = io_uring::Probe::new();
    let denied = ring.ring.submitter().register_probe(&mut probe).unwrap_err();
    assert_eq!(denied.raw_os_error(), Some(libc::EACCES));
    let denied = ring.ring.submitter().register_restrictions(&mut []).unwrap_err();
    assert!(matches!(denied.raw_os_error(), Some(libc::EACCES | libc::EBADFD | libc::EINVAL)));
}

#[test]
fn the_minimum_wait_is_never_longer_than_the_timeout() {
    let (short, long) = (Duration::from_micros(300), Duration::from_millis(5));
    assert_eq!(minimum_us(short, long), 300);
    assert_eq!(minimum_us(long, short), 300);
    assert_eq!(minimum_us(Duration::ZERO, long), 0);
    assert_eq!(minimum_us(long, Duration::from_nanos(999)), 0);
    assert_eq!(minimum_us(Duration::MAX, Duration::MAX), u32::MAX);
}

#[test]
fn a_poll_with_nothing_to_do_stays_out_of_the_kernel() {
    let mut ring = small_ring();
    ring.wait(Duration::ZERO, Duration::ZERO).unwrap();
    let armed = ring.counters().enters;
    for _ in 0..100 {
        ring.wait(Duration::ZERO, Duration::ZERO).unwrap();
    }
    assert_eq!(ring.counters().enters, armed);
}

#[test]
fn polling_alone_receives() {
    let mut ring = small_ring();
    let (_, sender) = add_socket(&mut ring);
    for round in 0..50u8 {
        sender.send(&[round]).unwrap();
        let received = loop {
            ring.wait(Duration::ZERO, Duration::ZERO).unwrap();
            if let Some(received) = ring.next() {
                break received;
            }
        };
        assert_eq!(received.datagram.payload(), [round]);
    }
}

#[test]
fn what_is_freed_at_once_is_filled_again_at_once() {
    for (warm_first, slots) in [(true, 1), (false, 16)] {
        let sizes = RingConfig { buffer_entries: 16, sockets_max: 2, ..RingConfig::default() };
        let config = RingConfig { warm_first, ..sizes };
        let mut ring = Ring::new(&config, Slab::new(64).unwrap()).unwrap();
        let (_, sender) = add_socket(&mut ring);
        let mut places = std::collections::BTreeSet::new();
        for round in 0..100u8 {
            sender.send(&[round]).unwrap();
            let received = loop {
                ring.wait(Duration::ZERO, LONG).unwrap();
                if let Some(received) = ring.next() {
                    break received;
                }
            };
            assert_eq!(received.datagram.payload(), [round]);
            assert!(ring.next().is_none());
            places.insert(received.datagram.payload().as_ptr().addr());
        }
        assert_eq!(places.len(), slots);
    }
}

#[test]
fn without_a_native_minimum_wait_datagrams_come_all_the_same() {
    for native in [true, false] {
        let mut ring = small_ring();
        ring.min_wait_native &= native;
        let (_, sender) = add_socket(&mut ring);
        let mut got = 0;
        for round in 0..20u8 {
            sender.send(&[round]).unwrap();
            sender.send(&[round]).unwrap();
            while got < 2 * (u32::from(round) + 1) {
                ring.wait(Duration::from_micros(200), LONG).unwrap();
                ring.receive(&mut |received| {
                    assert_eq!(received.datagram.payload(), [round]);
                    got += 1;
                });
            }
        }
        // Nothing comes any more: the wait ends with its timeout, and the flow with it.
        ring.wait(Duration::from_micros(200), Duration::from_millis(2)).unwrap();
        assert!(ring.next().is_none());
        assert!(!ring.busy);
    }
}

#[test]
fn a_backlog_of_many_sockets_is_taken_in_portions_and_whole() {
    const SOCKETS: u16 = 40;
    const EACH: usize = 40;
    let config = RingConfig { sockets_max: SOCKETS, ..RingConfig::default() };
    let mut ring = Ring::new(&config, Slab::new(8192).unwrap()).unwrap();
    let senders: Vec<_> = (0..SOCKETS).map(|_| add_socket(&mut ring)).collect();
    // Armed before anything comes.
    ring.wait(Duration::ZERO, Duration::ZERO).unwrap();
    for (_, sender) in &senders {
        (0..EACH).for_each(|_| assert_eq!(sender.send(b"1").unwrap(), 1));
    }
    let (mut got, mut portions) = (0, 0);
    while got < usize::from(SOCKETS) * EACH {
        ring.wait(Duration::from_micros(200), LONG).unwrap();
        ring.receive(&mut |_| got += 1);
        portions += 1;
    }
    assert!(portions > 1, "all came with one wait");
    assert!(ring.next().is_none());
}

#[test]
fn a_wait_does_not_begin_before_all_is_drained() {
    let mut ring = small_ring();
    let (_, sender) = add_socket(&mut ring);
    sender.send(b"1").unwrap();
    sender.send(b"2").unwrap();
    let mut got = 0;
    while got == 0 {
        ring.wait(Duration::from_millis(1), LONG).unwrap();
        got += u32::from(ring.next().is_some());
    }
    while got < 2 {
        ring.wait(WAIT_MAX, WAIT_MAX).unwrap();
        got += u32::from(ring.next().is_some());
    }
}

#[test]
fn the_submission_queue_holds_every_request_at_once() {
    let mut ring = small_ring();
    let (index, sender) = add_socket(&mut ring);
    let (_, _other) = add_socket(&mut ring);
    let peer = sender.local_addr().unwrap();
    assert_eq!((0..20).filter(|_| ring.send(index, peer, b"x")).count(), 8);
    assert_eq!(ring.counters().sends_dropped, 12);
    ring.wait(Duration::ZERO, LONG).unwrap();
    assert!(ring.next().is_none());
    while ring.counters().sent < 8 {
        ring.wait(Duration::ZERO, LONG).unwrap();
        assert!(ring.next().is_none());
    }
    assert!(ring.send(index, peer, b"x"));
}

#[test]
fn more_sockets_than_configured_are_refused() {
    let mut ring = small_ring();
    add_socket(&mut ring);
    add_socket(&mut ring);
    let opened = socket::open((Ipv4Addr::LOCALHOST, 0).into(), 1 << 16).unwrap();
    assert!(matches!(ring.add_socket(opened.fd), Err(Error::TooManySockets { max: 2 })));
}

#[test]
fn a_closed_socket_gives_its_port_and_its_index_back_and_the_others_go_on() {
    let mut ring = small_ring();
    let (first, sender) = add_socket(&mut ring);
    let (second, other) = add_socket(&mut ring);
    let closed_address = sender.peer_addr().unwrap();
    ring.wait(Duration::ZERO, Duration::from_millis(1)).unwrap();
    ring.send(first, sender.local_addr().unwrap(), b"goodbye");
    ring.close_socket(first);
    ring.close_socket(first);
    let mut closed = None;
    while closed.is_none() {
        ring.wait(Duration::ZERO, LONG).unwrap();
        assert!(ring.next().is_none());
        closed = ring.next_closed();
    }
    assert_eq!((closed, ring.next_closed()), (Some(first), None));
    let mut bytes = [0; 16];
    assert_eq!(sender.recv(&mut bytes).unwrap(), 7, "what was queued is sent");
    assert!(!ring.send(first, sender.local_addr().unwrap(), b"late"));
    drop(UdpSocket::bind(closed_address).expect("the port is free"));

    let (again, newcomer) = add_socket(&mut ring);
    assert_eq!(again, first);
    for (socket, sender) in [(second, other), (again, newcomer)] {
        sender.send(b"hello").unwrap();
        let received = loop {
            ring.wait(Duration::ZERO, LONG).unwrap();
            if let Some(received) = ring.next() {
                break received;
            }
        };
        assert_eq!(received.socket, socket);
    }
    ring.close().unwrap();
}
