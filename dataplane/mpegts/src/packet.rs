//! One transport-stream packet (H.222.0 2.4.3.2): header, adaptation field, payload.
//!
//! ```text
//!  0        1         2        3           4
//! +--------+---------+--------+-----------+- - - - - - - - -+- - - - - - +
//! |  0x47  |E|S|P|PID (13)    |SC|AFC| CC | adaptation field | payload    |
//! +--------+---------+--------+-----------+- - - - - - - - -+- - - - - - +
//!  E transport_error_indicator   S payload_unit_start_indicator   P priority
//!  SC scrambling (2)             AFC adaptation_field_control (2) CC continuity_counter (4)
//! ```

use crate::Error;

/// Length of a packet.
pub const PACKET_BYTES: usize = 188;
/// First byte of every packet.
pub const SYNC_BYTE: u8 = 0x47;
/// How many PIDs there are.
pub const PID_COUNT: usize = 8192;
/// The PID of the program association table.
pub const PID_PAT: u16 = 0;
/// The PID of null packets.
pub const PID_NULL: u16 = 0x1FFF;

/// The four header bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header([u8; 4]);

impl Header {
    /// Views the first four bytes of a packet.
    pub const fn new(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }

    /// The header of a packet.
    pub const fn of(packet: &[u8; PACKET_BYTES]) -> Self {
        let [a, b, c, d, ..] = *packet;
        Self([a, b, c, d])
    }

    /// `transport_error_indicator`: the packet holds at least one uncorrectable bit error.
    pub const fn transport_error(self) -> bool {
        self.0[1] & 0x80 != 0
    }

    /// `payload_unit_start_indicator`: a PES packet starts here, or a `pointer_field` comes first.
    pub const fn unit_start(self) -> bool {
        self.0[1] & 0x40 != 0
    }

    /// The packet identifier.
    pub const fn pid(self) -> u16 {
        u16::from_be_bytes([self.0[1] & 0x1F, self.0[2]])
    }

    /// `transport_scrambling_control` is not 0.
    pub const fn scrambled(self) -> bool {
        self.0[3] & 0xC0 != 0
    }

    /// An adaptation field follows the header.
    pub const fn has_adaptation(self) -> bool {
        self.0[3] & 0x20 != 0
    }

    /// The packet has a payload.
    pub const fn has_payload(self) -> bool {
        self.0[3] & 0x10 != 0
    }

    /// `continuity_counter`, 0 to 15.
    pub const fn continuity(self) -> u8 {
        self.0[3] & 0x0F
    }
}

/// What the adaptation field says (H.222.0 2.4.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Adaptation {
    /// The continuity counter or the time base breaks here on purpose.
    pub discontinuity: bool,
    /// Decoding can start here; a hint only.
    pub random_access: bool,
    /// Program clock reference in 27 MHz ticks.
    pub pcr: Option<u64>,
}

impl Adaptation {
    /// Parses the field behind its length byte. A PCR that does not fit is left out.
    fn parse(field: &[u8]) -> Self {
        let Some((&flags, rest)) = field.split_first() else {
            return Self::default(); // length 0: one stuffing byte
        };
        let pcr = match rest.first_chunk::<6>() {
            Some(&bytes) if flags & 0x10 != 0 => Some(pcr(bytes)),
            _ => None,
        };
        Self { discontinuity: flags & 0x80 != 0, random_access: flags & 0x40 != 0, pcr }
    }
}

/// 33 bits of 90 kHz, 6 reserved bits, 9 bits of 27 MHz.
fn pcr([a, b, c, d, e, f]: [u8; 6]) -> u64 {
    let base = u64::from(u32::from_be_bytes([a, b, c, d])) << 1 | u64::from(e >> 7);
    let extension = u64::from(u16::from_be_bytes([e & 0x01, f]));
    base * 300 + extension
}

