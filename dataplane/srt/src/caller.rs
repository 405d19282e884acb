//! The caller's handshake, version 5, live mode, sans-IO (draft-sharabayko-srt-01, 4.3.1).
//!
//! ```text
//!   Induction ── answer: cookie ──▶ Conclusion ── answer: HSRSP ──▶ Connected
//!       │ every 250 ms again            │ every 250 ms again
//!       └──────────── rejection, bad answer or timeout ───────────▶ Failed
//! ```
//!
//! It ends in a [`Connected`], which opens a [`Sender`](crate::sender::Sender).

use std::net::IpAddr;
use std::time::Duration;

use memory::Time;

use crate::control::{Control, encode_handshake_header};
use crate::handshake::{
    Capabilities, ExtensionWriter, Extensions, HANDSHAKE_BYTES, Handshake, INDUCTION_MAGIC,
    INDUCTION_REQUEST_FIELD, Kind, RejectReason, SRT_VERSION, STREAM_ID_BYTES_MAX, StreamId,
    extension, field, flag,
};
use crate::packet::{HEADER_BYTES, MTU_MAX, Packet};
use crate::sender::wire_timestamp;
use crate::sequence::Sequence;

/// How often an unanswered message is repeated, as in libsrt.
const REPEAT_INTERVAL: Duration = Duration::from_millis(250);
/// What a live sender announces.
const FLAGS: u32 = flag::TSBPDSND
    | flag::TSBPDRCV
    | flag::CRYPT
    | flag::TLPKTDROP
    | flag::PERIODICNAK
    | flag::REXMITFLG;
/// Header, handshake, HSREQ and the longest StreamID.
const MESSAGE_BYTES_MAX: usize = HEADER_BYTES + HANDSHAKE_BYTES + 16 + 4 + STREAM_ID_BYTES_MAX;

/// What a caller asks for.
#[derive(Debug, Clone, Copy)]
pub struct CallerConfig {
    /// Own socket id: random, not 0, below 2^30.
    pub socket_id: u32,
    /// First sequence number: random.
    pub initial_sequence: Sequence,
    /// Largest packet with IP and UDP headers.
    pub mtu: u32,
    /// Packets this side can hold in flight.
    pub flow_window: u32,
    /// Delay asked for in both directions.
    pub latency_ms: u16,
    /// StreamID; empty sends none.
    pub stream_id: StreamId,
    /// Address of the listener, told to it.
    pub peer: IpAddr,
    /// The handshake fails after this long.
    pub connect_timeout: Duration,
    /// The connection ends after this long without a word from the peer.
    pub peer_idle_timeout: Duration,
}

impl CallerConfig {
    /// The defaults of libsrt's live mode.
    pub const fn live(socket_id: u32, initial_sequence: Sequence, peer: IpAddr) -> Self {
        Self {
            socket_id,
            initial_sequence,
            mtu: 1_500,
            flow_window: 25_600,
            latency_ms: 120,
            stream_id: StreamId::EMPTY,
            peer,
            connect_timeout: Duration::from_secs(3),
            peer_idle_timeout: Duration::from_secs(5),
        }
    }
}

/// What both sides agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connected {
    /// Own socket id.
    pub socket_id: u32,
    /// The peer's socket id: the destination of everything sent.
    pub peer_socket_id: u32,
    /// First sequence number.
    pub initial_sequence: Sequence,
    /// The smaller MTU.
    pub mtu: u32,
    /// The smaller flow window, packets.
    pub flow_window: u32,
    /// The peer's version as in HSRSP.
    pub peer_version: u32,
    /// The peer's flags as in HSRSP.
    pub peer_flags: u32,
    /// Delay the peer delivers with.
    pub peer_latency_ms: u16,
    /// Silence of the peer that ends the connection.
    pub peer_idle_timeout: Duration,
    /// Zero of the timestamps on the wire.
    pub start: Time,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The listener refused, with its code.
    Rejected(RejectReason),
    /// Nobody answered in time.
    Timeout,
    /// The answer is not one of SRT version 5.
    BadAnswer,
}

/// Where the handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerState {
    /// Asking for a cookie.
    Induction,
    /// Asking for the connection with this cookie.
    Conclusion(u32),
    /// Done.
    Connected(Connected),
    /// Failed.
    Failed(Failure),
}

/// One attempt to connect.
#[derive(Debug)]
pub struct Caller {
    config: CallerConfig,
    state: CallerState,
    start: Time,
    next_send: Time,
}

impl Caller {
    /// Starts at `now`; the first message goes out with the first [`Self::handle_timeout`].
    pub const fn new(config: CallerConfig, now: Time) -> Self {
        Self { config, state: CallerState::Induction, start: now, next_send: now }
    }

    /// Where the handshake is.
    pub const fn state(&self) -> CallerState {
        self.state
    }

