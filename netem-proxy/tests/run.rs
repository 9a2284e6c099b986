//! `netem-proxy run`, with real namespaces, devices and kernel stacks.
//!
//! These tests need root and /dev/net/tun, some of them `ping`, `iperf3` or `curl`; elsewhere they are skipped, and say
//! so. They run one after the other: what a killed run leaves behind could not be told from its neighbour's.

#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use netem_proxy::tun::{Ends, Offload, Session, SessionConfig, SessionOutcome};
use sha2::{Digest, Sha256};
use units::Seed;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The right to run, or `None` where it is impossible.
fn turn(tools: &[&str]) -> Option<MutexGuard<'static, ()>> {
    if !rustix::process::geteuid().is_root() || !std::path::Path::new("/dev/net/tun").exists() {
        eprintln!("SKIPPED: needs root and /dev/net/tun");
        return None;
    }
    for tool in tools {
        if Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            eprintln!("SKIPPED: needs the program {tool}");
            return None;
        }
    }
    Some(ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn binary() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("netem-proxy"))
}

fn run(args: &[&str]) -> Output {
    binary().arg("run").args(args).output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The average round trip that ping prints, in milliseconds.
fn average(ping: &str) -> f64 {
    let line =
        ping.lines().find(|line| line.starts_with("rtt")).unwrap_or_else(|| panic!("no rtt in: {ping}"));
    line.split(" = ")
        .nth(1)
        .and_then(|rest| rest.split('/').nth(1))
        .and_then(|avg| avg.parse().ok())
        .expect(line)
}

fn pause() {
    #[expect(
        clippy::disallowed_methods,
        reason = "waits for the kernel to tidy up, at most a bounded number of times"
    )]
    std::thread::sleep(Duration::from_millis(20));
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        pause();
    }
    panic!("not so after ten seconds: {what}");
}

/// Command lines of all processes.
fn command_lines() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| text(&line).replace('\0', " "))
        .collect()
}

/// Network namespaces that some process is in.
fn namespaces() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| std::fs::read_link(entry.path().join("ns/net")).ok())
        .map(|link| link.display().to_string())
        .collect()
}

fn host_devices() -> Vec<String> {
    let names = std::fs::read_dir("/sys/class/net").expect("/sys").flatten();
    names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("netem"))
        .collect()
}

#[test]
fn the_exit_code_is_the_commands() {
    let Some(_turn) = turn(&[]) else { return };
    for (command, code) in [("exit 7", 7), ("kill -TERM $$", 143), ("exit 0", 0)] {
        assert_eq!(run(&["--", "sh", "-c", command]).status.code(), Some(code), "{command}");
    }
    let missing = run(&["--", "/no/such/program"]);
    assert_eq!(missing.status.code(), Some(127));
    assert!(text(&missing.stderr).contains("error: cannot run \"/no/such/program\""), "{missing:?}");
    assert_eq!(run(&["--", "/etc/passwd"]).status.code(), Some(126));
}

#[test]
fn wrong_usage_is_told_in_one_line() {
    for (args, message) in [
        (["--loss", "120%", "--", "true"], "--loss: \"120%\" is not a probability"),
        (["--timing", "magic", "--", "true"], "\"magic\" is not a way to wait; write sleep, hybrid or spin"),
    ] {
        let output = run(&args);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
    }
}

#[test]
fn stdout_is_the_commands_alone() {
    let Some(_turn) = turn(&[]) else { return };
    let output = run(&["--json", "--seed", "7", "--", "echo", "hello"]);
    assert_eq!(text(&output.stdout), "hello\n");
    let stderr = text(&output.stderr);
    let document = &stderr[stderr.find('{').expect("a document")..];
    let document: serde_json::Value = serde_json::from_str(document).expect("json");
    assert_eq!(document["seed"], 7);
    assert_eq!(document["valid"], true, "{document}");
}

#[test]
fn ping_meets_the_delay_of_both_directions() {
    let Some(_turn) = turn(&["ping"]) else { return };
    for address in ["$NETEM_BASE", "$NETEM_BASE6"] {
        let command = format!("ping -c 10 -i 0.05 {address}");
        let output = run(&["--up", "delay=30ms", "--down", "delay=10ms", "--", "sh", "-c", &command]);
        let rtt = average(&text(&output.stdout));
        // Never less than configured; above it the way through two kernels, on a machine that may be busy.
        assert!((40.0..48.0).contains(&rtt), "{rtt}");
    }
}

#[test]
fn fragments_pass() {
    let Some(_turn) = turn(&["ping"]) else { return };
    let output = run(&["--json", "--", "sh", "-c", "ping -c 3 -i 0.01 -s 8000 $NETEM_BASE"]);
    assert!(text(&output.stdout).contains(" 0% packet loss"), "{}", text(&output.stdout));
    let stderr = text(&output.stderr);
    let document: serde_json::Value =
        serde_json::from_str(&stderr[stderr.find('{').expect("json")..]).expect("json");
    // 8008 bytes of ICMP in pieces of 1480.
    assert_eq!(document["up"]["counters"]["offered"], 18);
}

