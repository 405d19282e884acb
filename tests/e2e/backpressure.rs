//! When memory is short the advertised window shrinks: libsrt's sender sends less and drops the
//! rest, and goes on at full rate as soon as it is told of its window again. The shortage is an
//! operator's word, or real: packets that never come keep all behind them waiting in their slots.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::process::eventually;
use penstock_tests::publisher::{PAYLOAD_BYTES, Publisher, data_packet};
use penstock_tests::senders::SrtLiveTransmit;
use penstock_tests::system::{Options, PATIENCE, Penstock, stream_path};
use serde_json::{Value, json};
use shm::Directory;
use shm::counters::StreamCounter as C;

const ID: &str = "cam";
/// Several times what passes two packets at a time.
const RATE_BPS: u64 = 8_000_000;
const PACKETS_PER_S: u64 = RATE_BPS / 8 / PAYLOAD_BYTES as u64;

/// Feeds the clip over and over at a constant rate until told to stop.
fn feed(sender: &mut SrtLiveTransmit, clip: &Clip, stop: &AtomicBool) -> Result<()> {
    let start = Instant::now();
    let payloads = clip.bytes.chunks_exact(PAYLOAD_BYTES).cycle();
    for (number, payload) in (0_u64..).zip(payloads) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let due = Duration::from_nanos(number * 1_000_000_000 / PACKETS_PER_S);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        sender.input().write_all(payload)?;
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

/// After the release: all that is fed arrives again, within a second and a half.
fn delivery_recovers(system: &Penstock, directory: &Directory) -> Result<()> {
    const WITHIN: Duration = Duration::from_millis(1_500);
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
    ensure!(took <= WITHIN, "delivery took {took:?} to recover");
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
        let feeder = scope.spawn(|| feed(&mut sender, &clip, &stop));
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
