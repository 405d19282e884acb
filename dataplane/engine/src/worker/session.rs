//! One publisher's way from datagram to frame: SRT connection, demultiplexer, frame assembly.

use std::net::SocketAddr;
use std::time::Duration;

use memory::{Datagram, Slab, Time};
use mpegts::Demuxer;
use shm::counters::StreamCounter;
use shm::{EndReason, Histogram, StreamKind};
use srt::caller::{Connected, Failure};
use srt::crypto::KeyMaterial;
use srt::handshake::RejectReason;
use srt::{Answer, Connection};
use uring::SocketIndex;

use super::asking::{Asking, Input};
use super::counters;
use super::precedence::Precedence;
use super::pressure::{self, Flow, Throttle};
use super::publication::Publication;
use crate::berth::Guest;
use crate::config::{BackpressureConfig, SourceMode, StreamOptions};
use crate::messages::{Call, Control, Origin, Renewal, Tenancy, Terms};
use crate::network::Network;

/// How often a stream's counters are written to shared memory: with what comes, and by a timer of
/// their own when nothing does.
const FLUSH_EVERY: Duration = Duration::from_millis(50);
/// How often a session looks what memory allows: a sender is to hear of it with its next
/// acknowledgement.
const PRESS_EVERY: Duration = Duration::from_millis(10);

/// What all sessions of a worker are made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) window_packets: u32,
    pub(crate) program: Option<u16>,
    pub(crate) backpressure: BackpressureConfig,
    pub(crate) media: media::Limits,
}

/// A place for a session. Its memory is taken once and used by one publisher after the other.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Connection,
    publication: Publication,
    tenancy: Option<Box<Tenancy>>,
    /// The connection is open, the stream has its ring.
    opened: bool,
    /// The handshake of a connection that we ask for; a rendezvous goes on answering afterwards.
    asking: Option<Asking>,
    /// It was opened after we asked for it, and the conductor does not know yet.
    news: bool,
    /// What the slot shows.
    spreads: srt::Spreads,
    throttle: Throttle,
    priority: u8,
    /// The priority that its worker counts it under.
    pub(crate) counted: Option<u8>,
    /// Datagrams that the kernel had dropped at its socket when it began, and since then.
    kernel_drops: (Option<u64>, u64),
    /// When pressure was last looked at.
    pressed: Time,
    /// Something has happened since the figures were shown.
    unshown: bool,
}

/// What a session needs of its worker.
pub(crate) struct Wire<'a, N> {
    pub(crate) ring: &'a mut N,
    /// How short the worker's slots are, in thousandths.
    pub(crate) pressure: u16,
    /// Which of its streams yield first.
    pub(crate) precedence: &'a Precedence,
    pub(crate) slab: &'a Slab,
    /// How late frames are published.
    pub(crate) latency: &'a mut Histogram,
}

/// Where a connection's output goes: packets to the ring, payload to the demultiplexer and on
/// into the GOP ring.
struct Path<'a, N> {
    ring: &'a mut N,
    socket: SocketIndex,
    peer: SocketAddr,
    demuxer: &'a mut Demuxer,
    stream: &'a mut media::Stream,
}

impl<N: Network> srt::Output for Path<'_, N> {
    fn transmit(&mut self, packet: &[u8]) {
        // A full send slab drops the packet and the ring counts it; SRT repeats what matters.
        self.ring.send(self.socket, self.peer, packet);
    }

    fn deliver(&mut self, payload: &[u8], arrival: Time, due: Time) {
        self.stream.input(arrival, due);
        self.demuxer.push(payload, self.stream);
        #[cfg(feature = "fault-injection")]
        crate::worker::fault::strike(payload);
    }

    fn skipped(&mut self, packets: u32) {
        self.demuxer.lost(packets, self.stream);
    }
}

/// Where the output of a session goes that is given up.
struct Discard;

impl srt::Output for Discard {
    fn transmit(&mut self, _: &[u8]) {}
    fn deliver(&mut self, _: &[u8], _: Time, _: Time) {}
    fn skipped(&mut self, _: u32) {}
}

