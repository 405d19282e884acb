//! What the conductor orders.

use std::os::fd::OwnedFd;

use memory::Time;
use shm::EndReason;
use shm::counters::WorkerCounter;
use uring::SocketIndex;

use super::Worker;
use super::session::{Session, Wire};
use crate::conductor::placement::Place;
use crate::messages::{Control, Order, Renewal, Report, Role, Tenancy, Verdict};
use crate::network::Network;

impl<N: Network> Worker<N> {
    pub(super) fn obey(&mut self, order: Order, now: Time) {
        match order {
            Order::Install(tenancy) => self.install(tenancy, now),
            Order::InstallRtp(tenancy) => self.install_rtp(tenancy, now),
            Order::RefuseSender(room) => self.refuse_sender(room, now),
            Order::Call(tenancy) => self.call(tenancy, now),
            Order::Answer(verdict) => self.answer(verdict, now),
            Order::Renew(renewal) => self.renew(renewal, now),
            Order::End { place, socket_id, reason } => {
                self.end_by_order(place, socket_id, reason, now)
            }
            Order::Forget(attempt) => self.attempts.forget(&attempt),
            Order::OpenSocket { socket, role, fd } => self.open_socket(socket, role, fd),
            Order::CloseSocket { socket } => self.close_socket(socket),
            Order::Control { place, socket_id, control } => {
                self.control(place, socket_id, control, now);
            }
            Order::Stop => self.stopping = true,
        }
    }

    fn open_socket(&mut self, socket: SocketIndex, role: Role, fd: OwnedFd) {
        if self.parts.ring.open_socket(socket, fd) {
            self.parts.roles[socket.index()] = Some(role);
        } else {
            self.report(Report::SocketClosed { socket });
        }
    }

    fn close_socket(&mut self, socket: SocketIndex) {
        self.parts.roles[socket.index()] = None;
        self.parts.ring.close_socket(socket);
    }

    fn install(&mut self, tenancy: Box<Tenancy>, now: Time) {
        let place = tenancy.place.session;
        let session = &mut self.parts.sessions[usize::from(place)];
        let (ticket, answer) = session.open(tenancy, now);
        self.parts.block.add(WorkerCounter::Sessions, 1);
        self.rank(place);
        self.touch(place);
        self.report(Report::Installed { ticket, answer });
    }

    /// Counts a session under the priority that it has now.
    pub(super) fn rank(&mut self, place: u16) {
        let session = &mut self.parts.sessions[usize::from(place)];
        let after = session.open_priority();
        let before = std::mem::replace(&mut session.counted, after);
        self.precedence.change(before, after);
    }

    fn call(&mut self, tenancy: Box<Tenancy>, now: Time) {
        let place = tenancy.place.session;
        self.parts.sessions[usize::from(place)].call(tenancy, now);
        self.touch(place);
    }

    fn answer(&mut self, verdict: Box<Verdict>, now: Time) {
        if !verdict.accepted {
            self.count(WorkerCounter::Rejections);
        }
        self.attempts.decide(verdict.socket, &verdict.request, verdict.packet, now);
        self.send(verdict.socket, verdict.request.peer, verdict.packet.as_bytes());
        self.spent.push(verdict);
    }

    fn renew(&mut self, mut renewal: Box<Renewal>, now: Time) {
        let place = renewal.place.session;
        // The session may have ended while the order was on its way.
        if self.parts.sessions[usize::from(place)].is(renewal.socket_id) {
            self.guarded(place, now, |session, wire| session.renew(&mut renewal, now, wire));
            self.touch(place);
        }
        self.report(Report::Renewed(renewal));
    }

    fn end_by_order(&mut self, place: Place, socket_id: u32, reason: EndReason, now: Time) {
        let place = place.session;
        // The session may have ended by itself while the order was on its way.
        if let Some(session) = self.rtp_session(place) {
            if session.is(socket_id) {
                self.finish_rtp(place, reason, now);
            }
        } else if self.parts.sessions[usize::from(place)].is(socket_id) {
            self.finish(place, reason, now);
        }
    }

    fn control(&mut self, place: Place, socket_id: u32, control: Control, now: Time) {
        // The session may have ended by itself while the order was on its way.
        if let Some(session) = self.rtp_session(place.session) {
            if session.is(socket_id) {
                self.guarded_rtp(place.session, now, |session, (run, _)| {
                    session.control(control, now, run);
                });
                self.touch(place.session);
            }
        } else if self.parts.sessions[usize::from(place.session)].is(socket_id) {
            let control = |session: &mut Session, wire: &mut Wire<'_, N>| {
                session.control(control, now, wire);
            };
            self.guarded(place.session, now, control);
            self.rank(place.session);
            self.touch(place.session);
        }
    }
}
