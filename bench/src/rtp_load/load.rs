//! The paced load: N sources over M sockets, one thread, one schedule.
//!
//! Sources are dealt into groups; a turn belongs to one group, sends `burst` packets of each of its
//! sources back to back, and is due when the rate says so. A turn that comes late is made up for at
//! once.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};
use memory::Time;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg, setsockopt, sockopt};

use super::media::{CLOCK_HZ, Media, PAYLOAD_MAX, Source};
use crate::clock;

/// How often something else may be done.
const IDLE_INTERVAL: Duration = Duration::from_micros(500);
/// Bytes of a full packet.
const PACKET_BYTES_MAX: usize = rtp::packet::HEADER_BYTES + PAYLOAD_MAX;
/// SSRC of source 0; consecutive ones spread over workers.
const SSRC_FIRST: u32 = 1_000_000;

/// What is to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadOptions {
    /// Where to.
    pub(crate) to: SocketAddr,
    /// Source k goes to port + k × this.
    pub(crate) port_step: u16,
    pub(crate) sources: u32,
    /// Sockets that send.
    pub(crate) sockets: u32,
    /// Sources of one turn.
    pub(crate) batch: u32,
    /// Packets of each of them.
    pub(crate) burst: u32,
    /// Whether a source's packets of a turn leave in one segmented send.
    pub(crate) gso: bool,
    /// Packets a second, all sources together.
    pub(crate) packets_per_s: f64,
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) packets: u64,
    /// Payload bytes.
    pub(crate) bytes: u64,
    /// Packets the kernel refused.
    pub(crate) refused: u64,
}

/// Sources under way.
pub(crate) struct Load {
    options: LoadOptions,
    sources: Vec<Source>,
    outlets: Vec<Outlet>,
    turn: u64,
    totals: Totals,
    lag_max: Duration,
}

impl Load {
    pub(crate) fn open(options: LoadOptions) -> Result<Self> {
        let outlets = (0..options.sockets)
            .map(|_| Outlet::open(&options))
            .collect::<Result<Vec<_>>>()
            .context("opening the sockets (is `ulimit -n` high enough?)")?;
        let sources =
            (0..options.sources).map(|number| Source::new(number, SSRC_FIRST + number)).collect();
        let (totals, lag_max) = (Totals::default(), Duration::ZERO);
        Ok(Self { options, sources, outlets, turn: 0, totals, lag_max })
    }

    /// Sends for `duration`. `idle` is called between turns.
    pub(crate) fn send_for(
        &mut self,
        media: &Media,
        duration: Duration,
        mut idle: impl FnMut(),
    ) -> Result<()> {
        let gap_ns = 1e9 / self.options.packets_per_s;
        let start = clock::now();
        let (end, before) = (start + duration, self.totals.packets);
        let (mut due, mut next_idle) = (start, start);
        loop {
            let now = clock::now();
            if now >= end {
                return Ok(());
            }
            if now >= due {
                self.lag_max = self.lag_max.max(now.since(due));
                self.send_turn(media, now)?;
                due = start + nanos(self.totals.packets - before, gap_ns);
            }
            if now >= next_idle {
                idle();
                next_idle = clock::now() + IDLE_INTERVAL;
            }
            if due > now {
                clock::wait_until(due.min(next_idle));
            }
        }
    }

    /// Sends at least so many packets, as fast as it goes.
    pub(crate) fn send_at_once(&mut self, media: &Media, packets: u64) -> Result<u64> {
        let before = self.totals.packets;
        while self.totals.packets - before < packets {
            self.send_turn(media, clock::now())?;
        }
        Ok(self.totals.packets - before)
    }

    fn send_turn(&mut self, media: &Media, now: Time) -> Result<()> {
        let LoadOptions { to, port_step, batch, burst, sources, .. } = self.options;
        let group = u32::try_from(self.turn % u64::from(sources.div_ceil(batch)))?;
        let outlets = self.outlets.len();
        let outlet = &mut self.outlets[usize::try_from(group)? % outlets];
        let ticks = ticks(now);
        for number in group * batch..sources.min((group + 1) * batch) {
            let port = to.port().wrapping_add(port_step.wrapping_mul(u16::try_from(number)?));
            let target = SocketAddr::new(to.ip(), port);
            let source = &mut self.sources[usize::try_from(number)?];
            for _ in 0..burst {
                let len = source.next(media, ticks, &mut outlet.bytes);
                outlet.add(len, target);
                self.totals.packets += 1;
                self.totals.bytes += u64::try_from(len - rtp::packet::HEADER_BYTES)?;
            }
        }
        self.totals.refused += outlet.flush()?;
        self.turn += 1;
        Ok(())
    }

