//! When memory is short the advertised window shrinks: libsrt's sender sends less and drops what has
//! waited too long, and goes on at full rate as soon as it is told of its window again. The shortage
//! is an operator's word, or real: packets that never come keep all behind them waiting in their
//! slots.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::process::eventually;
use penstock_tests::publisher::{PAYLOAD_BYTES, Publisher, data_packet};
use penstock_tests::relay::{Impairment, Relay};
use penstock_tests::senders::SrtLiveTransmit;
use penstock_tests::system::{Options, PATIENCE, Penstock, stream_path};
use serde_json::{Value, json};
use shm::Directory;
use shm::counters::StreamCounter as C;

const ID: &str = "cam";
/// Several times what passes two packets at a time.
const RATE_BPS: u64 = 8_000_000;
const PACKETS_PER_S: u64 = RATE_BPS / 8 / PAYLOAD_BYTES as u64;

/// Feeds the clip over and over at a constant rate until told to stop, and says how many packets it
/// has fed.
fn feed(
    sender: &mut SrtLiveTransmit,
    clip: &Clip,
    stop: &AtomicBool,
    fed: &AtomicU64,
) -> Result<()> {
    let start = Instant::now();
    let payloads = clip.bytes.chunks_exact(PAYLOAD_BYTES).cycle();
    for (number, payload) in (0_u64..).zip(payloads) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let due = Duration::from_nanos(number * 1_000_000_000 / PACKETS_PER_S);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        sender.input().write_all(payload)?;
        fed.store(number + 1, Ordering::Relaxed);
    }
    Ok(())
}

/// The last whole line of statistics that the sender wrote.
fn sender_stats(system: &Penstock) -> Result<Option<Value>> {
    let text = std::fs::read_to_string(system.path("stats")).unwrap_or_default();
    let last = text.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(last)
}

fn control(system: &Penstock, body: &Value) -> Result<()> {
    let path = format!("/api/v1/streams/{ID}/backpressure/control");
    let (status, answer) = system.post(&path, body)?;
    ensure!(status == 200, "{body}: {status} {answer}");
    Ok(())
}

fn count(directory: &Directory, counter: C) -> Result<u64> {
    Ok(directory.stream(ID).context("the stream is listed")?.counter(counter))
}

/// Under pressure: the wire rate falls, and both sides tell of what the sender dropped.
fn load_is_shed(system: &Penstock, directory: &Directory) -> Result<()> {
    let rate = |counter| count(directory, counter);
    let free = rate(C::ReceiveRateBps)?;
    control(system, &json!({"action": "set_pressure", "pressure": 1.0}))?;
    eventually("two packets of window", PATIENCE, || {
        let told = rate(C::FlowWindowPackets)? == 2 && rate(C::WindowLimitPackets)? == 2;
        Ok(told.then_some(()))
    })?;
    let shed = eventually("a lower rate on the wire", PATIENCE, || {
        let now = rate(C::ReceiveRateBps)?;
        Ok((now < free * 6 / 10).then_some(now))
    })?;
    eventually("drops in our statistics", PATIENCE, || {
        let missing = rate(C::PacketsSkippedBySender)? + rate(C::PacketsSkippedTooLate)?;
        Ok((missing > PACKETS_PER_S / 2).then_some(()))
    })?;
    let stats = eventually("drops in the sender's statistics", PATIENCE, || {
        let stats = sender_stats(system)?;
        Ok(stats.filter(|stats| stats["send"]["packetsDropped"].as_u64() > Some(0)))
    })?;
    eprintln!("rate {free} bit/s, under pressure {shed}; the sender says {stats}");
    let body = system.get(&format!("/api/v1/streams/{ID}/backpressure"))?;
    ensure!(body["current_pressure"] == 1.0 && body["is_set"] == true, "{body}");
    ensure!(body["window_limit_packets"] == 2 && body["should_drop_gop"] == true, "{body}");
    Ok(())
}

