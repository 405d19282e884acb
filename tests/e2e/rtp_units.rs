//! Units that are known and sent over RTP by senders of the tests, and what a reader gets of them.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use penstock_tests::generate::AccessUnit;
use penstock_tests::generate::Field;
use penstock_tests::oracle::Frame;
use penstock_tests::rtp::paced::{Datagram, Sender, Stream};
use penstock_tests::system::{Options, Penstock, free_udp_port};
use serde_json::Value;

/// A Penstock that takes RTP.
pub(crate) struct Receiver {
    pub(crate) system: Penstock,
    port: u16,
}

impl Receiver {
    /// With senders at the shared port whose SSRC gives the id `rtp/SSRC`, for so many of them, and
    /// these further keys of `ingestion.rtp`.
    pub(crate) fn start(senders: u32, further: &str) -> Result<Self> {
        let (port, rtcp_port) = (free_udp_port()?, free_udp_port()?);
        let rules: Vec<String> =
            (1..=senders).map(|ssrc| format!("{{ssrc: {ssrc}, id: rtp/{ssrc}}}")).collect();
        // A reader that the machine keeps waiting, or a packet, loses nothing by it.
        let ingestion = format!(
            "  frame: {{max_frame_size: 1048576}}\n  gop: {{buffer_count: 8}}\n  \
             rtp: {{port: {port}, rtcp_port: {rtcp_port}, max_sessions: 8, latency: 1s, latency_max: 5s, \
             reorder_packets: 40, streams: [{}]{further}}}\n",
            rules.join(", ")
        );
        let system = Penstock::start(&Options { ingestion, ..Options::default() })?;
        Ok(Self { system, port })
    }

    /// What comes of these datagrams at the shared port.
    pub(crate) fn at_shared_port(&self, stream: Stream, sent: Vec<Datagram>) -> Result<Vec<Frame>> {
        let all = self.all_at_shared_port(vec![(stream, sent)])?;
        all.into_iter().next().context("one stream")
    }

    /// The same of several senders at one time.
    pub(crate) fn all_at_shared_port(
        &self,
        senders: Vec<(Stream, Vec<Datagram>)>,
    ) -> Result<Vec<Vec<Frame>>> {
        let ids = senders.iter().map(|(stream, _)| format!("rtp/{}", stream.ssrc));
        let ids: Vec<String> = ids.collect();
        let taps = ids.iter().map(|id| self.system.frames_of(id)).collect::<Result<Vec<_>>>()?;
        let start = |(stream, sent)| Sender::start(stream, sent, self.port);
        let running = senders.into_iter().map(start).collect::<Result<Vec<_>>>()?;
        for (id, sender) in ids.iter().zip(&running) {
            // What comes until then waits, and there is not room for all of it on a slow machine.
            self.system.wait_stream(id, "admitted", |_| true)?;
            sender.go_on()?;
        }
        running.into_iter().try_for_each(Sender::end)?;
        taps.into_iter().map(penstock_tests::system::Tap::frames).collect()
    }

    /// What comes of these datagrams at the socket of a session that is given.
    pub(crate) fn at(
        &self,
        id: &str,
        port: u16,
        stream: Stream,
        sent: Vec<Datagram>,
    ) -> Result<Vec<Frame>> {
        let tap = self.system.frames_of(id)?;
        send(stream, sent, port)?;
        tap.frames()
    }

    /// The same, read when its sender has gone.
    pub(crate) fn after(
        &self,
        id: &str,
        port: u16,
        stream: Stream,
        sent: Vec<Datagram>,
    ) -> Result<Vec<Frame>> {
        let count = |stream: &Value| stream["counters"]["connections"].as_u64();
        let before = count(&self.system.wait_stream(id, "listed", |_| true)?);
        send(stream, sent, port)?;
        self.system.wait_stream(id, "lost again", |stream| {
            stream["status"] == "lost" && count(stream) > before
        })?;
        self.system.frames_of(id)?.frames()
    }
}

/// Sends to a session that is given.
fn send(stream: Stream, sent: Vec<Datagram>, port: u16) -> Result<()> {
    let sender = Sender::start(stream, sent, port)?;
    sender.go_on()?;
    sender.end()
}

