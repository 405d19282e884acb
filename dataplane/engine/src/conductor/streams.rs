//! Which stream ids exist, and what a new connection for one of them may do.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use memory::Time;
use shm::{EndReason, StreamKind};
use uring::SocketIndex;

use super::placement::Place;
use crate::berth::Berth;
use crate::config::SecondPublisher;

/// A publisher silent for this long may be replaced by one that comes from the same host. An
/// encoder that was killed and started again is let in after this time; one that lives sends
/// media, or a keepalive each second, many times more often than it takes to be asked.
pub(crate) const SILENT_AFTER: Duration = Duration::from_millis(500);
/// Datagrams already on their way when the newcomer asked do not prove the publisher alive.
const IN_FLIGHT: Duration = Duration::from_millis(20);

/// Hosts remembered of those that lost one id to others.
const DISPLACED_MAX: usize = 8;

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
    pub(crate) kind: StreamKind,
    pub(crate) source: IpAddr,
    /// The listener it came at, by its socket.
    pub(crate) listener: SocketIndex,
    /// The place of its rule among `ingestion.streams`.
    pub(crate) rule: Option<usize>,
    pub(crate) state: State,
}

impl Stream {
    /// It has a publisher, or is about to have one.
    pub(crate) const fn is_taken(&self) -> bool {
        !matches!(self.state, State::Lost { .. })
    }
}

/// Who asks for an id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Newcomer<'a> {
    pub(crate) id: &'a str,
    pub(crate) source: IpAddr,
    pub(crate) asked: Time,
    pub(crate) policy: SecondPublisher,
}

/// What a newcomer for an id meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody has the id.
    Free,
    /// It was lost: its berth goes on.
    Resume,
    /// A publisher has it that fell silent, or has to give way: end that session first.
    Replace { place: Place, socket_id: u32, reason: EndReason },
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
    /// By id, the hosts that it was taken over from, and until when each is held off.
    displaced: HashMap<String, Vec<(IpAddr, Time)>>,
}

impl Streams {
    pub(crate) fn insert(&mut self, id: String, stream: Stream) {
        self.by_id.insert(id, stream);
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Stream)> {
        self.by_id.iter().map(|(id, stream)| (id.as_str(), stream))
    }

    /// Whether that ticket gets what a stream leaves that was told to end.
    pub(crate) fn is_promised(&self, ticket: u32) -> bool {
        let promised = |stream: &Stream| matches!(stream.state, State::Ending { then: Some(next) } if next == ticket);
        self.by_id.values().any(promised)
    }

    /// How many other streams than `id` have a publisher and pass the test.
    pub(crate) fn count_others(&self, id: &str, test: &dyn Fn(&Stream) -> bool) -> usize {
        let counts = |(other, stream): &(&String, &Stream)| {
            other.as_str() != id && stream.is_taken() && test(stream)
        };
        self.by_id.iter().filter(counts).count()
    }

