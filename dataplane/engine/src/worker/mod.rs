//! A worker: one pinned thread with its own ring, sockets, sessions and memory. It shares nothing
//! mutable, takes no lock and allocates nothing after its start.
//!
//! ```text
//!            ┌──────────────────────── duty cycle ────────────────────────┐
//!  wait ─▶ datagrams ─▶ neighbours ─▶ orders ─▶ timers ─▶ settle touched ─▶ counters
//!            │ by socket id              │                  │ publish, re-arm timer
//!            ▼                           ▼                  ▼
//!         Session                 install, end         GOP ring
//! ```

mod asking;
pub(crate) mod attempts;
pub(crate) mod bandwidth;
mod batch;
mod counters;
mod drops;
#[cfg(feature = "fault-injection")]
mod fault;
pub(crate) mod handover;
mod orders;
mod precedence;
pub(crate) mod pressure;
mod publication;
mod rate;
pub(crate) mod rtp;
pub(crate) mod session;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use memory::spsc::{Consumer, Producer};
use memory::{Datagram, Places, Slab, Time};
use shm::counters::WorkerCounter;
use shm::{EndReason, WorkerBlock};
use srt::{ConnectRequest, Listener, ListenerEvent};
use uring::{Received, SocketIndex, Waker};

use self::attempts::{AttemptKey, Attempts, Known};
use self::batch::Batch;
use self::handover::{Handover, Neighbours};
use self::precedence::Precedence;
use self::rtp::SharedPort;
use self::rtp::run::RtpRun;
use self::rtp::session::RtpSession;
use self::session::{Session, Wire};
use crate::clock::{self, ArrivalClock};
use crate::messages::{Order, Origin, Report, Role, Verdict};
use crate::network::Network;
use crate::socket_id::SocketIds;
use crate::wake::Wake;
use crate::wheel::Wheel;

/// Longest wait when no timer is set: the heartbeat's period.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// Orders taken in a duty cycle.
const ORDERS_PER_CYCLE: usize = 64;
/// Reports that must fit whatever happens: each session can be installed, given keys, ended and
/// spent once before the conductor looks. Requests are only put while more room than that is free.
const REPORTS_RESERVED_PER_SESSION: usize = 6;
/// Requests that may wait for the conductor beside that reserve.
pub(crate) const REQUESTS_WAITING: usize = 256;

/// Verdicts that the conductor may owe beside: requests that it holds, whatever for.
pub(crate) const VERDICTS_WAITING: usize = 1_024;

/// Room of the ring to the conductor from a worker with so many sessions and sockets.
pub(crate) fn report_capacity(sessions: u16, sockets: u16) -> usize {
    reserved(sessions.into(), sockets.into()) + REQUESTS_WAITING
}

/// Room of the ring to the worker: verdicts on what was reported and on what is held, beside what
/// it needs for its sessions.
pub(crate) fn order_capacity(sessions: u16, sockets: u16) -> usize {
    report_capacity(sessions, sockets) + REQUESTS_WAITING + VERDICTS_WAITING
}

const fn reserved(sessions: usize, sockets: usize) -> usize {
    sessions * REPORTS_RESERVED_PER_SESSION + sockets
}

/// How a worker waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WaitPolicy {
    pub(crate) min_wait: Duration,
    pub(crate) spin: bool,
}

