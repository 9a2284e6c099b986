//! What the link costs: nanoseconds for one packet, in and out.
//!
//! The virtual driver pushes about a million packets a second through links, so a stage that costs 100 ns costs a
//! tenth of it.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use netem_proxy::law::{Copula, DelayLaw};
use netem_proxy::link::Link;
use netem_proxy::profile::LinkProfile;
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

/// One draw of each law, alone and correlated: what a delay costs before anything is sorted.
fn laws(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("law");
    group.throughput(Throughput::Elements(1));
    for dist in ["uniform", "normal", "lognormal", "exponential", "pareto", "paretonormal"] {
        let profile: LinkProfile =
            format!("delay=50ms jitter=5ms dist={dist}").parse().expect("a valid spec");
        let law = DelayLaw::new(&profile.delay).expect("a law");
        // A multiplicative generator: cheaper than any law, and never constant.
        let mut draw = 1_u64;
        group.bench_function(dist, |bencher| {
            bencher.iter(|| {
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                black_box(law.of_draw(draw))
            });
        });
        let mut copula = Copula::new(0.25);
        group.bench_function(format!("{dist} correlated"), |bencher| {
            bencher.iter(|| {
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                black_box(law.of_normal(copula.next(draw)))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, packets, laws);
criterion_main!(benches);
