//! Connection attempts of the last seconds, so that a repeated conclusion gets the same answer.
//!
//! A caller repeats its conclusion every 250 ms until it is answered. The first one is put before
//! the conductor; repetitions find the attempt here: unanswered they are ignored, answered they
//! get the stored packet again (SRT draft, 4.3.1).

use std::time::Duration;

use memory::Time;
use srt::ConnectRequest;
use uring::SocketIndex;

use crate::messages::Packet;

/// Attempts remembered. A full table forgets the one it met first.
const ATTEMPTS: usize = 256;
/// A caller gives up after 3 s by default; its last repetition may be late.
const REMEMBERED: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
struct Attempt {
    socket: SocketIndex,
    request: ConnectRequest,
    at: Time,
    answer: Option<Packet>,
}

/// What is known about a conclusion.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing: it is remembered from now on and wants a decision.
    New,
    /// The decision is on its way.
    Undecided,
    /// It was decided: this packet goes out again.
    Decided(Packet),
}

/// The table. Its memory is taken once.
#[derive(Debug)]
pub(crate) struct Attempts {
    ring: Vec<Attempt>,
    oldest: usize,
}

impl Attempts {
    pub(crate) fn new() -> Self {
        Self { ring: Vec::with_capacity(ATTEMPTS), oldest: 0 }
    }

    fn find(
        &mut self,
        socket: SocketIndex,
        request: &ConnectRequest,
        now: Time,
    ) -> Option<&mut Attempt> {
        self.ring.iter_mut().find(|attempt| {
            now.since(attempt.at) < REMEMBERED
                && attempt.socket == socket
                && attempt.request.is_same_attempt(request)
        })
    }

    /// Looks a conclusion up, and remembers it when it is new.
    pub(crate) fn meet(
        &mut self,
        socket: SocketIndex,
        request: &ConnectRequest,
        now: Time,
    ) -> Known {
        if let Some(attempt) = self.find(socket, request, now) {
            return attempt.answer.map_or(Known::Undecided, Known::Decided);
        }
        let attempt = Attempt { socket, request: *request, at: now, answer: None };
        if self.ring.len() < ATTEMPTS {
            self.ring.push(attempt);
        } else {
            self.ring[self.oldest] = attempt;
            self.oldest = (self.oldest + 1) % ATTEMPTS;
        }
        Known::New
    }

    /// Stores the answer to an attempt.
    pub(crate) fn decide(
        &mut self,
        socket: SocketIndex,
        request: &ConnectRequest,
        answer: Packet,
        now: Time,
    ) {
        if let Some(attempt) = self.find(socket, request, now) {
            attempt.answer = Some(answer);
        }
    }
}
