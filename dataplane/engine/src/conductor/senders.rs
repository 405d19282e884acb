//! Senders at the shared port of RTP: who may become a stream, under which id.
//!
//! ```text
//!  worker ── Proven ───────▶ conductor     two numbers in a row; the sender's packets wait there
//!  worker ◀─ InstallRtp ──── conductor     place, berth and terms: what waited comes first
//!  worker ── RtpInstalled ─▶ conductor
//!     …                                    or ◀─ RefuseSender ──
//!  worker ── RtpEnded ─────▶ conductor     the berth comes back
//! ```
//!
//! RTP has no request that could be refused: a sender that may not is dropped where it arrives. Which
//! worker it is on is its SSRC's matter, so its place is there or nowhere.
//!
//! **Ids.** A rule of `ingestion.rtp.streams` gives one. Else a sender keeps the id of the stream
//! that came from its address, or from its host with its SSRC, while that is live or kept; else it
//! gets a derived one. A sender that changes its SSRC is so known by its address, one whose address
//! changes by its SSRC: the newcomer goes on with the stream once the former one has fallen silent.
//!
//! **Places.** When none is free, a session of no use may give way: see `displacement`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use memory::Time;
use rtp::detect::Detector;
use rtp::rtcp::write::CNAME_BYTES_MAX;
use rtp::session::{LEGS_MAX, SessionConfig, TRACKS_MAX, TrackSetup};
use shm::counters::ConductorCounter;
use shm::link::{Event, EventKind, Question};
use shm::{EndReason, StreamKind};

use super::admission::{Limit, Refusal, canonical};
use super::placement::{Full, Place};
use super::sessions::last_received;
use super::streams::{Claim, Newcomer, State, Stream};
use super::{Conductor, TICKET_LIFE, TICKETS_MAX};
use crate::berth::Guest;
use crate::config::SecondPublisher;
use crate::messages::{Admission, Order, RtpTenancy, Sender};

/// What the shared port is called in events and logs.
pub(super) const LISTENER: &str = "rtp";

/// A sender on its way to a decision.
#[derive(Debug)]
pub(super) struct SenderTicket {
    /// The worker it came to.
    from: u16,
    sender: Sender,
    id: String,
    /// The id is a former stream's, not one that the configuration gives.
    inherited: bool,
    asked: Time,
    arrival: EventKind,
    granted: SenderGrants,
    phase: Phase,
}

/// What a permission gives a sender, in place of what all of them have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SenderGrants {
    /// How long a missing packet is waited for.
    pub(super) latency: Option<Duration>,
    pub(super) max_bandwidth_bps: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Somebody else decides about it.
    Asking { until: Time, put: bool },
    /// Waits until the sender before it has proven alive or silent, or has ended.
    Undecided,
    /// Its session is being opened.
    Installing { place: Place, id: u32, slot: u32 },
}

impl SenderTicket {
    /// Its time may be over soon.
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Undecided | Phase::Asking { .. })
    }
}

/// Senders that wait, and where each stream's last sender was.
#[derive(Debug, Default)]
pub(super) struct Senders {
    tickets: HashMap<u32, SenderTicket>,
    /// SSRC and address by stream id, while the stream is listed.
    seen: HashMap<String, (u32, SocketAddr)>,
}

impl Senders {
    pub(super) fn any_waiting(&self) -> bool {
        self.tickets.values().any(SenderTicket::is_waiting)
    }

    /// The worker that a waiting sender came to, and where it is.
    pub(super) fn whence(&self, number: u32) -> Option<(u16, SocketAddr)> {
        self.tickets.get(&number).map(|ticket| (ticket.from, ticket.sender.peer))
    }

    /// The stream is listed no more.
    pub(super) fn forget(&mut self, id: &str) {
        self.seen.remove(id);
    }

    /// The id of the stream that a sender seems to go on with.
    fn known(&self, sender: &Sender) -> Option<&str> {
        let Sender { ssrc, peer, .. } = *sender;
        let find = |test: &dyn Fn(&(u32, SocketAddr)) -> bool| {
            self.seen.iter().find(|(_, seen)| test(seen)).map(|(id, _)| id.as_str())
        };
        find(&|seen| *seen == (ssrc, peer))
            .or_else(|| find(&|seen| seen.1 == peer))
            .or_else(|| find(&|seen| seen.0 == ssrc && seen.1.ip() == peer.ip()))
    }
}

