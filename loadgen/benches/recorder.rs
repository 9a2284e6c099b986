//! What recording costs: a delivery with all that belongs to it (its message, acknowledgement, histograms, intervals,
//! records of clients), in rooms of ten.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use loadgen::backend::Cast;
use loadgen::backend::waits::NotTold;
use loadgen::measure::Recorder;
use loadgen::scenario::{Deliveries, Scenario, load_str};
use loadgen::seen::{Arrival, Seen};
use loadgen::workload::{Intent, Target};
use units::Timestamp;

fn scenario() -> Scenario {
    let toml = "schema = 1\nscenario.name = \"bench\"\nclients = [{ name = \"a\", count = 1000, rooms = { size = 10 } }]\n\
         phase = [{ name = \"steady\", duration = \"10s\" }]\n\
         workload = [{ name = \"room\", arrival = { rate = \"1/s\" } }]\n";
    let mut scenario = load_str("bench.toml", toml, &[]).expect("the scenario is sound").scenario;
    scenario.measure.deliveries = Deliveries::None;
    scenario
}

/// Messages `from..until`: 20 µs apart, each heard by nine within a millisecond and acknowledged.
fn feed(recorder: &mut Recorder, from: u32, until: u32) {
    for id in from..until {
        let intended = Timestamp::from_micros(u64::from(id) * 20);
        let sender = id * 7 % 1000;
        let target = Target::Room(0);
        recorder.on(Seen::Intent(Intent { id, workload: 0, sender, target, intended, phase: 0, size: 200 }));
        recorder.on(Seen::Submitted { message: id, at: intended });
        let room = sender / 10 * 10;
        for recipient in (room..room + 10).filter(|&client| client != sender) {
            let at = intended + Duration::from_micros(u64::from((id * 31 + recipient * 17) % 1000));
            recorder.on(Seen::Arrived(Arrival { recipient, message: Some(id), at, intact: true }));
        }
        recorder.on(Seen::Acked { message: id, at: intended + Duration::from_millis(1) });
    }
}

fn deliveries(criterion: &mut Criterion) {
    let scenario = scenario();
    let mut group = criterion.benchmark_group("recorder");
    group.throughput(Throughput::Elements(u64::from(MESSAGES) * 9)).sample_size(20);
    group.bench_function("delivery", |bencher| {
        let warm = || {
            let cast = Arc::new(Cast::new(&scenario, String::new()));
            let mut recorder = Recorder::new(&scenario, cast, Err(NotTold::Baseline));
            feed(&mut recorder, 0, WARM);
            recorder
        };
        bencher.iter_batched_ref(
            warm,
            |recorder| feed(black_box(recorder), WARM, WARM + MESSAGES),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// More than the ledger keeps, so that it is in its steady state.
const WARM: u32 = 20_000;
const MESSAGES: u32 = 20_000;

criterion_group!(benches, deliveries);
criterion_main!(benches);
