//! The dataplane without a kernel under its workers: conductor and workers as they are shipped,
//! one after the other on the caller's thread, on the caller's clock and network. For `tests/sim`.
//!
//! ```text
//!  deliver ──▶ Port ──▶ worker's duty cycle ──▶ Port ──▶ sent
//!                            ▲      │
//!                     orders │      │ reports
//!                            │      ▼
//!                        conductor's turn
//! ```
//!
//! The same configuration, key and calls give the same run to the bit, but for labels that tell
//! the date.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use memory::{Datagram, Slab, Time};
use shm::{Directory, GopReader};
use uring::{Received, RingCounters, SocketIndex, Waker};

use crate::clock::ArrivalClock;
use crate::conductor::{Conductor, WorkerLink};
use crate::config::Config;
use crate::dataplane::{Ground, Recruit, Reins, srt_of};
use crate::network::Network;
use crate::socket_id::{Salts, SocketIds};
use crate::worker::Worker;
use crate::{Budget, Error, RunWorker};

/// Datagrams that wait before a worker, as in a socket's receive buffer.
const ARRIVED_MAX: usize = 4_096;
/// Datagrams that a worker sends in one duty cycle.
const SENT_MAX: usize = 4_096;
/// No longer datagram is of use to SRT, and a slot holds hardly more.
const DATAGRAM_BYTES_MAX: usize = 1_500;
/// The port of the listener, which all workers share.
pub const LISTENER: u16 = 0;
/// The first port of what is called from, on worker 0; each has so many.
const PORT_FIRST: u16 = 20_000;
const PORTS: u16 = 1_000;
/// The conductor looks at least this often, as its own wait has it.
const TURN: Duration = Duration::from_millis(100);

/// One datagram on either side of a port.
#[derive(Debug, Clone, Copy)]
struct Parcel {
    socket: SocketIndex,
    peer: SocketAddr,
    at: Time,
    len: usize,
    bytes: [u8; DATAGRAM_BYTES_MAX],
}

/// What a worker has in place of a ring. All its memory is taken at the start, for a worker that
/// turns allocates nothing.
#[derive(Debug)]
struct Port {
    slab: Slab,
    arrived: VecDeque<Parcel>,
    /// With the port that it is sent from.
    sent: Vec<(u16, Parcel)>,
    /// By index: the socket that the conductor opened, and its port here.
    sockets: Vec<Option<(OwnedFd, u16)>>,
    closed: VecDeque<SocketIndex>,
    next_port: u16,
    counters: RingCounters,
}

impl Port {
    fn new(worker: u16, slab: Slab, sockets: usize) -> Self {
        Self {
            slab,
            arrived: VecDeque::with_capacity(ARRIVED_MAX),
            sent: Vec::with_capacity(SENT_MAX),
            sockets: std::iter::repeat_with(|| None).take(sockets).collect(),
            closed: VecDeque::with_capacity(sockets),
            next_port: PORT_FIRST + worker * PORTS,
            counters: RingCounters::default(),
        }
    }

    fn parcel(socket: SocketIndex, peer: SocketAddr, at: Time, payload: &[u8]) -> Option<Parcel> {
        let mut bytes = [0; DATAGRAM_BYTES_MAX];
        bytes.get_mut(..payload.len())?.copy_from_slice(payload);
        Some(Parcel { socket, peer, at, len: payload.len(), bytes })
    }

    /// The port of a socket.
    fn port(&self, socket: SocketIndex) -> u16 {
        let opened = self.sockets.get(socket.index()).and_then(Option::as_ref);
        opened.map_or(LISTENER, |(_, port)| *port)
    }

    /// The socket at a port; `None` when nobody has it any more.
    fn socket(&self, port: u16) -> Option<SocketIndex> {
        if port == LISTENER {
            return Some(SocketIndex::new(0));
        }
        let is_it = |it: &Option<(OwnedFd, u16)>| it.as_ref().is_some_and(|(_, at)| *at == port);
        let index = self.sockets.iter().position(is_it)?;
        u16::try_from(index).ok().map(SocketIndex::new)
    }

    fn arrive(&mut self, socket: SocketIndex, peer: SocketAddr, at: Time, payload: &[u8]) -> bool {
        let parcel = Self::parcel(socket, peer, at, payload);
        let Some(parcel) = parcel.filter(|_| self.arrived.len() < ARRIVED_MAX) else {
            self.counters.kernel_drops += 1;
            return false;
        };
        self.arrived.push_back(parcel);
        true
    }
}

