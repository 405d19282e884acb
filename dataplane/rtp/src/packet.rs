//! The RTP header (RFC 3550, 5.1).
//!
//! ```text
//!   0                   1                   2                   3
//!   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!  |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//!  |                           timestamp                           |
//!  |                             SSRC                              |
//!  |                  CC contributing sources …                    |
//!  |  extension profile (if X)     |  its length in 32-bit words   |
//!  |  … extension …                                                |
//!  |  payload …                                  … padding, count  |
//! ```

use memory::{Datagram, Time};

use crate::Error;
use crate::bytes::{u8_at, u16_at, u32_at};

/// Bytes of a header without contributing sources and extension.
pub const HEADER_BYTES: usize = 12;

/// What a datagram on a port of RTP, or of RTP and RTCP, is by its first bytes (RFC 5761, 4, and
/// RFC 7983).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RTP.
    Rtp,
    /// RTCP.
    Rtcp,
    /// Neither: STUN, DTLS or anything else.
    Other,
}

impl Kind {
    /// Of a datagram.
    pub fn of(bytes: &[u8]) -> Self {
        match (bytes.first(), bytes.get(1)) {
            (Some(0x80..=0xbf), Some(192..=223)) => Self::Rtcp,
            (Some(0x80..=0xbf), Some(_)) => Self::Rtp,
            _ => Self::Other,
        }
    }
}

/// A header that has been checked against its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// M: what it marks is the payload format's matter.
    pub marker: bool,
    /// Payload type, below 128.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in ticks of the payload format's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Contributing sources listed.
    pub csrc_count: u8,
    /// An extension is there; unknown ones are skipped (RFC 8285, 4.1.1).
    pub has_extension: bool,
    /// First byte of the payload.
    pub payload_start: u16,
    /// End of the payload, before padding.
    pub payload_end: u16,
}

impl Header {
    /// Reads and checks the header of `packet`.
    pub fn parse(packet: &[u8]) -> Result<Self, Error> {
        let first = u8_at(packet, 0).ok_or(Error::Truncated)?;
        if first >> 6 != 2 {
            return Err(Error::BadVersion);
        }
        let second = u8_at(packet, 1).ok_or(Error::Truncated)?;
        if matches!(second, 192..=223) {
            return Err(Error::WrongKind);
        }
        let ssrc = u32_at(packet, 8).ok_or(Error::Truncated)?;
        let csrc_count = first & 0x0f;
        let mut start = HEADER_BYTES + 4 * usize::from(csrc_count);
        let has_extension = first & 0x10 != 0;
        if has_extension {
            let words = u16_at(packet, start + 2).ok_or(Error::Truncated)?;
            start += 4 + 4 * usize::from(words);
        }
        let end = payload_end(packet, start, first & 0x20 != 0)?;
        Ok(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16_at(packet, 2).ok_or(Error::Truncated)?,
            timestamp: u32_at(packet, 4).ok_or(Error::Truncated)?,
            ssrc,
            csrc_count,
            has_extension,
            payload_start: u16::try_from(start).map_err(|_| Error::Truncated)?,
            payload_end: u16::try_from(end).map_err(|_| Error::Truncated)?,
        })
    }

    /// The payload within the packet that the header was read from.
    pub fn payload<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet
            .get(usize::from(self.payload_start)..usize::from(self.payload_end))
            .unwrap_or_default()
    }

    /// Bytes of payload.
    pub const fn payload_len(&self) -> usize {
        self.payload_end.saturating_sub(self.payload_start) as usize
    }

    /// Writes a header without contributing sources and extension: for senders in tests and tools.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let [a, b] = self.sequence.to_be_bytes();
        let [c, d, e, f] = self.timestamp.to_be_bytes();
        let [g, h, i, j] = self.ssrc.to_be_bytes();
        let second = u8::from(self.marker) << 7 | self.payload_type & 0x7f;
        bytes.copy_from_slice(&[0x80, second, a, b, c, d, e, f, g, h, i, j]);
        bytes
    }
}

/// Where the payload ends: before the padding, whose last byte counts it (RFC 3550, 5.1).
fn payload_end(packet: &[u8], start: usize, padded: bool) -> Result<usize, Error> {
    let payload = packet.get(start..).ok_or(Error::Truncated)?;
    if !padded {
        return Ok(packet.len());
    }
    let padding = usize::from(*payload.last().ok_or(Error::BadPadding)?);
    if padding == 0 || padding > payload.len() {
        return Err(Error::BadPadding);
    }
    Ok(packet.len() - padding)
}

/// A packet on its way: its slot, what its header says, when it came.
#[derive(Debug)]
pub struct Packet {
    /// Its header.
    pub header: Header,
    /// Its bytes.
    datagram: Datagram,
    /// When it came.
    pub arrival: Time,
    /// Its payload begins this many bytes later than the header says (RFC 4588, 4).
    skip: u16,
}

impl Packet {
    /// Reads the header of `datagram`; on an error the slot is free again.
    pub fn new(datagram: Datagram, arrival: Time) -> Result<Self, Error> {
        let header = Header::parse(datagram.payload())?;
        Ok(Self { header, datagram, arrival, skip: 0 })
    }

