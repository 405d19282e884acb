//! Every pattern of loss in a transport stream: as [`super::patterns`], down to PES packets.
//!
//! Continuity counters prove of each PID what its losses are, as long as fewer than sixteen packets
//! are missing in a row. So a PES packet is clean exactly when all of it came, and, where it has no
//! length of its own, the start of the next one too. Where more is missing at once, none is clean
//! that is not whole.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use codec::sink::{Sink, Timestamps, TrackConfig};
use memory::{Datagram, Slab, Time};
use mpegts::Demuxer;
use penstock_tests::clip::Clip;
use penstock_tests::process::Process;
use penstock_tests::rtp::senders::{self, Ffmpeg};
use penstock_tests::rtp::source::Coding;
use penstock_tests::rtp::wire::Packet;
use penstock_tests::rtp::{CLEAR, Intake};
use rtp::format::Format;
use rtp::packet::Header;
use rtp::session::{Room, Session, SessionConfig, TrackSetup};

use super::patterns::{STEP, disturb, every_seed};
use super::{BY_SSRC, SSRC, source};

/// Seeds of each kind of pattern.
const SEEDS: u64 = 40;
/// Runs that are lost in one pattern are so many datagrams apart.
const APART: usize = 40;
/// The sender's proof, and the tables of the program.
const SPARED: usize = 4;
/// Datagrams of seven packets: so many may be missing at once, and the counters prove all.
const PROVEN: usize = 2;

/// A PES packet as it was sent.
#[derive(Debug)]
struct Pes {
    pid: u16,
    pts: Option<u64>,
    payload: Vec<u8>,
    /// The datagrams that have some of it.
    datagrams: Vec<usize>,
    /// It says how long it is.
    bounded: bool,
    /// The datagram in which the next one of its PID starts.
    next: Option<usize>,
}

/// The stamp of a PES header (H.222.0, 2.4.3.7).
fn stamp(bytes: &[u8]) -> u64 {
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|at| u64::from(bytes[at]));
    (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
}

/// The PES packets of a transport stream in datagrams.
fn pes_packets(datagrams: &[Packet]) -> Vec<Pes> {
    let mut found: Vec<Pes> = Vec::new();
    let mut open: BTreeMap<u16, usize> = BTreeMap::new();
    for (number, datagram) in datagrams.iter().enumerate() {
        for packet in datagram.payload.chunks_exact(188) {
            let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
            let skipped = if packet[3] & 0x20 != 0 { 1 + usize::from(packet[4]) } else { 0 };
            if packet[3] & 0x10 == 0 {
                continue; // no payload
            }
            let payload = &packet[4 + skipped..];
            let starts = packet[1] & 0x40 != 0;
            if let (true, [0, 0, 1, _, high, low, ..]) = (starts, payload) {
                let before = open.insert(pid, found.len());
                if let Some(before) = before {
                    found[before].next = Some(number);
                }
                found.push(Pes {
                    pid,
                    pts: (payload[7] & 0x80 != 0).then(|| stamp(&payload[9..])),
                    payload: payload[9 + usize::from(payload[8])..].to_vec(),
                    datagrams: vec![number],
                    bounded: [*high, *low] != [0, 0],
                    next: None,
                });
            } else if let Some(place) = open.get(&pid).filter(|_| !starts) {
                found[*place].payload.extend_from_slice(payload);
                found[*place].datagrams.push(number);
            }
        }
    }
    found
}

/// Gathers units by PID and stamp: bytes, and whether any may be missing.
#[derive(Debug, Default)]
struct Gather {
    pids: Vec<u16>,
    units: Vec<(u16, Option<u64>, Vec<u8>, bool)>,
    /// Of each track: its open unit.
    open: BTreeMap<usize, usize>,
}

impl Sink for Gather {
    fn tracks(&mut self, tracks: &[TrackConfig]) {
        self.pids = tracks.iter().map(|track| track.pid).collect();
    }

    fn unit_start(&mut self, track: usize, stamps: Timestamps) {
        self.open.insert(track, self.units.len());
        let pts = stamps.pts.map(|pts| pts % (1 << 33));
        self.units.push((self.pids[track], pts, Vec::new(), false));
    }

    fn unit_data(&mut self, track: usize, bytes: &[u8]) {
        if let Some(place) = self.open.get(&track) {
            self.units[*place].2.extend_from_slice(bytes);
        }
    }

    fn unit_end(&mut self, track: usize) {
        self.open.remove(&track);
    }

    fn gap(&mut self, track: usize) {
        if let Some(place) = self.open.get(&track) {
            self.units[*place].3 = true;
        }
    }
}

/// A session's output through the demultiplexer.
#[derive(Debug)]
struct Through {
    demuxer: Demuxer,
    gather: Gather,
}

impl Sink for Through {
    fn tracks(&mut self, _: &[TrackConfig]) {}
    fn unit_start(&mut self, _: usize, _: Timestamps) {}
    fn unit_data(&mut self, _: usize, _: &[u8]) {}
    fn unit_end(&mut self, _: usize) {}
    fn gap(&mut self, _: usize) {}
}

impl rtp::Output for Through {
    fn transmit(&mut self, _: (usize, usize), _: SocketAddr, _: &[u8]) {}
    fn input(&mut self, _: Time, _: Time) {}

    fn deliver_ts(&mut self, payload: &[u8], _: Time, _: Time) {
        self.demuxer.push(payload, &mut self.gather);
    }

    fn ts_lost(&mut self, packets: u32) {
        self.demuxer.lost(packets, &mut self.gather);
    }
}

/// What is made once for all patterns.
struct Bench {
    slab: Slab,
    session: Session,
    through: Through,
}

