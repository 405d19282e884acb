//! A request's way through admission: read, checked, decided.

use std::net::SocketAddr;

use memory::Time;
use shm::EndReason;
use shm::link::{Event, EventKind};
use srt::ConnectRequest;
use srt::handshake::RejectReason;
use uring::SocketIndex;

use super::admission::{self, Limit, Refusal, canonical};
use super::sessions::last_received;
use super::streams::{Claim, Newcomer, State, Stream};
use super::tickets::{Phase, Ticket};
use super::{Conductor, TICKET_LIFE, TICKETS_MAX};
use crate::config::SecondPublisher;
use crate::messages::{Order, Verdict};
use crate::stream_id;

impl Conductor {
    /// Takes a request that came with a good cookie.
    pub(super) fn admit(
        &mut self,
        from: u16,
        socket: SocketIndex,
        request: ConnectRequest,
        now: Time,
    ) {
        if self.tickets.len() >= TICKETS_MAX {
            let refusal = Refusal::Limit(Limit::Requests);
            return self.refuse(from, socket, &request, None, &refusal, now);
        }
        let srt = &self.parts.srt;
        let listener = &srt.listeners[socket.index()];
        let examined = admission::examine(&request, listener, &srt.rules, &mut self.derived);
        let admissible = match examined {
            Ok(admissible) => admissible,
            Err(refusal) => {
                // The id is shown where the text names one; the text itself may hold a secret.
                let wish = stream_id::parse(request.stream_id.as_bytes()).unwrap_or_default();
                return self.refuse(from, socket, &request, wish.resource, &refusal, now);
            }
        };
        let options = self.settings.overlay(&admissible.id, &admissible.options);
        let ticket = Ticket {
            from,
            socket,
            request,
            id: admissible.id,
            rule: admissible.rule,
            options,
            keys: None,
            asked: now,
            arrival: EventKind::Accepted,
            phase: Phase::Undecided,
        };
        self.ticket_last = self.ticket_last.wrapping_add(1);
        self.tickets.insert(self.ticket_last, ticket);
        self.ask_about(self.ticket_last, now);
    }

    /// Goes on with requests that wait for the publisher before them.
    pub(super) fn decide_waiting(&mut self, now: Time) {
        let waiting = |ticket: &Ticket| ticket.phase == Phase::Undecided;
        let mut numbers: Vec<u32> =
            self.tickets.iter().filter(|(_, ticket)| waiting(ticket)).map(|(n, _)| *n).collect();
        let asked = |number: &u32| {
            self.tickets.get(number).map(|it| self.keys.asked(canonical(it.request.peer.ip())))
        };
        numbers.sort_unstable();
        numbers.sort_by_cached_key(asked);
        for number in numbers {
            self.decide(number, now);
        }
    }

    /// Whether a request is as encrypted as the stream has to be, its keys unwrapped; false when
    /// that is not known yet or it was refused.
    fn is_secured_as_asked(&mut self, number: u32, now: Time) -> bool {
        let Some(ticket) = self.tickets.get_mut(&number) else { return false };
        let material = match admission::encryption(&ticket.request, &ticket.options) {
            Ok(material) => material,
            Err(refusal) => {
                self.refuse_ticket(number, &refusal, now);
                return false;
            }
        };
        let (Some(material), Some(passphrase)) = (material, &ticket.options.passphrase) else {
            return true;
        };
        if ticket.keys.is_some() {
            return true;
        }
        let source = canonical(ticket.request.peer.ip());
        match self.keys.unwrap(&material, passphrase, source, now) {
            Some(Ok(unwrapped)) => {
                ticket.keys = Some(unwrapped);
                true
            }
            Some(Err(refusal)) => {
                self.refuse_ticket(number, &refusal, now);
                false
            }
            None if now.since(ticket.asked) > TICKET_LIFE => {
                self.refuse_ticket(number, &Refusal::Limit(Limit::Requests), now);
                false
            }
            None => false,
        }
    }

    pub(super) fn decide(&mut self, number: u32, now: Time) {
        let Some(ticket) = self.tickets.get(&number) else { return };
        if self.streams.is_blocked(&ticket.id, now) {
            return self.refuse_ticket(number, &Refusal::Blocked, now);
        }
        if self.sources.owns(&ticket.id) || self.given.owns(&ticket.id) {
            return self.refuse_ticket(number, &Refusal::Conflict, now);
        }
        if let Err(limit) = self.within_limits(ticket) {
            return self.refuse_ticket(number, &Refusal::Limit(limit), now);
        }
        // Before a publisher has to give way: who does not know the passphrase ends nobody's stream.
        if !self.is_secured_as_asked(number, now) {
            return;
        }
        self.contend(number, now);
    }

