//! A whole server: sockets, engine and admin port, started with one call.
//!
//! Binds first and reports what is in the way before anything runs, so that a caller has either a server or a reason.
//! The binary and `loadgen` use the same call.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chat_core::secure::Fingerprint;
use chat_core::trace::TraceEvent;
use chat_core::trace::waits::Waited;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use udp::Port;
use units::{Clock, Seed};

use crate::admin::{AdminConfig, AdminPort, TokenError};
use crate::control::ServerStats;
use crate::endpoint::{AddressValidation, Flows};
use crate::engine::{Engine, EngineConfig};
use crate::net::driver::Driver;
use crate::net::remote::Remote;
use crate::net::{datagram, stream};
use crate::tls::Tls;

/// What a server needs to start.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// `unix_us_at_zero` is overwritten with what the clock says.
    pub engine: EngineConfig,
    /// Port 0 picks a free one.
    pub tcp: SocketAddr,
    /// Listening TCP sockets that somebody else has made, such as in another network namespace: connections come in
    /// through them, too.
    pub listeners: Vec<Arc<std::net::TcpListener>>,
    /// `None`: no UDP. Port 0 takes the port that TCP got, if it is free, so that one address serves both.
    pub udp: Option<SocketAddr>,
    /// When UDP peers have to prove their address.
    pub udp_retry: AddressValidation,
    /// `None`: nothing is encrypted.
    pub tls: Option<Tls>,
    /// `None`: no admin port.
    pub admin: Option<AdminConfig>,
    /// Time axis to share with the caller; `None` starts one.
    pub clock: Option<Clock>,
}

impl ServerConfig {
    /// TCP and UDP on free ports of 127.0.0.1, no admin port: a server inside another program.
    #[must_use]
    pub fn on_loopback(seed: Seed) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let udp_retry = AddressValidation::default();
        Self {
            engine: EngineConfig::new(seed),
            tcp: any,
            listeners: Vec::new(),
            udp: Some(any),
            tls: None,
            udp_retry,
            admin: None,
            clock: None,
        }
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{address} ({what}) is in use; choose another with {flag}, or :0 for a free one")]
    InUse { what: &'static str, flag: &'static str, address: SocketAddr },
    #[error("{address} ({what}) cannot be bound: {source}; choose another with {flag}")]
    Bind { what: &'static str, flag: &'static str, address: SocketAddr, source: io::Error },
    /// The admin port on an address that others can reach.
    #[error(
        "the admin port on {address} can be reached from other machines; \
         allow that with --admin-allow-remote and a token of your own, or listen on 127.0.0.1"
    )]
    AdminRemote { address: SocketAddr },
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// A running server. Dropping it stops the server at once; [`shutdown`](Self::shutdown) stops it in order.
#[derive(Debug)]
pub struct ServerHandle {
    remote: Remote,
    tcp: SocketAddr,
    udp: Option<SocketAddr>,
    admin: Option<AdminPort>,
    fingerprint: Option<Fingerprint>,
    clock: Clock,
    tasks: JoinSet<()>,
}

/// What [`ServerHandle::take_waits`] gives.
#[derive(Clone, Debug, Default)]
pub struct TakenWaits {
    pub waits: Vec<(Arc<str>, Waited)>,
    /// Dropped since the server started, because they were not taken in time.
    pub forgotten: u64,
}

/// Binds, then runs. Must be called inside a tokio runtime.
pub async fn start(mut config: ServerConfig) -> Result<ServerHandle, StartError> {
    let listener = stream::listen(config.tcp).map_err(bind_error("chat, tcp", "--listen", config.tcp))?;
    let tcp = listener.local_addr().map_err(bind_error("chat, tcp", "--listen", config.tcp))?;
    let others: io::Result<Vec<_>> = config.listeners.iter().map(|other| stream::adopt(other)).collect();
    let others = others.map_err(bind_error("chat, tcp", "--listen", config.tcp))?;
    let (port, udp) = match config.udp {
        Some(address) => {
            let port = bind_datagrams(address, tcp).map_err(bind_error("chat, udp", "--udp", address))?;
            let bound = port.local_addr().map_err(bind_error("chat, udp", "--udp", address))?;
            (Some(Arc::new(port)), Some(bound))
        }
        None => (None, None),
    };
    let (remote, mut commands) = Remote::new();
    let mut tasks = JoinSet::new();
    let admin = match config.admin {
        Some(admin) => Some(AdminPort::start(admin, remote.clone(), &mut tasks)?),
        None => None,
    };

    if port.as_ref().is_some_and(|port| !port.may_fragment()) {
        config.engine.transport = config.engine.transport.with_capable_socket();
    }
    let clock = config.clock.unwrap_or_else(Clock::start);
    config.engine.unix_us_at_zero = (clock.unix_at_zero() * 1e6) as u64;
    let sockets = config.engine.max_peers + CLOSING_SOCKETS;
    let permits = Arc::new(Semaphore::new(sockets));
    let (inputs, mut received) = mpsc::channel(INPUTS_QUEUED);
    let fingerprint = config.tls.as_ref().map(Tls::fingerprint);
    let acceptor = config.tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.config)));
    let flows = Flows::new(config.engine.seed, config.udp_retry);
    let engine = Engine::new(config.engine);
    let driver = Driver::new(engine, clock, inputs.clone(), port.clone(), flows, config.tls);
    let listeners = std::iter::once(listener).chain(others);
    let accepting: Vec<_> = listeners
        .map(|listener| {
            let (inputs, permits) = (inputs.clone(), Arc::clone(&permits));
            tasks.spawn(stream::accept(listener, inputs, permits, acceptor.clone()))
        })
        .collect();
    if let Some(port) = port {
        tasks.spawn(datagram::receive(port, inputs));
    }
    tasks.spawn(async move {
        driver.run(&mut received, &mut commands).await;
        accepting.iter().for_each(tokio::task::AbortHandle::abort);
        // Connections that have not said yet whether they speak TLS are not waited for.
        received.close();
        // The driver has let go of every connection. Each returns its permit when its last bytes are written.
        let all = u32::try_from(sockets).unwrap_or(u32::MAX);
        if tokio::time::timeout(stream::FLUSH_LIMIT, permits.acquire_many(all)).await.is_err() {
            tracing::warn!("some connections did not take their last bytes in time");
        }
        // Only now does `stopped` come back for those who wait.
        drop(commands);
    });
    Ok(ServerHandle { remote, tcp, udp, admin, fingerprint, clock, tasks })
}

