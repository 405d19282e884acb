//! SRT socket ids that say where their session lives.
//!
//! ```text
//!  id = (salt × sessions + session) × workers + worker          0 < id < 2^30
//! ```
//!
//! The steering program of the port computes `id mod workers`; the owner finds its session without
//! a table. The salt is random, so a former session's id seldom meets the session that has its
//! place now, and an id from another address cannot be guessed from one's own.

use siphasher::sip::SipHasher24;

/// Bit 30 marks groups in libsrt; ids of sockets lie below.
const ID_LIMIT: u32 = 1 << 30;

/// How ids are laid out: the same in the conductor and in every worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SocketIds {
    workers: u32,
    sessions: u32,
}

impl SocketIds {
    pub(crate) fn new(workers: u16, sessions: u16) -> Self {
        assert!(workers > 0 && sessions > 0, "a dataplane has workers and sessions");
        Self { workers: workers.into(), sessions: sessions.into() }
    }

    /// The id of a session's place, with `random` as its salt.
    pub(crate) fn encode(self, worker: u16, session: u16, random: u32) -> u32 {
        let places = self.workers * self.sessions;
        // The highest salt is left out: with it the id could reach the limit.
        let salts = ID_LIMIT / places - 1;
        // Salt 0 is left out: it holds the id 0.
        let salt = 1 + random % (salts - 1);
        (salt * self.sessions + u32::from(session)) * self.workers + u32::from(worker)
    }

    /// The worker that owns an id.
    pub(crate) fn worker(self, id: u32) -> u16 {
        u16::try_from(id % self.workers).unwrap_or(u16::MAX)
    }

    /// The place of the session on its worker.
    pub(crate) fn session(self, id: u32) -> u16 {
        u16::try_from(id / self.workers % self.sessions).unwrap_or(u16::MAX)
    }
}

/// The salts of ids: a keyed hash of their count, so that guessing one is not easier than guessing
/// an address and port, and a simulation that knows the key knows the ids.
#[derive(Debug)]
pub(crate) struct Salts {
    hasher: SipHasher24,
    count: u64,
}

impl Salts {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self { hasher: SipHasher24::new_with_key(key), count: 0 }
    }

    /// The next salt.
    pub(crate) fn next(&mut self) -> u32 {
        self.count += 1;
        let [a, b, c, d, ..] = self.hasher.hash(&self.count.to_ne_bytes()).to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_carries_its_place() {
        for (workers, sessions) in [(1, 1), (1, 25), (2, 13), (64, 4_096)] {
            let ids = SocketIds::new(workers, sessions);
            for random in [0, 1, 77, u32::MAX] {
                for (worker, session) in [(0, 0), (workers - 1, sessions - 1)] {
                    let id = ids.encode(worker, session, random);
                    assert!(id > 0 && id < ID_LIMIT, "{id}");
                    assert_eq!((ids.worker(id), ids.session(id)), (worker, session));
                }
            }
        }
    }
    #[test]
    fn salts_depend_on_the_key_and_do_not_repeat_at_once() {
        let salts = |key| {
            let mut salts = Salts::new(&[key; 16]);
            [salts.next(), salts.next(), salts.next()]
        };
        assert_eq!(salts(1), salts(1));
        let [first, second, third] = salts(1);
        assert!(first != second && second != third && first != third);
        assert_ne!(salts(1), salts(2));
    }
}
