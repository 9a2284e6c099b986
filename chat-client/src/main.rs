//! The `chat-client` binary: a contents page.
//!
//! [`cli`] says what can be asked for, [`terminal`] talks with a person, [`pipe`] with a program. Both drive the same
//! [`chat_client::net::Client`].

mod cli;
mod heard;
mod pipe;
mod shutdown;
mod terminal;
mod text;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

use cli::{Cli, Failure, Mode, Plan};

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(cli.verbosity());
    let ended = cli.plan().map_err(Failure::Usage).and_then(run);
    match ended {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {}", text::safe(&failure.to_string()));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(plan: Plan) -> Result<ExitCode, Failure> {
    let runtime = runtime().map_err(Failure::Failed)?;
    let ended = runtime.block_on(async {
        let client = plan.connect().await?;
        match plan.mode {
            Mode::Terminal => terminal::run(&plan, client).await,
            Mode::Pipe(ref settings) => pipe::run(&plan, settings, client).await,
        }
    });
    // A read of standard input cannot be called back; the process does not wait for it.
    runtime.shutdown_background();
    ended
}

/// Two workers: the session goes on while this thread waits for a slow reader of standard output.
fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().context("cannot start the runtime")
}

/// Logs go to stderr: `RUST_LOG` if set, else what `-v` asks for.
fn start_logging(verbosity: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(verbosity));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
