//! Opening UDP sockets: alone, or as a group on one port that the kernel steers.
//!
//! Every socket here stamps arrivals, counts what it had to drop, has its receive buffer forced
//! past the system's limit where the process may do that, and hears only the multicast groups it
//! joined itself. An IPv6 socket on the unspecified address serves IPv4 too.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

pub use crate::multicast::Membership;
use crate::multicast::join;
use crate::{Error, Steering};

/// How long a held port is tried again: the kernel tears the sockets of a killed process down some
/// tens of milliseconds after its end.
const HELD_PORT_WAIT: Duration = Duration::from_secs(2);
const HELD_PORT_STEP: Duration = Duration::from_millis(20);

/// One open socket.
#[derive(Debug)]
pub struct Opened {
    /// The socket, bound.
    pub fd: OwnedFd,
    /// Where it is bound: with port 0 asked for, the port it got.
    pub local: SocketAddr,
    /// Bytes its receive queue really holds, in the kernel's counting: about 2,304 for a datagram
    /// of 1,328.
    pub receive_buffer_bytes: usize,
}

/// The sockets of one port, in the order of the members.
#[derive(Debug)]
pub struct Group {
    /// One socket for each member. They must not be closed singly: the last would take the place
    /// of the closed one.
    pub members: Vec<OwnedFd>,
    /// Where all of them are bound.
    pub local: SocketAddr,
    /// Bytes each member's receive queue really holds; the least of them.
    pub receive_buffer_bytes: usize,
}

/// Opens one socket with a receive buffer of `receive_buffer_bytes`.
///
/// # Errors
/// [`Error::PortHeld`] when the port stays held for two seconds; [`Error::Socket`] else.
pub fn open(address: SocketAddr, receive_buffer_bytes: usize) -> Result<Opened, Error> {
    let socket = prepare(address, receive_buffer_bytes)?;
    bind(&socket, address)?;
    opened(socket, address)
}

/// The same without a wait: a held port is an error at once.
///
/// # Errors
/// [`Error::Socket`].
pub fn try_open(address: SocketAddr, receive_buffer_bytes: usize) -> Result<Opened, Error> {
    let socket = prepare(address, receive_buffer_bytes)?;
    socket.bind(&address.into()).map_err(step(address, "bind"))?;
    opened(socket, address)
}

/// Opens a socket that hears a multicast group on a port: bound to the group, so that it hears
/// nothing else, beside others on this host that hear it too.
///
/// # Errors
/// [`Error::Socket`].
pub fn try_open_multicast(
    port: u16,
    membership: &Membership,
    receive_buffer_bytes: usize,
) -> Result<Opened, Error> {
    let address = SocketAddr::new(membership.group, port);
    let socket = prepare(address, receive_buffer_bytes)?;
    socket.set_reuse_address(true).map_err(step(address, "sharing the port"))?;
    socket.bind(&address.into()).map_err(step(address, "bind"))?;
    join(socket.as_fd(), membership).map_err(step(address, "joining the group"))?;
    opened(socket, address)
}

/// Opens `members` sockets on one port and steers each datagram to one of them. One member is a
/// plain socket.
///
/// Only one thread may do this at a time for an address: members are numbered by the order in
/// which they are bound.
///
/// # Errors
/// [`Error::PortHeld`] when the port stays held for two seconds; [`Error::Socket`] and
/// [`Error::GroupSize`] else.
pub fn open_steered_group(
    address: SocketAddr,
    members: usize,
    steering: Steering,
    receive_buffer_bytes: usize,
) -> Result<Group, Error> {
    let count = u32::try_from(members).ok().filter(|&count| count > 0);
    let count = count.ok_or(Error::GroupSize { members })?;
    let socket = prepare(address, receive_buffer_bytes)?;
    if count > 1 {
        let failed = step(address, "making a steered group");
        socket.set_reuse_port(true).map_err(&failed)?;
        // Before the bind: a program attached later would join a group that a dying process still
        // holds, and its sockets would get the datagrams.
        steering.attach(socket.as_fd(), count).map_err(failed)?;
    }
    bind(&socket, address)?;
    let first = opened(socket, address)?;
    let mut group = Group {
        members: vec![first.fd],
        local: first.local,
        receive_buffer_bytes: first.receive_buffer_bytes,
    };
    for _ in 1..members {
        let socket = prepare(address, receive_buffer_bytes)?;
        socket.set_reuse_port(true).map_err(step(address, "joining a steered group"))?;
        bind(&socket, group.local)?;
        let member = opened(socket, address)?;
        group.members.push(member.fd);
        group.receive_buffer_bytes = group.receive_buffer_bytes.min(member.receive_buffer_bytes);
    }
    Ok(group)
}

