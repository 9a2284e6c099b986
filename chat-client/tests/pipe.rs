//! The binary between two pipes, against a whole server on loopback: what a script sees.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use chat_client::net::{Client, ClientConfig};
use chat_client::session::{CarrierKind, SessionConfig, SessionEvent};
use chat_server::{ServerConfig, ServerHandle, start};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use units::{Clock, Seed};

/// A server, and the runtime that it lives in.
struct World {
    runtime: Runtime,
    server: ServerHandle,
}

impl World {
    fn new() -> Self {
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(start(ServerConfig::on_loopback(Seed::root(1)))).unwrap();
        Self { runtime, server }
    }

    fn address(&self, transport: &str) -> SocketAddr {
        if transport == "udp" { self.server.udp_addr().unwrap() } else { self.server.tcp_addr() }
    }

    /// The binary in the lobby as `user`.
    fn client(&self, user: &str, more: &[&str]) -> Command {
        let transport = more.iter().skip_while(|flag| **flag != "--transport").nth(1);
        let mut command = binary(&self.address(transport.unwrap_or(&"tcp")).to_string(), user);
        command.args(["--room", "lobby"]).args(more);
        command
    }

    /// Someone who is in the lobby already.
    fn listener(&self, user: &str) -> Client {
        let _inside = self.runtime.enter();
        let client = Client::start(ClientConfig {
            server: self.address("tcp"),
            session: SessionConfig::new(user, CarrierKind::Stream, Seed::root(2)),
            security: None,
            clock: Clock::start(),
        });
        let mut client = client;
        self.runtime.block_on(client.submit(|session, now| session.join(now, "lobby"))).unwrap().unwrap();
        self.heard(&mut client, |event| matches!(event, SessionEvent::Joined(_)).then_some(()));
        client
    }

    /// The first thing that `pick` takes.
    fn heard<T>(&self, client: &mut Client, mut pick: impl FnMut(SessionEvent) -> Option<T>) -> T {
        let search = async {
            loop {
                let (_, event) = client.event().await.expect("the session lives");
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        };
        self.runtime.block_on(async { timeout(PATIENCE, search).await }).expect("heard in time")
    }

    fn text_of_next_line(&self, client: &mut Client) -> String {
        self.heard(client, |event| match event {
            SessionEvent::Line { line, .. } => Some(line.text),
            _ => None,
        })
    }
}

fn binary(server: &str, user: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chat-client"));
    command.args(["--server", server, "--user", user]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("RUST_LOG");
    command
}

/// Runs with `input` on standard input, to the end.
fn run(command: &mut Command, input: &str) -> Output {
    let mut child = command.spawn().unwrap();
    // A client that ends early closes the pipe; what it says about it is in its output.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn interrupt(child: &Child) {
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
}

/// Everything here is on loopback and takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn piped_lines_are_said_in_order_and_the_end_waits_for_them() {
    for transport in ["tcp", "udp"] {
        let world = World::new();
        let mut bob = world.listener("bob");
        let input: String = (0..300).map(|number| format!("line {number}\n")).collect();
        let output = run(&mut world.client("alice", &["--transport", transport]), &input);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        for number in 0..300 {
            assert_eq!(world.text_of_next_line(&mut bob), format!("line {number}"), "{transport}");
        }
    }
}

#[test]
fn a_line_is_said_as_it_is_also_with_a_slash() {
    let world = World::new();
    let mut bob = world.listener("bob");
    let output = run(&mut world.client("alice", &[]), "/quit\n\n  indented");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(world.text_of_next_line(&mut bob), "/quit");
    assert_eq!(world.text_of_next_line(&mut bob), "  indented");
}

#[test]
fn a_follower_prints_until_interrupted() {
    let world = World::new();
    assert_eq!(run(&mut world.client("alice", &[]), "hi\n").status.code(), Some(0));
    let mut command = world.client("bob", &["--json", "--follow", "--history"]);
    let mut follower = command.stdin(Stdio::null()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(follower.stdout.take().unwrap()));
    let mut next = || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    let earlier = next();
    assert_eq!((&earlier["type"], &earlier["text"]), (&"history".into(), &"hi".into()));
    assert_eq!(run(&mut world.client("carol", &[]), "there\n").status.code(), Some(0));
    let came = next();
    assert_eq!((&came["type"], &came["sender"]), (&"join".into(), &"carol".into()));
    let said = next();
    assert_eq!(
        (&said["type"], &said["room"], &said["text"]),
        (&"chat".into(), &"lobby".into(), &"there".into())
    );
    interrupt(&follower);
    assert_eq!(follower.wait().unwrap().code(), Some(130));
}

#[test]
fn a_server_that_restarts_in_the_middle_loses_no_line() {
    let mut world = World::new();
    let mut bob = world.listener("bob");
    let mut alice = world.client("alice", &[]).spawn().unwrap();
    let mut input = alice.stdin.take().unwrap();
    input.write_all(b"one\n").unwrap();
    assert_eq!(world.text_of_next_line(&mut bob), "one");
    let mut config = ServerConfig::on_loopback(Seed::root(3));
    config.tcp = world.server.tcp_addr();
    world.runtime.block_on(world.server.shutdown(Duration::ZERO));
    input.write_all(b"two\n").unwrap();
    world.server = world.runtime.block_on(start(config)).unwrap();
    drop(input);
    // Whoever of the two comes back first, bob hears the line or finds it in the history. The first line may come
    // again: its acknowledgement may have died with the server.
    world.heard(&mut bob, |event| match event {
        SessionEvent::Line { line, .. } => (line.text == "two").then_some(()),
        SessionEvent::History(history) => history.lines.iter().any(|line| line.text == "two").then_some(()),
        _ => None,
    });
    let output = alice.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("connection lost"), "{}", stderr(&output));
}

