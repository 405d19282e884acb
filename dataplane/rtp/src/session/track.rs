//! One track's way: source, legs, window, depacketizer.

use std::mem::offset_of;
use std::net::SocketAddr;
use std::time::Duration;

use codec::sink::{Timestamps, TrackKind};
use memory::{Time, prefetch, prefetch_start};

use super::SessionConfig;
use super::early::EarlyReports;
use super::leg::{Candidate, LEGS_MAX, Leg};
use super::listing::Listing;
use super::run::Run;
use super::stats::{Stats, TrackStats};
use crate::clock::{Line, TrackClock};
use crate::detect::{Detector, Verdict};
use crate::format::Format;
use crate::output::Output;
use crate::packet::{Header, Packet};
use crate::payload::{Counters, Depacketizer, Expected, Held, Limits, Outlet};
use crate::probation::Probation;
use crate::redundancy::fec::Fec;
use crate::reorder::{Inserted, Ready, Reorder, Window};
use crate::rtcp::SenderInfo;
use crate::rtcp::nack::Nacks;
use crate::rtx::Association;
use crate::source::{self, Source};

/// A goodbye holds once its source has been silent for so long after it.
const GOODBYE_WAIT: Duration = Duration::from_millis(250);
/// A leg may be this far from the other without being another sequence.
const LEG_DISTANCE_MAX: i64 = 3_000;

/// What a track is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackSetup {
    /// Its format; `None` has it detected.
    pub format: Option<Format>,
    /// Its source, where it is known before it sends.
    pub ssrc: Option<u32>,
    /// Its retransmissions.
    pub rtx: Option<Association>,
    /// Retransmissions come with the low bit of the SSRC set (RIST simple profile).
    pub rist: bool,
}

/// Arrival of the last packets, by their number, for the skew of the legs.
const ARRIVALS: usize = 1_024;

/// One track. As in a session, what every packet needs comes first.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Track {
    pub(super) ssrc: Option<u32>,
    /// That of `format`.
    pub(super) payload_type: Option<u8>,
    /// The format was looked for in vain.
    undetected: bool,
    /// Its packets come on two legs.
    redundant: bool,
    /// A picture that others refer to may be lost.
    pub(super) needs_key: bool,
    /// The source went.
    pub(super) gone: bool,
    /// `setup` tells retransmissions by their header.
    repeats: bool,
    /// The source is said to go.
    pub(super) goodbye_at: Option<Time>,
    /// Highest number of all legs.
    highest: u64,
    pub(super) nacks: Nacks,
    pub(super) reorder: Reorder,
    depacketizer: Option<Depacketizer>,
    pub(super) legs: [Leg; LEGS_MAX],
    pub(super) fec: Option<Fec>,
    pub(super) counters: Counters,
    pub(super) setup: TrackSetup,
    pub(super) format: Option<Format>,
    candidates: [Option<Candidate>; LEGS_MAX],
    pub(super) held: Held,
    pub(super) detector: Detector,
    /// Where its packets come on two legs.
    arrivals: Box<[(u64, Time, u8)]>,
    pub(super) lost: u64,
    /// When the last sender report came.
    pub(super) report_at: Option<Time>,
}

/// What a track needs of its session.
pub(super) struct Context<'a, O> {
    pub(super) index: usize,
    pub(super) out: &'a mut O,
    pub(super) line: &'a mut Line,
    pub(super) clocks: &'a mut [TrackClock],
    pub(super) limits: &'a Limits,
    pub(super) stats: &'a mut Stats,
    pub(super) now: Time,
    /// Since when what is delivered could be: when the packet that made it so came, or when the one
    /// before was given up. Does not go back.
    pub(super) due: &'a mut Time,
    pub(super) slots_max: u32,
    /// A source's first packets wait for such as were sent before them.
    pub(super) first_wait: bool,
    /// Missing packets are asked for.
    pub(super) asks: bool,
    pub(super) listing: &'a mut Listing,
    pub(super) early: &'a mut EarlyReports,
}

