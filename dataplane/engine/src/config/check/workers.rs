//! `dataplane`: the workers and their rings.

use std::time::Duration;

use super::super::schema::{Span, Workers};
use super::{Error, MS, lasting, refuse, within};

pub(super) fn workers(workers: Option<&Workers>) -> Result<Workers, Error> {
    match workers {
        None | Some(Workers::Auto | Workers::Word(_)) => Ok(Workers::Auto),
        Some(Workers::Cpus(cpus)) if cpus.is_empty() => refuse(
            "dataplane.workers",
            "the list is empty; allowed are `auto` or CPU numbers, as [1, 2]",
        ),
        Some(Workers::Cpus(cpus)) => {
            let mut unique = cpus.clone();
            unique.sort_unstable();
            unique.dedup();
            if unique.len() != cpus.len() {
                return refuse(
                    "dataplane.workers",
                    "a CPU is listed twice; each carries one worker",
                );
            }
            Ok(Workers::Cpus(cpus.clone()))
        }
    }
}

pub(super) fn min_wait(span: Option<Span>) -> Result<Duration, Error> {
    lasting("dataplane.min_wait", span, MS / 2, Duration::ZERO..=20 * MS)
}

pub(super) fn buffer_entries(entries: Option<u32>) -> Result<u16, Error> {
    let entries: u16 =
        within("dataplane.buffer_entries", entries.map(u64::from), 4_096, 64..=32_768)?;
    if !entries.is_power_of_two() {
        return refuse("dataplane.buffer_entries", format!("{entries} is not a power of two"));
    }
    Ok(entries)
}
