//! Key messages of every length, and with every value of each byte, in every state of both sides:
//! nothing panics, and nothing but the right message has an effect.

use std::net::SocketAddr;
use std::time::Duration;

use memory::{Datagram, Slab, Time};

use crate::caller::{Caller, CallerConfig, CallerState, Failure};
use crate::control::{Control, KMREQ_SUBTYPE, KMRSP_SUBTYPE, encode_handshake_header};
use crate::crypto::{Initiator, KeyMaterial, KeySize, Keys, Mode, Passphrase, Refresh, Suite};
use crate::handshake::{
    Capabilities, ExtensionWriter, Extensions, Handshake, INDUCTION_MAGIC, Kind, RejectReason,
    extension, field,
};
use crate::packet::{DataHeader, Encryption, HEADER_BYTES, Packet};
use crate::rendezvous::{Rendezvous, RendezvousState, Role};
use crate::sequence::Sequence;
use crate::{
    ConnectRequest, Connection, ConnectionConfig, Listener, ListenerEvent, Output, REJECTION_BYTES,
    State,
};

const START: Time = Time::from_micros(90_000_000);
const ID: u32 = 7;
const PEER_ID: u32 = 8;
const LENGTHS: std::ops::Range<usize> = 0..1_500;
/// Bytes of a message before its salt.
const FIELDS: usize = 16;

fn peer() -> SocketAddr {
    "192.0.2.1:5000".parse().unwrap()
}

fn initiator(passphrase: &[u8]) -> Initiator {
    let suite = Suite { mode: Mode::Ctr, size: KeySize::Aes128 };
    let passphrase = Passphrase::new(passphrase).unwrap();
    Initiator::new(&passphrase, suite, Refresh::default(), &[3; 32]).unwrap()
}

fn material(initiator: &Initiator) -> Vec<u8> {
    initiator.material().unwrap().as_bytes().to_vec()
}

/// `whole` cut or lengthened to every length, and with every byte of its fields set to values that
/// mean something and to those at the edges.
fn variants(whole: &[u8]) -> Vec<Vec<u8>> {
    let lengths = LENGTHS.map(|len| {
        let mut message = whole.to_vec();
        message.resize(len, 0xa5);
        message
    });
    let values = || (0..=0x30).chain([0x7f, 0x80, 0xfe, 0xff]);
    let fields = (0..FIELDS).flat_map(|at| {
        values().map(move |value| {
            let mut message = whole.to_vec();
            message[at] = value;
            message
        })
    });
    lengths.chain(fields).collect()
}

/// As an extension holds it: whole words.
fn padded(message: &[u8]) -> Vec<u8> {
    let mut padded = message.to_vec();
    padded.resize(message.len().next_multiple_of(4), 0);
    padded
}

fn handshake(kind: Kind, version: u32, cookie: u32) -> Handshake {
    Handshake {
        version,
        encryption: 0,
        extension: field::HSREQ | field::KMREQ,
        initial_sequence: Sequence::new(77),
        mtu: 1_500,
        flow_window: 8_192,
        kind,
        socket_id: PEER_ID,
        cookie,
        peer: peer().ip(),
    }
}

/// A handshake with a greeting and a key message.
fn message(handshake: &Handshake, to: u32, greeting: u16, keys: u16, content: &[u8]) -> Vec<u8> {
    let mut blocks = [0; 2_048];
    let mut writer = ExtensionWriter::new(&mut blocks);
    let capabilities = Capabilities {
        version: 0x0001_0501,
        flags: 0xbf,
        receiver_latency_ms: 120,
        sender_latency_ms: 120,
    };
    writer.capabilities(greeting, &capabilities);
    writer.bytes(keys, content);
    let len = writer.finish().unwrap();
    let head = encode_handshake_header(0, to);
    [&head[..], &handshake.encode(), &blocks[..len]].concat()
}