impl Session {
    /// Bytes of a session, for the memory sum.
    pub(crate) fn bytes(sizes: &Sizes) -> usize {
        size_of::<Self>() + Connection::bytes(sizes.window_packets) + Publication::BUFFERS_BYTES
    }

    pub(crate) fn new(sizes: &Sizes) -> Self {
        Self {
            connection: Connection::new(sizes.window_packets),
            publication: Publication::new(sizes.program, sizes.media),
            tenancy: None,
            opened: false,
            asking: None,
            news: false,
            spreads: srt::Spreads::default(),
            throttle: Throttle::new(sizes.backpressure),
            priority: 0,
            counted: None,
            kernel_drops: (None, 0),
            pressed: Time::ZERO,
            unshown: false,
        }
    }

    /// Whether this place's session has that socket id.
    pub(crate) fn is(&self, socket_id: u32) -> bool {
        self.tenancy.as_ref().is_some_and(|tenancy| tenancy.config.local_id == socket_id)
    }

    /// The socket it sends on and the peer's address.
    pub(crate) fn path_to_peer(&self) -> Option<(SocketIndex, SocketAddr)> {
        self.tenancy.as_ref().map(|tenancy| (tenancy.socket, tenancy.peer()))
    }

    /// Opens a session that a publisher asked for; the answer may leave once it is installed.
    pub(crate) fn open(&mut self, mut tenancy: Box<Tenancy>, now: Time) -> (u32, Answer) {
        let keys = tenancy.keys.take();
        let Origin::Accepted { ticket, request, .. } = &tenancy.origin else {
            unreachable!("what we ask for is called, not opened")
        };
        let ticket = *ticket;
        let answer = self.connection.open(request, &tenancy.config, keys, now);
        self.begin(tenancy, now);
        (ticket, answer)
    }

    /// Begins to ask for a connection.
    pub(crate) fn call(&mut self, tenancy: Box<Tenancy>, now: Time) {
        if let Origin::Called(call) = &tenancy.origin {
            self.asking = Some(Asking::new(call, now));
        }
        self.tenancy = Some(tenancy);
    }

    /// The connection is open: so is the stream.
    fn begin(&mut self, mut tenancy: Box<Tenancy>, now: Time) {
        self.opened = true;
        let latency_ms = self.connection.stats().latency_ms;
        let StreamOptions { max_bandwidth_bps, over_bandwidth, priority, .. } = tenancy.options;
        self.priority = priority;
        (self.kernel_drops, self.pressed) = ((None, 0), now);
        let shared = matches!(tenancy.origin, Origin::Accepted { .. });
        let berth = &mut tenancy.berth;
        berth.slot.set(StreamCounter::SocketShared, shared.into());
        berth.info.latency_ms = u16::try_from(latency_ms).unwrap_or(u16::MAX);
        self.publication.open(berth, (max_bandwidth_bps, over_bandwidth), now);
        self.spreads = srt::Spreads::default();
        counters::show_spreads(&mut berth.slot, &self.spreads);
        self.throttle.open(berth.pressure_set, now);
        self.tenancy = Some(tenancy);
    }

    /// Whether the connection is open.
    pub(crate) const fn is_open(&self) -> bool {
        self.opened
    }

    /// Its priority while it is open.
    pub(crate) fn open_priority(&self) -> Option<u8> {
        self.opened.then_some(self.priority)
    }

    /// The socket id of a connection that we asked for and that was made since the last call.
    pub(crate) fn take_news(&mut self) -> Option<u32> {
        let news = std::mem::take(&mut self.news);
        self.tenancy.as_ref().filter(|_| news).map(|tenancy| tenancy.config.local_id)
    }

    /// Runs the handshake of a connection that we ask for, and opens the connection when it is
    /// agreed.
    fn ask<N: Network>(&mut self, now: Time, input: Option<Input<'_>>, wire: &mut Wire<'_, N>) {
        let Some((socket, peer)) = self.path_to_peer() else { return };
        let (Some(asking), Some(tenancy)) = (&mut self.asking, &mut self.tenancy) else { return };
        let Origin::Called(call) = &mut tenancy.origin else { return };
        asking.take(now, input, call, &mut |packet: &[u8]| {
            wire.ring.send(socket, peer, packet);
        });
        match asking.outcome() {
            Some(Ok(connected)) if !self.opened => self.agreed(&connected, now, wire),
            Some(Err(failure)) if !self.opened => self.fail(failure),
            _ => {}
        }
    }