    /// Whether that ticket gets the id when its publisher has ended.
    pub(crate) fn is_next(&self, id: &str, ticket: u32) -> bool {
        let state = self.by_id.get(id).map(|stream| &stream.state);
        matches!(state, Some(State::Ending { then: Some(next) }) if *next == ticket)
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Stream> {
        self.by_id.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Stream> {
        self.by_id.get_mut(id)
    }

    /// The id of the stream whose session has that socket id.
    pub(crate) fn with_session(&self, socket_id: u32) -> Option<&str> {
        let mut all = self.by_id.iter();
        let found = all.find(|(_, stream)| {
            matches!(stream.state, State::Live { socket_id: own, .. } if own == socket_id)
        });
        found.map(|(id, _)| id.as_str())
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

    /// A publisher has to give way to a newcomer: its host may not take the id back before then.
    pub(crate) fn displace(&mut self, id: &str, until: Time) {
        let Some(host) = self.by_id.get(id).map(|stream| stream.source) else { return };
        let hosts = self.displaced.entry(id.to_owned()).or_default();
        hosts.retain(|(other, _)| *other != host);
        if hosts.len() >= DISPLACED_MAX {
            hosts.remove(0);
        }
        hosts.push((host, until));
    }

    /// Whether a host that lost the id to another may not take it back yet. As it asks all the
    /// same, its time begins anew: two encoders that both call again whenever they are cut off would
    /// else take turns for ever.
    pub(crate) fn holds_off(&mut self, id: &str, host: IpAddr, now: Time, hold: Duration) -> bool {
        let hosts = self.displaced.get_mut(id).into_iter().flatten();
        let mut held = hosts.filter(|(other, until)| *other == host && now < *until);
        match held.next() {
            Some((_, until)) => {
                *until = now + hold;
                true
            }
            None => false,
        }
    }

    /// What a caller meets under the id it asks for. `last_received` tells when the session of a
    /// stream slot last heard its peer.
    pub(crate) fn claim(
        &self,
        newcomer: &Newcomer<'_>,
        now: Time,
        last_received: impl Fn(u32) -> Time,
    ) -> Claim {
        let Newcomer { id, source, asked, policy } = *newcomer;
        let Some(stream) = self.by_id.get(id) else { return Claim::Free };
        match stream.state {
            State::Lost { .. } => Claim::Resume,
            State::Installing | State::Ending { then: Some(_) } => Claim::Conflict,
            State::Ending { then: None } => Claim::Undecided,
            State::Live { place, socket_id, .. } if policy == SecondPublisher::TakeOver => {
                Claim::Replace { place, socket_id, reason: EndReason::TakenOver }
            }
            State::Live { .. } if stream.source != source => Claim::Conflict,
            State::Live { place, socket_id, slot } => {
                let heard = last_received(slot);
                if heard > asked + IN_FLIGHT {
                    Claim::Conflict
                } else if now.since(heard) >= SILENT_AFTER {
                    Claim::Replace { place, socket_id, reason: EndReason::Replaced }
                } else {
                    Claim::Undecided
                }
            }
        }
    }

    /// The ids whose time to come back is over, and forgets ids no longer kept out.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<String> {
        self.blocked_until.retain(|_, until| now < *until);
        self.displaced.retain(|_, hosts| hosts.iter().any(|(_, until)| now < *until));
        let over =
            |stream: &Stream| matches!(stream.state, State::Lost { until, .. } if until <= now);
        self.by_id.iter().filter(|(_, stream)| over(stream)).map(|(id, _)| id.clone()).collect()
    }

    /// Of the ids that may give their berth the one that was lost first: its is the one to take when
    /// none is free.
    pub(crate) fn longest_lost(&self, may_give: impl Fn(&str) -> bool) -> Option<String> {
        let until = |stream: &Stream| match stream.state {
            State::Lost { until, .. } => Some(until),
            _ => None,
        };
        let lost = self.by_id.iter().filter(|(id, _)| may_give(id));
        let lost = lost.filter_map(|(id, stream)| Some((until(stream)?, id)));
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
        let listener = SocketIndex::new(0);
        let kind = StreamKind::Srt;
        streams.insert("a".into(), Stream { kind, source: HERE, listener, rule: None, state });
        streams
    }

    fn claim(streams: &Streams, source: IpAddr, now_ms: u64, heard_ms: u64) -> Claim {
        let policy = SecondPublisher::Refuse;
        let newcomer = Newcomer { id: "a", source, asked: at_ms(10_000), policy };
        streams.claim(&newcomer, at_ms(now_ms), |_| at_ms(heard_ms))
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
        let reason = EndReason::Replaced;
        let replaced = Claim::Replace { place: PLACE, socket_id: 7, reason };
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
    fn by_policy_a_newcomer_takes_over_from_a_publisher_that_lives_elsewhere() {
        let streams = with_live();
        let policy = SecondPublisher::TakeOver;
        let newcomer = Newcomer { id: "a", source: THERE, asked: at_ms(10_000), policy };
        let claim = streams.claim(&newcomer, at_ms(10_000), |_| at_ms(9_999));
        let reason = EndReason::TakenOver;
        assert_eq!(claim, Claim::Replace { place: PLACE, socket_id: 7, reason });
    }

    #[test]
    fn a_host_that_lost_the_id_is_held_off_until_it_has_left_it_alone() {
        const HOLD: Duration = Duration::from_secs(10);
        let mut streams = with_live();
        assert!(!streams.holds_off("a", HERE, at_ms(0), HOLD));
        streams.displace("a", at_ms(10_000));
        assert!(streams.holds_off("a", HERE, at_ms(9_999), HOLD));
        assert!(!streams.holds_off("a", THERE, at_ms(9_999), HOLD), "who took it over");
        assert!(!streams.holds_off("b", HERE, at_ms(9_999), HOLD));
        // It asked: its time began anew.
        assert!(streams.holds_off("a", HERE, at_ms(19_998), HOLD));
        assert!(!streams.holds_off("a", HERE, at_ms(29_998), HOLD));
        assert!(!streams.displaced.is_empty());
        streams.expire(at_ms(29_998));
        assert!(streams.displaced.is_empty());
    }

    #[test]
    fn displaced_hosts_are_bounded_and_the_first_is_forgotten_first() {
        let mut streams = with_live();
        let host = |n: u8| IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 1, n));
        for n in 0..=8 {
            streams.get_mut("a").expect("live").source = host(n);
            streams.displace("a", at_ms(10));
        }
        let held = |n| with_host(&mut streams, host(n));
        assert_eq!([0, 1, 8].map(held), [false, true, true]);
    }

    fn with_host(streams: &mut Streams, host: IpAddr) -> bool {
        streams.holds_off("a", host, at_ms(0), Duration::from_millis(10))
    }

    #[test]
    fn streams_without_a_publisher_and_the_newcomers_own_do_not_count() {
        let mut streams = with_live();
        let all = |_: &Stream| true;
        assert_eq!(streams.count_others("b", &all), 1);
        assert_eq!(streams.count_others("a", &all), 0);
        assert_eq!(streams.count_others("b", &|stream| stream.source == THERE), 0);
        streams.get_mut("a").expect("live").state = State::Ending { then: Some(3) };
        assert_eq!(streams.count_others("b", &all), 1);
        assert!(streams.is_next("a", 3) && !streams.is_next("a", 4));
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
