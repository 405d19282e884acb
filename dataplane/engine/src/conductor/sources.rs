//! The streams that are fetched: what is known about each source, and when it is tried next.
//!
//! ```text
//!              due, breaker lets through          connected
//!   Waiting ────────────────────────▶ Connecting ───────────▶ Connected
//!     ▲  ▲                                │                       │
//!     │  └──────────── backoff ───────────┴────── lost ───────────┘
//!     │ restart                           │ all tries used up
//!   Idle ◀────────────────────────────────┘
//! ```
//!
//! Pure: time, chance and the ends of tries come in from the conductor, which makes them.

use std::collections::BTreeMap;
use std::time::Duration;

use memory::Time;
use shm::EndReason;
use srt::caller::Failure;
use uring::SocketIndex;

use super::backoff::Backoff;
use super::breaker::Breaker;
use super::placement::Place;
use crate::config::{SourceConfig, SourcePolicy};

/// A connection that lasted this long was a success: waits start over. One that ends sooner, again
/// and again, is tried less and less often.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// Why a source was not had, or was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// What the handshake says.
    Handshake(Failure),
    /// The name has no address.
    Unresolved(String),
    /// It could not be tried from here.
    Local(String),
    /// It was had and is over.
    Ended(EndReason),
}

impl Trouble {
    /// A closed set of words, for metrics.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Handshake(Failure::Rejected(_)) => "rejected",
            Self::Handshake(Failure::Refused(_)) => "refused",
            Self::Handshake(Failure::Timeout) => "timeout",
            Self::Handshake(_) => "bad_answer",
            Self::Unresolved(_) => "unresolved",
            Self::Local(_) => "local",
            Self::Ended(_) => "ended",
        }
    }

    /// The code of a rejection.
    pub(crate) const fn code(&self) -> Option<u32> {
        match self {
            Self::Handshake(Failure::Rejected(reason) | Failure::Refused(reason)) => {
                Some(reason.code())
            }
            _ => None,
        }
    }

    /// Somebody answered, and it came to nothing: what the breaker counts.
    const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Handshake(Failure::Rejected(_) | Failure::Refused(_) | Failure::BadAnswer)
        )
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Handshake(Failure::Rejected(reason)) => {
                write!(f, "the peer refused: code {}, {}", reason.code(), reason.text())
            }
            Self::Handshake(Failure::Refused(reason)) => {
                write!(f, "what the peer offers cannot be served: {}", reason.text())
            }
            Self::Handshake(Failure::Timeout) => write!(f, "nobody answered in time"),
            Self::Handshake(_) => write!(f, "the answer is not one of SRT version 5"),
            Self::Unresolved(why) => write!(f, "the name has no address: {why}"),
            Self::Local(why) => write!(f, "{why}"),
            Self::Ended(reason) => write!(f, "the connection ended: {reason}"),
        }
    }
}

/// The last trouble, for people.
#[derive(Debug, Clone)]
pub(crate) struct LastTrouble {
    pub(crate) trouble: Trouble,
    pub(crate) unix_ns: u64,
}

/// A try under way, or a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) place: Place,
    pub(crate) socket_id: u32,
    /// `None` when the worker has lost it.
    pub(crate) socket: Option<SocketIndex>,
    pub(crate) peer: std::net::SocketAddr,
    /// The stream's slot in shared memory.
    pub(crate) slot: u32,
    /// Until when the stream's berth would have been kept.
    pub(crate) kept_until: Option<Time>,
}

/// What is worth telling of the end of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct News {
    /// The trouble is another one than the last time.
    pub(crate) fresh: bool,
    /// The breaker opened.
    pub(crate) opened: bool,
}

/// Where a source stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// To be tried then.
    Waiting(Time),
    /// All tries used up: nothing happens before a restart.
    Idle,
    /// Its name is being looked up.
    Resolving,
    /// It is being called.
    Connecting(Attempt),
    /// It is had, since then.
    Connected(Attempt, Time),
}

/// What happens to a source at the end of its try or connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It is tried again as usual.
    None,
    /// It is tried again at once.
    Restart,
    /// It is forgotten.
    Remove,
}

