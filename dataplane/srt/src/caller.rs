//! The caller's handshake, version 5, live mode, sans-IO (draft-sharabayko-srt-01, 4.3.1).
//!
//! ```text
//!   Induction ── answer: cookie ──▶ Conclusion ── answer: HSRSP, KMRSP ──▶ Connected
//!       │ every 250 ms again            │ every 250 ms again
//!       └──────────── rejection, bad answer or timeout ───────────▶ Failed
//! ```
//!
//! It ends in a [`Connected`], which opens a [`Sender`](crate::sender::Sender), or a
//! [`Connection`](crate::Connection) that receives what the listener sends.

use std::net::IpAddr;
use std::time::Duration;

use memory::Time;

use crate::control::{Control, encode_handshake_header, encode_shutdown};
use crate::crypto::{KM_BYTES_MAX, KeyMaterial, KeyState, response_state};
use crate::handshake::{
    Capabilities, ExtensionWriter, Extensions, HANDSHAKE_BYTES, Handshake, INDUCTION_MAGIC,
    INDUCTION_REQUEST_FIELD, Kind, RejectReason, SRT_VERSION, STREAM_ID_BYTES_MAX, StreamId,
    extension, field, flag,
};
use crate::packet::{HEADER_BYTES, MTU_MAX, Packet};
use crate::request::MTU_MIN;
use crate::sender::wire_timestamp;
use crate::sequence::Sequence;

/// How often an unanswered message is repeated, as in libsrt.
pub(crate) const REPEAT_INTERVAL: Duration = Duration::from_millis(250);
/// What this side announces.
const FLAGS: u32 = flag::TSBPDSND
    | flag::TSBPDRCV
    | flag::CRYPT
    | flag::TLPKTDROP
    | flag::PERIODICNAK
    | flag::REXMITFLG;
/// Header, handshake, HSREQ, the longest KMREQ and the longest StreamID.
pub(crate) const MESSAGE_BYTES_MAX: usize =
    HEADER_BYTES + HANDSHAKE_BYTES + 16 + 4 + KM_BYTES_MAX + 4 + STREAM_ID_BYTES_MAX;

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
    /// Key material; with it the connection is encrypted or does not come about.
    pub key_material: Option<KeyMaterial>,
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
            key_material: None,
            peer,
            connect_timeout: Duration::from_secs(3),
            peer_idle_timeout: Duration::from_secs(5),
        }
    }
}

impl CallerConfig {
    /// What this side says of itself in a HSREQ.
    pub(crate) const fn capabilities(&self) -> Capabilities {
        Capabilities {
            version: SRT_VERSION,
            flags: FLAGS,
            receiver_latency_ms: self.latency_ms,
            sender_latency_ms: self.latency_ms,
        }
    }

    /// A handshake of this side, of no kind yet.
    pub(crate) fn handshake(&self, kind: Kind) -> Handshake {
        let suite = self.key_material.as_ref().map(KeyMaterial::suite);
        Handshake {
            version: 5,
            encryption: suite.map_or(0, |suite| suite.size.handshake_field()),
            extension: 0,
            initial_sequence: self.initial_sequence,
            mtu: self.mtu.min(u32::try_from(MTU_MAX).unwrap_or(u32::MAX)),
            flow_window: self.flow_window,
            kind,
            socket_id: self.socket_id,
            cookie: 0,
            peer: self.peer,
        }
    }

    /// Key material is answered with itself and nothing else will do; without any there must be no
    /// answer to it (libsrt's SRTO_ENFORCEDENCRYPTION).
    pub(crate) fn judge_keys(&self, answer: Option<&[u8]>) -> Result<(), RejectReason> {
        match (&self.key_material, answer) {
            (None, None) => Ok(()),
            (Some(material), Some(answer)) if material.as_bytes() == answer => Ok(()),
            (Some(_), Some(answer)) => Err(match response_state(answer) {
                Some(KeyState::BadMode) => RejectReason::CRYPTO,
                Some(KeyState::NoSecret | KeyState::Unsecured) => RejectReason::UNSECURE,
                Some(KeyState::BadSecret) | None => RejectReason::BAD_SECRET,
            }),
            (Some(_), None) | (None, Some(_)) => Err(RejectReason::UNSECURE),
        }
    }

