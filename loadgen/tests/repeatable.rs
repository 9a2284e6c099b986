//! A virtual run is a function of its scenario and its seed: whatever these are, two runs leave the same bytes behind.

use std::sync::atomic::AtomicBool;

use loadgen::backend::{RunPlan, ServerAt, sim};
use loadgen::measure::{RunIndex, measure};
use loadgen::scenario::load_str;
use proptest::prelude::*;
use units::Seed;

/// Small scenarios of every sort that takes chance: links that lose, delay, reorder and forget addresses, clients that
/// come and go or read slowly, every kind of message.
fn scenario() -> impl Strategy<Value = String> {
    let link = (0..25_u32, 0..60_u32, 0..10_u32, any::<bool>(), any::<bool>());
    let people = (3..12_u32, 1..4_u32, any::<bool>(), any::<bool>());
    let kind = prop::sample::select(vec!["room", "private", "broadcast", "file", "ping", "presence"]);
    let wire = (any::<bool>(), any::<bool>(), prop::sample::select(vec!["reno", "cubic", "bbr"]));
    (link, people, kind, wire, 2..8_u32).prop_map(
        |((loss, delay, jitter, has_rate, rebinds), (clients, rooms, churns, is_slow), kind, wire, rate)| {
            let (is_udp, is_binary, congestion) = wire;
            let mut text = format!(
                "schema = 1\nscenario.name = \"t\"\n\
                 [run]\ndriver = \"virtual\"\n\
                 [protocol]\ntransport = \"{}\"\ncodec = \"{}\"\ncongestion = \"{congestion}\"\n\
                 [link.l.both]\nloss = \"{loss}%\"\n\
                 delay = {{ base = \"{delay}ms\", jitter = \"{jitter}ms\", dist = \"normal\" }}\n",
                if is_udp { "udp" } else { "tcp" },
                if is_binary { "binary" } else { "json" },
            );
            if has_rate {
                text += "rate = \"2Mbit/s\"\n";
            }
            if rebinds && is_udp {
                text += "[[link.l.event]]\nat = \"900ms\"\nrebind = true\n";
            }
            text += &format!(
                "[[clients]]\nname = \"c\"\ncount = {clients}\nlink = \"l\"\nramp = \"500ms\"\n\
                 rooms = {{ count = {rooms}, popularity = \"zipf(1.1)\" }}\n"
            );
            if is_slow {
                text += "reader = { stall = \"5ms\" }\n";
            }
            text += &format!(
                "[[phase]]\nname = \"steady\"\nduration = \"2s\"\n[[phase]]\nname = \"drain\"\ndrain = \"4s\"\n\
                 [[workload]]\nname = \"w\"\nkind = \"{kind}\"\n\
                 arrival = {{ process = \"poisson\", rate = \"{rate}/s\", per = \"client\" }}\n"
            );
            if kind != "presence" {
                text += "size = { dist = \"lognormal\", median = \"120B\", p99 = \"900B\" }\n";
            }
            if churns {
                text += "[[workload]]\nname = \"churn\"\nkind = \"churn\"\nabrupt = 0.5\n\
                         session = { dist = \"exp\", mean = \"700ms\" }\noff = \"200ms\"\n";
            }
            text
        },
    )
}

/// Everything that a run leaves behind.
fn bytes(text: &str, seed: u64) -> Result<String, String> {
    let loaded = load_str("t.toml", text, &[]).map_err(|error| error.to_string())?;
    let plan = RunPlan { scenario: loaded.scenario, seed: Seed::root(seed), server: ServerAt::InProcess };
    let record = sim::run(&plan, &AtomicBool::new(false), &mut |_| std::ops::ControlFlow::Continue(()))
        .map_err(|error| error.to_string())?;
    let outcome = measure(&plan.scenario, record, RunIndex { cell: 0, repeat: 0 });
    let run = serde_json::to_string(&outcome.run).map_err(|error| error.to_string())?;
    Ok(format!("{run}\n{:?}\n{:?}", outcome.deliveries, outcome.traces))
}

proptest! {
    // Three short runs a case. A failing one is printed with its seed and its scenario.
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_scenario_and_a_seed_make_the_same_bytes_every_time(text in scenario(), seed in any::<u64>()) {
        let first = bytes(&text, seed);
        prop_assert!(first.is_ok(), "{:?} of seed {seed} and\n{text}", first);
        prop_assert_eq!(&first, &bytes(&text, seed), "seed {} and\n{}", seed, text);
        // Of another seed comes something else, so the comparison compares something.
        prop_assert_ne!(&first, &bytes(&text, seed.wrapping_add(1)));
    }
}
