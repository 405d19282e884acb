//! Every pattern of loss: what real senders sent once is given to a session again and again, each
//! time without other packets, out of order and twice. Clean are exactly the units all of whose
//! packets came; time is a number, so none of this waits.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use codec::sink::{Sink, Timestamps, TrackConfig};
use memory::{Datagram, Slab, Time};
use penstock_tests::generate::sha256;
use penstock_tests::relay::Random;
use penstock_tests::rtp::senders::{self, Ffmpeg};
use penstock_tests::rtp::source::{Coding, Source};
use penstock_tests::rtp::truth::{self, Expected};
use penstock_tests::rtp::wire::{self, Packet};
use penstock_tests::rtp::{CLEAR, Intake};
use rtp::packet::Header;
use rtp::session::{Room, Session, SessionConfig, TrackSetup};

use super::{BY_SSRC, SSRC, line, source};

/// Seeds of each kind of pattern.
const SEEDS: u64 = 100;
/// Runs that are lost in one pattern are so many packets apart.
const APART: usize = 40;
/// A source proves itself with its first two packets: they come, and in order.
const SPARED: usize = 2;
/// Between two packets. The window waits for a hundred of them.
pub(super) const STEP: Duration = Duration::from_millis(1);

/// Gathers units: their place on the line, bytes, and whether any may be missing.
#[derive(Debug, Default)]
struct Gather {
    units: Vec<(u64, Vec<u8>, bool)>,
    open: bool,
}

impl Sink for Gather {
    fn tracks(&mut self, _: &[TrackConfig]) {}

    fn unit_start(&mut self, _: usize, stamps: Timestamps) {
        self.units.push((stamps.pts.unwrap_or(0), Vec::new(), false));
        self.open = true;
    }

    fn unit_data(&mut self, _: usize, bytes: &[u8]) {
        if let Some((_, unit, _)) = self.units.last_mut() {
            unit.extend_from_slice(bytes);
        }
    }

    fn unit_end(&mut self, _: usize) {
        self.open = false;
    }

    fn gap(&mut self, _: usize) {
        if let Some((_, _, damaged)) = self.units.last_mut().filter(|_| self.open) {
            *damaged = true;
        }
    }
}

impl rtp::Output for Gather {
    fn transmit(&mut self, _: (usize, usize), _: SocketAddr, _: &[u8]) {}
    fn input(&mut self, _: Time, _: Time) {}
    fn deliver_ts(&mut self, _: &[u8], _: Time, _: Time) {}
    fn ts_lost(&mut self, _: u32) {}
}

/// What is made once for all patterns.
struct Bench {
    slab: Slab,
    session: Session,
}

/// What a sender sent, and what it is.
struct Sent {
    packets: Vec<Packet>,
    expected: Vec<Expected>,
    clock_hz: u32,
    config: SessionConfig,
    /// Packets of the first two units.
    learnt: usize,
}

impl Sent {
    fn new(source: &Source, packets: Vec<Packet>) -> Result<Self> {
        let encoding = if source.coding == Coding::Hevc { "H265/90000" } else { "H264/90000" };
        let format = rtp::sdp::format(packets[0].payload_type, encoding, "")?;
        let track = TrackSetup { format: Some(format), ..TrackSetup::default() };
        let config =
            SessionConfig { tracks: [Some(track), None, None, None], ..SessionConfig::default() };
        let expected = truth::of_rtp(source, &[])?;
        let units = wire::units(&packets);
        ensure!(units.len() == expected.len(), "units are not of one timestamp");
        let learnt = units[..2].concat().len();
        Ok(Self { packets, expected, clock_hz: source.coding.clock_hz(), config, learnt })
    }

    /// What a session makes of these packets, by their numbers, in this order.
    fn replay(&self, bench: &mut Bench, order: &[usize]) -> Result<Gather> {
        let Bench { slab, session } = bench;
        let (mut now, mut out) = (Time::from_micros(1_000_000), Gather::default());
        let peer: SocketAddr = "192.0.2.1:5004".parse()?;
        session.open(&self.config, now);
        for number in order {
            let Packet { sequence, timestamp, marker, payload_type, ssrc, .. } =
                self.packets[*number];
            let header =
                Header { sequence, timestamp, marker, payload_type, ssrc, ..Header::default() };
            let bytes = [&header.encode()[..], &self.packets[*number].payload].concat();
            let datagram = Datagram::copy_from(slab, &bytes).context("a slot is free")?;
            now = now + STEP;
            session.handle_rtp(now, now, 0, peer, datagram, &mut out);
            if session.next_timeout() <= now {
                session.handle_timeout(now, &mut out);
            }
        }
        session.close(now, &mut out);
        Ok(out)
    }

