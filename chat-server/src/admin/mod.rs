//! The admin port: HTTP with JSON, for operators and their tools.
//!
//! Reading is free to whoever reaches the port, which by default is this machine; changing something needs the token.
//! On an address that others can reach, which has to be asked for, reading needs it as well. The reference is
//! `docs/ADMIN.md`.
//!
//! - [`token`]: the secret and its file.
//! - `listener`: the socket, with bounds on connections and on silence.
//! - `guard`: who may ask: host, token, time.
//! - `routes`: what can be asked.
//! - `metrics`: the counters as Prometheus reads them.
//!
//! What is left out: TLS. Put a proxy in front, or use a tunnel.

mod guard;
mod listener;
mod metrics;
mod routes;
pub mod token;

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

pub use token::{Token, TokenError, TokenSource};

use crate::net::remote::Remote;
use crate::net::stream;
use crate::server::{StartError, admin_bind_error};
use guard::Access;
use listener::BoundedListener;
use token::TokenFile;

/// Settings of the admin port.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Port 0 picks a free one.
    pub listen: SocketAddr,
    pub token: TokenSource,
    /// Whether `listen` may be an address that other machines can reach. Needs a given token.
    pub allow_remote: bool,
    /// Where a fresh token is written; `None` is [`token::runtime_folder`].
    pub token_folder: Option<PathBuf>,
}

impl AdminConfig {
    /// On `listen`, with a fresh token.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self { listen, token: TokenSource::Fresh, allow_remote: false, token_folder: None }
    }
}

/// The running admin port.
#[derive(Debug)]
pub(crate) struct AdminPort {
    address: SocketAddr,
    token_file: Option<TokenFile>,
    finished: oneshot::Receiver<()>,
}

impl AdminPort {
    /// Binds, writes the token if it is a fresh one, and serves on `tasks` until the server has stopped.
    pub(crate) fn start(
        config: AdminConfig,
        remote: Remote,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, StartError> {
        let is_loopback = config.listen.ip().is_loopback();
        let is_given = matches!(config.token, TokenSource::Given(_));
        if !is_loopback && (!config.allow_remote || !is_given) {
            return Err(StartError::AdminRemote { address: config.listen });
        }
        let listener = stream::listen(config.listen).map_err(admin_bind_error(config.listen))?;
        let address = listener.local_addr().map_err(admin_bind_error(config.listen))?;
        let (token, token_file) = match config.token {
            TokenSource::Given(token) => (token, None),
            TokenSource::Fresh => {
                let folder = config.token_folder.unwrap_or_else(token::runtime_folder);
                token::prepare_folder(&folder)?;
                let token = Token::fresh()?;
                let file = TokenFile::create(&folder, address.port(), &token)?;
                (token, Some(file))
            }
        };
        let access = Access { token, local_only: is_loopback };
        let (done, finished) = oneshot::channel();
        tasks.spawn(async move {
            let router = routes::router(remote.clone(), access);
            let service = router.into_make_service_with_connect_info::<listener::Origin>();
            let stopped = async move { remote.stopped().await };
            let serving =
                axum::serve(BoundedListener::new(listener), service).with_graceful_shutdown(stopped);
            if let Err(error) = serving.await {
                tracing::error!(%error, "the admin port has stopped");
            }
            let _ = done.send(());
        });
        Ok(Self { address, token_file, finished })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn token_file(&self) -> Option<&PathBuf> {
        self.token_file.as_ref().map(TokenFile::path)
    }

    /// Comes back when the last request has been answered.
    pub(crate) async fn finished(&mut self) {
        // An error means that the task is gone, which is as good.
        let _ = (&mut self.finished).await;
    }
}
