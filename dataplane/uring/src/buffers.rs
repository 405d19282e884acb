//! The provided-buffer ring, with slots of our choice behind its buffer ids.
//!
//! ```text
//!   shared with the kernel (16-byte entries)          ours
//!   ┌─────────────────────────────────────┐           table: buffer id ─▶ raw slot
//!   │ addr len bid tail │ addr len bid _  │ …         bare:  ids without a slot
//!   └─────────────────────────────────────┘
//!              entry 0 ▲ the tail lies where entry 0 has a spare field, so an entry is never
//!                        written as a whole, only its three fields
//! ```
//!
//! A completion names a buffer id. Its slot goes out as a handle, a fresh slot takes its place and
//! the id goes back to the kernel; the tail is published once a batch. With the slab exhausted the
//! id stays aside, *bare*, until a slot is free again: that is the backpressure signal.

use std::mem::offset_of;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use memory::{SLOT_BYTES, Slab, Slot};

use crate::Error;
use crate::pages::Pages;

/// `struct io_uring_buf`. In entry 0 `tail` is the ring's tail, in the others it is spare.
#[repr(C)]
struct Entry {
    address: u64,
    len: u32,
    id: u16,
    tail: AtomicU16,
}

const _: () = assert!(size_of::<Entry>() == 16);

/// Whole slots are offered to the kernel.
const OFFERED_BYTES: u32 = 2048;
const _: () = assert!(OFFERED_BYTES as usize == SLOT_BYTES);

/// What the table says of an id that is bare.
const NO_SLOT: u32 = u32::MAX;

/// Owns the entries and the slots behind them.
pub(crate) struct BufferRing {
    /// Where the slots come from and go to; kept so that their memory lives.
    slab: Slab,
    pages: Pages,
    /// The number of entries, a power of two, less one.
    mask: u16,
    /// The tail as written, and as the kernel has been told.
    tail: u16,
    published: u16,
    /// Ids the kernel holds, published or about to be.
    offered: u16,
    table: Box<[u32]>,
    /// `bare[..bare_len]` are the ids without a slot.
    bare: Box<[u16]>,
    bare_len: u16,
    starved: u64,
}

impl BufferRing {
    /// A full ring of `entries` (a power of two) slots of `slab`.
    pub(crate) fn new(entries: u16, slab: Slab) -> Result<Self, Error> {
        let need = u32::from(entries);
        if slab.free() < need {
            return Err(Error::SlabTooSmall { need, have: slab.free() });
        }
        let mut ring = Self {
            pages: Pages::new(usize::from(entries) * size_of::<Entry>())?,
            slab,
            mask: entries - 1,
            tail: 0,
            published: 0,
            offered: 0,
            table: vec![NO_SLOT; usize::from(entries)].into(),
            bare: (0..entries).rev().collect(),
            bare_len: entries,
            starved: 0,
        };
        ring.refill();
        Ok(ring)
    }

    /// Where the kernel finds the ring.
    pub(crate) fn address(&self) -> u64 {
        self.entries().as_ptr().expose_provenance() as u64
    }

    /// Entries of the ring.
    pub(crate) const fn len(&self) -> u16 {
        self.mask + 1
    }

    /// Whether the kernel has a buffer for the next datagram.
    pub(crate) const fn has_buffers(&self) -> bool {
        self.offered > 0
    }

    /// Buffer ids that found no free slot.
    pub(crate) const fn starved(&self) -> u64 {
        self.starved
    }

    /// Asks for the first `bytes` bytes of a slot that the kernel filled, to take it soon.
    pub(crate) fn prefetch(&self, id: u16, bytes: usize) {
        let raw = self.table[usize::from(id)];
        assert!(raw != NO_SLOT, "the kernel completes only ids it was offered");
        self.slab.prefetch(raw, bytes);
    }

    /// The slot that the kernel filled, as a completion says; a fresh one takes its place.
    pub(crate) fn take(&mut self, id: u16) -> Slot {
        let place = &mut self.table[usize::from(id)];
        let raw = std::mem::replace(place, NO_SLOT);
        assert!(raw != NO_SLOT, "the kernel completes only ids it was offered");
        self.offered -= 1;
        // SAFETY: `raw` came from `into_raw` in `offer` and left the table just now; the kernel has
        // completed the buffer, so it does not touch it again.
        let filled = unsafe { self.slab.from_raw(raw) };
        match self.slab.take() {
            Some(fresh) => self.offer(id, fresh),
            None => {
                self.starved += 1;
                self.bare[usize::from(self.bare_len)] = id;
                self.bare_len += 1;
            }
        }
        filled
    }

