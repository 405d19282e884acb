//! Pictures of JPEG XS. No encoder for it is at hand: codestreams have the marker segments of
//! ISO/IEC 21122-1, annex A, and noise for coefficients. What carries and frames them cannot tell.
//!
//! ```text
//!  boxes        [ jpvs ( jpvi jxpl ) colr ]                    ISO/IEC 21122-3
//!  codestream   SOC CAP PIH CDT WGT | SLH slice | … | SLH slice EOC
//! ```

use super::{AccessUnit, Field};

const WIDTH: u16 = 1_920;
/// Lines of a slice.
const SLICE_LINES: u16 = 16;
/// Of three components with five and two levels of decomposition.
const BANDS: usize = 30;
/// Lines of a frame.
pub const HEIGHT: u16 = 1_080;
/// Frames a second.
pub const RATE: u8 = 25;
/// Ticks of 90 kHz that a frame lasts.
pub const FRAME_TICKS: u64 = 90_000 / 25;

/// A picture: a frame or a field of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// What stands before the codestream where RTP carries it; may be empty.
    pub boxes: Vec<u8>,
    /// The codestream's start.
    pub header: Vec<u8>,
    /// Its slices; the codestream ends with the last one.
    pub slices: Vec<Vec<u8>>,
    /// Presentation time in 90 kHz ticks.
    pub pts: u64,
    /// Which field of a frame it is.
    pub field: Option<Field>,
}

impl Picture {
    /// The codestream.
    pub fn codestream(&self) -> Vec<u8> {
        [&self.header[..], &self.slices.concat()].concat()
    }

    /// What a reader gets.
    pub fn unit(&self) -> AccessUnit {
        let (bytes, pts, field) = (self.codestream(), self.pts, self.field);
        AccessUnit { bytes, pts, dts: pts, key: true, class: "idr", field }
    }
}

/// So many frames, each of one picture or two fields; `slice_bytes` bytes a slice and some more.
pub fn pictures(frames: usize, interlaced: bool, slice_bytes: usize) -> Vec<Picture> {
    let mut noise = 0x9e37_79b9;
    let fields = if interlaced { 2 } else { 1 };
    let mut pictures = Vec::new();
    let mut pts = 90_000;
    for number in 0..frames * fields {
        let field = match (interlaced, number % 2) {
            (false, _) => None,
            (true, 0) => Some(Field::First),
            (true, _) => Some(Field::Second),
        };
        pictures.push(picture(pts, field, slice_bytes, &mut noise));
        pts += FRAME_TICKS / if interlaced { 2 } else { 1 };
    }
    pictures
}

fn picture(pts: u64, field: Option<Field>, slice_bytes: usize, noise: &mut u32) -> Picture {
    let height = if field.is_some() { HEIGHT / 2 } else { HEIGHT };
    let count = height.div_ceil(SLICE_LINES);
    let mut slices: Vec<Vec<u8>> = Vec::new();
    for number in 0..count {
        let [high, low] = number.to_be_bytes();
        let mut slice = vec![0xff, 0x20, 0, 4, high, low];
        let more = usize::from(draw(noise));
        slice.extend((0..slice_bytes + more).map(|_| draw(noise)));
        slices.push(slice);
    }
    if let Some(last) = slices.last_mut() {
        last.extend([0xff, 0x11]);
    }
    let bytes = slices.iter().map(Vec::len).sum();
    Picture { boxes: boxes(field.is_some()), header: header(height, bytes), slices, pts, field }
}

/// The next byte of noise (xorshift32), never the first of a marker.
fn draw(state: &mut u32) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    state.to_be_bytes()[0] & 0x7f
}

/// SOC, CAP, PIH, CDT and WGT. `Lcod` counts them and the slices.
fn header(height: u16, slice_bytes: usize) -> Vec<u8> {
    let mut out = vec![0xff, 0x10, 0xff, 0x50, 0, 2, 0xff, 0x12, 0, 26];
    let length_at = out.len();
    out.extend([0; 4]);
    // Profile Main 4:2:2 10 bit, level 2k-1; size, precinct width, slice height in precincts.
    for value in [0x3540, 0x1000, WIDTH, height, 0, SLICE_LINES / 4] {
        out.extend(value.to_be_bytes());
    }
    // Nc, Ng, Ss, Bw, Fq and Br, Fslc to Cpih, Nlx and Nly, Lhdr to Rm.
    out.extend([3, 4, 8, 18, 8 << 4 | 4, 0, 5 << 4 | 2, 0]);
    // Each component's bit depth and subsampling.
    out.extend([0xff, 0x13, 0, 8, 10, 0x11, 10, 0x21, 10, 0x21]);
    out.extend([0xff, 0x14, 0, u8::try_from(2 + 2 * BANDS).unwrap_or(0)]);
    out.extend((0..2 * BANDS).map(|at| u8::try_from(at / 2).unwrap_or(0)));
    let length = u32::try_from(out.len() + slice_bytes).unwrap_or(0).to_be_bytes();
    out[length_at..length_at + 4].copy_from_slice(&length);
    out
}

/// A box of this type.
fn boxed(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(8 + body.len()).unwrap_or(0);
    [&length.to_be_bytes()[..], name, body].concat()
}

/// brat, and frat: interlace mode, denominator 1.000, frames a second.
fn rate(interlaced: bool) -> [u8; 8] {
    [0, 0, 0, 200, u8::from(interlaced) << 6 | 1, 0, 0, RATE]
}

/// Video support and colour, as they stand in each picture segment of RTP.
fn boxes(interlaced: bool) -> Vec<u8> {
    // schar: 10 bits of 4:2:2; tcod.
    let jpvi = boxed(b"jpvi", &[&rate(interlaced)[..], &[0x80, 0x90, 0, 0, 0, 0]].concat());
    let jxpl = boxed(b"jxpl", &[0x35, 0x40, 0x10, 0x00]);
    let colr = boxed(b"colr", &[5, 0, 0, 0, 1, 0, 1, 0, 1, 0]);
    [boxed(b"jpvs", &[jpvi, jxpl].concat()), colr].concat()
}

/// The elementary stream header of MPEG-TS (H.222.0).
pub fn jxes(interlaced: bool) -> Vec<u8> {
    let rest = [0x80, 0x90, 0x35, 0x40, 0x10, 0x00, 1, 1, 1, 0, 1, 2, 3, 4];
    boxed(b"jxes", &[&rate(interlaced)[..], &rest].concat())
}
