//! The `admin` program against a server in this process: what it prints and how it exits.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use chat_server::admin::{AdminConfig, Token, TokenSource};
use chat_server::{ServerConfig, ServerHandle, start};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use units::Seed;

#[test]
fn stats_name_the_bad_input_and_the_weather() {
    let house = House::new();
    house.send_garbage();
    let text = house.done(&["stats"]);
    for part in ["server", "malformed 1", "bad checksums 0", "hello timeouts 0", "simulation  off"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let stats: Value = serde_json::from_str(&house.done(&["stats", "--json"])).unwrap();
    assert_eq!(stats["events"]["malformed"], 1);
}

#[test]
fn weather_is_switched_on_shown_and_off() {
    let house = House::new();
    let text = house.done(&["simulate", "10", "50", "--for", "30s"]);
    assert!(text.starts_with("simulation: 10 % loss, 50 ms delay each way, ends in 30 s"), "{text}");
    assert!(house.done(&["stats"]).contains("10 % loss, 50 ms delay each way"));
    assert!(house.done(&["simulate"]).contains("10 % loss"));
    assert!(house.done(&["simulate", "off"]).starts_with("simulation: off"));
}

#[test]
fn nonsense_weather_is_one_line_and_exit_code_2() {
    let house = House::new();
    for (arguments, message) in [
        (["simulate", "120", "0"], "error: simulate: loss \"120\" is not a percentage; write 0 to 100\n"),
        (["simulate", "-3", "0"], "error: simulate: loss \"-3\" is not a percentage; write 0 to 100\n"),
        (
            ["simulate", "10", "-50"],
            "error: simulate: delay \"-50\" is not from 0 to 60000 milliseconds; write for example 50\n",
        ),
    ] {
        let output = house.admin(&arguments);
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(2), message));
    }
}

#[test]
fn clients_are_listed_told_and_kicked() {
    let house = House::new();
    assert_eq!(house.done(&["clients"]), "no clients\n");
    let mut alice = house.enter("alice");
    let text = house.done(&["clients"]);
    assert!(text.contains("alice") && text.contains("tcp 127.0.0.1:"), "{text}");
    assert_eq!(house.done(&["broadcast", "back", "at", "noon"]), "told 1 client\n");
    assert_eq!(house.done(&["kick", "alice", "--reason", "too loud"]), "kicked alice (id 1)\n");
    let mut heard = Vec::new();
    alice.read_to_end(&mut heard).unwrap();
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard.contains("back at noon") && heard.contains("too loud"), "{heard}");
    let output = house.admin(&["kick", "alice"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(stderr(&output).contains("no client \"alice\""), "{}", stderr(&output));
}

#[test]
fn without_the_token_a_change_is_refused_and_the_place_is_named() {
    let house = House::new();
    let output = house.command(&["broadcast", "hi"]).env_remove("CHAT_ADMIN_TOKEN").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let expected = format!("squall-admin-{}.token", house.port());
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    let output =
        house.command(&["broadcast", "hi"]).env("CHAT_ADMIN_TOKEN", "f".repeat(32)).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("wrong admin token"), "{}", stderr(&output));
    let output = house.command(&["stats"]).env_remove("CHAT_ADMIN_TOKEN").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "reading needs no token");
}

#[test]
fn the_token_of_a_server_of_the_same_user_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join(format!("squall-{}", uid(folder.path())));
    let house = House::with(|admin| {
        admin.token = TokenSource::Fresh;
        admin.token_folder = Some(own);
    });
    let mut command = house.command(&["broadcast", "hi"]);
    command.env_remove("CHAT_ADMIN_TOKEN").env_remove("XDG_RUNTIME_DIR").env("TMPDIR", folder.path());
    let output = command.output().unwrap();
    assert_eq!(stdout(&output), "told 0 clients\n", "{}", stderr(&output));
    let path = house.server.admin_token_file().unwrap().to_owned();
    let named = ["broadcast", "hi", "--token-file", path.to_str().unwrap()];
    let output = house.command(&named).env_remove("CHAT_ADMIN_TOKEN").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn where_no_server_is_the_address_and_what_to_do_are_named() {
    // Nothing listens on port 1.
    for arguments in [&["--port", "1", "stats"], &["--port", "1", "shutdown"]] {
        let output = program(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(5));
        let text = stderr(&output);
        assert!(text.contains("127.0.0.1:1") && text.contains("start one with chat-server"), "{text}");
    }
}

