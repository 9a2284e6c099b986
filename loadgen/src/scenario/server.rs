//! `[server]`: the server under test.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use units::format_duration;

use super::error::ScenarioError;
use super::raw::{key_toml, quote};
use super::read::View;
use super::schema;

#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    pub mode: ServerMode,
    /// `spawn`: program and arguments. `{tmp}` is a folder of the run's own, `{addr}` what `addr` says.
    pub command: Vec<String>,
    /// `spawn`: where it is told to listen, port 0 for any. `target`: where it is.
    pub addr: Option<SocketAddr>,
    /// Its admin port, which is asked once each interval.
    pub admin: Option<SocketAddr>,
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

pub(super) fn read(view: &View<'_>) -> Result<ServerConfig, ScenarioError> {
    let fields = view.fields(&schema::SERVER)?;
    let default = ServerConfig::default();
    let mode = fields.or("mode", default.mode, |view| view.choice(MODES))?;
    let spawn_only = ["command", "ready_timeout", "stop"];
    match mode {
        ServerMode::InProcess => {
            let others = [&spawn_only[..], &["addr", "admin", "config"]].concat();
            fields.refuse(&others, "for a server that is part of the generator; write mode = \"spawn\"")?;
        }
        ServerMode::Spawn => {}
        ServerMode::Target => {
            let others = [&spawn_only[..], &["config"]].concat();
            fields.refuse(&others, "for a server that runs already")?;
        }
    }
    let command = fields.or("command", Vec::new(), View::texts)?;
    if mode == ServerMode::Spawn && command.is_empty() {
        let example = "command = [\"chat-server\", \"--bind\", \"{addr}\"]";
        return Err(fields.error(format!("command is missing; write for example {example}")));
    }
    let addr = fields.get("addr").map(|view| address(&view)).transpose()?;
    if mode == ServerMode::Target && addr.is_none_or(|addr| addr.port() == 0) {
        return Err(
            fields.error("addr is missing, or has no port; write for example addr = \"127.0.0.1:9000\"")
        );
    }
    Ok(ServerConfig {
        mode,
        command,
        addr,
        admin: fields.get("admin").map(|view| address(&view)).transpose()?,
        ready_timeout: fields.or("ready_timeout", default.ready_timeout, View::span)?,
        stop: fields.or("stop", default.stop, |view| view.choice(STOPS))?,
        config: fields.or("config", String::new(), config)?,
    })
}

fn address(view: &View<'_>) -> Result<SocketAddr, ScenarioError> {
    let text = view.text()?;
    text.parse().map_err(|_| {
        view.error(format!("\"{text}\" is no address with a port; write for example 127.0.0.1:9000"))
    })
}

/// The table as a TOML file of its own.
fn config(view: &View<'_>) -> Result<String, ScenarioError> {
    let entries = view.entries()?;
    let line =
        |(key, view): &(&str, View<'_>)| format!("{} = {}\n", key_toml(key), view.node.to_inline_toml());
    Ok(entries.iter().map(line).collect())
}

/// The section, without `config`: that is in what was written.
pub(super) fn decided(server: &ServerConfig) -> String {
    let word = |words: &[(&'static str, ServerMode)]| {
        words.iter().find(|(_, mode)| *mode == server.mode).map_or("", |(word, _)| word)
    };
    let mut out = format!("[server]\nmode = \"{}\"\n", word(MODES));
    if server.mode == ServerMode::Spawn {
        let stop = if server.stop == Stop::Graceful { "graceful" } else { "kill" };
        let span = format_duration(server.ready_timeout);
        let _ = writeln!(out, "ready_timeout = {}\nstop = \"{stop}\"", quote(&span));
    }
    out
}

const MODES: &[(&str, ServerMode)] =
    &[("inprocess", ServerMode::InProcess), ("spawn", ServerMode::Spawn), ("target", ServerMode::Target)];
const STOPS: &[(&str, Stop)] = &[("graceful", Stop::Graceful), ("kill", Stop::Kill)];
