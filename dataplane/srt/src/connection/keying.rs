//! Keys of a receiving connection: what may be delivered, and how keys are changed
//! (draft-sharabayko-srt-01, 6.1.6).
//!
//! ```text
//!  opened ──┬── without keys ──▶ clear: an encrypted packet is dropped
//!           └── with keys ─────▶ secured: a clear packet is dropped, for good
//!
//!  KMREQ ──▶ Found ──take_key_request──▶ Asked ──renew_keys, refuse_keys──▶ Answered ──▶ KMRSP
//!    └─ the same again, or one that was taken before: the same answer ────────┘
//! ```
//!
//! A packet that is dropped here moves nothing: its place stays missing, is asked for again, and is
//! given up in its time. libsrt takes the place of what it cannot decrypt for received: acknowledged,
//! never asked for. Then one forged datagram would make a duplicate of the true packet, and what
//! comes a moment before its key is unwrapped would be lost for good. The price is paid by a sender
//! whose keys cannot be had: its packets go out again with each report until they are too late. Keys are unwrapped elsewhere. Nothing that a peer sends takes a key away but
//! new ones of somebody who knows the passphrase: an old message that comes again, delayed or
//! replayed, would put old keys in the place of those in use, and so it is answered and not taken.

use std::time::Duration;

use memory::{Datagram, Time};

use super::{Connection, Output};
use crate::control::{KEY_PACKET_BYTES_MAX, KMREQ_SUBTYPE, KMRSP_SUBTYPE, encode_key_packet};
use crate::crypto::{KeyMaterial, KeyState, Keys, Seal, Suite, Undecryptable};
use crate::packet::Encryption;

/// Least time between two different requests that are looked at, and after one that was refused
/// when the next one comes with another salt: a key has to be derived for it, which costs others
/// time.
const REQUEST_INTERVAL: Duration = Duration::from_millis(10);
const REQUEST_INTERVAL_REFUSED: Duration = Duration::from_secs(1);
/// Messages remembered as taken.
const TAKEN_MAX: usize = 16;

/// Keys, and the last exchange of key material.
#[derive(Debug, Default)]
pub(super) struct Keying {
    keys: Option<Box<Keys>>,
    exchange: Option<Exchange>,
    /// What was taken last, this session, whatever came around it.
    taken: [Option<Seal>; TAKEN_MAX],
    next_taken: usize,
}

#[derive(Debug, Clone, Copy)]
struct Exchange {
    material: KeyMaterial,
    /// When it came.
    at: Time,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Found,
    Asked,
    Taken,
    Refused(KeyState),
}

impl Exchange {
    /// Whether it is too soon for another, which is cheap to unwrap where the key for it is known.
    fn bars(&self, now: Time, is_cheap: bool) -> bool {
        match self.phase {
            Phase::Found | Phase::Asked => true,
            Phase::Refused(_) if !is_cheap => now < self.at + REQUEST_INTERVAL_REFUSED,
            Phase::Taken | Phase::Refused(_) => now < self.at + REQUEST_INTERVAL,
        }
    }
}

impl Keying {
    /// Starts a session; the request's key material is known already and gets its answer again.
    pub(super) fn open(
        &mut self,
        keys: Option<Box<Keys>>,
        material: Option<KeyMaterial>,
        now: Time,
    ) {
        let known = |material| Exchange { material, at: now, phase: Phase::Taken };
        self.exchange = material.filter(|_| keys.is_some()).map(known);
        self.taken = [None; TAKEN_MAX];
        self.took(keys.as_ref().and_then(|keys| keys.seal()));
        self.keys = keys;
    }

    fn took(&mut self, seal: Option<Seal>) {
        if let Some(place) = self.taken.get_mut(self.next_taken) {
            *place = seal;
        }
        self.next_taken = (self.next_taken + 1) % TAKEN_MAX;
    }

    fn was_taken(&self, material: &KeyMaterial) -> bool {
        self.taken.contains(&Some(material.seal()))
    }

    fn has_salt_of(&self, material: &KeyMaterial) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.have_salt(&material.salt()))
    }

    fn is_tampered(&self, material: &KeyMaterial) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.is_tampered(&material.salt()))
    }

    pub(super) const fn is_secured(&self) -> bool {
        self.keys.is_some()
    }

    fn suite(&self) -> Option<Suite> {
        self.keys.as_ref().map(|keys| keys.suite())
    }
}

/// What is to become of a data packet, as far as its KK field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It goes on as it is.
    Clear,
    /// It is to be decrypted.
    Decrypt,
    /// It is dropped and counted.
    Dropped,
}

impl Connection {
    /// Whether everything that is delivered was encrypted.
    pub const fn is_secured(&self) -> bool {
        self.keying.is_secured()
    }

    /// The cipher of a secured connection.
    pub fn suite(&self) -> Option<Suite> {
        self.keying.suite()
    }

    /// Judges a packet by its KK field.
    #[inline]
    pub(super) fn admit(&mut self, kk: Encryption) -> Admission {
        match (&self.keying.keys, kk) {
            (None, Encryption::Clear) => return Admission::Clear,
            (Some(keys), _) if keys.holds(kk) => return Admission::Decrypt,
            (Some(_), Encryption::Clear) => self.stats.packets_dropped_clear += 1,
            _ => self.stats.packets_undecryptable += 1,
        }
        Admission::Dropped
    }

