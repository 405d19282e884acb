//! Time per piece of 184 bytes: a video frame looked through and appended to the ring, all in.
//!
//! `cargo bench -p penstock-media`

use std::hint::black_box;
use std::time::{Duration, Instant};

use codec::sink::{Codec, Sink, Timestamps, TrackConfig};
use memory::Time;
use penstock_media::{Limits, Stream};
use shm::{GopRing, RingId, RingSpec};

const PIECE: usize = 184;
const PIECES_A_FRAME: usize = 120;
/// The fastest counts: others share the machine.
const BATCHES: u64 = 400;

/// A delimiter, a slice that continues the picture order, and `slices - 1` more of them.
fn frame(number: u64, slices: usize) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 1, 9, 0xf0];
    let mut state = number | 1;
    for slice in 0..slices {
        let key = number.is_multiple_of(50);
        let header = if key { 0x65 } else { 0x41 };
        bytes.extend([0, 0, 0, 1, header, if slice == 0 { 0x88 } else { 0x10 }]);
        let end = PIECE * PIECES_A_FRAME * (slice + 1) / slices;
        while bytes.len() < end {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.push(u8::try_from(state >> 40 & 0xff).unwrap_or(1).max(1));
        }
    }
    bytes
}

fn measure(slices: usize) -> f64 {
    let spec = RingSpec {
        ring: RingId(0),
        video_bytes: 8 << 20,
        side_bytes: 1 << 20,
        descriptors: 1024,
        pending_frames: 64,
    };
    let Ok((mut ring, _fd)) = GopRing::create(&spec) else { return f64::NAN };
    ring.start_generation();
    let mut stream = Stream::new(Limits { gop_count_max: 2, ..Limits::default() });
    stream.open(ring);
    let video = TrackConfig { codec: Codec::H264, pid: 256, ..TrackConfig::default() };
    Sink::tracks(&mut stream, &[video]);
    let frames: Vec<_> = (0..50).map(|number| frame(number, slices)).collect();
    let mut best = Duration::MAX;
    for batch in 0..BATCHES {
        let start = Instant::now();
        for (number, bytes) in (0..).zip(&frames) {
            let now = Time::from_nanos((batch * 50 + number) * 20_000_000);
            stream.unit_start(0, Timestamps { pts: Some(now.micros()), dts: None });
            for (index, piece) in black_box(bytes).chunks(PIECE).enumerate() {
                if index % 7 == 0 {
                    stream.input(now, now);
                }
                stream.unit_data(0, piece);
            }
            black_box(stream.publish_due(now));
        }
        best = best.min(start.elapsed());
    }
    assert!(stream.counters().frames_published > BATCHES);
    best.as_secs_f64() * 1e9 / (50.0 * 120.0)
}

fn main() {
    for slices in [1, 8] {
        println!("{slices} slices a frame: {:.1} ns a piece", measure(slices));
    }
}
