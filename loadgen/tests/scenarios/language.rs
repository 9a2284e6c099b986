//! What the words of the language mean: links with events and presets, clients, phases, workloads, sweeps, searches.

use std::time::Duration;

use loadgen::scenario::{
    Active, Arrival, Format, LinkConfig, Loaded, Pace, Popularity, Scenario, SearchUnit, Seats, Size,
    SpanLaw, WorkloadKind, load, load_str,
};
use netem_proxy::profile::{DelayModel, Discipline, Gate, LossModel, QueueLimit};
use proptest::prelude::*;
use units::Bitrate;

use super::{MINIMAL, assert_reads_back, error, owned};

const MS: Duration = Duration::from_millis(1);

/// [`MINIMAL`] with more lines behind `schema = 1`.
fn with(lines: &str) -> Loaded {
    let text = MINIMAL.replacen('\n', &format!("\n{lines}\n"), 1);
    let loaded = load_str("t.toml", &text, &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_reads_back(&loaded);
    loaded
}

fn set(sets: &[&str]) -> Scenario {
    let loaded = load_str("t.toml", MINIMAL, &owned(sets)).unwrap_or_else(|error| panic!("{error}"));
    assert_reads_back(&loaded);
    loaded.scenario
}

/// The link of a scenario in which the clients use link `l`.
fn link(lines: &str) -> LinkConfig {
    let text = MINIMAL.replacen('\n', &format!("\n{lines}\n"), 1);
    let loaded = load_str("t.toml", &text, &owned(&["clients.c.link=l"]));
    let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
    assert_reads_back(&loaded);
    loaded.scenario.links["l"].clone()
}

#[test]
fn a_link_begins_as_a_preset_and_keys_change_it() {
    let preset = netem_proxy::preset::find("wifi").unwrap();
    let plain = link("link.l.extends = \"builtin:wifi\"");
    assert_eq!((plain.up, plain.down), (preset.up_profile(), preset.down_profile()));
    let changed =
        link("link.l = { extends = \"builtin:wifi\", both.loss = \"5%\", down.delay.base = \"9ms\" }");
    assert_eq!(changed.up.delay, preset.up_profile().delay);
    assert!((changed.up.mean_loss() - 0.05).abs() < 1e-12);
    assert_eq!(changed.up.bitrate(), Bitrate::from_bits_per_second(100_000_000));
    // The law of the preset's jitter stays; only its base moves.
    let DelayModel::Pareto { base, jitter } = changed.down.delay else { panic!("{:?}", changed.down.delay) };
    assert_eq!((base, jitter), (9 * MS, MS));
}

#[test]
fn a_link_extends_another_and_neither_itself() {
    let lines = "link.base = { both.delay = \"10ms\", up.loss = \"1%\" }\n\
                 link.l = { extends = \"base\", both.loss = \"2%\", down.rate = \"1Mbit/s\" }";
    let extended = link(lines);
    // What is nearer wins, key by key: `both` here over `up` there.
    assert!((extended.up.mean_loss() - 0.02).abs() < 1e-12);
    assert_eq!((extended.up.mean_delay(), extended.up.bitrate()), (10 * MS, None));
    assert_eq!(extended.down.bitrate(), Bitrate::from_bits_per_second(1_000_000));
    let wrong = |lines: &str| error(&MINIMAL.replacen('\n', &format!("\n{lines}\n"), 1), &[]);
    assert!(
        wrong("link.l.extends = \"l\"").contains("link.l.extends: \"l\" extends itself; break the circle")
    );
    assert!(wrong("link.l.extends = \"builtin:wify\"").contains("is no preset; did you mean \"wifi\"?"));
    assert!(wrong("link.l.extends = \"wifi\"").contains("presets are written builtin:wifi"));
}

#[test]
fn every_stage_of_the_emulator_can_be_written() {
    let both = |keys: &str| link(&format!("link.l.both = {{ {keys} }}")).up;
    let queue = both("rate = \"1Mbit/s\", queue = { kind = \"codel\", target = \"7ms\", ecn = true }").queue;
    assert_eq!(queue.discipline, Discipline::CoDel { target: 7 * MS, interval: 100 * MS });
    assert!(queue.ecn);
    assert_eq!(both("queue = { limit = \"1.5bdp\" }").queue.limit, QueueLimit::Bdp(1.5));
    assert_eq!(both("queue = { limit = \"100ms\" }").queue.limit, QueueLimit::Time(100 * MS));
    assert_eq!(
        both("queue = \"fq-codel(flows=8)\"").queue,
        both("queue = { kind = \"fq-codel\", flows = 8 }").queue
    );
    assert_eq!(both("loss = { p = \"10%\", burst = 5 }").loss, both("loss = \"burst(10%,len=5)\"").loss);
    let correlated = both("delay = { base = \"9ms\", jitter = \"2ms\", correlation = 0.5 }");
    assert_eq!(correlated.delay, DelayModel::Normal { base: 9 * MS, jitter: 2 * MS });
    assert!((correlated.delay_correlation - 0.5).abs() < 1e-12);
    // A whole direction as the text that netem-proxy takes.
    let spec = link("link.l.up = \"loss=1% delay=5ms jitter=1ms mtu=1400B\"").up;
    assert_eq!(spec, "loss=1% delay=5ms jitter=1ms mtu=1400B".parse().unwrap());
    let over = link("link.l.up = { spec = \"loss=1% delay=5ms\", loss = \"2%\" }").up;
    assert_eq!(over, "loss=2% delay=5ms".parse().unwrap());
}

#[test]
fn events_without_jitter_are_windows_and_others_are_spelled_out() {
    let one = link("link.l.event = [{ at = \"1s\", for = \"500ms\", set = { up = { hold = true } } }]");
    assert!(
        matches!(one.up.gates[..], [Gate::Hold(window)] if window.at == 1000 * MS && window.duration == 500 * MS)
    );
    assert!(one.down.gates.is_empty());
    let jittered = "link.l.event = [{ at = \"0s\", for = \"10ms\", every = \"100ms\", jitter = \"50ms\", \
                    set = { both = { blackhole = true } } }]";
    let first = link(jittered);
    // One second of phases: at 0, 100, ..., 1000 ms, each later by less than 50 ms, the same in both directions.
    assert_eq!(first.up.gates.len(), 11);
    assert_eq!(first.up.gates, first.down.gates);
    for (index, gate) in (0..).zip(&first.up.gates) {
        let Gate::Blackout(window) = gate else { panic!("{gate:?}") };
        let late = window.at - 100 * MS * index;
        assert!(late < 50 * MS && window.duration == 10 * MS, "{window:?}");
    }
    assert_eq!(first, link(jittered), "the seed decides");
}

#[test]
fn an_event_changes_keys_for_its_time_and_addresses_at_its_end() {
    let lines = "link.l = { both.loss = \"1%\", both.delay = \"10ms\", event = [\n\
                 { at = \"100ms\", for = \"200ms\", set = { up = { loss = \"30%\", rate = \"1Mbit/s\" } } },\n\
                 { at = \"200ms\", for = \"200ms\", set = { up = { loss = \"50%\" } }, rebind = true },\n\
                 { at = \"900ms\", set = { down = { delay = \"70ms\" } } },\n] }";
    let link = link(lines);
    let loss = |index: usize| link.up.schedule[index].profile.mean_loss();
    let times: Vec<Duration> = link.up.schedule.iter().map(|step| step.at).collect();
    assert_eq!(times, [100, 200, 300, 400].map(|ms| ms * MS));
    for (index, expected) in [0.3, 0.5, 0.5, 0.01].into_iter().enumerate() {
        assert!((loss(index) - expected).abs() < 1e-12, "step {index}");
    }
    assert_eq!(link.up.schedule[1].profile.bitrate(), Bitrate::from_bits_per_second(1_000_000));
    assert_eq!(link.up.schedule[2].profile.bitrate(), None);
    assert_eq!(link.up.schedule[0].set, "loss=30% rate=1Mbit/s");
    assert_eq!(link.up.schedule[3].set, "loss=1% rate=unlimited");
    // Every step keeps the gates of the whole.
    assert_eq!(link.up.gates, [Gate::Rebind { at: 400 * MS, every: None }]);
    assert!(link.up.schedule.iter().all(|step| step.profile.gates == link.up.gates));
    // Without an end the change stays.
    let [step] = &link.down.schedule[..] else { panic!("{:?}", link.down.schedule) };
    assert_eq!((step.at, step.profile.mean_delay()), (900 * MS, 70 * MS));
    assert_eq!(link.up.schedule[0].profile.loss, LossModel::Bernoulli { p: "30%".parse().unwrap() });
}

#[test]
fn clients_are_counted_or_shared_and_seated() {
    let shared = "run.clients = 10\n";
    let groups = "clients = [{ name = \"c\", share = \"33%\" }, { name = \"d\", share = 0.33 }, { name = \"e\", share = 0.34 }]";
    let text = MINIMAL.replacen("clients = [{ name = \"c\", count = 2 }]", &format!("{shared}{groups}"), 1);
    let loaded = load_str("t.toml", &text, &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_reads_back(&loaded);
    let counts: Vec<u32> = loaded.scenario.clients.iter().map(|group| group.count).collect();
    assert_eq!(counts, [3, 4, 3]);
    assert!(error(&text, &["run.clients=2"]).contains("gets none of 2 clients"));
    assert!(error(&text, &["clients.c.share=0.5"]).contains("write shares that add up to 1"));
    assert!(error(&text, &["clients.c.count=5"]).contains("clients.c.count: stands beside share"));
    let rooms =
        set(&["clients.c.rooms={ count = 4, per_client = 2, popularity = 'zipf(1.1)' }"]).clients[0].rooms;
    assert_eq!((rooms.seats, rooms.per_client), (Seats::Count(4), 2));
    assert_eq!(rooms.popularity, Popularity::Zipf { exponent: 1.1 });
    let wrong = |set: &str| error(MINIMAL, &[set]);
    assert!(wrong("clients.c.rooms={ count = 2, per_client = 3 }").contains("3 rooms of 2? lower it"));
    assert!(wrong("clients.c.rooms.popularity=zipf").contains("write uniform, or zipf(1.1)"));
    assert!(wrong("clients.c.ramp={ over = '1s', steps = 2 }").contains("has no meaning without shape"));
}

#[test]
fn a_drain_may_depend_on_the_links() {
    let text = MINIMAL
        .replacen(
            "duration = \"1s\" }]",
            "duration = \"1s\" }, { name = \"d\", drain = \"max(1s, 4*rto)\" }]",
            1,
        )
        .replacen("count = 2", "count = 2, link = \"l\"", 1)
        .replacen('\n', "\nlink.l.both.delay = \"100ms\"\n", 1);
    let loaded = load_str("t.toml", &text, &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_reads_back(&loaded);
    // Round trip 200 ms: RTO 600 ms after one sample.
    assert_eq!(loaded.scenario.base_rtt(), 200 * MS);
    assert_eq!(loaded.scenario.base_rto(), 600 * MS);
    assert_eq!(loaded.scenario.phases[1].duration, 2400 * MS);
    let near = load_str("t.toml", &text, &owned(&["link.l.both.delay=1ms"])).unwrap();
    assert_eq!(near.scenario.phases[1].duration, 1000 * MS);
    assert!(error(&text, &["phase.d.drain=max(1s"]).contains("write for example max(10s, 4*rto)"));
    assert!(error(&text, &["phase.d.rate=2"]).contains("has no meaning in a drain"));
}

#[test]
fn phases_have_clients_rates_and_ramps() {
    let phase = &set(&["phase.p.clients=50%", "phase.p.rate=2.5", "phase.p.ramp=1s"]).phases[0];
    assert_eq!((phase.clients, phase.clients.of(3)), (Active::Fraction(0.5), 2));
    assert!((phase.rate - 2.5).abs() < 1e-12 && phase.ramp.is_some());
    assert_eq!(set(&["phase.p.clients=7"]).phases[0].clients, Active::Count(7));
    assert!(error(MINIMAL, &["phase.p.rate=-1"]).contains("-1 is out of range"));
}

#[test]
fn every_kind_of_workload_has_its_own_keys() {
    let kind = |sets: &[&str]| set(sets).workloads[0].clone();
    assert_eq!(kind(&["workload.w.kind=group"]).kind, WorkloadKind::Room);
    let file = kind(&[
        "workload.w.kind=file",
        "workload.w.size={ dist = 'pareto', min = '64KiB', alpha = 1.3, cap = '8MiB' }",
    ]);
    assert_eq!(file.size, Size::Pareto { min: 65_536, alpha: 1.3, cap: 8 << 20 });
    assert_eq!(kind(&["workload.w.kind=file"]).size, Size::Fixed(65_536));
    let text = MINIMAL.replacen(
        "arrival = { rate = \"1/s\" }",
        "kind = \"churn\", session = { dist = \"exp\", mean = \"30s\" }, off = \"2s\", abrupt = \"30%\"",
        1,
    );
    let churn = load_str("t.toml", &text, &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_reads_back(&churn);
    let workload = &churn.scenario.workloads[0];
    assert_eq!((&workload.pace, workload.kind), (&Pace::Still, WorkloadKind::Churn));
    let spans = workload.churn.clone().unwrap();
    assert_eq!(spans.session, SpanLaw::Exponential { mean: 30_000 * MS });
    assert_eq!((spans.off, spans.abrupt.get()), (SpanLaw::Fixed(2000 * MS), 0.3));
    // Nobody can leave by two schedules; weights deal clients apart, and then they do not.
    let again = |own: &str, other: &str| {
        let second =
            format!("{{ name = 'often', kind = 'churn', session = '2s', {other} }}, {{ name = \"w\", {own}");
        load_str("t.toml", &text.replacen("{ name = \"w\", ", &second, 1), &[]).map(|_| ())
    };
    let twice = again("", "").unwrap_err().to_string();
    assert!(twice.contains("workload.w: \"c\" comes and goes by workload.often already"), "{twice}");
    assert_eq!(again("weight = 1, ", "weight = 2"), Ok(()));
    assert!(again("", "weight = 2").is_err());
    let wrong = |set: &str| error(MINIMAL, &[set]);
    assert!(wrong("workload.w.kind=churn").contains("arrival: has no meaning with kind = \"churn\""));
    assert!(wrong("workload.w.abrupt=10%").contains("abrupt: has no meaning with kind = \"room\""));
    assert!(wrong("workload.w.kind=fiel").contains("did you mean \"file\"?"));
    assert!(wrong("workload.w.size=2MiB").contains("is out of range; write 10B"));
    assert!(
        wrong("workload.w.phases=['q']").contains("\"q\" is no phase with a duration; did you mean \"p\"?")
    );
}

#[test]
fn every_process_keeps_its_mean_rate() {
    let pace = |arrival: &str| match &set(&[&format!("workload.w.arrival={arrival}")]).workloads[0].pace {
        Pace::Open { arrival, per_second, .. } => (arrival.clone(), *per_second),
        other => panic!("{other:?}"),
    };
    assert_eq!(pace("{ process = 'gamma', rate = '3/s', cv = 0.5 }"), (Arrival::Gamma { cv: 0.5 }, 3.0));
    let (burst, per_second) = pace("{ process = 'burst', n = 3, every = '2s' }");
    assert_eq!((burst, per_second), (Arrival::Burst { count: 3, every: 2000 * MS }, 1.5));
    let (mmpp, _) = pace("{ process = 'mmpp', rate = '1/s' }");
    assert_eq!(mmpp, Arrival::Mmpp { factor: 10.0, calm: 9000 * MS, busy: 1000 * MS });
    let wrong = |set: &str| error(MINIMAL, &[set]);
    assert!(
        wrong("workload.w.arrival={ process = 'burst', rate = '1/s', n = 3 }")
            .contains("rate: has no meaning with process = \"burst\"")
    );
    assert!(wrong("workload.w.arrival={ process = 'gamma', rate = '1/s' }").contains("cv is missing"));
}

#[test]
fn recordings_are_found_from_the_file_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("traces")).unwrap();
    std::fs::write(folder.path().join("traces/times.txt"), "# three\n0.5s\n0.5s # twice\n\n2s\n").unwrap();
    let text =
        MINIMAL.replacen("{ rate = \"1/s\" }", "{ process = \"trace\", file = \"traces/times.txt\" }", 1);
    let path = folder.path().join("s.toml");
    std::fs::write(&path, &text).unwrap();
    let loaded = load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
    let Pace::Open { arrival: Arrival::Trace(trace), per_second, .. } = &loaded.scenario.workloads[0].pace
    else {
        panic!("no trace")
    };
    assert_eq!(trace.times, [500 * MS, 500 * MS, 2000 * MS]);
    assert!((per_second - 1.5).abs() < 1e-12);
    // What was printed finds it from anywhere.
    assert_reads_back(&loaded);
    std::fs::write(folder.path().join("traces/times.txt"), "2s\n1s\n").unwrap();
    assert!(load(&path, &[]).unwrap_err().to_string().contains("times do not ascend"));
    std::fs::write(folder.path().join("traces/times.txt"), "2s\nsoon\n").unwrap();
    assert!(load(&path, &[]).unwrap_err().to_string().contains("times.txt: line 2: "));
}

#[test]
fn a_search_has_two_scenarios_as_its_ends() {
    let loaded = with("search = { path = \"workload.w.arrival.rate\", lo = \"1/s\", hi = \"500/s\" }");
    let search = loaded.scenario.search.clone().unwrap();
    assert_eq!((search.lo, search.hi, search.unit), (1.0, 500.0, SearchUnit::PerSecond));
    let probe = loaded.with(&[format!("{}={}", search.path, search.written(12.5))]).unwrap();
    assert!(matches!(probe.scenario.workloads[0].pace, Pace::Open { per_second, .. } if per_second == 12.5));
    let wrong = |lines: &str| error(&MINIMAL.replacen('\n', &format!("\n{lines}\n"), 1), &[]);
    let bad = wrong("search = { path = \"workload.v.arrival.rate\", lo = \"1/s\", hi = \"5/s\" }");
    assert!(bad.starts_with("t.toml:2: workload.v.arrival.rate: there is no workload entry \"v\""), "{bad}");
    assert!(
        wrong("search = { path = \"clients.c.count\", lo = 9, hi = 2 }")
            .contains("is not between zero and hi")
    );
    assert!(
        wrong("search = { path = \"clients.c.count\", lo = 2, hi = \"9/s\" }")
            .contains("is of another kind than lo")
    );
    let large = wrong("search = { path = \"clients.c.count\", lo = 2, hi = 2000000 }");
    assert!(large.contains("clients.c.count: 2000000 is out of range"), "{large}");
}

#[test]
fn the_server_the_measurement_and_the_output_are_read_and_survive() {
    let text = "server = { mode = \"spawn\", command = [\"chat-server\"], addr = \"127.0.0.1:0\", config = { a = 1, b = { c = \"x\" } } }\n\
                baseline = { path = \"r\", regress = { metric = \"p99(delivery_latency)\", worse_by = 0.2 } }\n\
                measure = { interval = \"2s\", per_client = \"all\", deliveries = \"none\", invalid_if = { hiccup_max = \"1s\" } }\n\
                output = { dir = \"out/{name}/{run_id}\", formats = [\"png\", \"json\"], figures = [\"F1\", \"F16\"] }";
    let scenario = with(text).scenario;
    assert_eq!(scenario.server.config, "a = 1\nb = { c = \"x\" }\n");
    assert_eq!(scenario.output.formats, [Format::Json, Format::Png]);
    assert_eq!(scenario.measure.invalid_if.hiccup_max, 1000 * MS);
    assert!((scenario.baseline_gate.unwrap().regress[0].worse_by - 0.2).abs() < 1e-12);
    let wrong = |lines: &str| error(&MINIMAL.replacen('\n', &format!("\n{lines}\n"), 1), &[]);
    for (lines, expected) in [
        (
            "server.mode = \"spawn\"",
            "server: command is missing; write for example command = [\"chat-server\"",
        ),
        ("server.mode = \"target\"", "server: addr is missing, or has no port"),
        (
            "server.command = [\"x\"]",
            "server.command: has no meaning for a server that is part of the generator",
        ),
        (
            "server.config = { max-connections = 9 }",
            "server.config: has no meaning for a server that is part of the generator",
        ),
        (
            "server = { mode = \"target\", addr = \"127.0.0.1:9\", admin = \"unix:/x\" }",
            "is no address with a port",
        ),
        ("measure.digits = 4", "measure.digits: histograms have three significant digits"),
        ("measure.per_client = \"most\"", "write none, top:20 or all"),
        ("output.figures = [\"F17\"]", "write F1 to F16"),
        ("output.dir = \"{nmae}\"", "output.dir: \"{nmae}\" is no folder"),
        (
            "baseline = { path = \"r\", regress = { metric = \"losst\" } }",
            "baseline.regress.metric: losst is no metric",
        ),
        ("run.abort_on = [\"asert\"]", "did you mean \"assert\"?"),
        (
            "sweep = { axis = [{ path = \"clients.c.count\", values = [2] }], exclude = [{ clients.c.count = 2 }] }",
            "exclude leaves no cell",
        ),
        (
            "sweep = { axis = [{ path = \"clients.c.count\", values = [2] }], exclude = [{ \"clients.c.cuont\" = 2 }] }",
            "clients.c.cuont is not set",
        ),
    ] {
        let error = wrong(lines);
        assert!(error.starts_with("t.toml:2: ") && error.contains(expected), "{lines}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A grid has the product of its axes, a list their sum, and exclusions take away what they name.
    #[test]
    fn sweeps_have_as_many_cells_as_their_axes_say(sizes in proptest::collection::vec(1_usize..5, 1..4), grid: bool) {
        let paths = ["clients.c.count", "measure.exemplars", "run.seed"];
        let axes: Vec<String> = paths.iter().zip(&sizes).map(|(path, &size)| {
            let values: Vec<String> = (0..size).map(|value| (value + 2).to_string()).collect();
            format!("{{ path = \"{path}\", values = [{}] }}", values.join(", "))
        }).collect();
        let mode = if grid { "grid" } else { "list" };
        let all = if grid { sizes.iter().product() } else { sizes.iter().sum::<usize>() };
        let axes = axes.join(", ");
        let sweep = format!("[sweep]\nmode = \"{mode}\"\naxis = [{axes}]\n");
        let loaded = load_str("t.toml", &format!("{MINIMAL}{sweep}"), &[]).unwrap();
        prop_assert_eq!(loaded.cells.len(), all);
        if grid && sizes[0] > 1 {
            let exclude = "exclude = [{ clients.c.count = 2 }]\n";
            let loaded = load_str("t.toml", &format!("{MINIMAL}{sweep}{exclude}"), &[]).unwrap();
            prop_assert_eq!((loaded.cells.len(), loaded.excluded), (all - all / sizes[0], all / sizes[0]));
        }
    }

    /// Whatever is set, what is printed says the same.
    #[test]
    fn any_scenario_that_loads_reads_back(chosen in proptest::collection::vec(0..SETS.len(), 0..6)) {
        let sets: Vec<String> = chosen.iter().map(|&index| SETS[index].to_owned()).collect();
        if let Ok(loaded) = load_str("t.toml", MINIMAL, &sets) {
            assert_reads_back(&loaded);
        }
    }
}

/// Any of them may meet any other; pairs that contradict each other are refused, and that is fine.
const SETS: &[&str] = &[
    "run={ repeats = 3, order = 'shuffled', cooldown = '1s', abort_on = [] }",
    "protocol.profile=classic",
    "protocol.redundancy=bundle",
    "link.l={ extends = 'builtin:lte', both.loss.p = '3%' }",
    "link.l.both={ loss = { p = 0.1, burst = 3 }, queue = { kind = 'red' }, rate = '1Mbit/s' }",
    "link.l.event=[{ every = '200ms', for = '50ms', jitter = '20ms', set = { both = { blackhole = true } }, rebind = true }]",
    "link.l.event=[{ at = '100ms', phase = 'p', set = { up = { loss = '30%' } } }]",
    "clients.c.link=l",
    "clients.c.rooms={ count = 3, per_client = 2, popularity = 'zipf(0.5)' }",
    "clients.c.ramp={ over = '3s', shape = 'exp' }",
    "clients.c.reader.stall=5ms",
    "phase.p={ name = 'p', duration = '2s', clients = 0.25, rate = 3, ramp = { over = '1s', shape = 'step', steps = 4 } }",
    "workload.w.arrival={ process = 'mmpp', rate = '1/s', factor = 3 }",
    "workload.w.arrival={ process = 'burst', n = 2, every = '150ms', per = 'total' }",
    "workload.w={ name = 'w', kind = 'idle' }",
    "workload.w={ name = 'w', kind = 'churn', session = { dist = 'pareto', min = '1s', alpha = 1.2, cap = '9s' } }",
    "workload.w={ name = 'w', loop = 'closed', in_flight = 3, think = { dist = 'uniform', min = '1ms', max = '5ms' } }",
    "workload.w.kind=ping",
    "workload.w.size={ dist = 'lognormal', median = '20B', p99 = '90B' }",
    "workload.w.weight=2.5",
    "workload.w.phases=[]",
    "workload.w.timeout=3s",
    "workload.w.max_in_flight=8",
    "assert=[{ id = 'a', expr = 'lost == 0', min_samples = 12, abort = { after = '1s' } }]",
    "measure={ interval = '250ms', per_client = 'none', deliveries = 12, warmup_check = false }",
    "output.figures=['F3']",
    "search={ path = 'run.repeats', lo = 2, hi = 8, repeats = 2 }",
    "baseline={ path = 'x', regress = [{ metric = 'lost', confirm = 0 }] }",
];
