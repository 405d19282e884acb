//! One publisher's way from datagram to frame: SRT connection, demultiplexer, frame assembly.

use std::net::SocketAddr;
use std::time::Duration;

use memory::{Datagram, Time};
use mpegts::Demuxer;
use shm::counters::StreamCounter;
use shm::{EndReason, Histogram, NoMediaReason, Published, StreamState, TRACKS_MAX, TrackInfo};
use srt::caller::{Connected, Failure};
use srt::crypto::KeyMaterial;
use srt::handshake::RejectReason;
use srt::{Answer, Connection};
use uring::SocketIndex;

use super::asking::Asking;
use super::bandwidth::{Change, Watch};
use super::counters::{self, Base};
use super::precedence::Precedence;
use super::pressure::{self, Flow, Throttle};
use super::rate::Rate;
use crate::berth::Guest;
use crate::config::{BackpressureConfig, OverBandwidth, SourceMode, StreamOptions};
use crate::messages::{Call, Control, Origin, Renewal, Tenancy, Terms};
use crate::network::Network;

/// How often a stream's counters are written to shared memory while it is busy; a quiet one
/// writes with each of its timers.
const FLUSH_EVERY: Duration = Duration::from_millis(10);
/// A stream that receives but publishes nothing for this long has no media.
const MEDIA_PATIENCE: Duration = Duration::from_secs(2);

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
    demuxer: Demuxer,
    stream: media::Stream,
    tenancy: Option<Box<Tenancy>>,
    /// The connection is open, the stream has its ring.
    opened: bool,
    /// The handshake of a connection that we ask for; a rendezvous goes on answering afterwards.
    asking: Option<Asking>,
    /// It was opened after we asked for it, and the conductor does not know yet.
    news: bool,
    /// It is on the list of what this duty cycle settles.
    pub(crate) touched: bool,
    flushed: Time,
    /// The stream's counters when the session began.
    base: Box<Base>,
    media_rate: Rate,
    /// What the slot shows.
    spreads: srt::Spreads,
    throttle: Throttle,
    priority: u8,
    /// The priority that its worker counts it under.
    pub(crate) counted: Option<u8>,
    /// Datagrams that the kernel had dropped at its socket when it began, and since then.
    kernel_drops: (Option<u64>, u64),
    watch: Watch,
    /// It went above its bandwidth, at this rate, and nobody was told yet.
    over_rate: Option<u64>,
    /// It is to end for that.
    closing: bool,
    published: u64,
    published_at: Time,
    /// When the next finished frame is due.
    publish_at: Time,
}

