//! What can be written on the command line, and what it means.
//!
//! Names, addresses and spans are taken as text and read here, not by clap, so that a wrong one gets the same one-line
//! message everywhere: what is wrong, where, and what to write.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use chat_client::net::{Client, ClientConfig};
use chat_client::session::{CarrierKind, SessionConfig};
use chat_client::tls::{Security, roots_in, system_roots};
use chat_core::name;
use chat_core::secure::Trust;
use chat_core::wire::Codec;
use clap::{ArgAction, Parser, ValueEnum};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use units::{Clock, Seed, parse_duration};

/// Talk on a Squall chat server: at a prompt, or from a script.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// Where the server is, as host:port.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8888")]
    server: String,
    /// What carries the frames: tcp, tls or udp. With one of the next three, udp is encrypted and tcp becomes tls.
    #[arg(long, value_name = "KIND", default_value = "tcp")]
    transport: String,
    /// Believe servers whose certificate is in this PEM file, or signed by one that is. Without it and --fingerprint,
    /// tls believes whom the system believes.
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    ca: Option<PathBuf>,
    /// Believe the server with this very certificate: 64 hexadecimal digits, as the server printed them.
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<String>,
    /// The name that the server's certificate has to be for. Default: the host in --server.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// How frames are written: json, or binary where the server has it.
    #[arg(long, value_name = "NAME", default_value = "json")]
    codec: String,
    /// Your name: up to 32 letters, digits, '_', '-' and '.'.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Room to join at the start. Without a terminal it is needed: lines of standard input are said there.
    #[arg(long, value_name = "ROOM")]
    room: Option<String>,
    /// Print one JSON object a line, for programs; no prompt.
    #[arg(long)]
    json: bool,
    /// Go on printing after standard input has ended, until interrupted.
    #[arg(long)]
    follow: bool,
    /// Without a terminal: print also what was said in the room before.
    #[arg(long)]
    history: bool,
    /// Without a terminal: give up (exit code 5) if the server does not answer for so long.
    #[arg(long, value_name = "SPAN", default_value = "10s")]
    connect_timeout: String,
    /// When to use colour.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto)]
    color: ColorChoice,
    /// Say more on stderr; twice: everything.
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Say only errors on stderr.
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ColorChoice {
    Auto,
    Always,
    Never,
}

/// What the arguments mean.
#[derive(Debug)]
pub(crate) struct Plan {
    /// As written, for messages.
    pub(crate) server: String,
    pub(crate) user: Arc<str>,
    pub(crate) room: Option<Arc<str>>,
    pub(crate) carrier: CarrierKind,
    pub(crate) security: Option<Security>,
    pub(crate) codec: Codec,
    pub(crate) clock: Clock,
    pub(crate) color: bool,
    pub(crate) quiet: bool,
    pub(crate) mode: Mode,
}

/// Who is at the other end of standard input and output.
#[derive(Debug)]
pub(crate) enum Mode {
    Terminal,
    Pipe(PipeSettings),
}

#[derive(Debug)]
pub(crate) struct PipeSettings {
    pub(crate) room: Arc<str>,
    pub(crate) json: bool,
    pub(crate) follow: bool,
    pub(crate) history: bool,
    pub(crate) connect_timeout: Duration,
}