impl Conductor {
    /// A sender proved itself at the shared port.
    pub(super) fn sender_proven(&mut self, from: u16, sender: Sender, now: Time) {
        let Some(rtp) = &self.parts.rtp else { return };
        if self.senders.tickets.len() + self.tickets.len() >= TICKETS_MAX {
            return self.refuse_sender(from, &sender, None, &Refusal::Limit(Limit::Requests), now);
        }
        let source = canonical(sender.peer.ip());
        if !rtp.access.admits(source) {
            return self.refuse_sender(from, &sender, None, &Refusal::Source, now);
        }
        let named = rtp.id_of(sender.ssrc, sender.payload_type, sender.peer).map(str::to_owned);
        let known = || self.senders.known(&sender).map(str::to_owned);
        let inherited = named.is_none();
        let id = match named.or_else(known) {
            Some(id) => id,
            None => self.derived.next(&rtp.derived_id, LISTENER, source),
        };
        let (arrival, phase) = (EventKind::Accepted, Phase::Undecided);
        let granted = SenderGrants::default();
        let ticket =
            SenderTicket { from, sender, id, inherited, asked: now, arrival, granted, phase };
        self.ticket_last = self.ticket_last.wrapping_add(1);
        self.senders.tickets.insert(self.ticket_last, ticket);
        self.ask_about_sender(self.ticket_last, now);
    }

    fn ask_about_sender(&mut self, number: u32, now: Time) {
        let Some(authorization) = self.parts.authorization else {
            return self.decide_sender(number, now);
        };
        let asking = |ticket: &&SenderTicket| matches!(ticket.phase, Phase::Asking { .. });
        if self.senders.tickets.values().filter(asking).count() >= authorization.outstanding_max {
            return self.refuse_ticket_of_sender(number, &Refusal::Limit(Limit::Requests), now);
        }
        if let Some(ticket) = self.senders.tickets.get_mut(&number) {
            ticket.phase = Phase::Asking { until: now + authorization.timeout, put: false };
        }
    }

    /// Puts the questions that have not been put, and gives those back that were not answered in
    /// time.
    pub(super) fn ask_waiting_senders(&mut self, anew: bool, now: Time) -> Vec<u32> {
        let mut over = Vec::new();
        for (number, ticket) in &mut self.senders.tickets {
            let Phase::Asking { until, put } = &mut ticket.phase else { continue };
            if *until <= now {
                over.push(*number);
                continue;
            }
            *put &= !anew;
            if !*put {
                let question = question(*number, &ticket.id, ticket.sender.peer);
                *put = self.parts.link.put(&question);
            }
        }
        over
    }

    /// Whether the question about a sender waits for its answer.
    pub(super) fn is_sender_asked(&self, number: u32) -> bool {
        let ticket = self.senders.tickets.get(&number);
        ticket.is_some_and(|ticket| matches!(ticket.phase, Phase::Asking { .. }))
    }

    /// Somebody else says that the sender may.
    pub(super) fn sender_authorized(&mut self, number: u32, granted: SenderGrants, now: Time) {
        if let Some(ticket) = self.senders.tickets.get_mut(&number) {
            ticket.granted = granted;
            ticket.phase = Phase::Undecided;
            ticket.asked = now;
        }
        self.decide_sender(number, now);
    }

    /// Goes on with senders that wait for the one before them.
    pub(super) fn decide_waiting_senders(&mut self, now: Time) {
        let undecided = |ticket: &SenderTicket| ticket.phase == Phase::Undecided;
        let waiting = self.senders.tickets.iter().filter(|(_, ticket)| undecided(ticket));
        let mut numbers: Vec<u32> = waiting.map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        for number in numbers {
            self.decide_sender(number, now);
        }
    }

    fn decide_sender(&mut self, number: u32, now: Time) {
        let Some(ticket) = self.senders.tickets.get(&number) else { return };
        if self.streams.is_promised(number) {
            return;
        }
        if self.streams.is_blocked(&ticket.id, now) {
            return self.refuse_ticket_of_sender(number, &Refusal::Blocked, now);
        }
        if self.sources.owns(&ticket.id) || self.given.owns(&ticket.id) {
            return self.refuse_ticket_of_sender(number, &Refusal::Conflict, now);
        }
        if let Err(limit) = self.sender_within_limits(ticket) {
            if limit == Limit::RtpSessions && self.displace_for(number, now) {
                return;
            }
            return self.refuse_ticket_of_sender(number, &Refusal::Limit(limit), now);
        }
        let newcomer = Newcomer {
            id: &ticket.id,
            source: canonical(ticket.sender.peer.ip()),
            asked: ticket.asked,
            policy: SecondPublisher::Refuse,
        };
        let view = &self.parts.view;
        match self.streams.claim(&newcomer, now, |slot| last_received(view, slot)) {
            Claim::Free | Claim::Resume => self.install_sender(number, now),
            Claim::Replace { place, socket_id, reason } => {
                if let Some(stream) = self.streams.get_mut(&ticket.id) {
                    stream.state = State::Ending { then: Some(number) };
                }
                self.order(place.worker, Order::End { place, socket_id, reason });
            }
            Claim::Undecided if now.since(ticket.asked) <= TICKET_LIFE => {}
            Claim::Undecided | Claim::Conflict => self.another_stream(number, now),
        }
    }