    /// The payload, without padding.
    pub fn payload(&self) -> &[u8] {
        let payload = self.header.payload(self.datagram.payload());
        payload.get(usize::from(self.skip)..).unwrap_or_default()
    }

    /// Bytes of the whole packet.
    pub fn len(&self) -> usize {
        self.datagram.len()
    }

    /// No packet is empty.
    pub fn is_empty(&self) -> bool {
        self.datagram.is_empty()
    }

    /// The bytes of the whole packet, header included.
    pub fn bytes(&self) -> &[u8] {
        self.datagram.payload()
    }

    /// Takes the first `n` bytes of the payload for read.
    pub(crate) fn skip_payload(&mut self, n: u16) {
        self.skip = self.skip.saturating_add(n);
    }
}

#[cfg(test)]
mod tests {
    use memory::Slab;

    use super::*;

    fn packet(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first, 0xe0, 0x12, 0x34, 0, 0, 0, 9, 0xaa, 0xbb, 0xcc, 0xdd];
        bytes.extend_from_slice(rest);
        bytes
    }

    #[test]
    fn fields_are_read_and_written_the_same() {
        let bytes = packet(0x80, b"payload");
        let header = Header::parse(&bytes).unwrap();
        assert_eq!((header.marker, header.payload_type), (true, 96));
        assert_eq!((header.sequence, header.timestamp), (0x1234, 9));
        assert_eq!(header.ssrc, 0xaabb_ccdd);
        assert_eq!(header.payload(&bytes), b"payload");
        assert_eq!(header.encode(), bytes[..12]);
    }

    #[test]
    fn contributing_sources_extension_and_padding_are_not_payload() {
        type Case = (u8, &'static [u8], Result<&'static [u8], Error>);
        let table: [Case; 12] = [
            (0x82, b"csrccsrcrest", Ok(b"rest")),
            (0x82, b"csrccsr", Err(Error::Truncated)),
            (0x90, &[0xbe, 0xde, 0, 0, 7], Ok(&[7])),
            (0x90, &[0xbe, 0xde, 0, 1, 1, 2, 3, 4, 7], Ok(&[7])),
            (0x90, &[0xbe, 0xde, 0, 2, 1, 2, 3, 4, 7], Err(Error::Truncated)),
            (0x90, &[0xbe, 0xde, 0xff, 0xff], Err(Error::Truncated)),
            (0xa0, &[7, 0, 2], Ok(&[7])),
            (0xa0, &[0, 0, 3], Ok(&[])),
            (0xa0, &[0, 0, 4], Err(Error::BadPadding)),
            (0xa0, &[7, 0], Err(Error::BadPadding)),
            (0xa0, &[], Err(Error::BadPadding)),
            (0xb1, &[1, 1, 1, 1, 0, 0, 0, 0, 5, 6, 2, 2], Ok(&[5, 6])),
        ];
        for (first, rest, expected) in table {
            let bytes = packet(first, rest);
            let payload = Header::parse(&bytes).map(|header| header.payload(&bytes));
            assert_eq!(payload, expected, "{first:#x} {rest:?}");
        }
    }

    #[test]
    fn other_versions_and_control_packets_are_refused() {
        for first in [0x00, 0x40, 0xc0] {
            assert_eq!(Header::parse(&packet(first, b"x")), Err(Error::BadVersion));
        }
        let mut bytes = packet(0x80, b"x");
        for second in [192, 200, 223] {
            bytes[1] = second;
            assert_eq!(Header::parse(&bytes), Err(Error::WrongKind));
            assert_eq!(Kind::of(&bytes), Kind::Rtcp);
        }
        for second in [191, 224] {
            bytes[1] = second;
            assert!(Header::parse(&bytes).is_ok());
            assert_eq!(Kind::of(&bytes), Kind::Rtp);
        }
    }

    #[test]
    fn first_bytes_tell_the_kind() {
        for (bytes, kind) in [
            (&[0u8, 1][..], Kind::Other),
            (&[22, 254], Kind::Other),
            (&[0x47, 0x40], Kind::Other),
            (&[0x80], Kind::Other),
            (&[], Kind::Other),
            (&[0x81, 201], Kind::Rtcp),
            (&[0xbf, 33], Kind::Rtp),
        ] {
            assert_eq!(Kind::of(bytes), kind, "{bytes:?}");
        }
    }

    #[test]
    fn every_length_of_a_packet_parses_or_is_refused() {
        let bytes = packet(0xb2, &[1; 40]);
        for len in 0..bytes.len() {
            if let Ok(header) = Header::parse(&bytes[..len]) {
                assert!(header.payload(&bytes[..len]).len() <= len);
            }
        }
    }

    #[test]
    fn a_refused_datagram_frees_its_slot() {
        let slab = Slab::new(1).unwrap();
        let datagram = Datagram::copy_from(&slab, b"\x80").unwrap();
        assert_eq!(Packet::new(datagram, Time::ZERO).unwrap_err(), Error::Truncated);
        assert_eq!(slab.free(), 1);
    }
}