/// How a packet ranks among the track's.
pub(super) enum Rank {
    /// Of the track's source.
    Known,
    /// Of another source that might take its place.
    Other,
}

impl Track {
    /// Bytes of one.
    pub(super) fn bytes(room: &super::Room) -> usize {
        size_of::<Self>()
            + Reorder::bytes(room.window_packets)
            + Held::room(room.pieces)
            + Nacks::bytes()
            + ARRIVALS * size_of::<(u64, Time, u8)>()
            + if room.fec { Fec::bytes() } else { 0 }
    }

    pub(super) fn new(window_packets: u32, pieces_max: usize, fec: bool) -> Self {
        Self {
            setup: TrackSetup::default(),
            payload_type: None,
            repeats: false,
            format: None,
            ssrc: None,
            legs: [Leg::default(); LEGS_MAX],
            candidates: [const { None }; LEGS_MAX],
            highest: 0,
            reorder: Reorder::new(window_packets, Window::default()),
            held: Held::new(pieces_max),
            depacketizer: None,
            detector: Detector::new(),
            undetected: false,
            nacks: Nacks::new(Duration::from_millis(2)),
            fec: fec.then(Fec::new),
            arrivals: (0..ARRIVALS).map(|_| (0, Time::ZERO, 0)).collect(),
            redundant: false,
            counters: Counters::default(),
            lost: 0,
            needs_key: false,
            report_at: None,
            goodbye_at: None,
            gone: false,
        }
    }

    pub(super) fn open(&mut self, setup: TrackSetup, config: &SessionConfig) {
        self.setup = setup;
        self.redundant = config.redundant;
        self.set_format(setup.format);
        self.repeats = setup.rtx.is_some() || setup.rist;
        self.ssrc = None;
        self.legs = [Leg::default(); LEGS_MAX];
        self.candidates = [const { None }; LEGS_MAX];
        self.reorder.reset(0, config.window);
        self.reorder.stop(self.format.is_none());
        self.held.clear();
        self.depacketizer = self.format.as_ref().map(Depacketizer::new);
        self.detector = Detector::new();
        self.undetected = false;
        self.nacks.reset();
        self.counters = Counters::default();
        self.lost = 0;
        self.needs_key = false;
        self.report_at = None;
        (self.goodbye_at, self.gone) = (None, false);
        if let Some(fec) = &mut self.fec {
            fec.reset();
        }
    }

    /// Asks for the memory that its next packet will need.
    pub(super) fn prefetch(&self) {
        prefetch_start(self, offset_of!(Self, depacketizer) + Depacketizer::STATE_BYTES);
        prefetch_start(&self.legs, offset_of!(Leg, rtcp));
        prefetch(&self.fec);
    }

    fn set_format(&mut self, format: Option<Format>) {
        self.format = format;
        self.payload_type = format.map(|format| format.payload_type);
    }

    /// Whether a packet is a retransmission of the track's: by its payload type, or by the low bit of
    /// its SSRC (RIST simple profile).
    pub(super) fn is_repeated_by(&self, header: &Header) -> bool {
        if !self.repeats || self.ssrc.is_none() {
            return false;
        }
        let rtx = self.setup.rtx.is_some_and(|rtx| rtx.payload_type == header.payload_type);
        let rist = self.setup.rist
            && header.ssrc & 1 == 1
            && self.ssrc == Some(header.ssrc & !1)
            && self.takes(header.payload_type);
        rtx || rist
    }

    /// Missing packets are waited for otherwise from now on.
    pub(super) const fn set_window(&mut self, window: Window) {
        self.reorder.set_window(window);
    }

    /// Packets that wait, those on probation included.
    pub(super) fn waiting(&self) -> u64 {
        let candidates = self.candidates.iter().flatten();
        u64::from(self.reorder.held()) + candidates.map(Candidate::waiting).sum::<u64>()
    }

    /// Whether a packet of this payload type is the track's.
    pub(super) fn takes(&self, payload_type: u8) -> bool {
        self.payload_type.is_none_or(|own| own == payload_type)
    }

