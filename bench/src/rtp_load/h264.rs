//! H.264 as RTP payload (RFC 6184, packetization mode 1): small NAL units together in STAP-A, large
//! ones in FU-A, others alone.

use anyhow::{Result, ensure};

use super::media::{PAYLOAD_MAX, Packets};
use crate::clip;
use crate::tag::{self, Tag};

const SPS: u8 = 7;
const PPS: u8 = 8;
const DELIMITER: u8 = 9;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// Of the header byte: forbidden bit and importance.
const REFERENCE: u8 = 0xe0;
const TYPE: u8 = 0x1f;

/// The packets of a transport stream's H.264 track. Each access unit gets a tag; what a receiver
/// makes of it, NAL units each behind a start code of four bytes, is what the tag describes.
pub(crate) fn packets(ts: &[u8]) -> Result<Packets> {
    let (units, period) = clip::access_units(ts)?;
    let mut packets = Packets { period: u32::try_from(period)?, ..Packets::default() };
    for unit in &units {
        let (nals, tag) = tagged(&unit.bytes, packets.frames)?;
        let nals: Vec<&[u8]> = nals.iter().map(Vec::as_slice).collect();
        let payloads = payloads(&nals);
        let last = payloads.len() - 1;
        // The tag is in the first packet that has one.
        let carrier = payloads.iter().position(|payload| tag::find(payload).is_some());
        ensure!(carrier.is_some(), "a tag is not at the beginning of its packet");
        for (at, payload) in payloads.iter().enumerate() {
            let tag = (Some(at) == carrier).then_some(tag);
            packets.push(payload, unit.pts_ticks, at == last, tag);
        }
        packets.frames += 1;
    }
    Ok(packets)
}

/// The NAL units of an access unit with a blank tag among them, and the tag to be written there.
/// Delimiters are left out, as senders of RTP do.
fn tagged(access_unit: &[u8], frame: u32) -> Result<(Vec<Vec<u8>>, Tag)> {
    let mut nals: Vec<Vec<u8>> = clip::nal_units(access_unit).map(<[u8]>::to_vec).collect();
    nals.retain(|nal| kind(nal) != DELIMITER);
    ensure!(!nals.is_empty(), "an access unit without NAL units");
    let joined = |nals: &[Vec<u8>]| {
        nals.iter().flat_map(|nal| [&[0, 0, 0, 1], nal.as_slice()].concat()).collect::<Vec<u8>>()
    };
    let bytes = joined(&nals);
    let tag = Tag {
        stream: 0,
        frame,
        length: u32::try_from(bytes.len() + tag::NAL_LEN)?,
        crc: crc32fast::hash(&bytes),
    };
    let place = nals.iter().take_while(|nal| [SPS, PPS].contains(&kind(nal))).count();
    nals.insert(place, tag::blank_nal()[4..].to_vec());
    Ok((nals, tag))
}

fn kind(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & TYPE)
}

fn payloads(nals: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    let mut rest = nals;
    while let Some(first) = rest.first() {
        let together = together(rest);
        if together > 1 {
            payloads.push(aggregate(&rest[..together]));
            rest = &rest[together..];
            continue;
        }
        if first.len() <= PAYLOAD_MAX {
            payloads.push(first.to_vec());
        } else {
            payloads.extend(fragments(first));
        }
        rest = &rest[1..];
    }
    payloads
}

/// How many of the next NAL units fit one STAP-A.
fn together(nals: &[&[u8]]) -> usize {
    let sizes = nals.iter().scan(1, |sum, nal| {
        *sum += 2 + nal.len();
        Some(*sum)
    });
    sizes.take_while(|sum| *sum <= PAYLOAD_MAX).count()
}

/// A STAP-A (5.7.1): its header has the greatest importance of those within.
fn aggregate(nals: &[&[u8]]) -> Vec<u8> {
    let importance = nals.iter().map(|nal| nal[0] & REFERENCE).max().unwrap_or(0);
    let mut payload = vec![importance | STAP_A];
    for nal in nals {
        let size = u16::try_from(nal.len()).unwrap_or(u16::MAX);
        payload.extend_from_slice(&size.to_be_bytes());
        payload.extend_from_slice(nal);
    }
    payload
}

/// The FU-A packets of one NAL unit (5.8).
fn fragments(nal: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let (header, body) = (nal[0], &nal[1..]);
    let pieces = body.chunks(PAYLOAD_MAX - 2);
    let last = pieces.len() - 1;
    pieces.enumerate().map(move |(at, piece)| {
        let start = u8::from(at == 0) << 7;
        let end = u8::from(at == last) << 6;
        [&[header & REFERENCE | FU_A, start | end | header & TYPE], piece].concat()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nal_unit_is_fragmented_and_comes_back() {
        let nal: Vec<u8> = [&[0x65][..], &[1, 2, 3, 4, 5].repeat(800)].concat();
        let payloads = payloads(&[&nal]);
        assert_eq!(payloads.len(), 4);
        assert!(payloads.iter().all(|payload| payload.len() <= PAYLOAD_MAX));
        let flags: Vec<u8> = payloads.iter().map(|payload| payload[1]).collect();
        assert_eq!(flags, [0x85, 0x05, 0x05, 0x45]);
        let mut back = vec![payloads[0][0] & REFERENCE | payloads[0][1] & TYPE];
        back.extend(payloads.iter().flat_map(|payload| &payload[2..]));
        assert_eq!(back, nal);
    }

    #[test]
    fn small_nal_units_travel_together_and_others_alone() {
        let (sps, pps, slice) = ([0x67, 1, 2], [0x68, 3], [0x41; 1_312]);
        let payloads = payloads(&[&sps, &pps, &slice, &slice]);
        assert_eq!(payloads[0], [&[0x78, 0, 3][..], &sps, &[0, 2], &pps].concat());
        assert_eq!(payloads[1..], [slice.to_vec(), slice.to_vec()]);
    }
}
