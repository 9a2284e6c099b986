//! What the director asks of a system under test and the network before it, and what all of them have in common.

use std::sync::Arc;
use std::time::Duration;

use chat_core::connection::Stats;
use chat_core::trace::TraceEvent;
use chat_core::trace::waits::Waited;
use hdrhistogram::Histogram;
use netem_proxy::proxy::ProxySnapshot;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use units::{Clock, Timestamp};

use super::client::{ClientLog, Order};
use super::ears::Ears;
use super::reports::Reports;
use crate::backend::waits::NotTold;
use crate::backend::{Cast, LinkRecord, NamedLink, RunError, RunPlan};
use crate::measure::Sample;

/// A system under test behind its network, running. Our chat is one, each baseline another.
pub(super) trait Stage {
    /// Keeps the names of several runs against one server apart.
    fn prefix(&self) -> &str;

    /// Starts every client, spread over the ramp of its group.
    fn start_clients(
        &self,
        plan: &RunPlan,
        cast: &Arc<Cast>,
        clock: Clock,
        reports: &Reports,
        ears: &Arc<Ears>,
    ) -> Crowd;

    /// The first phase begins: blackouts are counted from now.
    fn begin_blackouts(&self, plan: &RunPlan, began: Timestamp);

    /// Other processes that belong to the run.
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }

    /// What server and emulator have counted so far.
    fn sample(&self) -> Sample {
        Sample::default()
    }

    /// Whether the server is still there; takes what it keeps only for a while.
    fn check_server(&mut self) -> Result<(), RunError>;

    /// Whether both ends tell what messages waited for, or why not.
    fn tells_waits(&self) -> Result<(), NotTold> {
        Err(NotTold::Baseline)
    }

    /// What the server told of waits since this was asked last.
    fn drain_waits(&mut self) -> Vec<(Arc<str>, Waited)> {
        Vec::new()
    }

    /// Waits for the logs of all clients, which have been told to stop.
    fn collect(&self, tasks: Vec<JoinHandle<ClientLog>>) -> Vec<ClientLog>;

    /// Takes everything down and tells what it saw.
    fn finish(self: Box<Self>) -> StageRecord;
}

/// All clients, started.
pub(super) struct Crowd {
    pub(super) orders: Vec<mpsc::Sender<Order>>,
    pub(super) tasks: Vec<JoinHandle<ClientLog>>,
}

/// What server and emulator saw.
#[derive(Default)]
pub(super) struct StageRecord {
    pub(super) stats: Stats,
    pub(super) traces: Vec<(Arc<str>, TraceEvent)>,
    /// The last of what the server told, and how much it had to drop.
    pub(super) waits: Vec<(Arc<str>, Waited)>,
    pub(super) waits_forgotten: u64,
    pub(super) links: Vec<NamedLink>,
    pub(super) harness_drops: u64,
    pub(super) invalid: Vec<String>,
    pub(super) failures: Vec<String>,
}

/// The logs of `tasks`, which run on `runtime`.
pub(super) fn collect(runtime: &Runtime, tasks: Vec<JoinHandle<ClientLog>>) -> Vec<ClientLog> {
    runtime.block_on(async {
        let mut logs = Vec::with_capacity(tasks.len());
        for task in tasks {
            // A panic of a client is a defect of ours and is shown as one.
            logs.push(task.await.expect("a client task does not panic"));
        }
        logs
    })
}

/// What a relay of datagrams or frames saw.
pub(super) fn relayed(name: String, snapshot: ProxySnapshot) -> NamedLink {
    NamedLink {
        name,
        up: LinkRecord { counters: snapshot.up, delays_us: Some(snapshot.up_delays) },
        down: LinkRecord { counters: snapshot.down, delays_us: Some(snapshot.down_delays) },
    }
}

/// An emulator that lets packets go late adds delay nobody asked for. `lateness` is in nanoseconds.
pub(super) fn lateness(name: &str, lateness: &Histogram<u64>) -> Option<String> {
    let p50 = Duration::from_nanos(lateness.value_at_quantile(0.5));
    (p50 > MAX_LATENESS).then(|| {
        format!(
            "the emulator of link {name} was late: median {p50:?}, above {MAX_LATENESS:?}; free the machine"
        )
    })
}

pub(super) fn runtime(name: &str) -> Result<Runtime, RunError> {
    Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(|error| RunError::Internal(format!("cannot start threads: {error}")))
}

/// Threads for the clients, and for server and emulator. Two each use what small machines have.
const WORKERS: usize = 2;
/// Messages waiting for one client's task; more than it can send in a turn means that it does not run.
pub(super) const ORDERS: usize = 4096;
/// Half of the smallest latency that the shipped scenarios tell apart.
const MAX_LATENESS: Duration = Duration::from_millis(1);
