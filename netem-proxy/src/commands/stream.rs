//! `netem-proxy stream`: relays byte streams until a signal ends it, and tells what passed.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use netem_proxy::stream::{
    Engine, EngineConfig, OpenError, Share, StreamConfig, StreamCounters, StreamProfile, StreamProxy, Toxic,
};
use netem_proxy::timing::{Lateness, Timing, TimingStats};
use serde_json::json;
use units::{Clock, Seed, parse_duration, wall_clock};

use super::signals::Signals;
use crate::cli::{Failure, print};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct StreamArgs {
    /// Address to listen on; port 0 picks a free one and prints it.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: String,
    /// Address of the server behind the proxy; a name is looked up for each connection.
    #[arg(long, value_name = "ADDR")]
    upstream: String,
    /// Client to server, for example 'delay=50ms jitter=5ms rate=10Mbit/s blackout=20s+3s'. A stream cannot lose,
    /// double or reorder.
    #[arg(long, value_name = "SPEC", default_value = "none", hide_default_value = true)]
    up: String,
    /// Server to client.
    #[arg(long, value_name = "SPEC", default_value = "none", hide_default_value = true)]
    down: String,
    /// Trouble after the link, as TYPE:KEY=NUMBER,…@DIRECTION*TOXICITY: latency:latency=100,jitter=10@downstream*0.5.
    /// Can be given several times; they act in this order.
    #[arg(long, value_name = "TOXIC")]
    toxic: Vec<String>,
    /// One rate for all connections in each direction, instead of one for each connection.
    #[arg(long)]
    shared: bool,
    /// How to wait for deadlines: sleep, hybrid (spins at the end, at most a quarter of a core) or spin.
    #[arg(long, value_name = "HOW", default_value_t = Timing::default())]
    timing: Timing,
    /// Threads that move bytes. Default: one for each core, at most 4.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4))]
    threads: Option<u8>,
    /// Seed of all chance; the same seed gives connection after connection the same fates. Default: a new one each
    /// time, printed.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print a line of counters to stderr this often, for example 5s.
    #[arg(long, value_name = "SPAN")]
    stats_interval: Option<String>,
    /// Print the final counters as one JSON document.
    #[arg(long)]
    json: bool,
}

/// What the arguments mean.
struct StreamPlan {
    config: StreamConfig,
    engine: EngineConfig,
    seed: u64,
    stats_interval: Option<Duration>,
}

pub(crate) fn run(args: &StreamArgs) -> Result<ExitCode, Failure> {
    let plan = args.plan().map_err(Failure::Usage)?;
    // The runtime waits for signals; bytes never meet it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    runtime.block_on(relay(plan, args.json))
}

impl StreamArgs {
    fn plan(&self) -> Result<StreamPlan> {
        let profile = |flag: &'static str, text: &str| text.parse::<StreamProfile>().context(flag);
        let toxics = self.toxic.iter().map(|text| text.parse()).collect::<Result<Vec<Toxic>, _>>();
        let stats_interval = self.stats_interval.as_deref().map(parse_duration).transpose();
        let stats_interval = stats_interval.context("--stats-interval")?;
        if stats_interval == Some(Duration::ZERO) {
            return Err(anyhow!("--stats-interval: it is zero; write for example 5s"));
        }
        if !self.upstream.contains(':') {
            return Err(anyhow!(
                "--upstream: \"{}\" has no port; write host:port, for example 127.0.0.1:5432",
                self.upstream
            ));
        }
        // Microseconds since 1970: new each time, and short enough to type.
        let seed = self.seed.unwrap_or_else(|| (wall_clock() * 1e6) as u64);
        let root = Seed::root(seed);
        let config = StreamConfig {
            profile_up: profile("--up", &self.up)?,
            profile_down: profile("--down", &self.down)?,
            share: if self.shared { Share::Rate } else { Share::Nothing },
            toxics: number_names(toxics.context("--toxic")?),
            ..StreamConfig::new("stream", &self.listen, &self.upstream, root)
        };
        let threads = self.threads.map(usize::from);
        let engine = EngineConfig { threads, timing: self.timing, ..EngineConfig::new(Clock::start(), root) };
        Ok(StreamPlan { config, engine, seed, stats_interval })
    }
}

/// Two of one type and direction would have one name; the second is called `latency_downstream_2`.
fn number_names(mut toxics: Vec<Toxic>) -> Vec<Toxic> {
    for index in (1..toxics.len()).rev() {
        let (before, rest) = toxics.split_at_mut(index);
        let same = before.iter().filter(|toxic| toxic.name == rest[0].name).count();
        if same > 0 {
            rest[0].name = format!("{}_{}", rest[0].name, same + 1);
        }
    }
    toxics
}

async fn relay(plan: StreamPlan, as_json: bool) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    let listen = plan.config.listen.clone();
    let specs = [&plan.config.profile_up, &plan.config.profile_down].map(ToString::to_string);
    let engine = Engine::start(plan.engine).context("cannot start the driver threads")?;
    let proxy = engine.open(plan.config).map_err(|error| usage(&listen, error))?;
    let announcement = format!("listening on {}\nseed {}\n", proxy.local_addr(), plan.seed);
    // With --json, stdout is the one document.
    if as_json {
        tell!("{announcement}");
    } else {
        print(&announcement)?;
    }
    let ended = tokio::select! {
        ended = signals.next() => ended,
        never = report_every(plan.stats_interval, &proxy) => match never {},
    };
    let toxics = proxy.toxics();
    let counters = proxy.close();
    let (lateness, timing) = engine.report();
    engine.stop();
    print(&if as_json {
        document(plan.seed, &specs, &toxics, &counters, &lateness)
    } else {
        table(&counters, &lateness, &timing)
    })?;
    Ok(ended)
}

