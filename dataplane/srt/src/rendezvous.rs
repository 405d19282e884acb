//! The rendezvous handshake, version 5, live mode, sans-IO (draft-sharabayko-srt-01, 4.3.2).
//!
//! Both sides send first. The greater cookie makes the initiator, who brings the greeting (HSREQ);
//! the other is the responder, who answers it (HSRSP). Each state repeats its message every 250 ms.
//!
//! ```text
//!  Waving ──wave──▶ Attention ──────────────┐            sends: wave a hand
//!    │                │ initiator           │ responder
//!    │                │ sends: conclusion   │ sends: conclusion, empty
//!    │                │ with HSREQ          │
//!    └─conclusion     │                     └──HSREQ──▶ Initiated
//!      (initiator:    │ HSRSP                           sends: conclusion with HSRSP
//!       Attention,    │ answers: agreement              │ agreement, or anything of a
//!       responder     ▼                                 ▼ connection: data, keepalive
//!       with HSREQ: Connected                         Connected
//!       Initiated)
//! ```
//!
//! libsrt calls a side that heard a conclusion while it waved "fine" and keeps that apart; what it
//! sends and awaits then is what an attentive initiator or an initiated responder does here.
//!
//! Encrypted, the initiator brings its key material with the greeting. What the responder gets has
//! to be unwrapped with a key that takes long to derive: it is silent in the state `Securing` until
//! [`Rendezvous::answer_keys`] says that this is done, while the initiator repeats itself.
//!
//! A connected side keeps answering the conclusions of a peer that has not heard the last message.

use memory::Time;

use crate::caller::{CallerConfig, Connected, Failure, MESSAGE_BYTES_MAX, REPEAT_INTERVAL};
use crate::control::{Control, encode_handshake_header};
use crate::crypto::KeyMaterial;
use crate::handshake::{
    Capabilities, ExtensionWriter, Extensions, HANDSHAKE_BYTES, Handshake, Kind, RejectReason,
    extension, field, flag, is_text,
};
use crate::packet::{HEADER_BYTES, Packet};
use crate::request::MTU_MIN;
use crate::sender::wire_timestamp;

/// Which half of the greeting a side brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Brings HSREQ: the one with the greater cookie.
    Initiator,
    /// Answers it with HSRSP.
    Responder,
}

/// Where the handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RendezvousState {
    /// Nothing heard.
    Waving,
    /// The peer is there, the roles are clear.
    Attention(Role),
    /// Responder: the greeting has come with key material, which is being unwrapped.
    Securing,
    /// Responder: the greeting has come and was answered.
    Initiated,
    /// Done.
    Connected(Role, Connected),
    /// Failed.
    Failed(Failure),
}

/// The greeting in a handshake of the peer, with what it says of keys.
#[derive(Debug, Clone, Copy)]
enum Greeting<'a> {
    None,
    Request(Capabilities, Option<KeyMaterial>),
    Response(Capabilities, Option<&'a [u8]>),
}

/// One attempt to meet a peer.
#[derive(Debug)]
pub struct Rendezvous {
    config: CallerConfig,
    cookie: u32,
    state: RendezvousState,
    /// The peer's socket id, 0 before it is known.
    peer_id: u32,
    /// What an initiated responder will have agreed to.
    agreed: Option<Connected>,
    /// The initiator's key material, as a responder echoes it.
    theirs: Option<KeyMaterial>,
    /// It has not been asked about yet.
    question: bool,
    /// A question is not answered yet.
    asked: bool,
    start: Time,
    next_send: Time,
}

impl Rendezvous {
    /// Starts at `now` with a random `cookie`; the first message goes out with the first
    /// [`Self::handle_timeout`]. A StreamID of the configuration is sent by an initiator only.
    pub const fn new(config: CallerConfig, cookie: u32, now: Time) -> Self {
        // A side without a cookie does not take part in the contest.
        let cookie = if cookie == 0 { 1 } else { cookie };
        Self {
            config,
            cookie,
            state: RendezvousState::Waving,
            peer_id: 0,
            agreed: None,
            theirs: None,
            question: false,
            asked: false,
            start: now,
            next_send: now,
        }
    }

    /// Where the handshake is.
    pub const fn state(&self) -> RendezvousState {
        self.state
    }

    /// How it ended, once it has.
    pub const fn outcome(&self) -> Option<Result<Connected, Failure>> {
        match self.state {
            RendezvousState::Connected(_, connected) => Some(Ok(connected)),
            RendezvousState::Failed(failure) => Some(Err(failure)),
            _ => None,
        }
    }

