//! What FFmpeg's and GStreamer's RTP senders sent, against the elementary streams that they sent from.
//! `vectors/make` tells how the captures were made.
#![allow(clippy::cast_possible_truncation, reason = "tests make bytes of numbers")]

mod common;

use codec::sink::Codec;
use common::{Frame, Receiver, Record, capture, nals_of, vector};
use rtp::detect::{Detector, Verdict};
use rtp::format::{Encoding, Format};
use rtp::packet::Header;
use rtp::payload::ParameterSets;
use rtp::payload::aac::AacParameters;

const EMPTY: ParameterSets = ParameterSets::EMPTY;

fn h264() -> Encoding {
    Encoding::H264 { sets: EMPTY, depth: 0 }
}

fn hevc() -> Encoding {
    Encoding::Hevc { sets: EMPTY, has_order: false, depth: 0 }
}

fn format(encoding: Encoding, clock_hz: u32) -> Format {
    Format { payload_type: 96, clock_hz, channels: 1, encoding }
}

/// Receives a capture as `encoding`, or as what is detected.
fn receive(name: &str, encoding: Option<Encoding>, clock_hz: u32) -> Receiver {
    let mut receiver = Receiver::new(encoding.map(|encoding| format(encoding, clock_hz)));
    for record in capture(name) {
        receiver.put(&record);
    }
    receiver.finish();
    receiver
}

fn clean(frames: &[Frame]) {
    for (at, frame) in frames.iter().enumerate() {
        assert!(!frame.damaged && frame.ended, "frame {at}");
    }
}

/// Times between frames in display order are `ticks`.
fn evenly(frames: &[Frame], ticks: u64) {
    let mut times: Vec<u64> = frames.iter().map(|frame| frame.pts).collect();
    times.sort_unstable();
    for pair in times.windows(2) {
        assert!((pair[1] - pair[0]).abs_diff(ticks) <= 2, "{times:?}");
    }
}

#[test]
fn h264_and_hevc_come_out_nal_by_nal() {
    for (name, source, encoding) in [
        ("h264_ffmpeg", "h264.src.h264", h264()),
        ("h264_gstreamer", "h264.src.h264", h264()),
        ("h264_gstreamer_stap", "h264.src.h264", h264()),
        ("hevc_ffmpeg", "hevc.src.h265", hevc()),
        ("hevc_gstreamer", "hevc.src.h265", hevc()),
        ("hevc_gstreamer_ap", "hevc.src.h265", hevc()),
    ] {
        let receiver = receive(name, Some(encoding), 90_000);
        let frames = receiver.frames();
        assert_eq!(frames.len(), 50, "{name}");
        clean(frames);
        evenly(frames, 3_600);
        let got: Vec<Vec<u8>> = frames.iter().flat_map(|frame| nals_of(&frame.bytes)).collect();
        assert_eq!(got, nals_of(&vector(source)), "{name}");
    }
}

/// The raw access units of an ADTS stream.
fn adts_units(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut units) = (bytes, Vec::new());
    while rest.len() >= 7 {
        let len =
            usize::from(rest[3] & 3) << 11 | usize::from(rest[4]) << 3 | usize::from(rest[5] >> 5);
        let header = if rest[1] & 1 == 1 { 7 } else { 9 };
        units.push(rest[header..len].to_vec());
        rest = &rest[len..];
    }
    units
}

fn access_units(frames: &[Frame]) -> Vec<Vec<u8>> {
    frames.iter().map(|frame| frame.bytes.clone()).collect()
}

