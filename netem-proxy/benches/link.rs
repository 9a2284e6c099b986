//! What the link costs: nanoseconds for one packet, in and out, in virtual time.
//!
//! `nothing` is the control: a link that changes nothing, with the counters that every link keeps. `simple` is the case
//! of the target of 10 million packets a second on one core, `full` that of 5 million; the rest says which stage costs
//! what. Links keep no histogram here: drivers of many links have one for all.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use netem_proxy::law::{Copula, DelayLaw};
use netem_proxy::link::{Ecn, Link, Meta};
use netem_proxy::profile::LinkProfile;
use units::{ByteCount, Seed, Timestamp};

/// 8,333 packets a second: some 400 are under way at 50 ms, and 100 Mbit/s are busy to 80 %.
const GAP: Duration = Duration::from_micros(120);

const PROFILES: [(&str, &str); 16] = [
    ("nothing", "none"),
    ("simple", "rate=100Mbit/s loss=1% delay=50ms"),
    (
        "full",
        "mtu=1500B blackout=1h+1s loss=ge(p=1%,r=30%) duplicate=1% corrupt=1% rate=100Mbit/s+38B \
         queue=codel delay=50ms jitter=5ms dist=normal reorder=1%/8ms",
    ),
    ("loss", "loss=1%"),
    ("delay", "delay=50ms"),
    ("uniform jitter, fifo", "delay=50ms jitter=5ms"),
    ("uniform jitter, allow", "delay=50ms jitter=5ms order=allow"),
    ("normal jitter, correlated", "delay=50ms jitter=5ms dist=normal correlation=25%"),
    ("rate", "rate=100Mbit/s"),
    ("token bucket", "rate=bucket(100Mbit/s,burst=64KiB)"),
    ("drop-tail, overloaded", "rate=50Mbit/s queue=100p"),
    ("codel, overloaded", "rate=50Mbit/s queue=codel"),
    ("pie, overloaded", "rate=50Mbit/s queue=pie"),
    ("red, overloaded", "rate=50Mbit/s queue=red"),
    ("fq-codel, overloaded", "rate=50Mbit/s queue=fq-codel"),
    ("ramp", "delay=50ms @0s+10h(delay=100ms)"),
];

fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("link");
    group.throughput(Throughput::Elements(1)).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(1)).sample_size(30);
    for (name, spec) in PROFILES {
        group.bench_function(name, |bencher| {
            let mut link = Link::new(spec.parse().expect("a valid spec"), Seed::root(1)).without_delays();
            let (mut now, mut packet) = (Timestamp::ZERO, 0_u64);
            bencher.iter(|| {
                now += GAP;
                packet += 1;
                let meta = Meta { size: ByteCount(1200), flow: packet % 16, ecn: Ecn::NotCapable };
                link.handle(now, packet, meta);
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
