//! Frame truth of RTP: what a reader gets of a real sender is, frame by frame, what was coded.
//!
//! Bytes, key flag, picture type, and both stamps: the first frame's are those of its packets, and
//! all others lie as far from it as in the source.

mod ffmpeg;
mod gstreamer;
mod transport;

use anyhow::{Context, Result};
use penstock_tests::rtp::Received;
use penstock_tests::rtp::source::{Coding, Source};
use penstock_tests::rtp::truth::{self, Stamps};

/// The SSRC of every sender, by which the shared port's rules name its stream.
const SSRC: u32 = 7;
/// The rule.
const BY_SSRC: &str = ", streams: [{ssrc: 7, id: clip}]";

fn source(coding: Coding) -> Result<Source> {
    Source::in_folder(env!("CARGO_TARGET_TMPDIR"), coding)
}

/// The place of an RTP timestamp on the line.
fn line(timestamp: u32, clock_hz: u32) -> u64 {
    let hz = u64::from(clock_hz);
    (u64::from(timestamp) * 90_000 + hz / 2) / hz
}

/// Every frame of a source that came as RTP.
fn is_true(received: &Received, source: &Source, tolerance_ticks: u64) -> Result<()> {
    let expected = truth::of_rtp(source)?;
    let first = received.packets.first().context("no packets")?;
    let first = line(first.timestamp, source.coding.clock_hz());
    let stamps = Stamps { first, tolerance_ticks };
    truth::compare(source.coding.label(), &received.frames, &expected, stamps)
}