    pub(crate) const fn totals(&self) -> Totals {
        self.totals
    }

    /// Longest delay of a turn behind its schedule.
    pub(crate) const fn lag_max(&self) -> Duration {
        self.lag_max
    }

    /// Frames that each source has begun.
    pub(crate) fn frames_begun<'a>(&'a self, media: &'a Media) -> impl Iterator<Item = u64> + 'a {
        self.sources.iter().map(|source| source.frames_begun(media))
    }
}

/// A socket and what it is about to send.
struct Outlet {
    socket: UdpSocket,
    gso: bool,
    bytes: Vec<u8>,
    /// Where the packets, or the runs of packets, lie and where they go.
    sends: Vec<(Range<usize>, u32, SocketAddr)>,
    /// Room for the kernel's view of them.
    headers: MultiHeaders<SockaddrStorage>,
}

impl Outlet {
    fn open(options: &LoadOptions) -> Result<Self> {
        let local = match options.to {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = UdpSocket::bind(local)?;
        if options.gso {
            setsockopt(&socket, sockopt::UdpGsoSegment, &i32::try_from(PACKET_BYTES_MAX)?)?;
        }
        let most = usize::try_from(options.batch * options.burst)?;
        Ok(Self {
            socket,
            gso: options.gso,
            bytes: Vec::with_capacity(most * PACKET_BYTES_MAX),
            sends: Vec::with_capacity(most),
            headers: MultiHeaders::preallocate(most, None),
        })
    }

    /// The last `len` bytes are a packet for `to`.
    fn add(&mut self, len: usize, to: SocketAddr) {
        let end = self.bytes.len();
        if let Some((run, packets, target)) = self.sends.last_mut().filter(|_| self.gso) {
            // Of the segments only the last may be short.
            if *target == to && run.len() == usize_of(*packets) * PACKET_BYTES_MAX {
                run.end = end;
                *packets += 1;
                return;
            }
        }
        self.sends.push((end - len..end, 1, to));
    }

    /// Sends everything; how many packets the kernel refused.
    fn flush(&mut self) -> Result<u64> {
        let mut refused = 0;
        let mut done = 0;
        while done < self.sends.len() {
            let rest = &self.sends[done..];
            let slices: Vec<[IoSlice<'_>; 1]> =
                rest.iter().map(|(range, ..)| [IoSlice::new(&self.bytes[range.clone()])]).collect();
            let targets: Vec<Option<SockaddrStorage>> =
                rest.iter().map(|(.., to)| Some(SockaddrStorage::from(*to))).collect();
            let (fd, none) = (self.socket.as_raw_fd(), MsgFlags::empty());
            match sendmmsg(fd, &mut self.headers, &slices, &targets, [], none) {
                Ok(sent) => done += sent.count(),
                // A refusal reported here belongs to an earlier packet (ICMP); one that comes again
                // is this one's.
                Err(_) if self.socket.take_error()?.is_some() => {}
                Err(_) => {
                    refused += u64::from(self.sends[done].1);
                    done += 1;
                }
            }
        }
        self.sends.clear();
        self.bytes.clear();
        Ok(refused)
    }
}

fn usize_of(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The sending clock, modulo 2^32.
#[expect(clippy::cast_possible_truncation, reason = "timestamps wrap")]
const fn ticks(now: Time) -> u32 {
    (now.nanos() as u128 * CLOCK_HZ as u128 / 1_000_000_000) as u32
}

/// So many gaps; computed from their number so that rounding does not add up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "packets and nanoseconds of a run are far below 2^53"
)]
fn nanos(count: u64, gap_ns: f64) -> Duration {
    Duration::from_nanos((count as f64 * gap_ns) as u64)
}
