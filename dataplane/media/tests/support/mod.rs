//! FFmpeg as encoder and as oracle, and a stream with its reader.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod fields;
pub mod muxer;

use std::path::{Path, PathBuf};
use std::process::Command;

use codec::sink::{Codec, Sink, Timestamps, TrackConfig};
use memory::Time;
use penstock_media::{Limits, Stream};
use sha2::{Digest, Sha256};
use shm::{Frame, GopReader, GopRing, Next, RingId, RingSpec};

/// One packet as `ffprobe` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub pts: Option<i64>,
    pub dts: Option<i64>,
    pub pos: u64,
    pub size: usize,
    pub key: bool,
    pub sha256: String,
}

/// One frame read back from the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub frame: Frame,
    pub bytes: Vec<u8>,
}

impl Got {
    pub fn sha256(&self) -> String {
        sha256(&self.bytes)
    }

    pub fn has(&self, flag: shm::FrameFlags) -> bool {
        self.frame.flags.contains(flag)
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs FFmpeg in `folder`; the last argument is the file it writes, whose path is returned.
pub fn ffmpeg(folder: &Path, arguments: &str) -> PathBuf {
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(&arguments)
        .current_dir(folder)
        .status()
        .expect("ffmpeg is installed");
    assert!(status.success(), "ffmpeg {arguments:?}");
    folder.join(arguments.last().expect("an output"))
}

fn ffprobe(file: &Path, arguments: &[&str]) -> serde_json::Value {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-of", "json"])
        .args(arguments)
        .arg(file)
        .output()
        .expect("ffprobe is installed");
    serde_json::from_slice(&output.stdout).expect("ffprobe writes JSON")
}

/// The packets of one stream of a file; `select` is "v:0" or "a:0".
pub fn packets(file: &Path, select: &str) -> Vec<Packet> {
    let show = ["-show_packets", "-show_data_hash", "sha256", "-select_streams", select];
    let json = ffprobe(file, &show);
    let packets = json["packets"].as_array().expect("packets");
    packets
        .iter()
        .map(|packet| Packet {
            pts: packet["pts"].as_i64(),
            dts: packet["dts"].as_i64(),
            pos: text(&packet["pos"]).parse().unwrap_or_default(),
            size: text(&packet["size"]).parse().expect("size"),
            key: text(&packet["flags"]).contains('K'),
            sha256: text(&packet["data_hash"]).trim_start_matches("SHA256:").to_owned(),
        })
        .collect()
}

/// Picture types in decoding order, by the place of each picture in the file.
pub fn picture_types(file: &Path) -> Vec<(u64, char)> {
    let json = ffprobe(file, &["-show_frames", "-select_streams", "v:0"]);
    let frames = json["frames"].as_array().expect("frames");
    let mut types: Vec<_> = frames
        .iter()
        .map(|frame| {
            let pos = text(&frame["pkt_pos"]).parse().expect("pkt_pos");
            (pos, text(&frame["pict_type"]).chars().next().expect("pict_type"))
        })
        .collect();
    types.sort_unstable();
    types
}

fn text(value: &serde_json::Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// xorshift: the same cuts in each run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

pub fn track(codec: Codec, pid: u16) -> TrackConfig {
    TrackConfig { codec, pid, stream_type: 0, program: 1, ..TrackConfig::default() }
}

pub fn stamps(pts: u64, dts: u64) -> Timestamps {
    Timestamps { pts: Some(pts), dts: Some(dts) }
}

/// A stream over a ring, and what a reader saw of it.
pub struct Rig {
    pub stream: Stream,
    pub reader: GopReader,
    pub got: Vec<Got>,
    clock: u64,
}

impl Rig {
    pub fn new(tracks: &[TrackConfig]) -> Self {
        Self::with(Limits::default(), 2 << 20, tracks)
    }

    pub fn with(limits: Limits, video_bytes: u64, tracks: &[TrackConfig]) -> Self {
        let spec = RingSpec {
            ring: RingId(1),
            video_bytes,
            side_bytes: 1 << 20,
            descriptors: 4096,
            pending_frames: 512,
        };
        let (mut ring, mut reader) = GopRing::in_process(&spec).expect("a ring");
        ring.start_generation();
        reader.attach();
        let mut stream = Stream::new(limits);
        stream.open(ring);
        let mut rig = Self { stream, reader, got: Vec::new(), clock: 1_000 };
        if !tracks.is_empty() {
            Sink::tracks(&mut rig.stream, tracks);
        }
        rig.tick();
        rig
    }

    /// The next datagram arrives, due at once.
    pub fn tick(&mut self) {
        let now = self.pass();
        self.stream.input(now, now);
    }

    /// The time at which the next datagram arrives.
    pub fn pass(&mut self) -> Time {
        self.clock += 1_000;
        self.now()
    }

    pub fn now(&self) -> Time {
        Time::from_nanos(self.clock)
    }

    /// Publishes what is due and reads it.
    pub fn read(&mut self) {
        self.stream.publish_due(self.now());
        self.drain();
    }

    fn drain(&mut self) {
        let mut bytes = Vec::new();
        loop {
            match self.reader.next(&mut bytes).expect("a ring of this version") {
                Next::Frame(frame) => self.got.push(Got { frame, bytes: bytes.clone() }),
                Next::Empty | Next::Ended => return,
                Next::Overrun { lost } => panic!("{lost} frames overrun"),
            }
        }
    }

    /// Ends the stream and returns all its frames.
    pub fn finish(mut self) -> Vec<Got> {
        self.finish_here();
        self.got
    }

    pub fn finish_here(&mut self) {
        self.stream.finish(self.now());
        self.drain();
        let counters = self.stream.counters();
        assert_eq!(
            counters.frames_finished,
            counters.frames_published + counters.frames_dropped(),
            "every frame is published or counted as dropped"
        );
    }

    /// Pushes bytes of the open unit in pieces of random sizes up to `piece_max`.
    pub fn data(&mut self, track: usize, bytes: &[u8], piece_max: usize, random: &mut Random) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((1 + random.below(piece_max)).min(rest.len()));
            self.tick();
            self.stream.unit_data(track, piece);
            rest = after;
        }
        self.read();
    }

    /// A whole unit.
    pub fn unit(&mut self, track: usize, stamps: Timestamps, bytes: &[u8], random: &mut Random) {
        self.stream.unit_start(track, stamps);
        self.data(track, bytes, 400, random);
    }

    /// A whole unit in pieces up to `piece_max`.
    pub fn unit_in(&mut self, track: usize, stamps: Timestamps, bytes: &[u8], piece_max: usize) {
        self.stream.unit_start(track, stamps);
        self.data(track, bytes, piece_max, &mut Random::new(3));
    }

    /// A whole transport stream in datagrams of up to seven packets.
    pub fn transport_stream(&mut self, bytes: &[u8], program: Option<u16>) {
        let mut demuxer = mpegts::Demuxer::new(mpegts::Config { program });
        for datagram in bytes.chunks(1316) {
            self.tick();
            demuxer.push(datagram, &mut self.stream);
            self.read();
        }
        demuxer.finish(&mut self.stream);
    }
}
