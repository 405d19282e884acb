//! The dataplane's end of the link. It never waits: not for a client that does not read, not for
//! one that does not write.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use rustix::event::{Timespec, epoll};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, connect, listen, socket_with,
};

use super::message::{Incoming, PushRef, Reply, Request, receive, send};
use super::{
    BackpressureAction, CommandError, Decision, Event, MESSAGE_BYTES_MAX, OptionsSet, Question,
    RtpSessionsPage, SourcesPage,
};
use crate::{ABI_VERSION, Error, RingId};

/// Most clients at a time: a control plane, a few tools, and one for each reader of frames that
/// keeps its connection.
pub const CLIENTS_MAX: usize = 64;

/// Requests answered for one client before the others have their turn.
const REQUESTS_IN_A_ROW: usize = 16;
/// Who may connect: the owner and the group.
const SOCKET_MODE: Mode = Mode::from_raw_mode(0o660);
/// The listener among the epoll tokens; clients have their place.
const LISTENER: u64 = u64::MAX;

/// What the dataplane does for a client.
pub trait Handler {
    /// The ring of a stream.
    fn ring(&mut self, stream_id: &str) -> Result<RingGrant<'_>, CommandError>;

    /// Ends a stream and keeps its id out for `block`.
    fn terminate(&mut self, stream_id: &str, block: Duration) -> Result<(), CommandError>;

    /// Puts the sources behind the id `after` on a page, until it is full. There are none unless the
    /// handler says so, here and below.
    fn sources(&self, _after: Option<&str>, _page: &mut SourcesPage) {}

    /// Fetches one more stream, described as in the configuration file.
    fn add_source(&mut self, _source: serde_json::Value) -> Result<(), CommandError> {
        Err(CommandError::new(CommandError::LIMIT, "nothing is fetched here"))
    }

    /// Fetches a stream no more.
    fn remove_source(&mut self, id: &str) -> Result<(), CommandError> {
        Err(CommandError::new(CommandError::NOT_FOUND, format!("no source `{id}`")))
    }

    /// Calls a source at once.
    fn restart_source(&mut self, id: &str) -> Result<(), CommandError> {
        Err(CommandError::new(CommandError::NOT_FOUND, format!("no source `{id}`")))
    }

    /// Puts the sessions of RTP behind the id `after` on a page, until it is full. There are none
    /// unless the handler says so, here and below.
    fn rtp_sessions(&self, _after: Option<&str>, _page: &mut RtpSessionsPage) {}

    /// Takes one more session of RTP, described as in the configuration file.
    fn add_rtp_session(&mut self, _session: serde_json::Value) -> Result<(), CommandError> {
        Err(CommandError::new(CommandError::LIMIT, "no session of RTP is taken here"))
    }

    /// Takes a session of RTP no more.
    fn remove_rtp_session(&mut self, id: &str) -> Result<(), CommandError> {
        Err(CommandError::new(CommandError::NOT_FOUND, format!("no RTP session `{id}`")))
    }

    /// Takes the attendant's answer to a question; one that nobody asked, or that comes too late,
    /// is none.
    fn decide(&mut self, question: u64, decision: Decision) {
        let _ = (question, decision);
    }

    /// The options of a stream, as the control plane shows them.
    fn options(&self, stream_id: &str) -> Result<serde_json::Value, CommandError> {
        Err(CommandError::new(CommandError::NOT_FOUND, format!("no stream `{stream_id}`")))
    }

    /// Changes options of a stream, named as in the configuration file: all of them, or none.
    fn set_options(
        &mut self,
        stream_id: &str,
        _options: serde_json::Value,
    ) -> Result<OptionsSet, CommandError> {
        Err(CommandError::new(CommandError::NOT_FOUND, format!("no stream `{stream_id}`")))
    }

    /// Steers the backpressure of a stream; what is asked for is within its bounds.
    fn backpressure(
        &mut self,
        stream_id: &str,
        action: BackpressureAction,
    ) -> Result<(), CommandError>;
}

/// A ring handed to a client.
#[derive(Debug)]
pub struct RingGrant<'a> {
    /// The ring's segment.
    pub fd: BorrowedFd<'a>,
    /// Its identity.
    pub ring: RingId,
    /// The generation that is the stream's.
    pub generation: u64,
}

