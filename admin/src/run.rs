//! One command: ask, then print.

use std::io::Write;

use chat_server::control::ShutdownRequest;
use serde::Serialize;

use crate::ask::Server;
use crate::cli::{Command, Simulate, Weather};
use crate::failure::Failure;
use crate::text::plural;
use crate::{monitor, show};

/// Does `command` and writes its result to `out`.
pub(crate) fn command(
    server: &Server,
    command: &Command,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    match command {
        Command::Stats => {
            let stats = server.stats()?;
            print(out, json, &stats, || show::stats(&stats))
        }
        Command::Clients => {
            let clients = server.clients()?;
            print(out, json, &clients, || show::clients(&clients))
        }
        Command::Kick { who, reason } => {
            let kicked = server.kick(who, reason)?;
            print(out, json, &kicked, || format!("kicked {} (id {})\n", kicked.user, kicked.id))
        }
        Command::Broadcast { text } => {
            let reply = server.broadcast(text.join(" "))?;
            print(out, json, &reply, || format!("told {}\n", plural(reply.reached, "client")))
        }
        Command::Simulate(arguments) => simulate(server, arguments, json, out),
        Command::Shutdown { drain } => {
            let reply = server.shutdown(ShutdownRequest { drain_s: drain.as_secs_f64() })?;
            let text = || format!("the server stops, after {} s at most\n", reply.drain_s);
            print(out, json, &reply, text)
        }
        Command::Monitor { interval, count } => monitor::run(server, *interval, *count, json, out),
    }
}

fn simulate(server: &Server, arguments: &Simulate, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let status = match arguments.request().map_err(|text| Failure::Usage(format!("simulate: {text}")))? {
        Weather::Show => server.stats()?.simulation,
        Weather::Off => server.stop_simulation()?,
        Weather::On(request) => server.simulate(&request)?,
    };
    print(out, json, &status, || format!("simulation: {}\n", show::simulation(status.as_ref())))
}

fn print(
    out: &mut impl Write,
    json: bool,
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let text = if json {
        let document =
            serde_json::to_string_pretty(value).map_err(|error| Failure::Answer(error.to_string()))?;
        document + "\n"
    } else {
        text()
    };
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
