//! The HTTP API: what Toxiproxy clients speak, and our own.
//!
//! [`Server`] holds proxies (TCP relays with toxics, on the routes that Toxiproxy's clients know) and links (UDP, frames
//! and streams behind a SPEC, on `/v1/links`). The reference with every difference is docs/TOXIPROXY.md.
//!
//! - `json`, `toxic`, `proxy`, `registry`: bodies to results, without HTTP.
//! - `written`, `plan`, `link`, `links`: the same for our own routes.
//! - `config`, `reload`: a TOML file of both.
//! - `routes`, `v1`, `guard`, `listener`, `metrics`, `error`: HTTP.
//!
//! tokio serves the API only; no byte of a proxy passes through it but those of frames and datagrams, whose shells say so.
//! Left out: TLS and passwords. The port is for loopback, or for a network that is nobody else's.

mod config;
mod error;
mod guard;
mod json;
mod link;
mod links;
mod listener;
mod metrics;
mod name;
mod plan;
mod proxy;
mod registry;
mod reload;
mod routes;
mod toxic;
mod traffic;
mod v1;
mod written;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use units::{Clock, Seed};

use crate::stream::{Engine, EngineConfig};
use crate::timing::Timing;
pub use config::{Config, ConfigError};
use link::Workshop;
use links::Links;
use listener::BoundedListener;
pub use metrics::MetricsConfig;
use registry::Registry;
pub use reload::{ConfigFile, Reload, ReloadError, is_json};

/// What a server is to be.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Port 0 picks a free one.
    pub listen: SocketAddr,
    /// Of all chance: proxy `p` draws from `proxy/p`, link `l` from `link/l`.
    pub seed: u64,
    /// How the threads of proxies and links wait.
    pub timing: Timing,
    pub metrics: MetricsConfig,
}

/// A bound port and what is behind it. Dropping it closes every proxy and link.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    local_addr: SocketAddr,
    served: Arc<Served>,
}

/// What the routes work on.
#[derive(Debug)]
struct Served {
    registry: Registry,
    links: Links,
    metrics: MetricsConfig,
}

impl Server {
    /// Binds; must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be bound, or the system refuses the relay's threads.
    pub async fn bind(config: ServeConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let local_addr = listener.local_addr()?;
        let (clock, seed) = (Clock::start(), Seed::root(config.seed));
        let engine = Engine::start(EngineConfig { timing: config.timing, ..EngineConfig::new(clock, seed) })?;
        let workshop = Workshop { engine: engine.clone(), seed, timing: config.timing, clock };
        let registry = Registry::new(engine, seed);
        let served = Served { registry, links: Links::new(workshop), metrics: config.metrics };
        Ok(Self { listener, local_addr, served: Arc::new(served) })
    }

    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// A file to be made true on this server, now and when it changes.
    #[must_use]
    pub fn config_file(&self, path: PathBuf) -> ConfigFile {
        ConfigFile::new(path, Arc::clone(&self.served))
    }

    /// Answers until `stopped` comes to pass and the requests under way are answered.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn run(self, stopped: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let router = routes::router(self.served);
        axum::serve(BoundedListener::new(self.listener), router).with_graceful_shutdown(stopped).await
    }
}

/// The version of Toxiproxy whose API this is: clients choose their requests by it.
pub const API_VERSION: &str = "2.12.0";
