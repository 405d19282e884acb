//! RTP at the shared port: whose packet it is, who comes anew, and the sessions' life.
//!
//! ```text
//!  packet ─▶ table ─┬─ a session's ──────────────────────────────▶ RtpSession
//!                   ├─ of a sender that waits ──▶ room ─┐              ▲
//!                   └─ proof of a new one ──────────────┤ Proven       │ InstallRtp: what waited
//!                                                       ▼              │ comes first
//!                                                   conductor ─────────┘
//! ```

mod counters;
mod given;
pub(crate) mod rooms;
pub(crate) mod run;
pub(crate) mod session;

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use memory::{Datagram, Time};
use rtp::packet::{Kind, Packet};
use rtp::probation::{Probation, WAITING_MAX};
use rtp::table::{Arrival, Table};
use shm::EndReason;
use shm::counters::WorkerCounter;
use uring::SocketIndex;

use self::rooms::{ROOMS, Rooms};
use self::run::RtpRun;
use self::session::{FLUSH_AHEAD, RtpSession};
use super::handover::Handover;
use super::session::Wire;
use super::{Parts, Worker};
use crate::messages::{Admission, Report, Role, Room, RtpTenancy, Sender};
use crate::network::Network;

/// Sources that have not proven themselves.
const CANDIDATES: u16 = 256;
/// For so long.
const CANDIDATE_LIFE: Duration = Duration::from_secs(10);
/// How often those are looked over.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// In the table: what is behind it is a room, not a session's place.
const IN_ROOM: u32 = 1 << 31;

/// Packet slots that wait at the shared port of one worker beside those of sessions.
pub(crate) const SHARED_SLOTS: u32 = (CANDIDATES as u32) * WAITING_MAX + rooms::PACKETS_MAX;

/// What a worker has for the shared port of RTP.
#[derive(Debug)]
pub(crate) struct SharedPort {
    /// Sessions and rooms by SSRC and address; sessions also by SSRC and host, for RTCP, which comes
    /// from any port.
    table: Table,
    rooms: Rooms,
    sweep_at: Time,
}

impl SharedPort {
    /// For so many sessions. `key` is secret.
    pub(crate) fn new(sessions: usize, key: [u8; 16]) -> Self {
        let [first, second] = [0, 8].map(|at| {
            let half = key.get(at..at + 8).and_then(|half| half.try_into().ok());
            u64::from_ne_bytes(half.unwrap_or_default())
        });
        Self {
            table: Table::new(entries(sessions), CANDIDATES.into(), [first, second]),
            rooms: Rooms::new(),
            sweep_at: Time::ZERO,
        }
    }

    /// Bytes of one, for the memory sum.
    pub(crate) fn bytes(sessions: usize) -> usize {
        Table::bytes(entries(sessions), CANDIDATES.into()) + Rooms::bytes()
    }

    fn waiting(&self) -> u64 {
        self.table.waiting() as u64 + u64::from(self.rooms.packets())
    }
}

const fn entries(sessions: usize) -> usize {
    2 * sessions + ROOMS
}

/// The key of a sender's RTCP: its host, whatever the port.
fn host(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip(), 0)
}

/// The SSRC of RTCP's sender (RFC 3550, 6.4).
fn rtcp_sender(compound: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*compound.get(4..)?.first_chunk()?))
}

impl<N: Network> Worker<N> {
    /// A datagram at one of the shared port's sockets.
    pub(super) fn receive_shared(
        &mut self,
        role: Role,
        from: (SocketIndex, SocketAddr),
        arrival: Time,
        datagram: Datagram,
        now: Time,
    ) {
        let is_rtcp = match Kind::of(datagram.payload()) {
            Kind::Rtcp => true,
            // Both come on one port where a sender multiplexes them (RFC 5761).
            Kind::Rtp if role == Role::SharedRtp => false,
            _ => return self.count(WorkerCounter::DroppedInvalidRtp),
        };
        if is_rtcp {
            let Some(ssrc) = rtcp_sender(datagram.payload()) else {
                return self.count(WorkerCounter::DroppedShort);
            };
            if self.is_own(ssrc, from, arrival, datagram.payload()) {
                self.receive_rtcp(ssrc, from, arrival, &datagram, now);
            }
            return;
        }
        let Ok(packet) = Packet::new(datagram, arrival) else {
            return self.count(WorkerCounter::DroppedInvalidRtp);
        };
        if self.is_own(packet.header.ssrc, from, arrival, packet.bytes()) {
            self.receive_rtp(from.1, packet, now);
        }
    }

