//! The provided-buffer ring, with slots of our choice behind its buffer ids.
//!
//! ```text
//!   shared with the kernel (16-byte entries)          ours
//!   ┌─────────────────────────────────────┐           table: buffer id ─▶ raw slot
//!   │ addr len bid tail │ addr len bid _  │ …         bare:  ids without a slot
//!   └─────────────────────────────────────┘           order: entry ─▶ buffer id
//!              entry 0 ▲ the tail lies where entry 0 has a spare field, so an entry is never
//!                        written as a whole, only its three fields
//! ```
//!
//! A completion names a buffer id. Its slot goes out as a handle and the id is *bare*; once a batch,
//! bare ids get free slots and go back to the kernel. With the slab exhausted they stay bare until
//! a slot is free again: that is the backpressure signal.
//!
//! The kernel fills the entries in turn, so a slot put behind the tail is filled when all the others
//! have been: with thousands of them it has left the cache by then, and so has the next. Hence slots
//! that were freed last go where the kernel goes on, and what lay there goes behind the tail:
//!
//! ```text
//!            head                        tail                     head                tail
//!   ··· taken │ a  b  c  d  ·········  z  │        ──▶    ··· taken │ X  Y  c  d ··· z  a  b │
//!                                                                    warm
//! ```

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
    /// The entry that the kernel fills next, as far as its completions have been seen.
    head: u16,
    /// The tail as written, and as the kernel has been told.
    tail: u16,
    published: u16,
    /// The id in each entry.
    order: Box<[u16]>,
    table: Box<[u32]>,
    /// `bare[..bare_len]` are the ids without a slot.
    bare: Box<[u16]>,
    bare_len: u16,
    /// Of them, those that were bare after the last refill.
    starving: u16,
    starved: u64,
    warm_first: bool,
}

