//! Workers allocate nothing once they turn, whatever comes in.

mod common;

use std::io::Write;

use anyhow::Result;
use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use common::{PASSPHRASE, RtpSender, Running, transport_stream};
use penstock_tests::generate::h264::{Paff, paff};
use penstock_tests::process::{Process, eventually};
use penstock_tests::publisher::{Publisher, Secret};
use penstock_tests::raw::{RawCaller, block, hello};
use penstock_tests::rtp::h264;
use penstock_tests::rtp::paced::Packet;
use penstock_tests::senders::SrtLiveTransmit;
use penstock_tests::system::{PATIENCE, free_udp_port};
use serde_json::json;
use shm::counters::{ConductorCounter, StreamCounter, WorkerCounter};
use shm::link::{BackpressureAction, Link, RtpSessionReport};
use shm::{StreamSnapshot, StreamState};
use srt::crypto::{KeySize, Mode, Refresh, Suite};
use srt::handshake::extension;

/// Aborts the process when a worker allocates.
#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

fn watched(turn: &mut dyn FnMut()) {
    assert_no_alloc(turn);
}

#[test]
fn publishers_junk_and_reconnects_allocate_nothing_on_workers() -> Result<()> {
    let stream = transport_stream(2)?;
    let running = Running::start("[0, 1]", watched)?;
    for round in 0..2 {
        let mut publishers = (0..4)
            .map(|n| {
                let to = if n % 2 == 0 { running.address() } else { running.second_address() };
                Publisher::connect(to, &format!("live/{n}"), 100 * round + n)
            })
            .collect::<Result<Vec<_>>>()?;
        refusals(running.second_address())?;
        // What operators change and try while streams run.
        let mut link = running.link()?;
        running.wait_stream("live/3", |stream| stream.info.state != StreamState::Lost)?;
        link.set_options("live/0", json!({"priority": 1 + round, "over_bandwidth": "drop"}))?;
        link.backpressure("live/1", BackpressureAction::SetPressure { permille: 1_000 })?;
        link.backpressure("live/1", BackpressureAction::Reset)?;
        for publisher in &publishers {
            publisher.send_raw(b"")?;
            publisher.send_raw(b"too short")?;
            publisher.send_raw(&[0xff; 1_500])?;
        }
        for payload in stream.chunks(1_316) {
            for publisher in &mut publishers {
                publisher.send(payload)?;
            }
        }
        for mut publisher in publishers {
            publisher.drain()?;
            publisher.close()?;
        }
    }
    running.wait_frames("live/3")?;
    running.stop()
}

#[test]
fn secured_publishers_that_change_their_keys_and_are_held_back_allocate_nothing_on_workers()
-> Result<()> {
    let stream = transport_stream(2)?;
    let running = Running::start("[0, 1]", watched)?;
    let refresh = Refresh { every_packets: 60, announce_packets: 30 };
    let mut publishers = Vec::new();
    for (n, mode) in (0..).zip([Mode::Ctr, Mode::Gcm]) {
        let suite = Suite { mode, size: KeySize::Aes256 };
        let secret = Secret { passphrase: PASSPHRASE, suite, refresh };
        let id = format!("secret/{n}");
        publishers.push(Publisher::connect_with(running.address(), &id, 1 + n, Some(&secret))?);
    }
    // A caller that the conductor refuses for its secret.
    let suite = Suite { mode: Mode::Ctr, size: KeySize::Aes128 };
    let wrong = Secret { passphrase: "another-secret", suite, refresh };
    let refused = Publisher::connect_with(running.address(), "secret/9", 9, Some(&wrong));
    anyhow::ensure!(refused.is_err());
    let mut link = running.link()?;
    // Far below what comes: whole frames are left out.
    let limit = json!({"max_bandwidth": 64_000, "over_bandwidth": "drop"});
    link.set_options("secret/0", limit)?;
    link.backpressure("secret/1", BackpressureAction::SetPressure { permille: 900 })?;
    link.backpressure("secret/1", BackpressureAction::Reset)?;
    for publisher in &mut publishers {
        publisher.send_stream(&stream, 1_000_000)?;
        anyhow::ensure!(publisher.stats().keys_confirmed >= 2, "{:?}", publisher.stats());
    }
    let renewed = |stream: &StreamSnapshot| stream.counter(StreamCounter::KeyRefreshes) >= 2;
    running.wait_stream("secret/0", |stream| {
        renewed(stream) && stream.counter(StreamCounter::BandwidthExceeded) > 0
    })?;
    running.wait_stream("secret/1", |stream| {
        renewed(stream) && stream.counter(StreamCounter::FramesPublished) > 0
    })?;
    for publisher in publishers {
        publisher.close()?;
    }
    running.stop()
}

