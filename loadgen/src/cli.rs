//! What can be typed.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use units::parse_duration;

use crate::scenario::Driver;
use crate::scenario::builtin::Builtin;

/// Scenario files in, honest reports out.
#[derive(Debug, Parser)]
#[command(
    name = "loadgen",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Example: loadgen --scenario scenarios/loss10.toml --driver virtual\n\n\
        Exit codes: 0 pass, 1 internal error, 2 bad scenario or usage, 3 an assertion failed,\n\
        4 regression against a baseline or of B against A, 5 INVALID run, 7 the server died,\n\
        130 interrupted (a partial report is written, and can be resumed)."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Verb>,
    #[command(flatten)]
    pub run: RunArgs,
}

/// The main job: run a scenario.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Scenario file to run
    #[arg(long, value_name = "FILE", conflicts_with_all = ["test", "duration", "clients", "host", "port"])]
    pub scenario: Option<PathBuf>,
    /// Run a built-in scenario against a running server
    #[arg(long, value_name = "KIND", value_parser = parse_builtin)]
    pub test: Option<Builtin>,
    /// Measured time of --test, in seconds or with a unit
    #[arg(long, value_name = "TIME", default_value = "60", value_parser = parse_seconds, requires = "test")]
    pub duration: Duration,
    /// Clients of --test
    #[arg(long, value_name = "N", default_value_t = 20, requires = "test", value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub clients: u32,
    /// Address of the running server of --test
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1", requires = "test")]
    pub host: IpAddr,
    /// Port of the running server of --test
    #[arg(long, value_name = "PORT", default_value_t = 8888, requires = "test")]
    pub port: u16,
    /// Also write result.json to this file
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,
    /// Seed of every random choice; overrides the scenario's
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Sockets and wall clock, or a virtual clock; overrides the scenario's
    #[arg(long, value_name = "DRIVER")]
    pub driver: Option<DriverArg>,
    /// Independent runs of each cell; overrides the scenario's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeats: Option<u32>,
    /// Overrides any key, for example --set link.lossy.both.loss.p=5%
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Folder for the report [default: reports/ and the scenario's name]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Keep the runs that are in the report's folder and fit; run only the others
    #[arg(long)]
    pub resume: bool,
    /// Run two settings A and B in turn and compare them; more pairs change more keys at once.
    /// For example --ab protocol.congestion=reno protocol.congestion=cubic
    #[arg(long, num_args = 2, conflicts_with = "test", value_names = ["PATH=VALUE", "PATH=VALUE"])]
    pub ab: Vec<String>,
    /// Keep this result as a baseline for later runs [default: baseline.path of the scenario]
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    pub save_baseline: Option<Option<PathBuf>>,
    /// Write transport traces as qlog, with the older event names that qvis reads
    #[arg(long)]
    pub qvis: bool,
    /// Print result.json to stdout instead of the summary
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub view: ViewArgs,
}

