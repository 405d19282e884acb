//! What every measured run has in common: how it is asked for, its receiver, what others used.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::clock;
use crate::dataplane::Observer;
use crate::process::{CpuTimes, busy_time};
use crate::report::Report;
use crate::target::{Target, Usage};

/// Options of every load.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seconds to measure, after the warm-up
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub(crate) duration: f64,
    /// Seconds of load before measuring starts
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(crate) warm_up: f64,
    /// CPU to run on
    #[arg(long)]
    cpu: Option<usize>,
    /// Process id of a receiver that runs already
    #[arg(long)]
    pid: Option<i32>,
    /// Unix socket of a Penstock dataplane: reads delivered packets and latency from its shared
    /// memory
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Reads every frame back from the GOP rings and checks it (needs --socket)
    #[arg(long, requires = "socket")]
    pub(crate) verify: bool,
    /// What to call the row in tables
    #[arg(long, default_value = "")]
    pub(crate) label: String,
    /// What to call the receiver in tables
    #[arg(long, default_value = "")]
    pub(crate) receiver: String,
    /// Waits for at most so long until the machine is quiet
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    quiet_wait: f64,
    /// Fails when everything else on the machine used more than this, in percent of one CPU
    #[arg(long, value_name = "PERCENT")]
    foreign_max: Option<f64>,
    /// Number of the round of alternating runs
    #[arg(long, default_value_t = 0)]
    pub(crate) round: u32,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
    /// Receiver to start, measure and stop: it prints {"packets":N,"bytes":N} at its end
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Options {
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.pid.is_none() || self.command.is_empty(), "give --pid or a command, not both");
        Ok(())
    }

    /// Takes the CPU that was asked for.
    pub(crate) fn pin(&self) -> Result<()> {
        self.cpu.map_or(Ok(()), |cpu| clock::own_core(cpu).context("cannot pin to this CPU"))
    }

    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_secs_f64(self.warm_up)
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.duration)
    }

    /// The receiver, started when the machine is quiet.
    pub(crate) fn target(&self) -> Result<Option<Target>> {
        wait_for_quiet(Duration::from_secs_f64(self.quiet_wait))?;
        if let Some(pid) = self.pid {
            return Ok(Some(Target::running(pid)));
        }
        if self.command.is_empty() {
            return Ok(None);
        }
        Target::start(&self.command).map(Some)
    }

    pub(crate) fn observer(&self) -> Result<Option<Observer>> {
        self.socket.as_deref().map(Observer::connect).transpose()
    }

    /// Refuses a run that something else disturbed, else prints what it says.
    pub(crate) fn print(&self, report: &Report) -> Result<()> {
        if let Some(most) = self.foreign_max {
            ensure!(
                report.foreign_cpu_percent <= most,
                "the machine was busy with something else: {:.0} % of one CPU",
                report.foreign_cpu_percent
            );
        }
        if self.json {
            println!("{}", serde_json::to_string(report)?);
        } else {
            print!("{report}");
        }
        Ok(())
    }
}

/// What is noted when the measured window begins.
pub(crate) struct Start {
    pub(crate) time: memory::Time,
    /// Payload bytes sent so far.
    pub(crate) bytes: u64,
    cpu: Option<CpuTimes>,
    own_cpu: CpuTimes,
    busy: Duration,
}

impl Start {
    pub(crate) fn now(bytes: u64, target: Option<&Target>) -> Result<Self> {
        Ok(Self {
            time: clock::now(),
            bytes,
            cpu: target.map(Target::cpu_times).transpose()?,
            own_cpu: CpuTimes::read(own_pid()?)?,
            busy: busy_time()?,
        })
    }

    /// What the receiver used since.
    pub(crate) fn usage(&self, target: Option<&Target>) -> Result<Option<Usage>> {
        let (Some(target), Some(cpu)) = (target, &self.cpu) else {
            return Ok(None);
        };
        target.usage_since(cpu).map(Some)
    }

    /// What others used since, in percent of one CPU. The kernel counts in ticks: a few percent
    /// mean nothing.
    pub(crate) fn foreign_cpu_percent(&self, usage: Option<&Usage>) -> Result<f64> {
        let busy = busy_time()?.saturating_sub(self.busy).as_secs_f64();
        let own = CpuTimes::read(own_pid()?)?.since(&self.own_cpu).as_secs_f64();
        let receiver = usage.map_or(0.0, |usage| usage.cpu_s);
        let window = clock::now().since(self.time).as_secs_f64();
        Ok(((busy - own - receiver) / window * 100.0).max(0.0))
    }
}

fn own_pid() -> Result<i32> {
    Ok(i32::try_from(std::process::id())?)
}

/// Returns when less than a tenth of one CPU was used for a while, or after `most`.
fn wait_for_quiet(most: Duration) -> Result<()> {
    const SAMPLE: Duration = Duration::from_millis(500);
    let begun = clock::now();
    while clock::now().since(begun) < most {
        let busy = busy_time()?;
        std::thread::sleep(SAMPLE);
        if busy_time()?.saturating_sub(busy) < SAMPLE / 10 {
            break;
        }
    }
    Ok(())
}

pub(crate) fn step(observer: &mut Option<Observer>) {
    if let Some(observer) = observer {
        observer.step();
    }
}

#[expect(clippy::cast_precision_loss, reason = "a run sends far less than 2^53 bytes")]
pub(crate) fn megabits(bytes: u64) -> f64 {
    bytes as f64 * 8.0 / 1e6
}
