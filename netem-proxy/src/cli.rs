//! What can be written on the command line, and what it means.
//!
//! Values with units are taken as text and parsed here, not by clap, so that a wrong one gets the same one-line
//! message as in a SPEC: what is wrong, where, and what to write.

use std::fmt;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Args, Parser, Subcommand};
use netem_proxy::profile::{Gate, LinkProfile, compat};
use netem_proxy::proxy::Scope;
use netem_proxy::spec::{Side, Spec, ValueError};
use netem_proxy::timing::Timing;
use units::{parse_duration, wall_clock};

use crate::commands::WatchArgs;
use crate::commands::{
    ctl::CtlArgs, import::ImportArgs, presets::PresetsArgs, replay::ReplayArgs, run::RunArgs,
    selfcheck::SelfcheckArgs, serve::ServeArgs, stream::StreamArgs,
};

/// Bad weather for network programs: loss, delay, jitter, rate limits and more, between a client and a server.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, after_help = EXAMPLE)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Relay TCP connections that carry length-prefixed frames (4 bytes big-endian, then the body).
    Frames(RelayArgs),
    /// Relay UDP datagrams.
    Datagrams(RelayArgs),
    /// Relay TCP byte streams: delay, rate, stalls and resets, never a lost byte.
    Stream(StreamArgs),
    /// Run a command in a network of its own behind the link, so that kernel TCP itself meets it.
    Run(RunArgs),
    /// Serve the HTTP API that Toxiproxy clients speak, and our own.
    Serve(ServeArgs),
    /// Talk to a running `serve`: list, inspect, create, toggle, delete proxies and toxics.
    Ctl(CtlArgs),
    /// List the built-in links, their numbers and where these come from.
    Presets(PresetsArgs),
    /// Turn a `tc netem` argument string, a mahimahi trace or a Toxiproxy file into a SPEC.
    Import(ImportArgs),
    /// Repeat the verdicts of a live run from its arrival log.
    Replay(ReplayArgs),
    /// Run the link model in virtual time and compare what it does with what was configured.
    Selfcheck(SelfcheckArgs),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelayKind {
    Frames,
    Datagrams,
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct RelayArgs {
    /// Address to listen on; port 0 picks a free one and prints it.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: String,
    /// Address of the server behind the proxy.
    #[arg(long, value_name = "ADDR")]
    upstream: String,
    /// Client to server, for example 'loss=1% delay=20ms jitter=2ms rate=10Mbit/s'. Wins over the flags for both directions.
    #[arg(long, value_name = "SPEC", default_value = "none", hide_default_value = true)]
    up: String,
    /// Server to client.
    #[arg(long, value_name = "SPEC", default_value = "none", hide_default_value = true)]
    down: String,
    /// Seed of all chance; the same seed gives the same fates. Default: a new one each time, printed.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// One bottleneck, queue and chain of chance for all flows, instead of one for each.
    #[arg(long)]
    shared: bool,
    /// Print a line of counters to stderr this often, for example 5s.
    #[arg(long, value_name = "SPAN")]
    stats_interval: Option<String>,
    /// Datagrams: forget a client that was silent so long, in both directions.
    #[arg(long, value_name = "SPAN", default_value = "60s")]
    idle_timeout: String,
    /// Print the final counters as one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    timing: TimingArgs,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    both: BothArgs,
}

/// How the thread of a proxy keeps time.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Timing")]
pub(crate) struct TimingArgs {
    /// Wait for deadlines by sleep (25 µs late, no processor time), hybrid (sleep, then spin: at most a quarter of a
    /// core) or spin (a whole core while packets are under way).
    #[arg(long, value_name = "HOW", default_value_t)]
    pub(crate) timing: Timing,
    /// Go before all ordinary threads (SCHED_FIFO; needs CAP_SYS_NICE).
    #[arg(long)]
    pub(crate) realtime: bool,
}

/// Keys of a SPEC as flags; each applies to both directions.
#[derive(Debug, Args)]
#[command(next_help_heading = "Both directions")]
pub(crate) struct BothArgs {
    /// A built-in link to begin with, see `netem-proxy presets`: lte, satellite, …
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Larger packets are dropped: 1400B.
    #[arg(long, value_name = "SIZE")]
    mtu: Option<String>,
    /// Share of packets lost: 10%, every(10), burst(2%,len=4) or ge(p=1%,r=30%); 5%@wire behind the bottleneck.
    #[arg(long, value_name = "LOSS")]
    loss: Option<String>,
    /// Where loss strikes: entry (default) or wire.
    #[arg(long, value_name = "PLACE")]
    loss_at: Option<String>,
    /// One-way delay: 50ms.
    #[arg(long, value_name = "SPAN")]
    delay: Option<String>,
    /// Half-width of uniform, standard deviation of normal jitter: 5ms.
    #[arg(long, value_name = "SPAN")]
    jitter: Option<String>,
    /// Law of the jitter: uniform (default), normal, lognormal, exponential, pareto, paretonormal or table(FILE).
    #[arg(long, value_name = "LAW")]
    dist: Option<String>,
    /// Correlation of successive delays: 25%.
    #[arg(long, value_name = "P")]
    correlation: Option<String>,
    /// Rate of the bottleneck: 10Mbit/s, 10Mbit/s+38B, bucket(10Mbit/s,burst=64KiB) or trace(FILE).
    #[arg(long, value_name = "RATE")]
    rate: Option<String>,
    /// Queue before the bottleneck: 100p, 64KiB, 100ms, bdp(2), infinite, drophead(100p), codel, pie, fq-codel or red
    /// (default 1000p).
    #[arg(long, value_name = "LIMIT")]
    queue: Option<String>,
    /// Share of packets carried twice: 1%.
    #[arg(long, value_name = "P")]
    duplicate: Option<String>,
    /// Share of packets with one bit flipped: 0.1%.
    #[arg(long, value_name = "P")]
    corrupt: Option<String>,
    /// Share of packets held back, and for how long: 1%/8ms.
    #[arg(long, value_name = "P/SPAN")]
    reorder: Option<String>,
    /// Whether jitter may reorder: fifo (default) or allow.
    #[arg(long, value_name = "ORDER")]
    order: Option<String>,
    /// Nothing passes: AT+FOR or AT+FOR/EVERY, as 20s+3s/30s.
    #[arg(long, value_name = "SPANS")]
    blackout: Option<String>,
    /// Nothing enters, and what arrives waits until it opens: AT+FOR or AT+FOR/EVERY.
    #[arg(long, value_name = "SPANS")]
    hold: Option<String>,
    /// Dark by turns of random length: up(10s)/down(1s).
    #[arg(long, value_name = "MEANS")]
    flap: Option<String>,
    /// Each flow gets another address: AT or AT/EVERY, as 30s/60s.
    #[arg(long, value_name = "SPANS")]
    rebind: Option<String>,
    /// Changes over time: '@3s(loss=10%) @10s+5s(rate=1Mbit/s)'.
    #[arg(long, value_name = "STEPS")]
    schedule: Option<String>,
    /// Chance as Linux' netem makes it: netem, or netem(loss-corr=25%).
    #[arg(long, value_name = "COMPAT")]
    compat: Option<String>,
}

/// What the arguments of a relay mean.
#[derive(Debug)]
pub(crate) struct RelayPlan {
    pub(crate) listen: SocketAddr,
    pub(crate) upstream: SocketAddr,
    pub(crate) up: LinkProfile,
    pub(crate) down: LinkProfile,
    pub(crate) scope: Scope,
    pub(crate) seed: u64,
    pub(crate) stats_interval: Option<Duration>,
    pub(crate) idle_timeout: Duration,
    pub(crate) timing: TimingArgs,
    pub(crate) watch: WatchArgs,
}

impl RelayArgs {
    pub(crate) fn plan(&self) -> Result<RelayPlan> {
        let (up, down) = self.both.profiles(&self.up, &self.down)?;
        let stats_interval = self.stats_interval.as_deref().map(parse_duration).transpose();
        let stats_interval = stats_interval.context("--stats-interval")?;
        if stats_interval == Some(Duration::ZERO) {
            return Err(anyhow!("--stats-interval: it is zero; write for example 5s"));
        }
        let idle_timeout = parse_duration(&self.idle_timeout).context("--idle-timeout")?;
        if idle_timeout.is_zero() {
            return Err(anyhow!("--idle-timeout: it is zero; write for example 60s"));
        }
        Ok(RelayPlan {
            listen: resolve(&self.listen).context("--listen")?,
            upstream: resolve(&self.upstream).context("--upstream")?,
            up,
            down,
            scope: if self.shared { Scope::Shared } else { Scope::PerFlow },
            seed: self.seed.unwrap_or_else(new_seed),
            stats_interval,
            idle_timeout,
            timing: self.timing,
            watch: self.watch.clone(),
        })
    }
}

/// Microseconds since 1970: new each time, and short enough to type.
pub(crate) fn new_seed() -> u64 {
    (wall_clock() * 1e6) as u64
}

impl BothArgs {
    /// What `--up` and `--down` say, and the flags where these say nothing.
    pub(crate) fn profiles(&self, up: &str, down: &str) -> Result<(LinkProfile, LinkProfile)> {
        let both = self.spec()?;
        let direction = |flag: &'static str, text: &str, side: Side| {
            let spec: Spec = text.parse().context(flag)?;
            let profile = spec.over(both.clone()).for_side(side).profile().context(flag);
            profile.inspect(|profile| warn_of_compat(flag, profile))
        };
        Ok((direction("--up", up, Side::Up)?, direction("--down", down, Side::Down)?))
    }

    fn spec(&self) -> Result<Spec> {
        let mut spec = Spec::default();
        let flags = [
            ("preset", &self.preset),
            ("mtu", &self.mtu),
            ("loss", &self.loss),
            ("loss-at", &self.loss_at),
            ("delay", &self.delay),
            ("jitter", &self.jitter),
            ("dist", &self.dist),
            ("correlation", &self.correlation),
            ("rate", &self.rate),
            ("queue", &self.queue),
            ("duplicate", &self.duplicate),
            ("corrupt", &self.corrupt),
            ("reorder", &self.reorder),
            ("order", &self.order),
            ("blackout", &self.blackout),
            ("hold", &self.hold),
            ("flap", &self.flap),
            ("rebind", &self.rebind),
            ("schedule", &self.schedule),
            ("compat", &self.compat),
        ];
        for (key, value) in flags {
            let written: Result<(), ValueError> = value.iter().try_for_each(|value| spec.write(key, value));
            written.with_context(|| format!("--{key}"))?;
        }
        Ok(spec)
    }
}

