//! Opus: packets (RFC 6716, section 3) and the control headers before them in MPEG-TS (Opus in
//! MPEG-TS, ETSI TS 103 491 annex and FFmpeg, GStreamer).
//!
//! ```text
//!  prefix 11 = 0x3ff | start_trim 1 | end_trim 1 | extension 1 | reserved 2 |
//!  au_size: bytes of 255 and one below, summed | [ reserved 3, trim 13 ] × flags |
//!  [ extension length 8, extension ]
//! ```

use crate::sink::Codec;
use crate::{AudioFormat, Error};

/// Bytes without which no control header can be told: prefix, size, TOC byte.
pub const CONTROL_HEADER_BYTES_MIN: usize = 4;

/// Opus counts time in samples of this rate, whatever was coded (RFC 7587, 4.1).
pub const SAMPLE_RATE: u32 = 48_000;

/// More than this is no access unit of sound: 120 ms of eight channels at their highest rate stay
/// below what buffers hold.
pub const ACCESS_UNIT_BYTES_MAX: usize = 8_000;

/// Longest packet: 120 ms (RFC 6716, 3.2.5).
const PACKET_SAMPLES_MAX: u16 = 5_760;

/// The header of an access unit in MPEG-TS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlHeader {
    /// Bytes of the header: where the access unit starts.
    pub header_bytes: u16,
    /// Bytes of the access unit.
    pub unit_bytes: u16,
    /// Samples of 48 kHz to be left out at the start.
    pub start_trim: u16,
    /// Samples of 48 kHz to be left out at the end.
    pub end_trim: u16,
    /// What the access unit says of the sound. Several streams in one count as the first.
    pub format: AudioFormat,
}

impl ControlHeader {
    /// Parses the header at the start of `bytes`, and the first bytes of the access unit behind it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (&[prefix, flags], mut rest) = bytes.split_first_chunk().ok_or(Error::Truncated)?;
        if prefix != 0x7f || flags & 0xe0 != 0xe0 {
            return Err(Error::NoSync);
        }
        let mut unit_bytes = 0;
        loop {
            let size;
            (size, rest) = byte(rest)?;
            unit_bytes += usize::from(size);
            if unit_bytes > ACCESS_UNIT_BYTES_MAX {
                return Err(Error::OutOfRange("au_size"));
            }
            if size < 255 {
                break;
            }
        }
        let mut trim = |flag: u8| {
            if flags & flag == 0 {
                return Ok(0);
            }
            let (trim, behind) = rest.split_first_chunk().ok_or(Error::Truncated)?;
            rest = behind;
            Ok(u16::from_be_bytes(*trim) & 0x1fff)
        };
        let (start_trim, end_trim) = (trim(0x10)?, trim(0x08)?);
        if flags & 0x04 != 0 {
            let (length, behind) = byte(rest)?;
            rest = behind.get(usize::from(length)..).ok_or(Error::Truncated)?;
        }
        let unit = rest.get(..unit_bytes).unwrap_or(rest);
        Ok(Self {
            header_bytes: u16::try_from(bytes.len() - rest.len()).unwrap_or(u16::MAX),
            unit_bytes: u16::try_from(unit_bytes).unwrap_or(u16::MAX),
            start_trim,
            end_trim,
            format: format(unit, unit_bytes)?,
        })
    }

    /// Bytes of header and access unit.
    pub fn frame_bytes(&self) -> usize {
        usize::from(self.header_bytes) + usize::from(self.unit_bytes)
    }
}

fn byte(bytes: &[u8]) -> Result<(u8, &[u8]), Error> {
    let (byte, rest) = bytes.split_first().ok_or(Error::Truncated)?;
    Ok((*byte, rest))
}

/// What the first bytes of a packet of `len` bytes say of the sound.
pub fn format(packet: &[u8], len: usize) -> Result<AudioFormat, Error> {
    Ok(AudioFormat {
        codec: Codec::Opus,
        object_type: 0,
        profile: "unknown",
        sample_rate: SAMPLE_RATE,
        channels: if packet.first().is_some_and(|toc| toc & 4 != 0) { 2 } else { 1 },
        samples_per_frame: samples(packet, len)?,
        config: Default::default(),
    })
}

