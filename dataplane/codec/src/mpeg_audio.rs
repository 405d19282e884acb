//! MPEG audio frames, layers I to III (ISO/IEC 11172-3, 13818-3, and the low rates called 2.5).
//!
//! ```text
//!  syncword 11 | version 2 | layer 2 | protection 1 | bitrate_index 4 | sampling_frequency 2 |
//!  padding 1 | private 1 | mode 2 | mode_extension 2 | copyright 1 | original 1 | emphasis 2
//! ```
//!
//! The free format (bitrate_index 0) tells no length and is refused.

use crate::sink::Codec;
use crate::{AudioFormat, Error};

/// Bytes that [`Header::parse`] needs.
pub const HEADER_BYTES: usize = 4;

/// Bit rates in kbit/s by bitrate_index 1 to 14: version 1 layers I, II, III, then the low rates
/// layer I and layers II and III.
const RATES_KBPS: [[u16; 14]; 5] = [
    [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
    [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
];
/// Sample rates of version 1 by sampling_frequency.
const SAMPLE_RATES: [u32; 3] = [44_100, 48_000, 32_000];

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the whole frame with its header.
    pub frame_bytes: u16,
    /// 1 to 3.
    pub layer: u8,
    /// What it says of the sound.
    pub format: AudioFormat,
}

impl Header {
    /// Parses the header at the start of `bytes` ([`HEADER_BYTES`] suffice).
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let Some(&[sync, kind, rates, mode]) = bytes.first_chunk() else {
            return Err(Error::Truncated);
        };
        if sync != 0xff || kind & 0xe0 != 0xe0 {
            return Err(Error::NoSync);
        }
        // Version 3 is MPEG-1, 2 MPEG-2 with half its sample rates, 0 the quarter of them.
        let shift = match (kind >> 3) & 3 {
            3 => 0,
            2 => 1,
            0 => 2,
            _ => return Err(Error::OutOfRange("ID")),
        };
        let layer = match (kind >> 1) & 3 {
            0 => return Err(Error::OutOfRange("layer")),
            code => 4 - code,
        };
        let full_rate = SAMPLE_RATES
            .get(usize::from((rates >> 2) & 3))
            .ok_or(Error::OutOfRange("sampling_frequency"))?;
        let sample_rate = full_rate >> shift;
        let low = shift > 0;
        let table = match (low, layer) {
            (false, layer) => usize::from(layer - 1),
            (true, 1) => 3,
            (true, _) => 4,
        };
        let kbps = usize::from(rates >> 4)
            .checked_sub(1)
            .and_then(|index| RATES_KBPS.get(table)?.get(index).copied())
            .ok_or(Error::OutOfRange("bitrate_index"))?;
        let padding = u32::from(rates >> 1 & 1);
        let samples = match (layer, low) {
            (1, _) => 384,
            (3, true) => 576,
            _ => 1152,
        };
        // The slots of layer I have four bytes (2.4.3.1).
        let slot = if layer == 1 { 4 } else { 1 };
        let slots = u32::from(kbps) * 125 * u32::from(samples) / slot / sample_rate + padding;
        Ok(Self {
            frame_bytes: u16::try_from(slots * slot).unwrap_or(u16::MAX),
            layer,
            format: AudioFormat {
                codec: Codec::MpegAudio,
                object_type: 0,
                profile: match layer {
                    1 => "Layer I",
                    2 => "Layer II",
                    _ => "Layer III",
                },
                sample_rate,
                channels: if mode >> 6 == 3 { 1 } else { 2 },
                samples_per_frame: samples,
                config: Default::default(),
            },
        })
    }

    /// `next` can follow in the same stream.
    pub const fn is_followed_by(&self, next: &Self) -> bool {
        self.layer == next.layer && self.format.sample_rate == next.format.sample_rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: u8, rates: u8, mode: u8) -> Header {
        Header::parse(&[0xff, kind, rates, mode]).unwrap()
    }

    #[test]
    fn lengths_and_samples_by_version_and_layer() {
        for (kind, rates, bytes, layer, rate, samples) in [
            (0xfd, 0xa4, 576, 2, 48_000, 1152u16), // 192 kbit/s
            (0xfd, 0xe4, 1152, 2, 48_000, 1152),   // 384 kbit/s
            (0xfb, 0x90, 417, 3, 44_100, 1152),    // 128 kbit/s
            (0xfb, 0x92, 418, 3, 44_100, 1152),    // with padding
            (0xff, 0xc4, 384, 1, 48_000, 384),     // 384 kbit/s
            (0xff, 0x10, 32, 1, 44_100, 384),      // 32 kbit/s: 8 slots of 4 bytes
            (0xff, 0x12, 36, 1, 44_100, 384),      // and one more
            (0xf3, 0x84, 192, 3, 24_000, 576),     // MPEG-2, 64 kbit/s
            (0xf5, 0x84, 384, 2, 24_000, 1152),    // MPEG-2 layer II, 64 kbit/s
            (0xe3, 0x18, 72, 3, 8_000, 576),       // 2.5, 8 kbit/s
        ] {
            let header = parse(kind, rates, 0);
            assert_eq!(
                (header.frame_bytes, header.layer, header.format.sample_rate),
                (bytes, layer, rate),
                "{kind:x} {rates:x}"
            );
            assert_eq!(header.format.samples_per_frame, samples, "{kind:x} {rates:x}");
        }
    }

    #[test]
    fn one_channel_is_mode_3() {
        let channels = [0x00, 0x40, 0x80, 0xc0].map(|mode| parse(0xfd, 0xa4, mode).format.channels);
        assert_eq!(channels, [2, 2, 2, 1]);
    }

    #[test]
    fn headers_that_are_none() {
        let refusal = |kind, rates| Header::parse(&[0xff, kind, rates, 0]).unwrap_err();
        assert_eq!(refusal(0x1d, 0xa4), Error::NoSync);
        assert_eq!(refusal(0xed, 0xa4), Error::OutOfRange("ID"));
        assert_eq!(refusal(0xf9, 0xa4), Error::OutOfRange("layer"));
        assert_eq!(refusal(0xfd, 0xac), Error::OutOfRange("sampling_frequency"));
        assert_eq!(refusal(0xfd, 0x04), Error::OutOfRange("bitrate_index"));
        assert_eq!(refusal(0xfd, 0xf4), Error::OutOfRange("bitrate_index"));
        assert_eq!(Header::parse(&[0xff, 0xfd, 0xa4]), Err(Error::Truncated));
    }
}