/// Tries that came to nothing, by what was the matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    pub(crate) timeout: u64,
    pub(crate) rejected: u64,
    pub(crate) refused: u64,
    pub(crate) bad_answer: u64,
    pub(crate) unresolved: u64,
    pub(crate) local: u64,
}

/// One source.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) config: SourceConfig,
    /// It stands in the configuration file.
    pub(crate) configured: bool,
    pub(crate) phase: Phase,
    pub(crate) wish: Wish,
    pub(crate) breaker: Breaker,
    backoff: Backoff,
    policy: SourcePolicy,
    pub(crate) attempts: u64,
    pub(crate) connections: u64,
    pub(crate) failures: Failures,
    pub(crate) connected_unix_ns: u64,
    /// Whom it called last.
    pub(crate) peer: Option<std::net::SocketAddr>,
    pub(crate) last: Option<LastTrouble>,
}

impl Source {
    pub(crate) const fn new(
        config: SourceConfig,
        policy: SourcePolicy,
        configured: bool,
        now: Time,
    ) -> Self {
        Self {
            config,
            configured,
            phase: Phase::Waiting(now),
            wish: Wish::None,
            breaker: Breaker::NEW,
            backoff: Backoff::new(policy.backoff),
            policy,
            attempts: 0,
            connections: 0,
            failures: Failures {
                timeout: 0,
                rejected: 0,
                refused: 0,
                bad_answer: 0,
                unresolved: 0,
                local: 0,
            },
            connected_unix_ns: 0,
            peer: None,
            last: None,
        }
    }

    /// Whether it is to be tried now; then its try has begun.
    pub(crate) fn begin(&mut self, now: Time) -> bool {
        let Phase::Waiting(at) = self.phase else { return false };
        if now < at || !self.breaker.lets_through(now) {
            return false;
        }
        self.phase = Phase::Resolving;
        self.attempts += 1;
        true
    }

    /// Puts a try off that could not even begin; it does not count.
    pub(crate) fn put_off(&mut self, until: Time) {
        self.attempts -= 1;
        self.phase = Phase::Waiting(until);
    }

    /// It is being called.
    pub(crate) fn calling(&mut self, attempt: Attempt) {
        if self.wish == Wish::Restart {
            // It was asked for while the name was looked up: this is it.
            self.wish = Wish::None;
        }
        self.phase = Phase::Connecting(attempt);
        self.peer = Some(attempt.peer);
    }

    /// It was had.
    pub(crate) fn connected(&mut self, now: Time, unix_ns: u64) {
        if let Phase::Connecting(attempt) = self.phase {
            self.phase = Phase::Connected(attempt, now);
            self.breaker.connected();
            self.connections += 1;
            self.connected_unix_ns = unix_ns;
        }
    }

    /// The try, or the connection, is over; `random` decides about the jitter of the next wait.
    /// What is worth telling of it comes back.
    pub(crate) fn over(&mut self, trouble: Trouble, now: Time, unix_ns: u64, random: u32) -> News {
        let fresh = self.last.as_ref().is_none_or(|last| {
            (last.trouble.label(), last.trouble.code()) != (trouble.label(), trouble.code())
        });
        let was_open = matches!(self.breaker, Breaker::Open(_));
        match (&trouble, self.phase) {
            (Trouble::Ended(_), Phase::Connected(_, since)) => {
                if now.since(since) >= STEADY_AFTER {
                    self.backoff.reset();
                }
            }
            _ => self.count(&trouble),
        }
        if trouble.is_refusal() {
            self.breaker.refused(&self.policy.breaker, now);
        }
        self.last = Some(LastTrouble { trouble, unix_ns });
        self.connected_unix_ns = 0;
        self.phase = match self.backoff.wait(random) {
            Some(wait) => {
                let at = now + wait;
                Phase::Waiting(self.breaker.opens_until().map_or(at, |until| until.max(at)))
            }
            None => Phase::Idle,
        };
        let opened = !was_open && matches!(self.breaker, Breaker::Open(_));
        if self.wish == Wish::Restart {
            self.restart(now);
        }
        News { fresh, opened }
    }

