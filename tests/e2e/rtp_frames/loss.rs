//! Through a network that loses and reorders: what is delivered as clean are exactly the frames all
//! of whose packets arrived.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use penstock_tests::oracle::Frame;
use penstock_tests::relay::Impairment;
use penstock_tests::rtp::senders::{self, Ffmpeg};
use penstock_tests::rtp::source::{Coding, Source};
use penstock_tests::rtp::truth;
use penstock_tests::rtp::{CLEAR, Intake, Received, wire};
use shm::StreamSnapshot;
use shm::counters::StreamCounter as C;

use super::{BY_SSRC, SSRC, is_true, line, source};

fn figures(stream: &StreamSnapshot) -> String {
    let told = C::ALL.iter().filter(|it| stream.counter(**it) > 0);
    let told = told.map(|it| format!("{} {}", it.label(), stream.counter(*it)));
    told.collect::<Vec<_>>().join(", ")
}

/// Clean are exactly the frames of whole units; the others are marked, or are not there.
fn clean_is_exactly_what_arrived(received: &Received, source: &Source) -> Result<()> {
    let expected = truth::of_rtp(source, &[])?;
    let units = wire::units(&received.packets);
    ensure!(units.len() == expected.len(), "{} units were sent", units.len());
    let mut frames = received.frames.iter().peekable();
    let (mut clean, mut damaged, mut missing) = (0, 0, 0);
    for (number, (unit, expected)) in units.iter().zip(&expected).enumerate() {
        let pts = line(unit[0].timestamp.into(), source.coding.clock_hz());
        let frame = frames.next_if(|frame| frame.pts == Some(pts));
        let lost = unit.iter().filter(|packet| packet.lost).count();
        let told = format!("unit {number}, {lost} of {} packets lost: {frame:?}", unit.len());
        match frame {
            Some(frame) if lost == 0 => {
                ensure!(is_whole(frame, expected), "{told}\nshould be {expected:?}");
                clean += 1;
            }
            Some(frame) => {
                ensure!(lost < unit.len() && frame.damaged, "{told}");
                damaged += 1;
            }
            None if lost > 0 => missing += 1,
            None => bail!("{told}"),
        }
    }
    ensure!(frames.next().is_none(), "a frame of no unit: {frames:?}");
    let counted = received.stream.counter(C::FramesDamaged);
    ensure!(counted == damaged, "{damaged} frames marked, {counted} counted");
    let told = format!("{clean} clean, {damaged} damaged, {missing} missing");
    ensure!((1..clean).contains(&(missing + damaged)), "the network did nothing, or all: {told}");
    Ok(())
}

fn is_whole(frame: &Frame, expected: &truth::Expected) -> bool {
    !frame.damaged
        && frame.sha256 == expected.sha256
        && frame.size == expected.size
        && frame.key == expected.key
        && frame.class == expected.class
}

/// All that was lost is found missing, but for what nothing came behind.
fn losses_are_counted(received: &Received) -> Result<()> {
    let last = received.packets.iter().rposition(|packet| !packet.lost).context("nothing came")?;
    let lost = received.packets[..last].iter().filter(|packet| packet.lost).count() as u64;
    let stream = &received.stream;
    ensure!(stream.counter(C::PacketsSkippedTooLate) == lost, "{lost} lost: {}", figures(stream));
    let arrived = received.packets.iter().filter(|packet| !packet.lost).count() as u64;
    ensure!(stream.counter(C::PacketsReceived) == arrived, "{arrived} came: {}", figures(stream));
    Ok(())
}

/// Through a network to the shared port.
fn through(network: Impairment, coding: Coding, further: &str) -> Result<(Received, Source)> {
    let source = source(coding)?;
    let intake = Intake::start(&format!("{BY_SSRC}{further}"))?;
    let received = intake.receive("clip", intake.port, network, |to| {
        // Small, so that there are many.
        let packet_bytes = if coding.is_video() { 400 } else { 1_200 };
        let rtcp_port = intake.rtcp_port;
        Ffmpeg { file: &source.path, to, rtcp_port, ssrc: SSRC, packet_bytes }.rtp(&intake.system)
    })?;
    intake.system.stop()?;
    Ok((received, source))
}

fn losing(seed: u64, permille: u32) -> Impairment {
    Impairment { seed, loss_permille: permille, ..CLEAR }
}

fn losses_of(coding: Coding, seed: u64, permille: u32) -> Result<()> {
    let (received, source) = through(losing(seed, permille), coding, "")?;
    losses_are_counted(&received)?;
    clean_is_exactly_what_arrived(&received, &source)
}

#[test]
fn at_one_percent_loss_clean_h264_is_exactly_what_arrived() -> Result<()> {
    losses_of(Coding::H264, 8, 10)
}

#[test]
fn at_five_percent_loss_clean_h264_in_slices_is_exactly_what_arrived() -> Result<()> {
    losses_of(Coding::H264Slices, 3, 50)
}

#[test]
fn at_one_percent_loss_clean_hevc_is_exactly_what_arrived() -> Result<()> {
    losses_of(Coding::Hevc, 36, 10)
}

#[test]
fn at_five_percent_loss_opus_is_exactly_what_arrived() -> Result<()> {
    losses_of(Coding::Opus, 7, 50)
}

#[test]
fn reordering_within_the_window_loses_nothing() -> Result<()> {
    reordered(Impairment { reorder_permille: 100, ..reordering(10) })
}

/// The picture that a stream begins with is in its first packets: of these, a third is overtaken.
#[test]
fn reordering_of_a_senders_first_packets_loses_nothing() -> Result<()> {
    (1..=3).try_for_each(|seed| reordered(reordering(seed)).with_context(|| format!("seed {seed}")))
}

fn reordering(seed: u64) -> Impairment {
    Impairment {
        seed,
        reorder_permille: 333,
        reorder_delay: Duration::from_millis(20),
        duplicate_permille: 20,
        ..CLEAR
    }
}

fn reordered(network: Impairment) -> Result<()> {
    // However long the machine may be busy with something else.
    let (received, source) = through(network, Coding::H264, ", latency: 8s, latency_max: 16s")?;
    is_true(&received, &source, 0).with_context(|| figures(&received.stream))?;
    let stream = &received.stream;
    ensure!(stream.counter(C::PacketsReordered) > 0, "nothing was reordered: {}", figures(stream));
    ensure!(stream.counter(C::PacketsDuplicate) > 0, "no duplicate: {}", figures(stream));
    ensure!(stream.counter(C::PacketsSkippedTooLate) == 0, "{}", figures(stream));
    Ok(())
}

#[test]
fn at_one_percent_loss_clean_h264_of_gstreamer_is_exactly_what_arrived() -> Result<()> {
    let source = source(Coding::H264Slices)?;
    let intake = Intake::start(BY_SSRC)?;
    let received = intake.receive("clip", intake.port, losing(12, 10), |to| {
        let elements = "qtdemux ! rtph264pay ssrc=7 mtu=400 aggregate-mode=zero-latency";
        senders::gstreamer(&intake.system, &source.path, elements, to)
    })?;
    losses_are_counted(&received)?;
    clean_is_exactly_what_arrived(&received, &source)?;
    intake.system.stop()
}
