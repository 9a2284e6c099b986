//! What can be written on the command line and in the config file, and what it means.
//!
//! Both have the same keys. A flag wins over the file, the file over the default. Values are taken as text and parsed
//! here, so that a wrong one gets the same one-line message wherever it stood.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use chat_core::wire::Codec;
use chat_server::admin::token::unguessable_seed;
use chat_server::admin::{AdminConfig, Token, TokenSource};
use chat_server::endpoint::AddressValidation;
use chat_server::engine::EngineConfig;
use chat_server::{ServerConfig, Tls};
use clap::{Args, Parser};
use serde::Deserialize;
use units::{Seed, parse_duration};

/// Reliable chat rooms over TCP and UDP, for good networks and bad ones.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLE)]
pub(crate) struct Cli {
    #[command(flatten)]
    settings: Settings,
    /// No UDP port.
    #[arg(long, conflicts_with = "udp")]
    no_udp: bool,
    /// No admin port.
    #[arg(long, conflicts_with = "admin")]
    no_admin: bool,
    /// TOML file with the same keys as the flags, for example: listen = "0.0.0.0:8888". Flags win.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Fixed seed of session tokens and simulated weather. Tokens can then be guessed: for tests only.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Log more: once for debug, twice for trace. RUST_LOG wins.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Log warnings only.
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// What flags and the config file share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Settings {
    /// Address of the chat on TCP; port 0 picks a free one and prints it. Default: 127.0.0.1:8888.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address of the chat on UDP, or "none". Default: the same as --listen.
    #[arg(long, value_name = "ADDR")]
    udp: Option<String>,
    /// When UDP peers must prove their address before they cost anything: always (default), loaded (while many have not
    /// yet), or never (then they are sent little until they have answered).
    #[arg(long, value_name = "WHEN")]
    udp_retry: Option<String>,
    /// Address of the admin port (HTTP), or "none". Default: 127.0.0.1:8889.
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,
    /// Read the admin token from this file instead of making one. The variable CHAT_ADMIN_TOKEN gives it, too.
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// Let --admin be an address that other machines can reach. Needs a token of your own.
    #[arg(long)]
    #[serde(default)]
    admin_allow_remote: bool,
    /// Certificate chain in PEM form, the server's own first. Then TLS is spoken on the TCP port beside plain frames, and
    /// datagrams have to be encrypted.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert in PEM form.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Use the certificate in this folder instead, and make one there (cert.pem, key.pem) the first time. Its fingerprint
    /// is printed, for chat-client --fingerprint.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["tls_cert", "tls_key"])]
    tls_self_signed: Option<PathBuf>,
    /// With a certificate: let peers over UDP speak unencrypted all the same.
    #[arg(long)]
    #[serde(default)]
    udp_plain: bool,
    /// How long a shutdown waits for acknowledgements at most. Default: 10s.
    #[arg(long, value_name = "SPAN")]
    drain: Option<String>,
    /// Connections open at once. Default: 20000.
    #[arg(long, value_name = "N")]
    max_connections: Option<u32>,
    /// How long a connection may take to say hello. Default: 10s.
    #[arg(long, value_name = "SPAN")]
    hello_timeout: Option<String>,
    /// How long a session waits for its client after the connection broke. Default: 60s.
    #[arg(long, value_name = "SPAN")]
    session_ttl: Option<String>,
    /// Transport constants: modern (default) or classic, the textbook's.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Congestion controller: cubic (default; in the classic profile reno), reno, bbr, or fixed:N, a constant window of N
    /// segments.
    #[arg(long, value_name = "NAME")]
    congestion: Option<String>,
    /// Codec for clients that ask for it: binary (default), or json to speak nothing else.
    #[arg(long, value_name = "NAME")]
    codec: Option<String>,
}

/// What the arguments mean.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) server: ServerConfig,
    pub(crate) drain: Duration,
}

impl Cli {
    /// Reads files and the environment, checks everything.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let file = self.config.as_deref().map(read_config).transpose()?.unwrap_or_default();
        let settings = self.settings.clone().over(file);
        let seed = match self.seed {
            Some(number) => Seed::root(number),
            None => unguessable_seed()?,
        };
        let tcp = address("--listen", settings.listen.as_deref().unwrap_or(LISTEN))?;
        let udp = match settings.udp.as_deref() {
            _ if self.no_udp => None,
            Some("none") => None,
            Some(text) => Some(address("--udp", text)?),
            None => Some(tcp),
        };
        let admin = match settings.admin.as_deref() {
            _ if self.no_admin => None,
            Some("none") => None,
            text => Some(settings.admin(address("--admin", text.unwrap_or(ADMIN))?)?),
        };
        let tls = settings.tls(tcp)?;
        let udp_retry = match &settings.udp_retry {
            Some(text) => text.parse().map_err(|error| anyhow!("--udp-retry: {error}"))?,
            None => AddressValidation::default(),
        };
        let engine = settings.engine(seed)?;
        let server =
            ServerConfig { engine, tcp, listeners: Vec::new(), udp, udp_retry, tls, admin, clock: None };
        let drain = span("--drain", settings.drain.as_deref(), DRAIN)?;
        Ok(Plan { server, drain })
    }
}

