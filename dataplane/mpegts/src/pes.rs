//! The header of a PES packet (H.222.0 2.4.3.6).
//!
//! ```text
//!  0          3           4          6       7       8             9
//! +----------+-----------+----------+-------+-------+-------------+- - - - -+- - - - -+
//! | 00 00 01 | stream_id | length   | 10SS… | PD… … | header_data | optional| payload |
//! +----------+-----------+----------+-------+-------+-------------+- - - - -+- - - - -+
//!                                     S scrambling    P PTS, D DTS flags
//! ```

use crate::Error;

/// Longest header: nine bytes and `header_data_length` of 255.
pub const HEADER_BYTES_MAX: usize = 9 + 255;

/// Timestamps are modulo 2^33 ticks of 90 kHz.
pub const STAMP_MODULUS: u64 = 1 << 33;

/// A parsed PES header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// `stream_id`.
    pub stream_id: u8,
    /// Bytes of the header; the payload begins behind.
    pub header_bytes: usize,
    /// Bytes of the payload; `None` when the packet ends at the next start.
    pub payload_bytes: Option<usize>,
    /// Presentation time on the wire, 33 bits.
    pub pts: Option<u64>,
    /// Decoding time on the wire, 33 bits.
    pub dts: Option<u64>,
    /// The payload is scrambled.
    pub scrambled: bool,
    /// Something in the header contradicts the standard and was tolerated: marker bits, flags 01,
    /// a timestamp that does not fit, a length shorter than the header.
    pub flawed: bool,
}

/// How far a header could be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The header is whole.
    Header(Header),
    /// So many bytes from the start are needed to go on.
    Need(usize),
}

impl Header {
    /// Parses the start of a PES packet.
    pub fn parse(bytes: &[u8]) -> Result<Parsed, Error> {
        let prefix = bytes.iter().take(3).zip(&[0, 0, 1]);
        if prefix.into_iter().any(|(byte, wanted)| byte != wanted) {
            return Err(Error::PesStartCode);
        }
        let Some(&[_, _, _, stream_id, length_high, length_low]) = bytes.first_chunk() else {
            return Ok(Parsed::Need(6));
        };
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        if !has_optional_header(stream_id) {
            return Ok(Parsed::Header(Self {
                stream_id,
                header_bytes: 6,
                payload_bytes: (length > 0).then_some(length),
                pts: None,
                dts: None,
                scrambled: false,
                flawed: false,
            }));
        }
        let Some(&[.., data_bytes]) = bytes.first_chunk::<9>() else {
            return Ok(Parsed::Need(9));
        };
        let header_bytes = 9 + usize::from(data_bytes);
        Ok(match bytes.get(6..header_bytes) {
            Some(optional) => Parsed::Header(Self::with_optional(stream_id, length, optional)),
            None => Parsed::Need(header_bytes),
        })
    }

    fn with_optional(stream_id: u8, length: usize, optional: &[u8]) -> Self {
        let (&[first, flags, _], fields) =
            optional.split_first_chunk::<3>().unwrap_or((&[0x80, 0, 0], &[]));
        let mut flawed = first & 0xC0 != 0x80;
        let (pts, dts) = match flags >> 6 {
            0b00 => (None, None),
            0b10 => (stamp(fields, 0, 0b0010, &mut flawed), None),
            0b11 => (stamp(fields, 0, 0b0011, &mut flawed), stamp(fields, 5, 0b0001, &mut flawed)),
            _ => {
                flawed = true; // 01 is forbidden: no stamp can be meant
                (None, None)
            }
        };
        let payload_bytes = match length.checked_sub(optional.len()) {
            _ if length == 0 => None,
            None => {
                flawed = true; // shorter than its own header: ends at the next start
                None
            }
            some => some,
        };
        Self {
            stream_id,
            header_bytes: 6 + optional.len(),
            payload_bytes,
            pts,
            dts,
            scrambled: first & 0x30 != 0,
            flawed,
        }
    }
}

/// A 33-bit stamp in five bytes: four bits of code, then 3, 15 and 15 bits, each with a marker
/// bit behind. Wrong code and markers are tolerated.
fn stamp(fields: &[u8], at: usize, code: u8, flawed: &mut bool) -> Option<u64> {
    let Some(&[a, b, c, d, e]) = fields.get(at..).and_then(<[u8]>::first_chunk) else {
        *flawed = true;
        return None;
    };
    *flawed |= a >> 4 != code || a & c & e & 1 == 0;
    let high = u64::from(a >> 1 & 0x07);
    let middle = u64::from(u16::from_be_bytes([b, c]) >> 1);
    let low = u64::from(u16::from_be_bytes([d, e]) >> 1);
    Some(high << 30 | middle << 15 | low)
}

