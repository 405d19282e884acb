//! Memory that two processes share, and the only way this crate touches it: as 64-bit atomic words.
//!
//! A [`Mapping`] owns address space (or, for tests and models, heap); [`Words`] is a stretch of it.
//! No reference to plain bytes is ever made: another process may write them at any time, and a
//! plain racing read is undefined behaviour. Loads are relaxed, which is also the only kind that
//! Rust defines on read-only pages; ordering comes from fences.
//!
//! A *mirrored* stretch is mapped twice, back to back, so that what wraps around its end is still
//! one run of addresses:
//!
//! ```text
//!   index   0 ....................... len ...................... 2 × len
//!           │        the words         │   the same words again  │
//!                              │◀── a frame ──▶│
//! ```

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::layout::WORD;
use crate::primitive::{AtomicU64, Ordering};
use crate::store::store_values;

const _: () = assert!(cfg!(target_endian = "little"), "the ABI is little-endian");

/// A huge page on x86-64 and on aarch64 with 4 KiB pages.
pub(crate) const HUGE_PAGE: usize = 2 << 20;

/// Owns the memory behind [`Words`].
pub(crate) struct Mapping {
    first: NonNull<AtomicU64>,
    words: usize,
    heap: bool,
}

// SAFETY: the memory is reached through atomics only and freed by the last owner only.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared reference gives out nothing but `&AtomicU64`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Heap memory holding these words.
    pub(crate) fn heap(words: impl Iterator<Item = u64>) -> Arc<Self> {
        let words: Box<[AtomicU64]> = words.map(AtomicU64::new).collect();
        let len = words.len();
        let first = NonNull::from(Box::leak(words)).cast::<AtomicU64>();
        Arc::new(Self { first, words: len, heap: true })
    }

    /// Heap memory holding zeros.
    pub(crate) fn zeroed(bytes: usize) -> Arc<Self> {
        Self::heap(std::iter::repeat_n(0, bytes.div_ceil(WORD)))
    }

    /// Its size in bytes.
    pub(crate) const fn bytes(&self) -> usize {
        self.words * WORD
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.heap {
            let slice = NonNull::slice_from_raw_parts(self.first, self.words);
            // SAFETY: `heap` leaked exactly this box, and nobody else frees it.
            drop(unsafe { Box::from_raw(slice.as_ptr()) });
        } else {
            #[cfg(not(loom))]
            map::unmap(self.first, self.bytes());
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", self.bytes())
    }
}

/// A stretch of words of a mapping.
#[derive(Clone)]
pub(crate) struct Words {
    first: NonNull<AtomicU64>,
    len: usize,
    mirrored: bool,
    memory: Arc<Mapping>,
}

