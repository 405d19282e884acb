//! Time per packet of video payload, through a sink that only adds up lengths.
//!
//! `cargo bench -p penstock-mpegts`

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use codec::sink::{Sink, Timestamps, TrackConfig};
use penstock_mpegts::{Config, Demuxer, crc32};

#[derive(Default)]
struct Sum(usize);

impl Sink for Sum {
    fn tracks(&mut self, _tracks: &[TrackConfig]) {}
    fn unit_start(&mut self, _track: usize, _stamps: Timestamps) {}
    fn unit_data(&mut self, _track: usize, bytes: &[u8]) {
        self.0 += black_box(bytes).len();
    }
    fn unit_end(&mut self, _track: usize) {}
    fn gap(&mut self, _track: usize) {}
}

fn table(pid: u16, table_id: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = pid.to_be_bytes();
    let length = u8::try_from(body.len() + 9).unwrap();
    let mut section = vec![table_id, 0xB0, length, 0, 1, 0xC1, 0, 0];
    section.extend(body);
    section.extend(crc32(&section).to_be_bytes());
    let mut packet = vec![0x47, 0x40 | high, low, 0x10, 0];
    packet.extend(section);
    packet.resize(188, 0xFF);
    packet
}

/// A unit each 120 packets (about 5 Mbit/s at 25 Hz), payload only.
fn video(packets: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    for number in 0..packets {
        let start = number % 120 == 0;
        let counter = u8::try_from(number & 15).unwrap();
        stream.extend([0x47, if start { 0x41 } else { 1 }, 0, 0x10 | counter]);
        let at = stream.len();
        if start {
            stream.extend([0, 0, 1, 0xE0, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, 0, 1]);
        }
        stream.resize(at + 184, counter);
    }
    stream
}

fn main() {
    let head = [
        table(0, 0, &[0, 1, 0xF0, 0]),
        table(0x1000, 2, &[0xE1, 0, 0xF0, 0, 0x1B, 0xE1, 0, 0xF0, 0]),
    ]
    .concat();
    // As large as a second of one stream, and too large for the caches.
    for packets in [16 * 7 * 32, 16 * 7 * 2048] {
        let stream = video(packets);
        for push in [1316, 188, 1000] {
            let mut demuxer = Demuxer::new(Config::default());
            let mut sink = Sum::default();
            demuxer.push(&head, &mut sink);
            let mut best = Duration::MAX;
            let rounds = 2_000_000 / packets;
            for _ in 0..rounds.max(5) {
                let start = Instant::now();
                for piece in stream.chunks(push) {
                    demuxer.push(piece, &mut sink);
                }
                best = best.min(start.elapsed());
            }
            assert_eq!(demuxer.counters().ts_continuity_errors, 0);
            let each = best.as_secs_f64() * 1e9 / f64::from(u32::try_from(packets).unwrap());
            println!("{packets:>7} packets in pushes of {push:>4}: {each:5.1} ns a packet");
        }
    }
}
