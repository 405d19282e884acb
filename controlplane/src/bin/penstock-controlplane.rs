//! The control plane's process.
//!
//! Exit codes: 0 after a signal asked it to end (or `--check` found no fault), 1 when it could not
//! start, 2 when the configuration or the command line is at fault.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use penstock_controlplane::{Config, ControlPlane, Error, logging};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Longest wait for the log's last lines.
const LAST_LINES: Duration = Duration::from_millis(500);

/// REST, health and metrics of Penstock.
#[derive(Debug, Parser)]
#[command(name = "penstock-controlplane", version)]
struct Arguments {
    /// Configuration file (YAML, one file for both processes); without it the embedded default:
    /// HTTP on 127.0.0.1:8080 with /metrics.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration and exit.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::load(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return fail(&error, 2),
    };
    if arguments.check {
        return check(&config);
    }
    match start(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, 1),
    }
}

fn fail(error: &Error, code: u8) -> ExitCode {
    eprintln!("penstock-controlplane: {error}");
    ExitCode::from(code)
}

fn check(config: &Config) -> ExitCode {
    if let Some(address) = config.http_address() {
        println!("REST on http://{address}");
    }
    match config.metrics_address() {
        Some(address) => println!("metrics on http://{address}{}", config.metrics.path),
        None if config.metrics_beside_api() => println!("metrics at {}", config.metrics.path),
        None => println!("no metrics"),
    }
    println!("dataplane at {}", config.dataplane_socket.display());
    if !config.inert.is_empty() {
        println!("accepted, without effect in this version: {}", config.inert.join(", "));
    }
    println!("the configuration is valid");
    ExitCode::SUCCESS
}

fn start(config: &Config) -> Result<(), Error> {
    let log = logging::start(&config.logging)?;
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "panic")));
    if !config.inert.is_empty() {
        tracing::warn!("accepted, without effect in this version: {}", config.inert.join(", "));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|source| Error::System { what: "cannot start the runtime", source })?;
    let result = runtime.block_on(run(config));
    // A blocking read of the dataplane's figures must not hold up the end.
    runtime.shutdown_timeout(config.server.shutdown_timeout.min(Duration::from_secs(1)));
    log.flush(LAST_LINES);
    result
}

async fn run(config: &Config) -> Result<(), Error> {
    let listen = |kind| {
        signal(kind).map_err(|source| Error::System { what: "cannot listen for signals", source })
    };
    let mut terminate: Signal = listen(SignalKind::terminate())?;
    let mut interrupt: Signal = listen(SignalKind::interrupt())?;
    let control_plane = ControlPlane::bind(config)?;
    for address in control_plane.addresses() {
        tracing::info!(%address, "listening");
    }
    control_plane
        .run(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping");
        })
        .await;
    Ok(())
}
