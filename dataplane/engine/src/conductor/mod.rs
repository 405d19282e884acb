//! The slow half of the dataplane: decides who may publish and where, owns no packet.
//!
//! ```text
//!  worker A  ── Admit ──▶  conductor          a conclusion with a good cookie
//!  worker B  ◀─ Install ── conductor          the session's place, berth and terms
//!  worker B  ── Installed ▶ conductor         the session is open
//!  worker A  ◀─ Answer ─── conductor          only now may the caller learn its socket id
//!     …
//!  worker B  ── Ended ───▶ conductor          the berth comes back
//! ```

pub(crate) mod admission;
mod log_limit;
pub(crate) mod placement;
mod streams;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use memory::Time;
use memory::spsc::{Consumer, Producer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shm::counters::{ConductorCounter, StreamCounter};
use shm::link::{CommandError, Handler, LinkServer, RingGrant};
use shm::{ConductorBlock, Directory, EndReason, StreamInfo, StreamKind, StreamState};
use srt::{Answer, ConnectRequest, ConnectionConfig};

use self::admission::Refusal;
use self::log_limit::LogLimit;
use self::placement::{Full, Place, Placement};
use self::streams::{Claim, State, Streams};
use crate::clock;
use crate::config::SrtConfig;
use crate::messages::{Berth, Order, Report, Tenancy, Verdict};
use crate::socket_id::{Salts, SocketIds};
use crate::stream_id::DerivedIds;

/// Longest wait of a turn: the heartbeat's period, and a fifth of what readers call stale.
const TURN: Duration = Duration::from_millis(100);
/// The wait while a newcomer waits for a verdict on the publisher before it.
const TURN_UNDECIDED: Duration = Duration::from_millis(20);
/// A caller gives up after 3 s by default (libsrt's SRTO_CONNTIMEO).
const TICKET_LIFE: Duration = Duration::from_secs(3);
/// Requests at a time; a caller repeats its conclusion, so nobody is lost.
const TICKETS_MAX: usize = 1_024;
/// Reports taken from one worker in a turn.
const REPORTS_PER_TURN: usize = 256;

/// The conductor's ends of a worker's rings.
#[derive(Debug)]
pub(crate) struct WorkerLink {
    pub(crate) orders: Producer<Order>,
    pub(crate) reports: Consumer<Report>,
    pub(crate) waker: uring::Waker,
    pub(crate) stopped: bool,
}

/// One request on its way to an answer.
#[derive(Debug)]
struct Ticket {
    /// The worker that took the handshake.
    from: u16,
    request: ConnectRequest,
    /// The public id; derived ids are settled on arrival.
    id: String,
    asked: Time,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Waits until the publisher before it has proven alive or silent, or has ended.
    Undecided,
    /// Its session is being opened.
    Installing { place: Place, socket_id: u32, slot: u32 },
}

/// What the conductor is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) srt: SrtConfig,
    pub(crate) reconnect_grace: Duration,
    pub(crate) window_packets: u32,
    pub(crate) ids: SocketIds,
    pub(crate) salts: Salts,
    pub(crate) placement: Placement,
    pub(crate) workers: Vec<WorkerLink>,
    pub(crate) berths: Vec<Berth>,
    pub(crate) ring_fds: Vec<OwnedFd>,
    pub(crate) block: ConductorBlock,
    pub(crate) view: Directory,
    pub(crate) link: LinkServer,
    pub(crate) wake: OwnedFd,
}

/// The conductor. See the module.
#[derive(Debug)]
pub(crate) struct Conductor {
    parts: Parts,
    streams: Streams,
    tickets: HashMap<u32, Ticket>,
    ticket_last: u32,
    derived: DerivedIds,
    refusals: LogLimit,
}

