//! Scenario files in, facts out: every shipped file loads, asks a question, and says the same after it was printed.

mod json;
mod language;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use chat_core::connection::{Delivery, Reliability};
use chat_core::wire::Codec;
use chat_core::{BundleConfig, CarrierHint, Redundancy};
use loadgen::scenario::{
    Baseline, Driver, Encryption, Loaded, Mtu, QuicCongestion, QuicStreams, Scenario, ScenarioError,
    TcpCongestion, Transport, load, load_str, schema_json,
};
use proptest::prelude::*;
use units::ByteCount;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn shipped() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(project().join("scenarios"))
        .expect("the project has scenarios")
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    files
}

fn loaded(path: &Path) -> Loaded {
    load(path, &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn named(name: &str, sets: &[&str]) -> Result<Loaded, ScenarioError> {
    load(&project().join("scenarios").join(name), &owned(sets))
}

fn error(toml: &str, sets: &[&str]) -> String {
    load_str("t.toml", toml, &owned(sets)).expect_err("this scenario is wrong").to_string()
}

fn owned(sets: &[&str]) -> Vec<String> {
    sets.iter().map(|&set| set.to_owned()).collect()
}

#[test]
fn every_shipped_scenario_asks_a_question_and_is_named_after_its_file() {
    assert!(shipped().len() >= 8);
    for path in shipped() {
        let loaded = loaded(&path);
        assert!(loaded.question.contains('?'), "{}: {}", path.display(), loaded.question);
        assert_eq!(path.file_stem().and_then(|stem| stem.to_str()), Some(loaded.scenario.name.as_str()));
        assert!(!loaded.scenario.asserts.is_empty(), "{} asserts nothing", path.display());
    }
}

#[test]
fn an_effective_scenario_reads_back_as_itself() {
    for path in shipped() {
        assert_reads_back(&loaded(&path));
    }
    assert_reads_back(
        &named("loss10.toml", &["link.lossy.both.loss=5%", "protocol.profile=classic"]).unwrap(),
    );
}

fn assert_reads_back(loaded: &Loaded) {
    let again = load_str("scenario.toml", &loaded.effective_toml, &[]);
    let again = again.unwrap_or_else(|error| panic!("{error}\n{}", loaded.effective_toml));
    assert_eq!(loaded.effective_toml, again.effective_toml);
    assert_eq!(*loaded, again);
}

#[test]
fn the_headline_scenario_is_what_it_says() {
    let scenario = loaded(&project().join("scenarios/loss10.toml")).scenario;
    assert_eq!((scenario.run.driver, scenario.client_count()), (Driver::Real, 100));
    assert!(scenario.rooms().iter().zip(0..).all(|(&room, client)| room == client / 10));
    assert_eq!(scenario.links["lossy"].up, scenario.links["lossy"].down);
}

#[test]
fn a_sender_and_a_receiver_group_share_a_room() {
    assert_eq!(loaded(&project().join("scenarios/classic_reno.toml")).scenario.rooms(), [0, 0]);
}

#[test]
fn a_sweep_makes_one_cell_for_each_value() {
    let loss = named("loss.toml", &[]).unwrap();
    let axes: Vec<f64> =
        loss.cells.iter().filter_map(|cell| cell.axes["link.lossy.both.loss.p"].as_f64()).collect();
    assert_eq!(axes, [0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3]);
    // `when` has decided which assertions each cell has to meet.
    let asserts = |cell: usize| loss.cells[cell].scenario.asserts.len();
    assert_eq!((asserts(0), asserts(4), asserts(5)), (4, 3, 2));
    assert_eq!(loss.scenario.asserts.len(), 4);
}

#[test]
fn bursts_are_swept_and_set_by_their_length() {
    let bursty = named("bursty.toml", &[]).unwrap();
    let axes: Vec<f64> =
        bursty.cells.iter().filter_map(|cell| cell.axes["link.bursty.both.loss.burst"].as_f64()).collect();
    assert_eq!(axes, [1.12, 2.0, 3.0, 5.0]);
    let tail = |cell: usize| bursty.cells[cell].scenario.asserts.iter().any(|it| it.id == "tail");
    assert_eq!([tail(0), tail(1), tail(2), tail(3)], [true, true, false, false]);
    let set = named("bursty.toml", &["link.bursty.both.loss.burst=3"]).unwrap();
    assert_eq!(set.scenario.links, bursty.cells[2].scenario.links);
    assert_reads_back(&set);
    let wrong = |set: &str| named("bursty.toml", &[set]).unwrap_err().to_string();
    assert_eq!(
        wrong("link.bursty.both.loss.p_bg=0.2").split_once(": ").map(|(_, problem)| problem),
        Some(
            "link.bursty.both.loss.burst: stands beside p_bg; write mean and burst alone, or p_gb and p_bg without them"
        )
    );
    assert!(wrong("link.bursty.both.loss.mean=100%").contains("loss.mean: loses every packet"));
}

#[test]
fn grids_multiply_zips_pair_and_lists_vary_one_axis() {
    let cells = |mode: &str| {
        let sweep = format!(
            "\n[sweep]\nmode = \"{mode}\"\naxis = [{{ path = \"phase.p.duration\", values = [\"1s\", \"2s\"] }}, \
             {{ path = \"clients.c.count\", values = [3, 4] }}]\n"
        );
        let loaded = load_str("t.toml", &format!("{MINIMAL}{sweep}"), &[]).unwrap();
        loaded
            .cells
            .iter()
            .map(|cell| (cell.scenario.phases[0].duration.as_secs(), cell.scenario.client_count()))
            .collect::<Vec<_>>()
    };
    assert_eq!(cells("grid"), [(1, 3), (1, 4), (2, 3), (2, 4)]);
    assert_eq!(cells("zip"), [(1, 3), (2, 4)]);
    assert_eq!(cells("list"), [(1, 2), (2, 2), (1, 3), (1, 4)]);
}

#[test]
fn a_set_overrides_the_file_and_errors_name_it() {
    let loaded =
        named("loss10.toml", &["run.seed=7", "workload.room-chat.arrival.rate=5/s", "run.driver=virtual"]);
    let scenario = loaded.unwrap().scenario;
    assert_eq!((scenario.run.seed, scenario.run.driver), (7, Driver::Virtual));
    let largest = named("loss10.toml", &["run.seed=18446744073709551615"]).unwrap();
    assert_eq!(largest.scenario.run.seed, u64::MAX);
    assert_reads_back(&largest);
    let wrong = |set: &str| named("loss10.toml", &[set]).unwrap_err().to_string();
    assert_eq!(
        wrong("link.lossy.both.loss.p=120%"),
        "--set link.lossy.both.loss.p=120%: link.lossy.both.loss.p: \"120%\" is not a probability; write 0% to 100%"
    );
    assert!(wrong("run.sede=7").contains("run.sede: unknown key; did you mean \"seed\"?"));
    assert!(wrong("link.losy.both.rate=1Mbit/s").contains("did you mean \"lossy\"?"));
    assert!(wrong("extends=common.toml").contains("extends: is a matter of the file"));
    assert!(wrong("rnu.seed=7").contains("unknown key; did you mean \"run\"?"));
}

#[test]
fn an_error_in_an_inherited_file_names_that_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("base.toml"), "schema = 1\nrun.seed = -1").unwrap();
    let path = folder.path().join("top.toml");
    std::fs::write(&path, format!("extends = [\"base.toml\"]\n{MINIMAL}")).unwrap();
    let error = load(&path, &[]).unwrap_err().to_string();
    assert!(error.ends_with("base.toml:2: run.seed: -1 is negative; write 0 or more"), "{error}");
    let missing = load(&folder.path().join("none.toml"), &[]).unwrap_err().to_string();
    assert!(missing.contains("none.toml: cannot be read: "), "{missing}");
}

