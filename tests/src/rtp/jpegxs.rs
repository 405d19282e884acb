//! JPEG XS (RFC 9134).
//!
//! ```text
//!  | T K L I(2) F(5) SEP(11) P(11) |  4.3
//! ```

use super::paced::Packet;
use crate::generate::Field;
use crate::generate::jpegxs::Picture;

/// SEP of the header segment.
const HEADER_SEGMENT: u32 = 0x7ff;
/// Slice numbers are modulo this.
const SLICES: u32 = 2_047;

/// How a sender packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A picture is one unit of packets.
    Codestream,
    /// The headers are one, and each slice.
    Slice,
    /// The same, and the packets of a picture come in any order but that of their marker.
    SliceInAnyOrder,
}

/// How a sender cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Units of packets.
    pub mode: Mode,
    /// Bytes of a codestream in a packet at most.
    pub body_bytes: usize,
    /// Boxes stand before each codestream.
    pub boxed: bool,
    /// Both fields of a frame have one number F, as the text reads; else each has its own, as
    /// senders do.
    pub frame_counted: bool,
    /// Both fields of a frame have one timestamp.
    pub frame_stamped: bool,
}

impl Cut {
    /// As senders do.
    pub const fn new(mode: Mode) -> Self {
        Self { mode, body_bytes: 1_200, boxed: true, frame_counted: false, frame_stamped: false }
    }
}

/// The packets of all pictures.
pub fn packets(pictures: &[Picture], cut: &Cut) -> Vec<Packet> {
    let first = pictures.first().map_or(0, |picture| picture.pts);
    let mut stamp = first;
    let mut packets = Vec::new();
    for (number, picture) in pictures.iter().enumerate() {
        let second = picture.field == Some(Field::Second);
        if !(second && cut.frame_stamped) {
            stamp = picture.pts;
        }
        let frame = if cut.frame_counted && picture.field.is_some() { number / 2 } else { number };
        let payloads = payloads(picture, frame, cut);
        let last = payloads.len() - 1;
        for (at, payload) in payloads.into_iter().enumerate() {
            let (ticks, marker) = (stamp - first, at == last);
            packets.push(Packet { unit: number, ticks, marker, payload });
        }
    }
    packets
}

fn payloads(picture: &Picture, frame: usize, cut: &Cut) -> Vec<Vec<u8>> {
    let boxes = if cut.boxed { &picture.boxes[..] } else { &[] };
    let header = [boxes, &picture.header].concat();
    let in_slices = cut.mode != Mode::Codestream;
    // Each with its SEP, where that is the unit's.
    let units: Vec<(u32, Vec<u8>)> = if in_slices {
        let slices = (0..).zip(&picture.slices);
        let slices = slices.map(|(number, slice): (u32, _)| (number % SLICES, slice.clone()));
        std::iter::once((HEADER_SEGMENT, header)).chain(slices).collect()
    } else {
        vec![(0, [header, picture.slices.concat()].concat())]
    };
    let interlace = match picture.field {
        None => 0,
        Some(Field::First) => 2,
        Some(Field::Second) => 3,
    };
    let common = flag(cut.mode != Mode::SliceInAnyOrder, 31)
        | flag(in_slices, 30)
        | interlace << 27
        | (u32::try_from(frame % 32).unwrap_or(0)) << 22;
    let mut payloads = Vec::new();
    for (separator, bytes) in units {
        let parts: Vec<&[u8]> = bytes.chunks(cut.body_bytes).collect();
        for (number, part) in (0_u32..).zip(&parts) {
            let last = number as usize + 1 == parts.len();
            // In codestream mode SEP counts the overflows of P.
            let place = if in_slices { (separator << 11) | (number % 2_048) } else { number };
            let word = common | flag(last, 29) | place;
            payloads.push([&word.to_be_bytes()[..], part].concat());
        }
    }
    if cut.mode == Mode::SliceInAnyOrder {
        let len = payloads.len();
        // Any order will do; the marked packet stays the last.
        payloads[..len - 1].rotate_left(len / 3);
        payloads[..len - 1].reverse();
    }
    payloads
}

fn flag(set: bool, bit: u32) -> u32 {
    u32::from(set) << bit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::jpegxs::pictures;

    fn words(packets: &[Packet]) -> Vec<u32> {
        let word = |packet: &Packet| {
            u32::from_be_bytes(packet.payload[..4].try_into().expect("four bytes"))
        };
        packets.iter().map(word).collect()
    }

    #[test]
    fn codestream_mode_counts_the_packets_of_a_picture() {
        let cut = Cut { body_bytes: 20, ..Cut::new(Mode::Codestream) };
        let pictures = pictures(2, false, 900);
        let packets = packets(&pictures, &cut);
        let words = words(&packets);
        let second = packets.iter().position(|packet| packet.unit == 1).expect("two pictures");
        assert!(second > 2_048);
        assert_eq!(words[..2], [0x8000_0000, 0x8000_0001]);
        assert_eq!(words[2_048], 0x8000_0800, "SEP counts on");
        assert_eq!(words[second - 1] & 0xffc0_0000, 0xa000_0000, "the last one");
        assert_eq!(words[second], 0x8040_0000, "F");
        let body = |unit: usize| {
            let packets = packets.iter().filter(move |packet| packet.unit == unit);
            packets.flat_map(|packet| packet.payload[4..].to_vec()).collect::<Vec<_>>()
        };
        assert_eq!(body(1), [pictures[1].boxes.clone(), pictures[1].codestream()].concat());
    }

    #[test]
    fn slice_mode_numbers_units_and_the_packets_in_them() {
        let cut = Cut { body_bytes: 500, boxed: false, ..Cut::new(Mode::Slice) };
        let packets = packets(&pictures(1, true, 900), &cut);
        let words = words(&packets);
        // The header segment, the first slice, fields.
        assert_eq!(words[0], 0xc000_0000 | 1 << 29 | 2 << 27 | 0x7ff << 11);
        assert_eq!(words[1..3], [0xc000_0000 | 2 << 27, 0xc000_0000 | 1 << 29 | 2 << 27 | 1]);
        let second = packets.iter().position(|packet| packet.unit == 1).expect("two fields");
        assert_eq!(words[second] >> 22, 0b11_1110_0001);
        let marked = packets.iter().filter(|packet| packet.marker).count();
        assert_eq!((marked, packets[second].ticks), (2, 1_800));
    }
}