    /// When [`Self::handle_timeout`] is next needed.
    pub fn next_timeout(&self) -> Time {
        if self.outcome().is_some() {
            return Time::NEVER;
        }
        self.next_send.min(self.start + self.config.connect_timeout)
    }

    /// Sends what is due, or gives up.
    pub fn handle_timeout(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        if self.next_timeout() > now {
            return;
        }
        if now >= self.start + self.config.connect_timeout {
            self.state = RendezvousState::Failed(Failure::Timeout);
            return;
        }
        self.speak(now, out);
    }

    /// Takes a datagram from the peer's address, with the time of its arrival as `now`.
    pub fn handle_datagram(&mut self, now: Time, datagram: &[u8], out: &mut impl FnMut(&[u8])) {
        if matches!(self.state, RendezvousState::Failed(_)) {
            return;
        }
        let own = self.config.socket_id;
        match Packet::parse(datagram) {
            Ok(Packet::Control(header, Control::Handshake(body)))
                if header.destination == 0 || header.destination == own =>
            {
                self.handshake(now, header.timestamp_us, body, out);
            }
            Ok(Packet::Control(_, Control::Handshake(_) | Control::Shutdown)) => {}
            Ok(Packet::Control(header, _)) if header.destination == own => {
                self.peer_is_connected();
            }
            Ok(Packet::Data(header, _)) if header.destination == own => self.peer_is_connected(),
            _ => {}
        }
    }

    /// The peer uses the connection: its agreement was lost (4.3.2).
    fn peer_is_connected(&mut self) {
        if self.state == RendezvousState::Initiated
            && let Some(agreed) = self.agreed
        {
            self.state = RendezvousState::Connected(Role::Responder, agreed);
        }
    }

    fn handshake(
        &mut self,
        now: Time,
        timestamp_us: u32,
        body: &[u8],
        out: &mut impl FnMut(&[u8]),
    ) {
        let Ok((theirs, extensions)) = Handshake::parse(body) else { return };
        if let Kind::Rejected(reason) = theirs.kind {
            if self.outcome().is_none() {
                self.state = RendezvousState::Failed(Failure::Rejected(reason));
            }
            return;
        }
        if !matches!(theirs.kind, Kind::WaveAHand | Kind::Conclusion | Kind::Agreement)
            || theirs.socket_id == 0
        {
            return;
        }
        if theirs.version < 5 {
            return self.refuse(now, RejectReason::VERSION, out);
        }
        if theirs.mtu < MTU_MIN {
            return self.refuse(now, RejectReason::ROGUE, out);
        }
        match self.greeting(extensions) {
            Ok(greeting) => self.heard(now, timestamp_us, &theirs, greeting, out),
            Err(reason) => self.refuse(now, reason, out),
        }
    }

    /// A readable handshake of the peer.
    fn heard(
        &mut self,
        now: Time,
        timestamp_us: u32,
        theirs: &Handshake,
        greeting: Greeting<'_>,
        out: &mut impl FnMut(&[u8]),
    ) {
        if theirs.socket_id != self.peer_id {
            // A first word, or the peer has started anew. A connection stays with its own peer.
            if self.outcome().is_some() || theirs.kind == Kind::Agreement {
                return;
            }
            self.peer_id = theirs.socket_id;
            self.state = RendezvousState::Waving;
            self.agreed = None;
            (self.theirs, self.question) = (None, false);
        }
        let connected = |greeting: &Capabilities| {
            self.config.agree(theirs, greeting, self.start, now, timestamp_us)
        };
        match (self.state, theirs.kind, greeting) {
            (RendezvousState::Waving, _, greeting) => {
                let Some(role) = contest(self.cookie, theirs.cookie) else {
                    return self.refuse(now, RejectReason::RENDEZVOUS_COOKIE, out);
                };
                self.state = RendezvousState::Attention(role);
                match (role, greeting) {
                    (Role::Responder, Greeting::Request(greeting, keys)) => {
                        self.greeted(now, connected(&greeting), keys, out);
                    }
                    _ => self.speak(now, out),
                }
            }
            (RendezvousState::Attention(role), _, Greeting::Response(greeting, keys))
                if role == Role::Initiator =>
            {
                if let Err(reason) = self.config.judge_keys(keys) {
                    return self.refuse(now, reason, out);
                }
                self.state = RendezvousState::Connected(role, connected(&greeting));
                // An agreement with the greeting in it says that the peer needs none.
                if theirs.kind != Kind::Agreement {
                    self.speak(now, out);
                }
            }
            (
                RendezvousState::Attention(Role::Responder),
                Kind::Conclusion,
                Greeting::Request(greeting, keys),
            ) => self.greeted(now, connected(&greeting), keys, out),
            // What it said last was lost, or crossed this on its way.
            (RendezvousState::Attention(Role::Initiator), ..)
            | (RendezvousState::Attention(Role::Responder), Kind::WaveAHand | Kind::Agreement, _) => {
                self.speak(now, out)
            }
            (RendezvousState::Initiated, Kind::Agreement, _) => self.peer_is_connected(),
            (RendezvousState::Initiated, ..)
            | (RendezvousState::Connected(Role::Initiator, _), Kind::Conclusion, _)
            | (
                RendezvousState::Connected(Role::Responder, _),
                Kind::Conclusion,
                Greeting::Request(..),
            ) => self.speak(now, out),
            // An empty conclusion tells a responder nothing, and two must not answer each other.
            (RendezvousState::Attention(Role::Responder) | RendezvousState::Securing, ..)
            | (RendezvousState::Connected(..) | RendezvousState::Failed(_), ..) => {}
        }
    }