/// After the release: all that is fed arrives again.
fn delivery_recovers(system: &Penstock, directory: &Directory) -> Result<()> {
    const SPAN: Duration = Duration::from_millis(200);
    control(system, &json!({"action": "reset"}))?;
    let released = Instant::now();
    let mut from = (released, count(directory, C::PacketsDelivered)?);
    let took = eventually("full rate", PATIENCE, || {
        let (since, before) = from;
        if since.elapsed() < SPAN {
            return Ok(None);
        }
        let now = count(directory, C::PacketsDelivered)?;
        let wanted = u128::from(PACKETS_PER_S) * since.elapsed().as_millis() / 1_000 * 9 / 10;
        from = (Instant::now(), now);
        Ok((u128::from(now - before) >= wanted).then_some(released.elapsed()))
    })?;
    eprintln!("full rate {took:?} after the release");
    ensure!(count(directory, C::WindowLimitPackets)? == 0, "a limit is left");
    // Nothing more is dropped: what is fed from here on arrives.
    let frames = count(directory, C::FramesPublished)?;
    eventually("frames", PATIENCE, || {
        Ok((count(directory, C::FramesPublished)? > frames + 25).then_some(()))
    })
}

#[test]
fn pressure_sheds_load_of_a_libsrt_sender_and_its_release_restores_delivery() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let options = Options { srt: "    max_bandwidth: 20000000\n".into(), ..Options::default() };
    let system = Penstock::start(&options)?;
    let stats = format!("-statsout:{}", system.path("stats").display());
    let url = system.srt_url(ID) + "&latency=120";
    let log = system.path("srt-live-transmit.log");
    // Totals as JSON, each 100 packets.
    let options = ["-s:100", "-pf:json", "-f", &stats];
    let mut sender = SrtLiveTransmit::start_with(&url, &log, &options)?;
    system.wait_stream(ID, "connected", |_| true)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let feeder = scope.spawn(|| feed(&mut sender, &clip, &stop, &AtomicU64::new(0)));
        let result = (|| {
            let directory = system.directory()?;
            eventually("full rate", PATIENCE, || {
                let rate = count(&directory, C::ReceiveRateBps)?;
                Ok((rate > RATE_BPS * 9 / 10).then_some(()))
            })?;
            load_is_shed(&system, &directory)?;
            delivery_recovers(&system, &directory)
        })();
        stop.store(true, Ordering::Relaxed);
        let fed = feeder.join().expect("no panic");
        result.and(fed)
    })?;
    system.stop()
}

/// A libsrt sender through a relay, fed at [`RATE_BPS`] while `watch` looks on: at the figures of its
/// stream, and at how many packets it was fed.
fn while_fed(
    system: &Penstock,
    to: SocketAddr,
    latency_ms: u32,
    watch: impl FnOnce(&Directory, &AtomicU64) -> Result<()>,
) -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let stats = format!("-statsout:{}", system.path("stats").display());
    let options = ["-s:100", "-pf:json", "-f", &stats];
    let url = format!("srt://{to}?streamid={ID}&mode=caller&latency={latency_ms}");
    let log = system.path("srt-live-transmit.log");
    let mut sender = SrtLiveTransmit::start_with(&url, &log, &options)?;
    system.wait_stream(ID, "connected", |_| true)?;
    let (stop, fed) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let feeder = scope.spawn(|| feed(&mut sender, &clip, &stop, &fed));
        let result = system.directory().and_then(|directory| watch(&directory, &fed));
        stop.store(true, Ordering::Relaxed);
        let fed = feeder.join().expect("no panic");
        result.and(fed)
    })
}

/// When packets came and how many were delivered by then, by the system's own clock.
type Sample = (u64, u64);

/// From a moment on: how long until packets were delivered at nine tenths of the rate that is fed.
fn full_rate_after(samples: &[Sample], from_ns: u64) -> Option<Duration> {
    const SPAN_NS: u64 = 200_000_000;
    let after: Vec<&Sample> = samples.iter().filter(|(at_ns, _)| *at_ns >= from_ns).collect();
    let full = |first: &&Sample| {
        let (since_ns, before) = **first;
        let (at_ns, delivered) =
            after.iter().find(|(at_ns, _)| *at_ns >= since_ns + SPAN_NS).copied()?;
        let wanted = u128::from(PACKETS_PER_S) * u128::from(at_ns - since_ns) / 1_000_000_000;
        let is_full = u128::from(delivered - before) >= wanted * 9 / 10;
        is_full.then(|| Duration::from_nanos(at_ns - from_ns))
    };
    after.iter().find_map(full)
}

