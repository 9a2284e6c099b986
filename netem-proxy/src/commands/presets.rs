//! `netem-proxy presets`.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use netem_proxy::preset::{self, Preset};
use serde_json::json;

use crate::cli::{Failure, print};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct PresetsArgs {
    /// Show this one in full.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &PresetsArgs) -> Result<ExitCode, Failure> {
    let chosen: Vec<&Preset> = match &args.name {
        None => preset::all().iter().collect(),
        Some(name) => vec![find(name)?],
    };
    let text = match (args.json, &args.name) {
        (true, None) => {
            format!("{:#}\n", json!({"presets": chosen.iter().map(|one| document(one)).collect::<Vec<_>>()}))
        }
        (true, Some(_)) => format!("{:#}\n", document(chosen[0])),
        (false, None) => table(&chosen),
        (false, Some(_)) => in_full(chosen[0]),
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn find(name: &str) -> Result<&'static Preset, Failure> {
    preset::find(name).ok_or_else(|| {
        let hint = match preset::nearest(name) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => "netem-proxy presets lists them".to_owned(),
        };
        Failure::Usage(anyhow!("\"{name}\" is no preset; {hint}"))
    })
}

fn document(preset: &Preset) -> serde_json::Value {
    let Preset { name, aliases, about, up, down, source } = preset;
    json!({"name": name, "aliases": aliases, "about": about, "up": up, "down": down, "source": source})
}

fn table(presets: &[&Preset]) -> String {
    let width = presets.iter().map(|preset| preset.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for Preset { name, about, up, down, source, .. } in presets {
        out += &format!("{name:<width$}  {about}\n");
        if up == down {
            out += &format!("{:<width$}  both:   {up}\n", "");
        } else {
            out += &format!("{:<width$}  up:     {up}\n{:<width$}  down:   {down}\n", "", "");
        }
        out += &format!("{:<width$}  source: {source}\n", "");
    }
    out
}

fn in_full(preset: &Preset) -> String {
    let Preset { name, aliases, about, up, down, source } = preset;
    let aliases = if aliases.is_empty() { String::new() } else { format!(" (or {})", aliases.join(", ")) };
    format!(
        "{name}{aliases}: {about}\nup:     {up}\ndown:   {down}\nsource: {source}\nuse:    --up '{up}' --down '{down}'\n"
    )
}

const EXAMPLE: &str = "Example:
  netem-proxy presets satellite
Prints its numbers, where they come from, and the flags to copy.";
