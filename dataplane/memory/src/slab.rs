//! One worker's pool of packet slots.
//!
//! ```text
//!  Slab ──┐        core (heap, made once)                mapping (huge pages)
//!  Slab ──┼──────▶ handles: 2                            ┌────────┬────────┬────────┬───
//!         │        free: [ 3 1 … ]  (stack: the slot     │ slot 0 │ slot 1 │ slot 2 │ …
//!  Slot ──┘               used last is taken first,      └────────┴────────┴────────┴───
//!   index 2               still warm in the cache)         2 KiB each
//! ```

use std::cell::Cell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::slice;

use crate::Error;
use crate::mapping::{Mapping, mapped_bytes};
use crate::prefetch::prefetch_from;

/// Bytes of one slot: the 16-byte header of a provided-buffer `recvmsg`, a peer address, control
/// messages, and a datagram as large as an Ethernet frame carries (1,500 bytes) fit.
pub const SLOT_BYTES: usize = 2048;

/// What all handles of a slab share.
struct Core {
    mapping: Mapping,
    slots: u32,
    /// Slabs that point here. Slots out are counted by what is missing from the free stack.
    handles: Cell<usize>,
    /// `free[..free_len]` are the indexes of the free slots.
    free: Box<[Cell<u32>]>,
    free_len: Cell<u32>,
}

impl Core {
    fn address(&self, index: u32) -> *mut u8 {
        assert!(index < self.slots, "a slot's index is below the slab's capacity");
        self.mapping.base().as_ptr().wrapping_add(index as usize * SLOT_BYTES)
    }

    /// No slab and no slot points here any more.
    fn unused(&self) -> bool {
        self.handles.get() == 0 && self.free_len.get() == self.slots
    }

    fn pop(&self) -> Option<u32> {
        let len = self.free_len.get().checked_sub(1)?;
        self.free_len.set(len);
        Some(self.free[len as usize].get())
    }

    fn push(&self, index: u32) {
        let len = self.free_len.get();
        // The index is out of bounds when more slots come back than went out.
        self.free[len as usize].set(index);
        self.free_len.set(len + 1);
    }
}

/// A handle on one worker's pool of [`SLOT_BYTES`] slots; clones share the pool.
///
/// It stays on its thread, so taking and returning slots are plain loads and stores.
///
/// ```compile_fail,E0277
/// let slab = penstock_memory::Slab::new(1).unwrap();
/// std::thread::spawn(move || slab.take());
/// ```
pub struct Slab {
    core: NonNull<Core>,
}

impl Slab {
    /// Maps and populates `slots` slots, on huge pages where there are some.
    pub fn new(slots: u32) -> Result<Self, Error> {
        if slots == 0 {
            return Err(Error::NoSlots);
        }
        let bytes = Self::bytes(slots).ok_or(Error::TooManySlots { slots })?;
        let core = Box::new(Core {
            mapping: Mapping::new(bytes)?,
            slots,
            handles: Cell::new(1),
            // The lowest index lies on top of the stack.
            free: (0..slots).rev().map(Cell::new).collect(),
            free_len: Cell::new(slots),
        });
        Ok(Self { core: NonNull::from(Box::leak(core)) })
    }

    /// Bytes that a slab of `slots` slots maps; the memory sum's figure. `None` when the address
    /// space does not hold them.
    pub const fn bytes(slots: u32) -> Option<usize> {
        match (slots as usize).checked_mul(SLOT_BYTES) {
            Some(bytes) => mapped_bytes(bytes),
            None => None,
        }
    }

    /// Slots in all.
    pub fn capacity(&self) -> u32 {
        self.core().slots
    }

    /// Slots that [`Slab::take`] can still hand out.
    pub fn free(&self) -> u32 {
        self.core().free_len.get()
    }

    /// A free slot, or `None`: the slab is exhausted. Its bytes are what its last owner left.
    pub fn take(&self) -> Option<Slot> {
        let index = self.core().pop()?;
        Some(Slot { core: self.core, index })
    }

    /// Where slot `index` begins: for handing its bytes to the kernel while the slot is raw.
    ///
    /// # Panics
    /// When `index` is not below the capacity.
    pub fn address(&self, index: u32) -> *mut u8 {
        self.core().address(index)
    }

    /// Asks for the first `bytes` bytes of slot `index`, to look at them soon.
    ///
    /// # Panics
    /// When `index` is not below the capacity.
    pub fn prefetch(&self, index: u32, bytes: usize) {
        prefetch_from(self.core().address(index), bytes);
    }

    /// Takes back what [`Slot::into_raw`] let go.
    ///
    /// # Safety
    /// `index` came from `into_raw` of a slot of this slab, was not turned back since, and nobody
    /// else (the kernel included) reads or writes the slot's bytes any more.
    pub unsafe fn from_raw(&self, index: u32) -> Slot {
        debug_assert!(index < self.core().slots, "a slot's index is below the slab's capacity");
        Slot { core: self.core, index }
    }

    fn core(&self) -> &Core {
        // SAFETY: the core lives while `handles` counts this handle, and is only shared.
        unsafe { self.core.as_ref() }
    }
}

