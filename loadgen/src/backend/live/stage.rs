//! Everything around the clients: the server, the emulator, and the threads they run on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use chat_core::connection::Stats;
use chat_core::trace::TraceEvent;
use chat_server::{ServerConfig, ServerHandle};
use netem_proxy::proxy::{self, ProxyConfig, ProxyHandle, ProxySnapshot, datagrams, frames};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use units::{Clock, Timestamp};

use super::client::{self, ClientLog, Order, Report, Setup};
use super::owed::Owed;
use crate::backend::{
    BEFORE_THE_RUN, Cast, LinkRecord, NamedLink, RunError, RunPlan, ServerAt, engine_config, session_config,
};
use crate::scenario::{Scope, Transport};

/// Server and emulator, running.
pub(super) struct Stage {
    /// Clients have threads of their own, so that measuring and what is measured compete as little as they can.
    clients: Runtime,
    services: Runtime,
    server: Option<ServerHandle>,
    server_address: SocketAddr,
    proxies: BTreeMap<String, ProxyHandle>,
    /// When the proxies began to count blackouts.
    built: Timestamp,
    prefix: String,
}

/// All clients, started.
pub(super) struct Crowd {
    pub(super) orders: Vec<mpsc::Sender<Order>>,
    pub(super) tasks: Vec<JoinHandle<ClientLog>>,
}

/// What server and emulator saw.
pub(super) struct StageRecord {
    pub(super) stats: Stats,
    pub(super) traces: Vec<(Arc<str>, TraceEvent)>,
    pub(super) links: Vec<NamedLink>,
    pub(super) harness_drops: u64,
    pub(super) invalid: Vec<String>,
}

impl Stage {
    pub(super) fn build(plan: &RunPlan, clock: Clock) -> Result<Self, RunError> {
        let scenario = &plan.scenario;
        let clients = runtime("clients")?;
        let services = runtime("services")?;
        let built = clock.now();
        // Names of several runs against one server must not meet.
        let prefix = match plan.server {
            ServerAt::InProcess => String::new(),
            ServerAt::External(_) => format!("lg{}-", std::process::id()),
        };
        let (server, server_address) = match plan.server {
            ServerAt::External(address) => {
                services.block_on(look_for(address, scenario.transport))?;
                (None, address)
            }
            ServerAt::InProcess => {
                let server = services
                    .block_on(chat_server::start(server_config(plan, clock, &prefix)))
                    .map_err(|error| RunError::Setup(error.to_string()))?;
                let address = match scenario.transport {
                    Transport::Tcp => server.tcp_addr(),
                    Transport::Udp => server.udp_addr().unwrap_or_else(|| server.tcp_addr()),
                };
                (Some(server), address)
            }
        };
        let mut proxies = BTreeMap::new();
        for (name, link) in &scenario.links {
            let link = link.begun(BEFORE_THE_RUN);
            let config = ProxyConfig {
                up: link.up,
                down: link.down,
                scope: match link.scope {
                    Scope::PerClient => proxy::Scope::PerFlow,
                    Scope::Shared => proxy::Scope::Shared,
                },
                seed: plan.seed.fork(&format!("link/{name}")),
                clock,
                ..ProxyConfig::between(SocketAddr::from(([127, 0, 0, 1], 0)), server_address)
            };
            let started = services.block_on(async {
                match scenario.transport {
                    Transport::Tcp => frames::start(config).await,
                    Transport::Udp => datagrams::start(config).await,
                }
            });
            let proxy = started.map_err(|error| {
                RunError::Setup(format!("link {name}: cannot start the emulator: {error}"))
            })?;
            proxies.insert(name.clone(), proxy);
        }
        Ok(Self { clients, services, server, server_address, proxies, built, prefix })
    }

    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Starts every client, spread over the ramp of its group.
    pub(super) fn start_clients(
        &self,
        plan: &RunPlan,
        cast: &Arc<Cast>,
        clock: Clock,
        reports: &Sender<Report>,
        owed: &Arc<Owed>,
    ) -> Crowd {
        let mut crowd = Crowd { orders: Vec::new(), tasks: Vec::new() };
        let unix_us_at_zero = (clock.unix_at_zero() * 1e6) as u64;
        let now = clock.now();
        let mut index = 0;
        for group in &plan.scenario.clients {
            let proxy = group.link.as_ref().and_then(|name| self.proxies.get(name));
            let server = proxy.map_or(self.server_address, ProxyHandle::local_addr);
            for place in 0..group.count {
                let (orders, ordered) = mpsc::channel(ORDERS);
                let setup = Setup {
                    index,
                    server,
                    config: session_config(plan, cast, index, unix_us_at_zero),
                    start_at: now + group.ramp * place / group.count,
                    is_traced: cast.traced(&plan.scenario).contains(&index),
                    cast: Arc::clone(cast),
                    clock,
                    orders: ordered,
                    reports: reports.clone(),
                    owed: Arc::clone(owed),
                };
                crowd.orders.push(orders);
                crowd.tasks.push(self.clients.spawn(client::run(setup)));
                index += 1;
            }
        }
        crowd
    }

