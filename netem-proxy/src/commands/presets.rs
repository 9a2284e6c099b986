//! `netem-proxy presets`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::Failure;

#[derive(Debug, Args)]
pub(crate) struct PresetsArgs {}

pub(crate) fn run(_args: &PresetsArgs) -> Result<ExitCode, Failure> {
    Err(Failure::Internal(anyhow::anyhow!("not built yet")))
}