/// Says on stderr what a link that imitates netem will really do; `at` is the flag it came from.
pub(crate) fn warn_of_compat(at: &str, profile: &LinkProfile) {
    for warning in compat::warnings(profile) {
        tell_line!("warning: {at}: {warning}");
    }
}

/// Only UDP flows have an address that a NAT could change under way.
pub(crate) fn refuse_rebind(profiles: &[&LinkProfile], shell: &str) -> Result<()> {
    let rebinds = |profile: &LinkProfile| {
        let steps = profile.schedule.iter().map(|step| &*step.profile);
        std::iter::once(profile)
            .chain(steps)
            .any(|p| p.gates.iter().any(|gate| matches!(gate, Gate::Rebind { .. })))
    };
    if profiles.iter().any(|profile| rebinds(profile)) {
        return Err(anyhow!("rebind: {shell} has no flows of UDP to rebind; use netem-proxy datagrams"));
    }
    Ok(())
}

/// An address, or the first that a host name stands for.
fn resolve(text: &str) -> Result<SocketAddr> {
    const EXAMPLE: &str = "write host:port, for example 127.0.0.1:8888";
    let mut found = text.to_socket_addrs().map_err(|error| anyhow!("\"{text}\": {error}; {EXAMPLE}"))?;
    found.next().ok_or_else(|| anyhow!("\"{text}\" has no address; {EXAMPLE}"))
}

