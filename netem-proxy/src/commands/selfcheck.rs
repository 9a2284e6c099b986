//! Does the emulator do what it says? Prints the table of [`netem_proxy::selfcheck`].

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use netem_proxy::selfcheck::system::{self, Judgement, SystemFinding, SystemReport};
use netem_proxy::selfcheck::{self, Finding, MIN_PACKETS, Plan, Report};

use crate::cli::{Failure, print};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct SelfcheckArgs {
    /// What to check: the model in virtual time, or the whole proxy in wall time.
    #[arg(long, value_enum, default_value_t = Level::Model)]
    level: Level,
    /// Packets through each link and seed (model).
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(MIN_PACKETS..=MAX_PACKETS))]
    packets: u64,
    /// Seeds of each statistical line (model); --full means 20.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=MAX_SEEDS))]
    seeds: u64,
    /// The complete certificate: 20 seeds of a million packets.
    #[arg(long, conflicts_with_all = ["packets", "seeds"])]
    full: bool,
    /// The first seed; the next ones follow.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Threads of the model check; the result does not depend on it. Default: one for each processor.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print the table as one JSON document.
    #[arg(long)]
    json: bool,
}

/// Bounds the memory of one thread at about 1 GB, and the time at some hours.
const MAX_PACKETS: u64 = 20_000_000;
const MAX_SEEDS: u64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    Model,
    System,
}

pub(crate) fn run(args: &SelfcheckArgs) -> Result<ExitCode, Failure> {
    match args.level {
        Level::Model => model(args),
        Level::System => system(args),
    }
}

fn model(args: &SelfcheckArgs) -> Result<ExitCode, Failure> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = Plan {
        packets: if args.full { 1_000_000 } else { args.packets },
        seeds: if args.full { 20 } else { args.seeds },
        seed: args.seed,
        threads: args.threads.unwrap_or(processors),
    };
    let report = selfcheck::model(&plan);
    print(&if args.json { document(&report)? } else { table(&report) })?;
    Ok(if report.pass { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn system(args: &SelfcheckArgs) -> Result<ExitCode, Failure> {
    let report = system::run(args.seed).context("cannot measure")?;
    print(&if args.json { document(&report)? } else { system_table(&report) })?;
    Ok(match report.judgement() {
        Judgement::Ok => ExitCode::SUCCESS,
        Judgement::Failed => ExitCode::from(1),
        Judgement::Invalid => ExitCode::from(5),
    })
}

fn system_table(report: &SystemReport) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        let SystemFinding { property, link, unit, measured, interval, judgement, .. } = finding;
        let verdict = match judgement {
            Judgement::Ok => "ok",
            Judgement::Failed => "FAILED",
            Judgement::Invalid => "invalid: the machine was too busy",
        };
        out += &format!(
            "{link:<34} {property:<28} {:>10} {unit:<8} within {} to {}  {verdict}\n",
            number(*measured),
            number(interval.0),
            number(interval.1)
        );
    }
    let controls: Vec<String> = report.control_p99_us.iter().map(|spread| number(*spread)).collect();
    let limit = system::MAX_CONTROL_P99.as_micros();
    out + &format!(
        "controls without weather, p99 of one-way delay: {} µs (valid up to {limit})\n",
        controls.join(", ")
    )
}

fn document(report: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(report).map_err(anyhow::Error::from)?;
    Ok(format!("{text}\n"))
}

fn table(report: &Report) -> String {
    let mut out = format!(
        "{} packets a line and seed, {} seeds from {}; {} p-values, judged together: a correct link fails once in 1000 tables\n\n",
        report.packets, report.seeds, report.seed, report.tests
    );
    let mut link = "";
    for finding in &report.findings {
        if finding.link != link {
            link = &finding.link;
            out += &format!("{link}\n");
        }
        out += &line(finding);
    }
    let failed = report.findings.iter().filter(|finding| !finding.pass).count();
    out += &match failed {
        0 => format!("\nall {} lines ok\n", report.findings.len()),
        _ => format!("\n{failed} of {} lines FAILED\n", report.findings.len()),
    };
    out
}

fn line(finding: &Finding) -> String {
    let Finding { property, unit, configured, measured, tolerance, p_value, p_uniform, pass, .. } = finding;
    let p = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    let verdict = if *pass { "ok" } else { "FAILED" };
    format!(
        "  {property:<32} {:>12} ± {:<10} {:>12} {unit:<8} p {:>6} {:>6}  {verdict}\n",
        number(*configured),
        number(*tolerance),
        number(*measured),
        p(*p_value),
        p(*p_uniform),
    )
}

/// Six significant digits or so, without a tail of zeros.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 1000.0 => 1,
        size if size >= 1.0 => 4,
        _ => 6,
    };
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

const EXAMPLE: &str = "Columns: property, configured ± the interval of 99.9 % for one seed, measured (mean over the seeds), the smallest
p-value of the seeds, the p-value of their uniformity, verdict.
Exit code 0: all ok. 1: a line failed. 5: the machine is too busy for a statement (system).
Example:
  netem-proxy selfcheck --full";
