//! Each sender's frames, and the end of one that says nothing.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use penstock_tests::clip::Clip;
use penstock_tests::generate::clips::{self, AAC, H264};
use penstock_tests::peers::{Keys, Peer, Side, Way};
use penstock_tests::process::Process;
use penstock_tests::publisher::{PAYLOAD_BYTES, Publisher};
use penstock_tests::senders::SrtLiveTransmit;
use penstock_tests::system::{PATIENCE, Penstock};

use super::{BITS_PER_SECOND, Expected, Tap, options};

#[test]
fn frames_of_srt_live_transmit() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let system = Penstock::start(&options())?;
    let tap = Tap::start(&system, "libsrt", "frames")?;
    let mut sender =
        SrtLiveTransmit::start(&system.srt_url("libsrt"), &system.path("srt-live-transmit.log"))?;
    system.wait_stream("libsrt", "connected", |_| true)?;
    sender.feed(&clip)?;
    wait_delivered(&system, "libsrt", &clip)?;
    sender.end()?;
    Expected::clip(&clip.path).check(&tap.frames()?)?;
    system.stop()
}

#[test]
fn frames_of_gstreamer() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let system = Penstock::start(&options())?;
    let tap = Tap::start(&system, "gstreamer", "frames")?;
    let way = Way {
        side: Side::Caller,
        address: system.srt_address(),
        stream_id: "gstreamer",
        passphrase: None,
        keys: Keys::CLEAR,
        latency_ms: 300,
    };
    // What it has not sent when its input ends it throws away.
    let mut sender = Peer::Gstreamer.start(&way, &clip, &system.path("gstreamer.log"))?;
    system.wait_stream("gstreamer", "connected", |_| true)?;
    sender.feed(&clip)?;
    wait_delivered(&system, "gstreamer", &clip)?;
    sender.end()?;
    Expected::clip(&clip.path).check(&tap.frames()?)?;
    system.stop()
}

/// All of a clip is delivered. Its sender sends more than that: what pushes the clip's end out of its
/// buffers.
fn wait_delivered(system: &Penstock, id: &str, clip: &Clip) -> Result<()> {
    let packets = clip.bytes.chunks(PAYLOAD_BYTES).count() as u64;
    system.wait_stream(id, "everything", |stream| {
        stream["counters"]["packets_delivered"].as_u64() >= Some(packets)
    })?;
    Ok(())
}

/// FFmpeg codes in real time and writes what it sends to a file also. Without `linger` it would
/// throw away what libsrt has not sent when it ends.
fn ffmpeg_live(system: &Penstock, id: &str, recorded: &Path) -> Result<Process> {
    let url = format!("{}&latency=300000&pkt_size=1316&linger=5", system.srt_url(id));
    let mut command = Command::new("ffmpeg");
    command.stderr(system.log()?);
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin"]);
    command.args(["-re", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=4"]);
    command.args(["-re", "-f", "lavfi", "-i", "sine=440:r=48000:d=4"]);
    command.args(["-map", "0:v", "-map", "1:a", "-g", "25"]).args(H264).args(AAC);
    let outputs = format!("[f=mpegts]{}|[f=mpegts]{url}", recorded.display());
    command.args(["-f", "tee", &outputs]);
    Process::start("ffmpeg", &mut command)
}

#[test]
fn frames_of_ffmpeg_coding_live() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let system = Penstock::start(&options())?;
    let tap = Tap::start(&system, "ffmpeg", "frames")?;
    let recorded = folder.path().join("recorded.ts");
    ffmpeg_live(&system, "ffmpeg", &recorded)?.succeed(PATIENCE)?;
    Expected::clip(&recorded).check(&tap.frames()?)?;
    system.stop()
}

#[test]
fn a_publisher_that_vanishes_leaves_all_frames_of_what_it_sent() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = clips::h264_aac(folder.path())?;
    let system = Penstock::start(&options())?;
    let tap = Tap::start(&system, "vanished", "frames")?;
    let mut publisher = Publisher::connect(system.srt_address(), "vanished", 2)?;
    publisher.send_stream(&std::fs::read(&path)?, BITS_PER_SECOND)?;
    drop(publisher);
    let mut frames = tap.frames()?;
    // Nobody said that the last picture was whole; what came of it is all of it here.
    if let Some(last) = frames.iter_mut().rev().find(|frame| frame.kind == "video") {
        assert!(std::mem::take(&mut last.damaged), "a picture cut off is told as damaged");
    }
    Expected::clip(&path).check(&frames)?;
    system.stop()
}
