//! Control packets: parsing in place and encoding into fixed arrays or caller-owned buffers
//! (draft-sharabayko-srt-01, 3.2 and appendix A).

use crate::Error;
use crate::bytes::{Writer, halves, join, word};
use crate::crypto::KM_BYTES_MAX;
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

/// Subtype of a user-defined packet with a key material request (3.2.2).
pub const KMREQ_SUBTYPE: u16 = 3;
/// Subtype of a user-defined packet with the answer to one.
pub const KMRSP_SUBTYPE: u16 = 4;
/// Bytes of the longest key material packet.
pub const KEY_PACKET_BYTES_MAX: usize = HEADER_BYTES + KM_BYTES_MAX;

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

/// Writes a key material request ([`KMREQ_SUBTYPE`]) or the answer to one ([`KMRSP_SUBTYPE`]); the
/// packet's bytes, none when `message` is longer than any.
pub fn encode_key_packet<'a>(
    out: &'a mut [u8; KEY_PACKET_BYTES_MAX],
    subtype: u16,
    message: &[u8],
    timestamp_us: u32,
    to: u32,
) -> &'a [u8] {
    let mut writer = Writer::new(out);
    writer.put(&control(USER_DEFINED, subtype, 0, timestamp_us, to));
    writer.put(message);
    let len = writer.finish().unwrap_or(0);
    out.get(..len).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{ControlHeader, Packet};

    fn parsed(datagram: &[u8]) -> Control<'_> {
        match Packet::parse(datagram) {
            Ok(Packet::Control(header, control)) => {
                assert_eq!(header, ControlHeader { timestamp_us: 7, destination: 9 });
                control
            }
            other => panic!("{other:?}"),
        }
    }

    fn range(first: u32, last: u32) -> SequenceRange {
        SequenceRange::new(Sequence::new(first), Sequence::new(last)).unwrap()
    }

    #[test]
    fn bodiless_packets_are_sent_with_padding_and_read_without_it_too() {
        let table = [
            (encode_keepalive(7, 9), Control::Keepalive),
            (encode_shutdown(7, 9), Control::Shutdown),
            (encode_ackack(3, 7, 9), Control::Ackack(3)),
        ];
        for (packet, control) in table {
            assert_eq!(packet.len(), 20);
            assert_eq!(parsed(&packet), control);
            assert_eq!(parsed(&packet[..16]), control);
        }
    }

    #[test]
    fn the_size_of_an_acknowledgement_says_what_it_carries() {
        let timing = AckTiming { rtt_us: 1, rtt_variance_us: 2, available_packets: 3 };
        let rates = AckRates { packets_per_s: 4, link_capacity_pps: 5, bytes_per_s: 6 };
        let sequence = Sequence::new(100);
        let full = encode_full_ack(8, sequence, &timing, &rates, 7, 9);
        let light = encode_light_ack(sequence, 7, 9);
        let ack = |number, timing, rates| Control::Ack(Ack { number, sequence, timing, rates });
        assert_eq!(parsed(&full), ack(8, Some(timing), Some(rates)));
        assert_eq!(parsed(&full[..32]), ack(8, Some(timing), None), "small");
        assert_eq!(parsed(&light), ack(0, None, None));
        assert_eq!(Packet::parse(&full[..16]), Err(Error::Truncated));
    }

    #[test]
    fn a_loss_report_lists_singles_and_ranges_as_appendix_a_draws_them() {
        let mut out = [0; 64];
        let mut nak = NakWriter::new(&mut out, 7, 9);
        assert!(nak.push(range(3, 3)));
        assert!(nak.push(range(0x7fff_ffff, 1)));
        let len = nak.finish().unwrap();
        assert_eq!(&out[16..len], [0, 0, 0, 3, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1]);
        let Control::Nak(report) = parsed(&out[..len]) else { panic!() };
        assert!(report.ranges().eq([range(3, 3), range(0x7fff_ffff, 1)]));
    }

    #[test]
    fn a_loss_report_takes_what_fits_and_says_so() {
        let mut out = [0; 16 + 12];
        let mut nak = NakWriter::new(&mut out, 7, 9);
        assert!(nak.push(range(1, 2)));
        assert!(!nak.push(range(4, 5)));
        assert!(nak.push(range(7, 7)));
        assert!(!nak.push(range(9, 9)));
        assert_eq!(nak.finish(), Some(28));
        assert_eq!(NakWriter::new(&mut [0; 64], 7, 9).finish(), None, "nothing to report");
    }

    #[test]
    fn a_loss_report_ends_at_a_range_that_is_reversed_or_cut_off() {
        for words in [vec![1, 1 << 31 | 9, 8, 5], vec![1, 1 << 31 | 9]] {
            let mut packet = control(NAK, 0, 0, 7, 9).to_vec();
            packet.extend(words.iter().flat_map(|word: &u32| word.to_be_bytes()));
            let Control::Nak(report) = parsed(&packet) else { panic!() };
            assert!(report.ranges().eq([range(1, 1)]));
        }
        for len in [0, 1, 3, 5] {
            let mut packet = control(NAK, 0, 0, 7, 9).to_vec();
            packet.resize(16 + len, 0);
            assert_eq!(Packet::parse(&packet), Err(Error::Truncated));
        }
    }

    #[test]
    fn a_drop_request_that_runs_backwards_is_refused() {
        let request = DropRequest { message: 5, range: range(0x7fff_fffe, 3) };
        let mut packet = request.encode(7, 9);
        assert_eq!(parsed(&packet), Control::DropRequest(request));
        assert_eq!(Packet::parse(&packet[..20]), Err(Error::Truncated));
        packet[16..20].copy_from_slice(&[0, 0, 0, 4]);
        assert_eq!(Packet::parse(&packet), Err(Error::ReversedRange));
    }

    #[test]
    fn other_types_are_told_apart() {
        let table = [
            (control(CONGESTION_WARNING, 0, 0, 7, 9), Control::CongestionWarning),
            (control(PEER_ERROR, 0, 4, 7, 9), Control::PeerError(4)),
            (control(USER_DEFINED, 3, 0, 7, 9), Control::UserDefined(3, &[])),
            (encode_handshake_header(7, 9), Control::Handshake(&[])),
        ];
        for (packet, control) in table {
            assert_eq!(parsed(&packet), control);
        }
        assert_eq!(Packet::parse(&control(9, 0, 0, 7, 9)), Err(Error::UnknownControl));
    }
}