    /// The first phase begins: blackouts are counted from now.
    pub(super) fn begin_blackouts(&self, plan: &RunPlan, began: Timestamp) {
        for (name, proxy) in &self.proxies {
            let link = &plan.scenario.links[name];
            if !link.up.is_timed() && !link.down.is_timed() {
                continue;
            }
            let link = link.begun(began.since(self.built));
            proxy.configure(Some(link.up), Some(link.down));
        }
    }

    /// Whether the server under test is still there.
    pub(super) fn check_server(&self) -> Result<(), RunError> {
        match &self.server {
            Some(server) if self.services.block_on(server.stats()).is_none() => {
                Err(RunError::ServerGone("the server under test has stopped".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Waits for the logs of all clients, which have been told to stop.
    pub(super) fn collect(&self, tasks: Vec<JoinHandle<ClientLog>>) -> Vec<ClientLog> {
        self.clients.block_on(async {
            let mut logs = Vec::with_capacity(tasks.len());
            for task in tasks {
                // A panic of a client is a defect of ours and is shown as one.
                logs.push(task.await.expect("a client task does not panic"));
            }
            logs
        })
    }

    /// Stops the emulator, then the server, and tells what they saw.
    pub(super) fn finish(self) -> StageRecord {
        let mut record = StageRecord {
            stats: Stats::default(),
            traces: Vec::new(),
            links: Vec::new(),
            harness_drops: 0,
            invalid: Vec::new(),
        };
        for (name, proxy) in self.proxies {
            let snapshot = proxy.stop();
            record.harness_drops += snapshot.io_overrun + snapshot.kernel_drops;
            record.invalid.extend(lateness(&name, &snapshot));
            record.links.push(named_link(name, snapshot));
        }
        if let Some(server) = self.server {
            self.services.block_on(async {
                if let Some(stats) = server.stats().await {
                    record.stats = stats.transport;
                }
                record.traces = server.take_traces().await;
                server.shutdown(Duration::ZERO).await;
            });
        }
        record
    }
}

fn server_config(plan: &RunPlan, clock: Clock, prefix: &str) -> ServerConfig {
    let cast = Cast::new(&plan.scenario, prefix.to_owned());
    ServerConfig {
        engine: engine_config(plan, &cast),
        clock: Some(clock),
        ..ServerConfig::on_loopback(plan.seed)
    }
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

fn named_link(name: String, snapshot: ProxySnapshot) -> NamedLink {
    NamedLink {
        name,
        up: LinkRecord { counters: snapshot.up, delays_us: Some(snapshot.up_delays) },
        down: LinkRecord { counters: snapshot.down, delays_us: Some(snapshot.down_delays) },
    }
}

/// An emulator that lets packets go late adds delay nobody asked for.
fn lateness(name: &str, snapshot: &ProxySnapshot) -> Option<String> {
    let p50 = Duration::from_nanos(snapshot.lateness.value_at_quantile(0.5));
    (p50 > MAX_LATENESS).then(|| {
        format!(
            "the emulator of link {name} was late: median {p50:?}, above {MAX_LATENESS:?}; free the machine"
        )
    })
}

fn runtime(name: &str) -> Result<Runtime, RunError> {
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
const ORDERS: usize = 4096;
/// Half of the smallest latency that the shipped scenarios tell apart.
const MAX_LATENESS: Duration = Duration::from_millis(1);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