    /// When [`Self::handle_timeout`] is next needed.
    pub fn next_timeout(&self) -> Time {
        match self.state {
            CallerState::Induction | CallerState::Conclusion(_) => {
                self.next_send.min(self.start + self.config.connect_timeout)
            }
            CallerState::Connected(_) | CallerState::Failed(_) => Time::NEVER,
        }
    }

    /// Sends what is due, or gives up.
    pub fn handle_timeout(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        if self.next_timeout() > now {
            return;
        }
        if now >= self.start + self.config.connect_timeout {
            self.state = CallerState::Failed(Failure::Timeout);
            return;
        }
        self.next_send = now + REPEAT_INTERVAL;
        let mut message = [0; MESSAGE_BYTES_MAX];
        if let Some(message) =
            self.write_message(now, &mut message).and_then(|len| message.get(..len))
        {
            out(message);
        }
    }

    /// Takes a datagram from the listener; anything but the awaited answer changes nothing.
    pub fn handle_datagram(&mut self, now: Time, datagram: &[u8], out: &mut impl FnMut(&[u8])) {
        let Ok(Packet::Control(header, Control::Handshake(body))) = Packet::parse(datagram) else {
            return;
        };
        if header.destination != self.config.socket_id {
            return;
        }
        let Ok((answer, extensions)) = Handshake::parse(body) else {
            return;
        };
        match (self.state, answer.kind) {
            (CallerState::Induction | CallerState::Conclusion(_), Kind::Rejected(reason)) => {
                self.state = CallerState::Failed(Failure::Rejected(reason));
            }
            (CallerState::Induction, Kind::Induction) => {
                if answer.version != 5 || answer.extension != INDUCTION_MAGIC {
                    self.state = CallerState::Failed(Failure::BadAnswer);
                    return;
                }
                self.state = CallerState::Conclusion(answer.cookie);
                self.next_send = now;
                self.handle_timeout(now, out);
            }
            (CallerState::Conclusion(_), Kind::Conclusion) => {
                self.state = self
                    .conclude(&answer, extensions)
                    .map_or(CallerState::Failed(Failure::BadAnswer), CallerState::Connected);
            }
            _ => {}
        }
    }

    fn conclude(&self, answer: &Handshake, mut extensions: Extensions<'_>) -> Option<Connected> {
        if answer.version != 5 || answer.socket_id == 0 {
            return None;
        }
        let response = extensions
            .find_map(|block| block.ok().filter(|block| block.kind == extension::HSRSP))
            .and_then(|block| Capabilities::parse(block.content).ok())?;
        Some(Connected {
            socket_id: self.config.socket_id,
            peer_socket_id: answer.socket_id,
            initial_sequence: self.config.initial_sequence,
            mtu: answer.mtu.min(self.config.mtu),
            flow_window: answer.flow_window.min(self.config.flow_window),
            peer_version: response.version,
            peer_flags: response.flags,
            peer_latency_ms: response.receiver_latency_ms.max(self.config.latency_ms),
            peer_idle_timeout: self.config.peer_idle_timeout,
            start: self.start,
        })
    }

    /// Writes the message of the present state; `None` when there is none.
    fn write_message(&self, now: Time, out: &mut [u8]) -> Option<usize> {
        let (version, extension, kind, cookie) = match self.state {
            CallerState::Induction => (4, INDUCTION_REQUEST_FIELD, Kind::Induction, 0),
            CallerState::Conclusion(cookie) => {
                let config = if self.config.stream_id.is_empty() { 0 } else { field::CONFIG };
                (5, field::HSREQ | config, Kind::Conclusion, cookie)
            }
            CallerState::Connected(_) | CallerState::Failed(_) => return None,
        };
        let handshake = Handshake {
            version,
            encryption: 0,
            extension,
            initial_sequence: self.config.initial_sequence,
            mtu: self.config.mtu.min(u32::try_from(MTU_MAX).unwrap_or(u32::MAX)),
            flow_window: self.config.flow_window,
            kind,
            socket_id: self.config.socket_id,
            cookie,
            peer: self.config.peer,
        };
        // A listener is addressed with socket id 0.
        let (header, rest) = out.split_first_chunk_mut::<HEADER_BYTES>()?;
        *header = encode_handshake_header(wire_timestamp(self.start, now), 0);
        let (body, rest) = rest.split_first_chunk_mut::<HANDSHAKE_BYTES>()?;
        *body = handshake.encode();
        let fixed = HEADER_BYTES + HANDSHAKE_BYTES;
        if version == 4 {
            return Some(fixed);
        }
        Some(fixed + self.write_extensions(rest)?)
    }

    fn write_extensions(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = ExtensionWriter::new(out);
        writer.capabilities(
            extension::HSREQ,
            &Capabilities {
                version: SRT_VERSION,
                flags: FLAGS,
                receiver_latency_ms: self.config.latency_ms,
                sender_latency_ms: self.config.latency_ms,
            },
        );
        if !self.config.stream_id.is_empty() {
            writer.text(extension::STREAM_ID, &self.config.stream_id);
        }
        writer.finish()
    }
}
