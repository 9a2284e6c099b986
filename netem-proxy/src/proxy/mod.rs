//! Shells: links between real sockets.
//!
//! [`frames`] relays length-prefixed frames over TCP, [`datagrams`] relays UDP. Both move bytes and decide nothing:
//! they stamp what they read with its time of arrival, hand it to the [`crate::pacer`], and write what comes out.
//! Whatever goes wrong with a socket is counted, because a packet that the harness lost must never look like one
//! that the link lost.
//!
//! Left out: byte streams (a TCP relay can delay but never lose), IP packets (TUN).

pub mod datagrams;
pub mod frames;
mod parcel;
mod tally;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use tokio::task::JoinHandle;
use units::{Clock, Seed, Timestamp};

use crate::link::{Link, LinkCounters};
use crate::pacer::{Direction, LinkId, Pacer, PacerHandle, PacerReport};
use crate::profile::LinkProfile;
use parcel::Parcel;
pub use parcel::corrupted;
use tally::Tally;
pub use tally::TallySnapshot;

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
}

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
    /// Packets the harness lost: a socket or the proxy's memory was full. Any one makes a loss experiment invalid.
    pub io_overrun: u64,
    /// Connections closed because of a frame that is too long or cut off.
    pub malformed: u64,
    /// Times the other side refused (nobody listens on the upstream port).
    pub refused: u64,
    /// Packets that left the link when their socket was gone already.
    pub undeliverable: u64,
    /// Times a connection was not read because too much of it was under way.
    pub back_pressure: u64,
}

/// A running proxy. Dropping it stops it.
#[derive(Debug)]
pub struct ProxyHandle {
    local_addr: SocketAddr,
    shared: Arc<Shared>,
    pacer: Pacer<Parcel>,
    task: JoinHandle<()>,
}

impl ProxyHandle {
    /// Where clients connect.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    #[must_use]
    pub fn snapshot(&self) -> ProxySnapshot {
        snapshot(self.pacer.handle().report(), self.shared.tally.snapshot())
    }

    /// Changes one or both directions, for open flows and those to come.
    pub fn configure(&self, up: Option<LinkProfile>, down: Option<LinkProfile>) {
        let mut profiles = self.shared.profiles();
        if let Some(up) = up {
            self.pacer.handle().configure(Direction::Up, up.clone());
            profiles.up = up;
        }
        if let Some(down) = down {
            self.pacer.handle().configure(Direction::Down, down.clone());
            profiles.down = down;
        }
    }

    /// Closes all sockets, gives up what is under way (`dropped_closed`) and returns the last counts.
    #[must_use = "these are the final counts; drop the handle to stop without them"]
    pub fn stop(mut self) -> ProxySnapshot {
        self.task.abort();
        let report = self.pacer.stop();
        snapshot(report, self.shared.tally.snapshot())
    }
}

impl Drop for ProxyHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the tasks of one proxy have in common.
#[derive(Debug)]
struct Shared {
    clock: Clock,
    seed: Seed,
    origin: Timestamp,
    upstream: SocketAddr,
    pacer: PacerHandle<Parcel>,
    tally: Arc<Tally>,
    profiles: Mutex<Profiles>,
    /// The two links of all flows, under [`Scope::Shared`].
    common: Option<[LinkId; 2]>,
}

#[derive(Clone, Debug)]
struct Profiles {
    up: LinkProfile,
    down: LinkProfile,
}

impl Shared {
    fn new(config: &ProxyConfig, pacer: PacerHandle<Parcel>, tally: Arc<Tally>) -> Self {
        let profiles = Profiles { up: config.up.clone(), down: config.down.clone() };
        let origin = config.clock.now();
        let common = (config.scope == Scope::Shared)
            .then(|| open_links(&pacer, &profiles, config.seed.fork("shared"), origin));
        Self {
            clock: config.clock,
            seed: config.seed,
            origin,
            upstream: config.upstream,
            pacer,
            tally,
            profiles: Mutex::new(profiles),
            common,
        }
    }

    fn profiles(&self) -> MutexGuard<'_, Profiles> {
        // A panic elsewhere cannot leave two profiles half written.
        self.profiles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The links of one flow. Dropping it lets them deliver what is under way and retires them.
#[derive(Debug)]
struct FlowLinks {
    shared: Arc<Shared>,
    ids: [LinkId; 2],
}

impl FlowLinks {
    fn open(shared: &Arc<Shared>) -> Self {
        let number = shared.tally.open_flow();
        let ids = shared.common.unwrap_or_else(|| {
            let seed = shared.seed.fork(&format!("flow/{number}"));
            // Locked until the links are open, so that a change reaches either the profiles or the links.
            open_links(&shared.pacer, &shared.profiles(), seed, shared.origin)
        });
        Self { shared: Arc::clone(shared), ids }
    }

    fn id(&self, direction: Direction) -> LinkId {
        match direction {
            Direction::Up => self.ids[0],
            Direction::Down => self.ids[1],
        }
    }
}

impl Drop for FlowLinks {
    fn drop(&mut self) {
        self.shared.tally.close_flow();
        if self.shared.common.is_none() {
            self.ids.iter().for_each(|id| self.shared.pacer.close(*id));
        }
    }
}

fn open_links(
    pacer: &PacerHandle<Parcel>,
    profiles: &Profiles,
    seed: Seed,
    origin: Timestamp,
) -> [LinkId; 2] {
    let open = |direction, profile: &LinkProfile, name| {
        pacer.open(direction, Link::new(profile.clone(), seed.fork(name)).with_origin(origin))
    };
    [open(Direction::Up, &profiles.up, "up"), open(Direction::Down, &profiles.down, "down")]
}

/// Starts the pacer and what all proxies share; `serve` makes the task that owns the sockets.
fn start<F>(config: &ProxyConfig, local_addr: SocketAddr, serve: F) -> io::Result<ProxyHandle>
where
    F: FnOnce(Arc<Shared>) -> JoinHandle<()>,
{
    let tally = Arc::new(Tally::default());
    let outlet_tally = Arc::clone(&tally);
    let pacer = Pacer::spawn(config.clock, move |delivery| parcel::deliver(delivery, &outlet_tally))?;
    let shared = Arc::new(Shared::new(config, pacer.handle().clone(), tally));
    let task = serve(Arc::clone(&shared));
    Ok(ProxyHandle { local_addr, shared, pacer, task })
}

fn snapshot(report: PacerReport, tally: TallySnapshot) -> ProxySnapshot {
    ProxySnapshot {
        flows: tally.flows,
        flows_open: tally.flows_open,
        up: report.up.counters,
        down: report.down.counters,
        up_delays: report.up.delays,
        down_delays: report.down.delays,
        lateness: report.lateness,
        io_overrun: tally.io_overrun,
        malformed: tally.malformed,
        refused: tally.refused,
        undeliverable: tally.undeliverable,
        back_pressure: tally.back_pressure,
    }
}
