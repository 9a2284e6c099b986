//! The `chat-server` program: what it prints, how it ends.

mod common;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use common::Client;

#[test]
fn it_prints_its_addresses_and_ends_in_order_on_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &["--listen", ":0", "--admin", ":0"]);
    let lines: Vec<String> = server.lines(4);
    let tcp: SocketAddr = lines[0].strip_prefix("chat   tcp   ").unwrap().parse().unwrap();
    assert!(lines[1].starts_with("chat   udp   127.0.0.1:"), "{lines:?}");
    assert!(lines[2].starts_with("admin  http  127.0.0.1:"), "{lines:?}");
    let token = lines[3].strip_prefix("admin  token ").unwrap();
    assert!(std::path::Path::new(token).starts_with(folder.path()), "{token}");
    assert!(std::path::Path::new(token).exists());
    drop(Client::enter(tcp, "alice"));
    server.signal("TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(!std::path::Path::new(token).exists(), "the token goes with its server");
}

#[test]
fn a_port_in_use_is_one_line_and_exit_code_2() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = command().args(["--listen", &address, "--no-admin", "--no-udp"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let expected = format!(
        "error: {address} (chat, tcp) is in use; choose another with --listen, or :0 for a free one\n"
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
}

#[test]
fn wrong_values_are_exit_code_2() {
    for arguments in [
        &["--listen", "nowhere"][..],
        &["--admin", "0.0.0.0:0", "--listen", ":0"],
        &["--admin-token-file", "/does/not/exist"],
        &["--config", "/does/not/exist"],
        &["--udp", ":0", "--no-udp"],
        &["--nonsense"],
    ] {
        let output = command().args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
}

fn command() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("chat-server"));
    command.env_remove("CHAT_ADMIN_TOKEN").env_remove("RUST_LOG");
    command
}

/// A running program; killed if a test fails before it ends.
struct Server {
    child: Child,
}

impl Server {
    fn start(folder: &std::path::Path, arguments: &[&str]) -> Self {
        let child = command()
            .args(arguments)
            .env("TMPDIR", folder)
            .env_remove("XDG_RUNTIME_DIR")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child }
    }

    fn lines(&mut self, count: usize) -> Vec<String> {
        let stdout = BufReader::new(self.child.stdout.take().unwrap());
        stdout.lines().take(count).map(Result::unwrap).collect()
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has usually ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
