//! What can be written on the command line, and at the prompt.
//!
//! Numbers with a meaning are taken as text and parsed here, so that a wrong one gets one line that says what to write.

use std::path::PathBuf;
use std::time::Duration;

use chat_server::control::SimulationRequest;
use clap::{Args, Parser, Subcommand};
use units::parse_duration;

/// Look after a running chat server.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLE)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Which server, and how to be let in.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// Host of the admin port.
    #[arg(long, default_value = "127.0.0.1", global = true)]
    pub(crate) host: String,
    /// Admin port.
    #[arg(long, default_value_t = 8889, global = true)]
    pub(crate) port: u16,
    /// File with the admin token. Default: the variable CHAT_ADMIN_TOKEN, then the file that a server of this user wrote.
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// How long an answer may take.
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = positive_span, global = true)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The state of the server in numbers.
    Stats,
    /// Everyone who is there, and how their connection does.
    Clients,
    /// End the session of a client, by id or name.
    Kick {
        who: String,
        /// What the client is told.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Say something to everyone.
    Broadcast {
        #[arg(required = true, num_args = 1..)]
        text: Vec<String>,
    },
    /// Simulate loss and delay on every connection, in each direction: simulate 10 50 is 10 % and 50 ms.
    Simulate(Simulate),
    /// Tell everyone, wait for acknowledgements, and stop the server.
    Shutdown {
        /// How long to wait at most.
        #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = any_span)]
        drain: Duration,
    },
    /// Watch the server: a table rewritten in place on a terminal, one line an interval on a pipe.
    Monitor {
        /// Time between two polls: 5 or 5s are five seconds, 500ms is half a one.
        #[arg(long, value_name = "SPAN", default_value = "5", value_parser = interval)]
        interval: Duration,
        /// Stop after so many intervals.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
}

/// Arguments of `simulate`; what they mean is decided in [`Simulate::request`].
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Loss in percent, 0 to 100; or "off". Without it: what is active now.
    #[arg(value_name = "LOSS%|off", allow_hyphen_values = true)]
    loss: Option<String>,
    /// Delay in milliseconds.
    #[arg(value_name = "DELAY_MS", allow_hyphen_values = true)]
    delay: Option<String>,
    /// End by itself after this.
    #[arg(long = "for", value_name = "SPAN", value_parser = positive_span)]
    duration: Option<Duration>,
}

/// What `simulate` is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Weather {
    Show,
    Off,
    On(SimulationRequest),
}

impl Simulate {
    /// Refuses what is no percentage or no delay, in a sentence.
    pub(crate) fn request(&self) -> Result<Weather, String> {
        let Some(loss) = &self.loss else {
            return match self.duration {
                None => Ok(Weather::Show),
                Some(_) => {
                    Err("--for needs a loss and a delay; write for example simulate 10 50 --for 30s"
                        .to_owned())
                }
            };
        };
        if loss == "off" {
            return match (&self.delay, self.duration) {
                (None, None) => Ok(Weather::Off),
                _ => Err("simulate off takes nothing else".to_owned()),
            };
        }
        let loss_percent = percentage(loss)?;
        let delay_ms = milliseconds(self.delay.as_deref().unwrap_or("0"))?;
        let for_s = self.duration.map(|span| span.as_secs_f64());
        Ok(Weather::On(SimulationRequest { loss_percent, delay_ms, for_s }))
    }
}

/// `10`, `2.5`, `10%`.
fn percentage(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end().parse().ok();
    number
        .filter(|value| (0.0..=100.0).contains(value))
        .ok_or_else(|| format!("loss \"{text}\" is not a percentage; write 0 to 100"))
}

/// `50`, `50ms`, `0.05s`.
fn milliseconds(text: &str) -> Result<f64, String> {
    let wrong = || format!("delay \"{text}\" is not from 0 to 60000 milliseconds; write for example 50");
    let number = match text.trim().parse::<f64>() {
        Ok(number) => number,
        Err(_) => parse_duration(text).map_err(|_| wrong())?.as_secs_f64() * 1e3,
    };
    if (0.0..=MAX_DELAY_MS).contains(&number) { Ok(number) } else { Err(wrong()) }
}

/// A span with a unit, or a bare number of seconds.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.trim().parse::<f64>().ok();
    let span = match seconds.map(Duration::try_from_secs_f64) {
        Some(span) => span.map_err(|_| format!("{text} is no number of seconds; write for example 5"))?,
        None => any_span(text)?,
    };
    // A server should not be kept busy by being watched.
    if span < MIN_INTERVAL { Err("too short; write 100ms or more".to_owned()) } else { Ok(span) }
}

fn any_span(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn positive_span(text: &str) -> Result<Duration, String> {
    let span = any_span(text)?;
    if span.is_zero() { Err("it is zero; write for example 5s".to_owned()) } else { Ok(span) }
}

/// What the server takes.
const MAX_DELAY_MS: f64 = 60_000.0;
const MIN_INTERVAL: Duration = Duration::from_millis(100);
const EXAMPLE: &str = "\
Without a command, on a terminal: a prompt that takes the same commands.

Examples:
  admin stats
  admin monitor --interval 5
  admin simulate 10 50 --for 30s
  admin kick alice --reason 'too loud'

Exit codes: 0 done, 1 unexpected answer, 2 usage, 3 refused, 4 not found, 5 no server.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_in_percent_and_delay_in_milliseconds() {
        let expected = SimulationRequest { loss_percent: 10.0, delay_ms: 50.0, for_s: None };
        for arguments in [&["10", "50"], &["10%", "50ms"], &["10.0", "0.05s"]] {
            assert_eq!(simulate(arguments), Ok(Weather::On(expected)), "{arguments:?}");
        }
        let timed = SimulationRequest { for_s: Some(30.0), ..expected };
        assert_eq!(simulate(&["10", "50", "--for", "30s"]), Ok(Weather::On(timed)));
        assert_eq!(simulate(&["off"]), Ok(Weather::Off));
        assert_eq!(simulate(&[]), Ok(Weather::Show));
    }

    #[test]
    fn what_is_outside_its_range_is_refused_in_one_line() {
        for (arguments, message) in [
            (&["101", "0"][..], "loss \"101\" is not a percentage; write 0 to 100"),
            (&["-1", "0"], "loss \"-1\" is not a percentage; write 0 to 100"),
            (&["NaN", "0"], "loss \"NaN\" is not a percentage; write 0 to 100"),
            (&["much", "0"], "loss \"much\" is not a percentage; write 0 to 100"),
            (&["1", "-5"], "delay \"-5\" is not from 0 to 60000 milliseconds; write for example 50"),
            (&["off", "5"], "simulate off takes nothing else"),
        ] {
            assert_eq!(simulate(arguments), Err(message.to_owned()));
        }
    }

    #[test]
    fn an_interval_needs_no_unit() {
        assert_eq!(interval("5"), Ok(Duration::from_secs(5)));
        assert_eq!(interval("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-5", "1e300", "soon"] {
            assert!(interval(wrong).is_err(), "{wrong}");
        }
    }

    fn simulate(arguments: &[&str]) -> Result<Weather, String> {
        let cli = Cli::try_parse_from([&["admin", "simulate"], arguments].concat()).unwrap();
        let Some(Command::Simulate(simulate)) = cli.command else {
            panic!("not simulate");
        };
        simulate.request()
    }
}
