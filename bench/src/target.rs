//! The measured receiver: a process that is started here, or one that runs already.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::process::{CpuTimes, ThreadCpu, is_stopped, proportional_set_bytes};

/// How long a receiver may take to end after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A receiver.
#[derive(Debug)]
pub(crate) struct Target {
    pid: i32,
    child: Option<Child>,
}

/// What a receiver says when it ends, as one line of JSON on standard output.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct ReceiverReport {
    /// Data packets it got.
    pub(crate) packets: u64,
    /// Their payload bytes.
    pub(crate) bytes: u64,
}

/// What a receiver used between two looks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// CPU seconds of the process.
    pub(crate) cpu_s: f64,
    /// CPU seconds of each living thread that used any, the busiest first.
    pub(crate) busiest: Vec<ThreadCpu>,
    /// Threads.
    pub(crate) threads: usize,
    /// Proportional set size at the end.
    pub(crate) proportional_set_bytes: u64,
}

impl Target {
    /// A process that runs already.
    pub(crate) const fn running(pid: i32) -> Self {
        Self { pid, child: None }
    }

    /// Starts `command` (its first word is the program).
    pub(crate) fn start(command: &[String]) -> Result<Self> {
        let [program, arguments @ ..] = command else {
            bail!("no receiver given");
        };
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        Ok(Self { pid: i32::try_from(child.id())?, child: Some(child) })
    }

    /// CPU times so far.
    pub(crate) fn cpu_times(&self) -> Result<CpuTimes> {
        CpuTimes::read(self.pid)
    }

    /// Stops it (SIGSTOP) and says what it has used once all its threads stand still.
    pub(crate) fn stop_for_now(&self) -> Result<CpuTimes> {
        kill_process(self.process_id()?, Signal::STOP)?;
        let asked = Instant::now();
        while !is_stopped(self.pid)? {
            if asked.elapsed() > STOP_TIMEOUT {
                bail!("the receiver did not stop");
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        self.cpu_times()
    }

    /// Lets it go on (SIGCONT).
    pub(crate) fn go_on(&self) -> Result<()> {
        Ok(kill_process(self.process_id()?, Signal::CONT)?)
    }

    fn process_id(&self) -> Result<Pid> {
        Pid::from_raw(self.pid).context("process id 0")
    }

    /// What was used since `earlier`.
    pub(crate) fn usage_since(&self, earlier: &CpuTimes) -> Result<Usage> {
        let times = self.cpu_times()?;
        let mut busiest = times.threads_since(earlier);
        busiest.retain(|thread| thread.cpu_s > 0.000_1);
        busiest.truncate(8);
        Ok(Usage {
            cpu_s: times.since(earlier).as_secs_f64(),
            busiest,
            threads: times.threads.len(),
            proportional_set_bytes: proportional_set_bytes(self.pid)?,
        })
    }

    /// Ends a receiver started here and reads what it says; `None` when it says nothing.
    pub(crate) fn stop(mut self) -> Result<Option<ReceiverReport>> {
        let Some(mut child) = self.child.take() else {
            return Ok(None);
        };
        kill_process(Pid::from_raw(self.pid).context("process id 0")?, Signal::TERM)?;
        let asked = Instant::now();
        while child.try_wait()?.is_none() {
            if asked.elapsed() > STOP_TIMEOUT {
                child.kill()?;
                child.wait()?;
                bail!("the receiver did not end after SIGTERM");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut said = String::new();
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_string(&mut said)?;
        }
        let last = said.lines().rev().find(|line| line.starts_with('{'));
        Ok(last.and_then(|line| serde_json::from_str(line).ok()))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
