//! What a caller asks for in its conclusion, and the answers to it.

use std::net::SocketAddr;

use memory::Time;

use crate::Error;
use crate::bytes::Writer;
use crate::control::encode_handshake_header;
use crate::crypto::{KM_BYTES_MAX, KeyMaterial};
use crate::handshake::{
    Capabilities, ExtensionWriter, HANDSHAKE_BYTES, Handshake, Kind, RejectReason, SRT_VERSION,
    StreamId, extension, field, flag, is_text,
};
use crate::packet::{HEADER_BYTES, MTU_MAX};
use crate::sequence::Sequence;
use crate::tsbpd::low32;

/// Bytes of a handshake without extensions: an induction answer or a rejection.
pub const REJECTION_BYTES: usize = HEADER_BYTES + HANDSHAKE_BYTES;
/// Most bytes of the answer to a conclusion: handshake, HSRSP and KMRSP.
pub const ANSWER_BYTES: usize = REJECTION_BYTES + EXTENSIONS_BYTES_MAX;

const EXTENSIONS_BYTES_MAX: usize = 16 + 4 + KM_BYTES_MAX;

/// Smallest MTU that leaves room for a useful packet, as libsrt has it.
pub(crate) const MTU_MIN: u32 = 76;

/// A conclusion with a valid cookie: what the caller wants, not yet granted.
#[derive(Debug, Clone, Copy)]
pub struct ConnectRequest {
    /// Where it came from.
    pub peer: SocketAddr,
    /// When it came.
    pub arrival: Time,
    /// The caller's clock when it was sent.
    pub timestamp_us: u32,
    /// The caller's socket id: answers and everything later go there.
    pub caller_id: u32,
    /// First sequence number.
    pub initial_sequence: Sequence,
    /// MTU, already the smaller of both sides'.
    pub mtu: u16,
    /// Packets the caller could take in flight.
    pub flow_window: u32,
    /// Version, flags and latencies.
    pub capabilities: Capabilities,
    /// The caller brought key material: it encrypts.
    pub encrypted: bool,
    /// The key material, unless its layout is wrong.
    pub key_material: Option<KeyMaterial>,
    /// Key size it announced, in bytes; 0 for none. A caller without a passphrase may announce one
    /// too, so only `encrypted` decides.
    pub key_bytes_hint: u16,
    /// The StreamID, empty when there was none.
    pub stream_id: StreamId,
    /// The cookie, echoed in answers.
    cookie: u32,
}

impl ConnectRequest {
    /// Reads a conclusion whose cookie has been checked. What this side cannot serve is an error
    /// with the reason to send.
    pub(crate) fn read(
        arrival: Time,
        peer: SocketAddr,
        timestamp_us: u32,
        handshake: &Handshake,
        extensions: crate::handshake::Extensions<'_>,
    ) -> Result<Self, RejectReason> {
        if handshake.version < 5 {
            return Err(RejectReason::VERSION);
        }
        if handshake.socket_id == 0 || handshake.mtu < MTU_MIN {
            return Err(RejectReason::ROGUE);
        }
        let mtu = u16::try_from(handshake.mtu).unwrap_or(u16::MAX);
        let mut request = Self {
            peer,
            arrival,
            timestamp_us,
            caller_id: handshake.socket_id,
            initial_sequence: handshake.initial_sequence,
            mtu: mtu.min(u16::try_from(MTU_MAX).unwrap_or(u16::MAX)),
            flow_window: handshake.flow_window,
            capabilities: Capabilities {
                version: 0,
                flags: 0,
                receiver_latency_ms: 0,
                sender_latency_ms: 0,
            },
            encrypted: handshake.extension & field::KMREQ != 0,
            key_material: None,
            key_bytes_hint: handshake.encryption.saturating_mul(8),
            stream_id: StreamId::EMPTY,
            cookie: handshake.cookie,
        };
        request.read_extensions(extensions)?;
        Ok(request)
    }