impl Conductor {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            parts,
            streams: Streams::default(),
            tickets: HashMap::new(),
            ticket_last: 0,
            derived: DerivedIds::default(),
            refusals: LogLimit::default(),
        }
    }

    /// Turns until `stop` says so, then ends all sessions and waits for the workers to leave.
    pub(crate) fn run(mut self, stop: impl Fn() -> bool) {
        while !stop() {
            self.wait();
            self.turn(clock::now());
        }
        self.stop_workers();
    }

    fn wait(&self) {
        let undecided = self.tickets.values().any(|ticket| ticket.phase == Phase::Undecided);
        let turn = if undecided { TURN_UNDECIDED } else { TURN };
        let timeout = Timespec::try_from(turn).expect("a turn is shorter than years");
        let mut ready = [
            PollFd::from_borrowed_fd(self.parts.wake.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.parts.link.as_fd(), PollFlags::IN),
        ];
        // An interrupted wait is a short one.
        let _ = poll(&mut ready, Some(&timeout));
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.parts.wake, &mut count);
    }

    pub(crate) fn turn(&mut self, now: Time) {
        self.parts.block.set(ConductorCounter::HeartbeatNs, now.nanos());
        self.take_reports(now);
        self.decide_waiting(now);
        self.expire(now);
        self.serve_link(now);
        self.refusals.flush(now);
    }

    fn take_reports(&mut self, now: Time) {
        for worker in 0..self.parts.workers.len() {
            for _ in 0..REPORTS_PER_TURN {
                let Some(report) = self.parts.workers[worker].reports.pop() else { break };
                self.take_report(worker, report, now);
            }
        }
    }

    fn take_report(&mut self, worker: usize, report: Report, now: Time) {
        match report {
            Report::Admit(request) => {
                let worker = u16::try_from(worker).expect("workers are numbered in 16 bits");
                self.admit(worker, request, now);
            }
            Report::Installed { ticket, answer } => self.installed(ticket, &answer),
            Report::Ended(tenancy) => self.ended(*tenancy, now),
            Report::Spent(verdict) => drop(verdict),
            Report::Stopped => self.parts.workers[worker].stopped = true,
        }
    }

    fn order(&mut self, worker: u16, order: Order) {
        let link = &mut self.parts.workers[usize::from(worker)];
        // The ring holds more orders than a worker has sessions and attempts outstanding.
        if link.orders.push(order).is_err() {
            tracing::error!(worker, "a worker does not take its orders");
        }
        link.waker.wake();
    }

    // ---- admission ----

    fn admit(&mut self, from: u16, request: ConnectRequest, now: Time) {
        if self.tickets.len() >= TICKETS_MAX {
            return self.refuse(from, &request, &Refusal::Limit, now);
        }
        let id = match admission::examine(&request, &self.parts.srt) {
            Ok(Some(id)) => id.to_owned(),
            Ok(None) => self.derived.next(),
            Err(refusal) => return self.refuse(from, &request, &refusal, now),
        };
        self.ticket_last = self.ticket_last.wrapping_add(1);
        let ticket = Ticket { from, request, id, asked: now, phase: Phase::Undecided };
        self.tickets.insert(self.ticket_last, ticket);
        self.decide(self.ticket_last, now);
    }

    /// Goes on with requests that wait for the publisher before them.
    fn decide_waiting(&mut self, now: Time) {
        let waiting = |ticket: &Ticket| ticket.phase == Phase::Undecided;
        let mut numbers: Vec<u32> =
            self.tickets.iter().filter(|(_, ticket)| waiting(ticket)).map(|(n, _)| *n).collect();
        numbers.sort_unstable();
        for number in numbers {
            self.decide(number, now);
        }
    }

    fn decide(&mut self, number: u32, now: Time) {
        let Some(ticket) = self.tickets.get(&number) else { return };
        let source = admission::canonical(ticket.request.peer.ip());
        if self.streams.is_blocked(&ticket.id, now) {
            return self.refuse_ticket(number, &Refusal::Blocked, now);
        }
        let view = &self.parts.view;
        let heard = |slot| last_received(view, slot);
        match self.streams.claim(&ticket.id, source, ticket.asked, now, heard) {
            Claim::Free | Claim::Resume => self.install(number, now),
            Claim::Replace { place, socket_id } => {
                if let Some(stream) = self.streams.get_mut(&ticket.id) {
                    stream.state = State::Ending { then: Some(number) };
                }
                let reason = EndReason::Replaced;
                self.order(place.worker, Order::End { place, socket_id, reason });
            }
            Claim::Undecided if now.since(ticket.asked) > TICKET_LIFE => {
                self.refuse_ticket(number, &Refusal::Conflict, now);
            }
            Claim::Undecided => {}
            Claim::Conflict => {
                // A ticket that is next in line waits for its predecessor's end.
                let next = matches!(
                    self.streams.get(&ticket.id).map(|stream| &stream.state),
                    Some(State::Ending { then: Some(next) }) if *next == number
                );
                if !next {
                    self.refuse_ticket(number, &Refusal::Conflict, now);
                }
            }
        }
    }

    fn refuse_ticket(&mut self, number: u32, refusal: &Refusal, now: Time) {
        if let Some(ticket) = self.tickets.remove(&number) {
            self.refuse(ticket.from, &ticket.request, refusal, now);
        }
    }

    fn refuse(&mut self, from: u16, request: &ConnectRequest, refusal: &Refusal, now: Time) {
        self.parts.block.add(refusal.counter(), 1);
        self.refusals.allow(now, || {
            tracing::warn!(
                source = %request.peer,
                stream_id = %request.stream_id.as_bytes().escape_ascii(),
                code = refusal.reason().code(),
                "refused: {refusal}"
            );
        });
        let verdict = Verdict::refused(*request, refusal.reason(), now);
        self.order(from, Order::Answer(Box::new(verdict)));
    }

    // ---- sessions ----

    /// Gives the request a place and a berth, and sends both to the place's worker.
    fn install(&mut self, number: u32, now: Time) {
        let Some(ticket) = self.tickets.get(&number) else { return };
        let latency = admission::latency(&ticket.request, &self.parts.srt);
        let slots = admission::slots(&self.parts.srt, latency);
        let place = match self.parts.placement.take(slots) {
            Ok(place) => place,
            Err(Full::Sessions) => return self.refuse_ticket(number, &Refusal::Limit, now),
            Err(Full::Slots { wanted, free }) => {
                return self.refuse_ticket(number, &Refusal::Slots { wanted, free }, now);
            }
        };
        let id = ticket.id.clone();
        let Some((mut berth, resumed)) = self.berth(&id) else {
            self.parts.placement.release(place);
            return self.refuse_ticket(number, &Refusal::Limit, now);
        };
        let Some(ticket) = self.tickets.get_mut(&number) else { return };
        let salt = self.parts.salts.next();
        let socket_id = self.parts.ids.encode(place.worker, place.session, salt);
        let slot = berth.slot.slot();
        ticket.phase = Phase::Installing { place, socket_id, slot };
        show_connecting(&mut berth, &id, &ticket.request, place.worker, resumed, now);
        let tenancy = Tenancy {
            ticket: number,
            place,
            request: ticket.request,
            config: self.parts.connection(socket_id, latency, slots),
            berth,
            end: EndReason::None,
        };
        let source = admission::canonical(ticket.request.peer.ip());
        self.streams.insert(id, source, State::Installing);
        if resumed {
            self.parts.block.add(ConductorCounter::Reconnects, 1);
        }
        self.order(place.worker, Order::Install(Box::new(tenancy)));
    }

    /// The berth for an id: its own when it was lost, else a free one, else that of the stream
    /// that was lost first.
    fn berth(&mut self, id: &str) -> Option<(Berth, bool)> {
        if let Some(stream) = self.streams.remove(id)
            && let State::Lost { berth, .. } = stream.state
        {
            return Some((*berth, true));
        }
        if self.parts.berths.is_empty()
            && let Some(lost) = self.streams.longest_lost()
        {
            self.close(&lost);
        }
        Some((self.parts.berths.pop()?, false))
    }

    fn installed(&mut self, number: u32, answer: &Answer) {
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
        let verdict = Verdict::accepted(ticket.request, answer);
        self.order(ticket.from, Order::Answer(Box::new(verdict)));
    }

    fn ended(&mut self, tenancy: Tenancy, now: Time) {
        let Tenancy { place, mut berth, end, ticket, .. } = tenancy;
        self.parts.placement.release(place);
        self.parts.block.add(end_counter(end), 1);
        // A session that ended before its answer left: the caller repeats, and is judged anew.
        self.tickets.remove(&ticket);
        let id = berth.info.id.as_str().to_owned();
        tracing::info!(stream = id, reason = %end, "publisher gone");
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
            (Some(number), _) => self.install(number, now),
            (None, EndReason::Terminated) => self.close(&id),
            _ => {}
        }
    }

    /// A lost stream is over: its slot and ring are free for another.
    fn close(&mut self, id: &str) {
        let Some(stream) = self.streams.remove(id) else { return };
        let State::Lost { mut berth, .. } = stream.state else { return };
        berth.slot.clear();
        self.parts.berths.push(*berth);
    }

    fn expire(&mut self, now: Time) {
        for id in self.streams.expire(now) {
            self.close(&id);
        }
    }

    // ---- readers and operators ----

    fn serve_link(&mut self, now: Time) {
        let mut desk = Desk {
            streams: &mut self.streams,
            ring_fds: &self.parts.ring_fds,
            view: &self.parts.view,
            now,
            endings: Vec::new(),
            closings: Vec::new(),
        };
        if let Err(error) = self.parts.link.serve_ready(&mut desk) {
            tracing::error!(%error, "the link cannot be served");
        }
        let Desk { endings, closings, .. } = desk;
        for (place, socket_id) in endings {
            let reason = EndReason::Terminated;
            self.order(place.worker, Order::End { place, socket_id, reason });
        }
        for id in closings {
            self.close(&id);
        }
    }

    /// Tells all workers to end their sessions and leave.
    pub(crate) fn order_stop(&mut self) {
        for worker in 0..self.parts.workers.len() {
            let worker = u16::try_from(worker).expect("workers are numbered in 16 bits");
            self.order(worker, Order::Stop);
        }
    }

    fn stop_workers(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        self.order_stop();
        let deadline = clock::now() + PATIENCE;
        while self.parts.workers.iter().any(|worker| !worker.stopped) && clock::now() < deadline {
            self.wait();
            self.take_reports(clock::now());
        }
    }
}

