//! One publisher: an encoder, its connection, its address, and what happens to them.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use memory::Time;
use penstock_engine::simulation::LISTENER;

use crate::clock::DriftingClock;
use crate::link::Link;
use crate::listening::Listening;
use crate::media::Encoder;
use crate::peer::{Call, Peer, State};
use crate::random::Random;
use crate::scenario::{Incident, LinkPlan, PublisherPlan};
use crate::secret::Keys;
use crate::stranger::Stranger;

/// 25 units a second.
const UNIT_INTERVAL: Duration = Duration::from_millis(40);
/// An encoder that was refused or cut off tries again after this long.
const RETRY: Duration = Duration::from_millis(400);
const ENGINE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// Where a publisher stands.
#[derive(Debug)]
enum Stage {
    /// Not started, crashed, or refused: it calls at this time.
    Away {
        until: Time,
    },
    /// It calls, or waits to be called.
    Calling,
    Publishing,
    /// Everything was sent; it waits for the acknowledgement, then says goodbye.
    Draining {
        patience: Time,
    },
    Done,
}

#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) id: String,
    pub(crate) plan: PublisherPlan,
    pub(crate) address: SocketAddr,
    pub(crate) to_listener: Link,
    pub(crate) to_publisher: Link,
    pub(crate) encoder: Encoder,
    clock: DriftingClock,
    random: Random,
    stage: Stage,
    peer: Option<Peer>,
    /// Sends in its name.
    pub(crate) stranger: Option<Stranger>,
    /// It uses other keys than those that it tells.
    faithless: bool,
    incidents: VecDeque<(Time, Incident)>,
    /// It has said goodbye for good.
    closing: bool,
    /// Payloads of the current unit, and when each leaves.
    queue: VecDeque<(Time, Vec<u8>)>,
    next_unit: Time,
    /// Units whose last byte was handed to a connection, by number, with the time.
    pub(crate) produced: Vec<(u32, Time)>,
    pub(crate) packets_pushed: u64,
    pub(crate) packets_refused: u64,
    pub(crate) connections: u32,
    pub(crate) connected_at: Time,
    /// Connections that it ended in order.
    pub(crate) goodbyes: u32,
}

/// The stream id of a scenario's so-manieth publisher.
pub(crate) fn id(index: usize) -> String {
    format!("live/{index}")
}

/// Where it is at first.
pub(crate) fn address(index: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 1, u8::try_from(index).unwrap_or(0)), 5_000))
}

impl Publisher {
    pub(crate) fn new(index: u32, plan: &PublisherPlan, start: Time, random: &mut Random) -> Self {
        let place = usize::try_from(index).unwrap_or(0);
        let local = Duration::from_micros(random.below(1_000));
        let authenticated = plan.secret.is_some_and(|secret| secret.is_authenticated());
        let seed = plan.secret.map_or(0, |secret| secret.seed);
        let incidents = plan.incidents.iter().map(|(at, it)| (start + *at, *it)).collect();
        Self {
            id: id(place),
            address: address(place),
            to_listener: Link::new(plan.link, random.fork()).authenticated(authenticated),
            to_publisher: Link::new(plan.link, random.fork()),
            encoder: Encoder::new(index, plan),
            clock: DriftingClock::new(start + local, plan.drift_ppm),
            random: random.fork(),
            stage: Stage::Away { until: start + plan.starts },
            peer: None,
            stranger: Stranger::new(plan, start, Random::new(!seed)),
            faithless: false,
            incidents,
            closing: false,
            queue: VecDeque::new(),
            next_unit: Time::NEVER,
            produced: Vec::new(),
            packets_pushed: 0,
            packets_refused: 0,
            connections: 0,
            connected_at: Time::NEVER,
            goodbyes: 0,
            plan: plan.clone(),
        }
    }

    /// From now on it encrypts with other keys than those that it tells.
    pub(crate) const fn betray(&mut self) {
        self.faithless = true;
    }

