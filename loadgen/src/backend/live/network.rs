//! The links of a live run that carry datagrams, frames or bytes: laid before it, counted after it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use netem_proxy::link::LinkCounters;
use netem_proxy::profile::LinkProfile;
use netem_proxy::proxy::{self, ProxyConfig, ProxyHandle, datagrams, frames};
use netem_proxy::stream::{Engine, EngineConfig, Share, StreamConfig, StreamProfile, StreamProxy};
use tokio::runtime::Runtime;
use units::{Clock, Timestamp};

use super::stage::{StageRecord, lateness, relayed};
use crate::backend::{BEFORE_THE_RUN, RunError, RunPlan};
use crate::measure::Sample;
use crate::scenario::{Scope, Transport};

/// Relays before one server.
pub(super) struct Network {
    server: SocketAddr,
    proxies: BTreeMap<String, ProxyHandle>,
    /// Relays of bytes, for TLS. They see no packets, so there is nothing of them to count.
    relays: BTreeMap<String, StreamProxy>,
    /// The threads of these relays.
    _engine: Option<Engine>,
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
        if plan.scenario.transport == Transport::Tls {
            let (engine, relays) = relays(plan, clock, server)?;
            return Ok(Self { server, proxies, relays, _engine: Some(engine), built });
        }
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
        Ok(Self { server, proxies, relays: BTreeMap::new(), _engine: None, built })
    }

    /// No relays: what lies before the server is somewhere else.
    pub(super) fn none(clock: Clock, server: SocketAddr) -> Self {
        let (proxies, relays) = (BTreeMap::new(), BTreeMap::new());
        Self { server, proxies, relays, _engine: None, built: clock.now() }
    }

    /// Where a client behind `link` finds the server.
    pub(super) fn entrance(&self, link: Option<&str>) -> SocketAddr {
        let Some(name) = link else {
            return self.server;
        };
        let packets = self.proxies.get(name).map(ProxyHandle::local_addr);
        packets.or_else(|| self.relays.get(name).map(StreamProxy::local_addr)).unwrap_or(self.server)
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

    /// Bytes offered so far, up and down, with `headers` around each packet; and packets that the emulators lost themselves.
    pub(super) fn sample(&self, headers: u64) -> Sample {
        let mut sample = Sample::default();
        for proxy in self.proxies.values() {
            let snapshot = proxy.snapshot();
            let bytes = |counters: &LinkCounters| counters.offered_bytes + headers * counters.offered;
            sample.up_bytes += bytes(&snapshot.up);
            sample.down_bytes += bytes(&snapshot.down);
            sample.harness_drops += snapshot.io_overrun + snapshot.kernel_drops;
        }
        sample
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

/// A relay of bytes for each link.
fn relays(
    plan: &RunPlan,
    clock: Clock,
    server: SocketAddr,
) -> Result<(Engine, BTreeMap<String, StreamProxy>), RunError> {
    let mut relays = BTreeMap::new();
    let failed = |name: &str, error: &dyn std::fmt::Display| {
        RunError::Setup(format!("link {name}: cannot start the emulator: {error}"))
    };
    let engine = Engine::start(EngineConfig::new(clock, plan.seed.fork("link")))
        .map_err(|error| RunError::Internal(format!("cannot start threads: {error}")))?;
    for (name, link) in &plan.scenario.links {
        let profile =
            |way: &LinkProfile| StreamProfile::new(way.clone()).map_err(|error| failed(name, &error));
        let config = StreamConfig {
            profile_up: profile(&link.up)?,
            profile_down: profile(&link.down)?,
            share: if link.scope == Scope::Shared { Share::Rate } else { Share::Nothing },
            ..StreamConfig::new(name, "", &server.to_string(), engine.seed_for(name))
        };
        let relay = engine.open(config).map_err(|error| failed(name, &error))?;
        relays.insert(name.clone(), relay);
    }
    Ok((engine, relays))
}

/// A flow is a client: each has one socket.
pub(super) fn scope(scope: Scope) -> proxy::Scope {
    match scope {
        Scope::PerClient => proxy::Scope::PerFlow,
        Scope::Shared => proxy::Scope::Shared,
    }
}