#[test]
fn a_refused_line_fails_the_run_and_is_named_while_the_others_are_said() {
    let world = World::new();
    let mut bob = world.listener("bob");
    let output = run(&mut world.client("alice", &[]), &format!("one\n{}\nthree\n", "x".repeat(5000)));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("error: line 2: refused: a line has at most 4096 bytes"),
        "{}",
        stderr(&output)
    );
    assert_eq!(world.text_of_next_line(&mut bob), "one");
    assert_eq!(world.text_of_next_line(&mut bob), "three");
}

#[test]
fn a_taken_name_is_refused_with_one_line() {
    let world = World::new();
    let _bob = world.listener("bob");
    let output = run(&mut world.client("bob", &[]), "hi\n");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "error: \"bob\" is taken; choose another name\n");
}

#[test]
fn a_server_that_is_not_there_is_exit_code_5() {
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = binary(&address.to_string(), "alice");
    let output = run(command.args(["--room", "lobby", "--connect-timeout", "300ms"]), "hi\n");
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).starts_with(&format!("error: no server at {address}: ")), "{}", stderr(&output));
    assert_eq!(stderr(&output).lines().count(), 1);
}

#[test]
fn a_server_that_does_not_answer_is_exit_code_5() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = binary(&silent.local_addr().unwrap().to_string(), "alice");
    let output = run(command.args(["--room", "lobby", "--connect-timeout", "300ms"]), "hi\n");
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains("no answer"), "{}", stderr(&output));
}

#[test]
fn usage_mistakes_are_exit_code_2_with_what_to_write() {
    for (more, sentence) in [
        (&["--room", "lobby", "--transport", "ws"][..], "error: --transport: \"ws\" is not there yet"),
        (&[], "error: --room: it is missing"),
        (&["--room", "a b"], "error: --room: a room name has letters, digits"),
    ] {
        let output = run(binary("127.0.0.1:1", "alice").args(more), "");
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        assert!(stderr(&output).starts_with(sentence), "{}", stderr(&output));
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let world = World::new();
    assert_eq!(run(&mut world.client("alice", &[]), "hi\n").status.code(), Some(0));
    let mut command = world.client("bob", &["--history", "--follow"]);
    let mut child = command.stdin(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}
