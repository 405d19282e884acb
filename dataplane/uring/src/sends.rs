//! Datagrams on their way out: bytes, address and message header stay put until the kernel is done.
//!
//! Sends have a slab of their own, so that a flood of received datagrams cannot keep an
//! acknowledgement from leaving.

use std::mem::offset_of;
use std::net::SocketAddr;
use std::ptr;

use memory::{SLOT_BYTES, Slab};

use crate::Error;
use crate::name::{self, NAME_BYTES};
use crate::pages::Pages;

/// What one `sendmsg` points at.
#[repr(C)]
struct Outgoing {
    header: libc::msghdr,
    part: libc::iovec,
    peer: [u8; NAME_BYTES],
}

/// One [`Outgoing`] for each slot of the slab, under the slot's index.
pub(crate) struct Sends {
    slab: Slab,
    outgoing: Pages,
}

/// Bytes that `slots` sends take, for the memory sum.
pub(crate) fn bytes(slots: u16) -> usize {
    let slab = Slab::bytes(slots.into()).expect("65,535 slots fit any address space");
    slab + usize::from(slots) * size_of::<Outgoing>()
}

/// A send ready to be submitted: what to name in the completion, and the header for the kernel.
pub(crate) struct Prepared {
    pub(crate) index: u32,
    pub(crate) header: *const libc::msghdr,
}

impl Sends {
    pub(crate) fn new(slots: u16) -> Result<Self, Error> {
        let slab = Slab::new(slots.into())?;
        let outgoing = Pages::new(usize::from(slots) * size_of::<Outgoing>())?;
        Ok(Self { slab, outgoing })
    }

    /// Sends that the kernel has not completed.
    pub(crate) fn in_flight(&self) -> u32 {
        self.slab.capacity() - self.slab.free()
    }

    /// Lets `write` fill a free slot, answers how it is sent to `peer`. `None` when no slot is
    /// free, the socket's family cannot reach the peer, or `write` claims more than a slot.
    pub(crate) fn prepare(
        &self,
        peer: SocketAddr,
        v6: bool,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<Prepared> {
        let (peer, peer_len) = name::encode(peer, v6)?;
        let mut slot = self.slab.take()?;
        let len = write(&mut slot);
        if len > SLOT_BYTES {
            return None;
        }
        let index = slot.into_raw();
        let outgoing = self.outgoing.base::<Outgoing>().as_ptr().wrapping_add(index as usize);
        // SAFETY: all-zero is a valid msghdr: null pointers and zero lengths.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = outgoing.wrapping_byte_add(offset_of!(Outgoing, peer)).cast();
        header.msg_namelen = peer_len;
        header.msg_iov = outgoing.wrapping_byte_add(offset_of!(Outgoing, part)).cast();
        header.msg_iovlen = 1;
        header.msg_control = ptr::null_mut();
        let part = libc::iovec { iov_base: self.slab.address(index).cast(), iov_len: len };
        // SAFETY: the place lies inside the pages (one for each slot) and is aligned (pages are, and
        // the size is a multiple of the alignment); the slot was free, so no request points at it.
        unsafe { outgoing.write(Outgoing { header, part, peer }) };
        Some(Prepared { index, header: outgoing.cast_const().cast() })
    }

    /// The kernel is done with the send `index`: its slot is free again.
    pub(crate) fn complete(&self, index: u32) {
        // SAFETY: `index` came from `into_raw` in `prepare`; the kernel completes a request once,
        // and touches nothing of it afterwards.
        drop(unsafe { self.slab.from_raw(index) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_peer() -> SocketAddr {
        "192.0.2.1:1".parse().unwrap()
    }

    #[test]
    fn a_slot_is_taken_until_its_send_completes() {
        let sends = Sends::new(2).unwrap();
        let first = sends.prepare(any_peer(), false, |_| 1).unwrap();
        let second = sends.prepare(any_peer(), false, |_| 2).unwrap();
        assert!(sends.prepare(any_peer(), false, |_| 3).is_none());
        assert_eq!(sends.in_flight(), 2);
        sends.complete(first.index);
        assert!(sends.prepare(any_peer(), true, |_| 3).is_some());
        sends.complete(second.index);
        assert_eq!(sends.in_flight(), 1);
    }

    #[test]
    fn what_cannot_be_sent_takes_no_slot() {
        let sends = Sends::new(1).unwrap();
        let v6_peer = "[2001:db8::1]:1".parse().unwrap();
        assert!(sends.prepare(v6_peer, false, |_| 1).is_none());
        assert!(sends.prepare(any_peer(), false, |_| SLOT_BYTES + 1).is_none());
        assert_eq!(sends.in_flight(), 0);
    }
}
