//! Some datagrams at a time: their sessions' memory is asked for together, before the first is worked
//! on. With thousands of sessions each would else be waited for, line after line.

use super::Worker;
use super::rtp::session::RtpSession;
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
        self.expected().for_each(RtpSession::prefetch);
        self.expected().for_each(RtpSession::prefetch_behind);
        !self.batch.is_empty()
    }

    /// The sessions at whose own sockets the datagrams of the batch came, each once for those in a row.
    fn expected(&self) -> impl Iterator<Item = &RtpSession> {
        let runs = self.batch.chunk_by(|one, next| one.socket == next.socket);
        runs.filter_map(|run| match self.parts.roles.get(run.first()?.socket.index())? {
            Some(Role::Given { session, .. }) => {
                let at = usize::from(*session).checked_sub(self.parts.sessions.len())?;
                self.parts.rtp_sessions.get(at)
            }
            _ => None,
        })
    }
}
