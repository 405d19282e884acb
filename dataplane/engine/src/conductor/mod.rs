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
//!
//! A source is called the other way round:
//!
//! ```text
//!  worker B  ◀─ OpenSocket, Call ── conductor     place, berth, whom to ask
//!  worker B  ── Connected ────────▶ conductor     the session is open
//!     …
//!  worker B  ── Ended ────────────▶ conductor     the berth comes back: when to try again?
//!  worker B  ◀─ CloseSocket ─────── conductor
//! ```

pub(crate) mod admission;
mod admit;
pub(crate) mod backoff;
pub(crate) mod breaker;
mod calls;
mod desk;
mod displacement;
mod events;
mod given;
mod hook;
mod keys;
mod log_limit;
mod options;
pub(crate) mod placement;
mod resolver;
mod rtp_options;
mod senders;
mod session_desk;
mod sessions;
mod sources;
mod streams;
mod tickets;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use memory::Time;
use memory::spsc::{Consumer, Producer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shm::counters::ConductorCounter;
use shm::link::LinkServer;
use shm::{ConductorBlock, Directory};
use uring::SocketIndex;

use self::calls::SocketPlaces;
use self::events::Events;
use self::given::GivenSessions;
use self::keys::{KeyRoom, Rekey};
use self::log_limit::LogLimit;
use self::options::Settings;
use self::placement::Placement;
use self::resolver::Resolver;
use self::rtp_options::RtpSettings;
use self::senders::Senders;
use self::sources::Sources;
use self::streams::Streams;
use self::tickets::Ticket;
use crate::berth::Berth;
use crate::clock;
use crate::config::{Authorization, RtpConfig, SrtConfig};
use crate::messages::{Order, Report};
use crate::socket_id::{Salts, SocketIds};
use crate::stream_id::DerivedIds;
use crate::wake::Wake;
use crate::worker::REQUESTS_WAITING;

/// Longest wait of a turn: the heartbeat's period, and a fifth of what readers call stale.
const TURN: Duration = Duration::from_millis(100);
/// The wait while a newcomer waits: for a verdict on the publisher before it, or on itself.
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

/// What the conductor is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) srt: SrtConfig,
    pub(crate) rtp: Option<RtpConfig>,
    /// The shared port's sockets, on each worker.
    pub(crate) shared_rtp: SocketIndex,
    pub(crate) shared_rtcp: SocketIndex,
    /// The first socket that is not there for as long as its worker.
    pub(crate) first_socket: usize,
    pub(crate) sockets_max: usize,
    pub(crate) authorization: Option<Authorization>,
    pub(crate) reconnect_grace: Duration,
    /// How long a host that lost an id must leave it alone.
    pub(crate) take_over_hold: Duration,
    pub(crate) connections_max: u16,
    pub(crate) streams_per_source_max: Option<u16>,
    pub(crate) window_packets: u32,
    pub(crate) ids: SocketIds,
    pub(crate) salts: Salts,
    pub(crate) placement: Placement,
    pub(crate) rtp_placement: Placement,
    pub(crate) workers: Vec<WorkerLink>,
    pub(crate) berths: Vec<Berth>,
    pub(crate) ring_fds: Vec<OwnedFd>,
    pub(crate) block: ConductorBlock,
    pub(crate) view: Directory,
    pub(crate) link: LinkServer,
    pub(crate) wake: OwnedFd,
    /// Ends a wait from another thread.
    pub(crate) waker: Wake,
}

/// The conductor. See the module.
#[derive(Debug)]
pub(crate) struct Conductor {
    parts: Parts,
    streams: Streams,
    /// What operators changed.
    settings: Settings,
    rtp_settings: RtpSettings,
    tickets: HashMap<u32, Ticket>,
    ticket_last: u32,
    derived: DerivedIds,
    refusals: LogLimit,
    senders: Senders,
    given: GivenSessions,
    sources: Sources,
    resolver: Resolver,
    /// Indexes for the sockets of calls, by worker.
    socket_places: SocketPlaces,
    events: Events,
    keys: KeyRoom,
}