/// What is shown while it runs; all of it on stderr.
#[derive(Clone, Copy, Debug, Args)]
pub struct ViewArgs {
    /// No progress, only the result and errors
    #[arg(short, long)]
    pub quiet: bool,
    /// A live view on the whole terminal: q ends gracefully, ? shows help
    #[cfg(feature = "tui")]
    #[arg(long, conflicts_with = "quiet")]
    pub tui: bool,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Check a scenario file, list its cells and predict how long it runs
    #[command(after_help = "Example: loadgen check scenarios/loss.toml --set run.repeats=5")]
    Check {
        /// Scenario file
        file: PathBuf,
        /// Overrides any key
        #[arg(long, value_name = "PATH=VALUE")]
        set: Vec<String>,
        /// Print the effective scenario and the forecast as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of scenario files
    #[command(after_help = "Example: loadgen schema > scenario.schema.json")]
    Schema,
    /// Draw a report again from its saved records
    #[command(after_help = "Example: loadgen report reports/loss10")]
    Report {
        /// Folder of the report
        dir: PathBuf,
        /// Print result.json to stdout instead of the summary
        #[arg(long)]
        json: bool,
    },
    /// Run a scenario in both drivers and show how far they part
    #[command(after_help = "Example: loadgen compare-drivers scenarios/loss10.toml")]
    CompareDrivers(CompareDriversArgs),
    /// Go on with an interrupted experiment: runs whose files are there and fit are kept
    #[command(after_help = "Example: loadgen resume reports/loss_sweep")]
    Resume {
        /// Folder of the report, with scenario.toml and runs/
        dir: PathBuf,
        /// Print result.json to stdout instead of the summary
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        view: ViewArgs,
    },
    /// Compare two results, or the two arms of one: folders, or result.json files
    #[command(after_help = "Examples:\n  loadgen diff reports/archive/loss10/ID reports/loss10\n  \
        loadgen diff reports/loss10-ab\n\nEnds with 4 where B is worse. Nothing is run, so nothing is confirmed; --ab does \
        both.")]
    Diff {
        /// The earlier one; alone, a folder of --ab or compare-drivers
        a: PathBuf,
        /// The later one
        b: Option<PathBuf>,
        /// Print the comparison as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the scenario files of a folder and what each asks
    #[command(after_help = "Example: loadgen list scenarios")]
    List {
        /// Folder of scenario files
        #[arg(default_value = "scenarios")]
        dir: PathBuf,
        /// Only those with this tag; may be repeated, and then any of them
        #[arg(long)]
        tag: Vec<String>,
        /// Print the list as JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub struct CompareDriversArgs {
    /// Scenario file
    pub file: PathBuf,
    /// Overrides any key
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Folder for the report [default: reports/, the scenario's name and -drivers]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print both results and the comparison as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub view: ViewArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DriverArg {
    Real,
    Virtual,
}

impl From<DriverArg> for Driver {
    fn from(driver: DriverArg) -> Self {
        match driver {
            DriverArg::Real => Self::Real,
            DriverArg::Virtual => Self::Virtual,
        }
    }
}

impl RunArgs {
    /// The overrides that flags stand for, before those of `--set`, so that the last word is the most explicit one.
    #[must_use]
    pub fn sets(&self) -> Vec<String> {
        let driver = self.driver.map(|driver| match driver {
            DriverArg::Real => "real",
            DriverArg::Virtual => "virtual",
        });
        let flags = [
            self.seed.map(|seed| format!("run.seed={seed}")),
            driver.map(|driver| format!("run.driver={driver}")),
            self.repeats.map(|repeats| format!("run.repeats={repeats}")),
        ];
        let qlog = self.qvis.then(|| "measure.traces.qlog=true".to_owned());
        flags.into_iter().chain([qlog]).flatten().chain(self.set.iter().cloned()).collect()
    }
}

fn parse_builtin(text: &str) -> Result<Builtin, String> {
    text.parse::<Builtin>().map_err(|error| error.to_string())
}

/// A bare number is seconds, as in `--duration 60`.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    let text = if text.chars().all(|c| c.is_ascii_digit()) { format!("{text}s") } else { text.to_owned() };
    let span = parse_duration(&text).map_err(|error| error.to_string())?;
    if span < Duration::from_secs(1) { Err("must be at least 1s".to_owned()) } else { Ok(span) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_come_before_explicit_overrides() {
        let cli = Cli::parse_from(["loadgen", "--scenario", "x", "--set", "run.seed=1", "--seed", "2"]);
        assert_eq!(cli.run.sets(), ["run.seed=2", "run.seed=1"]);
    }

    #[test]
    fn a_bare_duration_is_seconds() {
        assert_eq!(parse_seconds("60"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_seconds("1500ms"), Ok(Duration::from_millis(1500)));
        assert!(parse_seconds("1x").is_err() && parse_seconds("0").is_err());
    }
}
