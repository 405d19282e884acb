//! A panic in one session ends that session only, and leaves its ring consistent.

mod common;

use anyhow::Result;
use common::{Running, transport_stream};
use penstock_engine::run_worker;
use penstock_tests::publisher::{PAYLOAD_BYTES, Publisher};
use shm::counters::{ConductorCounter, StreamCounter, WorkerCounter};
use shm::{EndReason, Next, SeekFrom};

/// As the session's fault injection has it.
const FAULT: &[u8] = b"penstock: inject a fault here";

#[test]
fn a_panic_in_the_middle_of_a_frame_ends_that_session_only() -> Result<()> {
    let stream = transport_stream(2)?;
    let running = Running::start("[0]", run_worker)?;
    let mut good = Publisher::connect(running.address(), "good", 1)?;
    let mut bad = Publisher::connect(running.address(), "bad", 2)?;
    let half = stream.len() / 2 / PAYLOAD_BYTES * PAYLOAD_BYTES;
    for payload in stream[..half].chunks(PAYLOAD_BYTES) {
        good.send(payload)?;
        bad.send(payload)?;
    }
    good.drain()?;
    bad.drain()?;
    let before = running.wait_frames("bad")?;
    bad.send(FAULT)?;
    let ended = running.wait_stream("bad", |stream| stream.info.end == EndReason::Panicked)?;
    assert_eq!(before.info.id, ended.info.id);

    // Whole frames only, up to the last one published.
    let mut reader = running.link()?.ring("bad")?;
    reader.seek(SeekFrom::Oldest);
    let (mut bytes, mut frames) = (Vec::new(), 0);
    while let Next::Frame(frame) = reader.next(&mut bytes)? {
        assert!(!frame.is_damaged());
        frames += 1;
    }
    assert!(frames > 0);

    // The other publisher lost nothing, and the place is good for another.
    for payload in stream[half..].chunks(PAYLOAD_BYTES) {
        good.send(payload)?;
    }
    good.drain()?;
    let table = running.table()?;
    let unharmed = running.wait_frames("good")?;
    assert_eq!(unharmed.counter(StreamCounter::PacketsSkippedTooLate), 0);
    assert_eq!(unharmed.counter(StreamCounter::FramesDamaged), 0);
    let panicked: u64 =
        table.workers().iter().map(|worker| worker.counter(WorkerCounter::SessionsPanicked)).sum();
    assert_eq!(panicked, 1);
    assert_eq!(table.conductor().counter(ConductorCounter::EndedPanicked), 1);
    let mut again = Publisher::connect(running.address(), "bad", 3)?;
    for payload in stream[..half].chunks(PAYLOAD_BYTES) {
        again.send(payload)?;
    }
    again.drain()?;
    running.wait_stream("bad", |stream| {
        stream.counter(StreamCounter::FramesPublished)
            > ended.counter(StreamCounter::FramesPublished)
    })?;
    good.close()?;
    again.close()?;
    running.stop()
}
