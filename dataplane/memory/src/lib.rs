//! Memory of the packet path: the slab that received datagrams live in, the rings between threads,
//! and the time type that protocol code is given.
//!
//! A [`Slab`] is one worker's pool of 2 KiB slots, mapped and faulted in before the first packet. A
//! [`Slot`] is the only handle on its bytes: it is unique, so payload may be decrypted in place, and
//! dropping it gives the slot back. A [`Datagram`] is a slot with the range its payload lies in.
//! [`spsc`] carries commands and reports between a worker and the conductor. [`Time`] is a point on
//! the monotonic clock. [`prefetch`] asks for memory before it is needed, [`gather_heap`] has what was
//! allocated moved to huge pages.
//!
//! There are no sockets here, no clock, and no sharing of slots between threads: slab, slots and
//! datagrams stay on the thread that made them (`!Send`), so a slot costs no atomic operation.
//!
//! The invariant: after [`Slab::new`] and [`spsc::channel`] nothing here allocates, and memory lives
//! until the last of the slab's handles *and* slots is gone, in whichever order they go.
//!
//! ```
//! use penstock_memory::{Datagram, Slab};
//!
//! let slab = Slab::new(2).unwrap();
//! let mut datagram = Datagram::copy_from(&slab, b"header, payload").unwrap();
//! datagram.trim_front(8);
//! assert_eq!(datagram.payload(), b"payload");
//! assert_eq!(slab.free(), 1);
//! drop(datagram);
//! assert_eq!(slab.free(), 2);
//! ```

mod datagram;
mod error;
mod heap;
mod mapping;
mod prefetch;
mod slab;
pub mod spsc;
mod time;

pub use datagram::Datagram;
pub use error::Error;
pub use heap::gather_heap;
pub use prefetch::{Places, prefetch, prefetch_part, prefetch_start};
pub use slab::{SLOT_BYTES, Slab, Slot};
pub use time::Time;
