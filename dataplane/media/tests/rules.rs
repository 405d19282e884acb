//! What is kept, what is dropped and why, and when it is published.

mod support;

use codec::sink::{Codec, Sink, Timestamps, TrackConfig};
use memory::Time;
use penstock_media::{Framing, Limits};
use shm::FrameFlags;
use support::fields::{self, Picture};
use support::{Random, Rig, ffmpeg, packets, stamps, track};

/// Pictures of H.264 by hand, one unit each, and the next one's start not yet there.
fn pictures() -> Vec<Picture> {
    fields::stream(60, true)
}

fn push(rig: &mut Rig, track: usize, picture: &Picture) {
    let stamps = stamps(90_000 + picture.pts * 1800, 90_000 + picture.dts * 1800);
    rig.unit(track, stamps, &picture.bytes, &mut Random::new(1));
}

/// ADTS frames of 48 kHz stereo with `bytes` of payload each.
fn adts(frames: usize, bytes: usize) -> Vec<Vec<u8>> {
    (0..frames)
        .map(|frame| {
            let length = u16::try_from(bytes + 7).unwrap();
            let [high, low] = (length << 5 | 0x1f).to_be_bytes();
            let mut made = vec![0xff, 0xf1, 0x4c, 0x80 | u8::try_from(length >> 11).unwrap()];
            made.extend_from_slice(&[high, low, 0xfc]);
            made.resize(bytes + 7, u8::try_from(frame % 251).unwrap());
            made
        })
        .collect()
}

#[test]
fn frames_before_the_first_key_frame_are_counted_and_not_kept() {
    let pictures = pictures();
    let mut rig = Rig::new(&[track(Codec::H264, 1), track(Codec::Aac, 2)]);
    let sound = adts(4, 90);
    let key = pictures.iter().skip(1).position(|picture| picture.class == "idr").unwrap() + 1;
    for picture in &pictures[10..key] {
        push(&mut rig, 0, picture);
    }
    rig.unit(1, stamps(5, 5), &sound.concat(), &mut Random::new(2));
    for picture in &pictures[key..key + 5] {
        push(&mut rig, 0, picture);
    }
    rig.unit(1, stamps(5, 5), &sound.concat(), &mut Random::new(2));
    rig.finish_here();
    let counters = rig.stream.counters();
    let before = u64::try_from(key - 10).unwrap() + 4;
    assert_eq!(counters.frames_dropped_before_key, before);
    assert_eq!(counters.frames_published, 5 + 4);
    assert_eq!(rig.got[0].frame.class.label(), "idr");
    assert!(rig.got[0].has(FrameFlags::GOP_START));
    assert_eq!(counters.frames_audio, 4);
}

#[test]
fn sound_alone_makes_a_group_each_second() {
    let mut rig = Rig::new(&[track(Codec::Aac, 2)]);
    let sound = adts(150, 90);
    for (index, frames) in sound.chunks(3).enumerate() {
        let time = 1_000 + 5_760 * u64::try_from(index).unwrap();
        rig.unit(0, stamps(time, time), &frames.concat(), &mut Random::new(2));
    }
    rig.finish_here();
    assert_eq!(rig.got.len(), 150);
    assert!(rig.got.iter().all(|got| got.frame.is_key()));
    let starts: Vec<u64> = rig
        .got
        .iter()
        .filter(|got| got.has(FrameFlags::GOP_START))
        .map(|got| got.frame.pts.unwrap())
        .collect();
    assert_eq!(starts, [1_000, 1_000 + 1920 * 47, 1_000 + 1920 * 94, 1_000 + 1920 * 141]);
    let counters = rig.stream.counters();
    assert_eq!((counters.gops_closed, counters.gop_frames), (3, 47));
    assert_eq!(counters.gop_duration_us, 1_002_666);
}

#[test]
fn a_frame_over_the_limit_is_dropped_and_its_neighbours_are_whole() {
    let mut pictures = pictures();
    pictures.truncate(40);
    let filler = [&[0, 0, 1, 12][..], &[0xff; 9_000], &[0x80]].concat();
    pictures[7].bytes.extend_from_slice(&filler);
    let limits = Limits { frame_bytes_max: 5_000, ..Limits::default() };
    let mut rig = Rig::with(limits, 1 << 20, &[track(Codec::H264, 1)]);
    for picture in &pictures {
        push(&mut rig, 0, picture);
    }
    rig.finish_here();
    assert_eq!(rig.stream.counters().frames_dropped_oversize, 1);
    pictures.remove(7);
    let clean: Vec<_> = rig.got.iter().map(|got| (!got.frame.is_damaged(), &got.bytes)).collect();
    let made: Vec<_> = pictures.iter().map(|picture| (true, &picture.bytes)).collect();
    assert_eq!(clean, made);
}

