//! A well-behaved publisher beside whatever a test does to the listener. It must not notice.

use std::thread::JoinHandle;

use anyhow::{Context, Result, ensure};
use shm::StreamSnapshot;
use shm::counters::StreamCounter;

use crate::clip::Clip;
use crate::publisher::{Publisher, Secret};
use crate::system::{Penstock, Tap};

/// The id it publishes under.
const ID: &str = "witness";

/// A publisher that is sending the clip in real time.
#[derive(Debug)]
pub struct Witness {
    tap: Tap,
    sending: JoinHandle<Result<()>>,
    socket_id: u32,
}

impl Witness {
    /// Starts sending and waits until its stream is active.
    pub fn start(system: &Penstock, clip: &Clip) -> Result<Self> {
        Self::start_with(system, clip, None)
    }

    /// The same with a passphrase.
    pub fn start_with(system: &Penstock, clip: &Clip, secret: Option<&Secret<'_>>) -> Result<Self> {
        let tap = system.frames_of(ID)?;
        let mut publisher = Publisher::connect_with(system.srt_address(), ID, 77, secret)?;
        let socket_id = publisher.listener_socket_id();
        let (bytes, rate) = (clip.bytes.clone(), clip.bits_per_second());
        let sending = std::thread::spawn(move || {
            publisher.send_stream(&bytes, rate)?;
            publisher.close()
        });
        system.wait_stream(ID, "the witness is active", |stream| stream["status"] == "active")?;
        Ok(Self { tap, sending, socket_id })
    }

    /// The listener's socket id of its connection.
    pub const fn socket_id(&self) -> u32 {
        self.socket_id
    }

    /// Waits for its end: every frame must have arrived whole. Gives its stream's last figures.
    pub fn lost_nothing(self, system: &Penstock, clip: &Clip) -> Result<StreamSnapshot> {
        let sent = self.sending.join().map_err(|_| anyhow::anyhow!("the witness panicked"))?;
        sent.context("the witness could not send")?;
        let frames = self.tap.frames()?;
        let stream = system.directory()?.stream(ID).context("the witness is listed")?;
        clip.is_whole(&frames).with_context(|| format!("the witness: {}", figures(&stream)))?;
        let skipped = stream.counter(StreamCounter::PacketsSkippedTooLate);
        ensure!(skipped == 0, "{skipped} packets of the witness were given up");
        Ok(stream)
    }
}

/// What a stream counted, as far as anything was.
pub fn figures(stream: &StreamSnapshot) -> String {
    let told = StreamCounter::ALL.iter().map(|it| (it.label(), stream.counter(*it)));
    let told = told.filter(|(_, count)| *count > 0);
    told.map(|(label, count)| format!("{label} {count}")).collect::<Vec<_>>().join(", ")
}
