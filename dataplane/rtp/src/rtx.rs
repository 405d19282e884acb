//! Retransmissions on a stream of their own (RFC 4588).
//!
//! ```text
//!  RTP header: payload type and SSRC of the retransmission stream, its own sequence numbers
//!  | original sequence number (16) | original payload …
//! ```

use crate::Error;
use crate::bytes::u16_at;
use crate::packet::Packet;

/// Bytes of the original sequence number.
const OSN_BYTES: u16 = 2;

/// Which payload types repeat which (the `apt` parameter, RFC 4588, 8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Association {
    /// Payload type of the retransmissions.
    pub payload_type: u8,
    /// Payload type of the originals.
    pub original: u8,
}

/// Makes a retransmission the packet that it repeats: of source `ssrc`, with its original sequence
/// number and payload type.
pub fn restore(mut packet: Packet, original: Association, ssrc: u32) -> Result<Packet, Error> {
    let sequence = u16_at(packet.payload(), 0).ok_or(Error::Truncated)?;
    packet.skip_payload(OSN_BYTES);
    packet.header.sequence = sequence;
    packet.header.ssrc = ssrc;
    packet.header.payload_type = original.original;
    Ok(packet)
}

#[cfg(test)]
mod tests {
    use memory::{Datagram, Slab, Time};

    use super::*;
    use crate::packet::Header;

    #[test]
    fn a_retransmission_becomes_its_original() {
        let slab = Slab::new(1).unwrap();
        let header = Header {
            marker: true,
            payload_type: 97,
            sequence: 500,
            timestamp: 9_000,
            ssrc: 22,
            ..Header::default()
        };
        let bytes = [&header.encode()[..], &[0x12, 0x34], b"media"].concat();
        let association = Association { payload_type: 97, original: 96 };
        let packet = Packet::new(Datagram::copy_from(&slab, &bytes).unwrap(), Time::ZERO).unwrap();
        let packet = restore(packet, association, 11).unwrap();
        assert_eq!((packet.header.sequence, packet.header.payload_type), (0x1234, 96));
        assert_eq!((packet.header.ssrc, packet.header.timestamp), (11, 9_000));
        assert_eq!((packet.header.marker, packet.payload()), (true, &b"media"[..]));
    }

    #[test]
    fn one_without_an_original_number_is_refused() {
        let slab = Slab::new(1).unwrap();
        let bytes = [&Header::default().encode()[..], &[1]].concat();
        let packet = Packet::new(Datagram::copy_from(&slab, &bytes).unwrap(), Time::ZERO).unwrap();
        assert!(restore(packet, Association::default(), 1).is_err());
        assert_eq!(slab.free(), 1);
    }
}
