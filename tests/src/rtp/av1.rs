//! AV1 (RTP Payload Format For AV1, version 1.0 of the Alliance for Open Media), from temporal units
//! of OBUs with sizes.
//!
//! ```text
//!  | Z Y W(2) N 0 0 0 |  ([leb128 length] OBU element) …     4.4
//! ```

use super::paced::Packet;
use crate::generate::AccessUnit;

const SEQUENCE_HEADER: u8 = 1;
const HAS_EXTENSION: u8 = 0x04;
const HAS_SIZE: u8 = 0x02;
/// A length in a packet has so many bytes at most.
const LENGTH_BYTES: usize = 2;

/// How a sender cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Bytes of a payload at most.
    pub payload_bytes: usize,
    /// Elements are counted, and the last one has no length, wherever there are three or fewer.
    pub counted: bool,
    /// Each OBU begins a packet.
    pub apart: bool,
    /// OBUs keep their sizes.
    pub sized: bool,
    /// Each temporal unit begins with its delimiter.
    pub delimited: bool,
    /// The first packet of a coded video sequence is marked.
    pub announced: bool,
    /// Lengths have a byte more than they need.
    pub padded: bool,
}

impl Default for Cut {
    /// As FFmpeg cuts.
    fn default() -> Self {
        Self {
            payload_bytes: 600,
            counted: true,
            apart: false,
            sized: false,
            delimited: false,
            announced: true,
            padded: false,
        }
    }
}

/// The OBUs of a temporal unit, each with its size.
pub fn obus(mut unit: &[u8]) -> Vec<&[u8]> {
    let mut obus = Vec::new();
    while let Some(first) = unit.first() {
        let header = if first & HAS_EXTENSION != 0 { 2 } else { 1 };
        let (size, used) = size_field(&unit[header..]);
        let (obu, rest) = unit.split_at(header + used + size);
        obus.push(obu);
        unit = rest;
    }
    obus
}

/// A number and the bytes it takes.
fn size_field(bytes: &[u8]) -> (usize, usize) {
    let used = bytes.iter().position(|byte| byte & 0x80 == 0).map_or(bytes.len(), |at| at + 1);
    let number =
        bytes[..used].iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
    (number, used)
}

fn kind(obu: &[u8]) -> u8 {
    obu[0] >> 3 & 0x0f
}

/// An OBU without its size.
fn unsized_obu(obu: &[u8]) -> Vec<u8> {
    let header = if obu[0] & HAS_EXTENSION != 0 { 2 } else { 1 };
    let (_, used) = size_field(&obu[header..]);
    [&[obu[0] & !HAS_SIZE][..], &obu[1..header], &obu[header + used..]].concat()
}

/// An OBU, or a part of one.
#[derive(Debug)]
struct Element {
    bytes: Vec<u8>,
    continues: bool,
    goes_on: bool,
}

/// The packets of all units.
pub fn packets(units: &[AccessUnit], cut: &Cut) -> Vec<Packet> {
    let mut packets = Vec::new();
    let first = units.first().map_or(0, |unit| unit.pts);
    for (number, unit) in units.iter().enumerate() {
        let payloads = payloads(&unit.bytes, cut);
        let last = payloads.len() - 1;
        for (at, payload) in payloads.into_iter().enumerate() {
            let (ticks, marker) = (unit.pts - first, at == last);
            packets.push(Packet { unit: number, ticks, marker, payload });
        }
    }
    packets
}

fn payloads(unit: &[u8], cut: &Cut) -> Vec<Vec<u8>> {
    let parts = obus(unit);
    let begins = cut.announced && kind(parts[0]) == SEQUENCE_HEADER;
    let mut bytes: Vec<Vec<u8>> = Vec::new();
    if cut.delimited {
        bytes.push(if cut.sized { vec![0x12, 0] } else { vec![0x10] });
    }
    let form = |obu: &&[u8]| if cut.sized { obu.to_vec() } else { unsized_obu(obu) };
    bytes.extend(parts.iter().map(form));
    let groups = fill(&bytes, cut);
    groups.iter().enumerate().map(|(at, group)| payload(group, begins && at == 0, cut)).collect()
}

