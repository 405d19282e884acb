//! Caller and sender against this crate's own listener and connection, over a simulated link on a
//! virtual clock.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use memory::{Datagram, Slab, Time};

use super::*;
use crate::caller::{Caller, CallerConfig, CallerState, Connected, Failure};
use crate::control::{AckRates, AckTiming, NakWriter, encode_full_ack, encode_light_ack};
use crate::crypto::{KeySize, Mode, Passphrase, Refresh, Suite};
use crate::handshake::{RejectReason, StreamId};
use crate::{Connection, ConnectionConfig, Listener, ListenerEvent, Output, REJECTION_BYTES};

const MS: Duration = Duration::from_millis(1);
const PAYLOAD: usize = 1_316;
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn caller_address() -> SocketAddr {
    SocketAddr::new(LOCALHOST, 40_000)
}

fn config(initial: u32) -> CallerConfig {
    CallerConfig {
        stream_id: StreamId::new(b"bench/0001").unwrap(),
        ..CallerConfig::live(0x1234, Sequence::new(initial), LOCALHOST)
    }
}

fn granted() -> ConnectionConfig {
    ConnectionConfig {
        local_id: 0x77,
        latency: 200 * MS,
        flow_window: 4_096,
        slots_max: 4_096,
        peer_idle_timeout: Duration::from_secs(5),
        reorder_tolerance: 0,
    }
}

/// What the receiving side does, gathered.
#[derive(Default)]
struct Receiver {
    replies: Vec<Vec<u8>>,
    delivered: Vec<Vec<u8>>,
    skipped: u32,
}

impl Output for Receiver {
    fn transmit(&mut self, packet: &[u8]) {
        self.replies.push(packet.to_vec());
    }

    fn deliver(&mut self, payload: &[u8], _arrival: Time, _due: Time) {
        self.delivered.push(payload.to_vec());
    }

    fn skipped(&mut self, packets: u32) {
        self.skipped += packets;
    }
}

/// One direction of a link: fixed delay, repeatable loss.
struct Link {
    delay: Duration,
    lose_one_in: u32,
    state: u32,
    queue: VecDeque<(Time, Vec<u8>)>,
}

impl Link {
    fn new(delay: Duration, lose_one_in: u32, seed: u32) -> Self {
        Self { delay, lose_one_in, state: seed, queue: VecDeque::new() }
    }

    fn send(&mut self, now: Time, packet: &[u8]) {
        self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let lost = self.lose_one_in > 0 && (self.state >> 8).is_multiple_of(self.lose_one_in);
        if !lost {
            self.queue.push_back((now + self.delay, packet.to_vec()));
        }
    }

    fn receive(&mut self, now: Time) -> Option<Vec<u8>> {
        let (at, _) = self.queue.front()?;
        (*at <= now).then(|| self.queue.pop_front())?.map(|(_, packet)| packet)
    }
}

/// Runs the handshake over a perfect link; `answer` decides about the request.
fn shake_hands(
    caller: &mut Caller,
    now: Time,
    mut answer: impl FnMut(&crate::ConnectRequest) -> Vec<u8>,
) {
    let listener = Listener::new([7; 16]);
    let mut to_listener: VecDeque<Vec<u8>> = VecDeque::new();
    caller.handle_timeout(now, &mut |packet| to_listener.push_back(packet.to_vec()));
    while let Some(datagram) = to_listener.pop_front() {
        let mut reply = [0; REJECTION_BYTES];
        let reply = match listener.handle(now, caller_address(), &datagram, &mut reply) {
            ListenerEvent::Reply(len) | ListenerEvent::Rejected(len, _) => reply[..len].to_vec(),
            ListenerEvent::Conclusion(request) => answer(&request),
            other => panic!("{other:?}"),
        };
        caller.handle_datagram(now, &reply, &mut |packet| to_listener.push_back(packet.to_vec()));
    }
}

fn connect(initial: u32, connection: &mut Connection, now: Time) -> Connected {
    let mut caller = Caller::new(config(initial), now);
    shake_hands(&mut caller, now, |request| {
        connection.open(request, &granted(), None, now).as_bytes().to_vec()
    });
    match caller.state() {
        CallerState::Connected(connected) => connected,
        other => panic!("{other:?}"),
    }
}