    /// Puts slots behind bare ids, as far as there are free ones, and tells the kernel of all ids
    /// offered since the last call. Once a batch.
    pub(crate) fn refill(&mut self) {
        while self.bare_len > 0
            && let Some(slot) = self.slab.take()
        {
            self.bare_len -= 1;
            self.offer(self.bare[usize::from(self.bare_len)], slot);
        }
        if self.published != self.tail {
            self.published = self.tail;
            self.publish();
        }
    }

    fn offer(&mut self, id: u16, slot: Slot) {
        let raw = slot.into_raw();
        self.table[usize::from(id)] = raw;
        let entry = self.entries().as_ptr().wrapping_add(usize::from(self.tail & self.mask));
        let address = self.slab.address(raw).expose_provenance() as u64;
        // Raw pointers to single fields: a reference to entry 0 would cover the tail.
        let address_field = entry.wrapping_byte_add(offset_of!(Entry, address)).cast::<u64>();
        // SAFETY: the entry lies inside the mapping (the index is masked), aligned; the kernel does
        // not read it before the tail passes it.
        unsafe { address_field.write(address) };
        let len_field = entry.wrapping_byte_add(offset_of!(Entry, len)).cast::<u32>();
        // SAFETY: as above.
        unsafe { len_field.write(OFFERED_BYTES) };
        let id_field = entry.wrapping_byte_add(offset_of!(Entry, id)).cast::<u16>();
        // SAFETY: as above.
        unsafe { id_field.write(id) };
        self.tail = self.tail.wrapping_add(1);
        self.offered += 1;
    }

    fn publish(&self) {
        let tail = self.entries().as_ptr().wrapping_byte_add(offset_of!(Entry, tail));
        // SAFETY: the tail of entry 0 is inside the mapping, aligned, and only ever accessed as an
        // atomic of this width, here and (as a load) in the kernel.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast()) };
        // Release: the kernel that sees the tail sees the entries before it.
        tail.store(self.tail, Ordering::Release);
    }

    const fn entries(&self) -> NonNull<Entry> {
        self.pages.base()
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // The kernel has let go of the ring (its owner saw to that), so the slots are ours again.
        for raw in self.table.iter().copied().filter(|&raw| raw != NO_SLOT) {
            // SAFETY: `raw` came from `into_raw` in `offer` and is turned back once, here.
            drop(unsafe { self.slab.from_raw(raw) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(ring: &BufferRing) -> u16 {
        let tail = ring.entries().as_ptr().wrapping_byte_add(offset_of!(Entry, tail));
        // SAFETY: as in `publish`.
        unsafe { AtomicU16::from_ptr(tail.cast()) }.load(Ordering::Acquire)
    }

    #[test]
    fn a_fresh_ring_offers_every_entry() {
        let slab = Slab::new(10).unwrap();
        let ring = BufferRing::new(8, slab.clone()).unwrap();
        assert_eq!(published(&ring), 8);
        assert_eq!(slab.free(), 2);
        drop(ring);
        assert_eq!(slab.free(), 10);
    }

    #[test]
    fn a_slab_that_cannot_fill_the_ring_is_refused() {
        let slab = Slab::new(7).unwrap();
        let error = BufferRing::new(8, slab).err();
        assert!(matches!(error, Some(Error::SlabTooSmall { need: 8, have: 7 })));
    }

    #[test]
    fn a_taken_slot_is_replaced_and_published_with_the_batch() {
        let slab = Slab::new(10).unwrap();
        let mut ring = BufferRing::new(8, slab.clone()).unwrap();
        let held = [ring.take(3), ring.take(0)];
        assert_eq!(slab.free(), 0);
        assert_eq!(published(&ring), 8);
        ring.refill();
        assert_eq!(published(&ring), 10);
        assert_eq!(ring.starved(), 0);
        drop(held);
        assert_eq!(slab.free(), 2);
    }

    #[test]
    fn an_id_without_a_slot_waits_bare_until_one_returns() {
        let slab = Slab::new(2).unwrap();
        let mut ring = BufferRing::new(2, slab).unwrap();
        let held = [ring.take(0), ring.take(1)];
        ring.refill();
        assert!(!ring.has_buffers());
        assert_eq!(ring.starved(), 2);
        assert_eq!(published(&ring), 2);
        let [first, second] = held;
        drop(second);
        ring.refill();
        assert!(ring.has_buffers());
        assert_eq!(published(&ring), 3);
        drop(first);
        ring.refill();
        assert_eq!(published(&ring), 4);
        drop(ring.take(0));
        drop(ring.take(1));
    }

    #[test]
    fn the_tail_wraps() {
        let slab = Slab::new(4).unwrap();
        let mut ring = BufferRing::new(2, slab.clone()).unwrap();
        for turn in 0..70_000u32 {
            drop(ring.take(if turn % 2 == 0 { 0 } else { 1 }));
            ring.refill();
        }
        assert_eq!(u32::from(published(&ring)), (70_000 + 2) % 65_536);
        assert_eq!(slab.free(), 2);
    }
}