impl Network for Port {
    fn wait(&mut self, _: Duration, _: Duration) -> Result<(), uring::Error> {
        Ok(())
    }

    fn next(&mut self) -> Option<Received> {
        loop {
            let parcel = self.arrived.pop_front()?;
            let Some(datagram) = Datagram::copy_from(&self.slab, &parcel.bytes[..parcel.len])
            else {
                // No slot: it would stay in the socket's buffer until that overflows.
                self.counters.slots_starved += 1;
                self.counters.kernel_drops += 1;
                continue;
            };
            self.counters.datagrams += 1;
            self.counters.bytes += parcel.len as u64;
            return Some(Received {
                socket: parcel.socket,
                peer: parcel.peer,
                datagram,
                arrival_realtime_ns: Some(parcel.at.nanos()),
                truncated: false,
            });
        }
    }

    fn send(&mut self, socket: SocketIndex, peer: SocketAddr, bytes: &[u8]) -> bool {
        let parcel = Self::parcel(socket, peer, Time::ZERO, bytes);
        let Some(parcel) = parcel.filter(|_| self.sent.len() < SENT_MAX) else {
            self.counters.sends_dropped += 1;
            return false;
        };
        self.counters.sent += 1;
        self.sent.push((self.port(socket), parcel));
        true
    }

    /// The kernel's socket stays where it is and hears nothing.
    fn open_socket(&mut self, socket: SocketIndex, fd: OwnedFd) -> bool {
        self.sockets[socket.index()] = Some((fd, self.next_port));
        self.next_port += 1;
        true
    }

    fn close_socket(&mut self, socket: SocketIndex) {
        self.arrived.retain(|parcel| parcel.socket != socket);
        self.sockets[socket.index()] = None;
        self.closed.push_back(socket);
    }

    fn next_closed(&mut self) -> Option<SocketIndex> {
        self.closed.pop_front()
    }

    fn counters(&self) -> &RingCounters {
        &self.counters
    }

    fn kernel_drops(&self, socket: SocketIndex) -> u64 {
        if socket.index() == 0 { self.counters.kernel_drops } else { 0 }
    }

    fn ask_kernel_drops(&mut self, _: SocketIndex) {}

    fn close(self) -> Result<(), uring::Error> {
        Ok(())
    }
}

/// A dataplane in virtual time.
pub struct Simulated {
    conductor: Conductor,
    workers: Vec<Worker<Port>>,
    slabs: Vec<Slab>,
    ids: SocketIds,
    budget: Budget,
    run: RunWorker,
    turn_at: Time,
    now: Time,
}

