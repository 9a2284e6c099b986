//! What a scenario may ask of the transport beside its constants: encryption, ways of delivery, traces as qlog.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use chat_server::ServerConfig;
use loadgen::result::{DelayCauses, Metrics, RunResult, Verdict};
use serde_json::Value;
use tempfile::TempDir;
use units::Seed;

/// A sender and a receiver, the way to the server lossy.
const HOP: &str = r#"# Does one hop work?
schema = 1
[scenario]
name = "hop"
[run]
driver = "virtual"
seed = 3
[link.path.both]
loss = "10%"
delay = "20ms"
[[clients]]
name = "sender"
count = 1
link = "path"
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
drain = "3s"
[[workload]]
name = "stream"
clients = ["sender"]
arrival = { process = "constant", rate = "100/s" }
size = "100B"
"#;

fn run(folder: &TempDir, text: &str, sets: &[&str], flags: &[&str]) -> std::process::Output {
    fs::write(folder.path().join("hop.toml"), text).unwrap();
    let mut command = Command::cargo_bin("loadgen").expect("the binary is part of this package");
    command.current_dir(folder.path()).args(["--scenario", "hop.toml", "--out", "out"]).args(flags);
    for set in sets {
        command.args(["--set", set]);
    }
    command.output().unwrap()
}

fn result(folder: &TempDir) -> RunResult {
    serde_json::from_slice(&fs::read(folder.path().join("out/result.json")).unwrap()).unwrap()
}

fn measured(text: &str, sets: &[&str]) -> Metrics {
    let folder = TempDir::new().unwrap();
    let output = run(&folder, text, sets, &[]);
    let mut result = result(&folder);
    // What the run says of the transport holds on a busy machine, too; that it says INVALID then is tested elsewhere.
    let is_busy =
        output.status.code() == Some(5) && result.reasons.iter().all(|reason| reason.contains("the machine"));
    assert!(output.status.success() || is_busy, "{}", String::from_utf8_lossy(&output.stderr));
    result.cells.remove(0).metrics
}

#[test]
fn what_an_unordered_stream_promises_is_all_it_is_held_to() {
    let ordered = measured(HOP, &[]);
    let unordered = measured(HOP, &["workload.stream.delivery.order=unordered"]);
    for messages in [&ordered.messages, &unordered.messages] {
        assert_eq!((messages.lost, messages.duplicated, messages.reordered), (0, 0, 0));
        assert_eq!(messages.delivered, messages.intended);
    }
    let causes = (&ordered.delay_causes, &unordered.delay_causes);
    for causes in [causes.0, causes.1] {
        assert_eq!(causes.count, ordered.messages.delivered);
        assert_parts_add_up(causes);
    }
    let (waiting, free) = (causes.0.slowest.clone(), causes.1.slowest.clone());
    assert_eq!(free.order_us, Some(0.0));
    assert!(waiting.order_us.unwrap() + waiting.loss_us.unwrap() > 20_000.0, "{waiting:?}");
    assert!(causes.0.all.order_us.unwrap() > 1_000.0, "those behind a lost one waited for it");
    let p90 = |metrics: &Metrics| metrics.latency.delivery.p90_us.unwrap();
    assert!(p90(&unordered) < p90(&ordered), "nothing waits for what was lost before it");
}

fn assert_parts_add_up(causes: &DelayCauses) {
    for part in [&causes.all, &causes.slowest] {
        let parts = [
            part.base_us,
            part.window_us,
            part.pacing_us,
            part.flow_us,
            part.loss_us,
            part.order_us,
            part.path_us,
        ];
        let sum: f64 = parts.map(Option::unwrap).iter().sum();
        // Each part is cut to whole microseconds.
        assert!((sum - part.latency_us.unwrap()).abs() <= 7.0, "{part:?}");
    }
}

#[test]
fn on_sockets_both_ends_tell_where_the_time_went() {
    let metrics =
        measured(&HOP.replace("\"4s\"", "\"3200ms\""), &["run.driver=real", "protocol.redundancy=off"]);
    let (causes, latency) = (&metrics.delay_causes, &metrics.latency.delivery);
    assert_eq!((causes.count, causes.forgotten), (metrics.messages.delivered, 0));
    assert_eq!((metrics.messages.delivered, &causes.not_available), (320, &None));
    assert_parts_add_up(causes);
    // A mean of the same deliveries; the histogram has three digits.
    let (told, measured) = (causes.all.latency_us.unwrap(), latency.mean_us.unwrap());
    assert!((told - measured).abs() <= 0.01 * measured, "{told} {measured}");
    assert_eq!(causes.all.base_us, Some(20_000.0));
    // The sender told of its repair, and the server of what came behind it. Each repair takes 40 ms at least, so five of
    // 320 are enough; in fewer than one run of 10^9 fewer are lost.
    assert!(causes.all.loss_us.unwrap() > 500.0 && causes.all.order_us.unwrap() > 500.0, "{causes:?}");
    assert!(causes.slowest.loss_us.unwrap() + causes.slowest.order_us.unwrap() > 10_000.0, "{causes:?}");
}

#[test]
fn causes_of_a_server_elsewhere_are_not_available_which_is_not_zero() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(chat_server::start(ServerConfig::on_loopback(Seed::root(1)))).unwrap();
    let port = server.tcp_addr().port().to_string();
    let folder = TempDir::new().unwrap();
    let mut command = Command::cargo_bin("loadgen").expect("the binary is part of this package");
    command.current_dir(folder.path()).args(["--test", "connectivity", "--duration", "1", "--clients", "2"]);
    let output = command.args(["--port", &port, "--out", "out"]).output().unwrap();
    let result = result(&folder);
    let Metrics { messages, delay_causes, .. } = &result.cells[0].metrics;
    assert!(messages.delivered > 0 && delay_causes.count == 0, "{:?}", result.reasons);
    let why = "the server is not part of the run";
    assert_eq!(delay_causes.not_available.as_deref(), Some(why));
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(report.contains("not available") && report.contains(why), "{report}");
}

