//! What comes out of a ring for what was sent to its sockets.

mod common;

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{LONG, add_socket, number, receive, ring, sender_to};
use memory::Slab;
use penstock_uring::{BatchReceiver, socket};

/// What a slot holds behind the message header, the peer's name and the control messages.
const PAYLOAD_MAX: usize = 2048 - 108;

#[test]
fn datagrams_come_in_order_with_their_peer_and_their_arrival() {
    let (mut ring, _) = ring(64, 256);
    let (index, address) = add_socket(&mut ring);
    let sender = sender_to(address);
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut next = 0;
    for round in 1..=20u32 {
        for i in (round - 1) * 20..round * 20 {
            sender.send(&i.to_be_bytes()).unwrap();
        }
        receive(&mut ring, 20, |received| {
            assert_eq!(number(&received), next);
            assert_eq!(received.socket, index);
            assert_eq!(received.peer, sender.local_addr().unwrap());
            assert!(!received.truncated);
            let arrival = Duration::from_nanos(received.arrival_realtime_ns.unwrap());
            assert!(arrival >= started && arrival < started + LONG);
            next += 1;
        });
    }
    let counters = ring.counters();
    assert_eq!((counters.datagrams, counters.bytes), (400, 1600));
    assert_eq!((counters.rearms_no_buffers, counters.rearms_other), (0, 0));
    assert_eq!((counters.slots_starved, counters.invalid), (0, 0));
}

#[test]
fn slots_held_out_stay_intact_while_the_ring_goes_on() {
    let (mut ring, slab) = ring(128, 3000 + 256);
    let (_, address) = add_socket(&mut ring);
    let sender = sender_to(address);
    let mut held = Vec::new();
    let mut passed = 0;
    for round in 0..200u32 {
        for i in 0..100 {
            let number = round * 100 + i;
            let mut payload = [u8::try_from(number % 251).unwrap(); 1316];
            payload[..4].copy_from_slice(&number.to_be_bytes());
            sender.send(&payload).unwrap();
        }
        receive(&mut ring, 100, |received| {
            assert_eq!(number(&received), passed);
            passed += 1;
            if held.len() < 3000 {
                held.push(received);
            }
        });
    }
    assert_eq!(passed, 20_000);
    // The next wait gives the last ones' places in the ring to others.
    ring.wait(Duration::ZERO, Duration::ZERO).unwrap();
    assert_eq!(slab.free(), 256 - 128);
    for (expected, received) in (0u32..).zip(&held) {
        assert_eq!(number(received), expected);
        let fill = u8::try_from(expected % 251).unwrap();
        assert!(received.datagram.payload()[4..].iter().all(|&byte| byte == fill));
    }
    assert_eq!(ring.counters().slots_starved, 0);
    assert_eq!(ring.counters().rearms_no_buffers, 0);
}

#[test]
fn bursts_of_all_sizes_come_whole_and_in_order_while_some_are_held() {
    let (mut ring, slab) = ring(64, 256);
    let ends = [add_socket(&mut ring), add_socket(&mut ring)];
    let senders = ends.map(|(_, address)| sender_to(address));
    let mut seed = 1u32;
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % below
    };
    let (mut sent, mut came) = ([0u32; 2], [0u32; 2]);
    let mut held = std::collections::VecDeque::new();
    for _ in 0..2_000 {
        let burst = 1 + random(60);
        for _ in 0..burst {
            let to = usize::from(random(2) == 1);
            let fill = u8::try_from(sent[to] % 251).unwrap();
            let mut payload = vec![fill; 4 + random(1_400) as usize];
            payload[..4].copy_from_slice(&sent[to].to_be_bytes());
            senders[to].send(&payload).unwrap();
            sent[to] += 1;
        }
        receive(&mut ring, burst as usize, |received| {
            let to = usize::from(received.socket == ends[1].0);
            held.push_back((came[to], received));
            came[to] += 1;
        });
        while held.len() > 150 || random(8) != 0 {
            let Some((expected, received)) = held.pop_front() else { break };
            assert_eq!(number(&received), expected);
            let fill = u8::try_from(expected % 251).unwrap();
            assert!(received.datagram.payload()[4..].iter().all(|&byte| byte == fill));
        }
    }
    assert_eq!(came, sent);
    let counters = ring.counters();
    assert_eq!((counters.rearms_no_buffers, counters.rearms_other, counters.invalid), (0, 0, 0));
    drop((held, ring));
    assert_eq!(slab.free(), slab.capacity());
}

