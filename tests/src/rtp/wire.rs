//! What went over the wire: RTP packets as the relay saw them, read apart from the product's parser
//! (RFC 3550, 5.1).

use crate::relay::Passage;

/// An RTP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// The marker bit.
    pub marker: bool,
    /// Payload type.
    pub payload_type: u8,
    /// Who sent it.
    pub ssrc: u32,
    /// Its payload.
    pub payload: Vec<u8>,
    /// It was lost on the way.
    pub lost: bool,
}

/// The RTP packets among what went by; RTCP is left out (RFC 5761, 4).
pub fn packets(record: &[Passage]) -> Vec<Packet> {
    record.iter().filter_map(packet).collect()
}

/// The packets of each unit, lost ones too: those of one timestamp.
pub fn units(packets: &[Packet]) -> Vec<&[Packet]> {
    packets.chunk_by(|a, b| a.timestamp == b.timestamp).collect()
}

fn packet(passage: &Passage) -> Option<Packet> {
    let (header, mut payload) = passage.bytes.split_at_checked(12)?;
    let word = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    if header[0] >> 6 != 2 || (192..=223).contains(&header[1]) {
        return None;
    }
    payload = payload.get(usize::from(header[0] & 0xf) * 4..)?;
    if header[0] & 0x10 != 0 {
        let words = u16::from_be_bytes([*payload.get(2)?, *payload.get(3)?]);
        payload = payload.get(4 + usize::from(words) * 4..)?;
    }
    if header[0] & 0x20 != 0 {
        let padding = usize::from(*payload.last()?);
        payload = payload.get(..payload.len().checked_sub(padding)?)?;
    }
    Some(Packet {
        sequence: u16::from_be_bytes([header[2], header[3]]),
        timestamp: word(4),
        marker: header[1] & 0x80 != 0,
        payload_type: header[1] & 0x7f,
        ssrc: word(8),
        payload: payload.to_vec(),
        lost: passage.lost,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_extension_and_padding_are_taken_off() {
        let mut bytes = vec![0xb1, 0xe0, 1, 2, 0, 0, 0, 7, 0, 0, 0, 9]; // P, X, one CSRC
        bytes.extend([0, 0, 0, 5]); // CSRC
        bytes.extend([0xbe, 0xde, 0, 1, 0x10, 0xff, 0, 0]); // one word
        bytes.extend([1, 2, 3, 0, 2]);
        let passage = Passage { bytes, lost: true };
        let expected = Packet {
            sequence: 0x102,
            timestamp: 7,
            marker: true,
            payload_type: 96,
            ssrc: 9,
            payload: vec![1, 2, 3],
            lost: true,
        };
        assert_eq!(packets(&[passage]), [expected]);
    }

    #[test]
    fn rtcp_and_what_is_too_short_are_left_out() {
        let report = [0x80, 200, 0, 6, 0, 0, 0, 9, 0, 0, 0, 0].to_vec();
        let passages = [report, vec![0x80; 11]].map(|bytes| Passage { bytes, lost: false });
        assert_eq!(packets(&passages), []);
    }
}
