//! Control packets: parsing in place and encoding into fixed arrays or caller-owned buffers
//! (draft-sharabayko-srt-01, 3.2 and appendix A).

use crate::Error;
use crate::bytes::{Writer, halves, join, word};
use crate::packet::{HEADER_BYTES, header};
use crate::sequence::{Sequence, SequenceRange};

/// Bytes of a control packet without a body: libsrt pads them with one word, so 20 are sent and
/// both 16 and 20 are accepted.
pub const BODILESS_BYTES: usize = HEADER_BYTES + 4;
/// Bytes of a full acknowledgement.
pub const FULL_ACK_BYTES: usize = HEADER_BYTES + 28;
/// Bytes of a light acknowledgement.
pub const LIGHT_ACK_BYTES: usize = HEADER_BYTES + 4;
/// Bytes of a drop request.
pub const DROP_REQUEST_BYTES: usize = HEADER_BYTES + 8;

const HANDSHAKE: u16 = 0;
const KEEPALIVE: u16 = 1;
const ACK: u16 = 2;
const NAK: u16 = 3;
const CONGESTION_WARNING: u16 = 4;
const SHUTDOWN: u16 = 5;
const ACKACK: u16 = 6;
const DROP_REQUEST: u16 = 7;
const PEER_ERROR: u16 = 8;
const USER_DEFINED: u16 = 0x7fff;

/// A control packet, its body still in the datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control<'a> {
    /// Handshake (3.2.1): the body, for [`Handshake::parse`](crate::handshake::Handshake::parse).
    Handshake(&'a [u8]),
    /// Keepalive (3.2.3).
    Keepalive,
    /// Acknowledgement (3.2.4).
    Ack(Ack),
    /// Loss report (3.2.5).
    Nak(LossReport<'a>),
    /// Congestion warning (3.2.6).
    CongestionWarning,
    /// Shutdown (3.2.7).
    Shutdown,
    /// Acknowledgement of the full acknowledgement with this number (3.2.8).
    Ackack(u32),
    /// The sender gives packets up (3.2.9).
    DropRequest(DropRequest),
    /// Peer error (3.2.10).
    PeerError(u32),
    /// User-defined: subtype 3 and 4 carry key material (3.2.2).
    UserDefined(u16, &'a [u8]),
}

impl<'a> Control<'a> {
    /// From the first two words and the body.
    pub(crate) fn parse(first: u32, info: u32, body: &'a [u8]) -> Result<Self, Error> {
        let (kind, subtype) = halves(first & 0x7fff_ffff);
        Ok(match kind {
            HANDSHAKE => Self::Handshake(body),
            KEEPALIVE => Self::Keepalive,
            ACK => Self::Ack(Ack::parse(info, body)?),
            NAK => Self::Nak(LossReport::parse(body)?),
            CONGESTION_WARNING => Self::CongestionWarning,
            SHUTDOWN => Self::Shutdown,
            ACKACK => Self::Ackack(info),
            DROP_REQUEST => Self::DropRequest(DropRequest::parse(info, body)?),
            PEER_ERROR => Self::PeerError(info),
            USER_DEFINED => Self::UserDefined(subtype, body),
            _ => return Err(Error::UnknownControl),
        })
    }
}

/// An acknowledgement: how much depends on its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Its number, from 1; 0 for light and small ones, which no ACKACK answers.
    pub number: u32,
    /// First sequence number not yet received: everything before is done.
    pub sequence: Sequence,
    /// Fields of small and full acknowledgements.
    pub timing: Option<AckTiming>,
    /// Fields of full acknowledgements.
    pub rates: Option<AckRates>,
}

/// Round trip and free buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AckTiming {
    /// Smoothed round-trip time.
    pub rtt_us: u32,
    /// Its variance.
    pub rtt_variance_us: u32,
    /// Packets the receiver can still take.
    pub available_packets: u32,
}

/// Rates the receiver measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AckRates {
    /// Packets a second.
    pub packets_per_s: u32,
    /// Estimated capacity of the link, packets a second.
    pub link_capacity_pps: u32,
    /// Bytes a second.
    pub bytes_per_s: u32,
}

impl Ack {
    fn parse(number: u32, body: &[u8]) -> Result<Self, Error> {
        let sequence = Sequence::new(word(body, 0).ok_or(Error::Truncated)?);
        let timing = (|| {
            Some(AckTiming {
                rtt_us: word(body, 4)?,
                rtt_variance_us: word(body, 8)?,
                available_packets: word(body, 12)?,
            })
        })();
        let rates = (|| {
            Some(AckRates {
                packets_per_s: word(body, 16)?,
                link_capacity_pps: word(body, 20)?,
                bytes_per_s: word(body, 24)?,
            })
        })();
        Ok(Self { number, sequence, timing, rates })
    }
}

/// The header of a control packet.
fn control(kind: u16, subtype: u16, info: u32, timestamp_us: u32, to: u32) -> [u8; HEADER_BYTES] {
    header(join(0x8000 | kind, subtype), info, timestamp_us, to)
}

fn bodiless(kind: u16, info: u32, timestamp_us: u32, to: u32) -> [u8; BODILESS_BYTES] {
    with_words(control(kind, 0, info, timestamp_us, to), &[0])
}