    /// Whether the SSRC is one of this worker's; if not, its owner gets the datagram.
    fn is_own(
        &mut self,
        ssrc: u32,
        (socket, peer): (SocketIndex, SocketAddr),
        arrival: Time,
        payload: &[u8],
    ) -> bool {
        let workers = u32::try_from(self.parts.neighbour_wakers.len()).unwrap_or(1).max(1);
        let owner = u16::try_from(ssrc % workers).unwrap_or(0);
        if owner == self.parts.worker {
            return true;
        }
        self.hand_over(owner, Handover::new(socket, peer, arrival, payload));
        false
    }

    fn receive_rtcp(
        &mut self,
        ssrc: u32,
        (socket, peer): (SocketIndex, SocketAddr),
        arrival: Time,
        datagram: &Datagram,
        now: Time,
    ) {
        let known = self.shared.as_ref().and_then(|shared| shared.table.find(ssrc, host(peer)));
        let Some(place) = known.and_then(|place| u16::try_from(place).ok()) else {
            return self.count(WorkerCounter::DroppedUnknownRtcp);
        };
        self.count(WorkerCounter::DatagramsToSessions);
        self.guarded_rtp(place, now, |session, wire| {
            session.receive_rtcp(now, (None, 0), arrival, (socket, peer), datagram.payload(), wire);
        });
        self.touch(place);
    }

    fn receive_rtp(&mut self, peer: SocketAddr, packet: Packet, now: Time) {
        let Some(shared) = &mut self.shared else {
            return self.count(WorkerCounter::DroppedUnknownSession);
        };
        match shared.table.arrive(peer, packet, now) {
            Arrival::Known(entry, packet) if entry & IN_ROOM != 0 => {
                self.hold((entry & !IN_ROOM) as usize, packet);
            }
            Arrival::Known(place, packet) => {
                let place = u16::try_from(place).unwrap_or(u16::MAX);
                self.give_to_rtp(place, peer, packet, now);
            }
            Arrival::Waiting { dropped } => {
                self.parts.block.add(WorkerCounter::DroppedUnproven, dropped.into());
            }
            Arrival::Proven { packets, dropped } => {
                self.parts.block.add(WorkerCounter::DroppedUnproven, dropped.into());
                self.proven(peer, packets);
            }
        }
    }

    fn give_to_rtp(&mut self, place: u16, peer: SocketAddr, packet: Packet, now: Time) {
        if self.goes_on(place, (None, 0), &peer, (packet.arrival, packet.bytes()), now) {
            return;
        }
        self.count(WorkerCounter::DatagramsToSessions);
        self.guarded_rtp(place, now, |session, wire| {
            session.receive(now, (None, 0), peer, packet, wire)
        });
        self.touch(place);
    }

    /// Whether a packet only went on with a picture of the session at that place. Then nothing is to be
    /// settled after it.
    fn goes_on(
        &mut self,
        place: u16,
        to: (Option<usize>, usize),
        peer: &SocketAddr,
        (arrival, packet): (Time, &[u8]),
        now: Time,
    ) -> bool {
        let mut went_on = true;
        self.guarded_rtp(place, now, |_, (run, _)| {
            went_on = run.go_on(now, to, peer, arrival, packet);
        });
        if went_on {
            self.count(WorkerCounter::DatagramsToSessions);
        }
        went_on
    }

    fn hold(&mut self, room: usize, packet: Packet) {
        let Some(shared) = &mut self.shared else { return };
        if !shared.rooms.hold(room, packet) {
            let refused = shared.rooms.is_refused(room);
            self.count(if refused {
                WorkerCounter::DroppedRefused
            } else {
                WorkerCounter::DroppedWaiting
            });
        }
    }

