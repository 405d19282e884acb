//! What a seed stands for. Everything is drawn here, and shown whole when a run fails.

use std::time::Duration;

use srt::crypto::{Mode, Suite};
use srt::sequence::Sequence;

use crate::media::PAYLOAD_BYTES;
use crate::peer::Maker;
use crate::random::Random;
use crate::secret::Secret;

/// Loss and corruption are given in parts of a million.
pub(crate) const PERCENT: u32 = 10_000;
/// The time in which faults happen.
pub(crate) const FAULTS: Duration = Duration::from_secs(13);
/// After the faults everything must be well again within this time.
pub(crate) const RECOVERY: Duration = Duration::from_secs(5);
/// Peers are restarted and addresses change early enough for the silence to be noticed by both
/// sides (5 s) before the faults stop.
const INCIDENTS: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    None,
    Uniform {
        ppm: u32,
    },
    /// Gilbert and Elliott: in the bad state everything is lost.
    Bursts {
        ppm: u32,
        mean_packets: u32,
    },
}

impl Loss {
    pub(crate) const fn ppm(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Uniform { ppm } | Self::Bursts { ppm, .. } => ppm,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Corruption {
    None,
    /// The receiver's UDP checksum finds it: the datagram is lost.
    Caught {
        ppm: u32,
    },
    /// Nobody finds it: bits are flipped anywhere in the datagram.
    Unseen {
        ppm: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkPlan {
    pub(crate) rtt: Duration,
    pub(crate) loss: Loss,
    pub(crate) reorder_ppm: u32,
    pub(crate) reorder_delay: Duration,
    pub(crate) duplicate_ppm: u32,
    pub(crate) corruption: Corruption,
}

/// Something that happens to a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Incident {
    /// Its packets come from another port, or another host.
    Rebind { host: bool },
    /// It dies without a word and is back after a while, from the same port or another.
    Restart { after: Duration, same_port: bool },
    /// It says goodbye and comes back.
    Reconnect { after: Duration },
    /// Nothing passes in either direction.
    Clog { lasts: Duration },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublisherPlan {
    pub(crate) maker: Maker,
    /// It listens, and the engine calls it.
    pub(crate) called: bool,
    /// With none it sends clear text.
    pub(crate) secret: Option<Secret>,
    /// Datagrams per virtual second that somebody sends in its name who knows no secret.
    pub(crate) stranger_per_s: u32,
    pub(crate) link: LinkPlan,
    /// Media: units between keys, bytes of a key unit and of others.
    pub(crate) gop: u32,
    pub(crate) key_bytes: usize,
    pub(crate) other_bytes: usize,
    /// A unit's packets leave at once, not spread over its time.
    pub(crate) bursts: bool,
    /// The latency that it asks for.
    pub(crate) latency: Duration,
    pub(crate) drift_ppm: i32,
    pub(crate) first_sequence: u32,
    /// What its SRT clock shows when it connects.
    pub(crate) clock_age: Duration,
    /// What is added to its message numbers on the wire.
    pub(crate) message_offset: u32,
    /// PTS of unit 0.
    pub(crate) first_pts: u64,
    pub(crate) starts: Duration,
    pub(crate) incidents: Vec<(Duration, Incident)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) workers: u16,
    /// A worker looks at what came in at most this much later.
    pub(crate) cycle: Duration,
    /// Handshakes and data that the kernel gives to the wrong worker.
    pub(crate) misdirected_ppm: u32,
    pub(crate) latency: Duration,
    pub(crate) reorder_tolerance: u32,
    pub(crate) publishers: Vec<PublisherPlan>,
    /// Forged, replayed and senseless datagrams per virtual second.
    pub(crate) hostile_per_s: u32,
}

impl Scenario {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x70656e73746f636b);
        let workers = random.of(&[1, 1, 2]);
        let publishers = random.of(&[1, 1, 1, 2, 3]);
        let latency = Duration::from_millis(random.of(&[20, 120, 120, 300, 1_000]));
        let publishers: Vec<_> =
            (0..publishers).map(|_| PublisherPlan::draw(&mut random)).collect();
        let mut secrets = Random::new(seed ^ 0x7365_6372_6574_7300);
        let publishers: Vec<_> =
            publishers.into_iter().map(|plan| plan.draw_secret(&mut secrets)).collect();
        let mut calls = Random::new(seed ^ 0x6361_6c6c_7300_0000);
        let publishers: Vec<_> =
            publishers.into_iter().map(|plan| plan.draw_called(&mut calls)).collect();
        // Slots are taken for the configured latency, and no caller shall be refused for want of
        // them: that is tested elsewhere.
        let asked = publishers.iter().map(|it| it.latency).max().unwrap_or_default();
        Self {
            seed,
            workers,
            cycle: Duration::from_micros(random.of(&[0, 200, 500, 2_000, 15_000])),
            misdirected_ppm: if workers > 1 { random.of(&[0, 0, 10 * PERCENT / 10]) } else { 0 },
            latency: latency.max(if workers > 1 { asked } else { asked * 2 / 3 }),
            reorder_tolerance: random.of(&[0, 0, 0, 3, 20]),
            publishers,
            hostile_per_s: random.of(&[0, 0, 0, 50, 500]),
        }
    }

    /// One publisher on a path with a little loss, and nothing else.
    pub(crate) fn plain() -> Self {
        let mut random = Random::new(1);
        let link = LinkPlan {
            loss: Loss::Uniform { ppm: PERCENT },
            ..LinkPlan::clean(Duration::from_millis(20))
        };
        let publisher = PublisherPlan {
            maker: Maker::Own,
            link,
            latency: Duration::from_millis(200),
            incidents: Vec::new(),
            ..PublisherPlan::draw(&mut random)
        };
        Self {
            seed: 1,
            workers: 1,
            cycle: Duration::from_micros(500),
            misdirected_ppm: 0,
            latency: Duration::from_millis(200),
            reorder_tolerance: 0,
            publishers: vec![publisher],
            hostile_per_s: 0,
        }
    }

    /// The same, encrypted, with somebody on the path.
    pub(crate) fn secured(suite: Suite) -> Self {
        let mut scenario = Self::plain();
        for publisher in &mut scenario.publishers {
            publisher.secure(Secret::new(suite, publisher.packets_per_s(), 700, 1));
            publisher.stranger_per_s = 100;
        }
        scenario
    }

    /// The same, called.
    pub(crate) fn called(mut self) -> Self {
        self.publishers.iter_mut().for_each(PublisherPlan::be_called);
        self
    }

    /// The latency that a publisher's packets are delivered with.
    pub(crate) fn negotiated(&self, publisher: &PublisherPlan) -> Duration {
        self.latency.max(publisher.latency)
    }
}

impl PublisherPlan {
    fn draw(random: &mut Random) -> Self {
        let link = LinkPlan::draw(random);
        let quarters = random.of(&[4, 10, 16, 16, 16, 32]); // of the round trip
        let latency = (link.rtt * quarters / 4).min(Duration::from_millis(1_700));
        let bits_per_s = random.of(&[200_000, 500_000, 1_000_000, 3_000_000]);
        let unit = bits_per_s / 8 / 25;
        let gop = random.of(&[1, 5, 12, 25]);
        let mut incidents = Vec::new();
        for _ in 0..random.of(&[0, 0, 0, 1, 1, 2]) {
            let at = Duration::from_millis(random.between(1_000, 4_999));
            incidents.push((at, Incident::draw(random)));
        }
        incidents.sort_by_key(|(at, _)| *at);
        debug_assert!(incidents.iter().all(|(at, _)| *at < INCIDENTS));
        // Bytes changed on the way make srt-protocol panic: it is spared them.
        let makers: &[Maker] = match link.corruption {
            Corruption::Unseen { .. } => &[Maker::Own],
            _ => &[Maker::Own, Maker::Own, Maker::SrtProtocol],
        };
        Self {
            maker: random.of(makers),
            called: false,
            secret: None,
            stranger_per_s: 0,
            link,
            gop,
            key_bytes: if gop > 1 { unit * random.of(&[1, 3, 6]) } else { unit },
            other_bytes: unit,
            bursts: random.chance(50 * PERCENT),
            latency,
            drift_ppm: random.of(&[0, 0, -500, 500, -50, 50, 200, -300]),
            first_sequence: near_a_wrap(random, Sequence::MASK),
            clock_age: clock_age(random),
            message_offset: near_a_wrap(random, (1 << 26) - 1),
            first_pts: random.of(&[900_000, (1 << 33) - 450_000, (1 << 33) - 20_000]),
            starts: random.millis(0, 700),
            incidents,
        }
    }

