//! GStreamer's payloaders.

use anyhow::Result;
use penstock_tests::rtp::senders;
use penstock_tests::rtp::source::Coding;
use penstock_tests::rtp::{CLEAR, Intake};

use super::{BY_SSRC, is_true, source};

fn at_the_shared_port(coding: Coding, elements: &str, tolerance_ticks: u64) -> Result<()> {
    let source = source(coding)?;
    let intake = Intake::start(BY_SSRC)?;
    let received = intake.receive("clip", intake.port, CLEAR, |to| {
        senders::gstreamer(&intake.system, &source.path, elements, to)
    })?;
    is_true(&received, &source, tolerance_ticks)?;
    intake.system.stop()
}

#[test]
fn h264_of_gstreamer_is_what_was_coded() -> Result<()> {
    at_the_shared_port(Coding::H264, "qtdemux ! h264parse ! rtph264pay ssrc=7 mtu=1200", 0)
}

#[test]
fn h264_aggregated_by_gstreamer_is_what_was_coded() -> Result<()> {
    let elements = "qtdemux ! rtph264pay ssrc=7 mtu=1200 aggregate-mode=zero-latency";
    at_the_shared_port(Coding::H264Slices, elements, 0)
}

#[test]
fn hevc_of_gstreamer_is_what_was_coded() -> Result<()> {
    at_the_shared_port(Coding::Hevc, "qtdemux ! h265parse ! rtph265pay ssrc=7 mtu=1200", 0)
}

#[test]
fn opus_of_gstreamer_is_what_was_coded() -> Result<()> {
    at_the_shared_port(Coding::Opus, "qtdemux ! opusparse ! rtpopuspay ssrc=7", 1)
}