    fn fail(&mut self, failure: Failure) {
        if let Some(Origin::Called(call)) = self.tenancy.as_mut().map(|it| &mut it.origin) {
            call.failure = Some(failure);
        }
    }

    /// The peer that we asked has agreed.
    fn agreed<N: Network>(&mut self, connected: &Connected, now: Time, wire: &mut Wire<'_, N>) {
        let Some(mut tenancy) = self.tenancy.take() else { return };
        let Tenancy { origin, config, keys, place, berth, .. } = &mut *tenancy;
        let Origin::Called(call) = origin else { return };
        if self.asking.as_ref().is_some_and(Asking::uses_their_keys) {
            std::mem::swap(keys, &mut call.their_keys);
        }
        self.connection.open_connected(connected, config, keys.take(), now);
        if connected.latency_ms > call.latency_max_ms {
            // There are no slots for so long a wait.
            call.failure = Some(Failure::Refused(RejectReason::RESOURCE));
            self.tenancy = Some(tenancy);
            if let Some((connection, mut path)) = self.path(wire) {
                connection.close(now, &mut path);
            }
            return;
        }
        let guest = Guest {
            kind: StreamKind::Srt,
            id: &call.id,
            peer: Some(call.peer),
            peer_version: connected.peer_version,
            worker: place.worker,
            resumed: call.resumed,
            suite: self.connection.suite(),
        };
        berth.show_connecting(&guest, now);
        if call.mode == SourceMode::Caller {
            // A repeated answer says nothing new to a caller.
            self.asking = None;
        }
        self.news = true;
        self.begin(tenancy, now);
    }

