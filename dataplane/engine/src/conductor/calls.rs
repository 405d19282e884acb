//! Calling the peers of sources: from a try that is due to a session, and back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::time::Duration;

use memory::Time;
use shm::counters::ConductorCounter;
use shm::link::{Event, EventKind};
use shm::{EndReason, StreamKind};
use srt::caller::CallerConfig;
use srt::handshake::StreamId;
use srt::sequence::Sequence;
use uring::SocketIndex;

use super::Conductor;
use super::placement::{Full, Place};
use super::resolver::Lookup;
use super::sessions::connection;
use super::sources::{Attempt, News, Phase, Source, Trouble, Wish};
use super::streams::{State, Stream};
use crate::clock;
use crate::config::{SourceConfig, SourceMode};
use crate::messages::{Call, Order, Origin, Role, Tenancy};

/// How long a try is put off that something of ours stands in the way of.
const PUT_OFF: Duration = Duration::from_millis(100);
/// The same while the stream's id is kept out after a termination.
const PUT_OFF_BLOCKED: Duration = Duration::from_secs(1);
/// A rendezvous tries for this many times as long: it needs both sides to try at once (libsrt does
/// the same with SRTO_CONNTIMEO).
const RENDEZVOUS_PATIENCE: u32 = 10;

/// Indexes that the sockets of calls may have, by worker.
#[derive(Debug)]
pub(super) struct SocketPlaces {
    first: usize,
    free: Vec<Vec<u16>>,
}

impl SocketPlaces {
    /// The same range on each worker.
    pub(super) fn new(workers: usize, range: Range<usize>) -> Self {
        let first = range.start;
        let all: Vec<u16> = range.rev().filter_map(|index| u16::try_from(index).ok()).collect();
        Self { first, free: vec![all; workers] }
    }

    /// The sockets before these live as long as their worker.
    const fn first(&self) -> usize {
        self.first
    }

    pub(super) fn take(&mut self, worker: u16) -> Option<SocketIndex> {
        self.free[usize::from(worker)].pop().map(SocketIndex::new)
    }

    pub(super) fn give_back(&mut self, worker: usize, socket: SocketIndex) {
        if let Ok(index) = u16::try_from(socket.index()) {
            self.free[worker].push(index);
        }
    }
}

impl Conductor {
    /// Begins the tries that are due and goes on with those whose peer was looked up.
    pub(super) fn tend_sources(&mut self, now: Time) {
        while let Some(lookup) = self.resolver.done() {
            self.looked_up(lookup, now);
        }
        for id in self.sources.begin_due(now) {
            self.look_up(&id, now);
        }
    }

    fn look_up(&mut self, id: &str, now: Time) {
        let Some(source) = self.sources.get_mut(id) else { return };
        if self.streams.is_blocked(id, now) {
            return source.put_off(now + PUT_OFF_BLOCKED);
        }
        let address = &source.config.address;
        match address.ip() {
            Some(ip) => {
                let peer = SocketAddr::new(ip, address.port);
                self.call(id, peer, now);
            }
            None if self.resolver.start(id, address) => {}
            None => source.put_off(now + PUT_OFF),
        }
    }

    fn looked_up(&mut self, lookup: Lookup, now: Time) {
        let Lookup { id, addresses } = lookup;
        // The source may have been removed in the meantime.
        let Some(source) = self.sources.get(&id).filter(|it| it.phase == Phase::Resolving) else {
            return;
        };
        let reachable = |peer: &SocketAddr| {
            source.config.local_ip.is_none_or(|local| local.is_ipv4() == peer.is_ipv4())
        };
        let peers = addresses.map(|all| all.into_iter().filter(reachable).collect::<Vec<_>>());
        match peers {
            // One after the other, a try each.
            Ok(peers) if !peers.is_empty() => {
                let turn = usize::try_from(source.attempts - 1).unwrap_or(0) % peers.len();
                self.call(&id, peers[turn], now);
            }
            Ok(_) => self.failed(&id, Trouble::Unresolved("no address fits".into()), now),
            Err(why) => self.failed(&id, Trouble::Unresolved(why), now),
        }
    }

    /// A try that came to nothing before it reached a worker.
    fn failed(&mut self, id: &str, trouble: Trouble, now: Time) {
        let random = self.parts.salts.next();
        if let Some(source) = self.sources.get_mut(id) {
            tracing::warn!(source = id, "not called: {trouble}");
            let news = source.over(trouble.clone(), now, clock::unix_nanos(), random);
            self.tell_of_trouble(id, None, &trouble, news, now);
        }
    }

    fn tell_of_trouble(
        &mut self,
        id: &str,
        peer: Option<SocketAddr>,
        trouble: &Trouble,
        news: News,
        now: Time,
    ) {
        let kinds =
            [(news.fresh, EventKind::SourceFailed), (news.opened, EventKind::SourceBreakerOpened)];
        for (_, kind) in kinds.into_iter().filter(|(told, _)| *told) {
            let mut event =
                Event::new(kind).stream(id).reason(trouble.label(), trouble.to_string());
            event.source = peer;
            if let Some(code) = trouble.code() {
                event = event.attribute("code", code.into());
            }
            self.tell(event, now);
        }
    }