/// A parsed packet; borrows its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// The header.
    pub header: Header,
    /// The adaptation field; all absent where there is none.
    pub adaptation: Adaptation,
    /// The payload; empty where there is none.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Parses a packet that begins with its sync byte.
    pub fn parse(bytes: &'a [u8; PACKET_BYTES]) -> Result<Self, Error> {
        let header = Header::of(bytes);
        let (first, rest) = bytes.split_at(4);
        if first.first() != Some(&SYNC_BYTE) {
            return Err(Error::NoSyncByte);
        }
        if !header.has_adaptation() {
            if !header.has_payload() {
                return Err(Error::AdaptationControl);
            }
            return Ok(Self { header, adaptation: Adaptation::default(), payload: rest });
        }
        Self::parse_adaptation(header, rest)
    }

    #[inline(never)] // Seldom: keeps the way of plain payload packets short.
    fn parse_adaptation(header: Header, rest: &'a [u8]) -> Result<Self, Error> {
        let Some((&length, rest)) = rest.split_first() else {
            return Err(Error::AdaptationLength(0));
        };
        // 0 to 182 before a payload, at most 183 without one; shorter than 183 is seen there.
        let most = if header.has_payload() { 182 } else { 183 };
        let Some((field, payload)) =
            rest.split_at_checked(usize::from(length)).filter(|_| length <= most)
        else {
            return Err(Error::AdaptationLength(length));
        };
        Ok(Self {
            header,
            adaptation: Adaptation::parse(field),
            payload: if header.has_payload() { payload } else { &[] },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(head: &[u8]) -> [u8; PACKET_BYTES] {
        let mut bytes = [0xFF; PACKET_BYTES];
        bytes[..head.len()].copy_from_slice(head);
        bytes
    }

    #[test]
    fn header_fields() {
        let bytes = packet(&[0x47, 0x5A, 0xBC, 0x9D]);
        let header = Header::of(&bytes);
        assert!(header.unit_start() && !header.transport_error() && header.scrambled());
        assert_eq!((header.pid(), header.continuity()), (0x1ABC, 13));
        assert!(header.has_payload() && !header.has_adaptation());
        assert!(Header::new([0x47, 0x80, 0, 0x10]).transport_error());
    }

    #[test]
    fn payload_without_adaptation_is_184_bytes() {
        let bytes = packet(&[0x47, 0, 0x64, 0x10, 1]);
        let parsed = Packet::parse(&bytes).unwrap();
        assert_eq!(parsed.payload.len(), 184);
        assert_eq!(parsed.adaptation, Adaptation::default());
    }

    #[test]
    fn pcr_is_base_times_300_plus_extension() {
        // base 0x1_2345_6789, extension 299
        let base: u64 = 0x1_2345_6789;
        let [.., a, b, c, d] = u32::try_from(base >> 1).unwrap().to_be_bytes();
        let low = u8::try_from((base & 1) << 7).unwrap() | 0x7E | 1;
        let bytes = packet(&[0x47, 0, 0x64, 0x30, 7, 0xD0, a, b, c, d, low, 43]);
        let parsed = Packet::parse(&bytes).unwrap();
        assert_eq!(parsed.adaptation.pcr, Some(base * 300 + 299));
        assert!(parsed.adaptation.discontinuity && parsed.adaptation.random_access);
        assert_eq!(parsed.payload.len(), 184 - 8);
    }

    #[test]
    fn pcr_that_does_not_fit_is_left_out() {
        let bytes = packet(&[0x47, 0, 0x64, 0x30, 6, 0x10, 1, 2, 3, 4, 5]);
        assert_eq!(Packet::parse(&bytes).unwrap().adaptation.pcr, None);
    }

    #[test]
    fn adaptation_length_zero_is_one_stuffing_byte() {
        let bytes = packet(&[0x47, 0, 0x64, 0x30, 0, 9]);
        let parsed = Packet::parse(&bytes).unwrap();
        assert_eq!((parsed.payload.len(), parsed.payload[0]), (183, 9));
    }

    #[test]
    fn adaptation_longer_than_the_packet_is_refused() {
        for (control, length, fits) in [
            (0x30, 182, true),
            (0x30, 183, false),
            (0x20, 183, true),
            (0x20, 184, false),
            (0x20, 255, false),
            (0x30, 255, false),
        ] {
            let bytes = packet(&[0x47, 0, 0x64, control, length, 0]);
            assert_eq!(Packet::parse(&bytes).is_ok(), fits, "{control:x} {length}");
        }
    }

    #[test]
    fn adaptation_without_payload_has_none() {
        let bytes = packet(&[0x47, 0, 0x64, 0x20, 1, 0x80]);
        let parsed = Packet::parse(&bytes).unwrap();
        assert!(parsed.payload.is_empty() && parsed.adaptation.discontinuity);
    }

    #[test]
    fn reserved_control_and_missing_sync_are_refused() {
        let reserved = packet(&[0x47, 0, 0x64, 0x00]);
        assert_eq!(Packet::parse(&reserved).unwrap_err(), Error::AdaptationControl);
        let nosync = packet(&[0x46, 0, 0x64, 0x10]);
        assert_eq!(Packet::parse(&nosync).unwrap_err(), Error::NoSyncByte);
    }
}
