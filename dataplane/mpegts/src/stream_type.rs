//! From `stream_type` and descriptors to a coding (H.222.0 table 2-34, EN 300 468, ATSC A/53,
//! SCTE 35, SMPTE ST 302).

use codec::av1::{self, ObuType};
use codec::sink::Codec;

use crate::pes::{self, Parsed};

/// What the descriptors of a stream or program say, as far as it tells codings apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// Format identifier of the registration descriptor.
    pub registration: Option<[u8; 4]>,
    /// ISO 639-2 language.
    pub language: Option<[u8; 3]>,
    /// What a DVB or MPEG descriptor names.
    pub named: Option<Codec>,
    /// Channels of sound, where one names them.
    pub channels: u8,
    /// A descriptor is longer than what is left.
    pub truncated: bool,
}

impl Descriptors {
    pub(crate) fn parse(mut bytes: &[u8]) -> Self {
        let mut found = Self::default();
        while let Some(([tag, length], rest)) = bytes.split_first_chunk::<2>() {
            let Some((data, rest)) = rest.split_at_checked(usize::from(*length)) else {
                found.truncated = true;
                return found;
            };
            found.descriptor(*tag, data);
            bytes = rest;
        }
        found.truncated = !bytes.is_empty();
        found
    }

    fn descriptor(&mut self, tag: u8, data: &[u8]) {
        match tag {
            0x05 => self.registration = self.registration.or_else(|| data.first_chunk().copied()),
            0x0A => self.language(data),
            // Metadata descriptor: application format 16 bits, then format 0xFF and identifier.
            0x26 if data.windows(5).any(|bytes| bytes == b"\xFFKLVA") => {
                self.named = Some(Codec::Klv);
            }
            0x56 => {
                self.named = Some(Codec::Teletext);
                self.language(data);
            }
            0x59 => {
                self.named = Some(Codec::DvbSubtitle);
                self.language(data);
            }
            0x6A => self.named = Some(Codec::Ac3),
            0x7A => self.named = Some(Codec::Eac3),
            0x7B => self.named = Some(Codec::Dts),
            // Extension descriptor of DVB: Opus is a provisional tag.
            0x7F if data.first() == Some(&0x80) => {
                self.named = Some(Codec::Opus);
                // channel_config_code: 0 is dual mono, above 8 the count is not told here.
                self.channels = match data.get(1) {
                    Some(0) => 2,
                    Some(&channels @ 1..=8) => channels,
                    _ => 0,
                };
            }
            _ => {}
        }
    }

    fn language(&mut self, data: &[u8]) {
        let code = data.first_chunk::<3>().copied();
        self.language =
            self.language.or_else(|| code.filter(|code| code.iter().all(u8::is_ascii_alphabetic)));
    }
}

/// The coding of a stream.
pub(crate) fn codec(stream_type: u8, stream: &Descriptors, program: &Descriptors) -> Codec {
    let bluray = program.registration == Some(*b"HDMV") || stream.registration == Some(*b"HDMV");
    match stream_type {
        0x01 => Codec::Mpeg1Video,
        0x02 => Codec::Mpeg2Video,
        0x03 | 0x04 => Codec::MpegAudio,
        0x06 | 0x15 => described(stream),
        0x0F => Codec::Aac,
        0x10 => Codec::Mpeg4Video,
        0x11 => Codec::AacLatm,
        0x1B => Codec::H264,
        0x21 => Codec::Jpeg2000,
        0x24 => Codec::Hevc,
        0x32 => Codec::JpegXs,
        0x33 => Codec::Vvc,
        0x81 => Codec::Ac3,
        0x84 | 0xA1 if bluray => Codec::Eac3,
        0x82 | 0x85 | 0x86 | 0xA2 if bluray => Codec::Dts,
        0x86 => Codec::Scte35,
        0x87 => Codec::Eac3,
        0x8A => Codec::Dts,
        // 0x80 and above are the user's: only a registration can tell.
        0x80.. => described(stream),
        // Sub-layers and second views (0x1F, 0x20, 0x25) are no stream of their own.
        _ => Codec::Unknown,
    }
}

