//! JPEG XS: the header of a codestream (ISO/IEC 21122-1, annex A) and the boxes before it
//! (ISO/IEC 21122-3; H.222.0 for those of MPEG-TS).
//!
//! ```text
//!  codestream   SOC ff10 | CAP ff50 | PIH ff12 | CDT ff13 | … | SLH ff20 slice … | EOC ff11
//!  MPEG-TS      jxes | codestream [ codestream ]         one for a frame, two for its fields
//!  RTP          [ jpvs ( jpvi jxpl ) ] [ colr ] | codestream
//! ```
//!
//! Clause numbers were not at hand for all of it: the layout of `jxes` is that of GStreamer's
//! multiplexer, that of `frat` the one TSDuck shows of the descriptor in the program map.

use crate::format::rate;
use crate::rbsp::BitReader;
use crate::sink::Codec;
use crate::{Chroma, Colour, Error, VideoFormat};

/// What a codestream begins with.
pub const START: [u8; 2] = [0xff, 0x10];
/// Bytes of a codestream with which [`format`](fn@format) has all it looks for.
pub const HEADER_BYTES: usize = 256;
/// Length and type, with which each box begins.
pub const BOX_HEADER_BYTES: usize = 8;
/// Longest box that is taken for one.
pub const BOX_BYTES_MAX: usize = 4096;
/// Bytes of a box with which [`Description::read`] has all it looks for.
pub const BOX_PREFIX_BYTES: usize = 128;

const CAPABILITIES: u16 = 0xff50;
const PICTURE_HEADER: u16 = 0xff12;
const PICTURE_HEADER_BYTES: u16 = 26;
const COMPONENT_TABLE: u16 = 0xff13;
const SLICE_HEADER: u16 = 0xff20;
/// Marker segments before the first slice; none occurs twice but comments.
const SEGMENTS_MAX: usize = 32;

/// The length of the box that begins here, if one does: its header is whole, its type is one of
/// those that stand before codestreams, its length of sense.
pub fn box_length(header: &[u8; BOX_HEADER_BYTES]) -> Option<usize> {
    let [a, b, c, d, name @ ..] = *header;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    let known = matches!(&name, b"jxes" | b"jpvs" | b"jpvi" | b"jxpl" | b"colr");
    (known && (BOX_HEADER_BYTES..=BOX_BYTES_MAX).contains(&length)).then_some(length)
}

/// What boxes say of the codestreams behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Description {
    /// Frames a second, in lowest terms.
    pub frame_rate: Option<(u32, u32)>,
    /// A frame has two fields, each a codestream.
    pub interlaced: bool,
    /// Colour description, where one is given.
    pub colour: Option<Colour>,
}

impl Description {
    /// Adds what a box says, header and all; a longer one may be cut to
    /// [`BOX_PREFIX_BYTES`]. What is not there is left as it was.
    pub fn read(&mut self, bytes: &[u8]) {
        // A box that ends early says what it says up to there.
        let _cut_short = self.read_box(bytes);
    }

