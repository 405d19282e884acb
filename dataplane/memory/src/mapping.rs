//! The bytes behind a slab: an anonymous mapping on huge pages, a heap block under miri.

#[cfg(miri)]
pub(crate) use heap::Mapping;
#[cfg(not(miri))]
pub(crate) use map::Mapping;

/// The size of a huge page on x86-64 and, with 4 KiB base pages, on aarch64.
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;
/// The largest base page of the supported machines is larger, but 4 KiB is the usual one and the
/// kernel rounds the rest.
pub(crate) const PAGE_BYTES: usize = 4 << 10;

/// `bytes` rounded up to what is really mapped: whole huge pages from one huge page on, else whole
/// pages. `None` when the address space does not hold it.
pub(crate) const fn mapped_bytes(bytes: usize) -> Option<usize> {
    let unit = if bytes >= HUGE_PAGE_BYTES { HUGE_PAGE_BYTES } else { PAGE_BYTES };
    bytes.checked_next_multiple_of(unit)
}

#[cfg(not(miri))]
mod map {
    use std::ffi::c_void;
    use std::ptr::{self, NonNull};

    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

    use super::{HUGE_PAGE_BYTES, mapped_bytes};
    use crate::Error;

    /// An owned, zeroed, populated mapping that begins on a huge page.
    #[derive(Debug)]
    pub(crate) struct Mapping {
        base: NonNull<u8>,
        bytes: usize,
    }

    impl Mapping {
        /// Maps at least `bytes` and faults every page in, so that the packet path never does.
        pub(crate) fn new(bytes: usize) -> Result<Self, Error> {
            let map_error = |source: rustix::io::Errno| Error::Map { bytes, source: source.into() };
            let too_large = || map_error(rustix::io::Errno::NOMEM);
            let bytes = mapped_bytes(bytes).ok_or_else(too_large)?;
            let reserved = bytes.checked_add(HUGE_PAGE_BYTES).ok_or_else(too_large)?;
            // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing.
            let start = unsafe {
                mmap_anonymous(
                    ptr::null_mut(),
                    reserved,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::PRIVATE | MapFlags::NORESERVE,
                )
            }
            .map_err(map_error)?
            .cast::<u8>();
            let before = start.align_offset(HUGE_PAGE_BYTES);
            // The kernel hands out page-aligned addresses, so the offset is below one huge page.
            assert!(before < HUGE_PAGE_BYTES, "mappings are page-aligned");
            let base = start.wrapping_add(before);
            unmap(start, before);
            unmap(base.wrapping_add(bytes), HUGE_PAGE_BYTES - before);
            let base = NonNull::new(base).expect("the kernel maps nothing at address zero");
            let mapping = Self { base, bytes };
            mapping.advise()?;
            Ok(mapping)
        }

        fn advise(&self) -> Result<(), Error> {
            let start: *mut c_void = self.base.as_ptr().cast();
            // Without transparent huge pages in the kernel this is refused: small pages do too.
            // SAFETY: the range is this mapping; the advice does not change its contents.
            let _ = unsafe { madvise(start, self.bytes, Advice::LinuxHugepage) };
            // SAFETY: as above; populating faults zero pages in.
            unsafe { madvise(start, self.bytes, Advice::LinuxPopulateWrite) }
                .map_err(|source| Error::Populate { bytes: self.bytes, source: source.into() })
        }

        pub(crate) const fn base(&self) -> NonNull<u8> {
            self.base
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            unmap(self.base.as_ptr(), self.bytes);
        }
    }

    /// Gives a part of this module's own reservation back.
    fn unmap(start: *mut u8, bytes: usize) {
        if bytes > 0 {
            // SAFETY: callers pass ranges of a mapping they own and never touch again.
            unsafe { munmap(start.cast(), bytes) }.expect("own mappings can be unmapped");
        }
    }
}

#[cfg(miri)]
mod heap {
    use std::alloc::{Layout, alloc_zeroed, dealloc};
    use std::ptr::NonNull;

    use super::mapped_bytes;
    use crate::Error;

    /// The same promise as the real mapping (owned, zeroed), from the heap: miri has no `mmap`.
    #[derive(Debug)]
    pub(crate) struct Mapping {
        base: NonNull<u8>,
        layout: Layout,
    }

    impl Mapping {
        pub(crate) fn new(bytes: usize) -> Result<Self, Error> {
            let bytes = mapped_bytes(bytes).expect("tests ask for little");
            let layout = Layout::from_size_align(bytes, 4096).expect("tests ask for little");
            // SAFETY: the layout is not of size zero, a slab has at least one slot.
            let base = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("tests have memory");
            Ok(Self { base, layout })
        }

        pub(crate) const fn base(&self) -> NonNull<u8> {
            self.base
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: allocated in `new` with this layout, freed once.
            unsafe { dealloc(self.base.as_ptr(), self.layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_mappings_round_to_pages_and_large_ones_to_huge_pages() {
        assert_eq!(mapped_bytes(1), Some(4096));
        assert_eq!(mapped_bytes(HUGE_PAGE_BYTES - 1), Some(HUGE_PAGE_BYTES));
        assert_eq!(mapped_bytes(HUGE_PAGE_BYTES + 1), Some(2 * HUGE_PAGE_BYTES));
        assert_eq!(mapped_bytes(usize::MAX), None);
    }

    #[cfg(not(miri))]
    #[test]
    fn a_mapping_begins_on_a_huge_page() {
        for bytes in [1, HUGE_PAGE_BYTES, 3 * HUGE_PAGE_BYTES + 1] {
            let mapping = Mapping::new(bytes).unwrap();
            assert_eq!(mapping.base().as_ptr().addr() % HUGE_PAGE_BYTES, 0);
        }
    }

    #[cfg(not(miri))]
    #[test]
    fn a_mapping_that_does_not_fit_is_an_error() {
        assert!(matches!(Mapping::new(usize::MAX / 2), Err(crate::Error::Map { .. })));
        assert!(matches!(Mapping::new(usize::MAX), Err(crate::Error::Map { .. })));
    }
}
