//! Sessions of RTP that are given, by the configuration or at run time: their sockets, and their
//! streams, which wait for their senders.
//!
//! ```text
//!            due: place, berth, sockets            silence, goodbye
//!  Waiting ─────────────────────────────▶ Open ─────────────────────▶ Open again, on the same sockets
//!     ▲                                   │  │
//!     └────── a second ── terminated, or a fault
//!                                            │ removed                 sockets closed
//!                                            └──────────────▶ Closing ────────────────▶ forgotten
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use memory::Time;
use rtp::session::{LEGS_MAX, TRACKS_MAX};
use shm::link::{Event, EventKind};
use shm::{EndReason, StreamKind};
use uring::SocketIndex;

use super::Conductor;
use super::placement::Place;
use super::streams::{State, Stream};
use crate::berth::Guest;
use crate::config::{Purpose, SessionSetup, SocketSetup};
use crate::messages::{Admission, Order, Role, RtcpSockets, RtpTenancy};

/// How long a session is put off that could not be opened, or was ended from here.
const PUT_OFF: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Phase {
    /// To be opened then.
    Waiting(Time),
    /// It has its place and sockets.
    Open { place: Place, sockets: Vec<SocketIndex> },
    /// It was removed, and its worker closes its sockets.
    Closing { worker: u16, sockets: Vec<SocketIndex> },
}

/// One session.
#[derive(Debug)]
pub(super) struct GivenSession {
    pub(super) setup: SessionSetup,
    /// It stands in the configuration file.
    pub(super) configured: bool,
    /// It is to be forgotten.
    pub(super) removed: bool,
    /// The sockets that it was added with, until it has its place.
    ready: Vec<OwnedFd>,
    phase: Phase,
    /// Where its sender is.
    pub(super) sender: Option<SocketAddr>,
    /// Why it could not be opened the last time.
    pub(super) trouble: Option<String>,
}

impl GivenSession {
    /// Where it stands, in a word.
    pub(super) const fn state(&self) -> &'static str {
        match (&self.phase, self.sender) {
            _ if self.removed => "closing",
            (Phase::Waiting(_), _) => "waiting",
            (_, None) => "listening",
            (_, Some(_)) => "receiving",
        }
    }
}

/// The sessions, by the id of their stream.
#[derive(Debug, Default)]
pub(super) struct GivenSessions {
    sessions: BTreeMap<String, GivenSession>,
    /// Those that wait or are removed: what is done about them depends on the time and on others. All
    /// but these are left alone.
    unsettled: BTreeSet<String>,
}

impl GivenSessions {
    /// Those of the configuration, all due at once.
    pub(super) fn configured(sessions: &[SessionSetup]) -> Self {
        let mut given = Self::default();
        for setup in sessions {
            given.insert(setup.clone(), Vec::new(), true, Time::ZERO);
        }
        given
    }

    fn insert(&mut self, setup: SessionSetup, ready: Vec<OwnedFd>, configured: bool, now: Time) {
        let (id, phase) = (setup.id.clone(), Phase::Waiting(now));
        let (removed, sender, trouble) = (false, None, None);
        let session = GivenSession { setup, configured, removed, ready, phase, sender, trouble };
        self.unsettled.insert(id.clone());
        self.sessions.insert(id, session);
    }

    /// Takes a further one, with its sockets: due at once.
    pub(super) fn add(&mut self, setup: SessionSetup, sockets: Vec<OwnedFd>, now: Time) {
        tracing::info!(stream = setup.id, left_out = ?setup.left_out, "RTP session added");
        self.insert(setup, sockets, false, now);
    }

