//! MPEG-TS in RTP: what FFmpeg finds in the transport stream that went by, and in that again what
//! was coded.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::oracle::{self, Check, Frame, Packet};
use penstock_tests::process::Process;
use penstock_tests::rtp::senders::{self, Ffmpeg};
use penstock_tests::rtp::source::Coding;
use penstock_tests::rtp::truth::{self, Additions, Stamps};
use penstock_tests::rtp::{CLEAR, Intake, Received};
use penstock_tests::system::free_rtp_port;

use super::{BY_SSRC, SSRC, source};

/// How FFmpeg and GStreamer delimit access units of H.264 and HEVC in transport streams: with one
/// that allows slices of all types.
const H264_DELIMITER: &[u8] = &[9, 0xf0];
const HEVC_DELIMITER: &[u8] = &[0x46, 1, 0x50];

/// Who multiplexed a transport stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Multiplexer {
    /// Its PES packets of pictures have no length, and end with the next one: of the last picture
    /// nobody knows whether it was whole when the sender falls silent. With RTP it is not: what does
    /// not fill a last packet is never sent.
    Ffmpeg,
    /// Its PES packets have lengths.
    Gstreamer,
}

/// The transport stream that went by.
struct Sent {
    path: PathBuf,
    packets: Vec<Packet>,
}

impl Sent {
    fn new(received: &Received, intake: &Intake) -> Result<Self> {
        let path = intake.system.path("wire.ts");
        let packets = &received.packets;
        let bytes: Vec<u8> = packets.iter().flat_map(|packet| packet.payload.clone()).collect();
        std::fs::write(&path, bytes)?;
        let packets = oracle::packets(&path)?;
        Ok(Self { path, packets })
    }

    fn pid_of(&self, codec: &str) -> Result<u16> {
        let packet = self.packets.iter().find(|packet| packet.codec == codec);
        Ok(packet.with_context(|| format!("no {codec} in what was sent"))?.pid)
    }

    /// Every picture is what FFmpeg finds, stamps as they are.
    fn are_its_pictures(&self, frames: &[Frame], codec: &str, by: Multiplexer) -> Result<()> {
        let mut frames: Vec<Frame> =
            frames.iter().filter(|frame| frame.kind == "video").cloned().collect();
        let last = frames.last_mut().context("no pictures")?;
        let damaged = std::mem::take(&mut last.damaged);
        ensure!(damaged == (by == Multiplexer::Ffmpeg), "the last picture is damaged: {damaged}");
        let pid = self.pid_of(codec)?;
        let types = oracle::picture_types(&self.path, pid)?;
        self.are(&frames, pid, &Check { picture_types: Some(&types), ..Check::default() })
    }

    /// The same of sound.
    fn is_its_sound(&self, frames: &[Frame]) -> Result<()> {
        let frames: Vec<Frame> =
            frames.iter().filter(|frame| frame.kind == "audio").cloned().collect();
        self.are(&frames, self.pid_of("aac")?, &Check::default())
    }

    fn are(&self, frames: &[Frame], pid: u16, check: &Check<'_>) -> Result<()> {
        let packets = oracle::track(&self.path, pid)?;
        let compared = oracle::compare(frames, &packets, check)?;
        ensure!(compared.frames == frames.len(), "{compared:?} of {} frames", frames.len());
        ensure!(compared.frames == packets.len(), "{compared:?} of {} packets", packets.len());
        Ok(())
    }
}

/// What comes of a transport stream at the shared port.
fn receive(
    send: impl FnOnce(&Intake, SocketAddr) -> Result<Process>,
) -> Result<(Intake, Received, Sent)> {
    let intake = Intake::start(BY_SSRC)?;
    let received = intake.receive("clip", intake.port, CLEAR, |to| send(&intake, to))?;
    let sent = Sent::new(&received, &intake)?;
    Ok((intake, received, sent))
}

fn by_ffmpeg(intake: &Intake, file: &Path, to: SocketAddr) -> Result<Process> {
    let rtcp_port = intake.rtcp_port;
    // Seven packets of the transport stream and the header of RTP.
    Ffmpeg { file, to, rtcp_port, ssrc: SSRC, packet_bytes: 1_328 }.mpegts(&intake.system)
}

/// Pictures and sound of a transport stream that exists.
fn clip_is_what_went_by(
    send: impl FnOnce(&Intake, &Path, SocketAddr) -> Result<Process>,
) -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let (intake, received, sent) = receive(|intake, to| send(intake, &clip.path, to))?;
    sent.are_its_pictures(&received.frames, "h264", Multiplexer::Ffmpeg)?;
    sent.is_its_sound(&received.frames)?;
    let others = received.frames.iter().find(|it| it.kind != "video" && it.kind != "audio");
    ensure!(others.is_none(), "a frame of another kind: {others:?}");
    intake.system.stop()
}