    /// When [`Self::turn`] is next needed.
    pub(crate) fn next_time(&self) -> Time {
        let incident = self.incidents.front().map_or(Time::NEVER, |(at, _)| *at);
        let stage = match self.stage {
            Stage::Away { until } | Stage::Draining { patience: until } => until,
            Stage::Calling | Stage::Publishing | Stage::Done => Time::NEVER,
        };
        let peer =
            self.peer.as_ref().map_or(Time::NEVER, |peer| self.clock.ours(peer.next_timeout()));
        let packet = self.queue.front().map_or(Time::NEVER, |(at, _)| *at);
        incident.min(stage).min(peer).min(packet).min(self.next_unit)
    }

    /// Does what is due; `out` gets datagrams for the engine.
    pub(crate) fn turn(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        while let Some((_, incident)) = self.incidents.pop_front_if(|(at, _)| *at <= now) {
            self.meet(now, incident, out);
        }
        if let Stage::Away { until } = self.stage
            && until <= now
        {
            self.call(now);
        }
        let local = self.clock.local(now);
        if let Some(peer) = &mut self.peer {
            peer.handle_timeout(local, out);
        }
        self.follow(now);
        self.encode(now);
        while let Some((_, payload)) = self.queue.pop_front_if(|(at, _)| *at <= now) {
            self.push(now, &payload, out);
        }
        self.drain(now, out);
    }

    /// The port of the engine that it sends to.
    pub(crate) fn port(&self) -> u16 {
        self.peer.as_ref().map_or(LISTENER, Peer::port)
    }

    /// A datagram came from a port of the engine; `out` gets what goes back there.
    pub(crate) fn receive(
        &mut self,
        now: Time,
        port: u16,
        bytes: &[u8],
        out: &mut impl FnMut(&[u8]),
    ) {
        let local = self.clock.local(now);
        if let Some(peer) = &mut self.peer {
            peer.handle_datagram(local, port, bytes, out);
        }
        self.follow(now);
    }

    /// Stops producing: what was produced is delivered, then it says goodbye.
    pub(crate) fn finish(&mut self, now: Time) {
        self.next_unit = Time::NEVER;
        match self.stage {
            Stage::Publishing => {
                if let Some(rest) = self.encoder.flush() {
                    self.queue.push_back((now, rest));
                }
                self.stage = Stage::Draining { patience: now + Duration::from_secs(4) };
            }
            Stage::Draining { .. } | Stage::Done => {}
            Stage::Away { .. } | Stage::Calling => {
                self.peer = None;
                self.stage = Stage::Done;
            }
        }
    }

    /// Nobody can change its packets unnoticed.
    pub(crate) fn is_authenticated(&self) -> bool {
        self.plan.secret.is_some_and(|secret| secret.is_authenticated())
    }

    /// Whether the path changed its bytes unseen.
    pub(crate) const fn was_changed(&self) -> bool {
        self.to_listener.changed > 0
    }

    /// Keys after the first that were confirmed to it on this connection.
    pub(crate) fn keys_confirmed(&self) -> u64 {
        self.peer.as_ref().map_or(0, Peer::keys_confirmed)
    }

    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Where it stands, in words.
    pub(crate) fn condition(&self) -> String {
        format!(
            "{:?} at {} after {} connections, {} packets pushed and {} refused",
            self.stage, self.address, self.connections, self.packets_pushed, self.packets_refused
        )
    }

    /// From now on nothing happens to it or its packets.
    pub(crate) fn heal(&mut self) {
        self.to_listener.heal();
        self.to_publisher.heal();
        self.plan.link = LinkPlan::clean(self.plan.link.rtt);
        if let Some(stranger) = &mut self.stranger {
            stranger.stop();
        }
    }

