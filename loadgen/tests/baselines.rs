//! The baselines as a user runs them: the same messages over transports that are not ours.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use assert_cmd::Command;
use loadgen::result::{Metrics, RunResult, SelfCheck, Verdict};
use tempfile::TempDir;

/// A sender behind a lossy link, a receiver without one.
const ONE_HOP: &str = r#"# How soon over one hop?
schema = 1
[scenario]
name = "hop"
kind = "loss"
[run]
driver = "virtual"
seed = 3
[link.lossy.both]
loss = "10%"
delay = "20ms"
[[clients]]
name = "sender"
count = 1
link = "lossy"
rooms = { size = 2 }
[[clients]]
name = "receiver"
count = 1
rooms = { size = 2 }
[[phase]]
name = "steady"
duration = "4s"
[[phase]]
name = "drain"
drain = "30s"
[[workload]]
name = "stream"
kind = "room"
clients = ["sender"]
arrival = { process = "constant", rate = "50/s", per = "client" }
size = "200B"
[[assert]]
id = "exactly-once"
expr = "lost + duplicated + reordered + corrupted == 0"
"#;

fn run(folder: &Path, arguments: &[&str]) -> Output {
    fs::write(folder.join("hop.toml"), ONE_HOP).unwrap();
    let mut command = Command::cargo_bin("loadgen").expect("the binary is part of this package");
    command.current_dir(folder).env_remove("RUST_LOG");
    command.args(["--scenario", "hop.toml", "--quiet"]).args(arguments).output().unwrap()
}

fn result(folder: &Path, out: &str) -> RunResult {
    serde_json::from_slice(&fs::read(folder.join(out).join("result.json")).unwrap()).unwrap()
}

fn metrics(result: &RunResult) -> &Metrics {
    &result.cells[0].metrics
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn records(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = ["deliveries.csv", "traces.csv", "scenario.toml", "report.html", "latency.hgrm"];
    names.map(|name| (name.to_owned(), fs::read(folder.join(name)).unwrap_or_default())).into()
}

#[test]
fn a_virtual_run_over_quic_is_the_same_twice_and_loses_nothing() {
    for sets in [&["protocol.quic-congestion=cubic"][..], &["protocol.quic-congestion=reno"]] {
        let folder = TempDir::new().unwrap();
        let mut arguments = vec!["--set", "protocol.transport=quic"];
        sets.iter().for_each(|set| arguments.extend(["--set", set]));
        for (out, seed) in [("a", "1"), ("b", "1"), ("c", "2")] {
            let output = run(folder.path(), &[&arguments[..], &["--out", out, "--seed", seed]].concat());
            assert!(output.status.success(), "{}", stderr(&output));
        }
        let [a, b, c] = ["a", "b", "c"].map(|out| records(&folder.path().join(out)));
        for (name, bytes) in &a {
            assert!(b[name] == *bytes, "{name} differs between two runs of one seed");
        }
        assert_ne!(a["deliveries.csv"], c["deliveries.csv"]);
        let [a, b] = ["a", "b"].map(|out| result(folder.path(), out));
        assert_eq!(a.cells, b.cells);
        let metrics = metrics(&a);
        assert_eq!((metrics.messages.delivered, metrics.messages.intended), (200, 200));
        assert!(metrics.transport.retransmits > 0 && metrics.link.up.dropped_loss > 0);
    }
}

#[test]
fn a_stream_for_each_message_is_faster_and_out_of_order() {
    let folder = TempDir::new().unwrap();
    let set = ["--set", "protocol.transport=quic", "--set", "protocol.quic-streams=message", "--out", "a"];
    run(folder.path(), &set);
    let result = result(folder.path(), "a");
    let messages = &metrics(&result).messages;
    assert!(messages.reordered > 0 && messages.lost + messages.duplicated + messages.corrupted == 0);
}

#[test]
fn bytes_on_the_wire_have_the_headers_that_a_link_does_not_see() {
    let folder = TempDir::new().unwrap();
    for transport in ["udp", "quic"] {
        let set = format!("protocol.transport={transport}");
        run(folder.path(), &["--set", &set, "--out", transport]);
        let result = result(folder.path(), transport);
        let Metrics { wire, link, .. } = metrics(&result);
        assert_eq!(wire.up_bytes, link.up.offered_bytes + 28 * link.up.offered);
        assert_eq!(wire.messages, 200);
        let per_message = wire.up_bytes_per_message.unwrap();
        assert!((wire.up_bytes as f64 / 200.0 - per_message).abs() < 1e-6);
        assert!(per_message > 228.0, "a message of 200 bytes costs at least its headers: {per_message}");
    }
}

#[test]
fn what_cannot_be_virtual_is_refused_before_anything_runs() {
    let folder = TempDir::new().unwrap();
    for (sets, expected) in [
        (&["protocol.transport=kernel-tcp"][..], "kernel-tcp is this machine's kernel"),
        (&["protocol.transport=quic", "protocol.quic-congestion=bbr"], "quinn's bbr draws from"),
    ] {
        let mut arguments = Vec::new();
        sets.iter().for_each(|set| arguments.extend(["--set", set]));
        let output = run(folder.path(), &arguments);
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(expected) && stderr.contains("--driver real"), "{stderr}");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
    }
}