impl std::fmt::Debug for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulated").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Simulated {
    /// Takes all memory, as [`Dataplane::start`](crate::Dataplane::start) does. `key` stands for
    /// all that is random.
    pub fn start(config: &Config, key: [u8; 16], now: Time, run: RunWorker) -> Result<Self, Error> {
        let srt = &srt_of(config)?;
        let mut ground = Ground::new(config, srt)?;
        let waker = Waker::new(Arc::new(rustix::event::eventfd(
            0,
            rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK,
        )?));
        let team = ground.team(config, key, run);
        let (mut links, mut workers, mut slabs) = (Vec::new(), Vec::new(), Vec::new());
        let recruits = team.recruits(&mut ground.directory);
        let wakers = vec![waker.clone(); recruits.len()];
        for (recruit, Reins { orders, reports }) in recruits {
            let slab = Slab::new(ground.plan.slab_slots())?;
            slabs.push(slab.clone());
            let number = u16::try_from(workers.len()).unwrap_or(0);
            let port = Port::new(number, slab.clone(), ground.plan.ring.sockets_max.into());
            workers.push(worker(recruit, port, slab, wakers.clone(), now));
            links.push(WorkerLink { orders, reports, waker: waker.clone(), stopped: false });
        }
        let (ids, budget) = (ground.ids, ground.budget.clone());
        let mut conductor = ground.conductor(config, srt, Salts::new(&key), links);
        let [a, b, c, d, e, f, g, h, ..] = key;
        conductor.count_seeds_from(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
        Ok(Self { conductor, workers, slabs, ids, budget, run, turn_at: now, now })
    }

    /// Number of workers.
    pub const fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The memory sum.
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Counters and stream table.
    pub const fn directory(&self) -> &Directory {
        self.conductor.view()
    }

    /// A reader of a stream's ring, as another process would map it.
    pub fn reader(&self, stream_id: &str) -> Option<GopReader> {
        self.conductor.reader(stream_id)
    }

    /// Slots of a worker's slab: free, and in all.
    pub fn slots(&self, worker: usize) -> (u32, u32) {
        let slab = &self.slabs[worker];
        (slab.free(), slab.capacity())
    }

    /// The worker that the kernel's steering gives a datagram to.
    pub fn steer(&self, peer: SocketAddr, payload: &[u8]) -> usize {
        let workers = self.workers.len();
        match srt::packet::destination(payload) {
            Some(id) if id != 0 => usize::from(self.ids.worker(id)),
            _ => usize::from(peer.port()) % workers,
        }
    }

    /// Puts a datagram to the listener before a worker; false when there is no room, as in a full
    /// socket buffer, or it is longer than a slot.
    pub fn deliver(
        &mut self,
        worker: usize,
        peer: SocketAddr,
        arrival: Time,
        payload: &[u8],
    ) -> bool {
        self.workers[worker].network().arrive(SocketIndex::new(0), peer, arrival, payload)
    }

    /// Puts a datagram to a port that something is called from before its worker; false when
    /// nobody has that port any more, and as [`Self::deliver`].
    pub fn deliver_to(
        &mut self,
        port: u16,
        peer: SocketAddr,
        arrival: Time,
        payload: &[u8],
    ) -> bool {
        self.workers.iter_mut().any(|worker| {
            let network = worker.network();
            let socket = network.socket(port);
            socket.is_some_and(|socket| network.arrive(socket, peer, arrival, payload))
        })
    }

    /// Forgets a source of the configuration: its session ends.
    pub fn forget_source(&mut self, id: &str) {
        self.conductor.forget_source(id);
    }

    /// When a turn is needed if nothing arrives before.
    pub fn next_turn(&mut self) -> Time {
        let timers = self.workers.iter_mut().map(Worker::next_timer);
        timers.min().unwrap_or(Time::NEVER).min(self.turn_at)
    }

    /// The workers' next timer; never when nothing is on.
    pub fn next_timer(&mut self) -> Time {
        self.workers.iter_mut().map(Worker::next_timer).min().unwrap_or(Time::NEVER)
    }

    /// One duty cycle of each worker, and the conductor's turn when a report or its time wants
    /// one, until nobody has told anybody anything. What workers send goes to `sent`, with the port
    /// that it is sent from.
    pub fn turn(&mut self, now: Time, mut sent: impl FnMut(u16, SocketAddr, &[u8])) {
        assert!(now >= self.now, "time runs forward");
        self.now = now;
        loop {
            self.cycle(now, &mut sent);
            if self.turn_at > now && !self.conductor.is_told() {
                break;
            }
            self.conduct(now);
        }
    }

    /// The half of [`Self::turn`] that is the conductor's: the workers are kept from their CPUs.
    pub fn conduct(&mut self, now: Time) {
        self.turn_at = now + TURN;
        self.conductor.turn(now);
    }

    /// The half of [`Self::turn`] that is the workers': the conductor is kept from its CPU.
    pub fn cycle(&mut self, now: Time, mut sent: impl FnMut(u16, SocketAddr, &[u8])) {
        for worker in &mut self.workers {
            (self.run)(&mut || worker.cycle(now));
            take_sent(worker.network(), &mut sent);
        }
    }

    /// Ends all sessions in order, as on SIGTERM. Afterwards every slot must be free.
    pub fn stop(&mut self, now: Time, mut sent: impl FnMut(u16, SocketAddr, &[u8])) {
        self.conductor.order_stop();
        self.cycle(now, &mut sent);
        for worker in &mut self.workers {
            (self.run)(&mut || worker.end_all(now));
            take_sent(worker.network(), &mut sent);
        }
        self.conductor.turn(now);
    }
}

fn take_sent(port: &mut Port, sent: &mut impl FnMut(u16, SocketAddr, &[u8])) {
    for (from, parcel) in port.sent.drain(..) {
        sent(from, parcel.peer, &parcel.bytes[..parcel.len]);
    }
}

fn worker(recruit: Recruit, port: Port, slab: Slab, wakers: Vec<Waker>, now: Time) -> Worker<Port> {
    let mut parts = recruit.parts(port, slab, ArrivalClock::still());
    parts.neighbour_wakers = wakers;
    Worker::new(parts, now)
}
