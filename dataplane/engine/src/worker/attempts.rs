//! Connection attempts of the last seconds, so that a repeated conclusion gets the same answer.
//!
//! A caller repeats its conclusion every 250 ms until it is answered. The first one is put before
//! the conductor; repetitions find the attempt here: unanswered they are ignored, answered they
//! get the stored packet again (SRT draft, 4.3.1). An answer that let the caller in lives no longer
//! than the session it names: who comes with the same address and socket id after that begins anew.

use std::net::SocketAddr;
use std::time::Duration;

use memory::Time;
use srt::ConnectRequest;
use srt::sequence::Sequence;
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
    /// The session that its answer names is over.
    over: bool,
}

/// Which attempt a session came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AttemptKey {
    socket: SocketIndex,
    peer: SocketAddr,
    caller_id: u32,
    initial_sequence: Sequence,
    /// Tells it from a later one that is alike in all else.
    arrival: Time,
}

impl AttemptKey {
    pub(crate) const fn new(socket: SocketIndex, request: &ConnectRequest) -> Self {
        let ConnectRequest { peer, caller_id, initial_sequence, arrival, .. } = *request;
        Self { socket, peer, caller_id, initial_sequence, arrival }
    }
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
                && !attempt.over
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
        let attempt = Attempt { socket, request: *request, at: now, answer: None, over: false };
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

    /// The session that an attempt led to is over: its answer is not repeated any more.
    pub(crate) fn forget(&mut self, key: &AttemptKey) {
        let own = |attempt: &&mut Attempt| {
            AttemptKey::new(attempt.socket, &attempt.request) == *key && !attempt.over
        };
        if let Some(attempt) = self.ring.iter_mut().find(own) {
            attempt.over = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use srt::handshake::RejectReason;

    use super::*;
    use crate::conductor::admission::tests::request;
    use crate::messages::Verdict;

    const SOCKET: SocketIndex = SocketIndex::new(0);

    fn at_ms(ms: u64) -> Time {
        Time::from_micros(ms * 1_000)
    }

    fn answer(request: &ConnectRequest) -> Packet {
        Verdict::refused(SOCKET, *request, RejectReason::CONFLICT, at_ms(0)).packet
    }

    /// A table that has answered this request, which came at 1 ms.
    fn answered() -> (Attempts, ConnectRequest) {
        let mut attempts = Attempts::new();
        let mut request = request("127.0.0.1:9", "a", 120);
        request.arrival = at_ms(1);
        assert_eq!(attempts.meet(SOCKET, &request, at_ms(1)), Known::New);
        assert_eq!(attempts.meet(SOCKET, &request, at_ms(2)), Known::Undecided);
        attempts.decide(SOCKET, &request, answer(&request), at_ms(3));
        (attempts, request)
    }

    #[test]
    fn a_repetition_gets_the_same_answer_for_ten_seconds() {
        let (mut attempts, request) = answered();
        let repeated = Known::Decided(answer(&request));
        assert_eq!(attempts.meet(SOCKET, &request, at_ms(10_000)), repeated);
        assert_eq!(attempts.meet(SocketIndex::new(1), &request, at_ms(4)), Known::New);
        assert_eq!(attempts.meet(SOCKET, &request, at_ms(10_001)), Known::New);
    }

    #[test]
    fn once_its_session_is_over_the_same_caller_is_decided_about_anew() {
        let (mut attempts, request) = answered();
        attempts.forget(&AttemptKey::new(SOCKET, &request));
        let mut again = request;
        again.arrival = at_ms(50);
        assert_eq!(attempts.meet(SOCKET, &again, at_ms(50)), Known::New);
        // Late news of the first session's end does not touch the second attempt.
        attempts.forget(&AttemptKey::new(SOCKET, &request));
        assert_eq!(attempts.meet(SOCKET, &again, at_ms(60)), Known::Undecided);
    }
}
