//! A conductor that is kept from its CPU while callers ask for what it refuses.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use memory::Time;
use penstock_engine::simulation::Simulated;
use shm::counters::WorkerCounter;
use srt::caller::{Caller, CallerConfig};
use srt::handshake::StreamId;
use srt::sequence::Sequence;

use crate::alone;

const START: Time = Time::from_nanos(1_000_000_000);
const CALLERS: u32 = 1_200;
/// More than a worker reports before the conductor looks.
const AT_A_TIME: usize = 400;

/// A caller that the listener has given a cookie, and its conclusion.
fn conclusion(engine: &mut Simulated, number: u32) -> Result<(SocketAddr, Vec<u8>)> {
    let host = Ipv4Addr::from(0x0a09_0000 + number);
    let address = SocketAddr::from((host, 5_000));
    let mut config = CallerConfig::live(1 + number, Sequence::new(number), host.into());
    config.stream_id = StreamId::new(b"live").context("a stream id")?;
    let mut caller = Caller::new(config, START);
    let mut said = Vec::new();
    caller.handle_timeout(START, &mut |bytes: &[u8]| said = bytes.to_vec());
    ensure!(engine.deliver(0, address, START, &said), "no room for an induction");
    let mut answer = Vec::new();
    engine.turn(START, |_, _, bytes| answer = bytes.to_vec());
    caller.handle_datagram(START, &answer, &mut |bytes: &[u8]| said = bytes.to_vec());
    Ok((address, said))
}

/// A worker that owes verdicts gives them back as there is room, and goes on.
#[test]
fn refusals_that_nobody_takes_back_end_no_worker() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut engine = alone::dataplane(directory.path(), START)?;
    let conclusions: Result<Vec<_>> =
        (0..CALLERS).map(|number| conclusion(&mut engine, number)).collect();
    let mut refused = 0;
    for batch in conclusions?.chunks(AT_A_TIME) {
        // While the worker carries out what the conductor answered to the last ones, more come.
        for (from, bytes) in batch {
            ensure!(engine.deliver(0, *from, START, bytes), "no room for a conclusion");
        }
        for _ in 0..20 {
            engine.cycle(START, |_, _, _| refused += 1);
        }
        engine.conduct(START);
    }
    engine.turn(START, |_, _, _| refused += 1);
    // The first caller has the name.
    let workers = engine.directory().workers();
    assert_eq!(workers[0].counter(WorkerCounter::Sessions), 1);
    ensure!(refused > 256, "{refused} answers: the rings were never full");
    Ok(())
}
