//! What the kernel drops because nobody fetched it in time is told where it can be known: of a
//! stream with a socket of its own as its own, else of the listener's socket.

use std::io::Write;

use anyhow::{Context, Result, ensure};
use penstock_tests::process::eventually;
use penstock_tests::publisher::{PAYLOAD_BYTES, Publisher, data_packet};
use penstock_tests::senders::SrtLiveTransmit;
use penstock_tests::system::{Options, PATIENCE, Penstock, free_udp_port, stream_path};
use serde_json::{Value, json};
use shm::counters::StreamCounter;

/// The least that the kernel holds for each socket: about 56 packets.
const RECEIVE_BUFFER: (&str, &str) = ("PENSTOCK_DATAPLANE_RECEIVE_BUFFER", "65536");

/// What a stream's connection says of drops: how many, and whether they may be another's.
fn told(system: &Penstock, id: &str) -> Result<(u64, bool)> {
    let stats = system.get(&(stream_path(id) + "/stats"))?;
    let connection = &stats["connection_stats"];
    let drops = connection["socket_kernel_drops"].as_u64().context("a count")?;
    Ok((drops, connection["socket_shared"].as_bool().context("yes or no")?))
}

fn by_listener(system: &Penstock) -> Result<Value> {
    Ok(system.get("/api/v1/stats")?["workers"][0]["listener_kernel_drops"].clone())
}

#[test]
fn drops_of_the_kernel_are_those_of_the_stream_or_of_its_listener() -> Result<()> {
    let (other, listening) = (free_udp_port()?, free_udp_port()?);
    let options = Options {
        srt: format!(
            "    max_bandwidth: 10000000\n    peer_idle_timeout: 60s\n    listeners: [{{name: \
             other, port: {other}}}]\n    sources:\n      - {{id: pulled, address: \
             '127.0.0.1:{listening}'}}\n"
        ),
        environment: vec![(RECEIVE_BUFFER.0.into(), RECEIVE_BUFFER.1.into())],
        ..Options::default()
    };
    let system = Penstock::start(&options)?;
    let url = format!("srt://127.0.0.1:{listening}?mode=listener");
    let mut puller = SrtLiveTransmit::start(&url, &system.path("said"))?;
    let pushed = Publisher::connect(system.srt_address(), "pushed", 1)?;
    let _spared = Publisher::connect(([127, 0, 0, 1], other).into(), "spared", 2)?;
    for id in ["pushed", "spared", "pulled"] {
        system.wait_stream(id, "connected", |_| true)?;
    }

    // More than its buffer holds, while nobody fetches.
    system.dataplane.pause()?;
    for number in 0..300 {
        pushed.send_raw(&data_packet(&pushed, number, number))?;
    }
    system.dataplane.resume()?;
    let at_srt = eventually("each packet was received or dropped", PATIENCE, || {
        let (drops, shared) = told(&system, "pushed")?;
        ensure!(shared, "a listener's socket is shared");
        let stream = system.directory()?.stream("pushed").context("it is listed")?;
        let received = stream.counter(StreamCounter::PacketsReceived);
        Ok((received + drops == 300).then_some(drops))
    })?;
    ensure!(at_srt > 100, "{at_srt} drops at the listener's socket");
    assert_eq!(told(&system, "spared")?, (0, true));
    assert_eq!(told(&system, "pulled")?, (0, false));
    assert_eq!(by_listener(&system)?, json!({"srt": at_srt, "other": 0}));

    system.dataplane.pause()?;
    // A flow window of 171 packets may be on its way at once.
    puller.input().write_all(&[0x47; 400 * PAYLOAD_BYTES])?;
    system.dataplane.resume()?;
    let at_own = eventually("drops at the stream's own socket", PATIENCE, || {
        let (drops, shared) = told(&system, "pulled")?;
        ensure!(!shared, "nobody else has it");
        Ok((drops > 0).then_some(drops))
    })?;
    assert_eq!(told(&system, "pushed")?.0, at_srt, "that one lost nothing to it");
    assert_eq!(by_listener(&system)?, json!({"srt": at_srt, "other": 0}));
    let stats = system.get(&(stream_path("pushed") + "/stats"))?;
    let worker = stats["connection_stats"]["worker_kernel_drops"].as_u64();
    ensure!(worker >= Some(at_srt + at_own), "the worker's are all: {stats}");
    let metrics = system.get("/metrics")?;
    let metrics = metrics.as_str().context("text")?;
    for line in [
        format!("penstock_listener_kernel_drops_total{{worker=\"0\",listener=\"srt\"}} {at_srt}"),
        format!("penstock_stream_socket_kernel_drops_total{{stream_id=\"pushed\"}} {at_srt}"),
        "penstock_stream_socket_shared{stream_id=\"pulled\"} 0".into(),
    ] {
        ensure!(metrics.contains(&line), "no {line} in {metrics}");
    }
    system.stop()
}
