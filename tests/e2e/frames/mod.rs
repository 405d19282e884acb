//! Frame truth: what a reader gets is, frame by frame, what FFmpeg finds in the bytes that were
//! sent.
//!
//! The reader is there before the publisher. Of each stream every frame from the first key frame
//! on is compared, the last one included, and none may be missing or be there twice.

mod codings;
mod data;
mod packings;
mod senders;
mod sound;
mod transport;
mod video;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use penstock_tests::generate::AccessUnit;
use penstock_tests::oracle::{self, Check, Frame, Packet, compare};
use penstock_tests::process::{Process, eventually};
use penstock_tests::publisher::Publisher;
use penstock_tests::system::{Options, PATIENCE, Penstock};

/// FFmpeg's multiplexer begins with these.
const VIDEO: u16 = 0x100;
const AUDIO: u16 = 0x101;
/// Stamps on the wire are modulo this.
const WRAP: u64 = 1 << 33;
/// About three times the rate of the clips.
const BITS_PER_SECOND: u64 = 1_000_000;
/// Larger clips are sent faster, so that none lasts longer.
const SECONDS_MAX: u64 = 3;

/// Rings that hold a whole clip: a reader that the machine keeps waiting misses nothing.
fn options() -> Options {
    let ingestion = "  max_connections: 12\n  gop: {buffer_count: 12}\n".to_owned();
    Options { ingestion: Options::default().ingestion + &ingestion, ..Options::default() }
}

/// What a stream is expected to be.
#[derive(Debug, Clone, Copy)]
struct Expected<'a> {
    /// The bytes that were sent.
    path: &'a Path,
    video: Option<u16>,
    /// In the order of the program's table.
    audio: &'a [u16],
    /// What the generator knows of the video.
    truth: Option<&'a [AccessUnit]>,
    /// Each picture has slices of one type, so that a decoder tells the type of all.
    typed: bool,
}

impl<'a> Expected<'a> {
    /// Pictures and sound.
    const fn clip(path: &'a Path) -> Self {
        Self { path, video: Some(VIDEO), audio: &[AUDIO], truth: None, typed: true }
    }

    /// Pictures of which everything is known, and nothing else.
    const fn generated(path: &'a Path, truth: &'a [AccessUnit]) -> Self {
        Self { audio: &[], truth: Some(truth), typed: false, ..Self::clip(path) }
    }

    /// Compares every frame.
    fn check(&self, frames: &[Frame]) -> Result<()> {
        for (number, frame) in (0..).zip(frames) {
            ensure!(frame.seq == number, "frame {number} has the number {}", frame.seq);
        }
        let first = frames.first().context("no frames")?;
        ensure!(first.dts.is_some_and(|dts| dts < WRAP), "begins beyond the wire's stamps");
        let mut rest = frames.len();
        let mut pictures = Vec::new();
        let video = tracks(frames, "video");
        ensure!(video.len() == usize::from(self.video.is_some()), "{} of video", video.len());
        if let (Some(pid), [video]) = (self.video, &video[..]) {
            pictures = oracle::track(self.path, pid)?;
            self.check_video(video, pid, &pictures).context("video")?;
            rest -= video.len();
        }
        let audio = tracks(frames, "audio");
        ensure!(audio.len() == self.audio.len(), "{} tracks of sound", audio.len());
        for (pid, audio) in self.audio.iter().zip(&audio) {
            let packets = oracle::track(self.path, *pid)?;
            check_audio(audio, &packets, &pictures).with_context(|| format!("PID {pid:#x}"))?;
            rest -= audio.len();
        }
        ensure!(rest == 0, "{rest} frames are neither pictures nor sound");
        Ok(())
    }

    fn check_video(&self, frames: &[Frame], pid: u16, packets: &[Packet]) -> Result<()> {
        let types =
            if self.typed { oracle::picture_types(self.path, pid)? } else { HashMap::new() };
        ensure!(types.is_empty() != self.typed, "{} pictures decoded", types.len());
        let check = Check { truth: self.truth, picture_types: Some(&types), ..Check::default() };
        let compared = compare(frames, packets, &check)?;
        let key = packets.iter().position(|packet| packet.key).context("no key packet")?;
        ensure!(compared.frames == packets.len() - key, "begins behind the first key packet");
        ensure!(frames.len() == compared.frames, "frames before the first key frame");
        ensure!(
            self.truth.is_some() || frames.iter().all(|frame| frame.field.is_none()),
            "marked as fields"
        );
        Ok(())
    }
}

