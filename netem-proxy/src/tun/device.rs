//! One TUN device: opened, configured, read and written, packet by packet.
//!
//! It is not persistent. When the last descriptor is closed, be it by SIGKILL, the kernel takes it away, and with it
//! its addresses and routes.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::libc;
use rustix::io::Errno;
use tun_rs::{DeviceBuilder, SyncDevice};

use super::address::EndAddresses;
use super::join::Joining;
use super::netlink::{DeviceDrops, LinkShape, Netlink};

/// A TUN device in the network namespace of the thread that made it; usable from any.
pub(super) struct Device {
    tun: SyncDevice,
    netlink: Netlink,
    index: u32,
    has_v6: bool,
}

/// Whether the kernel may hand over superpackets, and leave checksums to us. It takes them in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    On,
    Off,
}

/// What a device is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeviceConfig {
    pub(super) local: EndAddresses,
    pub(super) peer: EndAddresses,
    pub(super) mtu: u32,
    pub(super) offload: Offload,
    /// Whether everything goes through it.
    pub(super) is_default_route: bool,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Device {
    /// Makes it, gives it its addresses and brings it up, in the namespace of the calling thread.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_ADMIN, and whatever keeps `/dev/net/tun` from being opened.
    pub(super) fn open(config: &DeviceConfig) -> io::Result<Self> {
        // Looked at first, because the library would make the node where it is missing, and it would stay.
        std::fs::metadata(TUN_NODE)?;
        let tun = DeviceBuilder::new().name("netem%d").offload(true).enable(false).build_sync()?;
        if config.offload == Offload::Off {
            forbid_offload(&tun)?;
        }
        tun.set_nonblocking(true)?;
        let index = tun.if_index()?;
        let mut netlink = Netlink::open()?;
        // Fails only without IPv6, and then there is nothing to silence.
        let _ = netlink.silence_v6(index);
        netlink.set_up(index, Some(LinkShape { mtu: config.mtu, queue: TX_QUEUE }))?;
        netlink.add_address(index, config.local.v4.into(), config.peer.v4.into())?;
        let has_v6 = netlink.add_address(index, config.local.v6.into(), config.peer.v6.into()).is_ok();
        if config.is_default_route {
            netlink.add_default_route(index, config.peer.v4.into())?;
            if has_v6 {
                netlink.add_default_route(index, config.peer.v6.into())?;
            }
        }
        Ok(Self { tun, netlink, index, has_v6 })
    }

    /// Whether it could be given an IPv6 address.
    #[must_use]
    pub(super) fn has_v6(&self) -> bool {
        self.has_v6
    }

    /// What may be written to it as one.
    #[must_use]
    pub(super) fn joining(&self) -> Joining {
        Joining { tcp: true, udp: self.tun.udp_gso() }
    }

    /// Reads one packet into `buffer`, its header of [`VNET_LEN`](super::vnet::VNET_LEN) bytes first.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; others when the device is gone.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.tun, buffer)?)
    }

    /// Writes one packet that stands in two parts, the first beginning with its header; one of them may be empty.
    ///
    /// # Errors
    /// `WouldBlock`, `EINVAL` for a packet the kernel cannot read, `EIO` when the interface was taken down.
    pub(super) fn write(&self, head: &[u8], payload: &[u8]) -> io::Result<()> {
        let written: Result<usize, Errno> = match (head.is_empty(), payload.is_empty()) {
            (true, _) => rustix::io::write(&self.tun, payload),
            (_, true) => rustix::io::write(&self.tun, head),
            _ => rustix::io::writev(&self.tun, &[IoSlice::new(head), IoSlice::new(payload)]),
        };
        Ok(written.map(drop)?)
    }

    /// What the kernel dropped at this device so far.
    ///
    /// # Errors
    /// When the device is gone.
    pub(super) fn drops(&mut self) -> io::Result<DeviceDrops> {
        self.netlink.drops(self.index)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tun.as_fd()
    }
}

/// Lets a device promise nothing, so that the kernel cuts and sums before it hands over.
#[expect(unsafe_code, reason = "no safe wrapper of TUNSETOFFLOAD among the crates used here")]
fn forbid_offload(tun: &impl AsFd) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the request takes its argument by value.
    match unsafe { libc::ioctl(tun.as_fd().as_raw_fd(), libc::TUNSETOFFLOAD, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(super) const TUN_NODE: &str = "/dev/net/tun";

/// Packets (superpackets, where there are any) that wait for us. Linux gives 500, which a burst at 350,000 packets/s
/// fills in 1.4 ms. This takes a TCP window of 48 MB that was cut into packets of the MTU, and 94 ms at that rate.
const TX_QUEUE: u32 = 32_768;
