//! Ends the conductor's wait from any thread.

use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The writing side of an eventfd.
#[derive(Debug, Clone)]
pub(crate) struct Wake(Arc<OwnedFd>);

impl Wake {
    pub(crate) const fn new(eventfd: Arc<OwnedFd>) -> Self {
        Self(eventfd)
    }

    pub(crate) fn wake(&self) {
        // The count cannot overflow: the conductor reads it back to zero on each turn.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}
