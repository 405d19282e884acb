//! Bodies of the fuzz targets: any bytes, invariants checked.

use codec::sink::{Carriage, Codec, Sink, Timestamps, TrackConfig};
use memory::Time;
use shm::{FrameFlags, GopRing, Next, RingId, RingSpec};

use crate::{Limits, Stream};

const CODECS: [Codec; 20] = [
    Codec::H264,
    Codec::Hevc,
    Codec::Aac,
    Codec::Ac3,
    Codec::Mpeg2Video,
    Codec::Unknown,
    Codec::Eac3,
    Codec::MpegAudio,
    Codec::AacLatm,
    Codec::Opus,
    Codec::Av1,
    Codec::Teletext,
    Codec::DvbSubtitle,
    Codec::Klv,
    Codec::Scte35,
    Codec::L16,
    Codec::L24,
    Codec::Pcma,
    Codec::Pcmu,
    Codec::JpegXs,
];

/// Takes the input apart into calls.
struct Script<'a> {
    rest: &'a [u8],
}

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        bytes
    }

    fn stamps(&mut self) -> Timestamps {
        let bytes = self.bytes(3);
        let stamp = |index: usize| bytes.get(index).map(|byte| u64::from(*byte) << 7);
        let pts = stamp(0).filter(|_| bytes.first() != Some(&0));
        Timestamps { pts, dts: stamp(1).filter(|_| bytes.get(2).is_some_and(|byte| byte & 1 == 1)) }
    }
}

/// Any calls of a sink and its owner, one after the other:
///
/// ```text
///  00 list n (codec, pid)…   01 unit start   02 unit end   03 gap   04 publish   05 abort
///  06 close and open again   07 finish       08… data of byte - 7 (and 16 times that from 80)
/// ```
///
/// Every frame that ended is published, pending, or counted as dropped; what is published is read
/// back with its size; nothing panics.
pub fn stream(data: &[u8]) {
    run(data, Carriage::Stream);
}

/// The same with units that hold whole access units, as RTP has them, and three calls more:
///
/// ```text
///  15 skipped   25 configuration of 2 bytes   35 n NAL unit of n bytes, some of them told as its header
/// ```
pub fn access_units(data: &[u8]) {
    run(data, Carriage::AccessUnits);
}

#[expect(clippy::expect_used, reason = "the harness fails where it should")]
fn run(data: &[u8], carriage: Carriage) {
    let spec = RingSpec {
        ring: RingId(0),
        video_bytes: 16 << 10,
        side_bytes: 16 << 10,
        descriptors: 64,
        pending_frames: 8,
    };
    let (mut ring, mut reader) = GopRing::in_process(&spec).expect("a ring of legal size");
    ring.start_generation();
    reader.attach();
    let limits = Limits { frame_bytes_max: 8 << 10, gop_count_max: 4, ..Limits::default() };
    let mut stream = Stream::new(limits);
    stream.open(ring);
    let mut script = Script { rest: data };
    let mut now = 0;
    let mut out = Vec::new();
    while let Some(call) = script.byte() {
        now += 1_000;
        let time = Time::from_nanos(now);
        stream.input(time, Time::from_nanos(now + 3_000));
        let track = usize::from(call >> 4) % 4;
        match call & 0x0f {
            0 => list(&mut stream, &mut script, carriage),
            1 => stream.unit_start(track, script.stamps()),
            2 => stream.unit_end(track),
            3 => stream.gap(track),
            4 => {
                stream.publish_due(time);
            }
            5 if track == 0 => stream.abort(),
            5 if track == 1 && carriage == Carriage::AccessUnits => stream.skipped(0),
            5 if track == 2 && carriage == Carriage::AccessUnits => {
                stream.configuration(1, script.bytes(2));
            }
            5 if track == 3 && carriage == Carriage::AccessUnits => {
                let length = script.byte().unwrap_or_default();
                let nal = script.bytes(length.into());
                let header = usize::from(length % 3).min(nal.len());
                let (header, bytes) = nal.split_at(header);
                let code = [&[0, 0, 0, 1], header].concat();
                stream.nal_unit(usize::from(length >> 6), &code, bytes);
            }
            6 if track == 0 => {
                stream.finish(time);
                check(&stream);
                let ring = stream.close().expect("a ring was opened");
                stream.open(ring);
            }
            7 if track == 0 => stream.finish(time),
            length => {
                let length = usize::from(length) * if call & 0x80 == 0 { 5 } else { 40 };
                stream.unit_data(track, script.bytes(length));
            }
        }
        check(&stream);
        read(&mut reader, &mut out);
    }
    stream.finish(Time::from_nanos(now));
    assert_eq!(stream.pending_frames(), 0, "everything is published at the end");
    check(&stream);
    read(&mut reader, &mut out);
}