// SAFETY: `first` points into `memory`, which is `Send` and `Sync` and kept alive by the `Arc`.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// `bytes` bytes from byte `offset` of the mapping; mirrored ones are followed by their mirror.
    /// Panics when they are not inside or not whole words.
    pub(crate) fn new(memory: &Arc<Mapping>, offset: usize, bytes: usize, mirrored: bool) -> Self {
        let span = if mirrored { 2 * bytes } else { bytes };
        let end = offset.checked_add(span);
        assert!(end.is_some_and(|end| end <= memory.bytes()), "stretch outside its mapping");
        assert!(offset.is_multiple_of(WORD) && bytes.is_multiple_of(WORD), "not whole words");
        // SAFETY: `offset` lies inside the mapping, as just checked.
        let first = unsafe { memory.first.add(offset / WORD) };
        Self { first, len: bytes / WORD, mirrored, memory: Arc::clone(memory) }
    }

    /// Whether they are the same stretch.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.first == other.first && self.len == other.len
    }

    /// How many there are, the mirror not counted.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// A part of an unmirrored stretch.
    pub(crate) fn part(&self, start: usize, len: usize) -> Self {
        assert!(start.checked_add(len).is_some_and(|end| end <= self.len), "part outside");
        // SAFETY: `start` is at most `len`, as just checked.
        let first = unsafe { self.first.add(start) };
        Self { first, len, mirrored: false, memory: Arc::clone(&self.memory) }
    }

    /// All words of the mapping that these are a part of.
    #[cfg(any(test, fuzzing, feature = "fuzz"))]
    pub(crate) fn whole(&self) -> Self {
        Self::new(&self.memory, 0, self.memory.bytes(), false)
    }

    /// One word; an index into the second round means the same word as in the first.
    #[inline]
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        let index = if !self.mirrored && index >= self.len { index - self.len } else { index };
        assert!(index < if self.mirrored { 2 * self.len } else { self.len }, "word outside");
        // SAFETY: inside the mapping, as just checked.
        let word = unsafe { self.first.add(index) };
        // SAFETY: aligned, initialised, kept alive by `memory`, and reached by atomics only.
        unsafe { word.as_ref() }
    }

    /// `count` words from `start`, in one piece where the mapping is mirrored (the second piece is
    /// then empty). Panics when `start` is beyond the second round or `count` beyond one round.
    #[inline]
    pub(crate) fn run(&self, start: usize, count: usize) -> (&[AtomicU64], &[AtomicU64]) {
        assert!(start < 2 * self.len && count <= self.len, "run outside");
        let start = if start >= self.len { start - self.len } else { start };
        let in_one = if self.mirrored { count } else { count.min(self.len - start) };
        // JUSTIFICATION: one check for a run instead of one for each word.
        // SAFETY: `start < len`, so the place lies inside the mapping.
        let first = unsafe { self.first.add(start) };
        // SAFETY: `in_one` is at most `len`, or `len - start` without a mirror, so the piece lies
        // inside the mapping; aligned, initialised, kept alive by `memory`, atomics only.
        let one = unsafe { std::slice::from_raw_parts(first.as_ptr(), in_one) };
        // SAFETY: the rest is shorter than `len` and starts at the first word; else as above.
        let two = unsafe { std::slice::from_raw_parts(self.first.as_ptr(), count - in_one) };
        (one, two)
    }

    /// The value of one word, relaxed.
    #[inline]
    pub(crate) fn load(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Relaxed)
    }

    /// Sets one word, relaxed.
    #[inline]
    pub(crate) fn store(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Relaxed);
    }

    /// The values of `N` words, relaxed.
    pub(crate) fn load_array<const N: usize>(&self, start: usize) -> [u64; N] {
        std::array::from_fn(|i| self.load(start + i))
    }

    /// Sets `N` words, relaxed.
    pub(crate) fn store_array<const N: usize>(&self, start: usize, values: &[u64; N]) {
        for (i, value) in values.iter().enumerate() {
            self.store(start + i, *value);
        }
    }

    /// As [`store_array`](Self::store_array), past the cache where the words are whole lines: for what the
    /// writer does not look at again. As with media, only [`settle`](crate::store::settle) orders them.
    #[inline(always)]
    pub(crate) fn store_past<const N: usize>(&self, start: usize, values: &[u64; N]) {
        let (one, two) = self.run(start, N);
        let (values_one, values_two) = values.split_at(one.len());
        store_values(one, values_one);
        store_values(two, values_two);
    }

    /// Adds to a word that only this thread writes: a load and a store, no locked instruction.
    #[inline]
    pub(crate) fn add(&self, index: usize, n: u64) {
        let word = self.word(index);
        word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mirrored = if self.mirrored { ", mirrored" } else { "" };
        write!(f, "Words({} bytes{mirrored} of {:?})", self.len * WORD, self.memory)
    }
}

#[cfg(not(loom))]
pub(crate) mod map {
    //! Segments as sealed memfds.

    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::ptr::{NonNull, null_mut};
    use std::sync::Arc;

    use rustix::fs::{MemfdFlags, SealFlags};
    use rustix::mm::{Advice, MapFlags, ProtFlags};

    use super::{HUGE_PAGE, Mapping};
    use crate::Error;
    use crate::layout::WORD;
    use crate::primitive::AtomicU64;