    fn path<'a, N>(
        &'a mut self,
        wire: &'a mut Wire<'_, N>,
    ) -> Option<(&'a mut Connection, Path<'a, N>)> {
        let (socket, peer) = self.path_to_peer()?;
        let path = Path {
            peer,
            ring: wire.ring,
            socket,
            demuxer: &mut self.publication.demuxer,
            stream: &mut self.publication.stream,
        };
        Some((&mut self.connection, path))
    }

    /// A datagram from the peer.
    pub(crate) fn receive<N: Network>(
        &mut self,
        now: Time,
        arrival: Time,
        datagram: Datagram,
        wire: &mut Wire<'_, N>,
    ) {
        if self.asking.is_some() {
            let handshake = srt::packet::is_handshake(datagram.payload());
            if handshake || !self.opened {
                self.ask(now, Some(Input::Datagram(arrival, datagram.payload())), wire);
            }
            if handshake || !self.opened {
                return;
            }
        }
        if let Some(tenancy) = &mut self.tenancy {
            tenancy.berth.slot.set(StreamCounter::LastReceivedNs, arrival.nanos());
        }
        if let Some((connection, mut path)) = self.path(wire) {
            connection.handle_datagram(now, arrival, datagram, &mut path);
        }
    }

    /// Key material that the peer sent and the conductor has to unwrap.
    pub(crate) fn take_key_request(&mut self) -> Option<(u32, KeyMaterial)> {
        let material = match (&mut self.asking, self.opened) {
            (Some(asking), false) => asking.key_question(),
            _ => self.connection.take_key_request(),
        };
        Some((self.tenancy.as_ref()?.config.local_id, material?))
    }

    /// Takes what the conductor made of key material; the box leaves with the keys that were
    /// replaced.
    pub(crate) fn renew<N: Network>(
        &mut self,
        renewal: &mut Renewal,
        now: Time,
        wire: &mut Wire<'_, N>,
    ) {
        if !self.opened {
            return self.ask(now, Some(Input::Keys(renewal)), wire);
        }
        let Some((connection, mut path)) = self.path(wire) else { return };
        match &mut renewal.result {
            Ok(keys) => connection.renew_keys(&renewal.material, keys, now, &mut path),
            Err(state) => connection.refuse_keys(&renewal.material, *state, now, &mut path),
        }
    }

    /// A datagram with this session's socket id from another address, or at another socket.
    pub(crate) fn wrong_source(&mut self) {
        if let Some(tenancy) = self.tenancy.as_mut().filter(|_| self.opened) {
            tenancy.berth.slot.add(StreamCounter::WrongSource, 1);
        }
    }

    /// The session's timer.
    pub(crate) fn timeout<N: Network>(&mut self, now: Time, wire: &mut Wire<'_, N>) {
        if !self.opened {
            return self.ask(now, None, wire);
        }
        if let Some((connection, mut path)) = self.path(wire)
            && connection.next_timeout() <= now
        {
            connection.handle_timeout(now, &mut path);
        }
    }

    /// Publishes what is due and shows counters when it is time to.
    pub(crate) fn settle<N: Network>(&mut self, now: Time, wire: &mut Wire<'_, N>) {
        if !self.opened {
            return;
        }
        let Some(tenancy) = &mut self.tenancy else { return };
        self.publication.publish(&mut tenancy.berth, now, wire.latency);
        if self.kernel_drops.0.is_none() {
            self.count_kernel_drops(wire);
        }
        if now.since(self.pressed) >= PRESS_EVERY {
            self.pressed = now;
            self.press(now, wire);
        }
        // It is only called when something has come, or a timer.
        self.unshown = true;
        if now >= self.flush_at() {
            self.count_kernel_drops(wire);
            self.publication.watch_rate(now, self.connection.stats().bytes_delivered);
            self.flush(now);
        }
    }

    fn flush_at(&self) -> Time {
        self.publication.flushed() + FLUSH_EVERY
    }

    /// Looks how many datagrams the kernel has dropped at the socket since the session began.
    fn count_kernel_drops<N: Network>(&mut self, wire: &Wire<'_, N>) {
        let Some((socket, _)) = self.path_to_peer() else { return };
        let drops = wire.ring.kernel_drops(socket);
        let (from, since) = &mut self.kernel_drops;
        *since = drops.saturating_sub(*from.get_or_insert(drops));
    }

    /// Advertises what memory allows, where that has changed.
    fn press<N: Network>(&mut self, now: Time, wire: &mut Wire<'_, N>) {
        let Some(tenancy) = &self.tenancy else { return };
        let stats = self.connection.stats();
        let share = pressure::permille(stats.packets_held, tenancy.config.slots_max.into());
        let felt = self.throttle.felt(wire.pressure, wire.precedence.rank(self.priority));
        let flow = Flow {
            pressure: felt.max(share).max(self.publication.stream.pressure_permille()),
            packets_received: stats.packets_received,
            rtt_us: stats.rtt_us,
            window_packets: tenancy.config.flow_window.min(tenancy.config.slots_max),
        };
        if let Some(window) = self.throttle.update(now, &flow)
            && let Some((connection, mut path)) = self.path(wire)
        {
            connection.set_window_max(window, now, &mut path);
        }
    }

    /// Socket id and rate of a session that went above its bandwidth since the last call.
    pub(crate) fn take_over_rate(&mut self) -> Option<(u32, u64)> {
        let rate = self.publication.take_over_rate()?;
        Some((self.tenancy.as_ref()?.config.local_id, rate))
    }

    /// Goes by other terms from now on.
    fn agree(&mut self, terms: &Terms, now: Time) {
        self.publication.set_bandwidth(terms.max_bandwidth_bps, terms.over_bandwidth, now);
        self.connection.set_peer_idle_timeout(terms.peer_idle_timeout);
        self.connection.set_reorder_tolerance(terms.reorder_tolerance_packets);
        if std::mem::replace(&mut self.priority, terms.priority) != terms.priority {
            self.throttle.judge_anew();
        }
    }

    /// Does what an operator asks, at once.
    pub(crate) fn control<N: Network>(
        &mut self,
        control: Control,
        now: Time,
        wire: &mut Wire<'_, N>,
    ) {
        let Some(tenancy) = &mut self.tenancy else { return };
        match control {
            Control::Pressure(set) => {
                tenancy.berth.pressure_set = set;
                self.throttle.set(set);
                self.press(now, wire);
            }
            Control::DropGop => self.publication.drop_gop(&mut tenancy.berth),
            Control::Terms(terms) => self.agree(&terms, now),
            Control::RtpTerms(_) => {}
        }
        self.flush(now);
    }

    /// When the session wants to be called again.
    pub(crate) fn next_timeout(&self) -> Time {
        if !self.opened {
            return self.asking.as_ref().map_or(Time::NEVER, Asking::next_timeout);
        }
        let show_at = if self.unshown { self.flush_at() } else { Time::NEVER };
        self.connection.next_timeout().min(self.publication.publish_at()).min(show_at)
    }

    /// Why the session is over, once it is.
    pub(crate) fn over(&self) -> Option<EndReason> {
        if !self.opened {
            let origin = self.tenancy.as_ref().map(|tenancy| &tenancy.origin);
            let failed = matches!(origin, Some(Origin::Called(Call { failure: Some(_), .. })));
            return failed.then_some(EndReason::Protocol);
        }
        match self.connection.state() {
            srt::State::Open => self.publication.is_closing().then_some(EndReason::OverBandwidth),
            srt::State::Closed(srt::EndReason::PeerShutdown) => Some(EndReason::Shutdown),
            srt::State::Closed(srt::EndReason::PeerIdle) => Some(EndReason::Idle),
            srt::State::Closed(_) => Some(EndReason::Protocol),
        }
    }

    /// Ends the session in order: what has arrived becomes frames, the peer hears of it.
    pub(crate) fn finish<N: Network>(&mut self, now: Time, wire: &mut Wire<'_, N>) {
        if !self.opened {
            return;
        }
        if let Some((connection, mut path)) = self.path(wire) {
            // Only a goodbye says that what is open is whole; else it was cut off in the middle.
            if connection.state() != srt::State::Closed(srt::EndReason::PeerShutdown) {
                path.demuxer.lost(1, path.stream);
            }
            connection.close(now, &mut path);
            path.demuxer.finish(path.stream);
        }
        if let Some(tenancy) = &mut self.tenancy {
            self.publication.finish(&mut tenancy.berth, now);
        }
    }

    /// Ends the session after a fault in its own code: what is open is thrown away, what was held
    /// goes back to the slab.
    pub(crate) fn abort(&mut self, now: Time) {
        self.connection.close(now, &mut Discard);
        if self.opened {
            self.publication.stream.abort();
        }
    }

    /// Gives the berth back, with its last counters.
    pub(crate) fn leave(&mut self, reason: EndReason, now: Time) -> Option<Box<Tenancy>> {
        if self.opened {
            self.flush(now);
        }
        self.asking = None;
        self.news = false;
        let mut tenancy = self.tenancy.take()?;
        if std::mem::take(&mut self.opened) {
            self.publication.close(&mut tenancy.berth);
        }
        // Until it is opened, and when it never is, the tenancy holds its keys itself.
        if let Some(keys) = self.connection.take_keys() {
            tenancy.keys = Some(keys);
        }
        tenancy.end = reason;
        Some(tenancy)
    }

    fn flush(&mut self, now: Time) {
        let Some(tenancy) = &mut self.tenancy else { return };
        let berth = &mut tenancy.berth;
        let stats = self.connection.stats();
        let base = self.publication.base();
        base.show(&mut berth.slot, counters::connection_totals(stats));
        counters::show_gauges(&mut berth.slot, counters::connection_gauges(stats));
        counters::show_throttle(&mut berth.slot, base, &self.throttle);
        if self.spreads != stats.spreads {
            self.spreads = stats.spreads;
            counters::show_spreads(&mut berth.slot, &self.spreads);
        }
        berth.slot.set(StreamCounter::Priority, self.priority.into());
        base.show(&mut berth.slot, [(StreamCounter::SocketKernelDrops, self.kernel_drops.1)]);
        let no_media = self.publication.why_no_media();
        self.unshown = false;
        self.publication.show_demuxer(berth);
        self.publication.show(berth, stats.bytes_delivered, no_media, now);
    }
}
