//! A session's life as the conductor sees it: placed, opened, ended, its berth free again.

use std::time::Duration;

use memory::Time;
use shm::counters::{ConductorCounter, StreamCounter};
use shm::link::{Event, EventKind};
use shm::{Directory, EndReason, StreamKind, StreamState};
use srt::crypto::Keys;
use srt::{Answer, ConnectionConfig};

use super::admission::{self, Limit, Refusal};
use super::keys::KeyRoom;
use super::placement::{Full, Place};
use super::streams::{State, Stream};
use super::tickets::{Phase, Ticket};
use super::{Conductor, Parts};
use crate::berth::{Berth, Guest};
use crate::clock;
use crate::config::StreamOptions;
use crate::messages::{Order, Origin, Tenancy, Verdict};
use crate::worker::attempts::AttemptKey;

impl Conductor {
    /// Gives the request a place and a berth, and sends both to the place's worker.
    pub(super) fn install(&mut self, number: u32, now: Time) {
        let Some(ticket) = self.tickets.get(&number) else { return };
        let latency = match admission::latency(&ticket.request, &ticket.options) {
            Ok(latency) => latency,
            Err(refusal) => return self.refuse_ticket(number, &refusal, now),
        };
        let slots = ticket.options.slots(latency);
        let full = Refusal::Limit(Limit::All);
        let place = match self.parts.placement.take(slots) {
            Ok(place) => place,
            Err(Full::Sessions) => {
                let taken = self.streams.count_others(&ticket.id, &|_| true);
                let all = taken >= usize::from(self.parts.connections_max);
                let limit = if all { Limit::All } else { Limit::Worker };
                return self.refuse_ticket(number, &Refusal::Limit(limit), now);
            }
            Err(Full::Slots { wanted, free }) => {
                return self.refuse_ticket(number, &Refusal::Slots { wanted, free }, now);
            }
        };
        let id = ticket.id.clone();
        let Some((mut berth, resumed)) = self.berth(&id) else {
            self.parts.placement.release(place);
            return self.refuse_ticket(number, &full, now);
        };
        let Some(ticket) = self.tickets.get_mut(&number) else { return };
        let salt = self.parts.salts.next();
        let socket_id = self.parts.ids.encode(place.worker, place.session, salt);
        let slot = berth.slot.slot();
        ticket.phase = Phase::Installing { place, socket_id, slot };
        let guest = Guest {
            kind: StreamKind::Srt,
            id: &id,
            peer: Some(ticket.request.peer),
            peer_version: ticket.request.capabilities.version,
            worker: place.worker,
            resumed,
            suite: ticket.keys.as_ref().map(|unwrapped| unwrapped.keys.suite()),
        };
        berth.show_connecting(&guest, now);
        let keys = keep_keys(&mut self.keys, ticket, socket_id, place);
        let tenancy = Tenancy {
            place,
            socket: ticket.socket,
            origin: Origin::Accepted { ticket: number, from: ticket.from, request: ticket.request },
            config: connection(&ticket.options, &self.parts, socket_id, latency, slots),
            keys,
            options: ticket.options.clone(),
            berth,
            end: EndReason::None,
        };
        let source = admission::canonical(ticket.request.peer.ip());
        let (listener, rule) = (ticket.socket, ticket.rule);
        self.settings.connected(&id, &ticket.options);
        let (kind, state) = (StreamKind::Srt, State::Installing);
        self.streams.insert(id, Stream { kind, source, listener, rule, state });
        if resumed {
            self.parts.block.add(ConductorCounter::Reconnects, 1);
            if ticket.arrival == EventKind::Accepted {
                ticket.arrival = EventKind::Reconnected;
            }
        }
        self.order(place.worker, Order::Install(Box::new(tenancy)));
    }

    /// Installs a request whose predecessor has ended, of whichever protocol it is.
    fn install_next(&mut self, number: u32, now: Time) {
        if self.tickets.contains_key(&number) {
            self.install(number, now);
        } else {
            self.install_sender(number, now);
        }
    }

    /// The berth for an id: its own when it was lost, else a free one, else that of the stream
    /// that was lost first.
    pub(super) fn berth(&mut self, id: &str) -> Option<(Berth, bool)> {
        if let Some(stream) = self.streams.remove(id)
            && let State::Lost { berth, .. } = stream.state
        {
            return Some((*berth, true));
        }
        if self.parts.berths.len() <= self.berths_kept(id)
            // That of a session that was added would only be kept for it again.
            && let Some(lost) = self.streams.longest_lost(|lost| !self.given.is_added(lost))
        {
            self.close(&lost);
        }
        if self.parts.berths.len() <= self.berths_kept(id) {
            return None;
        }
        Some((self.parts.berths.pop()?, false))
    }

    /// Berths that are not for a stream of this id: those of sessions of RTP that may yet be added.
    fn berths_kept(&self, id: &str) -> usize {
        if self.given.is_added(id) {
            return 0;
        }
        let max = self.parts.rtp.as_ref().map_or(0, |rtp| usize::from(rtp.added.max));
        let have = self.given.added().filter(|id| self.streams.get(id).is_some()).count();
        max.saturating_sub(have)
    }

