//! Our sender where it is called: it listens, and sends to whoever asks first.

use std::net::SocketAddr;
use std::time::Duration;

use memory::Time;
use srt::caller::Connected;
use srt::sender::{Sender, SenderState};
use srt::{
    Answer, ConnectRequest, Connection, ConnectionConfig, Listener, ListenerEvent, REJECTION_BYTES,
    is_for_listener,
};

use crate::media::PAYLOAD_BYTES;
use crate::peer::{BUFFER_PACKETS, Call, State, flush};

/// A caller that was not heard of for so long has its place taken by the next.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Listening {
    call: Call,
    listener: Listener,
    answered: Option<Answered>,
    sender: Sender,
    /// Another one calls: start again.
    over: bool,
}

/// The caller that it sends to.
#[derive(Debug)]
struct Answered {
    port: u16,
    request: ConnectRequest,
    answer: Vec<u8>,
    heard_at: Time,
}

impl Listening {
    pub(crate) fn new(call: Call) -> Self {
        let tag = call.keys.map_or(0, |keys| keys.secret.suite.overhead());
        let payload = u16::try_from(PAYLOAD_BYTES + tag).expect("it is short");
        Self {
            call,
            // What a caller was told before a restart holds after it.
            listener: Listener::new([0x5e; 16]),
            answered: None,
            sender: Sender::new(BUFFER_PACKETS, payload),
            over: false,
        }
    }

    pub(crate) const fn state(&self) -> State {
        match self.sender.state() {
            _ if self.over => State::Failed,
            SenderState::Idle => State::Connecting,
            SenderState::Open => State::Connected,
            _ => State::Failed,
        }
    }

    /// The port of its caller.
    pub(crate) fn port(&self) -> u16 {
        self.answered.as_ref().map_or(0, |answered| answered.port)
    }

    pub(crate) const fn sender(&self) -> &Sender {
        &self.sender
    }

    pub(crate) const fn sender_mut(&mut self) -> &mut Sender {
        &mut self.sender
    }

    /// Takes a datagram from a port of the engine; what it says goes back there.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Time,
        port: u16,
        bytes: &[u8],
        out: &mut impl FnMut(&[u8]),
    ) {
        if is_for_listener(bytes) {
            return self.handshake(now, port, bytes, out);
        }
        let Some(answered) = self.answered.as_mut().filter(|it| it.port == port) else { return };
        answered.heard_at = now;
        self.sender.handle_datagram(now, bytes, out);
        flush(&mut self.sender, now, out);
    }

    fn handshake(&mut self, now: Time, port: u16, bytes: &[u8], out: &mut impl FnMut(&[u8])) {
        let caller = SocketAddr::new(self.call.engine, port);
        let mut reply = [0; REJECTION_BYTES];
        let request = match self.listener.handle(now, caller, bytes, &mut reply) {
            ListenerEvent::Reply(len) => return out(&reply[..len]),
            ListenerEvent::Conclusion(request) => request,
            _ => return,
        };
        match &self.answered {
            Some(answered) if answered.request.is_same_attempt(&request) => out(&answered.answer),
            Some(answered) => self.over |= now > answered.heard_at + FORGOTTEN_AFTER,
            None => self.accept(now, port, &request, out),
        }
    }

    fn accept(
        &mut self,
        now: Time,
        port: u16,
        request: &ConnectRequest,
        out: &mut impl FnMut(&[u8]),
    ) {
        let keys = self.call.keys.zip(request.key_material);
        let initiator = keys.map(|(keys, material)| keys.answering(&material));
        if self.call.keys.is_some() != initiator.is_some() {
            return;
        }
        let config = ConnectionConfig {
            local_id: self.call.socket_id,
            latency: self.call.latency,
            ..ConnectionConfig::default()
        };
        // Only a connection that receives knows how to answer.
        let keys = initiator.as_ref().and_then(|initiator| initiator.keys());
        let answer = Connection::new(2).open(request, &config, keys, now);
        let answer = dated(&answer, self.call.clock_age);
        self.sender.open(&self.connected(request, now), now);
        if let Some(initiator) = initiator {
            let used = self.call.keys.map(|keys| keys.used(initiator));
            used.into_iter().for_each(|it| self.sender.secure(Box::new(it)));
        }
        out(&answer);
        self.answered = Some(Answered { port, request: *request, answer, heard_at: now });
    }

    fn connected(&self, request: &ConnectRequest, now: Time) -> Connected {
        let latency_ms = u16::try_from(self.call.latency.as_millis()).expect("seconds at most");
        Connected {
            socket_id: self.call.socket_id,
            peer_socket_id: request.caller_id,
            initial_sequence: request.initial_sequence,
            peer_initial_sequence: request.initial_sequence,
            mtu: request.mtu.into(),
            flow_window: request.flow_window,
            peer_version: request.capabilities.version,
            peer_flags: request.capabilities.flags,
            peer_latency_ms: request.capabilities.receiver_latency_ms.max(latency_ms),
            latency_ms,
            greeted: request.arrival,
            greeted_timestamp_us: request.timestamp_us,
            peer_idle_timeout: Duration::from_secs(5),
            start: now - self.call.clock_age,
        }
    }
}

/// An answer of a side whose clock runs for so long already.
fn dated(answer: &Answer, clock_age: Duration) -> Vec<u8> {
    let micros = clock_age.as_micros() % (1 << 32);
    let mut bytes = answer.as_bytes().to_vec();
    bytes[8..12].copy_from_slice(&u32::try_from(micros).unwrap_or(0).to_be_bytes());
    bytes
}
