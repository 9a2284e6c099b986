//! The `chat-server` binary: a contents page.
//!
//! [`cli`] says what can be asked for; the library is the server. Addresses go to stdout, one a line, for scripts that
//! let it pick its ports; logs go to stderr.

mod cli;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use chat_server::{ServerHandle, start};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;
use units::format_duration;

use cli::{Cli, Plan};

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(&cli);
    run(&cli).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        // Whatever keeps a server from starting (a wrong value, a port in use) is for its user to change.
        ExitCode::from(2)
    })
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let plan = cli.plan()?;
    raise_file_limit(plan.server.engine.max_peers);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("tokio")?;
    runtime.block_on(serve(plan))
}

async fn serve(plan: Plan) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let server = start(plan.server).await?;
    print_addresses(&server);
    let signal = tokio::select! {
        () = server.stopped() => None,
        signal = signals.next() => Some(signal),
    };
    if let Some(signal) = signal {
        let limit = format_duration(plan.drain);
        tracing::info!("{signal}: waiting at most {limit} for clients; once more to stop at once");
        tokio::select! {
            () = server.shutdown(plan.drain) => {}
            // Dropping the server stops it and takes its token file away.
            _ = signals.next() => return Ok(ExitCode::from(INTERRUPTED)),
        }
    }
    server.wait().await;
    Ok(ExitCode::SUCCESS)
}

/// One line for each bound address, and where the token is. Nobody may be listening.
fn print_addresses(server: &ServerHandle) {
    let mut lines = format!("chat   tcp   {}\n", server.tcp_addr());
    if let Some(address) = server.udp_addr() {
        lines += &format!("chat   udp   {address}\n");
    }
    if let Some(address) = server.admin_addr() {
        lines += &format!("admin  http  {address}\n");
    }
    if let Some(path) = server.admin_token_file() {
        lines += &format!("admin  token {}\n", path.display());
    }
    if let Some(fingerprint) = server.fingerprint() {
        lines += &format!("chat   tls   sha256 {fingerprint}\n");
    }
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush());
}

/// The two signals that ask a server to stop.
#[derive(Debug)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Lets this process open as many files as the system allows: each connection is one, and the usual soft limit is 1,024.
fn raise_file_limit(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "raising the limit on open files");
    }
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if allowed < connections as u64 {
        tracing::warn!(
            "{allowed} open files are allowed (ulimit -n), so fewer than {connections} connections are possible"
        );
    }
}

fn start_logging(cli: &Cli) {
    let level = match (cli.quiet, cli.verbose) {
        (true, _) => "warn",
        (false, 0) => "info",
        (false, 1) => "info,chat_server=debug",
        (false, _) => "info,chat_server=trace,chat_core=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let ansi = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(io::stderr).init();
}

/// Exit code of a server that a second signal stopped: 128 + SIGINT.
const INTERRUPTED: u8 = 130;