fn start() -> Time {
    Time::from_micros(50_000_000)
}

/// A sender that is connected to nothing, for rules of its own.
fn lone_sender(packets: u32) -> Sender {
    let mut sender = Sender::new(packets, u16::try_from(PAYLOAD).unwrap());
    sender.open(
        &Connected {
            socket_id: 1,
            peer_socket_id: 2,
            initial_sequence: Sequence::new(100),
            peer_initial_sequence: Sequence::new(100),
            mtu: 1_500,
            flow_window: 8_192,
            peer_version: 0x0001_0500,
            peer_flags: 0,
            peer_latency_ms: 120,
            latency_ms: 120,
            greeted: start(),
            greeted_timestamp_us: 0,
            peer_idle_timeout: Duration::from_secs(5),
            start: start(),
        },
        start(),
    );
    sender
}

fn push(sender: &mut Sender, now: Time, len: usize) -> bool {
    sender.push(now, len, |payload| payload.fill(0x47))
}

fn nothing(packet: &[u8]) {
    panic!("sent {packet:?}");
}

fn full_ack(number: u32, sequence: u32, available_packets: u32) -> Vec<u8> {
    full_ack_of(10_000, number, sequence, available_packets)
}

fn full_ack_of(rtt_us: u32, number: u32, sequence: u32, available_packets: u32) -> Vec<u8> {
    let timing = AckTiming { rtt_us, rtt_variance_us: 500, available_packets };
    let sequence = Sequence::new(sequence);
    encode_full_ack(number, sequence, &timing, &AckRates::default(), 0, 1).to_vec()
}

fn nak(first: u32, last: u32) -> Vec<u8> {
    let mut out = [0; 100];
    let mut writer = NakWriter::new(&mut out, 0, 1);
    let range = SequenceRange::new(Sequence::new(first), Sequence::new(last)).unwrap();
    assert!(writer.push(range));
    let len = writer.finish().unwrap();
    out[..len].to_vec()
}

/// Parsed data header of a sent packet.
fn header(packet: &[u8]) -> DataHeader {
    match Packet::parse(packet) {
        Ok(Packet::Data(header, _)) => header,
        other => panic!("{other:?}"),
    }
}

#[test]
fn handshake_agrees_on_ids_latency_and_window() {
    let mut connection = Connection::new(4_096);
    let connected = connect(9, &mut connection, start());
    assert_eq!(connected.socket_id, 0x1234);
    assert_eq!(connected.peer_socket_id, 0x77);
    assert_eq!(connected.initial_sequence, Sequence::new(9));
    assert_eq!(connected.peer_latency_ms, 200, "the larger of both sides");
    assert_eq!(connected.flow_window, 4_096, "the smaller of both sides");
}

#[test]
fn stream_id_reaches_the_listener() {
    let mut caller = Caller::new(config(1), start());
    let mut seen = Vec::new();
    let mut connection = Connection::new(64);
    shake_hands(&mut caller, start(), |request| {
        seen = request.stream_id.as_bytes().to_vec();
        connection.open(request, &granted(), None, start()).as_bytes().to_vec()
    });
    assert_eq!(seen, b"bench/0001");
}

#[test]
fn reject_code_is_surfaced() {
    let mut caller = Caller::new(config(1), start());
    shake_hands(&mut caller, start(), |request| {
        request.reject(RejectReason::CONFLICT, start()).to_vec()
    });
    let refused = Failure::Rejected(RejectReason::CONFLICT);
    assert_eq!(caller.state(), CallerState::Failed(refused));
    assert_eq!(caller.next_timeout(), Time::NEVER);
}

#[test]
fn unanswered_induction_is_repeated_each_250_ms_until_the_timeout() {
    let mut caller = Caller::new(config(1), start());
    let mut sent_at = Vec::new();
    let mut now = start();
    while caller.next_timeout() != Time::NEVER {
        now = now.max(caller.next_timeout());
        caller.handle_timeout(now, &mut |_| sent_at.push(now.since(start())));
    }
    let expected: Vec<Duration> = (0..12).map(|turn| 250 * MS * turn).collect();
    assert_eq!(sent_at, expected);
    assert_eq!(caller.state(), CallerState::Failed(Failure::Timeout));
}

