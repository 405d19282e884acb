//! JPEG XS in units of MPEG-TS and RTP. No encoder for it is on this machine: codestreams have the
//! marker segments of ISO/IEC 21122-1 and noise for coefficients, and are muxed here by the text.

mod support;

use codec::sink::{Carriage, Codec, Field, Sink, Timestamps, TrackConfig};
use shm::FrameFlags;
use support::muxer::Muxer;
use support::{Got, Random, Rig, track};

const PID: u16 = 0x101;
/// JPEG XS video descriptor, as far as its first fields: nothing in it is needed.
const DESCRIPTOR: [u8; 7] = [0x3f, 5, 0x14, 0, 0x07, 0x80, 0x04];

/// 1920 x 1080 in 4:2:2 of 10 bits, Main 422.10, level 2k-1; a comment, slices, its end.
fn codestream(height: u16, number: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = vec![0xff, 0x10, 0xff, 0x50, 0, 4, 0, 0, 0xff, 0x12, 0, 26, 0, 0, 0, 0];
    bytes.extend([0x35, 0x40, 0x10, 0x10, 0x07, 0x80]);
    bytes.extend(height.to_be_bytes());
    bytes.extend([0, 0, 0, 16, 3, 4, 8, 20, 0x84, 0, 0x52, 0]);
    bytes.extend([0xff, 0x13, 0, 8, 10, 0x11, 10, 0x21, 10, 0x21]);
    bytes.extend([0xff, 0x15, 0, 4, 0x40, u8::try_from(number % 256).unwrap()]);
    for slice in 0..4 {
        bytes.extend([0xff, 0x20, 0, 4, 0, slice]);
        let len = 300 + random.below(900);
        bytes.extend((0..len).map(|_| u8::try_from(random.below(128)).unwrap()));
    }
    bytes.extend([0xff, 0x11]);
    bytes
}

/// The elementary stream header: `frat` of so many frames a second.
fn jxes(interlace: u8, frames: u8) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 30];
    bytes.extend(b"jxes");
    bytes.extend([0, 0, 0, 200, interlace << 6 | 1, 0, 0, frames, 0x80, 0x90]);
    bytes.extend([0x35, 0x40, 0x10, 0x10, 1, 1, 1, 0, 1, 2, 3, 4]);
    bytes
}

/// What may stand before the codestream in RTP.
fn jpvs(interlace: u8, frames: u8) -> Vec<u8> {
    let mut jpvi = vec![0, 0, 0, 22];
    jpvi.extend(b"jpvi");
    jpvi.extend([0, 0, 0, 200, interlace << 6 | 1, 0, 0, frames, 0x80, 0x90, 0, 0, 0, 0]);
    [&[0, 0, 0, 30][..], b"jpvs", &jpvi].concat()
}

fn shown(pts: u64) -> Timestamps {
    Timestamps { pts: Some(pts), dts: None }
}

fn time(number: usize, ticks: u64) -> u64 {
    90_000 + ticks * u64::try_from(number).unwrap()
}

fn rtp() -> TrackConfig {
    let (codec, carriage) = (Codec::JpegXs, Carriage::AccessUnits);
    TrackConfig { codec, carriage, clock_hz: 90_000, ..TrackConfig::default() }
}

/// A second of frames at 50 a second and a bit.
fn pictures(height: u16) -> Vec<Vec<u8>> {
    let mut random = Random::new(8);
    (0..110).map(|number| codestream(height, number, &mut random)).collect()
}

fn groups(got: &[Got]) -> Vec<usize> {
    let starts = got.iter().enumerate().filter(|(_, got)| got.has(FrameFlags::GOP_START));
    starts.map(|(index, _)| index).collect()
}