    /// The greeting has come to a responder, which answers it once the keys are known.
    fn greeted(
        &mut self,
        now: Time,
        agreed: Connected,
        keys: Option<KeyMaterial>,
        out: &mut impl FnMut(&[u8]),
    ) {
        if keys.is_some() != self.config.key_material.is_some() {
            return self.refuse(now, RejectReason::UNSECURE, out);
        }
        self.agreed = Some(agreed);
        (self.theirs, self.question) = (keys, keys.is_some());
        if keys.is_some() {
            self.state = RendezvousState::Securing;
            self.next_send = Time::NEVER;
        } else {
            self.state = RendezvousState::Initiated;
            self.speak(now, out);
        }
    }

    /// Key material of the initiator that is to be unwrapped, told once: answer it with
    /// [`Self::answer_keys`]. Nothing is told before that, however often the initiator starts anew:
    /// unwrapping costs others time.
    pub fn key_question(&mut self) -> Option<KeyMaterial> {
        if !self.question || self.asked {
            return None;
        }
        self.question = false;
        self.asked = true;
        self.theirs
    }

    /// This key material was unwrapped, or not and why. False when it is not what is awaited: the
    /// initiator has started anew, and what it brought then is the next [`Self::key_question`].
    pub fn answer_keys(
        &mut self,
        now: Time,
        material: &KeyMaterial,
        answer: Result<(), RejectReason>,
        out: &mut impl FnMut(&[u8]),
    ) -> bool {
        self.asked = false;
        if self.state != RendezvousState::Securing || self.theirs != Some(*material) {
            return false;
        }
        match answer {
            Ok(()) => {
                self.state = RendezvousState::Initiated;
                self.speak(now, out);
            }
            Err(reason) => self.refuse(now, reason, out),
        }
        true
    }