    /// Marks one to be forgotten; false when there is none, or it is marked already.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let Some(session) = self.sessions.get_mut(id).filter(|session| !session.removed) else {
            return false;
        };
        tracing::info!(stream = id, "RTP session removed");
        session.removed = true;
        self.unsettled.insert(id.to_owned());
        true
    }

    pub(super) fn get(&self, id: &str) -> Option<&GivenSession> {
        self.sessions.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &GivenSession> {
        self.sessions.values()
    }

    /// Those behind `after`, in the order of their ids.
    pub(super) fn after(&self, after: Option<&str>) -> impl Iterator<Item = &GivenSession> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.sessions.range::<str, _>((from, Bound::Unbounded)).map(|(_, session)| session)
    }

    /// The ids of those that were added at run time.
    pub(super) fn added(&self) -> impl Iterator<Item = &str> {
        self.sessions.iter().filter(|(_, session)| !session.configured).map(|(id, _)| id.as_str())
    }

    /// Whether a stream id belongs to one that was added at run time.
    pub(super) fn is_added(&self, id: &str) -> bool {
        self.sessions.get(id).is_some_and(|session| !session.configured)
    }

    /// How many of those have a place.
    pub(super) fn added_open(&self) -> usize {
        let open = |session: &&GivenSession| {
            !session.configured && matches!(session.phase, Phase::Open { .. })
        };
        self.sessions.values().filter(open).count()
    }

    /// Whether a stream id belongs to one: nobody else may publish under it.
    pub(super) fn owns(&self, id: &str) -> bool {
        self.sessions.contains_key(id)
    }

    fn due(&self, now: Time) -> Vec<String> {
        self.unsettled_that(|session| {
            !session.removed && matches!(session.phase, Phase::Waiting(at) if at <= now)
        })
    }

    fn removed(&self) -> Vec<String> {
        self.unsettled_that(|session| session.removed)
    }

    fn unsettled_that(&self, is: impl Fn(&GivenSession) -> bool) -> Vec<String> {
        let unsettled = self.unsettled.iter();
        unsettled.filter(|id| self.sessions.get(*id).is_some_and(&is)).cloned().collect()
    }

    /// One that waited has its place.
    fn open(&mut self, id: &str, place: Place, sockets: Vec<SocketIndex>) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.phase = Phase::Open { place, sockets };
            (session.sender, session.trouble) = (None, None);
            self.unsettled.remove(id);
        }
    }

    fn forget(&mut self, id: &str) {
        self.sessions.remove(id);
        self.unsettled.remove(id);
    }

    /// A worker has closed a socket; the id of the session that lost it while it was open.
    fn socket_closed(&mut self, worker: u16, socket: SocketIndex) -> Option<String> {
        let (id, session) = self.sessions.iter_mut().find(|(_, session)| match &session.phase {
            Phase::Waiting(_) => false,
            Phase::Open { place, sockets } => place.worker == worker && sockets.contains(&socket),
            Phase::Closing { worker: own, sockets } => *own == worker && sockets.contains(&socket),
        })?;
        let id = id.clone();
        match &mut session.phase {
            Phase::Waiting(_) => return None,
            Phase::Open { sockets, .. } => {
                sockets.retain(|own| *own != socket);
                return Some(id);
            }
            Phase::Closing { sockets, .. } => sockets.retain(|own| *own != socket),
        }
        self.forget_closed(&id);
        None
    }

    /// Forgets a session that is removed once it has no socket.
    fn forget_closed(&mut self, id: &str) {
        let phase = self.sessions.get(id).map(|session| &session.phase);
        if matches!(phase, Some(Phase::Closing { sockets, .. }) if sockets.is_empty()) {
            self.forget(id);
        }
    }

    fn put_off(&mut self, id: &str, until: Time) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.phase = Phase::Waiting(until);
            self.unsettled.insert(id.to_owned());
        }
    }
}

impl Conductor {
    /// Opens the sessions that are due, and ends those that are removed.
    pub(super) fn tend_given(&mut self, now: Time) {
        for id in self.given.removed() {
            self.end_removed(&id);
        }
        for id in self.given.due(now) {
            let taken = self.streams.get(&id).is_some_and(Stream::is_taken);
            if taken || self.streams.is_blocked(&id, now) {
                self.given.put_off(&id, now + PUT_OFF);
                continue;
            }
            if let Err(why) = self.open_given(&id, now) {
                self.given.put_off(&id, now + PUT_OFF);
                self.tell_trouble(&id, why);
            }
        }
    }

