//! Counts, in tests, the steps of loops whose length a peer has a say in: that one packet costs no
//! more than its window allows is a promise to be measured.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// So many more; nothing outside tests.
#[inline(always)]
pub(crate) fn steps(count: usize) {
    #[cfg(test)]
    STEPS.set(STEPS.get() + count);
    #[cfg(not(test))]
    let _ = count;
}

/// Steps since the last call.
#[cfg(test)]
pub(crate) fn take() -> usize {
    STEPS.take()
}
