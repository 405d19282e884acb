//! Sessions of RTP that are given: their sockets, and their streams, which wait for their senders.
//!
//! ```text
//!            due: place, berth, sockets            silence, goodbye
//!  Waiting ─────────────────────────────▶ Open ─────────────────────▶ Open again, on the same sockets
//!     ▲                                    │
//!     └────── a second ── terminated, or a fault
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use memory::Time;
use shm::link::{Event, EventKind};
use shm::{EndReason, StreamKind};
use uring::SocketIndex;

use super::Conductor;
use super::placement::Place;
use super::streams::{State, Stream};
use crate::berth::Guest;
use crate::config::{Purpose, SessionSetup, SocketSetup};
use crate::messages::{Admission, Order, Role, RtpTenancy};

/// How long a session is put off that could not be opened, or was ended from here.
const PUT_OFF: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Phase {
    /// To be opened then.
    Waiting(Time),
    /// It has its place and sockets.
    Open { place: Place, sockets: Vec<SocketIndex> },
}

#[derive(Debug)]
struct GivenSession {
    setup: SessionSetup,
    phase: Phase,
    /// Why it could not be opened the last time.
    trouble: Option<String>,
}

/// The sessions, by the id of their stream.
#[derive(Debug, Default)]
pub(super) struct GivenSessions(BTreeMap<String, GivenSession>);

impl GivenSessions {
    /// Those of the configuration, all due at once.
    pub(super) fn configured(sessions: &[SessionSetup]) -> Self {
        let mut given = Self::default();
        for setup in sessions {
            given.insert(setup.clone(), Time::ZERO);
        }
        given
    }

    fn insert(&mut self, setup: SessionSetup, now: Time) {
        let id = setup.id.clone();
        self.0.insert(id, GivenSession { setup, phase: Phase::Waiting(now), trouble: None });
    }

    /// Whether a stream id belongs to one: nobody else may publish under it.
    pub(super) fn owns(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    fn due(&self, now: Time) -> Vec<String> {
        let due = |session: &GivenSession| matches!(session.phase, Phase::Waiting(at) if at <= now);
        self.0.iter().filter(|(_, session)| due(session)).map(|(id, _)| id.clone()).collect()
    }

    fn put_off(&mut self, id: &str, until: Time) {
        if let Some(session) = self.0.get_mut(id) {
            session.phase = Phase::Waiting(until);
        }
    }
}

impl Conductor {
    /// Opens the sessions that are due.
    pub(super) fn tend_given(&mut self, now: Time) {
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

    /// Says why a session cannot be opened, once.
    fn tell_trouble(&mut self, id: &str, why: String) {
        let Some(session) = self.given.0.get_mut(id) else { return };
        if session.trouble.as_ref() != Some(&why) {
            tracing::warn!(stream = id, "RTP session not opened: {why}");
        }
        session.trouble = Some(why);
    }

    fn open_given(&mut self, id: &str, now: Time) -> Result<(), String> {
        let (Some(session), Some(rtp)) = (self.given.0.get(id), &self.parts.rtp) else {
            return Ok(());
        };
        let (setup, bytes) = (session.setup.clone(), rtp.receive_buffer_bytes);
        let fds = setup.sockets.iter().map(|socket| open(socket, bytes));
        let fds = fds.collect::<Result<Vec<OwnedFd>, String>>()?;
        let place = self.parts.rtp_placement.take(rtp.slots());
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
        if let Some(session) = self.given.0.get_mut(id) {
            session.phase = Phase::Open { place, sockets };
            session.trouble = None;
        }
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
        let rtcp = setup.sockets.iter().position(|socket| socket.purpose == Purpose::Rtcp);
        let tenancy = RtpTenancy {
            place,
            id,
            admission: Admission::Given { access: setup.access.clone(), is_ts: setup.is_ts },
            rtcp_socket: rtcp.and_then(|at| sockets.get(at).copied()).unwrap_or(listener),
            config: self.reporting(setup.config),
            max_bandwidth_bps: setup.max_bandwidth_bps,
            over_bandwidth: setup.over_bandwidth,
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
        self.tell(Event::new(EventKind::Accepted).stream(&stream).source(peer), now);
    }

    /// A session is over: it waits for its sender again, on the same sockets unless it was ended
    /// from here.
    pub(super) fn given_ended(&mut self, tenancy: RtpTenancy, now: Time) {
        let id = tenancy.berth.info.id.as_str().to_owned();
        let end = tenancy.end;
        self.lost(tenancy.berth, end, now);
        let Some(session) = self.given.0.get_mut(&id) else { return };
        let Phase::Open { place, sockets } = &session.phase else { return };
        let (place, sockets, setup) = (*place, sockets.clone(), session.setup.clone());
        let again = matches!(end, EndReason::Idle | EndReason::Shutdown);
        if again && self.install_given(&setup, place, &sockets, now) {
            return;
        }
        self.parts.rtp_placement.release(place);
        for socket in sockets {
            self.order(place.worker, Order::CloseSocket { socket });
        }
        self.given.put_off(&id, now + PUT_OFF);
    }
}

fn first_address(setup: &SessionSetup) -> SocketAddr {
    let first = setup.sockets.first().map(|socket| socket.listen);
    first.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
}

fn open(socket: &SocketSetup, bytes: usize) -> Result<OwnedFd, String> {
    let opened = match &socket.membership {
        Some(membership) => {
            uring::socket::try_open_multicast(socket.listen.port(), membership, bytes)
        }
        None => uring::socket::try_open(socket.listen, bytes),
    };
    opened.map(|opened| opened.fd).map_err(|error| error.to_string())
}
