//! Many publishers at once from one host.

use anyhow::{Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::process::eventually;
use penstock_tests::publisher::Publisher;
use penstock_tests::senders;
use penstock_tests::system::{Options, PATIENCE, Penstock};

/// `ingestion.max_connections` when nothing is configured.
const PUBLISHERS: usize = 25;

#[test]
fn twenty_five_ffmpegs_publish_at_once_and_the_next_one_is_refused() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    // FFmpegs started all at once make each other wait: time enough to forgive that.
    let options = Options {
        workers: "[0, 1]".into(),
        srt: "    max_bandwidth: 10000000\n    latency: 1s\n".into(),
        ..Options::default()
    };
    let system = Penstock::start(&options)?;
    let senders = (0..PUBLISHERS)
        .map(|number| {
            let url = format!(
                "srt://127.0.0.1:{}?streamid=cam{number}&connect_timeout=30000&pkt_size=1316",
                system.srt_port
            );
            senders::ffmpeg(&system, &["-stream_loop", "-1"], &clip.path, &url)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut seen = serde_json::Value::Null;
    eventually("all are active", PATIENCE * 2, || {
        seen = system.get("/api/v1/streams")?;
        let streams = seen["streams"].as_array().map_or(&[][..], Vec::as_slice);
        let whole = |stream: &serde_json::Value| {
            stream["status"] == "active"
                && stream["counters"]["frames_published"].as_u64() > Some(100)
        };
        Ok((streams.len() == PUBLISHERS && streams.iter().all(whole)).then_some(()))
    })
    .map_err(|error| error.context(seen.to_string()))?;
    let late = Publisher::connect(system.srt_address(), "late", 9).expect_err("all places taken");
    ensure!(late.to_string().contains("2402"), "{late}");
    let directory = system.directory()?;
    for stream in directory.streams() {
        for counter in [
            shm::counters::StreamCounter::PacketsSkippedTooLate,
            shm::counters::StreamCounter::FramesDamaged,
            shm::counters::StreamCounter::PacketsDroppedSlots,
        ] {
            let id = stream.info.id.as_str();
            assert_eq!(stream.counter(counter), 0, "{id}: {}", counter.label());
        }
    }
    drop(senders);
    system.stop()
}
