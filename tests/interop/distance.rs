//! A round trip longer than the time after which a caller repeats its conclusion: it connects once,
//! whatever crosses on the way.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::peers::{Keys, Peer, Side, Way};
use penstock_tests::publisher::PAYLOAD_BYTES;
use penstock_tests::relay::{Impairment, Relay};
use penstock_tests::system::{Options, Penstock, free_udp_port};
use shm::WorkerSnapshot;
use shm::counters::{ConductorCounter, WorkerCounter};

const STREAM: &str = "far";

/// 300 ms of round trip; libsrt repeats after 250.
fn far() -> Impairment {
    Impairment { delay: Duration::from_millis(150), ..Impairment::losing(1, 0) }
}

fn options() -> Options {
    Options {
        srt: "    max_bandwidth: 20000000\n    latency: 1500ms\n".into(),
        ..Options::default()
    }
}

#[test]
fn a_caller_at_300_ms_connects_once_and_every_conclusion_gets_the_same_answer() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    for peer in [Peer::SrtLiveTransmit, Peer::SrtTokio] {
        let system = Penstock::start(&options())?;
        let relay = Relay::start(system.srt_address(), far())?;
        let tap = system.frames_of(STREAM)?;
        let way = Way {
            side: Side::Caller,
            address: relay.address(),
            stream_id: STREAM,
            passphrase: None,
            keys: Keys::CLEAR,
            latency_ms: 1_500,
        };
        let mut sending = peer.start(&way, &clip, &system.path("peer.log"))?;
        system.wait_stream(STREAM, "connected", |_| true)?;
        sending.feed(&clip)?;
        let packets = clip.bytes.chunks(PAYLOAD_BYTES).count() as u64;
        system.wait_stream(STREAM, "everything arrived", |stream| {
            stream["counters"]["packets_delivered"].as_u64() >= Some(packets)
        })?;
        sending.end()?;
        clip.is_whole(&tap.frames()?)?;
        let conductor = system.directory()?.conductor();
        assert_eq!(conductor.counter(ConductorCounter::Accepted), 1, "{peer:?}");
        let seen = relay.seen();
        let asked = seen.conclusions(true).count();
        ensure!(asked > 1, "{peer:?} asked {asked} times: the distance is too short");
        // Behind the header, whose time stamp is that of sending.
        let answers: Vec<&[u8]> = seen.conclusions(false).map(|answer| &answer[16..]).collect();
        let first = answers.first().context("no answer")?;
        ensure!(answers.iter().all(|answer| answer == first), "{peer:?}: answers {answers:x?}");
        let undecided = |it: &WorkerSnapshot| it.counter(WorkerCounter::ConclusionsUndecided);
        let undecided: u64 = system.directory()?.workers().iter().map(undecided).sum();
        assert_eq!(answers.len() as u64 + undecided, asked as u64, "{peer:?}: each has its answer");
        system.stop()?;
    }
    Ok(())
}

#[test]
fn a_source_at_300_ms_is_called_once() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    for peer in [Peer::SrtLiveTransmit, Peer::SrtTokio] {
        let listens: SocketAddr = (Ipv4Addr::LOCALHOST, free_udp_port()?).into();
        let relay = Relay::start(listens, far())?;
        let mut options = options();
        options.srt +=
            &format!("    sources:\n      - {{id: {STREAM}, address: '{}'}}\n", relay.address());
        let system = Penstock::start(&options)?;
        let tap = system.frames_of(STREAM)?;
        let way = Way {
            side: Side::Listener,
            address: listens,
            stream_id: "",
            passphrase: None,
            keys: Keys::CLEAR,
            latency_ms: 1_500,
        };
        let mut sending = peer.start(&way, &clip, &system.path("peer.log"))?;
        system.wait_stream(STREAM, "connected", |_| true)?;
        sending.feed(&clip)?;
        let packets = clip.bytes.chunks(PAYLOAD_BYTES).count() as u64;
        let stream = system.wait_stream(STREAM, "everything arrived", |stream| {
            stream["counters"]["packets_delivered"].as_u64() >= Some(packets)
        })?;
        assert_eq!(stream["counters"]["connections"], 1, "{peer:?}");
        sending.end()?;
        clip.is_whole(&tap.frames()?)?;
        // Of all answers to conclusions, repeated ones too: one socket of the peer's.
        let seen = relay.seen();
        let sockets: BTreeSet<&[u8]> =
            seen.conclusions(false).filter_map(|answer| answer.get(16 + 24..16 + 28)).collect();
        ensure!(sockets.len() == 1, "{peer:?} answered from sockets {sockets:x?}");
        system.stop()?;
    }
    Ok(())
}
