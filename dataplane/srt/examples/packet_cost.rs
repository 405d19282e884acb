//! Nanoseconds that a receiving connection takes for a packet, clear and under each cipher, its output
//! thrown away, as the median over batches: `cargo run --release -p penstock-srt --example packet_cost`.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use memory::{Datagram, Slab, Time};
use srt::caller::{Caller, CallerConfig, CallerState};
use srt::crypto::{Initiator, Kek, KeySize, Mode, Passphrase, Refresh, Suite};
use srt::packet::DataHeader;
use srt::sender::Sender;
use srt::sequence::Sequence;
use srt::{
    ConnectRequest, Connection, ConnectionConfig, Listener, ListenerEvent, Output, REJECTION_BYTES,
};

const LOCAL_ID: u32 = 7;
const BATCH: u32 = 64;
const PACKETS: u32 = 2_000_000;
/// 1,316 bytes each 10 us: 1.05 Gbit/s.
const INTERVAL: Duration = Duration::from_micros(10);

struct Sink {
    bytes: u64,
    acks: Vec<u32>,
    full_acks: Vec<Vec<u8>>,
}

impl Output for Sink {
    fn transmit(&mut self, packet: &[u8]) {
        // Full acknowledgements, to be answered.
        if packet.len() == 44 {
            self.full_acks.push(packet.to_vec());
            self.acks.push(u32::from_be_bytes(packet[4..8].try_into().expect("four bytes")));
        }
    }

    fn deliver(&mut self, payload: &[u8], _: Time, due: Time) {
        self.bytes += payload.len() as u64;
        black_box(due);
    }

    fn skipped(&mut self, _: u32) {}
}

fn main() {
    for (label, lose_one_in) in [("in order", u32::MAX), ("1 % lost", 100), ("5 % lost", 20)] {
        let mut runs: Vec<f64> = (0..5).map(|_| run(lose_one_in)).collect();
        runs.sort_by(f64::total_cmp);
        println!("{label}: {:.0} / {:.0} / {:.0} ns a packet", runs[0], runs[2], runs[4]);
    }
    for mode in [Mode::Ctr, Mode::Gcm] {
        for size in [KeySize::Aes128, KeySize::Aes192, KeySize::Aes256] {
            let mut runs: Vec<f64> = (0..5).map(|_| run_secured(Suite { mode, size })).collect();
            runs.sort_by(f64::total_cmp);
            let (label, bits) = (format!("{mode:?}"), size.bits());
            println!(
                "{label} {bits}: {:.0} / {:.0} / {:.0} ns a packet",
                runs[0], runs[2], runs[4]
            );
        }
    }
}

/// In order, encrypted by our sender outside the time that is taken.
fn run_secured(suite: Suite) -> f64 {
    let slab = Slab::new(8_192).expect("memory");
    let (mut connection, mut sender) = open_secured(suite);
    let mut sink = Sink { bytes: 0, acks: Vec::with_capacity(64), full_acks: Vec::new() };
    let (mut costs, mut batch) = (Vec::new(), Vec::with_capacity(BATCH as usize));
    for first in (0..PACKETS / 4).step_by(BATCH as usize) {
        let at = |n: u32| Time::from_micros(1_000_000) + INTERVAL * n;
        for n in first..first + BATCH {
            assert!(sender.push(at(n), 1_316, |payload| payload.fill(0x47)), "room");
            let run = sender.next_run(at(n), 1).expect("the window is open");
            batch.push((at(n), Datagram::copy_from(&slab, run.bytes).expect("a slot")));
        }
        let start = Instant::now();
        for (at, datagram) in batch.drain(..) {
            connection.handle_datagram(at, at, datagram, &mut sink);
        }
        let now = at(first + BATCH - 1);
        if connection.next_timeout() <= now {
            connection.handle_timeout(now, &mut sink);
        }
        costs.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH));
        sink.acks.clear();
        for ack in std::mem::take(&mut sink.full_acks) {
            let mut said = Vec::new();
            sender.handle_datagram(now, &ack, &mut |bytes: &[u8]| said.push(bytes.to_vec()));
            for bytes in said {
                let datagram = Datagram::copy_from(&slab, &bytes).expect("a slot");
                connection.handle_datagram(now, now, datagram, &mut sink);
            }
        }
    }
    let stats = connection.stats();
    assert!(stats.packets_delivered >= u64::from(PACKETS / 4), "{stats:?}");
    assert!(stats.is_balanced() && stats.packets_undecryptable == 0);
    costs.sort_by(f64::total_cmp);
    costs[costs.len() / 2]
}