    /// Gets the id for a request that may have it, or refuses it.
    fn contend(&mut self, number: u32, now: Time) {
        let Some(ticket) = self.tickets.get(&number) else { return };
        let slots = match admission::latency(&ticket.request, &ticket.options) {
            Ok(latency) => ticket.options.slots(latency),
            Err(refusal) => return self.refuse_ticket(number, &refusal, now),
        };
        let (id, source) = (ticket.id.clone(), canonical(ticket.request.peer.ip()));
        let (hold, mut policy) = (self.parts.take_over_hold, ticket.options.second_publisher);
        let held_off =
            policy == SecondPublisher::TakeOver && self.streams.holds_off(&id, source, now, hold);
        if held_off {
            policy = SecondPublisher::Refuse;
        }
        let conflict = if held_off { Refusal::HeldOff { hold } } else { Refusal::Conflict };
        let newcomer = Newcomer { id: &id, source, asked: ticket.asked, policy };
        let view = &self.parts.view;
        match self.streams.claim(&newcomer, now, |slot| last_received(view, slot)) {
            Claim::Free | Claim::Resume => self.install(number, now),
            // Nobody is ended for a newcomer that would be refused then.
            Claim::Replace { place, .. } if !self.parts.placement.fits(slots, place) => {
                let (wanted, free) = (slots, self.parts.placement.slots_free());
                self.refuse_ticket(number, &Refusal::Slots { wanted, free }, now);
            }
            Claim::Replace { place, socket_id, reason } => {
                if reason == EndReason::TakenOver {
                    self.streams.displace(&id, now + hold);
                }
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.state = State::Ending { then: Some(number) };
                }
                self.order(place.worker, Order::End { place, socket_id, reason });
            }
            Claim::Undecided if now.since(ticket.asked) <= TICKET_LIFE => {}
            // A ticket that is next in line waits for its predecessor's end.
            Claim::Conflict if self.streams.is_next(&id, number) => {}
            Claim::Undecided | Claim::Conflict => self.refuse_ticket(number, &conflict, now),
        }
    }

    /// Whether one more publisher may come from there, at that listener and under that rule. The
    /// stream's own publisher, if it has one, is not counted: the newcomer takes its place or none.
    fn within_limits(&self, ticket: &Ticket) -> Result<(), Limit> {
        let srt = &self.parts.srt;
        let count = |test: &dyn Fn(&Stream) -> bool| self.streams.count_others(&ticket.id, test);
        let full = |max: Option<u16>, test: &dyn Fn(&Stream) -> bool| {
            max.is_some_and(|max| count(test) >= usize::from(max))
        };
        let source = canonical(ticket.request.peer.ip());
        if full(self.parts.streams_per_source_max, &|stream| stream.source == source) {
            return Err(Limit::Source);
        }
        let listener_max = srt.listeners[ticket.socket.index()].connections_max;
        if full(listener_max, &|stream| stream.listener == ticket.socket) {
            return Err(Limit::Listener);
        }
        let rule_max = ticket.rule.and_then(|rule| srt.rules.get(rule)?.connections_max);
        if full(rule_max, &|stream| stream.rule == ticket.rule) {
            return Err(Limit::Rule);
        }
        Ok(())
    }

    pub(super) fn refuse_ticket(&mut self, number: u32, refusal: &Refusal, now: Time) {
        if let Some(ticket) = self.tickets.remove(&number) {
            let Ticket { from, socket, request, id, .. } = ticket;
            self.refuse(from, socket, &request, Some(&id), refusal, now);
        }
    }

    /// Answers with the reason's code, counts and tells.
    fn refuse(
        &mut self,
        from: u16,
        socket: SocketIndex,
        request: &ConnectRequest,
        id: Option<&str>,
        refusal: &Refusal,
        now: Time,
    ) {
        self.show_refusal(self.listener_name(socket), request.peer, id, refusal, now);
        let verdict = Verdict::refused(socket, *request, refusal.reason(), now);
        self.order(from, Order::Answer(Box::new(verdict)));
    }

    /// A worker refused a handshake by what it is.
    pub(super) fn refused(
        &mut self,
        socket: SocketIndex,
        peer: SocketAddr,
        reason: RejectReason,
        now: Time,
    ) {
        let listener = self.listener_name(socket);
        self.show_refusal(listener, peer, None, &Refusal::Handshake(reason), now);
    }

    fn listener_name(&self, socket: SocketIndex) -> String {
        self.parts.srt.listeners[socket.index()].name.clone()
    }

    /// Counts a refusal and tells of it.
    pub(super) fn show_refusal(
        &mut self,
        listener: String,
        peer: SocketAddr,
        id: Option<&str>,
        refusal: &Refusal,
        now: Time,
    ) {
        self.parts.block.add(refusal.counter(), 1);
        let code = refusal.reason().code();
        self.refusals.allow(now, || {
            let reason = refusal.label();
            tracing::warn!(listener, source = %peer, stream_id = id, code, reason, "refused: {refusal}");
        });
        let mut event = Event::new(EventKind::Refused)
            .source(peer)
            .listener(&listener)
            .reason(refusal.label(), refusal.to_string())
            .attribute("code", code.into());
        event.stream_id = id.map(str::to_owned);
        self.tell(event, now);
    }
}