#[test]
fn two_ends_find_each_other_and_the_right_one_is_ended() {
    let Some(_turn) = turn(&["ping"]) else { return };
    let output = run(&[
        "--delay",
        "5ms",
        "--right",
        "sleep 61.125 & wait",
        "--left",
        "ping -c 3 -i 0.02 $NETEM_PEER; exit 3",
    ]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(average(&text(&output.stdout)) >= 10.0);
    assert!(!command_lines().iter().any(|line| line.contains("sleep 61.125")));
}

#[test]
fn runs_can_be_nested() {
    let Some(_turn) = turn(&["ping"]) else { return };
    let own = assert_cmd::cargo::cargo_bin!("netem-proxy").display().to_string();
    let inner = "ping -c 3 -i 0.02 $NETEM_BASE; echo base $NETEM_BASE depth $NETEM_DEPTH";
    let output = run(&["--delay", "1ms", "--", &own, "run", "--delay", "20ms", "--", "sh", "-c", inner]);
    let stdout = text(&output.stdout);
    assert!(stdout.contains("base 198.18.16.1 depth 2"), "{stdout}{}", text(&output.stderr));
    assert!((40.0..48.0).contains(&average(&stdout)), "{stdout}");
}

#[test]
fn what_the_command_leaves_behind_ends_with_it() {
    let Some(_turn) = turn(&[]) else { return };
    let output = run(&["--", "sh", "-c", "(setsid sleep 61.25 &) ; exit 4"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(!command_lines().iter().any(|line| line.contains("sleep 61.25 ")));
}

#[test]
fn signals_reach_the_command() {
    let Some(_turn) = turn(&[]) else { return };
    let script = "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut child = binary()
        .args(["run", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "ready");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("our own child");
    assert_eq!(lines.next().expect("a line").expect("text"), "caught");
    assert_eq!(child.wait().expect("an end").code(), Some(9));
}

#[test]
fn a_kill_at_any_moment_leaves_nothing_behind() {
    let Some(_turn) = turn(&[]) else { return };
    assert_eq!(host_devices(), Vec::<String>::new());
    let before = namespaces();
    let script = "(setsid sleep 61.5 &); exec sleep 61.5";
    for (round, steps) in [0, 1, 2, 3, 5, 8, 12].into_iter().enumerate() {
        let two_ended = ["--right", script, "--left", script];
        let one_ended = ["--", "sh", "-c", script];
        let args: &[&str] = if round % 2 == 0 { &one_ended } else { &two_ended };
        let mut child =
            binary().arg("run").args(args).stderr(Stdio::null()).spawn().expect("the binary starts");
        for _ in 0..steps {
            pause();
        }
        child.kill().expect("still running");
        child.wait().expect("dead");
        eventually("no device is left", || host_devices().is_empty());
        eventually("no process is left", || !command_lines().iter().any(|line| line.contains("61.5")));
        eventually("no namespace is left", || namespaces().is_subset(&before));
        let routes = std::fs::read_to_string("/proc/net/fib_trie").expect("routes");
        assert!(!routes.contains("198.18.0."), "{routes}");
    }
}

/// Sends `data` from the guest to the base over TCP and gives back the digest of what arrived.
fn transfer(session: &Session, base: IpAddr, data: &'static [u8]) -> Vec<u8> {
    let bind = SocketAddr::new(base, 0);
    let listener = session.in_base(move || TcpListener::bind(bind).expect("a port"));
    let to = listener.local_addr().expect("bound");
    let receiver = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the sender");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let mut digest = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match stream.read(&mut buffer).expect("data") {
                0 => break,
                length => digest.update(&buffer[..length]),
            }
        }
        stream.write_all(b"done").expect("an answer");
        digest.finalize().to_vec()
    });
    let mut stream = session.in_guest(move || TcpStream::connect(to).expect("the receiver"));
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    stream.write_all(data).expect("sent");
    stream.shutdown(Shutdown::Write).expect("closed");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("the answer");
    receiver.join().expect("no panic")
}

fn data(length: usize) -> &'static [u8] {
    let bytes: Vec<u8> =
        (0..length as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    Box::leak(bytes.into_boxed_slice())
}

fn session(up: &str, offload: Offload) -> Session {
    let up = up.parse().expect("a spec");
    let config = SessionConfig { up, offload, ..SessionConfig::new(Seed::root(3), Ends::Isolated) };
    Session::start(config).expect("root may")
}

fn is_sound(outcome: &SessionOutcome) {
    assert_eq!(outcome.faults(), []);
}