    /// A stretch of a file.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Piece {
        pub(crate) offset: u64,
        pub(crate) bytes: usize,
    }

    /// Makes an empty memfd of `bytes` bytes. No page is allocated yet.
    pub(crate) fn create(what: &'static str, bytes: u64) -> Result<OwnedFd, Error> {
        let failed = |step| {
            move |e: rustix::io::Errno| Error::Create { what, bytes, step, source: e.into() }
        };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create(what, flags).map_err(failed("memfd_create"))?;
        rustix::fs::ftruncate(&fd, bytes).map_err(failed("ftruncate"))?;
        Ok(fd)
    }

    /// Maps the pieces writable, one behind the other, the first at a huge page's boundary, and
    /// allocates every page of them, so that running out of memory is an error here and no SIGBUS
    /// later. Pieces of whole huge pages get them where the system has any.
    pub(crate) fn writable(
        what: &'static str,
        bytes: u64,
        fd: &OwnedFd,
        pieces: &[Piece],
    ) -> Result<Arc<Mapping>, Error> {
        let failed = |step| move |source: io::Error| Error::Create { what, bytes, step, source };
        let mapping = pieces_at(fd.as_fd(), pieces, ProtFlags::READ | ProtFlags::WRITE)
            .map_err(failed("mmap"))?;
        let mut at = mapping.first.cast::<u8>();
        for piece in pieces {
            let address = at.as_ptr().cast();
            if piece.bytes.is_multiple_of(HUGE_PAGE) {
                // Refused where huge pages are not built in: then small ones serve.
                // SAFETY: the range is ours and mapped; this advice changes no content.
                let _ = unsafe { rustix::mm::madvise(address, piece.bytes, Advice::LinuxHugepage) };
            }
            if piece.bytes.is_multiple_of(HUGE_PAGE) {
                // Where files of memory get no huge pages by themselves (the usual setting) this makes
                // them, if there are any: else the walk to each small page costs a writer of many
                // rings more than the bytes that it stores there. One small page has to be there, and
                // others would have to be moved.
                // SAFETY: as below, of the first page.
                let _ = unsafe {
                    rustix::mm::madvise(
                        address,
                        rustix::param::page_size(),
                        Advice::LinuxPopulateWrite,
                    )
                };
                // SAFETY: the range is ours and mapped; collapsing changes no content.
                let _ = unsafe { libc::madvise(address, piece.bytes, libc::MADV_COLLAPSE) };
            }
            // SAFETY: the range is ours and mapped writable; populating changes no content.
            unsafe { rustix::mm::madvise(address, piece.bytes, Advice::LinuxPopulateWrite) }
                .map_err(|e| failed("MADV_POPULATE_WRITE")(e.into()))?;
            // SAFETY: `pieces_at` mapped the sum of all pieces.
            at = unsafe { at.add(piece.bytes) };
        }
        Ok(mapping)
    }

    /// Forbids everything but reading to whoever gets the descriptor from now on. Our own writable
    /// mapping stays.
    pub(crate) fn seal(what: &'static str, bytes: u64, fd: &OwnedFd) -> Result<(), Error> {
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(fd, seals).map_err(|e| Error::Create {
            what,
            bytes,
            step: "F_ADD_SEALS",
            source: e.into(),
        })
    }

    /// The size of a segment that somebody handed over, once it is known that it cannot shrink:
    /// a read behind the end of a shrunk file kills the reader.
    pub(crate) fn sealed_bytes(what: &'static str, fd: BorrowedFd<'_>) -> Result<u64, Error> {
        let failed = |step| move |e: rustix::io::Errno| Error::Map { what, step, source: e.into() };
        let seals = rustix::fs::fcntl_get_seals(fd).map_err(failed("F_GET_SEALS"))?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(Error::NotSealed { what });
        }
        let stat = rustix::fs::fstat(fd).map_err(failed("fstat"))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Maps the pieces read-only, one behind the other.
    pub(crate) fn readable(
        what: &'static str,
        fd: BorrowedFd<'_>,
        pieces: &[Piece],
    ) -> Result<Arc<Mapping>, Error> {
        pieces_at(fd, pieces, ProtFlags::READ).map_err(|source| Error::Map {
            what,
            step: "mmap",
            source,
        })
    }

    fn pieces_at(
        fd: BorrowedFd<'_>,
        pieces: &[Piece],
        protection: ProtFlags,
    ) -> io::Result<Arc<Mapping>> {
        let page = rustix::param::page_size();
        if pieces.iter().any(|piece| piece.bytes == 0 || !piece.bytes.is_multiple_of(page)) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let too_large = || io::Error::from_raw_os_error(libc::ENOMEM);
        let span = pieces.iter().try_fold(0_usize, |sum, piece| sum.checked_add(piece.bytes));
        let span = span.ok_or_else(too_large)?;
        let mapping = reserve(span)?;
        let mut at = mapping.first.cast::<u8>();
        for piece in pieces {
            let (address, flags) = (at.as_ptr().cast(), MapFlags::SHARED | MapFlags::FIXED);
            // SAFETY: the range lies inside our own reservation, which nobody has pointers into
            // yet, so that replacing its pages takes memory from nobody.
            unsafe { rustix::mm::mmap(address, piece.bytes, protection, flags, fd, piece.offset) }?;
            // SAFETY: the reservation holds the sum of all pieces.
            at = unsafe { at.add(piece.bytes) };
        }
        Ok(Arc::new(mapping))
    }

    /// Address space of `span` bytes that starts at a huge page's boundary.
    fn reserve(span: usize) -> io::Result<Mapping> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let wide = span.checked_add(HUGE_PAGE).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice.
        let base =
            unsafe { rustix::mm::mmap_anonymous(null_mut(), wide, ProtFlags::empty(), flags) }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let before = base.as_ptr().addr().next_multiple_of(HUGE_PAGE) - base.as_ptr().addr();
        let behind = HUGE_PAGE - before;
        // SAFETY: `before` is at most one huge page, by which the mapping is wider than `span`.
        let first = unsafe { base.add(before) };
        if before > 0 {
            unmap(base.cast(), before);
        }
        if behind > 0 {
            // SAFETY: the mapping ends `behind` bytes after `first + span`.
            unmap(unsafe { first.add(span) }.cast(), behind);
        }
        Ok(Mapping { first: first.cast::<AtomicU64>(), words: span / WORD, heap: false })
    }

    /// Gives address space back.
    pub(super) fn unmap(first: NonNull<AtomicU64>, bytes: usize) {
        // SAFETY: callers own the range and hand out no pointer into it any more.
        let done = unsafe { rustix::mm::munmap(first.as_ptr().cast(), bytes) };
        debug_assert!(done.is_ok(), "munmap of our own range: {done:?}");
    }
}
