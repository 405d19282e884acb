//! Asking for memory before it is needed.

use std::ops::Range;

/// A line of the cache, in bytes.
const LINE_BYTES: usize = 64;

/// Asks the processor to bring the first `bytes` bytes of a value near, and goes on at once. With many
/// sessions each packet finds those of its own far away; asked for while others are worked on, they
/// are waited for together instead of one after the other.
///
/// Nothing changes but time; where the processor is not known, nothing happens.
#[inline]
pub fn prefetch_start<T>(value: &T, bytes: usize) {
    prefetch_part(value, 0..bytes);
}

/// As [`prefetch_start`], of the bytes of a value that lie in a range.
#[inline]
pub fn prefetch_part<T>(value: &T, part: Range<usize>) {
    let first = std::ptr::from_ref(value).cast::<u8>().wrapping_add(part.start);
    prefetch_from(first, part.end.min(size_of::<T>()).saturating_sub(part.start));
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
    for line in 0..bytes / LINE_BYTES + 1 {
        prefetch_line(first.wrapping_add(line * LINE_BYTES));
    }
}

/// As [`prefetch_start`], of all of a value.
#[inline]
pub fn prefetch<T>(value: &T) {
    prefetch_start(value, size_of::<T>());
}

/// Places on many pages that are to be written soon, to be asked for in one go.
///
/// Before it goes on, the processor finds out where a page lies, and with thousands of pages it has to
/// look that up in memory. Where nothing stands between, it does so for several at a time.
#[derive(Debug, Default)]
pub struct Places {
    at: Vec<usize>,
}

impl Places {
    /// Room for `room` of them; one too many asks for those before.
    pub fn new(room: usize) -> Self {
        Self { at: Vec::with_capacity(room) }
    }

    /// Some more, which need not hold anything.
    #[inline]
    pub fn add<const N: usize>(&mut self, places: [*const u8; N]) {
        if self.at.capacity() - self.at.len() < N {
            self.ask();
        }
        self.at.extend(places.map(|place| place.addr()));
    }

    /// Asks for all of them, and forgets them.
    #[inline]
    pub fn ask(&mut self) {
        self.at.iter().for_each(|at| prefetch_to_write(std::ptr::without_provenance(*at)));
        self.at.clear();
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn prefetch_to_write(place: *const u8) {
    use std::arch::asm;

    // JUSTIFICATION: there is no safe way to say it.
    // SAFETY: the instruction reads and writes nothing that a program can see and never faults,
    // whatever the address.
    unsafe { asm!("prefetchw [{at}]", at = in(reg) place, options(nostack, preserves_flags)) };
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
const fn prefetch_to_write(_: *const u8) {}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_too_many_asks_for_those_before() {
        let value = 1_u8;
        let place = std::ptr::from_ref(&value);
        let mut places = Places::new(4);
        places.add([place; 3]);
        places.add([place]);
        assert_eq!(places.at.len(), 4);
        places.add([place, std::ptr::null()]);
        assert_eq!((places.at.len(), places.at.capacity()), (2, 4));
        places.ask();
        assert_eq!((places.at.len(), places.at.capacity()), (0, 4));
    }
}