#[test]
fn quic_runs_on_real_sockets_too() {
    let folder = TempDir::new().unwrap();
    run(folder.path(), &["--driver", "real", "--set", "protocol.transport=quic", "--out", "a"]);
    assert_is_whole(&result(folder.path(), "a"));
}

#[test]
fn packets_of_the_kernels_tcp_meet_the_link() {
    let arguments = ["--driver", "real", "--set", "protocol.transport=kernel-tcp", "--out", "a"];
    for congestion in ["reno", "cubic"] {
        let folder = TempDir::new().unwrap();
        let set = format!("protocol.tcp-congestion={congestion}");
        let output = run(folder.path(), &[&arguments[..], &["--set", &set]].concat());
        if output.status.code() == Some(2) {
            // Without the right to make namespaces there is no such run, and the message says what is missing.
            let stderr = stderr(&output);
            assert!(stderr.contains("CAP_NET_ADMIN") || stderr.contains("/dev/net/tun"), "{stderr}");
            eprintln!("SKIPPED: kernel-tcp needs root and /dev/net/tun: {stderr}");
            return;
        }
        let result = result(folder.path(), "a");
        assert_is_whole(&result);
        let Metrics { wire, link, transport, .. } = metrics(&result);
        // 206 bytes of the stream, and 52 of IP, TCP and time stamps for each segment; after a loss one carries several.
        assert_eq!(wire.up_bytes, link.up.offered_bytes);
        assert!(wire.up_bytes > 200 * 206 + 52 * link.up.offered, "{wire:?}");
        assert!(transport.retransmits > 0, "the kernel repeats what the link loses: {transport:?}");
    }
}

#[test]
fn our_streams_can_lose_packets_below_the_kernels_tcp_and_leave_their_repair_to_it() {
    let arguments = ["--driver", "real", "--set", "protocol.stream-link=packets", "--out", "a"];
    for transport in ["tcp", "tls"] {
        let folder = TempDir::new().unwrap();
        let set = format!("protocol.transport={transport}");
        let output = run(folder.path(), &[&arguments[..], &["--set", &set]].concat());
        if output.status.code() == Some(2) {
            let stderr = stderr(&output);
            assert!(stderr.contains("CAP_NET_ADMIN") || stderr.contains("/dev/net/tun"), "{stderr}");
            eprintln!("SKIPPED: stream-link packets needs root and /dev/net/tun: {stderr}");
            return;
        }
        let result = result(folder.path(), "a");
        assert_is_whole(&result);
        let Metrics { wire, link, .. } = metrics(&result);
        assert_eq!(wire.up_bytes, link.up.offered_bytes, "a link counts whole packets");
        assert!(wire.up_bytes > 200 * 206 + 52 * link.up.offered, "{wire:?}");
    }
}

#[test]
fn packets_below_a_stream_have_no_virtual_time() {
    let folder = TempDir::new().unwrap();
    let set = ["--set", "protocol.transport=tcp", "--set", "protocol.stream-link=packets"];
    let output = run(folder.path(), &set);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("protocol.stream-link: packets"), "{}", stderr(&output));
}

#[test]
fn events_of_links_are_refused_with_the_kernels_tcp() {
    let folder = TempDir::new().unwrap();
    let event = "link.lossy.event=[{ at = '1s', for = '1s', set = { both = { blackhole = true } } }]";
    let set = ["--driver", "real", "--set", "protocol.transport=kernel-tcp", "--set", event];
    let output = run(folder.path(), &set);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("link.lossy.event: kernel-tcp"), "{}", stderr(&output));
}

fn assert_is_whole(result: &RunResult) {
    let Metrics { messages, link, .. } = metrics(result);
    assert_eq!((messages.intended, messages.delivered), (200, 200), "{:?}", result.reasons);
    assert_eq!(messages.duplicated + messages.reordered + messages.corrupted, 0);
    // Messages that wait for a window share packets.
    assert!(link.up.dropped_loss > 0 && link.up.offered > 50, "{link:?}");
    // A busy machine may make a real run INVALID, which is no fault of what is tested here.
    assert!(result.verdict == Verdict::Invalid || link.self_check == SelfCheck::Pass, "{:?}", result.reasons);
}