#[test]
fn every_mistake_in_the_head_is_one_line_with_its_place_and_a_remedy() {
    for (toml, expected) in [
        ("", "t.toml:1: schema is missing; begin the file with schema = 1"),
        ("schema = 2", "t.toml:1: schema: 2 is not known here; this version reads schema = 1"),
        ("schema = 1\nrnu = 1", "t.toml:2: rnu: unknown key; did you mean \"run\"? known: "),
        ("schema = 1\nextends = \"x\"", "t.toml:2: extends: only a file can inherit from files; remove it"),
        ("schema = 1\n[scenario]\nname = \"A\"", "t.toml:3: scenario.name: \"A\" has capitals; write a"),
        ("schema = ", "t.toml:1: not valid TOML: "),
    ] {
        let error = error(toml, &[]);
        assert!(error.starts_with(expected), "{error}");
        assert!(!error.contains('\n'));
    }
}

#[test]
fn every_mistake_in_a_value_is_one_line_with_its_place_and_a_remedy() {
    for (line, expected) in [
        ("link.l.both.loss = \"120%\"", "link.l.both.loss: \"120%\" is not a probability; write 0% to 100%"),
        (
            "link.l.up.delay = 50",
            "link.l.up.delay: 50 has no unit; write it in quotes with one, for example \"50ms\"",
        ),
        (
            "link.l.up.loss = { p_gb = 0.1 }",
            "link.l.up.loss.p_gb: has no meaning with model = \"bernoulli\"; remove it",
        ),
        (
            "link.l.up.delay = { base = \"1ms\", jitter = \"2ms\", dist = \"uniform\" }",
            "delay.jitter: is above base",
        ),
        ("link.l.up.queue.limit = \"0 packets\"", "link.l.up.queue.limit: \"0 packets\" leaves no room"),
        ("link.l.event = [{ for = \"1s\" }]", "link.l.event: at is missing; say when it happens"),
        ("protocol.rto_min = \"10s\"", "protocol.rto_min: rto_min is above rto_max"),
        ("protocol.congestion = \"renö\"", "protocol.congestion: \"renö\" is not a controller; write reno"),
        ("run.seed = 99999999999999999999", "seed: 99999999999999999999 is too large"),
        ("run.repeats = 0", "run.repeats: 0 is out of range; write 1 to 1000"),
        (
            "assert = [{ id = \"a\", expr = \"losst == 0\" }]",
            "assert.a.expr: losst is no metric; nearest: lost",
        ),
        (
            "assert = [{ id = \"a\", expr = \"lost == 0\", when = \"x.y < 1\" }]",
            "assert.a.when: x.y is not set",
        ),
        (
            "sweep.axis = [{ path = \"clients.c.count\", values = [] }]",
            "sweep.axis.values: is no list of values",
        ),
        ("sweep.axis = [{ path = \"clients.x.count\", values = [1] }]", "there is no clients entry \"x\""),
        ("sweep.axis = [{ path = \"run.time_limit\", values = [5] }]", "run.time_limit: 5 has no unit"),
        (
            "sweep.axis = [{ path = \"run.repeats\", values = [1] }]",
            "\"run.repeats\" is the same for the whole",
        ),
        ("sweep.axis = [{ path = \"output\", values = [1] }]", "\"output\" is the same for the whole"),
        ("output.figures = [\"F1\", \"F15\"]", "\"F15\" is no picture by itself"),
        ("measure.traces.clients = true", "measure.traces.clients: true stands where a whole number belongs"),
    ] {
        let error = error(&MINIMAL.replacen('\n', &format!("\n{line}\n"), 1), &[]);
        assert!(error.starts_with("t.toml:2: ") && error.contains(expected), "{line}: {error}");
        assert!(!error.contains('\n'));
    }
}

