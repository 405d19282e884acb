//! Nothing is allocated once a stream is made.

mod support;

use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use codec::sink::{Carriage, Codec, Sink, TrackConfig};
use memory::Time;
use penstock_media::{Limits, Stream};
use shm::{GopRing, RingId, RingSpec};
use support::{fields, stamps, track};

#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

fn ring() -> shm::GopWriter {
    let spec = RingSpec {
        ring: RingId(1),
        video_bytes: 1 << 20,
        side_bytes: 1 << 18,
        descriptors: 256,
        pending_frames: 64,
    };
    let (mut ring, _reader) = GopRing::in_process(&spec).expect("a ring");
    ring.start_generation();
    ring
}

#[test]
fn units_of_whole_access_units_allocate_nothing() {
    let mut stream = Stream::new(Limits { gop_count_max: 1, ..Limits::default() });
    let ring = ring();
    let pictures = fields::stream(100, true);
    let whole = |codec| TrackConfig {
        carriage: Carriage::AccessUnits,
        clock_hz: 48_000,
        ..track(codec, 0)
    };
    let tracks = [Codec::H264, Codec::Aac, Codec::Opus, Codec::L24].map(whole);
    assert_no_alloc(|| {
        stream.open(ring);
        Sink::tracks(&mut stream, &tracks);
        stream.configuration(1, &[0x11, 0x90]);
        for (index, picture) in pictures.iter().enumerate() {
            let now = Time::from_micros(1_000 * u64::try_from(index).unwrap_or_default());
            stream.input(now, now);
            let mut own = stamps(picture.pts * 1800, 0);
            own.dts = None;
            for track in 0..4 {
                stream.unit_start(track, own);
                picture.bytes.chunks(184).for_each(|piece| stream.unit_data(track, piece));
                if index % 31 == 17 {
                    stream.gap(track);
                }
                stream.unit_end(track);
                if index % 29 == 13 {
                    stream.skipped(track);
                }
            }
            stream.publish_due(now);
        }
        stream.finish(Time::NEVER);
        if let Some(ring) = stream.close() {
            std::mem::forget(ring);
        }
    });
    assert!(stream.counters().frames_published > 400);
}

#[test]
fn a_stream_allocates_nothing_after_it_is_made() {
    let ring = ring();
    let mut stream = Stream::new(Limits { gop_count_max: 1, ..Limits::default() });
    let pictures = fields::stream(100, true);
    let mut sound = vec![0xff, 0xf1, 0x4c, 0x80, 0x0d, 0x7f, 0xfc];
    sound.resize(107, 0x21);
    let tracks = [
        track(Codec::H264, 1),
        track(Codec::Aac, 2),
        track(Codec::Ac3, 3),
        track(Codec::AacLatm, 4),
    ];
    let loas = [&[0x56, 0xe0, 12, 0x20, 0x00, 0x11, 0x90, 0x1f, 0xe0][..], &[0x21; 6]].concat();
    assert_no_alloc(|| {
        stream.open(ring);
        Sink::tracks(&mut stream, &tracks);
        for (index, picture) in pictures.iter().enumerate() {
            let now = Time::from_micros(1_000 * u64::try_from(index).unwrap_or_default());
            stream.input(now, now);
            stream.unit_start(0, stamps(picture.pts * 1800, picture.dts * 1800));
            for piece in picture.bytes.chunks(184) {
                stream.unit_data(0, piece);
            }
            if index % 31 == 17 {
                stream.gap(0);
            }
            stream.unit_start(1, stamps(picture.pts * 1800, picture.pts * 1800));
            stream.unit_data(1, &sound);
            stream.unit_data(2, &sound);
            stream.unit_data(3, &loas);
            stream.publish_due(now);
        }
        Sink::tracks(&mut stream, &tracks[..1]);
        stream.finish(Time::NEVER);
        stream.abort();
        if let Some(ring) = stream.close() {
            std::mem::forget(ring);
        }
    });
    assert!(stream.counters().frames_published > 200);
}