    /// The stream that a sender seemed to go on with lives: the sender is another one.
    fn another_stream(&mut self, number: u32, now: Time) {
        let (Some(ticket), Some(rtp)) = (self.senders.tickets.get_mut(&number), &self.parts.rtp)
        else {
            return;
        };
        if !ticket.inherited {
            return self.refuse_ticket_of_sender(number, &Refusal::Conflict, now);
        }
        let source = canonical(ticket.sender.peer.ip());
        ticket.id = self.derived.next(&rtp.derived_id, LISTENER, source);
        ticket.inherited = false;
        match self.parts.authorization {
            // Who allowed the other id has not heard of this one.
            Some(_) => self.ask_about_sender(number, now),
            None => self.install_sender(number, now),
        }
    }

    fn sender_within_limits(&self, ticket: &SenderTicket) -> Result<(), Limit> {
        let sessions_max = self.parts.rtp.as_ref().map_or(0, |rtp| rtp.sessions_max);
        let own = self
            .streams
            .get(&ticket.id)
            .is_some_and(|stream| stream.kind == StreamKind::Rtp && stream.is_taken());
        // What is kept for sessions that are added is not a sender's.
        let taken = self.parts.rtp_placement.taken() - self.given.added_open();
        if taken >= usize::from(sessions_max) + usize::from(own) {
            return Err(Limit::RtpSessions);
        }
        let source = canonical(ticket.sender.peer.ip());
        let count = || self.streams.count_others(&ticket.id, &|stream| stream.source == source);
        match self.parts.streams_per_source_max {
            Some(max) if count() >= usize::from(max) => Err(Limit::Source),
            _ => Ok(()),
        }
    }

    /// Gives the sender a place on its worker and a berth.
    pub(super) fn install_sender(&mut self, number: u32, now: Time) {
        let (Some(ticket), Some(rtp)) = (self.senders.tickets.get(&number), &self.parts.rtp) else {
            return;
        };
        let (from, sender, id) = (ticket.from, ticket.sender, ticket.id.clone());
        let granted = ticket.granted;
        let max_bandwidth_bps = granted.max_bandwidth_bps.unwrap_or(rtp.max_bandwidth_bps);
        let (mut config, bandwidth) = (rtp.session, (max_bandwidth_bps, rtp.over_bandwidth));
        config.window.time = granted.latency.unwrap_or(config.window.time);
        let place = match self.parts.rtp_placement.take_on(from, rtp.slots(1)) {
            Ok(place) => place,
            Err(Full::Sessions) if self.displace_for(number, now) => return,
            Err(full) => return self.refuse_ticket_of_sender(number, &refusal(full), now),
        };
        let Some((mut berth, resumed)) = self.berth(&id) else {
            self.parts.rtp_placement.release(place);
            return self.refuse_ticket_of_sender(number, &Refusal::Limit(Limit::All), now);
        };
        let salt = self.parts.salts.next();
        let session_id = self.parts.ids.encode(place.worker, place.session, salt);
        let slot = berth.slot.slot();
        berth.show_connecting(&guest(&id, sender.peer, place, resumed), now);
        let (source, listener) = (canonical(sender.peer.ip()), self.parts.shared_rtp);
        let (kind, state) = (StreamKind::Rtp, State::Installing);
        let terms = self.rtp_terms(&id, &config, bandwidth, false);
        self.streams.insert(id.clone(), Stream { kind, source, listener, rule: None, state });
        self.senders.seen.insert(id, (sender.ssrc, sender.peer));
        if let Some(ticket) = self.senders.tickets.get_mut(&number) {
            ticket.phase = Phase::Installing { place, id: session_id, slot };
            if resumed {
                self.parts.block.add(ConductorCounter::Reconnects, 1);
                ticket.arrival = EventKind::Reconnected;
            }
        }
        let mut config = self.reporting(config.with_terms(&terms.session));
        config.tracks = [Some(TrackSetup::default()), None, None, None];
        let tenancy = RtpTenancy {
            place,
            id: session_id,
            admission: Admission::Sender { ticket: number, sender },
            rtcp_sockets: [[self.parts.shared_rtcp; LEGS_MAX]; TRACKS_MAX],
            config,
            max_bandwidth_bps: terms.max_bandwidth_bps,
            over_bandwidth: terms.over_bandwidth,
            berth,
            end: EndReason::None,
        };
        self.order(place.worker, Order::InstallRtp(Box::new(tenancy)));
    }