    fn end_removed(&mut self, id: &str) {
        match self.given.sessions.get(id).map(|session| &session.phase) {
            Some(Phase::Waiting(_)) => {
                self.given.forget(id);
                self.close(id);
            }
            Some(Phase::Open { .. }) => self.end_given(id, EndReason::Terminated),
            Some(Phase::Closing { .. }) | None => {}
        }
    }

    /// Ends the stream of a session that is open, unless it is ending already.
    fn end_given(&mut self, id: &str, reason: EndReason) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        if let State::Live { place, socket_id, .. } = stream.state {
            stream.state = State::Ending { then: None };
            self.order(place.worker, Order::End { place, socket_id, reason });
        }
    }

    /// A socket of a session is closed: one that was still wanted takes its session with it, which
    /// is opened anew.
    pub(super) fn given_socket_closed(&mut self, worker: u16, socket: SocketIndex) {
        if let Some(id) = self.given.socket_closed(worker, socket) {
            tracing::warn!(stream = id, worker, "a socket of the RTP session is lost");
            self.end_given(&id, EndReason::Stopped);
        }
    }

    /// Says why a session cannot be opened, once.
    fn tell_trouble(&mut self, id: &str, why: String) {
        let Some(session) = self.given.sessions.get_mut(id) else { return };
        if session.trouble.as_ref() != Some(&why) {
            tracing::warn!(stream = id, "RTP session not opened: {why}");
        }
        session.trouble = Some(why);
    }

    fn open_given(&mut self, id: &str, now: Time) -> Result<(), String> {
        let (Some(session), Some(rtp)) = (self.given.sessions.get_mut(id), &self.parts.rtp) else {
            return Ok(());
        };
        let setup = session.setup.clone();
        let fds = match std::mem::take(&mut session.ready) {
            none if none.is_empty() => {
                open_sockets(&setup, rtp.receive_buffer_bytes).map_err(|error| error.to_string())?
            }
            ready => ready,
        };
        let place = self.parts.rtp_placement.take(rtp.slots(setup.tracks()));
        let place = place.map_err(|_| "every place is taken (ingestion.rtp.max_sessions)")?;
        let mut sockets = Vec::new();
        for _ in &fds {
            match self.socket_places.take(place.worker) {
                Some(socket) => sockets.push(socket),
                None => {
                    self.give_back_place(place, &sockets);
                    return Err("every socket place is taken".into());
                }
            }
        }
        if !self.install_given(&setup, place, &sockets, now) {
            self.give_back_place(place, &sockets);
            return Err("every stream place is taken (ingestion.max_connections)".into());
        }
        for ((socket, given), fd) in sockets.iter().zip(&setup.sockets).zip(fds) {
            let role = Role::Given { session: place.session, purpose: given.purpose };
            self.order(place.worker, Order::OpenSocket { socket: *socket, role, fd });
        }
        tracing::info!(stream = id, worker = place.worker, "RTP session waits for its sender");
        self.given.open(id, place, sockets);
        Ok(())
    }

    fn give_back_place(&mut self, place: Place, sockets: &[SocketIndex]) {
        self.parts.rtp_placement.release(place);
        for socket in sockets {
            self.socket_places.give_back(place.worker.into(), *socket);
        }
    }

    /// Puts a session in its place, with its stream's berth; false when there is none.
    fn install_given(
        &mut self,
        setup: &SessionSetup,
        place: Place,
        sockets: &[SocketIndex],
        now: Time,
    ) -> bool {
        let Some((mut berth, resumed)) = self.berth(&setup.id) else { return false };
        let salt = self.parts.salts.next();
        let id = self.parts.ids.encode(place.worker, place.session, salt);
        let slot = berth.slot.slot();
        let guest = Guest {
            kind: StreamKind::Rtp,
            id: &setup.id,
            peer: None,
            peer_version: 0,
            worker: place.worker,
            resumed,
            suite: None,
        };
        berth.show_connecting(&guest, now);
        let listener = sockets.first().copied().unwrap_or(self.parts.shared_rtp);
        let (kind, source) = (StreamKind::Rtp, first_address(setup).ip());
        let state = State::Live { place, socket_id: id, slot };
        let stream = Stream { kind, source, listener, rule: None, state };
        self.streams.insert(setup.id.clone(), stream);
        let bandwidth = (setup.max_bandwidth_bps, setup.over_bandwidth);
        let terms = self.rtp_terms(&setup.id, &setup.config, bandwidth, setup.is_ts);
        let tenancy = RtpTenancy {
            place,
            id,
            admission: Admission::Given { access: setup.access.clone(), is_ts: setup.is_ts },
            rtcp_sockets: rtcp_sockets(setup, sockets, listener),
            config: self.reporting(setup.config.with_terms(&terms.session)),
            max_bandwidth_bps: terms.max_bandwidth_bps,
            over_bandwidth: terms.over_bandwidth,
            berth,
            end: EndReason::None,
        };
        self.order(place.worker, Order::InstallRtp(Box::new(tenancy)));
        true
    }

    /// The sender of a session has come, or comes from elsewhere now.
    pub(super) fn given_heard(&mut self, id: u32, peer: SocketAddr, now: Time) {
        let Some(stream) = self.streams.with_session(id).map(str::to_owned) else { return };
        tracing::info!(stream, source = %peer, "RTP sender heard");
        if let Some(session) = self.given.sessions.get_mut(&stream) {
            session.sender = Some(peer);
        }
        self.tell(Event::new(EventKind::Accepted).stream(&stream).source(peer), now);
    }

    /// A session is over: it waits for its sender again, on the same sockets unless it was ended
    /// from here.
    pub(super) fn given_ended(&mut self, tenancy: RtpTenancy, now: Time) {
        let id = tenancy.berth.info.id.as_str().to_owned();
        let end = tenancy.end;
        self.lost(tenancy.berth, end, now);
        let Some(session) = self.given.sessions.get_mut(&id) else { return };
        let Phase::Open { place, sockets } = &session.phase else { return };
        let (place, sockets, setup) = (*place, sockets.clone(), session.setup.clone());
        session.sender = None;
        let removed = session.removed;
        let again = !removed && matches!(end, EndReason::Idle | EndReason::Shutdown);
        if again && self.install_given(&setup, place, &sockets, now) {
            return;
        }
        self.parts.rtp_placement.release(place);
        for socket in &sockets {
            self.order(place.worker, Order::CloseSocket { socket: *socket });
        }
        if !removed {
            return self.given.put_off(&id, now + PUT_OFF);
        }
        if let Some(session) = self.given.sessions.get_mut(&id) {
            session.phase = Phase::Closing { worker: place.worker, sockets };
        }
        self.given.forget_closed(&id);
        self.close(&id);
    }
}