/// What a worker is made of, gathered on its own thread.
pub(crate) struct Parts<N> {
    pub(crate) worker: u16,
    pub(crate) ring: N,
    pub(crate) arrival: ArrivalClock,
    pub(crate) slab: Slab,
    /// What each socket of the ring is for, by index.
    pub(crate) roles: Vec<Option<Role>>,
    /// Answers handshakes at every listener's socket.
    pub(crate) listener: Listener,
    pub(crate) ids: SocketIds,
    /// The first places.
    pub(crate) sessions: Vec<Session>,
    /// The places behind them.
    pub(crate) rtp_sessions: Vec<RtpSession>,
    /// Of the table of senders at the shared port of RTP.
    pub(crate) rtp_key: [u8; 16],
    /// Slots that all of them may hold.
    pub(crate) session_slots: u32,
    pub(crate) wait: WaitPolicy,
    pub(crate) block: WorkerBlock,
    pub(crate) orders: Consumer<Order>,
    pub(crate) reports: Producer<Report>,
    pub(crate) conductor: Wake,
    pub(crate) neighbours: Neighbours,
    pub(crate) neighbour_wakers: Vec<Waker>,
}

/// See the module.
pub(crate) struct Worker<N> {
    parts: Parts<N>,
    /// Datagrams that are worked on, those behind them, and so on: see [`batch`].
    batch: Batch,
    next: Batch,
    near: Batch,
    coming: Batch,
    /// What a step asks for; empty between two.
    places: Places,
    /// Sessions whose timers are handled together, for the same reason.
    due: Vec<u16>,
    attempts: Attempts,
    /// The shared port of RTP.
    shared: Option<SharedPort>,
    /// Of the sessions of RTP, by place.
    runs: Vec<RtpRun>,
    wheel: Wheel,
    /// Sent verdicts that wait for room among the reports; new requests wait behind them.
    #[expect(clippy::vec_box, reason = "they go back in the boxes they came in")]
    spent: Vec<Box<Verdict>>,
    /// Whether a place is among these.
    is_touched: Vec<bool>,
    /// Sessions to be settled in this cycle.
    touched: Vec<u16>,
    /// The same of RTP: few, for they are settled while their memory is near.
    touched_rtp: Vec<u16>,
    /// How short slots are, in thousandths.
    pressure: u16,
    precedence: Precedence,
    /// When the kernel was last asked what it dropped, and of which socket.
    drops_asked: (Time, usize),
    reported: bool,
    stopping: bool,
    cycle_max_ns: u64,
}

impl<N: Network> Worker<N> {
    pub(crate) fn new(parts: Parts<N>, now: Time) -> Self {
        let sessions = parts.sessions.len() + parts.rtp_sessions.len();
        let shared = parts.roles.contains(&Some(Role::SharedRtp));
        let shared = shared.then(|| SharedPort::new(parts.rtp_sessions.len(), parts.rtp_key));
        let keys = u32::try_from(sessions).expect("places are numbered in 16 bits");
        let wheel = Wheel::new(keys, now);
        // While one waits no request is put, so those on their way are all that can follow.
        let spent_max =
            VERDICTS_WAITING + 2 * (reserved(sessions, parts.roles.len()) + REQUESTS_WAITING);
        let runs = parts.rtp_sessions.iter().map(|_| RtpRun::default()).collect();
        Self {
            parts,
            runs,
            batch: Batch::new(),
            next: Batch::new(),
            near: Batch::new(),
            coming: Batch::new(),
            places: Places::new(batch::PLACES),
            due: Vec::with_capacity(batch::TIMERS),
            attempts: Attempts::new(),
            shared,
            wheel,
            spent: Vec::with_capacity(spent_max),
            is_touched: vec![false; sessions],
            touched: Vec::with_capacity(sessions),
            touched_rtp: Vec::with_capacity(sessions),
            pressure: 0,
            precedence: Precedence::new(),
            drops_asked: (now, 0),
            reported: false,
            stopping: false,
            cycle_max_ns: 0,
        }
    }

    /// Turns until the conductor says stop.
    pub(crate) fn run(&mut self) -> Result<(), uring::Error> {
        while !self.stopping {
            self.wait()?;
            let began = clock::now();
            self.cycle(began);
            let took = clock::now().since(began);
            let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            self.cycle_max_ns = self.cycle_max_ns.max(took_ns);
        }
        self.end_all(clock::now());
        Ok(())
    }

