//! `netem-proxy stream`.

use std::process::ExitCode;

use clap::Args;

use crate::cli::Failure;

#[derive(Debug, Args)]
pub(crate) struct StreamArgs {}

pub(crate) fn run(_args: &StreamArgs) -> Result<ExitCode, Failure> {
    Err(Failure::Internal(anyhow::anyhow!("not built yet")))
}
