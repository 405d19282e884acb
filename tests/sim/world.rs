//! One run: a dataplane, its publishers, and the paths between them, in virtual time.

use std::hash::{DefaultHasher, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use assert_no_alloc::assert_no_alloc;
use memory::Time;
use penstock_engine::simulation::{LISTENER, Simulated};
use shm::counters::StreamCounter;
use srt::packet::HEADER_BYTES;
use tempfile::TempDir;

use crate::air::{Air, Flight, To};
use crate::configuration;
use crate::hostile::Hostile;
use crate::link::renumber;
use crate::publisher::Publisher;
use crate::random::Random;
use crate::scenario::{FAULTS, LinkPlan, Loss, PERCENT, RECOVERY, Scenario};
use crate::secret;
use crate::stranger::Stranger;
use crate::watch::{self, Watch};

/// A machine that has run for a while.
const START: Time = Time::from_micros(1_000_000_000_000);
/// How often counters are compared and streams looked for.
const CHECK_EVERY: Duration = Duration::from_millis(50);
/// Time for goodbyes.
const GOODBYES: Duration = Duration::from_secs(5);
/// And for lost streams to be forgotten.
const AFTERMATH: Duration = Duration::from_secs(9);
/// Turns in a row that a timer may want without time passing.
const HASTY_MAX: u32 = 4;

/// What is broken on purpose, to see that it is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Sabotage {
    #[default]
    Nothing,
    /// A byte of every so-manieth payload is changed on the way, and nobody says so.
    Payload,
    /// No loss report reaches a publisher.
    LossReports,
    /// Everything is delivered to the publisher but nothing comes from it after the faults.
    Silence,
    /// The reader begins anew in the middle.
    Again,
    /// No key message reaches the listener after that of the handshake.
    KeyMessages,
    /// Publishers use other keys than those that they tell.
    OtherKeys,
    /// Publishers encrypt with another key than the second that they tell, and so each other one.
    OtherKeysLater,
    /// Nothing is encrypted, and somebody sends in a publisher's name.
    InClear,
}

/// What came of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) delivered: u64,
    pub(crate) skipped: u64,
    pub(crate) clean: u64,
    pub(crate) damaged: u64,
    pub(crate) connections: u64,
    /// Publishers by cipher; the first: of clear text.
    pub(crate) ciphers: [u64; 7],
    /// Of those that encrypt, the ones that were called.
    pub(crate) called_secured: u64,
    pub(crate) called: u64,
    pub(crate) key_refreshes: u64,
    pub(crate) undecryptable: u64,
    pub(crate) dropped_clear: u64,
    pub(crate) turns: u64,
    pub(crate) idle_turns: u64,
    pub(crate) datagrams: u64,
    pub(crate) digest: u64,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.skipped += other.skipped;
        self.clean += other.clean;
        self.damaged += other.damaged;
        self.connections += other.connections;
        self.called_secured += other.called_secured;
        self.called += other.called;
        self.key_refreshes += other.key_refreshes;
        self.undecryptable += other.undecryptable;
        self.dropped_clear += other.dropped_clear;
        for (sum, more) in self.ciphers.iter_mut().zip(other.ciphers) {
            *sum += more;
        }
        self.turns += other.turns;
        self.idle_turns += other.idle_turns;
        self.datagrams += other.datagrams;
        self.digest ^= other.digest;
    }
}

pub(crate) struct World {
    scenario: Scenario,
    sabotage: Sabotage,
    now: Time,
    engine: Simulated,
    engine_at: Time,
    check_at: Time,
    publishers: Vec<Publisher>,
    watches: Vec<Watch>,
    hostile: Hostile,
    /// By publisher, while it still had a stream: packets delivered and given up.
    tallies: Vec<(u64, u64)>,
    air: Air,
    random: Random,
    healed: bool,
    fed: bool,
    /// Turns in a row that nothing but a timer wanted, at once.
    hasty: u32,
    outcome: Outcome,
    /// Holds the conductor's socket.
    _directory: TempDir,
}

fn watched(turn: &mut dyn FnMut()) {
    assert_no_alloc(turn);
}

