//! One clip for all tests that want real media, with what FFmpeg says is in it.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

use crate::generate::clips::{AAC, H264, Shape, make};
use crate::oracle::{self, Frame, Packet};

/// How long it lasts.
pub const SECONDS: u32 = 5;
/// What a clip is made of. Its name says so too: it is kept between runs.
struct Recipe {
    name: &'static str,
    video: &'static [&'static str],
}

/// H.264 of about 2 Mbit/s.
const CALM: Recipe = Recipe {
    name: "pictures_2000k_5s.ts",
    video: &["-b:v", "2M", "-maxrate", "2M", "-bufsize", "1M"],
};
/// H.264 of about 8 Mbit/s: noise that no encoder makes small.
const BUSY: Recipe = Recipe {
    name: "pictures_8000k_5s.ts",
    video: &["-vf", "noise=alls=40:allf=t", "-b:v", "7500k", "-maxrate", "7500k", "-bufsize", "2M"],
};

/// H.264 with B-frames, and AAC.
#[derive(Debug)]
pub struct Clip {
    /// The transport stream.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its pictures as FFmpeg finds them.
    pub video: Vec<Packet>,
    /// Its sound as FFmpeg finds it.
    pub audio: Vec<Packet>,
}

impl Clip {
    /// A clip of about 2 Mbit/s, made in `folder` (a test's `CARGO_TARGET_TMPDIR`) unless it is
    /// there.
    pub fn in_folder(folder: &str) -> Result<Self> {
        Self::made(folder, &CALM)
    }

    /// The same with about 8 Mbit/s.
    pub fn busy_in_folder(folder: &str) -> Result<Self> {
        let clip = Self::made(folder, &BUSY)?;
        let rate = clip.bits_per_second();
        ensure!((7_500_000..9_000_000).contains(&rate), "the clip has {rate} bit/s");
        Ok(clip)
    }

    fn made(folder: &str, recipe: &Recipe) -> Result<Self> {
        static MAKING: Mutex<()> = Mutex::new(());
        let folder = Path::new(folder);
        let path = folder.join(recipe.name);
        let making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        if !path.exists() {
            std::fs::create_dir_all(folder)?;
            let shape = Shape { width: 640, height: 360, rate: 25, seconds: SECONDS };
            let scratch = tempfile::tempdir_in(folder)?;
            let options = [&H264[..], recipe.video, &AAC].concat();
            let made = make(scratch.path(), recipe.name, shape, &options)?;
            std::fs::rename(made, &path)?;
        }
        drop(making);
        let (video, audio) = (oracle::track(&path, 0x100)?, oracle::track(&path, 0x101)?);
        ensure!(video.len() > 100 && !audio.is_empty(), "the clip has {} pictures", video.len());
        Ok(Self { bytes: std::fs::read(&path)?, path, video, audio })
    }

    /// Its rate when it is played in real time.
    pub fn bits_per_second(&self) -> u64 {
        self.bytes.len() as u64 * 8 / u64::from(SECONDS)
    }

    /// Checks that these are all its frames, whole and in order.
    pub fn is_whole(&self, frames: &[Frame]) -> Result<()> {
        self.is_whole_but_for(0, frames)
    }

    /// The same of a sender that throws away what it has not sent when it ends: up to `tail`
    /// frames of a track may be missing at the end, and the last one cut.
    pub fn is_whole_but_for(&self, tail: usize, frames: &[Frame]) -> Result<()> {
        for (codec, packets) in [("h264", &self.video), ("aac", &self.audio)] {
            let mut ours: Vec<&Frame> = frames.iter().filter(|it| it.codec == codec).collect();
            if tail > 0
                && ours.last().is_some_and(|frame| frame.sha256 != packets[ours.len() - 1].sha256)
            {
                ours.pop();
            }
            for (at, (frame, packet)) in ours.iter().zip(packets).enumerate() {
                ensure!(
                    !frame.damaged && frame.sha256 == packet.sha256,
                    "{codec}: frame {at} of {} is {frame:?}, FFmpeg finds {packet:?}",
                    packets.len()
                );
            }
            ensure!(
                ours.len() <= packets.len() && ours.len() + tail >= packets.len(),
                "{codec}: {} frames, FFmpeg finds {}",
                ours.len(),
                packets.len()
            );
        }
        Ok(())
    }

    /// Checks that every frame not marked damaged is one of the clip's, in the clip's order, and
    /// says how many were.
    pub fn clean_frames_are_true(&self, frames: &[Frame]) -> Result<usize> {
        let mut clean = 0;
        for (codec, packets) in [("h264", &self.video), ("aac", &self.audio)] {
            let mut rest = packets.iter();
            for frame in frames.iter().filter(|frame| frame.codec == codec && !frame.damaged) {
                rest.find(|packet| packet.sha256 == frame.sha256)
                    .with_context(|| format!("{codec}: no packet is the clean frame {frame:?}"))?;
                clean += 1;
            }
        }
        Ok(clean)
    }
}
