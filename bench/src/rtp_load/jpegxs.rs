//! JPEG XS as RTP payload in codestream mode (RFC 9134). The codestreams have the marker segments of
//! ISO/IEC 21122-1 and noise for coefficients: receivers of packets cannot tell.

use anyhow::{Result, ensure};

use super::media::{CLOCK_HZ, PAYLOAD_MAX, Packets};
use crate::tag::{self, Tag};

/// Payload header: packets in order, codestream mode, progressive.
const HEADER_BYTES: usize = 4;
const IN_ORDER: u32 = 1 << 31;
const LAST: u32 = 1 << 29;
const WIDTH: u16 = 1_920;
const HEIGHT: u16 = 1_080;
/// Lines of a slice.
const SLICE_LINES: u16 = 16;
/// Of three components with five and two levels of decomposition.
const BANDS: usize = 30;
/// Pictures that differ in a loop.
const PICTURES: u32 = 2;
const EOC: [u8; 2] = [0xff, 0x11];

/// The packets of a loop of pictures of `frame_bytes` each.
pub(crate) fn packets(frame_bytes: usize, frames_per_s: u32) -> Result<Packets> {
    ensure!(frames_per_s > 0, "pictures a second must be positive");
    let ticks = u32::try_from(CLOCK_HZ)? / frames_per_s;
    let mut packets = Packets { period: PICTURES * ticks, frames: PICTURES, ..Packets::default() };
    for frame in 0..PICTURES {
        let (picture, tag) = picture(frame_bytes, frame)?;
        let pieces = picture.chunks(PAYLOAD_MAX - HEADER_BYTES);
        let last = pieces.len() - 1;
        for (at, piece) in pieces.enumerate() {
            // 4.3: SEP counts the overflows of P.
            let index = u32::try_from(at)? & 0x3f_ffff;
            let end = if at == last { LAST } else { 0 };
            let word = IN_ORDER | end | (frame & 0x1f) << 22 | index;
            let payload = [&word.to_be_bytes()[..], piece].concat();
            packets.push(&payload, frame * ticks, at == last, (at == 0).then_some(tag));
        }
    }
    Ok(packets)
}

/// A codestream with a blank tag, and the tag to be written there.
fn picture(bytes: usize, frame: u32) -> Result<(Vec<u8>, Tag)> {
    let header = header(u32::try_from(bytes)?);
    let comment = comment();
    let slices = usize::from(HEIGHT.div_ceil(SLICE_LINES));
    let fixed = header.len() + comment.len() + slices * 6 + EOC.len();
    ensure!(bytes > fixed + slices, "a picture of {bytes} bytes is too small");
    let data = bytes - fixed;
    let mut rest = Vec::with_capacity(bytes);
    let mut noise = frame.wrapping_mul(0x9e37_79b9) | 1;
    for slice in 0..slices {
        let number = u16::try_from(slice)?.to_be_bytes();
        rest.extend_from_slice(&[0xff, 0x20, 0, 4, number[0], number[1]]);
        let share = data * (slice + 1) / slices - data * slice / slices;
        rest.extend((0..share).map(|_| draw(&mut noise)));
    }
    rest.extend_from_slice(&EOC);
    let mut content = crc32fast::Hasher::new();
    content.update(&header);
    content.update(&rest);
    let tag = Tag {
        stream: 0,
        frame,
        length: u32::try_from(header.len() + comment.len() + rest.len())?,
        crc: content.finalize(),
    };
    Ok(([&header[..], &comment, &rest].concat(), tag))
}

/// The next byte of noise (xorshift32), never the first of a marker.
fn draw(state: &mut u32) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    state.to_be_bytes()[0] & 0x7f
}

/// SOC, CAP, PIH, CDT and WGT (ISO/IEC 21122-1, annex A).
fn header(codestream_bytes: u32) -> Vec<u8> {
    let mut out = vec![0xff, 0x10, 0xff, 0x50, 0, 2, 0xff, 0x12, 0, 26];
    out.extend_from_slice(&codestream_bytes.to_be_bytes());
    // Profile Main 4:2:2 10 bit, level 2k-1; size, precinct width, slice height in precincts.
    for value in [0x3540, 0x1000, WIDTH, HEIGHT, 0, SLICE_LINES / 4] {
        out.extend_from_slice(&value.to_be_bytes());
    }
    // Nc, Ng, Ss, Bw, Fq and Br, Fslc to Cpih, Nlx and Nly, Lhdr to Rm.
    out.extend_from_slice(&[3, 4, 8, 18, 8 << 4 | 4, 0, 5 << 4 | 2, 0]);
    // Each component's bit depth and subsampling.
    out.extend_from_slice(&[0xff, 0x13, 0, 8, 10, 0x11, 10, 0x21, 10, 0x21]);
    out.extend_from_slice(&[0xff, 0x14, 0, u8::try_from(2 + 2 * BANDS).unwrap_or(0)]);
    out.extend((0..2 * BANDS).map(|at| u8::try_from(at / 2).unwrap_or(0)));
    out
}

/// A COM segment that is as long as the tag's NAL unit, and has its text where that has it.
fn comment() -> [u8; tag::NAL_LEN] {
    let mut segment = tag::blank_nal();
    let length = u8::try_from(tag::NAL_LEN - 2).unwrap_or(0);
    // The type of comments of applications.
    segment[..7].copy_from_slice(&[0xff, 0x15, 0, length, 0x80, 0, 0]);
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_as_long_as_asked_and_its_packets_count() {
        let packets = packets(2_600_000, 60).unwrap();
        let first: Vec<_> =
            packets.planned.iter().take_while(|planned| planned.timestamp == 0).collect();
        assert_eq!(first.iter().map(|it| it.len - HEADER_BYTES).sum::<usize>(), 2_600_000);
        assert!(first.len() > 2_048 || first.len() == 2_600_000usize.div_ceil(PAYLOAD_MAX - 4));
        let word = |at: usize| {
            let start = packets.planned[at].start;
            u32::from_be_bytes(packets.bytes[start..start + 4].try_into().unwrap())
        };
        assert_eq!(word(1) & 0x3f_ffff, 1);
        assert_eq!(word(first.len() - 1) >> 29, 0b101, "in order, codestream mode, last");
        assert_eq!(packets.planned[first.len()].timestamp, 1_500);
    }
}
