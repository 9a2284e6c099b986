//! Plain TCP of this machine's kernel on the stage.
//!
//! Each link is a pair of network namespaces with a TUN device each and the emulator between them, as `netem-proxy run`
//! makes them, so the kernel's packets meet the loss, not a copy of its bytes. The relay listens at the far end of each
//! link; clients open their sockets in the near one. A socket stays in the namespace where it was made, so no process
//! has to move: threads and clocks are those of the other stages. All of it belongs to open descriptors and is gone with
//! this process, however that ends.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use chat_core::connection::Stats;
use netem_proxy::tun::{DirectionOutcome, Ends, Session, SessionConfig};
use rustix::net::sockopt::set_tcp_congestion;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use units::{Clock, Timestamp};

use super::client::{ClientLog, Report};
use super::network::scope;
use super::owed::Owed;
use super::seat::{Heard, seats};
use super::stage::{Crowd, Stage, StageRecord, collect, lateness, runtime};
use super::tcp_relay::{self, RelayHandle};
use crate::backend::ability;
use crate::backend::baseline::relay::Relay;
use crate::backend::{Cast, LinkRecord, NamedLink, RunError, RunPlan, ServerAt};
use crate::scenario::{Driver, TcpCongestion};

/// Namespaces, links and the relay, running.
pub(super) struct Kernel {
    clients: Runtime,
    /// Runs the relay.
    services: Runtime,
    relay: RelayHandle,
    ways: BTreeMap<String, Way>,
    /// Where clients without a link find the relay.
    direct: SocketAddr,
    congestion: TcpCongestion,
    heard: Heard,
}

/// One link and the relay's address behind it.
struct Way {
    session: Session,
    server: SocketAddr,
}

impl Kernel {
    pub(super) fn build(plan: &RunPlan, clock: Clock, heard: Heard) -> Result<Self, RunError> {
        if let ServerAt::External(address) = plan.server {
            let text = format!("kernel-tcp brings its own relay and cannot use the server at {address}");
            return Err(RunError::Setup(text));
        }
        ability::check(&plan.scenario, Driver::Real)?;
        let congestion = plan.scenario.baseline.tcp_congestion;
        let clients = runtime("clients")?;
        let services = runtime("services")?;
        let mut listeners = Vec::new();
        let mut ways = BTreeMap::new();
        for name in plan.scenario.links.keys() {
            let session = lay(plan, name, clock)?;
            let at = SocketAddr::from((session.addresses().base().v4, 0));
            let listener = session.in_base(move || listen(at, congestion))?;
            let server = listener.local_addr().map_err(unusable)?;
            listeners.push(listener);
            ways.insert(name.clone(), Way { session, server });
        }
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), congestion)?;
        let direct = listener.local_addr().map_err(unusable)?;
        listeners.push(listener);
        let cast = Arc::new(Cast::new(&plan.scenario, String::new()));
        let relay = services.block_on(async {
            let listeners: io::Result<Vec<TcpListener>> =
                listeners.into_iter().map(TcpListener::from_std).collect();
            Ok(tcp_relay::start(listeners.map_err(unusable)?, Relay::new(cast), heard.clone()))
        })?;
        Ok(Self { clients, services, relay, ways, direct, congestion, heard })
    }
}

impl Stage for Kernel {
    fn prefix(&self) -> &str {
        ""
    }

    fn start_clients(
        &self,
        plan: &RunPlan,
        cast: &Arc<Cast>,
        clock: Clock,
        _reports: &Sender<Report>,
        _owed: &Arc<Owed>,
    ) -> Crowd {
        let mut crowd = Crowd { orders: Vec::new(), tasks: Vec::new() };
        let congestion = self.congestion;
        for (orders, seat) in seats(plan, cast, clock, &self.heard) {
            let way = seat.link.as_ref().and_then(|name| self.ways.get(name));
            let (socket, server) = match way {
                Some(way) => (way.session.in_guest(move || socket(congestion)), way.server),
                None => (socket(congestion), self.direct),
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
        for way in self.ways.values() {
            for text in [way.session.in_guest(counters), way.session.in_base(counters)] {
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
        for (name, way) in self.ways {
            match way.session.stop() {
                Ok(outcome) => {
                    record.harness_drops += outcome.lost_by_us();
                    let faults = outcome.faults();
                    record.invalid.extend(faults.iter().map(|fault| format!("link {name}: {fault}")));
                    for direction in [&outcome.up, &outcome.down] {
                        record.invalid.extend(lateness(&name, direction.lateness.histogram()));
                    }
                    record.links.push(NamedLink {
                        name,
                        up: carried(outcome.up),
                        down: carried(outcome.down),
                    });
                }
                Err(error) => record.invalid.push(format!("link {name}: {error}")),
            }
        }
        record
    }
}

/// The namespaces of one link, its ends far apart.
fn lay(plan: &RunPlan, name: &str, clock: Clock) -> Result<Session, RunError> {
    let link = &plan.scenario.links[name];
    let config = SessionConfig {
        up: link.up.clone(),
        down: link.down.clone(),
        scope: scope(link.scope),
        clock,
        mtu: plan.scenario.baseline.mtu.0,
        ..SessionConfig::new(plan.seed.fork(&format!("link/{name}")), Ends::Isolated)
    };
    Session::start(config).map_err(|error| RunError::Setup(format!("link {name}: kernel-tcp: {error}")))
}

fn listen(at: SocketAddr, congestion: TcpCongestion) -> Result<std::net::TcpListener, RunError> {
    let listener = std::net::TcpListener::bind(at).map_err(unusable)?;
    // A connection that is accepted has the controller of its listener.
    set_tcp_congestion(&listener, congestion.name()).map_err(|_| unknown_congestion(congestion))?;
    listener.set_nonblocking(true).map_err(unusable)?;
    Ok(listener)
}

/// A client's socket, which belongs to the namespace of this thread.
fn socket(congestion: TcpCongestion) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    set_tcp_congestion(&socket, congestion.name())?;
    Ok(socket)
}

fn unknown_congestion(congestion: TcpCongestion) -> RunError {
    let known = std::fs::read_to_string(AVAILABLE).unwrap_or_default();
    RunError::Setup(format!(
        "protocol.tcp-congestion: this kernel does not offer {}; it has {}; try modprobe tcp_{}",
        congestion.name(),
        known.trim(),
        congestion.name()
    ))
}

fn unusable(error: io::Error) -> RunError {
    RunError::Setup(format!("kernel-tcp: cannot listen: {error}"))
}

fn carried(outcome: DirectionOutcome) -> LinkRecord {
    LinkRecord { counters: outcome.counters, delays_us: Some(outcome.delays) }
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

const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
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

    #[test]
    fn a_controller_that_is_not_there_is_named_with_those_that_are() {
        let RunError::Setup(text) = unknown_congestion(TcpCongestion::Bbr) else { panic!("a usage error") };
        assert!(text.starts_with("protocol.tcp-congestion: ") && text.contains("bbr"), "{text}");
    }
}
