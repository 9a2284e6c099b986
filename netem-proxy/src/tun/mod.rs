//! Kernel network stacks behind a link: TUN devices and network namespaces.

pub mod checksum;
pub mod frame;
#[cfg(test)]
mod frame_tests;
pub mod gather;
pub mod packet;
pub mod pool;
#[cfg(test)]
mod samples;
pub mod vnet;
