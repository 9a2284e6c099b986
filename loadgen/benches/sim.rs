//! How fast virtual time is: events a second on one core, with few busy clients and with many idle ones.
//!
//! An event is one input that a machine is fed ([`loadgen::backend::sim::count_events`]). Laying the links and making the
//! sessions is in the time, as it is in a run. The last lines tell what a client takes in memory, both ends and its links
//! together: resident memory after a run with it, less that after one with few.

use std::fs;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use loadgen::backend::{RunPlan, ServerAt, sim};
use loadgen::scenario::load_str;
use units::Seed;

/// Rooms of ten behind `link`; `rate` messages a second from each client, `seconds` long.
fn plan(clients: u32, link: &str, rate: &str, codec: &str, seconds: u32) -> RunPlan {
    let text = format!(
        "schema = 1\n[scenario]\nname = \"bench\"\ntitle = \"Bench\"\nkind = \"concurrency\"\n\
         [run]\ndriver = \"virtual\"\n[protocol]\ncodec = \"{codec}\"\n\
         [link.l.both]\n{link}\n\
         [[clients]]\nname = \"c\"\ncount = {clients}\nlink = \"l\"\nramp = \"2s\"\nrooms = {{ size = 10 }}\n\
         [[phase]]\nname = \"steady\"\nduration = \"{seconds}s\"\n\
         [[phase]]\nname = \"drain\"\ndrain = \"10s\"\n\
         [[workload]]\nname = \"w\"\nkind = \"room\"\nsize = \"200B\"\n\
         arrival = {{ process = \"poisson\", rate = \"{rate}\", per = \"client\" }}\n\
         [[assert]]\nid = \"a\"\nexpr = \"lost == 0\"\n"
    );
    let scenario = load_str("bench.toml", &text, &[]).expect("a valid scenario").scenario;
    RunPlan { scenario, seed: Seed::root(1), server: ServerAt::InProcess }
}

const CLEAN: &str = "delay = \"50ms\"";
const LOSSY: &str = "delay = \"50ms\"\nloss = \"10%\"";

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sim");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    let cases = [
        ("100 clients, 2/s each, 10 % loss", plan(100, LOSSY, "2/s", "json", 20)),
        ("100 clients, 20/s each, binary", plan(100, CLEAN, "20/s", "binary", 10)),
        ("1000 clients, 2/s each", plan(1_000, CLEAN, "2/s", "json", 5)),
        ("10000 clients, 0.01/s each", plan(10_000, CLEAN, "0.01/s", "json", 10)),
    ];
    for (name, plan) in cases {
        let events = sim::count_events(&plan).expect("it runs");
        group.throughput(Throughput::Elements(events));
        group.bench_with_input(BenchmarkId::from_parameter(name), &plan, |bench, plan| {
            bench.iter(|| black_box(sim::count_events(plan).expect("it runs")));
        });
    }
    group.finish();
}

/// Resident memory at its highest, in bytes. `None` where the system does not tell.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn memory() {
    let measured = |clients| {
        sim::count_events(&plan(clients, CLEAN, "0.01/s", "json", 10)).expect("it runs");
        peak()
    };
    // The larger after the smaller: a peak only grows.
    let (few, many) = (1_000, 10_000);
    if let (Some(low), Some(high)) = (measured(few), measured(many)) {
        let each = high.saturating_sub(low) / u64::from(many - few);
        println!(
            "memory: {} B for each idle client, both ends and links; {} MiB for {many}",
            each,
            high >> 20
        );
    }
}

criterion_group!(benches, events);

fn main() {
    // First, because a peak of the other benches would hide it.
    memory();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
