//! The ring on the heap, writer and reader in one process: what holds for every interleaving that
//! a single thread can make. `tests/segments.rs` has the same over mapped segments.

use proptest::prelude::*;

use super::*;
use crate::{Error, FrameClass, RingId};

const FOREVER: u64 = u64::MAX;
/// Lengths tried one by one; the interpreter is slow.
const LENGTHS: usize = if cfg!(miri) { 10 } else { 40 };

fn spec(video_bytes: u64, side_bytes: u64, descriptors: u32) -> RingSpec {
    RingSpec { ring: RingId(3), video_bytes, side_bytes, descriptors, pending_frames: 8 }
}

fn ring(video_bytes: u64, side_bytes: u64, descriptors: u32) -> (GopWriter, GopReader) {
    let spec = spec(video_bytes, side_bytes, descriptors);
    let (mut writer, mut reader) = GopRing::in_process(&spec).unwrap();
    writer.start_generation();
    reader.attach();
    (writer, reader)
}

fn video(flags: FrameFlags) -> FrameMeta {
    FrameMeta { class: FrameClass::P, flags, ..FrameMeta::default() }
}

fn gop_start() -> FrameMeta {
    video(FrameFlags::KEY | FrameFlags::GOP_START)
}

/// `len` bytes that differ from frame to frame and from place to place.
fn bytes(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| seed.wrapping_mul(31).wrapping_add(i.to_le_bytes()[0])).collect()
}

fn publish(writer: &mut GopWriter, seed: u8, len: usize, meta: &FrameMeta) {
    writer.append(&bytes(seed, len)).unwrap();
    writer.finish(meta, 0).unwrap();
    writer.publish_due(u64::from(seed), u64::from(seed), |_| ());
}

fn frame(reader: &mut GopReader) -> (Frame, Vec<u8>) {
    let mut out = Vec::new();
    match reader.next(&mut out).unwrap() {
        Next::Frame(frame) => (frame, out),
        other => panic!("a frame, not {other:?}"),
    }
}

fn next(reader: &mut GopReader) -> Next {
    reader.next(&mut Vec::new()).unwrap()
}

#[test]
fn a_frame_appended_in_pieces_of_any_size_comes_out_whole() {
    for piece in 1..=LENGTHS {
        let (mut writer, mut reader) = ring(4096, 64, 16);
        let whole = bytes(9, 211);
        for bytes in whole.chunks(piece) {
            writer.append(bytes).unwrap();
        }
        assert_eq!(writer.open_len(), 211);
        writer.finish(&gop_start(), 0).unwrap();
        writer.publish_due(FOREVER, 1, |_| ());
        assert_eq!(frame(&mut reader).1, whole, "pieces of {piece}");
    }
}

/// As [`ring`], in memory that others can map.
#[cfg(not(miri))]
fn mapped_ring(video_bytes: u64, side_bytes: u64, descriptors: u32) -> (GopWriter, GopReader) {
    use std::os::fd::AsFd;

    let (mut writer, ring) = GopRing::create(&spec(video_bytes, side_bytes, descriptors)).unwrap();
    writer.start_generation();
    let mut reader = GopReader::map(ring.as_fd()).unwrap();
    reader.attach();
    (writer, reader)
}

/// Rings whose lanes lie in memory in each way there is. On the heap they need not be whole lines, so
/// that lines lie over their end.
fn rings() -> Vec<(GopWriter, GopReader)> {
    vec![
        ring(4096, 64, 16),
        ring(4096 + 24, 64, 16),
        #[cfg(not(miri))]
        mapped_ring(4096, 64, 16),
    ]
}