#[test]
fn names_must_exist_and_be_unique() {
    let with = |set: &str| error(MINIMAL, &[set]);
    assert!(with("clients.c.link=fiber").contains("\"fiber\" is no link; there are none here"));
    assert!(with("workload.w.clients=[\"d\"]").contains("\"d\" is no group; did you mean \"c\"?"));
    assert!(with("clients.c.count=1").contains("nobody to talk to"));
    assert!(with("workload.w.loop=closed").contains("arrival: has no meaning in a closed loop"));
    let twice = MINIMAL.replace("[{ name = \"c\"", "[{ name = \"c\", count = 1 }, { name = \"c\"");
    assert!(error(&twice, &[]).contains("\"c\" is used twice; choose another name"));
}

fn reference() -> String {
    std::fs::read_to_string(project().join("docs/SCENARIOS.md"))
        .expect("the reference is part of the project")
}

fn example(reference: &str) -> &str {
    let example = reference.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    example.expect("the reference has an example")
}

#[test]
fn the_example_of_the_reference_loads_and_reads_back() {
    let loaded = load_str("example", example(&reference()), &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.cells.len(), 4);
    assert_reads_back(&loaded);
}

fn annotated() -> PathBuf {
    project().join("scenarios/reference/reference.toml")
}

#[test]
fn the_annotated_scenario_loads_and_reads_back() {
    let loaded = loaded(&annotated());
    // Three times two, without one.
    assert_eq!((loaded.cells.len(), loaded.excluded), (5, 1));
    let clients: Vec<(&str, u32)> =
        loaded.scenario.clients.iter().map(|group| (group.name.as_str(), group.count)).collect();
    assert_eq!(clients, [("mobile", 95), ("desk", 5)]);
    assert_reads_back(&loaded);
}

