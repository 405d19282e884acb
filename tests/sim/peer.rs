//! One SRT connection from the sender's side, whoever wrote it.

use std::net::IpAddr;
use std::time::Duration;

use memory::Time;
use srt::caller::{Caller, CallerConfig, CallerState};
use srt::crypto::Initiator;
use srt::handshake::StreamId;
use srt::sender::{Sender, SenderState};
use srt::sequence::Sequence;

use crate::foreign::Foreign;
use crate::media::PAYLOAD_BYTES;

/// Packets that a sender keeps: more than any latency and rate of a scenario needs.
const BUFFER_PACKETS: u32 = 2_048;

/// How a connection is made.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) socket_id: u32,
    pub(crate) first_sequence: u32,
    pub(crate) latency: Duration,
    pub(crate) stream_id: String,
    pub(crate) listener: IpAddr,
    /// What its clock shows at the start.
    pub(crate) clock_age: Duration,
    pub(crate) keys: Option<Keys>,
}

/// What a connection is encrypted with.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Announced.
    pub(crate) told: Initiator,
    /// Used in their place, when something is wrong.
    pub(crate) used: Option<Initiator>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    Connected,
    /// Refused, given up or silent: start again.
    Failed,
}

/// Who wrote a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maker {
    Own,
    /// srt-protocol, of srt-tokio.
    SrtProtocol,
}

/// A sender. Times are those of its own clock.
#[derive(Debug)]
pub(crate) enum Peer {
    Own(Box<Own>),
    Foreign(Foreign),
}

macro_rules! either {
    ($peer:expr, $name:ident => $call:expr) => {
        match $peer {
            Peer::Own($name) => $call,
            Peer::Foreign($name) => $call,
        }
    };
}

impl Peer {
    pub(crate) fn call(maker: Maker, call: Call, now: Time) -> Self {
        match maker {
            Maker::Own => Self::Own(Box::new(Own::call(call, now))),
            Maker::SrtProtocol => Self::Foreign(Foreign::call(&call, now)),
        }
    }

    pub(crate) fn state(&self) -> State {
        either!(self, peer => peer.state())
    }

    pub(crate) fn next_timeout(&self) -> Time {
        either!(self, peer => peer.next_timeout())
    }

    pub(crate) fn handle_timeout(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        either!(self, peer => peer.handle_timeout(now, out));
    }

    pub(crate) fn handle_datagram(&mut self, now: Time, bytes: &[u8], out: &mut impl FnMut(&[u8])) {
        either!(self, peer => peer.handle_datagram(now, bytes, out));
    }

    /// Takes a payload and sends what the window allows.
    pub(crate) fn push(&mut self, now: Time, payload: &[u8], out: &mut impl FnMut(&[u8])) -> bool {
        either!(self, peer => peer.push(now, payload, out))
    }

    /// Keys after the first that this connection's receiver confirmed.
    pub(crate) const fn keys_confirmed(&self) -> u64 {
        match self {
            Self::Own(own) => own.sender.stats().keys_confirmed,
            Self::Foreign(_) => 0,
        }
    }

    /// Nothing is on its way any more, as far as it can be asked.
    pub(crate) fn is_drained(&self) -> bool {
        match self {
            Self::Own(own) => own.is_drained(),
            Self::Foreign(_) => true,
        }
    }

    pub(crate) fn close(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        either!(self, peer => peer.close(now, out));
    }
}

/// Our caller, and our sender once it is connected.
#[derive(Debug)]
pub(crate) struct Own {
    caller: Caller,
    sender: Sender,
    /// Until it is connected.
    initiator: Option<Box<Initiator>>,
}

impl Own {
    pub(crate) fn call(call: Call, now: Time) -> Self {
        let told = call.keys.as_ref().map(|keys| &keys.told);
        let config = CallerConfig {
            key_material: told.and_then(Initiator::material),
            latency_ms: u16::try_from(call.latency.as_millis()).expect("seconds at most"),
            stream_id: StreamId::new(call.stream_id.as_bytes()).expect("it is short"),
            connect_timeout: call.clock_age + Duration::from_secs(3),
            ..CallerConfig::live(call.socket_id, Sequence::new(call.first_sequence), call.listener)
        };
        // A packet has room for a tag too.
        let tag = told.map_or(0, |told| told.suite().overhead());
        let payload = u16::try_from(PAYLOAD_BYTES + tag).expect("it is short");
        Self {
            caller: Caller::new(config, now - call.clock_age),
            sender: Sender::new(BUFFER_PACKETS, payload),
            initiator: call.keys.map(|keys| Box::new(keys.used.unwrap_or(keys.told))),
        }
    }

    pub(crate) fn state(&self) -> State {
        match (self.caller.state(), self.sender.state()) {
            (CallerState::Failed(_), _) => State::Failed,
            (CallerState::Connected(_), SenderState::Open) => State::Connected,
            (CallerState::Connected(_), _) => State::Failed,
            _ => State::Connecting,
        }
    }

    pub(crate) fn next_timeout(&self) -> Time {
        self.caller.next_timeout().min(self.sender.next_timeout())
    }

    pub(crate) fn handle_timeout(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        self.caller.handle_timeout(now, out);
        self.sender.handle_timeout(now, out);
    }

    pub(crate) fn handle_datagram(&mut self, now: Time, bytes: &[u8], out: &mut impl FnMut(&[u8])) {
        if let CallerState::Connected(_) = self.caller.state() {
            self.sender.handle_datagram(now, bytes, out);
            return self.flush(now, out);
        }
        self.caller.handle_datagram(now, bytes, out);
        if let CallerState::Connected(connected) = self.caller.state() {
            self.sender.open(&connected, now);
            if let Some(initiator) = self.initiator.take() {
                self.sender.secure(initiator);
            }
        }
    }

    /// Takes a payload and sends what the window allows.
    pub(crate) fn push(&mut self, now: Time, payload: &[u8], out: &mut impl FnMut(&[u8])) -> bool {
        let pushed = self.sender.push(now, payload.len(), |place| place.copy_from_slice(payload));
        self.flush(now, out);
        pushed
    }

    /// Sends what waits, as far as the window allows.
    fn flush(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        while let Some(run) = self.sender.next_run(now, 64) {
            run.bytes.chunks(run.segment_bytes).for_each(&mut *out);
        }
    }

    /// Nothing is on its way any more.
    pub(crate) fn is_drained(&self) -> bool {
        self.sender.in_flight() == 0 && self.sender.waiting() == 0
    }

    pub(crate) fn close(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        self.sender.close(now, out);
    }
}