/// What a sender sent.
struct Sent {
    datagrams: Vec<Packet>,
    pes: Vec<Pes>,
}

impl Sent {
    /// What comes of these datagrams, by their numbers, in this order.
    fn replay(&self, bench: &mut Bench, order: &[usize]) -> Result<Gather> {
        let Bench { slab, session, through } = bench;
        let peer: SocketAddr = "192.0.2.1:5004".parse()?;
        let mut now = Time::from_micros(1_000_000);
        let track = TrackSetup { format: Format::of_static(33), ..TrackSetup::default() };
        let tracks = [Some(track), None, None, None];
        session.open(&SessionConfig { tracks, ..SessionConfig::default() }, now);
        through.demuxer.reset();
        through.gather = Gather::default();
        for number in order {
            let Packet { sequence, timestamp, marker, payload_type, ssrc, .. } =
                self.datagrams[*number];
            let header =
                Header { sequence, timestamp, marker, payload_type, ssrc, ..Header::default() };
            let bytes = [&header.encode()[..], &self.datagrams[*number].payload].concat();
            let datagram = Datagram::copy_from(slab, &bytes).context("a slot is free")?;
            now = now + STEP;
            session.handle_rtp(now, now, 0, peer, datagram, through);
            if session.next_timeout() <= now {
                session.handle_timeout(now, through);
            }
        }
        session.close(now, through);
        // The sender has fallen silent.
        through.demuxer.lost(1, &mut through.gather);
        through.demuxer.finish(&mut through.gather);
        Ok(std::mem::take(&mut through.gather))
    }

    /// What must be clean is, and nothing else that is not whole.
    fn holds(&self, bench: &mut Bench, order: &[usize]) -> Result<()> {
        let mut came = vec![false; self.datagrams.len()];
        for number in order {
            came[*number] = true;
        }
        let mut found: BTreeMap<_, Vec<(Vec<u8>, bool)>> = BTreeMap::new();
        for (pid, pts, bytes, damaged) in self.replay(bench, order)?.units {
            found.entry((pid, pts)).or_default().push((bytes, damaged));
        }
        for pes in self.pes.iter().filter(|pes| pes.pts.is_some()) {
            let units = found.remove(&(pes.pid, pes.pts)).unwrap_or_default();
            let first = pes.datagrams[0];
            let end = pes.next.unwrap_or(came.len() - 1);
            let lost = came[first..=end].iter().filter(|came| !**came).count();
            let whole = pes.datagrams.iter().all(|datagram| came[*datagram]);
            let known = pes.bounded || pes.next.is_some_and(|next| came[next]);
            let told: Vec<_> =
                units.iter().map(|(bytes, damaged)| (bytes.len(), damaged)).collect();
            let told = format!(
                "PID {:#x}, PTS {:?}, whole {whole}, end known {known}, {lost} lost: {told:?}",
                pes.pid, pes.pts
            );
            if whole && known && lost <= PROVEN {
                ensure!(matches!(units[..], [(_, false)]), "not clean: {told}");
            }
            for (bytes, _) in units.iter().filter(|(_, damaged)| !damaged) {
                ensure!(whole && known, "clean: {told}");
                ensure!(*bytes == pes.payload, "other bytes: {told}");
            }
        }
        ensure!(found.values().flatten().all(|(_, damaged)| *damaged), "clean, and never sent");
        Ok(())
    }

    /// All datagrams but those that `is_lost`.
    fn without(&self, is_lost: impl Fn(usize) -> bool) -> Vec<usize> {
        (0..self.datagrams.len()).filter(|it| *it < SPARED || !is_lost(*it)).collect()
    }

    fn every_pattern_holds(&self) -> Result<()> {
        let count = self.datagrams.len();
        let through =
            Through { demuxer: Demuxer::new(mpegts::Config::default()), gather: Gather::default() };
        let session = Session::new(&Room::default());
        let bench = &mut Bench { slab: Slab::new(1_024)?, session, through };
        self.holds(bench, &self.without(|_| false)).context("with all")?;
        for first in 0..APART {
            for run in [1, 2, 3] {
                let order = self.without(|number| (number + APART - first) % APART < run);
                self.holds(bench, &order).with_context(|| format!("without {run} from {first}"))?;
            }
        }
        every_seed(SEEDS, count, |lost, random| {
            self.holds(bench, &disturb(self.without(|number| lost[number]), random))
        })
    }
}

fn every_pattern(
    file: &Path,
    send: impl FnOnce(&Intake, SocketAddr) -> Result<Process>,
) -> Result<()> {
    let intake = Intake::start(BY_SSRC)?;
    let received = intake.receive("clip", intake.port, CLEAR, |to| send(&intake, to))?;
    intake.system.stop()?;
    let pes = pes_packets(&received.packets);
    ensure!(pes.len() > 70, "{} PES packets of {}", pes.len(), file.display());
    Sent { datagrams: received.packets, pes }.every_pattern_holds()
}

#[test]
fn clean_pictures_and_sound_of_ffmpeg_are_exactly_what_came_whatever_was_lost() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    every_pattern(&clip.path, |intake, to| {
        let rtcp_port = intake.rtcp_port;
        Ffmpeg { file: &clip.path, to, rtcp_port, ssrc: SSRC, packet_bytes: 1_328 }
            .mpegts(&intake.system)
    })
}

#[test]
fn clean_pictures_of_gstreamer_are_exactly_what_came_whatever_was_lost() -> Result<()> {
    let source = source(Coding::H264Slices)?;
    every_pattern(&source.path, |intake, to| {
        let elements = "qtdemux ! h264parse ! mpegtsmux alignment=7 ! rtpmp2tpay ssrc=7";
        senders::gstreamer(&intake.system, &source.path, elements, to)
    })
}