#[test]
fn answer_for_another_socket_or_of_version_4_does_not_connect() {
    let listener = Listener::new([7; 16]);
    let mut caller = Caller::new(config(1), start());
    let mut induction = Vec::new();
    caller.handle_timeout(start(), &mut |packet| induction = packet.to_vec());
    let mut reply = [0; REJECTION_BYTES];
    let event = listener.handle(start(), caller_address(), &induction, &mut reply);
    assert!(matches!(event, ListenerEvent::Reply(_)));

    let mut for_another = reply;
    for_another[15] ^= 1;
    caller.handle_datagram(start(), &for_another, &mut nothing);
    assert_eq!(caller.state(), CallerState::Induction);

    let mut version_4 = reply;
    version_4[19] = 4;
    caller.handle_datagram(start(), &version_4, &mut nothing);
    assert_eq!(caller.state(), CallerState::Failed(Failure::BadAnswer));
}

/// Sends `count` packets over a link of 20 ms round trip that loses one packet in `lose_one_in`
/// in both directions, and checks that everything arrives once and in order.
fn deliver_everything(initial: u32, count: u32, lose_one_in: u32) -> SenderStats {
    let slab = Slab::new(8_192).unwrap();
    let mut now = start();
    let mut connection = Connection::new(4_096);
    let connected = connect(initial, &mut connection, now);
    let mut sender = Sender::new(4_096, u16::try_from(PAYLOAD).unwrap());
    sender.open(&connected, now);
    let mut forth = Link::new(10 * MS, lose_one_in, 1);
    let mut back = Link::new(10 * MS, lose_one_in, 2);
    let mut receiver = Receiver::default();
    let mut pushed = 0;
    let end = now + Duration::from_micros(u64::from(count) * 200) + Duration::from_secs(1);
    while now < end {
        now = now + Duration::from_micros(100);
        if pushed < count && now.micros().is_multiple_of(200) {
            let value = pushed.to_be_bytes();
            assert!(sender.push(now, PAYLOAD, |payload| payload[..4].copy_from_slice(&value)));
            pushed += 1;
        } else if pushed == count && now.micros().is_multiple_of(10_000) && lose_one_in > 0 {
            // Nothing shows the loss of the last packets but another one.
            assert!(sender.push(now, 4, |payload| payload.fill(0xff)));
        }
        while let Some(run) = sender.next_run(now, 1) {
            forth.send(now, run.bytes);
        }
        sender.handle_timeout(now, &mut |packet| forth.send(now, packet));
        while let Some(packet) = forth.receive(now) {
            let datagram = Datagram::copy_from(&slab, &packet).unwrap();
            connection.handle_datagram(now, now, datagram, &mut receiver);
        }
        connection.handle_timeout(now, &mut receiver);
        for reply in receiver.replies.drain(..) {
            back.send(now, &reply);
        }
        while let Some(packet) = back.receive(now) {
            sender.handle_datagram(now, &packet, &mut |packet| forth.send(now, packet));
        }
    }
    assert_eq!(receiver.skipped, 0);
    let got: Vec<u32> = receiver
        .delivered
        .iter()
        .filter(|payload| payload.len() == PAYLOAD)
        .map(|payload| u32::from_be_bytes(payload[..4].try_into().unwrap()))
        .collect();
    assert_eq!(got, (0..count).collect::<Vec<u32>>());
    *sender.stats()
}

#[test]
fn without_loss_every_packet_is_sent_once_and_acknowledged() {
    let stats = deliver_everything(5, 2_000, 0);
    assert_eq!(stats.packets_sent, 2_000);
    assert_eq!(stats.packets_retransmitted, 0);
    assert!(stats.acks_received > 0 && stats.rtt_us > 0);
}

#[test]
fn loss_in_both_directions_is_recovered() {
    let stats = deliver_everything(5, 5_000, 50);
    assert!(stats.packets_retransmitted >= 80, "{stats:?}");
    assert_eq!(stats.packets_dropped, 0);
}

#[test]
fn loss_across_the_wrap_of_sequence_numbers_is_recovered() {
    let stats = deliver_everything(Sequence::MASK - 1_000, 3_000, 20);
    assert!(stats.packets_retransmitted >= 100, "{stats:?}");
}

