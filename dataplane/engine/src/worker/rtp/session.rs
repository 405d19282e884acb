//! One sender's way from RTP packets to frames: session, demultiplexer for a transport stream, frame
//! assembly.

use std::mem::offset_of;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use codec::sink::{Sink, Timestamps, TrackConfig};
use memory::{Places, Time, prefetch, prefetch_part};
use mpegts::Demuxer;
use rtp::detect::Detector;
use rtp::packet::Packet;
use rtp::reorder::Window;
use rtp::session::{LEGS_MAX, Room, Session, State, TRACKS_MAX};
use shm::counters::StreamCounter;
use shm::{EndReason, NoMediaReason, StreamSlotWriter};
use uring::SocketIndex;

use super::counters;
use super::run::RtpRun;
use crate::clock;
use crate::config::RtpTerms;
use crate::messages::{Admission, Control, RtcpSockets, RtpTenancy};
use crate::network::Network;
use crate::worker::counters::Base;
use crate::worker::publication::Publication;
use crate::worker::session::Wire;

/// How often the figures of a session are shown that hears something. There may be thousands of
/// sessions, and a showing takes as much as several packets.
const FLUSH_EVERY: Duration = Duration::from_millis(250);
/// So much earlier they are shown when something has come just now.
pub(super) const FLUSH_AHEAD: Duration = Duration::from_millis(50);
/// How often those of one are shown that hears nothing.
const FLUSH_QUIET_EVERY: Duration = Duration::from_secs(1);

/// What all sessions of RTP of a worker are made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RtpSizes {
    pub(crate) room: Room,
    pub(crate) program: Option<u16>,
    pub(crate) media: media::Limits,
}

/// A place for a session of RTP. Its memory is taken once and used by one sender after the other. What
/// each packet needs lies together: at the end of the one, here, and at the start of the other.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct RtpSession {
    session: Session,
    tenancy: Option<Box<RtpTenancy>>,
    /// Bytes of elementary streams or transport streams handed on.
    media_bytes: u64,
    /// When the sender was last heard.
    heard_at: Time,
    /// A host that may send.
    admitted: Option<IpAddr>,
    /// It carries a transport stream.
    is_ts: bool,
    /// The sender has changed, and the conductor does not know yet.
    news: bool,
    /// What was seen of formats was told.
    told_undetected: bool,
    /// Something has come since the figures were shown.
    unshown: bool,
    /// Where reports of each track's legs leave.
    rtcp_sockets: RtcpSockets,
    /// Whom the stream shows as its sender.
    shown: Option<SocketAddr>,
    /// What comes without RTP.
    raw: Raw,
    publication: Publication,
}

/// A transport stream without RTP: of one sender at a time, as with a leg of RTP. Whether it is one
/// comes first, for every packet asks.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
struct Raw {
    is_used: bool,
    address: Option<SocketAddr>,
    heard_at: Time,
    /// When the last datagram came; does not go back.
    due: Time,
    received: u64,
    received_bytes: u64,
    dropped_source: u64,
    timeout: Duration,
    relatch_after: Duration,
}

impl Raw {
    /// Whether a datagram is of the stream's sender.
    fn takes(&mut self, peer: SocketAddr, bytes: u64, now: Time) -> bool {
        self.received += 1;
        self.received_bytes += bytes;
        let free = self.address.is_none() || now.since(self.heard_at) >= self.relatch_after;
        if self.address != Some(peer) && !free {
            self.dropped_source += 1;
            return false;
        }
        self.address = Some(peer);
        self.heard_at = now;
        true
    }

    fn show(&self, slot: &mut StreamSlotWriter, base: &Base) {
        let delivered = self.received - self.dropped_source;
        base.show(
            slot,
            [
                (StreamCounter::DatagramsReceived, self.received),
                (StreamCounter::BytesReceived, self.received_bytes),
                (StreamCounter::PacketsReceived, self.received),
                (StreamCounter::PacketsUnique, delivered),
                (StreamCounter::PacketsDelivered, delivered),
                (StreamCounter::PacketsDroppedSource, self.dropped_source),
            ],
        );
    }

    /// When silence ends it; it waits for its first datagram as long as it takes.
    fn ends_at(&self) -> Time {
        if self.address.is_some() { self.heard_at + self.timeout } else { Time::NEVER }
    }
}

