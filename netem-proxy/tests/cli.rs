//! The binary, as a user meets it.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use assert_cmd::cargo::cargo_bin_cmd;

fn start(args: &[&str]) -> (Child, BufReader<std::process::ChildStdout>, String) {
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("netem-proxy"))
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a first line");
    let addr = line.trim().strip_prefix("listening on ").expect("the address").to_owned();
    (child, stdout, addr)
}

#[cfg(unix)]
fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    rustix::process::kill_process(pid, signal).expect("our own child");
}

#[cfg(unix)]
#[test]
fn a_relay_prints_its_address_and_at_the_end_what_happened() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    server.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let upstream = server.local_addr().expect("bound").to_string();
    let (mut child, mut stdout, addr) =
        start(&["datagrams", "--upstream", &upstream, "--loss", "every(2)", "--seed", "7"]);
    let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
    for n in 1..=3_u8 {
        client.send_to(&[n], &addr).expect("sent");
    }
    let mut buffer = [0; 16];
    for n in [1, 3] {
        assert_eq!(server.recv(&mut buffer).expect("a datagram"), 1);
        assert_eq!(buffer[0], n);
    }
    signal(&child, rustix::process::Signal::TERM);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("the table");
    assert!(rest.starts_with("seed 7\n"), "{rest}");
    let row = |name| rest.lines().find(|line| line.starts_with(name)).expect(name).split_whitespace();
    assert_eq!(row("offered").nth(1), Some("3"));
    assert_eq!(row("dropped: loss").nth(2), Some("1"));
    assert_eq!(child.wait().expect("an end").code(), Some(0));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_with_130() {
    let (mut child, _stdout, _) = start(&["frames", "--upstream", "127.0.0.1:9"]);
    signal(&child, rustix::process::Signal::INT);
    assert_eq!(child.wait().expect("an end").code(), Some(130));
}

#[test]
fn a_port_in_use_is_one_line_and_exit_2() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = taken.local_addr().expect("bound").to_string();
    let output = cargo_bin_cmd!("netem-proxy")
        .args(["frames", "--upstream", "127.0.0.1:9", "--listen", &addr])
        .output();
    let output = output.expect("the binary runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.starts_with(&format!("error: cannot listen on {addr}: Address already in use")), "{error}");
    assert_eq!((error.lines().count(), output.status.code()), (1, Some(2)));
}

#[test]
fn a_wrong_spec_is_one_line_and_exit_2() {
    cargo_bin_cmd!("netem-proxy")
        .args(["frames", "--upstream", "127.0.0.1:9", "--up", "delay=50"])
        .assert()
        .code(2)
        .stderr("error: --up: column 1: delay: \"50\" has no unit; write for example 50ms or 2.5s\n");
}

#[test]
fn the_model_passes_its_own_check_and_says_so_in_json() {
    let output = cargo_bin_cmd!("netem-proxy").args(["selfcheck", "--packets", "20000", "--json"]).output();
    let output = output.expect("the binary runs");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(document["pass"], true, "{document:#}");
    assert_eq!(output.status.code(), Some(0));
}
