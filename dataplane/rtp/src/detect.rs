//! What a stream without description is: evidence over several packets.
//!
//! Static payload types say it at once (RFC 3551, 6). For the others each packet is held against each
//! format: structure that holds speaks for it, structure that does not speaks against. A verdict
//! needs much evidence, hardly any against, and no second format near. Without one by
//! [`PACKETS_MAX`] packets the stream is unknown, and what was seen is told.

use memory::Time;

use crate::format::{CONFIGURATION_BYTES_MAX, Encoding, Format};
use crate::packet::Header;
use crate::payload::aac::{self, AacParameters};
use crate::payload::{ParameterSets, Shape, av1, h264, hevc, jpegxs};

/// Packets by which there is a verdict.
pub const PACKETS_MAX: u32 = 100;
/// No verdict before so many, however clear.
const PACKETS_MIN: u32 = 4;
/// Evidence that suffices.
const SCORE_MIN: u32 = 12;
/// Packets of more than weak evidence that are needed.
const STRONG_MIN: u32 = 2;
/// Sampling rates of AAC (ISO/IEC 14496-3, table 1.18).
const RATES: [u32; 12] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000];

/// The formats that are told apart by their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidate {
    /// H.264.
    H264,
    /// HEVC.
    Hevc,
    /// AV1.
    Av1,
    /// JPEG XS.
    JpegXs,
    /// MPEG-TS.
    MpegTs,
    /// AAC as mpeg4-generic in its high bit-rate mode.
    Aac,
    /// Opus.
    Opus,
}

const CANDIDATES: [Candidate; 7] = [
    Candidate::H264,
    Candidate::Hevc,
    Candidate::Av1,
    Candidate::JpegXs,
    Candidate::MpegTs,
    Candidate::Aac,
    Candidate::Opus,
];

/// What speaks for and against a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Points for it.
    pub score: u32,
    /// Packets that hardly anything else looks like.
    pub strong: u32,
    /// Packets that cannot be of it.
    pub against: u32,
}

/// What is known so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "returned once a stream, and must not allocate")]
pub enum Verdict {
    /// Not enough.
    Undecided,
    /// It is this.
    Found(Format),
    /// Nothing fits; see [`Detector::seen`].
    Unknown,
}

/// Gathers evidence over the packets of one source, in order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Detector {
    packets: u32,
    evidence: [Evidence; CANDIDATES.len()],
    av1: Option<av1::Trace>,
    jpeg_xs: Option<jpegxs::Trace>,
    before: Option<(u16, u32)>,
    /// First timestamp and its arrival.
    first: Option<(u32, Time)>,
}

impl Detector {
    /// Nothing was seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Packets seen.
    pub const fn packets(&self) -> u32 {
        self.packets
    }

    /// What was seen of each format.
    pub fn seen(&self) -> impl Iterator<Item = (Candidate, Evidence)> {
        CANDIDATES.into_iter().zip(self.evidence)
    }

    /// Looks at the next packet.
    pub fn observe(&mut self, header: &Header, payload: &[u8], arrival: Time) -> Verdict {
        if let Some(format) = Format::of_static(header.payload_type) {
            return Verdict::Found(format);
        }
        if header.payload_type < 96 && header.payload_type != 33 {
            // Another static type, or none.
            return Verdict::Unknown;
        }
        let follows = self.before.is_some_and(|(last, _)| last.wrapping_add(1) == header.sequence);
        if payload.is_empty() {
            self.before = Some((header.sequence, header.timestamp));
            return Verdict::Undecided;
        }
        self.packets += 1;
        if !follows {
            self.av1 = None;
            self.jpeg_xs = None;
        }
        let step = self.before.filter(|_| follows).map(|(_, at)| header.timestamp.wrapping_sub(at));
        for (candidate, place) in CANDIDATES.iter().zip(0..) {
            let shape = self.look(*candidate, header, payload, step);
            if let Some(evidence) = self.evidence.get_mut(place) {
                match shape {
                    Look::For(shape) => {
                        evidence.score += points(shape);
                        evidence.strong += u32::from(shape > Shape::Weak);
                    }
                    Look::Against => evidence.against += 1,
                    Look::Nothing => {}
                }
            }
        }
        self.before = Some((header.sequence, header.timestamp));
        let first = *self.first.get_or_insert((header.timestamp, arrival));
        self.verdict(header, first, arrival)
    }

