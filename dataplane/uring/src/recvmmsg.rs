//! The same receive without a ring: `recvmmsg`, a batch of datagrams of one socket by one call.
//!
//! It answers the same for the same input, so the tests hold the ring against it, and on few busy
//! sockets it costs the same, so the benchmarks do.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use memory::{Datagram, SLOT_BYTES, Slab, Slot};

use crate::message::{CONTROL_BYTES, Control};
use crate::name::{self, NAME_BYTES, NAME_LEN};
use crate::{Received, SocketIndex};

/// Where the kernel puts one datagram's surroundings.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Surroundings {
    name: [u8; NAME_BYTES],
    control: [u8; CONTROL_BYTES],
}

/// Receives batches of datagrams into slots of a slab.
pub struct BatchReceiver {
    slab: Slab,
    headers: Box<[libc::mmsghdr]>,
    parts: Box<[libc::iovec]>,
    surroundings: Box<[Surroundings]>,
    /// `slots[..filled]` are raw slots ready for the next call.
    slots: Box<[u32]>,
    filled: usize,
}

impl BatchReceiver {
    /// A receiver of up to `batch` datagrams a call.
    pub fn new(batch: usize, slab: Slab) -> Self {
        // SAFETY: all-zero is a valid mmsghdr: null pointers and zero lengths.
        let header: libc::mmsghdr = unsafe { mem::zeroed() };
        let part = libc::iovec { iov_base: ptr::null_mut(), iov_len: SLOT_BYTES };
        let surroundings = Surroundings { name: [0; NAME_BYTES], control: [0; CONTROL_BYTES] };
        Self {
            slab,
            headers: vec![header; batch].into(),
            parts: vec![part; batch].into(),
            surroundings: vec![surroundings; batch].into(),
            slots: vec![0; batch].into(),
            filled: 0,
        }
    }

    /// Takes what waits at `socket`, at most a batch, and hands each datagram to `f` as one of
    /// `index`. Does not wait. Answers how many.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing waits, [`io::ErrorKind::OutOfMemory`] when the
    /// slab is exhausted, and what else `recvmmsg` says.
    pub fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        index: SocketIndex,
        f: &mut impl FnMut(Received),
    ) -> io::Result<usize> {
        self.fill();
        if self.filled == 0 {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let count = u32::try_from(self.filled).unwrap_or(u32::MAX);
        let headers = self.headers.as_mut_ptr();
        // SAFETY: the first `count` headers point at parts and surroundings of this value and at
        // slots it owns raw, each its own, none moved through the call.
        let received = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), headers, count, libc::MSG_DONTWAIT, ptr::null_mut())
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        // The slots not used stay for the next call, in front. Those with datagrams leave the count
        // before `f` sees any: should it panic, none is given back twice.
        self.slots[..self.filled].rotate_left(received);
        self.filled -= received;
        for i in 0..received {
            let raw = self.slots[self.filled + i];
            // SAFETY: raw since `fill`, the call is over, and nothing counts the slot any more.
            let slot = unsafe { self.slab.from_raw(raw) };
            if let Some(received) = self.received(i, slot, index) {
                f(received);
            }
        }
        Ok(received)
    }

    /// Puts a slot behind each header, as far as there are free ones.
    fn fill(&mut self) {
        while self.filled < self.slots.len()
            && let Some(slot) = self.slab.take()
        {
            self.slots[self.filled] = slot.into_raw();
            self.filled += 1;
        }
        for i in 0..self.filled {
            self.parts[i].iov_base = self.slab.address(self.slots[i]).cast();
            let surroundings = &raw mut self.surroundings[i];
            let header = &mut self.headers[i].msg_hdr;
            header.msg_iov = &raw mut self.parts[i];
            header.msg_iovlen = 1;
            header.msg_name =
                surroundings.wrapping_byte_add(mem::offset_of!(Surroundings, name)).cast();
            header.msg_namelen = NAME_LEN;
            header.msg_control =
                surroundings.wrapping_byte_add(mem::offset_of!(Surroundings, control)).cast();
            header.msg_controllen = CONTROL_BYTES;
            header.msg_flags = 0;
        }
    }

    fn received(&self, i: usize, slot: Slot, socket: SocketIndex) -> Option<Received> {
        let libc::mmsghdr { msg_hdr: header, msg_len } = &self.headers[i];
        let datagram = Datagram::new(slot, 0, u16::try_from(*msg_len).ok()?)?;
        let Surroundings { name, control } = &self.surroundings[i];
        let control = Control::parse(control.get(..header.msg_controllen)?);
        Some(Received {
            socket,
            peer: name::parse(name.get(..header.msg_namelen as usize)?)?,
            datagram,
            arrival_realtime_ns: control.arrival_realtime_ns,
            truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        })
    }
}

impl Drop for BatchReceiver {
    fn drop(&mut self) {
        for &raw in &self.slots[..self.filled] {
            // SAFETY: raw since `fill`, and no call is running.
            drop(unsafe { self.slab.from_raw(raw) });
        }
    }
}

impl std::fmt::Debug for BatchReceiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchReceiver").field("batch", &self.slots.len()).finish_non_exhaustive()
    }
}
