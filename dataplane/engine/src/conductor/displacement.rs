//! Whose place a sender of RTP gets when none is free.
//!
//! Any host that may send can prove as many sources as it likes, with two packets each: the places
//! must not be its alone. It may have all of them as long as nobody else asks. When somebody does, a
//! session gives way that is of no use: without frames, or silent for a while; of the host that has
//! the most, and only if it has at least two more than the newcomer's. Streams that are well are
//! never ended for others.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use memory::Time;
use shm::counters::StreamCounter;
use shm::{EndReason, StreamKind, StreamState};

use super::Conductor;
use super::admission::canonical;
use super::placement::Place;
use super::streams::State;
use crate::messages::Order;

/// A session that heard nothing for so long may give way.
const SILENT_AFTER: Duration = Duration::from_secs(2);

/// A session that could give way.
#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    id: &'a str,
    host: IpAddr,
    place: Place,
    socket_id: u32,
    slot: u32,
}

impl Conductor {
    /// Has a session of no use give its place to the sender that waits under that number. False
    /// when there is none.
    pub(super) fn displace_for(&mut self, number: u32, now: Time) -> bool {
        let Some((id, place, socket_id)) = self.displaced_for(number, now) else { return false };
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.state = State::Ending { then: Some(number) };
        }
        let reason = EndReason::Displaced;
        self.order(place.worker, Order::End { place, socket_id, reason });
        true
    }

    fn displaced_for(&self, number: u32, now: Time) -> Option<(String, Place, u32)> {
        let (worker, peer) = self.senders.whence(number)?;
        let host = canonical(peer.ip());
        let anywhere = self.parts.rtp_placement.has_place_on(worker);
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for session in self.rtp_sessions() {
            *counts.entry(session.host).or_default() += 1;
        }
        let count = |host: &IpAddr| counts.get(host).copied().unwrap_or(0);
        let enough = count(&host) + 2;
        let found = self
            .rtp_sessions()
            .filter(|session| anywhere || session.place.worker == worker)
            .filter(|session| count(&session.host) >= enough)
            .filter_map(|session| Some((session, self.of_no_use_since(&session, now)?)))
            .max_by_key(|(session, since)| (count(&session.host), Reverse(*since)));
        found.map(|(session, _)| (session.id.to_owned(), session.place, session.socket_id))
    }

    /// The sessions of senders that nobody announced.
    fn rtp_sessions(&self) -> impl Iterator<Item = Candidate<'_>> {
        self.streams.iter().filter_map(|(id, stream)| {
            let State::Live { place, socket_id, slot } = stream.state else { return None };
            let anonymous = stream.kind == StreamKind::Rtp && !self.given.owns(id);
            anonymous.then_some(Candidate { id, host: stream.source, place, socket_id, slot })
        })
    }

    /// When a session last heard its sender, if it is of no use.
    fn of_no_use_since(&self, session: &Candidate<'_>, now: Time) -> Option<Time> {
        let stream = self.parts.view.stream_at(session.slot).ok().flatten()?;
        let heard = Time::from_nanos(stream.counter(StreamCounter::LastReceivedNs));
        let silent = now.since(heard) >= SILENT_AFTER;
        (silent || stream.info.state != StreamState::Active).then_some(heard)
    }
}