#[test]
fn retransmission_keeps_the_timestamp_and_sets_the_flag() {
    let mut sender = lone_sender(64);
    assert!(push(&mut sender, start() + 5 * MS, PAYLOAD));
    let run = sender.next_run(start() + 6 * MS, 1).unwrap();
    let first = header(run.bytes);
    let mut again = Vec::new();
    sender.handle_datagram(start() + 40 * MS, &nak(100, 100), &mut |p| again = p.to_vec());
    let second = header(&again);
    assert_eq!(first.timestamp_us, 5_000);
    let expected = DataHeader { retransmitted: true, ..first };
    assert_eq!(second, expected);
}

#[test]
fn repeated_loss_report_within_the_round_trip_sends_nothing_twice() {
    let mut sender = lone_sender(64);
    assert!(push(&mut sender, start(), PAYLOAD));
    assert!(sender.next_run(start(), 1).is_some());
    let at = start() + 30 * MS;
    sender.handle_datagram(at, &full_ack(1, 100, 64), &mut |_| {});
    let mut sent = 0;
    for delay in [0, 1, 7, 9] {
        sender.handle_datagram(at + delay * MS, &nak(100, 100), &mut |_| sent += 1);
    }
    // Round trip 10 ms, variance 0.5 ms: nothing can have come back before 8 ms.
    assert_eq!(sent, 2);
}

#[test]
fn full_packets_lie_back_to_back_and_a_short_one_ends_the_run() {
    let mut sender = lone_sender(64);
    for len in [PAYLOAD, PAYLOAD, 188, PAYLOAD] {
        assert!(push(&mut sender, start(), len));
    }
    let run = sender.next_run(start(), 10).unwrap();
    assert_eq!((run.packets, run.segment_bytes), (3, HEADER_BYTES + PAYLOAD));
    assert_eq!(run.bytes.len(), 3 * HEADER_BYTES + 2 * PAYLOAD + 188);
    let second = header(&run.bytes[run.segment_bytes..]);
    assert_eq!(second.sequence, Sequence::new(101));
    assert_eq!(second.message, 2);
    assert_eq!(sender.next_run(start(), 10).map(|run| run.packets), Some(1));
    assert_eq!(sender.next_run(start(), 10), None);
}

#[test]
fn run_ends_at_the_end_of_the_buffer() {
    let mut sender = lone_sender(64);
    for _ in 0..64 {
        assert!(push(&mut sender, start(), PAYLOAD));
    }
    // Sequence 100 lies at slot 36.
    assert_eq!(sender.next_run(start(), 64).map(|run| run.packets), Some(28));
    assert_eq!(sender.next_run(start(), 64).map(|run| run.packets), Some(36));
}

#[test]
fn full_buffer_takes_nothing_until_an_acknowledgement() {
    let mut sender = lone_sender(4);
    for _ in 0..4 {
        assert!(push(&mut sender, start(), PAYLOAD));
    }
    assert!(!push(&mut sender, start(), PAYLOAD));
    assert_eq!(sender.next_run(start(), 4).map(|run| run.packets), Some(4));
    sender.handle_datagram(start(), &encode_light_ack(Sequence::new(102), 0, 1), &mut nothing);
    assert_eq!(sender.free(), 2);
    assert!(push(&mut sender, start(), PAYLOAD));
}

#[test]
fn receivers_window_limits_what_is_in_flight() {
    let mut sender = lone_sender(64);
    for _ in 0..10 {
        assert!(push(&mut sender, start(), PAYLOAD));
    }
    assert_eq!(sender.next_run(start(), 1).map(|run| run.packets), Some(1));
    sender.handle_datagram(start(), &full_ack(1, 101, 3), &mut |_| {});
    assert_eq!(sender.next_run(start(), 10).map(|run| run.packets), Some(3));
    assert_eq!(sender.next_run(start(), 10), None);
    assert_eq!(sender.waiting(), 6);
    // A light acknowledgement does not move the window's end.
    sender.handle_datagram(start(), &encode_light_ack(Sequence::new(104), 0, 1), &mut nothing);
    assert_eq!(sender.next_run(start(), 10), None);
    sender.handle_datagram(start(), &full_ack(2, 104, 100), &mut |_| {});
    assert_eq!(sender.next_run(start(), 10).map(|run| run.packets), Some(6));
}