/// Why the program ends without having done what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something to be written differently: a value, an address.
    Usage(anyhow::Error),
    Internal(anyhow::Error),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Internal(_) => 1,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Internal(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Usage(error) | Failure::Internal(error)) = self;
        write!(f, "{error:#}")
    }
}

/// Writes to stdout; a reader that has gone away is no error.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the result")
        }
        _ => Ok(()),
    }
}

const EXAMPLE: &str = "Example:
  netem-proxy frames --listen 127.0.0.1:9000 --upstream 127.0.0.1:8888 --loss 10% --delay 50ms
Then connect the client to port 9000. Ctrl-C prints what happened to the packets.";

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(args: &[&str]) -> Result<RelayPlan> {
        let line = ["netem-proxy", "frames", "--upstream", "127.0.0.1:8888"];
        match Cli::parse_from(line.iter().chain(args)).command {
            Command::Frames(args) => args.plan(),
            other => panic!("not frames: {other:?}"),
        }
    }

    #[test]
    fn plain_flags_apply_to_both_directions_and_a_spec_wins() {
        let plan = plan(&["--loss", "10%", "--delay", "50ms", "--down", "loss=1%"]).expect("valid");
        assert_eq!(plan.up.to_string(), "loss=10% delay=50ms");
        assert_eq!(plan.down.to_string(), "loss=1% delay=50ms");
    }

    #[test]
    fn a_wrong_value_names_its_flag_and_shows_a_right_one() {
        for (args, message) in [
            (["--loss", "120%"], "--loss: \"120%\" is not a probability; write 0% to 100%"),
            (["--up", "los=1%"], "--up: column 1: \"los\" is not a key; did you mean \"loss\"?"),
            (["--stats-interval", "0"], "--stats-interval: it is zero; write for example 5s"),
            (["--idle-timeout", "0s"], "--idle-timeout: it is zero; write for example 60s"),
        ] {
            let error = plan(&args).expect_err("a wrong value");
            assert_eq!(format!("{error:#}"), message);
        }
    }

    #[test]
    fn the_help_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
