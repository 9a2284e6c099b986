//! Links under the kernel's TCP.
//!
//! Each link is a pair of network namespaces with a TUN device each and the emulator between them, as `netem-proxy run`
//! makes them, so the kernel's packets meet the loss, not a copy of its bytes. A server listens at the far end of each
//! link; clients open their sockets in the near one. A socket stays in the namespace where it was made, so no process
//! has to move: threads and clocks are those of the other stages. All of it belongs to open descriptors and is gone with
//! this process, however that ends.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use netem_proxy::tun::{DirectionOutcome, Ends, Session, SessionConfig};
use rustix::net::sockopt::set_tcp_congestion;
use tokio::net::TcpSocket;
use units::Clock;

use super::network::scope;
use super::stage::{StageRecord, lateness};
use crate::backend::{LinkRecord, NamedLink, RunError, RunPlan, ability};
use crate::scenario::{Driver, TcpCongestion};

/// Namespaces and links, running.
pub(super) struct Ways {
    by_name: BTreeMap<String, Way>,
    congestion: TcpCongestion,
}

/// One link and the server's address behind it.
pub(super) struct Way {
    session: Arc<Session>,
    pub(super) server: SocketAddr,
    congestion: TcpCongestion,
}

impl Ways {
    /// Lays every link of the plan. What listens at their far ends comes with them, in order of their names.
    pub(super) fn lay(plan: &RunPlan, clock: Clock) -> Result<(Self, Vec<std::net::TcpListener>), RunError> {
        ability::check(&plan.scenario, Driver::Real)?;
        let congestion = plan.scenario.baseline.tcp_congestion;
        let (mut by_name, mut listeners) = (BTreeMap::new(), Vec::new());
        for name in plan.scenario.links.keys() {
            let session = lay(plan, name, clock)?;
            let at = SocketAddr::from((session.addresses().base().v4, 0));
            let listener = session.in_base(move || listen(at, congestion))?;
            let server = listener.local_addr().map_err(unusable)?;
            listeners.push(listener);
            by_name.insert(name.clone(), Way { session: Arc::new(session), server, congestion });
        }
        Ok((Self { by_name, congestion }, listeners))
    }

    /// The one with this name.
    pub(super) fn get(&self, link: Option<&str>) -> Option<&Way> {
        self.by_name.get(link?)
    }

    pub(super) fn congestion(&self) -> TcpCongestion {
        self.congestion
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Way> {
        self.by_name.values()
    }

    /// Takes the links down and adds what they saw. Nobody may dial any more.
    pub(super) fn finish(self, record: &mut StageRecord) {
        for (name, way) in self.by_name {
            let stopped = Arc::into_inner(way.session)
                .ok_or_else(|| io::Error::other("a client still holds it"))
                .and_then(Session::stop);
            match stopped {
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
    }
}

impl Way {
    /// A socket for a client, in the namespace at the near end.
    pub(super) fn socket(&self) -> io::Result<TcpSocket> {
        let congestion = self.congestion;
        self.session.in_guest(move || socket(congestion))
    }

    /// What makes such sockets, for whoever connects more than once.
    pub(super) fn dial(&self) -> impl Fn() -> io::Result<TcpSocket> + Send + Sync + use<> {
        let (session, congestion) = (Arc::clone(&self.session), self.congestion);
        move || session.in_guest(move || socket(congestion))
    }

    /// Does something in the namespaces of both ends.
    pub(super) fn at_both_ends<T: Send + 'static>(&self, job: fn() -> T) -> [T; 2] {
        [self.session.in_guest(job), self.session.in_base(job)]
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
    Session::start(config)
        .map_err(|error| RunError::Setup(format!("link {name}: {}: {error}", plan.scenario.transport.name())))
}

pub(super) fn listen(at: SocketAddr, congestion: TcpCongestion) -> Result<std::net::TcpListener, RunError> {
    let listener = std::net::TcpListener::bind(at).map_err(unusable)?;
    // A connection that is accepted has the controller of its listener.
    set_tcp_congestion(&listener, congestion.name()).map_err(|_| unknown_congestion(congestion))?;
    listener.set_nonblocking(true).map_err(unusable)?;
    Ok(listener)
}

/// A client's socket, which belongs to the namespace of this thread.
pub(super) fn socket(congestion: TcpCongestion) -> io::Result<TcpSocket> {
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

pub(super) fn unusable(error: io::Error) -> RunError {
    RunError::Setup(format!("kernel TCP: cannot listen: {error}"))
}

fn carried(outcome: DirectionOutcome) -> LinkRecord {
    LinkRecord { counters: outcome.counters, delays_us: Some(outcome.delays) }
}

const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_is_not_there_is_named_with_those_that_are() {
        let RunError::Setup(text) = unknown_congestion(TcpCongestion::Bbr) else { panic!("a usage error") };
        assert!(text.starts_with("protocol.tcp-congestion: ") && text.contains("bbr"), "{text}");
    }
}
