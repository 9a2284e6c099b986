//! Shells: links between real sockets.
//!
//! [`frames`] relays length-prefixed frames over TCP, [`datagrams`] relays UDP. Each is one thread that owns its sockets
//! and its links (`driver`): it stamps what it reads with its time of arrival, hands it to the links, and writes what
//! comes out when it is due. It decides nothing. Whatever goes wrong with a socket is counted, because a packet that the
//! harness lost must never look like one that the link lost.
//!
//! Left out: byte streams ([`crate::stream`]: a TCP relay can delay but never lose), IP packets ([`crate::tun`]).

mod credit;
pub mod datagrams;
mod driver;
mod flows;
pub mod frames;
mod parcel;
mod port;
mod stamp;
mod tally;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;
use units::{Clock, Seed};

use crate::link::{LinkCounters, new_delay_histogram};
use crate::pacer::Observer;
use crate::profile::LinkProfile;
use crate::timing::{Timing, TimingStats, Waiter, realtime};
use driver::{Control, Core, Shell};
pub use parcel::{Parcel, corrupted};

/// What a proxy stands between, and what it does to the traffic.
#[derive(Clone, Debug)]
pub struct ProxyConfig {
    /// Where clients come in; port 0 picks a free one.
    pub listen: SocketAddr,
    pub upstream: SocketAddr,
    /// Client to upstream.
    pub up: LinkProfile,
    /// Upstream to client.
    pub down: LinkProfile,
    pub scope: Scope,
    /// Flow `n`, counted from 0 in order of arrival, gets `flow/n/up` and `flow/n/down`; a shared link `shared/up`
    /// and `shared/down`.
    pub seed: Seed,
    /// Blackouts count from the moment the proxy starts, for all its flows.
    pub clock: Clock,
    pub timing: Timing,
    /// Runs the proxy's thread before all ordinary ones (`SCHED_FIFO`). Needs `CAP_SYS_NICE`; refused together with
    /// [`Timing::Spin`] on a machine of two cores or fewer, where it would starve what it relays for.
    pub realtime: bool,
    /// UDP: a flow silent for so long in both directions is forgotten. NATs do after 30 s to some minutes.
    pub idle_timeout: Duration,
}

impl ProxyConfig {
    /// A proxy that changes nothing, with the defaults of everything: a link for each flow, seed 0, a clock of its own,
    /// [`Timing::Hybrid`], an idle timeout of [`IDLE_TIMEOUT`].
    #[must_use]
    pub fn between(listen: SocketAddr, upstream: SocketAddr) -> Self {
        Self {
            listen,
            upstream,
            up: LinkProfile::default(),
            down: LinkProfile::default(),
            scope: Scope::default(),
            seed: Seed::root(0),
            clock: Clock::start(),
            timing: Timing::default(),
            realtime: false,
            idle_timeout: IDLE_TIMEOUT,
        }
    }
}

/// The default of [`ProxyConfig::idle_timeout`].
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Who shares a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Scope {
    /// Each connection (TCP) or client address (UDP) has its own.
    #[default]
    PerFlow,
    /// All flows share one bottleneck, queue and chain of chance for each direction.
    Shared,
}

/// Everything a proxy has counted, closed flows included.
#[derive(Clone, Debug)]
pub struct ProxySnapshot {
    /// Flows accepted since the start.
    pub flows: u64,
    pub flows_open: u64,
    pub up: LinkCounters,
    pub down: LinkCounters,
    /// Model time in the link, in microseconds.
    pub up_delays: Histogram<u64>,
    pub down_delays: Histogram<u64>,
    /// Release minus due time, in nanoseconds.
    pub lateness: Histogram<u64>,
    /// Packets released before they were due: 0, or the driver is broken.
    pub early: u64,
    /// What punctuality has cost.
    pub timing: TimingStats,
    /// Packets the harness lost: a socket or the proxy's memory was full. Any one makes a loss experiment invalid.
    pub io_overrun: u64,
    /// Datagrams the kernel dropped before the proxy could read them: its sockets' buffers were full. As bad.
    pub kernel_drops: u64,
    /// Connections closed because of a frame that is too long or cut off.
    pub malformed: u64,
    /// Times the other side refused (nobody listens on the upstream port).
    pub refused: u64,
    /// Packets that left the link when their socket was gone already.
    pub undeliverable: u64,
    /// Times a connection was not read because too much of it was under way.
    pub back_pressure: u64,
    /// Times a flow got another source port towards the upstream.
    pub rebinds: u64,
}

/// A running proxy. Dropping it stops it.
#[derive(Debug)]
pub struct ProxyHandle {
    local_addr: SocketAddr,
    control: Control,
    thread: Option<JoinHandle<ProxySnapshot>>,
}

impl ProxyHandle {
    /// Where clients connect.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The counts so far. Waits for the proxy's thread, which takes well under a millisecond; nothing but zeros should
    /// that have ended.
    #[must_use]
    pub fn snapshot(&self) -> ProxySnapshot {
        self.control.report().unwrap_or_default()
    }

    /// Changes one or both directions, for open flows and those to come, before anything that is sent from now on.
    pub fn configure(&self, up: Option<LinkProfile>, down: Option<LinkProfile>) {
        self.control.configure(up, down);
    }

    /// Gives every UDP flow another source port towards the upstream, as a NAT does that has forgotten it. Answers to
    /// the old ones are still relayed for some seconds. Frames are not affected.
    pub fn rebind(&self) {
        self.control.rebind();
    }

    /// Closes all sockets, gives up what is under way (`dropped_closed`) and returns the last counts.
    #[must_use = "these are the final counts; drop the handle to stop without them"]
    pub fn stop(mut self) -> ProxySnapshot {
        self.control.stop();
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for ProxyHandle {
    fn drop(&mut self) {
        // The thread is not joined: a drop must not wait.
        self.control.stop();
    }
}

/// Starts the thread of a proxy whose listening socket is being watched by `waiter`.
fn spawn<S: Shell>(
    name: &str,
    config: &ProxyConfig,
    local_addr: SocketAddr,
    waiter: Waiter,
    observer: Option<Box<dyn Observer<Parcel>>>,
    shell: impl FnOnce(&mut Core) -> S + Send + 'static,
) -> io::Result<ProxyHandle> {
    let is_realtime = config.realtime;
    if is_realtime {
        realtime::check(config.timing)?;
    }
    let (starter, control) = driver::prepare(config, waiter, observer);
    let (sender, started) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let entered = if is_realtime { realtime::enter() } else { Ok(()) };
        let is_ready = entered.is_ok();
        // The other end waits for this.
        let _ = sender.send(entered);
        if is_ready { starter.run(shell) } else { ProxySnapshot::default() }
    })?;
    started.recv().map_err(io::Error::other)??;
    Ok(ProxyHandle { local_addr, control, thread: Some(thread) })
}

impl Default for ProxySnapshot {
    fn default() -> Self {
        Self {
            flows: 0,
            flows_open: 0,
            up: LinkCounters::default(),
            down: LinkCounters::default(),
            up_delays: new_delay_histogram(),
            down_delays: new_delay_histogram(),
            lateness: Histogram::new(3).expect("three digits are within 0..=5"),
            early: 0,
            timing: TimingStats::default(),
            io_overrun: 0,
            kernel_drops: 0,
            malformed: 0,
            refused: 0,
            undeliverable: 0,
            back_pressure: 0,
            rebinds: 0,
        }
    }
}
