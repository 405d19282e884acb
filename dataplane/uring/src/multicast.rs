//! Joining multicast groups, of any source or of one (RFC 3678): the same call for both families.

use std::ffi::CString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use socket2::SockAddr;

use crate::socket::set_option;

/// A group that a socket is to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The group's address.
    pub group: IpAddr,
    /// Only what comes from there (source-specific multicast, RFC 4607).
    pub source: Option<IpAddr>,
    /// Only at this interface, by its name; `None`: where the routing table says.
    pub interface: Option<String>,
}

/// Joins a group; the membership ends with the socket.
pub(crate) fn join(socket: BorrowedFd<'_>, membership: &Membership) -> io::Result<()> {
    let interface = match &membership.interface {
        Some(name) => index_of(name)?,
        None => 0,
    };
    let level = if membership.group.is_ipv4() { libc::IPPROTO_IP } else { libc::IPPROTO_IPV6 };
    let group = storage(membership.group);
    match membership.source {
        None => {
            let request = libc::group_req { gr_interface: interface, gr_group: group };
            // SAFETY: the option takes a group_req, whose address is whole.
            unsafe { set_option(socket, level, libc::MCAST_JOIN_GROUP, &request) }
        }
        Some(source) => {
            let request = libc::group_source_req {
                gsr_interface: interface,
                gsr_group: group,
                gsr_source: storage(source),
            };
            // SAFETY: the option takes a group_source_req, whose addresses are whole.
            unsafe { set_option(socket, level, libc::MCAST_JOIN_SOURCE_GROUP, &request) }
        }
    }
}

fn index_of(name: &str) -> io::Result<u32> {
    let text = CString::new(name)?;
    // SAFETY: the name ends with a zero and lives through the call.
    match unsafe { libc::if_nametoindex(text.as_ptr()) } {
        0 => Err(io::Error::new(io::ErrorKind::NotFound, format!("no interface `{name}`"))),
        index => Ok(index),
    }
}

fn storage(ip: IpAddr) -> libc::sockaddr_storage {
    let address = SockAddr::from(SocketAddr::new(ip, 0));
    // SAFETY: zeroes are a storage of no family.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let to = (&raw mut storage).cast::<u8>();
    let from = address.as_ptr().cast::<u8>();
    // SAFETY: an address is never longer than a storage, and the two are apart.
    unsafe { std::ptr::copy_nonoverlapping(from, to, address.len() as usize) };
    storage
}