/// What a session needs of its worker.
pub(crate) struct Wire<'a, N> {
    pub(crate) ring: &'a mut N,
    /// How short the worker's slots are, in thousandths.
    pub(crate) pressure: u16,
    /// Which of its streams yield first.
    pub(crate) precedence: &'a Precedence,
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
        fault::strike(payload);
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
        /// Section buffers, frames of sound and data in the making, parameter sets.
        const BUFFERS_BYTES: usize = 768 << 10;
        size_of::<Self>() + Connection::bytes(sizes.window_packets) + BUFFERS_BYTES
    }

    pub(crate) fn new(sizes: &Sizes) -> Self {
        Self {
            connection: Connection::new(sizes.window_packets),
            demuxer: Demuxer::new(mpegts::Config { program: sizes.program }),
            stream: media::Stream::new(sizes.media),
            tenancy: None,
            opened: false,
            asking: None,
            news: false,
            touched: false,
            flushed: Time::ZERO,
            base: Box::new(Base::zero()),
            media_rate: Rate::default(),
            spreads: srt::Spreads::default(),
            throttle: Throttle::new(sizes.backpressure),
            priority: 0,
            counted: None,
            kernel_drops: (None, 0),
            watch: Watch::new(),
            over_rate: None,
            closing: false,
            published: 0,
            published_at: Time::ZERO,
            publish_at: Time::NEVER,
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
        let ring = tenancy.berth.ring.take().expect("a berth comes with its ring");
        self.demuxer.reset();
        self.stream.open(ring);
        self.base.take(&tenancy.berth.slot);
        self.media_rate = Rate::default();
        self.spreads = srt::Spreads::default();
        counters::show_spreads(&mut tenancy.berth.slot, &self.spreads);
        self.throttle.open(tenancy.berth.pressure_set, now);
        let StreamOptions { max_bandwidth_bps, over_bandwidth, priority, .. } = tenancy.options;
        self.priority = priority;
        self.kernel_drops = (None, 0);
        let shared = matches!(tenancy.origin, Origin::Accepted { .. });
        tenancy.berth.slot.set(StreamCounter::SocketShared, shared.into());
        self.watch.open(max_bandwidth_bps, over_bandwidth, now);
        (self.over_rate, self.closing) = (None, false);
        self.published = 0;
        self.published_at = now;
        self.publish_at = Time::NEVER;
        self.flushed = now;
        let latency_ms = self.connection.stats().latency_ms;
        tenancy.berth.info.latency_ms = u16::try_from(latency_ms).unwrap_or(u16::MAX);
        tenancy.berth.info.set_tracks(&[]);
        tenancy.berth.slot.set_info(&tenancy.berth.info);
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

    /// Runs the handshake of a connection that we ask for, with a datagram and its arrival or by
    /// its timer, and opens the connection when it is agreed.
    fn ask<N: Network>(&mut self, now: Time, input: Option<(Time, &[u8])>, wire: &mut Wire<'_, N>) {
        let Some((socket, peer)) = self.path_to_peer() else { return };
        let Some(asking) = &mut self.asking else { return };
        let out = &mut |packet: &[u8]| {
            wire.ring.send(socket, peer, packet);
        };
        match input {
            Some((arrival, datagram)) => asking.handle_datagram(arrival, datagram, out),
            None => asking.handle_timeout(now, out),
        }
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
            id: &call.id,
            peer: call.peer,
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
            demuxer: &mut self.demuxer,
            stream: &mut self.stream,
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
                self.ask(now, Some((arrival, datagram.payload())), wire);
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
        let material = self.connection.take_key_request()?;
        Some((self.connection.local_id(), material))
    }

    /// Takes what the conductor made of key material; the box leaves with the keys that were
    /// replaced.
    pub(crate) fn renew<N: Network>(
        &mut self,
        renewal: &mut Renewal,
        now: Time,
        wire: &mut Wire<'_, N>,
    ) {
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
        let (published, published_at) = (&mut self.published, &mut self.published_at);
        let next = self.stream.publish_due_with(now, |frame: &Published| {
            wire.latency.record(frame.published_ns.saturating_sub(frame.due_ns));
            *published += 1;
            *published_at = now;
        });
        self.publish_at = next.unwrap_or(Time::NEVER);
        if self.kernel_drops.0.is_none() {
            self.count_kernel_drops(wire);
        }
        if now.since(self.flushed) >= FLUSH_EVERY {
            self.count_kernel_drops(wire);
            self.press(now, wire);
            self.watch_rate(now);
            self.flush(now);
        }
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
            pressure: felt.max(share).max(self.stream.pressure_permille()),
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

    /// Holds the stream to its bandwidth, by its policy.
    fn watch_rate(&mut self, now: Time) {
        let media_bytes = self.connection.stats().bytes_delivered;
        match self.watch.update(now, media_bytes) {
            Some(Change::Over(rate)) => {
                self.over_rate = Some(rate);
                match self.watch.policy() {
                    OverBandwidth::Event => {}
                    OverBandwidth::Drop => {
                        self.stream.limit_rate(Some(self.watch.max_bps() / 8), now);
                    }
                    OverBandwidth::Close => self.closing = true,
                }
            }
            Some(Change::Within) => self.stream.limit_rate(None, now),
            None => {}
        }
    }

    /// Socket id and rate of a session that went above its bandwidth since the last call.
    pub(crate) fn take_over_rate(&mut self) -> Option<(u32, u64)> {
        let rate = self.over_rate.take()?;
        Some((self.tenancy.as_ref()?.config.local_id, rate))
    }

    /// Goes by other terms from now on.
    fn agree(&mut self, terms: &Terms, now: Time) {
        self.watch.set(terms.max_bandwidth_bps, terms.over_bandwidth);
        // If it is still above, the next second tells.
        self.stream.limit_rate(None, now);
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
            Control::DropGop => {
                let dropped = self.stream.drop_oldest_gop();
                tenancy.berth.slot.add(StreamCounter::GopsDropped, dropped.into());
            }
            Control::Terms(terms) => self.agree(&terms, now),
        }
        self.flush(now);
    }

    /// When the session wants to be called again.
    pub(crate) fn next_timeout(&self) -> Time {
        if !self.opened {
            return self.asking.as_ref().map_or(Time::NEVER, Asking::next_timeout);
        }
        self.connection.next_timeout().min(self.publish_at)
    }

    /// Why the session is over, once it is.
    pub(crate) fn over(&self) -> Option<EndReason> {
        if !self.opened {
            let origin = self.tenancy.as_ref().map(|tenancy| &tenancy.origin);
            let failed = matches!(origin, Some(Origin::Called(Call { failure: Some(_), .. })));
            return failed.then_some(EndReason::Protocol);
        }
        match self.connection.state() {
            srt::State::Open => self.closing.then_some(EndReason::OverBandwidth),
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
        self.stream.finish(now);
    }

    /// Ends the session after a fault in its own code: what is open is thrown away, what was held
    /// goes back to the slab.
    pub(crate) fn abort(&mut self, now: Time) {
        self.connection.close(now, &mut Discard);
        if self.opened {
            self.stream.abort();
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
            let mut ring = self.stream.close().expect("an open session has its ring");
            ring.end();
            tenancy.berth.ring = Some(ring);
            counters::show_gauges(&mut tenancy.berth.slot, counters::NOTHING_WAITS);
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
        self.flushed = now;
        let slot = &mut tenancy.berth.slot;
        let stats = self.connection.stats();
        self.base.show(slot, counters::connection_totals(stats));
        self.base.show(slot, counters::demuxer_totals(self.demuxer.counters()));
        self.base.show(slot, self.stream.counters().totals());
        counters::show_gauges(slot, counters::connection_gauges(stats));
        counters::show_gauges(slot, self.stream.counters().gauges());
        if self.spreads != stats.spreads {
            self.spreads = stats.spreads;
            counters::show_spreads(slot, &self.spreads);
        }
        counters::show_throttle(slot, &self.base, &self.throttle);
        self.base.show(slot, [(StreamCounter::BandwidthExceeded, self.watch.exceeded())]);
        slot.set(StreamCounter::MaxBandwidthBps, self.watch.max_bps());
        slot.set(StreamCounter::Priority, self.priority.into());
        self.base.show(slot, [(StreamCounter::SocketKernelDrops, self.kernel_drops.1)]);
        let bitrate = self.media_rate.update(now, stats.bytes_delivered);
        slot.set(StreamCounter::BitrateBps, bitrate);
        self.show_info(now);
    }

    fn show_info(&mut self, now: Time) {
        let state = self.state(now);
        let tracks_changed = self.stream.tracks_changed();
        let Some(tenancy) = &mut self.tenancy else { return };
        let info = &mut tenancy.berth.info;
        if tracks_changed {
            let tracks = self.stream.tracks();
            let mut infos = [TrackInfo::default(); TRACKS_MAX];
            for (info, track) in infos.iter_mut().zip(tracks) {
                *info = track.info();
            }
            info.set_tracks(&infos[..tracks.len()]);
        }
        if tracks_changed || (info.state, info.no_media) != state {
            (info.state, info.no_media) = state;
            tenancy.berth.slot.set_info(info);
        }
    }

    fn state(&self, now: Time) -> (StreamState, NoMediaReason) {
        if self.published > 0 && now.since(self.published_at) < MEDIA_PATIENCE {
            return (StreamState::Active, NoMediaReason::None);
        }
        if now.since(self.published_at) < MEDIA_PATIENCE {
            return (StreamState::Connecting, NoMediaReason::None);
        }
        let reason = match self.demuxer.state() {
            // Nothing has come, or too little to tell.
            mpegts::State::Syncing => return (StreamState::Connecting, NoMediaReason::None),
            mpegts::State::NotTransportStream => NoMediaReason::NotTransportStream,
            mpegts::State::NoPat => NoMediaReason::NoPat,
            mpegts::State::NoProgram => NoMediaReason::NoProgram,
            mpegts::State::NoPmt { .. } => NoMediaReason::NoPmt,
            mpegts::State::NoTracks { .. } => NoMediaReason::NoTracks,
            mpegts::State::Playing { .. } => NoMediaReason::NoFrames,
        };
        (StreamState::NoMedia, reason)
    }
}

/// A fault of ours in the middle of a frame, on demand.
#[cfg(feature = "fault-injection")]
mod fault {
    const MAGIC: &[u8] = b"penstock: inject a fault here";

    pub(super) fn strike(payload: &[u8]) {
        assert!(!payload.windows(MAGIC.len()).any(|window| window == MAGIC), "injected fault");
    }
}
