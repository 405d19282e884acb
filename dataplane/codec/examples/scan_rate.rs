//! Prints how many bytes a second the start-code scanner passes over, for pieces of several sizes
//! of bytes that look like coded video: `cargo run --release -p penstock-codec --example scan_rate`.

use std::hint::black_box;
use std::time::Instant;

use codec::annexb::Scanner;

fn main() {
    const BYTES: usize = 184 * 8192;
    const ROUNDS: u32 = 400;
    let mut state = 1u64;
    let mut bytes: Vec<u8> = (0..BYTES)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect();
    // A NAL unit every 8 KiB, and nothing else that looks like one.
    for at in 2..BYTES {
        if bytes[at] <= 3 && bytes[at - 1] == 0 && bytes[at - 2] == 0 {
            bytes[at] = 0x55;
        }
    }
    for at in (0..BYTES - 4).step_by(8192) {
        bytes[at..at + 4].copy_from_slice(&[0, 0, 0, 1]);
    }
    for piece in [184, 1316, 65_536] {
        let mut scanner = Scanner::new();
        let mut found = 0u64;
        let begin = Instant::now();
        for _ in 0..ROUNDS {
            for piece in bytes.chunks(piece) {
                scanner.scan(black_box(piece), |start| found = found.wrapping_add(start.nal));
            }
        }
        let seconds = begin.elapsed().as_secs_f64();
        let rate = f64::from(ROUNDS) * BYTES as f64 / seconds / 1e9;
        println!("{piece:>6} bytes a piece: {rate:.1} GB/s ({found})");
    }
}
