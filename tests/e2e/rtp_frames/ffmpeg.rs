//! FFmpeg's RTP.

use anyhow::Result;
use penstock_tests::rtp::senders::Ffmpeg;
use penstock_tests::rtp::source::Coding;
use penstock_tests::rtp::{CLEAR, Intake};

use super::{BY_SSRC, SSRC, is_true, source};

fn at_the_shared_port(coding: Coding, tolerance_ticks: u64) -> Result<()> {
    let source = source(coding)?;
    let intake = Intake::start(BY_SSRC)?;
    let received = intake.receive("clip", intake.port, CLEAR, |to| {
        let rtcp_port = intake.rtcp_port;
        Ffmpeg { file: &source.path, to, rtcp_port, ssrc: SSRC, packet_bytes: 1_200 }
            .rtp(&intake.system)
    })?;
    is_true(&received, &source, tolerance_ticks)?;
    intake.system.stop()
}

#[test]
fn h264_of_ffmpeg_is_what_was_coded() -> Result<()> {
    at_the_shared_port(Coding::H264, 0)
}

#[test]
fn h264_in_slices_of_ffmpeg_is_what_was_coded() -> Result<()> {
    at_the_shared_port(Coding::H264Slices, 0)
}

#[test]
fn hevc_of_ffmpeg_is_what_was_coded() -> Result<()> {
    at_the_shared_port(Coding::Hevc, 0)
}

#[test]
fn opus_of_ffmpeg_is_what_was_coded() -> Result<()> {
    at_the_shared_port(Coding::Opus, 0)
}
