//! Kernel network stacks behind a link: TUN devices and network namespaces.
//!
//! A program that runs in a network namespace of its own, whose only way out is a TUN device, sends its packets to
//! us; they pass the links and go into a second device, at the host or in a second namespace. So the kernel's own TCP
//! meets the loss, and any program can be put behind a link without knowing of it.
//!
//! `frame`, `gather`, `join`, `packet`, `checksum` and `vnet` are values only: what a superpacket consists of, which of its
//! pieces survive, what is written. `device`, `namespace`, `netlink` and `address` make the network; `forwarder` is
//! the thread that carries packets, [`Session`] all of it together.
//!
//! Nothing here has a name in the file system or outlives its descriptors: a process killed at any moment leaves no
//! device, route, address or namespace behind.

pub mod checksum;
pub mod frame;
#[cfg(test)]
mod frame_tests;
pub mod gather;
pub mod join;
#[cfg(test)]
mod join_tests;
pub mod packet;
pub mod pool;
#[cfg(test)]
mod samples;
pub mod vnet;

#[cfg(target_os = "linux")]
pub mod address;
#[cfg(target_os = "linux")]
mod device;
#[cfg(target_os = "linux")]
mod forwarder;
#[cfg(target_os = "linux")]
pub mod keeper;
#[cfg(target_os = "linux")]
mod lanes;
#[cfg(target_os = "linux")]
mod namespace;
#[cfg(target_os = "linux")]
mod netlink;
#[cfg(target_os = "linux")]
pub mod privilege;
#[cfg(target_os = "linux")]
mod session;

#[cfg(target_os = "linux")]
pub use self::{
    device::Offload,
    forwarder::{DirectionOutcome, IoCounters, Progress},
    namespace::Namespace,
    netlink::DeviceDrops,
    session::{Ends, Fault, Session, SessionConfig, SessionError, SessionOutcome},
};