/// Where reports of each track's legs leave: at the port of RTCP where there is one, else at that of
/// RTP.
fn rtcp_sockets(setup: &SessionSetup, sockets: &[SocketIndex], first: SocketIndex) -> RtcpSockets {
    let mut rtcp = [[first; LEGS_MAX]; TRACKS_MAX];
    let mut set = |track: u8, leg: u8, socket: SocketIndex| {
        let legs = rtcp.get_mut(usize::from(track));
        if let Some(place) = legs.and_then(|legs| legs.get_mut(usize::from(leg))) {
            *place = socket;
        }
    };
    let places = || setup.sockets.iter().map(|socket| socket.purpose).zip(sockets);
    for (purpose, socket) in places() {
        if let Purpose::Rtp { track, leg } = purpose {
            set(track, leg, *socket);
        }
    }
    for (purpose, socket) in places() {
        if let Purpose::Rtcp { track, leg } = purpose {
            set(track, leg, *socket);
        }
    }
    rtcp
}

fn first_address(setup: &SessionSetup) -> SocketAddr {
    let first = setup.sockets.first().map(|socket| socket.listen);
    first.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
}

/// All sockets of a session.
pub(super) fn open_sockets(
    setup: &SessionSetup,
    bytes: usize,
) -> Result<Vec<OwnedFd>, uring::Error> {
    let open = |socket: &SocketSetup| match &socket.membership {
        Some(membership) => {
            uring::socket::try_open_multicast(socket.listen.port(), membership, bytes)
        }
        None => uring::socket::try_open(socket.listen, bytes),
    };
    setup.sockets.iter().map(|socket| open(socket).map(|opened| opened.fd)).collect()
}
