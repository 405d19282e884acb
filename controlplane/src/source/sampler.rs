//! The thread that follows the dataplane.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use shm::link::{Link, RtpSessionReport, SourceReport};
use shm::{Directory, Liveness, StreamSnapshot};
use tokio::sync::oneshot;

use super::history::History;
use super::process::Cpu;
use super::{INTERVAL, SILENCE_MAX, Snapshot, SourceList, View, is_live};
use crate::{Error, clock};

/// Longest wait for the dataplane to hand over its directory.
const LINK_TIMEOUT: Duration = Duration::from_millis(250);
/// Pause between two tries while a dataplane is silent.
const SILENT_RETRY: Duration = Duration::from_secs(1);

/// Time between two questions about sources and sessions.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// Pages of a list at most: far more than there may be entries.
const PAGES_MAX: usize = 2_048;

pub(super) fn start(
    socket: PathBuf,
    view: Arc<RwLock<View>>,
    refreshes: Receiver<oneshot::Sender<()>>,
) -> Result<(), Error> {
    let sampler = Sampler {
        socket,
        view,
        directory: None,
        trouble: String::new(),
        asked: Instant::now(),
        cpu: Cpu::default(),
        history: History::default(),
        lists: Lists::default(),
    };
    std::thread::Builder::new()
        .name("sampler".to_owned())
        .spawn(move || sampler.run(&refreshes))
        .map(|_| ())
        .map_err(|source| Error::System { what: "cannot start the sampler thread", source })
}

struct Sampler {
    socket: PathBuf,
    view: Arc<RwLock<View>>,
    directory: Option<Directory>,
    /// The last failure to reach the dataplane, so that each is logged once.
    trouble: String,
    /// When the socket was tried last.
    asked: Instant,
    cpu: Cpu,
    history: History,
    lists: Lists,
}

/// Sources and sessions, which are not in shared memory: they are asked for over a link that stays
/// open.
#[derive(Default)]
struct Lists {
    link: Option<Link>,
    /// When they were asked for last.
    asked: Option<Instant>,
    sources: Arc<SourceList>,
    rtp_sessions: Arc<[RtpSessionReport]>,
}

impl Lists {
    /// Asks when it is time to, or at once when something may have changed.
    fn follow(&mut self, socket: &Path, at_once: bool) {
        if !at_once && self.asked.is_some_and(|asked| asked.elapsed() < ASKED_EVERY) {
            return;
        }
        self.asked = Some(Instant::now());
        match self.ask(socket) {
            Ok((sources, sessions)) => {
                self.sources = Arc::new(SourceList { sources, read_unix_ns: clock::unix_ns() });
                self.rtp_sessions = sessions.into();
            }
            // A next time finds a new link, or the reading says that the dataplane is gone.
            Err(_) => self.link = None,
        }
    }

    fn ask(
        &mut self,
        socket: &Path,
    ) -> Result<(Vec<SourceReport>, Vec<RtpSessionReport>), shm::Error> {
        let link = match &mut self.link {
            Some(link) => link,
            none => none.insert(Link::connect(socket, LINK_TIMEOUT)?),
        };
        let sources = all_pages(|last: Option<&SourceReport>| {
            link.sources(last.map(|source| source.id.as_str()))
        })?;
        let sessions = all_pages(|last: Option<&RtpSessionReport>| {
            link.rtp_sessions(last.map(|session| session.id.as_str()))
        })?;
        Ok((sources, sessions))
    }
}

/// A list that is told page by page: each is asked for by the last entry of the one before it.
fn all_pages<T>(
    mut page: impl FnMut(Option<&T>) -> Result<(Vec<T>, bool), shm::Error>,
) -> Result<Vec<T>, shm::Error> {
    let mut all = Vec::new();
    for _ in 0..PAGES_MAX {
        let (entries, more) = page(all.last())?;
        all.extend(entries);
        if !more {
            break;
        }
    }
    Ok(all)
}

