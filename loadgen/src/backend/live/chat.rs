//! Our own chat on the stage: the server, the emulator, and the threads they run on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chat_client::net::Dial;
use chat_client::tls::Security;
use chat_core::connection::Delivery;
use chat_core::secure::Trust;
use chat_core::trace::waits::Waited;
use chat_server::{ServerConfig, ServerHandle, TakenWaits, Tls};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use units::{Clock, Timestamp};

use super::admin;
use super::client::{self, ClientLog, Setup};
use super::ears::Ears;
use super::network::Network;
use super::processors;
use super::reports::Reports;
use super::spawned::Spawned;
use super::stage::{Crowd, ORDERS, Stage, StageRecord, collect, runtime};
use super::ways::Ways;
use crate::backend::actor::is_anybody_leaving;
use crate::backend::waits::NotTold;
use crate::backend::{Cast, RunError, RunPlan, ServerAt, engine_config, session_config};
use crate::measure::Sample;
use crate::scenario::{Encryption, ServerMode, Transport};

/// Server and emulator, running.
pub(super) struct Chat {
    /// Clients have threads of their own, so that measuring and what is measured compete as little as they can.
    clients: Runtime,
    services: Runtime,
    /// In this process.
    server: Option<ServerHandle>,
    /// In one of its own.
    spawned: Option<Spawned>,
    /// What the server told of waits and nobody has taken yet, and how much it had to drop so far.
    waits: Vec<(Arc<str>, Waited)>,
    waits_forgotten: u64,
    network: Network,
    /// Instead of the network's relays: links under the kernel's TCP.
    ways: Option<Ways>,
    prefix: String,
    /// Where a server elsewhere tells of itself.
    admin: Option<SocketAddr>,
    /// Bytes around each packet that a link does not see.
    headers: u64,
    /// What clients need of an encrypted server.
    security: Option<Security>,
}

impl Chat {
    pub(super) fn build(plan: &RunPlan, clock: Clock) -> Result<Self, RunError> {
        let (at, spawned) = find_server(plan, clock)?;
        let plan = &RunPlan { server: at, ..plan.clone() };
        let scenario = &plan.scenario;
        let clients = runtime("clients")?;
        let services = runtime("services")?;
        // Names of several runs against one server must not meet.
        let prefix = match plan.server {
            ServerAt::InProcess => String::new(),
            ServerAt::External(_) => {
                static RUNS: AtomicU32 = AtomicU32::new(0);
                format!("lg{}-{}-", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed))
            }
        };
        let identity = identity(plan)?;
        let (tls, security) = identity.map_or((None, None), |(tls, security)| (Some(tls), Some(security)));
        let (ways, listeners) = match plan.server {
            ServerAt::InProcess if scenario.is_over_kernel_tcp() => {
                let (ways, listeners) = Ways::lay(plan, clock)?;
                (Some(ways), listeners.into_iter().map(Arc::new).collect())
            }
            ServerAt::External(address) if scenario.is_over_kernel_tcp() => {
                let text = format!(
                    "protocol.stream-link: packets need a server of the run's own, not the one at {address}; leave it out"
                );
                return Err(RunError::Setup(text));
            }
            _ => (None, Vec::new()),
        };
        let (server, server_address) = match plan.server {
            ServerAt::External(address) => {
                services.block_on(look_for(address, scenario.transport))?;
                (None, address)
            }
            ServerAt::InProcess => {
                let config = ServerConfig { listeners, ..server_config(plan, clock, &prefix, tls) };
                let server = services
                    .block_on(chat_server::start(config))
                    .map_err(|error| RunError::Setup(error.to_string()))?;
                let datagrams = server.udp_addr().filter(|_| scenario.transport == Transport::Udp);
                let address = datagrams.unwrap_or_else(|| server.tcp_addr());
                (Some(server), address)
            }
        };
        let network = match ways {
            Some(_) => Network::none(clock, server_address),
            None => Network::lay(plan, clock, &services, server_address)?,
        };
        let (waits, waits_forgotten) = (Vec::new(), 0);
        Ok(Self {
            clients,
            services,
            server,
            spawned,
            waits,
            waits_forgotten,
            network,
            ways,
            prefix,
            admin: scenario.server.admin,
            headers: scenario.transport.unseen_header_bytes(),
            security,
        })
    }
}