fn with_words<const N: usize>(header: [u8; HEADER_BYTES], words: &[u32]) -> [u8; N] {
    let mut out = [0; N];
    let mut writer = Writer::new(&mut out);
    writer.put(&header);
    for word in words {
        writer.put_word(*word);
    }
    out
}

/// A full acknowledgement; `number` from 1.
pub fn encode_full_ack(
    number: u32,
    sequence: Sequence,
    timing: &AckTiming,
    rates: &AckRates,
    timestamp_us: u32,
    to: u32,
) -> [u8; FULL_ACK_BYTES] {
    with_words(
        control(ACK, 0, number, timestamp_us, to),
        &[
            sequence.value(),
            timing.rtt_us,
            timing.rtt_variance_us,
            timing.available_packets,
            rates.packets_per_s,
            rates.link_capacity_pps,
            rates.bytes_per_s,
        ],
    )
}

/// A light acknowledgement.
pub fn encode_light_ack(sequence: Sequence, timestamp_us: u32, to: u32) -> [u8; LIGHT_ACK_BYTES] {
    with_words(control(ACK, 0, 0, timestamp_us, to), &[sequence.value()])
}

/// The answer to full acknowledgement `number`.
pub fn encode_ackack(number: u32, timestamp_us: u32, to: u32) -> [u8; BODILESS_BYTES] {
    bodiless(ACKACK, number, timestamp_us, to)
}

/// A keepalive.
pub fn encode_keepalive(timestamp_us: u32, to: u32) -> [u8; BODILESS_BYTES] {
    bodiless(KEEPALIVE, 0, timestamp_us, to)
}

/// A shutdown.
pub fn encode_shutdown(timestamp_us: u32, to: u32) -> [u8; BODILESS_BYTES] {
    bodiless(SHUTDOWN, 0, timestamp_us, to)
}

/// The header of a handshake packet, in front of a body of
/// [`Handshake::encode`](crate::handshake::Handshake::encode).
pub fn encode_handshake_header(timestamp_us: u32, to: u32) -> [u8; HEADER_BYTES] {
    control(HANDSHAKE, 0, 0, timestamp_us, to)
}

/// A sender's word that packets will not come any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropRequest {
    /// Message number, or 0 when it is not known any more.
    pub message: u32,
    /// The packets.
    pub range: SequenceRange,
}

impl DropRequest {
    fn parse(message: u32, body: &[u8]) -> Result<Self, Error> {
        let first = Sequence::new(word(body, 0).ok_or(Error::Truncated)?);
        let last = Sequence::new(word(body, 4).ok_or(Error::Truncated)?);
        let range = SequenceRange::new(first, last).ok_or(Error::ReversedRange)?;
        Ok(Self { message, range })
    }

    /// Its wire form.
    pub fn encode(&self, timestamp_us: u32, to: u32) -> [u8; DROP_REQUEST_BYTES] {
        with_words(
            control(DROP_REQUEST, 0, self.message, timestamp_us, to),
            &[self.range.first().value(), self.range.last().value()],
        )
    }
}

/// The list of a loss report (appendix A), walked in place.
///
/// ```text
///  single  |0| sequence |
///  range   |1| first    |  |0| last |
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LossReport<'a> {
    words: &'a [u8],
}

impl<'a> LossReport<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, Error> {
        if body.len() < 4 || !body.len().is_multiple_of(4) {
            return Err(Error::Truncated);
        }
        Ok(Self { words: body })
    }

    /// The reported ranges in the order of the list. The list ends at the first range that is
    /// reversed or cut off.
    pub fn ranges(self) -> impl Iterator<Item = SequenceRange> + 'a {
        let mut at = 0;
        std::iter::from_fn(move || {
            let first = word(self.words, at)?;
            at += 4;
            if first >> 31 == 0 {
                return Some(SequenceRange::single(Sequence::new(first)));
            }
            let last = word(self.words, at)?;
            at += 4;
            SequenceRange::new(Sequence::new(first), Sequence::new(last))
        })
        .fuse()
    }
}

/// Writes a loss report into a caller-owned buffer, as many ranges as fit.
pub struct NakWriter<'a> {
    writer: Writer<'a>,
    ranges: u32,
}

impl<'a> NakWriter<'a> {
    /// Starts a report in `out`, which should be as long as the negotiated MTU allows.
    pub fn new(out: &'a mut [u8], timestamp_us: u32, to: u32) -> Self {
        let mut writer = Writer::new(out);
        writer.put(&control(NAK, 0, 0, timestamp_us, to));
        Self { writer, ranges: 0 }
    }

    /// Adds a range; false when it does not fit any more.
    pub fn push(&mut self, range: SequenceRange) -> bool {
        let single = range.first() == range.last();
        if self.writer.room() < if single { 4 } else { 8 } {
            return false;
        }
        if single {
            self.writer.put_word(range.first().value());
        } else {
            self.writer.put_word(range.first().value() | 1 << 31);
            self.writer.put_word(range.last().value());
        }
        self.ranges += 1;
        true
    }

    /// Bytes of the packet; `None` when it reports nothing.
    pub fn finish(self) -> Option<usize> {
        if self.ranges == 0 {
            return None;
        }
        self.writer.finish()
    }
}

impl std::fmt::Debug for NakWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NakWriter({} ranges)", self.ranges)
    }
}