    fn count(&mut self, trouble: &Trouble) {
        let failures = &mut self.failures;
        let counter = match trouble {
            Trouble::Handshake(Failure::Timeout) => &mut failures.timeout,
            Trouble::Handshake(Failure::Rejected(_)) => &mut failures.rejected,
            Trouble::Handshake(Failure::Refused(_)) => &mut failures.refused,
            Trouble::Handshake(_) => &mut failures.bad_answer,
            Trouble::Unresolved(_) => &mut failures.unresolved,
            Trouble::Local(_) => &mut failures.local,
            // Ended from here before it came to anything.
            Trouble::Ended(_) => return,
        };
        *counter += 1;
    }

    /// Tries it at once, with breaker and waits as new. One under way is tried again at its end.
    pub(crate) fn restart(&mut self, now: Time) {
        self.breaker = Breaker::NEW;
        self.backoff.reset();
        if self.attempt().is_some() || self.phase == Phase::Resolving {
            self.wish = Wish::Restart;
        } else {
            self.wish = Wish::None;
            self.phase = Phase::Waiting(now);
        }
    }

    /// The try under way or the connection.
    pub(crate) const fn attempt(&self) -> Option<&Attempt> {
        match &self.phase {
            Phase::Connecting(attempt) | Phase::Connected(attempt, _) => Some(attempt),
            _ => None,
        }
    }

    /// The same, to change.
    pub(crate) const fn attempt_mut(&mut self) -> Option<&mut Attempt> {
        match &mut self.phase {
            Phase::Connecting(attempt) | Phase::Connected(attempt, _) => Some(attempt),
            _ => None,
        }
    }

    /// When it is tried next.
    pub(crate) const fn next_try(&self) -> Option<Time> {
        match self.phase {
            Phase::Waiting(at) => Some(at),
            _ => None,
        }
    }

    /// Where it stands, in a word.
    pub(crate) const fn state(&self) -> &'static str {
        match self.phase {
            Phase::Waiting(_) => "waiting",
            Phase::Idle => "idle",
            Phase::Resolving | Phase::Connecting(_) => "connecting",
            Phase::Connected(..) => "connected",
        }
    }
}

/// All sources, by the id of their stream.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    by_id: BTreeMap<String, Source>,
}

impl Sources {
    /// Those of the configuration, all due at once.
    pub(crate) fn configured(config: &crate::config::Sources) -> Self {
        let mut sources = Self::default();
        for source in &config.list {
            sources.insert(Source::new(source.clone(), config.policy, true, Time::ZERO));
        }
        sources
    }

    pub(crate) fn insert(&mut self, source: Source) {
        self.by_id.insert(source.config.id.clone(), source);
    }

    /// Whether a stream id belongs to a source: nobody else may publish under it.
    pub(crate) fn owns(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Source> {
        self.by_id.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Source> {
        self.by_id.get_mut(id)
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<Source> {
        self.by_id.remove(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Those behind `after`, in the order of their ids.
    pub(crate) fn after(&self, after: Option<&str>) -> impl Iterator<Item = &Source> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id.range::<str, _>((from, Bound::Unbounded)).map(|(_, source)| source)
    }

    /// Begins the tries that are due; the ids of their streams.
    pub(crate) fn begin_due(&mut self, now: Time) -> Vec<String> {
        let due = self
            .by_id
            .values_mut()
            .filter_map(|source| source.begin(now).then(|| source.config.id.clone()));
        due.collect()
    }

    /// The source whose try or connection has this socket id.
    pub(crate) fn by_socket_id(&mut self, socket_id: u32) -> Option<&mut Source> {
        self.by_id
            .values_mut()
            .find(|source| source.attempt().is_some_and(|at| at.socket_id == socket_id))
    }

    /// The source that uses a worker's socket.
    pub(crate) fn by_socket(&mut self, worker: u16, socket: SocketIndex) -> Option<&mut Source> {
        self.by_id.values_mut().find(|source| {
            source
                .attempt()
                .is_some_and(|at| at.place.worker == worker && at.socket == Some(socket))
        })
    }
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
