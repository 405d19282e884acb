//! FFmpeg, libsrt's own tool and GStreamer: each one's frames arrive, whatever form of StreamID it
//! sends.

use anyhow::{Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::process::eventually;
use penstock_tests::senders::{self, SrtLiveTransmit};
use penstock_tests::system::{Options, PATIENCE, Penstock};
use serde_json::Value;

fn is_active(stream: &Value) -> bool {
    stream["status"] == "active" && stream["video_codec"] == "h264"
}

#[test]
fn frames_of_ffmpeg_arrive_under_the_resource_of_its_stream_id() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let system = Penstock::start(&Options::default())?;
    let tap = system.frames_of("live/ffmpeg")?;
    // FFmpeg's latency is in microseconds, and it only sends its last packets if told to linger.
    let url = format!(
        "srt://127.0.0.1:{}?streamid=#!::r=live/ffmpeg,m=publish&latency=350000&linger=5&pkt_size=1316",
        system.srt_port
    );
    let mut sender = senders::ffmpeg(&system, &[], &clip.path, &url)?;
    let stream = system.wait_stream("live/ffmpeg", "active", is_active)?;
    let latency = &stream["stats"]["connection_stats"]["delivery_delay_ms"];
    assert_eq!(latency.as_f64(), Some(350.0), "the latency both sides agreed on: {stream}");
    sender.succeed(PATIENCE)?;
    clip.is_whole(&tap.frames()?)?;
    system.stop()
}

#[test]
fn frames_of_srt_live_transmit_arrive_under_its_plain_stream_id() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let system = Penstock::start(&Options::default())?;
    let tap = system.frames_of("live/a/b c")?;
    let url = format!("{}&latency=50", system.srt_url("live/a/b c"));
    let mut sender = SrtLiveTransmit::start(&url, &system.path("said"))?;
    system.wait_stream("live/a/b c", "connected", |_| true)?;
    sender.feed(&clip)?;
    let packets = clip.bytes.chunks(1_316).count() as u64;
    let stream = system.wait_stream("live/a/b c", "everything", |stream| {
        is_active(stream) && stream["counters"]["packets_delivered"].as_u64() >= Some(packets)
    })?;
    let latency = &stream["stats"]["connection_stats"]["delivery_delay_ms"];
    assert_eq!(latency.as_f64(), Some(120.0), "ours is the larger: {stream}");
    ensure!(stream["peer_version"].as_str().is_some_and(|it| it.starts_with("1.")), "{stream}");
    sender.end()?;
    clip.is_whole(&tap.frames()?)?;
    system.stop()
}

#[test]
fn frames_of_gstreamer_arrive_under_a_derived_id_when_it_sends_none() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let system = Penstock::start(&Options::default())?;
    let uri = format!("uri=srt://127.0.0.1:{}?mode=caller", system.srt_port);
    let mut sender = senders::gstreamer(&system, &clip.path, &[&uri, "latency=120"])?;
    let id = eventually("a stream", PATIENCE, || {
        let list = system.get("/api/v1/streams")?;
        Ok(list["streams"][0]["id"].as_str().map(str::to_owned))
    })?;
    let parts: Vec<&str> = id.split('_').collect();
    let digits =
        |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    ensure!(
        matches!(&parts[..], ["srt", day, time, number]
            if digits(day, 8) && digits(time, 6) && digits(number, 3)),
        "the derived id is {id}"
    );
    let tap = system.frames_of(&id)?;
    system.wait_stream(&id, "active", is_active)?;
    sender.succeed(PATIENCE)?;
    let frames = tap.frames()?;
    clip.is_whole_but_for(5, &frames)?;
    system.stop()
}