    /// Waits for what comes next. `min_wait` is what a datagram or a timer may wait so that several
    /// are handled in one cycle: each wake-up costs more than the work it brings.
    fn wait(&mut self) -> Result<(), uring::Error> {
        let WaitPolicy { min_wait, spin } = self.parts.wait;
        if spin {
            return self.parts.ring.wait(Duration::ZERO, Duration::ZERO);
        }
        let next = self.wheel.next_deadline().since(clock::now());
        let timeout = next.clamp(min_wait, WAIT_MAX);
        self.parts.ring.wait(min_wait, timeout)
    }

    pub(crate) fn cycle(&mut self, now: Time) {
        self.parts.arrival.tick(now);
        self.datagrams(now);
        for _ in 0..handover::HANDOVERS {
            let Some(handover) = self.parts.neighbours.receive() else { break };
            self.take_over(&handover, now);
        }
        for _ in 0..ORDERS_PER_CYCLE {
            let Some(order) = self.parts.orders.pop() else { break };
            self.obey(order, now);
        }
        self.return_spent();
        while let Some(socket) = self.parts.ring.next_closed() {
            self.report(Report::SocketClosed { socket });
        }
        self.timers(now);
        self.sweep_shared(now);
        self.settle(now);
        self.show(now);
        if std::mem::take(&mut self.reported) {
            self.parts.conductor.wake();
        }
    }

    fn count(&mut self, counter: WorkerCounter) {
        self.parts.block.add(counter, 1);
    }

    // ---- datagrams ----

    fn receive(&mut self, received: Received, now: Time) {
        let arrival = self.parts.arrival.arrival(received.arrival_realtime_ns, now);
        if self.goes_on_given(&received, arrival, now) {
            return;
        }
        let Received { socket, peer, datagram, truncated, .. } = received;
        let payload = datagram.payload();
        if payload.is_empty() {
            return self.count(WorkerCounter::DroppedEmpty);
        }
        if truncated {
            return self.count(WorkerCounter::DroppedTruncated);
        }
        if let Some(role @ (Role::SharedRtp | Role::SharedRtcp)) = self.parts.roles[socket.index()]
        {
            return self.receive_shared(role, (socket, peer), arrival, datagram, now);
        }
        if let Some(Role::Given { session, purpose }) = self.parts.roles[socket.index()] {
            return self.receive_given(session, purpose, (socket, peer), arrival, datagram, now);
        }
        let Some(id) = srt::packet::destination(payload) else {
            return self.count(WorkerCounter::DroppedShort);
        };
        if id == 0 {
            return match self.parts.roles[socket.index()] {
                Some(Role::Listener) => self.handshake(socket, peer, payload, arrival, now),
                Some(Role::Rendezvous { session }) => {
                    self.wave(session, (socket, peer), arrival, datagram, now);
                }
                // A call's socket, or none of SRT's.
                _ => self.count(WorkerCounter::DroppedUnknownSession),
            };
        }
        let owner = self.parts.ids.worker(id);
        if owner == self.parts.worker {
            return self.give_to_session(id, (socket, peer), arrival, datagram, now);
        }
        self.hand_over(owner, Handover::new(socket, peer, arrival, payload));
    }

    fn hand_over(&mut self, owner: u16, handover: Option<Handover>) {
        if self.parts.neighbours.send(owner, handover) {
            self.count(WorkerCounter::HandedOver);
            self.parts.neighbour_wakers[usize::from(owner)].wake();
        } else {
            self.count(WorkerCounter::DroppedHandover);
        }
    }

    fn take_over(&mut self, handover: &Handover, now: Time) {
        self.count(WorkerCounter::TakenOver);
        let Some(datagram) = Datagram::copy_from(&self.parts.slab, handover.payload()) else {
            return self.count(WorkerCounter::DroppedHandover);
        };
        let (from, arrival) = ((handover.socket, handover.peer), handover.arrival);
        if let Some(role @ (Role::SharedRtp | Role::SharedRtcp)) =
            self.parts.roles[handover.socket.index()]
        {
            return self.receive_shared(role, from, arrival, datagram, now);
        }
        match srt::packet::destination(handover.payload()) {
            Some(id) => self.give_to_session(id, from, arrival, datagram, now),
            None => self.count(WorkerCounter::DroppedShort),
        }
    }