#[test]
fn only_full_acknowledgements_are_acknowledged() {
    let mut sender = lone_sender(64);
    let mut answer = Vec::new();
    sender.handle_datagram(start(), &full_ack(33, 100, 64), &mut |p| answer = p.to_vec());
    let Ok(Packet::Control(to, Control::Ackack(33))) = Packet::parse(&answer) else {
        panic!("{answer:?}");
    };
    assert_eq!(to.destination, 2);
    sender.handle_datagram(start(), &encode_light_ack(Sequence::new(100), 0, 1), &mut nothing);
}

#[test]
fn too_late_packets_are_given_up_with_a_drop_request() {
    let mut sender = lone_sender(64);
    for turn in 0..3 {
        assert!(push(&mut sender, start() + turn * 100 * MS, PAYLOAD));
    }
    assert_eq!(sender.next_run(start(), 1).map(|run| run.packets), Some(1));
    // 1,000 ms and 20 ms of margin, as the latency is less.
    assert_eq!(sender.next_timeout(), start() + 1_000 * MS, "keepalive comes first");
    let mut sent = Vec::new();
    sender.handle_timeout(start() + 1_119 * MS, &mut |p| sent.push(p.to_vec()));
    assert_eq!(sender.stats().packets_dropped, 1);
    let expected = DropRequest { message: 0, range: SequenceRange::single(Sequence::new(100)) };
    let Ok(Packet::Control(_, Control::DropRequest(request))) = Packet::parse(&sent[0]) else {
        panic!("{sent:?}");
    };
    assert_eq!(request, expected);
    // A loss report for it gets the drop request again, one for the next the packet.
    assert_eq!(sender.next_run(start() + 1_119 * MS, 1).map(|run| run.packets), Some(1));
    sent.clear();
    let at = start() + 1_119 * MS;
    sender.handle_datagram(at, &nak(100, 101), &mut |p| sent.push(p.to_vec()));
    assert_eq!(sent.len(), 2);
    assert_eq!(header(&sent[1]).sequence, Sequence::new(101));
}

#[test]
fn a_window_full_of_packets_that_were_given_up_opens_for_those_behind() {
    let mut sender = lone_sender(64);
    sender.handle_datagram(start(), &full_ack(1, 100, 2), &mut |_| {});
    for turn in 0..4 {
        assert!(push(&mut sender, start() + turn * 10 * MS, PAYLOAD));
    }
    assert_eq!(sender.next_run(start(), 10).map(|run| run.packets), Some(2));
    assert_eq!(sender.next_run(start(), 10), None);
    let at = start() + 1_035 * MS;
    sender.handle_timeout(at, &mut |_| {});
    assert_eq!(sender.stats().packets_dropped, 2);
    assert_eq!(sender.next_run(at, 1).map(|run| run.packets), Some(1));
    // The receiver never heard of the two, nor of their end.
    sender.handle_datagram(at, &full_ack(2, 100, 2), &mut |_| {});
    assert_eq!(sender.next_run(at, 1).map(|run| run.packets), Some(1));
}

#[test]
fn packets_never_sent_are_skipped_when_too_late() {
    let mut sender = lone_sender(64);
    assert!(push(&mut sender, start(), PAYLOAD));
    assert!(push(&mut sender, start() + 500 * MS, PAYLOAD));
    sender.handle_timeout(start() + 1_020 * MS, &mut |_| {});
    let run = sender.next_run(start() + 1_020 * MS, 10).unwrap();
    assert_eq!(header(run.bytes).sequence, Sequence::new(101));
}

#[test]
fn silence_brings_a_keepalive_each_second_and_an_end_after_five() {
    let mut sender = lone_sender(64);
    let mut keepalives = 0;
    while sender.next_timeout() != Time::NEVER {
        let now = sender.next_timeout();
        sender.handle_timeout(now, &mut |packet| {
            assert!(matches!(Packet::parse(packet), Ok(Packet::Control(_, Control::Keepalive))));
            keepalives += 1;
        });
    }
    assert_eq!(keepalives, 4);
    assert_eq!(sender.state(), SenderState::PeerIdle);
    assert!(!push(&mut sender, start(), PAYLOAD));
}

