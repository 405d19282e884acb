//! The dataplane process.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use clap::Parser;
use penstock_engine::config::Config;
use penstock_engine::{Dataplane, Error, run_worker};
use signal_hook::consts::{SIGINT, SIGTERM};
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Receives SRT and RTP and keeps complete frames in shared memory.
///
/// Exit codes: 0 ended by SIGTERM or SIGINT, 1 failed, 2 wrong command line or configuration.
#[derive(Debug, Parser)]
#[command(name = "penstock-dataplane", version)]
struct Arguments {
    /// YAML file; without it everything runs on loopback with defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration, print the memory sum, and exit.
    #[arg(long)]
    check: bool,
}

const WRONG_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match load(&arguments) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("penstock-dataplane: {error:#}");
            return ExitCode::from(WRONG_CONFIGURATION);
        }
    };
    match if arguments.check { check(&config) } else { run(&config) } {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("penstock-dataplane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn load(arguments: &Arguments) -> Result<Config> {
    match &arguments.config {
        Some(path) => Config::from_path(path).with_context(|| path.display().to_string()),
        None => Config::embedded().context("the embedded configuration with the environment"),
    }
}

fn check(config: &Config) -> Result<()> {
    print!("{}", Dataplane::budget_of(config)?);
    Ok(())
}

fn run(config: &Config) -> Result<()> {
    start_logging(config);
    std::panic::set_hook(Box::new(record_panic));
    if !config.without_effect.is_empty() {
        let keys = config.without_effect.join(", ");
        tracing::warn!("accepted, without effect in this version: {keys}");
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("signals")?;
    }
    let dataplane = Dataplane::start(config, run_worker)?;
    for line in dataplane.budget().to_string().lines() {
        tracing::info!("{line}");
    }
    let rtp = dataplane.rtp().map(|shared| (shared.rtp, shared.rtcp));
    tracing::info!(srt = ?dataplane.locals(), ?rtp, socket = %config.socket.display(), "ready");
    let stopped = dataplane.run(|| stop.load(Ordering::Relaxed));
    stopped.map_err(|error: Error| error.into())
}

fn start_logging(config: &Config) {
    let level = config.logging.level.as_deref().unwrap_or("info");
    let stdout = config.logging.output.as_deref() == Some("stdout");
    let writer = BoxMakeWriter::new(move || -> Box<dyn std::io::Write> {
        if stdout { Box::new(std::io::stdout()) } else { Box::new(std::io::stderr()) }
    });
    let builder = tracing_subscriber::fmt()
        .with_writer(writer)
        .with_env_filter(tracing_subscriber::EnvFilter::new(level));
    match config.logging.format.as_deref() {
        Some("json") => builder.json().init(),
        _ => builder.with_target(false).with_ansi(false).init(),
    }
}

/// One line without a backtrace: resolving symbols would hold a worker up for as long as it takes to
/// read the debug information, and with it every other session on it.
fn record_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    match panic.location() {
        Some(location) => eprintln!("penstock-dataplane: panic at {location}: {message}"),
        None => eprintln!("penstock-dataplane: panic: {message}"),
    }
}