impl Conductor {
    pub(crate) fn new(mut parts: Parts) -> Self {
        for (port, listener) in parts.srt.listeners.iter().enumerate() {
            parts.block.name_port(port, &listener.name);
        }
        if parts.rtp.is_some() {
            parts.block.name_port(parts.shared_rtp.index(), senders::LISTENER);
            parts.block.name_port(parts.shared_rtcp.index(), "rtcp");
        }
        Self {
            senders: Senders::default(),
            given: GivenSessions::configured(
                parts.rtp.as_ref().map(|rtp| rtp.sessions.as_slice()).unwrap_or_default(),
            ),
            sources: Sources::configured(&parts.srt.sources),
            resolver: Resolver::new(parts.waker.clone()),
            socket_places: SocketPlaces::new(
                parts.workers.len(),
                parts.first_socket..parts.sockets_max,
            ),
            parts,
            streams: Streams::default(),
            settings: Settings::default(),
            rtp_settings: RtpSettings::default(),
            tickets: HashMap::new(),
            ticket_last: 0,
            derived: DerivedIds::default(),
            refusals: LogLimit::default(),
            events: Events::default(),
            keys: KeyRoom::default(),
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
        let undecided = self.tickets.values().any(Ticket::is_waiting) || self.senders.any_waiting();
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
        self.ask_waiting(now);
        self.renew_waiting(now);
        self.decide_waiting(now);
        self.decide_waiting_senders(now);
        self.tend_sources(now);
        self.tend_given(now);
        self.expire(now);
        self.serve_link(now);
        self.tell_waiting();
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
            Report::Admit { socket, request } => {
                let worker = u16::try_from(worker).expect("workers are numbered in 16 bits");
                self.admit(worker, socket, request, now);
            }
            Report::Proven(sender) => {
                let worker = u16::try_from(worker).expect("workers are numbered in 16 bits");
                self.sender_proven(worker, sender, now);
            }
            Report::RtpInstalled { ticket } => self.sender_installed(ticket, now),
            Report::Undetected { id, seen } => self.undetected(id, &seen, now),
            Report::RtpHeard { id, peer } => self.given_heard(id, peer, now),
            Report::RtpEnded(tenancy) => self.rtp_ended(*tenancy, now),
            Report::SocketClosed { socket } => self.socket_closed(worker, socket),
            Report::Connected { socket_id } => self.connected(socket_id, now),
            Report::Installed { ticket, answer } => self.installed(ticket, &answer, now),
            Report::Refused { socket, peer, reason } => self.refused(socket, peer, reason, now),
            Report::Ended(tenancy) => self.ended(*tenancy, now),
            Report::Rekey { socket_id, material } => {
                self.rekey(Rekey { socket_id, material }, now);
            }
            Report::Renewed(renewal) => drop(renewal),
            Report::Spent(verdict) => drop(verdict),
            Report::OverBandwidth { socket_id, rate_bps } => {
                self.above_bandwidth(worker, socket_id, rate_bps, now);
            }
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

    /// An order that may be left out: it does not take the room of those that connections need.
    fn order_if_room(&mut self, worker: u16, order: Order) {
        if self.parts.workers[usize::from(worker)].orders.free() > REQUESTS_WAITING {
            self.order(worker, order);
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

    /// Makes keys of that and what follows in place of the kernel's randomness.
    pub(crate) const fn count_seeds_from(&mut self, first: u64) {
        self.keys.count_seeds_from(first);
    }

    /// Forgets a source, as an operator has it done.
    pub(crate) fn forget_source(&mut self, id: &str) {
        self.remove_source(id);
    }

    /// A reader of a stream's ring.
    pub(crate) fn reader(&self, stream_id: &str) -> Option<shm::GopReader> {
        let info = self.parts.view.stream(stream_id)?.info;
        let fd = &self.parts.ring_fds[usize::try_from(info.ring?.0).expect("32 bits fit")];
        shm::GopReader::map_generation(fd.as_fd(), info.ring_generation).ok()
    }
}
