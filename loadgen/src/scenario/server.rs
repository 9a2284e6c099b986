//! `[server]`: the server under test.

use std::net::SocketAddr;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    pub mode: ServerMode,
    /// `spawn`: program and arguments. `{tmp}` is a folder of the run's own, `{addr}` what `addr` says.
    pub command: Vec<String>,
    /// `spawn`: where it is told to listen, port 0 for any. `target`: where it is.
    pub addr: Option<SocketAddr>,
    /// Its admin port, which is sampled each interval: `unix:PATH` or an address.
    pub admin: Option<String>,
    /// `spawn`: a server that does not answer by then is given up.
    pub ready_timeout: Duration,
    /// `spawn`: how it ends.
    pub stop: Stop,
    /// Keys of the server's own configuration, as TOML; empty without.
    pub config: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ServerMode {
    /// Part of the generator's process; the only one that virtual time has.
    #[default]
    InProcess,
    /// A process of its own, started and stopped by each run.
    Spawn,
    /// It runs already.
    Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Stop {
    /// SIGTERM, and time to say goodbye.
    #[default]
    Graceful,
    /// SIGKILL.
    Kill,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            mode: ServerMode::default(),
            command: Vec::new(),
            addr: None,
            admin: None,
            ready_timeout: Duration::from_secs(5),
            stop: Stop::default(),
            config: String::new(),
        }
    }
}
