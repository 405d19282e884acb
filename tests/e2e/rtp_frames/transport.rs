//! MPEG-TS in RTP: what FFmpeg finds in the transport stream that went by, and in that again what
//! was coded.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::oracle::{self, Check, Frame};
use penstock_tests::process::Process;
use penstock_tests::rtp::senders::{self, Ffmpeg};
use penstock_tests::rtp::{CLEAR, Intake, Received};

use super::{BY_SSRC, SSRC};

/// FFmpeg's multiplexer begins with these.
const VIDEO: u16 = 0x100;
const AUDIO: u16 = 0x101;

/// Every frame is what FFmpeg finds in the transport stream that went by, stamps as they are.
fn is_as_sent(received: &Received, intake: &Intake, [video, audio]: [u16; 2]) -> Result<()> {
    let path = intake.system.path("wire.ts");
    let packets = &received.packets;
    let bytes: Vec<u8> = packets.iter().flat_map(|packet| packet.payload.clone()).collect();
    std::fs::write(&path, bytes)?;
    let of_kind = |kind: &str| -> Vec<Frame> {
        received.frames.iter().filter(|frame| frame.kind == kind).cloned().collect()
    };
    let (mut pictures, sound) = (of_kind("video"), of_kind("audio"));
    ensure!(pictures.len() + sound.len() == received.frames.len(), "frames of other kinds");
    // The sender fell silent, and a PES packet of unknown length ends with the next one: whether the
    // last picture was whole is not known. It was.
    let last = pictures.last_mut().context("no pictures")?;
    ensure!(std::mem::take(&mut last.damaged), "a picture cut off is told as damaged");
    let types = oracle::picture_types(&path, video)?;
    let check = Check { picture_types: Some(&types), ..Check::default() };
    for (frames, pid, check) in [(pictures, video, check), (sound, audio, Check::default())] {
        let packets = oracle::track(&path, pid)?;
        let compared = oracle::compare(&frames, &packets, &check)?;
        ensure!(compared.frames == frames.len(), "{compared:?} of {} frames", frames.len());
        ensure!(compared.frames == packets.len(), "{compared:?} of {} packets", packets.len());
    }
    Ok(())
}

fn at_the_shared_port(send: impl FnOnce(&Intake, SocketAddr) -> Result<Process>) -> Result<()> {
    let intake = Intake::start(BY_SSRC)?;
    let received = intake.receive("clip", intake.port, CLEAR, |to| send(&intake, to))?;
    is_as_sent(&received, &intake, [VIDEO, AUDIO])?;
    intake.system.stop()
}

#[test]
fn a_transport_stream_of_ffmpeg_is_what_went_by() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    at_the_shared_port(|intake, to| {
        let rtcp_port = intake.rtcp_port;
        Ffmpeg { file: &clip.path, to, rtcp_port, ssrc: SSRC, options: &[] }.mpegts(&intake.system)
    })
}

#[test]
fn a_transport_stream_of_gstreamer_is_what_went_by() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    at_the_shared_port(|intake, to| {
        let elements = "tsparse set-timestamps=true alignment=7 ! rtpmp2tpay ssrc=7";
        senders::gstreamer(&intake.system, &clip.path, elements, to)
    })
}