impl World {
    fn new(scenario: &Scenario, sabotage: Sabotage) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut random = Random::new(scenario.seed);
        let mut scenario = scenario.clone();
        if sabotage == Sabotage::InClear {
            scenario.publishers.iter_mut().for_each(|plan| plan.secret = None);
        }
        let scenario = &scenario;
        let config = configuration::of(scenario, &directory)?;
        let mut key = [0; 16];
        key[..8].copy_from_slice(&random.draw().to_ne_bytes());
        let engine = Simulated::start(&config, key, START, watched)?;
        let mut publishers: Vec<_> = (0..)
            .zip(&scenario.publishers)
            .map(|(index, plan)| Publisher::new(index, plan, START, &mut random))
            .collect();
        if sabotage == Sabotage::OtherKeys {
            publishers.iter_mut().for_each(Publisher::betray);
        }
        Ok(Self {
            sabotage,
            now: START,
            engine,
            engine_at: START,
            check_at: START,
            watches: publishers.iter().map(|_| Watch::default()).collect(),
            publishers,
            hostile: Hostile::new(scenario.hostile_per_s, START, random.fork()),
            tallies: Vec::new(),
            air: Air::default(),
            random,
            healed: false,
            fed: false,
            hasty: 0,
            outcome: Outcome::default(),
            scenario: scenario.clone(),
            _directory: directory,
        })
    }

    fn run(mut self) -> Result<Outcome> {
        self.run_until(START + FAULTS)?;
        self.heal();
        self.run_until(START + FAULTS + RECOVERY)?;
        self.is_live()?;
        self.tally();
        self.is_recovered()?;
        self.is_rekeyed()?;
        for publisher in &mut self.publishers {
            publisher.finish(self.now);
        }
        self.run_until(START + FAULTS + RECOVERY + GOODBYES)?;
        self.forget_called();
        self.run_until(START + FAULTS + RECOVERY + AFTERMATH)?;
        self.is_at_rest()?;
        self.is_complete()?;
        self.engine.stop(self.now, |_, _, _| {});
        for worker in 0..self.engine.workers() {
            let (free, all) = self.engine.slots(worker);
            ensure!(free == all, "{} slots of worker {worker} leaked", all - free);
        }
        let mut hasher = DefaultHasher::new();
        self.watches.iter().for_each(|watch| watch.digest(&mut hasher));
        self.outcome.digest = hasher.finish();
        Ok(self.outcome)
    }

    // ---- the loop ----

    fn run_until(&mut self, end: Time) -> Result<()> {
        loop {
            let publishers = self.publishers.iter().map(Publisher::next_time);
            let next = publishers.min().unwrap_or(Time::NEVER);
            let strangers = self.publishers.iter().filter_map(|it| it.stranger.as_ref());
            let strangers = strangers.map(Stranger::next_time).min().unwrap_or(Time::NEVER);
            let next = next.min(strangers);
            let next = next.min(self.air.next_time()).min(self.hostile.next_time());
            let next = next.min(self.engine_at).min(self.check_at);
            if next > end {
                self.now = end;
                return Ok(());
            }
            self.now = self.now.max(next);
            self.land();
            self.publish();
            if self.hostile.next_time() <= self.now {
                let (from, bytes) = self.hostile.turn(self.now);
                self.deliver(from, &bytes);
            }
            self.impersonate();
            if self.engine_at <= self.now {
                self.turn()?;
            }
            if self.check_at <= self.now {
                self.check()?;
            }
        }
    }

    /// Hands over what arrives now.
    fn land(&mut self) {
        while let Some(Flight { to, bytes, .. }) = self.air.land(self.now) {
            match to {
                To::Engine { from, port: LISTENER } => {
                    self.deliver(from, &bytes);
                    self.hostile.overheard = bytes;
                }
                To::Engine { from, port } => self.deliver_to(port, from, &bytes),
                To::Publisher { index, port } => self.at_publisher(index, port, &bytes),
            }
        }
    }

    fn deliver(&mut self, from: SocketAddr, bytes: &[u8]) {
        let workers = self.engine.workers();
        let mut worker = self.engine.steer(from, bytes);
        if self.random.chance(self.scenario.misdirected_ppm) {
            worker = (worker + 1) % workers;
        }
        self.outcome.datagrams += 1;
        self.fed = true;
        self.engine.deliver(worker, from, self.now, bytes);
        self.engine_at = self.engine_at.min(self.at_cycle(self.now));
    }

    /// Hands over to what the engine calls from; when that is closed nobody is there.
    fn deliver_to(&mut self, port: u16, from: SocketAddr, bytes: &[u8]) {
        self.outcome.datagrams += 1;
        if self.engine.deliver_to(port, from, self.now, bytes) {
            self.fed = true;
            self.engine_at = self.engine_at.min(self.at_cycle(self.now));
        }
    }

    fn at_publisher(&mut self, index: usize, port: u16, bytes: &[u8]) {
        let (now, sabotage, healed) = (self.now, self.sabotage, self.healed);
        let publisher = &mut self.publishers[index];
        let mut out = Vec::new();
        publisher.receive(now, port, bytes, &mut |bytes: &[u8]| out.push(bytes.to_vec()));
        send(publisher, port, &mut self.air, out, (now, healed), sabotage);
    }

    fn publish(&mut self) {
        let (now, sabotage, healed) = (self.now, self.sabotage, self.healed);
        for publisher in &mut self.publishers {
            if publisher.next_time() > now {
                continue;
            }
            let mut out = Vec::new();
            let port = publisher.port();
            publisher.turn(now, &mut |bytes: &[u8]| out.push(bytes.to_vec()));
            send(publisher, port, &mut self.air, out, (now, healed), sabotage);
        }
    }

    /// Lets strangers send in the name of publishers.
    fn impersonate(&mut self) {
        for index in 0..self.publishers.len() {
            let publisher = &mut self.publishers[index];
            let (from, port) = (publisher.address, publisher.port());
            let stranger = publisher.stranger.as_mut();
            let stranger = stranger.filter(|stranger| stranger.next_time() <= self.now);
            match stranger.and_then(|stranger| stranger.turn(self.now)) {
                Some(bytes) if port == LISTENER => self.deliver(from, &bytes),
                Some(bytes) => self.deliver_to(port, from, &bytes),
                None => {}
            }
        }
    }

    /// When a worker that may batch looks at what happens at `at`.
    fn at_cycle(&self, at: Time) -> Time {
        let cycle = u64::try_from(self.scenario.cycle.as_nanos()).unwrap_or(0);
        if cycle == 0 || at == Time::NEVER {
            return at;
        }
        Time::from_nanos(at.nanos().next_multiple_of(cycle))
    }

    fn turn(&mut self) -> Result<()> {
        let (now, sabotage) = (self.now, self.sabotage);
        let Self { engine, publishers, air, hostile, .. } = self;
        engine.turn(now, |port, to, bytes| {
            let found = publishers.iter_mut().enumerate().find(|(_, it)| it.address == to);
            let Some((index, publisher)) = found else {
                hostile.bytes_answered += if Hostile::is_at(to) { bytes.len() as u64 } else { 0 };
                return;
            };
            let is_loss_report = bytes.starts_with(&[0x80, 3]);
            if is_loss_report && sabotage == Sabotage::LossReports {
                return;
            }
            publisher.to_publisher.send(now, bytes, |at, copy| {
                air.send(at, To::Publisher { index, port }, copy);
            });
        });
        self.outcome.turns += 1;
        let fed = std::mem::take(&mut self.fed);
        self.outcome.idle_turns += u64::from(!fed);
        // A timer set while it is handled may be due at once, but not again and again.
        let next = self.engine.next_turn();
        self.hasty = if fed || next > now { 0 } else { self.hasty + 1 };
        ensure!(self.hasty < HASTY_MAX, "timers do not come to rest at {now:?}");
        self.engine_at = self.at_cycle(next.max(now + Duration::from_nanos(1)));
        for (watch, publisher) in self.watches.iter_mut().zip(&self.publishers) {
            watch.read(publisher)?;
        }
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        self.check_at = self.now + CHECK_EVERY;
        for (watch, publisher) in self.watches.iter_mut().zip(&self.publishers) {
            watch.attach(&self.engine, publisher);
        }
        if self.sabotage == Sabotage::Again && self.healed {
            self.watches.iter_mut().for_each(Watch::rewind);
        }
        let Hostile { bytes_sent, bytes_answered, .. } = self.hostile;
        ensure!(bytes_answered <= bytes_sent, "{bytes_answered} bytes answer {bytes_sent}");
        watch::conserved(self.engine.directory())
    }

    /// Has nobody called any more.
    fn forget_called(&mut self) {
        for publisher in self.publishers.iter().filter(|publisher| publisher.plan.called) {
            self.engine.forget_source(&publisher.id);
        }
        self.engine_at = self.now;
    }

    fn heal(&mut self) {
        self.healed = true;
        self.hostile.stop();
        self.publishers.iter_mut().for_each(Publisher::heal);
    }

    // ---- what must hold in the end ----

    /// Some time after the faults, every publisher delivers what it sends.
    fn is_live(&self) -> Result<()> {
        let healed_ns = (START + FAULTS).nanos();
        for (watch, publisher) in self.watches.iter().zip(&self.publishers) {
            let made = |number: u32| {
                let found = publisher.produced.iter().rev().find(|(it, _)| *it == number);
                found.is_some_and(|(_, at)| at.nanos() >= healed_ns)
            };
            ensure!(
                watch.clean.iter().rev().any(|(number, _)| made(*number)),
                "{} delivers nothing {RECOVERY:?} after the faults: {} clean and {} damaged frames of \
                 {} before, {}; {}",
                publisher.id,
                watch.clean.len(),
                watch.damaged,
                publisher.produced.len(),
                publisher.condition(),
                watch::figures(self.engine.directory(), &publisher.id)
            );
        }
        Ok(())
    }

    /// Nobody publishes: no timer may be on, no slot be held, no stream be listed.
    fn is_at_rest(&mut self) -> Result<()> {
        for publisher in &self.publishers {
            ensure!(publisher.is_done(), "{} did not come to its end", publisher.id);
        }
        let timer = self.engine.next_timer();
        ensure!(timer == Time::NEVER, "a timer is on with nothing to time: {timer:?}");
        let streams = self.engine.directory().streams();
        ensure!(streams.is_empty(), "streams outlive their grace: {streams:?}");
        Ok(())
    }

    /// Takes the figures of all streams while they are listed.
    fn tally(&mut self) {
        for publisher in &self.publishers {
            debug_assert_eq!(publisher.packets_refused, 0, "the sender's buffer is too small");
            let stream = self.engine.directory().stream(&publisher.id);
            let count = |counter| stream.as_ref().map_or(0, |it| it.counter(counter));
            let skipped = count(StreamCounter::PacketsSkippedTooLate)
                + count(StreamCounter::PacketsSkippedBySender);
            self.tallies.push((count(StreamCounter::PacketsDelivered), skipped));
            self.outcome.delivered += count(StreamCounter::PacketsDelivered);
            self.outcome.skipped += skipped;
            self.outcome.connections += u64::from(publisher.connections);
            self.outcome.ciphers[secret::index(publisher.plan.secret.as_ref())] += 1;
            let (called, secured) = (publisher.plan.called, publisher.plan.secret.is_some());
            self.outcome.called += u64::from(called);
            self.outcome.called_secured += u64::from(called && secured);
            self.outcome.key_refreshes += count(StreamCounter::KeyRefreshes);
            self.outcome.undecryptable += count(StreamCounter::PacketsUndecryptable);
            self.outcome.dropped_clear += count(StreamCounter::PacketsDroppedClear);
        }
    }

    /// What the path allowed to be recovered was recovered.
    fn is_recovered(&self) -> Result<()> {
        for (index, plan) in self.scenario.publishers.iter().enumerate() {
            let (delivered, skipped) = self.tallies[index];
            let enough = (plan.link.rtt_max() * 4).max(LATENCY_MIN) + 2 * self.scenario.cycle;
            let calm = plan.incidents.is_empty() && !plan.link.changes_bytes();
            if !calm || self.scenario.negotiated(plan) < enough {
                continue;
            }
            let allowed = lost_for_good_max(&plan.link, delivered);
            ensure!(
                skipped <= allowed,
                "{skipped} packets of {delivered} were not recovered; allowed are {allowed}: {}",
                watch::figures(self.engine.directory(), &self.publishers[index].id)
            );
        }
        Ok(())
    }

    /// Keys were changed as often as packets came for it, both sides know of the same changes, and
    /// without a fault each packet could be read.
    fn is_rekeyed(&self) -> Result<()> {
        for publisher in &self.publishers {
            let (id, plan) = (&publisher.id, &publisher.plan);
            let Some(stream) = self.engine.directory().stream(id) else { continue };
            let count = |counter| stream.counter(counter);
            let calm = plan.incidents.is_empty() && !publisher.was_changed();
            let quiet = calm && publisher.stranger.is_none();
            for (counter, innocent) in [
                (StreamCounter::PacketsUndecryptable, calm && !publisher.is_authenticated()),
                (StreamCounter::PacketsUndecryptable, quiet),
                (StreamCounter::PacketsDroppedClear, quiet),
                (StreamCounter::KeyFailures, quiet),
            ] {
                let found = count(counter);
                ensure!(found == 0 || !innocent, "{id}: {} {found}", counter.label());
            }
            if plan.secret.is_none() {
                continue;
            }
            let refreshes = count(StreamCounter::KeyRefreshes);
            let connected = self.now.since(publisher.connected_at);
            let due = connected.as_secs() / REFRESHED_WITHIN.as_secs();
            let figures = || watch::figures(self.engine.directory(), id);
            // The last one is not yet shown, perhaps.
            let confirmed = publisher.keys_confirmed();
            ensure!(
                refreshes >= due.max(confirmed.saturating_sub(1)),
                "{id}: {refreshes} changes of keys in {connected:?} of which it heard {confirmed}: {}",
                figures()
            );
        }
        Ok(())
    }

    /// Where every packet came, every unit is there, whole and once.
    fn is_complete(&mut self) -> Result<()> {
        for (index, plan) in self.scenario.publishers.iter().enumerate() {
            let (watch, publisher) = (&self.watches[index], &self.publishers[index]);
            self.outcome.clean += watch.clean.len() as u64;
            self.outcome.damaged += watch.damaged;
            let calm = plan.incidents.is_empty() && !plan.link.changes_bytes();
            if calm && self.tallies[index].1 == 0 {
                let (made, clean) = (publisher.produced.len(), watch.clean.len());
                ensure!(made == clean, "{}: {clean} clean frames of {made}", publisher.id);
            }
        }
        Ok(())
    }
}

