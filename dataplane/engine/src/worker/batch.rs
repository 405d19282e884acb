//! Some datagrams at a time: their sessions' memory is asked for together, before the first is worked
//! on. With thousands of sessions each would else be waited for, line after line.

use uring::Received;

use super::Worker;
use super::rtp::session::RtpSession;
use crate::config::Purpose;
use crate::messages::Role;
use crate::network::Network;

/// Datagrams that are taken at once.
pub(super) const DATAGRAMS: usize = 16;

impl<N: Network> Worker<N> {
    /// Takes some of the datagrams that came, and asks for the memory of their sessions: first for
    /// what is at a known place, then for what that points to.
    pub(super) fn gather(&mut self) -> bool {
        while self.batch.len() < DATAGRAMS
            && let Some(received) = self.parts.ring.next()
        {
            self.batch.push(received);
        }
        self.expected().for_each(|(session, ..)| session.prefetch());
        let mut others = [false; DATAGRAMS];
        for ((session, to, received), other) in self.expected().zip(&mut others) {
            *other = session.prefetch_for(to, received.peer, received.datagram.payload());
        }
        let others = self.expected().zip(others).filter(|(_, other)| *other);
        others.for_each(|((session, ..), _)| session.prefetch_behind());
        !self.batch.is_empty()
    }

    /// The sessions at whose own sockets datagrams of the batch came, with track and leg, each with the
    /// first of those in a row.
    fn expected(&self) -> impl Iterator<Item = (&RtpSession, (Option<usize>, usize), &Received)> {
        let runs = self.batch.chunk_by(|one, next| one.socket == next.socket);
        runs.filter_map(|run| {
            let first = run.first()?;
            let Role::Given { session, purpose } =
                self.parts.roles.get(first.socket.index())?.as_ref()?
            else {
                return None;
            };
            let at = usize::from(*session).checked_sub(self.parts.sessions.len())?;
            let (track, leg) = match *purpose {
                Purpose::Rtp { track, leg } => (track, leg),
                _ => (0, 0),
            };
            Some((self.parts.rtp_sessions.get(at)?, (Some(track.into()), leg.into()), first))
        })
    }
}
