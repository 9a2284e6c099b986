//! A live run over real sockets, and its log repeated offline by the binary.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use netem_proxy::capture::CaptureFile;
use netem_proxy::journal::{Journal, JournalSummary};
use netem_proxy::pacer::{Observer, Observers};
use netem_proxy::proxy::{Parcel, ProxyConfig, datagrams};
use units::Seed;

const LINK: &str = "loss=ge(p=3%,r=30%) delay=5ms jitter=4ms dist=normal rate=20Mbit/s queue=codel(target=2ms,limit=200p) \
                    duplicate=2% corrupt=2% order=allow";

/// Three clients send bursts through the relay and nobody waits for the end of it.
fn live_run(log: &Path) -> JournalSummary {
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let upstream = server.local_addr().expect("bound");
    let journal = Journal::create(log).expect("a file");
    let config = ProxyConfig {
        up: LINK.parse().expect("a valid spec"),
        seed: Seed::root(11),
        ..ProxyConfig::between(listen, upstream)
    };
    // Together with a capture, as a user would want both.
    let capture = CaptureFile::create(&log.with_extension("pcapng"), config.clock).expect("a file");
    let observers: Vec<Box<dyn Observer<Parcel>>> =
        vec![Box::new(journal.recorder()), Box::new(capture.capture())];
    let proxy = datagrams::start_observed(config, Observers(observers).boxed()).expect("a relay");
    let mut buffer = [0; 2048];
    server.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    for client in 0..3 {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(proxy.local_addr()).expect("connected");
        for packet in 0..2_000_usize {
            socket.send(&vec![0; 40 + (packet * 37 + client) % 1200]).expect("sent");
            // Now and then the link gets time to deliver: bursts of a hundred or so, not one of thousands.
            if packet % 100 == 99 {
                let _ = server.recv(&mut buffer);
            }
        }
    }
    // Whatever is under way now is given up.
    let _ = proxy.stop();
    let live = journal.finish();
    let packets = capture.finish();
    assert_eq!(packets.packets + packets.lost, live.arrivals + live.delivered + live.dropped);
    live
}

fn replay(args: &[&str]) -> Output {
    Command::new(assert_cmd::cargo::cargo_bin!("netem-proxy"))
        .arg("replay")
        .args(args)
        .output()
        .expect("the binary runs")
}

#[test]
fn a_live_run_is_repeated_bit_for_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("run.netlog");
    let live = live_run(&log);
    assert_eq!(live.fault, None);
    let path = log.to_str().expect("a plain path");

    let csv = folder.path().join("verdicts.csv");
    let found = replay(&[path, "--verdicts", csv.to_str().expect("a plain path")]);
    let text = String::from_utf8_lossy(&found.stdout);
    assert_eq!(found.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&found.stderr));
    assert!(text.contains("\nidentical\n") && text.contains(&live.digest.to_string()), "{text}");
    let lines = std::fs::read_to_string(csv).expect("the verdicts").lines().count() as u64;
    assert_eq!(lines, 1 + live.delivered + live.dropped);
    assert!(live.delivered > 100 && live.dropped > 50, "{live:?}");

    let other = replay(&[path, "--up", "loss=every(2)", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&other.stdout).expect("one document");
    assert_eq!(document["result"], "not compared");
    assert_eq!(document["up"]["offered"], live.arrivals);
}

#[test]
fn what_is_no_whole_log_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("run.netlog");
    live_run(&log);
    let bytes = std::fs::read(&log).expect("the log");
    let cut = folder.path().join("cut.netlog");
    std::fs::write(&cut, &bytes[..bytes.len() - 20]).expect("written");
    let path = cut.to_str().expect("a plain path");

    let refused = replay(&[path]);
    let message = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{message}");
    assert!(message.contains("offset ") && message.contains("--partial"), "{message}");
    assert_eq!(replay(&[path, "--partial"]).status.code(), Some(0));

    let missing = replay(&["nowhere.netlog"]);
    assert_eq!(missing.status.code(), Some(2));
    std::fs::write(&cut, "no log at all").expect("written");
    assert_eq!(replay(&[path]).status.code(), Some(2));
}
