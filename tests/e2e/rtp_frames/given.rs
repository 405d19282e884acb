//! Sessions that are given, by the description of their sender.

use anyhow::{Context, Result, ensure};
use penstock_tests::rtp::senders::{self, Ffmpeg};
use penstock_tests::rtp::source::{Coding, Source};
use penstock_tests::rtp::{CLEAR, Intake, Received, truth, wire};
use penstock_tests::system::free_rtp_port;

use super::{SSRC, described, is_expected, is_true, line, source};

/// What comes of a file that FFmpeg describes and sends.
fn of_ffmpeg(source: &Source) -> Result<Received> {
    let port = free_rtp_port()?;
    let description = senders::description_of_ffmpeg(&source.path, port)?;
    let intake = Intake::start(&described(&description))?;
    let received = intake.receive("clip", port, CLEAR, |to| {
        let sender =
            Ffmpeg { file: &source.path, to, rtcp_port: port + 1, ssrc: SSRC, packet_bytes: 1_200 };
        sender.rtp(&intake.system)
    })?;
    intake.system.stop()?;
    Ok(received)
}

/// What comes of a file that GStreamer describes and sends.
fn of_gstreamer(source: &Source, elements: &str) -> Result<Received> {
    let port = free_rtp_port()?;
    let description = senders::description_of_gstreamer(&source.path, elements, port)?;
    let intake = Intake::start(&described(&description))?;
    let received = intake.receive("clip", port, CLEAR, |to| {
        senders::gstreamer(&intake.system, &source.path, elements, to)
    })?;
    intake.system.stop()?;
    Ok(received)
}

/// AAC of FFmpeg: several access units a packet, the last of which it keeps to itself.
fn aac_of_ffmpeg(coding: Coding, rounded_ticks: u64) -> Result<()> {
    let source = source(coding)?;
    let received = of_ffmpeg(&source)?;
    let units_in = |packet: &wire::Packet| {
        let bits = packet.payload.first_chunk().map_or(0, |bits| u16::from_be_bytes(*bits));
        usize::from(bits / 16) // AU headers of AAC-hbr (RFC 3640, 3.3.6)
    };
    let sent = received.packets.iter().map(units_in).sum::<usize>();
    let mut expected = truth::of_rtp(&source, &[])?;
    ensure!(sent + 8 > expected.len() && sent <= expected.len(), "{sent} units were sent");
    ensure!(received.packets.len() < sent, "one a packet");
    expected.truncate(sent);
    is_expected(&received, &source, &expected, rounded_ticks)
}

#[test]
fn aac_of_ffmpeg_is_what_was_coded() -> Result<()> {
    aac_of_ffmpeg(Coding::Aac, 0)
}

#[test]
fn aac_of_44100_hz_of_ffmpeg_is_what_was_coded() -> Result<()> {
    aac_of_ffmpeg(Coding::Aac44100, 1)
}

#[test]
fn hevc_of_ffmpeg_is_what_was_coded() -> Result<()> {
    let source = source(Coding::Hevc)?;
    is_true(&of_ffmpeg(&source)?, &source, 0)
}

#[test]
fn h264_with_delimiters_of_ffmpeg_is_what_was_coded() -> Result<()> {
    let source = source(Coding::H264Delimited)?;
    is_true(&of_ffmpeg(&source)?, &source, 0)
}

#[test]
fn aac_of_gstreamer_is_what_was_coded() -> Result<()> {
    let source = source(Coding::Aac)?;
    is_true(&of_gstreamer(&source, "qtdemux ! aacparse ! rtpmp4gpay")?, &source, 2)
}

#[test]
fn aac_as_latm_of_gstreamer_is_what_was_coded() -> Result<()> {
    let source = source(Coding::Aac)?;
    is_true(&of_gstreamer(&source, "qtdemux ! aacparse ! rtpmp4apay")?, &source, 2)
}

#[test]
fn samples_of_gstreamer_are_what_was_recorded() -> Result<()> {
    let source = source(Coding::L24)?;
    let received = of_gstreamer(&source, "qtdemux ! rtpL24pay mtu=1200")?;
    let samples: Vec<u8> = source.units.iter().flat_map(|unit| unit.bytes.clone()).collect();
    let first = received.packets.first().context("no packets")?.timestamp;
    let mut at = 0;
    ensure!(received.frames.len() == received.packets.len(), "{} frames", received.frames.len());
    for (frame, packet) in received.frames.iter().zip(&received.packets) {
        let bytes = samples.get(at..at + frame.size).context("more than was recorded")?;
        // Two channels of three bytes.
        let ticks = u32::try_from(at / 6)?;
        let pts = line(i64::from(first) + i64::from(ticks), 48_000);
        ensure!(packet.timestamp == first.wrapping_add(ticks), "{packet:?}");
        ensure!(frame.pts == Some(pts), "not at {pts}: {frame:?}");
        ensure!(frame.sha256 == penstock_tests::generate::sha256(bytes), "{frame:?}");
        ensure!(frame.codec == "l24" && frame.class == "audio" && !frame.damaged, "{frame:?}");
        at += frame.size;
    }
    ensure!(at == samples.len(), "{at} of {} bytes", samples.len());
    Ok(())
}

#[test]
fn parameter_sets_of_a_description_stand_before_the_slices_of_key_pictures() -> Result<()> {
    let source = source(Coding::H264Described)?;
    let sets = source.described_units()?;
    ensure!(sets.len() == 2, "{} parameter sets", sets.len());
    let received = of_ffmpeg(&source)?;
    is_expected(&received, &source, &truth::of_rtp(&source, &sets)?, 0)
}