/// FFmpeg as the other side: it listens, and sends the file in real time, over and over.
fn listening(file: &std::path::Path, port: u16) -> Result<Process> {
    let mut command = std::process::Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-re", "-stream_loop", "-1"]);
    command.arg("-i").arg(file).args(["-c", "copy", "-f", "mpegts"]);
    command
        .arg(format!("srt://127.0.0.1:{port}?mode=listener&pkt_size=1316&passphrase={PASSPHRASE}"));
    Process::start("ffmpeg", &mut command)
}

#[test]
fn sources_that_are_called_met_lost_and_had_again_allocate_nothing_on_workers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, stream) = (folder.path().join("clip.ts"), transport_stream(2)?);
    std::fs::write(&file, &stream)?;
    let running = Running::start("[0, 1]", watched)?;
    let (port, ours, theirs) = (free_udp_port()?, free_udp_port()?, free_udp_port()?);
    let mut link = running.link()?;
    link.add_source(json!({
        "id": "called", "address": format!("127.0.0.1:{port}"), "connect_timeout": "300ms",
        "peer_idle_timeout": "1s", "passphrase": PASSPHRASE, "key_length": 256
    }))?;
    link.add_source(json!({
        "id": "met", "mode": "rendezvous", "address": format!("127.0.0.1:{theirs}"),
        "local_port": ours, "passphrase": PASSPHRASE
    }))?;
    eventually("calls that meet nobody", PATIENCE, || {
        let (sources, _) = link.sources(None)?;
        Ok(sources.iter().any(|source| source.failures.timeout >= 2).then_some(()))
    })?;
    for connections in 1..=2 {
        let mut peer = listening(&file, port)?;
        running.wait_stream("called", |stream| {
            stream.counter(StreamCounter::Connections) == connections
                && stream.counter(StreamCounter::BitrateBps) > 0
        })?;
        peer.kill();
        running.wait_stream("called", |stream| stream.info.state == StreamState::Lost)?;
    }
    let url = format!(
        "srt://127.0.0.1:{ours}?mode=rendezvous&port={theirs}&adapter=127.0.0.1&\
         passphrase={PASSPHRASE}&pbkeylen=16&kmrefreshrate=60&kmpreannounce=25"
    );
    let mut peer = SrtLiveTransmit::start(&url, &folder.path().join("said"))?;
    running.wait_stream("met", |_| true)?;
    peer.input().write_all(&stream)?;
    running.wait_frames("met")?;
    link.restart_source("met")?;
    link.remove_source("called")?;
    running.stop()
}

/// FFmpeg sends two seconds of pictures over RTP.
fn sending(port: u16, rtcp_port: u16, ssrc: u32) -> Result<Process> {
    let mut command = std::process::Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-re", "-f", "lavfi"]);
    command.args(["-i", "testsrc2=size=320x180:rate=25", "-t", "2", "-c:v", "libx264"]);
    command.args(["-preset", "ultrafast", "-g", "12", "-f", "rtp", "-ssrc", &ssrc.to_string()]);
    command.arg(format!("rtp://127.0.0.1:{port}?rtcpport={rtcp_port}&pkt_size=1200"));
    command.stdout(std::process::Stdio::null());
    Process::start("ffmpeg", &mut command)
}

/// A sender report whose bytes 8 to 11, where RTP has its SSRC, are `seconds`.
fn sender_report(ssrc: u32, seconds: u32) -> Vec<u8> {
    let mut report = vec![0x80, 200, 0, 6];
    for word in [ssrc, seconds, 0, 0, 1, 1] {
        report.extend_from_slice(&word.to_be_bytes());
    }
    report
}