/// Every other run of a frame's pieces is appended to the frame that was lent out.
#[test]
fn a_frame_that_was_lent_and_taken_back_comes_out_as_one_that_never_was() {
    for (mut writer, mut reader) in rings() {
        let mut lent = None;
        for seed in 0..if cfg!(miri) { 6 } else { 200_u8 } {
            let whole = bytes(seed, 100 + usize::from(seed) * 7);
            let mut rest = &whole[..];
            for turn in 0.. {
                let (run, behind) = rest.split_at(rest.len().min(61 + 83 * (turn % 5)));
                if turn % 2 == 0 {
                    writer.append(run).unwrap();
                } else {
                    writer.lend_open(&mut lent);
                    for piece in run.chunks(1 + usize::from(seed) % 190) {
                        if !lent.as_mut().unwrap().append(piece) {
                            writer.take_back(lent.as_ref().unwrap());
                            writer.append(piece).unwrap();
                            writer.lend_open(&mut lent);
                        }
                    }
                    writer.take_back(lent.as_ref().unwrap());
                }
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            writer.finish(&gop_start(), 0).unwrap();
            writer.publish_due(FOREVER, 1, |_| ());
            assert_eq!(frame(&mut reader).1, whole, "frame {seed}");
        }
    }
}

/// With so many bytes before, for where lines begin.
#[test]
fn a_lent_frame_takes_no_start_code_wherever_it_lies_and_two_zeros_within_a_unit() {
    let lengths = if cfg!(miri) { 120..125 } else { 0..300 };
    for (mut writer, mut reader) in rings() {
        let mut lent = None;
        for len in lengths.clone() {
            let mut bytes = vec![7; len];
            // Makes the room that the lent frame needs.
            writer.append(&[7; 3_500]).unwrap();
            writer.discard_open();
            writer.append(&bytes).unwrap();
            writer.lend_open(&mut lent);
            let lent = lent.as_mut().unwrap();
            for at in 1..len {
                bytes[at - 1..=at].fill(0);
                let third = at + 1;
                let codes = if third < len { 0..3 } else { 0..1 };
                for code in codes {
                    bytes.iter_mut().skip(third).take(1).for_each(|byte| *byte = code);
                    assert!(!lent.append(&bytes), "two and {code} before {at} of {len}");
                }
                bytes[at - 1..len.min(third + 1)].fill(7);
            }
            let taken = (0..len.saturating_sub(2)).step_by(41);
            let mut expected = vec![7; len];
            for (at, third) in taken.zip((3..=255).step_by(18)) {
                bytes[at..at + 3].copy_from_slice(&[0, 0, third]);
                assert!(lent.append(&bytes), "two and {third} at {at} of {len}");
                expected.extend(&bytes);
                bytes[at..at + 3].fill(7);
            }
            if let Some(middle) = bytes.get_mut(len / 2) {
                *middle = 0;
            }
            assert!(lent.append(&bytes), "one of {len}");
            expected.extend(&bytes);
            writer.take_back(lent);
            writer.finish(&gop_start(), 0).unwrap();
            writer.publish_due(FOREVER, 1, |_| ());
            assert_eq!(frame(&mut reader).1, expected, "{len}");
        }
    }
}

#[test]
fn a_lent_frame_takes_no_more_than_there_is_room_for() {
    let (mut writer, mut reader) = ring(512, 64, 16);
    publish(&mut writer, 1, 100, &gop_start());
    let mut lent = None;
    writer.append(&bytes(2, 9)).unwrap();
    writer.lend_open(&mut lent);
    let lent = lent.as_mut().unwrap();
    assert_eq!(lent.left(), 512 - 104 - 9);
    assert!(!lent.append(&bytes(3, 400)));
    assert!(lent.append(&bytes(3, 399)));
    assert!(!lent.append(&[1]));
    writer.take_back(lent);
    assert_eq!(writer.open_len(), 408);
    writer.finish(&gop_start(), 0).unwrap();
    writer.publish_due(FOREVER, 1, |_| ());
    assert_eq!(frame(&mut reader).1, bytes(1, 100), "nothing of it was overwritten");
    assert_eq!(frame(&mut reader).1, [bytes(2, 9), bytes(3, 399)].concat());
}

#[test]
fn every_field_of_a_frame_comes_out_as_it_went_in() {
    let (mut writer, mut reader) = ring(4096, 64, 16);
    let meta = FrameMeta {
        track: 5,
        class: FrameClass::Idr,
        flags: FrameFlags::KEY | FrameFlags::GOP_START | FrameFlags::DAMAGED,
        pts: Some((1 << 33) + 7),
        dts: None,
        arrival_ns: 11,
    };
    writer.append(b"picture").unwrap();
    writer.finish(&meta, 22).unwrap();
    let mut told = Vec::new();
    assert_eq!(writer.publish_due(22, 33, |published| told.push(*published)), 1);
    let expected = Frame {
        sequence: 0,
        gop: 1,
        track: 5,
        class: FrameClass::Idr,
        flags: meta.flags,
        pts: meta.pts,
        dts: None,
        size: 7,
        arrival_ns: 11,
        due_ns: 22,
        published_ns: 33,
    };
    assert_eq!(frame(&mut reader), (expected, b"picture".to_vec()));
    let published =
        Published { sequence: 0, gop: 1, length: 7, meta, due_ns: 22, published_ns: 33 };
    assert_eq!(told, [published]);
    assert_eq!(reader.ring(), RingId(3));
}

#[test]
fn a_split_at_any_byte_keeps_both_parts_and_what_is_appended_after() {
    for len in 0..LENGTHS {
        for at in 0..=len {
            let (mut writer, mut reader) = ring(128, 64, 16);
            // An odd start, so that the frame crosses the end of the lane.
            publish(&mut writer, 1, 70, &gop_start());
            let (whole, more) = (bytes(2, len), bytes(3, 13));
            writer.append(&whole).unwrap();
            writer.split_open(at, &video(FrameFlags::NONE), 0).unwrap();
            assert_eq!(writer.open_len(), len - at);
            writer.append(&more).unwrap();
            let mut open = [0; 64];
            let copied = writer.copy_open(0..64, &mut open);
            let rest = [&whole[at..], &more].concat();
            assert_eq!(open[..copied], rest, "{len} bytes split at {at}");
            writer.finish(&video(FrameFlags::NONE), 0).unwrap();
            writer.publish_due(FOREVER, 0, |_| ());
            while let Next::Overrun { .. } = next(&mut reader) {}
            reader.seek(SeekFrom::Oldest);
            let mut frames = Vec::new();
            let mut out = Vec::new();
            while let Next::Frame(_) = reader.next(&mut out).unwrap() {
                frames.push(out.clone());
            }
            let tail = &frames[frames.len() - 2..];
            assert_eq!(tail, [whole[..at].to_vec(), rest], "{len} bytes split at {at}");
        }
    }
}

#[test]
fn discarding_the_front_keeps_the_rest() {
    for len in 0..LENGTHS {
        for at in 0..=len {
            let (mut writer, mut reader) = ring(128, 64, 16);
            writer.append(&bytes(2, len)).unwrap();
            writer.discard_front(at);
            assert_eq!(writer.open_len(), len - at);
            writer.append(&bytes(3, 13)).unwrap();
            writer.finish(&gop_start(), 0).unwrap();
            writer.publish_due(FOREVER, 0, |_| ());
            let expected = [&bytes(2, len)[at..], &bytes(3, 13)].concat();
            assert_eq!(frame(&mut reader).1, expected, "{len} bytes without {at}");
        }
    }
}

#[test]
fn the_writer_reads_any_range_of_its_open_frame() {
    let (mut writer, _reader) = ring(4096, 64, 16);
    let whole = bytes(7, 29);
    writer.append(&whole).unwrap();
    for start in 0..32 {
        for end in start..34 {
            let mut out = [0; 40];
            let copied = writer.copy_open(start..end, &mut out);
            assert_eq!(out[..copied], whole[start.min(29)..end.min(29)], "{start}..{end}");
        }
    }
    let mut short = [0; 3];
    assert_eq!(writer.copy_open(2..20, &mut short), 3);
    assert_eq!(short, whole[2..5]);
}

#[test]
fn nothing_open_or_not_yet_due_is_visible() {
    let (mut writer, mut reader) = ring(4096, 4096, 16);
    writer.append(b"open").unwrap();
    assert_eq!(next(&mut reader), Next::Empty);
    writer.finish(&gop_start(), 100).unwrap();
    writer.publish_due(99, 99, |_| ());
    assert_eq!(next(&mut reader), Next::Empty);
    assert_eq!((writer.next_due(), writer.pending_frames()), (Some(100), 1));
    writer.publish_due(100, 100, |_| ());
    assert_eq!(frame(&mut reader).1, b"open");
}

#[test]
fn both_lanes_come_out_in_one_order_of_due_time() {
    let (mut writer, mut reader) = ring(4096, 4096, 16);
    writer.append(b"v1").unwrap();
    writer.finish(&gop_start(), 10).unwrap();
    writer.append(b"v2").unwrap();
    writer.finish(&video(FrameFlags::NONE), 30).unwrap();
    let audio = FrameMeta { class: FrameClass::Audio, track: 1, ..FrameMeta::default() };
    writer.append_frame(b"a1", &audio, 5).unwrap();
    writer.append_frame(b"a2", &audio, 20).unwrap();
    writer.publish_due(FOREVER, 1, |_| ());
    let order: Vec<_> = (0..4).map(|_| frame(&mut reader)).collect();
    assert_eq!(order.iter().map(|f| &f.1[..]).collect::<Vec<_>>(), [b"a1", b"v1", b"a2", b"v2"]);
    assert_eq!(order.iter().map(|f| f.0.sequence).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(order.iter().map(|f| f.0.gop).collect::<Vec<_>>(), [0, 1, 1, 1]);
}

#[test]
fn an_audio_frame_does_not_wait_for_an_open_picture() {
    let (mut writer, mut reader) = ring(4096, 4096, 16);
    writer.append(b"half a pic").unwrap();
    writer.append_frame(b"audio", &FrameMeta::default(), 5).unwrap();
    writer.publish_due(5, 5, |_| ());
    assert_eq!(frame(&mut reader).1, b"audio");
    writer.append(b"ture").unwrap();
    writer.finish(&gop_start(), 6).unwrap();
    writer.publish_due(6, 6, |_| ());
    assert_eq!(frame(&mut reader).1, b"half a picture");
}

#[test]
fn closed_groups_leave_by_count() {
    let (mut writer, mut reader) = ring(4096, 64, 32);
    writer.set_limits(GopLimits { closed_gops_max: 2, ..GopLimits::default() });
    for gop in 0..5 {
        publish(&mut writer, gop, 10, &gop_start());
        publish(&mut writer, gop, 10, &video(FrameFlags::NONE));
    }
    assert_eq!((writer.gops(), writer.frames()), (3, 6));
    assert_eq!(next(&mut reader), Next::Overrun { lost: 4 });
    let (oldest, _) = frame(&mut reader);
    assert_eq!((oldest.gop, oldest.sequence), (3, 4));
    assert!(oldest.is_key());
    let totals = RingTotals {
        frames_published: 10,
        gops_closed: 4,
        gops_evicted: 2,
        ..RingTotals::default()
    };
    assert_eq!(*writer.totals(), totals);
}

#[test]
fn closed_groups_leave_by_bytes_and_by_age_but_the_open_one_stays() {
    let (mut writer, _reader) = ring(4096, 64, 32);
    writer.set_limits(GopLimits { bytes_max: 100, ..GopLimits::default() });
    publish(&mut writer, 1, 80, &gop_start());
    publish(&mut writer, 2, 200, &gop_start());
    assert_eq!((writer.gops(), writer.frames()), (1, 1));
    writer.set_limits(GopLimits { age_max_ns: 10, ..GopLimits::default() });
    publish(&mut writer, 3, 8, &gop_start());
    writer.publish_due(12, 12, |_| ());
    assert_eq!(writer.gops(), 2);
    writer.publish_due(13, 13, |_| ());
    assert_eq!(writer.gops(), 1);
    writer.publish_due(1_000_000, 1_000_000, |_| ());
    assert_eq!(writer.gops(), 1);
}

#[test]
fn making_everything_visible_at_the_end_makes_nothing_old() {
    let (mut writer, _reader) = ring(4096, 64, 32);
    writer.set_limits(GopLimits { age_max_ns: 10, ..GopLimits::default() });
    publish(&mut writer, 1, 8, &gop_start());
    publish(&mut writer, 2, 8, &gop_start());
    writer.publish_due(FOREVER, 3, |_| ());
    assert_eq!((writer.gops(), writer.frames()), (2, 2));
}

#[test]
fn lack_of_room_takes_whole_groups_and_from_the_open_group_single_frames() {
    let (mut writer, mut reader) = ring(64, 64, 32);
    publish(&mut writer, 1, 16, &gop_start());
    publish(&mut writer, 2, 8, &video(FrameFlags::NONE));
    publish(&mut writer, 3, 32, &gop_start());
    writer.append(&[0; 10]).unwrap();
    assert_eq!((writer.gops(), writer.frames()), (1, 1), "both frames of the closed group left");
    writer.finish(&video(FrameFlags::NONE), 0).unwrap();
    writer.publish_due(FOREVER, 0, |_| ());
    assert_eq!(writer.totals().gop_overflow_frames, 0);
    writer.append(&[0; 40]).unwrap();
    assert_eq!(writer.totals().gop_overflow_frames, 1, "the open group outgrew the ring");
    assert_eq!(writer.frames(), 1);
    assert_eq!(next(&mut reader), Next::Overrun { lost: 3 });
}

#[test]
fn lack_of_descriptors_takes_the_oldest() {
    let (mut writer, mut reader) = ring(4096, 64, 4);
    for seed in 0..10 {
        publish(&mut writer, seed, 3, &video(FrameFlags::NONE));
    }
    assert_eq!(writer.frames(), 4);
    assert_eq!(next(&mut reader), Next::Overrun { lost: 6 });
    assert_eq!(frame(&mut reader).1, bytes(6, 3));
}

#[test]
fn a_frame_larger_than_the_lane_is_refused_and_evicts_nothing() {
    let (mut writer, mut reader) = ring(64, 64, 8);
    publish(&mut writer, 1, 16, &gop_start());
    assert_eq!(writer.append(&[0; 65]), Err(Full::Lane));
    assert_eq!(writer.append_frame(&[0; 65], &FrameMeta::default(), 0), Err(Full::Lane));
    assert_eq!(frame(&mut reader).1, bytes(1, 16));
    writer.append(&[0; 64]).unwrap();
    assert_eq!(writer.append(&[0]), Err(Full::Lane));
    writer.discard_open();
    publish(&mut writer, 2, 64, &gop_start());
    assert_eq!(frame(&mut reader).1, bytes(2, 64));
}

#[test]
fn frames_not_yet_due_are_never_overwritten() {
    let (mut writer, mut reader) = ring(64, 64, 8);
    writer.append(&bytes(1, 32)).unwrap();
    writer.finish(&gop_start(), 10).unwrap();
    writer.append(&bytes(2, 32)).unwrap();
    assert_eq!(writer.append(&[0]), Err(Full::Lane));
    writer.finish(&gop_start(), 10).unwrap();
    assert_eq!(writer.append(&[0]), Err(Full::Lane));
    writer.publish_due(10, 10, |_| ());
    assert_eq!(frame(&mut reader).1, bytes(1, 32));
    assert_eq!(frame(&mut reader).1, bytes(2, 32));
    writer.append(&[0]).unwrap();
}

#[test]
fn a_full_queue_of_frames_not_yet_due_refuses_and_changes_nothing() {
    let (mut writer, mut reader) = ring(4096, 4096, 32);
    for seed in 0..8 {
        writer.append(&bytes(seed, 5)).unwrap();
        writer.finish(&gop_start(), 10).unwrap();
    }
    writer.append(b"kept open").unwrap();
    assert_eq!(writer.finish(&gop_start(), 10), Err(Full::Pending));
    assert_eq!(writer.append_frame(b"x", &FrameMeta::default(), 10), Err(Full::Pending));
    assert_eq!(writer.open_len(), 9);
    writer.publish_due(10, 10, |_| ());
    writer.finish(&gop_start(), 10).unwrap();
    writer.publish_due(10, 10, |_| ());
    (0..8).for_each(|seed| assert_eq!(frame(&mut reader).1, bytes(seed, 5)));
    assert_eq!(frame(&mut reader).1, b"kept open");
}

#[test]
fn a_reader_starts_where_it_asks_to() {
    let (mut writer, mut reader) = ring(4096, 64, 32);
    reader.seek(SeekFrom::Key);
    assert_eq!(next(&mut reader), Next::Empty);
    publish(&mut writer, 1, 5, &video(FrameFlags::NONE));
    reader.seek(SeekFrom::Key);
    assert_eq!(frame(&mut reader).1, bytes(1, 5), "no key frame yet: the oldest");
    for (seed, meta) in [(2, gop_start()), (3, video(FrameFlags::NONE)), (4, gop_start())] {
        publish(&mut writer, seed, 5, &meta);
    }
    let second_field = video(FrameFlags::KEY | FrameFlags::FIELD_SECOND);
    publish(&mut writer, 5, 5, &second_field);
    publish(&mut writer, 6, 5, &video(FrameFlags::NONE));
    reader.seek(SeekFrom::Key);
    assert_eq!(reader.lag(), 3);
    assert_eq!(frame(&mut reader).1, bytes(4, 5), "a pair starts at its first field");
    reader.seek(SeekFrom::Oldest);
    assert_eq!(frame(&mut reader).1, bytes(1, 5));
    reader.seek(SeekFrom::Live);
    assert_eq!(next(&mut reader), Next::Empty);
    publish(&mut writer, 7, 5, &video(FrameFlags::NONE));
    assert_eq!(frame(&mut reader).1, bytes(7, 5));
}

#[test]
fn a_key_frame_that_left_is_no_place_to_start() {
    let (mut writer, mut reader) = ring(64, 64, 32);
    publish(&mut writer, 1, 32, &gop_start());
    publish(&mut writer, 2, 24, &video(FrameFlags::NONE));
    publish(&mut writer, 3, 24, &video(FrameFlags::NONE));
    reader.seek(SeekFrom::Key);
    assert_eq!(frame(&mut reader).1, bytes(2, 24));
}

#[test]
fn an_ended_stream_is_read_to_its_end() {
    let (mut writer, mut reader) = ring(4096, 64, 32);
    publish(&mut writer, 1, 5, &gop_start());
    writer.append(b"never finished").unwrap();
    writer.end();
    assert_eq!(frame(&mut reader).1, bytes(1, 5));
    assert_eq!(next(&mut reader), Next::Ended);
    assert_eq!(next(&mut reader), Next::Ended);
}

#[test]
fn readers_of_the_former_stream_see_its_end_when_the_ring_is_used_again() {
    let (mut writer, mut reader) = ring(4096, 4096, 32);
    publish(&mut writer, 1, 5, &gop_start());
    writer.append(b"open").unwrap();
    writer.append_frame(b"pending", &FrameMeta::default(), 5).unwrap();
    let former = writer.generation();
    assert_eq!(writer.start_generation(), former + 1);
    assert_eq!((writer.used_bytes(), writer.frames(), writer.pending_frames()), (0, 0, 0));
    assert_eq!(next(&mut reader), Next::Ended);
    publish(&mut writer, 2, 5, &gop_start());
    assert_eq!(next(&mut reader), Next::Ended);
    assert_eq!(reader.attach(), former + 1);
    let (first, content) = frame(&mut reader);
    assert_eq!((first.sequence, first.gop, content), (0, 1, bytes(2, 5)));
}

#[test]
fn a_ring_without_a_stream_is_at_its_end() {
    let (_writer, mut reader) = GopRing::in_process(&spec(64, 64, 4)).unwrap();
    assert_eq!(next(&mut reader), Next::Ended);
}

#[test]
fn sizes_that_cannot_be_served_are_named() {
    let refuse = |spec: RingSpec| match GopRing::in_process(&spec) {
        Err(Error::Size { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    let good = spec(64, 64, 4);
    assert_eq!(refuse(RingSpec { video_bytes: 0, ..good }), "video lane bytes");
    assert_eq!(refuse(RingSpec { side_bytes: u64::MAX, ..good }), "side lane bytes");
    assert_eq!(refuse(RingSpec { descriptors: 0, ..good }), "descriptors of a ring");
    assert_eq!(refuse(RingSpec { pending_frames: 0, ..good }), "pending frames of a ring");
}

#[test]
fn used_bytes_count_visible_pending_and_open_ones_with_their_padding() {
    let (mut writer, _reader) = ring(4096, 4096, 32);
    publish(&mut writer, 1, 5, &gop_start());
    writer.append_frame(&[0; 9], &FrameMeta::default(), FOREVER).unwrap();
    writer.append(&[0; 17]).unwrap();
    assert_eq!(writer.used_bytes(), 8 + 16 + 24);
    assert_eq!(writer.capacity_bytes(), 8192);
}

/// One step of a stream's life.
#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Split(usize),
    DiscardFront(usize),
    Insert { at: usize, len: usize },
    Finish { gop_start: bool, due: u64 },
    Audio { len: usize, due: u64 },
    Publish(u64),
    EvictGop,
    NewStream,
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..60).prop_map(Step::Append),
        2 => (0_usize..60).prop_map(Step::Split),
        1 => (0_usize..60).prop_map(Step::DiscardFront),
        2 => (0_usize..60, 0_usize..8).prop_map(|(at, len)| Step::Insert { at, len }),
        3 => (any::<bool>(), 0_u64..20).prop_map(|(gop_start, due)| Step::Finish { gop_start, due }),
        3 => (0_usize..30, 0_u64..20).prop_map(|(len, due)| Step::Audio { len, due }),
        4 => (0_u64..25).prop_map(Step::Publish),
        1 => Just(Step::EvictGop),
        1 => Just(Step::NewStream),
        5 => Just(Step::Read),
    ]
}

/// What a ring must do, in the plainest words: frames of one stream in a list.
#[derive(Default)]
struct Oracle {
    open: Vec<u8>,
    /// (due, content), by lane.
    pending: Vec<(u64, usize, Vec<u8>)>,
    published: Vec<Vec<u8>>,
    latest_due: [u64; 2],
    next: usize,
}

impl Oracle {
    fn finish(&mut self, lane: usize, due: u64, content: Vec<u8>) {
        self.latest_due[lane] = self.latest_due[lane].max(due);
        self.pending.push((self.latest_due[lane], lane, content));
        self.pending.sort_by_key(|frame| frame.0);
    }

    fn publish(&mut self, now: u64) {
        let due = self.pending.partition_point(|frame| frame.0 <= now);
        self.published.extend(self.pending.drain(..due).map(|frame| frame.2));
    }

    /// Reads one frame from both and compares.
    fn read(&mut self, reader: &mut GopReader) {
        let mut out = Vec::new();
        match reader.next(&mut out).unwrap() {
            Next::Frame(frame) => {
                assert_eq!(frame.sequence, self.next as u64);
                assert_eq!(out, self.published[self.next]);
                self.next += 1;
            }
            Next::Overrun { lost } => {
                assert!(lost > 0);
                self.next += usize::try_from(lost).unwrap();
                assert!(self.next <= self.published.len());
            }
            Next::Empty => assert_eq!(self.next, self.published.len()),
            Next::Ended => panic!("the stream goes on"),
        }
    }
}

fn run(steps: &[Step]) {
    let (mut writer, mut reader) = ring(192, 64, 6);
    let mut oracle = Oracle::default();
    let mut seed = 0;
    for step in steps {
        match *step {
            Step::Append(len) => {
                seed += 1;
                if writer.append(&bytes(seed, len)).is_ok() {
                    oracle.open.extend(bytes(seed, len));
                }
            }
            Step::Split(at) => {
                let at = at.min(oracle.open.len());
                if writer.split_open(at, &video(FrameFlags::NONE), 7).is_ok() {
                    let rest = oracle.open.split_off(at);
                    let done = std::mem::replace(&mut oracle.open, rest);
                    oracle.finish(LANE_VIDEO, 7, done);
                }
            }
            Step::DiscardFront(at) => {
                writer.discard_front(at);
                oracle.open.drain(..at.min(oracle.open.len()));
            }
            Step::Insert { at, len } => {
                seed += 1;
                let at = at.min(oracle.open.len());
                if writer.insert(at, &bytes(seed, len)).is_ok() {
                    oracle.open.splice(at..at, bytes(seed, len));
                }
            }
            Step::Finish { gop_start: starts, due } => {
                let meta = if starts { gop_start() } else { video(FrameFlags::NONE) };
                if writer.finish(&meta, due).is_ok() {
                    let done = std::mem::take(&mut oracle.open);
                    oracle.finish(LANE_VIDEO, due, done);
                }
            }
            Step::Audio { len, due } => {
                seed += 1;
                if writer.append_frame(&bytes(seed, len), &FrameMeta::default(), due).is_ok() {
                    oracle.finish(LANE_SIDE, due, bytes(seed, len));
                }
            }
            Step::Publish(now) => {
                writer.publish_due(now, now, |_| ());
                oracle.publish(now);
            }
            Step::EvictGop => {
                writer.evict_oldest_gop();
            }
            Step::NewStream => {
                writer.start_generation();
                assert_eq!(next(&mut reader), Next::Ended);
                reader.attach();
                oracle = Oracle::default();
            }
            Step::Read => oracle.read(&mut reader),
        }
        assert_eq!(writer.open_len(), oracle.open.len());
        assert_eq!(writer.pending_frames(), oracle.pending.len());
        assert!(writer.used_bytes() <= writer.capacity_bytes());
        let mut open = vec![0; oracle.open.len()];
        assert_eq!(writer.copy_open(0..open.len(), &mut open), open.len());
        assert_eq!(open, oracle.open);
    }
    writer.publish_due(FOREVER, 0, |_| ());
    oracle.publish(FOREVER);
    for _ in 0..20 {
        oracle.read(&mut reader);
    }
    assert_eq!(oracle.next, oracle.published.len());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 500 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_reader_gets_what_a_plain_list_of_frames_would_give(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        run(&steps);
    }
}
