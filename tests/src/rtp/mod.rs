//! RTP of real senders, and the truth that its frames are compared with.
//!
//! ```text
//!  source (FFmpeg codes it) ─▶ sender ─▶ relay, which keeps what went by ─▶ Penstock ─▶ tap
//!     │ access units                        │ packets: wire                              │ frames
//!     └──────────────▶ truth: what those are in this transport ◀─────────────────────────┘
//! ```
//!
//! - [`source`]: clips of one elementary stream, and their access units as FFmpeg finds them;
//! - [`senders`]: FFmpeg's RTP and GStreamer's payloaders, as their users start them;
//! - [`wire`]: the packets that went by, and which were lost;
//! - [`truth`]: frames held against the source's access units.
//!
//! What no sender on this machine sends is cut by the tests, by the texts of the payload formats and
//! apart from the product's code: [`av1`], [`h264`], [`jpegxs`]; [`paced`] sends it.

pub mod av1;
pub mod h264;
pub mod jpegxs;
pub mod paced;
pub mod senders;
pub mod source;
pub mod truth;
pub mod wire;

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use shm::StreamSnapshot;

use crate::conservation;
use crate::oracle::Frame;
use crate::process::Process;
use crate::relay::{Impairment, Relay};
use crate::system::{Options, PATIENCE, Penstock, free_rtp_port};

/// How soon a silent sender counts as gone, in the systems of [`Intake`].
pub const SESSION_TIMEOUT: &str = "3s";

/// A Penstock that takes RTP at a shared port, and maybe at sessions of its own.
#[derive(Debug)]
pub struct Intake {
    /// The system.
    pub system: Penstock,
    /// The shared port.
    pub port: u16,
    /// The shared port of RTCP.
    pub rtcp_port: u16,
}

impl Intake {
    /// With further keys of `ingestion.rtp`, each behind a comma.
    pub fn start(further: &str) -> Result<Self> {
        Self::with_workers("[0]", further)
    }

    /// The same with `dataplane.workers`.
    pub fn with_workers(workers: &str, further: &str) -> Result<Self> {
        let port = free_rtp_port()?;
        let rtcp_port = port + 1;
        let defaults = Options::default();
        // Rings that hold a whole clip: a reader that the machine keeps waiting misses nothing.
        let ingestion = format!(
            "{}  gop: {{buffer_count: 12}}\n  rtp: {{port: {port}, rtcp_port: {rtcp_port}, \
             max_sessions: 8, session_timeout: {SESSION_TIMEOUT}{further}}}\n",
            defaults.ingestion
        );
        let system = Penstock::start(&Options { workers: workers.into(), ingestion, ..defaults })?;
        Ok(Self { system, port, rtcp_port })
    }

    /// Sends to a local port through a network that keeps what goes by, until the stream `id` has
    /// ended; each packet has its place among its counters. `send` gets where to send to.
    pub fn receive(
        &self,
        id: &str,
        port: u16,
        network: Impairment,
        send: impl FnOnce(SocketAddr) -> Result<Process>,
    ) -> Result<Received> {
        let tap = self.system.frames_of(id)?;
        let relay = Relay::recording((Ipv4Addr::LOCALHOST, port).into(), network)?;
        send(relay.address())?.succeed(PATIENCE).context("the sender")?;
        let frames = tap.frames()?;
        let stream = self.system.directory()?.stream(id).context("the stream is listed")?;
        conservation::balanced(&stream)?;
        let packets = wire::packets(&relay.record());
        Ok(Received { frames, packets, stream })
    }
}

/// A network that takes nothing away and delays nothing.
pub const CLEAR: Impairment = Impairment {
    seed: 1,
    loss_permille: 0,
    duplicate_permille: 0,
    reorder_permille: 0,
    reorder_delay: std::time::Duration::ZERO,
    delay: std::time::Duration::ZERO,
    spares_handshakes: false,
    loses_until: u64::MAX,
};

/// All that is known of a stream that has ended.
#[derive(Debug)]
pub struct Received {
    /// Its frames, from the first on.
    pub frames: Vec<Frame>,
    /// What its sender sent of RTP, in order.
    pub packets: Vec<wire::Packet>,
    /// Its last figures.
    pub stream: StreamSnapshot,
}
