//! What the link costs: nanoseconds for one packet, in and out.
//!
//! The virtual driver pushes about a million packets a second through links, so a stage that costs 100 ns costs a
//! tenth of it.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use netem_proxy::link::Link;
use units::{ByteCount, Seed, Timestamp};

/// A few hundred packets are under way at 50 ms, which is what the heap is asked to sort.
const GAP: Duration = Duration::from_micros(120);

const PROFILES: [(&str, &str); 5] = [
    ("nothing", "none"),
    ("loss and delay", "loss=10% delay=50ms"),
    ("rate", "rate=100Mbit/s queue=100p"),
    ("uniform jitter", "delay=50ms jitter=5ms order=allow"),
    (
        "everything",
        "loss=ge(p=1%,r=30%) delay=50ms jitter=5ms dist=normal rate=100Mbit/s duplicate=1% corrupt=1% reorder=1%/8ms",
    ),
];

fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("link");
    group.throughput(Throughput::Elements(1));
    for (name, spec) in PROFILES {
        group.bench_function(name, |bencher| {
            let mut link = Link::new(spec.parse().expect("a valid spec"), Seed::root(1));
            let mut now = Timestamp::ZERO;
            bencher.iter(|| {
                now += GAP;
                link.handle_packet(now, 0_u64, ByteCount(1200));
                while let Some(delivery) = link.poll_deliver(now) {
                    black_box(delivery);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, packets);
criterion_main!(benches);
