//! `netem-proxy serve`: the HTTP API until a signal ends it.
//!
//! Accepts what `toxiproxy-server` accepts, single dashes included, so that a script or a container that starts that one
//! can start this one.

use std::ffi::OsString;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use netem_proxy::serve::{
    Config, ConfigFile, MetricsConfig, Reload, ReloadError, ServeConfig, Server, is_json,
};
use netem_proxy::timing::Timing;
use tokio::signal::unix::{Signal, SignalKind, signal};
use units::wall_clock;

use crate::cli::{Failure, print};

#[derive(Debug, Args)]
#[command(version = VERSION, after_help = EXAMPLE)]
pub(crate) struct ServeArgs {
    /// Address of the API. Whoever reaches it may change everything: there is no password.
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    host: String,
    /// Port of the API; 0 picks a free one and prints it.
    #[arg(long, value_name = "PORT", default_value_t = 8474)]
    port: u16,
    /// Proxies and links to begin with: TOML of ours (read again when it changes, or on SIGHUP), or Toxiproxy's JSON.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seed of all chance; the same seed gives the same fates. Default: the file's, or a new one each time, printed.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Show traffic of proxies and links at /metrics.
    #[arg(long)]
    proxy_metrics: bool,
    /// Show go_info and go_goroutines at /metrics, for dashboards that look for them.
    #[arg(long)]
    runtime_metrics: bool,
    /// How proxies wait for deadlines: sleep, hybrid or spin.
    #[arg(long, value_name = "HOW", default_value = "hybrid")]
    timing: String,
}

pub(crate) fn run(args: &ServeArgs) -> Result<ExitCode, Failure> {
    let config = args.plan().map_err(Failure::Usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let ended = runtime.block_on(serve(args, config));
    // A request that still waits for a resolver must not hold up the end.
    runtime.shutdown_timeout(GRACE);
    ended
}

impl ServeArgs {
    fn plan(&self) -> Result<ServeConfig> {
        let timing: Timing = self.timing.parse().context("--timing")?;
        let mut found = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .with_context(|| {
                format!("--host: \"{}\" has no address; write for example 127.0.0.1", self.host)
            })?
            .collect::<Vec<SocketAddr>>();
        found.sort_by_key(SocketAddr::is_ipv6);
        let listen = *found.first().ok_or_else(|| anyhow!("--host: \"{}\" has no address", self.host))?;
        let metrics = MetricsConfig { proxies: self.proxy_metrics, runtime: self.runtime_metrics };
        // Microseconds since 1970: new each time, and short enough to type.
        let seed = self.seed.or(self.seed_of_file()?).unwrap_or_else(|| (wall_clock() * 1e6) as u64);
        Ok(ServeConfig { listen, seed, timing, metrics })
    }

    /// The seed is needed before there is a server to make the file true on.
    fn seed_of_file(&self) -> Result<Option<u64>> {
        let Some(path) = self.config.as_deref().filter(|path| !is_json(path)) else { return Ok(None) };
        let text = std::fs::read_to_string(path).with_context(|| format!("--config: {}", path.display()))?;
        Ok(Config::parse(&text, &path.display().to_string())?.seed)
    }
}

async fn serve(args: &ServeArgs, config: ServeConfig) -> Result<ExitCode, Failure> {
    let listen = |kind, name| signal(kind).with_context(|| format!("cannot listen for {name}"));
    let mut interrupt = listen(SignalKind::interrupt(), "SIGINT")?;
    let mut terminate = listen(SignalKind::terminate(), "SIGTERM")?;
    let hangup = listen(SignalKind::hangup(), "SIGHUP")?;
    let (seed, wanted) = (config.seed, config.listen);
    let server = Server::bind(config).await.map_err(|error| {
        Failure::Usage(anyhow!(
            "cannot listen on {wanted}: {error}; choose another --port, or 0 for a free one"
        ))
    })?;
    let mut file = None;
    if let Some(path) = &args.config {
        let (back, loaded) = load(server.config_file(path.clone())).await?;
        tell(path, loaded.map_err(|error| Failure::Usage(anyhow!(error)))?);
        file = Some((path.as_path(), back));
    }
    let address = server.local_addr();
    if !address.ip().is_loopback() {
        tell_line!(
            "warning: {address} can be reached by others, and there is no password; use a firewall or 127.0.0.1"
        );
    }
    print(&format!("listening on {address}\nseed {seed}\n"))?;

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut running = tokio::spawn(server.run(async {
        // An error means that the other end is gone, which is as good.
        let _ = stopped.await;
    }));
    let ended = tokio::select! {
        _ = interrupt.recv() => ExitCode::from(130),
        _ = terminate.recv() => ExitCode::SUCCESS,
        failed = &mut running => {
            failed.context("the API has panicked")?.context("the API has failed")?;
            return Err(Failure::Internal(anyhow!("the API has ended by itself")));
        }
        never = watch(file, hangup) => match never? {},
    };
    let _ = stop.send(());
    // Requests under way are answered, unless they take too long.
    let _ = tokio::time::timeout(GRACE, running).await;
    Ok(ended)
}

/// Looks at the file when it changes or a SIGHUP comes. A file with a mistake is told about, and changes nothing.
async fn watch(file: Option<(&Path, ConfigFile)>, mut hangup: Signal) -> Result<std::convert::Infallible> {
    let Some((path, mut file)) = file else {
        loop {
            // Without a file there is nothing to read again; the signal must not end the server all the same.
            hangup.recv().await;
        }
    };
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    let (mut read, mut seen) = (stamp(path), stamp(path));
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            _ = ticks.tick() => {
                // An editor may be in the middle of writing: wait until the file has been the same for a while.
                let before = std::mem::replace(&mut seen, stamp(path));
                if seen.is_none() || seen == read || seen != before {
                    continue;
                }
            }
        }
        read = stamp(path);
        let (back, loaded) = load(file).await?;
        file = back;
        match loaded {
            Ok(reload) => tell(path, reload),
            Err(error) => tell_line!("error: {error}"),
        }
    }
}