/// The next key is announced within 3 s and used within another, whatever the path does in between.
const REFRESHED_WITHIN: Duration = Duration::from_secs(6);

/// With less there is no time for a second attempt, however short the round trip: loss reports are
/// repeated each 20 ms.
const LATENCY_MIN: Duration = Duration::from_millis(120);

/// Packets that may stay lost on a path with latency enough: none up to 1 % of independent losses,
/// a thousandth up to 10 %, any number above. A burst takes the reports that would undo it along,
/// and on a sparse path outlasts the latency: there it is a thirtieth.
fn lost_for_good_max(link: &LinkPlan, delivered: u64) -> u64 {
    match (link.loss, link.lost_ppm()) {
        (Loss::None | Loss::Uniform { .. }, 0..=PERCENT) => 0,
        (Loss::Bursts { .. }, lost) if lost <= 10 * PERCENT => delivered / 30,
        (_, lost) if lost <= 10 * PERCENT => delivered / 1_000,
        _ => u64::MAX,
    }
}

/// The key of a data packet (3.1), in its fifth byte.
const KK: u8 = 0b1_1000;
const KK_ODD: u8 = 0b1_0000;

/// Puts what a publisher sends on its path.
fn send(
    publisher: &mut Publisher,
    port: u16,
    air: &mut Air,
    packets: Vec<Vec<u8>>,
    (now, healed): (Time, bool),
    sabotage: Sabotage,
) {
    let from = publisher.address;
    for mut bytes in packets {
        renumber(&mut bytes, publisher.plan.message_offset);
        match sabotage {
            Sabotage::Silence if healed => continue,
            // Whatever the true key makes of it, it is not what was sent.
            Sabotage::OtherKeysLater if bytes[0] & 0x80 == 0 && bytes[4] & KK == KK_ODD => {
                bytes.iter_mut().skip(HEADER_BYTES).for_each(|byte| *byte = !*byte);
            }
            Sabotage::KeyMessages if bytes.starts_with(&[0xff, 0xff]) => continue,
            Sabotage::Payload if bytes.len() > 400 && bytes[7].is_multiple_of(64) => {
                bytes[300] ^= 1
            }
            _ => {}
        }
        if let Some(stranger) = &mut publisher.stranger {
            stranger.overhear(now, &bytes);
        }
        publisher.to_listener.send(now, &bytes, |at, copy| {
            air.send(at, To::Engine { from, port }, copy);
        });
    }
}

/// Runs a scenario to its end.
pub(crate) fn run(scenario: &Scenario, sabotage: Sabotage) -> Result<Outcome> {
    World::new(scenario, sabotage)?.run()
}
