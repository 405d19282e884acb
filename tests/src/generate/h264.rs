//! A valid H.264 stream of 64x64 pixels with field pictures, by an own bit writer.
//!
//! Each group of pictures begins with an IDR field (all macroblocks I_PCM) and a P field of
//! skipped macroblocks; P pictures follow, as field pairs or, where asked, whole frames: picture
//! adaptive frame/field coding. x264 does not make such streams. An SEI message of varying length
//! makes each access unit unlike all others.

use super::{AccessUnit, Field};

/// Macroblocks of the picture: 4 wide, 4 high; a field has half the rows.
const WIDTH_MBS: u32 = 4;
const FRAME_MBS: u32 = 16;
/// Ticks of a frame at 25 frames a second.
pub const FRAME_TICKS: u64 = 3600;

/// What to generate.
#[derive(Debug, Clone, Copy)]
pub struct Paff {
    /// Frames, each a field pair or a frame picture.
    pub frames: u32,
    /// Frames from one IDR picture to the next.
    pub gop: u32,
    /// Each so-manieth frame of a group is a frame picture; 0 for none.
    pub frame_picture_every: u32,
    /// Begins each access unit with a delimiter.
    pub delimiters: bool,
    /// Slices of a picture, 1 or 2.
    pub slices: u32,
    /// Presentation time of the first field.
    pub start: u64,
    /// Bytes of the SEI message beyond its least; grows and shrinks from unit to unit.
    pub padding: u32,
}

impl Default for Paff {
    fn default() -> Self {
        Self {
            frames: 24,
            gop: 8,
            frame_picture_every: 0,
            delimiters: true,
            slices: 1,
            start: 900_000,
            padding: 600,
        }
    }
}

/// Which part of a frame a picture codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Structure {
    Frame,
    Top,
    Bottom,
}

/// The access units in decoding order, which is that of presentation.
pub fn paff(config: &Paff) -> Vec<AccessUnit> {
    let mut units = Vec::new();
    for frame in 0..config.frames {
        let in_gop = frame % config.gop;
        let whole = config.frame_picture_every > 0
            && in_gop > 0
            && in_gop.is_multiple_of(config.frame_picture_every);
        let structures: &[Structure] =
            if whole { &[Structure::Frame] } else { &[Structure::Top, Structure::Bottom] };
        for structure in structures {
            units.push(access_unit(config, frame, *structure, units.len()));
        }
    }
    units
}

fn access_unit(config: &Paff, frame: u32, structure: Structure, number: usize) -> AccessUnit {
    let in_gop = frame % config.gop;
    let key = in_gop == 0 && structure == Structure::Top;
    let mut bytes = Vec::new();
    if config.delimiters {
        bytes.extend(nal(9, 0, &[if key { 0x10 } else { 0x30 }], 4)); // I, or I and P slices
    }
    if key {
        bytes.extend(nal(7, 3, &sequence_parameters(), 4));
        bytes.extend(nal(8, 3, &picture_parameters(), 4));
    }
    bytes.extend(nal(6, 0, &message(config, number), 4));
    let macroblocks = match structure {
        Structure::Frame => FRAME_MBS,
        Structure::Top | Structure::Bottom => FRAME_MBS / 2,
    };
    let share = macroblocks / config.slices;
    for slice in 0..config.slices {
        let payload = slice_data(slice * share, share, key, in_gop, frame / config.gop, structure);
        bytes.extend(nal(if key { 5 } else { 1 }, 2, &payload, 3));
    }
    let half = if structure == Structure::Bottom { FRAME_TICKS / 2 } else { 0 };
    let pts = config.start + u64::from(frame) * FRAME_TICKS + half;
    AccessUnit {
        bytes,
        pts,
        dts: pts,
        key,
        class: if key { "idr" } else { "p" },
        field: match structure {
            Structure::Frame => None,
            Structure::Top => Some(Field::First),
            Structure::Bottom => Some(Field::Second),
        },
    }
}

/// 7.3.2.1: Main profile, level 3, `frame_mbs_only_flag` 0, 25 frames a second, no reordering.
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
    bits.exp_golomb(WIDTH_MBS - 1);
    bits.exp_golomb(FRAME_MBS / WIDTH_MBS / 2 - 1); // map units are pairs of rows
    bits.put(0, 1); // frame_mbs_only_flag
    bits.put(0, 1); // mb_adaptive_frame_field_flag
    bits.put(1, 1); // direct_8x8_inference_flag
    bits.put(0, 1); // cropping
    bits.put(1, 1); // VUI
    bits.put(0, 4); // aspect ratio, overscan, video signal, chroma location: none
    bits.put(1, 1); // timing
    bits.put(1, 32);
    bits.put(50, 32); // two ticks a frame
    bits.put(1, 1); // fixed rate
    bits.put(0, 3); // NAL HRD, VCL HRD, pic_struct: none
    bits.put(1, 1); // restrictions
    bits.put(1, 1);
    for value in [0, 0, 10, 10, 0, 2] {
        // ..., max_num_reorder_frames 0, max_dec_frame_buffering 2
        bits.exp_golomb(value);
    }
    bits.finish()
}

