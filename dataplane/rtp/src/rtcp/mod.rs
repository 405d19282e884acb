//! RTCP: compound packets in, reports and feedback out (RFC 3550, 6; RFC 4585, 6; RFC 5104, 4.3.1).
//!
//! | file | what |
//! |---|---|
//! | here | parsing |
//! | [`mod@write`] | what a receiver sends |
//! | [`interval`] | when it sends reports |
//! | [`nack`] | what it asks for again |

pub mod interval;
pub mod nack;
pub mod write;

use crate::Error;
use crate::bytes::{u8_at, u16_at, u24_at, u32_at, u64_at};

/// Packet types (RFC 3550, 12.1; RFC 4585, 6.1).
pub(crate) mod kind {
    pub(crate) const SENDER_REPORT: u8 = 200;
    pub(crate) const RECEIVER_REPORT: u8 = 201;
    pub(crate) const SOURCE_DESCRIPTION: u8 = 202;
    pub(crate) const GOODBYE: u8 = 203;
    pub(crate) const APPLICATION: u8 = 204;
    pub(crate) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(crate) const PAYLOAD_FEEDBACK: u8 = 206;
}

/// Bytes of a report block.
const BLOCK_BYTES: usize = 24;
/// SDES item of the canonical name.
const CNAME: u8 = 1;
/// Most packets of a compound packet that are read.
const PACKETS_MAX: usize = 64;

/// A sender's clock at one moment (RFC 3550, 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// Wall clock: seconds since 1900 and their 2^32ths.
    pub ntp: u64,
    /// The same moment in ticks of the stream's clock.
    pub timestamp: u32,
    /// Packets sent.
    pub packets: u32,
    /// Payload bytes sent.
    pub bytes: u32,
}

/// One report block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The source reported on.
    pub ssrc: u32,
    /// 256ths lost since the last report.
    pub fraction_lost: u8,
    /// Lost in all, 24 bits with sign.
    pub cumulative_lost: i32,
    /// Cycles and highest sequence number.
    pub extended_highest: u32,
    /// Interarrival jitter in ticks.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's clock, 0 without one.
    pub last_report: u32,
    /// Since then, in 65,536ths of a second.
    pub delay: u32,
}

/// One packet of a compound packet. The slices keep to their packet's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// SR: the sender, its clock, its report blocks.
    SenderReport {
        /// Who sends.
        ssrc: u32,
        /// Its clock and counts.
        info: SenderInfo,
        /// 24 bytes each: see [`blocks`].
        blocks: &'a [u8],
    },
    /// RR.
    ReceiverReport {
        /// Who reports.
        ssrc: u32,
        /// 24 bytes each: see [`blocks`].
        blocks: &'a [u8],
    },
    /// SDES: see [`canonical_names`].
    SourceDescription {
        /// Chunks announced.
        chunks: u8,
        /// The chunks.
        body: &'a [u8],
    },
    /// BYE: 4 bytes for each source that leaves.
    Goodbye {
        /// The sources: see [`sources`].
        sources: &'a [u8],
        /// Why, in their words.
        reason: &'a [u8],
    },
    /// APP.
    Application {
        /// Who sends.
        ssrc: u32,
        /// Four letters.
        name: [u8; 4],
    },
    /// RTPFB: format 1 is a generic NACK (RFC 4585, 6.2.1).
    TransportFeedback {
        /// FMT.
        format: u8,
        /// Who sends.
        sender: u32,
        /// Whose stream is meant.
        media: u32,
        /// Feedback control information.
        body: &'a [u8],
    },
    /// PSFB: format 1 is PLI (RFC 4585, 6.3.1), 4 is FIR (RFC 5104, 4.3.1).
    PayloadFeedback {
        /// FMT.
        format: u8,
        /// Who sends.
        sender: u32,
        /// Whose stream is meant.
        media: u32,
        /// Feedback control information.
        body: &'a [u8],
    },
    /// Any other type.
    Other(u8),
}

/// A compound packet whose frame has been checked (RFC 3550, A.2).
#[derive(Debug, Clone, Copy)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

impl<'a> Compound<'a> {
    /// Checks versions, lengths and padding of all packets. It starts with a report, or with
    /// feedback where the size is reduced (RFC 5506, 3.4.2).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let first = u8_at(bytes, 1).ok_or(Error::Truncated)?;
        if !(192..=223).contains(&first) {
            return Err(Error::WrongKind);
        }
        if matches!(first, kind::SOURCE_DESCRIPTION | kind::APPLICATION) {
            return Err(Error::NotAReport);
        }
        let mut rest = bytes;
        for _ in 0..PACKETS_MAX {
            if rest.is_empty() {
                return Ok(Self { rest: bytes });
            }
            let frame = Frame::parse(rest)?;
            parse(&frame)?;
            rest = rest.get(frame.bytes..).unwrap_or_default();
            if frame.padded && !rest.is_empty() {
                return Err(Error::BadPadding);
            }
        }
        Err(Error::Forbidden("the number of packets"))
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let frame = Frame::parse(self.rest).ok()?;
        self.rest = self.rest.get(frame.bytes..).unwrap_or_default();
        parse(&frame).ok()
    }
}