/// Where a session's output goes: reports to the ring, media to the stream, a transport stream
/// through the demultiplexer.
struct Path<'a, N> {
    ring: &'a mut N,
    sockets: RtcpSockets,
    demuxer: &'a mut Demuxer,
    stream: &'a mut media::Stream,
    media_bytes: &'a mut u64,
    is_ts: &'a mut bool,
}

impl<N: Network> rtp::Output for Path<'_, N> {
    fn transmit(&mut self, (track, leg): (usize, usize), to: SocketAddr, packet: &[u8]) {
        if let Some(socket) = self.sockets.get(track).and_then(|legs| legs.get(leg)) {
            self.ring.send(*socket, to, packet);
        }
    }

    fn input(&mut self, arrival: Time, due: Time) {
        self.stream.input(arrival, due);
    }

    fn deliver_ts(&mut self, payload: &[u8], arrival: Time, due: Time) {
        *self.is_ts = true;
        *self.media_bytes += payload.len() as u64;
        self.stream.input(arrival, due);
        self.demuxer.push(payload, self.stream);
        #[cfg(feature = "fault-injection")]
        crate::worker::fault::strike(payload);
    }

    fn ts_lost(&mut self, packets: u32) {
        self.demuxer.lost(packets, self.stream);
    }
}

impl<N> Sink for Path<'_, N> {
    fn tracks(&mut self, tracks: &[TrackConfig]) {
        self.stream.tracks(tracks);
    }

    fn unit_start(&mut self, track: usize, stamps: Timestamps) {
        self.stream.unit_start(track, stamps);
    }

    fn field(&mut self, track: usize, field: codec::sink::Field) {
        self.stream.field(track, field);
    }

    fn unit_data(&mut self, track: usize, bytes: &[u8]) {
        *self.media_bytes += bytes.len() as u64;
        self.stream.unit_data(track, bytes);
        #[cfg(feature = "fault-injection")]
        crate::worker::fault::strike(bytes);
    }

    fn nal_unit(&mut self, track: usize, code_and_header: &[u8], bytes: &[u8]) {
        *self.media_bytes += (code_and_header.len() + bytes.len()) as u64;
        self.stream.nal_unit(track, code_and_header, bytes);
        #[cfg(feature = "fault-injection")]
        crate::worker::fault::strike(bytes);
    }

    fn unit_end(&mut self, track: usize) {
        self.stream.unit_end(track);
    }

    fn gap(&mut self, track: usize) {
        self.stream.gap(track);
    }

    fn configuration(&mut self, track: usize, bytes: &[u8]) {
        self.stream.configuration(track, bytes);
    }

    fn skipped(&mut self, track: usize) {
        self.stream.skipped(track);
    }
}

/// Where the output of a session goes that is given up.
struct Discard;

impl rtp::Output for Discard {
    fn transmit(&mut self, _: (usize, usize), _: SocketAddr, _: &[u8]) {}
    fn input(&mut self, _: Time, _: Time) {}
    fn deliver_ts(&mut self, _: &[u8], _: Time, _: Time) {}
    fn ts_lost(&mut self, _: u32) {}
}

impl Sink for Discard {
    fn tracks(&mut self, _: &[TrackConfig]) {}
    fn unit_start(&mut self, _: usize, _: Timestamps) {}
    fn unit_data(&mut self, _: usize, _: &[u8]) {}
    fn unit_end(&mut self, _: usize) {}
    fn gap(&mut self, _: usize) {}
}

impl RtpSession {
    /// Bytes of a session, for the memory sum.
    pub(crate) fn bytes(sizes: &RtpSizes) -> usize {
        size_of::<Self>() + size_of::<RtpRun>() + sizes.room.bytes() + Publication::BUFFERS_BYTES
    }

    pub(crate) fn new(sizes: &RtpSizes) -> Self {
        Self {
            session: Session::new(&sizes.room),
            publication: Publication::new(sizes.program, sizes.media),
            tenancy: None,
            rtcp_sockets: [[SocketIndex::new(0); LEGS_MAX]; TRACKS_MAX],
            media_bytes: 0,
            is_ts: false,
            raw: Raw::default(),
            admitted: None,
            shown: None,
            news: false,
            told_undetected: false,
            unshown: false,
            heard_at: Time::ZERO,
        }
    }