    /// A sender proved itself: the conductor decides, its packets wait.
    fn proven(&mut self, peer: SocketAddr, packets: Probation) {
        self.count(WorkerCounter::SendersProven);
        let (ssrc, payload_type) = packets.origin();
        let room = self.has_room_to_report().then(|| self.take_room((ssrc, peer))).flatten();
        let Some(room) = room else {
            // The next ones ask again.
            return self.parts.block.add(WorkerCounter::DroppedWaiting, packets.waiting() as u64);
        };
        for packet in packets.into_packets() {
            self.hold(room.index.into(), packet);
        }
        self.report(Report::Proven(Sender { room, ssrc, payload_type, peer }));
    }

    fn take_room(&mut self, key: rooms::Key) -> Option<Room> {
        let shared = self.shared.as_mut()?;
        let (room, before) = shared.rooms.take(key)?;
        if let Some((ssrc, peer)) = before {
            shared.table.remove(ssrc, peer);
        }
        if !shared.table.insert(key.0, key.1, IN_ROOM | u32::from(room.index)) {
            shared.rooms.leave(room);
            return None;
        }
        Some(room)
    }

    // ---- orders ----

    pub(super) fn install_rtp(&mut self, tenancy: Box<RtpTenancy>, now: Time) {
        let place = tenancy.place.session;
        let admitted = match &tenancy.admission {
            Admission::Sender { ticket, sender } => Some((*ticket, *sender)),
            Admission::Given { .. } => None,
        };
        let at = usize::from(place) - self.parts.sessions.len();
        self.parts.rtp_sessions[at].open(tenancy, now);
        self.parts.block.add(WorkerCounter::Sessions, 1);
        let Some((ticket, sender)) = admitted else { return self.touch(place) };
        let entered = self.enter(&sender, place);
        if !entered {
            self.finish_rtp(place, EndReason::Protocol, now);
            return;
        }
        self.report(Report::RtpInstalled { ticket });
        while let Some(packet) = self.next_waiting(sender.room) {
            self.give_to_rtp(place, sender.peer, packet, now);
        }
        if let Some(shared) = &mut self.shared {
            shared.rooms.leave(sender.room);
        }
    }

    fn next_waiting(&mut self, room: Room) -> Option<Packet> {
        self.shared.as_mut()?.rooms.pop(room)
    }

    /// Puts a session in the place of its sender's room in the table; false when the room has gone
    /// to somebody else.
    fn enter(&mut self, sender: &Sender, place: u16) -> bool {
        let Some(shared) = &mut self.shared else { return false };
        let key = (sender.ssrc, sender.peer);
        if shared.rooms.key(sender.room) != Some(key) {
            return false;
        }
        let by_host = host(sender.peer);
        // Of two senders of one host with one SSRC the first has the RTCP.
        if shared.table.find(sender.ssrc, by_host).is_none() {
            shared.table.insert(sender.ssrc, by_host, place.into());
        }
        shared.table.insert(sender.ssrc, sender.peer, place.into())
    }

    pub(super) fn refuse_sender(&mut self, room: Room, now: Time) {
        let Some(shared) = &mut self.shared else { return };
        let dropped = shared.rooms.refuse(room, now);
        self.parts.block.add(WorkerCounter::DroppedRefused, dropped.into());
    }

    // ---- the sessions' life ----

