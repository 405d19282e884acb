//! What `/proc` says about the measured process: CPU time, memory, threads, socket drops.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// CPU time of a process and of each of its threads since their start.
#[derive(Debug, Clone, Default)]
pub(crate) struct CpuTimes {
    /// User + system time of the whole process, ended threads included (`/proc/PID/stat`).
    pub(crate) process: Duration,
    /// Name and time of each living thread, by thread id.
    pub(crate) threads: BTreeMap<i32, (String, Duration)>,
}

/// CPU time one thread used between two looks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ThreadCpu {
    /// The thread's name.
    pub(crate) name: String,
    /// CPU seconds.
    pub(crate) cpu_s: f64,
}

impl CpuTimes {
    /// Reads the times of process `pid`.
    pub(crate) fn read(pid: i32) -> Result<Self> {
        let root = format!("/proc/{pid}");
        let stat = fs::read_to_string(format!("{root}/stat"))
            .with_context(|| format!("process {pid} is not there"))?;
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(format!("{root}/task"))?.flatten() {
            let Some(tid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Some(thread) = read_thread(&entry.path()) {
                threads.insert(tid, thread);
            }
        }
        Ok(Self { process: stat_time(&stat).context("unreadable /proc/PID/stat")?, threads })
    }

    /// CPU time of the process since `earlier`. The sum over threads has a resolution of
    /// nanoseconds; it is used unless a thread has ended in between.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let ended = earlier.threads.keys().any(|tid| !self.threads.contains_key(tid));
        if ended {
            return self.process.saturating_sub(earlier.process);
        }
        self.threads.iter().map(|(tid, (_, time))| time.saturating_sub(earlier.thread(*tid))).sum()
    }

    /// CPU time of each thread since `earlier`, the busiest first.
    pub(crate) fn threads_since(&self, earlier: &Self) -> Vec<ThreadCpu> {
        let mut threads: Vec<ThreadCpu> = self
            .threads
            .iter()
            .map(|(tid, (name, time))| ThreadCpu {
                name: name.clone(),
                cpu_s: time.saturating_sub(earlier.thread(*tid)).as_secs_f64(),
            })
            .collect();
        threads.sort_by(|a, b| b.cpu_s.total_cmp(&a.cpu_s));
        threads
    }

    fn thread(&self, tid: i32) -> Duration {
        self.threads.get(&tid).map_or(Duration::ZERO, |(_, time)| *time)
    }
}

/// Name and CPU time of one thread; the scheduler's nanoseconds where the kernel keeps them.
fn read_thread(task: &Path) -> Option<(String, Duration)> {
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    let name = stat.split_once('(')?.1.rsplit_once(')')?.0.to_owned();
    let exact = fs::read_to_string(task.join("schedstat"))
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .map(Duration::from_nanos);
    Some((name, exact.or_else(|| stat_time(&stat))?))
}

/// Whether each thread of a process was stopped by a signal (state T of proc(5) stat).
pub(crate) fn is_stopped(pid: i32) -> Result<bool> {
    for entry in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let stat = fs::read_to_string(entry.path().join("stat"))?;
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
        if state != Some("T") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// utime + stime, fields 14 and 15 of proc(5) stat.
fn stat_time(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(ticks(user + system))
}

/// CPU time that all CPUs together have spent on anything, time the host took away included.
pub(crate) fn busy_time() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields: Vec<u64> = stat
        .lines()
        .next()
        .into_iter()
        .flat_map(|line| line.split_whitespace().skip(1))
        .map_while(|field| field.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guests are counted in user (proc(5)).
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    let all: u64 = fields.iter().take(8).sum();
    Ok(ticks(all - idle))
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1_000 / rustix::param::clock_ticks_per_second())
}

/// Proportional set size in bytes.
pub(crate) fn proportional_set_bytes(pid: i32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kib: u64 = line
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .context("no Pss in smaps_rollup")?;
    Ok(kib * 1024)
}

/// Datagrams the kernel dropped at UDP sockets bound to the given local ports.
pub(crate) fn udp_drops(ports: std::ops::Range<u16>) -> u64 {
    ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| {
            text.lines().skip(1).filter_map(|line| drops_of(line, &ports)).collect::<Vec<u64>>()
        })
        .sum()
}

fn drops_of(line: &str, ports: &std::ops::Range<u16>) -> Option<u64> {
    let local = line.split_whitespace().nth(1)?;
    let port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    let drops = line.split_whitespace().last()?.parse().ok()?;
    ports.contains(&port).then_some(drops)
}