    /// Asks for the memory of the session itself that a packet will need.
    pub(crate) fn prefetch(&self) {
        prefetch_part(self, offset_of!(Self, tenancy)..offset_of!(Self, raw) + 1);
        self.session.prefetch();
        self.publication.prefetch();
    }

    /// The same for what lies behind, once that is near.
    pub(crate) fn prefetch_behind(&self, now: Time) {
        self.session.prefetch_track();
        self.publication.stream.prefetch_video();
        if let Some(tenancy) = self.tenancy.as_ref().filter(|_| self.shows_soon(now)) {
            prefetch(&tenancy.berth.slot);
        }
    }

    /// Where what lies behind begins and where it writes, once the session itself is near.
    pub(crate) fn places(&self, run: &RtpRun, places: &mut Places) {
        self.session.places(places);
        self.publication.stream.places(run.packets.is_empty(), places);
    }

    /// And for what lies behind that.
    pub(crate) fn prefetch_far_behind(&self, now: Time) {
        self.publication.stream.prefetch_behind_video();
        if self.shows_soon(now) {
            self.prefetch_figures();
        }
    }

    /// What showing the figures needs.
    pub(crate) fn prefetch_figures(&self) {
        if let Some(tenancy) = &self.tenancy {
            tenancy.berth.slot.prefetch();
            self.publication.prefetch_base();
        }
    }

    /// Whether this place's session has that id.
    pub(crate) fn is(&self, id: u32) -> bool {
        self.tenancy.as_ref().is_some_and(|tenancy| tenancy.id == id)
    }

    /// Whether a session is here.
    pub(crate) const fn is_open(&self) -> bool {
        self.tenancy.is_some()
    }

    /// Opens a session.
    pub(crate) fn open(&mut self, mut tenancy: Box<RtpTenancy>, now: Time) {
        let bandwidth = (tenancy.max_bandwidth_bps, tenancy.over_bandwidth);
        let RtpTenancy { config, berth, rtcp_sockets, admission, .. } = &mut *tenancy;
        self.session.open(config, now);
        let is_used = matches!(admission, Admission::Given { is_ts: true, .. });
        let (timeout, relatch_after) = (config.timeout, config.relatch_after);
        self.raw = Raw { is_used, timeout, relatch_after, ..Raw::default() };
        (self.admitted, self.news, self.told_undetected) = (None, false, false);
        self.shown = match admission {
            Admission::Sender { sender, .. } => Some(sender.peer),
            Admission::Given { .. } => None,
        };
        self.rtcp_sockets = *rtcp_sockets;
        (self.media_bytes, self.is_ts, self.unshown) = (0, false, true);
        self.heard_at = Time::ZERO;
        berth.info.latency_ms = latency_ms(&config.window);
        self.publication.open(berth, bandwidth, now);
        self.tenancy = Some(tenancy);
    }

