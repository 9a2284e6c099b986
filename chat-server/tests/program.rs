//! The program in `docs/PROTOCOL.md`, as somebody would copy it, against a server.

mod common;

use std::process::{Command, Stdio};

use common::House;

const DOCUMENT: &str = include_str!("../../docs/PROTOCOL.md");

/// The blocks of the language `python`, one after the other.
fn program() -> String {
    let mut in_block = false;
    let mut lines = Vec::new();
    for line in DOCUMENT.lines() {
        match line {
            "```python" => in_block = true,
            "```" => in_block = false,
            line if in_block => lines.push(line),
            _ => {}
        }
    }
    lines.join("\n")
}

fn has_python() -> bool {
    let version = Command::new("python3")
        .args(["-c", "import sys; sys.exit(sys.version_info < (3, 8))"])
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

#[test]
fn the_program_of_the_protocol_page_speaks_with_the_server() {
    if !has_python() {
        eprintln!("SKIPPED: the program of docs/PROTOCOL.md needs python3, 3.8 or newer");
        return;
    }
    let house = House::new();
    let mut bob = house.client("bob");
    bob.say("join", r#"{"room":"lobby"}"#);
    bob.expect("join");
    let address = house.server.udp_addr().unwrap();
    let output = Command::new("python3")
        .args(["-c", &program(), &address.ip().to_string(), &address.port().to_string()])
        .output()
        .unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{error}");
    assert_eq!(out, "session 2\nlobby 1\n", "{error}");
    // It was asked for a token, gave it back, and left.
    house.eventually("gone", |stats| stats.clients == 1 && stats.net.tokens_accepted == 1);
}