#[test]
fn tcp_survives_all_weather_unharmed() {
    let Some(_turn) = turn(&[]) else { return };
    let data = data(3_000_000);
    let digest = Sha256::digest(data).to_vec();
    for offload in [Offload::On, Offload::Off] {
        let session = session("loss=1% corrupt=0.5% duplicate=1% reorder=1%/2ms delay=1ms", offload);
        let base = session.addresses().base();
        for address in base.all() {
            assert_eq!(transfer(&session, address, data), digest, "{offload:?} {address}");
        }
        let outcome = session.stop().expect("counters");
        is_sound(&outcome);
        let up = outcome.up.counters;
        assert!(up.dropped_loss > 0 && up.corrupted > 0 && up.duplicated > 0 && up.reordered > 0, "{up:?}");
        // Whatever the kernel handed over at once, the link saw packets of at most 1500 bytes.
        assert!(up.offered >= 2 * 3_000_000 / 1460 && up.offered_bytes <= up.offered * 1500, "{up:?}");
        if offload == Offload::On {
            assert!(outcome.up.io.reads < up.offered, "superpackets came in");
        }
    }
}

#[test]
fn udp_loss_is_the_links_and_nobody_elses() {
    let Some(_turn) = turn(&[]) else { return };
    const SENT: u64 = 5000;
    let session = session("loss=10%", Offload::On);
    let base = session.addresses().base().v4;
    let receiver = session.in_base(move || UdpSocket::bind((base, 0)).expect("a port"));
    receiver.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    let to = receiver.local_addr().expect("bound");
    let sender = session.in_guest(|| UdpSocket::bind("0.0.0.0:0").expect("a port"));
    let counting = std::thread::spawn(move || {
        let mut buffer = [0; 64];
        (0..).take_while(|_| receiver.recv(&mut buffer).is_ok()).count() as u64
    });
    for _ in 0..SENT / 50 {
        for _ in 0..50 {
            sender.send_to(&[1; 20], to).expect("sent");
        }
        pause();
    }
    let received = counting.join().expect("no panic");
    let outcome = session.stop().expect("counters");
    is_sound(&outcome);
    let up = outcome.up.counters;
    assert_eq!((up.offered, up.delivered), (SENT, received));
    // Five standard deviations: 5 * sqrt(5000 * 0.1 * 0.9) = 106.
    assert!(up.dropped_loss.abs_diff(500) <= 106, "{}", up.dropped_loss);
}

#[test]
fn each_flow_has_a_link_of_its_own_when_asked_for() {
    let Some(_turn) = turn(&["ping"]) else { return };
    let pings = "ping -c 2 -i 0.05 -W 1 $NETEM_BASE; ping -c 2 -i 0.05 -W 1 $NETEM_BASE6";
    let lost = |scope: &str| {
        let output = run(&["--json", scope, "--up", "loss=every(3)", "--", "sh", "-c", pings]);
        let stderr = text(&output.stderr);
        let document: serde_json::Value =
            serde_json::from_str(&stderr[stderr.find('{').expect("json")..]).expect("json");
        (document["up"]["counters"]["dropped_loss"].as_u64(), document["up"]["flows"].as_u64())
    };
    // Four packets: of one link the third is lost; two links have seen two each.
    assert_eq!(lost("--shared"), (Some(1), Some(1)));
    assert_eq!(lost("--per-flow"), (Some(0), Some(2)));
}

#[test]
fn iperf3_meets_the_rate() {
    let Some(_turn) = turn(&["iperf3"]) else { return };
    // The server may not be there yet at the first attempt, and speaks on the same stdout.
    let left = "until iperf3 -c $NETEM_PEER -t 2 -J > $FILE; do sleep 0.1; done; cat $FILE";
    let folder = tempfile::tempdir().expect("a folder");
    let output = binary()
        .env("FILE", folder.path().join("iperf3.json"))
        .args(["run", "--up", "rate=20Mbit/s queue=50p", "--delay", "5ms"])
        .args(["--right", "iperf3 -s > /dev/null", "--left", left])
        .output()
        .expect("the binary starts");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("iperf3 speaks JSON");
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().expect("a rate") / 1e6;
    // 1448 of 1500 bytes are payload: 19.3 Mbit/s at most; what was buffered at the end makes it a little more.
    assert!((12.0..19.6).contains(&rate), "{rate}");
}

#[test]
fn curl_reaches_a_server_on_the_host() {
    let Some(_turn) = turn(&["curl"]) else { return };
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("curl");
        let mut request = [0; 1024];
        let _ = stream.read(&mut request);
        stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello").expect("an answer");
        stream.shutdown(Shutdown::Write).expect("closed");
        // The end arrives although the command has ended by then.
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream.read(&mut request).map(|length| length == 0)
    });
    let command = format!("curl -sS --max-time 10 -w ' %{{time_connect}}' http://$NETEM_BASE:{port}/");
    let output = run(&["--delay", "20ms", "--", "sh", "-c", &command]);
    let stdout = text(&output.stdout);
    let connect: f64 = stdout.strip_prefix("hello ").expect(&stdout).parse().expect("seconds");
    assert!(connect >= 0.04, "{connect}");
    assert!(server.join().expect("no panic").expect("an end"));
}