    fn path<'a, N>(&'a mut self, wire: &'a mut Wire<'_, N>) -> (&'a mut Session, Path<'a, N>) {
        let path = Path {
            ring: wire.ring,
            sockets: self.rtcp_sockets,
            demuxer: &mut self.publication.demuxer,
            stream: &mut self.publication.stream,
            media_bytes: &mut self.media_bytes,
            is_ts: &mut self.is_ts,
        };
        (&mut self.session, path)
    }

    /// A packet of the session's sender.
    pub(crate) fn receive<N: Network>(
        &mut self,
        now: Time,
        (track, leg): (Option<usize>, usize),
        peer: SocketAddr,
        packet: Packet,
        (run, wire): (&mut RtpRun, &mut Wire<'_, N>),
    ) {
        self.end_run(run);
        let arrival = packet.arrival;
        let (session, mut path) = self.path(wire);
        let ours = session.handle_packet(now, track, leg, peer, packet, &mut path);
        self.heard(ours, arrival);
        self.begin_run((track, leg), peer, run);
        if self.shown.is_none() {
            self.show_source(self.session.source());
        }
    }

    /// What a packet of `peer` would begin with that only goes on with what is open.
    fn begin_run(&self, to: (Option<usize>, usize), peer: SocketAddr, run: &mut RtpRun) {
        if let Some(packets) = self.session.begin_run(to, peer)
            && self.publication.stream.begin_run(packets.track(), &mut run.media)
        {
            run.packets = packets;
        }
    }

    /// Makes up for what the packets of a run did not change yet; before anything else is done with
    /// the session. It is over.
    fn end_run(&mut self, run: &mut RtpRun) {
        if run.packets.is_empty() {
            return run.packets.stop();
        }
        let packets = std::mem::take(&mut run.packets);
        self.session.end_run(&packets);
        self.publication.stream.end_run(packets.track(), &run.media);
        self.media_bytes += packets.body_bytes();
        self.heard(true, packets.arrival());
    }

    /// A datagram of a transport stream without RTP.
    pub(crate) fn receive_ts(
        &mut self,
        now: Time,
        arrival: Time,
        peer: SocketAddr,
        datagram: &[u8],
    ) {
        let ours = self.raw.takes(peer, datagram.len() as u64, now);
        self.heard(ours, arrival);
        if !ours {
            return;
        }
        self.is_ts = true;
        self.media_bytes += datagram.len() as u64;
        let Publication { demuxer, stream, .. } = &mut self.publication;
        self.raw.due = self.raw.due.max(arrival.min(now));
        stream.input(arrival, self.raw.due);
        demuxer.push(datagram, stream);
        self.show_source(self.raw.address);
    }

    /// A packet of error correction.
    pub(crate) fn receive_fec<N: Network>(
        &mut self,
        now: Time,
        arrival: Time,
        peer: SocketAddr,
        datagram: &[u8],
        (run, wire): (&mut RtpRun, &mut Wire<'_, N>),
    ) {
        self.end_run(run);
        let slab = wire.slab;
        let (session, mut path) = self.path(wire);
        let ours = session.handle_fec(now, peer, datagram, slab, &mut path);
        self.heard(ours, arrival);
    }

    /// Whether a host may send to the session.
    pub(crate) fn admits(&mut self, peer: SocketAddr) -> bool {
        let ip = peer.ip().to_canonical();
        if self.admitted == Some(ip) {
            return true;
        }
        let admits = match self.tenancy.as_ref().map(|tenancy| &tenancy.admission) {
            Some(Admission::Given { access, .. }) => access.admits(ip),
            _ => true,
        };
        if admits {
            self.admitted = Some(ip);
        }
        admits
    }

    /// A datagram of a host that may not send.
    pub(crate) fn wrong_source(&mut self) {
        if let Some(tenancy) = &mut self.tenancy {
            tenancy.berth.slot.add(StreamCounter::WrongSource, 1);
        }
    }

    /// Shows where a session that is given is sent from.
    fn show_source(&mut self, source: Option<SocketAddr>) {
        let given = |it: &&mut Box<RtpTenancy>| matches!(it.admission, Admission::Given { .. });
        let Some(tenancy) = self.tenancy.as_mut().filter(given) else { return };
        if source.is_none() || source == self.shown {
            return;
        }
        let berth = &mut tenancy.berth;
        if self.shown.is_none() {
            berth.slot.add(StreamCounter::Connections, 1);
            berth.info.connected_unix_ns = clock::unix_nanos();
            (berth.info.end, berth.info.ended_unix_ns) = (EndReason::None, 0);
        }
        self.shown = source;
        self.news = true;
        berth.info.source = source;
        berth.slot.set_info(&berth.info);
    }

    /// Id and sender of a session that is given, when its sender has come since the last call.
    pub(crate) fn take_news(&mut self) -> Option<(u32, SocketAddr)> {
        let news = std::mem::take(&mut self.news);
        let id = self.tenancy.as_ref().filter(|_| news)?.id;
        Some((id, self.shown?))
    }

    /// RTCP of the session's sender; it is answered on the socket that it came on.
    pub(crate) fn receive_rtcp<N: Network>(
        &mut self,
        now: Time,
        (track, leg): (Option<usize>, usize),
        arrival: Time,
        (socket, peer): (SocketIndex, SocketAddr),
        datagram: &[u8],
        (run, wire): (&mut RtpRun, &mut Wire<'_, N>),
    ) {
        self.end_run(run);
        let (session, mut path) = self.path(wire);
        let ours = session.handle_rtcp(now, track, leg, peer, datagram, &mut path);
        let legs = self.rtcp_sockets.get_mut(track.unwrap_or(0));
        if ours && let Some(place) = legs.and_then(|legs| legs.get_mut(leg)) {
            *place = socket;
        }
        self.heard(ours, arrival);
    }

    /// Something has come. Only what is of the session's sender tells that this lives.
    fn heard(&mut self, ours: bool, arrival: Time) {
        self.unshown = true;
        if ours {
            self.heard_at = arrival;
        }
    }

    /// The session's timer.
    pub(crate) fn timeout<N: Network>(
        &mut self,
        now: Time,
        (run, wire): (&mut RtpRun, &mut Wire<'_, N>),
    ) {
        if self.tenancy.is_none() || self.raw.is_used || self.session.next_timeout() > now {
            return;
        }
        self.end_run(run);
        // What the run brought may have put it off.
        if self.session.next_timeout() <= now {
            self.unshown = true;
            let (session, mut path) = self.path(wire);
            session.handle_timeout(now, &mut path);
        }
    }

    /// Publishes what is due and shows counters when it is time to.
    pub(crate) fn settle<N: Network>(
        &mut self,
        now: Time,
        (run, wire): (&mut RtpRun, &mut Wire<'_, N>),
    ) {
        let Some(tenancy) = &mut self.tenancy else { return };
        self.publication.publish(&mut tenancy.berth, now, wire.latency);
        if now >= self.flush_at() || self.shows_soon(now) {
            let origin = run.packets.origin().filter(|_| !run.packets.is_empty());
            self.end_run(run);
            if !self.raw.is_used {
                self.show_source(self.session.source());
            }
            self.publication.watch_rate(now, self.media_bytes);
            self.flush(now);
            // The run goes on, and what it brings is to be shown in time.
            if let Some((to, peer)) = origin {
                self.begin_run(to, peer, run);
                self.unshown = true;
            }
        }
    }

    /// Whether the figures are shown as soon as something comes: before the timer, which would have to
    /// bring all of the session near once more.
    fn shows_soon(&self, now: Time) -> bool {
        self.unshown && now + FLUSH_AHEAD >= self.publication.flushed() + FLUSH_EVERY
    }

    fn flush_at(&self) -> Time {
        let every = if self.unshown { FLUSH_EVERY } else { FLUSH_QUIET_EVERY };
        self.publication.flushed() + every
    }

    /// Does what an operator asks, at once.
    pub(crate) fn control(&mut self, control: Control, now: Time, run: &mut RtpRun) {
        self.end_run(run);
        let Some(tenancy) = &mut self.tenancy else { return };
        match control {
            Control::DropGop => self.publication.drop_gop(&mut tenancy.berth),
            Control::RtpTerms(terms) => self.agree(&terms, now),
            // RTP has no window that could shrink, and no terms of a handshake.
            Control::Pressure(_) | Control::Terms(_) => {}
        }
        self.flush(now);
    }

    fn agree(&mut self, terms: &RtpTerms, now: Time) {
        self.publication.set_bandwidth(terms.max_bandwidth_bps, terms.over_bandwidth, now);
        self.session.set_terms(&terms.session, now);
        (self.raw.timeout, self.raw.relatch_after) =
            (terms.session.timeout, terms.session.relatch_after);
        if let Some(tenancy) = &mut self.tenancy {
            tenancy.berth.info.latency_ms = latency_ms(&terms.session.window);
            tenancy.berth.slot.set_info(&tenancy.berth.info);
        }
    }

    /// Id and rate of a session that went above its bandwidth since the last call.
    pub(crate) fn take_over_rate(&mut self) -> Option<(u32, u64)> {
        let rate = self.publication.take_over_rate()?;
        Some((self.tenancy.as_ref()?.id, rate))
    }

    /// Id and what was seen, once it is clear that the packets' format was not recognised.
    pub(crate) fn take_undetected(&mut self) -> Option<(u32, Detector)> {
        let seen = self.session.undetected().filter(|_| !self.told_undetected)?;
        let told = (self.tenancy.as_ref()?.id, *seen);
        self.told_undetected = true;
        Some(told)
    }

    /// When the session wants to be called again.
    pub(crate) fn next_timeout(&self) -> Time {
        if self.tenancy.is_none() {
            return Time::NEVER;
        }
        let session =
            if self.raw.is_used { self.raw.ends_at() } else { self.session.next_timeout() };
        session.min(self.publication.publish_at()).min(self.flush_at())
    }

    /// Why the session is over, once it is.
    pub(crate) fn over(&self, now: Time) -> Option<EndReason> {
        self.tenancy.as_ref()?;
        if self.raw.is_used && self.raw.ends_at() <= now {
            return Some(EndReason::Idle);
        }
        match self.session.state(now) {
            State::Ended(rtp::session::EndReason::Goodbye) => Some(EndReason::Shutdown),
            State::Ended(rtp::session::EndReason::Timeout) => Some(EndReason::Idle),
            State::Ended(_) => Some(EndReason::Protocol),
            _ => self.publication.is_closing().then_some(EndReason::OverBandwidth),
        }
    }

    /// Ends the session in order: what has arrived becomes frames, the sender hears of it.
    pub(crate) fn finish<N: Network>(
        &mut self,
        now: Time,
        (run, wire): (&mut RtpRun, &mut Wire<'_, N>),
    ) {
        if self.tenancy.is_none() {
            return;
        }
        self.end_run(run);
        let goodbye = State::Ended(rtp::session::EndReason::Goodbye);
        let cut_off = self.session.state(now) != goodbye;
        let (session, mut path) = self.path(wire);
        session.close(now, &mut path);
        if *path.is_ts {
            if cut_off {
                path.demuxer.lost(1, path.stream);
            }
            path.demuxer.finish(path.stream);
        }
        if let Some(tenancy) = &mut self.tenancy {
            self.publication.finish(&mut tenancy.berth, now);
        }
    }

    /// Ends the session after a fault in its own code: what is open is thrown away, what was held
    /// goes back to the slab.
    pub(crate) fn abort(&mut self, now: Time, run: &mut RtpRun) {
        self.end_run(run);
        self.session.close(now, &mut Discard);
        if self.tenancy.is_some() {
            self.publication.stream.abort();
        }
    }

    /// Gives the berth back, with its last counters.
    pub(crate) fn leave(
        &mut self,
        reason: EndReason,
        now: Time,
        run: &mut RtpRun,
    ) -> Option<Box<RtpTenancy>> {
        self.end_run(run);
        run.media.forget();
        self.flush(now);
        let mut tenancy = self.tenancy.take()?;
        self.publication.close(&mut tenancy.berth);
        tenancy.end = reason;
        Some(tenancy)
    }

    fn flush(&mut self, now: Time) {
        let no_media = self.why_no_media(now);
        let Some(tenancy) = &mut self.tenancy else { return };
        let (base, stats) = (self.publication.base(), self.session.stats());
        let slot = &mut tenancy.berth.slot;
        if self.heard_at > Time::ZERO {
            slot.set(StreamCounter::LastReceivedNs, self.heard_at.nanos());
        }
        base.show(slot, counters::session_totals(&stats));
        base.show(slot, [(StreamCounter::BytesDelivered, self.media_bytes)]);
        slot.set(StreamCounter::PacketsHeld, stats.packets_held);
        slot.set(StreamCounter::PacketsMissing, stats.packets_awaited);
        counters::show_tracks(slot, base, self.session.track_stats());
        if self.raw.is_used {
            self.raw.show(slot, base);
        }
        self.unshown = false;
        if self.is_ts {
            self.publication.show_demuxer(&mut tenancy.berth);
        }
        self.publication.show(&mut tenancy.berth, self.media_bytes, no_media, now);
    }

    fn why_no_media(&self, now: Time) -> Option<NoMediaReason> {
        if self.session.undetected().is_some() {
            return Some(NoMediaReason::UnknownFormat);
        }
        if self.is_ts {
            return self.publication.why_no_media();
        }
        match self.session.state(now) {
            State::Waiting => None,
            _ => Some(NoMediaReason::NoFrames),
        }
    }
}

/// How long a missing packet is waited for at most.
fn latency_ms(window: &Window) -> u16 {
    u16::try_from(window.time.as_millis()).unwrap_or(u16::MAX)
}
