//! Access units that prove themselves: each says which one of which stream it is, and all its
//! bytes follow from that. Whoever has one can tell whether it is whole without having kept it.
//!
//! ```text
//!  delimiter | parameter sets (key only) | SEI: stream, number | slice header | filler
//! ```
//!
//! Headers are real, so that framing and classification have their work; what follows them is not
//! meant to be decoded.

use super::h264::{Bits, nal, picture_parameters};

/// Ticks between two units: 25 a second.
pub const UNIT_TICKS: u64 = 3_600;

const MARK: &[u8; 16] = b"penstock numbers";
/// Eight hexadecimal digits each: no byte is 0, so nothing looks like a start code.
const DIGITS: usize = 16;

/// One endless stream of such units.
#[derive(Debug, Clone)]
pub struct Numbered {
    stream: u32,
    gop: u32,
    key_bytes: usize,
    other_bytes: usize,
    parameters: Vec<u8>,
}

impl Numbered {
    /// `gop` units from key to key; key units of about `key_bytes`, others of about `other_bytes`.
    pub fn new(stream: u32, gop: u32, key_bytes: usize, other_bytes: usize) -> Self {
        let mut parameters = nal(7, 3, &sequence_parameters(), 4);
        parameters.extend(nal(8, 3, &picture_parameters(), 4));
        Self { stream, gop: gop.max(1), key_bytes, other_bytes, parameters }
    }

    /// Whether a decoder can start at this unit.
    pub const fn is_key(&self, number: u32) -> bool {
        number.is_multiple_of(self.gop)
    }

    /// The next number at which a decoder can start.
    pub const fn next_key(&self, number: u32) -> u32 {
        number.next_multiple_of(self.gop)
    }

    /// A unit's bytes.
    pub fn unit(&self, number: u32) -> Vec<u8> {
        let key = self.is_key(number);
        let size = if key { self.key_bytes } else { self.other_bytes };
        let mut bytes = Vec::with_capacity(size + 256);
        bytes.extend(nal(9, 0, &[if key { 0x10 } else { 0x30 }], 4));
        if key {
            bytes.extend_from_slice(&self.parameters);
        }
        bytes.extend(nal(6, 0, &message(self.stream, number), 4));
        bytes.extend(nal(if key { 5 } else { 1 }, 2, &self.slice_header(number, key), 3));
        // Not every unit of a kind is equally long.
        let size = size + usize::try_from(number % 7).unwrap_or(0) * 31;
        fill(&mut bytes, size, self.stream, number);
        bytes
    }

    /// Which unit of this stream a frame says it is.
    pub fn number_of(&self, frame: &[u8]) -> Option<u32> {
        let window = &frame[..frame.len().min(256)];
        let at = window.windows(MARK.len()).position(|it| it == MARK)? + MARK.len();
        let digits = std::str::from_utf8(frame.get(at..at + DIGITS)?).ok()?;
        let (stream, number) = digits.split_at_checked(8)?;
        let parse = |text| u32::from_str_radix(text, 16).ok();
        (parse(stream)? == self.stream).then(|| parse(number))?
    }

    /// A slice that covers the picture, up to where its macroblocks begin.
    fn slice_header(&self, number: u32, key: bool) -> Vec<u8> {
        let in_gop = number % self.gop;
        let mut bits = Bits::default();
        bits.exp_golomb(0); // first_mb_in_slice
        bits.exp_golomb(if key { 7 } else { 5 }); // all slices of the picture are I, or P
        bits.exp_golomb(0); // pic_parameter_set_id
        bits.put(in_gop % 16, 4); // frame_num
        if key {
            bits.exp_golomb(number / self.gop % 2); // idr_pic_id
        }
        bits.put(in_gop * 2 % 256, 8); // pic_order_cnt_lsb
        bits.put(0, if key { 2 } else { 3 }); // marking; reference count, list modification, marking
        bits.exp_golomb(0); // slice_qp_delta
        bits.exp_golomb(1); // no deblocking
        bits.finish()
    }
}

/// 7.3.2.1: Main profile, level 3, progressive, no reordering, without VUI.
fn sequence_parameters() -> Vec<u8> {
    let mut bits = Bits::default();
    bits.put(77, 8);
    bits.put(0, 8); // constraint flags
    bits.put(30, 8); // level_idc
    for value in [0, 0, 0, 4, 2] {
        // id, log2_max_frame_num - 4, poc type, log2_max_poc_lsb - 4, reference frames
        bits.exp_golomb(value);
    }
    bits.put(0, 1); // gaps_in_frame_num
    bits.exp_golomb(3); // 4 macroblocks wide
    bits.exp_golomb(3); // and high
    bits.put(1, 1); // frame_mbs_only_flag
    bits.put(1, 1); // direct_8x8_inference_flag
    bits.put(0, 2); // cropping, VUI: none
    bits.finish()
}

/// Unregistered user data with stream and number.
fn message(stream: u32, number: u32) -> Vec<u8> {
    let mut payload = vec![5, 32];
    payload.extend_from_slice(MARK);
    payload.extend(format!("{stream:08x}{number:08x}").bytes());
    payload.push(0x80);
    payload
}

/// Fills up with odd bytes that follow from stream and number.
fn fill(bytes: &mut Vec<u8>, size: usize, stream: u32, number: u32) {
    let mut state = (u64::from(stream) << 32 | u64::from(number)) ^ 0x9e37_79b9_7f4a_7c15;
    while bytes.len() < size {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = (state ^ state >> 29) | 0x0101_0101_0101_0101;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_tells_its_number_and_its_bytes_follow_from_it() {
        let stream = Numbered::new(7, 10, 5_000, 900);
        for number in [0, 1, 10, 77, u32::MAX] {
            let unit = stream.unit(number);
            assert_eq!(stream.number_of(&unit), Some(number));
            assert_eq!(unit, stream.unit(number));
            assert_eq!(Numbered::new(8, 10, 5_000, 900).number_of(&unit), None);
            // Start codes only where a unit's parts begin.
            let starts = unit.windows(3).filter(|it| *it == [0, 0, 1]).count();
            assert_eq!(starts, if stream.is_key(number) { 5 } else { 3 });
        }
        assert_ne!(stream.unit(1)[100..], stream.unit(2)[100..]);
        assert_eq!((stream.next_key(20), stream.next_key(21)), (20, 30));
    }
}
