//! Which CPUs carry workers, and pinning to them.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::config::Workers;

/// Why workers cannot be placed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// dataplane.workers: CPU {cpu} is not one this process may use; allowed are {allowed:?}
    #[error(
        "dataplane.workers: CPU {cpu} is not one this process may use; allowed are {allowed:?}"
    )]
    NotAllowed {
        /// The CPU asked for.
        cpu: u16,
        /// What the process may use.
        allowed: Vec<u16>,
    },
    /// the scheduler refused: {0}
    #[error("the scheduler refused: {0}")]
    Scheduler(#[from] rustix::io::Errno),
}

/// The CPUs that this process may use, in order.
fn allowed() -> Result<Vec<u16>, Error> {
    let set = sched_getaffinity(None)?;
    let highest = u16::try_from(CpuSet::MAX_CPU).unwrap_or(u16::MAX);
    Ok((0..highest).filter(|&cpu| set.is_set(usize::from(cpu))).collect())
}

/// The CPUs of the workers. `auto` takes all allowed ones and leaves the first, where interrupts
/// and other processes live, when there are more than two.
pub fn worker_cpus(workers: &Workers) -> Result<Vec<u16>, Error> {
    let allowed = allowed()?;
    choose(workers, allowed)
}

fn choose(workers: &Workers, allowed: Vec<u16>) -> Result<Vec<u16>, Error> {
    let Workers::Cpus(cpus) = workers else {
        let first = usize::from(allowed.len() > 2);
        return Ok(allowed.into_iter().skip(first).collect());
    };
    match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        Some(&cpu) => Err(Error::NotAllowed { cpu, allowed }),
        None => Ok(cpus.clone()),
    }
}

/// Pins the calling thread to one CPU.
pub(crate) fn pin(cpu: u16) -> Result<(), Error> {
    let mut set = CpuSet::new();
    set.set(usize::from(cpu));
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_leaves_one_cpu_where_there_are_more_than_two() {
        assert_eq!(choose(&Workers::Auto, vec![0, 1, 2, 3]).expect("auto"), [1, 2, 3]);
        assert_eq!(choose(&Workers::Auto, vec![0, 1]).expect("auto"), [0, 1]);
        assert_eq!(choose(&Workers::Auto, vec![5]).expect("auto"), [5]);
    }

    #[test]
    fn a_cpu_outside_the_cpuset_is_refused_by_number() {
        let error = choose(&Workers::Cpus(vec![0, 9]), vec![0, 1]).expect_err("refused");
        assert!(error.to_string().contains("CPU 9"), "{error}");
    }
}
