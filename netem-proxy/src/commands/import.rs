//! `netem-proxy import`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::Failure;

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {}

pub(crate) fn run(_args: &ImportArgs) -> Result<ExitCode, Failure> {
    Err(Failure::Internal(anyhow::anyhow!("not built yet")))
}
