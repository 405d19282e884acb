//! The one place that decides whose atomics the crate runs on: the standard library's, or loom's
//! when the protocol is being model-checked (`RUSTFLAGS="--cfg loom"`).

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Lets the other side go on: a pause at first, the rest of the time slice when it takes longer
/// (a writer that was put to sleep in the middle of a write).
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
        std::thread::yield_now();
    }
}