    /// Clean are exactly the units of which all packets came; where the stream's beginning is missing,
    /// none but those.
    fn holds(&self, bench: &mut Bench, order: &[usize]) -> Result<()> {
        let mut came = vec![false; self.packets.len()];
        for number in order {
            came[*number] = true;
        }
        let mut found: BTreeMap<u64, Vec<(Vec<u8>, bool)>> = BTreeMap::new();
        for (pts, bytes, damaged) in self.replay(bench, order)?.units {
            found.entry(pts).or_default().push((bytes, damaged));
        }
        // Whether a unit behind a loss begins as it should is known from whole ones before it: one of
        // key pictures, one of others.
        let exact = came[..self.learnt].iter().all(|came| *came);
        let mut at = 0;
        for (number, (unit, wanted)) in
            wire::units(&self.packets).iter().zip(&self.expected).enumerate()
        {
            let came = &came[at..at + unit.len()];
            at += unit.len();
            let units = found.remove(&line(unit[0].timestamp.into(), self.clock_hz));
            let units = units.unwrap_or_default();
            let told: Vec<_> =
                units.iter().map(|(bytes, damaged)| (bytes.len(), damaged)).collect();
            let told = format!("unit {number} {}, came {came:?}: {told:?}", wanted.class);
            if came.iter().all(|came| *came) {
                if !exact && matches!(units[..], [(_, true)]) {
                    continue;
                }
                ensure!(matches!(&units[..], [(_, false)]), "whole, but {told}");
                ensure!(sha256(&units[0].0) == wanted.sha256, "other bytes: {told}");
            } else {
                ensure!(units.iter().all(|(_, damaged)| *damaged), "incomplete, but {told}");
            }
        }
        ensure!(found.is_empty(), "units of no picture: {:?}", found.keys());
        Ok(())
    }

    /// All packets but those that `is_lost`.
    fn without(&self, is_lost: impl Fn(usize) -> bool) -> Vec<usize> {
        (0..self.packets.len()).filter(|number| *number < SPARED || !is_lost(*number)).collect()
    }

    fn every_pattern_holds(&self) -> Result<()> {
        let count = self.packets.len();
        let bench = &mut Bench { slab: Slab::new(1_024)?, session: Session::new(&Room::default()) };
        for first in 0..APART {
            for run in [1, 2, 5] {
                let order = self.without(|number| {
                    number >= self.learnt && (number + APART - first) % APART < run
                });
                self.holds(bench, &order).with_context(|| format!("without {run} from {first}"))?;
            }
        }
        every_seed(SEEDS, count, |lost, random| {
            self.holds(bench, &disturb(self.without(|number| lost[number]), random))
        })
    }
}

/// Draws which of `count` are lost, one, five and twenty in a hundred, by so many seeds each.
pub(super) fn every_seed(
    seeds: u64,
    count: usize,
    mut holds: impl FnMut(&[bool], &mut Random) -> Result<()>,
) -> Result<()> {
    for seed in 1..=seeds {
        for permille in [10, 50, 200] {
            let mut random = Random::new(seed * 1_000 + permille);
            let lost: Vec<bool> =
                (0..count).map(|_| random.draw() >> 33 < permille * 2_147_483).collect();
            holds(&lost, &mut random)
                .with_context(|| format!("seed {seed}, {permille} per mille"))?;
        }
    }
    Ok(())
}

/// Some come a little later, some twice.
pub(super) fn disturb(order: Vec<usize>, random: &mut Random) -> Vec<usize> {
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (place, number) in order.into_iter().enumerate() {
        let late = if random.draw().is_multiple_of(10) && place >= SPARED { 8 } else { 0 };
        places.push((place + late, number));
        if random.draw().is_multiple_of(50) {
            places.push((place + late + 3, number));
        }
    }
    places.sort_by_key(|(place, _)| *place);
    places.into_iter().map(|(_, number)| number).collect()
}

fn by_ffmpeg(coding: Coding) -> Result<()> {
    let source = source(coding)?;
    let intake = Intake::start(BY_SSRC)?;
    let received = intake.receive("clip", intake.port, CLEAR, |to| {
        let rtcp_port = intake.rtcp_port;
        Ffmpeg { file: &source.path, to, rtcp_port, ssrc: SSRC, packet_bytes: 400 }
            .rtp(&intake.system)
    })?;
    intake.system.stop()?;
    Sent::new(&source, received.packets)?.every_pattern_holds()
}

fn by_gstreamer(coding: Coding, elements: &str) -> Result<()> {
    let source = source(coding)?;
    let intake = Intake::start(BY_SSRC)?;
    let received = intake.receive("clip", intake.port, CLEAR, |to| {
        senders::gstreamer(&intake.system, &source.path, elements, to)
    })?;
    intake.system.stop()?;
    Sent::new(&source, received.packets)?.every_pattern_holds()
}

#[test]
fn clean_h264_of_ffmpeg_is_exactly_what_came_whatever_was_lost() -> Result<()> {
    by_ffmpeg(Coding::H264)
}

#[test]
fn clean_h264_in_slices_of_ffmpeg_is_exactly_what_came_whatever_was_lost() -> Result<()> {
    by_ffmpeg(Coding::H264Slices)
}

#[test]
fn clean_h264_with_delimiters_of_ffmpeg_is_exactly_what_came_whatever_was_lost() -> Result<()> {
    by_ffmpeg(Coding::H264Delimited)
}

#[test]
fn clean_hevc_of_ffmpeg_is_exactly_what_came_whatever_was_lost() -> Result<()> {
    by_ffmpeg(Coding::Hevc)
}

#[test]
fn clean_h264_of_gstreamer_is_exactly_what_came_whatever_was_lost() -> Result<()> {
    by_gstreamer(Coding::H264Slices, "qtdemux ! h264parse ! rtph264pay ssrc=7 mtu=400")
}

#[test]
fn clean_hevc_of_gstreamer_is_exactly_what_came_whatever_was_lost() -> Result<()> {
    by_gstreamer(Coding::Hevc, "qtdemux ! h265parse ! rtph265pay ssrc=7 mtu=400")
}
