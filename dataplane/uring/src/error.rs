//! What can go wrong at start, and the little that can go wrong later.

use std::io;
use std::net::SocketAddr;

/// Why a ring or a socket could not be had. Each message names what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel was built without io_uring.
    #[error("this kernel has no io_uring: Penstock needs Linux 6.1 or later with CONFIG_IO_URING")]
    NoIoUring,
    /// An administrator switched io_uring off.
    #[error(
        "io_uring is switched off: sysctl kernel.io_uring_disabled is {value}, it must be 0 \
         (or 1 with this process's group in kernel.io_uring_group)"
    )]
    Disabled {
        /// The sysctl's value.
        value: u8,
    },
    /// The sysctl allows io_uring but something else does not.
    #[error(
        "io_uring is not permitted to this process: a seccomp filter (of a container?) or a \
         security module forbids io_uring_setup"
    )]
    NotPermitted,
    /// The kernel lacks something every worker needs.
    #[error(
        "this kernel ({release}) lacks {feature}, which is in Linux {since}: Penstock needs Linux \
         6.1 or later"
    )]
    MissingFeature {
        /// What is missing, in the kernel's words.
        feature: &'static str,
        /// The release that brought it.
        since: &'static str,
        /// The running kernel.
        release: String,
    },
    /// The kernel could not account the ring's memory.
    #[error(
        "no memory for the ring: raise the limit of locked memory (RLIMIT_MEMLOCK, systemd \
         LimitMEMLOCK=infinity) or make the ring smaller"
    )]
    Memory,
    /// A step of setting the ring up failed.
    #[error("cannot set the ring up: {step}: {source}")]
    Setup {
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A figure of the [`RingConfig`](crate::RingConfig) is out of bounds.
    #[error("ring configuration: {field} is {value}, it must lie between {min} and {max}")]
    Config {
        /// The field at fault.
        field: &'static str,
        /// What it says.
        value: u32,
        /// The least it may be.
        min: u32,
        /// The most it may be.
        max: u32,
    },
    /// The slab cannot fill the buffer ring.
    #[error("the buffer ring needs {need} free slots, the slab has {have}")]
    SlabTooSmall {
        /// Slots the buffer ring holds.
        need: u32,
        /// Slots that are free.
        have: u32,
    },
    /// The slots for sends could not be had.
    #[error(transparent)]
    Slab(#[from] memory::Error),
    /// All the ring's sockets are taken.
    #[error("the ring holds at most {max} sockets")]
    TooManySockets {
        /// The configured limit.
        max: u16,
    },
    /// A wait failed in a way that no later wait mends.
    #[error("waiting on the ring failed: {0}")]
    Wait(io::Error),
    /// Requests did not end after they were cancelled.
    #[error("{requests} requests of the ring did not end after they were cancelled")]
    Close {
        /// How many were left.
        requests: usize,
    },
    /// Somebody else holds the port.
    #[error("UDP {address} is held by another socket (looked for {waited_ms} ms)")]
    PortHeld {
        /// The address asked for.
        address: SocketAddr,
        /// How long it was tried.
        waited_ms: u64,
    },
    /// A step of opening a socket failed.
    #[error("cannot open UDP {address}: {step}: {source}")]
    Socket {
        /// The address asked for.
        address: SocketAddr,
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A group needs at least one socket, and the steering program counts in 32 bits.
    #[error("a group of {members} sockets cannot be steered")]
    GroupSize {
        /// Sockets asked for.
        members: usize,
    },
}
