//! UDP paths between a sender and Penstock whose datagrams a test sees one by one, and lets through
//! or loses: media, reports and error correction each on a path of its own.
//!
//! ```text
//!  sender ──▶ path's port ──(verdict)──▶ to
//!  answers ◀───────────────(verdict)──── what comes back
//! ```

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

/// How often a path that hears nothing looks whether it is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A datagram on a path.
#[derive(Debug, Clone, Copy)]
pub struct Passing<'a> {
    /// The path's place among those it was started with.
    pub path: usize,
    /// It comes from Penstock.
    pub is_answer: bool,
    /// What it holds.
    pub bytes: &'a [u8],
}

impl Passing<'_> {
    /// The RTP header of a datagram of the sender's.
    pub fn rtp(&self) -> Option<Rtp> {
        Rtp::parse(self.bytes).filter(|_| !self.is_answer)
    }
}

/// What a test needs of an RTP header (RFC 3550, 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rtp {
    /// PT.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Source.
    pub ssrc: u32,
}

impl Rtp {
    /// Reads one; `None` for RTCP (RFC 5761, 4) and anything else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [first, second, high, low, rest @ ..] = bytes else { return None };
        if first >> 6 != 2 || (192..=223).contains(second) {
            return None;
        }
        Some(Self {
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([*high, *low]),
            timestamp: u32::from_be_bytes(*rest.first_chunk()?),
            ssrc: u32::from_be_bytes(*rest.get(4..)?.first_chunk()?),
        })
    }
}

/// The packets of an RTCP compound packet: type, count or format, and what is behind the first four
/// bytes (RFC 3550, 6.1).
pub fn rtcp(compound: &[u8]) -> Vec<(u8, u8, &[u8])> {
    let mut packets = Vec::new();
    let mut rest = compound;
    while let [first, kind, high, low, behind @ ..] = rest {
        let bytes = 4 * usize::from(u16::from_be_bytes([*high, *low]));
        let Some((body, next)) = behind.split_at_checked(bytes) else { break };
        packets.push((*kind, first & 0x1f, body));
        rest = next;
    }
    packets
}

/// The 32-bit word at a byte of RTCP, 0 beyond the end.
pub fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(<[u8]>::first_chunk);
    word.map_or(0, |word| u32::from_be_bytes(*word))
}

/// Where a path leads.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// Penstock's port.
    pub to: u16,
    /// Where the sender hears answers; `None`: where its last datagram came from.
    pub answers: Option<u16>,
}

type Verdict = Arc<Mutex<dyn FnMut(&Passing<'_>) -> bool + Send>>;

/// Running paths; they end when dropped.
#[derive(Debug)]
pub struct Paths {
    ports: Vec<u16>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Paths {
    /// Opens a port for each way. `passes` is asked about every datagram and says whether it goes on.
    pub fn start(
        ways: &[Way],
        passes: impl FnMut(&Passing<'_>) -> bool + Send + 'static,
    ) -> Result<Self> {
        let verdict: Verdict = Arc::new(Mutex::new(passes));
        let mut paths =
            Self { ports: Vec::new(), stop: Arc::new(AtomicBool::new(false)), threads: Vec::new() };
        for (path, way) in ways.iter().enumerate() {
            let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            paths.ports.push(front.local_addr()?.port());
            let fixed = way.answers.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, way.to));
            let heard = Arc::new(Mutex::new(fixed));
            let sender = Arc::clone(&heard);
            let (forth, out) = (front.try_clone()?, back.try_clone()?);
            let leg = Leg { path, is_answer: false, verdict: Arc::clone(&verdict) };
            paths.run(leg, forth, move |peer, bytes| {
                if fixed.is_none() {
                    *heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(peer);
                }
                // A refused datagram is one more lost.
                let _ = out.send_to(bytes, to);
            });
            let leg = Leg { path, is_answer: true, verdict: Arc::clone(&verdict) };
            paths.run(leg, back, move |_, bytes| {
                let to = *sender.lock().unwrap_or_else(PoisonError::into_inner);
                let _ = to.map(|to| front.send_to(bytes, to));
            });
        }
        Ok(paths)
    }

    fn run(
        &mut self,
        leg: Leg,
        from: UdpSocket,
        pass: impl Fn(SocketAddr, &[u8]) + Send + 'static,
    ) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || leg.run(&from, &stop, pass)));
    }

    /// The port where a path takes the sender's datagrams.
    pub fn port(&self, path: usize) -> u16 {
        self.ports[path]
    }
}

impl Drop for Paths {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One direction of a path.
struct Leg {
    path: usize,
    is_answer: bool,
    verdict: Verdict,
}

impl Leg {
    fn run(&self, from: &UdpSocket, stop: &AtomicBool, pass: impl Fn(SocketAddr, &[u8])) {
        let _ = from.set_read_timeout(Some(LOOK_EVERY));
        let mut buffer = [0; 65_536];
        while !stop.load(Ordering::Relaxed) {
            let Ok((len, peer)) = from.recv_from(&mut buffer) else { continue };
            let bytes = &buffer[..len];
            let passing = Passing { path: self.path, is_answer: self.is_answer, bytes };
            let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
            let passes = verdict(&passing);
            drop(verdict);
            if passes {
                pass(peer, bytes);
            }
        }
    }
}