/// The common header of RTCP packets.
struct Frame<'a> {
    /// Report count, source count, subtype or format.
    count: u8,
    kind: u8,
    padded: bool,
    /// Behind the four header bytes, without padding.
    body: &'a [u8],
    /// Of the whole packet.
    bytes: usize,
}

impl<'a> Frame<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let first = u8_at(bytes, 0).ok_or(Error::Truncated)?;
        if first >> 6 != 2 {
            return Err(Error::BadVersion);
        }
        let words = u16_at(bytes, 2).ok_or(Error::Truncated)?;
        let len = 4 + 4 * usize::from(words);
        let mut body = bytes.get(4..len).ok_or(Error::Truncated)?;
        let padded = first & 0x20 != 0;
        if padded {
            let padding = usize::from(*body.last().ok_or(Error::BadPadding)?);
            let kept = body.len().checked_sub(padding).filter(|_| padding > 0);
            body = body.get(..kept.ok_or(Error::BadPadding)?).unwrap_or_default();
        }
        let kind = u8_at(bytes, 1).ok_or(Error::Truncated)?;
        Ok(Self { count: first & 0x1f, kind, padded, body, bytes: len })
    }
}

fn parse<'a>(frame: &Frame<'a>) -> Result<Packet<'a>, Error> {
    let body = frame.body;
    let count = usize::from(frame.count);
    let word = |at: usize| u32_at(body, at).ok_or(Error::Truncated);
    let range = |from: usize, len: usize| body.get(from..from + len).ok_or(Error::Truncated);
    Ok(match frame.kind {
        kind::SENDER_REPORT => Packet::SenderReport {
            ssrc: word(0)?,
            info: SenderInfo {
                ntp: u64_at(body, 4).ok_or(Error::Truncated)?,
                timestamp: word(12)?,
                packets: word(16)?,
                bytes: word(20)?,
            },
            blocks: range(24, count * BLOCK_BYTES)?,
        },
        kind::RECEIVER_REPORT => {
            Packet::ReceiverReport { ssrc: word(0)?, blocks: range(4, count * BLOCK_BYTES)? }
        }
        kind::SOURCE_DESCRIPTION => Packet::SourceDescription { chunks: frame.count, body },
        kind::GOODBYE => {
            let reason_len = u8_at(body, 4 * count).map_or(0, usize::from);
            let reason = if reason_len > 0 { range(4 * count + 1, reason_len)? } else { &[] };
            Packet::Goodbye { sources: range(0, 4 * count)?, reason }
        }
        kind::APPLICATION => Packet::Application { ssrc: word(0)?, name: word(4)?.to_be_bytes() },
        kind::TRANSPORT_FEEDBACK | kind::PAYLOAD_FEEDBACK => {
            let (format, sender, media) = (frame.count, word(0)?, word(4)?);
            let body = body.get(8..).unwrap_or_default();
            if frame.kind == kind::TRANSPORT_FEEDBACK {
                Packet::TransportFeedback { format, sender, media, body }
            } else {
                Packet::PayloadFeedback { format, sender, media, body }
            }
        }
        other => Packet::Other(other),
    })
}

/// The report blocks of a sender's or receiver's report.
pub fn blocks(bytes: &[u8]) -> impl Iterator<Item = ReportBlock> {
    bytes.chunks_exact(BLOCK_BYTES).filter_map(|block| {
        // 24 bits with sign.
        let lost = (u24_at(block, 5)? << 8).cast_signed() >> 8;
        Some(ReportBlock {
            ssrc: u32_at(block, 0)?,
            fraction_lost: u8_at(block, 4)?,
            cumulative_lost: lost,
            extended_highest: u32_at(block, 8)?,
            jitter: u32_at(block, 12)?,
            last_report: u32_at(block, 16)?,
            delay: u32_at(block, 20)?,
        })
    })
}

/// The sources of a goodbye.
pub fn sources(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).filter_map(|source| u32_at(source, 0))
}

/// Source and canonical name of each chunk of a source description (RFC 3550, 6.5.1).
pub fn canonical_names(chunks: u8, body: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = body;
    (0..chunks).map_while(move |_| {
        let ssrc = u32_at(rest, 0)?;
        let (name, used) = items(rest.get(4..)?)?;
        rest = rest.get(4 + used..).unwrap_or_default();
        Some((ssrc, name))
    })
}