    fn call(&mut self, now: Time) {
        self.connections += 1;
        let again = self.connections > 1;
        let call = Call {
            socket_id: 1 + self.random.below_u32(1 << 29),
            first_sequence: if again {
                self.random.below_u32(1 << 31)
            } else {
                self.plan.first_sequence
            },
            latency: self.plan.latency,
            stream_id: self.id.clone(),
            engine: ENGINE,
            clock_age: if again { Duration::ZERO } else { self.plan.clock_age },
            keys: self.plan.secret.map(|secret| Keys {
                secret,
                connection: self.connections,
                faithless: self.faithless,
            }),
        };
        self.peer = Some(match self.plan.called {
            true => Peer::Listening(Box::new(Listening::new(call))),
            false => Peer::call(self.plan.maker, &call, self.clock.local(now)),
        });
        self.stage = Stage::Calling;
    }

    /// Follows what the connection has become.
    fn follow(&mut self, now: Time) {
        let Some(peer) = &self.peer else { return };
        match (&self.stage, peer.state()) {
            (Stage::Calling, State::Connected) => {
                self.stage = Stage::Publishing;
                self.connected_at = now;
                self.encoder.restart();
                self.next_unit = now;
            }
            (Stage::Calling | Stage::Publishing, State::Failed) => {
                self.leave(Stage::Away { until: now + RETRY });
            }
            (Stage::Draining { .. }, State::Failed) => self.leave(Stage::Done),
            _ => {}
        }
    }

    fn leave(&mut self, stage: Stage) {
        self.peer = None;
        self.queue.clear();
        self.next_unit = Time::NEVER;
        self.stage = stage;
    }

    fn encode(&mut self, now: Time) {
        if now < self.next_unit {
            return;
        }
        self.next_unit = now + UNIT_INTERVAL;
        let number = self.encoder.next();
        let packets = self.encoder.encode();
        let spacing = match self.plan.bursts {
            true => Duration::ZERO,
            false => UNIT_INTERVAL * 9 / 10 / u32::try_from(packets.len().max(1)).unwrap_or(1),
        };
        let mut at = now;
        for payload in packets {
            self.queue.push_back((at, payload));
            at = at + spacing;
        }
        self.produced.push((number, now));
    }

    fn push(&mut self, now: Time, payload: &[u8], out: &mut impl FnMut(&[u8])) {
        let local = self.clock.local(now);
        let Some(peer) = &mut self.peer else { return };
        let pushed = peer.push(local, payload, out);
        self.packets_pushed += u64::from(pushed);
        self.packets_refused += u64::from(!pushed);
    }

    fn drain(&mut self, now: Time, out: &mut impl FnMut(&[u8])) {
        let Stage::Draining { patience } = self.stage else { return };
        let drained = self.queue.is_empty() && self.peer.as_ref().is_some_and(Peer::is_drained);
        if drained && !self.closing {
            self.closing = true;
            self.goodbyes += 1;
            let local = self.clock.local(now);
            if let Some(peer) = &mut self.peer {
                peer.close(local, out);
            }
            self.follow(now);
        }
        if patience <= now {
            self.leave(Stage::Done);
        }
    }

    fn meet(&mut self, now: Time, incident: Incident, out: &mut impl FnMut(&[u8])) {
        match incident {
            Incident::Rebind { host } => self.move_away(host),
            Incident::Restart { after, same_port } => {
                if !same_port {
                    self.move_away(false);
                }
                self.leave(Stage::Away { until: now + after });
            }
            Incident::Reconnect { after } => {
                let local = self.clock.local(now);
                if let Some(peer) = &mut self.peer {
                    self.goodbyes += 1;
                    peer.close(local, out);
                }
                self.leave(Stage::Away { until: now + after });
            }
            Incident::Clog { lasts } => {
                self.to_listener.clog(now + lasts);
                self.to_publisher.clog(now + lasts);
            }
        }
    }

    fn move_away(&mut self, host: bool) {
        let port = 10_000 + u16::try_from(self.random.below(50_000)).unwrap_or(0);
        self.address.set_port(port);
        if host && let IpAddr::V4(ip) = self.address.ip() {
            let [a, b, c, d] = ip.octets();
            self.address.set_ip(Ipv4Addr::new(a, b, c + 1, d).into());
        }
    }
}