/// Sound begins with the first key frame of the pictures, if there are any: what lies behind that
/// in the file must be there.
fn check_audio(frames: &[Frame], packets: &[Packet], pictures: &[Packet]) -> Result<()> {
    let compared = compare(frames, packets, &Check::default())?;
    ensure!(frames.iter().all(|frame| frame.class == "audio"), "other classes");
    let mut first = 0;
    if let Some(key) = pictures.iter().position(|picture| picture.key) {
        let end = pictures.get(key + 1).and_then(|next| next.position).context("one picture")?;
        let behind = packets.iter().position(|packet| packet.position.is_some_and(|at| at > end));
        first = behind.context("no sound behind the first key frame")?;
    }
    let began = packets.len() - compared.frames;
    ensure!(began <= first, "begins with packet {began}, not {first} or before");
    Ok(())
}

/// The frames of each track of a kind.
fn tracks(frames: &[Frame], kind: &str) -> Vec<Vec<Frame>> {
    let of_kind = || frames.iter().filter(|frame| frame.kind == kind);
    let numbers: BTreeSet<u32> = of_kind().map(|frame| frame.track).collect();
    let track = |number| of_kind().filter(|frame| frame.track == number).cloned().collect();
    numbers.into_iter().map(track).collect()
}

/// A tap and where it writes.
struct Tap {
    process: Process,
    output: PathBuf,
}

impl Tap {
    /// Starts it before the stream is there.
    fn start(system: &Penstock, id: &str, format: &str) -> Result<Self> {
        let output = system.path(&format!("{id}.{format}"));
        let patience = PATIENCE.as_secs().to_string();
        let arguments = ["--format", format, "--from", "oldest", "--wait", &patience];
        Ok(Self { process: system.tap(id, &arguments, &output)?, output })
    }

    fn has_begun(&self) -> Result<bool> {
        Ok(std::fs::metadata(&self.output)?.len() > 0)
    }

    /// All it wrote, once the stream has ended.
    fn end(mut self) -> Result<Vec<u8>> {
        self.process.succeed(PATIENCE)?;
        Ok(std::fs::read(self.output)?)
    }

    fn frames(self) -> Result<Vec<Frame>> {
        oracle::frames(&String::from_utf8(self.end()?)?)
    }
}

/// Sends bytes by a publisher of ours and ends in order.
fn publish(system: &Penstock, id: &str, bytes: &[u8], taps: &[&Tap]) -> Result<()> {
    let mut publisher = Publisher::connect(system.srt_address(), id, 1)?;
    let rate = bytes.len() as u64 * 8 / SECONDS_MAX;
    publisher.send_stream(bytes, rate.max(BITS_PER_SECOND))?;
    eventually("every tap reads", PATIENCE, || {
        publisher.pump()?;
        let begun = taps.iter().map(|tap| tap.has_begun()).collect::<Result<Vec<bool>>>()?;
        Ok(begun.iter().all(|begun| *begun).then_some(()))
    })?;
    publisher.close()
}

/// Sends the file by a publisher of ours; its frames.
fn frames_of(system: &Penstock, id: &str, path: &Path) -> Result<Vec<Frame>> {
    let tap = Tap::start(system, id, "frames")?;
    publish(system, id, &std::fs::read(path)?, &[&tap])?;
    tap.frames()
}

/// Sends and compares.
fn is_true(system: &Penstock, id: &str, expected: &Expected<'_>) -> Result<Vec<Frame>> {
    let frames = frames_of(system, id, expected.path)?;
    expected.check(&frames).with_context(|| format!("{id}, {} frames", frames.len()))?;
    Ok(frames)
}

/// A clip with pictures and these tracks of sound through a system of its own.
fn clip_is_true(make: impl FnOnce(&Path) -> Result<PathBuf>, audio: &[u16]) -> Result<Vec<Frame>> {
    let folder = tempfile::tempdir()?;
    let path = make(folder.path())?;
    let system = Penstock::start(&options())?;
    let frames = is_true(&system, "clip", &Expected { audio, ..Expected::clip(&path) })?;
    system.stop()?;
    Ok(frames)
}
