//! One TUN device: opened, configured, read and written, packet by packet.
//!
//! It is not persistent. When the last descriptor is closed, be it by SIGKILL, the kernel takes it away, and with it
//! its addresses and routes.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use tun_rs::{DeviceBuilder, SyncDevice};

use super::address::EndAddresses;
use super::netlink::{DeviceDrops, LinkShape, Netlink};
use super::vnet::VNET_LEN;

/// A TUN device in the network namespace of the thread that made it; usable from any.
pub(super) struct Device {
    tun: SyncDevice,
    netlink: Netlink,
    index: u32,
    /// Whether superpackets pass; otherwise there is no [`VnetHeader`](super::vnet::VnetHeader) on the descriptor.
    offload: Offload,
    has_v6: bool,
}

/// Whether the kernel may hand over and take superpackets.
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
        let is_offloaded = config.offload == Offload::On;
        let tun = DeviceBuilder::new().name("netem%d").offload(is_offloaded).enable(false).build_sync()?;
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
        Ok(Self { tun, netlink, index, offload: config.offload, has_v6 })
    }

    /// Whether it could be given an IPv6 address.
    #[must_use]
    pub(super) fn has_v6(&self) -> bool {
        self.has_v6
    }

    /// Reads one packet into `buffer`, its header of [`VNET_LEN`] bytes first, whether or not the device has one.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; others when the device is gone.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.offload {
            Offload::On => Ok(rustix::io::read(&self.tun, buffer)?),
            Offload::Off => {
                buffer[..VNET_LEN].fill(0);
                Ok(rustix::io::read(&self.tun, &mut buffer[VNET_LEN..])? + VNET_LEN)
            }
        }
    }

    /// Writes one packet that stands in two parts, the first beginning with its header; one of them may be empty.
    ///
    /// # Errors
    /// `WouldBlock`, `EINVAL` for a packet the kernel cannot read, `EIO` when the interface was taken down.
    pub(super) fn write(&self, head: &[u8], payload: &[u8]) -> io::Result<()> {
        let skip = if self.offload == Offload::Off { VNET_LEN } else { 0 };
        let written: Result<usize, Errno> = match (head.is_empty(), payload.is_empty()) {
            (true, _) => rustix::io::write(&self.tun, payload.get(skip..).unwrap_or_default()),
            (_, true) => rustix::io::write(&self.tun, head.get(skip..).unwrap_or_default()),
            _ => {
                let parts = [IoSlice::new(head.get(skip..).unwrap_or_default()), IoSlice::new(payload)];
                rustix::io::writev(&self.tun, &parts)
            }
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

pub(super) const TUN_NODE: &str = "/dev/net/tun";

/// Packets (superpackets, where there are any) that wait for us. Linux gives 500, which a burst at 350,000 packets/s
/// fills in 1.4 ms; this is 28 ms, as long as a thread may wait for a processor on a busy machine.
const TX_QUEUE: u32 = 10_000;
