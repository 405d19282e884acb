//! A secured connection, its sender, and somebody who hears everything and sends what he likes from
//! the sender's address. Whatever he does, each payload delivered is one that was encrypted with a
//! key the connection holds, and the sender's own packets can be read to the end.
//!
//! A script: the first byte chooses the cipher, each following one what happens; see [`World::step`].

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use memory::{Datagram, Slab, Time};

use super::{LOCAL_ID, PEER_ID, START, Script, request};
use crate::control::{
    Control, DropRequest, KMREQ_SUBTYPE, KMRSP_SUBTYPE, encode_ackack, encode_keepalive,
    encode_shutdown,
};
use crate::crypto::{
    Initiator, KeyMaterial, KeySize, KeyState, Keys, Mode, Passphrase, Refresh, SALT_BYTES, Suite,
};
use crate::handshake::{ExtensionWriter, Handshake, Kind, extension};
use crate::packet::{DataHeader, Encryption, HEADER_BYTES, Packet};
use crate::sequence::{Sequence, SequenceRange};
use crate::{Connection, ConnectionConfig, Output, State};

/// Packets behind a key, and before its end those at which the next one is announced.
const REFRESH: Refresh = Refresh { every_packets: 12, announce_packets: 8 };
/// What every clear payload begins with.
const CLEAR: &[u8] = b"in clear";
const PASSPHRASES: [&[u8]; 2] = [b"correct horse", b"another horse"];

/// Senders of both passphrases with that cipher: theirs, and a stranger's.
pub(super) fn senders(suite: Suite) -> (Initiator, Initiator) {
    thread_local! {
        // Deriving takes far longer than a script.
        static DERIVED: RefCell<HashMap<Suite, [Initiator; 2]>> = RefCell::default();
    }
    DERIVED.with_borrow_mut(|derived| {
        let [own, strange] = derived.entry(suite).or_insert_with(|| {
            PASSPHRASES.map(|passphrase| {
                let passphrase = Passphrase::new(passphrase).unwrap();
                Initiator::new(&passphrase, suite, REFRESH, &[7; 32]).unwrap()
            })
        });
        let again = |it: &Initiator, seed| Initiator::like(it, REFRESH, &[seed; 32]).unwrap();
        (again(own, 1), again(strange, 2))
    })
}

fn suite(byte: u8) -> Suite {
    let mode = if byte & 1 == 0 { Mode::Ctr } else { Mode::Gcm };
    let size = match byte >> 1 & 3 {
        0 => KeySize::Aes128,
        1 => KeySize::Aes192,
        _ => KeySize::Aes256,
    };
    Suite { mode, size }
}

/// What a script came across.
#[derive(Debug, Clone, Copy, Default)]
#[cfg_attr(not(test), expect(dead_code, reason = "fuzzing needs no more than that there is one"))]
pub(super) struct Seen {
    pub(super) delivered: u64,
    pub(super) clear_dropped: u64,
    pub(super) keys_changed: u64,
    pub(super) keys_refused: u64,
    pub(super) messages_ignored: u64,
    pub(super) messages_replayed: u64,
}

/// Judges what is delivered.
struct Judge {
    /// Of what is delivered next.
    place: Sequence,
    /// What may be delivered at a place: it was encrypted with a key that was to be held then.
    allowed: BTreeMap<u32, Vec<Vec<u8>>>,
    complaint: Option<String>,
    /// Bodies of the answers to key messages.
    answers: Vec<Vec<u8>>,
    delivered: u64,
}

impl Output for Judge {
    fn transmit(&mut self, packet: &[u8]) {
        match Packet::parse(packet) {
            Ok(Packet::Control(header, Control::UserDefined(KMRSP_SUBTYPE, body))) => {
                assert_eq!(header.destination, PEER_ID);
                self.answers.push(body.to_vec());
            }
            Ok(Packet::Control(header, _)) => assert_eq!(header.destination, PEER_ID),
            other => panic!("sent {other:?}"),
        }
    }