impl Cli {
    pub(crate) fn plan(&self) -> Result<Plan> {
        let has_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let room = self.room.as_deref().map(name::room).transpose().context("--room")?;
        let mode = if has_terminal && !self.json {
            Mode::Terminal
        } else {
            Mode::Pipe(PipeSettings {
                room: room.clone().ok_or_else(|| {
                    anyhow!(
                        "--room: it is missing; without a prompt, write where lines are said, as --room lobby"
                    )
                })?,
                json: self.json,
                follow: self.follow,
                history: self.history,
                connect_timeout: parse_duration(&self.connect_timeout).context("--connect-timeout")?,
            })
        };
        let color = match self.color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => has_terminal && colors_are_wanted(|key| std::env::var(key).ok()),
        };
        let server = checked_address(&self.server).context("--server")?;
        let (carrier, security) = self.carrier(&server)?;
        Ok(Plan {
            server,
            user: name::user(&self.user).context("--user")?,
            room,
            carrier,
            security,
            codec: self.codec.parse().context("--codec")?,
            clock: Clock::start(),
            color,
            quiet: self.quiet,
            mode,
        })
    }

    /// What carries the session, and whom it believes if it is encrypted.
    fn carrier(&self, server: &str) -> Result<(CarrierKind, Option<Security>)> {
        let wants_security = self.ca.is_some() || self.fingerprint.is_some() || self.server_name.is_some();
        let carrier = match (&*self.transport, wants_security) {
            ("tcp", false) => return Ok((CarrierKind::Stream, None)),
            ("udp", false) => return Ok((CarrierKind::Datagram, None)),
            ("tcp", true) | ("tls", _) => CarrierKind::Stream,
            ("udp", true) => CarrierKind::SealedDatagram,
            ("ws", _) => {
                return Err(anyhow!(
                    "--transport: \"ws\" is not there yet in this version; write tcp, tls or udp"
                ));
            }
            (other, _) => {
                return Err(anyhow!("--transport: \"{other}\" is not a transport; write tcp, tls or udp"));
            }
        };
        let trust = match (&self.ca, &self.fingerprint) {
            (Some(path), _) => roots_in(path).context("--ca")?,
            (None, Some(text)) => Trust::Fingerprint(text.parse().context("--fingerprint")?),
            (None, None) => system_roots().context("--transport tls")?,
        };
        let (host, _port) = server.rsplit_once(':').unwrap_or((server, ""));
        let name = self.server_name.as_deref().unwrap_or(host).trim_matches(['[', ']']);
        Ok((carrier, Some(Security::new(trust, name).context("--server-name")?)))
    }

    /// The least severe level to log.
    pub(crate) fn verbosity(&self) -> &'static str {
        match self.verbose {
            0 if self.quiet => "error",
            0 => "warn",
            1 => "debug",
            _ => "trace",
        }
    }
}

impl Plan {
    /// Starts the session. It goes on connecting by itself.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let server = self.resolve().await?;
        let mut session = SessionConfig::new(&self.user, self.carrier, fresh_seed());
        session.codec = self.codec;
        session.unix_us_at_zero = (self.clock.unix_at_zero() * 1e6) as u64;
        let security = self.security.clone();
        Ok(Client::start(ClientConfig { server, session, security, clock: self.clock }))
    }

    /// The address to use. Where a name has several (as `localhost` often has, of both families), the first that accepts
    /// a connection; UDP cannot ask, and takes IPv4 first, which is what servers listen on by default.
    async fn resolve(&self) -> Result<SocketAddr, Failure> {
        let unknown = |error: std::io::Error| {
            Failure::Unreachable(anyhow!(
                "--server: \"{}\" is not found: {error}; check the name",
                self.server
            ))
        };
        let mut found: Vec<SocketAddr> = lookup_host(&self.server).await.map_err(unknown)?.collect();
        found.sort_by_key(SocketAddr::is_ipv6);
        let Some(&first) = found.first() else {
            return Err(unknown(std::io::ErrorKind::NotFound.into()));
        };
        if found.len() > 1 && self.carrier == CarrierKind::Stream {
            for &address in &found {
                if let Ok(Ok(_)) = timeout(PROBE_TIMEOUT, TcpStream::connect(address)).await {
                    return Ok(address);
                }
            }
        }
        Ok(first)
    }
}

/// Why the program ends without having done what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something to be written differently.
    Usage(anyhow::Error),
    /// No server there, or none that answers.
    Unreachable(anyhow::Error),
    /// Refused, not delivered, or broken.
    Failed(anyhow::Error),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Unreachable(_) => 5,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Usage(error) | Failure::Unreachable(error) | Failure::Failed(error)) = self;
        write!(f, "{error:#}")
    }
}

/// Checks the form only; whether the host exists is found out when connecting.
fn checked_address(text: &str) -> Result<String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    match port.map(str::parse::<u16>) {
        Some(Ok(1..)) => Ok(text.to_owned()),
        _ => Err(anyhow!("\"{text}\" is not an address; write host:port, for example 127.0.0.1:8888")),
    }
}

/// <https://no-color.org>, and what terminals without colour say of themselves.
fn colors_are_wanted(env: impl Fn(&str) -> Option<String>) -> bool {
    let refused = env("NO_COLOR").is_some_and(|value| !value.is_empty());
    !refused && env("TERM").is_none_or(|term| term != "dumb")
}

/// Chance for jitter and connection ids, different in every run: the keys of a std hasher come from the system.
fn fresh_seed() -> Seed {
    Seed::root(RandomState::new().build_hasher().finish())
}

