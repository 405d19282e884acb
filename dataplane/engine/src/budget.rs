//! The memory sum: everything the dataplane will ever hold, one line per reason.

use std::fmt;

/// One reason to hold memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it is for, with the factors it is made of.
    pub reason: String,
    /// Bytes.
    pub bytes: u64,
}

/// The sum with its reasons.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Budget {
    lines: Vec<Line>,
}

impl Budget {
    pub(crate) fn add(&mut self, bytes: u64, reason: String) {
        self.lines.push(Line { reason, bytes });
    }

    /// Every line in the order of adding.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The sum.
    pub fn bytes(&self) -> u64 {
        self.lines.iter().map(|line| line.bytes).sum()
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "memory {:>9.1} MiB in all", mib(self.bytes()))?;
        for Line { reason, bytes } in &self.lines {
            writeln!(f, "memory {:>9.1} MiB {reason}", mib(*bytes))?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "printed with one decimal")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