/// The elements of each packet.
fn fill(obus: &[Vec<u8>], cut: &Cut) -> Vec<Vec<Element>> {
    let length = LENGTH_BYTES + usize::from(cut.padded);
    let mut groups: Vec<Vec<Element>> = Vec::new();
    // Behind the aggregation header.
    let mut room = 0;
    for obu in obus {
        let mut rest = obu.as_slice();
        let mut continues = false;
        while !rest.is_empty() {
            if room <= length + 1 || groups.is_empty() || cut.apart && !continues {
                groups.push(Vec::new());
                room = cut.payload_bytes - 1;
            }
            let (part, behind) = rest.split_at(rest.len().min(room - length));
            room -= part.len() + length;
            let goes_on = !behind.is_empty();
            let element = Element { bytes: part.to_vec(), continues, goes_on };
            groups.last_mut().expect("there is one").push(element);
            if goes_on {
                room = 0;
            }
            continues = true;
            rest = behind;
        }
    }
    groups
}

fn payload(elements: &[Element], begins: bool, cut: &Cut) -> Vec<u8> {
    let count = u8::try_from(elements.len()).ok().filter(|count| cut.counted && *count <= 3);
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    let (first, last) = (&elements[0], &elements[elements.len() - 1]);
    let head = flag(first.continues, 0x80)
        | flag(last.goes_on, 0x40)
        | count.unwrap_or(0) << 4
        | flag(begins, 0x08);
    let mut out = vec![head];
    for (at, element) in elements.iter().enumerate() {
        if count.is_none() || at + 1 < elements.len() {
            out.extend(leb128(element.bytes.len(), cut.padded));
        }
        out.extend(&element.bytes);
    }
    out
}

/// A number in bytes of seven bits, `padded` with a byte that says nothing.
fn leb128(mut number: usize, padded: bool) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        out.push(u8::try_from(number & 0x7f).unwrap_or(0) | 0x80);
        number >>= 7;
        if number == 0 {
            break;
        }
    }
    if padded {
        out.push(0x80);
    }
    if let Some(last) = out.last_mut() {
        *last &= 0x7f;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequence header of two bytes, frame of nine.
    const UNIT: [u8; 15] = [0x0a, 2, 1, 2, 0x32, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9];

    #[test]
    fn obus_fill_packets_and_go_on_in_the_next() {
        let cut = Cut { payload_bytes: 12, ..Cut::default() };
        let expected = [
            // Two elements, the last goes on; first of a sequence.
            vec![0x68, 3, 0x08, 1, 2, 0x30, 1, 2, 3],
            vec![0x90, 4, 5, 6, 7, 8, 9],
        ];
        assert_eq!(payloads(&UNIT, &cut), expected);
    }

    #[test]
    fn each_variant_is_what_it_says() {
        let cut = Cut { counted: false, ..Cut::default() };
        let whole = [&[0x08, 3, 0x08, 1, 2, 10, 0x30][..], &UNIT[6..]].concat();
        assert_eq!(payloads(&UNIT, &cut), [whole]);
        let padded = payloads(&UNIT, &Cut { padded: true, ..cut });
        assert_eq!(padded[0][..6], [0x08, 0x83, 0, 0x08, 1, 2]);
        let apart = payloads(&UNIT, &Cut { apart: true, announced: false, ..Cut::default() });
        assert_eq!(apart, [vec![0x10, 0x08, 1, 2], [&[0x10, 0x30][..], &UNIT[6..]].concat()]);
        let sized = payloads(&UNIT, &Cut { sized: true, delimited: true, ..Cut::default() });
        assert_eq!(sized, [[&[0x38, 2, 0x12, 0, 4][..], &UNIT[..4], &UNIT[4..]].concat()]);
    }
}