/// Datagrams that the kernel dropped at this socket since it was opened, modulo 2^32.
pub(crate) fn kernel_drops(socket: BorrowedFd<'_>) -> Option<u32> {
    const DROPS: usize = libc::SK_MEMINFO_DROPS as usize;
    let mut info = [0u32; DROPS + 1];
    let mut len = libc::socklen_t::try_from(size_of_val(&info)).ok()?;
    // SAFETY: the kernel writes at most `len` bytes into `info`, any bits are valid there, and sets
    // `len`; both live through the call.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    (failed == 0 && len as usize == size_of_val(&info)).then_some(info[DROPS])
}

/// A socket with all its options, not yet bound.
fn prepare(address: SocketAddr, receive_buffer_bytes: usize) -> Result<Socket, Error> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))
        .map_err(step(address, "making the socket"))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false).map_err(step(address, "making it dual-stack"))?;
        // A dual-stack socket hears IPv4 multicast too, so this is said for both families.
        let all = flag(&socket, libc::SOL_IPV6, IPV6_MULTICAST_ALL, 0);
        all.map_err(step(address, "IPV6_MULTICAST_ALL"))?;
    }
    let all = flag(&socket, libc::SOL_IP, libc::IP_MULTICAST_ALL, 0);
    all.map_err(step(address, "IP_MULTICAST_ALL"))?;
    let stamps = flag(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
    stamps.map_err(step(address, "SO_TIMESTAMPNS"))?;
    let drops = flag(&socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
    drops.map_err(step(address, "SO_RXQ_OVFL"))?;
    enlarge(&socket, receive_buffer_bytes).map_err(step(address, "SO_RCVBUF"))?;
    Ok(socket)
}

/// Of `linux/in6.h`; `libc` has it for some C libraries only.
const IPV6_MULTICAST_ALL: libc::c_int = 29;

/// Forces the receive buffer's size, or comes as near as the system allows (net.core.rmem_max).
fn enlarge(socket: &Socket, receive_buffer_bytes: usize) -> io::Result<()> {
    // The kernel doubles the figure for its own bookkeeping, so half of what fits is the most.
    let bytes = libc::c_int::try_from(receive_buffer_bytes).unwrap_or(libc::c_int::MAX / 2);
    let bytes = bytes.min(libc::c_int::MAX / 2);
    flag(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
        .or_else(|_| flag(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))
}

/// Binds, and waits a while for a port that is held.
fn bind(socket: &Socket, address: SocketAddr) -> Result<(), Error> {
    let started = Instant::now();
    loop {
        match socket.bind(&address.into()) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let waited = started.elapsed();
                if waited >= HELD_PORT_WAIT {
                    let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
                    return Err(Error::PortHeld { address, waited_ms });
                }
                thread::sleep(HELD_PORT_STEP);
            }
            Err(error) => return Err(step(address, "bind")(error)),
        }
    }
}

fn opened(socket: Socket, address: SocketAddr) -> Result<Opened, Error> {
    let looking = step(address, "looking at it");
    let local = socket.local_addr().map_err(&looking)?;
    let local = local.as_socket().ok_or_else(|| looking(io::ErrorKind::Unsupported.into()))?;
    let receive_buffer_bytes = socket.recv_buffer_size().map_err(&looking)?;
    Ok(Opened { fd: socket.into(), local, receive_buffer_bytes })
}

fn step(address: SocketAddr, step: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Socket { address, step, source }
}

fn flag(
    socket: &Socket,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: every option set through here takes an int.
    unsafe { set_option(socket.as_fd(), level, name, &value) }
}

/// `setsockopt`, for the options that `socket2` does not have.
///
/// # Safety
/// The option takes a `T`, and what `T` points at is valid.
pub(crate) unsafe fn set_option<T>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let len = libc::socklen_t::try_from(size_of::<T>()).expect("options are small");
    let value: *const T = value;
    // SAFETY: `value` is readable for `len` bytes through the call; the rest is the caller's promise.
    let failed = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.cast(), len) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