    pub(super) fn installed(&mut self, number: u32, answer: &Answer, now: Time) {
        let Some(ticket) = self.tickets.remove(&number) else { return };
        let Phase::Installing { place, socket_id, slot } = ticket.phase else { return };
        if let Some(stream) = self.streams.get_mut(&ticket.id) {
            stream.state = State::Live { place, socket_id, slot };
        }
        self.parts.block.add(ConductorCounter::Accepted, 1);
        tracing::info!(
            stream = ticket.id,
            source = %ticket.request.peer,
            worker = place.worker,
            "publisher accepted"
        );
        let event = Event::new(ticket.arrival)
            .stream(&ticket.id)
            .source(ticket.request.peer)
            .listener(&self.parts.srt.listeners[ticket.socket.index()].name)
            .attribute("worker", place.worker.into());
        self.tell(event, now);
        let verdict = Verdict::accepted(ticket.socket, ticket.request, answer);
        self.order(ticket.from, Order::Answer(Box::new(verdict)));
    }

    pub(super) fn ended(&mut self, tenancy: Tenancy, now: Time) {
        self.parts.placement.release(tenancy.place);
        self.keys.forget(tenancy.config.local_id);
        match tenancy.origin {
            Origin::Accepted { ticket, from, ref request } => {
                if from != tenancy.place.worker {
                    let attempt = AttemptKey::new(tenancy.socket, request);
                    self.order_if_room(from, Order::Forget(attempt));
                }
                // A session that ended before its answer left: the caller repeats, and is judged
                // anew.
                self.tickets.remove(&ticket);
                self.lost(tenancy.berth, tenancy.end, now);
            }
            Origin::Called(_) => self.call_ended(tenancy, now),
        }
    }

    /// A stream has lost its session: its berth waits for the next one.
    pub(super) fn lost(&mut self, mut berth: Berth, end: EndReason, now: Time) {
        self.parts.block.add(end_counter(end), 1);
        let id = berth.info.id.as_str().to_owned();
        tracing::info!(stream = id, reason = %end, "publisher gone");
        let event = Event::new(EventKind::Ended).stream(&id).reason(end.label(), end.label());
        self.tell(Event { message: None, source: berth.info.source, ..event }, now);
        berth.info.state = StreamState::Lost;
        berth.info.end = end;
        berth.info.ended_unix_ns = clock::unix_nanos();
        berth.slot.set_info(&berth.info);
        let next = match self.streams.get(&id).map(|stream| &stream.state) {
            Some(State::Ending { then }) => *then,
            _ => None,
        };
        let until = now + self.parts.reconnect_grace;
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.state = State::Lost { berth: Box::new(berth), until };
        }
        match (next, end) {
            (Some(number), _) => {
                if let Some(ticket) = self.tickets.get_mut(&number)
                    && end == EndReason::TakenOver
                {
                    ticket.arrival = EventKind::TakenOver;
                }
                self.install_next(number, now);
            }
            (None, EndReason::Terminated) => self.close(&id),
            _ => {}
        }
    }

    /// A lost stream is over: its slot and ring are free for another.
    pub(super) fn close(&mut self, id: &str) {
        self.settings.forget(id);
        self.rtp_settings.forget(id);
        self.senders.forget(id);
        let Some(stream) = self.streams.remove(id) else { return };
        let State::Lost { mut berth, .. } = stream.state else { return };
        berth.slot.clear();
        self.parts.berths.push(*berth);
    }

    pub(super) fn expire(&mut self, now: Time) {
        for id in self.streams.expire(now) {
            self.close(&id);
        }
    }
}

pub(super) fn connection(
    options: &StreamOptions,
    parts: &Parts,
    local_id: u32,
    latency: Duration,
    slots: u32,
) -> ConnectionConfig {
    ConnectionConfig {
        local_id,
        latency,
        flow_window: options.flow_window.min(parts.window_packets),
        slots_max: slots,
        peer_idle_timeout: options.peer_idle_timeout,
        reorder_tolerance: options.reorder_tolerance_packets,
    }
}

/// The keys of a ticket on their way to a worker; what the next ones are wrapped with stays.
fn keep_keys(
    room: &mut KeyRoom,
    ticket: &mut Ticket,
    socket_id: u32,
    place: Place,
) -> Option<Box<Keys>> {
    let source = admission::canonical(ticket.request.peer.ip());
    let (unwrapped, material) = (ticket.keys.take()?, ticket.request.key_material?);
    let passphrase = ticket.options.passphrase.as_ref()?;
    Some(room.keep(socket_id, place, &material, passphrase, source, unwrapped))
}

pub(super) fn last_received(view: &Directory, slot: u32) -> Time {
    let stream = view.stream_at(slot).ok().flatten();
    let nanos = stream.map_or(0, |stream| stream.counter(StreamCounter::LastReceivedNs));
    Time::from_nanos(nanos)
}

const fn end_counter(end: EndReason) -> ConductorCounter {
    match end {
        EndReason::Idle => ConductorCounter::EndedIdle,
        EndReason::Terminated => ConductorCounter::EndedTerminated,
        EndReason::Replaced => ConductorCounter::EndedReplaced,
        EndReason::TakenOver => ConductorCounter::EndedTakenOver,
        EndReason::OverBandwidth => ConductorCounter::EndedOverBandwidth,
        EndReason::Displaced => ConductorCounter::EndedDisplaced,
        EndReason::Panicked => ConductorCounter::EndedPanicked,
        EndReason::Protocol => ConductorCounter::EndedProtocol,
        EndReason::None | EndReason::Shutdown | EndReason::Stopped => {
            ConductorCounter::EndedShutdown
        }
    }
}
