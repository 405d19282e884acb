//! H.264 (RFC 6184, packetization mode 1): a NAL unit a packet, or in fragments (FU-A).

use super::paced::Packet;
use crate::generate::AccessUnit;

/// The kind of a fragment.
const FU_A: u8 = 28;
/// Of a fragment's header: it is the first of its NAL unit.
pub const START: u8 = 0x80;
/// It is the last.
pub const END: u8 = 0x40;

/// The packets of access units with start codes, with payloads of so many bytes at most.
pub fn packets(units: &[AccessUnit], payload_bytes: usize) -> Vec<Packet> {
    let first = units.first().map_or(0, |unit| unit.pts);
    let mut packets = Vec::new();
    for (number, unit) in units.iter().enumerate() {
        for nal in nal_units(&unit.bytes) {
            let payloads = cut(nal, payload_bytes);
            packets.extend(payloads.into_iter().map(|payload| Packet {
                unit: number,
                ticks: unit.pts - first,
                marker: false,
                payload,
            }));
        }
        if let Some(last) = packets.last_mut() {
            last.marker = true;
        }
    }
    packets
}

fn cut(nal: &[u8], payload_bytes: usize) -> Vec<Vec<u8>> {
    if nal.len() <= payload_bytes {
        return vec![nal.to_vec()];
    }
    let mut payloads = Vec::new();
    let mut rest = &nal[1..];
    let mut head = START | nal[0] & 0x1f;
    while !rest.is_empty() {
        let (part, after) = rest.split_at(rest.len().min(payload_bytes - 2));
        head |= if after.is_empty() { END } else { 0 };
        payloads.push([&[nal[0] & 0xe0 | FU_A, head], part].concat());
        (head, rest) = (head & !START, after);
    }
    payloads
}

/// The NAL units behind start codes of three or four bytes.
fn nal_units(bytes: &[u8]) -> Vec<&[u8]> {
    let starts = bytes.windows(3).enumerate().filter(|(_, it)| *it == [0, 0, 1]);
    let starts: Vec<usize> = starts.map(|(at, _)| at + 3).collect();
    let ends = starts.iter().skip(1).map(|next| next - 3).chain([bytes.len()]);
    let units = starts.iter().zip(ends).map(|(start, end)| &bytes[*start..end]);
    units.map(|unit| unit.strip_suffix(&[0]).unwrap_or(unit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_units_go_alone_and_large_ones_in_fragments() {
        let bytes = [&[0, 0, 0, 1, 0x09, 0x10, 0, 0, 1, 0x65][..], &[7; 9]].concat();
        let (pts, dts) = (5, 5);
        let unit = AccessUnit { bytes, pts, dts, key: true, class: "idr", field: None };
        let packets = packets(&[unit], 6);
        let payloads: Vec<&[u8]> = packets.iter().map(|it| it.payload.as_slice()).collect();
        let fragments: [&[u8]; 3] =
            [&[0x7c, 0x85, 7, 7, 7, 7], &[0x7c, 5, 7, 7, 7, 7], &[0x7c, 0x45, 7]];
        assert_eq!(payloads[0], [0x09, 0x10]);
        assert_eq!(payloads[1..], fragments);
        let markers: Vec<bool> = packets.iter().map(|it| it.marker).collect();
        assert_eq!(markers, [false, false, false, true]);
    }
}
