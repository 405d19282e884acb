//! The 16-byte header, data packets and the split into data and control
//! (draft-sharabayko-srt-01, 3, 3.1, 3.2).
//!
//! ```text
//!          0                                              31
//!  data    |0|          sequence number (31)               |
//!          |PP|O|KK|R|        message number (26)          |
//!  control |1|        type (15)      |    subtype (16)     |
//!          |           type-specific word                  |
//!  both    |           timestamp, us since start           |
//!          |           destination socket id               |
//! ```

use crate::Error;
use crate::control::Control;
use crate::sequence::Sequence;

/// Bytes of the header of every SRT packet.
pub const HEADER_BYTES: usize = 16;

/// Whether a datagram is a handshake by its type; it may be broken all the same.
#[inline]
pub fn is_handshake(datagram: &[u8]) -> bool {
    matches!(datagram, [0x80, 0x00, ..])
}

/// Bytes that IPv4 and UDP headers take of the MTU in every size SRT negotiates.
pub const UDP_IP_BYTES: usize = 28;

/// The default MTU, and the largest that is negotiated.
pub const MTU_MAX: usize = 1_500;

/// Largest SRT packet, header included.
pub const PACKET_BYTES_MAX: usize = MTU_MAX - UDP_IP_BYTES;

/// Mask of the 26 bits of a message number.
pub const MESSAGE_MASK: u32 = 0x03ff_ffff;

/// Where a packet lies in its message (PP, 3.1). Live senders use `Solo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// 00
    Middle,
    /// 01
    Last,
    /// 10
    First,
    /// 11
    Solo,
}

/// Which key encrypted the payload (KK, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// 00: clear text
    Clear,
    /// 01
    Even,
    /// 10
    Odd,
    /// 11: control packets only, impossible on data
    Both,
}

/// Header of a data packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataHeader {
    /// Packet sequence number.
    pub sequence: Sequence,
    /// Place in the message.
    pub position: Position,
    /// In-order delivery demanded (O).
    pub ordered: bool,
    /// Key of the payload.
    pub encryption: Encryption,
    /// Sent before (R).
    pub retransmitted: bool,
    /// Message number, 26 bits, from 1, wrapping.
    pub message: u32,
    /// Microseconds since the sender's start, modulo 2^32; a retransmission keeps its first one.
    pub timestamp_us: u32,
    /// The receiver's socket id.
    pub destination: u32,
}

impl DataHeader {
    /// A live sender's header: solo, unordered, clear, first transmission.
    pub const fn live(
        sequence: Sequence,
        message: u32,
        timestamp_us: u32,
        destination: u32,
    ) -> Self {
        Self {
            sequence,
            position: Position::Solo,
            ordered: false,
            encryption: Encryption::Clear,
            retransmitted: false,
            message: message & MESSAGE_MASK,
            timestamp_us,
            destination,
        }
    }

    /// Its wire form.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let position: u32 = match self.position {
            Position::Middle => 0,
            Position::Last => 1,
            Position::First => 2,
            Position::Solo => 3,
        };
        let key: u32 = match self.encryption {
            Encryption::Clear => 0,
            Encryption::Even => 1,
            Encryption::Odd => 2,
            Encryption::Both => 3,
        };
        let word = position << 30
            | u32::from(self.ordered) << 29
            | key << 27
            | u32::from(self.retransmitted) << 26
            | self.message & MESSAGE_MASK;
        header(self.sequence.value(), word, self.timestamp_us, self.destination)
    }

    /// From the words of a header whose top bit is 0.
    #[inline]
    fn from_words(first: u32, second: u32, timestamp_us: u32, destination: u32) -> Self {
        Self {
            sequence: Sequence::new(first),
            position: match second >> 30 {
                0 => Position::Middle,
                1 => Position::Last,
                2 => Position::First,
                _ => Position::Solo,
            },
            ordered: second & 1 << 29 != 0,
            encryption: match second >> 27 & 3 {
                0 => Encryption::Clear,
                1 => Encryption::Even,
                2 => Encryption::Odd,
                _ => Encryption::Both,
            },
            retransmitted: second & 1 << 26 != 0,
            message: second & MESSAGE_MASK,
            timestamp_us,
            destination,
        }
    }
}

/// A received packet, parsed in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Data, and its payload.
    Data(DataHeader, &'a [u8]),
    /// Control.
    Control(ControlHeader, Control<'a>),
}

/// What every control packet carries beside its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlHeader {
    /// Microseconds since the sender's start, modulo 2^32.
    pub timestamp_us: u32,
    /// The receiver's socket id, 0 for a handshake to a listener.
    pub destination: u32,
}

impl<'a> Packet<'a> {
    /// Parses a datagram.
    #[inline]
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Error> {
        let Some((header, body)) = datagram.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Error::Truncated);
        };
        let [first, second, timestamp_us, destination] = words(header);
        if first >> 31 == 0 {
            let header = DataHeader::from_words(first, second, timestamp_us, destination);
            return Ok(Self::Data(header, body));
        }
        let header = ControlHeader { timestamp_us, destination };
        Control::parse(first, second, body).map(|control| Self::Control(header, control))
    }
}

/// The destination socket id of a datagram, for demultiplexing before anything else is read.
pub fn destination(datagram: &[u8]) -> Option<u32> {
    crate::bytes::word(datagram, 12)
}

#[inline]
fn words(header: &[u8; HEADER_BYTES]) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *header;
    [
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
        u32::from_be_bytes([i, j, k, l]),
        u32::from_be_bytes([m, n, o, p]),
    ]
}

/// A header of four words.
#[inline]
pub(crate) fn header(
    first: u32,
    second: u32,
    timestamp_us: u32,
    destination: u32,
) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = first.to_be_bytes();
    let [e, f, g, h] = second.to_be_bytes();
    let [i, j, k, l] = timestamp_us.to_be_bytes();
    let [m, n, o, p] = destination.to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_header_round_trips_every_field() {
        for position in [Position::Middle, Position::Last, Position::First, Position::Solo] {
            for encryption in
                [Encryption::Clear, Encryption::Even, Encryption::Odd, Encryption::Both]
            {
                for bits in 0..4 {
                    let sent = DataHeader {
                        sequence: Sequence::new(0x7fff_fffe),
                        position,
                        ordered: bits & 1 != 0,
                        encryption,
                        retransmitted: bits & 2 != 0,
                        message: MESSAGE_MASK - bits,
                        timestamp_us: 0xfedc_ba98,
                        destination: 0x1234_5678,
                    };
                    let mut datagram = sent.encode().to_vec();
                    datagram.push(0x47);
                    assert_eq!(Packet::parse(&datagram), Ok(Packet::Data(sent, &[0x47])));
                    assert_eq!(destination(&datagram), Some(0x1234_5678));
                }
            }
        }
    }

    #[test]
    fn live_header_is_solo_and_masks_the_message_number() {
        let header = DataHeader::live(Sequence::new(1), MESSAGE_MASK + 2, 3, 4);
        assert_eq!(header.message, 1);
        assert_eq!(&header.encode()[4..8], &[0xc0, 0, 0, 1]);
    }

    #[test]
    fn shorter_than_a_header_is_truncated() {
        for len in 0..HEADER_BYTES {
            assert_eq!(Packet::parse(&[0; HEADER_BYTES][..len]), Err(Error::Truncated));
        }
    }
}