    fn call(&mut self, id: &str, peer: SocketAddr, now: Time) {
        let Some(source) = self.sources.get(id) else { return };
        let config = source.config.clone();
        let kept_until = match self.streams.get(id).map(|stream| &stream.state) {
            None => None,
            Some(State::Lost { until, .. }) => Some(*until),
            // Its last session is not quite gone.
            Some(_) => {
                if let Some(source) = self.sources.get_mut(id) {
                    source.put_off(now + PUT_OFF);
                }
                return;
            }
        };
        match self.prepare(&config, peer) {
            Ok((place, socket, fd)) => {
                self.order_call(&config, peer, (place, socket, fd), kept_until, now);
            }
            Err(why) => self.failed(id, Trouble::Local(why), now),
        }
    }

    /// A place for the session and a socket on its worker; what stands in the way, else.
    fn prepare(
        &mut self,
        config: &SourceConfig,
        peer: SocketAddr,
    ) -> Result<(Place, SocketIndex, OwnedFd), String> {
        let slots = config.options.slots(config.options.latency);
        let place = self.parts.placement.take(slots).map_err(|full| match full {
            Full::Sessions => "every session place is taken (ingestion.max_connections)".to_owned(),
            Full::Slots { wanted, free } => {
                format!("rate x latency needs {wanted} packet slots, {free} are free")
            }
        })?;
        let opened =
            uring::socket::try_open(local(config, peer), self.parts.srt.receive_buffer_bytes);
        let socket = self.socket_places.take(place.worker);
        match (opened, socket) {
            (Ok(opened), Some(socket)) => Ok((place, socket, opened.fd)),
            (opened, socket) => {
                self.parts.placement.release(place);
                if let Some(socket) = socket {
                    self.socket_places.give_back(place.worker.into(), socket);
                }
                Err(opened.err().map_or_else(
                    || "every socket place is taken (ingestion.srt.max_sources)".to_owned(),
                    |error| format!("no socket to call from: {}", with_cause(&error)),
                ))
            }
        }
    }

    fn order_call(
        &mut self,
        config: &SourceConfig,
        peer: SocketAddr,
        (place, socket, fd): (Place, SocketIndex, OwnedFd),
        kept_until: Option<Time>,
        now: Time,
    ) {
        let id = &config.id;
        let Some((berth, resumed)) = self.berth(id) else {
            self.parts.placement.release(place);
            self.socket_places.give_back(place.worker.into(), socket);
            let why = "every stream place is taken (ingestion.max_connections)".to_owned();
            return self.failed(id, Trouble::Local(why), now);
        };
        let salt = self.parts.salts.next();
        let socket_id = self.parts.ids.encode(place.worker, place.session, salt);
        let slot = berth.slot.slot();
        let attempt = Attempt { place, socket_id, socket: Some(socket), peer, slot, kept_until };
        if let Some(source) = self.sources.get_mut(id) {
            source.calling(attempt);
        }
        let stream = Stream {
            kind: StreamKind::Srt,
            source: peer.ip(),
            listener: socket,
            rule: None,
            state: State::Installing,
        };
        self.settings.connected(id, &config.options);
        self.streams.insert(id.clone(), stream);
        let latency = config.options.latency;
        let slots = config.options.slots(latency);
        let session = connection(&config.options, &self.parts, socket_id, latency, slots);
        let keys = self.keys.invent(socket_id, place, config, peer.ip());
        let (material, keys) = keys.unzip();
        let call = Call {
            id: id.clone(),
            mode: config.mode,
            peer,
            config: CallerConfig {
                key_material: material,
                ..self.caller(config, peer, socket_id, session.flow_window)
            },
            cookie: self.parts.salts.next(),
            latency_max_ms: millis(config.options.latency_max),
            resumed,
            their_keys: None,
            failure: None,
        };
        let role = match config.mode {
            SourceMode::Caller => Role::Caller,
            SourceMode::Rendezvous => Role::Rendezvous { session: place.session },
        };
        let tenancy = Tenancy {
            place,
            socket,
            origin: Origin::Called(call),
            config: session,
            keys,
            options: config.options.clone(),
            berth,
            end: EndReason::None,
        };
        self.order(place.worker, Order::OpenSocket { socket, role, fd });
        self.order(place.worker, Order::Call(Box::new(tenancy)));
    }

    fn caller(
        &mut self,
        config: &SourceConfig,
        peer: SocketAddr,
        socket_id: u32,
        flow_window: u32,
    ) -> CallerConfig {
        let patience = match config.mode {
            SourceMode::Caller => 1,
            SourceMode::Rendezvous => RENDEZVOUS_PATIENCE,
        };
        let initial = Sequence::new(self.parts.salts.next() & Sequence::MASK);
        CallerConfig {
            flow_window,
            latency_ms: millis(config.options.latency),
            stream_id: StreamId::new(config.stream_id.as_bytes()).unwrap_or(StreamId::EMPTY),
            connect_timeout: config.connect_timeout * patience,
            peer_idle_timeout: config.options.peer_idle_timeout,
            ..CallerConfig::live(socket_id, initial, peer.ip())
        }
    }