#[test]
fn a_frame_larger_than_the_ring_is_dropped() {
    let mut rig = Rig::with(Limits::default(), 64 << 10, &[track(Codec::H264, 1)]);
    let pictures = pictures();
    let mut huge = pictures[0].clone();
    huge.bytes.resize(100 << 10, 0x55);
    push(&mut rig, 0, &huge);
    let next = pictures.iter().skip(1).position(|picture| picture.class == "idr").unwrap() + 1;
    for picture in &pictures[next..next + 6] {
        push(&mut rig, 0, picture);
    }
    rig.finish_here();
    assert_eq!(rig.stream.counters().frames_dropped_oversize, 1);
    assert_eq!(rig.got.len(), 6);
    assert!(rig.got.iter().zip(&pictures[next..]).all(|(got, made)| got.bytes == made.bytes));
}

#[test]
fn an_access_unit_of_more_than_a_thousand_nal_units_is_invalid() {
    let pictures = pictures();
    let mut rig = Rig::new(&[track(Codec::H264, 1)]);
    push(&mut rig, 0, &pictures[0]);
    let mut many = pictures[1].clone();
    for _ in 0..1_001 {
        many.bytes.extend_from_slice(&[0, 0, 1, 12, 0xff, 0x80]);
    }
    push(&mut rig, 0, &many);
    push(&mut rig, 0, &pictures[2]);
    rig.finish_here();
    assert_eq!(rig.stream.counters().frames_dropped_invalid, 1);
    assert_eq!(rig.got.len(), 2);
}

#[test]
fn a_frame_is_published_when_its_own_last_datagram_is_due() {
    let pictures = pictures();
    let mut rig = Rig::new(&[track(Codec::H264, 1)]);
    let due = |index: u64| Time::from_nanos(1_000_000 * (index + 1));
    for (index, picture) in pictures[..4].iter().enumerate() {
        let index = u64::try_from(index).unwrap();
        rig.stream.unit_start(0, stamps(picture.pts, picture.dts));
        rig.stream.input(Time::from_nanos(index), due(index));
        rig.stream.unit_data(0, &picture.bytes);
    }
    // Three ends are known; nothing is due.
    assert_eq!(rig.stream.publish_due(Time::from_nanos(999_999)), Some(due(0)));
    assert_eq!(rig.stream.pending_frames(), 3);
    assert_eq!(rig.stream.publish_due(due(1)), Some(due(2)));
    assert_eq!(rig.stream.pending_frames(), 1);
    rig.stream.finish(due(1));
    assert_eq!(rig.stream.counters().frames_published, 4);
    rig.read();
    let arrivals: Vec<u64> = rig.got.iter().map(|got| got.frame.arrival_ns).collect();
    assert_eq!(arrivals, [0, 1, 2, 3]);
    let dues: Vec<u64> = rig.got.iter().map(|got| got.frame.due_ns).collect();
    assert_eq!(dues, [0, 1, 2, 3].map(|index| due(index).nanos()));
}

#[test]
fn sound_does_not_wait_for_the_open_picture() {
    let pictures = pictures();
    let mut rig = Rig::new(&[track(Codec::H264, 1), track(Codec::Aac, 2)]);
    push(&mut rig, 0, &pictures[0]);
    push(&mut rig, 0, &pictures[1]);
    assert_eq!(rig.got.len(), 1, "the second picture is open");
    rig.unit(1, stamps(7, 7), &adts(3, 100).concat(), &mut Random::new(1));
    let sound = rig.got.iter().filter(|got| got.frame.track == 1).count();
    assert_eq!(sound, 3);
}

#[test]
fn a_second_video_track_is_listed_and_not_framed() {
    let pictures = pictures();
    let configs = [track(Codec::H264, 1), track(Codec::Hevc, 2), track(Codec::Dts, 3)];
    let mut rig = Rig::new(&configs);
    push(&mut rig, 0, &pictures[0]);
    rig.unit(1, Timestamps::default(), &[0; 500], &mut Random::new(1));
    rig.unit(2, Timestamps::default(), &[0; 300], &mut Random::new(1));
    rig.finish_here();
    let tracks = rig.stream.tracks();
    let framing: Vec<_> = tracks.iter().map(|track| (track.framing, track.bytes)).collect();
    let first = u64::try_from(pictures[0].bytes.len()).unwrap();
    assert_eq!(
        framing,
        [(Framing::Framed, first), (Framing::SecondVideo, 500), (Framing::CodecNotFramed, 300)]
    );
    assert_eq!(rig.got.len(), 1);
}

#[test]
fn tracks_that_stay_go_on_when_the_list_changes() {
    let pictures = pictures();
    let video = track(Codec::H264, 1);
    let mut rig = Rig::new(&[video]);
    for picture in &pictures[..6] {
        push(&mut rig, 0, picture);
    }
    rig.stream.unit_end(0);
    Sink::tracks(&mut rig.stream, &[track(Codec::Aac, 7), video]);
    for picture in &pictures[6..12] {
        push(&mut rig, 1, picture);
    }
    rig.unit(0, stamps(1, 1), &adts(3, 80).concat(), &mut Random::new(1));
    rig.finish_here();
    let shown = rig.got.iter().filter(|got| got.frame.class.label() != "audio");
    let bytes: Vec<_> = shown.map(|got| (got.bytes.clone(), got.frame.is_damaged())).collect();
    let made: Vec<_> =
        pictures[..12].iter().map(|picture| (picture.bytes.clone(), false)).collect();
    assert_eq!(bytes, made);
    assert_eq!(rig.got.len(), 15);
    assert!(rig.stream.tracks()[1].video.is_some());
}

