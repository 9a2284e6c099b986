//! The binary against a server with a certificate, over real sockets: what is encrypted, and who is turned away.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use chat_server::{ServerConfig, ServerHandle, Tls, start};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use units::Seed;

/// A server with a certificate of its own for `localhost` and 127.0.0.1.
struct World {
    runtime: Runtime,
    server: ServerHandle,
    folder: TempDir,
}

impl World {
    fn new(plain_datagrams: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut tls = Tls::self_signed(folder.path(), &names).unwrap();
        tls.plain_datagrams = plain_datagrams;
        let runtime = Runtime::new().unwrap();
        let config = ServerConfig { tls: Some(tls), ..ServerConfig::on_loopback(Seed::root(1)) };
        let server = runtime.block_on(start(config)).unwrap();
        Self { runtime, server, folder }
    }

    fn address(&self, transport: &str) -> SocketAddr {
        if transport == "udp" { self.server.udp_addr().unwrap() } else { self.server.tcp_addr() }
    }

    fn fingerprint(&self) -> String {
        self.server.fingerprint().unwrap().to_string()
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// Says one line in the lobby and waits until the server has it.
    fn say(&self, transport: &str, more: &[&str]) -> Output {
        let address = self.address(transport).to_string();
        self.say_at(&address, transport, more)
    }

    fn say_at(&self, address: &str, transport: &str, more: &[&str]) -> Output {
        let mut client = Command::new(env!("CARGO_BIN_EXE_chat-client"))
            .args(["--server", address, "--transport", transport, "--user", "alice", "--room", "lobby"])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env_remove("RUST_LOG")
            .spawn()
            .unwrap();
        client.stdin.take().unwrap().write_all(b"between you and me\n").unwrap();
        client.wait_with_output().unwrap()
    }

    fn net(&self) -> chat_server::control::NetCounters {
        self.runtime.block_on(self.server.stats()).expect("the server runs").net
    }

    fn lines_said(&self) -> u64 {
        self.runtime.block_on(self.server.stats()).expect("the server runs").chat.lines_in
    }
}

#[track_caller]
fn succeeded(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
}

/// Turned away for good, with one line that says why.
#[track_caller]
fn turned_away(output: &Output, says: &str) {
    let stderr = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(says) && stderr.trim_end().lines().count() == 1, "{stderr}");
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_line_goes_over_tls_and_over_sealed_datagrams() {
    let world = World::new(false);
    let (fingerprint, certificate) = (world.fingerprint(), world.certificate());
    let certificate = certificate.to_str().unwrap();
    succeeded(&world.say("tls", &["--fingerprint", &fingerprint]));
    succeeded(&world.say("tls", &["--ca", certificate]));
    assert_eq!((world.lines_said(), world.net().datagrams_opened), (2, 0));
    succeeded(&world.say("udp", &["--fingerprint", &fingerprint]));
    succeeded(&world.say("udp", &["--ca", certificate, "--server-name", "localhost"]));
    let net = world.net();
    assert_eq!((world.lines_said(), net.handshakes_failed, net.datagrams_forged), (4, 0, 0));
    assert!(net.datagrams_opened > 4 && net.datagrams_sealed > 4, "{net:?}");
}

#[test]
fn plain_frames_still_go_over_tcp() {
    let world = World::new(false);
    succeeded(&world.say("tcp", &[]));
    assert_eq!(world.lines_said(), 1);
}

#[test]
fn plain_datagrams_are_refused_unless_the_operator_lets_them_in() {
    let world = World::new(false);
    turned_away(&world.say("udp", &[]), "takes only encrypted datagrams; connect with --fingerprint or --ca");
    assert_eq!((world.lines_said(), world.net().datagrams_unencrypted), (0, 1));
    let world = World::new(true);
    succeeded(&world.say("udp", &[]));
    assert_eq!(world.lines_said(), 1);
}

#[test]
fn a_server_that_is_not_believed_hears_nothing() {
    let (world, other) = (World::new(false), World::new(false));
    let (fingerprint, certificate) = (other.fingerprint(), world.certificate());
    let stranger = other.certificate();
    for transport in ["tls", "udp"] {
        let say = |more: &[&str]| world.say(transport, more);
        turned_away(&say(&["--fingerprint", &fingerprint]), "not the one given with --fingerprint");
        turned_away(&say(&["--ca", stranger.to_str().unwrap()]), "signed by nobody known; give --ca");
        let name = ["--ca", certificate.to_str().unwrap(), "--server-name", "chat.example"];
        turned_away(&say(&name), "is for another name; give the right one with --server-name");
    }
    assert_eq!(world.lines_said(), 0);
}

#[test]
fn a_server_without_a_certificate_is_not_spoken_to_by_those_who_want_one() {
    let runtime = Runtime::new().unwrap();
    let server = runtime.block_on(start(ServerConfig::on_loopback(Seed::root(1)))).unwrap();
    let world = World { runtime, server, folder: tempfile::tempdir().unwrap() };
    for transport in ["tls", "udp"] {
        let print = "00".repeat(32);
        let output = world.say(transport, &["--fingerprint", &print, "--connect-timeout", "1s"]);
        assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
    }
    assert_eq!(world.lines_said(), 0);
}
