//! What the kernel says about the dataplane's process (proc(5)).

use std::time::{Duration, Instant};

/// Processor time and memory are read at most this often.
const INTERVAL: Duration = Duration::from_secs(1);

/// Processor time of a process between two looks.
#[derive(Debug, Default)]
pub(super) struct Cpu {
    last: Option<(u32, Instant, u64)>,
    percent: Option<f64>,
}

impl Cpu {
    /// Percent of one core over the last interval; before there is one, since the process started
    /// `running` ago.
    pub(super) fn percent(&mut self, pid: u32, running: Duration) -> Option<f64> {
        let now = Instant::now();
        match self.last {
            Some((last_pid, at, ticks)) if last_pid == pid => {
                let passed = now.duration_since(at);
                if passed >= INTERVAL {
                    let total = ticks_of(pid);
                    self.percent = total.map(|total| share(total.saturating_sub(ticks), passed));
                    self.last = total.map(|total| (pid, now, total));
                }
            }
            _ => {
                let total = ticks_of(pid);
                self.percent = total.map(|total| share(total, running));
                self.last = total.map(|total| (pid, now, total));
            }
        }
        self.percent
    }
}

/// Ticks of processor time within a span of wall time, in percent.
fn share(ticks: u64, passed: Duration) -> f64 {
    let hertz = rustix::param::clock_ticks_per_second();
    let milliseconds = ticks.saturating_mul(1000) / hertz.max(1);
    let busy = Duration::from_millis(milliseconds).as_secs_f64();
    if passed.is_zero() { 0.0 } else { busy / passed.as_secs_f64() * 100.0 }
}

fn ticks_of(pid: u32) -> Option<u64> {
    ticks_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// utime + stime, fields 14 and 15. The second field is a name in parentheses that may hold
/// anything, so counting starts behind the last one.
fn ticks_in(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user.saturating_add(system))
}

/// Proportional set size of a process.
#[derive(Debug, Default)]
pub(super) struct Memory {
    last: Option<(u32, Instant, Option<u64>)>,
}

impl Memory {
    /// Bytes, at most a second old. The kernel walks all page tables for it.
    pub(super) fn bytes(&mut self, pid: u32) -> Option<u64> {
        match self.last {
            Some((last_pid, at, bytes)) if last_pid == pid && at.elapsed() < INTERVAL => bytes,
            _ => {
                let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok();
                let bytes = rollup.as_deref().and_then(pss_in);
                self.last = Some((pid, Instant::now(), bytes));
                bytes
            }
        }
    }
}

fn pss_in(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_process_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 12345 0 0";
        assert_eq!(ticks_in(stat), Some(300));
        assert_eq!(ticks_in("7 (x) S 1"), None);
        assert_eq!(ticks_in(""), None);
    }

    #[test]
    fn a_busy_second_is_a_hundred_percent() {
        let hertz = rustix::param::clock_ticks_per_second();
        assert!((share(hertz, Duration::from_secs(1)) - 100.0).abs() < 0.001);
        assert!((share(hertz, Duration::from_secs(4)) - 25.0).abs() < 0.001);
        assert!(share(hertz, Duration::ZERO).is_finite());
    }

    #[test]
    fn pss_is_read_in_bytes_and_not_confused_with_its_parts() {
        let rollup = "5-6 ---p 0 00:00 0 [rollup]\nRss: 9 kB\nPss: 2048 kB\nPss_Anon: 1 kB\n";
        assert_eq!(pss_in(rollup), Some(2 << 20));
        assert_eq!(pss_in("Rss: 9 kB"), None);
    }

    #[test]
    fn this_process_has_both_figures() {
        let pid = std::process::id();
        assert!(Cpu::default().percent(pid, Duration::from_secs(1)).is_some());
        assert!(Memory::default().bytes(pid).is_some_and(|bytes| bytes > 0));
    }
}