/// Looks on until the stream has gone on for so many packets and at full rate, without a limit; how
/// long full rate took from its last release on.
fn recovery(directory: &Directory, packets: u64) -> Result<Duration> {
    let mut samples: Vec<Sample> = Vec::new();
    let from = count(directory, C::PacketsDelivered)?;
    eventually("full rate without a limit", PATIENCE, || {
        let stream = directory.stream(ID).context("the stream is listed")?;
        let delivered = stream.counter(C::PacketsDelivered);
        samples.push((stream.counter(C::LastReceivedNs), delivered));
        let over = delivered >= from + packets && stream.counter(C::WindowLimitPackets) == 0;
        let released_ns = stream.counter(C::PressureChangedNs);
        Ok(over.then(|| full_rate_after(&samples, released_ns)).flatten())
    })
}

#[test]
fn slots_that_run_short_hold_a_libsrt_sender_back_until_they_are_free_again() -> Result<()> {
    // 570 slots in all: what 4 Mbit/s need for a second, and half as much again. At twice that rate,
    // with a packet missing at all times, 760 packets would wait.
    let options = Options {
        ingestion: "  frame: {max_frame_size: 1048576}\n  max_connections: 1\n".into(),
        srt: "    max_bandwidth: 4000000\n    latency: 1s\n".into(),
        ..Options::default()
    };
    let system = Penstock::start(&options)?;
    let relay = Relay::start(system.srt_address(), Impairment::losing(1, 0))?;
    while_fed(&system, relay.address(), 1_000, |directory, fed| {
        let value = |counter| count(directory, counter);
        let skipped = || -> Result<u64> {
            Ok(value(C::PacketsSkippedBySender)? + value(C::PacketsSkippedTooLate)?)
        };
        eventually("full rate, and nothing short", PATIENCE, || {
            let full = value(C::ReceiveRateBps)? > RATE_BPS * 9 / 10;
            Ok((full && value(C::WindowLimitPackets)? == 0).then_some(()))
        })?;
        // Behind each of these packets all others wait for their delivery time.
        relay.lose_for_good(40);
        eventually("a window made smaller", PATIENCE, || {
            Ok((value(C::WindowLimitPackets)? > 0).then_some(()))
        })?;
        ensure!(value(C::PressureSet)? == 0, "no operator did it");
        // What its window has no room for waits with the sender, nearly as long as it may; and again
        // after each second's worth of holes, at whose delivery times the window opens.
        for _ in 0..3 {
            let behind = eventually("a sender held back", PATIENCE, || {
                // The feeder first: what arrives in between only makes it less.
                let fed = fed.load(Ordering::Relaxed);
                let behind = fed.saturating_sub(value(C::PacketsUnique)? + skipped()?);
                Ok((behind > PACKETS_PER_S / 2).then_some(behind))
            })?;
            let before = skipped()?;
            let gone_by = eventually("what was lost goes by", PATIENCE, || {
                Ok(Some(skipped()?).filter(|count| *count > before + PACKETS_PER_S / 40))
            })?;
            eprintln!("{behind} packets wait with the sender; {gone_by} lost ones have gone by");
        }
        let stats = eventually("drops in the sender's statistics", PATIENCE, || {
            let stats = sender_stats(&system)?;
            Ok(stats.filter(|stats| stats["send"]["packetsDropped"].as_u64() > Some(0)))
        })?;
        eprintln!("the sender: {stats}");
        ensure!(value(C::PacketsDroppedSlots)? == 0, "nothing comes that no slot is free for");
        relay.lose_for_good(0);
        // All that waits is delivered in time; then the stream is let go.
        let took = recovery(directory, 4 * PACKETS_PER_S)?;
        eprintln!("full rate {took:?} after the release");
        Ok(())
    })?;
    system.stop()
}

/// Sends packets at this rate, whatever window it is told, and never every 40th; until told to stop.
fn hog(publisher: &Publisher, start: Instant, packets_per_s: u64, stop: &AtomicBool) -> Result<()> {
    for number in 0_u32.. {
        let due = Duration::from_nanos(u64::from(number) * 1_000_000_000 / packets_per_s);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if number % 40 != 1 {
            let sent_us = u32::try_from(start.elapsed().as_micros())?;
            publisher.send_raw(&data_packet(publisher, number, sent_us))?;
        }
    }
    Ok(())
}

