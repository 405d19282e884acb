//! Some datagrams at a time: their sessions' memory is asked for together, before the first is worked
//! on. With thousands of sessions each would else be waited for, line after line.

use memory::Time;
use uring::Received;

use super::Worker;
use super::rtp::run::RtpRun;
use super::rtp::session::RtpSession;
use crate::config::Purpose;
use crate::messages::Role;
use crate::network::Network;

/// Datagrams that are taken at once.
pub(super) const DATAGRAMS: usize = 16;
/// Timers that are. Most show their session's figures, which are many lines.
pub(super) const TIMERS: usize = 8;

impl<N: Network> Worker<N> {
    /// Takes some of the datagrams that came, and asks for the memory of their sessions: first for
    /// what is at a known place, then for what that points to.
    pub(super) fn gather(&mut self) -> bool {
        while self.batch.len() < DATAGRAMS
            && let Some(received) = self.parts.ring.next()
        {
            self.batch.push(received);
        }
        self.expected().for_each(|expected| expected.run.prefetch());
        let mut others = [false; DATAGRAMS];
        for (expected, other) in self.expected().zip(&mut others) {
            *other = !expected.goes_on();
            if *other {
                expected.session.prefetch();
            }
        }
        let others = self.expected().zip(others).filter(|(_, other)| *other);
        others.for_each(|(expected, _)| expected.session.prefetch_behind());
        !self.batch.is_empty()
    }

    /// Asks for the payload of a datagram whose bytes are stored as soon as it is received. Those of SRT
    /// wait for their time.
    pub(super) fn prefetch_payload(&self, received: &Received) {
        let role = self.parts.roles.get(received.socket.index());
        if let Some(Some(Role::Given { .. } | Role::SharedRtp)) = role {
            received.datagram.prefetch();
        }
    }

    /// Takes some of the timers that are due, and asks for the memory of their sessions. False when
    /// there are none.
    pub(super) fn gather_due(&mut self, now: Time) -> bool {
        self.due.clear();
        while self.due.len() < TIMERS
            && let Some(key) = self.wheel.pop(now)
        {
            self.due.push(u16::try_from(key).expect("keys are places"));
        }
        let first = self.parts.sessions.len();
        let rtp = self.due.iter().filter_map(|place| usize::from(*place).checked_sub(first));
        let rtp = rtp.filter_map(|at| self.parts.rtp_sessions.get(at));
        rtp.clone().for_each(RtpSession::prefetch);
        rtp.clone().for_each(RtpSession::prefetch_behind);
        rtp.for_each(RtpSession::prefetch_figures);
        !self.due.is_empty()
    }

    /// What to expect of the datagrams of the batch that came at sockets of sessions' own: of those in
    /// a row, of the first.
    fn expected(&self) -> impl Iterator<Item = Expected<'_>> {
        let runs = self.batch.chunk_by(|one, next| one.socket == next.socket);
        runs.filter_map(|run| {
            let first = run.first()?;
            let role = self.parts.roles.get(first.socket.index())?;
            let Some(Role::Given { session, purpose }) = role else {
                return None;
            };
            let to = match *purpose {
                Purpose::Rtp { track, leg } => (Some(track.into()), leg.into()),
                _ => (None, 0),
            };
            let at = usize::from(*session).checked_sub(self.parts.sessions.len())?;
            Some(Expected {
                session: self.parts.rtp_sessions.get(at)?,
                run: self.runs.get(at)?,
                to,
                first,
            })
        })
    }
}

/// A datagram at the socket of a session.
struct Expected<'a> {
    session: &'a RtpSession,
    run: &'a RtpRun,
    to: (Option<usize>, usize),
    first: &'a Received,
}

impl Expected<'_> {
    fn goes_on(&self) -> bool {
        self.run.expects(self.to, self.first.peer, self.first.datagram.payload())
    }
}