#[test]
fn aac_comes_out_unit_by_unit() {
    let configuration = ([0; 32], 0);
    let hbr = Encoding::Aac { parameters: AacParameters::HBR, configuration };
    let latm = Encoding::Latm { config: None };
    // FFmpeg's multiplex stands in its description, GStreamer's too: AAC-LC, 48 kHz, one channel.
    let description = |parameters| rtp::sdp::format(96, "MP4A-LATM/48000/1", parameters).unwrap();
    let described = description("cpresent=0;config=40002310").encoding;
    let _ = latm;
    for (name, encoding) in [
        ("aac_ffmpeg", hbr),
        ("aac_gstreamer", hbr),
        ("latm_ffmpeg", described),
        ("latm_gstreamer", described),
    ] {
        let receiver = receive(name, Some(encoding), 48_000);
        clean(receiver.frames());
        evenly(receiver.frames(), 1_920);
        let source = adts_units(&vector("aac.src.aac"));
        let got = access_units(receiver.frames());
        // FFmpeg ends without the access units that do not fill a packet.
        let enough = got.len() * 100 >= source.len() * 85;
        assert!(source.starts_with(&got) && enough, "{name}: {} of {}", got.len(), source.len());
    }
}

/// The packets of an Ogg stream without its two header packets.
fn ogg_packets(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut packets, mut open) = (bytes, Vec::new(), Vec::new());
    while rest.starts_with(b"OggS") {
        let segments = usize::from(rest[26]);
        let (sizes, mut data) = rest[27..].split_at(segments);
        for size in sizes {
            let (part, after) = data.split_at(usize::from(*size));
            open.extend_from_slice(part);
            data = after;
            if *size < 255 {
                packets.push(std::mem::take(&mut open));
            }
        }
        rest = data;
    }
    packets.split_off(2)
}

#[test]
fn opus_comes_out_packet_by_packet() {
    for name in ["opus_ffmpeg", "opus_gstreamer"] {
        let receiver = receive(name, Some(Encoding::Opus), 48_000);
        clean(receiver.frames());
        // FFmpeg stamps the first packet behind the encoder's delay.
        evenly(&receiver.frames()[1..], 1_800);
        assert_eq!(access_units(receiver.frames()), ogg_packets(&vector("opus.src.ogg")), "{name}");
    }
}

#[test]
fn linear_and_g711_sound_comes_out_sample_by_sample() {
    let source = vector("pcm.src.raw");
    let sixteen: Vec<u8> = source.chunks(2).flat_map(|sample| [sample[1], sample[0]]).collect();
    let all = |receiver: &Receiver| access_units(receiver.frames()).concat();
    let receiver = receive("l16_gstreamer", Some(Encoding::L16), 8_000);
    clean(receiver.frames());
    assert_eq!(all(&receiver), sixteen);
    let receiver = receive("l24_gstreamer", Some(Encoding::L24), 8_000);
    let highest: Vec<u8> =
        all(&receiver).chunks(3).flat_map(|sample| [sample[0], sample[1]]).collect();
    assert_eq!(highest, sixteen);
    let mut pcmu = Receiver::new(None);
    capture("pcmu_gstreamer").iter().for_each(|record| pcmu.put(record));
    pcmu.finish();
    assert_eq!(pcmu.tracks()[0].codec, Codec::Pcmu);
    assert_eq!(all(&pcmu).len(), source.len() / 2);
}

#[test]
fn transport_streams_come_out_as_they_are() {
    let receiver = receive("ts_gstreamer", None, 90_000);
    assert!(receiver.tracks().is_empty(), "the demultiplexer lists them");
    let source = vector("ts.src.ts");
    let got = receiver.transport_stream();
    // tsparse keeps back what does not fill a packet of seven.
    assert!(source.starts_with(got) && source.len() - got.len() < 7 * 188, "{}", got.len());
    let ffmpeg = receive("ts_ffmpeg", None, 90_000);
    let packets = ffmpeg.transport_stream().chunks(188);
    assert!(packets.len() > 100 && packets.into_iter().all(|packet| packet[0] == 0x47));
}

