//! Repeats a live run from its arrival log, and says whether the verdicts are the same.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use netem_proxy::journal::{Comparison, LogError, LogReader, Replay, ReplayReport, Substitute, Verdict};
use netem_proxy::link::LinkCounters;
use netem_proxy::pacer::Direction;
use netem_proxy::profile::LinkProfile;
use serde_json::json;

use crate::cli::{Failure, print};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct ReplayArgs {
    /// The arrival log that a relay or `run` wrote with --log.
    log: PathBuf,
    /// Write each verdict to this file, as CSV; "-" is stdout.
    #[arg(long, value_name = "FILE")]
    verdicts: Option<PathBuf>,
    /// Use this link from client to server instead of the recorded one: what would have happened?
    #[arg(long, value_name = "SPEC")]
    up: Option<String>,
    /// The same, from server to client.
    #[arg(long, value_name = "SPEC")]
    down: Option<String>,
    /// Replay what can be read of a log that is cut or damaged, instead of refusing it.
    #[arg(long)]
    partial: bool,
    /// Print the result as one JSON document.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &ReplayArgs) -> Result<ExitCode, Failure> {
    let substitute = Substitute {
        up: profile("--up", args.up.as_deref())?,
        down: profile("--down", args.down.as_deref())?,
    };
    let path = args.log.display().to_string();
    let file = File::open(&args.log).with_context(|| path.clone()).map_err(Failure::Usage)?;
    let reader = LogReader::new(BufReader::with_capacity(1 << 20, file));
    let mut reader = reader.with_context(|| path.clone()).map_err(Failure::Usage)?;
    let mut replay = Replay::new(substitute).with_verdicts(args.verdicts.is_some());
    let mut verdicts = args.verdicts.as_ref().map(VerdictFile::create).transpose()?;

    let cut = loop {
        let (stream, record) = match reader.next_record() {
            Ok(Some(next)) => next,
            Ok(None) => break None,
            Err(error) if args.partial => break Some(error.to_string()),
            Err(error) => return Err(refuse(&path, &error)),
        };
        replay
            .handle_record(stream, record)
            .with_context(|| format!("{path}: before offset {}", reader.offset()))?;
        while let Some((link, verdict)) = replay.poll_verdict() {
            if let Some(file) = &mut verdicts {
                let direction = direction(link.direction);
                file.line(format_args!("{},{},{},{direction},{verdict}", link.stream, link.link, link.name))?;
            }
        }
    };
    let report = replay.finish(cut);
    if let Some(file) = verdicts {
        file.finish()?;
    }
    print(&if args.json { document(&path, &report) } else { table(&report) })?;
    Ok(match report.comparison {
        Comparison::Identical | Comparison::NotCompared => ExitCode::SUCCESS,
        Comparison::Different(_) => ExitCode::from(1),
        Comparison::Incomplete(_) if args.partial => ExitCode::SUCCESS,
        Comparison::Incomplete(_) => ExitCode::from(1),
    })
}

fn profile(flag: &'static str, spec: Option<&str>) -> Result<Option<LinkProfile>, Failure> {
    let parsed = spec.map(|spec| spec.parse::<LinkProfile>().context(flag)).transpose();
    parsed.map_err(Failure::Usage)
}

fn refuse(path: &str, error: &LogError) -> Failure {
    Failure::Internal(anyhow!("{path}: {error}; --partial replays what comes before"))
}

struct VerdictFile {
    path: String,
    out: Box<dyn Write>,
}

impl VerdictFile {
    fn create(path: &PathBuf) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let out: Box<dyn Write> = if name == "-" {
            Box::new(BufWriter::new(std::io::stdout().lock()))
        } else {
            Box::new(BufWriter::new(
                File::create(path).with_context(|| name.clone()).map_err(Failure::Usage)?,
            ))
        };
        let mut file = Self { path: name, out };
        file.line(format_args!("stream,link,name,direction,{}", Verdict::COLUMNS))?;
        Ok(file)
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) -> Result<(), Failure> {
        Ok(writeln!(self.out, "{text}").with_context(|| format!("cannot write {}", self.path))?)
    }

    fn finish(mut self) -> Result<(), Failure> {
        Ok(self.out.flush().with_context(|| format!("cannot write {}", self.path))?)
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Up => "up",
        Direction::Down => "down",
    }
}

/// For people: a row for each counter that is not zero somewhere.
fn table(report: &ReplayReport) -> String {
    let mut out = format!("{:<22}{:>14}{:>14}\n", "", "up", "down");
    let (up, down) = (fields(&report.up), fields(&report.down));
    for ((name, up), (_, down)) in up.iter().zip(&down) {
        if *up != json!(0) || *down != json!(0) {
            let _ = writeln!(out, "{name:<22}{:>14}{:>14}", up.to_string(), down.to_string());
        }
    }
    let _ = writeln!(out, "links {}, arrivals {}", report.links, report.arrivals);
    let _ = writeln!(out, "verdicts sha256 {}", report.digest);
    match &report.comparison {
        Comparison::Identical => out += "identical\n",
        Comparison::Different(differences) => {
            differences.iter().for_each(|difference| out += &format!("{difference}\n"));
        }
        Comparison::Incomplete(reason) => out += &format!("identical as far as it goes: {reason}\n"),
        Comparison::NotCompared => out += "not compared: another link was asked for\n",
    }
    out
}

/// Name and value of each counter, in the order of their declaration.
fn fields(counters: &LinkCounters) -> Vec<(String, serde_json::Value)> {
    match serde_json::to_value(counters) {
        Ok(serde_json::Value::Object(fields)) => fields.into_iter().collect(),
        _ => Vec::new(),
    }
}

fn document(path: &str, report: &ReplayReport) -> String {
    let (result, details): (_, Vec<String>) = match &report.comparison {
        Comparison::Identical => ("identical", Vec::new()),
        Comparison::Different(found) => ("different", found.iter().map(ToString::to_string).collect()),
        Comparison::Incomplete(reason) => ("incomplete", vec![reason.clone()]),
        Comparison::NotCompared => ("not compared", Vec::new()),
    };
    let document = json!({
        "log": path,
        "result": result,
        "details": details,
        "links": report.links,
        "arrivals": report.arrivals,
        "up": report.up,
        "down": report.down,
        "verdicts_sha256": report.digest.to_string(),
    });
    format!("{document:#}\n")
}

const EXAMPLE: &str = "Example:
  netem-proxy datagrams --upstream 127.0.0.1:8888 --loss 1% --delay 20ms --log run.netlog
  netem-proxy replay run.netlog
  netem-proxy replay run.netlog --up 'loss=5% delay=20ms'
Exit code 0: identical. 1: different, or the log has no end.";
