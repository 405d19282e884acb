//! Memory shared with the kernel for as long as a ring lives.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::Error;

/// Zeroed pages of one's own: a buffer ring must begin on a page.
#[derive(Debug)]
pub(crate) struct Pages {
    base: NonNull<c_void>,
    bytes: usize,
}

impl Pages {
    pub(crate) fn new(bytes: usize) -> Result<Self, Error> {
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing.
        let base = unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, flags) }
            .map_err(|source| Error::Setup { step: "mapping", source: source.into() })?;
        let base = NonNull::new(base).expect("the kernel maps nothing at address zero");
        Ok(Self { base, bytes })
    }

    pub(crate) const fn base<T>(&self) -> NonNull<T> {
        self.base.cast()
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and the ring drops it only after the kernel has
        // let go of it.
        unsafe { munmap(self.base.as_ptr(), self.bytes) }.expect("own mappings can be unmapped");
    }
}