#[test]
fn a_listener_remembers_of_a_request_only_key_material_of_the_right_layout() {
    let listener = Listener::new([1; 16]);
    let whole = material(&initiator(b"correct horse"));
    let mut reply = [0; REJECTION_BYTES];
    let induction = handshake(Kind::Induction, 4, 0);
    let mut ask = |handshake: &Handshake, content: &[u8]| {
        let packet = message(handshake, 0, extension::HSREQ, extension::KMREQ, content);
        (listener.handle(START, peer(), &packet, &mut reply), reply)
    };
    let (_, answer) = ask(&induction, &whole);
    let cookie = u32::from_be_bytes(answer[44..48].try_into().unwrap());
    let conclusion = handshake(Kind::Conclusion, 5, cookie);
    let (mut read, mut refused) = (0, 0);
    for content in variants(&whole) {
        let (event, _) = ask(&induction, &content);
        assert!(matches!(event, ListenerEvent::Reply(REJECTION_BYTES)));
        match ask(&conclusion, &content).0 {
            ListenerEvent::Conclusion(request) => {
                assert!(request.encrypted, "whoever brings key material encrypts");
                if let Some(material) = request.key_material {
                    assert_eq!(material.as_bytes(), padded(&content));
                    assert_eq!(material.as_bytes().len(), whole.len());
                    read += 1;
                }
            }
            ListenerEvent::Rejected(_, reason) => {
                assert_eq!(reason, RejectReason::CRYPTO);
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    // Reserved bytes, both keys' flags, and what padding makes whole; every other cipher.
    assert!(read > 200 && refused > 90, "{read} read, {refused} refused");
}

#[test]
fn a_listener_refuses_a_key_message_that_claims_to_be_longer_than_its_packet() {
    let listener = Listener::new([1; 16]);
    let whole = material(&initiator(b"correct horse"));
    let mut reply = [0; REJECTION_BYTES];
    let induction = message(&handshake(Kind::Induction, 4, 0), 0, 1, 3, &[]);
    listener.handle(START, peer(), &induction, &mut reply);
    let cookie = u32::from_be_bytes(reply[44..48].try_into().unwrap());
    let conclusion = handshake(Kind::Conclusion, 5, cookie);
    let packet = message(&conclusion, 0, extension::HSREQ, extension::KMREQ, &whole);
    // Behind header, handshake, greeting and the type of its own block.
    let at = HEADER_BYTES + 48 + 16 + 2;
    let true_words = u16::try_from(whole.len() / 4).unwrap();
    for words in 0..=u16::MAX {
        let mut packet = packet.clone();
        packet[at..at + 2].copy_from_slice(&words.to_be_bytes());
        let event = listener.handle(START, peer(), &packet, &mut reply);
        let ListenerEvent::Conclusion(request) = event else {
            let ListenerEvent::Rejected(_, reason) = event else { panic!("{event:?}") };
            assert_eq!(reason, RejectReason::ROGUE, "{words}");
            continue;
        };
        assert_eq!(request.key_material.is_some(), words == true_words, "{words}");
    }
}

fn caller(initiator: Option<&Initiator>) -> CallerConfig {
    CallerConfig {
        key_material: initiator.and_then(Initiator::material),
        ..CallerConfig::live(ID, Sequence::new(77), peer().ip())
    }
}

#[test]
fn a_caller_connects_on_the_echo_of_its_key_material_and_on_nothing_else() {
    let own = initiator(b"correct horse");
    let whole = material(&own);
    for secured in [true, false] {
        let config = caller(secured.then_some(&own));
        let induction =
            Handshake { extension: INDUCTION_MAGIC, ..handshake(Kind::Induction, 5, 99) };
        let mut asked = Caller::new(config, START);
        asked.handle_timeout(START, &mut |_| {});
        for content in variants(&whole) {
            let answer = handshake(Kind::Conclusion, 5, 99);
            let answer = message(&answer, ID, extension::HSRSP, extension::KMRSP, &content);
            // Before it has asked for the connection an answer says nothing.
            asked.handle_datagram(START, &answer, &mut |_| {});
            assert_eq!(asked.state(), CallerState::Induction);
            let mut caller = Caller::new(config, START);
            let first = message(&induction, ID, 1, 3, &[]);
            caller.handle_datagram(START, &first, &mut |_| {});
            assert_eq!(caller.state(), CallerState::Conclusion(99));
            let mut said = Vec::new();
            caller.handle_datagram(START, &answer, &mut |packet| said = packet.to_vec());
            let is_echo = secured && padded(&content) == whole;
            match caller.state() {
                CallerState::Connected(_) => assert!(is_echo, "{content:?}"),
                CallerState::Failed(Failure::Refused(_)) => {
                    assert!(!is_echo);
                    let told = Packet::parse(&said);
                    assert!(matches!(told, Ok(Packet::Control(_, Control::Shutdown))));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A rendezvous in one of the states that it can be in before it is connected, and its peer's
/// cookie: whoever has the greater one is the initiator.
fn waiting(keys: Option<&Initiator>, role: Role, is_attentive: bool) -> (Rendezvous, u32) {
    let (own, theirs) = if role == Role::Initiator { (9, 5) } else { (5, 9) };
    let mut side = Rendezvous::new(caller(keys), own, START);
    side.handle_timeout(START, &mut |_| {});
    if !is_attentive {
        assert_eq!(side.state(), RendezvousState::Waving);
        return (side, theirs);
    }
    let wave = handshake(Kind::WaveAHand, 5, theirs);
    let wave = [&encode_handshake_header(0, ID)[..], &wave.encode()].concat();
    side.handle_datagram(START, &wave, &mut |_| {});
    assert_eq!(side.state(), RendezvousState::Attention(role));
    (side, theirs)
}

fn rendezvous_takes_only_the_right_one(secured: bool, role: Role) {
    let own = initiator(b"correct horse");
    let whole = material(&own);
    let keys = secured.then_some(&own);
    for is_attentive in [false, true] {
        for content in variants(&whole) {
            for (greeting, block) in [
                (extension::HSREQ, extension::KMREQ),
                (extension::HSRSP, extension::KMRSP),
                (extension::HSREQ, extension::KMRSP),
                (extension::HSRSP, extension::KMREQ),
            ] {
                let (mut side, theirs) = waiting(keys, role, is_attentive);
                let conclusion = handshake(Kind::Conclusion, 5, theirs);
                let packet = message(&conclusion, ID, greeting, block, &content);
                side.handle_datagram(START, &packet, &mut |_| {});
                judge(&mut side, secured, &whole, &padded(&content), block);
            }
        }
    }
}

#[test]
fn a_rendezvous_with_keys_takes_no_key_message_but_the_right_one_in_any_state() {
    rendezvous_takes_only_the_right_one(true, Role::Initiator);
    rendezvous_takes_only_the_right_one(true, Role::Responder);
}

#[test]
fn a_rendezvous_without_keys_takes_no_key_message_in_any_state() {
    rendezvous_takes_only_the_right_one(false, Role::Initiator);
    rendezvous_takes_only_the_right_one(false, Role::Responder);
}

fn judge(side: &mut Rendezvous, secured: bool, whole: &[u8], content: &[u8], block: u16) {
    let question = side.key_question();
    match side.state() {
        RendezvousState::Connected(..) => {
            assert!(secured && block == extension::KMRSP && content == whole, "no echo");
        }
        // An answer to a question that was not asked is not looked at.
        RendezvousState::Initiated => assert!(!secured && block == extension::KMRSP),
        RendezvousState::Securing => {
            assert!(secured && block == extension::KMREQ);
            assert_eq!(question.map(|it| it.as_bytes().to_vec()), Some(content.to_vec()));
        }
        RendezvousState::Waving
        | RendezvousState::Attention(_)
        | RendezvousState::Failed(Failure::Refused(_)) => assert_eq!(question, None),
        RendezvousState::Failed(other) => panic!("{other:?}"),
    }
}

fn parsed(message: &[u8]) -> KeyMaterial {
    KeyMaterial::parse(message).expect("it is right")
}

/// A responder that was greeted with the right message: while that is unwrapped, once it has
/// answered, and once the peer has used the connection.
fn greeted(keys: &Initiator, theirs: &[u8], steps: usize) -> (Rendezvous, u32) {
    let (mut side, cookie) = waiting(Some(keys), Role::Responder, true);
    let greeting = handshake(Kind::Conclusion, 5, cookie);
    let greeting = message(&greeting, ID, extension::HSREQ, extension::KMREQ, theirs);
    side.handle_datagram(START, &greeting, &mut |_| {});
    assert!(side.key_question().is_some());
    if steps > 0 {
        assert!(side.answer_keys(START, &parsed(theirs), Ok(()), &mut |_| {}));
        assert_eq!(side.state(), RendezvousState::Initiated);
    }
    if steps > 1 {
        side.handle_datagram(START, &crate::control::encode_keepalive(0, ID), &mut |_| {});
        assert!(matches!(side.state(), RendezvousState::Connected(Role::Responder, _)));
    }
    (side, cookie)
}

#[test]
fn a_rendezvous_that_has_a_key_message_asks_about_no_other() {
    let own = initiator(b"correct horse");
    let theirs = material(&own);
    for steps in 0..3 {
        for content in variants(&theirs) {
            let (mut side, cookie) = greeted(&own, &theirs, steps);
            let before = side.state();
            let conclusion = handshake(Kind::Conclusion, 5, cookie);
            let mut said = 0;
            let packet = message(&conclusion, ID, extension::HSREQ, extension::KMREQ, &content);
            side.handle_datagram(START, &packet, &mut |_| said += 1);
            assert!(said <= 1);
            assert_eq!(side.key_question(), None);
            // Before the end a peer that makes no sense is refused; what is agreed stays agreed.
            let refused = matches!(side.state(), RendezvousState::Failed(Failure::Refused(_)));
            assert!(side.state() == before || refused && steps < 2, "{:?}", side.state());
            side.answer_keys(START, &parsed(&theirs), Ok(()), &mut |_| {});
            assert!(!refused || side.outcome().is_some_and(|it| it.is_err()), "an end is an end");
        }
    }
}

#[derive(Default)]
struct Out {
    sent: Vec<Vec<u8>>,
    got: Vec<Vec<u8>>,
}

impl Output for Out {
    fn transmit(&mut self, packet: &[u8]) {
        self.sent.push(packet.to_vec());
    }

    fn deliver(&mut self, payload: &[u8], _: Time, _: Time) {
        self.got.push(payload.to_vec());
    }

    fn skipped(&mut self, _: u32) {
        panic!("nothing is missing");
    }
}

struct Open {
    slab: Slab,
    connection: Connection,
    sender: Option<Initiator>,
    out: Out,
    now: Time,
    next: u32,
}

impl Open {
    fn new(sender: Option<Initiator>) -> Self {
        let mut block = [0; 16];
        let mut writer = ExtensionWriter::new(&mut block);
        let capabilities = Capabilities {
            version: 0x0001_0501,
            flags: 0xbf,
            receiver_latency_ms: 120,
            sender_latency_ms: 120,
        };
        writer.capabilities(extension::HSREQ, &capabilities);
        let conclusion = handshake(Kind::Conclusion, 5, 1);
        let extensions = Extensions::new(&block);
        let mut request = ConnectRequest::read(START, peer(), 0, &conclusion, extensions).unwrap();
        request.key_material = sender.as_ref().and_then(Initiator::material);
        let keys = |it: &Initiator| it.kek().unwrap(&it.material().unwrap()).unwrap();
        let keys: Option<Box<Keys>> = sender.as_ref().map(keys);
        let mut connection = Connection::new(64);
        let config = ConnectionConfig { local_id: ID, ..ConnectionConfig::default() };
        connection.open(&request, &config, keys, START);
        let slab = Slab::new(16).unwrap();
        Self { slab, connection, sender, out: Out::default(), now: START, next: 0 }
    }

    fn feed(&mut self, packet: &[u8]) {
        let datagram = Datagram::copy_from(&self.slab, packet).unwrap();
        self.connection.handle_datagram(self.now, self.now, datagram, &mut self.out);
        assert!(self.connection.stats().is_balanced());
    }

    fn key_message(&mut self, subtype: u16, body: &[u8]) {
        let mut packet = vec![0xff, 0xff];
        packet.extend(subtype.to_be_bytes());
        packet.extend([0; 8]);
        packet.extend(ID.to_be_bytes());
        packet.extend(body);
        self.feed(&packet);
    }

    /// The sender's next packet is delivered as it was written.
    fn goes_on(&mut self) {
        let mut header = DataHeader::live(Sequence::new(77).add(self.next), 1, 0, ID);
        if let Some(sender) = &self.sender {
            header.encryption = sender.kk();
        }
        let text = self.next.to_be_bytes();
        let mut packet = [&header.encode()[..], &text].concat();
        if let Some(sender) = &mut self.sender {
            assert!(sender.encrypt(&mut packet));
        }
        self.feed(&packet);
        assert_eq!(self.out.got.pop(), Some(text.to_vec()));
        self.next += 1;
    }
}

#[test]
fn an_open_connection_counts_key_messages_of_every_kind_and_goes_on_with_its_keys() {
    let (own, other) = (initiator(b"correct horse"), initiator(b"another horse"));
    for secured in [true, false] {
        for whole in [material(&own), material(&other)] {
            let mut open = Open::new(secured.then(|| initiator(b"correct horse")));
            for (count, body) in (1..).zip(variants(&whole)) {
                // A second after the last one it is looked at in any case.
                open.now = open.now + Duration::from_secs(2);
                open.key_message(KMREQ_SUBTYPE, &body);
                if let Some(asked) = open.connection.take_key_request() {
                    assert!(secured);
                    assert!(own.kek().unwrap(&asked).is_err(), "only what is not known is asked");
                    let state = crate::crypto::KeyState::BadSecret;
                    open.connection.refuse_keys(&asked, state, open.now, &mut open.out);
                }
                open.key_message(KMRSP_SUBTYPE, &body);
                assert_eq!(open.connection.take_key_request(), None);
                // An answer at most, and never a longer one.
                assert!(
                    open.out.sent.iter().all(|it| it.len() <= HEADER_BYTES + body.len().max(4))
                );
                assert!(open.out.sent.len() <= 2);
                open.out.sent.clear();
                let stats = open.connection.stats();
                assert_eq!(stats.key_messages_received, 2 * count);
                assert!(stats.key_messages_ignored >= count, "no answer was asked for");
                assert_eq!(stats.key_refreshes, 0);
                assert_eq!(open.connection.is_secured(), secured);
                open.goes_on();
                open.out.sent.clear();
            }
            assert_eq!(open.connection.state(), State::Open);
        }
    }
}

/// A sender that changes its key each `every` packets.
fn refreshing(every_packets: u32) -> Initiator {
    let suite = Suite { mode: Mode::Ctr, size: KeySize::Aes128 };
    let passphrase = Passphrase::new(b"correct horse").unwrap();
    let refresh = Refresh { every_packets, announce_packets: every_packets - 1 };
    Initiator::new(&passphrase, suite, refresh, &[3; 32]).unwrap()
}

impl Open {
    /// Brings a message, unwraps what the connection asks about, and says whether it did.
    fn announce(&mut self, body: &[u8]) -> bool {
        self.now = self.now + Duration::from_secs(2);
        self.key_message(KMREQ_SUBTYPE, body);
        let Some(asked) = self.connection.take_key_request() else { return false };
        let mut fresh = self.sender.as_ref().unwrap().kek().unwrap(&asked).unwrap();
        self.connection.renew_keys(&asked, &mut fresh, self.now, &mut self.out);
        true
    }

    /// Sends until the key has changed `times` times; the messages that announced it.
    fn change_keys(&mut self, times: usize) -> Vec<Vec<u8>> {
        let mut announced: Vec<Vec<u8>> = Vec::new();
        while announced.len() < times {
            self.goes_on();
            let sender = self.sender.as_ref().unwrap();
            let Some(body) = sender.announcement().map(|it| it.as_bytes().to_vec()) else {
                continue;
            };
            assert!(self.announce(&body));
            assert!(self.sender.as_mut().unwrap().confirm(&body));
            announced.push(body);
        }
        announced
    }
}

#[test]
fn an_old_key_message_that_comes_again_is_answered_and_takes_no_key_away() {
    let mut open = Open::new(Some(refreshing(4)));
    let first = open.sender.as_ref().map(material).unwrap();
    let mut announced = open.change_keys(6);
    announced.insert(0, first);
    for old in &announced {
        // The flag of the key that is in use, set where nothing guards it.
        let mut other = old.clone();
        other[3] ^= 3;
        for body in [old, &other] {
            open.out.sent.clear();
            assert!(!open.announce(body), "asked about what is known");
            let answered = open.out.sent.last().map(|packet| &packet[HEADER_BYTES..]);
            assert!(body != old || answered == Some(body), "the same answer");
            for _ in 0..9 {
                open.goes_on();
            }
        }
        // Its sender went on meanwhile.
        open.change_keys(1);
    }
}

#[test]
fn a_key_message_with_another_salt_around_the_same_wrapped_keys_is_not_taken() {
    let mut open = Open::new(Some(refreshing(4)));
    open.change_keys(1);
    for _ in 0..5 {
        open.goes_on();
    }
    let next = open.sender.as_ref().unwrap().announcement().copied();
    let next = next.map(|it| it.as_bytes().to_vec()).unwrap();
    // The wrapping key is made of the second half of the salt: the first is not guarded by it.
    for bit in 0..64 {
        let mut body = next.clone();
        body[FIELDS + bit / 8] ^= 1 << (bit % 8);
        assert!(!open.announce(&body), "{bit}");
        open.goes_on();
    }
    assert_eq!(open.connection.stats().key_messages_ignored, 64);
    assert!(open.announce(&next), "the message itself");
    assert!(open.sender.as_mut().unwrap().confirm(&next));
    for _ in 0..9 {
        open.goes_on();
    }
}

#[test]
fn clear_packets_and_packets_under_a_key_that_is_not_held_are_dropped_by_reason() {
    let mut open = Open::new(Some(initiator(b"correct horse")));
    for (encryption, clear, undecryptable, invalid) in
        [(Encryption::Clear, 1, 0, 0), (Encryption::Odd, 1, 1, 0), (Encryption::Both, 1, 1, 1)]
    {
        let header = DataHeader::live(Sequence::new(77), 1, 0, ID);
        let header = DataHeader { encryption, ..header };
        open.feed(&[&header.encode()[..], b"payload"].concat());
        let stats = open.connection.stats();
        assert_eq!(stats.packets_dropped_clear, clear);
        assert_eq!(stats.packets_undecryptable, undecryptable);
        assert_eq!(stats.packets_dropped_invalid, invalid);
        assert!(open.out.got.is_empty());
    }
    open.goes_on();
}