    fn give_to_session(
        &mut self,
        id: u32,
        from: (SocketIndex, std::net::SocketAddr),
        arrival: Time,
        datagram: Datagram,
        now: Time,
    ) {
        let place = self.parts.ids.session(id);
        let Some(session) = self.parts.sessions.get_mut(usize::from(place)) else {
            return self.count(WorkerCounter::DroppedUnknownSession);
        };
        if !session.is(id) {
            return self.count(WorkerCounter::DroppedUnknownSession);
        }
        if session.path_to_peer() != Some(from) {
            session.wrong_source();
            return self.count(WorkerCounter::DroppedWrongSource);
        }
        self.count(WorkerCounter::DatagramsToSessions);
        self.guarded(place, now, |session, wire| {
            session.receive(now, arrival, datagram, wire);
        });
        self.touch(place);
    }

    /// A datagram at the socket of a rendezvous that names no session: its peer's first words.
    fn wave(
        &mut self,
        place: u16,
        from: (SocketIndex, std::net::SocketAddr),
        arrival: Time,
        datagram: Datagram,
        now: Time,
    ) {
        let session = self.parts.sessions.get(usize::from(place));
        if session.and_then(Session::path_to_peer) != Some(from) {
            return self.count(WorkerCounter::DroppedWrongSource);
        }
        self.count(WorkerCounter::DatagramsToSessions);
        self.guarded(place, now, |session, wire| {
            session.receive(now, arrival, datagram, wire);
        });
        self.touch(place);
    }