#[test]
fn each_pes_packet_is_a_frame_without_its_header() {
    let pictures = pictures(1080);
    let mut muxer = Muxer::with_descriptors(&[(PID, 0x32, &DESCRIPTOR)]);
    for (number, picture) in pictures.iter().enumerate() {
        muxer.pes(PID, 0xe0, shown(time(number, 1_800)), &[jxes(0, 50), picture.clone()].concat());
    }
    let mut rig = Rig::new(&[]);
    rig.transport_stream(&muxer.bytes, None);
    rig.finish_here();
    let info = rig.stream.tracks()[0].info();
    let video = *info.video().unwrap();
    assert_eq!((info.codec.label(), video.width, video.height), ("jpegxs", 1920, 1080));
    assert_eq!((video.profile.as_str(), video.level.as_str()), ("Main 422.10", "2k-1"));
    assert_eq!(
        (video.bit_depth, video.chroma, video.frame_rate),
        (10, shm::Chroma::Yuv422, Some((50, 1)))
    );
    assert_eq!(rig.stream.counters().frame_rate_mhz, 50_000);
    assert_eq!(rig.got.len(), pictures.len());
    for (number, (got, picture)) in rig.got.iter().zip(&pictures).enumerate() {
        assert_eq!(&got.bytes, picture, "{number}");
        assert_eq!(
            (got.frame.pts, got.frame.dts),
            (Some(time(number, 1_800)), Some(time(number, 1_800)))
        );
        assert!(got.frame.is_key() && !got.frame.is_damaged());
    }
    assert_eq!(groups(&rig.got), [0, 50, 100], "groups last a second");
}

#[test]
fn a_frame_of_two_fields_is_one_pes_packet() {
    let pictures = pictures(540);
    let mut muxer = Muxer::with_descriptors(&[(PID, 0x32, &DESCRIPTOR)]);
    for (number, fields) in pictures.chunks(2).enumerate() {
        let unit = [jxes(1, 25), fields.concat()].concat();
        muxer.pes(PID, 0xe0, shown(time(number, 3_600)), &unit);
    }
    let mut rig = Rig::new(&[]);
    rig.transport_stream(&muxer.bytes, None);
    rig.finish_here();
    let video = rig.stream.tracks()[0].video.unwrap();
    assert_eq!((video.width, video.height, video.field_coded), (1920, 1080, true));
    assert!(rig.got.iter().map(|got| got.bytes.clone()).eq(pictures.chunks(2).map(<[_]>::concat)));
    assert_eq!(rig.stream.counters().frame_rate_mhz, 25_000);
}

#[test]
fn lost_transport_packets_damage_the_frames_they_were_of() {
    let pictures = pictures(1080);
    let mut muxer = Muxer::with_descriptors(&[(PID, 0x32, &DESCRIPTOR)]);
    // Which packets a picture lies in.
    let mut places = Vec::new();
    for (number, picture) in pictures.iter().enumerate() {
        let from = muxer.bytes.len() / 188;
        muxer.pes(PID, 0xe0, shown(time(number, 1_800)), &[jxes(0, 50), picture.clone()].concat());
        places.push(from..muxer.bytes.len() / 188);
    }
    let mut random = Random::new(31);
    for round in 0..40 {
        let packets: Vec<&[u8]> = muxer.bytes.chunks(188).collect();
        // Not the tables, nor the last picture: its end would be missing without a word.
        let lost: Vec<usize> =
            (0..3).map(|_| 2 + random.below(places.last().unwrap().start - 2)).collect();
        let kept = packets.iter().enumerate().filter(|(at, _)| !lost.contains(at));
        let kept: Vec<u8> = kept.flat_map(|(_, packet)| packet.iter().copied()).collect();
        let mut rig = Rig::new(&[]);
        rig.transport_stream(&kept, None);
        rig.finish_here();
        let clean: Vec<_> = rig.got.iter().filter(|got| !got.frame.is_damaged()).collect();
        for got in &clean {
            assert!(pictures.contains(&got.bytes), "round {round}");
        }
        let hit = places.iter().filter(|place| lost.iter().any(|at| place.contains(at))).count();
        // A lost first packet is noticed in the picture before, which is open still.
        let first = places.iter().filter(|place| lost.contains(&place.start)).count();
        assert!(clean.len() + hit + first >= pictures.len(), "round {round}");
        assert!(clean.len() + hit <= pictures.len(), "round {round}");
    }
}

