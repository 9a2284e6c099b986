//! The table: one line for each property and link.

use super::{Repeat, Row, Source};
use super::{delay, exact, loss, rate};

const fn each(property: &'static str, spec: &'static str, check: super::Check) -> Row {
    Row { property, link: Source::Spec(spec), check, repeat: Repeat::EachSeed }
}

const fn once(property: &'static str, spec: &'static str, check: super::Check) -> Row {
    Row { property, link: Source::Spec(spec), check, repeat: Repeat::Once }
}

pub(super) const ROWS: &[Row] = &[
    each("loss", "loss=1%", loss::bernoulli),
    each("loss", "loss=10%", loss::bernoulli),
    each("loss", "loss=5%@wire rate=1Gbit/s", loss::bernoulli),
    once("wrong losses", "loss=every(10)", loss::planned),
    each("loss", "loss=ge(p=1%,r=30%)", loss::gilbert),
    once("wrong losses", "loss=list(1,7,300..420)", loss::planned),
    each("loss", "loss=burst(2%,len=4)", loss::gilbert),
    each("loss", "loss=ge(p=2%,r=20%,bad=50%,good=1%)", loss::hidden_chain),
    each("loss", "loss=4state(p13=1%,p31=20%,p32=10%,p23=30%,p14=0.5%)", loss::four_state),
    once("delay", "delay=50ms", delay::constant),
    each("law", "delay=50ms jitter=20ms order=allow", delay::law),
    each("law", "delay=50ms jitter=5ms dist=normal order=allow", delay::law),
    each("law", "delay=50ms jitter=15ms dist=lognormal order=allow", delay::law),
    each("law", "delay=50ms jitter=10ms dist=exponential order=allow", delay::law),
    each("law", "delay=50ms jitter=10ms dist=pareto order=allow", delay::law),
    each("law", "delay=50ms jitter=10ms dist=paretonormal order=allow", delay::law),
    each("law, correlated", "delay=50ms jitter=20ms correlation=50% order=allow", delay::correlated),
    each(
        "law, correlated",
        "delay=50ms jitter=5ms dist=normal correlation=25% order=allow",
        delay::correlated,
    ),
    once("rate", "rate=100kbit/s queue=infinite", rate::constant),
    once("rate", "rate=1Mbit/s queue=infinite", rate::constant),
    once("rate", "rate=10Mbit/s queue=infinite", rate::constant),
    once("rate", "rate=100Mbit/s queue=infinite", rate::constant),
    once("rate", "rate=1Gbit/s queue=infinite", rate::constant),
    once("rate", "rate=10Mbit/s+38B queue=infinite", rate::constant),
    once("token bucket", "rate=bucket(10Mbit/s,burst=64KiB) queue=infinite", rate::bucket),
    once("token bucket", "rate=bucket(5Mbit/s,burst=15kB,peak=20Mbit/s) queue=infinite", rate::bucket),
    once("drop-tail", "rate=10Mbit/s queue=20p", rate::drop_tail),
    once("drop-tail", "rate=10Mbit/s queue=15000B", rate::drop_tail),
    Row {
        property: "trace",
        link: Source::Built("rate=trace(2001 opportunities) queue=infinite", rate::recorded),
        check: rate::trace,
        repeat: Repeat::Once,
    },
    once("occupancy", "rate=10Mbit/s queue=50p", rate::occupancy),
    once("occupancy", "rate=10Mbit/s queue=drophead(50p)", rate::occupancy),
    once("occupancy", "rate=10Mbit/s queue=codel(limit=50p)", rate::occupancy),
    once("occupancy", "rate=10Mbit/s queue=pie(limit=50p)", rate::occupancy),
    once("occupancy", "rate=10Mbit/s queue=red(min=10kB,max=30kB,limit=50p)", rate::occupancy),
    once("occupancy", "rate=10Mbit/s queue=fq-codel(limit=50p)", rate::occupancy),
    once("fairness", "rate=10Mbit/s queue=fq-codel", rate::fairness),
    each("duplicated", "duplicate=1%", exact::duplicates),
    each("corrupted", "corrupt=10%", exact::corruption),
    each("held back", "delay=20ms reorder=1%/8ms", exact::reorder),
    each("unaccounted", ALL_STAGES, exact::conservation),
    each("unaccounted", "mtu=1200B loss=1% rate=10Mbit/s queue=codel", exact::conservation),
    each(
        "unaccounted",
        "rate=10Mbit/s queue=fq-codel duplicate=3% loss=2%@wire flap=up(5s)/down(500ms)",
        exact::conservation,
    ),
    each(
        "unaccounted",
        "rate=10Mbit/s queue=pie delay=20ms hold=1s+200ms/3s @5s(loss=10%)",
        exact::conservation,
    ),
    once("determinism", "none", exact::determinism),
];

const ALL_STAGES: &str = "loss=ge(p=2%,r=30%) delay=20ms jitter=5ms dist=normal rate=10Mbit/s queue=20p duplicate=5% \
                          corrupt=1% reorder=2%/4ms order=allow blackout=1s+300ms/5s";

/// Links whose verdicts have a published digest.
pub(super) const DETERMINED: &[&str] = &[
    "loss=1% delay=20ms rate=10Mbit/s queue=50p",
    ALL_STAGES,
    "loss=every(7) delay=10ms jitter=10ms",
    "loss=4state(p13=1%,p31=20%,p32=10%,p23=30%,p14=0.5%) delay=20ms jitter=8ms dist=pareto order=allow",
    "loss=burst(3%,len=4) delay=30ms jitter=10ms dist=lognormal",
    "delay=20ms jitter=6ms dist=exponential rate=bucket(10Mbit/s,burst=20kB) queue=100ms",
    "rate=6Mbit/s+38B queue=codel(ecn) delay=10ms",
    "rate=6Mbit/s queue=pie(ecn) loss=1%@wire",
    "rate=6Mbit/s queue=red(min=10kB,max=40kB,ecn)",
    "rate=6Mbit/s queue=fq-codel(ecn) duplicate=2%",
    "rate=6Mbit/s queue=drophead(40p) mtu=1400B flap=up(3s)/down(300ms)",
    "hold=2s+500ms/5s delay=15ms @4s+3s(rate=2Mbit/s) @8s(loss=10%)",
    "delay=30ms jitter=8ms dist=normal correlation=40%",
];