    /// Whether the track could follow this source: none is named, or it is the one.
    pub(super) fn is_free_for(&self, ssrc: u32, payload_type: u8) -> bool {
        self.setup.ssrc.is_none_or(|named| named == ssrc) && self.takes(payload_type)
    }

    /// Highest number that came.
    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether the packet of this number has not come and would still be of use.
    pub(super) fn is_missing(&self, number: u64) -> bool {
        number >= self.reorder.base()
            && number < self.reorder.end()
            && self.reorder.at(number).is_none()
    }

    /// Where RTCP of a leg is to go: where the sender's came from, else on the first leg the port above
    /// its RTP (RFC 3550, 11).
    pub(super) fn rtcp_peer(&self, leg: usize) -> Option<SocketAddr> {
        let path = self.legs.get(leg)?;
        path.rtcp.or_else(|| {
            let mut peer = path.address.filter(|_| leg == 0)?;
            peer.set_port(peer.port().checked_add(1)?);
            Some(peer)
        })
    }

    /// When its source is gone, unless it goes on after its goodbye.
    pub(super) fn leaves_at(&self) -> Time {
        let Some(at) = self.goodbye_at.filter(|_| !self.gone) else { return Time::NEVER };
        let heard = self.legs.iter().map(|leg| leg.heard_at).max();
        heard.map_or(at, |heard| heard.max(at)) + GOODBYE_WAIT
    }

    /// A sender report of the track's source.
    pub(super) fn use_report<O>(&mut self, info: &SenderInfo, at: Time, cx: &mut Context<'_, O>) {
        let Some(clock) = cx.clocks.get_mut(cx.index) else { return };
        if clock.report(info) {
            cx.stats.sender_reports += 1;
            self.report_at = Some(at);
        } else {
            cx.stats.sender_reports_refused += 1;
        }
    }

    /// The source goes on: what said that it goes was not of it, or it has come back.
    fn goes_on(&mut self, now: Time, stats: &mut Stats) {
        if self.goodbye_at.is_some_and(|at| self.gone || now.since(at) >= GOODBYE_WAIT) {
            stats.goodbyes_void += 1;
            (self.goodbye_at, self.gone) = (None, false);
        }
    }

    pub(super) fn rank(&self, ssrc: u32) -> Rank {
        if self.ssrc == Some(ssrc) { Rank::Known } else { Rank::Other }
    }

    pub(super) fn is_video(&self) -> bool {
        self.format.is_some_and(|format| format.codec().kind() == TrackKind::Video)
    }

    /// A packet of the track's source came on `leg`.
    pub(super) fn receive<O: Output>(
        &mut self,
        packet: Packet,
        leg: usize,
        cx: &mut Context<'_, O>,
    ) {
        let sequence = packet.header.sequence;
        let clock_hz = cx.clocks.get(cx.index).map_or(90_000, TrackClock::clock_hz);
        let highest = self.highest;
        let Some(path) = self.legs.get_mut(leg) else { return };
        path.stats.packets_received += 1;
        path.heard_at = cx.now;
        let source = path.source.get_or_insert_with(|| Source::new(sequence));
        let verdict = source.update(sequence);
        let nearest = near(highest, sequence);
        let distance = nearest.cast_signed() - highest.cast_signed();
        match verdict {
            source::Verdict::Valid(_) => {
                source.arrived(packet.header.timestamp, packet.arrival, clock_hz)
            }
            source::Verdict::Restarted(_) if distance.abs() > LEG_DISTANCE_MAX => {
                return self.restart(packet, sequence, leg, cx);
            }
            source::Verdict::Restarted(_) => {}
            source::Verdict::Jump => {
                cx.stats.packets_dropped_jump += 1;
                return;
            }
        }
        self.goes_on(cx.now, cx.stats);
        self.put(nearest, packet, leg, cx);
    }

