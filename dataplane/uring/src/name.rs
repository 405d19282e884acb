//! Socket addresses as the kernel writes them: `sockaddr_in` and `sockaddr_in6`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Bytes of the larger of the two, `sockaddr_in6`, in the kernel's type and in ours.
pub(crate) const NAME_LEN: libc::socklen_t = 28;
pub(crate) const NAME_BYTES: usize = NAME_LEN as usize;
const NAME_V4_LEN: libc::socklen_t = 16;

const FAMILY_V4: u16 = 2;
const FAMILY_V6: u16 = 10;
const _: () = assert!(libc::AF_INET == FAMILY_V4 as i32);
const _: () = assert!(libc::AF_INET6 == FAMILY_V6 as i32);

/// The address in a `sockaddr`. An IPv4 peer of a dual-stack socket is told as IPv4.
pub(crate) fn parse(name: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = name.split_first_chunk::<2>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    match u16::from_ne_bytes(*family) {
        FAMILY_V4 => {
            let address = Ipv4Addr::from(*rest.first_chunk::<4>()?);
            Some(SocketAddr::from((address, port)))
        }
        FAMILY_V6 => {
            let (_flow, rest) = rest.split_first_chunk::<4>()?;
            let (address, rest) = rest.split_first_chunk::<16>()?;
            let scope = u32::from_ne_bytes(*rest.first_chunk::<4>()?);
            let address = Ipv6Addr::from(*address);
            Some(match address.to_ipv4_mapped() {
                Some(address) => SocketAddr::from((address, port)),
                None => SocketAddr::V6(SocketAddrV6::new(address, port, 0, scope)),
            })
        }
        _ => None,
    }
}

/// `address` as a `sockaddr` for a socket of the family `v6`, and its length. `None` when a socket
/// of that family cannot reach it.
pub(crate) fn encode(address: SocketAddr, v6: bool) -> Option<([u8; NAME_BYTES], libc::socklen_t)> {
    let mut name = [0; NAME_BYTES];
    name[2..4].copy_from_slice(&address.port().to_be_bytes());
    let (v6_address, scope) = match (address.ip(), address) {
        (IpAddr::V4(ip), _) if !v6 => {
            name[0..2].copy_from_slice(&FAMILY_V4.to_ne_bytes());
            name[4..8].copy_from_slice(&ip.octets());
            return Some((name, NAME_V4_LEN));
        }
        (IpAddr::V4(ip), _) => (ip.to_ipv6_mapped(), 0),
        (IpAddr::V6(ip), SocketAddr::V6(full)) if v6 => (ip, full.scope_id()),
        _ => return None,
    };
    name[0..2].copy_from_slice(&FAMILY_V6.to_ne_bytes());
    name[8..24].copy_from_slice(&v6_address.octets());
    name[24..28].copy_from_slice(&scope.to_ne_bytes());
    Some((name, NAME_LEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_to_the_kernel_and_back() {
        for (text, v6) in [
            ("192.0.2.1:5000", false),
            ("192.0.2.1:5000", true),
            ("[2001:db8::1]:65535", true),
            ("[fe80::1%7]:1", true),
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let (name, len) = encode(address, v6).unwrap();
            assert_eq!(len, if v6 { 28 } else { 16 });
            assert_eq!(parse(&name[..len as usize]), Some(address), "{text}");
        }
    }

    #[test]
    fn an_ipv4_socket_cannot_reach_an_ipv6_peer() {
        assert_eq!(encode("[2001:db8::1]:1".parse().unwrap(), false), None);
    }

    #[test]
    fn a_name_cut_short_or_of_another_family_is_no_address() {
        let (name, _) = encode("[2001:db8::1]:1".parse().unwrap(), true).unwrap();
        for len in 0..NAME_BYTES {
            assert_eq!(parse(&name[..len]), None);
        }
        assert_eq!(parse(&[1; NAME_BYTES]), None);
    }
}