    /// What follows from the peer's handshake, whose greeting came now.
    pub(crate) fn agree(
        &self,
        theirs: &Handshake,
        greeting: &Capabilities,
        start: Time,
        now: Time,
        timestamp_us: u32,
    ) -> Connected {
        Connected {
            socket_id: self.socket_id,
            peer_socket_id: theirs.socket_id,
            initial_sequence: self.initial_sequence,
            peer_initial_sequence: theirs.initial_sequence,
            mtu: theirs.mtu.min(self.mtu),
            flow_window: theirs.flow_window.min(self.flow_window),
            peer_version: greeting.version,
            peer_flags: greeting.flags,
            peer_latency_ms: greeting.receiver_latency_ms.max(self.latency_ms),
            latency_ms: greeting.sender_latency_ms.max(self.latency_ms),
            greeted: now,
            greeted_timestamp_us: timestamp_us,
            peer_idle_timeout: self.peer_idle_timeout,
            start,
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
    /// First sequence number this side sends.
    pub initial_sequence: Sequence,
    /// First sequence number the peer sends: the same, but in a rendezvous.
    pub peer_initial_sequence: Sequence,
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
    /// Delay this side delivers with: the larger of what it wants and what the peer asks for.
    pub latency_ms: u16,
    /// When the peer's greeting (HSREQ or HSRSP) came.
    pub greeted: Time,
    /// The peer's clock when it sent it.
    pub greeted_timestamp_us: u32,
    /// Silence of the peer that ends the connection.
    pub peer_idle_timeout: Duration,
    /// Zero of the timestamps on the wire.
    pub start: Time,
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The peer refused, with its code.
    Rejected(RejectReason),
    /// This side refused what the peer offered, with the code it was told, or that libsrt has for
    /// it: a listener that would have the connection, but not encrypted as asked, hears a shutdown.
    Refused(RejectReason),
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

    /// How it ended, once it has.
    pub const fn outcome(&self) -> Option<Result<Connected, Failure>> {
        match self.state {
            CallerState::Induction | CallerState::Conclusion(_) => None,
            CallerState::Connected(connected) => Some(Ok(connected)),
            CallerState::Failed(failure) => Some(Err(failure)),
        }
    }

    /// Takes a datagram from the listener, with the time of its arrival as `now`; anything but the
    /// awaited answer changes nothing.
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
                self.state = match self.conclude(now, header.timestamp_us, &answer, extensions) {
                    Ok(connected) => CallerState::Connected(connected),
                    Err(failure) => CallerState::Failed(failure),
                };
                if let CallerState::Failed(Failure::Refused(_)) = self.state {
                    // The listener holds it for a connection.
                    out(&encode_shutdown(wire_timestamp(self.start, now), answer.socket_id));
                }
            }
            _ => {}
        }
    }

    /// [`Failure::BadAnswer`] when the answer is not to this question: libsrt too takes the sequence
    /// number coming back for a proof that the listener has read it.
    fn conclude(
        &self,
        now: Time,
        timestamp_us: u32,
        answer: &Handshake,
        extensions: Extensions<'_>,
    ) -> Result<Connected, Failure> {
        if answer.version != 5
            || answer.socket_id == 0
            || answer.mtu < MTU_MIN
            || answer.initial_sequence != self.config.initial_sequence
        {
            return Err(Failure::BadAnswer);
        }
        let mut response = None;
        let mut keys = None;
        for block in extensions {
            let Ok(block) = block else { break };
            match block.kind {
                extension::HSRSP if response.is_none() => {
                    response = Capabilities::parse(block.content).ok();
                }
                extension::KMRSP if keys.is_none() => keys = Some(block.content),
                _ => {}
            }
        }
        let response = response.ok_or(Failure::BadAnswer)?;
        self.config.judge_keys(keys).map_err(Failure::Refused)?;
        Ok(self.config.agree(answer, &response, self.start, now, timestamp_us))
    }

    /// Writes the message of the present state; `None` when there is none.
    fn write_message(&self, now: Time, out: &mut [u8]) -> Option<usize> {
        let (version, extension, kind, cookie) = match self.state {
            CallerState::Induction => (4, INDUCTION_REQUEST_FIELD, Kind::Induction, 0),
            CallerState::Conclusion(cookie) => {
                let config = if self.config.stream_id.is_empty() { 0 } else { field::CONFIG };
                let keys = if self.config.key_material.is_none() { 0 } else { field::KMREQ };
                (5, field::HSREQ | keys | config, Kind::Conclusion, cookie)
            }
            CallerState::Connected(_) | CallerState::Failed(_) => return None,
        };
        let mut handshake = Handshake { version, extension, cookie, ..self.config.handshake(kind) };
        if version == 4 {
            handshake.encryption = 0;
        }
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
        writer.capabilities(extension::HSREQ, &self.config.capabilities());
        if let Some(material) = &self.config.key_material {
            writer.bytes(extension::KMREQ, material.as_bytes());
        }
        if !self.config.stream_id.is_empty() {
            writer.text(extension::STREAM_ID, &self.config.stream_id);
        }
        writer.finish()
    }
}

#[cfg(test)]
#[path = "caller_tests.rs"]
mod tests;
