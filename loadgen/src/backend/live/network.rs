//! The links of a live run that carry datagrams or frames: laid before it, counted after it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use netem_proxy::proxy::{self, ProxyConfig, ProxyHandle, datagrams, frames};
use tokio::runtime::Runtime;
use units::{Clock, Timestamp};

use super::stage::{StageRecord, lateness, relayed};
use crate::backend::{BEFORE_THE_RUN, RunError, RunPlan};
use crate::scenario::{Scope, Transport};

/// Relays before one server.
pub(super) struct Network {
    server: SocketAddr,
    proxies: BTreeMap<String, ProxyHandle>,
    /// When the proxies began to count blackouts.
    built: Timestamp,
}

impl Network {
    /// Starts a relay for each link of the plan, on `runtime`.
    pub(super) fn lay(
        plan: &RunPlan,
        clock: Clock,
        runtime: &Runtime,
        server: SocketAddr,
    ) -> Result<Self, RunError> {
        let built = clock.now();
        let mut proxies = BTreeMap::new();
        for (name, link) in &plan.scenario.links {
            let link = link.begun(BEFORE_THE_RUN);
            let config = ProxyConfig {
                up: link.up,
                down: link.down,
                scope: scope(link.scope),
                seed: plan.seed.fork(&format!("link/{name}")),
                clock,
                ..ProxyConfig::between(SocketAddr::from(([127, 0, 0, 1], 0)), server)
            };
            let started = runtime.block_on(async {
                match plan.scenario.transport {
                    Transport::Tcp => frames::start(config).await,
                    _ => datagrams::start(config).await,
                }
            });
            let proxy = started.map_err(|error| {
                RunError::Setup(format!("link {name}: cannot start the emulator: {error}"))
            })?;
            proxies.insert(name.clone(), proxy);
        }
        Ok(Self { server, proxies, built })
    }

    /// Where a client behind `link` finds the server.
    pub(super) fn entrance(&self, link: Option<&str>) -> SocketAddr {
        link.and_then(|name| self.proxies.get(name)).map_or(self.server, ProxyHandle::local_addr)
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

    /// Takes the relays down and adds what they saw.
    pub(super) fn finish(self, record: &mut StageRecord) {
        for (name, proxy) in self.proxies {
            let snapshot = proxy.stop();
            record.harness_drops += snapshot.io_overrun + snapshot.kernel_drops;
            record.invalid.extend(lateness(&name, &snapshot.lateness));
            record.links.push(relayed(name, snapshot));
        }
    }
}

/// A flow is a client: each has one socket.
pub(super) fn scope(scope: Scope) -> proxy::Scope {
    match scope {
        Scope::PerClient => proxy::Scope::PerFlow,
        Scope::Shared => proxy::Scope::Shared,
    }
}
