//! A publisher that stops sending and does not say goodbye.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memory::Time;
use penstock_engine::simulation::Simulated;
use shm::counters::StreamCounter;
use srt::caller::{Caller, CallerConfig, CallerState};
use srt::handshake::StreamId;
use srt::sender::Sender;
use srt::sequence::Sequence;
use tempfile::TempDir;

use crate::alone;
use crate::media::PAYLOAD_BYTES;

const START: Time = Time::from_nanos(1_000_000_000);
/// How old figures may be.
const FIGURES: Duration = Duration::from_millis(50);
const PACKETS: u64 = 10;

/// A publisher beside a dataplane that is as far from it as nothing.
struct Bench {
    engine: Simulated,
    sender: Sender,
    address: SocketAddr,
    now: Time,
    _directory: TempDir,
}

impl Bench {
    fn connected() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut engine = alone::dataplane(directory.path(), START)?;
        let host = Ipv4Addr::new(10, 0, 1, 0);
        let address = SocketAddr::from((host, 5_000));
        let mut config = CallerConfig::live(1, Sequence::new(1), host.into());
        config.stream_id = StreamId::new(b"live").context("a stream id")?;
        let mut caller = Caller::new(config, START);
        let mut said = Vec::new();
        caller.handle_timeout(START, &mut |bytes: &[u8]| said = bytes.to_vec());
        for _ in 0..2 {
            ensure!(engine.deliver(0, address, START, &said), "no room for a handshake");
            let mut answer = Vec::new();
            engine.turn(START, |_, _, bytes| answer = bytes.to_vec());
            caller.handle_datagram(START, &answer, &mut |bytes: &[u8]| said = bytes.to_vec());
        }
        let CallerState::Connected(connected) = caller.state() else {
            anyhow::bail!("the caller is {:?}", caller.state());
        };
        let mut sender = Sender::new(64, u16::try_from(PAYLOAD_BYTES)?);
        sender.open(&connected, START);
        Ok(Self { engine, sender, address, now: START, _directory: directory })
    }

    /// What either says goes to the other, until both have said it.
    fn turn(&mut self, now: Time) {
        self.now = now;
        let mut said = Vec::new();
        while let Some(run) = self.sender.next_run(now, 1) {
            said.push(run.bytes.to_vec());
        }
        loop {
            for bytes in said.drain(..) {
                assert!(self.engine.deliver(0, self.address, now, &bytes), "no room");
            }
            let mut answers = Vec::new();
            self.engine.turn(now, |_, _, bytes| answers.push(bytes.to_vec()));
            for answer in answers {
                self.sender.handle_datagram(now, &answer, &mut |it: &[u8]| said.push(it.to_vec()));
            }
            if said.is_empty() {
                break;
            }
        }
    }

    /// Turns when a timer of the workers wants it, and how often one did.
    fn rest_until(&mut self, end: Time) -> u32 {
        let mut turns = 0;
        loop {
            let at = self.engine.next_timer().max(self.now + Duration::from_nanos(1));
            if at > end {
                return turns;
            }
            turns += 1;
            self.turn(at);
        }
    }

    fn shown(&self, counter: StreamCounter) -> Result<u64> {
        let stream = self.engine.directory().stream("live").context("it is listed")?;
        Ok(stream.counter(counter))
    }
}

/// The last packets come just after the figures were shown, and their acknowledgement is soon
/// answered: nothing else wakes the worker before a keepalive.
#[test]
fn figures_of_a_publisher_that_falls_silent_are_shown_in_time_and_then_nothing_wakes() -> Result<()>
{
    let mut bench = Bench::connected()?;
    let first = START + Duration::from_millis(200);
    bench.rest_until(first);
    for number in 0..PACKETS {
        let now = first + Duration::from_micros(100 * number);
        assert!(bench.sender.push(now, PAYLOAD_BYTES, |place| place.fill(0)));
        bench.turn(now);
    }
    let last = bench.now;
    assert_eq!(bench.shown(StreamCounter::PacketsReceived)?, 1, "the others are yet to be shown");
    bench.rest_until(last + FIGURES);
    assert_eq!(bench.shown(StreamCounter::PacketsReceived)?, PACKETS);
    assert_eq!(bench.shown(StreamCounter::PacketsDelivered)?, PACKETS);
    assert_eq!(bench.sender.in_flight(), 0, "all of it was acknowledged");
    // Everything is shown: the wheel looks at most once on each of its levels.
    bench.rest_until(last + 2 * FIGURES);
    let turns = bench.rest_until(last + Duration::from_millis(900));
    assert!(turns <= 3, "{turns} turns for nothing");
    Ok(())
}