#[test]
fn messages_that_may_be_given_up_are_counted_apart_and_the_rest_is_still_lost() {
    let base = ["protocol.redundancy=off", "protocol.time_threshold=false"];
    let once = "workload.stream.delivery={ order = \"unordered\", reliability = { attempts = 1 } }";
    let messages = measured(HOP, &[base[0], base[1], once]).messages;
    let share = messages.expired as f64 / messages.intended as f64;
    // 400 messages of one packet at 10 % loss: five standard deviations are 7.5 %.
    assert!((0.025..0.175).contains(&share), "{messages:?}");
    assert_eq!(messages.lost, 0, "each has been reported by its sender");
    assert_eq!(messages.expected_deliveries + messages.expired, messages.intended);

    let latest = measured(HOP, &[base[0], base[1], "workload.stream.delivery.order=latest"]).messages;
    assert!(latest.superseded > 0 && latest.lost == 0, "{latest:?}");
    assert_eq!(latest.delivered + latest.superseded, latest.intended);

    // Nothing comes back from a blackout that outlasts the drain, and reliable messages have no excuse.
    let dark = HOP.replace(
        "[[clients]]\nname = \"sender\"",
        "[[link.path.event]]\nat = \"2s\"\nfor = \"60s\"\nset = { both = { blackhole = true } }\n[[clients]]\nname = \"sender\"",
    );
    let messages = measured(&dark, &[]).messages;
    assert!(messages.lost > 100 && messages.expired == 0, "{messages:?}");
}

#[test]
fn encrypted_carriers_deliver_on_real_sockets_and_are_refused_in_virtual_time() {
    let short = HOP.replace("\"4s\"", "\"1s\"").replace("\"virtual\"", "\"real\"");
    let calm = short.replace("loss = \"10%\"\n", "");
    for (text, sets) in [
        (&short, &["protocol.encryption=true", "protocol.codec=binary"][..]),
        (&calm, &["protocol.transport=tls", "protocol.codec=binary"]),
    ] {
        let folder = TempDir::new().unwrap();
        let output = run(&folder, text, sets, &[]);
        let result = result(&folder);
        let metrics = &result.cells[0].metrics;
        let messages = &metrics.messages;
        let wrong = messages.lost + messages.duplicated + messages.reordered + messages.corrupted;
        assert_eq!((messages.intended, messages.delivered, wrong), (100, 100, 0), "{sets:?}");
        assert!(metrics.latency.delivery.min_us.unwrap() >= 20_000, "the link was on the way: {sets:?}");
        // A busy machine may make a real run INVALID, which is no fault of what is tested here.
        assert!(output.status.success() || result.verdict == Verdict::Invalid, "{:?}", result.reasons);
    }
    for (text, sets, flags, says) in [
        (HOP, &["protocol.encryption=true"][..], &[][..], "protocol.encryption: keys come from"),
        (HOP, &["protocol.transport=tls"], &[], "protocol.transport: tls draws its keys"),
        (&short, &["protocol.transport=tls"], &[], "link.path: loss: a TCP relay cannot lose"),
        (
            HOP,
            &["protocol.transport=quic", "workload.stream.delivery.order=latest"],
            &[],
            "workload.stream.delivery",
        ),
    ] {
        let output = run(&TempDir::new().unwrap(), text, sets, flags);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(says), "{error}");
    }
}

/// The records of a JSON text sequence (RFC 7464): a separator, an object, a line feed.
fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let records = text.split_terminator('\n');
    let parse =
        |record: &str| serde_json::from_str(record.strip_prefix('\u{1e}').expect("a separator")).unwrap();
    records.map(parse).collect()
}

#[test]
fn a_trace_is_a_qlog_in_either_dialect_that_knows_what_the_emulator_did() {
    let dark = HOP.replace(
        "[[clients]]\nname = \"sender\"",
        "[[link.path.event]]\nat = \"1s\"\nfor = \"300ms\"\nset = { up = { blackhole = true } }\n[[clients]]\nname = \"sender\"",
    );
    for (flags, sets, sent) in [
        (&["--qvis"][..], &[][..], "transport:packet_sent"),
        (&[], &["measure.traces={ qlog = true }"], "quic:packet_sent"),
    ] {
        let folder = TempDir::new().unwrap();
        let output = run(&folder, &dark, sets, flags);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // The server has little to say to one who only sends.
        for (file, packets) in [("trace.qlog", 350), ("trace-server.qlog", 5)] {
            let records = records(&folder.path().join("out").join(file));
            let events = &records[1..];
            let times: Vec<f64> = events.iter().map(|event| event["time"].as_f64().unwrap()).collect();
            assert!(times.is_sorted(), "{file}: time goes on");
            assert_eq!(events[0]["name"], "simulation:scenario");
            let named = |name: &str| events.iter().filter(|event| event["name"] == name).collect::<Vec<_>>();
            assert!(named(sent).len() > packets, "{file}: {}", named(sent).len());
            let markers = named("simulation:marker");
            let messages: Vec<&str> =
                markers.iter().filter_map(|it| it["data"]["message"].as_str()).collect();
            assert_eq!(
                messages,
                ["the first phase begins", "path up: blackout begins", "path up: blackout ends"]
            );
            let span = markers[2]["time"].as_f64().unwrap() - markers[1]["time"].as_f64().unwrap();
            assert!((span - 300.0).abs() < 1e-6, "{span}");
        }
    }
}