/// Stream ids without the optional header (table 2-21): program_stream_map, padding, private_2,
/// ECM, EMM, DSM-CC, H.222.1 type E, program_stream_directory.
const fn has_optional_header(stream_id: u8) -> bool {
    !matches!(stream_id, 0xBC | 0xBE | 0xBF | 0xF0 | 0xF1 | 0xF2 | 0xF8 | 0xFF)
}

/// Packets of these ids are not the track's: padding, key messages, directories.
pub(crate) const fn is_foreign(stream_id: u8) -> bool {
    matches!(stream_id, 0xBC | 0xBE | 0xF0 | 0xF1 | 0xFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp_bytes(code: u8, value: u64) -> [u8; 5] {
        let byte = |shift: u32| u8::try_from(value >> shift & 0xFF).unwrap();
        [
            code << 4 | (byte(30) & 7) << 1 | 1,
            byte(22),
            byte(14) & 0xFE | 1,
            byte(7),
            (byte(0) & 0x7F) << 1 | 1,
        ]
    }

    fn header(length: u16, flags: u8, fields: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 1, 0xE0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0x80, flags, u8::try_from(fields.len()).unwrap()]);
        bytes.extend(fields);
        bytes
    }

    fn parse(bytes: &[u8]) -> Header {
        match Header::parse(bytes) {
            Ok(Parsed::Header(header)) => header,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn stamps_of_33_bits() {
        for value in [0, 1, 0x1_2345_6789, STAMP_MODULUS - 1] {
            let fields = [stamp_bytes(3, value), stamp_bytes(1, value ^ 0x55)].concat();
            let parsed = parse(&header(0, 0xC0, &fields));
            assert_eq!((parsed.pts, parsed.dts), (Some(value), Some(value ^ 0x55)));
            assert!(!parsed.flawed);
            assert_eq!(parsed.header_bytes, 19);
        }
    }

    #[test]
    fn pts_alone_leaves_dts_out() {
        let parsed = parse(&header(0, 0x80, &stamp_bytes(2, 77)));
        assert_eq!((parsed.pts, parsed.dts), (Some(77), None));
    }

    #[test]
    fn wrong_marker_bits_are_tolerated_and_told() {
        let mut fields = stamp_bytes(2, 0x1_0000_FFFF);
        for byte in [0, 2, 4] {
            fields[byte] &= !1;
        }
        let parsed = parse(&header(0, 0x80, &fields));
        assert_eq!((parsed.pts, parsed.flawed), (Some(0x1_0000_FFFF), true));
        let mut no_prefix = header(0, 0x80, &stamp_bytes(2, 5));
        no_prefix[6] = 0;
        assert_eq!(parse(&no_prefix).pts, Some(5));
        assert!(parse(&no_prefix).flawed);
    }

    #[test]
    fn forbidden_flags_mean_no_stamp() {
        let parsed = parse(&header(0, 0x40, &stamp_bytes(1, 5)));
        assert_eq!((parsed.pts, parsed.dts, parsed.flawed), (None, None, true));
    }

    #[test]
    fn stamp_that_does_not_fit_is_left_out() {
        let parsed = parse(&header(0, 0xC0, &stamp_bytes(3, 5)));
        assert_eq!((parsed.pts, parsed.dts, parsed.flawed), (Some(5), None, true));
    }

    #[test]
    fn length_counts_from_behind_itself() {
        assert_eq!(parse(&header(0, 0, &[])).payload_bytes, None);
        assert_eq!(parse(&header(13, 0, &[0xFF; 5])).payload_bytes, Some(5));
        assert_eq!(parse(&header(8, 0, &[0xFF; 5])).payload_bytes, Some(0));
        let short = parse(&header(7, 0, &[0xFF; 5]));
        assert_eq!((short.payload_bytes, short.flawed), (None, true));
    }

    #[test]
    fn ids_without_optional_header() {
        for id in [0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF] {
            let parsed = parse(&[0, 0, 1, id, 0, 4]);
            assert_eq!((parsed.header_bytes, parsed.payload_bytes), (6, Some(4)));
        }
    }

    #[test]
    fn every_truncation_asks_for_more() {
        let fields = [stamp_bytes(3, 9), stamp_bytes(1, 8), [0xFF; 5]].concat();
        let bytes = header(0, 0xC0, &fields);
        for length in 0..bytes.len() {
            match Header::parse(&bytes[..length]) {
                Ok(Parsed::Need(needed)) => assert!(length < needed && needed <= bytes.len()),
                other => panic!("{length}: {other:?}"),
            }
        }
    }

    #[test]
    fn wrong_start_code_is_refused_at_its_first_byte() {
        assert_eq!(Header::parse(&[1]), Err(Error::PesStartCode));
        assert_eq!(Header::parse(&[0, 0, 2]), Err(Error::PesStartCode));
    }
}