impl Settings {
    /// These settings, and `other`'s where these say nothing.
    fn over(self, other: Self) -> Self {
        let own_pair_is_missing = self.tls_cert.is_none() && self.tls_key.is_none();
        Self {
            listen: self.listen.or(other.listen),
            udp: self.udp.or(other.udp),
            udp_retry: self.udp_retry.or(other.udp_retry),
            admin: self.admin.or(other.admin),
            admin_token_file: self.admin_token_file.or(other.admin_token_file),
            admin_allow_remote: self.admin_allow_remote || other.admin_allow_remote,
            // Where one says where the certificate is, the other's way is not meant.
            tls_cert: self.tls_cert.or(other.tls_cert.filter(|_| self.tls_self_signed.is_none())),
            tls_key: self.tls_key.or(other.tls_key.filter(|_| self.tls_self_signed.is_none())),
            tls_self_signed: self
                .tls_self_signed
                .or(own_pair_is_missing.then_some(other.tls_self_signed).flatten()),
            udp_plain: self.udp_plain || other.udp_plain,
            drain: self.drain.or(other.drain),
            max_connections: self.max_connections.or(other.max_connections),
            hello_timeout: self.hello_timeout.or(other.hello_timeout),
            session_ttl: self.session_ttl.or(other.session_ttl),
            profile: self.profile.or(other.profile),
            congestion: self.congestion.or(other.congestion),
            codec: self.codec.or(other.codec),
        }
    }

    fn tls(&self, listen: SocketAddr) -> Result<Option<Tls>> {
        let mut tls = match (&self.tls_cert, &self.tls_key, &self.tls_self_signed) {
            (None, None, None) if self.udp_plain => {
                return Err(anyhow!(
                    "--udp-plain: it is so already; without a certificate nothing is encrypted"
                ));
            }
            (None, None, None) => return Ok(None),
            (Some(cert), Some(key), None) => Tls::read(cert, key).context("--tls-cert, --tls-key")?,
            (None, None, Some(folder)) => {
                let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
                let own = Some(listen.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified());
                let names: Vec<String> = names.into_iter().chain(own.map(|ip| ip.to_string())).collect();
                Tls::self_signed(folder, &names).context("--tls-self-signed")?
            }
            (Some(_), None, None) => return Err(anyhow!("--tls-key: it is missing; --tls-cert needs both")),
            (None, Some(_), None) => return Err(anyhow!("--tls-cert: it is missing; --tls-key needs both")),
            _ => {
                return Err(anyhow!("--tls-self-signed: there is a --tls-cert as well; give one of them"));
            }
        };
        tls.plain_datagrams = self.udp_plain;
        Ok(Some(tls))
    }

    fn engine(&self, seed: Seed) -> Result<EngineConfig> {
        let mut engine = EngineConfig::new(seed);
        if let Some(text) = &self.profile {
            let profile = text.parse().map_err(|error| anyhow!("--profile: {error}"))?;
            engine.transport = chat_core::TransportConfig::new(profile);
        }
        if let Some(text) = &self.congestion {
            engine.transport.congestion = text.parse().map_err(|error| anyhow!("--congestion: {error}"))?;
        }
        if let Some(text) = &self.codec {
            let codec: Codec = text.parse().map_err(|error| anyhow!("--codec: {error}"))?;
            engine.binary = codec == Codec::Binary;
        }
        match self.max_connections {
            Some(0) => return Err(anyhow!("--max-connections: 0 lets nobody in; write 1 or more")),
            Some(limit) => engine.max_peers = limit as usize,
            None => {}
        }
        engine.hello_timeout = span("--hello-timeout", self.hello_timeout.as_deref(), engine.hello_timeout)?;
        engine.session_ttl = span("--session-ttl", self.session_ttl.as_deref(), engine.session_ttl)?;
        Ok(engine)
    }

    fn admin(&self, listen: SocketAddr) -> Result<AdminConfig> {
        let token = match (&self.admin_token_file, std::env::var(TOKEN_VARIABLE)) {
            (Some(path), _) => TokenSource::Given(Token::read(path)?),
            (None, Ok(text)) => TokenSource::Given(Token::parse(&text, TOKEN_VARIABLE)?),
            (None, Err(_)) => TokenSource::Fresh,
        };
        Ok(AdminConfig { token, allow_remote: self.admin_allow_remote, ..AdminConfig::new(listen) })
    }
}

