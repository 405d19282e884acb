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

/// Best time per packet of several runs over a stream.
fn measure(head: &[u8], stream: &[u8], push: usize) -> f64 {
    let packets = stream.len() / 188;
    let mut demuxer = Demuxer::new(Config::default());
    let mut sink = Sum::default();
    demuxer.push(head, &mut sink);
    let mut best = Duration::MAX;
    for _ in 0..(2_000_000 / packets).max(5) {
        let start = Instant::now();
        for piece in stream.chunks(push) {
            demuxer.push(piece, &mut sink);
        }
        best = best.min(start.elapsed());
    }
    best.as_secs_f64() * 1e9 / f64::from(u32::try_from(packets).unwrap())
}

/// What costs most: tables that change with each packet, and bytes that never give a lock.
fn hostile() -> [(&'static str, Vec<u8>); 4] {
    let mut maps = Vec::new();
    for number in 0u8..64 {
        let streams: Vec<u8> =
            (0..16).flat_map(|pid| [0x1B, 0xE1, pid ^ number, 0xF0, 0]).collect();
        let body = [&[0xE1, 0, 0xF0, 0][..], &streams].concat();
        let mut packet = table(0x1000, 2, &body);
        packet[3] |= number & 15;
        maps.extend(packet);
    }
    let mut programs = Vec::new();
    for number in 0u8..64 {
        let mut packet = table(0, 0, &[0, 1, 0xF0, number & 1]);
        packet[3] |= number & 15;
        programs.extend(packet);
    }
    let adaptation: Vec<u8> = (0..64u8)
        .flat_map(|_| {
            let mut packet = vec![0x47, 1, 0, 0x20, 183, 0x90];
            packet.resize(188, 0);
            packet
        })
        .collect();
    // Four places fit at each distance, never the fifth.
    let nearly = (0..188 * 64).map(|at| if at % 900 < 760 { 0x47 } else { 0 }).collect();
    [
        ("a map table of 16 other streams each packet", maps),
        ("an association table that moves it each packet", programs),
        ("adaptation fields with clock and discontinuity", adaptation),
        ("bytes that look like a lock", nearly),
    ]
}

fn main() {
    let head = [
        table(0, 0, &[0, 1, 0xF0, 0]),
        table(0x1000, 2, &[0xE1, 0, 0xF0, 0, 0x1B, 0xE1, 0, 0xF0, 0]),
    ]
    .concat();
    // As much as the caches hold, and more.
    for packets in [16 * 7 * 32, 16 * 7 * 2048] {
        let stream = video(packets);
        for push in [1316, 188, 1000] {
            let each = measure(&head, &stream, push);
            println!("{each:7.1} ns a packet: video, {packets} packets in pushes of {push}");
        }
    }
    for (name, stream) in hostile() {
        let each = measure(&head, &stream, 1316);
        println!("{each:7.1} ns a packet: {name}");
    }
}