#[test]
fn reports_about_packets_never_sent_change_nothing() {
    let mut sender = lone_sender(64);
    for _ in 0..4 {
        assert!(push(&mut sender, start(), PAYLOAD));
    }
    assert_eq!(sender.next_run(start(), 2).map(|run| run.packets), Some(2));
    for hostile in [
        full_ack(1, 103, 9),
        full_ack(2, 0x4000_0063, 9),
        nak(100, 102),
        nak(0, 0x3fff_ffff),
        vec![0x80],
        vec![0; 16],
    ] {
        sender.handle_datagram(start(), &hostile, &mut nothing);
    }
    assert_eq!(sender.stats().invalid, 6);
    assert_eq!((sender.in_flight(), sender.waiting()), (2, 2));
}

#[test]
fn a_round_trip_that_is_reported_wrong_once_puts_no_announcement_of_a_key_off() {
    let suite = Suite { mode: Mode::Ctr, size: KeySize::Aes128 };
    let refresh = Refresh { every_packets: 100, announce_packets: 100 };
    let passphrase = Passphrase::new(b"correct horse").unwrap();
    let mut sender = lone_sender(16);
    sender.secure(Box::new(Initiator::new(&passphrase, suite, refresh, &[1; 32]).unwrap()));
    assert!(push(&mut sender, start(), PAYLOAD));
    let announce = |sender: &mut Sender, now| {
        let before = sender.stats().key_messages_sent;
        sender.handle_timeout(now, &mut |_| {});
        sender.stats().key_messages_sent - before
    };
    sender.handle_datagram(start(), &full_ack_of(u32::MAX, 1, 100, 16), &mut |_| {});
    assert_eq!(announce(&mut sender, start()), 1);
    assert_eq!(announce(&mut sender, start() + 15 * MS), 0);
    sender.handle_datagram(start() + 15 * MS, &full_ack(2, 100, 16), &mut |_| {});
    assert_eq!(sender.next_timeout(), start() + 15 * MS);
    assert_eq!(announce(&mut sender, start() + 15 * MS), 1);
}

#[test]
fn shutdown_ends_both_ways() {
    let mut sender = lone_sender(64);
    sender.handle_datagram(start(), &encode_shutdown(0, 1), &mut nothing);
    assert_eq!(sender.state(), SenderState::ClosedByPeer);
    let mut sender = lone_sender(64);
    let mut sent = Vec::new();
    sender.close(start(), &mut |packet| sent.push(packet.to_vec()));
    assert!(matches!(Packet::parse(&sent[0]), Ok(Packet::Control(_, Control::Shutdown))));
    assert_eq!(sender.state(), SenderState::Closed);
}

#[test]
fn whatever_a_receiver_says_the_senders_order_holds() {
    let mut state = 0x9e37_79b9_u32;
    let mut draw = |below: u32| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state % below
    };
    for _ in 0..200 {
        let mut sender = lone_sender(64);
        let mut now = start();
        for _ in 0..200 {
            now = now + draw(40) * MS;
            let near = 90 + draw(100);
            let datagram = match draw(6) {
                0 => full_ack(draw(3), near, draw(80)),
                1 => encode_light_ack(Sequence::new(near), 0, 1).to_vec(),
                2 => nak(near, near + draw(20)),
                3 => nak(Sequence::MASK - draw(1 << 29), Sequence::MASK),
                4 => full_ack(1, draw(Sequence::MASK), draw(u32::MAX)),
                _ => {
                    let kind = u8::try_from(draw(9)).unwrap();
                    vec![0x80, kind, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff]
                }
            };
            let first = sender.first;
            let limit = sender.next_send;
            sender.handle_datagram(now, &datagram, &mut |packet| {
                if packet[0] & 0x80 == 0 {
                    let sequence = header(packet).sequence;
                    assert!(!sequence.is_before(first) && sequence.is_before(limit));
                }
            });
            push(&mut sender, now, PAYLOAD);
            sender.next_run(now, draw(4));
            sender.handle_timeout(now, &mut |_| {});
            assert!(!sender.first.is_before(sender.acked));
            assert!(!sender.next_send.is_before(sender.first));
            assert!(!sender.next_push.is_before(sender.next_send));
            assert!(sender.free() + sender.in_flight() + sender.waiting() == 64);
        }
    }
}
