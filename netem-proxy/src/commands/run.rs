//! `netem-proxy run`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::Failure;

#[derive(Debug, Args)]
pub(crate) struct RunArgs {}

pub(crate) fn run(_args: &RunArgs) -> Result<ExitCode, Failure> {
    Err(Failure::Internal(anyhow::anyhow!("not built yet")))
}