/// Without about one datagram of a hundred, never more than so many in a row, from unit `from` on:
/// the rest, and the units that miss one.
pub(crate) fn lossy(
    datagrams: Vec<Datagram>,
    from: usize,
    seed: u32,
    in_a_row: u32,
) -> (Vec<Datagram>, HashSet<usize>) {
    let mut torn = HashSet::new();
    let mut random = seed;
    let mut lost = 0;
    let keep = |datagram: &Datagram| {
        let goes_on = lost > 0 && draw(&mut random).is_multiple_of(3);
        let loses = goes_on || draw(&mut random).is_multiple_of(100);
        if datagram.unit < from || lost >= in_a_row || !loses {
            lost = 0;
            return true;
        }
        lost += 1;
        torn.insert(datagram.unit);
        false
    };
    let kept = datagrams.into_iter().filter(keep).collect();
    (kept, torn)
}

/// Each group of so many datagrams, from unit `from` on, in another order.
pub(crate) fn shuffled(mut datagrams: Vec<Datagram>, from: usize, group: usize) -> Vec<Datagram> {
    let start = datagrams.iter().position(|it| it.unit >= from).unwrap_or(datagrams.len());
    let mut random = 1;
    for group in datagrams[start..].chunks_mut(group) {
        for at in (1..group.len()).rev() {
            group.swap(at, draw(&mut random) as usize % (at + 1));
        }
        // All leave when the last of them is due.
        let due = group.iter().map(|datagram| datagram.due).max().unwrap_or_default();
        group.iter_mut().for_each(|datagram| datagram.due = due);
    }
    datagrams
}

/// The next number of a row (a linear congruence; its high bits).
fn draw(random: &mut u32) -> u32 {
    *random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *random >> 12
}

/// Every unit is a frame and none is missing, but those that are damaged.
pub(crate) struct Truth<'a> {
    pub(crate) codec: &'a str,
    pub(crate) units: &'a [AccessUnit],
    /// What the first unit is stamped.
    pub(crate) first_pts: u64,
    /// Whether all packets of a unit arrived.
    pub(crate) whole: &'a dyn Fn(usize) -> bool,
}

impl<'a> Truth<'a> {
    /// Nothing was lost.
    pub(crate) fn whole(codec: &'a str, units: &'a [AccessUnit], stream: &Stream) -> Self {
        Self { codec, units, first_pts: stream.timestamp.into(), whole: &|_| true }
    }

    /// Compares every frame. The frames without damage are exactly the whole units.
    pub(crate) fn check(&self, frames: &[Frame]) -> Result<()> {
        let clean: Vec<&Frame> = frames.iter().filter(|frame| !frame.damaged).collect();
        let expected = self.units.iter().enumerate().filter(|(number, _)| (self.whole)(*number));
        for (at, (number, unit)) in expected.clone().enumerate() {
            let frame = clean.get(at).with_context(|| format!("unit {number} has no frame"))?;
            self.same(frame, unit).with_context(|| format!("unit {number}: {frame:?}"))?;
        }
        let units = expected.count();
        ensure!(clean.len() == units, "{} frames of {units} units", clean.len());
        let torn = frames.len() - units;
        ensure!(torn <= self.units.len() - units, "{torn} damaged frames");
        Ok(())
    }

    fn same(&self, frame: &Frame, unit: &AccessUnit) -> Result<()> {
        let pts = Some(unit.pts - self.units[0].pts + self.first_pts);
        ensure!((frame.pts, frame.dts) == (pts, pts), "not at {pts:?}");
        ensure!(frame.sha256 == unit.sha256() && frame.size == unit.bytes.len(), "other bytes");
        let told = (frame.codec.as_str(), frame.class.as_str(), frame.key);
        ensure!(told == (self.codec, unit.class, unit.key), "other kind: {}", unit.class);
        ensure!(frame.field.as_deref() == unit.field.map(Field::label), "other field");
        ensure!(!frame.discontinuity, "marked as a jump of the timeline");
        Ok(())
    }
}