#[test]
fn the_reference_and_the_annotated_scenario_know_every_key() {
    fn keys(schema: &serde_json::Value, found: &mut BTreeSet<String>) {
        for (word, inner) in schema.as_object().into_iter().flatten() {
            if word == "properties" {
                found.extend(inner.as_object().into_iter().flatten().map(|(key, _)| key.clone()));
            }
            keys(inner, found);
        }
        schema.as_array().into_iter().flatten().for_each(|inner| keys(inner, found));
    }
    let (reference, annotated) = (reference(), std::fs::read_to_string(annotated()).unwrap());
    let mut known = BTreeSet::new();
    keys(&schema_json(), &mut known);
    assert!(known.len() > 150, "{known:?}");
    let has = |text: &str, key: &str| {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        text.split(|c: char| !is_part(c)).any(|word| word == key)
    };
    let explained = reference.replace(example(&reference), "");
    let missing = |text: &str| known.iter().filter(|key| !has(text, key)).cloned().collect::<Vec<_>>();
    assert_eq!(missing(&explained), Vec::<String>::new(), "the reference does not explain them");
    assert_eq!(missing(&annotated), Vec::<String>::new(), "the annotated scenario does not show them");
}

#[test]
fn the_reference_lists_every_shipped_scenario() {
    let reference = reference();
    for path in shipped() {
        let name = loaded(&path).scenario.name;
        assert!(reference.contains(&format!("| `{name}` |")), "{name} is missing");
    }
}

const MINIMAL: &str = "schema = 1\nscenario.name = \"t\"\nclients = [{ name = \"c\", count = 2 }]\n\
                       phase = [{ name = \"p\", duration = \"1s\" }]\n\
                       workload = [{ name = \"w\", arrival = { rate = \"1/s\" } }]\n";

proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(text in "\\PC{0,200}") {
        let _ = load_str("t.toml", &text, &[]);
    }

    /// Random TOML hardly reaches the parsers; a valid scenario with a piece replaced does.
    #[test]
    fn no_damaged_scenario_makes_the_loader_panic(
        file in 0_usize..8,
        at in 0.0..1.0,
        cut in 0_usize..20,
        piece in "[-a-z0-9_.\"'={}\\[\\], %/\n]{0,12}",
        set in "[a-z.]{0,12}=[-a-z0-9.%\"\\[\\]]{0,6}",
    ) {
        let valid: Vec<char> = EFFECTIVE.with(|texts| texts[file % texts.len()].chars().collect());
        let at = (at * valid.len() as f64) as usize;
        let rest = &valid[(at + cut).min(valid.len())..];
        let damaged: String = valid[..at].iter().copied().chain(piece.chars()).chain(rest.iter().copied()).collect();
        for sets in [Vec::new(), vec![set]] {
            if let Err(error) = load_str("t.toml", &damaged, &sets) {
                prop_assert!(!error.to_string().contains('\n'));
            }
        }
    }
}

thread_local! {
    static EFFECTIVE: Vec<String> = shipped().iter().map(|path| loaded(path).effective_toml).collect();
}

#[test]
fn a_stream_knows_what_lies_below_unless_it_is_told_not_to() {
    let sets = ["protocol.transport=tcp", "protocol.stream-link=packets", "protocol.stream-hint=datagram"];
    let doubting = named("loss10.toml", &sets).unwrap();
    assert!(doubting.scenario.is_over_kernel_tcp());
    assert_eq!(doubting.scenario.protocol.carrier_assumed, Some(CarrierHint::Datagram));
    assert_reads_back(&doubting);
    let trusting = named("loss10.toml", &sets[..1]).unwrap();
    assert!(!trusting.scenario.is_over_kernel_tcp());
    assert_eq!(trusting.scenario.protocol.carrier_assumed, None);
    // Set once for the cells of a sweep that they concern.
    let datagrams = named("loss10.toml", &["protocol.transport=udp", sets[1], sets[2]]).unwrap();
    assert!(!datagrams.scenario.is_over_kernel_tcp());
    assert_eq!(datagrams.scenario.protocol.carrier_assumed, None);
    let error = named("loss10.toml", &["protocol.stream-link=bytes"]).unwrap_err().to_string();
    assert!(error.contains("known: frames, packets"), "{error}");
}