fn described(stream: &Descriptors) -> Codec {
    let registered = match stream.registration.as_ref() {
        Some(b"AC-3") => Codec::Ac3,
        Some(b"EAC3") => Codec::Eac3,
        Some(b"DTS1" | b"DTS2" | b"DTS3") => Codec::Dts,
        Some(b"Opus") => Codec::Opus,
        // AOM's carriage, and GStreamer's own.
        Some(b"AV01" | b"AV1G") => Codec::Av1,
        Some(b"HEVC") => Codec::Hevc,
        Some(b"KLVA") => Codec::Klv,
        _ => Codec::Unknown,
    };
    match registered {
        Codec::Unknown => stream.named.unwrap_or_default(),
        known => known,
    }
}

/// The coding of private data that nothing names, by the first bytes of a PES packet: FFmpeg
/// multiplexes AV1 so (up to version 7), as a video stream in temporal units. A decoder can start at
/// those with a sequence header, behind a delimiter or without: nothing before is of use.
pub(crate) fn by_contents(stream_type: u8, packet: &[u8]) -> Codec {
    let Ok(Parsed::Header(header)) = pes::Header::parse(packet) else { return Codec::Unknown };
    let video = stream_type == 0x06 && header.stream_id & 0xF0 == 0xE0 && !header.scrambled;
    let payload = packet.get(header.header_bytes..).filter(|_| video).unwrap_or_default();
    let first = av1::obus(payload)
        .map_while(Result::ok)
        .find(|obu| obu.header.obu_type != ObuType::TEMPORAL_DELIMITER || !obu.payload.is_empty());
    match first {
        Some(obu)
            if obu.header.obu_type == ObuType::SEQUENCE_HEADER
                && obu.header.size.is_some()
                && av1::SequenceHeader::parse(obu.payload).is_ok() =>
        {
            Codec::Av1
        }
        _ => Codec::Unknown,
    }
}