#[test]
fn a_unit_that_a_new_list_cuts_off_may_miss_bytes() {
    let pictures = pictures();
    let video = track(Codec::H264, 1);
    let mut rig = Rig::new(&[video]);
    push(&mut rig, 0, &pictures[0]);
    push(&mut rig, 0, &pictures[1]);
    Sink::tracks(&mut rig.stream, &[video, track(Codec::Aac, 7)]);
    push(&mut rig, 0, &pictures[2]);
    rig.finish_here();
    let damaged: Vec<_> = rig.got.iter().map(|got| got.frame.is_damaged()).collect();
    assert_eq!(damaged, [false, true, false]);
}

#[test]
fn another_coding_starts_over_with_a_key_frame() {
    let pictures = pictures();
    let mut rig = Rig::new(&[track(Codec::H264, 1)]);
    push(&mut rig, 0, &pictures[0]);
    push(&mut rig, 0, &pictures[1]);
    rig.stream.unit_end(0);
    Sink::tracks(&mut rig.stream, &[track(Codec::H264, 9)]);
    push(&mut rig, 0, &pictures[2]);
    push(&mut rig, 0, &pictures[0]);
    rig.finish_here();
    let classes: Vec<_> = rig.got.iter().map(|got| got.frame.class.label()).collect();
    assert_eq!(classes, ["idr", "p", "idr"]);
    assert_eq!(rig.stream.counters().frames_dropped_before_key, 1);
}

#[test]
fn an_aborted_session_leaves_the_ring_to_the_next() {
    let pictures = pictures();
    let mut rig = Rig::new(&[track(Codec::H264, 1)]);
    for picture in &pictures[..5] {
        push(&mut rig, 0, picture);
    }
    rig.stream.abort();
    assert_eq!(rig.stream.counters().frames_dropped_aborted, 1);
    let ring = rig.stream.close().unwrap();
    assert_eq!(ring.open_len(), 0);
    rig.stream.open(ring);
    assert_eq!(rig.stream.counters().frames_published, 0);
    Sink::tracks(&mut rig.stream, &[track(Codec::H264, 1)]);
    rig.tick();
    for picture in &pictures[..5] {
        push(&mut rig, 0, picture);
    }
    rig.finish_here();
    let sequences: Vec<u64> = rig.got.iter().map(|got| got.frame.sequence).collect();
    assert_eq!(sequences, (0..9).collect::<Vec<_>>());
    assert!(rig.got[4].has(FrameFlags::GOP_START));
}

#[test]
fn formats_and_measured_rate_are_known_after_some_frames() {
    let folder = tempfile::tempdir().unwrap();
    let file = ffmpeg(
        folder.path(),
        "-f lavfi -i testsrc2=s=322x180:r=30000/1001:d=2 -f lavfi -i sine=f=440:d=2:r=44100 -ac 2 \
         -c:v libx264 -bf 2 -profile:v high -level 3.1 -pix_fmt yuv420p -c:a aac -f mpegts a.ts",
    );
    let mut rig = Rig::new(&[]);
    rig.transport_stream(&std::fs::read(&file).unwrap(), None);
    assert!(rig.stream.tracks_changed());
    assert!(!rig.stream.tracks_changed());
    rig.finish_here();
    let [video, audio] = rig.stream.tracks() else { panic!("two tracks") };
    let format = video.video.unwrap();
    assert_eq!((format.width, format.height), (322, 180));
    assert_eq!((format.coded_width, format.coded_height), (336, 192));
    assert_eq!((format.profile, format.level), ("High", "3.1"));
    assert_eq!(format.frame_rate, Some((30_000, 1001)));
    assert_eq!(video.frame_rate_mhz, 29_970);
    let sound = audio.audio.unwrap();
    assert_eq!((sound.sample_rate, sound.channels), (44_100, 2));
    let info = video.info();
    assert_eq!(info.video().unwrap().frame_rate_measured_mhz, 29_970);
    assert_eq!(packets(&file, "v:0").len(), 60);
}

#[test]
fn a_field_pair_counts_once_in_the_measured_rate() {
    let mut rig = Rig::new(&[track(Codec::H264, 1)]);
    for picture in &pictures() {
        push(&mut rig, 0, picture);
    }
    assert_eq!(rig.stream.counters().frame_rate_mhz, 25_000);
    assert!(rig.stream.tracks()[0].video.unwrap().field_coded);
}

#[test]
fn calls_for_tracks_that_are_not_listed_do_nothing() {
    let mut rig = Rig::new(&[]);
    rig.stream.unit_start(3, Timestamps::default());
    rig.stream.unit_data(3, &[0, 0, 1, 9]);
    rig.stream.gap(99);
    rig.stream.unit_end(16);
    let listed = [TrackConfig::default(); 40];
    Sink::tracks(&mut rig.stream, &listed);
    assert_eq!(rig.stream.tracks().len(), 16);
    assert!(rig.finish().is_empty());
}