    fn deliver(&mut self, payload: &[u8], _: Time, _: Time) {
        let allowed = self.allowed.get(&self.place.value());
        if payload.starts_with(CLEAR) {
            self.complain(format!("clear text is delivered at {:?}", self.place));
        } else if !allowed.is_some_and(|list| list.iter().any(|it| it == payload)) {
            self.complain(format!("at {:?} is delivered what no key gives", self.place));
        }
        self.place = self.place.next();
        self.delivered += 1;
    }

    fn skipped(&mut self, packets: u32) {
        self.place = self.place.add(packets);
    }
}

impl Judge {
    fn complain(&mut self, complaint: String) {
        self.complaint.get_or_insert(complaint);
    }
}

struct World {
    slab: Slab,
    connection: Connection,
    judge: Judge,
    now: Time,
    sender: Initiator,
    /// The keys that the connection should hold.
    keys: Box<Keys>,
    /// Messages of the sender in the order they were made.
    announced: Vec<KeyMaterial>,
    /// Which of them is the last whose keys are held.
    held: usize,
    stranger: KeyMaterial,
    /// What the conductor was asked.
    asked: Option<KeyMaterial>,
    /// Data packets of the sender.
    wire: Vec<Vec<u8>>,
    next: Sequence,
    number: u32,
    replayed: u64,
}

/// Runs a script; with `is_secured` false the connection has no keys, and must not pass.
pub(super) fn run(data: &[u8], is_secured: bool) -> Result<Seen, String> {
    let mut script = Script { rest: data };
    let mut world = World::new(suite(script.byte()), is_secured);
    let suite = world.connection.suite();
    while !script.rest.is_empty() && world.connection.state() == State::Open {
        world.step(&mut script);
        world.settle();
        let stats = world.connection.stats();
        assert!(stats.is_balanced(), "{stats:#?}");
        assert_eq!(world.connection.suite(), suite, "a connection keeps its cipher");
        if let Some(complaint) = world.judge.complaint.take() {
            return Err(complaint);
        }
    }
    world.finish()
}

impl World {
    fn new(suite: Suite, is_secured: bool) -> Self {
        thread_local! {
            static SLAB: Slab = Slab::new(128).unwrap();
        }
        let (sender, stranger) = senders(suite);
        let material = sender.material().unwrap();
        let keys = || sender.kek().unwrap(&material).unwrap();
        let mut request = request(START);
        request.encrypted = is_secured;
        request.key_material = Some(material).filter(|_| is_secured);
        let initial = request.initial_sequence;
        let config = ConnectionConfig {
            local_id: LOCAL_ID,
            latency: Duration::from_millis(50),
            slots_max: 32,
            ..ConnectionConfig::default()
        };
        let mut connection = Connection::new(64);
        connection.open(&request, &config, is_secured.then(keys), START);
        let judge = Judge {
            place: initial,
            allowed: BTreeMap::new(),
            complaint: None,
            answers: Vec::new(),
            delivered: 0,
        };
        Self {
            slab: SLAB.with(Slab::clone),
            connection,
            judge,
            now: START,
            keys: keys(),
            sender,
            announced: vec![material],
            held: 0,
            stranger: stranger.material().unwrap(),
            asked: None,
            wire: Vec::new(),
            next: initial,
            number: 0,
            replayed: 0,
        }
    }

