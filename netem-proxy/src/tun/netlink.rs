//! Just enough rtnetlink to bring an interface up: <https://man7.org/linux/man-pages/man7/rtnetlink.7.html>.
//!
//! Five requests by hand, so that no `ip` program is needed. A socket belongs to the network namespace of the thread
//! that made it, for good: whoever keeps it can ask for the counters of a device in a namespace he is not in.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// A connection to the kernel's network configuration of one namespace.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// What the kernel dropped at a device. `tx` is on the way to us, `rx` is what it would not take from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct DeviceDrops {
    pub rx: u64,
    pub tx: u64,
}

impl Netlink {
    /// Connects to the namespace of the calling thread.
    ///
    /// # Errors
    /// When the kernel has no netlink, or the process no file descriptors left.
    pub(super) fn open() -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Brings an interface up; with an MTU and a queue length where these are given.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_ADMIN, `ENODEV` for a wrong index, `EINVAL` for an MTU it cannot have.
    pub(super) fn set_up(&mut self, index: u32, shape: Option<LinkShape>) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, ACK);
        message.link_info(index, IFF_UP);
        if let Some(shape) = shape {
            message.attribute(IFLA_MTU, &shape.mtu.to_ne_bytes());
            message.attribute(IFLA_TXQLEN, &shape.queue.to_ne_bytes());
        }
        self.request(message).map(drop)
    }

    /// Lets an interface have no link-local address, and so send nothing of its own accord.
    ///
    /// # Errors
    /// When IPv6 is not there.
    pub(super) fn silence_v6(&mut self, index: u32) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWLINK, ACK);
        message.link_info(index, 0);
        let mode = attribute(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
        message.attribute(IFLA_AF_SPEC, &attribute(AF_INET6.into(), &mode));
        self.request(message).map(drop)
    }

    /// Gives an interface an address, and with it the route to `peer` at the other end.
    ///
    /// # Errors
    /// `EEXIST` when it has it; for IPv6 `EACCES` or `EOPNOTSUPP` where that is switched off.
    pub(super) fn add_address(&mut self, index: u32, local: IpAddr, peer: IpAddr) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWADDR, ACK | CREATE);
        // No duplicate address detection: it would delay IPv6 by a second, and there is nobody else.
        message.body(&[family(local), host_prefix(local), IFA_F_NODAD, 0]);
        message.body(&index.to_ne_bytes());
        message.attribute(IFA_LOCAL, &octets(local));
        message.attribute(IFA_ADDRESS, &octets(peer));
        self.request(message).map(drop)
    }

    /// Sends everything of a family that has no better route through an interface.
    ///
    /// # Errors
    /// Like [`add_address`](Self::add_address).
    pub(super) fn add_default_route(&mut self, index: u32, like: IpAddr) -> io::Result<()> {
        let mut message = Message::new(RTM_NEWROUTE, ACK | CREATE);
        let (table, protocol, scope, kind) = (RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST);
        message.body(&[family(like), 0, 0, 0, table, protocol, scope, kind, 0, 0, 0, 0]);
        message.attribute(RTA_OIF, &index.to_ne_bytes());
        self.request(message).map(drop)
    }

    /// What was dropped so far.
    ///
    /// # Errors
    /// When the interface has gone.
    pub(super) fn drops(&mut self, index: u32) -> io::Result<DeviceDrops> {
        let mut message = Message::new(RTM_GETLINK, 0);
        message.link_info(index, 0);
        let answer = self.request(message)?;
        let attributes = answer.get(HEADER + LINK_INFO..).unwrap_or_default();
        let stats = find_attribute(attributes, IFLA_STATS64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "no counters in the kernel's answer")
        })?;
        // rtnl_link_stats64: eight bytes each; packets, bytes, errors, drops, receiving first.
        let counter = |at: usize| {
            stats
                .get(at * 8..)
                .and_then(|rest| rest.first_chunk())
                .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
        };
        Ok(DeviceDrops { rx: counter(6), tx: counter(7) })
    }

    fn request(&mut self, message: Message) -> io::Result<Vec<u8>> {
        self.sequence += 1;
        send(&self.socket, &message.finish(self.sequence), SendFlags::empty())?;
        let mut answer = vec![0; ANSWER_MAX];
        let (length, _) = recv(&self.socket, answer.as_mut_slice(), RecvFlags::empty())?;
        answer.truncate(length);
        let kind = answer.get(4..6).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
        if kind == Some(NLMSG_ERROR) {
            let code =
                answer.get(HEADER..).and_then(|rest| rest.first_chunk()).map(|b| i32::from_ne_bytes(*b));
            match code {
                Some(0) => {}
                Some(code) => return Err(io::Error::from_raw_os_error(-code)),
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(answer)
    }
}

/// What an interface is given when it comes up.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkShape {
    pub(super) mtu: u32,
    /// Packets that wait for us to read them.
    pub(super) queue: u32,
}

struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(REQUEST | flags).to_ne_bytes());
        Self { bytes }
    }

    fn body(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// `struct ifinfomsg`; the flags given are the ones to change.
    fn link_info(&mut self, index: u32, flags: u32) {
        self.body(&[0; 4]);
        for word in [index, flags, flags] {
            self.body(&word.to_ne_bytes());
        }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend(attribute(kind, value));
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// Length and kind, two bytes each, the value, and zeros up to a multiple of four.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = value.len() + 4;
    let mut bytes = Vec::with_capacity(length.next_multiple_of(4));
    bytes.extend((length as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length.next_multiple_of(4), 0);
    bytes
}

fn find_attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some(head) = bytes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

// linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h, in this order.
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const CREATE: u16 = 0x400;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;
const RTA_OIF: u16 = 4;
const LINK_INFO: usize = 16;
const IFF_UP: u32 = 1;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const IFLA_STATS64: u16 = 23;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 0x02;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The answer about a link is some 2 KiB, and longer where it has many virtual functions; ours have none.
const ANSWER_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_are_padded_and_found() {
        let bytes = [attribute(1, &[7; 5]), attribute(2, &[8; 4])].concat();
        assert_eq!(bytes.len(), 12 + 8);
        assert_eq!(find_attribute(&bytes, 2), Some([8; 4].as_slice()));
        assert_eq!(find_attribute(&bytes, 3), None);
    }

    #[test]
    fn the_loopback_device_has_counters() {
        let mut netlink = Netlink::open().expect("netlink");
        assert!(netlink.drops(1).is_ok());
        assert!(netlink.drops(u32::MAX >> 1).is_err());
    }

    proptest! {
        #[test]
        fn broken_attributes_end_the_search(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = find_attribute(&bytes, 1);
        }
    }
}