    /// What comes if the track's next packet, from `peer` on `leg`, only goes on with what is open, and
    /// its sequence number.
    pub(super) fn expects(
        &self,
        leg: usize,
        peer: SocketAddr,
        limits: &Limits,
    ) -> Option<(Expected, u16)> {
        let expected = self.depacketizer.as_ref()?.expects(limits)?;
        let next = self.reorder.next_in_order()?;
        let path = self.legs.get(leg).filter(|path| path.address == Some(peer))?;
        let source = path.source?;
        let in_step = self.highest + 1 == next && low(source.highest() + 1) == low(next);
        // What else looks at packets one by one.
        let alone = !self.redundant && self.fec.is_none() && self.goodbye_at.is_none();
        let repeated = self.repeats
            && self.setup.rtx.is_some_and(|rtx| Some(rtx.payload_type) == self.payload_type);
        (in_step && alone && !repeated).then_some((expected, low(next)))
    }

    /// The packets of a run came in order and went on with what was open.
    pub(super) fn went_on(&mut self, run: &Run) {
        let (packets, bytes) = (run.packets(), run.body_bytes());
        if let Some(path) = self.legs.get_mut(run.leg()) {
            path.stats.packets_received += u64::from(packets);
            path.stats.packets_first += u64::from(packets);
            path.heard_at = run.now();
            if let Some(source) = &mut path.source {
                source.went_on(packets, run.jitter());
            }
        }
        self.highest += u64::from(packets);
        self.reorder.went_on(packets);
        self.nacks.passed(self.reorder.base());
        self.counters.bytes_delivered += bytes;
        if let Some(depacketizer) = &mut self.depacketizer {
            depacketizer.went_on(packets, usize::try_from(bytes).unwrap_or(usize::MAX));
        }
    }

    /// A packet of another source, which has to prove itself. Whether it has.
    pub(super) fn consider<O: Output>(
        &mut self,
        packet: Packet,
        leg: usize,
        address: SocketAddr,
        cx: &mut Context<'_, O>,
    ) -> bool {
        let ssrc = packet.header.ssrc;
        let same = |other: &Candidate| other.ssrc == ssrc && other.address == address;
        let Some(place) = self.candidates.get_mut(leg) else { return false };
        let Some(mut candidate) = place.take_if(|other| same(other)) else {
            let new = Candidate { ssrc, address, packets: Probation::new(packet) };
            cx.stats.packets_dropped_probation +=
                place.replace(new).map_or(0, |other| other.waiting());
            return false;
        };
        let (is_proven, dropped) = candidate.packets.arrive(packet);
        cx.stats.packets_dropped_probation += u64::from(dropped);
        if !is_proven {
            *place = Some(candidate);
            return false;
        }
        if self.is_other_leg(ssrc, leg) {
            return self.join(candidate, leg, cx);
        }
        self.adopt(candidate, leg, cx);
        true
    }

    /// Whether the track's source has not come on this leg, but on another.
    fn is_other_leg(&self, ssrc: u32, leg: usize) -> bool {
        self.ssrc == Some(ssrc) && self.legs.get(leg).is_some_and(|path| path.address.is_none())
    }

    /// The track's source comes on this leg too. A leg that is far from the other is not its: one
    /// packet of it would move the window beyond all that comes.
    fn join<O: Output>(
        &mut self,
        candidate: Candidate,
        leg: usize,
        cx: &mut Context<'_, O>,
    ) -> bool {
        let Candidate { address, packets, .. } = candidate;
        let distance = packets.sequences().map(|sequence| {
            near(self.highest, sequence).cast_signed() - self.highest.cast_signed()
        });
        if distance.max().is_none_or(|distance| distance.abs() > LEG_DISTANCE_MAX) {
            cx.stats.packets_dropped_jump += crate::bytes::count(packets.waiting());
            return false;
        }
        let Some(path) = self.legs.get_mut(leg) else { return false };
        path.begin(address, packets.source().0, cx.now);
        for packet in packets.into_packets() {
            self.put(near(self.highest, packet.header.sequence), packet, leg, cx);
        }
        true
    }

    /// A retransmission or a restored packet of the track's source.
    pub(super) fn insert_again<O: Output>(
        &mut self,
        packet: Packet,
        cx: &mut Context<'_, O>,
    ) -> bool {
        let number = near(self.highest, packet.header.sequence);
        // Only what is missing is of use; nothing beyond the highest can be.
        if number > self.highest {
            cx.stats.packets_dropped_jump += 1;
            return false;
        }
        self.place(number, packet, cx).is_some_and(|recovered| recovered)
    }

