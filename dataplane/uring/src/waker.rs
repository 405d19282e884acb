//! Ends another thread's wait.

use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Wakes a ring's owner out of [`Ring::wait`](crate::Ring::wait), from any thread: at once while
/// the wait has no minimum, else when its minimum has passed.
///
/// It may outlive the ring, and then does nothing.
#[derive(Debug, Clone)]
pub struct Waker {
    eventfd: Arc<OwnedFd>,
}

impl Waker {
    /// Over the eventfd that the woken one reads: [`Ring::waker`](crate::Ring::waker) makes them.
    pub const fn new(eventfd: Arc<OwnedFd>) -> Self {
        Self { eventfd }
    }

    /// Ends the wait in progress, or the next one.
    pub fn wake(&self) {
        // The write adds one to a 64-bit count that the ring reads back to zero: it cannot overflow
        // and so cannot fail.
        let _ = rustix::io::write(&*self.eventfd, &1u64.to_ne_bytes());
    }
}