    /// With a source and a name of its own in reports: by chance, so that they tell nothing of this
    /// host (RFC 3550, 8.1; RFC 7022).
    pub(super) fn reporting(&mut self, config: SessionConfig) -> SessionConfig {
        let [ssrc, high, low] = [(); 3].map(|()| self.parts.salts.next());
        let text = format!("{high:08x}{low:08x}");
        let mut name = [0; CNAME_BYTES_MAX];
        name[..text.len()].copy_from_slice(text.as_bytes());
        let len = u8::try_from(text.len()).expect("sixteen digits");
        let seed = u64::from(high) << 32 | u64::from(low);
        SessionConfig { ssrc, cname: (name, len), seed: seed.max(1), ..config }
    }

    /// A session of RTP is open.
    pub(super) fn sender_installed(&mut self, number: u32, now: Time) {
        let Some(ticket) = self.senders.tickets.remove(&number) else { return };
        let Phase::Installing { place, id, slot } = ticket.phase else { return };
        if let Some(stream) = self.streams.get_mut(&ticket.id) {
            stream.state = State::Live { place, socket_id: id, slot };
        }
        self.parts.block.add(ConductorCounter::Accepted, 1);
        let Sender { peer, ssrc, .. } = ticket.sender;
        tracing::info!(
            stream = ticket.id, source = %peer, ssrc, worker = place.worker, "RTP sender accepted"
        );
        let event = Event::new(ticket.arrival)
            .stream(&ticket.id)
            .source(peer)
            .listener(LISTENER)
            .attribute("worker", place.worker.into())
            .attribute("ssrc", ssrc.into());
        self.tell(event, now);
    }

    /// A session of RTP is over.
    pub(super) fn rtp_ended(&mut self, tenancy: RtpTenancy, now: Time) {
        let ticket = match tenancy.admission {
            Admission::Sender { ticket, .. } => ticket,
            Admission::Given { .. } => return self.given_ended(tenancy, now),
        };
        self.parts.rtp_placement.release(tenancy.place);
        self.senders.tickets.remove(&ticket);
        self.lost(tenancy.berth, tenancy.end, now);
    }

    /// What a session's packets carry was not recognised: says what was seen.
    pub(super) fn undetected(&mut self, id: u32, seen: &Detector, now: Time) {
        let Some(stream) = self.streams.with_session(id) else { return };
        let looks = seen
            .seen()
            .filter(|(_, it)| it.score + it.strong > 0)
            .map(|(format, it)| format!("{format:?} {} for, {} against", it.score, it.against));
        let looks: Vec<String> = looks.collect();
        let looks = if looks.is_empty() { "nothing known".into() } else { looks.join("; ") };
        let packets = seen.packets();
        self.refusals.allow(now, || {
            tracing::warn!(stream, packets, "format not recognised; seen: {looks}");
        });
    }

    pub(super) fn refuse_ticket_of_sender(&mut self, number: u32, refusal: &Refusal, now: Time) {
        if let Some(ticket) = self.senders.tickets.remove(&number) {
            self.refuse_sender(ticket.from, &ticket.sender, Some(&ticket.id), refusal, now);
        }
    }

    fn refuse_sender(
        &mut self,
        from: u16,
        sender: &Sender,
        id: Option<&str>,
        refusal: &Refusal,
        now: Time,
    ) {
        self.show_refusal(LISTENER.to_owned(), sender.peer, id, refusal, now);
        self.order(from, Order::RefuseSender(sender.room));
    }
}

const fn refusal(full: Full) -> Refusal {
    match full {
        Full::Sessions => Refusal::Limit(Limit::RtpSessions),
        Full::Slots { wanted, free } => Refusal::Slots { wanted, free },
    }
}

const fn guest(id: &str, peer: SocketAddr, place: Place, resumed: bool) -> Guest<'_> {
    let (kind, worker) = (StreamKind::Rtp, place.worker);
    Guest { kind, id, peer: Some(peer), peer_version: 0, worker, resumed, suite: None }
}

fn question(number: u32, id: &str, source: SocketAddr) -> Question {
    Question {
        question: number.into(),
        stream_id: id.to_owned(),
        listener: LISTENER.to_owned(),
        source,
        user: None,
        resource: None,
        host: None,
        session: None,
        encrypted: false,
        latency_ms: 0,
        peer_version: 0,
    }
}
