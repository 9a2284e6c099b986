//! `netem-proxy replay`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::Failure;

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {}

pub(crate) fn run(_args: &ReplayArgs) -> Result<ExitCode, Failure> {
    Err(Failure::Internal(anyhow::anyhow!("not built yet")))
}