/// What happened on the link; only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkTotals {
    /// Clients accepted.
    pub clients_accepted: u64,
    /// Clients turned away: too many, or no descriptor left for them.
    pub clients_rejected: u64,
    /// Clients dropped because they did not read their answers.
    pub clients_dropped_slow: u64,
    /// Requests answered, with errors too.
    pub requests: u64,
    /// Requests answered with an error because they were malformed.
    pub requests_invalid: u64,
}

/// The listening socket and its clients. The conductor waits for [`LinkServer::as_fd`] to become
/// readable, together with whatever else it waits for, and then calls [`LinkServer::serve_ready`].
#[derive(Debug)]
pub struct LinkServer {
    epoll: OwnedFd,
    listener: OwnedFd,
    directory: OwnedFd,
    clients: Box<[Option<OwnedFd>]>,
    /// The place of the client that attends.
    attendant: Option<usize>,
    newly_attended: bool,
    /// Given up for a moment to turn a client away when no other descriptor is left; a client that
    /// waits in the queue for ever would keep the conductor awake.
    spare: Option<OwnedFd>,
    file: SocketFile,
    totals: LinkTotals,
}

impl LinkServer {
    /// Listens at `path`; clients that say hello get `directory`. A socket file that nobody answers
    /// at is replaced; one that somebody answers at, or anything else at that place, is an error.
    pub fn bind(path: &Path, directory: BorrowedFd<'_>) -> Result<Self, Error> {
        let failed =
            |step| move |source: io::Error| Error::Link { path: path.to_owned(), step, source };
        let directory = directory.try_clone_to_owned().map_err(failed("dup"))?;
        let (listener, file) = SocketFile::listen(path)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC);
        let epoll = epoll.map_err(|e| failed("epoll_create")(e.into()))?;
        let token = epoll::EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, token, epoll::EventFlags::IN)
            .map_err(|e| failed("epoll_ctl")(e.into()))?;
        let clients = (0..CLIENTS_MAX).map(|_| None).collect();
        let (spare, totals) = (spare(), LinkTotals::default());
        let (attendant, newly_attended) = (None, false);
        Ok(Self {
            epoll,
            listener,
            directory,
            clients,
            attendant,
            newly_attended,
            spare,
            file,
            totals,
        })
    }

    /// Answers what is waiting; never blocks.
    pub fn serve_ready(&mut self, handler: &mut impl Handler) -> Result<(), Error> {
        let mut events = Vec::with_capacity(CLIENTS_MAX + 1);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let room = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, room, Some(&now)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                let (path, step) = (self.file.path.clone(), "epoll_wait");
                return Err(Error::Link { path, step, source: error.into() });
            }
        }
        for event in &events {
            // The event may lie unaligned: take a copy, no reference.
            let data = event.data;
            match data.u64() {
                LISTENER => self.accept_waiting(),
                place => self.serve(usize::try_from(place).unwrap_or(usize::MAX), handler),
            }
        }
        Ok(())
    }

    /// Whether somebody has begun to attend since this was last asked: who came anew has heard
    /// none of the questions.
    pub const fn take_newly_attended(&mut self) -> bool {
        std::mem::replace(&mut self.newly_attended, false)
    }

    /// Tells the attendant of an event; false when nobody attends or it does not read now.
    pub fn tell(&mut self, event: &Event) -> bool {
        self.push(&PushRef::Event(event))
    }

    /// Puts a question to the attendant; false when nobody attends or it does not read now.
    pub fn put(&mut self, question: &Question) -> bool {
        self.push(&PushRef::Question(question))
    }

    fn push(&mut self, push: &PushRef<'_>) -> bool {
        let Some(place) = self.attendant else { return false };
        let Some(client) = self.clients[place].as_ref() else { return false };
        match send(client.as_fd(), push, None, SendFlags::DONTWAIT) {
            Ok(()) => true,
            Err(Errno::AGAIN) => false,
            // Longer than any message: nobody will ever be told.
            Err(Errno::MSGSIZE) => true,
            Err(_) => {
                self.clients[place] = None;
                self.attendant = None;
                false
            }
        }
    }

    /// Clients connected.
    pub fn clients(&self) -> usize {
        self.clients.iter().flatten().count()
    }

    /// What happened so far.
    pub const fn totals(&self) -> &LinkTotals {
        &self.totals
    }

    fn accept_waiting(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        for _ in 0..CLIENTS_MAX {
            match accept_with(&self.listener, flags) {
                Ok(client) => self.admit(client),
                Err(Errno::MFILE | Errno::NFILE) => {
                    self.spare = None;
                    drop(accept_with(&self.listener, flags));
                    self.spare = spare();
                    self.totals.clients_rejected += 1;
                }
                Err(_) => return,
            }
        }
    }

    fn admit(&mut self, client: OwnedFd) {
        let free = self.clients.iter().position(Option::is_none);
        let watched = free.is_some_and(|place| {
            let token = epoll::EventData::new_u64(place as u64);
            epoll::add(&self.epoll, &client, token, epoll::EventFlags::IN).is_ok()
        });
        if let Some(place) = free.filter(|_| watched) {
            self.clients[place] = Some(client);
            self.totals.clients_accepted += 1;
        } else {
            let message = format!("{CLIENTS_MAX} clients are connected");
            let reply = Reply::Error(CommandError::new(CommandError::TOO_MANY_CLIENTS, message));
            let _ = send(client.as_fd(), &reply, None, SendFlags::DONTWAIT);
            self.totals.clients_rejected += 1;
        }
    }

    fn serve(&mut self, place: usize, handler: &mut impl Handler) {
        self.serve_client(place, handler);
        // Its place may go to another client.
        if self.attendant == Some(place) && self.clients[place].is_none() {
            self.attendant = None;
        }
    }

    fn serve_client(&mut self, place: usize, handler: &mut impl Handler) {
        let Some(client) = self.clients.get_mut(place).and_then(Option::take) else { return };
        for _ in 0..REQUESTS_IN_A_ROW {
            match receive(client.as_fd(), false, RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => break,
                // Closing the socket takes it out of the epoll set.
                Err(_) | Ok(Incoming::Closed) => return,
                Ok(incoming) => {
                    if !self.answer((place, client.as_fd()), &incoming, handler) {
                        return;
                    }
                }
            }
        }
        self.clients[place] = Some(client);
    }

    /// False when the client is to be dropped.
    fn answer(
        &mut self,
        (place, client): (usize, BorrowedFd<'_>),
        incoming: &Incoming,
        handler: &mut impl Handler,
    ) -> bool {
        self.totals.requests += 1;
        let request = parse(incoming);
        self.totals.requests_invalid += u64::from(request.is_err());
        let request = match request {
            Ok(Request::Decide { question, decision }) if self.attendant == Some(place) => {
                handler.decide(question, decision);
                return true;
            }
            Ok(Request::Attend) if self.attendant.is_none() => {
                (self.attendant, self.newly_attended) = (Some(place), true);
                Ok(Request::Attend)
            }
            other => other,
        };
        let answer = request.and_then(|request| self.carry_out(place, request, handler));
        let (reply, fd) = match answer {
            Ok((reply, fd)) => (reply, fd),
            Err(error) => (Reply::Error(error.cut()), None),
        };
        match send(client, &reply, fd, SendFlags::DONTWAIT) {
            Ok(()) => true,
            Err(error) => {
                self.totals.clients_dropped_slow += u64::from(error == Errno::AGAIN);
                false
            }
        }
    }

    fn carry_out<'a>(
        &'a self,
        place: usize,
        request: Request,
        handler: &'a mut impl Handler,
    ) -> Result<Answer<'a>, CommandError> {
        let reply = match request {
            Request::Hello { abi } => return self.welcome(abi),
            Request::Ring { stream_id } => return handler.ring(&stream_id).map(granted),
            Request::Attend => done(self.attended_by(place))?,
            Request::Decide { .. } => return Err(only_who_attends_decides()),
            Request::Terminate { stream_id, block_ms } => {
                done(handler.terminate(&stream_id, Duration::from_millis(block_ms)))?
            }
            Request::Sources { after } => sources(handler, after.as_deref()),
            Request::AddSource { source } => done(handler.add_source(source))?,
            Request::RemoveSource { id } => done(handler.remove_source(&id))?,
            Request::RestartSource { id } => done(handler.restart_source(&id))?,
            Request::RtpSessions { after } => rtp_sessions(handler, after.as_deref()),
            Request::AddRtpSession { session } => done(handler.add_rtp_session(session))?,
            Request::RemoveRtpSession { id } => done(handler.remove_rtp_session(&id))?,
            Request::Backpressure { stream_id, action } => {
                action.check()?;
                done(handler.backpressure(&stream_id, action))?
            }
            Request::Options { stream_id } => {
                Reply::Options { options: handler.options(&stream_id)? }
            }
            Request::SetOptions { stream_id, options } => {
                Reply::OptionsSet(handler.set_options(&stream_id, options)?)
            }
        };
        Ok((reply, None))
    }

    /// The directory, for a client that can read it.
    fn welcome(&self, abi: u32) -> Result<Answer<'_>, CommandError> {
        if abi == ABI_VERSION {
            return Ok((Reply::Directory, Some(self.directory.as_fd())));
        }
        let message = format!("client has ABI version {abi}, dataplane {ABI_VERSION}");
        Err(CommandError::new(CommandError::ABI_MISMATCH, message))
    }

    fn attended_by(&self, place: usize) -> Result<(), CommandError> {
        if self.attendant == Some(place) {
            return Ok(());
        }
        let message = "another control plane attends this dataplane";
        Err(CommandError::new(CommandError::ATTENDED, message))
    }
}

