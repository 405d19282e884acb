//! What appending transport-stream payloads to a ring costs beside copying them to ordinary
//! memory, and what reading frames costs:
//! `cargo run --release -p penstock-shm --example append_cost`.
//!
//! Each line alternates the two within one run and gives the median of its rounds.

use std::hint::black_box;
use std::os::fd::AsFd;

use penstock_shm::{FrameFlags, FrameMeta, GopReader, GopRing, GopWriter, Next, RingId, RingSpec};
use rustix::time::{ClockId, clock_gettime};

const PIECE: usize = 184;
/// 11.8 kB: a P frame of 3 Mbit/s video.
const PIECES: usize = 64;
const FRAMES: usize = 4_000;
const ROUNDS: usize = 15;
const RING: usize = 16 << 20;

fn main() {
    let source: Vec<u8> = (0..1 << 16).map(|i: u32| i.to_le_bytes()[0]).collect();
    let spec = RingSpec {
        ring: RingId(0),
        video_bytes: RING as u64,
        side_bytes: 1 << 16,
        descriptors: 8192,
        pending_frames: 64,
    };
    let (mut writer, fd) = GopRing::create(&spec).expect("memory for a ring");
    writer.start_generation();
    let mut reader = GopReader::map(fd.as_fd()).expect("our own ring");
    let mut plain = vec![0_u8; RING];
    let mut rounds = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        rounds[0].push(time(|| copy_plain(&source, &mut plain)));
        rounds[1].push(time(|| append(&source, &mut writer)));
        rounds[2].push(time(|| read(&mut reader)));
    }
    let [plain, append, read] = rounds.map(median);
    println!("memcpy of {PIECE} bytes into a ring of {RING} bytes: {plain:6.2} ns");
    println!("append of {PIECE} bytes, frames of {PIECES} pieces:   {append:6.2} ns");
    println!("ratio: {:.2}", append / plain);
    println!("read by frame, for each {PIECE} bytes:             {read:6.2} ns");
}

/// Nanoseconds for each piece.
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn time(work: impl FnOnce() -> usize) -> f64 {
    // The thread's own time: a busy machine does not matter.
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
    };
    let start = now();
    let pieces = work();
    (now() - start) / pieces.max(1) as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The payload of a packet lies anywhere in its datagram.
fn payload(source: &[u8], piece: usize) -> &[u8] {
    let at = piece * 188 % (source.len() - PIECE);
    &source[at..at + PIECE]
}

fn copy_plain(source: &[u8], plain: &mut [u8]) -> usize {
    let mut to = 0;
    for piece in 0..FRAMES * PIECES {
        if to + PIECE > plain.len() {
            to = 0;
        }
        black_box(&mut plain[to..to + PIECE]).copy_from_slice(payload(source, piece));
        to += PIECE;
    }
    FRAMES * PIECES
}

fn append(source: &[u8], writer: &mut GopWriter) -> usize {
    for frame in 0..FRAMES {
        let flags = if frame % 50 == 0 { FrameFlags::GOP_START } else { FrameFlags::NONE };
        // One byte more or less, as real frames have, so that words do not stay aligned.
        writer.append(&source[..frame % 8]).expect("room");
        for piece in 0..PIECES {
            writer.append(black_box(payload(source, frame * PIECES + piece))).expect("room");
        }
        writer.finish(&FrameMeta { flags, ..FrameMeta::default() }, 0).expect("room");
        writer.publish_due(0, 0, |_| ());
    }
    FRAMES * PIECES
}

fn read(reader: &mut GopReader) -> usize {
    let (mut bytes, mut out) = (0, Vec::new());
    loop {
        match reader.next(&mut out).expect("a good ring") {
            Next::Frame(_) => bytes += black_box(&out).len(),
            Next::Overrun { .. } => {}
            Next::Empty | Next::Ended => return bytes / PIECE,
        }
    }
}
