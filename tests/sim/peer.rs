//! One SRT connection from the sender's side, whoever wrote it.

use std::net::IpAddr;
use std::time::Duration;

use memory::Time;
use penstock_engine::simulation::LISTENER;
use srt::caller::{Caller, CallerConfig, CallerState};
use srt::crypto::Initiator;
use srt::handshake::StreamId;
use srt::sender::{Sender, SenderState};
use srt::sequence::Sequence;

use crate::foreign::Foreign;
use crate::listening::Listening;
use crate::media::PAYLOAD_BYTES;
use crate::secret::Keys;

/// Packets that a sender keeps: more than any latency and rate of a scenario needs.
pub(crate) const BUFFER_PACKETS: u32 = 2_048;

/// How a connection is made.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) socket_id: u32,
    pub(crate) first_sequence: u32,
    pub(crate) latency: Duration,
    pub(crate) stream_id: String,
    /// Where the engine is.
    pub(crate) engine: IpAddr,
    /// What its clock shows at the start.
    pub(crate) clock_age: Duration,
    pub(crate) keys: Option<Keys>,
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
    /// It is called.
    Listening(Box<Listening>),
    Foreign(Foreign),
}

impl Peer {
    pub(crate) fn call(maker: Maker, call: &Call, now: Time) -> Self {
        match maker {
            Maker::Own => Self::Own(Box::new(Own::call(call, now))),
            Maker::SrtProtocol => Self::Foreign(Foreign::call(call, now)),
        }
    }

    pub(crate) fn state(&self) -> State {
        match self {
            Self::Own(own) => own.state(),
            Self::Listening(listening) => listening.state(),
            Self::Foreign(foreign) => foreign.state(),
        }
    }

    pub(crate) fn next_timeout(&self) -> Time {
        match self {
            Self::Own(own) => own.next_timeout(),
            Self::Listening(listening) => listening.sender().next_timeout(),
            Self::Foreign(foreign) => foreign.next_timeout(),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        match self {
            Self::Own(own) => own.handle_timeout(now, out),
            Self::Listening(listening) => listening.sender_mut().handle_timeout(now, out),
            Self::Foreign(foreign) => foreign.handle_timeout(now, out),
        }
    }

    /// Takes what came from a port of the engine.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Time,
        port: u16,
        bytes: &[u8],
        out: &mut impl FnMut(&[u8]),
    ) {
        match self {
            Self::Own(own) => own.handle_datagram(now, bytes, out),
            Self::Listening(listening) => listening.handle_datagram(now, port, bytes, out),
            Self::Foreign(foreign) => foreign.handle_datagram(now, bytes, out),
        }
    }

    /// The port of the engine that it sends to.
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Own(_) | Self::Foreign(_) => LISTENER,
            Self::Listening(listening) => listening.port(),
        }
    }

    const fn sender(&self) -> Option<&Sender> {
        match self {
            Self::Own(own) => Some(&own.sender),
            Self::Listening(listening) => Some(listening.sender()),
            Self::Foreign(_) => None,
        }
    }

    /// Takes a payload and sends what the window allows.
    pub(crate) fn push(&mut self, now: Time, payload: &[u8], out: &mut impl FnMut(&[u8])) -> bool {
        match self {
            Self::Own(own) => push(&mut own.sender, now, payload, out),
            Self::Listening(listening) => push(listening.sender_mut(), now, payload, out),
            Self::Foreign(foreign) => foreign.push(now, payload, out),
        }
    }

    /// Keys after the first that this connection's receiver confirmed.
    pub(crate) fn keys_confirmed(&self) -> u64 {
        self.sender().map_or(0, |sender| sender.stats().keys_confirmed)
    }

    /// Nothing is on its way any more, as far as it can be asked.
    pub(crate) fn is_drained(&self) -> bool {
        self.sender().is_none_or(|sender| sender.in_flight() == 0 && sender.waiting() == 0)
    }

    pub(crate) fn close(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        match self {
            Self::Own(own) => own.sender.close(now, out),
            Self::Listening(listening) => listening.sender_mut().close(now, out),
            Self::Foreign(foreign) => foreign.close(now, out),
        }
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
    pub(crate) fn call(call: &Call, now: Time) -> Self {
        let told = call.keys.as_ref().map(Keys::told);
        let config = CallerConfig {
            key_material: told.as_ref().and_then(Initiator::material),
            latency_ms: u16::try_from(call.latency.as_millis()).expect("seconds at most"),
            stream_id: StreamId::new(call.stream_id.as_bytes()).expect("it is short"),
            connect_timeout: call.clock_age + Duration::from_secs(3),
            ..CallerConfig::live(call.socket_id, Sequence::new(call.first_sequence), call.engine)
        };
        // A packet has room for a tag too.
        let tag = told.as_ref().map_or(0, |told| told.suite().overhead());
        let payload = u16::try_from(PAYLOAD_BYTES + tag).expect("it is short");
        Self {
            caller: Caller::new(config, now - call.clock_age),
            sender: Sender::new(BUFFER_PACKETS, payload),
            initiator: call.keys.zip(told).map(|(keys, told)| Box::new(keys.used(told))),
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
            return flush(&mut self.sender, now, out);
        }
        self.caller.handle_datagram(now, bytes, out);
        if let CallerState::Connected(connected) = self.caller.state() {
            self.sender.open(&connected, now);
            if let Some(initiator) = self.initiator.take() {
                self.sender.secure(initiator);
            }
        }
    }
}

/// Takes a payload and sends what the window allows.
fn push(sender: &mut Sender, now: Time, payload: &[u8], out: &mut impl FnMut(&[u8])) -> bool {
    let pushed = sender.push(now, payload.len(), |place| place.copy_from_slice(payload));
    flush(sender, now, out);
    pushed
}

/// Sends what waits, as far as the window allows.
pub(crate) fn flush(sender: &mut Sender, now: Time, out: &mut impl FnMut(&[u8])) {
    while let Some(run) = sender.next_run(now, 64) {
        run.bytes.chunks(run.segment_bytes).for_each(&mut *out);
    }
}