    /// Decrypts a packet in place; false when it is dropped and counted.
    #[inline]
    pub(super) fn decrypt(&mut self, kk: Encryption, datagram: &mut Datagram) -> bool {
        let Some(keys) = &self.keying.keys else { return false };
        match keys.decrypt(kk, datagram.payload_mut()) {
            Ok(len) => {
                datagram.truncate(len);
                true
            }
            Err(reason) => {
                self.stats.packets_undecryptable += 1;
                self.stats.packets_tag_invalid += u64::from(reason == Undecryptable::Tag);
                false
            }
        }
    }

    /// Takes a user-defined control packet.
    pub(super) fn key_message(
        &mut self,
        now: Time,
        subtype: u16,
        body: &[u8],
        out: &mut impl Output,
    ) {
        // This side asks for nothing, so a KMRSP answers nothing.
        if subtype == KMREQ_SUBTYPE {
            self.stats.key_messages_received += 1;
            if !self.key_request(now, body, out) {
                self.stats.key_messages_ignored += 1;
            }
        } else if subtype == KMRSP_SUBTYPE {
            self.stats.key_messages_received += 1;
            self.stats.key_messages_ignored += 1;
        }
    }

    fn key_request(&mut self, now: Time, body: &[u8], out: &mut impl Output) -> bool {
        let Ok(material) = KeyMaterial::parse(body) else { return false };
        let Some(suite) = self.keying.suite() else {
            self.answer_keys(now, &KeyState::NoSecret.to_bytes(), out);
            return false;
        };
        let last = self.keying.exchange;
        if let Some(last) = last.filter(|last| last.material == material) {
            return self.repeat_answer(now, &last, out);
        }
        if self.keying.was_taken(&material) {
            self.answer_keys(now, material.as_bytes(), out);
            return true;
        }
        let is_cheap = self.keying.has_salt_of(&material);
        if self.keying.is_tampered(&material) || last.is_some_and(|last| last.bars(now, is_cheap)) {
            return false;
        }
        self.keying.exchange = Some(Exchange { material, at: now, phase: Phase::Found });
        if material.suite() != suite {
            // A connection keeps its cipher.
            self.refuse_keys(&material, KeyState::BadMode, now, out);
        }
        true
    }

    fn repeat_answer(&mut self, now: Time, last: &Exchange, out: &mut impl Output) -> bool {
        match last.phase {
            Phase::Found | Phase::Asked => {}
            Phase::Taken => self.answer_keys(now, last.material.as_bytes(), out),
            Phase::Refused(state) => self.answer_keys(now, &state.to_bytes(), out),
        }
        true
    }

    /// Key material that the peer sent and that wants to be unwrapped elsewhere; each only once.
    /// The result comes back through [`Connection::renew_keys`] or [`Connection::refuse_keys`].
    pub fn take_key_request(&mut self) -> Option<KeyMaterial> {
        let exchange = self.keying.exchange.as_mut()?;
        if exchange.phase != Phase::Found {
            return None;
        }
        exchange.phase = Phase::Asked;
        Some(exchange.material)
    }

    /// Brings the keys of a message that [`Connection::take_key_request`] gave: they are held beside
    /// the others, and the peer is told. Keys that they replace are in `fresh` afterwards.
    pub fn renew_keys(
        &mut self,
        material: &KeyMaterial,
        fresh: &mut Keys,
        now: Time,
        out: &mut impl Output,
    ) {
        if !self.is_asked(material) {
            return;
        }
        let renewed = self.keying.keys.as_mut().is_some_and(|keys| keys.renew(fresh));
        if renewed {
            self.stats.key_refreshes += 1;
            self.keying.took(Some(material.seal()));
            self.close_exchange(Phase::Taken);
            self.answer_keys(now, material.as_bytes(), out);
        } else {
            self.refuse_keys(material, KeyState::BadMode, now, out);
        }
    }

    /// Says why a message of [`Connection::take_key_request`] is of no use. The keys stay.
    pub fn refuse_keys(
        &mut self,
        material: &KeyMaterial,
        state: KeyState,
        now: Time,
        out: &mut impl Output,
    ) {
        if !self.is_asked(material) {
            return;
        }
        self.stats.key_failures += 1;
        self.close_exchange(Phase::Refused(state));
        self.answer_keys(now, &state.to_bytes(), out);
    }

    /// Gives the keys of a connection that is over back to whoever made them.
    pub fn take_keys(&mut self) -> Option<Box<Keys>> {
        match self.state {
            super::State::Open => None,
            super::State::Closed(_) => self.keying.keys.take(),
        }
    }

    fn is_asked(&self, material: &KeyMaterial) -> bool {
        self.state == super::State::Open
            && self.keying.exchange.is_some_and(|exchange| {
                exchange.material == *material
                    && matches!(exchange.phase, Phase::Found | Phase::Asked)
            })
    }

    fn close_exchange(&mut self, phase: Phase) {
        if let Some(exchange) = &mut self.keying.exchange {
            exchange.phase = phase;
        }
    }

    fn answer_keys(&mut self, now: Time, message: &[u8], out: &mut impl Output) {
        let mut packet = [0; KEY_PACKET_BYTES_MAX];
        let timestamp_us = self.timestamp(now);
        let packet =
            encode_key_packet(&mut packet, KMRSP_SUBTYPE, message, timestamp_us, self.peer_id);
        self.transmit(now, packet, out);
    }
}