#[test]
fn senders_of_rtp_come_go_and_come_again_on_their_ssrcs_worker_and_allocate_nothing() -> Result<()>
{
    let running = Running::start("[0, 1]", watched)?;
    let (port, rtcp_port) = running.rtp_ports();
    let junk = std::net::UdpSocket::bind(("127.0.0.1", 0))?;
    for round in 1..=2 {
        let senders = [
            sending(port, rtcp_port, 2)?,
            sending(port, rtcp_port, 3)?,
            sending(running.given_port(), free_udp_port()?, 4)?,
        ];
        for len in [0, 1, 7, 11, 12, 200, 1_472] {
            for (port, first) in [(port, 0x80), (rtcp_port, 0x81), (running.given_port(), 0xff)] {
                let datagram = vec![first; len];
                junk.send_to(&datagram, ("127.0.0.1", port))?;
            }
        }
        for (id, worker) in [("two", Some(0)), ("three", Some(1)), ("given", None)] {
            let stream = running.wait_stream(id, |stream| {
                stream.info.state == StreamState::Active
                    && stream.counter(StreamCounter::Connections) == round
            })?;
            assert!(worker.is_none_or(|worker| stream.info.worker == worker), "{id}");
        }
        // RTCP at the port of RTP is steered by what is no SSRC: one of two goes to the wrong worker.
        for seconds in 0..2 {
            junk.send_to(&sender_report(2, seconds), ("127.0.0.1", port))?;
        }
        let table = running.table()?;
        eventually("a hand-over", PATIENCE, || {
            let over = table.workers().into_iter().map(|worker| {
                let count = |counter| worker.counter(counter);
                (count(WorkerCounter::HandedOver), count(WorkerCounter::TakenOver))
            });
            let (handed, taken) = over.fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
            Ok((handed >= round && taken == handed).then_some(()))
        })?;
        drop(senders);
        for id in ["two", "three", "given"] {
            running.wait_stream(id, |stream| stream.info.state == StreamState::Lost)?;
        }
    }
    running.stop()
}

/// A receiver report without blocks and a goodbye.
fn goodbye(ssrc: u32) -> Vec<u8> {
    let ssrc = ssrc.to_be_bytes();
    [&[0x80, 201, 0, 1][..], &ssrc, &[0x81, 203, 0, 1], &ssrc].concat()
}

#[test]
fn rtp_of_each_kind_reports_goodbyes_and_floods_of_sources_allocate_nothing_on_workers()
-> Result<()> {
    let transport = transport_stream(2)?;
    let transport = transport.chunks(1_316).enumerate().map(|(unit, payload)| Packet {
        unit,
        ticks: unit as u64 * 900,
        marker: false,
        payload: payload.to_vec(),
    });
    let transport: Vec<Packet> = transport.collect();
    let pictures = h264::packets(&paff(&Paff::default()), 1_200);
    let running = Running::start("[0, 1]", watched)?;
    let (port, rtcp_port) = running.rtp_ports();
    running.wait_stream("given", |_| true)?;
    let control = std::net::UdpSocket::bind(("127.0.0.1", 0))?;
    for round in 1..=2 {
        let mut senders = [
            (RtpSender::new(port, 2, 96)?, &pictures),
            (RtpSender::new(port, 3, 33)?, &transport),
            (RtpSender::new(running.given_port(), 4, 96)?, &pictures),
        ];
        for (sender, packets) in &mut senders {
            packets.iter().try_for_each(|packet| sender.send(packet))?;
            // Again, behind a loss, and from another address.
            sender.skip();
            packets[..20].iter().try_for_each(|packet| sender.send(packet))?;
        }
        RtpSender::new(running.given_port(), 4, 96)?.send(&pictures[0])?;
        for ssrc in [2, 3] {
            control.send_to(&sender_report(ssrc, round), ("127.0.0.1", rtcp_port))?;
        }
        for id in ["two", "three", "given"] {
            running.wait_stream(id, |stream| {
                stream.counter(StreamCounter::Connections) == u64::from(round)
                    && stream.counter(StreamCounter::FramesPublished) > 0
                    && stream.counter(StreamCounter::RtcpSent) >= u64::from(round)
            })?;
        }
        for ssrc in [2, 3] {
            control.send_to(&goodbye(ssrc), ("127.0.0.1", rtcp_port))?;
        }
        for id in ["two", "three", "given"] {
            running.wait_stream(id, |stream| stream.info.state == StreamState::Lost)?;
        }
    }
    flood(port)?;
    let table = running.table()?;
    eventually("there is no place for all of them", PATIENCE, || {
        Ok((table.conductor().counter(ConductorCounter::RejectedLimit) > 0).then_some(()))
    })?;
    let mut sender = RtpSender::new(port, 2, 96)?;
    pictures.iter().try_for_each(|packet| sender.send(packet))?;
    running.wait_stream("two", |stream| stream.counter(StreamCounter::Connections) == 3)?;
    running.stop()
}