#[test]
fn every_stream_is_told_by_its_packets() {
    for (name, codec) in [
        ("h264_ffmpeg", Codec::H264),
        ("h264_gstreamer", Codec::H264),
        ("h264_gstreamer_stap", Codec::H264),
        ("hevc_ffmpeg", Codec::Hevc),
        ("hevc_gstreamer", Codec::Hevc),
        ("hevc_gstreamer_ap", Codec::Hevc),
        ("aac_ffmpeg", Codec::Aac),
        ("opus_ffmpeg", Codec::Opus),
        ("opus_gstreamer", Codec::Opus),
    ] {
        let records = capture(name);
        // From every packet on: a stream may be joined anywhere.
        for start in 0..records.len().saturating_sub(101) {
            let mut detector = Detector::new();
            let found = records[start..].iter().find_map(|record| {
                let header = Header::parse(&record.bytes).ok()?;
                let payload = header.payload(&record.bytes);
                match detector.observe(&header, payload, record.arrival) {
                    Verdict::Undecided => None,
                    Verdict::Found(format) => Some(Some(format)),
                    Verdict::Unknown => Some(None),
                }
            });
            let found = found.expect("a verdict within a hundred packets");
            assert_eq!(found.map(|format| format.codec()), Some(codec), "{name} from {start}");
        }
        let receiver = receive(name, None, 0);
        assert_eq!(receiver.tracks()[0].codec, codec, "{name}");
        if name == "aac_ffmpeg" {
            assert_eq!(receiver.tracks()[0].clock_hz, 48_000);
        }
    }
}

#[test]
fn with_losses_the_clean_frames_are_those_whose_packets_all_came() {
    for (name, encoding) in [
        ("h264_ffmpeg", h264()),
        ("h264_gstreamer", h264()),
        ("h264_gstreamer_stap", h264()),
        ("hevc_ffmpeg", hevc()),
        ("hevc_gstreamer", hevc()),
        ("hevc_gstreamer_ap", hevc()),
    ] {
        let records: Vec<_> = capture(name).into_iter().filter(|r| r.is_rtp()).collect();
        let mut seed = 1u64;
        let (mut total, mut told) = (0, 0);
        for _ in 0..100 {
            let mut receiver = Receiver::new(Some(format(encoding, 90_000)));
            let mut hit = Vec::new();
            for (at, record) in records.iter().enumerate() {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // The first two prove the source.
                if at > 2 && (seed >> 33).is_multiple_of(30) {
                    hit.push(Header::parse(&record.bytes).unwrap().timestamp);
                } else {
                    receiver.put(record);
                }
            }
            receiver.finish();
            let whole = common::timestamps(&records).into_iter().filter(|at| !hit.contains(at));
            let got: Vec<u32> =
                receiver.frames().iter().filter(|f| !f.damaged).map(|f| f.pts as u32).collect();
            let whole: Vec<u32> = whole.collect();
            for timestamp in &got {
                assert!(whole.contains(timestamp), "{name}: a frame with a hole is told as clean");
            }
            total += whole.len();
            told += got.len();
        }
        // What cannot be known at the end of the stream, and before the first whole key picture.
        assert!(told * 100 >= total * 97, "{name}: {told} of {total}");
    }
}

#[test]
fn reordering_within_the_window_loses_nothing() {
    let mut records: Vec<_> =
        capture("h264_gstreamer").into_iter().filter(|r| r.is_rtp()).collect();
    for chunk in records.chunks_mut(7).skip(1) {
        chunk.reverse();
    }
    let mut receiver = Receiver::new(Some(format(h264(), 90_000)));
    records.iter().for_each(|record| receiver.put(record));
    receiver.finish();
    clean(receiver.frames());
    let got: Vec<Vec<u8>> = receiver.frames().iter().flat_map(|f| nals_of(&f.bytes)).collect();
    assert_eq!(got, nals_of(&vector("h264.src.h264")));
}

#[test]
fn what_has_no_structure_of_its_own_is_never_taken_for_something_else() {
    for name in ["l16_gstreamer", "l24_gstreamer", "latm_ffmpeg", "latm_gstreamer"] {
        let records: Vec<_> = capture(name).into_iter().filter(Record::is_rtp).collect();
        for start in 0..records.len() {
            let mut detector = Detector::new();
            for record in &records[start..] {
                // As a dynamic type, whatever it was sent as.
                let header = Header { payload_type: 96, ..Header::parse(&record.bytes).unwrap() };
                let payload = header.payload(&record.bytes);
                let verdict = detector.observe(&header, payload, record.arrival);
                assert!(!matches!(verdict, Verdict::Found(_)), "{name} from {start}: {verdict:?}");
            }
        }
    }
}