/// What a simulation asks.
#[cfg(feature = "simulation")]
impl Conductor {
    /// Counters and stream table as readers see them.
    pub(crate) const fn view(&self) -> &Directory {
        &self.parts.view
    }

    /// Whether a worker has told it something.
    pub(crate) fn is_told(&self) -> bool {
        self.parts.workers.iter().any(|worker| !worker.reports.is_empty())
    }

    /// A reader of a stream's ring.
    pub(crate) fn reader(&self, stream_id: &str) -> Option<shm::GopReader> {
        let info = self.parts.view.stream(stream_id)?.info;
        let fd = &self.parts.ring_fds[usize::try_from(info.ring?.0).expect("32 bits fit")];
        shm::GopReader::map_generation(fd.as_fd(), info.ring_generation).ok()
    }
}

impl Parts {
    fn connection(&self, local_id: u32, latency: Duration, slots: u32) -> ConnectionConfig {
        ConnectionConfig {
            local_id,
            latency,
            flow_window: self.srt.flow_window.min(self.window_packets),
            slots_max: slots,
            peer_idle_timeout: self.srt.peer_idle_timeout,
            reorder_tolerance: self.srt.reorder_tolerance_packets,
        }
    }
}

/// Serves local readers and the control plane.
struct Desk<'a> {
    streams: &'a mut Streams,
    ring_fds: &'a [OwnedFd],
    view: &'a Directory,
    now: Time,
    endings: Vec<(Place, u32)>,
    closings: Vec<String>,
}

