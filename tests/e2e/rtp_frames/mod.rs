//! Frame truth of RTP: what a reader gets of a real sender is, frame by frame, what was coded.
//!
//! Bytes, key flag, picture type, and both stamps: the first frame's are those of its packets, and
//! all others lie as far from it as in the source.

mod ffmpeg;
mod given;
mod gstreamer;
mod loss;
mod patterns;
mod transport;
mod transport_patterns;
mod workers;

use anyhow::{Context, Result, ensure};
use penstock_tests::rtp::source::{Coding, Source};
use penstock_tests::rtp::truth::{self, Expected, Stamps};
use penstock_tests::rtp::{Received, wire};

/// The keys of a session that is described.
fn described(description: &str) -> String {
    let description = description.replace("\r\n", "\n").replace('\n', "\\n");
    format!(", sessions: [{{id: clip, sdp: \"{description}\"}}]")
}

/// The SSRC of every sender, by which the shared port's rules name its stream.
const SSRC: u32 = 7;
/// The rule.
const BY_SSRC: &str = ", streams: [{ssrc: 7, id: clip}]";

fn source(coding: Coding) -> Result<Source> {
    Source::in_folder(env!("CARGO_TARGET_TMPDIR"), coding)
}

/// The place of an RTP timestamp, unwrapped, on the line.
fn line(ticks: i64, clock_hz: u32) -> u64 {
    let hz = i64::from(clock_hz);
    u64::try_from((ticks * 90_000 + hz / 2).div_euclid(hz)).unwrap_or(0)
}

/// Every frame of a source that came as RTP, by its own stamps as far as the sender rounds them, and
/// by its packets' exactly.
fn is_true(received: &Received, source: &Source, rounded_ticks: u64) -> Result<()> {
    let expected = truth::of_rtp(source, &[])?;
    is_expected(received, source, &expected, rounded_ticks)
}

fn is_expected(
    received: &Received,
    source: &Source,
    expected: &[Expected],
    rounded_ticks: u64,
) -> Result<()> {
    let hz = source.coding.clock_hz();
    let first = received.packets.first().context("no packets")?.timestamp;
    let stamps = Stamps { first: line(first.into(), hz), tolerance_ticks: rounded_ticks };
    truth::compare(source.coding.label(), &received.frames, expected, stamps)?;
    let units = wire::units(&received.packets);
    if units.len() != expected.len() {
        return Ok(()); // several in a packet
    }
    for (unit, frame) in units.iter().zip(&received.frames) {
        let since = unit[0].timestamp.wrapping_sub(first).cast_signed();
        let pts = line(i64::from(first) + i64::from(since), hz);
        ensure!(frame.pts == Some(pts), "its packets are of {pts}: {frame:?}");
    }
    Ok(())
}
