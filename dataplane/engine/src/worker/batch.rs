//! Some datagrams at a time: their sessions' memory is asked for together, before the first is worked
//! on. With thousands of sessions each would else be waited for, line after line.
//!
//! ```text
//!            coming          near                    next                    batch
//!  ring ──▶ 16 datagrams ─▶ 16 ───────────────────▶ 16 ───────────────────▶ 16 ──────────▶ worked on
//!            their runs      where the runs store;    where those store,      and what that
//!                            sessions that do more    what they point to      points to
//! ```

use memory::Time;
use uring::{Received, SocketIndex};

use super::Worker;
use super::rtp::session::RtpSession;
use crate::messages::Role;
use crate::network::Network;

/// Datagrams that are taken at once.
const DATAGRAMS: usize = 16;
/// Timers that are. Some show their session's figures, which are many lines.
pub(super) const TIMERS: usize = 8;
/// Room for the places that a step asks for: one of a run, nine of a session.
pub(super) const PLACES: usize = 10 * DATAGRAMS;
/// So many sessions of RTP are settled together, in the midst of a cycle: at its end, thousands of
/// datagrams later perhaps, what that needs would have to be fetched once more, and their pictures would
/// have waited.
const SETTLED_AT: usize = 4;

/// Some datagrams, and what is known of them.
#[derive(Debug)]
pub(super) struct Batch {
    datagrams: Vec<Received>,
    /// Of RTP, the indices of the sessions of which there is most likely more to do than to go on with
    /// their run.
    busy: Vec<usize>,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self { datagrams: Vec::with_capacity(DATAGRAMS), busy: Vec::with_capacity(DATAGRAMS) }
    }

    /// Those that came at one socket, one after the other.
    fn rows(&self) -> impl Iterator<Item = &[Received]> {
        self.datagrams.chunk_by(|one, next| one.socket == next.socket)
    }
}

impl<N: Network> Worker<N> {
    /// Works on what came with the last wait.
    pub(super) fn datagrams(&mut self, now: Time) {
        while self.gather(now) {
            let mut batch = std::mem::take(&mut self.batch.datagrams);
            let mut received = batch.drain(..);
            while let Some(this) = received.next() {
                let next = received.as_slice().first().or_else(|| self.next.datagrams.first());
                if let Some(next) = next {
                    self.prefetch_payload(next);
                }
                self.receive(this, now);
            }
            drop(received);
            self.batch.datagrams = batch;
            if self.touched_rtp.len() >= SETTLED_AT {
                self.settle_touched_rtp(now);
            }
        }
    }

    /// Takes the next of the datagrams that came into `batch`, which has been worked off. False when there
    /// are none.
    ///
    /// Where something lies is often known only from what was asked for before, so it is asked for in
    /// steps, and those of the next datagrams are taken while others are worked on.
    fn gather(&mut self, now: Time) -> bool {
        while self.ahead(now) && self.batch.datagrams.is_empty() {}
        !self.batch.datagrams.is_empty()
    }

    /// All take a step. False when there is none left.
    fn ahead(&mut self, now: Time) -> bool {
        std::mem::swap(&mut self.batch, &mut self.next);
        std::mem::swap(&mut self.next, &mut self.near);
        std::mem::swap(&mut self.near, &mut self.coming);
        self.busy(&self.batch).for_each(|session| session.prefetch_far_behind(now));
        self.look_at_near();
        self.ask_for_places();
        self.busy(&self.next).for_each(|session| session.prefetch_behind(now));
        self.busy(&self.near).for_each(RtpSession::prefetch);
        self.take_coming();
        let all = [&self.batch, &self.next, &self.near, &self.coming];
        !all.iter().all(|it| it.datagrams.is_empty())
    }

    /// Takes some datagrams, and asks for what tells most about them.
    fn take_coming(&mut self) {
        self.coming.busy.clear();
        while self.coming.datagrams.len() < DATAGRAMS
            && let Some(received) = self.parts.ring.next()
        {
            self.coming.datagrams.push(received);
        }
        for row in self.coming.rows() {
            if let Some(at) = self.session_of(row) {
                self.runs[at].prefetch();
            }
        }
    }

    /// Finds out of which sessions there is more to do.
    fn look_at_near(&mut self) {
        let mut busy = std::mem::take(&mut self.near.busy);
        for row in self.near.rows() {
            let Some(at) = self.session_of(row) else { continue };
            // Of one socket some dozens may come in a row.
            let before = row.first().map_or(0, |first| self.before_near(first.socket));
            if !self.runs[at].expects(before, row) {
                busy.push(at);
            }
        }
        self.near.busy = busy;
    }

    /// Asks for where the runs of those that are near go on, and for where the sessions of the next ones
    /// write.
    fn ask_for_places(&mut self) {
        let mut places = std::mem::take(&mut self.places);
        let near = self.near.rows().filter_map(|row| self.runs.get(self.session_of(row)?));
        near.for_each(|run| run.places(&mut places));
        for at in &self.next.busy {
            let session = self.parts.rtp_sessions.get(*at).zip(self.runs.get(*at));
            session.into_iter().for_each(|(session, run)| session.places(run, &mut places));
        }
        places.ask();
        self.places = places;
    }

    /// How many came at that socket right before those that are near, and are not worked on yet.
    fn before_near(&self, socket: SocketIndex) -> u32 {
        let before = self.next.datagrams.iter().rev().chain(self.batch.datagrams.iter().rev());
        before.take_while(|it| it.socket == socket).map(|_| 1).sum()
    }

    /// Asks for the payload of a datagram whose bytes are stored as soon as it is received. Those of SRT
    /// wait for their time.
    fn prefetch_payload(&self, received: &Received) {
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
        rtp.clone().for_each(|session| session.prefetch_behind(now));
        rtp.for_each(RtpSession::prefetch_figures);
        !self.due.is_empty()
    }

    /// The sessions of a batch of which there is more to do.
    fn busy(&self, batch: &Batch) -> impl Iterator<Item = &RtpSession> {
        batch.busy.iter().filter_map(|at| self.parts.rtp_sessions.get(*at))
    }

    /// The index of the session of RTP that has the socket to itself at which these came.
    fn session_of(&self, row: &[Received]) -> Option<usize> {
        let role = self.parts.roles.get(row.first()?.socket.index())?;
        let Some(Role::Given { session, .. }) = role else { return None };
        usize::from(*session).checked_sub(self.parts.sessions.len())
    }
}
