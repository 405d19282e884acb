//! Senders of RTP that mean harm. Beside each attack two senders do well, one of SRT and one of RTP at
//! the port that the attack has; of RTP nothing may be missing that the kernel delivered, as nobody
//! sends it again.

mod control;
mod payloads;
mod sources;
mod transport;
mod witness;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::process::eventually;
use penstock_tests::system::{Options, PATIENCE, Penstock, free_rtp_port, free_udp_port};
use penstock_tests::witness::{Witness, figures};
use shm::StreamSnapshot;
use shm::counters::{StreamCounter, WorkerCounter};

use self::witness::RtpWitness;
use super::{counter, flood_within, is_sound, patient};

/// The stream of the sender that does well.
pub(crate) const WITNESS: &str = "rtp-witness";
/// Its SSRC.
const WITNESS_SSRC: u32 = 0x5749_544e;
/// That of a sender that comes during an attack or after it, as the stream `newcomer`.
const NEWCOMER_SSRC: u32 = 0x4e45_5743;
/// Where attacks come from that have an address of their own.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 6, 6, 6);
/// Sessions at one time: the witness, three that are given, and six of anybody.
const SESSIONS_MAX: u64 = 10;

/// A system that takes RTP, at the shared port and at ports of sessions that are given.
struct Target {
    system: Penstock,
    port: u16,
    rtcp_port: u16,
    /// Of the session `given/h264`.
    h264: u16,
    /// Of `given/ts`: a transport stream over RTP.
    ts: u16,
    /// Of `given/raw`: a transport stream without.
    raw: u16,
}

impl Target {
    fn start() -> Result<Self> {
        Self::with(SESSIONS_MAX, true)
    }

    /// Without sessions that are given, and with so many places.
    fn with_places(places: u64) -> Result<Self> {
        Self::with(places, false)
    }

    fn with(places: u64, has_given: bool) -> Result<Self> {
        let (port, rtcp_port) = (free_udp_port()?, free_udp_port()?);
        let (h264, ts, raw) = (free_rtp_port()?, free_rtp_port()?, free_udp_port()?);
        let given = format!(
            "    sessions:\n    \
             - {{id: given/h264, port: {h264}, payload_type: 96, codec: H264/90000}}\n    \
             - {{id: given/ts, port: {ts}, payload_type: 33, codec: MP2T/90000}}\n    \
             - {{id: given/raw, port: {raw}, transport: ts}}\n"
        );
        let ingestion = format!(
            "  frame: {{max_frame_size: 1048576}}\n  reconnect_grace: 600s\n  rtp:\n    \
             port: {port}\n    rtcp_port: {rtcp_port}\n    max_sessions: {places}\n    \
             session_timeout: 600s\n    max_bandwidth: 10000000\n    \
             streams: [{{ssrc: {WITNESS_SSRC}, id: {WITNESS}}}, \
             {{ssrc: {NEWCOMER_SSRC}, id: newcomer}}]\n{}",
            if has_given { given.as_str() } else { "" }
        );
        let system = Penstock::start(&Options { ingestion, ..patient() })?;
        Ok(Self { system, port, rtcp_port, h264, ts, raw })
    }

    /// A socket of that address towards one of the ports.
    fn socket(&self, from: impl Into<IpAddr>, port: u16) -> Result<UdpSocket> {
        let socket = UdpSocket::bind((from.into(), 0))?;
        socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        Ok(socket)
    }

    /// Sends as fast as the worker takes it, so that no socket's buffer is ever full.
    fn flood(&self, count: u32, send: impl FnMut(u32) -> Result<()>) -> Result<()> {
        flood_within(&self.system, 64, count, send)
    }

    fn stream(&self, id: &str) -> Result<StreamSnapshot> {
        self.system.directory()?.stream(id).with_context(|| format!("{id} is listed"))
    }

    /// The stream once `condition` holds.
    fn wait_stream(
        &self,
        id: &str,
        what: &str,
        condition: impl Fn(&StreamSnapshot) -> bool,
    ) -> Result<StreamSnapshot> {
        let directory = self.system.directory()?;
        let found = eventually(what, PATIENCE, || Ok(directory.stream(id).filter(&condition)));
        found.with_context(|| directory.stream(id).map(|it| figures(&it)).unwrap_or_default())
    }

    /// Waits until so many of what was sent since `before` are counted there, or the kernel dropped
    /// them.
    fn counted(&self, sent: u64, counted: impl Fn(&Self) -> Result<u64>) -> Result<()> {
        let mut last = 0;
        let all = eventually("all are counted", PATIENCE, || {
            last = counted(self)?;
            let dropped = counter(&self.system, WorkerCounter::KernelDrops)?;
            ensure!(last <= sent, "{last} counted of {sent}");
            Ok((last + dropped >= sent).then_some(()))
        });
        all.with_context(|| format!("{last} counted of {sent}"))
    }

    /// The same of the worker's counters.
    fn counted_by_worker(&self, sent: u64, counters: &[WorkerCounter]) -> Result<()> {
        self.counted(sent, |target| {
            let counts = counters.iter().map(|it| counter(&target.system, *it));
            Ok(counts.collect::<Result<Vec<_>>>()?.into_iter().sum())
        })
    }

    /// Waits until so many are counted there, or were dropped by the kernel.
    fn at_least(&self, least: u64, counted: WorkerCounter) -> Result<()> {
        eventually("they are counted", PATIENCE, || {
            let dropped = counter(&self.system, WorkerCounter::KernelDrops)?;
            Ok((counter(&self.system, counted)? + dropped >= least).then_some(()))
        })
    }

    /// All of the process's memory, whoever else maps it, is within the sum that it printed.
    fn memory_is_bounded(&self) -> Result<()> {
        let budget = self.system.directory()?.header().memory_budget_bytes;
        let held = self.system.dataplane.memory()?.all();
        ensure!(held <= budget, "the process holds {held} bytes, the sum is {budget}");
        Ok(())
    }
}

/// Runs an attack beside both witnesses; then nothing may be missing of them, in the memory's bound
/// or between the counters.
fn beside_witnesses(attack: impl FnOnce(&Target) -> Result<()>) -> Result<()> {
    let target = Target::start()?;
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let srt = Witness::start(&target.system, &clip)?;
    let rtp = RtpWitness::start(&target, &clip)?;
    attack(&target)?;
    target.memory_is_bounded()?;
    srt.lost_nothing(&target.system, &clip)?;
    rtp.lost_nothing(&target, &clip)?;
    is_sound(&target.system)?;
    target.system.stop()
}

/// A packet of RTP.
#[derive(Debug, Clone, Copy, Default)]
struct Header {
    marker: bool,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
}

impl Header {
    fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x80, u8::from(self.marker) << 7 | self.payload_type];
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(self.ssrc.to_be_bytes());
        bytes.extend(payload);
        bytes
    }
}

/// What a stream counted.
fn of(stream: &StreamSnapshot, counters: &[StreamCounter]) -> u64 {
    counters.iter().map(|it| stream.counter(*it)).sum()
}