impl Sampler {
    fn run(mut self, refreshes: &Receiver<oneshot::Sender<()>>) {
        loop {
            self.turn(false);
            match refreshes.recv_timeout(INTERVAL) {
                Ok(done) => {
                    self.turn(true);
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn turn(&mut self, refresh: bool) {
        if self.read(refresh) != Some(Liveness::Alive) && self.connect() {
            self.lists = Lists::default();
            self.read(refresh);
        }
    }

    /// Publishes a reading of the directory at hand; its liveness, or `None` without one.
    fn read(&mut self, refresh: bool) -> Option<Liveness> {
        let directory = self.directory.as_ref()?;
        let liveness = directory.liveness(SILENCE_MAX);
        if liveness == Liveness::Alive {
            self.lists.follow(&self.socket, refresh);
        }
        let header = directory.header().clone();
        let streams = directory.streams();
        self.history.follow(&streams);
        let taken_ns = clock::monotonic_ns();
        let running = Duration::from_nanos(taken_ns.saturating_sub(header.started_monotonic_ns));
        let cpu_percent = match liveness {
            Liveness::Gone => Some(0.0),
            _ => self.cpu.percent(header.pid, running),
        };
        let snapshot = Snapshot {
            conductor: directory.conductor(),
            workers: directory.workers(),
            ports: directory.ports(),
            streams: one_of_each_id(streams),
            header,
            sources: Arc::clone(&self.lists.sources),
            rtp_sessions: Arc::clone(&self.lists.rtp_sessions),
            liveness,
            taken_ns,
            cpu_percent,
            history: self.history.clone(),
        };
        self.show(View::Seen(Arc::new(snapshot)));
        Some(liveness)
    }

    /// Asks whoever listens on the socket for its directory. One that is only silent may be
    /// halted, or its end cannot be told from here (another process namespace): it is asked less
    /// often, because a halted process answers only after [`LINK_TIMEOUT`].
    fn connect(&mut self) -> bool {
        let silent = self
            .directory
            .as_ref()
            .is_some_and(|directory| directory.liveness(SILENCE_MAX) != Liveness::Gone);
        if silent && self.asked.elapsed() < SILENT_RETRY {
            return false;
        }
        self.asked = Instant::now();
        let found = Link::connect(&self.socket, LINK_TIMEOUT).and_then(|mut link| link.directory());
        match found {
            Ok(directory) => {
                let header = directory.header();
                let former = self.directory.as_ref().map(|directory| directory.header().epoch);
                if former != Some(header.epoch) {
                    tracing::info!(
                        pid = header.pid,
                        epoch = header.epoch,
                        workers = header.workers,
                        software = %header.software,
                        "following the dataplane"
                    );
                    self.history.restart();
                }
                self.trouble.clear();
                self.directory = Some(directory);
                true
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    fn failed(&mut self, error: &shm::Error) {
        let trouble = error.to_string();
        if trouble != self.trouble {
            tracing::warn!(socket = %self.socket.display(), error = %trouble, "no dataplane answers");
            if self.directory.is_none() {
                self.show(View::Never(format!("no dataplane answers: {trouble}")));
            }
            self.trouble = trouble;
        }
    }

    fn show(&self, view: View) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
    }
}

/// Of several streams with one id (a closed one beside its successor) the live one, else the one
/// created last; ordered by id.
fn one_of_each_id(streams: Vec<StreamSnapshot>) -> Vec<StreamSnapshot> {
    let rank = |stream: &StreamSnapshot| (is_live(stream), stream.info.created_unix_ns);
    let mut best: HashMap<String, StreamSnapshot> = HashMap::with_capacity(streams.len());
    for stream in streams {
        match best.get(stream.info.id.as_str()) {
            Some(other) if rank(other) >= rank(&stream) => {}
            _ => {
                best.insert(stream.info.id.as_str().to_owned(), stream);
            }
        }
    }
    let mut streams: Vec<StreamSnapshot> = best.into_values().collect();
    streams.sort_unstable_by(|a, b| a.info.id.as_str().cmp(b.info.id.as_str()));
    streams
}