    /// ```text
    ///  0..=79, packet      the sender's next one, lost where its two low bits are 3
    ///  80..=95, back       one of its packets again
    ///  96..=103, place     clear text
    ///  104..=111, place    any payload under either key, or under both
    ///  112..=119, …        one of its packets with a byte changed
    ///  120..=143           its announcement arrives
    ///  144..=151, which    one of its messages again, as request or as answer
    ///  152..=159, …        one of its messages with a byte changed
    ///  160..=167, …        one of its messages cut or lengthened to any length
    ///  168..=171           a message of another passphrase
    ///  172..=175, word     one word: the state of keys
    ///  176..=183, kind     a handshake, with key material or without
    ///  184..=191, ranges   a drop request
    ///  192..=223, span     time passes
    ///  224..=249           the conductor answers
    ///  250..=252, …        any bytes
    ///  253.. , number      keepalive, acknowledgement of acknowledgement, shutdown
    /// ```
    fn step(&mut self, script: &mut Script<'_>) {
        match script.byte() {
            kind @ 0..=79 => self.send(kind & 3 == 3),
            80..=95 => {
                if let Some(mut packet) = self.of_wire(script) {
                    packet[4] |= 0x04;
                    self.feed(&packet);
                }
            }
            96..=103 => self.clear(script),
            kind @ 104..=111 => self.invented(kind, script),
            112..=119 => self.changed_packet(script),
            120..=143 => {
                let newest = self.announced[self.announced.len() - 1];
                self.key_message(KMREQ_SUBTYPE, newest.as_bytes());
            }
            kind @ 144..=167 => self.old_message(kind, script),
            168..=171 => {
                let strange = self.stranger;
                self.key_message(KMREQ_SUBTYPE, strange.as_bytes());
            }
            kind @ 172..=175 => {
                let word = u32::from(script.byte() & 7).to_le_bytes();
                self.key_message(KMREQ_SUBTYPE + u16::from(kind & 1), &word);
            }
            kind @ 176..=183 => self.handshake(kind, script),
            184..=191 => {
                let (first, last) = (self.near(script.byte()), self.near(script.byte()));
                if let Some(range) = SequenceRange::new(first, last) {
                    self.feed(&DropRequest { message: 0, range }.encode(0, LOCAL_ID));
                }
            }
            192..=223 => {
                self.now = self.now + Duration::from_millis(u64::from(script.byte()) * 8);
                self.connection.handle_timeout(self.now, &mut self.judge);
            }
            224..=249 => self.conduct(),
            250..=252 => {
                let len = usize::from(script.byte());
                let mut bytes = script.take(len).to_vec();
                if let Some(id) = bytes.get_mut(12..16) {
                    id.copy_from_slice(&LOCAL_ID.to_be_bytes());
                }
                self.feed(&bytes);
            }
            253 => self.feed(&encode_keepalive(0, LOCAL_ID)),
            254 => {
                let number = script.byte().into();
                self.feed(&encode_ackack(number, 0, LOCAL_ID));
            }
            255 => {
                if script.byte() < 16 {
                    self.feed(&encode_shutdown(0, LOCAL_ID));
                }
            }
        }
    }

    fn near(&self, place: u8) -> Sequence {
        self.connection.window_ends().1.add(u32::from(place & 127)).add(Sequence::MASK - 39)
    }

    fn feed(&mut self, packet: &[u8]) {
        if let Ok(Packet::Data(header, _)) = Packet::parse(packet)
            && let mut copy = packet.to_vec()
            && let Ok(len) = self.keys.decrypt(header.encryption, &mut copy)
        {
            let payload = copy[HEADER_BYTES..len].to_vec();
            self.judge.allowed.entry(header.sequence.value()).or_default().push(payload);
        }
        let datagram = Datagram::copy_from(&self.slab, packet).unwrap();
        self.connection.handle_datagram(self.now, self.now, datagram, &mut self.judge);
    }

    /// A packet of the sender, encrypted.
    fn packet(&mut self, sequence: Sequence) -> Vec<u8> {
        self.number += 1;
        let mut header = DataHeader::live(sequence, self.number, 0, LOCAL_ID);
        header.encryption = self.sender.kk();
        let text = [&b"secret "[..], &self.number.to_be_bytes()].concat();
        let room = vec![0; self.sender.suite().overhead()];
        let mut packet = [&header.encode()[..], &text, &room].concat();
        assert!(self.sender.encrypt(&mut packet));
        packet
    }

    fn send(&mut self, is_lost: bool) {
        let packet = self.packet(self.next);
        self.next = self.next.next();
        if !is_lost {
            self.feed(&packet);
        }
        self.wire.push(packet);
    }