#[test]
fn units_of_rtp_end_their_frames_and_boxes_are_left_out() {
    for boxes in [Vec::new(), jpvs(0, 50)] {
        let pictures = pictures(1080);
        let mut rig = Rig::new(&[rtp()]);
        for (number, picture) in pictures.iter().enumerate() {
            rig.stream.unit_start(0, shown(time(number, 1_800)));
            let piece = 1 + number % 97;
            rig.data(0, &[boxes.clone(), picture.clone()].concat(), piece, &mut Random::new(5));
            rig.stream.unit_end(0);
            rig.read();
            assert_eq!(rig.got.len(), number + 1);
            assert_eq!(&rig.got[number].bytes, picture);
            assert_eq!(rig.got[number].frame.pts, Some(time(number, 1_800)));
            assert!(!rig.got[number].frame.is_damaged());
        }
        let video = rig.stream.tracks()[0].video.unwrap();
        let declared = (!boxes.is_empty()).then_some((50, 1));
        assert_eq!((video.width, video.height, video.frame_rate), (1920, 1080, declared));
        assert_eq!(groups(&rig.finish()), [0, 50, 100]);
    }
}

#[test]
fn fields_of_rtp_are_frames_with_their_place_in_the_pair() {
    let pictures = pictures(540);
    let mut rig = Rig::new(&[rtp()]);
    for (number, picture) in pictures.iter().enumerate() {
        rig.stream.unit_start(0, shown(time(number, 1_800)));
        rig.stream.field(0, if number % 2 == 0 { Field::First } else { Field::Second });
        rig.data(0, &[jpvs(1, 25), picture.clone()].concat(), 700, &mut Random::new(5));
        rig.stream.unit_end(0);
    }
    rig.finish_here();
    let video = rig.stream.tracks()[0].video.unwrap();
    assert_eq!((video.height, video.field_coded), (1080, true));
    assert_eq!(rig.stream.counters().frame_rate_mhz, 25_000, "a pair counts once");
    for (number, got) in rig.got.iter().enumerate() {
        assert_eq!(got.bytes, pictures[number]);
        assert_eq!(got.has(FrameFlags::FIELD_FIRST), number % 2 == 0);
        assert_eq!(got.has(FrameFlags::FIELD_SECOND), number % 2 == 1);
        assert_eq!(got.frame.dts, got.frame.pts);
    }
    assert_eq!(groups(&rig.got), [0, 50, 100], "never with a second field");
}

#[test]
fn holes_stay_in_their_units_and_a_unit_without_its_start_is_counted() {
    let pictures = pictures(1080);
    let mut rig = Rig::new(&[rtp()]);
    for (number, picture) in pictures.iter().take(8).enumerate() {
        if number == 6 {
            rig.stream.skipped(0);
            continue;
        }
        rig.stream.unit_start(0, shown(time(number, 1_800)));
        let (head, tail) = picture.split_at(picture.len() / 2);
        match number {
            1 => {
                rig.stream.unit_data(0, head);
                rig.stream.gap(0);
                rig.stream.unit_data(0, &tail[7..]);
            }
            3 => {
                rig.stream.gap(0);
                rig.stream.unit_data(0, tail);
            }
            // It begins with neither a codestream nor a box.
            5 => rig.stream.unit_data(0, &[0x47; 900]),
            _ => rig.stream.unit_data(0, picture),
        }
        rig.stream.unit_end(0);
    }
    rig.finish_here();
    let got: Vec<_> = rig.got.iter().map(|got| (got.bytes.len(), got.frame.is_damaged())).collect();
    let whole = |number: usize| (pictures[number].len(), false);
    let torn = (pictures[1].len() - 7, true);
    assert_eq!(got, [whole(0), torn, whole(2), whole(4), whole(7)]);
    let counters = rig.stream.counters();
    let tail = pictures[3].len() - pictures[3].len() / 2;
    assert_eq!(counters.frames_dropped_invalid, 1);
    assert_eq!(counters.bytes_skipped, u64::try_from(tail + 900).unwrap());
}

#[test]
fn a_second_video_track_does_not_disturb() {
    let mut rig = Rig::new(&[rtp(), track(Codec::H264, 7)]);
    let picture = &pictures(1080)[0];
    rig.stream.unit_start(0, shown(90_000));
    rig.stream.unit_data(0, &picture[..99]);
    Sink::tracks(&mut rig.stream, &[rtp(), track(Codec::H264, 7)]);
    rig.stream.unit_data(0, &picture[99..]);
    rig.stream.unit_end(0);
    let got = rig.finish();
    assert_eq!(got.len(), 1);
    assert!(got[0].frame.is_damaged(), "the list cut its unit off");
    assert_eq!(&got[0].bytes, picture);
}