impl BufferRing {
    /// A full ring of `entries` (a power of two) slots of `slab`. `warm_first`: see
    /// [`RingConfig`](crate::RingConfig).
    pub(crate) fn new(entries: u16, slab: Slab, warm_first: bool) -> Result<Self, Error> {
        let need = u32::from(entries);
        if slab.free() < need {
            return Err(Error::SlabTooSmall { need, have: slab.free() });
        }
        let mut ring = Self {
            pages: Pages::new(usize::from(entries) * size_of::<Entry>())?,
            slab,
            mask: entries - 1,
            head: 0,
            tail: 0,
            published: 0,
            order: vec![0; usize::from(entries)].into(),
            table: vec![NO_SLOT; usize::from(entries)].into(),
            bare: (0..entries).rev().collect(),
            bare_len: entries,
            starving: 0,
            starved: 0,
            warm_first,
        };
        ring.refill(true);
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
        self.head != self.tail
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

    /// The slot that the kernel filled, as a completion says.
    pub(crate) fn take(&mut self, id: u16) -> Slot {
        let place = &mut self.table[usize::from(id)];
        let raw = std::mem::replace(place, NO_SLOT);
        assert!(raw != NO_SLOT, "the kernel completes only ids it was offered");
        // What is known of the head is known from the order: a kernel that keeps none gets its slots
        // behind the tail.
        self.warm_first &= self.order[usize::from(self.head & self.mask)] == id;
        self.head = self.head.wrapping_add(1);
        self.bare[usize::from(self.bare_len)] = id;
        self.bare_len += 1;
        // SAFETY: `raw` came from `into_raw` in `place` and left the table just now; the kernel has
        // completed the buffer, so it does not touch it again.
        unsafe { self.slab.from_raw(raw) }
    }

    /// Puts slots behind bare ids, as far as there are free ones, and tells the kernel of all that it
    /// does not know. Once a batch, by the thread that enters the kernel. `all_seen`: [`take`](Self::take)
    /// was called for each buffer that the kernel has filled.
    pub(crate) fn refill(&mut self, all_seen: bool) {
        let mut at = self.head;
        // Those that wait to be filled, as far as they may be moved.
        let end = if self.warm_first && all_seen { self.tail } else { at };
        while self.bare_len > 0
            && let Some(slot) = self.slab.take()
        {
            self.bare_len -= 1;
            let id = self.bare[usize::from(self.bare_len)];
            if at != end {
                self.displace(at);
                self.place(at, id, slot);
                at = at.wrapping_add(1);
            } else {
                self.place(self.tail, id, slot);
                self.tail = self.tail.wrapping_add(1);
            }
        }
        self.starved += u64::from(self.bare_len.saturating_sub(self.starving));
        self.starving = self.bare_len;
        if self.published != self.tail {
            self.published = self.tail;
            self.publish();
        }
    }

    /// Moves the id in entry `at`, which the kernel has been told of and has not filled, behind the
    /// tail.
    fn displace(&mut self, at: u16) {
        let id = self.order[usize::from(at & self.mask)];
        self.write(self.tail, id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn place(&mut self, at: u16, id: u16, slot: Slot) {
        self.table[usize::from(id)] = slot.into_raw();
        self.write(at, id);
    }

    /// Writes id and slot into an entry that the kernel does not read meanwhile: either the tail has
    /// not passed it, or the kernel has not come to it. It reads entries only in calls of this
    /// thread (`SINGLE_ISSUER` and `DEFER_TASKRUN`), and of those that it has taken it tells before
    /// such a call returns.
    fn write(&mut self, at: u16, id: u16) {
        let at = usize::from(at & self.mask);
        self.order[at] = id;
        let raw = self.table[usize::from(id)];
        let entry = self.entries().as_ptr().wrapping_add(at);
        let address = self.slab.address(raw).expose_provenance() as u64;
        // Raw pointers to single fields: a reference to entry 0 would cover the tail.
        let address_field = entry.wrapping_byte_add(offset_of!(Entry, address)).cast::<u64>();
        // SAFETY: the entry lies inside the mapping (the index is masked), aligned; the kernel does
        // not read it now, as the caller saw to.
        unsafe { address_field.write(address) };
        let len_field = entry.wrapping_byte_add(offset_of!(Entry, len)).cast::<u32>();
        // SAFETY: as above.
        unsafe { len_field.write(OFFERED_BYTES) };
        let id_field = entry.wrapping_byte_add(offset_of!(Entry, id)).cast::<u16>();
        // SAFETY: as above.
        unsafe { id_field.write(id) };
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
            // SAFETY: `raw` came from `into_raw` in `place` and is turned back once, here.
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
        let ring = BufferRing::new(8, slab.clone(), true).unwrap();
        assert_eq!(published(&ring), 8);
        assert_eq!(slab.free(), 2);
        drop(ring);
        assert_eq!(slab.free(), 10);
    }

    #[test]
    fn a_slab_that_cannot_fill_the_ring_is_refused() {
        let slab = Slab::new(7).unwrap();
        let error = BufferRing::new(8, slab, true).err();
        assert!(matches!(error, Some(Error::SlabTooSmall { need: 8, have: 7 })));
    }

    #[test]
    fn a_taken_slot_is_replaced_and_published_with_the_batch() {
        let slab = Slab::new(10).unwrap();
        let mut ring = BufferRing::new(8, slab.clone(), true).unwrap();
        let held = [ring.take(3), ring.take(0)];
        assert_eq!(slab.free(), 2);
        assert_eq!(published(&ring), 8);
        ring.refill(true);
        assert_eq!(slab.free(), 0);
        assert_eq!(published(&ring), 10);
        assert_eq!(ring.starved(), 0);
        drop(held);
        assert_eq!(slab.free(), 2);
    }

    /// What the kernel would fill next: ids with the addresses of their slots.
    fn offered(ring: &BufferRing) -> Vec<(u16, u64)> {
        let distance = ring.tail.wrapping_sub(ring.head);
        let entry = |at: u16| {
            let at = usize::from(ring.head.wrapping_add(at) & ring.mask);
            let entry = ring.entries().as_ptr().wrapping_add(at);
            let address = entry.wrapping_byte_add(offset_of!(Entry, address)).cast::<u64>();
            let id = entry.wrapping_byte_add(offset_of!(Entry, id)).cast::<u16>();
            // SAFETY: a field of an entry inside the mapping that no kernel knows, aligned.
            let id = unsafe { id.read() };
            // SAFETY: as above.
            (id, unsafe { address.read() })
        };
        (0..distance).map(entry).collect()
    }

    #[test]
    fn slots_freed_last_are_filled_next_and_none_is_offered_twice() {
        for warm_first in [true, false] {
            let slab = Slab::new(8).unwrap();
            let mut ring = BufferRing::new(8, slab.clone(), warm_first).unwrap();
            let before = offered(&ring);
            let taken: Vec<u64> = before[..3].iter().map(|(_, address)| *address).collect();
            before[..3].iter().for_each(|(id, _)| drop(ring.take(*id)));
            ring.refill(true);
            let after = offered(&ring);
            let next: Vec<u64> = after.iter().map(|(_, address)| *address).collect();
            if warm_first {
                let warmest_first: Vec<u64> = taken.iter().rev().copied().collect();
                assert_eq!(next[..3], warmest_first);
                assert_eq!(after[3..], [&before[6..], &before[3..6]].concat());
            } else {
                assert_eq!(after[..5], before[3..]);
            }
            let mut all = after;
            all.sort_unstable();
            all.dedup_by_key(|(id, _)| *id);
            let mut addresses: Vec<u64> = all.iter().map(|(_, address)| *address).collect();
            addresses.sort_unstable();
            addresses.dedup();
            assert_eq!(addresses.len(), 8);
            assert_eq!(published(&ring), 11);
        }
    }

    #[test]
    fn while_completions_are_unseen_nothing_the_kernel_may_have_filled_is_moved() {
        let slab = Slab::new(8).unwrap();
        let mut ring = BufferRing::new(8, slab, true).unwrap();
        let before = offered(&ring);
        drop(ring.take(before[0].0));
        ring.refill(false);
        assert_eq!(offered(&ring)[..7], before[1..]);
    }

    #[test]
    fn a_kernel_that_keeps_no_order_gets_its_slots_behind_the_tail() {
        let slab = Slab::new(8).unwrap();
        let mut ring = BufferRing::new(8, slab, true).unwrap();
        let before = offered(&ring);
        drop(ring.take(before[1].0));
        drop(ring.take(before[0].0));
        ring.refill(true);
        assert_eq!(offered(&ring)[..6], before[2..]);
    }

    #[test]
    fn an_id_without_a_slot_waits_bare_until_one_returns() {
        let slab = Slab::new(2).unwrap();
        let mut ring = BufferRing::new(2, slab, true).unwrap();
        let [(first, _), (second, _)] = offered(&ring)[..] else { panic!("two are offered") };
        let held = [ring.take(first), ring.take(second)];
        ring.refill(true);
        assert!(!ring.has_buffers());
        assert_eq!(ring.starved(), 2);
        assert_eq!(published(&ring), 2);
        let [first, second] = held;
        drop(second);
        ring.refill(true);
        assert!(ring.has_buffers());
        assert_eq!(published(&ring), 3);
        drop(first);
        ring.refill(true);
        assert_eq!(published(&ring), 4);
        assert_eq!(ring.starved(), 2);
        offered(&ring).iter().for_each(|(id, _)| drop(ring.take(*id)));
    }

    #[test]
    fn the_tail_wraps() {
        let slab = Slab::new(4).unwrap();
        let mut ring = BufferRing::new(2, slab.clone(), true).unwrap();
        for turn in 0..70_000u32 {
            let (id, _) = offered(&ring)[0];
            drop(ring.take(id));
            ring.refill(turn % 3 != 0);
        }
        assert_eq!(u32::from(published(&ring)), (70_000 + 2) % 65_536);
        assert_eq!(slab.free(), 2);
    }
}