    /// Encrypts or not: of another generator, so that the rest of a scenario stays what it is.
    fn draw_secret(mut self, random: &mut Random) -> Self {
        let secret = Secret::draw(random, self.packets_per_s());
        let stranger_per_s = random.of(&[0, 0, 0, 20, 200]);
        if let Some(mut secret) = secret {
            if self.maker == Maker::SrtProtocol {
                // It has no other.
                secret.suite.mode = Mode::Ctr;
            }
            self.secure(secret);
            self.stranger_per_s = stranger_per_s;
        }
        self
    }

    /// Has it called or lets it call: of another generator too.
    fn draw_called(mut self, random: &mut Random) -> Self {
        let called = random.chance(25 * PERCENT);
        if called && self.maker == Maker::Own {
            self.be_called();
        }
        self
    }

    /// Who is called stays where he is.
    fn be_called(&mut self) {
        self.called = true;
        for (_, incident) in &mut self.incidents {
            *incident = match *incident {
                Incident::Rebind { .. } => Incident::Clog { lasts: Duration::from_secs(2) },
                Incident::Restart { after, .. } => Incident::Restart { after, same_port: true },
                other => other,
            };
        }
    }

    fn secure(&mut self, secret: Secret) {
        self.secret = Some(secret);
        if secret.is_authenticated() {
            // It is done on the wire, and the tag covers them.
            self.message_offset = 0;
        }
    }

