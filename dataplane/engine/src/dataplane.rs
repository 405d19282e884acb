//! Start and end of the process: everything is made here, in the order in which it can fail.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use memory::Slab;
use memory::spsc::{self, Consumer, Producer};
use rustix::event::{EventfdFlags, eventfd};
use shm::link::LinkServer;
use shm::{Directory, DirectoryWriter, GopRing, RingId, RingSpec, StreamInfo, WorkerBlock};
use srt::Listener;
use uring::socket::open_steered_group;
use uring::{Ring, Steering, Waker};

use crate::berth::Berth;
use crate::budget::Budget;
use crate::clock::{self, ArrivalClock};
use crate::conductor::placement::Placement;
use crate::conductor::{self, Conductor, WorkerLink};
use crate::config::{Config, RtpConfig, SharedPort, SrtConfig};
use crate::cpu;
use crate::messages::{Order, Report, Role};
use crate::plan::Plan;
use crate::socket_id::{Salts, SocketIds};
use crate::wake::Wake;
use crate::worker::handover::Neighbours;
use crate::worker::rtp::session::RtpSession;
use crate::worker::session::Session;
use crate::worker::{self, WaitPolicy, Worker};

/// Why the dataplane does not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// nothing to do: ingestion.srt.enabled is false and nothing is said of ingestion.rtp
    #[error("nothing to do: ingestion.srt.enabled is false and nothing is said of ingestion.rtp")]
    NothingToDo,
    /// workers cannot be placed
    #[error("workers cannot be placed")]
    Cpu(#[from] cpu::Error),
    /// dataplane.workers: more than 65,535
    #[error("dataplane.workers: more than 65,535")]
    TooManyWorkers,
    /// ingestion.srt.max_bandwidth x latency x max_connections needs more packet slots than there
    /// are addresses
    #[error(
        "ingestion.srt.max_bandwidth x latency x max_connections needs more packet slots than there are addresses"
    )]
    TooManySlots,
    /// the memory sum of {needed} bytes is above ingestion.memory.max_total {limit}; lower
    /// ingestion.max_connections, ingestion.srt.max_bandwidth or ingestion.gop, or raise the limit
    #[error(
        "the memory sum of {needed} bytes is above ingestion.memory.max_total {limit}; lower ingestion.max_connections, ingestion.rtp.max_sessions, max_bandwidth of ingestion.srt or ingestion.rtp, or ingestion.gop, or raise the limit\n{budget}"
    )]
    OverBudget {
        /// The sum.
        needed: u64,
        /// The limit.
        limit: u64,
        /// Its lines.
        budget: Budget,
    },
    /// shared memory
    #[error("shared memory")]
    Shm(#[from] shm::Error),
    /// the control socket {path}
    #[error("the control socket {path}")]
    Link {
        /// `dataplane.socket`
        path: PathBuf,
        /// What went wrong.
        #[source]
        cause: shm::Error,
    },
    /// the SRT port or a worker's ring
    #[error("the SRT port or a worker's ring")]
    Ring(#[source] uring::Error),
    /// packet slots
    #[error("packet slots")]
    Slab(#[from] memory::Error),
    /// the kernel refused: {0}
    #[error("the kernel refused: {0}")]
    Kernel(#[from] rustix::io::Errno),
    /// the kernel refused a thread
    #[error("the kernel refused a thread")]
    Thread(#[source] std::io::Error),
    /// worker {worker} ended: {cause}
    #[error("worker {worker} ended: {cause}")]
    Worker {
        /// Its number.
        worker: usize,
        /// Why.
        cause: String,
    },
}

/// Runs a worker's duty cycles on its thread, from the moment it allocates nothing any more. A test
/// wraps them in a watch over the allocator.
pub type RunWorker = fn(&mut dyn FnMut());

/// Runs a worker as it is.
pub fn run_worker(turn: &mut dyn FnMut()) {
    turn();
}

/// A started dataplane.
#[derive(Debug)]
pub struct Dataplane {
    conductor: Conductor,
    workers: Vec<JoinHandle<Result<(), uring::Error>>>,
    budget: Budget,
    locals: Vec<SocketAddr>,
    rtp: Option<SharedPort>,
    wake: Wake,
}

impl Dataplane {
    /// The memory sum of a configuration, without starting anything.
    pub fn budget_of(config: &Config) -> Result<Budget, Error> {
        Plan::new(config, &srt_of(config)?)?.budget()
    }

    /// Takes all memory, opens the port and starts the workers.
    pub fn start(config: &Config, run: RunWorker) -> Result<Self, Error> {
        let srt = &srt_of(config)?;
        let mut ground = Ground::new(config, srt)?;
        let mut listeners = open_listeners(srt, ground.plan.cpus.len())?;
        let rtp = config.rtp.as_ref().map(|rtp| open_shared(rtp, &mut listeners)).transpose()?;
        let (team, salts) = (ground.team(config, random_key()?, run), Salts::new(&random_key()?));
        let (links, workers) = team.start(listeners.by_worker, &mut ground.directory)?;
        let (budget, wake) = (ground.budget.clone(), ground.wake.clone());
        let conductor = ground.conductor(config, srt, salts, links);
        Ok(Self { conductor, workers, budget, locals: listeners.locals, rtp, wake })
    }

    /// Where the SRT listeners are bound, in the order of the configuration.
    pub fn locals(&self) -> &[SocketAddr] {
        &self.locals
    }

    /// Where the shared port of RTP and that of its RTCP are bound.
    pub const fn rtp(&self) -> Option<SharedPort> {
        self.rtp
    }

    /// What the process may hold, printed at start.
    pub const fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Ends a wait of the conductor, so that it asks `stop` again.
    pub fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        let wake = self.wake.clone();
        move || wake.wake()
    }

    /// Runs until `stop` says so or a worker fails; then every session has ended, the port is free
    /// and the socket is gone.
    pub fn run(self, stop: impl Fn() -> bool) -> Result<(), Error> {
        let workers = self.workers;
        self.conductor.run(|| stop() || workers.iter().any(JoinHandle::is_finished));
        let mut first = Ok(());
        for (worker, thread) in workers.into_iter().enumerate() {
            let cause = match thread.join() {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "a fault outside any session".to_owned(),
            };
            first = first.and(Err(Error::Worker { worker, cause }));
        }
        first
    }
}

/// What a dataplane begins with, whatever its workers get their datagrams from.
pub(crate) struct Ground {
    pub(crate) plan: Plan,
    pub(crate) budget: Budget,
    pub(crate) directory: DirectoryWriter,
    pub(crate) ids: SocketIds,
    pub(crate) wake: Wake,
    view: Directory,
    link: LinkServer,
    berths: Vec<Berth>,
    ring_fds: Vec<OwnedFd>,
    eventfd: OwnedFd,
}

impl Ground {
    pub(crate) fn new(config: &Config, srt: &SrtConfig) -> Result<Self, Error> {
        let plan = Plan::new(config, srt)?;
        let budget = plan.budget()?;
        let (needed, limit) = (budget.bytes(), config.memory_total_max);
        if needed > limit {
            return Err(Error::OverBudget { needed, limit, budget });
        }
        let mut directory = DirectoryWriter::create(&plan.directory(needed))?;
        let view = Directory::map(directory.fd())?;
        let link = LinkServer::bind(&config.socket, directory.fd())
            .map_err(|cause| Error::Link { path: config.socket.clone(), cause })?;
        let (berths, ring_fds) = berths(&plan, &mut directory)?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let wake = Wake::new(Arc::new(rustix::io::dup(&eventfd)?));
        let ids = SocketIds::new(plan.workers(), plan.places());
        Ok(Self { plan, budget, directory, ids, wake, view, link, berths, ring_fds, eventfd })
    }

    pub(crate) fn team(&self, config: &Config, cookie_key: [u8; 16], run: RunWorker) -> Team {
        Team {
            plan: self.plan.clone(),
            wait: WaitPolicy { min_wait: config.min_wait, spin: config.spin },
            cookie_key,
            ids: self.ids,
            wake: self.wake.clone(),
            run,
        }
    }

    pub(crate) fn conductor(
        mut self,
        config: &Config,
        srt: &SrtConfig,
        salts: Salts,
        workers: Vec<WorkerLink>,
    ) -> Conductor {
        Conductor::new(conductor::Parts {
            srt: srt.clone(),
            rtp: config.rtp.clone(),
            shared_rtp: self.plan.shared_rtp(),
            shared_rtcp: self.plan.shared_rtcp(),
            first_socket: self.plan.first_socket(),
            sockets_max: self.plan.ring.sockets_max.into(),
            reconnect_grace: config.reconnect_grace,
            take_over_hold: config.take_over_hold,
            connections_max: config.connections_max,
            streams_per_source_max: config.streams_per_source_max,
            authorization: config.authorization,
            window_packets: self.plan.session.window_packets,
            ids: self.ids,
            salts,
            placement: Placement::new(
                self.plan.workers(),
                0..self.plan.sessions,
                self.plan.session_slots,
                self.plan.session_share,
            ),
            rtp_placement: Placement::new(
                self.plan.workers(),
                self.plan.sessions..self.plan.places(),
                self.plan.rtp.map_or(0, |rtp| rtp.slots),
                self.plan.rtp.map_or(0, |rtp| rtp.share),
            ),
            workers,
            berths: self.berths,
            ring_fds: self.ring_fds,
            block: self.directory.conductor(),
            view: self.view,
            link: self.link,
            wake: self.eventfd,
            waker: self.wake,
        })
    }
}

/// The ports of all listeners.
struct Listeners {
    locals: Vec<SocketAddr>,
    /// For each worker, its member of each listener's group.
    by_worker: Vec<Vec<OwnedFd>>,
}

/// Opens the port of each listener, steered over all workers.
fn open_listeners(srt: &SrtConfig, workers: usize) -> Result<Listeners, Error> {
    let mut listeners = Listeners { locals: Vec::new(), by_worker: Vec::new() };
    listeners.by_worker.resize_with(workers, Vec::new);
    let mut granted = usize::MAX;
    for listener in &srt.listeners {
        let (steering, bytes) = (Steering::SrtSocketId, srt.receive_buffer_bytes);
        let group = open_steered_group(listener.listen, workers, steering, bytes);
        let group = group.map_err(Error::Ring)?;
        granted = granted.min(group.receive_buffer_bytes);
        listeners.locals.push(group.local);
        for (worker, member) in listeners.by_worker.iter_mut().zip(group.members) {
            worker.push(member);
        }
    }
    warn_of_small_buffer(srt.receive_buffer_bytes, granted);
    Ok(listeners)
}

/// Opens the shared port of RTP and that of its RTCP behind the listeners, steered over all workers
/// by SSRC.
fn open_shared(rtp: &RtpConfig, sockets: &mut Listeners) -> Result<SharedPort, Error> {
    let workers = sockets.by_worker.len();
    let mut open = |address: SocketAddr, steering, bytes: usize| {
        let group = open_steered_group(address, workers, steering, bytes).map_err(Error::Ring)?;
        for (worker, member) in sockets.by_worker.iter_mut().zip(group.members) {
            worker.push(member);
        }
        warn_of_small_buffer(bytes, group.receive_buffer_bytes);
        Ok::<SocketAddr, Error>(group.local)
    };
    let bytes = rtp.receive_buffer_bytes;
    Ok(SharedPort {
        rtp: open(rtp.shared.rtp, Steering::RtpSsrc, bytes)?,
        rtcp: open(rtp.shared.rtcp, Steering::RtcpSsrc, RTCP_BUFFER_BYTES.min(bytes))?,
    })
}

/// Reports of seconds.
const RTCP_BUFFER_BYTES: usize = 1 << 20;

/// The configuration of SRT, where there is something to do.
pub(crate) fn srt_of(config: &Config) -> Result<SrtConfig, Error> {
    match (&config.srt, &config.rtp) {
        (Some(srt), _) => Ok(srt.clone()),
        (None, Some(_)) => Ok(SrtConfig::none()),
        (None, None) => Err(Error::NothingToDo),
    }
}

fn warn_of_small_buffer(wanted: usize, got: usize) {
    if got < wanted {
        tracing::warn!(
            wanted,
            got,
            "the kernel grants a smaller receive buffer; raise net.core.rmem_max or grant CAP_NET_ADMIN"
        );
    }
}

/// One slot and one ring for every stream, made before the first caller.
fn berths(
    plan: &Plan,
    directory: &mut DirectoryWriter,
) -> Result<(Vec<Berth>, Vec<OwnedFd>), Error> {
    let (mut berths, mut fds) = (Vec::new(), Vec::new());
    for stream in 0..u32::from(plan.streams) {
        let spec = RingSpec { ring: RingId(stream), ..plan.gop_ring };
        let (ring, fd) = GopRing::create(&spec)?;
        let slot = directory.stream(stream);
        let info = StreamInfo::default();
        berths.push(Berth { slot, ring: Some(ring), info, pressure_set: None });
        fds.push(fd);
    }
    berths.reverse();
    Ok((berths, fds))
}

fn random_key() -> Result<[u8; 16], Error> {
    let mut key = [0; 16];
    rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
    Ok(key)
}

/// What all workers are started with.
#[derive(Clone)]
pub(crate) struct Team {
    plan: Plan,
    wait: WaitPolicy,
    cookie_key: [u8; 16],
    ids: SocketIds,
    wake: Wake,
    run: RunWorker,
}

/// What one worker is made from.
pub(crate) struct Recruit {
    team: Team,
    worker: u16,
    block: WorkerBlock,
    orders: Consumer<Order>,
    reports: Producer<Report>,
    neighbours: Neighbours,
}

/// The conductor's ends of a recruit's rings.
pub(crate) struct Reins {
    pub(crate) orders: Producer<Order>,
    pub(crate) reports: Consumer<Report>,
}

type Threads = Vec<JoinHandle<Result<(), uring::Error>>>;

impl Team {
    /// All workers, still without a network, and the conductor's ends of their rings.
    pub(crate) fn recruits(&self, directory: &mut DirectoryWriter) -> Vec<(Recruit, Reins)> {
        let mesh = Neighbours::mesh(self.plan.cpus.len());
        let (places, sockets) = (self.plan.places(), self.plan.ring.sockets_max);
        let capacity = worker::report_capacity(places, sockets);
        let order_capacity = worker::order_capacity(places, sockets);
        let recruits = (0..).zip(mesh).map(|(worker, neighbours)| {
            let (order_in, orders) = spsc::channel(order_capacity);
            let (reports, report_out) = spsc::channel(capacity);
            let block = directory.worker(worker);
            let team = self.clone();
            let recruit = Recruit { team, worker, block, orders, reports, neighbours };
            (recruit, Reins { orders: order_in, reports: report_out })
        });
        recruits.collect()
    }

    /// Starts all workers; they begin to turn once each has made its ring.
    fn start(
        &self,
        sockets: Vec<Vec<OwnedFd>>,
        directory: &mut DirectoryWriter,
    ) -> Result<(Vec<WorkerLink>, Threads), Error> {
        let (mut links, mut threads, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        for ((recruit, reins), sockets) in self.recruits(directory).into_iter().zip(sockets) {
            let worker = recruit.worker;
            let (made_in, made) = mpsc::channel();
            let (start, start_out) = mpsc::channel();
            let thread = thread::Builder::new()
                .name(format!("worker-{worker}"))
                .spawn(move || recruit.serve(sockets, &made_in, &start_out))
                .map_err(Error::Thread)?;
            let waker = made.recv().map_err(|_| Error::Worker {
                worker: worker.into(),
                cause: "its thread ended while it was made".into(),
            })??;
            let Reins { orders, reports } = reins;
            links.push(WorkerLink { orders, reports, waker, stopped: false });
            threads.push(thread);
            starts.push(start);
        }
        // The sessions of all workers are there, and nobody waits yet.
        let bytes = memory::gather_heap();
        tracing::info!(bytes, "memory of sessions and slots on huge pages");
        let wakers: Vec<Waker> = links.iter().map(|link| link.waker.clone()).collect();
        for start in starts {
            // A thread that is gone again is found when it is joined.
            let _ = start.send(wakers.clone());
        }
        Ok((links, threads))
    }
}

impl Recruit {
    /// The worker's thread: makes what must be made here, says so, and turns.
    fn serve(
        self,
        sockets: Vec<OwnedFd>,
        made: &mpsc::Sender<Result<Waker, Error>>,
        start: &mpsc::Receiver<Vec<Waker>>,
    ) -> Result<(), uring::Error> {
        let run = self.team.run;
        let mut parts = match self.make(sockets) {
            Ok(parts) => parts,
            Err(error) => {
                let _ = made.send(Err(error));
                return Ok(());
            }
        };
        let _ = made.send(Ok(parts.ring.waker()));
        // The others were not made: leave.
        let Ok(wakers) = start.recv() else { return Ok(()) };
        parts.neighbour_wakers = wakers;
        let mut worker = Worker::new(parts, clock::now());
        let mut ended = Ok(());
        run(&mut || ended = worker.run());
        let left = worker.leave();
        ended.and(left)
    }

    fn make(mut self, sockets: Vec<OwnedFd>) -> Result<worker::Parts<Ring>, Error> {
        let cpu = self.team.plan.cpus[usize::from(self.worker)];
        cpu::pin(cpu)?;
        let thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        self.block.set_identity(cpu.into(), u32::try_from(thread_id).unwrap_or(0));
        let slab = Slab::new(self.team.plan.slab_slots())?;
        let mut ring = Ring::new(&self.team.plan.ring, slab.clone()).map_err(Error::Ring)?;
        for socket in sockets {
            ring.add_socket(socket).map_err(Error::Ring)?;
        }
        Ok(self.parts(ring, slab, ArrivalClock::new()))
    }

    /// A worker's parts on a network whose first sockets are those of the listeners; the
    /// neighbours' wakers come when all are made.
    pub(crate) fn parts<N>(self, ring: N, slab: Slab, arrival: ArrivalClock) -> worker::Parts<N> {
        let Team { plan, wait, cookie_key, ids, wake, .. } = self.team;
        let mut roles = vec![None; plan.ring.sockets_max.into()];
        roles[..plan.listeners].fill(Some(Role::Listener));
        if plan.rtp.is_some() {
            roles[plan.shared_rtp().index()] = Some(Role::SharedRtp);
            roles[plan.shared_rtcp().index()] = Some(Role::SharedRtcp);
        }
        let rtp_sessions = plan
            .rtp
            .iter()
            .flat_map(|rtp| (0..rtp.sessions).map(|_| RtpSession::new(&rtp.session)));
        worker::Parts {
            worker: self.worker,
            ring,
            arrival,
            slab,
            roles,
            listener: Listener::new(cookie_key),
            ids,
            sessions: (0..plan.sessions).map(|_| Session::new(&plan.session)).collect(),
            rtp_sessions: rtp_sessions.collect(),
            rtp_key: cookie_key,
            session_slots: plan.held_slots(),
            wait,
            block: self.block,
            orders: self.orders,
            reports: self.reports,
            conductor: wake,
            neighbours: self.neighbours,
            neighbour_wakers: Vec::new(),
        }
    }
}
