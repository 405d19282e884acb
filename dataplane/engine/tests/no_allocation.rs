//! Workers allocate nothing once they turn, whatever comes in.

mod common;

use anyhow::Result;
use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use common::{Running, transport_stream};
use penstock_tests::publisher::Publisher;

/// Aborts the process when a worker allocates.
#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

fn watched(turn: &mut dyn FnMut()) {
    assert_no_alloc(turn);
}

#[test]
fn publishers_junk_and_reconnects_allocate_nothing_on_workers() -> Result<()> {
    let stream = transport_stream(2)?;
    let running = Running::start("[0, 1]", watched)?;
    let to = running.address();
    for round in 0..2 {
        let mut publishers = (0..4)
            .map(|n| Publisher::connect(to, &format!("live/{n}"), 100 * round + n))
            .collect::<Result<Vec<_>>>()?;
        for publisher in &publishers {
            publisher.send_raw(b"")?;
            publisher.send_raw(b"too short")?;
            publisher.send_raw(&[0xff; 1_500])?;
        }
        for payload in stream.chunks(1_316) {
            for publisher in &mut publishers {
                publisher.send(payload)?;
            }
        }
        for mut publisher in publishers {
            publisher.drain()?;
            publisher.close()?;
        }
    }
    running.wait_frames("live/3")?;
    running.stop()
}

/// Aborts: run by the test below in a process of its own.
#[test]
#[ignore = "aborts by design"]
fn canary() {
    watched(&mut || drop(std::hint::black_box(Box::new(1))));
}

#[test]
fn the_watch_bites() -> Result<()> {
    let ended = std::process::Command::new(std::env::current_exe()?)
        .args(["--ignored", "--exact", "canary"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status()?;
    anyhow::ensure!(!ended.success(), "an allocation under watch went unseen");
    Ok(())
}