    fn read_extensions(
        &mut self,
        extensions: crate::handshake::Extensions<'_>,
    ) -> Result<(), RejectReason> {
        let mut greeted = false;
        let mut refusal = None;
        for block in extensions {
            let block = block.map_err(rogue)?;
            match block.kind {
                extension::HSREQ if !greeted => {
                    self.capabilities = Capabilities::parse(block.content).map_err(rogue)?;
                    greeted = true;
                }
                extension::STREAM_ID if self.stream_id.is_empty() => {
                    self.stream_id = StreamId::parse(block.content).map_err(rogue)?;
                }
                extension::HSREQ | extension::HSRSP | extension::KMRSP | extension::STREAM_ID => {
                    return Err(RejectReason::ROGUE);
                }
                extension::KMREQ if self.key_material.is_some() => {
                    return Err(RejectReason::ROGUE);
                }
                extension::KMREQ => {
                    self.encrypted = true;
                    match KeyMaterial::parse(block.content) {
                        Ok(material) => self.key_material = Some(material),
                        Err(Error::UnsupportedCipher) => {
                            refusal = refusal.or(Some(RejectReason::CRYPTO));
                        }
                        Err(_) => {}
                    }
                }
                extension::CONGESTION
                    if !block.content.is_empty() && !is_text(block.content, b"live") =>
                {
                    refusal = refusal.or(Some(RejectReason::CONGESTION));
                }
                extension::FILTER => refusal = refusal.or(Some(RejectReason::FILTER)),
                extension::GROUP => refusal = refusal.or(Some(RejectReason::GROUP)),
                // Congestion control "live", and types to come.
                _ => {}
            }
        }
        if !greeted {
            return Err(RejectReason::ROGUE);
        }
        if self.capabilities.flags & flag::STREAM != 0 {
            return Err(RejectReason::MESSAGE_API);
        }
        refusal.map_or(Ok(()), Err)
    }

    /// True when `other` is a repetition of the same attempt: it must get the same answer.
    pub fn is_same_attempt(&self, other: &Self) -> bool {
        self.peer == other.peer
            && self.caller_id == other.caller_id
            && self.initial_sequence == other.initial_sequence
    }

    /// The packet that refuses it.
    pub fn reject(&self, reason: RejectReason, now: Time) -> [u8; REJECTION_BYTES] {
        let handshake = Handshake {
            version: 5,
            encryption: 0,
            extension: 0,
            initial_sequence: self.initial_sequence,
            mtu: self.mtu.into(),
            flow_window: self.flow_window,
            kind: Kind::Rejected(reason),
            socket_id: 0,
            cookie: self.cookie,
            peer: self.peer.ip(),
        };
        packet(&handshake, low32(now.micros()), self.caller_id)
    }

    /// The packet that accepts it. A secured connection is told by the echo of its key material.
    pub(crate) fn accept(&self, terms: &Terms, timestamp_us: u32) -> Answer {
        let echo = self.key_material.filter(|_| terms.secured);
        let handshake = Handshake {
            version: 5,
            encryption: echo.map_or(0, |material| material.suite().size.handshake_field()),
            extension: field::HSREQ | if echo.is_some() { field::KMREQ } else { 0 },
            initial_sequence: self.initial_sequence,
            mtu: self.mtu.into(),
            flow_window: terms.flow_window,
            kind: Kind::Conclusion,
            socket_id: terms.local_id,
            cookie: self.cookie,
            peer: self.peer.ip(),
        };
        let mut blocks = [0; EXTENSIONS_BYTES_MAX];
        let mut writer = ExtensionWriter::new(&mut blocks);
        writer.capabilities(
            extension::HSRSP,
            &Capabilities {
                version: SRT_VERSION,
                flags: LISTENER_FLAGS,
                receiver_latency_ms: terms.receiver_latency_ms,
                sender_latency_ms: terms.sender_latency_ms,
            },
        );
        if let Some(material) = &echo {
            writer.bytes(extension::KMRSP, material.as_bytes());
        }
        let len = writer.finish().unwrap_or(0);
        let mut bytes = [0; ANSWER_BYTES];
        let mut writer = Writer::new(&mut bytes);
        writer.put(&packet(&handshake, timestamp_us, self.caller_id));
        writer.put(blocks.get(..len).unwrap_or_default());
        let len = writer.finish().unwrap_or(0);
        Answer { bytes, len }
    }
}

/// What HSRSP says of this side.
const LISTENER_FLAGS: u32 = flag::TSBPDSND
    | flag::TSBPDRCV
    | flag::CRYPT
    | flag::TLPKTDROP
    | flag::PERIODICNAK
    | flag::REXMITFLG;

fn rogue(_: Error) -> RejectReason {
    RejectReason::ROGUE
}

/// What this side grants.
pub(crate) struct Terms {
    pub(crate) local_id: u32,
    pub(crate) flow_window: u32,
    pub(crate) receiver_latency_ms: u16,
    pub(crate) sender_latency_ms: u16,
    pub(crate) secured: bool,
}

/// The answer that accepts a connection; kept, because repeated conclusions get the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    bytes: [u8; ANSWER_BYTES],
    len: usize,
}

impl Answer {
    /// The packet to send.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// A handshake packet without extensions.
pub(crate) fn packet(handshake: &Handshake, timestamp_us: u32, to: u32) -> [u8; REJECTION_BYTES] {
    let mut out = [0; REJECTION_BYTES];
    let mut writer = Writer::new(&mut out);
    writer.put(&encode_handshake_header(timestamp_us, to));
    writer.put(&handshake.encode());
    out
}