/// The canonical name among the items of a chunk, and the bytes they take with their padding.
fn items(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (mut at, mut name) = (0, &[][..]);
    loop {
        let item = u8_at(bytes, at)?;
        if item == 0 {
            // Zeros to the next word; the SSRC before is a whole word.
            return Some((name, (at + 4) & !3));
        }
        let len = usize::from(u8_at(bytes, at + 1)?);
        let text = bytes.get(at + 2..at + 2 + len)?;
        if item == CNAME {
            name = text;
        }
        at += 2 + len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender report, CNAME "x@y" and a goodbye, as RFC 3550 draws them.
    fn compound() -> Vec<u8> {
        let mut bytes = vec![0x81, 200, 0, 12, 0, 0, 0, 7];
        bytes.extend([0xe8, 1, 2, 3, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 5, 0, 0, 3, 0]);
        bytes.extend([0, 0, 0, 9, 64, 0xff, 0xff, 0xfe, 0, 1, 0, 2, 0, 0, 0, 3]);
        bytes.extend([1, 2, 3, 4, 0, 1, 0, 0]);
        bytes.extend([0x81, 202, 0, 3, 0, 0, 0, 7, 1, 3, b'x', b'@', b'y', 0, 0, 0]);
        bytes.extend([0x81, 203, 0, 2, 0, 0, 0, 7, 3, b'e', b'n', b'd']);
        bytes
    }

    #[test]
    fn a_compound_packet_is_read() {
        let bytes = compound();
        let packets: Vec<_> = Compound::parse(&bytes).unwrap().collect();
        let Packet::SenderReport { ssrc: 7, info, blocks: block_bytes } = packets[0] else {
            panic!("{packets:?}")
        };
        assert_eq!((info.ntp >> 32, info.timestamp), (0xe801_0203, 0x1_0000));
        assert_eq!((info.packets, info.bytes), (5, 768));
        let block = blocks(block_bytes).next().unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (64, -2));
        assert_eq!((block.extended_highest, block.jitter), (0x1_0002, 3));
        assert_eq!((block.last_report, block.delay), (0x0102_0304, 0x1_0000));
        let Packet::SourceDescription { chunks, body } = packets[1] else { panic!() };
        assert_eq!(canonical_names(chunks, body).collect::<Vec<_>>(), [(7, &b"x@y"[..])]);
        let Packet::Goodbye { sources: leaving, reason } = packets[2] else { panic!() };
        assert_eq!((sources(leaving).collect::<Vec<_>>(), reason), (vec![7], &b"end"[..]));
    }

    #[test]
    fn frames_that_lie_are_refused() {
        let good = compound();
        let change = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            Compound::parse(&bytes).map(|_| ())
        };
        assert_eq!(change(0, 0x41), Err(Error::BadVersion));
        assert_eq!(change(1, 100), Err(Error::WrongKind));
        assert_eq!(change(1, 202), Err(Error::NotAReport));
        assert_eq!(change(0, 0x82), Err(Error::Truncated), "more blocks than bytes");
        assert_eq!(change(3, 200), Err(Error::Truncated));
        assert_eq!(change(0, 0xa1), Err(Error::BadPadding), "padding before the last packet");
        assert_eq!(change(76, 9), Err(Error::Truncated), "a reason beyond the packet");
    }

    #[test]
    fn feedback_may_stand_alone() {
        let bytes = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        let packets: Vec<_> = Compound::parse(&bytes).unwrap().collect();
        let pli = Packet::PayloadFeedback { format: 1, sender: 1, media: 2, body: &[] };
        assert_eq!(packets, [pli]);
    }

    #[test]
    fn names_stop_at_the_end_of_the_packet() {
        assert_eq!(canonical_names(3, &[0, 0, 0, 1, 1, 200, b'x', 0]).count(), 0);
        assert_eq!(canonical_names(31, &[]).count(), 0);
        let two = [0, 0, 0, 1, 2, 1, b'n', 0, 0, 0, 0, 2, 1, 1, b'c', 0];
        let names: Vec<_> = canonical_names(2, &two).collect();
        assert_eq!(names, [(1, &b""[..]), (2, &b"c"[..])]);
    }

    #[test]
    fn every_length_and_every_changed_bit_is_survived() {
        let good = compound();
        for len in 0..good.len() {
            if let Ok(compound) = Compound::parse(&good[..len]) {
                compound.count();
            }
        }
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            for packet in Compound::parse(&bytes).into_iter().flatten() {
                if let Packet::SourceDescription { chunks, body } = packet {
                    canonical_names(chunks, body).count();
                }
            }
        }
    }
}
