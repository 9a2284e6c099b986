//! How long a report takes: reading the records of a sweep, drawing every figure, and writing page and pictures.
//!
//! Sixty cells of five repeats are the largest sweep that people look at as one; the goal is five seconds for all of it.

use criterion::{Criterion, criterion_group, criterion_main};
use loadgen::report::synthetic::{self, Shape, Vary};
use loadgen::report::{render, write_records};

fn report(criterion: &mut Criterion) {
    let shape = Shape { clients: 20, steady_s: 10, ..Shape::default() };
    let losses = [0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3];
    let axes = [Vary::loss(&losses), Vary::delay(&[1, 5, 20, 50, 100, 300])];
    let mut group = criterion.benchmark_group("report");
    group.sample_size(10);
    for (name, saved) in [
        ("60 cells x 5 repeats", synthetic::grid(&shape, &axes, 5)),
        ("1 cell x 5 repeats", synthetic::chat(&Shape::default(), 5)),
    ] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        write_records(dir.path(), &saved).expect("writable");
        drop(saved);
        group.bench_function(name, |bencher| bencher.iter(|| render(dir.path()).expect("a report")));
    }
    group.finish();
}

criterion_group!(benches, report);
criterion_main!(benches);