impl Handler for Desk<'_> {
    fn ring(&mut self, stream_id: &str) -> Result<RingGrant<'_>, CommandError> {
        let info = self.view.stream(stream_id).map(|stream| stream.info);
        let ring = info.and_then(|info| Some((info.ring?, info.ring_generation)));
        let Some((ring, generation)) = ring else { return Err(unknown(stream_id)) };
        let fd = &self.ring_fds[usize::try_from(ring.0).expect("32 bits fit")];
        Ok(RingGrant { fd: fd.as_fd(), ring, generation })
    }

    fn terminate(&mut self, stream_id: &str, block: Duration) -> Result<(), CommandError> {
        let Some(stream) = self.streams.get_mut(stream_id) else { return Err(unknown(stream_id)) };
        match stream.state {
            State::Live { place, socket_id, .. } => {
                stream.state = State::Ending { then: None };
                self.endings.push((place, socket_id));
            }
            State::Lost { .. } => self.closings.push(stream_id.to_owned()),
            State::Installing | State::Ending { .. } => {
                return Err(CommandError::new(
                    CommandError::WRONG_STATE,
                    format!("stream `{stream_id}` is starting or ending; try again"),
                ));
            }
        }
        if !block.is_zero() {
            self.streams.block(stream_id, self.now + block);
        }
        Ok(())
    }
}