    /// The greeting among the extensions. What cannot be served is an error with the reason to
    /// send.
    fn greeting<'a>(&self, extensions: Extensions<'a>) -> Result<Greeting<'a>, RejectReason> {
        let (mut request, mut response) = (None, None);
        let (mut material, mut answer) = (None, None);
        for block in extensions {
            let block = block.map_err(|_| RejectReason::ROGUE)?;
            let capabilities =
                || Capabilities::parse(block.content).map_err(|_| RejectReason::ROGUE);
            match block.kind {
                extension::HSREQ => request = Some(capabilities()?),
                extension::HSRSP => response = Some(capabilities()?),
                extension::KMREQ if self.config.key_material.is_none() => {
                    return Err(RejectReason::UNSECURE);
                }
                extension::KMREQ => {
                    let parsed = KeyMaterial::parse(block.content);
                    material = Some(parsed.map_err(|_| RejectReason::ROGUE)?);
                }
                extension::KMRSP => answer = Some(block.content),
                extension::FILTER => return Err(RejectReason::FILTER),
                extension::GROUP => return Err(RejectReason::GROUP),
                extension::CONGESTION
                    if !block.content.is_empty() && !is_text(block.content, b"live") =>
                {
                    return Err(RejectReason::CONGESTION);
                }
                _ => {}
            }
        }
        let greeting = match (request, response) {
            (Some(request), None) => Greeting::Request(request, material),
            (None, Some(response)) => Greeting::Response(response, answer),
            (None, None) => Greeting::None,
            (Some(_), Some(_)) => return Err(RejectReason::ROGUE),
        };
        match greeting {
            Greeting::Request(it, _) | Greeting::Response(it, _)
                if it.flags & flag::STREAM != 0 =>
            {
                Err(RejectReason::MESSAGE_API)
            }
            greeting => Ok(greeting),
        }
    }

    /// Tells the peer that nothing will come of it, and why.
    fn refuse(&mut self, now: Time, reason: RejectReason, out: &mut impl FnMut(&[u8])) {
        if self.outcome().is_some() {
            return;
        }
        self.state = RendezvousState::Failed(Failure::Refused(reason));
        self.send(now, &self.config.handshake(Kind::Rejected(reason)), None, out);
    }

    /// Sends the message of the present state.
    fn speak(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        self.next_send = now + REPEAT_INTERVAL;
        let own = self.config.capabilities();
        let (kind, block) = match self.state {
            RendezvousState::Waving => (Kind::WaveAHand, None),
            RendezvousState::Attention(Role::Initiator) => {
                (Kind::Conclusion, Some((extension::HSREQ, own)))
            }
            RendezvousState::Attention(Role::Responder) => (Kind::Conclusion, None),
            RendezvousState::Initiated | RendezvousState::Connected(Role::Responder, _) => {
                let Some(agreed) = self.agreed else { return };
                let answer = Capabilities {
                    receiver_latency_ms: agreed.latency_ms,
                    sender_latency_ms: agreed.peer_latency_ms,
                    ..own
                };
                (Kind::Conclusion, Some((extension::HSRSP, answer)))
            }
            RendezvousState::Connected(Role::Initiator, _) => (Kind::Agreement, None),
            RendezvousState::Securing | RendezvousState::Failed(_) => return,
        };
        let mut handshake = self.config.handshake(kind);
        if let Some((kind, _)) = block {
            handshake.extension = field::HSREQ;
            if self.keys_of(kind).is_some() {
                handshake.extension |= field::KMREQ;
            }
            if kind == extension::HSREQ && !self.config.stream_id.is_empty() {
                handshake.extension |= field::CONFIG;
            }
        }
        self.send(now, &handshake, block, out);
    }

    /// The key material that goes with a greeting of ours: an initiator's own, a responder's echo.
    const fn keys_of(&self, greeting: u16) -> Option<&KeyMaterial> {
        match greeting {
            extension::HSREQ => self.config.key_material.as_ref(),
            _ => self.theirs.as_ref(),
        }
    }

    fn send(
        &self,
        now: Time,
        handshake: &Handshake,
        block: Option<(u16, Capabilities)>,
        out: &mut impl FnMut(&[u8]),
    ) {
        let mut message = [0; MESSAGE_BYTES_MAX];
        let handshake = Handshake { cookie: self.cookie, ..*handshake };
        let written = self.write(now, &handshake, block, &mut message);
        if let Some(message) = written.and_then(|len| message.get(..len)) {
            out(message);
        }
    }

    fn write(
        &self,
        now: Time,
        handshake: &Handshake,
        block: Option<(u16, Capabilities)>,
        out: &mut [u8],
    ) -> Option<usize> {
        let (header, rest) = out.split_first_chunk_mut::<HEADER_BYTES>()?;
        *header = encode_handshake_header(wire_timestamp(self.start, now), self.peer_id);
        let (body, rest) = rest.split_first_chunk_mut::<HANDSHAKE_BYTES>()?;
        *body = handshake.encode();
        let mut writer = ExtensionWriter::new(rest);
        if let Some((kind, capabilities)) = block {
            writer.capabilities(kind, &capabilities);
            if let Some(material) = self.keys_of(kind) {
                let keys =
                    if kind == extension::HSREQ { extension::KMREQ } else { extension::KMRSP };
                writer.bytes(keys, material.as_bytes());
            }
            if kind == extension::HSREQ && !self.config.stream_id.is_empty() {
                writer.text(extension::STREAM_ID, &self.config.stream_id);
            }
        }
        Some(HEADER_BYTES + HANDSHAKE_BYTES + writer.finish()?)
    }
}

/// The cookie contest (4.3.2): the greater one wins, by the sign of the difference in 32 bits, as
/// libsrt has it. `None` when neither side would win.
fn contest(ours: u32, theirs: u32) -> Option<Role> {
    match ours.wrapping_sub(theirs).cast_signed() {
        0 | i32::MIN => None,
        1.. => Some(Role::Initiator),
        _ => Some(Role::Responder),
    }
}

#[cfg(test)]
#[path = "rendezvous_tests.rs"]
mod tests;
