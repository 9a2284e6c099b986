//! Which addresses the two ends of a link get.
//!
//! IPv4 from 198.18.0.0/15, which is set aside for measuring networks (RFC 2544, RFC 6890) and so meets neither a
//! site's own addresses nor carrier-grade NAT; IPv6 from one unique local prefix (RFC 4193). Each link has a number,
//! made of how deep it is nested and how many of its level run already, so that the first on a machine always has the
//! same addresses: 198.18.0.1 and 198.18.0.2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// The addresses of the ends of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    number: u16,
}

/// One end: its addresses, IPv4 and IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndAddresses {
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

impl Addresses {
    /// Those of the `slot`th link that runs at a nesting depth; `None` when either is out of range.
    #[must_use]
    pub fn numbered(depth: u16, slot: u16) -> Option<Self> {
        (depth < DEPTHS && slot < SLOTS).then_some(Self { number: depth * SLOTS + slot })
    }

    /// The base: the host, or the right end.
    #[must_use]
    pub fn base(&self) -> EndAddresses {
        self.end(1)
    }

    /// The command's own, or the left end.
    #[must_use]
    pub fn guest(&self) -> EndAddresses {
        self.end(2)
    }

    fn end(&self, last: u8) -> EndAddresses {
        let offset = u32::from(self.number) * 4 + u32::from(last);
        EndAddresses {
            v4: Ipv4Addr::from(u32::from(PREFIX_V4) + offset),
            v6: Ipv6Addr::new(0xfd6e, 0x6574, 0x656d, self.number, 0, 0, 0, last.into()),
        }
    }
}

impl EndAddresses {
    #[must_use]
    pub fn all(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// Addresses in the namespace of this thread that no other run uses, for as long as this lives.
///
/// The reservation is a Unix socket with an abstract name: it belongs to the network namespace and vanishes with the
/// process, however that ends.
#[derive(Debug)]
pub struct Reservation {
    pub addresses: Addresses,
    _lock: UnixListener,
}

impl Reservation {
    /// Takes the first free number.
    ///
    /// # Errors
    /// When all are taken, or `depth` is beyond what the prefix has room for.
    pub fn take(depth: u16) -> io::Result<Self> {
        let in_use = addresses_in_use()?;
        for slot in 0..SLOTS {
            let Some(addresses) = Addresses::numbered(depth, slot) else { break };
            let ends = [addresses.base(), addresses.guest()];
            if ends.iter().flat_map(EndAddresses::all).any(|address| in_use.contains(&address)) {
                continue;
            }
            let name = SocketAddr::from_abstract_name(format!("netem-proxy/run/{}", addresses.number))?;
            match UnixListener::bind_addr(&name) {
                Ok(lock) => return Ok(Self { addresses, _lock: lock }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!(
            "no free addresses: {SLOTS} runs at a time and {DEPTHS} levels of nesting are the limit"
        )))
    }
}

fn addresses_in_use() -> io::Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs()?;
    let addresses = interfaces.filter_map(|interface| interface.address);
    Ok(addresses
        .filter_map(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .collect())
}

const PREFIX_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// Links of one depth in one namespace; times [`DEPTHS`] and four addresses each, they fill the /15.
const SLOTS: u16 = 1024;
/// How deep runs can be nested.
pub const DEPTHS: u16 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_link_has_the_documented_addresses() {
        let first = Addresses::numbered(0, 0).expect("in range");
        assert_eq!(first.base().v4.to_string(), "198.18.0.1");
        assert_eq!(first.guest().v4.to_string(), "198.18.0.2");
        assert_eq!(first.base().v6.to_string(), "fd6e:6574:656d::1");
        let nested = Addresses::numbered(1, 0).expect("in range");
        assert_eq!(nested.base().v4.to_string(), "198.18.16.1");
        assert_eq!(nested.guest().v6.to_string(), "fd6e:6574:656d:400::2");
        let last = Addresses::numbered(DEPTHS - 1, SLOTS - 1).expect("in range");
        assert_eq!(last.guest().v4.to_string(), "198.19.255.254");
        assert_eq!(Addresses::numbered(DEPTHS, 0), None);
    }

    #[test]
    fn two_at_a_time_have_different_addresses() {
        let depth = DEPTHS - 1;
        let first = Reservation::take(depth).expect("free");
        let second = Reservation::take(depth).expect("free");
        assert_ne!(first.addresses, second.addresses);
        drop(first);
        let third = Reservation::take(depth).expect("free");
        assert_ne!(third.addresses, second.addresses);
    }
}