/// Samples of 48 kHz that a packet of `len` bytes, of which these are the first, lasts.
pub fn samples(packet: &[u8], len: usize) -> Result<u16, Error> {
    if len == 0 {
        return Err(Error::OutOfRange("au_size"));
    }
    let (toc, rest) = byte(packet)?;
    // Table 2: 10, 20, 40, 60 ms of SILK; 10, 20 ms hybrid; 2.5 to 20 ms of CELT.
    let config = toc >> 3;
    let frame = match config {
        0..=11 => [480, 960, 1_920, 2_880].get(usize::from(config & 3)).copied().unwrap_or(960),
        12..=15 => 480 << (config & 1),
        _ => 120 << (config & 3),
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ if len < 2 => return Err(Error::OutOfRange("frame count")),
        _ => u16::from(byte(rest)?.0 & 0x3f),
    };
    let samples = u16::saturating_mul(frame, frames);
    if samples == 0 || samples > PACKET_SAMPLES_MAX {
        return Err(Error::OutOfRange("frame count"));
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_table_2() {
        for (toc, samples_wanted) in [
            (0 << 3, 480),
            (3 << 3, 2_880),
            (12 << 3, 480),
            (13 << 3, 960),
            (16 << 3, 120),
            (19 << 3, 960),
            (31 << 3, 960),
            (31 << 3 | 1, 1_920),
            (31 << 3 | 2, 1_920),
        ] {
            assert_eq!(samples(&[toc], 1), Ok(samples_wanted), "{toc:#x}");
        }
        assert_eq!(samples(&[31 << 3 | 3, 3], 2), Ok(2_880));
        assert_eq!(samples(&[3 << 3 | 3, 0x82], 9), Ok(5_760), "120 ms");
    }

    #[test]
    fn packets_that_are_none() {
        let count = Err(Error::OutOfRange("frame count"));
        assert_eq!(samples(&[3 << 3 | 3, 3], 9), count, "180 ms");
        assert_eq!(samples(&[3, 0], 9), count);
        assert_eq!(samples(&[3], 1), count);
        assert_eq!(samples(&[3], 9), Err(Error::Truncated));
        assert_eq!(samples(&[], 0), Err(Error::OutOfRange("au_size")));
    }

    #[test]
    fn sizes_are_summed_and_flags_add_fields() {
        let plain = ControlHeader::parse(&[0x7f, 0xe0, 9, 0xfc]).unwrap();
        assert_eq!((plain.header_bytes, plain.unit_bytes, plain.frame_bytes()), (3, 9, 12));
        assert_eq!((plain.format.channels, plain.format.samples_per_frame), (2, 960));
        let long = ControlHeader::parse(&[0x7f, 0xe0, 255, 255, 0, 0xf8]).unwrap();
        assert_eq!((long.header_bytes, long.unit_bytes, long.format.channels), (5, 510, 1));
        let all = [0x7f, 0xfc, 9, 0xe1, 0x38, 0, 7, 2, 0xaa, 0xbb, 0xfc];
        let all = ControlHeader::parse(&all).unwrap();
        assert_eq!((all.start_trim, all.end_trim, all.header_bytes), (0x138, 7, 10));
    }

    #[test]
    fn every_truncation_asks_for_more() {
        let all = [0x7f, 0xfc, 255, 1, 0x01, 0x38, 0, 7, 2, 0xaa, 0xbb, 0xff, 1];
        for len in 0..all.len() {
            assert_eq!(ControlHeader::parse(&all[..len]), Err(Error::Truncated), "{len}");
        }
        assert!(ControlHeader::parse(&all).is_ok());
    }

    #[test]
    fn headers_that_are_none() {
        assert_eq!(ControlHeader::parse(&[0x7f, 0xc0, 9, 0xfc]), Err(Error::NoSync));
        let mut endless = vec![0x7f, 0xe0];
        endless.extend([255; 64]);
        assert_eq!(ControlHeader::parse(&endless), Err(Error::OutOfRange("au_size")));
        let empty = ControlHeader::parse(&[0x7f, 0xe0, 0, 0xfc]);
        assert_eq!(empty, Err(Error::OutOfRange("au_size")));
    }
}
