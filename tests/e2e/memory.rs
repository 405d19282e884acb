//! The memory sum that is printed at the start is held under load, and no thread is added.

use anyhow::{Context, Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::publisher::Publisher;
use penstock_tests::system::{Options, Penstock};

const PUBLISHERS: u32 = 10;

fn threads(pid: u32) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        names.push(std::fs::read_to_string(task?.path().join("comm"))?.trim().to_owned());
    }
    Ok(names)
}

#[test]
fn memory_stays_within_the_printed_sum_and_threads_stay_as_they_are() -> Result<()> {
    let clip = Clip::in_folder(env!("CARGO_TARGET_TMPDIR"))?;
    let options = Options { workers: "[0, 1]".into(), ..Options::default() };
    let printed = String::from_utf8(Penstock::check(&options)?.stdout)?;
    let system = Penstock::start(&options)?;
    let pid = system.dataplane.id();
    let at_start = threads(pid)?;
    let budget = system.directory()?.header().memory_budget_bytes;
    let mib: f64 = printed.split_ascii_whitespace().nth(1).context("a sum")?.parse()?;
    #[expect(clippy::cast_precision_loss, reason = "printed with one decimal")]
    let told = budget as f64 / f64::from(1 << 20);
    ensure!((mib - told).abs() < 0.1, "--check prints {mib} MiB, shared memory says {told} MiB");

    let mut publishers = (0..PUBLISHERS)
        .map(|number| Publisher::connect(system.srt_address(), &format!("cam{number}"), number + 1))
        .collect::<Result<Vec<_>>>()?;
    let mut most = 0;
    for (index, payload) in clip.bytes.chunks(1_316).enumerate() {
        for publisher in &mut publishers {
            publisher.send(payload)?;
        }
        if index % 64 == 0 {
            most = most.max(system.dataplane.memory()?.all());
        }
    }
    for publisher in &mut publishers {
        publisher.drain()?;
    }
    let streams = system.get("/api/v1/streams")?;
    assert_eq!(streams["count"], u64::from(PUBLISHERS), "{streams}");
    most = most.max(system.dataplane.memory()?.all());
    eprintln!("the process holds {most} bytes, the sum is {budget}");
    ensure!(most <= budget, "the process holds {most} bytes, the sum is {budget}:\n{printed}");

    assert_eq!(threads(pid)?, at_start, "threads before and under load");
    ensure!(at_start.len() <= 2 + 2, "two workers, and threads {at_start:?}");
    publishers.into_iter().try_for_each(Publisher::close)?;
    system.stop()
}