fn read_config(path: &Path) -> Result<Settings> {
    let text = fs::read_to_string(path).with_context(|| format!("--config: {}", path.display()))?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        anyhow!("{}:{line}: {}", path.display(), error.message().replace('\n', " "))
    })
}

/// `127.0.0.1:8888`, `[::1]:8888`, `localhost:8888`, or `:8888` for this machine only.
fn address(flag: &str, text: &str) -> Result<SocketAddr> {
    let wrong = || {
        anyhow!("{flag}: \"{text}\" is no address; write for example 127.0.0.1:8888, or :0 for a free port")
    };
    if let Some(port) = text.strip_prefix(':') {
        return Ok((Ipv4Addr::LOCALHOST, port.parse().map_err(|_| wrong())?).into());
    }
    text.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(wrong)
}

fn span(flag: &str, text: Option<&str>, default: Duration) -> Result<Duration> {
    text.map_or(Ok(default), |text| parse_duration(text).map_err(|error| anyhow!("{flag}: {error}")))
}

const LISTEN: &str = "127.0.0.1:8888";
const ADMIN: &str = "127.0.0.1:8889";
const DRAIN: Duration = Duration::from_secs(10);
const TOKEN_VARIABLE: &str = "CHAT_ADMIN_TOKEN";
const EXAMPLE: &str = "\
Examples:
  chat-server
  chat-server --listen 0.0.0.0:8888 --admin 127.0.0.1:8889
  chat-server --listen 0.0.0.0:8888 --tls-self-signed ~/.squall
  chat-server --listen :0 --no-udp --no-admin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_follows_listen_unless_told_otherwise() {
        assert_eq!(plan(&["--listen", ":7000"]).server.udp, Some(([127, 0, 0, 1], 7000).into()));
        assert_eq!(plan(&["--udp", "[::1]:7001"]).server.udp.unwrap().to_string(), "[::1]:7001");
        assert_eq!(plan(&["--no-udp"]).server.udp, None);
        assert_eq!(plan(&["--udp", "none"]).server.udp, None);
    }

    #[test]
    fn a_wrong_value_names_its_flag_and_a_right_one() {
        for (arguments, message) in [
            (
                ["--listen", "nowhere"],
                "--listen: \"nowhere\" is no address; write for example 127.0.0.1:8888, or :0 for a free port",
            ),
            (["--drain", "10"], "--drain: \"10\" has no unit; write for example 50ms or 2.5s"),
            (
                ["--congestion", "vegas"],
                "--congestion: \"vegas\" is not a controller; write reno, cubic, bbr, or fixed:32 for 32 segments",
            ),
        ] {
            let error = parse(&arguments).plan().unwrap_err();
            assert_eq!(format!("{error:#}"), message);
        }
    }

    #[test]
    fn the_file_fills_in_what_the_flags_leave_open() {
        let file = config("listen = \"127.0.0.1:7000\"\ndrain = \"3s\"\nudp = \"none\"\n");
        let path = file.path().to_str().unwrap();
        let plan = plan(&["--config", path, "--listen", ":7009"]);
        assert_eq!((plan.server.tcp.port(), plan.server.udp), (7009, None));
        assert_eq!(plan.drain, Duration::from_secs(3));
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let file = config("listen = \":0\"\nlissten = \":0\"\n");
        let path = file.path().to_str().unwrap();
        let error = parse(&["--config", path]).plan().unwrap_err().to_string();
        assert!(error.contains(":2: unknown field `lissten`"), "{error}");
    }

    #[test]
    fn the_annotated_example_shows_every_key_and_is_read() {
        let page = include_str!("../../docs/ADMIN.md");
        let (_, rest) = page.split_once("```toml\n").unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        let settings: Settings = toml::from_str(example).unwrap();
        let Settings { listen, udp, admin, drain, max_connections, .. } = &settings;
        assert!(listen.is_some() && udp.is_some() && admin.is_some() && drain.is_some());
        assert!(
            max_connections.is_some() && settings.session_ttl.is_some() && settings.hello_timeout.is_some()
        );
        assert!(settings.admin_token_file.is_some() && settings.profile.is_some());
        assert!(settings.tls_cert.is_some() && settings.tls_key.is_some());
        assert!(settings.engine(Seed::root(1)).is_ok() && settings.congestion.is_some());
    }

    fn plan(arguments: &[&str]) -> Plan {
        parse(arguments).plan().unwrap()
    }

    fn parse(arguments: &[&str]) -> Cli {
        Cli::try_parse_from([&["chat-server"], arguments].concat()).unwrap()
    }

    fn config(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }
}