#[test]
fn baselines_and_copies_are_set_like_anything_and_survive_being_printed() {
    let sets = [
        "protocol.transport=kernel-tcp",
        "protocol.tcp-congestion=bbr",
        "protocol.mtu=1252B",
        "protocol.quic-congestion=reno",
        "protocol.quic-streams=message",
    ];
    let loaded = named("loss10.toml", &sets).unwrap();
    let Scenario { transport, baseline, .. } = &loaded.scenario;
    assert!(*transport == Transport::KernelTcp && transport.is_baseline());
    let expected = Baseline {
        tcp_congestion: TcpCongestion::Bbr,
        mtu: Mtu(1252),
        quic_congestion: QuicCongestion::Reno,
        quic_streams: QuicStreams::Message,
    };
    assert_eq!(*baseline, expected);
    assert_reads_back(&loaded);
    let copies = ["protocol.redundancy=bundle", "protocol.bundle-copies=2", "protocol.bundle-rate=35kB"];
    let loaded = named("loss10.toml", &copies).unwrap();
    let limits = BundleConfig { copies_max: 2, rate_max: ByteCount(35_000), ..BundleConfig::default() };
    assert_eq!(loaded.scenario.protocol.redundancy, Redundancy::Bundle(limits));
    assert_reads_back(&loaded);
    for (set, expected) in [
        ("protocol.redundancy=thrice", "known: off, twice, bundle"),
        ("protocol.bundle-copies=4", "protocol.bundle-copies: 4 is out of range; write 1 to 3"),
        (
            "protocol.transport=sctp",
            "protocol.transport: \"sctp\" is unknown; did you mean \"tcp\"? known: udp, tcp, tls, kernel-tcp, quic",
        ),
        ("protocol.tcp-congestion=vegas", "known: reno, cubic, bbr"),
        ("protocol.mtu=100B", "protocol.mtu: 100B is out of range; write 576B to "),
        ("protocol.quic-streams=two", "known: one, message"),
    ] {
        let error = named("loss10.toml", &[set]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn codec_encryption_and_delivery_are_set_like_anything_and_survive_being_printed() {
    let sets = [
        "protocol.codec=binary",
        "protocol.encryption=true",
        "workload.room-chat.delivery.order=unordered",
        "workload.room-chat.delivery.reliability={ deadline = \"500ms\" }",
        "measure.traces={ clients = 2, qlog = true }",
    ];
    let loaded = named("loss10.toml", &sets).unwrap();
    let Scenario { codec, encryption, workloads, measure, .. } = &loaded.scenario;
    assert_eq!((*codec, *encryption), (Codec::Binary, Encryption::On));
    let deadline = Reliability::Deadline(std::time::Duration::from_millis(500));
    assert_eq!(workloads[0].delivery, Delivery::UNORDERED.with(deadline));
    assert!(measure.qlog && measure.trace_clients == 2);
    assert_reads_back(&loaded);
    assert_reads_back(&named("loss10.toml", &["protocol.transport=tls"]).unwrap());
    for (sets, expected) in [
        (&["protocol.codec=xml"][..], "known: json, binary"),
        (&["protocol.transport=tcp", "protocol.encryption=true"], "write transport = \"tls\""),
        (&["protocol.transport=quic", "protocol.encryption=false"], "quic is always encrypted"),
        (
            &["workload.room-chat.delivery.reliability={ }"],
            "write { attempts = 1 } or { deadline = \"500ms\" }",
        ),
        (&["workload.room-chat.delivery.reliability.attempts=0"], "write 1 to 1000"),
        (&["workload.room-chat.kind=private", "workload.room-chat.delivery.order=latest"], "is for rooms"),
    ] {
        let error = named("loss10.toml", sets).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_bench_of_transports_is_one_hop_with_all_of_them_side_by_side() {
    for name in ["thin_stream", "thin_burst", "isolated"] {
        let loaded = named(&format!("{name}.toml"), &[]).unwrap();
        let transports: Vec<Transport> = loaded.cells.iter().map(|cell| cell.scenario.transport).collect();
        assert_eq!(transports[0], Transport::Udp, "{name}");
        assert!(transports.contains(&Transport::KernelTcp) && transports.contains(&Transport::Quic));
        for cell in &loaded.cells {
            let [sender, receiver] = &cell.scenario.clients[..] else { panic!("a sender and a receiver") };
            assert!(sender.link.is_some() && receiver.link.is_none());
            let delay = cell.scenario.links["lossy"].up.mean_delay();
            assert_eq!(delay, std::time::Duration::from_millis(50));
        }
    }
}
