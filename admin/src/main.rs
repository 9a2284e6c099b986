//! The `admin` program: looks after a running chat server over its admin port.
//!
//! A contents page: [`cli`] says what can be asked for, [`ask`] speaks HTTP, [`run`] does one command, [`show`] prints,
//! [`monitor`] polls, [`prompt`] reads commands from a person. Nothing here holds state of the server; every command is
//! one question, so it can be used from scripts as well as by hand.

mod ask;
mod cli;
mod failure;
mod monitor;
mod prompt;
mod rates;
mod run;
mod show;
mod text;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;

use ask::Server;
use cli::Cli;
use failure::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(&cli) {
        // Whoever read our output has seen enough.
        Ok(()) | Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn start(cli: &Cli) -> Result<(), Failure> {
    let server = Server::new(&cli.target)?;
    match &cli.command {
        Some(command) => run::command(&server, command, cli.json, &mut io::stdout().lock()),
        None if io::stdin().is_terminal() => prompt::run(&server, cli.json),
        None => Err(Failure::Usage(
            "no command; try admin stats, clients, monitor, simulate, kick, broadcast, shutdown, or --help"
                .to_owned(),
        )),
    }
}