    /// Delivers what has come to be in order, or is given up.
    pub(super) fn run<O: Output>(&mut self, cx: &mut Context<'_, O>) {
        loop {
            let given_up_at = self.reorder.next_timeout();
            if given_up_at <= cx.now {
                *cx.due = (*cx.due).max(given_up_at);
            }
            let Some(ready) = self.reorder.next(cx.now) else { return };
            self.deliver(ready, cx);
        }
    }

    /// Ends the source: what waits is delivered, and what is open is finished.
    pub(super) fn end_source<O: Output>(&mut self, cx: &mut Context<'_, O>) {
        if self.depacketizer.is_some() {
            while let Some(ready) = self.reorder.drain() {
                self.deliver(ready, cx);
            }
        }
        cx.stats.packets_lost += self.reorder.awaited();
        let discarded = self.reorder.reset(self.reorder.base(), self.reorder.window());
        cx.stats.packets_discarded += u64::from(discarded);
        if let Some(depacketizer) = &mut self.depacketizer {
            let mut to = outlet(cx, &mut self.counters, Timestamps::default());
            depacketizer.finish(&mut to, &mut self.held);
        }
        self.nacks.reset();
    }

    pub(super) fn drop_candidates(&mut self, stats: &mut Stats) {
        for candidate in &mut self.candidates {
            stats.packets_dropped_probation += candidate.take().map_or(0, |other| other.waiting());
        }
    }

    pub(super) fn stats(&self, clock: &TrackClock) -> TrackStats {
        let source = self.legs.iter().find_map(|leg| leg.source);
        let jitter = u64::from(source.map_or(0, |source| source.jitter().ticks()));
        let mut legs = self.legs.map(|leg| leg.stats);
        for (stats, leg) in legs.iter_mut().zip(&self.legs) {
            stats.packets_lost = leg.source.map_or(0, |source| source.lost());
        }
        TrackStats {
            ssrc: self.ssrc,
            payload_type: self.format.map_or(0, |format| format.payload_type),
            codec: self.format.map_or_else(Default::default, |format| format.codec()),
            jitter_us: jitter * 1_000_000 / u64::from(clock.clock_hz()),
            packets_lost: self.lost,
            clock_jumps: clock.jumps(),
            payload: self.counters,
            legs,
        }
    }

    /// The track follows another source from now on.
    fn adopt<O: Output>(&mut self, candidate: Candidate, leg: usize, cx: &mut Context<'_, O>) {
        let Candidate { ssrc, address, packets } = candidate;
        if self.ssrc.is_some() {
            cx.stats.ssrc_changes += u64::from(self.ssrc != Some(ssrc));
            self.end_source(cx);
            self.depacketizer = self.format.as_ref().map(Depacketizer::new);
            if let Some(clock) = cx.clocks.get_mut(cx.index) {
                clock.change_source();
            }
            self.report_at = None;
        }
        self.ssrc = Some(ssrc);
        (self.goodbye_at, self.gone) = (None, false);
        if let Some((info, at)) = cx.early.take(ssrc, address.ip()) {
            // What came before the first packet places it in time.
            self.use_report(&info, at, cx);
        }
        let (source, first) = packets.source();
        for (index, path) in self.legs.iter_mut().enumerate() {
            if index == leg {
                cx.stats.relatches += u64::from(path.begin(address, source, cx.now));
            } else {
                path.source = None;
            }
        }
        self.highest = source.highest();
        let window = self.reorder.window();
        self.reorder.reset(first, window);
        if cx.first_wait {
            self.reorder.open(cx.now + window.time.min(window.time_max), cx.slots_max);
        }
        if let Some(fec) = &mut self.fec {
            fec.reset();
        }
        for packet in packets.into_packets() {
            self.put(source.extend(packet.header.sequence), packet, leg, cx);
        }
    }

