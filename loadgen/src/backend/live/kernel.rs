//! Plain TCP of this machine's kernel on the stage.
//!
//! The relay listens at the far end of each link of [`Ways`], and clients begin at the near end.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chat_core::connection::Stats;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use units::{Clock, Timestamp};

use super::client::ClientLog;
use super::ears::Ears;
use super::reports::Reports;
use super::seat::{Heard, seats};
use super::stage::{Crowd, Stage, StageRecord, collect, runtime};
use super::tcp_relay::{self, RelayHandle};
use super::ways::{Ways, listen, socket, unusable};
use crate::backend::baseline::relay::Relay;
use crate::backend::{Cast, RunError, RunPlan, ServerAt};

/// Namespaces, links and the relay, running.
pub(super) struct Kernel {
    clients: Runtime,
    /// Runs the relay.
    services: Runtime,
    relay: RelayHandle,
    ways: Ways,
    /// Where clients without a link find the relay.
    direct: SocketAddr,
    heard: Heard,
}

impl Kernel {
    pub(super) fn build(plan: &RunPlan, clock: Clock, heard: Heard) -> Result<Self, RunError> {
        if let ServerAt::External(address) = plan.server {
            let text = format!("kernel-tcp brings its own relay and cannot use the server at {address}");
            return Err(RunError::Setup(text));
        }
        let clients = runtime("clients")?;
        let services = runtime("services")?;
        let (ways, mut listeners) = Ways::lay(plan, clock)?;
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), ways.congestion())?;
        let direct = listener.local_addr().map_err(unusable)?;
        listeners.push(listener);
        let cast = Arc::new(Cast::new(&plan.scenario, String::new()));
        let relay = services.block_on(async {
            let listeners: io::Result<Vec<TcpListener>> =
                listeners.into_iter().map(TcpListener::from_std).collect();
            Ok(tcp_relay::start(listeners.map_err(unusable)?, Relay::new(cast), heard.clone()))
        })?;
        Ok(Self { clients, services, relay, ways, direct, heard })
    }
}

impl Stage for Kernel {
    fn prefix(&self) -> &str {
        ""
    }

    fn start_clients(
        &self,
        plan: &RunPlan,
        _cast: &Arc<Cast>,
        clock: Clock,
        _reports: &Reports,
        _ears: &Arc<Ears>,
    ) -> Crowd {
        let mut crowd = Crowd { orders: Vec::new(), tasks: Vec::new() };
        for (orders, seat) in seats(plan, clock, &self.heard) {
            let (socket, server) = match self.ways.get(seat.link.as_deref()) {
                Some(way) => (way.socket(), way.server),
                None => (socket(self.ways.congestion()), self.direct),
            };
            crowd.orders.push(orders);
            crowd.tasks.push(self.clients.spawn(tcp_relay::client(seat, socket, server)));
        }
        crowd
    }

    /// Links with a timetable were refused when they were laid.
    fn begin_blackouts(&self, _plan: &RunPlan, _began: Timestamp) {}

    fn check_server(&mut self) -> Result<(), RunError> {
        if self.relay.is_running() {
            return Ok(());
        }
        Err(RunError::Internal("the relay of the baseline has stopped".to_owned()))
    }

    fn collect(&self, tasks: Vec<JoinHandle<ClientLog>>) -> Vec<ClientLog> {
        collect(&self.clients, tasks)
    }

    fn finish(self: Box<Self>) -> StageRecord {
        let mut record = StageRecord::default();
        // The counters are those of the namespaces, and go with them.
        for way in self.ways.iter() {
            for text in way.at_both_ends(counters) {
                match text {
                    Ok(text) => record.stats += &stats(&text),
                    Err(error) => {
                        record.failures.push(format!("cannot read the kernel's TCP counters: {error}"));
                    }
                }
            }
        }
        record.failures.extend(self.relay.stop());
        self.services.shutdown_timeout(GOODBYE);
        self.ways.finish(&mut record);
        record
    }
}

/// What the kernel counted in the namespace of this thread.
fn counters() -> io::Result<String> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}"));
    Ok(read("snmp")? + &read("netstat")?)
}

/// From two lines for each protocol, names and values: `Tcp: RtoMin OutSegs …` and `Tcp: 200 17 …`.
fn stats(text: &str) -> Stats {
    let mut values = BTreeMap::new();
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.chunks_exact(2) {
        let names = pair[0].split_whitespace().skip(1);
        values.extend(names.zip(pair[1].split_whitespace().skip(1)));
    }
    let value = |name: &str| values.get(name).and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    Stats {
        // The kernel counts segments that carry only repeats apart.
        segments_sent: value("OutSegs") + value("RetransSegs"),
        retransmits: value("RetransSegs"),
        fast_retransmits: value("TCPFastRetrans"),
        timeouts: value("TCPTimeouts"),
        probes: value("TCPLossProbes"),
        spurious: value("TCPDSACKRecv"),
        ..Stats::default()
    }
}

/// For tasks that only wait by then.
const GOODBYE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_their_names() {
        let text = "Tcp: RtoAlgorithm OutSegs RetransSegs\nTcp: 1 90 10\n\
            TcpExt: TCPTimeouts TCPLossProbes TCPDSACKRecv TCPFastRetrans\nTcpExt: 1 2 3 4\n";
        let stats = stats(text);
        assert_eq!((stats.segments_sent, stats.retransmits, stats.fast_retransmits), (100, 10, 4));
        assert_eq!((stats.timeouts, stats.probes, stats.spurious), (1, 2, 3));
    }
}
