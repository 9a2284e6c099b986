//! A network emulator in user space: bad weather for any program that talks over a network.
//!
//! [`profile`] says what a link does, [`spec`] reads and prints it as text, [`link`] does it. A [`link::Link`] is one
//! direction, sans-IO: packets and times in, packets and times out, so that the simulator and the real proxies run
//! the same code and a seed decides the same fates in both. [`pacer`] is the thread that keeps real time for links;
//! [`proxy`] holds the shells that put them between real sockets.
//!
//! A link has never heard of chat. It carries anything that can be cloned and has a size.

pub mod capture;
pub mod import;
pub mod journal;
pub mod law;
pub mod link;
pub mod pacer;
pub mod preset;
pub mod profile;
pub mod proxy;
pub mod selfcheck;
pub mod serve;
pub mod spec;
pub mod stats;
pub mod stream;
pub mod timing;
pub mod tun;