    fn of_wire(&self, script: &mut Script<'_>) -> Option<Vec<u8>> {
        let back = usize::from(script.byte()) + 1;
        self.wire.get(self.wire.len().checked_sub(back)?).cloned()
    }

    fn clear(&mut self, script: &mut Script<'_>) {
        let header = DataHeader::live(self.near(script.byte()), 1, 0, LOCAL_ID).encode();
        self.feed(&[&header[..], CLEAR].concat());
    }

    fn invented(&mut self, kind: u8, script: &mut Script<'_>) {
        let mut header = DataHeader::live(self.near(script.byte()), 1, 0, LOCAL_ID);
        header.encryption =
            [Encryption::Even, Encryption::Odd, Encryption::Both][usize::from(kind) % 3];
        let len = usize::from(script.byte() & 63);
        let payload = [CLEAR, &vec![kind; len]].concat();
        self.feed(&[&header.encode()[..], &payload[..len]].concat());
    }

    fn changed_packet(&mut self, script: &mut Script<'_>) {
        let Some(mut packet) = self.of_wire(script) else { return };
        let at = usize::from(script.byte()) % packet.len();
        packet[at] = script.byte();
        // A data packet in any case, and one of this connection.
        packet[0] &= 0x7f;
        packet[12..16].copy_from_slice(&LOCAL_ID.to_be_bytes());
        self.feed(&packet);
    }

    fn key_message(&mut self, subtype: u16, body: &[u8]) {
        let mut packet = vec![0xff, 0xff];
        packet.extend(subtype.to_be_bytes());
        packet.extend([0; 8]);
        packet.extend(LOCAL_ID.to_be_bytes());
        packet.extend(body);
        self.feed(&packet);
    }

    /// One of the sender's messages: whole, changed, or of another length.
    fn old_message(&mut self, kind: u8, script: &mut Script<'_>) {
        let which = usize::from(script.byte()) % self.announced.len();
        let mut body = self.announced[which].as_bytes().to_vec();
        match kind {
            144..=151 => self.replayed += 1,
            152..=159 => {
                let at = usize::from(script.byte()) % body.len();
                body[at] = script.byte();
            }
            _ => {
                let len = usize::from(script.byte()) * 256 + usize::from(script.byte());
                body.resize(len % 1_500, kind);
            }
        }
        self.key_message(KMREQ_SUBTYPE + u16::from(kind & 7 == 7), &body);
    }

    fn handshake(&mut self, kind: u8, script: &mut Script<'_>) {
        let kind = match kind & 3 {
            0 => Kind::Conclusion,
            1 => Kind::Induction,
            2 => Kind::Agreement,
            _ => Kind::WaveAHand,
        };
        let handshake =
            Handshake { version: 5, extension: 3, kind, ..super::induction(super::peer()) };
        let mut blocks = [0; 512];
        let mut writer = ExtensionWriter::new(&mut blocks);
        let which = usize::from(script.byte());
        match which % 3 {
            0 => {}
            1 => writer.bytes(extension::KMREQ, self.stranger.as_bytes()),
            _ => {
                let known = self.announced[which % self.announced.len()];
                writer.bytes(extension::KMRSP, known.as_bytes());
            }
        }
        let len = writer.finish().unwrap();
        let head = crate::request::packet(&handshake, 0, LOCAL_ID);
        self.feed(&[&head[..], &blocks[..len]].concat());
    }

    /// Whoever unwraps does what it was asked.
    fn conduct(&mut self) {
        const HALF: usize = SALT_BYTES / 2;
        let Some(material) = self.asked.take() else { return };
        let (now, out) = (self.now, &mut self.judge);
        // Keys of another salt are wrapped with a key that only the passphrase gives.
        let is_own = material.salt()[HALF..] == self.announced[0].salt()[HALF..];
        match self.sender.kek().unwrap(&material) {
            Ok(mut fresh) if is_own => {
                self.connection.renew_keys(&material, &mut fresh, now, out);
                let same = |known: &KeyMaterial| known.seal() == material.seal();
                let found = self.announced.iter().position(same);
                // What is older than what is held must have changed nothing.
                if let Some(found) = found.filter(|found| *found > self.held) {
                    let mut fresh = self.sender.kek().unwrap(&self.announced[found]).unwrap();
                    assert!(self.keys.renew(&mut fresh));
                    self.held = found;
                }
            }
            _ => self.connection.refuse_keys(&material, KeyState::BadSecret, now, out),
        }
    }