    fn look(
        &mut self,
        candidate: Candidate,
        header: &Header,
        payload: &[u8],
        step: Option<u32>,
    ) -> Look {
        match candidate {
            Candidate::H264 => h264::looks_right(payload).into(),
            Candidate::Hevc => hevc::looks_right(payload).into(),
            Candidate::Av1 => {
                let look = av1::looks_right(payload, header.timestamp, header.marker, self.av1);
                self.av1 = look.map(|(_, trace)| trace);
                look.map(|(shape, _)| shape).into()
            }
            Candidate::JpegXs => {
                let look = jpegxs::looks_right(payload, header.marker, self.jpeg_xs);
                self.jpeg_xs = look.map(|(_, trace)| trace);
                look.map(|(shape, _)| shape).into()
            }
            Candidate::MpegTs => transport_stream(payload).into(),
            Candidate::Aac => match (aac::looks_right(payload, header.marker), step) {
                (true, None) => Look::For(Shape::Weak),
                // Each access unit lasts 1,024 or 960 samples.
                (true, Some(step)) if step > 0 && (step % 1_024 == 0 || step % 960 == 0) => {
                    Look::For(Shape::Proof)
                }
                _ => Look::Against,
            },
            Candidate::Opus => match (opus_ticks(payload), step) {
                (None, _) => Look::Against,
                (Some(_), None) => Look::Nothing,
                (Some(ticks), Some(step)) if ticks == step => Look::For(Shape::Likely),
                // Silence is not sent.
                (Some(ticks), Some(step)) if header.marker && step > 0 && step % ticks == 0 => {
                    Look::Nothing
                }
                _ => Look::Against,
            },
        }
    }

    fn verdict(&self, header: &Header, first: (u32, Time), arrival: Time) -> Verdict {
        let fits = |evidence: &Evidence| {
            evidence.against * 20 <= self.packets && evidence.strong >= STRONG_MIN
        };
        let mut best: Option<(Candidate, u32)> = None;
        let mut second = 0;
        for (candidate, evidence) in self.seen().filter(|(_, evidence)| fits(evidence)) {
            match best {
                Some((_, score)) if score >= evidence.score => second = second.max(evidence.score),
                _ => {
                    second = second.max(best.map_or(0, |(_, score)| score));
                    best = Some((candidate, evidence.score));
                }
            }
        }
        let enough = |score: u32| score >= SCORE_MIN && score >= 2 * second + 4;
        match best {
            Some((candidate, score)) if self.packets >= PACKETS_MIN && enough(score) => {
                match self.format(candidate, header, first, arrival) {
                    Some(format) => Verdict::Found(format),
                    None => Verdict::Undecided,
                }
            }
            _ if self.packets >= PACKETS_MAX => Verdict::Unknown,
            _ => Verdict::Undecided,
        }
    }

    fn format(
        &self,
        candidate: Candidate,
        header: &Header,
        first: (u32, Time),
        arrival: Time,
    ) -> Option<Format> {
        let sets = ParameterSets::EMPTY;
        let video = |encoding| Some(Format::video(header.payload_type, encoding));
        match candidate {
            Candidate::H264 => video(Encoding::H264 { sets, depth: 0 }),
            Candidate::Hevc => video(Encoding::Hevc { sets, has_order: false, depth: 0 }),
            Candidate::Av1 => video(Encoding::Av1),
            Candidate::JpegXs => video(Encoding::JpegXs),
            Candidate::MpegTs => video(Encoding::MpegTs),
            Candidate::Aac => Some(Format {
                payload_type: header.payload_type,
                clock_hz: self.rate(header.timestamp.wrapping_sub(first.0), first.1, arrival)?,
                channels: 0,
                encoding: Encoding::Aac {
                    parameters: AacParameters::HBR,
                    configuration: ([0; CONFIGURATION_BYTES_MAX], 0),
                },
            }),
            Candidate::Opus => Some(Format {
                payload_type: header.payload_type,
                clock_hz: 48_000,
                channels: 2,
                encoding: Encoding::Opus,
            }),
        }
    }

    /// The sampling rate nearest to what came in the time, once that is long enough to tell.
    fn rate(&self, ticks: u32, first: Time, arrival: Time) -> Option<u32> {
        let micros = u64::try_from(arrival.since(first).as_micros()).unwrap_or(u64::MAX);
        if micros < 400_000 && self.packets < PACKETS_MAX - 1 {
            return None;
        }
        if micros < 100_000 {
            return Some(48_000);
        }
        let measured = u64::from(ticks) * 1_000_000 / micros;
        RATES.into_iter().min_by_key(|rate| u64::from(*rate).abs_diff(measured))
    }
}