fn list(stream: &mut Stream, script: &mut Script<'_>, carriage: Carriage) {
    let count = usize::from(script.byte().unwrap_or_default()) % 4;
    let mut tracks = [TrackConfig::default(); 4];
    for track in tracks.iter_mut().take(count) {
        let byte = script.byte().unwrap_or_default();
        let codec = usize::from((byte & 7) | (byte >> 3) & 0x18);
        track.codec = CODECS.get(codec).copied().unwrap_or_default();
        track.pid = u16::from(byte >> 3 & 7);
        track.carriage = carriage;
        track.clock_hz = 48_000;
    }
    Sink::tracks(stream, tracks.get(..count).unwrap_or_default());
}

fn check(stream: &Stream) {
    let counters = stream.counters();
    let pending = u64::try_from(stream.pending_frames()).unwrap_or(u64::MAX);
    assert_eq!(
        counters.frames_finished,
        counters.frames_published + pending + counters.frames_dropped(),
        "every frame is published, pending or counted as dropped"
    );
    let by_class = counters.frames_i + counters.frames_p + counters.frames_b;
    let by_class = by_class + counters.frames_audio + counters.frames_data;
    assert_eq!(by_class, counters.frames_published, "every frame has a class");
}

#[expect(clippy::expect_used, clippy::panic, reason = "the harness fails where it should")]
fn read(reader: &mut shm::GopReader, out: &mut Vec<u8>) {
    loop {
        match reader.next(out).expect("the ring is consistent") {
            Next::Frame(frame) => {
                assert_eq!(
                    Ok(frame.size),
                    u32::try_from(out.len()),
                    "the size is that of the bytes"
                );
                assert!(
                    !frame.flags.contains(FrameFlags::GOP_START) || frame.is_key(),
                    "a group starts with a key frame"
                );
            }
            Next::Empty | Next::Overrun { .. } => return,
            Next::Ended => panic!("nobody ended the stream"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    fn corpus(name: &str) -> Vec<Vec<u8>> {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus");
        let folder = std::fs::read_dir(corpora.join(name)).unwrap();
        let files: Vec<_> =
            folder.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
        assert!(files.len() >= 20, "the corpus is nearly empty");
        files
    }

    type Body = (&'static str, fn(&[u8]));

    const BODIES: [Body; 2] =
        [("media_stream", super::stream), ("media_access_units", super::access_units)];

    #[test]
    fn corpora_replay() {
        for (name, body) in BODIES {
            corpus(name).iter().for_each(|input| body(input));
        }
    }

    #[test]
    fn the_corpora_with_flipped_bits_and_cut_short() {
        for (name, body) in BODIES {
            for mut input in corpus(name) {
                for place in (0..input.len()).step_by(input.len() / 12 + 1) {
                    body(&input[place..]);
                    input[place] ^= 1 << (place % 8);
                    body(&input);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_calls(data in proptest::collection::vec(any::<u8>(), 0..3000)) {
            super::stream(&data);
            super::access_units(&data);
        }
    }
}