/// The stream's PID carries sections, not PES packets.
pub(crate) fn in_sections(stream_type: u8, codec: Codec) -> bool {
    matches!(stream_type, 0x05 | 0x0A..=0x0D | 0x13 | 0x14 | 0x16) || codec == Codec::Scte35
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(stream_type: u8, stream: &[u8], program: &[u8]) -> Codec {
        codec(stream_type, &Descriptors::parse(stream), &Descriptors::parse(program))
    }

    #[test]
    fn stream_types_alone() {
        for (stream_type, codec) in [
            (0x01, Codec::Mpeg1Video),
            (0x02, Codec::Mpeg2Video),
            (0x03, Codec::MpegAudio),
            (0x04, Codec::MpegAudio),
            (0x05, Codec::Unknown),
            (0x06, Codec::Unknown),
            (0x0F, Codec::Aac),
            (0x10, Codec::Mpeg4Video),
            (0x11, Codec::AacLatm),
            (0x1B, Codec::H264),
            (0x20, Codec::Unknown),
            (0x21, Codec::Jpeg2000),
            (0x24, Codec::Hevc),
            (0x25, Codec::Unknown),
            (0x2D, Codec::Unknown),
            (0x32, Codec::JpegXs),
            (0x33, Codec::Vvc),
            (0x81, Codec::Ac3),
            (0x82, Codec::Unknown),
            (0x86, Codec::Scte35),
            (0x87, Codec::Eac3),
        ] {
            assert_eq!(of(stream_type, &[], &[]), codec, "{stream_type:#x}");
        }
    }

    #[test]
    fn private_data_by_registration() {
        for (identifier, codec) in [
            (b"AC-3", Codec::Ac3),
            (b"EAC3", Codec::Eac3),
            (b"DTS2", Codec::Dts),
            (b"Opus", Codec::Opus),
            (b"AV01", Codec::Av1),
            (b"HEVC", Codec::Hevc),
            (b"KLVA", Codec::Klv),
            (b"BSSD", Codec::Unknown),
        ] {
            let descriptor = [&[0x05, 4][..], identifier].concat();
            assert_eq!(of(0x06, &descriptor, &[]), codec);
        }
    }

    #[test]
    fn private_data_by_descriptor() {
        for (descriptor, codec) in [
            (&[0x6A, 1, 0][..], Codec::Ac3),
            (&[0x7A, 1, 0], Codec::Eac3),
            (&[0x7B, 0], Codec::Dts),
            (&[0x56, 5, b'e', b'n', b'g', 9, 0], Codec::Teletext),
            (&[0x59, 8, b'e', b'n', b'g', 16, 0, 1, 0, 1], Codec::DvbSubtitle),
            (&[0x7F, 2, 0x80, 2], Codec::Opus),
            (&[0x7F, 2, 0x15, 2], Codec::Unknown),
        ] {
            assert_eq!(of(0x06, descriptor, &[]), codec, "{descriptor:x?}");
        }
    }

    #[test]
    fn channels_of_opus() {
        for (code, channels) in [(0, 2), (1, 1), (6, 6), (8, 8), (0x82, 0)] {
            let found = Descriptors::parse(&[0x7F, 2, 0x80, code]);
            assert_eq!(found.channels, channels, "{code}");
        }
        assert_eq!(Descriptors::parse(&[0x7F, 1, 0x80]).channels, 0);
    }

    #[test]
    fn unnamed_av1_by_its_sequence_header() {
        let sequence =
            [0x0A, 0x0B, 0, 0, 0, 0x04, 0x3C, 0xFE, 0xCC, 0xFB, 0xF9, 0x00, 0x40, 0x32, 0xF6];
        let packet = |stream_id, head: &[u8], body: &[u8]| {
            [&[0, 0, 1, stream_id, 0, 0, 0x80, 0, 0], head, body].concat()
        };
        for (packet, codec) in [
            (packet(0xE0, &[0x12, 0], &sequence), Codec::Av1),
            (packet(0xE0, &[], &sequence), Codec::Av1),
            (packet(0xBD, &[], &sequence), Codec::Unknown),
            (packet(0xE0, &[0x12, 0], &[0x32, 9, 0]), Codec::Unknown),
            (packet(0xE0, &[], &sequence[..6]), Codec::Unknown),
            (packet(0xE0, &[], &[0x0A, 2, 0xFF, 0xFF, 0, 0]), Codec::Unknown),
        ] {
            assert_eq!(by_contents(0x06, &packet), codec, "{packet:x?}");
            assert_eq!(by_contents(0x05, &packet), Codec::Unknown);
        }
    }

    #[test]
    fn synchronous_klv_by_metadata_descriptor() {
        let descriptor = [0x26, 9, 1, 0, 0xFF, b'K', b'L', b'V', b'A', 0, 0x0F];
        assert_eq!(of(0x15, &descriptor, &[]), Codec::Klv);
        assert_eq!(of(0x15, &[], &[]), Codec::Unknown);
    }

    #[test]
    fn bluray_program_changes_the_meaning() {
        let hdmv = [0x05, 4, b'H', b'D', b'M', b'V'];
        assert_eq!(of(0x86, &[], &hdmv), Codec::Dts);
        assert_eq!(of(0x82, &[], &hdmv), Codec::Dts);
        assert_eq!(of(0x84, &[], &hdmv), Codec::Eac3);
    }

    #[test]
    fn language_from_each_descriptor_that_has_one() {
        for bytes in [
            &[0x0A, 4, b'd', b'e', b'u', 0][..],
            &[0x56, 5, b'd', b'e', b'u', 9, 0],
            &[0x59, 8, b'd', b'e', b'u', 16, 0, 1, 0, 1],
        ] {
            assert_eq!(Descriptors::parse(bytes).language, Some(*b"deu"));
        }
        let zeros = Descriptors::parse(&[0x0A, 4, 0, 0, 0, 0]);
        assert_eq!(zeros.language, None);
    }

    #[test]
    fn truncated_descriptor_keeps_those_before() {
        let found = Descriptors::parse(&[0x0A, 4, b'd', b'e', b'u', 0, 0x05, 9, 1]);
        assert_eq!((found.language, found.truncated), (Some(*b"deu"), true));
        assert!(Descriptors::parse(&[0x05]).truncated);
    }
}