    fn read_box(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let (header, body) = bytes.split_first_chunk::<8>().ok_or(Error::Truncated)?;
        let mut bits = BitReader::plain(body);
        match header {
            [.., b'j', b'x', b'e', b's'] => {
                bits.skip(32)?; // brat
                self.read_rate(&mut bits)?;
                bits.skip(16 + 16 + 16)?; // schar, Ppih, Plev
                self.colour = Some(read_colour(&mut bits, 8)?);
            }
            // The boxes in it; the first is the one with the rate.
            [.., b'j', b'p', b'v', b's'] => return self.read_nested(body),
            [.., b'j', b'p', b'v', b'i'] => {
                bits.skip(32)?; // brat
                self.read_rate(&mut bits)?;
            }
            [.., b'c', b'o', b'l', b'r'] => {
                let method = bits.bits(8)?;
                bits.skip(8 + 8)?; // PREC, APPROX
                if method == 5 {
                    self.colour = Some(read_colour(&mut bits, 16)?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// One level of nesting, no more: a box in a box in a box is none of these.
    fn read_nested(&mut self, mut boxes: &[u8]) -> Result<(), Error> {
        while let Some(header) = boxes.first_chunk::<BOX_HEADER_BYTES>() {
            let length = box_length(header).ok_or(Error::OutOfRange("LBox"))?;
            let part = boxes.get(..length).unwrap_or(boxes);
            if !header.ends_with(b"jpvs") {
                self.read(part);
            }
            boxes = boxes.get(length..).unwrap_or_default();
        }
        Ok(())
    }

    /// frat: interlace_mode 2, denominator code 6 (1 is 1.000, 2 is 1.001), reserved 8, numerator 16.
    fn read_rate(&mut self, bits: &mut BitReader<'_>) -> Result<(), Error> {
        self.interlaced = bits.bits(2)? != 0;
        let denominator = bits.bits(6)?;
        bits.skip(8)?;
        let frames = u64::from(bits.bits(16)?);
        self.frame_rate = match denominator {
            1 => rate(frames, 1),
            2 => rate(frames * 1_000, 1_001),
            _ => None,
        };
        Ok(())
    }
}

/// Code points of `width` bits each, and the range flag.
fn read_colour(bits: &mut BitReader<'_>, width: u8) -> Result<Colour, Error> {
    let mut point = || bits.bits(width).map(|point| u8::try_from(point).unwrap_or(2));
    let (primaries, transfer, matrix) = (point()?, point()?, point()?);
    Ok(Colour { primaries, transfer, matrix, full_range: bits.flag()? })
}

/// What the first bytes of a codestream and the boxes before it say of its pictures.
pub fn format(codestream: &[u8], description: &Description) -> Result<VideoFormat, Error> {
    let mut rest = codestream.strip_prefix(&START).ok_or(Error::NoSync)?;
    let mut picture = None;
    for _ in 0..SEGMENTS_MAX {
        let (marker, body, after) = segment(rest)?;
        match marker {
            PICTURE_HEADER => picture = Some(PictureHeader::parse(body)?),
            COMPONENT_TABLE => {
                let picture = picture.ok_or(Error::OutOfRange("PIH"))?;
                return picture.format(body, description);
            }
            CAPABILITIES | 0xff14..=0xff19 => {}
            _ => return Err(Error::OutOfRange("marker")),
        }
        rest = after;
    }
    Err(Error::OutOfRange("marker"))
}

/// The next marker segment: its marker, what is behind its length, and what is behind it.
fn segment(bytes: &[u8]) -> Result<(u16, &[u8], &[u8]), Error> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(Error::Truncated)?;
    let [a, b, c, d] = *head;
    let marker = u16::from_be_bytes([a, b]);
    if marker == SLICE_HEADER {
        return Err(Error::OutOfRange("CDT"));
    }
    // The length counts itself.
    let length = u16::from_be_bytes([c, d]).checked_sub(2).ok_or(Error::OutOfRange("length"))?;
    let (body, after) = rest.split_at_checked(usize::from(length)).ok_or(Error::Truncated)?;
    Ok((marker, body, after))
}

/// PIH (A.4.3), as far as it tells.
#[derive(Debug, Clone, Copy)]
struct PictureHeader {
    profile: u16,
    level: u16,
    width: u16,
    height: u16,
    components: u8,
}

impl PictureHeader {
    fn parse(body: &[u8]) -> Result<Self, Error> {
        if body.len() + 2 != usize::from(PICTURE_HEADER_BYTES) {
            return Err(Error::OutOfRange("Lpih"));
        }
        let mut bits = BitReader::plain(body);
        let _codestream_bytes = bits.bits(32)?;
        let (profile, level) = (bits.bits16(16)?, bits.bits16(16)?);
        let (width, height) = (bits.bits16(16)?, bits.bits16(16)?);
        let _precinct_width = bits.bits(16)?;
        let _slice_height = bits.bits(16)?;
        let components = bits.bits8(8)?;
        if width == 0 || height == 0 {
            return Err(Error::OutOfRange("Wf, Hf"));
        }
        if !(1..=8).contains(&components) {
            return Err(Error::OutOfRange("Nc"));
        }
        Ok(Self { profile, level, width, height, components })
    }

    /// With the component table (A.4.5).
    fn format(&self, table: &[u8], description: &Description) -> Result<VideoFormat, Error> {
        if table.len() != 2 * usize::from(self.components) {
            return Err(Error::OutOfRange("Lcdt"));
        }
        let mut components = table.as_chunks::<2>().0.iter();
        let Some([luma_bits, _]) = components.next() else { return Err(Error::Truncated) };
        let (chroma_bits, chroma) = match components.next() {
            Some([bits, 0x11]) => (bits, Chroma::C444),
            Some([bits, 0x21]) => (bits, Chroma::C422),
            Some([bits, 0x22]) => (bits, Chroma::C420),
            Some(_) => return Err(Error::OutOfRange("sx, sy")),
            None => (luma_bits, Chroma::Mono),
        };
        if !(8..=16).contains(luma_bits) || !(8..=16).contains(chroma_bits) {
            return Err(Error::OutOfRange("Bc"));
        }
        let [profile_idc, _] = self.profile.to_be_bytes();
        let [level_idc, _sublevel] = self.level.to_be_bytes();
        let fields = if description.interlaced { 2 } else { 1 };
        let (width, height) = (u32::from(self.width), fields * u32::from(self.height));
        Ok(VideoFormat {
            codec: Codec::JpegXs,
            profile_idc,
            profile: profile(self.profile),
            level_idc,
            level: level(level_idc),
            width,
            height,
            coded_width: width,
            coded_height: height,
            bit_depth_luma: *luma_bits,
            bit_depth_chroma: *chroma_bits,
            chroma,
            frame_rate: description.frame_rate,
            field_coded: description.interlaced,
            sar: (0, 0),
            colour: description.colour.unwrap_or_default(),
        })
    }
}

/// Ppih (ISO/IEC 21122-2, annex A).
const fn profile(ppih: u16) -> &'static str {
    match ppih {
        0x0000 => "Unrestricted",
        0x1500 => "Light 422.10",
        0x1a00 => "Light 444.12",
        0x2500 => "Light-Subline 422.10",
        0x3240 => "Main 420.12",
        0x3540 => "Main 422.10",
        0x3a40 => "Main 444.12",
        0x3e40 => "Main 4444.12",
        0x4240 => "High 420.12",
        0x4a40 => "High 444.12",
        0x4e40 => "High 4444.12",
        0x6ec0 => "MLS.12",
        _ => "unknown",
    }
}

/// The level of Plev, which is in its first six bits; the sublevel limits bits of a sample.
const fn level(high: u8) -> &'static str {
    match high & 0xfc {
        0x00 => "Unrestricted",
        0x04 => "1k-1",
        0x10 => "2k-1",
        0x20 => "4k-1",
        0x24 => "4k-2",
        0x28 => "4k-3",
        0x2c => "5k-1",
        0x30 => "8k-1",
        0x34 => "8k-2",
        0x38 => "8k-3",
        0x40 => "10k-1",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CAP, PIH of 1920 x 1080, CDT of three components.
    fn codestream(ppih: u16, plev: u16, components: &[[u8; 2]]) -> Vec<u8> {
        let mut bytes = vec![0xff, 0x10, 0xff, 0x50, 0, 4, 0, 0, 0xff, 0x12, 0, 26, 0, 0, 0, 99];
        bytes.extend(ppih.to_be_bytes());
        bytes.extend(plev.to_be_bytes());
        bytes.extend([7, 0x80, 4, 0x38, 0, 0, 0, 16, u8::try_from(components.len()).unwrap()]);
        bytes.extend([4, 8, 20, 0x84, 0, 0x52, 0]);
        bytes.extend([0xff, 0x13, 0, u8::try_from(2 + 2 * components.len()).unwrap()]);
        bytes.extend(components.as_flattened());
        bytes.extend([0xff, 0x14, 0, 4, 1, 2, 0xff, 0x20, 0, 4, 0, 0]);
        bytes
    }

    const PLANES: [[u8; 2]; 3] = [[10, 0x11], [10, 0x21], [10, 0x21]];

    fn plain(bytes: &[u8]) -> Result<VideoFormat, Error> {
        format(bytes, &Description::default())
    }

    #[test]
    fn size_sampling_depth_profile_and_level() {
        let format = plain(&codestream(0x3540, 0x1010, &PLANES)).unwrap();
        assert_eq!((format.width, format.height), (1920, 1080));
        assert_eq!((format.profile, format.level), ("Main 422.10", "2k-1"));
        assert_eq!((format.chroma, format.bit_depth_luma), (Chroma::C422, 10));
        for (second, chroma) in [(0x11, Chroma::C444), (0x22, Chroma::C420)] {
            let planes = [[12, 0x11], [12, second], [12, second]];
            assert_eq!(plain(&codestream(0x4a40, 0x2000, &planes)).unwrap().chroma, chroma);
        }
        let grey = plain(&codestream(0x9999, 0xff00, &[[8, 0x11]])).unwrap();
        assert_eq!((grey.chroma, grey.profile, grey.level), (Chroma::Mono, "unknown", "unknown"));
    }

    #[test]
    fn what_is_cut_short_or_makes_no_sense_is_refused() {
        let whole = codestream(0x3540, 0x1010, &PLANES);
        let until = whole.len() - 12;
        for len in 0..until {
            assert!(plain(&whole[..len]).is_err(), "{len} bytes");
        }
        assert!(plain(&whole[..until]).is_ok());
        for (at, byte, field) in [
            (1, 0x11, Error::NoSync),
            (3, 0x99, Error::OutOfRange("marker")),
            (3, 0x20, Error::OutOfRange("CDT")),
            (11, 25, Error::OutOfRange("Lpih")),
            (28, 0, Error::OutOfRange("Nc")),
            (28, 4, Error::OutOfRange("Lcdt")),
            (40, 7, Error::OutOfRange("Bc")),
            (43, 0x12, Error::OutOfRange("sx, sy")),
        ] {
            let mut bad = whole.clone();
            assert_ne!(bad[at], byte);
            bad[at] = byte;
            assert_eq!(plain(&bad), Err(field), "byte {at}");
        }
    }

    /// A box of this type.
    fn boxed(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(8 + body.len()).unwrap();
        [&length.to_be_bytes()[..], name, body].concat()
    }

    #[test]
    fn the_elementary_stream_header_tells_rate_fields_and_colour() {
        let frat = [0x42, 0, 0, 30];
        let body = [&[0, 0, 0, 200][..], &frat, &[0x80, 0x90, 0x35, 0x40, 0x10, 0x10]].concat();
        let jxes = boxed(b"jxes", &[&body[..], &[9, 16, 9, 0x80, 1, 2, 3, 4]].concat());
        assert_eq!(box_length(jxes.first_chunk().unwrap()), Some(30));
        let mut description = Description::default();
        description.read(&jxes);
        assert_eq!((description.frame_rate, description.interlaced), (Some((30_000, 1001)), true));
        let colour = Colour { primaries: 9, transfer: 16, matrix: 9, full_range: true };
        assert_eq!(description.colour, Some(colour));
        let format = format(&codestream(0x3540, 0x1010, &PLANES), &description).unwrap();
        assert_eq!((format.height, format.field_coded, format.colour), (2160, true, colour));
        for len in 0..jxes.len() {
            Description::default().read(&jxes[..len]);
        }
    }

    #[test]
    fn boxes_of_a_picture_segment_tell_the_same() {
        let jpvi = boxed(b"jpvi", &[0, 0, 0, 9, 0x01, 0, 0, 50, 0x80, 0x90, 1, 2, 3, 4]);
        let jpvs = boxed(b"jpvs", &[jpvi, boxed(b"jxpl", &[0x35, 0x40, 0x10, 0x10])].concat());
        let colr = boxed(b"colr", &[5, 0, 0, 0, 1, 0, 1, 0, 1, 0]);
        let mut description = Description::default();
        description.read(&jpvs);
        description.read(&colr);
        assert_eq!((description.frame_rate, description.interlaced), (Some((50, 1)), false));
        let colour = Colour { primaries: 1, transfer: 1, matrix: 1, full_range: false };
        assert_eq!(description.colour, Some(colour));
    }

    #[test]
    fn boxes_that_are_none() {
        let header = |length: u32, name: &[u8; 4]| {
            let [a, b, c, d] = length.to_be_bytes();
            let [e, f, g, h] = *name;
            box_length(&[a, b, c, d, e, f, g, h])
        };
        assert_eq!(header(8, b"colr"), Some(8));
        for (length, name) in [(7, b"colr"), (0, b"jpvs"), (4097, b"jxes"), (30, b"moov")] {
            assert_eq!(header(length, name), None);
        }
    }
}