#[test]
fn an_exhausted_slab_stops_the_receive_until_slots_return() {
    let (mut ring, slab) = ring(32, 64);
    let (_, address) = add_socket(&mut ring);
    let sender = sender_to(address);
    for i in 0..200u32 {
        sender.send(&i.to_be_bytes()).unwrap();
    }
    let mut held = Vec::new();
    receive(&mut ring, 64, |received| held.push(received));
    assert_eq!(slab.free(), 0);
    // The kernel keeps the rest in the socket's queue, and no receive is armed in vain: it ended
    // when the first 32 buffers were used up, and when the last were.
    for _ in 0..5 {
        ring.wait(Duration::ZERO, Duration::from_millis(1)).unwrap();
        assert!(ring.next().is_none());
    }
    assert_eq!(ring.counters().slots_starved, 32);
    assert!((1..=2).contains(&ring.counters().rearms_no_buffers));
    held.truncate(40);
    let mut next = 64;
    receive(&mut ring, 136, |received| {
        assert_eq!(number(&received), next);
        next += 1;
    });
    for (expected, received) in (0u32..).zip(&held) {
        assert_eq!(number(received), expected);
    }
    drop(held);
    assert_eq!(ring.counters().kernel_drops, 0);
    ring.close().unwrap();
    assert_eq!(slab.free(), slab.capacity());
}

#[test]
fn an_empty_datagram_ends_the_receive_which_is_armed_again() {
    let (mut ring, _) = ring(32, 64);
    let (_, address) = add_socket(&mut ring);
    let sender = sender_to(address);
    for _ in 0..5 {
        sender.send(b"before").unwrap();
        sender.send(b"").unwrap();
        sender.send(b"after").unwrap();
    }
    let mut lens = Vec::new();
    receive(&mut ring, 15, |received| lens.push(received.datagram.len()));
    assert_eq!(lens, [6, 0, 5].repeat(5));
    let counters = ring.counters();
    assert_eq!(counters.rearms_empty, 5);
    assert_eq!((counters.rearms_no_buffers, counters.rearms_other), (0, 0));
}

#[test]
fn a_datagram_larger_than_a_slot_is_cut_and_marked() {
    let (mut ring, _) = ring(32, 64);
    let (_, address) = add_socket(&mut ring);
    let sender = sender_to(address);
    for len in [PAYLOAD_MAX, PAYLOAD_MAX + 1, 9000, 65_507] {
        sender.send(&vec![7; len]).unwrap();
    }
    let mut seen = Vec::new();
    receive(&mut ring, 4, |received| seen.push((received.datagram.len(), received.truncated)));
    let cut = (PAYLOAD_MAX, true);
    assert_eq!(seen, [(PAYLOAD_MAX, false), cut, cut, cut]);
    assert_eq!(ring.counters().truncated, 3);
}

#[test]
fn several_sockets_share_the_ring_and_each_keeps_its_order() {
    let (mut ring, _) = ring(256, 512);
    let sockets: Vec<_> = (0..8).map(|_| add_socket(&mut ring)).collect();
    let senders: Vec<_> = sockets.iter().map(|&(_, address)| sender_to(address)).collect();
    for i in 0..25u32 {
        for sender in &senders {
            sender.send(&i.to_be_bytes()).unwrap();
        }
    }
    let mut next = HashMap::new();
    receive(&mut ring, 200, |received| {
        let sender = &senders[received.socket.index()];
        assert_eq!(received.peer, sender.local_addr().unwrap());
        let next = next.entry(received.socket).or_insert(0);
        assert_eq!(number(&received), *next);
        *next += 1;
    });
    assert!(next.values().all(|&next| next == 25));
}

