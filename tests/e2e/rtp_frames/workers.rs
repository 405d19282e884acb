//! Two workers share the port: each takes its senders' packets, and none is lost between them.

use std::thread;

use anyhow::{Result, anyhow, ensure};
use penstock_tests::rtp::senders::Ffmpeg;
use penstock_tests::rtp::source::Coding;
use penstock_tests::rtp::{CLEAR, Intake, Received};

use super::{is_true, source};

#[test]
fn senders_of_both_workers_are_what_was_coded() -> Result<()> {
    let intake = Intake::with_workers(
        "[0, 1]",
        ", streams: [{ssrc: 6, id: a}, {ssrc: 7, id: b}, {ssrc: 8, id: c}]",
    )?;
    let codings = [("a", 6, Coding::H264), ("b", 7, Coding::Hevc), ("c", 8, Coding::Opus)];
    let receive = |id: &str, ssrc, coding| -> Result<Received> {
        let source = source(coding)?;
        let received = intake.receive(id, intake.port, CLEAR, |to| {
            let rtcp_port = intake.rtcp_port;
            Ffmpeg { file: &source.path, to, rtcp_port, ssrc, packet_bytes: 1_200 }
                .rtp(&intake.system)
        })?;
        is_true(&received, &source, 0)?;
        Ok(received)
    };
    let workers = thread::scope(|scope| -> Result<Vec<_>> {
        let started =
            codings.map(|(id, ssrc, coding)| scope.spawn(move || receive(id, ssrc, coding)));
        let ended = started.into_iter().map(|it| it.join().map_err(|_| anyhow!("it panicked"))?);
        ended.map(|received| Ok(received?.stream.info.worker)).collect()
    })?;
    // By their SSRC.
    ensure!(workers == [0, 1, 0], "{workers:?}");
    intake.system.stop()
}