/// For each address of a name with several; most answer or refuse within a few milliseconds.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "Examples:
  chat-client --user alice --room lobby
      talk at a prompt; /help lists what it knows
  echo hi | chat-client --user bot --room lobby
      say one line, wait until the server has it
  chat-client --user log --room lobby --json --follow </dev/null
      print what is said, one JSON object a line

JSON lines have type (chat, history, private, broadcast, announcement, join, leave), room, seq,
sender, text and timestamp, those that apply; ignore types and fields that you do not know.

Exit codes: 0 done · 1 refused or not delivered · 2 usage · 5 server unreachable · 130 interrupted";

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(args: &[&str]) -> Result<Plan> {
        Cli::parse_from(["chat-client", "--json"].iter().chain(args)).plan()
    }

    fn refusal(args: &[&str]) -> String {
        format!("{:#}", plan(args).expect_err("refused"))
    }

    #[test]
    fn a_full_line_is_understood() {
        let plan =
            plan(&["--user", "alice", "--room", "lobby", "--transport", "udp", "--connect-timeout", "500ms"]);
        let plan = plan.expect("valid");
        assert_eq!((&*plan.user, plan.carrier), ("alice", CarrierKind::Datagram));
        assert!(matches!(plan.mode, Mode::Pipe(settings)
            if &*settings.room == "lobby" && settings.connect_timeout == Duration::from_millis(500)));
    }

    #[test]
    fn a_wrong_value_names_its_flag_and_what_to_write() {
        let lobby = ["--user", "alice", "--room", "lobby"];
        let with = |more: &[&'static str]| refusal(&[&lobby[..], more].concat());
        assert_eq!(
            with(&["--server", "8888"]),
            "--server: \"8888\" is not an address; write host:port, for example 127.0.0.1:8888"
        );
        assert!(with(&["--transport", "ws"]).contains("not there yet"));
        assert!(with(&["--transport", "pigeon"]).contains("write tcp, tls or udp"));
        assert!(with(&["--connect-timeout", "soon"]).starts_with("--connect-timeout: "));
        assert!(refusal(&["--user", "a b", "--room", "x"]).starts_with("--user: "));
        assert!(refusal(&["--user", "a", "--room", "x y"]).starts_with("--room: "));
        assert!(refusal(&["--user", "a"]).starts_with("--room: it is missing"));
    }

    #[test]
    fn what_says_whom_to_believe_encrypts() {
        let plan = |more: &[&str]| plan(&[&["--user", "alice", "--room", "lobby"], more].concat());
        let print = "ab".repeat(32);
        for (arguments, carrier) in [
            (["--transport", "udp", "--fingerprint", &print], CarrierKind::SealedDatagram),
            (["--transport", "tcp", "--fingerprint", &print], CarrierKind::Stream),
            (["--transport", "tls", "--fingerprint", &print], CarrierKind::Stream),
        ] {
            let plan = plan(&arguments).expect("valid");
            assert_eq!((plan.carrier, plan.security.is_some()), (carrier, true), "{arguments:?}");
        }
        assert!(plan(&["--transport", "udp"]).expect("valid").security.is_none());
        for (flag, value, says) in [
            ("--fingerprint", "abc", "--fingerprint: \"abc\" is no SHA-256 fingerprint"),
            ("--ca", "/does/not/exist", "--ca: /does/not/exist: cannot be read"),
            ("--server-name", "a b", "--server-name: \"a b\" is no host name"),
        ] {
            let trust = if flag == "--server-name" { &["--fingerprint", &print][..] } else { &[] };
            let error = plan(&[&[flag, value], trust].concat()).expect_err("refused");
            assert!(format!("{error:#}").starts_with(says), "{error:#}");
        }
    }

    #[test]
    fn host_names_and_ipv6_addresses_are_addresses() {
        for address in ["localhost:8888", "chat.example.org:1", "[::1]:8888"] {
            assert!(checked_address(address).is_ok(), "{address}");
        }
        for wrong in ["", ":8888", "localhost", "localhost:0", "localhost:70000"] {
            assert!(checked_address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_color_counts_only_if_it_says_something() {
        assert!(colors_are_wanted(|_| None));
        assert!(colors_are_wanted(|key| (key == "NO_COLOR").then(String::new)));
        assert!(!colors_are_wanted(|key| (key == "NO_COLOR").then(|| "1".to_owned())));
        assert!(!colors_are_wanted(|key| (key == "TERM").then(|| "dumb".to_owned())));
    }

    #[test]
    fn the_help_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