#[test]
fn the_ring_and_recvmmsg_say_the_same() {
    let (mut ring, slab) = ring(64, 256);
    let (index, address) = add_socket(&mut ring);
    let opened = socket::open((common::LOCALHOST, 0).into(), 1 << 20).unwrap();
    let mut batch = BatchReceiver::new(8, slab);
    let sender = std::net::UdpSocket::bind((common::LOCALHOST, 0)).unwrap();
    let payloads: Vec<Vec<u8>> = [0, 1, 15, 16, 1316, PAYLOAD_MAX]
        .map(|len| vec![u8::try_from(len % 256).unwrap(); len])
        .into();
    for payload in &payloads {
        sender.send_to(payload, address).unwrap();
        sender.send_to(payload, opened.local).unwrap();
    }
    let mut by_ring = Vec::new();
    receive(&mut ring, payloads.len(), |received| by_ring.push(received));
    let mut by_batch = Vec::new();
    while by_batch.len() < payloads.len() {
        let _ = batch.receive(opened.fd.as_fd(), index, &mut |received| by_batch.push(received));
    }
    for ((ring, batch), payload) in by_ring.iter().zip(&by_batch).zip(&payloads) {
        assert_eq!(ring.datagram.payload(), payload);
        assert_eq!(batch.datagram.payload(), payload);
        assert_eq!(ring.peer, batch.peer);
        assert_eq!(ring.truncated, batch.truncated);
        assert!(ring.arrival_realtime_ns.is_some() && batch.arrival_realtime_ns.is_some());
    }
    let empty = batch.receive(opened.fd.as_fd(), index, &mut |_| ()).unwrap_err();
    assert_eq!(empty.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn recvmmsg_gives_every_slot_back() {
    let slab = Slab::new(16).unwrap();
    let (mut ring, _) = ring(1, 1);
    let (index, _) = add_socket(&mut ring);
    let opened = socket::open((common::LOCALHOST, 0).into(), 1 << 20).unwrap();
    let sender = sender_to(opened.local);
    let mut batch = BatchReceiver::new(8, slab.clone());
    for i in 0..20u32 {
        sender.send(&i.to_be_bytes()).unwrap();
    }
    let (mut held, mut next) = (Vec::new(), 0);
    loop {
        let received = batch.receive(opened.fd.as_fd(), index, &mut |received| {
            assert_eq!(number(&received), next);
            next += 1;
            held.push(received);
        });
        match received {
            Err(error) if error.kind() == std::io::ErrorKind::OutOfMemory => held.clear(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            received => assert!(received.unwrap() <= 8),
        }
    }
    assert_eq!(next, 20);
    drop((held, batch));
    assert_eq!(slab.free(), 16);
}

#[test]
fn what_the_kernel_dropped_is_counted_once() {
    let (mut ring, _) = ring(64, 256);
    // The least the kernel gives holds a few datagrams.
    let opened = socket::open((common::LOCALHOST, 0).into(), 1).unwrap();
    let sender = sender_to(opened.local);
    ring.add_socket(opened.fd).unwrap();
    let mut received = 0;
    for _ in 0..3 {
        for i in 0..100u32 {
            sender.send(&[&i.to_be_bytes(), &[0; 1000][..]].concat()).unwrap();
        }
        // The last datagrams of a round, if dropped, are told with the next round's or on asking.
        ring.wait(Duration::ZERO, LONG).unwrap();
        ring.receive(&mut |_| received += 1);
    }
    ring.ask_kernel_drops();
    let drops = ring.counters().kernel_drops;
    while received + drops < 300 {
        ring.wait(Duration::ZERO, LONG).unwrap();
        ring.receive(&mut |_| received += 1);
    }
    ring.ask_kernel_drops();
    assert_eq!(ring.counters().kernel_drops, drops);
    assert!(drops > 0);
    assert_eq!(received + drops, 300);
}
