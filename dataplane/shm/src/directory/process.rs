//! Telling whether the process behind a directory lives.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::layout::DirectoryHeader;

/// What identifies a process beside its number, which is used again after its death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) pid: u64,
    /// Field 22 of /proc/PID/stat.
    pub(super) start_time: u64,
    /// Inode of the namespace in which the number has its meaning.
    pub(super) namespace: u64,
}

impl Identity {
    /// This process. Parts that /proc does not tell are 0, which nobody else's can be taken for.
    pub(super) fn own() -> Self {
        let pid = u64::from(std::process::id());
        Self { pid, start_time: start_time(pid).unwrap_or(0), namespace: namespace() }
    }

    pub(super) const fn of(header: &DirectoryHeader) -> Self {
        Self { pid: header.pid, start_time: header.pid_start_time, namespace: header.pid_namespace }
    }

    /// Whether the process exists; `None` when that cannot be told from here, because its number
    /// means nothing in this process's namespace.
    pub(super) fn exists(self) -> Option<bool> {
        if self.namespace == 0 || self.start_time == 0 || self.namespace != namespace() {
            return None;
        }
        Some(start_time(self.pid) == Some(self.start_time))
    }
}

/// When a process started, in clock ticks since boot; `None` when it is gone or a zombie.
fn start_time(pid: u64) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets and may itself hold brackets and blanks.
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace();
    let state = fields.next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(start_time)
}

fn namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |file| file.ino())
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn this_process_exists() {
        let own = Identity::own();
        assert!(own.start_time > 0 && own.namespace > 0);
        assert_eq!(own.exists(), Some(true));
    }

    #[test]
    fn a_dead_process_does_not_exist_even_before_it_is_reaped() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = u64::from(child.id());
        let it = Identity { pid, start_time: start_time(pid).unwrap(), namespace: namespace() };
        assert_eq!(it.exists(), Some(true));
        child.kill().unwrap();
        // The child turns zombie in its own time; nothing else can end the wait.
        while it.exists() == Some(true) {
            std::thread::yield_now();
        }
        assert_eq!(it.exists(), Some(false));
        child.wait().unwrap();
    }

    #[test]
    fn a_number_used_again_is_another_process() {
        let own = Identity::own();
        assert_eq!(Identity { start_time: own.start_time + 1, ..own }.exists(), Some(false));
    }

    #[test]
    fn a_number_of_another_namespace_says_nothing() {
        let own = Identity::own();
        assert_eq!(Identity { namespace: own.namespace + 1, ..own }.exists(), None);
    }
}
