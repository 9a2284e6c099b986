//! `netem-proxy ctl`: a running `serve` from the command line.
//!
//! Commands, flags and output are those of `toxiproxy-cli`, so that scripts around it work; `links` is ours. One
//! departure: `toxic update` without `--toxicity` leaves the toxicity as it is, where the original resets it to 1.
//!
//! - `api`: one question, one answer.
//! - `show`: tables for a terminal, tabs for a pipe.
//! - `links`: the commands for `/v1/links`.

mod api;
mod links;
mod show;

use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::{ArgAction, Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::cli::Failure;
use api::{Api, segment};
use links::LinksCommand;
use show::Terminal;

#[derive(Debug, Args)]
#[command(disable_help_flag = true, after_help = EXAMPLE)]
pub(crate) struct CtlArgs {
    /// The server [default: $TOXIPROXY_URL, or http://localhost:8474].
    #[arg(short = 'h', long, value_name = "URL", global = true)]
    host: Option<String>,
    /// Print help.
    #[arg(long, action = ArgAction::Help, global = true)]
    help: Option<bool>,
    #[command(subcommand)]
    command: CtlCommand,
}

#[derive(Debug, Subcommand)]
enum CtlCommand {
    /// List all proxies.
    #[command(visible_aliases = ["l", "li", "ls"])]
    List,
    /// Show one proxy and its toxics.
    #[command(visible_aliases = ["i", "ins"])]
    Inspect { proxy: String },
    /// Create a proxy.
    #[command(visible_aliases = ["c", "new"])]
    Create {
        /// Where clients connect.
        #[arg(short, long, value_name = "ADDR")]
        listen: String,
        /// The server behind it.
        #[arg(short, long, value_name = "ADDR")]
        upstream: String,
        proxy: String,
    },
    /// Enable a disabled proxy, or disable an enabled one.
    #[command(visible_aliases = ["tog"])]
    Toggle { proxy: String },
    /// Delete a proxy.
    #[command(visible_aliases = ["d"])]
    Delete { proxy: String },
    /// Add, update or remove a toxic.
    #[command(visible_aliases = ["t"], subcommand)]
    Toxic(ToxicCommand),
    /// Enable every proxy and remove every toxic.
    Reset,
    /// Links of packets, which Toxiproxy does not have.
    #[command(subcommand)]
    Links(LinksCommand),
}

#[derive(Debug, Subcommand)]
enum ToxicCommand {
    /// Add a toxic: toxic add -t latency -n slow -a latency=100 -a jitter=50 PROXY
    #[command(visible_aliases = ["a"])]
    Add {
        /// Its name [default: TYPE_STREAM].
        #[arg(short = 'n', long = "toxicName", alias = "toxic-name", value_name = "NAME")]
        name: Option<String>,
        /// latency, bandwidth, slow_close, timeout, reset_peer, slicer, limit_data or noop.
        #[arg(short = 't', long = "type", value_name = "TYPE")]
        kind: String,
        /// Share of connections that it affects, 0 to 1.
        #[arg(long, visible_alias = "tox", value_name = "P", default_value_t = 1.0, value_parser = toxicity)]
        toxicity: f32,
        /// An attribute; repeat for more.
        #[arg(short, long = "attribute", value_name = "KEY=VALUE", value_parser = attribute)]
        attributes: Vec<(String, Value)>,
        /// From client to server.
        #[arg(short, long, conflicts_with = "downstream")]
        upstream: bool,
        /// From server to client (the default).
        #[arg(short, long)]
        downstream: bool,
        proxy: String,
    },
    /// Change a toxic; what is not named stays as it is.
    #[command(visible_aliases = ["u"])]
    Update {
        #[arg(short = 'n', long = "toxicName", alias = "toxic-name", value_name = "NAME")]
        name: String,
        #[arg(long, visible_alias = "tox", value_name = "P", value_parser = toxicity)]
        toxicity: Option<f32>,
        #[arg(short, long = "attribute", value_name = "KEY=VALUE", value_parser = attribute)]
        attributes: Vec<(String, Value)>,
        proxy: String,
    },
    /// Remove a toxic.
    #[command(visible_aliases = ["r", "delete", "d"])]
    Remove {
        #[arg(short = 'n', long = "toxicName", alias = "toxic-name", value_name = "NAME")]
        name: String,
        proxy: String,
    },
}

pub(crate) fn run(args: &CtlArgs) -> Result<ExitCode, Failure> {
    let api = Api::new(args.host.clone());
    let terminal = Terminal::of_stdout();
    let text = match &args.command {
        CtlCommand::List => {
            let proxies = api.get("/proxies").context("Failed to retrieve proxies")?;
            show::proxies(&proxies, terminal)
        }
        CtlCommand::Inspect { proxy } => show::proxy(&retrieve(&api, proxy)?, terminal),
        CtlCommand::Create { listen, upstream, proxy } => {
            let body = json!({"name": proxy, "listen": listen, "upstream": upstream, "enabled": true});
            api.post("/proxies", &body).context("Failed to create proxy")?;
            format!("Created new proxy {proxy}\n")
        }
        CtlCommand::Toggle { proxy } => toggle(&api, proxy, terminal)?,
        CtlCommand::Delete { proxy } => {
            retrieve(&api, proxy)?;
            api.delete(&path(proxy)).context("Failed to delete proxy")?;
            format!("Deleted proxy {proxy}\n")
        }
        CtlCommand::Toxic(command) => toxic(&api, command)?,
        CtlCommand::Reset => {
            api.post("/reset", &Value::Null).context("Failed to reset")?;
            "All proxies are enabled and have no toxics\n".to_owned()
        }
        CtlCommand::Links(command) => links::run(&api, command, terminal)?,
    };
    crate::cli::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn retrieve(api: &Api, proxy: &str) -> Result<Value> {
    api.get(&path(proxy)).with_context(|| format!("Failed to retrieve proxy {proxy}"))
}

fn toggle(api: &Api, proxy: &str, terminal: Terminal) -> Result<String> {
    let is_enabled = retrieve(api, proxy)?["enabled"].as_bool().unwrap_or_default();
    let changed = api.patch(&path(proxy), &json!({"enabled": !is_enabled}));
    let changed = changed.with_context(|| format!("Failed to toggle proxy {proxy}"))?;
    Ok(show::toggled(proxy, changed["enabled"].as_bool().unwrap_or_default(), terminal))
}

fn toxic(api: &Api, command: &ToxicCommand) -> Result<String> {
    match command {
        ToxicCommand::Add { name, kind, toxicity, attributes, upstream, downstream: _, proxy } => {
            let stream = if *upstream { "upstream" } else { "downstream" };
            let mut body = json!({"type": kind, "stream": stream, "attributes": object(attributes)});
            body["toxicity"] = number(*toxicity);
            if let Some(name) = name {
                body["name"] = json!(name);
            }
            let added = api.post(&format!("{}/toxics", path(proxy)), &body).context("Failed to add toxic")?;
            let [stream, kind, name] =
                ["stream", "type", "name"].map(|key| added[key].as_str().unwrap_or("?"));
            Ok(format!("Added {stream} {kind} toxic '{name}' on proxy '{proxy}'\n"))
        }
        ToxicCommand::Update { name, toxicity, attributes, proxy } => {
            let mut body = json!({"attributes": object(attributes)});
            if let Some(toxicity) = toxicity {
                body["toxicity"] = number(*toxicity);
            }
            let path = format!("{}/toxics/{}", path(proxy), segment(name));
            api.patch(&path, &body).context("Failed to update toxic")?;
            Ok(format!("Updated toxic '{name}' on proxy '{proxy}'\n"))
        }
        ToxicCommand::Remove { name, proxy } => {
            let path = format!("{}/toxics/{}", path(proxy), segment(name));
            api.delete(&path).context("Failed to remove toxic")?;
            Ok(format!("Removed toxic '{name}' on proxy '{proxy}'\n"))
        }
    }
}

fn path(proxy: &str) -> String {
    format!("/proxies/{}", segment(proxy))
}

fn object(attributes: &[(String, Value)]) -> Value {
    Value::Object(attributes.iter().cloned().collect::<Map<_, _>>())
}

/// As written: 0.2 must not become the float that is nearest to it.
fn number(toxicity: f32) -> Value {
    toxicity.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

fn toxicity(text: &str) -> Result<f32> {
    let found = text.parse().ok().filter(|toxicity| (0.0..=1.0).contains(toxicity));
    found.ok_or_else(|| anyhow!("toxicity should be a float between 0 and 1"))
}

/// Numbers as numbers: a whole one must not become a float, which the server refuses.
fn attribute(text: &str) -> Result<(String, Value)> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| anyhow!("write KEY=VALUE, for example latency=100"))?;
    let value = if let Ok(whole) = value.parse::<i64>() {
        Value::from(whole)
    } else {
        value.parse::<f64>().map_or_else(|_| Value::from(value), Value::from)
    };
    Ok((key.to_owned(), value))
}

const EXAMPLE: &str = "Examples:
  netem-proxy ctl create -l 127.0.0.1:26379 -u 127.0.0.1:6379 redis
  netem-proxy ctl toxic add -t latency -a latency=100 redis
  netem-proxy ctl links create game --kind datagrams --upstream 127.0.0.1:27016 --up 'loss=1% delay=20ms'";