    /// Runs a session's code with its faults fenced in: a panic ends that session only.
    ///
    /// What outlives the session (slab, timers, ring) is never inside the fence in a half-changed
    /// state: slots go back when their handles drop, sends are queued whole.
    fn guarded(&mut self, place: u16, now: Time, f: impl FnOnce(&mut Session, &mut Wire<'_, N>)) {
        let Parts { sessions, ring, slab, block, .. } = &mut self.parts;
        let session = &mut sessions[usize::from(place)];
        let (pressure, precedence) = (self.pressure, &self.precedence);
        let mut wire = Wire { ring, pressure, precedence, slab, latency: block.latency() };
        if catch_unwind(AssertUnwindSafe(|| f(session, &mut wire))).is_err() {
            // What it left half changed may fail once more; then its place rests as it is until a
            // next session opens it anew.
            let _ = catch_unwind(AssertUnwindSafe(|| session.abort(now)));
            self.count(WorkerCounter::SessionsPanicked);
            self.end(place, EndReason::Panicked, now);
        }
    }

    fn touch(&mut self, place: u16) {
        if !std::mem::replace(&mut self.is_touched[usize::from(place)], true) {
            let is_rtp = usize::from(place) >= self.parts.sessions.len();
            let touched = if is_rtp { &mut self.touched_rtp } else { &mut self.touched };
            touched.push(place);
        }
    }

    // ---- handshakes ----

    fn handshake(
        &mut self,
        socket: SocketIndex,
        peer: std::net::SocketAddr,
        payload: &[u8],
        arrival: Time,
        now: Time,
    ) {
        self.count(WorkerCounter::DatagramsToListener);
        let mut reply = [0; srt::REJECTION_BYTES];
        match self.parts.listener.handle(arrival, peer, payload, &mut reply) {
            ListenerEvent::Reply(len) => {
                self.count(WorkerCounter::Inductions);
                self.send(socket, peer, &reply[..len]);
            }
            ListenerEvent::Rejected(len, reason) => {
                self.count(WorkerCounter::Rejections);
                if self.has_room_to_report() {
                    self.report(Report::Refused { socket, peer, reason });
                } else {
                    self.count(WorkerCounter::RejectionsUntold);
                }
                self.send(socket, peer, &reply[..len]);
            }
            ListenerEvent::Conclusion(request) => {
                self.count(WorkerCounter::Conclusions);
                self.conclusion(socket, &request, now);
            }
            ListenerEvent::BadCookie => self.count(WorkerCounter::CookiesBad),
            ListenerEvent::Invalid(_) => self.count(WorkerCounter::DroppedInvalid),
        }
    }

    fn conclusion(&mut self, socket: SocketIndex, request: &ConnectRequest, now: Time) {
        if !self.has_room_to_report() {
            // The caller repeats its conclusion; by then the conductor has caught up.
            return self.count(WorkerCounter::ConclusionsPutOff);
        }
        match self.attempts.meet(socket, request, now) {
            Known::New => self.report(Report::Admit { socket, request: *request }),
            Known::Undecided => self.count(WorkerCounter::ConclusionsUndecided),
            Known::Decided(packet) => {
                self.count(WorkerCounter::AnswersRepeated);
                self.send(socket, request.peer, packet.as_bytes());
            }
        }
    }

    /// Whether callers' doings fit beside what must be reported.
    fn has_room_to_report(&self) -> bool {
        // A conductor that is owed verdicts, or whose orders pile up, is not asked for more.
        self.spent.is_empty()
            && self.parts.orders.len() < REQUESTS_WAITING
            && self.has_room_beside_the_reserve()
    }

    fn has_room_beside_the_reserve(&self) -> bool {
        let reserved = reserved(self.is_touched.len(), self.parts.roles.len());
        self.parts.reports.free() > reserved
    }

    /// Gives sent verdicts back as far as there is room: the conductor may have sent more of them
    /// than it has taken reports since, and the reserve is the sessions'.
    fn return_spent(&mut self) {
        while self.has_room_beside_the_reserve()
            && let Some(verdict) = self.spent.pop()
        {
            self.report(Report::Spent(verdict));
        }
    }

    fn send(&mut self, socket: SocketIndex, peer: std::net::SocketAddr, packet: &[u8]) {
        self.parts.ring.send(socket, peer, packet);
    }

    // ---- orders and reports ----

    fn report(&mut self, report: Report) {
        let pushed = self.parts.reports.push(report);
        assert!(pushed.is_ok(), "the report ring holds what its reserve promises");
        self.reported = true;
    }

    fn finish(&mut self, place: u16, reason: EndReason, now: Time) {
        self.guarded(place, now, |session, wire| session.finish(now, wire));
        self.end(place, reason, now);
    }

    /// Gives the session's berth back to the conductor; nothing when a fault has done so already.
    fn end(&mut self, place: u16, reason: EndReason, now: Time) {
        let session = &mut self.parts.sessions[usize::from(place)];
        let was_open = session.is_open();
        if let Some(tenancy) = session.leave(reason, now) {
            self.rank(place);
            self.wheel.cancel(place.into());
            let sessions = self.parts.block.value(WorkerCounter::Sessions);
            let sessions = sessions.saturating_sub(was_open.into());
            self.parts.block.set(WorkerCounter::Sessions, sessions);
            if let Origin::Accepted { from, request, .. } = &tenancy.origin
                && *from == self.parts.worker
            {
                self.attempts.forget(&AttemptKey::new(tenancy.socket, request));
            }
            self.report(Report::Ended(tenancy));
        }
    }

    // ---- timers, publication, counters ----

    fn timers(&mut self, now: Time) {
        while self.gather_due(now) {
            for at in 0..self.due.len() {
                let place = self.due[at];
                if self.rtp_session(place).is_some() {
                    self.guarded_rtp(place, now, |session, wire| session.timeout(now, wire));
                } else {
                    self.guarded(place, now, |session, wire| session.timeout(now, wire));
                }
                self.touch(place);
            }
        }
    }

    fn settle_touched_rtp(&mut self, now: Time) {
        while let Some(place) = self.touched_rtp.pop() {
            self.is_touched[usize::from(place)] = false;
            self.settle_rtp(place, now);
        }
    }

    fn settle(&mut self, now: Time) {
        self.settle_touched_rtp(now);
        while let Some(place) = self.touched.pop() {
            self.is_touched[usize::from(place)] = false;
            self.guarded(place, now, |session, wire| session.settle(now, wire));
            let session = &mut self.parts.sessions[usize::from(place)];
            if let Some(socket_id) = session.take_news() {
                self.parts.block.add(WorkerCounter::Sessions, 1);
                self.rank(place);
                self.report(Report::Connected { socket_id });
            }
            let session = &mut self.parts.sessions[usize::from(place)];
            if let Some((socket_id, material)) = session.take_key_request() {
                self.report(Report::Rekey { socket_id, material });
            }
            self.report_rate(place);
            let session = &self.parts.sessions[usize::from(place)];
            match session.over() {
                Some(reason) => self.finish(place, reason, now),
                None => self.wheel.set(place.into(), session.next_timeout()),
            }
        }
    }

    /// Tells of a session that is above its bandwidth; its counters tell in any case.
    fn report_rate(&mut self, place: u16) {
        let news = self.parts.sessions[usize::from(place)].take_over_rate();
        if let Some((socket_id, rate_bps)) = news
            && self.has_room_to_report()
        {
            self.report(Report::OverBandwidth { socket_id, rate_bps });
        }
    }

    /// Slots out of the sessions' part that are not free.
    fn slot_pressure(&self) -> u16 {
        let all = self.parts.session_slots;
        let used = all.saturating_sub(self.parts.slab.free());
        pressure::permille(used.into(), all.into())
    }

    fn show(&mut self, now: Time) {
        self.pressure = self.slot_pressure();
        self.ask_for_drops(now);
        self.show_drops();
        counters::show_ring(&mut self.parts.block, self.parts.ring.counters());
        let block = &mut self.parts.block;
        block.add(WorkerCounter::Cycles, 1);
        block.set(WorkerCounter::HeartbeatNs, now.nanos());
        block.set(WorkerCounter::CycleMaxNs, self.cycle_max_ns);
        block.set(WorkerCounter::SlotsFree, self.parts.slab.free().into());
    }

    pub(crate) fn end_all(&mut self, now: Time) {
        for place in 0..self.parts.sessions.len() {
            let place = u16::try_from(place).expect("places are numbered in 16 bits");
            if self.parts.sessions[usize::from(place)].path_to_peer().is_some() {
                self.finish(place, EndReason::Stopped, now);
            }
        }
        for place in self.parts.sessions.len()..self.is_touched.len() {
            let place = u16::try_from(place).expect("places are numbered in 16 bits");
            if self.rtp_session(place).is_some_and(|session| session.is_open()) {
                self.finish_rtp(place, EndReason::Stopped, now);
            }
        }
    }

    /// What it receives from and sends to.
    #[cfg(feature = "simulation")]
    pub(crate) const fn network(&mut self) -> &mut N {
        &mut self.parts.ring
    }

    /// When its next timer is due.
    #[cfg(feature = "simulation")]
    pub(crate) fn next_timer(&mut self) -> Time {
        self.wheel.next_deadline()
    }

    /// Sends what is queued (the peers' shutdowns), gives the port back and says goodbye.
    pub(crate) fn leave(self) -> Result<(), uring::Error> {
        let Parts { ring, mut reports, conductor, .. } = self.parts;
        let closed = ring.close();
        let pushed = reports.push(Report::Stopped);
        assert!(pushed.is_ok(), "the report ring holds what its reserve promises");
        conductor.wake();
        closed
    }
}