    /// The session of a call is open.
    pub(super) fn connected(&mut self, socket_id: u32, now: Time) {
        let Some(source) = self.sources.by_socket_id(socket_id) else { return };
        source.connected(now, clock::unix_nanos());
        let Some(Attempt { place, peer, slot, .. }) = source.attempt().copied() else { return };
        let (id, again) = (source.config.id.clone(), source.connections > 1);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.state = State::Live { place, socket_id, slot };
        }
        if again {
            self.parts.block.add(ConductorCounter::Reconnects, 1);
        }
        tracing::info!(source = id, %peer, worker = place.worker, "source connected");
        let event = Event::new(EventKind::SourceConnected)
            .stream(&id)
            .source(peer)
            .attribute("worker", place.worker.into());
        self.tell(event, now);
    }

    /// The session of a call is over, or has never come about.
    pub(super) fn call_ended(&mut self, tenancy: Tenancy, now: Time) {
        let Tenancy { place, origin, config, berth, end, .. } = tenancy;
        let Origin::Called(call) = origin else { return };
        let random = self.parts.salts.next();
        let Some(source) = self.sources.by_socket_id(config.local_id) else { return };
        let Some(attempt) = source.attempt().copied() else { return };
        let had = matches!(source.phase, Phase::Connected(..));
        let trouble = call.failure.map_or(Trouble::Ended(end), Trouble::Handshake);
        if !had {
            tracing::info!(source = call.id, peer = %call.peer, "source not connected: {trouble}");
        }
        let news = source.over(trouble.clone(), now, clock::unix_nanos(), random);
        let remove = source.wish == Wish::Remove;
        if let Some(socket) = attempt.socket {
            self.order(place.worker, Order::CloseSocket { socket });
        }
        if had {
            self.lost(berth, end, now);
        } else {
            self.tell_of_trouble(&call.id, Some(call.peer), &trouble, news, now);
            self.not_connected(&call.id, berth, attempt.kept_until, now);
        }
        if remove {
            self.sources.remove(&call.id);
            self.close(&call.id);
        }
    }

    /// Gives the berth of a call back that came to nothing: to the lost stream, while it is kept.
    fn not_connected(
        &mut self,
        id: &str,
        mut berth: crate::berth::Berth,
        kept_until: Option<Time>,
        now: Time,
    ) {
        match (kept_until, self.streams.get_mut(id)) {
            (Some(until), Some(stream)) if now < until => {
                stream.state = State::Lost { berth: Box::new(berth), until };
            }
            (kept, _) => {
                self.settings.forget(id);
                self.streams.remove(id);
                if kept.is_some() {
                    berth.slot.clear();
                }
                self.parts.berths.push(berth);
            }
        }
    }

    /// A worker has closed a socket, or could not open it.
    pub(super) fn socket_closed(&mut self, worker: usize, socket: SocketIndex) {
        // Listeners live as long as their worker.
        if socket.index() < self.socket_places.first() {
            return tracing::error!(worker, socket = socket.index(), "a socket is closed");
        }
        let number = u16::try_from(worker).expect("workers are numbered in 16 bits");
        if let Some(source) = self.sources.by_socket(number, socket)
            && let Some(attempt) = source.attempt_mut()
        {
            attempt.socket = None;
        }
        self.given_socket_closed(number, socket);
        self.socket_places.give_back(worker, socket);
    }

    /// Takes a further source.
    pub(super) fn add_source(&mut self, config: SourceConfig, now: Time) {
        let policy = self.parts.srt.sources.policy;
        tracing::info!(source = config.id, address = %config.address, "source added");
        self.sources.insert(Source::new(config, policy, false, now));
    }

    /// Forgets a source; its stream ends.
    pub(super) fn remove_source(&mut self, id: &str) {
        let Some(source) = self.sources.get_mut(id) else { return };
        tracing::info!(source = id, "source removed");
        if source.attempt().is_some() {
            source.wish = Wish::Remove;
            return self.end_attempt(id, EndReason::Terminated);
        }
        self.sources.remove(id);
        self.close(id);
    }

    /// Calls a source at once; a connection it has is ended first.
    pub(super) fn restart_source(&mut self, id: &str, now: Time) {
        let Some(source) = self.sources.get_mut(id) else { return };
        source.restart(now);
        self.end_attempt(id, EndReason::Stopped);
    }

    fn end_attempt(&mut self, id: &str, reason: EndReason) {
        let attempt = self.sources.get(id).and_then(|source| source.attempt().copied());
        if let Some(Attempt { place, socket_id, .. }) = attempt {
            self.order(place.worker, Order::End { place, socket_id, reason });
        }
    }
}

/// Where to call from.
fn local(config: &SourceConfig, peer: SocketAddr) -> SocketAddr {
    let unspecified = match peer {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(config.local_ip.unwrap_or(unspecified), config.local_port.unwrap_or(0))
}

fn millis(duration: Duration) -> u16 {
    u16::try_from(duration.as_millis()).unwrap_or(u16::MAX)
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
