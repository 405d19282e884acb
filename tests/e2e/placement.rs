//! One port, several workers: where connections go, and that their packets find them.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::process::eventually;
use penstock_tests::publisher::Publisher;
use penstock_tests::raw::{RawCaller, hello, message};
use penstock_tests::system::{Options, PATIENCE, Penstock};
use shm::counters::{ConductorCounter, StreamCounter, WorkerCounter};

fn two_workers() -> Options {
    Options { workers: "[0, 1]".into(), ..Options::default() }
}

/// One counter of every worker.
fn by_worker(system: &Penstock, counter: WorkerCounter) -> Result<Vec<u64>> {
    Ok(system.directory()?.workers().iter().map(|worker| worker.counter(counter)).collect())
}

fn sum(system: &Penstock, counter: WorkerCounter) -> Result<u64> {
    Ok(by_worker(system, counter)?.iter().sum())
}

/// So many publishers at once, each sending the clip's first second; how many sat on each worker.
fn publish(
    system: &Penstock,
    to: SocketAddr,
    prefix: &str,
    count: u32,
    clip: &Clip,
) -> Result<BTreeMap<u64, u32>> {
    let part = clip.bytes.len() / 5;
    let sent = clip.bytes[..part].chunks(1_316).count() as u64;
    let mut publishers = (0..count)
        .map(|number| Publisher::connect(to, &format!("{prefix}/{number}"), number + 1))
        .collect::<Result<Vec<_>>>()?;
    for payload in clip.bytes[..part].chunks(1_316) {
        for publisher in &mut publishers {
            publisher.send(payload)?;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let mut workers = BTreeMap::new();
    for (number, publisher) in publishers.iter_mut().enumerate() {
        publisher.drain()?;
        let id = format!("{prefix}/{number}");
        let stream = system.wait_stream(&id, "all packets", |stream| {
            stream["counters"]["packets_unique"].as_u64() == Some(sent)
        })?;
        let worker = stream["worker"].as_u64().context("a worker")?;
        *workers.entry(worker).or_default() += 1;
    }
    publishers.into_iter().try_for_each(Publisher::close)?;
    Ok(workers)
}

#[test]
fn connections_spread_over_both_workers_and_every_packet_reaches_its_owner() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let system = Penstock::start(&two_workers())?;
    let workers = publish(&system, system.srt_address(), "cam", 8, &clip)?;
    assert_eq!(workers, BTreeMap::from([(0, 4), (1, 4)]), "streams by worker");
    let datagrams = by_worker(&system, WorkerCounter::DatagramsToSessions)?;
    ensure!(datagrams.iter().all(|count| *count > 100), "datagrams by worker: {datagrams:?}");
    for counter in
        [WorkerCounter::HandedOver, WorkerCounter::TakenOver, WorkerCounter::DroppedHandover]
    {
        assert_eq!(by_worker(&system, counter)?, [0, 0], "{}", counter.label());
    }
    system.stop()
}

#[test]
fn a_repeated_conclusion_gets_the_same_answer_from_the_worker_that_took_it() -> Result<()> {
    let system = Penstock::start(&two_workers())?;
    for number in 1..=6 {
        let conclusions = by_worker(&system, WorkerCounter::Conclusions)?;
        let repeated = by_worker(&system, WorkerCounter::AnswersRepeated)?;
        let caller = RawCaller::new(system.srt_address(), number)?;
        let conclusion = caller.conclusion(caller.cookie()?);
        let conclusion = message(&conclusion, &hello(120, &format!("cam{number}")));
        let first = caller.ask(&conclusion)?;
        for _ in 0..3 {
            caller.send(&conclusion)?;
            // The connection's own packets (keepalives) may come between.
            let again = eventually("the answer again", PATIENCE, || {
                Ok(caller.receive().filter(|packet| packet.len() == first.len()))
            })?;
            assert_eq!(again, first, "answers of caller {number}");
        }
        let grown = |counter, before: &[u64]| -> Result<Vec<u64>> {
            Ok(by_worker(&system, counter)?.iter().zip(before).map(|(a, b)| a - b).collect())
        };
        eventually("the counters", PATIENCE, || {
            let repeated = grown(WorkerCounter::AnswersRepeated, &repeated)?;
            Ok((repeated.iter().sum::<u64>() >= 3).then_some(()))
        })?;
        let took = grown(WorkerCounter::Conclusions, &conclusions)?;
        let repeated = grown(WorkerCounter::AnswersRepeated, &repeated)?;
        for (took, repeated) in took.iter().zip(&repeated) {
            ensure!(
                (*took == 0) == (*repeated == 0) && repeated <= took,
                "conclusions by worker {took:?}, repeated answers {repeated:?}"
            );
        }
        ensure!(took.contains(&0), "one caller's conclusions reached both workers: {took:?}");
    }
    let directory = system.directory()?;
    assert_eq!(directory.conductor().counter(ConductorCounter::Accepted), 6);
    assert_eq!(directory.streams().len(), 6);
    system.stop()
}

#[test]
fn datagrams_shorter_than_a_header_are_counted_and_dropped() -> Result<()> {
    let system = Penstock::start(&two_workers())?;
    let sockets = (0..8)
        .map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(system.srt_address())?;
            Ok(socket)
        })
        .collect::<Result<Vec<_>>>()?;
    for socket in &sockets {
        for len in 1..16 {
            socket.send(&[0; 16][..len])?;
        }
    }
    eventually("all are counted", PATIENCE, || {
        Ok((sum(&system, WorkerCounter::DroppedShort)? == 8 * 15).then_some(()))
    })?;
    for counter in [WorkerCounter::DatagramsToListener, WorkerCounter::DatagramsSent] {
        assert_eq!(sum(&system, counter)?, 0, "{}", counter.label());
    }
    system.stop()
}

#[test]
fn callers_come_over_ipv4_and_ipv6_and_one_listener_serves_both() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let only = |listen: &str| Options { listen: listen.into(), ..two_workers() };
    let both = Options {
        listen: "::".into(),
        srt: "    max_bandwidth: 10000000\n    open: true\n".into(),
        ..two_workers()
    };
    for (options, families) in [(only("127.0.0.1"), &[4][..]), (only("::1"), &[6]), (both, &[4, 6])]
    {
        let system = Penstock::start(&options)?;
        for family in families {
            let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, system.srt_port));
            let to = if *family == 4 { system.srt_address() } else { v6 };
            let prefix = format!("v{family}");
            let workers = publish(&system, to, &prefix, 2, &clip)?;
            assert_eq!(workers.len(), 2, "{prefix} on {}: {workers:?}", options.listen);
            let stream = system.directory()?.stream(&format!("{prefix}/0")).context("listed")?;
            let source = stream.info.source.context("a source")?;
            assert_eq!(source.is_ipv4(), *family == 4, "shown as {source}");
            assert_eq!(stream.counter(StreamCounter::WrongSource), 0);
        }
        assert_eq!(sum(&system, WorkerCounter::HandedOver)?, 0, "on {}", options.listen);
        system.stop()?;
    }
    Ok(())
}

#[test]
fn a_listener_open_to_others_needs_to_be_told_so() -> Result<()> {
    let options = Options { listen: "::".into(), ..Options::default() };
    let refused = Penstock::check(&options)?;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = String::from_utf8(refused.stderr)?;
    ensure!(said.contains("ingestion.srt.allow") && said.contains("open: true"), "{said}");
    Ok(())
}