    /// What happens by itself after each datagram.
    fn settle(&mut self) {
        if let Some(material) = self.connection.take_key_request() {
            assert!(self.asked.replace(material).is_none(), "one question at a time");
        }
        for answer in std::mem::take(&mut self.judge.answers) {
            self.sender.confirm(&answer);
        }
        if let Some(announcement) = self.sender.announcement()
            && self.announced.last() != Some(announcement)
        {
            self.announced.push(*announcement);
        }
    }

    /// The sender's next packet in order can be read, whatever was sent before it.
    fn finish(mut self) -> Result<Seen, String> {
        if self.connection.state() == State::Open {
            let place = self.connection.window_ends().0;
            let before = self.judge.delivered;
            let packet = self.packet(place);
            self.feed(&packet);
            if let Some(complaint) = self.judge.complaint.take() {
                return Err(complaint);
            }
            if self.judge.delivered == before {
                return Err(format!("the sender's packet at {place:?} cannot be read any more"));
            }
        }
        let stats = *self.connection.stats();
        self.connection.close(self.now, &mut self.judge);
        // Closed, it delivers nothing more.
        let delivered = self.judge.delivered;
        self.send(false);
        assert_eq!(self.judge.delivered, delivered);
        drop(self.connection);
        assert_eq!(self.slab.free(), self.slab.capacity(), "every slot came back");
        Ok(Seen {
            delivered,
            clear_dropped: stats.packets_dropped_clear,
            keys_changed: stats.key_refreshes,
            keys_refused: stats.key_failures,
            messages_ignored: stats.key_messages_ignored,
            messages_replayed: self.replayed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scripts(count: u64) -> impl Iterator<Item = Vec<u8>> {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        (0..count).map(move |round| {
            let mut bytes: Vec<u8> = (0..1_200)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round | 1);
                    seed.to_be_bytes()[0]
                })
                .collect();
            bytes[0] = u8::try_from(round % 6).unwrap();
            bytes
        })
    }

    #[test]
    fn once_a_session_is_secured_nothing_makes_it_deliver_clear_text() {
        let mut all = Seen::default();
        for (number, script) in scripts(300).enumerate() {
            let seen = run(&script, true).unwrap_or_else(|why| panic!("script {number}: {why}"));
            all.delivered += seen.delivered;
            all.clear_dropped += seen.clear_dropped;
            all.keys_changed += seen.keys_changed;
            all.keys_refused += seen.keys_refused;
            all.messages_ignored += seen.messages_ignored;
            all.messages_replayed += seen.messages_replayed;
        }
        // The attacks were made, and there was something to attack.
        let Seen { delivered, clear_dropped, keys_changed, .. } = all;
        assert!(delivered > 5_000 && clear_dropped > 1_000 && keys_changed > 1_000, "{all:?}");
        let Seen { keys_refused, messages_ignored, messages_replayed, .. } = all;
        assert!(
            keys_refused > 100 && messages_ignored > 1_000 && messages_replayed > 1_000,
            "{all:?}"
        );
    }

    /// The canary: the same scripts and the same judge, and a connection that has no keys.
    #[test]
    fn a_session_without_keys_is_found_to_deliver_clear_text() {
        let complaints: Vec<_> =
            scripts(60).filter_map(|script| run(&script, false).err()).collect();
        assert!(complaints.len() > 50, "{} complaints", complaints.len());
        assert!(complaints.iter().all(|it| it.starts_with("clear text is delivered")));
    }
}