impl AsFd for LinkServer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// What a client gets, and the descriptor that goes with it.
type Answer<'a> = (Reply, Option<BorrowedFd<'a>>);

fn done(outcome: Result<(), CommandError>) -> Result<Reply, CommandError> {
    outcome.map(|()| Reply::Done)
}

fn granted(grant: RingGrant<'_>) -> Answer<'_> {
    (Reply::Ring { ring: grant.ring.0, generation: grant.generation }, Some(grant.fd))
}

fn sources(handler: &impl Handler, after: Option<&str>) -> Reply {
    let mut page = SourcesPage::default();
    handler.sources(after, &mut page);
    let (sources, more) = page.into_parts();
    Reply::Sources { sources, more }
}

fn rtp_sessions(handler: &impl Handler, after: Option<&str>) -> Reply {
    let mut page = RtpSessionsPage::default();
    handler.rtp_sessions(after, &mut page);
    let (sessions, more) = page.into_parts();
    Reply::RtpSessions { sessions, more }
}

fn only_who_attends_decides() -> CommandError {
    CommandError::new(CommandError::INVALID, "only who attends decides")
}

fn parse(incoming: &Incoming) -> Result<Request, CommandError> {
    let Incoming::Message(bytes, _) = incoming else {
        let message = format!("a request has at most {MESSAGE_BYTES_MAX} bytes");
        return Err(CommandError::new(CommandError::OVERSIZE, message));
    };
    serde_json::from_slice(bytes).map_err(|error| {
        CommandError::new(CommandError::INVALID, format!("not a request: {error}"))
    })
}

fn spare() -> Option<OwnedFd> {
    rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// The socket's file, removed with the server as long as it is still ours.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    fn listen(path: &Path) -> Result<(OwnedFd, Self), Error> {
        let failed =
            |step| move |e: Errno| Error::Link { path: path.to_owned(), step, source: e.into() };
        let address = SocketAddrUnix::new(path).map_err(failed("address"))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(failed("socket"))?;

        // Two dataplanes that start at once must not both find the other's socket dead: whoever
        // holds the lock has bound and listens before the next one looks.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let lock = rustix::fs::open(parent, flags, Mode::empty()).map_err(failed("open folder"))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(failed("flock"))?;

        if let Err(error) = bind(&listener, &address) {
            if error != Errno::ADDRINUSE {
                return Err(failed("bind")(error));
            }
            remove_dead(path, &address)?;
            bind(&listener, &address).map_err(failed("bind"))?;
        }
        // Nobody can connect before the listen, so the mode counts from the first client on.
        rustix::fs::chmod(path, SOCKET_MODE).map_err(failed("chmod"))?;
        listen(&listener, 128).map_err(failed("listen"))?;
        let identity = identity(path).map_err(|source| {
            let path = path.to_owned();
            Error::Link { path, step: "stat", source }
        })?;
        Ok((listener, Self { path: path.to_owned(), identity }))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

/// Removes a socket file at which nobody answers.
fn remove_dead(path: &Path, address: &SocketAddrUnix) -> Result<(), Error> {
    let failed =
        |step| move |source: io::Error| Error::Link { path: path.to_owned(), step, source };
    let file = fs::symlink_metadata(path).map_err(failed("stat"))?;
    if !file.file_type().is_socket() {
        return Err(Error::NotASocket { path: path.to_owned() });
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(|e| failed("socket")(e.into()))?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(failed("unlink")),
        // A full queue of clients or another type of socket: somebody lives there.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => {
            Err(Error::AlreadyRunning { path: path.to_owned() })
        }
        Err(error) => Err(failed("connect")(error.into())),
    }
}