impl Clone for Slab {
    fn clone(&self) -> Self {
        let handles = &self.core().handles;
        handles.set(handles.get() + 1);
        Self { core: self.core }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        let core = self.core();
        core.handles.set(core.handles.get() - 1);
        if core.unused() {
            // SAFETY: just found unused, so this was the last pointer to it.
            unsafe { free_core(self.core) };
        }
    }
}

impl fmt::Debug for Slab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab")
            .field("capacity", &self.capacity())
            .field("free", &self.free())
            .finish()
    }
}

/// The unique handle on one slot's bytes. Dropping it gives the slot back to its slab.
pub struct Slot {
    core: NonNull<Core>,
    index: u32,
}

impl Slot {
    /// Lets the slot go without giving it back, as its index: from now on the caller owns the bytes
    /// at [`Slab::address`], until [`Slab::from_raw`]. A raw slot counts as taken, so the slab's
    /// memory stays.
    pub fn into_raw(self) -> u32 {
        ManuallyDrop::new(self).index
    }

    fn core(&self) -> &Core {
        // SAFETY: the core lives while a slot is out, and is only shared.
        unsafe { self.core.as_ref() }
    }

    fn address(&self) -> *mut u8 {
        self.core().address(self.index)
    }
}

impl Deref for Slot {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping holds SLOT_BYTES initialised bytes there, no other handle points at
        // them (a slot is unique), and the mapping lives while the slot is out.
        unsafe { slice::from_raw_parts(self.address(), SLOT_BYTES) }
    }
}

impl DerefMut for Slot {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.address(), SLOT_BYTES) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let core = self.core();
        core.push(self.index);
        if core.unused() {
            // SAFETY: just found unused, so this was the last pointer to it.
            unsafe { free_core(self.core) };
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("index", &self.index).finish_non_exhaustive()
    }
}

/// Unmaps the slots and frees the core.
///
/// # Safety
/// `core` came from `Box::leak` in [`Slab::new`] and nothing points at it any more.
#[cold]
unsafe fn free_core(core: NonNull<Core>) {
    // SAFETY: by the caller's promise this is the box's only pointer.
    drop(unsafe { Box::from_raw(core.as_ptr()) });
}

const _: () = assert!(size_of::<Slot>() <= 16, "a receive window holds thousands of slots");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_slot_is_taken_again_first() {
        let slab = Slab::new(3).unwrap();
        let first = slab.take().unwrap();
        let second = slab.take().unwrap();
        let warm = first.index;
        drop(first);
        assert_eq!(slab.take().unwrap().index, warm);
        assert_eq!(slab.free(), 2);
        drop(second);
        assert_eq!(slab.free(), slab.capacity());
    }

    #[test]
    fn an_exhausted_slab_answers_none_until_a_slot_returns() {
        let slab = Slab::new(2).unwrap();
        let held = [slab.take().unwrap(), slab.take().unwrap()];
        assert!(slab.take().is_none());
        drop(held);
        assert!(slab.take().is_some());
    }

    #[test]
    fn slots_do_not_overlap() {
        let slab = Slab::new(3).unwrap();
        let mut slots: Vec<Slot> = std::iter::from_fn(|| slab.take()).collect();
        for (slot, fill) in slots.iter_mut().zip(1u8..) {
            slot.fill(fill);
        }
        for (slot, fill) in slots.iter().zip(1u8..) {
            assert!(slot.iter().all(|&byte| byte == fill));
        }
    }

    #[test]
    fn a_slot_outlives_every_handle_of_its_slab() {
        let slab = Slab::new(2).unwrap();
        let clone = slab.clone();
        let mut slot = slab.take().unwrap();
        drop(slab);
        drop(clone);
        slot[0] = 7;
        assert_eq!(slot[0], 7);
    }

    #[test]
    fn clones_share_one_pool() {
        let slab = Slab::new(2).unwrap();
        let clone = slab.clone();
        let slot = clone.take().unwrap();
        assert_eq!(slab.free(), 1);
        drop(slab);
        drop(slot);
        assert_eq!(clone.free(), 2);
    }

    #[test]
    fn a_raw_slot_counts_as_taken_and_keeps_its_bytes() {
        let slab = Slab::new(1).unwrap();
        let raw = slab.take().unwrap().into_raw();
        assert_eq!(slab.free(), 0);
        let address = slab.address(raw);
        // SAFETY: the slot is raw, so its bytes are this test's.
        unsafe { address.write(9) };
        // SAFETY: `raw` came from `into_raw` above, and the pointer is not used again.
        let slot = unsafe { slab.from_raw(raw) };
        assert_eq!(slot[0], 9);
        drop(slot);
        assert_eq!(slab.free(), 1);
    }

    #[test]
    fn a_slab_without_slots_is_an_error() {
        assert!(matches!(Slab::new(0), Err(Error::NoSlots)));
    }

    #[test]
    #[should_panic(expected = "below the slab's capacity")]
    fn an_address_beyond_the_slab_is_refused() {
        let slab = Slab::new(2).unwrap();
        slab.address(2);
    }
}
