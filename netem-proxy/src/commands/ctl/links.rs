//! `netem-proxy ctl links`: what Toxiproxy does not have.

use anyhow::{Context, Result, anyhow};
use clap::Subcommand;
use serde_json::json;

use super::api::{Api, segment};
use super::show::{self, Terminal};

#[derive(Debug, Subcommand)]
pub(super) enum LinksCommand {
    /// List all links.
    #[command(visible_aliases = ["l", "ls"])]
    List,
    /// Show one link with its counters, as JSON.
    #[command(visible_aliases = ["i"])]
    Inspect { link: String },
    /// Create a link, or make the one of that name what is said here.
    #[command(visible_aliases = ["c", "new"])]
    Create {
        link: String,
        /// datagrams, frames or stream.
        #[arg(short, long)]
        kind: String,
        /// Where clients come in [default: a free port on loopback].
        #[arg(short, long, value_name = "ADDR", default_value = "", hide_default_value = true)]
        listen: String,
        /// The server behind it.
        #[arg(short, long, value_name = "ADDR")]
        upstream: String,
        /// Client to server, as 'loss=1% delay=20ms'.
        #[arg(long, value_name = "SPEC", default_value = "none")]
        up: String,
        /// Server to client.
        #[arg(long, value_name = "SPEC", default_value = "none")]
        down: String,
        /// One link for all flows, instead of one for each.
        #[arg(long)]
        shared: bool,
        /// Seed of its chance [default: derived from the server's].
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
    },
    /// Change keys of a running link; the others stay. A SPEC of none clears a direction.
    #[command(visible_aliases = ["s"])]
    Set {
        link: String,
        #[arg(long, value_name = "SPEC")]
        up: Option<String>,
        #[arg(long, value_name = "SPEC")]
        down: Option<String>,
    },
    /// Make something happen now: blackout or hold for a while, rebind, reset.
    Act {
        link: String,
        action: String,
        /// How long, as 2s.
        #[arg(long = "for", value_name = "SPAN")]
        duration: Option<String>,
        /// up, down or both.
        #[arg(long, default_value = "both")]
        direction: String,
    },
    /// Delete a link.
    #[command(visible_aliases = ["d"])]
    Delete { link: String },
}

pub(super) fn run(api: &Api, command: &LinksCommand, terminal: Terminal) -> Result<String> {
    match command {
        LinksCommand::List => {
            Ok(show::links(&api.get("/v1/links").context("Failed to retrieve links")?, terminal))
        }
        LinksCommand::Inspect { link } => {
            let found = api.get(&path(link)).with_context(|| format!("Failed to retrieve link {link}"))?;
            Ok(format!("{found:#}\n"))
        }
        LinksCommand::Create { link, kind, listen, upstream, up, down, shared, seed } => {
            let scope = if *shared { "shared" } else { "per-flow" };
            let body = json!({
                "kind": kind, "listen": listen, "upstream": upstream,
                "up": up, "down": down, "scope": scope, "seed": seed,
            });
            let made = api.put(&path(link), &body).context("Failed to create link")?;
            Ok(format!("Link {link} listens on {}\n", made["listen"].as_str().unwrap_or("?")))
        }
        LinksCommand::Set { link, up, down } => set(api, link, up.as_deref(), down.as_deref()),
        LinksCommand::Act { link, action, duration, direction } => {
            let mut body = json!({"action": action, "direction": direction});
            if let Some(duration) = duration {
                body["for"] = json!(duration);
            }
            let path = format!("{}/actions", path(link));
            api.post(&path, &body).with_context(|| format!("Failed to {action} link {link}"))?;
            Ok(format!("Asked link {link} for {action}\n"))
        }
        LinksCommand::Delete { link } => {
            api.delete(&path(link)).context("Failed to delete link")?;
            Ok(format!("Deleted link {link}\n"))
        }
    }
}

fn set(api: &Api, link: &str, up: Option<&str>, down: Option<&str>) -> Result<String> {
    let mut body = json!({});
    for (side, spec) in [("up", up), ("down", down)] {
        if let Some(spec) = spec {
            body[side] = json!(spec);
        }
    }
    if body.as_object().is_none_or(serde_json::Map::is_empty) {
        return Err(anyhow!("nothing to change; write --up SPEC, --down SPEC or both"));
    }
    let changed = api.patch(&path(link), &body).context("Failed to change link")?;
    let side = |key: &str| changed[key].as_str().unwrap_or("?").to_owned();
    Ok(format!("Link {link} is now up={:?} down={:?}\n", side("up"), side("down")))
}

fn path(link: &str) -> String {
    format!("/v1/links/{}", segment(link))
}
