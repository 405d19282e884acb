//! Asking for memory before it is needed.

/// A line of the cache, in bytes.
const LINE_BYTES: usize = 64;

/// Asks the processor to bring the first `bytes` bytes of a value near, and goes on at once. With many
/// sessions each packet finds those of its own far away; asked for while others are worked on, they
/// are waited for together instead of one after the other.
///
/// Nothing changes but time; where the processor is not known, nothing happens.
#[inline]
pub fn prefetch_start<T>(value: &T, bytes: usize) {
    prefetch_from(std::ptr::from_ref(value).cast(), bytes.min(size_of::<T>()));
}

/// As [`prefetch_start`], of bytes.
#[inline]
pub(crate) fn prefetch_bytes(bytes: &[u8]) {
    prefetch_from(bytes.as_ptr(), bytes.len());
}

#[inline]
pub(crate) fn prefetch_from(first: *const u8, bytes: usize) {
    let first = first.wrapping_sub(first.addr() % LINE_BYTES);
    // One line more than the bytes fill, for they may begin anywhere in the first.
    for line in 0..=bytes / LINE_BYTES {
        prefetch_line(first.wrapping_add(line * LINE_BYTES));
    }
}

/// As [`prefetch_start`], of all of a value.
#[inline]
pub fn prefetch<T>(value: &T) {
    prefetch_start(value, size_of::<T>());
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn prefetch_line(line: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

    // JUSTIFICATION: there is no safe way to say it.
    // SAFETY: the instruction reads and writes nothing that a program can see and never faults,
    // whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
const fn prefetch_line(_: *const u8) {}
