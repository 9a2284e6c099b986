//! `netem-proxy import`.

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use netem_proxy::import::{mahimahi, netem, toxiproxy};
use netem_proxy::profile::DeliveryTrace;
use serde_json::json;

use crate::cli::{Failure, print};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct ImportArgs {
    /// What the input is written for.
    #[arg(long, value_name = "TOOL", value_enum, default_value_t = Tool::Netem)]
    from: Tool,
    /// Repeat the faults of the kernel's netem (compat=netem) instead of doing what the words mean.
    #[arg(long)]
    compat: bool,
    /// Print the result and the notes as one JSON document.
    #[arg(long)]
    json: bool,
    /// The words behind `tc … netem`; or FILE.up [FILE.down] of mahimahi; or a JSON file of Toxiproxy.
    #[arg(value_name = "INPUT", required = true, allow_hyphen_values = true, trailing_var_arg = true)]
    input: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tool {
    Netem,
    Mahimahi,
    Toxiproxy,
}

pub(crate) fn run(args: &ImportArgs) -> Result<ExitCode, Failure> {
    if args.compat && args.from != Tool::Netem {
        return Err(Failure::Usage(anyhow!("--compat: it is for netem; leave it out")));
    }
    match args.from {
        Tool::Netem => from_netem(args),
        Tool::Mahimahi => from_mahimahi(args),
        Tool::Toxiproxy => from_toxiproxy(args),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn from_netem(args: &ImportArgs) -> Result<(), Failure> {
    let fidelity = if args.compat { netem::Fidelity::Kernel } else { netem::Fidelity::Meaning };
    let command = netem::Command::parse(&args.input.join(" "));
    let imported = command.and_then(|command| command.import(fidelity));
    let imported = imported.context("netem").map_err(Failure::Usage)?;
    if args.json {
        return Ok(print(&format!("{:#}\n", json!({"spec": imported.spec, "notes": imported.notes})))?);
    }
    note(&imported.notes);
    Ok(print(&format!("{}\n", imported.spec))?)
}

fn from_mahimahi(args: &ImportArgs) -> Result<(), Failure> {
    if args.input.len() > 2 {
        let error = anyhow!("mahimahi: {} files; write FILE.up, or FILE.up FILE.down", args.input.len());
        return Err(Failure::Usage(error));
    }
    let mut directions = Vec::new();
    for (path, direction) in args.input.iter().zip(["up", "down"]) {
        let trace =
            DeliveryTrace::parse(path, &read(path)?).with_context(|| path.clone()).map_err(Failure::Usage)?;
        directions.push((direction, mahimahi::spec(&trace), mahimahi::describe(&trace)));
    }
    let notes: Vec<String> = directions.iter().map(|(_, _, description)| description.clone()).collect();
    if args.json {
        let mut document = json!({"notes": notes});
        for (direction, spec, _) in &directions {
            document[*direction] = json!(spec);
        }
        return Ok(print(&format!("{document:#}\n"))?);
    }
    note(&notes);
    let text: String = match directions.as_slice() {
        [(_, spec, _)] => format!("{spec}\n"),
        both => both.iter().map(|(direction, spec, _)| format!("--{direction} '{spec}'\n")).collect(),
    };
    Ok(print(&text)?)
}

fn from_toxiproxy(args: &ImportArgs) -> Result<(), Failure> {
    let [path] = args.input.as_slice() else {
        return Err(Failure::Usage(anyhow!("toxiproxy: {} files; write one", args.input.len())));
    };
    let text = read(path)?;
    let toml = toxiproxy::import(&text).with_context(|| path.clone()).map_err(Failure::Usage)?;
    if args.json {
        return Ok(print(&format!("{:#}\n", json!({"config": toml})))?);
    }
    Ok(print(&toml)?)
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).with_context(|| path.to_owned()).map_err(Failure::Usage)
}

fn note(notes: &[String]) {
    for note in notes {
        tell_line!("note: {note}");
    }
}

const EXAMPLE: &str = "Examples:
  netem-proxy import 'delay 100ms 10ms 25% loss 1%'
  netem-proxy import --compat loss 10% 25%
  netem-proxy import --from mahimahi Verizon-LTE.up Verizon-LTE.down
  netem-proxy import --from toxiproxy toxiproxy.json > serve.toml
The SPEC goes to stdout, what else there is to know about it to stderr.";