fn usage(listen: &str, error: OpenError) -> Failure {
    Failure::Usage(match error {
        OpenError::Address { .. } => anyhow!("--listen: \"{listen}\": {error}; write host:port"),
        OpenError::Listen { .. } => {
            anyhow!("--listen: {error}; choose another address, or port 0 for a free one")
        }
        OpenError::Profile(error) => anyhow!("--shared: {error}"),
        other => anyhow!("--toxic: {other}"),
    })
}

async fn report_every(interval: Option<Duration>, proxy: &StreamProxy) -> std::convert::Infallible {
    let Some(interval) = interval else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(interval);
    ticks.tick().await; // The first is at once.
    loop {
        ticks.tick().await;
        let counters = proxy.counters();
        let StreamCounters { up, down, connections_open, .. } = counters;
        tell_line!(
            "connections {connections_open}  up {} in, {} out  down {} in, {} out  refused {}, reset {}",
            up.received,
            up.sent,
            down.received,
            down.sent,
            counters.refused,
            counters.resets
        );
    }
}

/// For people: what came in, what went out, how connections ended, and how punctual it was.
fn table(counters: &StreamCounters, lateness: &Lateness, timing: &[TimingStats]) -> String {
    let mut out = format!("{:<22}{:>16}{:>16}\n", "", "up", "down");
    let (up, down) = (counters.up, counters.down);
    let _ = writeln!(out, "{:<22}{:>16}{:>16}", "bytes received", up.received, down.received);
    let _ = writeln!(out, "{:<22}{:>16}{:>16}", "bytes sent", up.sent, down.sent);
    let _ = writeln!(
        out,
        "connections {}, refused {}, over the limit {}, reset {}, cut {}",
        counters.connections_total, counters.refused, counters.over_limit, counters.resets, counters.cut
    );
    let histogram = lateness.histogram();
    if histogram.is_empty() {
        out.push_str("nothing waited for a deadline\n");
    } else {
        let micros = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        let spun = timing.iter().map(TimingStats::share_spun).sum::<f64>() * 100.0;
        let _ = writeln!(
            out,
            "release lateness p50 {:.1} µs, p99 {:.1} µs, early {}; spinning took {spun:.1} % of a core",
            micros(0.5),
            micros(0.99),
            lateness.early()
        );
    }
    out
}

/// For programs. Lateness in ns.
fn document(
    seed: u64,
    specs: &[String; 2],
    toxics: &[Toxic],
    counters: &StreamCounters,
    lateness: &Lateness,
) -> String {
    let toxic = |toxic: &Toxic| {
        let attributes: serde_json::Map<_, _> = toxic
            .kind
            .attributes()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        json!({
            "name": toxic.name, "type": toxic.kind.name(), "stream": toxic.stream.name(),
            "toxicity": toxic.toxicity, "attributes": attributes,
        })
    };
    let histogram = lateness.histogram();
    let at = |quantile| (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile));
    let document = json!({
        "seed": seed,
        "up": specs[0],
        "down": specs[1],
        "toxics": toxics.iter().map(toxic).collect::<Vec<_>>(),
        "counters": counters,
        "lateness_ns": {
            "count": histogram.len(), "early": lateness.early(),
            "p50": at(0.5), "p99": at(0.99), "p99_9": at(0.999), "max": at(1.0),
        },
    });
    format!("{document:#}\n")
}

const EXAMPLE: &str = "Example:
  netem-proxy stream --listen 127.0.0.1:9000 --upstream 127.0.0.1:5432 --down 'delay=20ms rate=10Mbit/s' \\
    --toxic 'reset_peer:timeout=5000@downstream*0.1'
Then connect the client to port 9000. Ctrl-C prints what passed.";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn plan(args: &[&str]) -> Result<StreamPlan> {
        let line = ["netem-proxy", "stream", "--upstream", "127.0.0.1:8888"];
        match Cli::parse_from(line.iter().chain(args)).command {
            Command::Stream(args) => args.plan(),
            other => panic!("not stream: {other:?}"),
        }
    }

    #[test]
    fn toxics_keep_their_order_and_get_names_of_their_own() {
        let toxics = ["latency:latency=1", "noop@up", "latency:latency=2", "latency:latency=3"];
        let args: Vec<&str> = toxics.iter().flat_map(|toxic| ["--toxic", *toxic]).collect();
        let plan = plan(&args).expect("valid");
        let names: Vec<_> = plan.config.toxics.iter().map(|toxic| toxic.name.as_str()).collect();
        assert_eq!(
            names,
            ["latency_downstream", "noop_upstream", "latency_downstream_2", "latency_downstream_3"]
        );
    }

    #[test]
    fn a_wrong_value_names_its_flag_and_shows_a_right_one() {
        for (args, start) in [
            (["--up", "loss=1%"], "--up: loss: a TCP relay cannot lose"),
            (["--toxic", "latenci"], "--toxic: \"latenci\" is not a toxic"),
            (["--stats-interval", "0"], "--stats-interval: it is zero; write for example 5s"),
        ] {
            let error = plan(&args).err().map(|error| format!("{error:#}")).expect("a wrong value");
            assert!(error.starts_with(start), "{error}");
        }
    }
}