    /// The source started over.
    fn restart<O: Output>(
        &mut self,
        packet: Packet,
        sequence: u16,
        leg: usize,
        cx: &mut Context<'_, O>,
    ) {
        cx.stats.restarts += 1;
        while let Some(ready) = self.reorder.drain() {
            self.deliver(ready, cx);
        }
        self.lose(0, cx);
        self.highest = (self.highest | 0xffff) + 1 + u64::from(sequence);
        self.reorder.reset(self.highest, self.reorder.window());
        self.nacks.reset();
        if let Some(fec) = &mut self.fec {
            fec.reset();
        }
        self.put(self.highest, packet, leg, cx);
    }

    /// A packet with its number, from a leg.
    fn put<O: Output>(&mut self, number: u64, packet: Packet, leg: usize, cx: &mut Context<'_, O>) {
        let arrival = packet.arrival;
        self.highest = self.highest.max(number);
        if let Some(fec) = &mut self.fec {
            fec.media(number, packet.bytes());
        }
        let redundant = self.note_arrival(number, arrival, leg);
        let (duplicate, late) = (cx.stats.packets_duplicate, cx.stats.packets_late);
        if self.place(number, packet, cx) == Some(true) {
            cx.stats.packets_reordered += 1;
        }
        if redundant && cx.stats.packets_duplicate > duplicate {
            cx.stats.packets_duplicate = duplicate;
            cx.stats.packets_redundant += 1;
        }
        if !redundant
            && cx.stats.packets_late == late
            && cx.stats.packets_duplicate == duplicate
            && let Some(path) = self.legs.get_mut(leg)
        {
            path.stats.packets_first += 1;
        }
    }

    /// Whether the packet came on another leg before, and how much later this copy is.
    fn note_arrival(&mut self, number: u64, arrival: Time, leg: usize) -> bool {
        if !self.redundant {
            return false;
        }
        let place = usize::try_from(number).unwrap_or(0) % ARRIVALS;
        let mark = u8::try_from(leg).unwrap_or(0) + 1;
        let Some(entry) = self.arrivals.get_mut(place) else { return false };
        let (before, at, by) = *entry;
        if before == number && by != 0 {
            if by != mark
                && let Some(path) = self.legs.get_mut(leg)
            {
                let skew = u64::try_from(arrival.since(at).as_micros()).unwrap_or(u64::MAX);
                path.stats.skew_us = skew;
                path.stats.skew_max_us = path.stats.skew_max_us.max(skew);
            }
            return by != mark;
        }
        *entry = (number, arrival, mark);
        false
    }

    /// Into the window. Whether it filled a hole, `None` when it was of no use.
    fn place<O: Output>(
        &mut self,
        number: u64,
        packet: Packet,
        cx: &mut Context<'_, O>,
    ) -> Option<bool> {
        if self.undetected {
            cx.stats.packets_dropped_undetected += 1;
            return None;
        }
        *cx.due = (*cx.due).max(packet.arrival.min(cx.now));
        let before = self.reorder.end();
        while let Some(ready) = self.reorder.make_room(number) {
            cx.stats.window_overruns += 1;
            self.deliver(ready, cx);
        }
        // What lies beyond all that waited is found missing and given up at once.
        let end = self.reorder.end();
        cx.stats.packets_missing += end - before;
        let fills = match self.reorder.insert(number, packet, cx.now) {
            Inserted::Next(packet) => {
                self.deliver(Ready::Packet(packet), cx);
                false
            }
            Inserted::Held { missing, recovered } => {
                cx.stats.packets_missing += missing;
                if missing > 0 && cx.asks && !self.nacks.add(end, end + missing, cx.now) {
                    self.needs_key = true;
                }
                if recovered {
                    self.nacks.found(number, cx.now);
                }
                recovered
            }
            // What is missing behind it is on its way, most likely: nobody is asked for that.
            Inserted::First { missing } => {
                cx.stats.packets_missing += missing;
                true
            }
            Inserted::Duplicate => {
                cx.stats.packets_duplicate += 1;
                return None;
            }
            Inserted::Late => {
                cx.stats.packets_late += 1;
                return None;
            }
        };
        if self.payload_type.is_none() {
            self.detect(number, cx);
        }
        while self.reorder.held() > cx.slots_max {
            cx.stats.window_overruns += 1;
            let Some(ready) = self.reorder.drain() else { break };
            self.deliver(ready, cx);
        }
        self.run(cx);
        Some(fills)
    }