fn unknown(stream_id: &str) -> CommandError {
    CommandError::new(CommandError::NOT_FOUND, format!("no stream `{stream_id}`"))
}

/// What readers see of a stream whose publisher was just accepted.
fn show_connecting(
    berth: &mut Berth,
    id: &str,
    request: &ConnectRequest,
    worker: u16,
    resumed: bool,
    now: Time,
) {
    let ring = berth.ring.as_mut().expect("a berth at the conductor holds its ring");
    let unix_ns = clock::unix_nanos();
    let mut info = if resumed { berth.info } else { StreamInfo::default() };
    info.id = shm::StreamId::new(id).expect("an id that was examined fits");
    info.kind = StreamKind::Srt;
    info.state = StreamState::Connecting;
    info.end = EndReason::None;
    info.source = Some(request.peer);
    info.worker = worker;
    info.created_unix_ns = if resumed { info.created_unix_ns } else { unix_ns };
    info.connected_unix_ns = unix_ns;
    info.ended_unix_ns = 0;
    info.ring = Some(ring.ring());
    info.ring_generation = ring.start_generation();
    info.peer_version = request.capabilities.version;
    berth.info = info;
    if resumed {
        berth.slot.set_info(&info);
    } else {
        berth.slot.open(&info);
    }
    berth.slot.add(StreamCounter::Connections, 1);
    // From here on silence counts.
    berth.slot.set(StreamCounter::LastReceivedNs, now.nanos());
}

fn last_received(view: &Directory, slot: u32) -> Time {
    let stream = view.stream_at(slot).ok().flatten();
    let nanos = stream.map_or(0, |stream| stream.counter(StreamCounter::LastReceivedNs));
    Time::from_nanos(nanos)
}

const fn end_counter(end: EndReason) -> ConductorCounter {
    match end {
        EndReason::Idle => ConductorCounter::EndedIdle,
        EndReason::Terminated => ConductorCounter::EndedTerminated,
        EndReason::Replaced => ConductorCounter::EndedReplaced,
        EndReason::Panicked => ConductorCounter::EndedPanicked,
        EndReason::Protocol => ConductorCounter::EndedProtocol,
        EndReason::None | EndReason::Shutdown | EndReason::Stopped => {
            ConductorCounter::EndedShutdown
        }
    }
}
