//! Datagrams at the sockets of sessions that are given.

use std::net::SocketAddr;

use memory::{Datagram, Time};
use rtp::packet::{Kind, Packet};
use shm::counters::WorkerCounter;
use uring::{Received, SocketIndex};

use super::run::RtpRun;
use super::session::RtpSession;
use crate::config::Purpose;
use crate::messages::{Report, Role};
use crate::network::Network;
use crate::worker::Worker;
use crate::worker::session::Wire;

impl<N: Network> Worker<N> {
    /// Whether a datagram at a socket of a session only went on with a picture: most do, and are not even
    /// copied.
    #[inline(always)]
    pub(in crate::worker) fn goes_on_given(
        &mut self,
        received: &Received,
        arrival: Time,
        now: Time,
    ) -> bool {
        let role = self.parts.roles.get(received.socket.index());
        let Some(Some(Role::Given { session, purpose: Purpose::Rtp { track, leg } })) = role else {
            return false;
        };
        let (place, to) = (*session, (Some(usize::from(*track)), usize::from(*leg)));
        let packet = (arrival, received.datagram.payload());
        !received.truncated && self.goes_on(place, to, &received.peer, packet, now)
    }

    /// A datagram at a socket of the session at that place.
    pub(in crate::worker) fn receive_given(
        &mut self,
        place: u16,
        purpose: Purpose,
        from: (SocketIndex, SocketAddr),
        arrival: Time,
        datagram: Datagram,
        now: Time,
    ) {
        let Some(session) = self.rtp_session(place).filter(|session| session.is_open()) else {
            // Its last one is over, and the next is on its way.
            return self.count(WorkerCounter::DroppedUnknownSession);
        };
        if !session.admits(from.1) {
            session.wrong_source();
            return self.count(WorkerCounter::DroppedWrongSource);
        }
        let payload = datagram.payload();
        match (purpose, Kind::of(payload)) {
            (Purpose::Rtp { track, leg }, Kind::Rtp) => {
                let to = (Some(usize::from(track)), usize::from(leg));
                match Packet::new(datagram, arrival) {
                    Ok(packet) => self.pass_on(place, now, |session, wire| {
                        session.receive(now, to, from.1, packet, wire);
                    }),
                    Err(_) => self.count(WorkerCounter::DroppedInvalidRtp),
                }
            }
            (Purpose::Rtp { track, leg } | Purpose::Rtcp { track, leg }, Kind::Rtcp) => {
                let to = (Some(usize::from(track)), usize::from(leg));
                self.pass_on(place, now, |session, wire| {
                    session.receive_rtcp(now, to, arrival, from, payload, wire);
                });
            }
            (Purpose::Rtp { .. } | Purpose::Rtcp { .. }, _) => {
                self.count(WorkerCounter::DroppedInvalidRtp);
            }
            (Purpose::Fec, _) => self.pass_on(place, now, |session, wire| {
                session.receive_fec(now, arrival, from.1, payload, wire);
            }),
            (Purpose::TransportStream, _) => self.pass_on(place, now, |session, _| {
                session.receive_ts(now, arrival, from.1, payload);
            }),
        }
    }

    fn pass_on(
        &mut self,
        place: u16,
        now: Time,
        f: impl FnOnce(&mut RtpSession, (&mut RtpRun, &mut Wire<'_, N>)),
    ) {
        self.count(WorkerCounter::DatagramsToSessions);
        self.guarded_rtp(place, now, f);
        self.touch(place);
    }

    /// Tells of the sender of a session that is given; its stream tells in any case.
    pub(super) fn report_heard(&mut self, id: u32, peer: SocketAddr) {
        if self.has_room_to_report() {
            self.report(Report::RtpHeard { id, peer });
        }
    }
}