#[test]
fn sessions_that_are_added_changed_and_removed_allocate_nothing_on_workers() -> Result<()> {
    let pictures = h264::packets(&paff(&Paff::default()), 1_200);
    let running = Running::start("[0, 1]", watched)?;
    let ports = [("added/0", free_udp_port()?), ("added/1", free_udp_port()?)];
    let mut link = running.link()?;
    let told = |link: &mut Link, state: &str| -> Result<usize> {
        let (sessions, _) = link.rtp_sessions(None)?;
        let of_state = |it: &&RtpSessionReport| !it.configured && it.state == state;
        Ok(sessions.iter().filter(of_state).count())
    };
    for round in 1..=2 {
        for (id, port) in ports {
            link.add_rtp_session(json!({
                "id": id, "port": port, "rtcp_port": port, "payload_type": 96, "codec": "H264"
            }))?;
        }
        eventually("both listen", PATIENCE, || {
            Ok((told(&mut link, "listening")? == 2).then_some(()))
        })?;
        let mut senders = Vec::new();
        for (ssrc, (_, port)) in (1..).zip(ports) {
            let mut sender = RtpSender::new(port, ssrc, 96)?;
            pictures.iter().try_for_each(|packet| sender.send(packet))?;
            senders.push(sender);
        }
        for (id, _) in ports {
            running.wait_frames(id)?;
        }
        let limits = json!({"rate_limit": 64_000, "latency": "10ms", "session_timeout": "2s"});
        link.set_options("added/0", limits)?;
        let table = running.table()?;
        eventually("more than the limit comes, with losses", PATIENCE, || {
            for sender in &mut senders {
                sender.skip();
                pictures.iter().try_for_each(|packet| sender.send(packet))?;
            }
            let stream = table.stream("added/0");
            let dropped = stream.map(|it| it.counter(StreamCounter::PacketsDroppedRate));
            Ok((dropped > Some(0)).then_some(()))
        })?;
        for (id, _) in ports {
            link.remove_rtp_session(id)?;
        }
        let closed = format!("all are closed, the {round}. time");
        eventually(&closed, PATIENCE, || {
            let (sessions, _) = link.rtp_sessions(None)?;
            Ok(sessions.iter().all(|session| session.configured).then_some(()))
        })?;
    }
    running.stop()
}

/// Sources that are never heard again: many of one host, which prove themselves, and some of others.
fn flood(port: u16) -> Result<()> {
    let host = std::net::UdpSocket::bind(("127.8.8.8", 0))?;
    for number in 0..1_000_u32 {
        if number % 4 == 0 {
            let [.., high, low] = number.to_be_bytes();
            let lone = std::net::UdpSocket::bind((std::net::Ipv4Addr::new(127, 9, high, low), 0))?;
            lone.send_to(&packet(1_000 + number, 0), ("127.0.0.1", port))?;
        }
        for sequence in 0..2 {
            host.send_to(&packet(9_000 + number, sequence), ("127.0.0.1", port))?;
        }
    }
    Ok(())
}

/// A packet of nothing.
fn packet(ssrc: u32, sequence: u8) -> Vec<u8> {
    [&[0x80, 96, 0, sequence, 0, 0, 0, 0][..], &ssrc.to_be_bytes(), &[0x41; 30]].concat()
}

/// Callers that are refused: by the conductor, and by the worker itself.
fn refusals(to: std::net::SocketAddr) -> Result<()> {
    anyhow::ensure!(Publisher::connect(to, "#!::r=live/0,m=request", 7).is_err());
    let caller = RawCaller::new(to, 8)?;
    let conclusion = caller.conclusion(caller.cookie()?);
    let group = [hello(120, "live/9"), block(extension::GROUP, &[1])].concat();
    anyhow::ensure!(caller.refusal(&conclusion, &group)? == Some(1_015));
    Ok(())
}

/// Aborts: run by the test below in a process of its own.
#[test]
#[ignore = "aborts by design"]
fn canary() {
    watched(&mut || drop(std::hint::black_box(Box::new(1))));
}

#[test]
fn the_watch_bites() -> Result<()> {
    let ended = std::process::Command::new(std::env::current_exe()?)
        .args(["--ignored", "--exact", "canary"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()?;
    anyhow::ensure!(!ended.success(), "an allocation under watch went unseen");
    Ok(())
}