#[test]
fn pictures_and_sound_of_ffmpegs_transport_stream_are_what_went_by() -> Result<()> {
    clip_is_what_went_by(by_ffmpeg)
}

#[test]
fn pictures_and_sound_of_gstreamers_transport_stream_are_what_went_by() -> Result<()> {
    clip_is_what_went_by(|intake, file, to| {
        let elements = "tsparse set-timestamps=true alignment=7 ! rtpmp2tpay ssrc=7";
        senders::gstreamer(&intake.system, file, elements, to)
    })
}

#[test]
fn a_transport_stream_at_a_session_of_its_own_is_what_went_by() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let port = free_rtp_port()?;
    let session = format!(", sessions: [{{id: clip, port: {port}, payload_type: 33}}]");
    let intake = Intake::start(&session)?;
    let received = intake.receive("clip", port, CLEAR, |to| {
        Ffmpeg { file: &clip.path, to, rtcp_port: port + 1, ssrc: SSRC, packet_bytes: 1_328 }
            .mpegts(&intake.system)
    })?;
    let sent = Sent::new(&received, &intake)?;
    sent.are_its_pictures(&received.frames, "h264", Multiplexer::Ffmpeg)?;
    sent.is_its_sound(&received.frames)?;
    intake.system.stop()
}

/// Pictures that a sender puts into a transport stream: what went by, and what was coded.
fn pictures_are_what_was_coded(
    coding: Coding,
    delimiter: Option<&[u8]>,
    by: Multiplexer,
    send: impl FnOnce(&Intake, &Path, SocketAddr) -> Result<Process>,
) -> Result<()> {
    let mut source = source(coding)?;
    let (intake, received, sent) = receive(|intake, to| send(intake, &source.path, to))?;
    sent.are_its_pictures(&received.frames, coding.label(), by)?;
    let pid = sent.pid_of(coding.label())?;
    let mut packets: Vec<&Packet> =
        sent.packets.iter().filter(|packet| packet.pid == pid).collect();
    let pieces = oracle::payloads(&sent.path, pid, &packets)?;
    if by == Multiplexer::Ffmpeg {
        // The last one that was sent is cut off, and perhaps one was not sent at all.
        packets.pop();
        ensure!((1..=2).contains(&(source.units.len() - packets.len())), "more is missing");
        source.units.truncate(packets.len());
    }
    let sets = source.described_units()?;
    // FFmpeg puts what MP4 has of HEVC beside the pictures before the slices of each key picture.
    let repeats = by == Multiplexer::Ffmpeg && coding == Coding::Hevc;
    let added = Additions { delimiter, sets: if repeats { &sets } else { &[] } };
    truth::of_transport_stream(&source, &packets, &pieces, &added)?;
    intake.system.stop()
}

fn by_gstreamer(parser: &str) -> impl FnOnce(&Intake, &Path, SocketAddr) -> Result<Process> {
    let elements = format!("qtdemux ! {parser} ! mpegtsmux alignment=7 ! rtpmp2tpay ssrc=7");
    move |intake, file, to| senders::gstreamer(&intake.system, file, &elements, to)
}

#[test]
fn h264_in_ffmpegs_transport_stream_is_what_was_coded() -> Result<()> {
    pictures_are_what_was_coded(Coding::H264, Some(H264_DELIMITER), Multiplexer::Ffmpeg, by_ffmpeg)
}

#[test]
fn hevc_in_ffmpegs_transport_stream_is_what_was_coded() -> Result<()> {
    pictures_are_what_was_coded(Coding::Hevc, Some(HEVC_DELIMITER), Multiplexer::Ffmpeg, by_ffmpeg)
}

#[test]
fn h264_in_gstreamers_transport_stream_is_what_was_coded() -> Result<()> {
    let send = by_gstreamer("h264parse");
    let by = Multiplexer::Gstreamer;
    pictures_are_what_was_coded(Coding::H264, Some(H264_DELIMITER), by, send)
}

#[test]
fn hevc_in_gstreamers_transport_stream_is_what_was_coded() -> Result<()> {
    let send = by_gstreamer("h265parse");
    pictures_are_what_was_coded(Coding::Hevc, None, Multiplexer::Gstreamer, send)
}

#[test]
fn aac_in_gstreamers_transport_stream_is_what_was_coded() -> Result<()> {
    let source = source(Coding::Aac)?;
    let send = by_gstreamer("aacparse");
    let (intake, received, sent) = receive(|intake, to| send(intake, &source.path, to))?;
    sent.is_its_sound(&received.frames)?;
    let expected = truth::of_rtp(&source, &[])?;
    let first = received.frames.first().and_then(|frame| frame.pts).context("no PTS")?;
    let stamps = Stamps { first, tolerance_ticks: 1 };
    truth::compare("aac", &received.frames, &expected, stamps)?;
    intake.system.stop()
}
