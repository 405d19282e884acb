//! What a worker needs of the kernel. [`uring::Ring`] is the kernel; in a simulation a seeded link
//! takes its place, and everything above is the code that is shipped.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use uring::{Received, Ring, RingCounters, SocketIndex};

/// See [`Ring`] for what each call promises. Workers are compiled for one network: the seam costs
/// nothing.
pub(crate) trait Network {
    /// Waits for datagrams at most until `timeout`, and gathers them for `min_wait`, unless many come.
    fn wait(&mut self, min_wait: Duration, timeout: Duration) -> Result<(), uring::Error>;

    /// The next datagram that the last wait brought.
    fn next(&mut self) -> Option<Received>;

    /// Sends a datagram; false when it was dropped, which is counted.
    fn send(&mut self, socket: SocketIndex, peer: SocketAddr, bytes: &[u8]) -> bool;

    /// Receives on a further socket, at an index that is free; false when the kernel refuses it.
    fn open_socket(&mut self, socket: SocketIndex, fd: OwnedFd) -> bool;

    /// Closes a socket; [`Network::next_closed`] tells when it is gone.
    fn close_socket(&mut self, socket: SocketIndex);

    /// The next socket that is gone.
    fn next_closed(&mut self) -> Option<SocketIndex>;

    /// What was counted so far.
    fn counters(&self) -> &RingCounters;

    /// Datagrams that the kernel dropped at a socket since it was opened, as far as it has told.
    fn kernel_drops(&self, socket: SocketIndex) -> u64;

    /// Asks the kernel for that figure.
    fn ask_kernel_drops(&mut self, socket: SocketIndex);

    /// Sends what is queued and gives the sockets back.
    fn close(self) -> Result<(), uring::Error>;
}

impl Network for Ring {
    fn wait(&mut self, min_wait: Duration, timeout: Duration) -> Result<(), uring::Error> {
        Self::wait(self, min_wait, timeout)
    }

    #[inline]
    fn next(&mut self) -> Option<Received> {
        Self::next(self)
    }

    #[inline]
    fn send(&mut self, socket: SocketIndex, peer: SocketAddr, bytes: &[u8]) -> bool {
        Self::send(self, socket, peer, bytes)
    }

    fn open_socket(&mut self, socket: SocketIndex, fd: OwnedFd) -> bool {
        self.add_socket_at(socket, fd).is_ok()
    }

    fn close_socket(&mut self, socket: SocketIndex) {
        Self::close_socket(self, socket);
    }

    fn next_closed(&mut self) -> Option<SocketIndex> {
        Self::next_closed(self)
    }

    fn counters(&self) -> &RingCounters {
        Self::counters(self)
    }

    fn kernel_drops(&self, socket: SocketIndex) -> u64 {
        Self::kernel_drops(self, socket)
    }

    fn ask_kernel_drops(&mut self, socket: SocketIndex) {
        Self::ask_kernel_drops_of(self, socket);
    }

    fn close(self) -> Result<(), uring::Error> {
        Self::close(self)
    }
}
