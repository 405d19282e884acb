//! The engine in virtual time: a seed decides everything that happens to it.
//!
//! ```text
//!  publisher ─▶ link ─▶ conductor and workers as shipped ─▶ GOP rings ─▶ watch
//!       ▲                        │ ACK, NAK, …
//!       └──────── link ◀─────────┘
//! ```
//!
//! `PENSTOCK_SIM_SEED=7` replays one seed; `PENSTOCK_SIM_SEEDS=1000` runs so many, as `scripts/test`
//! does in a build of its own (`--profile sim`).

mod air;
mod alone;
mod clock;
mod configuration;
mod foreign;
mod held_up;
mod hostile;
mod link;
mod listening;
mod media;
mod peer;
mod publisher;
mod random;
mod scenario;
mod secret;
mod silence;
mod stranger;
mod watch;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, anyhow};
use assert_no_alloc::AllocDisabler;
use srt::crypto::{Mode, Suite};

use crate::scenario::Scenario;
use crate::secret::SUITES;
use crate::world::{Outcome, Sabotage};

/// Aborts the process when a worker allocates.
#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

/// Seeds of a run that is not told how many: of a build that is not optimised, perhaps.
const SEEDS: u64 = 12;
/// So many seeds come across everything there is.
const SEEDS_OF_ALL: u64 = 200;

fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value}")))
}

/// One seed, with everything that is needed to see it again when it fails.
fn run(seed: u64, sabotage: Sabotage) -> Result<Outcome> {
    let scenario = Scenario::draw(seed);
    let ended = catch_unwind(AssertUnwindSafe(|| world::run(&scenario, sabotage)));
    let ended = ended.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(anyhow!("a panic: {}", text.unwrap_or("without a text")))
    });
    ended.with_context(|| {
        format!(
            "seed {seed} fails; again: PENSTOCK_SIM_SEED={seed} \
             cargo test --profile sim --package penstock-tests --test sim\n{scenario:#?}"
        )
    })
}

/// Runs all seeds below `seeds` on all processors.
fn run_all(seeds: u64) -> (Outcome, Vec<String>) {
    let next = AtomicU64::new(0);
    let runner = || {
        let (mut sum, mut failures) = (Outcome::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return (sum, failures);
            }
            match run(seed, Sabotage::Nothing) {
                Ok(outcome) => sum.add(&outcome),
                Err(failure) => failures.push(format!("{failure:#}")),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let runners: Vec<_> = (0..threads).map(|_| scope.spawn(runner)).collect();
        let (mut sum, mut failures) = (Outcome::default(), Vec::new());
        for runner in runners {
            let (outcome, failed) = runner.join().expect("panics are caught");
            sum.add(&outcome);
            failures.extend(failed);
        }
        (sum, failures)
    })
}

#[test]
fn every_seed_holds() {
    if let Some(seed) = from_environment("PENSTOCK_SIM_SEED") {
        match run(seed, Sabotage::Nothing) {
            Ok(outcome) => println!("seed {seed}: {outcome:?}"),
            Err(failure) => panic!("{failure:#}"),
        }
        return;
    }
    let seeds = from_environment("PENSTOCK_SIM_SEEDS").unwrap_or(SEEDS);
    let (sum, failures) = run_all(seeds);
    println!("{seeds} seeds: {sum:?}");
    for failure in failures.iter().take(3) {
        println!("{failure}\n");
    }
    assert!(failures.is_empty(), "{} of {seeds} seeds fail", failures.len());
    // The faults were real.
    let real = sum.skipped > 0 && sum.damaged > 0 && sum.connections > seeds;
    assert!(real || seeds < SEEDS, "{sum:?}");
    // Every cipher was there, keys were changed, and strangers came to nothing.
    let ciphered = sum.ciphers.iter().all(|publishers| *publishers > 0)
        && [sum.key_refreshes, sum.undecryptable, sum.dropped_clear].iter().all(|it| *it > 0)
        && 0 < sum.called_secured
        && sum.called_secured < sum.called;
    assert!(ciphered || seeds < SEEDS_OF_ALL, "{sum:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..2 {
        let runs = [0, 1].map(|_| run(seed, Sabotage::Nothing).map_err(|it| format!("{it:#}")));
        assert_eq!(runs[0], runs[1]);
    }
    // The engine makes these keys.
    let scenario = Scenario::secured(SUITES[0]).called();
    let runs = [0, 1].map(|_| world::run(&scenario, Sabotage::Nothing));
    assert_eq!(runs[0].as_ref().ok(), runs[1].as_ref().ok());
    assert!(runs[0].is_ok(), "{runs:?}");
}

/// One cipher of each mode: what is broken is broken alike with keys of any length.
const BOTH_MODES: [Suite; 2] = [SUITES[0], SUITES[5]];

/// What is broken on purpose is noticed, by the check that is meant for it.
fn is_noticed(scenario: &Scenario, sabotage: Sabotage, complaint: &str) {
    let sound = world::run(scenario, Sabotage::Nothing);
    assert!(sound.is_ok(), "{sound:?}");
    let broken = world::run(scenario, sabotage).expect_err("it must be noticed");
    assert!(format!("{broken:#}").contains(complaint), "{sabotage:?}: {broken:#}");
}

#[test]
fn a_failing_seed_says_how_to_see_it_again() {
    let failure = run(3, Sabotage::Silence).expect_err("it must be noticed");
    let text = format!("{failure:#}");
    assert!(text.contains("PENSTOCK_SIM_SEED=3 cargo test"), "{text}");
    assert!(text.contains("delivers nothing"), "{text}");
}

/// The canaries.
#[test]
fn a_broken_run_fails() {
    for (sabotage, complaint) in [
        (Sabotage::Payload, "marked clean, and not what was sent"),
        (Sabotage::LossReports, "were not recovered"),
        (Sabotage::Silence, "delivers nothing"),
        (Sabotage::Again, "twice, or out of order"),
    ] {
        is_noticed(&Scenario::plain(), sabotage, complaint);
    }
}

#[test]
fn a_run_whose_key_messages_are_withheld_fails() {
    for suite in BOTH_MODES {
        is_noticed(&Scenario::secured(suite), Sabotage::KeyMessages, "changes of keys");
    }
}

#[test]
fn a_run_with_other_keys_than_those_announced_fails() {
    for suite in BOTH_MODES {
        is_noticed(&Scenario::secured(suite), Sabotage::OtherKeys, "delivers nothing");
    }
    let called = Scenario::secured(SUITES[0]).called();
    is_noticed(&called, Sabotage::OtherKeys, "delivers nothing");
}

#[test]
fn a_run_with_other_keys_than_those_announced_later_fails() {
    for suite in BOTH_MODES {
        let complaint = match suite.mode {
            Mode::Ctr => "clean frames of",
            Mode::Gcm => "were not recovered",
        };
        is_noticed(&Scenario::secured(suite), Sabotage::OtherKeysLater, complaint);
    }
}

#[test]
fn a_broken_run_of_a_called_publisher_fails() {
    for (sabotage, complaint) in [
        (Sabotage::Payload, "marked clean, and not what was sent"),
        (Sabotage::LossReports, "were not recovered"),
        (Sabotage::Silence, "delivers nothing"),
    ] {
        is_noticed(&Scenario::plain().called(), sabotage, complaint);
    }
}

#[test]
fn a_run_that_takes_what_a_stranger_sends_fails() {
    is_noticed(&Scenario::secured(SUITES[0]), Sabotage::InClear, "not what was sent");
}
