//! One io_uring for one worker: its sockets, what they receive, what it sends, and its only wait.
//!
//! A [`Ring`] is made on the worker's own thread. Each socket has one multishot receive in flight,
//! which the kernel serves from slots of the worker's slab; a completion hands the slot out as a
//! [`memory::Datagram`] and the next wait puts a free one behind the same buffer id, so datagrams may
//! be kept as long as a receive window likes while the ring stays full. Sends are copied into slots
//! of their own slab, so that receive pressure cannot block an acknowledgement, and leave with the
//! next wait.
//! [`socket`] opens the sockets, alone or as a group that the kernel steers by SRT socket id.
//! [`BatchReceiver`] is the same receive by `recvmmsg`: the oracle of the tests and the floor of the
//! benchmarks.
//!
//! There is no protocol here, no thread and no clock: the caller says how long a wait may last.
//!
//! The invariants: after [`Ring::new`] nothing on the packet path allocates; every wait is
//! [`Ring::wait`], and between two waits [`Ring::next`] is called until it answers `None`; what
//! the kernel may still touch outlives every request, for [`Ring::close`] (and drop) cancels all
//! of them and waits for their ends, after which the ports are free.
//!
//! ```
//! use std::net::{Ipv4Addr, SocketAddr};
//! use std::time::Duration;
//! use penstock_uring::{Ring, RingConfig, socket};
//!
//! let config = RingConfig { buffer_entries: 64, ..RingConfig::default() };
//! let slab = memory::Slab::new(256).unwrap();
//! let mut ring = Ring::new(&config, slab).unwrap();
//!
//! let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
//! let opened = socket::open(any_port, 1 << 20).unwrap();
//! let (port, index) = (opened.local, ring.add_socket(opened.fd).unwrap());
//!
//! assert!(ring.send(index, port, b"to myself"));
//! let mut payload = Vec::new();
//! while payload.is_empty() {
//!     ring.wait(Duration::ZERO, Duration::from_secs(1)).unwrap();
//!     while let Some(received) = ring.next() {
//!         payload.extend_from_slice(received.datagram.payload());
//!     }
//! }
//! assert_eq!(payload, b"to myself");
//! ring.close().unwrap();
//! ```

mod buffers;
mod config;
mod counters;
mod error;
mod message;
mod multicast;
mod name;
mod pages;
mod recvmmsg;
mod ring;
mod sends;
mod setup;
pub mod socket;
mod steering;
mod waker;

pub use config::RingConfig;
pub use counters::RingCounters;
pub use error::Error;
pub use message::Received;
pub use recvmmsg::BatchReceiver;
pub use ring::{Ring, SocketIndex};
pub use steering::Steering;
pub use waker::Waker;