impl ServerHandle {
    #[must_use]
    pub fn tcp_addr(&self) -> SocketAddr {
        self.tcp
    }

    #[must_use]
    pub fn udp_addr(&self) -> Option<SocketAddr> {
        self.udp
    }

    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(AdminPort::address)
    }

    /// SHA-256 of the certificate, if there is one.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }

    /// Where the admin token was written, if the server made one.
    #[must_use]
    pub fn admin_token_file(&self) -> Option<&Path> {
        self.admin.as_ref().and_then(AdminPort::token_file).map(PathBuf::as_path)
    }

    /// The clock by which the engine is told the time.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// `None` once the server has stopped.
    pub async fn stats(&self) -> Option<ServerStats> {
        self.remote.stats().await
    }

    /// Trace events since the last call, of the users in [`EngineConfig::trace_users`]. Empty once the server has stopped.
    pub async fn take_traces(&self) -> Vec<(Arc<str>, TraceEvent)> {
        self.remote.take_traces().await.unwrap_or_default()
    }

    /// What messages waited for at this end since the last call, oldest first, each with the user at the other end; see
    /// [`EngineConfig::trace_waits`], without which there is never any. At most
    /// [`MAX_WAITS`](chat_core::trace::waits::MAX_WAITS) are kept between two calls. `None` once the server has stopped.
    ///
    /// Nothing is sent to whoever listens: the engine is asked, between two inputs, and a server that nobody asks has
    /// neither a channel nor a branch more.
    pub async fn take_waits(&self) -> Option<TakenWaits> {
        self.remote
            .ask(|engine, _| TakenWaits {
                waits: std::iter::from_fn(|| engine.poll_wait()).collect(),
                forgotten: engine.waits_forgotten(),
            })
            .await
    }

    /// The same for the last time: of messages that are still under way it has what happened to them so far.
    pub async fn take_last_waits(&self) -> Option<TakenWaits> {
        self.remote.ask(|engine, _| engine.tell_unfinished()).await?;
        self.take_waits().await
    }

    /// Comes back when the server has stopped, by a shutdown from wherever.
    pub async fn stopped(&self) {
        self.remote.stopped().await;
    }

    /// Tells everyone, waits at most `drain` for what is not acknowledged, closes every connection, and stops.
    pub async fn shutdown(&self, drain: Duration) {
        if self.remote.shutdown(drain).await.is_some() {
            self.remote.stopped().await;
        }
    }

    /// Waits until the server has stopped and its last answers are given.
    ///
    /// # Panics
    /// If one of its tasks panicked, with that panic.
    pub async fn wait(mut self) {
        self.remote.stopped().await;
        // The admin port may still be answering the request that stopped the server.
        let answered = async {
            if let Some(admin) = &mut self.admin {
                admin.finished().await;
            }
        };
        let _ = tokio::time::timeout(ANSWER_LIMIT, answered).await;
        self.tasks.abort_all();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn bind_datagrams(address: SocketAddr, tcp: SocketAddr) -> io::Result<Port> {
    if address.port() == 0
        && let Ok(port) = Port::bind(SocketAddr::new(address.ip(), tcp.port()))
    {
        return Ok(port);
    }
    Port::bind(address)
}

fn bind_error(
    what: &'static str,
    flag: &'static str,
    address: SocketAddr,
) -> impl Fn(io::Error) -> StartError {
    move |source| match source.kind() {
        io::ErrorKind::AddrInUse => StartError::InUse { what, flag, address },
        _ => StartError::Bind { what, flag, address, source },
    }
}

/// For the admin port, which binds like the others.
pub(crate) fn admin_bind_error(address: SocketAddr) -> impl Fn(io::Error) -> StartError {
    bind_error("admin", "--admin", address)
}

/// Inputs waiting for the engine; with 16 KiB a chunk this bounds what readers of streams hold at 8 MiB. Datagrams that
/// the kernel has joined have 64 KiB at most, and one task reads them: 32 MiB.
const INPUTS_QUEUED: usize = 512;
/// Sockets beyond the engine's limit on peers: those that are being told so, or closing.
const CLOSING_SOCKETS: usize = 256;
/// How long the last answers of the admin port may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