    /// Looks at the packet just put in, to find the stream's format.
    fn detect<O: Output>(&mut self, number: u64, cx: &mut Context<'_, O>) {
        let Some(packet) = self.reorder.at(number) else { return };
        let verdict = self.detector.observe(&packet.header, packet.payload(), packet.arrival);
        match verdict {
            Verdict::Undecided => {}
            Verdict::Found(format) => {
                self.set_format(Some(format));
                self.depacketizer = Some(Depacketizer::new(&format));
                if let Some(clock) = cx.clocks.get_mut(cx.index) {
                    *clock = TrackClock::new(format.clock_hz);
                }
                cx.listing.set(cx.index, format);
                self.reorder.stop(false);
            }
            Verdict::Unknown => {
                self.undetected = true;
                cx.stats.packets_lost += self.reorder.awaited();
                let dropped = self.reorder.reset(number, self.reorder.window());
                cx.stats.packets_dropped_undetected += u64::from(dropped);
            }
        }
    }

    /// Whether the format was looked for in vain.
    pub(super) const fn is_undetected(&self) -> bool {
        self.undetected
    }

    fn deliver<O: Output>(&mut self, ready: Ready, cx: &mut Context<'_, O>) {
        match ready {
            Ready::Lost(packets) => self.lose(packets, cx),
            Ready::Packet(packet) => {
                cx.stats.packets_delivered += 1;
                let Some(depacketizer) = &mut self.depacketizer else { return };
                // Padding alone takes a number and is nothing else (5.1).
                if packet.payload().is_empty() {
                    self.counters.payloads_empty += 1;
                    return;
                }
                if self.payload_type.is_some_and(|own| own != packet.header.payload_type) {
                    return;
                }
                let (timestamp, arrival) = (packet.header.timestamp, packet.arrival);
                let due = *cx.due;
                cx.listing.tell(cx.out);
                cx.out.input(arrival, due);
                let pts = cx.line.stamp(cx.clocks, cx.index, timestamp, arrival);
                let mut to = outlet(cx, &mut self.counters, Timestamps { pts, dts: None });
                depacketizer.push(&mut to, packet, due, &mut self.held);
            }
        }
        self.nacks.passed(self.reorder.base());
    }

    fn lose<O: Output>(&mut self, packets: u64, cx: &mut Context<'_, O>) {
        cx.stats.packets_lost += packets;
        self.lost += packets;
        self.needs_key |= self.is_video();
        let Some(depacketizer) = &mut self.depacketizer else { return };
        cx.listing.tell(cx.out);
        cx.out.input(*cx.due, *cx.due);
        let mut to = outlet(cx, &mut self.counters, Timestamps::default());
        depacketizer.lost(&mut to, packets, &mut self.held);
    }
}

/// Where the depacketizer of the context's track writes.
fn outlet<'a, O>(
    cx: &'a mut Context<'_, O>,
    counters: &'a mut Counters,
    stamps: Timestamps,
) -> Outlet<'a, O> {
    Outlet {
        clock_hz: cx.clocks.get(cx.index).map_or(90_000, TrackClock::clock_hz),
        out: &mut *cx.out,
        track: cx.index,
        limits: cx.limits,
        counters,
        stamps,
    }
}

/// The number nearest to `highest` whose low 16 bits are `sequence`.
fn near(highest: u64, sequence: u16) -> u64 {
    let distance = sequence.wrapping_sub(low(highest)).cast_signed();
    highest.saturating_add_signed(i64::from(distance))
}

/// The sequence number of an extended one.
fn low(number: u64) -> u16 {
    u16::try_from(number & 0xffff).unwrap_or(0)
}