fn open_secured(suite: Suite) -> (Connection, Sender) {
    let now = Time::from_micros(1_000_000);
    let peer: SocketAddr = "127.0.0.1:5000".parse().expect("an address");
    let passphrase = Passphrase::new(b"correct horse").expect("long enough");
    let initiator = Initiator::new(&passphrase, suite, Refresh::default(), &[7; 32]).expect("keys");
    let config = CallerConfig {
        key_material: initiator.material(),
        ..CallerConfig::live(9, Sequence::new(0x7fff_0000), peer.ip())
    };
    let mut caller = Caller::new(config, now);
    let mut connection = Connection::new(8_192);
    let request = conclusion(&mut caller, peer, now);
    let material = request.key_material.expect("it is encrypted");
    let kek = Kek::derive(&passphrase, &material.salt(), suite.size);
    let keys = kek.unwrap(&material).expect("the same passphrase");
    let config = ConnectionConfig { local_id: LOCAL_ID, ..ConnectionConfig::default() };
    let answer = connection.open(&request, &config, Some(keys), now);
    caller.handle_datagram(now, answer.as_bytes(), &mut |_: &[u8]| {});
    let CallerState::Connected(connected) = caller.state() else { panic!("{:?}", caller.state()) };
    let payload = u16::try_from(1_316 + suite.overhead()).expect("a packet");
    let mut sender = Sender::new(8_192, payload);
    sender.open(&connected, now);
    sender.secure(Box::new(initiator));
    (connection, sender)
}

/// One packet in `lose_one_in` comes 1,000 packets (10 ms) late.
fn run(lose_one_in: u32) -> f64 {
    const LATE: u32 = 1_000;
    let slab = Slab::new(8_192).expect("memory");
    let mut connection = open();
    let mut sink = Sink { bytes: 0, acks: Vec::with_capacity(64), full_acks: Vec::new() };
    let mut costs = Vec::new();
    let mut batch = Vec::with_capacity(256);
    let mut now = Time::from_micros(1_000_000);
    for first in (0..PACKETS).step_by(BATCH as usize) {
        for n in first..first + BATCH {
            let lost = |n: u32| n % lose_one_in == lose_one_in - 1;
            if !lost(n) {
                batch.push((n, packet(&slab, n)));
            }
            if n >= LATE && lost(n - LATE) {
                batch.push((n, packet(&slab, n - LATE)));
            }
        }
        let packets = u32::try_from(batch.len()).expect("a batch");
        let start = Instant::now();
        for (n, datagram) in batch.drain(..) {
            now = Time::from_micros(1_000_000) + INTERVAL * n;
            connection.handle_datagram(now, now, datagram, &mut sink);
        }
        if connection.next_timeout() <= now {
            connection.handle_timeout(now, &mut sink);
        }
        costs.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(packets));
        sink.full_acks.clear();
        for number in sink.acks.drain(..) {
            let bytes = srt::control::encode_ackack(number, 0, LOCAL_ID);
            let datagram = Datagram::copy_from(&slab, &bytes).expect("a slot");
            connection.handle_datagram(
                now,
                now,
                datagram,
                &mut Sink { bytes: 0, acks: vec![], full_acks: vec![] },
            );
        }
    }
    assert_eq!(connection.stats().packets_skipped_too_late, 0);
    assert!(sink.bytes > 0 && connection.stats().is_balanced());
    costs.sort_by(f64::total_cmp);
    costs[costs.len() / 2]
}

fn packet(slab: &Slab, n: u32) -> Datagram {
    let sequence = Sequence::new(0x7fff_0000).add(n);
    let header = DataHeader::live(sequence, n, n.wrapping_mul(10), LOCAL_ID);
    let mut bytes = [0; 1_332];
    bytes[..16].copy_from_slice(&header.encode());
    Datagram::copy_from(slab, &bytes).expect("a slot")
}

/// Through a real handshake.
fn open() -> Connection {
    let now = Time::from_micros(1_000_000);
    let peer: SocketAddr = "127.0.0.1:5000".parse().expect("an address");
    let config = CallerConfig::live(9, Sequence::new(0x7fff_0000), peer.ip());
    let request = conclusion(&mut Caller::new(config, now), peer, now);
    let mut connection = Connection::new(8_192);
    let config = ConnectionConfig { local_id: LOCAL_ID, ..ConnectionConfig::default() };
    connection.open(&request, &config, None, now);
    connection
}

/// The caller's request to a listener.
fn conclusion(caller: &mut Caller, peer: SocketAddr, now: Time) -> ConnectRequest {
    let listener = Listener::new([1; 16]);
    let mut sent = Vec::new();
    caller.handle_timeout(now, &mut |bytes: &[u8]| sent.push(bytes.to_vec()));
    let mut reply = [0; REJECTION_BYTES];
    let ListenerEvent::Reply(len) = listener.handle(now, peer, &sent[0], &mut reply) else {
        panic!("no answer to the induction");
    };
    caller.handle_datagram(now, &reply[..len], &mut |bytes: &[u8]| sent.push(bytes.to_vec()));
    let ListenerEvent::Conclusion(request) = listener.handle(now, peer, &sent[1], &mut reply)
    else {
        panic!("no request");
    };
    request
}