#[test]
fn a_monitor_on_a_pipe_is_a_line_an_interval() {
    let house = House::new();
    let text = house.done(&["monitor", "--interval", "100ms", "--count", "2"]);
    assert_eq!(text.lines().count(), 3, "{text}");
    let text = house.done(&["monitor", "--interval", "0.1", "--count", "2", "--json"]);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1]["per_second"]["lines_in"], 0.0);
    let output = house.admin(&["monitor", "--interval", "soon"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_monitor_shows_a_server_that_went_away_as_gaps() {
    let house = House::new();
    let mut command = house.command(&["monitor", "--interval", "100ms", "--count", "5"]);
    let mut monitor = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = monitor.stdout.take().unwrap();
    // The header is there after the first poll.
    let mut header = [0; 4];
    stdout.read_exact(&mut header).unwrap();
    house.runtime.block_on(house.server.shutdown(Duration::ZERO));
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    assert!(text.contains("no answer: no server answers on 127.0.0.1:"), "{text}");
    assert_eq!(monitor.wait().unwrap().code(), Some(0));
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let house = House::new();
    let mut command = house.command(&["monitor", "--interval", "100ms"]);
    let mut monitor = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(monitor.stdout.take());
    let output = monitor.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn shutdown_stops_the_server() {
    let house = House::new();
    let text = house.done(&["shutdown", "--drain", "100ms"]);
    assert_eq!(text, "the server stops, after 0.1 s at most\n");
    house.runtime.block_on(house.server.wait());
}

#[test]
fn no_command_on_a_pipe_is_short_help_and_exit_code_2() {
    let output = program(&[]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("error: no command; try admin stats"), "{}", stderr(&output));
}

/// A server with an admin port, and the program pointed at it.
struct House {
    runtime: Runtime,
    server: ServerHandle,
    /// Where the program looks for tokens: an empty folder, so that no other server's is found.
    folder: TempDir,
}

impl House {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut AdminConfig)) -> Self {
        let mut admin = AdminConfig::new(([127, 0, 0, 1], 0).into());
        admin.token = TokenSource::Given(Token::parse(TOKEN, "test").unwrap());
        change(&mut admin);
        let config = ServerConfig { admin: Some(admin), ..ServerConfig::on_loopback(Seed::root(1)) };
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(start(config)).unwrap();
        Self { runtime, server, folder: tempfile::tempdir().unwrap() }
    }

    fn port(&self) -> String {
        self.server.admin_addr().unwrap().port().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(&["--port", &self.port()]);
        command.args(arguments).env("CHAT_ADMIN_TOKEN", TOKEN);
        command.env_remove("XDG_RUNTIME_DIR").env("TMPDIR", self.folder.path());
        command
    }

    fn admin(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command prints that succeeds.
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.admin(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        stdout(&output)
    }

    fn send_garbage(&self) {
        let mut stream = TcpStream::connect(self.server.tcp_addr()).unwrap();
        stream.write_all(b"\0\0\0\x05hello").unwrap();
        // The server closes after it has counted.
        stream.read_to_end(&mut Vec::new()).unwrap();
    }

    /// A client with a session; the frame is the one of a client in another language.
    fn enter(&self, user: &str) -> TcpStream {
        let body = format!(
            "{{\"msg_id\":\"h\",\"msg_type\":\"hello\",\"sender\":\"{user}\",\"content\":{{\"version\":1,\"user\":\"{user}\"}},\
             \"timestamp\":1.0,\"checksum\":\"00000000\",\"priority\":0,\"sequence_number\":0}}"
        );
        let sum = format!("{:08x}", crc32c::crc32c(body.as_bytes()));
        let body = body.replace("00000000", &sum);
        let mut stream = TcpStream::connect(self.server.tcp_addr()).unwrap();
        stream.write_all(&u32::try_from(body.len()).unwrap().to_be_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        // The welcome.
        stream.read_exact(&mut [0; 4]).unwrap();
        stream
    }
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("admin"));
    command.args(arguments).env_remove("CHAT_ADMIN_TOKEN");
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Of this user, read from a file that this user made.
fn uid(path: &std::path::Path) -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap())
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