    /// As [`Worker::guarded`], for a session of RTP.
    pub(super) fn guarded_rtp(
        &mut self,
        place: u16,
        now: Time,
        f: impl FnOnce(&mut RtpSession, (&mut RtpRun, &mut Wire<'_, N>)),
    ) {
        let Parts { sessions, rtp_sessions, ring, slab, block, .. } = &mut self.parts;
        let Some(at) = usize::from(place).checked_sub(sessions.len()) else { return };
        let (Some(session), Some(run)) = (rtp_sessions.get_mut(at), self.runs.get_mut(at)) else {
            return;
        };
        let (pressure, precedence) = (self.pressure, &self.precedence);
        let mut wire = Wire { ring, pressure, precedence, slab, latency: block.latency() };
        if catch_unwind(AssertUnwindSafe(|| f(session, (run, &mut wire)))).is_err() {
            let _ = catch_unwind(AssertUnwindSafe(|| session.abort(now, run)));
            self.count(WorkerCounter::SessionsPanicked);
            self.end_rtp(place, EndReason::Panicked, now);
        }
    }

    /// The session of RTP at a place; `None` for one of SRT.
    pub(super) fn rtp_session(&mut self, place: u16) -> Option<&mut RtpSession> {
        let at = usize::from(place).checked_sub(self.parts.sessions.len())?;
        self.parts.rtp_sessions.get_mut(at)
    }

    pub(super) fn finish_rtp(&mut self, place: u16, reason: EndReason, now: Time) {
        self.guarded_rtp(place, now, |session, wire| session.finish(now, wire));
        self.end_rtp(place, reason, now);
    }

    fn end_rtp(&mut self, place: u16, reason: EndReason, now: Time) {
        let at = usize::from(place) - self.parts.sessions.len();
        let session = &mut self.parts.rtp_sessions[at];
        let Some(tenancy) = session.leave(reason, now, &mut self.runs[at]) else { return };
        self.wheel.cancel(place.into());
        let sessions = self.parts.block.value(WorkerCounter::Sessions);
        self.parts.block.set(WorkerCounter::Sessions, sessions.saturating_sub(1));
        if let (Some(shared), Admission::Sender { sender, .. }) =
            (&mut self.shared, &tenancy.admission)
        {
            let Sender { ssrc, peer, .. } = *sender;
            for address in [peer, host(peer)] {
                if shared.table.find(ssrc, address) == Some(place.into()) {
                    shared.table.remove(ssrc, address);
                }
            }
        }
        self.report(Report::RtpEnded(tenancy));
    }

    pub(super) fn settle_rtp(&mut self, place: u16, now: Time) {
        self.guarded_rtp(place, now, |session, wire| session.settle(now, wire));
        let over_rate = self.rtp_session(place).and_then(RtpSession::take_over_rate);
        if let Some((socket_id, rate_bps)) = over_rate
            && self.has_room_to_report()
        {
            self.report(Report::OverBandwidth { socket_id, rate_bps });
        }
        if let Some((id, peer)) = self.rtp_session(place).and_then(RtpSession::take_news) {
            self.report_heard(id, peer);
        }
        if self.has_room_to_report()
            && let Some((id, seen)) = self.rtp_session(place).and_then(RtpSession::take_undetected)
        {
            self.report(Report::Undetected { id, seen });
        }
        let Some(session) = self.rtp_session(place) else { return };
        match session.over(now) {
            Some(reason) => self.finish_rtp(place, reason, now),
            None => {
                // One that is put off is found out about when it comes: most are, packet by packet. But
                // one that would come soon for nothing is put off while its session is near.
                let (next, set) = (session.next_timeout(), self.wheel.deadline(place.into()));
                let soon = now + FLUSH_AHEAD;
                if next < set || (set <= soon && next > soon) {
                    self.wheel.set(place.into(), next);
                }
            }
        }
    }

    /// Forgets sources that did not prove themselves and refusals that are over.
    pub(super) fn sweep_shared(&mut self, now: Time) {
        let Some(shared) = self.shared.as_mut().filter(|shared| shared.sweep_at <= now) else {
            return;
        };
        shared.sweep_at = now + SWEEP_EVERY;
        let life_ns = u64::try_from(CANDIDATE_LIFE.as_nanos()).unwrap_or(u64::MAX);
        let before = Time::from_nanos(now.nanos().saturating_sub(life_ns));
        let dropped = shared.table.expire(before);
        while let Some((ssrc, peer)) = shared.rooms.expire(now) {
            shared.table.remove(ssrc, peer);
        }
        let waiting = shared.waiting();
        self.parts.block.add(WorkerCounter::DroppedUnproven, dropped.into());
        self.parts.block.set(WorkerCounter::PacketsWaiting, waiting);
    }
}
