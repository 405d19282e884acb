//! Which stream ids exist, and what a new connection for one of them may do.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use memory::Time;

use super::placement::Place;
use crate::messages::Berth;

/// A publisher silent for this long may be replaced by one that comes from the same host. An
/// encoder that was killed and started again is let in after this time; one that lives sends
/// media, or a keepalive each second, many times more often than it takes to be asked.
pub(crate) const SILENT_AFTER: Duration = Duration::from_millis(500);
/// Datagrams already on their way when the newcomer asked do not prove the publisher alive.
const IN_FLIGHT: Duration = Duration::from_millis(20);

/// Where a stream stands.
#[derive(Debug)]
pub(crate) enum State {
    /// Its session is being opened.
    Installing,
    /// Its session runs.
    Live { place: Place, socket_id: u32, slot: u32 },
    /// Its session was told to end; then this ticket gets its berth.
    Ending { then: Option<u32> },
    /// Its publisher is gone and may come back.
    Lost { berth: Box<Berth>, until: Time },
}

/// One stream id in use.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) source: IpAddr,
    pub(crate) state: State,
}

/// What a newcomer for an id meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody has the id.
    Free,
    /// It was lost: its berth goes on.
    Resume,
    /// A publisher has it and fell silent: end that session first.
    Replace { place: Place, socket_id: u32 },
    /// A publisher has it, and it is not known yet whether it lives: ask again soon.
    Undecided,
    /// A live publisher has it.
    Conflict,
}

/// The stream ids in use, and those kept out.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    by_id: HashMap<String, Stream>,
    blocked_until: HashMap<String, Time>,
}

impl Streams {
    pub(crate) fn insert(&mut self, id: String, source: IpAddr, state: State) {
        self.by_id.insert(id, Stream { source, state });
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Stream> {
        self.by_id.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Stream> {
        self.by_id.get_mut(id)
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<Stream> {
        self.by_id.remove(id)
    }

    /// Keeps an id out until then.
    pub(crate) fn block(&mut self, id: &str, until: Time) {
        self.blocked_until.insert(id.to_owned(), until);
    }

    /// Whether an id is kept out.
    pub(crate) fn is_blocked(&self, id: &str, now: Time) -> bool {
        self.blocked_until.get(id).is_some_and(|until| now < *until)
    }

    /// What a caller from `source`, who asked at `asked`, meets under this id. `last_received`
    /// tells when the session of a stream slot last heard its peer.
    pub(crate) fn claim(
        &self,
        id: &str,
        source: IpAddr,
        asked: Time,
        now: Time,
        last_received: impl Fn(u32) -> Time,
    ) -> Claim {
        let Some(stream) = self.by_id.get(id) else { return Claim::Free };
        match stream.state {
            State::Lost { .. } => Claim::Resume,
            State::Installing | State::Ending { then: Some(_) } => Claim::Conflict,
            State::Ending { then: None } => Claim::Undecided,
            State::Live { .. } if stream.source != source => Claim::Conflict,
            State::Live { place, socket_id, slot } => {
                let heard = last_received(slot);
                if heard > asked + IN_FLIGHT {
                    Claim::Conflict
                } else if now.since(heard) >= SILENT_AFTER {
                    Claim::Replace { place, socket_id }
                } else {
                    Claim::Undecided
                }
            }
        }
    }

    /// The ids whose time to come back is over, and forgets ids no longer kept out.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<String> {
        self.blocked_until.retain(|_, until| now < *until);
        let over =
            |stream: &Stream| matches!(stream.state, State::Lost { until, .. } if until <= now);
        self.by_id.iter().filter(|(_, stream)| over(stream)).map(|(id, _)| id.clone()).collect()
    }

    /// The id that was lost first: its berth is the one to take when none is free.
    pub(crate) fn longest_lost(&self) -> Option<String> {
        let until = |stream: &Stream| match stream.state {
            State::Lost { until, .. } => Some(until),
            _ => None,
        };
        let lost = self.by_id.iter().filter_map(|(id, stream)| Some((until(stream)?, id)));
        lost.min().map(|(_, id)| id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const PLACE: Place = Place { worker: 0, session: 0, slots: 1 };

    fn at_ms(ms: u64) -> Time {
        Time::from_micros(ms * 1_000)
    }

    fn with_live() -> Streams {
        let mut streams = Streams::default();
        let state = State::Live { place: PLACE, socket_id: 7, slot: 0 };
        streams.insert("a".into(), HERE, state);
        streams
    }

    fn claim(streams: &Streams, source: IpAddr, now_ms: u64, heard_ms: u64) -> Claim {
        streams.claim("a", source, at_ms(10_000), at_ms(now_ms), |_| at_ms(heard_ms))
    }

    #[test]
    fn an_unused_id_is_free() {
        assert_eq!(claim(&Streams::default(), HERE, 10_000, 0), Claim::Free);
    }

    #[test]
    fn a_killed_publisher_is_replaced_once_it_was_silent() {
        let streams = with_live();
        assert_eq!(claim(&streams, HERE, 10_000, 9_950), Claim::Undecided);
        assert_eq!(claim(&streams, HERE, 10_400, 9_950), Claim::Undecided);
        let replaced = Claim::Replace { place: PLACE, socket_id: 7 };
        assert_eq!(claim(&streams, HERE, 10_450, 9_950), replaced);
    }

    #[test]
    fn a_publisher_that_goes_on_sending_is_not_replaced() {
        assert_eq!(claim(&with_live(), HERE, 10_100, 10_050), Claim::Conflict);
    }

    #[test]
    fn another_host_replaces_nobody() {
        assert_eq!(claim(&with_live(), THERE, 20_000, 0), Claim::Conflict);
    }

    #[test]
    fn a_blocked_id_is_kept_out_for_its_time() {
        let mut streams = Streams::default();
        streams.block("a", at_ms(5));
        assert!(streams.is_blocked("a", at_ms(4)));
        assert!(!streams.is_blocked("a", at_ms(5)));
        assert!(!streams.is_blocked("b", at_ms(4)));
    }
}
