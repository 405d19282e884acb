//! A received UDP payload in its slot.

use crate::prefetch::prefetch_bytes;
use crate::{SLOT_BYTES, Slab, Slot};

/// A UDP payload that lies somewhere in a slot, as the kernel put it there.
///
/// Unique like its slot: payload may be changed in place, and dropping it frees the slot.
#[derive(Debug)]
pub struct Datagram {
    slot: Slot,
    start: u16,
    len: u16,
}

impl Datagram {
    /// The `len` bytes of `slot` from `start` on, or `None` (and the slot is free again) when they
    /// do not lie inside it.
    pub fn new(slot: Slot, start: u16, len: u16) -> Option<Self> {
        let fits = usize::from(start) + usize::from(len) <= SLOT_BYTES;
        fits.then_some(Self { slot, start, len })
    }

    /// A copy of `bytes` in a slot of `slab`, or `None` when the slab is exhausted or `bytes` are
    /// too many: for tests and tools, and for packets handed over from another worker.
    pub fn copy_from(slab: &Slab, bytes: &[u8]) -> Option<Self> {
        let len = u16::try_from(bytes.len()).ok()?;
        if bytes.len() > SLOT_BYTES {
            return None;
        }
        let mut slot = slab.take()?;
        slot.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { slot, start: 0, len })
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        let start = usize::from(self.start);
        &self.slot[start..start + usize::from(self.len)]
    }

    /// The payload, to be changed in place.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let start = usize::from(self.start);
        &mut self.slot[start..start + usize::from(self.len)]
    }

    /// Asks for the payload, to the last line: what the kernel wrote may be far away by the time it is
    /// read.
    #[inline]
    pub fn prefetch(&self) {
        prefetch_bytes(self.payload());
    }

    /// Bytes of payload.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether the payload is empty: UDP allows that.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps the first `len` bytes, for instance without a trailer that has been read; all of the
    /// payload when it is shorter.
    pub fn truncate(&mut self, len: usize) {
        let len = len.min(self.len());
        self.len = u16::try_from(len).unwrap_or(self.len);
    }

    /// Cuts `n` bytes off the front, for instance a header that has been read; all of the payload
    /// when it is shorter.
    pub fn trim_front(&mut self, n: u16) {
        let n = n.min(self.len);
        self.start += n;
        self.len -= n;
    }
}

const _: () = assert!(size_of::<Datagram>() <= 24, "a receive window holds thousands of datagrams");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_covers_its_range_of_the_slot() {
        let slab = Slab::new(1).unwrap();
        let mut slot = slab.take().unwrap();
        slot[108..111].copy_from_slice(b"abc");
        let mut datagram = Datagram::new(slot, 108, 3).unwrap();
        assert_eq!(datagram.payload(), b"abc");
        datagram.payload_mut()[0] = b'x';
        assert_eq!(datagram.payload(), b"xbc");
        assert_eq!(datagram.len(), 3);
    }

    #[test]
    fn a_range_beyond_the_slot_is_refused_and_frees_it() {
        let slab = Slab::new(1).unwrap();
        for (start, len) in [(2048, 1), (1, 2048), (u16::MAX, u16::MAX)] {
            assert!(Datagram::new(slab.take().unwrap(), start, len).is_none());
            assert_eq!(slab.free(), 1);
        }
        assert!(Datagram::new(slab.take().unwrap(), 0, 2048).is_some());
    }

    #[test]
    fn trimming_stops_at_the_end() {
        let slab = Slab::new(1).unwrap();
        let mut datagram = Datagram::copy_from(&slab, b"header payload").unwrap();
        datagram.trim_front(7);
        assert_eq!(datagram.payload(), b"payload");
        datagram.trim_front(u16::MAX);
        assert!(datagram.is_empty());
    }

    #[test]
    fn truncating_keeps_the_front_and_never_grows() {
        let slab = Slab::new(1).unwrap();
        let mut datagram = Datagram::copy_from(&slab, b"payload tag").unwrap();
        datagram.truncate(7);
        assert_eq!(datagram.payload(), b"payload");
        datagram.truncate(usize::MAX);
        assert_eq!(datagram.payload(), b"payload");
    }

    #[test]
    fn bytes_beyond_a_slot_are_not_copied() {
        let slab = Slab::new(1).unwrap();
        assert!(Datagram::copy_from(&slab, &[0; SLOT_BYTES + 1]).is_none());
        assert_eq!(slab.free(), 1);
        let full = Datagram::copy_from(&slab, &[1; SLOT_BYTES]).unwrap();
        assert!(Datagram::copy_from(&slab, b"no slot left").is_none());
        assert_eq!(full.len(), SLOT_BYTES);
    }
}