#[test]
fn of_two_streams_short_of_slots_the_one_of_lower_priority_yields() -> Result<()> {
    // 2 x 855 slots and 428 more for the hog, which has 1,283 of them and fills 1,200.
    let options = Options {
        ingestion: "  frame: {max_frame_size: 1048576}\n  max_connections: 2\n  backpressure: \
                    {low_watermark: 0.05, medium_watermark: 0.5, high_watermark: 0.98, \
                    critical_watermark: 0.99}\n  streams:\n  - {id: hog, latency: 1500ms}\n  \
                    - {id: dear, max_bandwidth: 3000000}\n"
            .into(),
        srt: "    max_bandwidth: 6000000\n    latency: 1s\n".into(),
        ..Options::default()
    };
    let system = Penstock::start(&options)?;
    let start = Instant::now();
    let hogs = Publisher::connect(system.srt_address(), "hog", 1)?;
    let dear = Publisher::connect(system.srt_address(), "dear", 2)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let feeders = [
            scope.spawn(|| hog(&hogs, start, 800, &stop)),
            scope.spawn(|| hog(&dear, start, 50, &stop)),
        ];
        let result = (|| {
            let limited = |id: &str| {
                let count = |stream: &Value| stream["counters"]["window_limit_packets"].as_u64();
                system.wait_stream(id, &format!("{id} yields"), |it| count(it) > Some(0))
            };
            limited("hog")?;
            let stream = limited("dear")?;
            // Of its own share it holds little: it suffers for the other.
            let held = stream["counters"]["packets_held"].as_u64().context("a count")?;
            ensure!(held < 100, "{stream}");
            let path = stream_path("dear") + "/options";
            let set = |priority: u8| {
                let (status, body) = system.patch(&path, &json!({"priority": priority}))?;
                ensure!(status == 200 && body["applied"] == json!(["priority"]), "{body}");
                Ok(())
            };
            set(1)?;
            let spared = system.wait_stream("dear", "it is spared", |stream| {
                stream["counters"]["priority"] == 1
                    && stream["counters"]["window_limit_packets"] == 0
            })?;
            let hog = limited("hog")?;
            ensure!(hog["counters"]["priority"] == 0, "{hog}");
            ensure!(spared["counters"]["pressure_permille"].as_u64() < Some(500), "{spared}");
            // It was the priority that spared it, not an end of the shortage.
            set(0)?;
            limited("dear")?;
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        feeders.into_iter().try_for_each(|feeder| feeder.join().expect("no panic")).and(result)
    })?;
    system.stop()
}

/// A libsrt sender passes over acknowledgements from before what it has dropped, and the window in
/// them: told of too few packets for the length of its path it would stay at that for good.
#[test]
fn on_a_long_path_too_a_libsrt_sender_hears_of_its_release() -> Result<()> {
    let options = Options { srt: "    max_bandwidth: 20000000\n".into(), ..Options::default() };
    for delay_ms in [10, 40] {
        let system = Penstock::start(&options)?;
        let delay = Duration::from_millis(delay_ms);
        let network = Impairment { delay, ..Impairment::losing(1, 0) };
        let relay = Relay::start(system.srt_address(), network)?;
        while_fed(&system, relay.address(), 300, |directory, _| {
            eventually("full rate", PATIENCE, || {
                Ok((count(directory, C::ReceiveRateBps)? > RATE_BPS * 9 / 10).then_some(()))
            })?;
            control(&system, &json!({"action": "set_pressure", "pressure": 1.0}))?;
            // Until it drops, or for so long that it would have.
            let long = count(directory, C::PacketsDelivered)? + 4 * PACKETS_PER_S;
            eventually("a sender that holds back", PATIENCE, || {
                let dropped = sender_stats(&system)?
                    .and_then(|stats| stats["send"]["packetsDropped"].as_u64());
                let over = count(directory, C::PacketsDelivered)? > long;
                Ok((dropped > Some(0) || over).then_some(()))
            })?;
            control(&system, &json!({"action": "reset"}))?;
            let took = recovery(directory, 4 * PACKETS_PER_S)?;
            eprintln!("{delay_ms} ms each way: full rate {took:?} after the release");
            Ok(())
        })?;
        system.stop()?;
    }
    Ok(())
}