/// On a thread that may wait for the disk and the resolver.
async fn load(mut file: ConfigFile) -> Result<(ConfigFile, Result<Reload, ReloadError>)> {
    let loaded = tokio::task::spawn_blocking(move || {
        let loaded = file.load();
        (file, loaded)
    });
    loaded.await.context("reading the configuration has panicked")
}

fn tell(path: &Path, reload: Reload) {
    let path = path.display();
    match reload {
        Reload::Applied { proxies, links } => tell_line!("{path}: {proxies} proxies, {links} links"),
        Reload::Unchanged => tell_line!("{path}: unchanged"),
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// `-port 8474` as `--port 8474`, for the subcommands that stand in for programs written in Go, whose long flags have one
/// dash or two. Values are never touched: none of them begins with one of these words and a dash.
pub(crate) fn with_two_dashes(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let known: &[&str] = match arguments.get(1).and_then(|command| command.to_str()) {
        Some("serve") => &SERVE_FLAGS,
        Some("ctl") => &CTL_FLAGS,
        _ => return arguments,
    };
    for argument in arguments.iter_mut().skip(2) {
        let Some(text) = argument.to_str() else { continue };
        let name = text.split('=').next().unwrap_or_default();
        if name.strip_prefix('-').is_some_and(|name| known.contains(&name)) {
            *argument = format!("-{text}").into();
        }
    }
    arguments
}

const SERVE_FLAGS: [&str; 9] =
    ["host", "port", "config", "seed", "proxy-metrics", "runtime-metrics", "timing", "version", "help"];
const CTL_FLAGS: [&str; 11] = [
    "host",
    "help",
    "listen",
    "upstream",
    "downstream",
    "toxicName",
    "type",
    "toxicity",
    "tox",
    "attribute",
    "version",
];

/// What is waited for at the end.
const GRACE: Duration = Duration::from_secs(2);

/// A change is in force within a second, two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(400);

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (the API of Toxiproxy 2.12.0)");

const EXAMPLE: &str = "Example:
  netem-proxy serve --config serve.toml --seed 7
Then use any Toxiproxy client, or netem-proxy ctl. docs/TOXIPROXY.md has the API and the file.";

#[cfg(test)]
mod tests {
    use netem_proxy::serve::API_VERSION;

    use super::*;

    #[test]
    fn flags_with_one_dash_are_understood_where_go_programs_had_them() {
        let changed = |line: &str| {
            let line = with_two_dashes(line.split(' ').map(OsString::from));
            line.iter().filter_map(|word| word.to_str()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            changed("n serve -port 1 -proxy-metrics -seed=3"),
            "n serve --port 1 --proxy-metrics --seed=3"
        );
        assert_eq!(changed("n ctl -h u toxic add -t x -tox 0.5"), "n ctl -h u toxic add -t x --tox 0.5");
        assert_eq!(changed("n frames -port 1"), "n frames -port 1");
    }

    #[test]
    fn the_version_in_the_help_is_that_of_the_api() {
        assert!(VERSION.contains(API_VERSION));
    }
}