impl Chat {
    fn take(&mut self, taken: TakenWaits) {
        self.waits_forgotten = taken.forgotten;
        self.waits.extend(taken.waits);
    }
}

impl Stage for Chat {
    fn prefix(&self) -> &str {
        &self.prefix
    }

    fn start_clients(
        &self,
        plan: &RunPlan,
        cast: &Arc<Cast>,
        clock: Clock,
        reports: &Reports,
        ears: &Arc<Ears>,
    ) -> Crowd {
        let mut crowd = Crowd { orders: Vec::new(), tasks: Vec::new() };
        let unix_us_at_zero = (clock.unix_at_zero() * 1e6) as u64;
        let now = clock.now();
        let deliveries: Arc<[Delivery]> = plan.scenario.workloads.iter().map(|it| it.delivery).collect();
        let mut index = 0;
        for group in &plan.scenario.clients {
            let way = self.ways.as_ref().and_then(|ways| ways.get(group.link.as_deref()));
            let server = way.map_or_else(|| self.network.entrance(group.link.as_deref()), |way| way.server);
            for place in 0..group.count {
                let (orders, ordered) = mpsc::channel(ORDERS);
                let setup = Setup {
                    index,
                    server,
                    dial: way.map(|way| Dial::new(way.dial())),
                    config: session_config(plan, cast, index, unix_us_at_zero),
                    security: self.security.clone(),
                    deliveries: Arc::clone(&deliveries),
                    start_at: now + group.start(place, &plan.seed),
                    stall: group.stall,
                    is_anybody_leaving: is_anybody_leaving(&plan.scenario),
                    is_traced: cast.traced(&plan.scenario).contains(&index),
                    cast: Arc::clone(cast),
                    clock,
                    orders: ordered,
                    reports: reports.clone(),
                    ears: Arc::clone(ears),
                };
                crowd.orders.push(orders);
                crowd.tasks.push(self.clients.spawn(client::run(setup)));
                index += 1;
            }
        }
        crowd
    }

    fn begin_blackouts(&self, plan: &RunPlan, began: Timestamp) {
        self.network.begin_blackouts(plan, began);
    }

    fn processes(&self) -> Vec<u32> {
        self.spawned.iter().map(Spawned::pid).collect()
    }

    fn sample(&self) -> Sample {
        let mut sample = self.network.sample(self.headers);
        if let Some(stats) = self.server.as_ref().and_then(|server| self.services.block_on(server.stats())) {
            sample.retransmits = stats.transport.retransmits;
            sample.harness_drops += stats.net.datagrams_overrun;
            (sample.server.sessions, sample.server.outbox_max) =
                (Some(stats.clients), Some(stats.outbox_max));
        }
        if let Some(stats) = self.admin.and_then(admin::ask) {
            sample.retransmits = stats.transport.retransmits;
            (sample.server.sessions, sample.server.outbox_max) =
                (Some(stats.clients), Some(stats.outbox_max));
        }
        if let Some(spawned) = &self.spawned {
            (sample.server.cpu, sample.server.rss_bytes) = processors::of_process(spawned.pid());
        }
        sample
    }

    fn check_server(&mut self) -> Result<(), RunError> {
        if let Some(spawned) = &mut self.spawned {
            spawned.check()?;
        }
        let Some(server) = &self.server else {
            return Ok(());
        };
        match self.services.block_on(server.take_waits()) {
            Some(taken) => self.take(taken),
            None => return Err(RunError::ServerGone("the server under test has stopped".to_owned())),
        }
        Ok(())
    }

    fn tells_waits(&self) -> Result<(), NotTold> {
        self.server.as_ref().map(|_| ()).ok_or(NotTold::ServerElsewhere)
    }