/// What one packet says of one format.
enum Look {
    For(Shape),
    Against,
    Nothing,
}

impl From<Option<Shape>> for Look {
    fn from(shape: Option<Shape>) -> Self {
        shape.map_or(Self::Against, Self::For)
    }
}

const fn points(shape: Shape) -> u32 {
    match shape {
        Shape::Weak => 1,
        Shape::Likely => 3,
        Shape::Proof => 8,
    }
}

/// Whole packets with a sync byte each (RFC 2250, 2).
fn transport_stream(payload: &[u8]) -> Option<Shape> {
    let whole = payload.len().is_multiple_of(188);
    let synced = payload.chunks(188).all(|packet| packet.first() == Some(&0x47));
    (whole && synced).then_some(Shape::Proof)
}

/// How long an Opus packet lasts at 48 kHz (RFC 6716, 3.1).
fn opus_ticks(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frame = match toc >> 3 {
        config @ 0..=11 => *[480, 960, 1_920, 2_880].get(usize::from(config & 3))?,
        config @ 12..=15 => *[480, 960].get(usize::from(config & 1))?,
        config => *[120, 240, 480, 960].get(usize::from(config & 3))?,
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*packet.get(1)? & 0x3f),
    };
    let ticks = frame * frames;
    (ticks > 0 && ticks <= 5_760).then_some(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(sequence: u16, timestamp: u32, marker: bool) -> Header {
        Header { payload_type: 96, sequence, timestamp, marker, ..Header::default() }
    }

    /// The verdict over packets of timestamp, marker and payload, one every 10 ms.
    fn verdict(packets: impl Iterator<Item = (u32, bool, Vec<u8>)>) -> (Verdict, u32) {
        let mut detector = Detector::new();
        for (at, (timestamp, marker, payload)) in (0u16..).zip(packets) {
            let arrival = Time::from_micros(u64::from(at) * 10_000);
            let header = header(at, timestamp, marker);
            match detector.observe(&header, &payload, arrival) {
                Verdict::Undecided => {}
                verdict => return (verdict, detector.packets()),
            }
        }
        (Verdict::Undecided, detector.packets())
    }

    fn codec(verdict: Verdict) -> Option<Encoding> {
        match verdict {
            Verdict::Found(format) => Some(format.encoding),
            _ => None,
        }
    }

    #[test]
    fn static_types_need_no_evidence() {
        for (payload_type, expected) in [
            (0, Some(Encoding::Pcmu)),
            (8, Some(Encoding::Pcma)),
            (11, Some(Encoding::L16)),
            (33, Some(Encoding::MpegTs)),
            (26, None),
            (77, None),
        ] {
            let header = Header { payload_type, ..header(0, 0, false) };
            let verdict = Detector::new().observe(&header, &[1], Time::ZERO);
            assert_eq!(codec(verdict), expected, "{payload_type}");
        }
    }

    #[test]
    fn random_bytes_are_unknown_after_a_hundred_packets() {
        let mut seed = 7u64;
        let mut random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as u32
        };
        for step in [0, 160, 960, 1_024, 3_000] {
            for _ in 0..200 {
                let packets: Vec<_> = (0..120)
                    .map(|at| {
                        let len = 1 + random() as usize % 400;
                        let payload = (0..len).map(|_| random() as u8).collect();
                        (at * step, random() % 2 == 0, payload)
                    })
                    .collect();
                let (verdict, seen) = verdict(packets.into_iter());
                assert_eq!((verdict, seen), (Verdict::Unknown, 100));
            }
        }
    }

    #[test]
    fn all_the_same_byte_is_never_a_verdict() {
        let mut wrong = Vec::new();
        for byte in 0..=255u8 {
            for step in [0, 960, 1_024, 3_000] {
                for len in [1, 3, 100, 188, 1_316] {
                    // Of a constant byte, nothing but Opus could be told, by its own length.
                    let packets = (0..110).map(|at| (at * step, false, vec![byte; len]));
                    let (verdict, _) = verdict(packets);
                    let encoding = codec(verdict);
                    let plausible = match encoding {
                        None => true,
                        Some(Encoding::Opus) => step == 960,
                        Some(Encoding::MpegTs) => byte == 0x47,
                        // Slices of one byte value over and over.
                        Some(_) => false,
                    };
                    if !plausible {
                        wrong.push((byte, len, step));
                    }
                }
            }
        }
        assert_eq!(wrong, [], "byte, length, step of time");
    }

    #[test]
    fn padding_alone_decides_nothing() {
        let packets = (0..200).map(|at| (at, false, Vec::new()));
        assert_eq!(verdict(packets), (Verdict::Undecided, 0));
    }

    #[test]
    fn hevc_whose_first_bytes_look_like_h264_is_hevc() {
        // IDR_N_LP (0x28: PPS of H.264) and TSA_R (0x06: SEI), small.
        let packets = (0..100).map(|at| {
            let payload =
                if at % 10 == 0 { vec![0x28, 1, 0xaf, 1, 2, 3] } else { vec![6, 1, 0xd0, 9, 9] };
            (at * 3_000, true, payload)
        });
        let (verdict, _) = verdict(packets);
        assert!(matches!(codec(verdict), Some(Encoding::Hevc { .. })), "{verdict:?}");
    }

    /// A byte as of a coder of entropy.
    fn noise(at: u32) -> u8 {
        (at.wrapping_add(7).wrapping_mul(2_654_435_761) >> 24) as u8
    }

    #[test]
    fn a_key_frame_of_av1_is_told_by_its_first_packets_however_many_it_has() {
        // A sequence header and a frame that goes on over hundreds of packets.
        let packets = (0..400).map(|at: u32| {
            let mut payload = match at {
                0 => vec![0x68, 10, 0x08, 0, 0, 0, 1, 2, 3, 4, 5, 6, 0x30, 0x10],
                399 => vec![0x90],
                _ => vec![0xd0],
            };
            payload.extend((0..1_000).map(|byte| noise(at * 1_000 + byte)));
            (0, at == 399, payload)
        });
        let (verdict, seen) = verdict(packets);
        assert_eq!((codec(verdict), seen), (Some(Encoding::Av1), 4));
    }

    #[test]
    fn av1_that_is_joined_between_key_frames_of_a_packet_a_unit_is_told() {
        let packets = (0..100).map(|at: u32| {
            let payload = match at % 2 {
                0 => [&[0x10, 0x30, 0x30][..], &[noise(at), noise(at + 500), 9]].concat(),
                // A frame that is shown now.
                _ => vec![0x10, 0x18, 0xb8],
            };
            (at * 3_600, true, payload)
        });
        let (verdict, seen) = verdict(packets);
        assert_eq!(codec(verdict), Some(Encoding::Av1), "{verdict:?}");
        assert!(seen <= 12, "{seen}");
    }

    #[test]
    fn opus_is_told_by_the_time_its_packets_last() {
        for (toc, ticks) in [(0x78u8, 960), (0xfc, 960), (0x08, 960), (0xe0, 120), (0x18, 2_880)] {
            // Bytes as of a range coder.
            let byte = |at: u32, place: u32| (at.wrapping_mul(2_654_435_761) >> place) as u8;
            let packets = (0..100).map(|at| {
                (at * ticks, false, vec![toc, byte(at + 1, 23), byte(at, 13), byte(at, 5)])
            });
            let (verdict, seen) = verdict(packets);
            assert_eq!(codec(verdict), Some(Encoding::Opus), "{toc:#x}");
            assert!(seen <= 12, "{seen}");
        }
    }

    #[test]
    fn aac_is_told_with_its_sampling_rate() {
        // 1,024 samples every 10 ms: 102,400 a second; every second packet: 48,000 nearly.
        let packets = (0..200).filter(|at| at % 2 == 0).map(|at| {
            let payload = vec![0, 16, 0, 5 << 3, 1, 2, 3, 4, at as u8];
            (at / 2 * 1_024, true, payload)
        });
        let mut detector = Detector::new();
        let found = packets.zip(0u16..).find_map(|((timestamp, marker, payload), at)| {
            let arrival = Time::from_micros(u64::from(at) * 21_333);
            match detector.observe(&header(at, timestamp, marker), &payload, arrival) {
                Verdict::Found(format) => Some(format),
                _ => None,
            }
        });
        let found = found.unwrap();
        assert!(matches!(found.encoding, Encoding::Aac { .. }));
        assert_eq!(found.clock_hz, 48_000);
    }
}
