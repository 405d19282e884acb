//! Bounds on log lines that a peer can cause.

use std::time::Duration;

use memory::Time;

/// Lines per period.
const LINES: u32 = 10;
const PERIOD: Duration = Duration::from_secs(1);

/// Lets ten lines a second pass and tells how many it held back.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    period_ends: Time,
    lines: u32,
    suppressed: u64,
}

impl LogLimit {
    /// Writes the line unless the period's share is used up.
    pub(crate) fn allow(&mut self, now: Time, line: impl FnOnce()) {
        self.flush(now);
        if self.lines < LINES {
            self.lines += 1;
            line();
        } else {
            self.suppressed += 1;
        }
    }

    /// At the end of a period, says what was held back.
    pub(crate) fn flush(&mut self, now: Time) {
        if now < self.period_ends {
            return;
        }
        if self.suppressed > 0 {
            tracing::warn!(suppressed = self.suppressed, "refusals not logged one by one");
        }
        *self = Self { period_ends: now + PERIOD, lines: 0, suppressed: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_writes_ten_lines_a_second() {
        let mut limit = LogLimit::default();
        let mut lines = 0;
        for ms in 0..3_000 {
            limit.allow(Time::from_micros(ms * 1_000), || lines += 1);
        }
        assert_eq!(lines, 30);
    }
}