    fn drain_waits(&mut self) -> Vec<(Arc<str>, Waited)> {
        std::mem::take(&mut self.waits)
    }

    fn collect(&self, tasks: Vec<JoinHandle<ClientLog>>) -> Vec<ClientLog> {
        collect(&self.clients, tasks)
    }

    fn finish(mut self: Box<Self>) -> StageRecord {
        let mut record = StageRecord::default();
        self.network.finish(&mut record);
        if let Some(server) = self.server.take() {
            let taken = self.services.block_on(async {
                if let Some(stats) = server.stats().await {
                    record.stats = stats.transport;
                    record.harness_drops += stats.net.datagrams_overrun;
                }
                record.traces = server.take_traces().await;
                let taken = server.take_last_waits().await;
                server.shutdown(Duration::ZERO).await;
                taken
            });
            if let Some(taken) = taken {
                self.waits_forgotten = taken.forgotten;
                self.waits.extend(taken.waits);
            }
        }
        if let Some(ways) = self.ways {
            ways.finish(&mut record);
        }
        record.failures.extend(self.spawned.and_then(Spawned::stop));
        (record.waits, record.waits_forgotten) = (self.waits, self.waits_forgotten);
        record
    }
}

/// Where the server of a plan is; one that the scenario wants started is started.
fn find_server(plan: &RunPlan, clock: Clock) -> Result<(ServerAt, Option<Spawned>), RunError> {
    let config = &plan.scenario.server;
    match (plan.server, config.mode, config.addr) {
        (ServerAt::InProcess, ServerMode::Spawn, _) => {
            let spawned = Spawned::start(config, clock)?;
            Ok((ServerAt::External(spawned.address), Some(spawned)))
        }
        (ServerAt::InProcess, ServerMode::Target, Some(address)) => Ok((ServerAt::External(address), None)),
        (at, ..) => Ok((at, None)),
    }
}

/// A certificate for this run alone, and the pin that its clients trust.
fn identity(plan: &RunPlan) -> Result<Option<(Tls, Security)>, RunError> {
    let scenario = &plan.scenario;
    if scenario.transport != Transport::Tls && scenario.encryption == Encryption::Off {
        return Ok(None);
    }
    if let ServerAt::External(address) = plan.server {
        return Err(RunError::Setup(format!(
            "the certificate of the server at {address} is not known; leave out tls and encryption"
        )));
    }
    let failed =
        |error: &dyn std::fmt::Display| RunError::Internal(format!("cannot make a certificate: {error}"));
    let tls = Tls::fresh(&[NAME.to_owned()]).map_err(|error| failed(&error))?;
    let security =
        Security::new(Trust::Fingerprint(tls.fingerprint()), NAME).map_err(|error| failed(&error))?;
    Ok(Some((tls, security)))
}

fn server_config(plan: &RunPlan, clock: Clock, prefix: &str, tls: Option<Tls>) -> ServerConfig {
    let cast = Cast::new(&plan.scenario, prefix.to_owned());
    let mut engine = engine_config(plan, &cast);
    engine.trace_waits = true;
    ServerConfig { engine, clock: Some(clock), tls, ..ServerConfig::on_loopback(plan.seed) }
}

/// A server that is not there should be found out before anything is measured. UDP cannot tell before it is used, but
/// every server of ours listens on TCP as well.
async fn look_for(address: SocketAddr, transport: Transport) -> Result<(), RunError> {
    let connecting = tokio::time::timeout(CONNECT_PATIENCE, tokio::net::TcpStream::connect(address)).await;
    let problem = match connecting {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer".to_owned(),
    };
    let transport = if transport == Transport::Udp { " (its TCP port was tried)" } else { "" };
    Err(RunError::ServerGone(format!(
        "no server at {address}{transport}: {problem}; start one with chat-server, or name another with --host and --port"
    )))
}

/// What the certificate of a run is for.
const NAME: &str = "localhost";
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
