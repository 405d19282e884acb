//! Start and end of the process: everything is made here, in the order in which it can fail.

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

use crate::budget::Budget;
use crate::clock::{self, ArrivalClock};
use crate::conductor::placement::Placement;
use crate::conductor::{self, Conductor, WorkerLink};
use crate::config::{Config, SrtConfig};
use crate::cpu;
use crate::messages::{Berth, Order, Report};
use crate::plan::Plan;
use crate::socket_id::{Salts, SocketIds};
use crate::wake::Wake;
use crate::worker::handover::Neighbours;
use crate::worker::session::Session;
use crate::worker::{self, WaitPolicy, Worker};

/// Why the dataplane does not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// nothing to do: ingestion.srt.enabled is false
    #[error("nothing to do: ingestion.srt.enabled is false")]
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
        "the memory sum of {needed} bytes is above ingestion.memory.max_total {limit}; lower ingestion.max_connections, ingestion.srt.max_bandwidth or ingestion.gop, or raise the limit\n{budget}"
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
    local: std::net::SocketAddr,
    wake: Wake,
}

impl Dataplane {
    /// The memory sum of a configuration, without starting anything.
    pub fn budget_of(config: &Config) -> Result<Budget, Error> {
        let srt = config.srt.as_ref().ok_or(Error::NothingToDo)?;
        Plan::new(config, srt)?.budget()
    }

    /// Takes all memory, opens the port and starts the workers.
    pub fn start(config: &Config, run: RunWorker) -> Result<Self, Error> {
        let srt = config.srt.as_ref().ok_or(Error::NothingToDo)?;
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
        let group = open_steered_group(
            srt.listen,
            plan.cpus.len(),
            Steering::SrtSocketId,
            srt.receive_buffer_bytes,
        )
        .map_err(Error::Ring)?;
        warn_of_small_buffer(srt, group.receive_buffer_bytes);
        let (berths, ring_fds) = berths(&plan, &mut directory)?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let wake = Wake::new(Arc::new(rustix::io::dup(&eventfd)?));
        let ids = SocketIds::new(plan.workers(), plan.sessions);
        let team = Team {
            plan: &plan,
            wait: WaitPolicy { min_wait: config.min_wait, spin: config.spin },
            cookie_key: random_key()?,
            ids,
            wake: wake.clone(),
            run,
        };
        let (links, workers) = team.start(group.members, &mut directory)?;
        let conductor = Conductor::new(conductor::Parts {
            srt: srt.clone(),
            reconnect_grace: config.reconnect_grace,
            window_packets: plan.session.window_packets,
            ids,
            salts: Salts::new(&random_key()?),
            placement: Placement::new(plan.workers(), plan.sessions, plan.session_slots),
            workers: links,
            berths,
            ring_fds,
            block: directory.conductor(),
            view,
            link,
            wake: eventfd,
        });
        Ok(Self { conductor, workers, budget, local: group.local, wake })
    }

    /// Where the SRT listener is bound.
    pub const fn local(&self) -> std::net::SocketAddr {
        self.local
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

fn warn_of_small_buffer(srt: &SrtConfig, got: usize) {
    if got < srt.receive_buffer_bytes {
        tracing::warn!(
            wanted = srt.receive_buffer_bytes,
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
        berths.push(Berth { slot, ring: Some(ring), info: StreamInfo::default() });
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
struct Team<'a> {
    plan: &'a Plan,
    wait: WaitPolicy,
    cookie_key: [u8; 16],
    ids: SocketIds,
    wake: Wake,
    run: RunWorker,
}

/// What one worker's thread is started with.
struct Recruit {
    worker: u16,
    cpu: u16,
    plan: Plan,
    wait: WaitPolicy,
    cookie_key: [u8; 16],
    ids: SocketIds,
    wake: Wake,
    run: RunWorker,
    socket: OwnedFd,
    block: WorkerBlock,
    orders: Consumer<Order>,
    reports: Producer<Report>,
    neighbours: Neighbours,
}

type Threads = Vec<JoinHandle<Result<(), uring::Error>>>;

impl Team<'_> {
    /// Starts all workers; they begin to turn once each has made its ring.
    fn start(
        &self,
        sockets: Vec<OwnedFd>,
        directory: &mut DirectoryWriter,
    ) -> Result<(Vec<WorkerLink>, Threads), Error> {
        let mesh = Neighbours::mesh(sockets.len());
        let (mut links, mut threads, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        for ((worker, socket), neighbours) in (0..).zip(sockets).zip(mesh) {
            let capacity = worker::report_capacity(self.plan.sessions);
            let (order_in, orders) = spsc::channel(capacity);
            let (reports, report_out) = spsc::channel(capacity);
            let recruit = Recruit {
                worker,
                cpu: self.plan.cpus[usize::from(worker)],
                plan: self.plan.clone(),
                wait: self.wait,
                cookie_key: self.cookie_key,
                ids: self.ids,
                wake: self.wake.clone(),
                run: self.run,
                socket,
                block: directory.worker(worker),
                orders,
                reports,
                neighbours,
            };
            let (made_in, made) = mpsc::channel();
            let (start, start_out) = mpsc::channel();
            let thread = thread::Builder::new()
                .name(format!("worker-{worker}"))
                .spawn(move || recruit.serve(&made_in, &start_out))
                .map_err(Error::Thread)?;
            let waker = made.recv().map_err(|_| Error::Worker {
                worker: worker.into(),
                cause: "its thread ended while it was made".into(),
            })??;
            links.push(WorkerLink { orders: order_in, reports: report_out, waker, stopped: false });
            threads.push(thread);
            starts.push(start);
        }
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
        made: &mpsc::Sender<Result<Waker, Error>>,
        start: &mpsc::Receiver<Vec<Waker>>,
    ) -> Result<(), uring::Error> {
        let run = self.run;
        let mut parts = match self.make() {
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

    fn make(mut self) -> Result<worker::Parts<Ring>, Error> {
        cpu::pin(self.cpu)?;
        let thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        self.block.set_identity(self.cpu.into(), u32::try_from(thread_id).unwrap_or(0));
        let slab = Slab::new(self.plan.slab_slots())?;
        let mut ring = Ring::new(&self.plan.ring, slab.clone()).map_err(Error::Ring)?;
        let socket = ring.add_socket(self.socket).map_err(Error::Ring)?;
        let sessions = (0..self.plan.sessions).map(|_| Session::new(&self.plan.session)).collect();
        Ok(worker::Parts {
            worker: self.worker,
            ring,
            arrival: ArrivalClock::new(),
            slab,
            socket,
            listener: Listener::new(self.cookie_key),
            ids: self.ids,
            sessions,
            wait: self.wait,
            block: self.block,
            orders: self.orders,
            reports: self.reports,
            conductor: self.wake,
            neighbours: self.neighbours,
            neighbour_wakers: Vec::new(),
        })
    }
}
