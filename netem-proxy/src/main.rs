//! The `netem-proxy` binary: a contents page.
//!
//! [`cli`] says what can be asked for, [`commands`] does it.

/// Writes to stderr; unlike `eprint!` it does not panic when nobody reads that any more.
macro_rules! tell {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stderr().lock(), $($text)*);
    }};
}

/// The same, with a newline.
macro_rules! tell_line {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), $($text)*);
    }};
}

mod cli;
mod commands;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use cli::{Cli, Command, Failure, RelayKind};
use commands::{ctl, import, presets, relay, replay, run, selfcheck, serve, stream};

fn main() -> ExitCode {
    let cli = Cli::parse_from(serve::with_two_dashes(std::env::args_os()));
    start_logging();
    let done = match cli.command {
        Command::Frames(args) => relay::run(RelayKind::Frames, &args),
        Command::Datagrams(args) => relay::run(RelayKind::Datagrams, &args),
        Command::Stream(args) => stream::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Ctl(args) => ctl::run(&args),
        Command::Presets(args) => presets::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Selfcheck(args) => selfcheck::run(&args),
    };
    done.unwrap_or_else(|error: Failure| {
        tell_line!("error: {error}");
        ExitCode::from(error.exit_code())
    })
}

/// Logs go to stderr: warnings, and what `RUST_LOG` asks for.
fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let is_terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .init();
}
