//! The one place that decides whose atomics the crate runs on: the standard library's, or loom's
//! when the protocol is being model-checked (`RUSTFLAGS="--cfg loom"`).

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Fifty of them are some milliseconds.
#[cfg(not(loom))]
const NAP: std::time::Duration = std::time::Duration::from_micros(200);

/// Lets the other side go on: a pause at first, a nap when it takes longer. On a busy machine a writer
/// may be put to sleep in the middle of a write, and then it takes a few time slices.
pub(crate) fn relax(attempt: u32) {
    #[cfg(loom)]
    {
        let _ = attempt;
        loom::thread::yield_now();
    }
    #[cfg(not(loom))]
    if attempt < 50 {
        std::hint::spin_loop();
    } else {
        std::thread::sleep(NAP);
    }
}