/// 7.3.2.2: CAVLC, one reference, deblocking under control of the slice.
pub(super) fn picture_parameters() -> Vec<u8> {
    let mut bits = Bits::default();
    bits.exp_golomb(0); // pic_parameter_set_id
    bits.exp_golomb(0); // seq_parameter_set_id
    bits.put(0, 2); // CAVLC, no bottom_field_pic_order
    for _ in 0..3 {
        bits.exp_golomb(0); // slice groups, references of list 0 and 1
    }
    bits.put(0, 3); // weighted prediction
    for _ in 0..3 {
        bits.exp_golomb(0); // quantiser offsets
    }
    bits.put(0b100, 3); // deblocking_filter_control, constrained_intra, redundant_pic_cnt
    bits.finish()
}

/// Unregistered user data with the unit's number and padding.
fn message(config: &Paff, number: usize) -> Vec<u8> {
    let number = u32::try_from(number).unwrap_or(0);
    let padding = config.padding * (number % 5) / 4;
    let mut data = b"penstock test \0\0".to_vec();
    data.extend(number.to_be_bytes());
    data.extend((0..padding).map(|at| (at * 7 + number).to_le_bytes()[0]));
    let mut payload = vec![5];
    payload.resize(1 + data.len() / 255, 0xFF);
    payload.push((data.len() % 255).to_le_bytes()[0]);
    payload.extend(data);
    payload.push(0x80);
    payload
}

/// 7.3.3 and 7.3.4: a slice of I_PCM macroblocks in the IDR field, of skipped ones elsewhere.
fn slice_data(
    first: u32,
    macroblocks: u32,
    key: bool,
    in_gop: u32,
    gop: u32,
    structure: Structure,
) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.exp_golomb(first);
    bits.exp_golomb(if key { 7 } else { 5 }); // all slices of the picture are I, or P
    bits.exp_golomb(0); // pic_parameter_set_id
    bits.put(in_gop % 16, 4); // frame_num
    bits.put(u32::from(structure != Structure::Frame), 1);
    if structure != Structure::Frame {
        bits.put(u32::from(structure == Structure::Bottom), 1);
    }
    if key {
        bits.exp_golomb(gop % 2); // idr_pic_id differs from the IDR picture before
    }
    let order = in_gop * 2 + u32::from(structure == Structure::Bottom);
    bits.put(order % 256, 8);
    if key {
        bits.put(0, 2); // no_output_of_prior_pics, long_term_reference
    } else {
        bits.put(0, 3); // reference count, list modification, adaptive marking: none
    }
    bits.exp_golomb(0); // slice_qp_delta
    bits.exp_golomb(1); // no deblocking
    if key {
        (first..first + macroblocks).for_each(|at| bits.pcm(at + gop));
    } else {
        bits.exp_golomb(macroblocks); // mb_skip_run
    }
    bits.finish()
}

/// A NAL unit with its start code and emulation prevention bytes.
pub(super) fn nal(kind: u8, reference: u8, payload: &[u8], start_code: usize) -> Vec<u8> {
    let mut bytes = vec![0; start_code - 1];
    bytes.extend([1, reference << 5 | kind]);
    let mut zeros = 0;
    for &byte in payload {
        if zeros >= 2 && byte <= 3 {
            bytes.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        bytes.push(byte);
    }
    bytes
}

/// Writes bits, the highest first.
#[derive(Debug, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    pub(super) fn put(&mut self, value: u32, count: u32) {
        for shift in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if value >> shift & 1 != 0
                && let Some(last) = self.bytes.last_mut()
            {
                *last |= 0x80 >> (self.used % 8);
            }
            self.used += 1;
        }
    }

    /// ue(v), 9.1.
    pub(super) fn exp_golomb(&mut self, value: u32) {
        let length = (value + 1).ilog2();
        self.put(0, length);
        self.put(value + 1, length + 1);
    }

    /// An I_PCM macroblock whose brightness tells its place.
    fn pcm(&mut self, seed: u32) {
        self.exp_golomb(25); // mb_type
        while !self.used.is_multiple_of(8) {
            self.put(0, 1);
        }
        for luma in 0..256 {
            self.put(16 + (seed * 23 + luma) % 200, 8);
        }
        for _chroma in 0..128 {
            self.put(128, 8);
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.put(1, 1);
        self.bytes
    }
}
