//! Some datagrams at a time: their sessions' memory is asked for together, before the first is worked
//! on. With thousands of sessions each would else be waited for, line after line.
//!
//! ```text
//!            coming              near                       batch
//!  ring ──▶ 8 datagrams ──────▶ 8 ───────────────────────▶ 8 ─────────────────────▶ worked on
//!            their runs          where the runs store;       what those point to
//!                                sessions that do more
//! ```

use memory::Time;
use uring::Received;

use super::Worker;
use super::rtp::run::RtpRun;
use super::rtp::session::RtpSession;
use crate::messages::Role;
use crate::network::Network;

/// Datagrams that are taken at once.
pub(super) const DATAGRAMS: usize = 8;
/// Timers that are. Most show their session's figures, which are many lines.
pub(super) const TIMERS: usize = 8;

impl<N: Network> Worker<N> {
    /// Takes the next of the datagrams that came into `batch`, which has been worked off. False when there
    /// are none.
    ///
    /// Where something lies is often known only from what was asked for before, so it is asked for in
    /// steps, and those of the next datagrams are taken while others are worked on.
    pub(super) fn gather(&mut self) -> bool {
        while self.ahead() && self.batch.is_empty() {}
        !self.batch.is_empty()
    }

    /// All take a step. False when there is none left.
    fn ahead(&mut self) -> bool {
        std::mem::swap(&mut self.batch, &mut self.near);
        std::mem::swap(&mut self.near, &mut self.coming);
        self.unexpected(&self.batch).for_each(RtpSession::prefetch_behind);
        self.rows(&self.near).for_each(|row| row.run.prefetch_behind());
        self.unexpected(&self.near).for_each(RtpSession::prefetch);
        self.take_coming();
        self.unexpected(&self.batch).for_each(RtpSession::prefetch_far_behind);
        !(self.batch.is_empty() && self.near.is_empty() && self.coming.is_empty())
    }

    /// Takes some datagrams, and asks for what tells most about them.
    fn take_coming(&mut self) {
        while self.coming.len() < DATAGRAMS
            && let Some(received) = self.parts.ring.next()
        {
            self.coming.push(received);
        }
        self.rows(&self.coming).for_each(|row| row.run.prefetch());
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

    /// Sessions of which there is most likely more to do than to go on with their run.
    fn unexpected<'a>(&'a self, batch: &'a [Received]) -> impl Iterator<Item = &'a RtpSession> {
        let rows = self.rows(batch).filter(|row| !row.run.expects(row.datagrams));
        rows.map(|row| row.session)
    }

    /// Those of a batch that came at sockets of sessions' own, by rows that came at one.
    fn rows<'a>(&'a self, batch: &'a [Received]) -> impl Iterator<Item = Row<'a>> {
        let rows = batch.chunk_by(|one, next| one.socket == next.socket);
        rows.filter_map(|datagrams| {
            let role = self.parts.roles.get(datagrams.first()?.socket.index())?;
            let Some(Role::Given { session, .. }) = role else { return None };
            let at = usize::from(*session).checked_sub(self.parts.sessions.len())?;
            let (session, run) = (self.parts.rtp_sessions.get(at)?, self.runs.get(at)?);
            Some(Row { session, run, datagrams })
        })
    }
}

/// Datagrams in a row at the socket of a session.
struct Row<'a> {
    session: &'a RtpSession,
    run: &'a RtpRun,
    datagrams: &'a [Received],
}
