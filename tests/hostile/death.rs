//! The dataplane is killed while another process reads from it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use penstock_tests::generate::sha256;
use penstock_tests::process::eventually;
use penstock_tests::publisher::Publisher;
use penstock_tests::system::PATIENCE;
use shm::{Liveness, Next, SeekFrom};

use super::start;

#[test]
fn a_reader_of_a_killed_dataplane_keeps_whole_frames_and_is_told() -> Result<()> {
    let (mut system, clip) = start()?;
    let mut publisher = Publisher::connect(system.srt_address(), "cam", 2)?;
    let (bytes, rate) = (clip.bytes.clone(), clip.bits_per_second());
    let sending = std::thread::spawn(move || publisher.send_stream(&bytes, 2 * rate));
    system.wait_stream("cam", "frames", |stream| {
        stream["counters"]["frames_published"].as_u64() > Some(60)
    })?;
    let directory = system.directory()?;
    let mut reader = system.link()?.ring("cam")?;
    ensure!(directory.liveness(Duration::from_secs(5)) == Liveness::Alive);

    system.dataplane.kill();
    eventually("it is told", PATIENCE, || {
        Ok((directory.liveness(PATIENCE * 2) == Liveness::Gone).then_some(()))
    })?;
    reader.seek(SeekFrom::Oldest);
    let (mut frame, mut pictures, mut sounds) = (Vec::new(), 0, 0);
    loop {
        match reader.next(&mut frame)? {
            Next::Frame(found) if found.is_damaged() => bail!("a damaged frame: {found:?}"),
            Next::Frame(found) => {
                let hash = sha256(&frame);
                let is = |packets: &[penstock_tests::oracle::Packet]| {
                    packets.iter().any(|packet| packet.sha256 == hash)
                };
                match (is(&clip.video), is(&clip.audio)) {
                    (true, _) => pictures += 1,
                    (_, true) => sounds += 1,
                    _ => bail!("not of the clip: {found:?}"),
                }
            }
            Next::Empty | Next::Ended => break,
            Next::Overrun { lost } => bail!("overrun by a dead writer: {lost}"),
        }
    }
    ensure!(pictures > 20 && sounds > 20, "{pictures} pictures, {sounds} sounds");
    let stream = directory.stream("cam").context("still listed")?;
    let published = stream.counter(shm::counters::StreamCounter::FramesPublished);
    ensure!(published >= 60, "{published} frames published");
    // The publisher hears nothing any more: it fails, or is done before it notices.
    let _ = sending.join();
    Ok(())
}