    /// About how many datagrams it sends.
    fn packets_per_s(&self) -> u64 {
        const UNITS_PER_S: usize = 25;
        /// PES header, access unit delimiter and the like, and half a packet of stuffing.
        const UNIT_OVERHEAD: usize = 184;
        let gop = usize::try_from(self.gop).unwrap_or(1);
        let bytes = self.key_bytes + (gop - 1) * self.other_bytes + gop * UNIT_OVERHEAD;
        let media = bytes * UNITS_PER_S / gop * 188 / 184;
        (media / PAYLOAD_BYTES).max(1) as u64
    }
}

/// 0, the middle, or a little before the highest value.
fn near_a_wrap(random: &mut Random, mask: u32) -> u32 {
    let little = random.below_u32(1_500);
    match random.below(4) {
        0 => little,
        1 => mask / 2 - little,
        2 => mask,
        _ => mask - little,
    }
}

/// A new clock, or one that wraps within seconds (32 bits of microseconds).
fn clock_age(random: &mut Random) -> Duration {
    let wrap = Duration::from_micros(1 << 32);
    match random.below(4) {
        0 => Duration::ZERO,
        1 => wrap - random.millis(0, 40),
        2 => wrap - random.millis(0, 20_000),
        _ => wrap - Duration::from_secs(30) - random.millis(0, 10_000),
    }
}

impl LinkPlan {
    fn draw(random: &mut Random) -> Self {
        let ppm = PERCENT / 10 * random.of(&[1, 5, 10, 10, 20, 50, 100, 200, 300]);
        let loss = match random.below(4) {
            0 => Loss::None,
            1 | 2 => Loss::Uniform { ppm },
            _ => Loss::Bursts { ppm, mean_packets: random.of(&[3, 10]) },
        };
        let corruption = match random.below(6) {
            0 => Corruption::Caught { ppm: random.of(&[100, PERCENT / 2, 2 * PERCENT]) },
            1 => Corruption::Unseen { ppm: random.of(&[100, PERCENT / 2, 2 * PERCENT]) },
            _ => Corruption::None,
        };
        Self {
            rtt: Duration::from_millis(random.of(&[0, 1, 5, 20, 20, 60, 100, 150, 300, 400])),
            loss,
            reorder_ppm: random.of(&[0, 0, PERCENT / 10, PERCENT, 10 * PERCENT]),
            reorder_delay: Duration::from_millis(random.of(&[1, 5, 20])),
            duplicate_ppm: random.of(&[0, 0, PERCENT, 10 * PERCENT, 50 * PERCENT]),
            corruption,
        }
    }

    /// A link that does nothing but take its time.
    pub(crate) const fn clean(rtt: Duration) -> Self {
        Self {
            rtt,
            loss: Loss::None,
            reorder_ppm: 0,
            reorder_delay: Duration::ZERO,
            duplicate_ppm: 0,
            corruption: Corruption::None,
        }
    }

    /// Datagrams that do not arrive, in parts of a million.
    pub(crate) const fn lost_ppm(&self) -> u32 {
        let caught = match self.corruption {
            Corruption::Caught { ppm } => ppm,
            _ => 0,
        };
        self.loss.ppm() + caught
    }

    /// The longest round trip.
    pub(crate) fn rtt_max(&self) -> Duration {
        let reordered = self.reorder_ppm > 0;
        self.rtt + if reordered { 2 * self.reorder_delay } else { Duration::ZERO }
    }

    pub(crate) const fn changes_bytes(&self) -> bool {
        matches!(self.corruption, Corruption::Unseen { .. })
    }
}

impl Incident {
    fn draw(random: &mut Random) -> Self {
        match random.below(5) {
            0 => Self::Rebind { host: random.chance(20 * PERCENT) },
            1 | 2 => Self::Restart {
                after: random.millis(0, 1_500),
                same_port: random.chance(50 * PERCENT),
            },
            3 => Self::Reconnect { after: random.millis(0, 500) },
            _ => Self::Clog { lasts: random.millis(50, 4_000) },
        }
    }
}
