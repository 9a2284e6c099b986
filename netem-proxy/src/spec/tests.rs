//! What SPECs mean, how they print, and what is said about wrong ones.

use std::time::Duration;

use proptest::prelude::*;
use units::ByteCount;

use super::*;
use crate::profile::DelayModel;

fn percent(value: f64) -> Probability {
    Probability::new(value / 100.0).expect("in range")
}

fn error(text: &str) -> String {
    text.parse::<LinkProfile>().expect_err("a wrong spec").to_string()
}

#[test]
fn every_key_has_its_meaning() {
    let profile: LinkProfile =
        "loss=ge(p=1%, r=30%) delay=50ms jitter=5ms dist=normal rate=10Mbit/s queue=64KiB \
                                duplicate=1% corrupt=0.1% reorder=1%/8ms order=allow blackout=20s+3s/30s"
            .parse()
            .expect("a valid spec");
    let expected = LinkProfile {
        loss: LossModel::GilbertElliott {
            p: percent(1.0),
            r: percent(30.0),
            loss_bad: Probability::ONE,
            loss_good: Probability::ZERO,
        },
        duplicate: percent(1.0),
        corrupt: percent(0.1),
        rate: Some(RateModel::Constant {
            rate: Bitrate::from_bits_per_second(10_000_000).expect("not zero"),
            overhead: Overhead::default(),
        }),
        queue: QueueModel { limit: QueueLimit::Bytes(ByteCount(65_536)), ..QueueModel::default() },
        delay: DelayModel::Normal { base: Duration::from_millis(50), jitter: Duration::from_millis(5) },
        order: Order::Allow,
        reorder: Some(Reorder { p: percent(1.0), extra: Duration::from_millis(8) }),
        gates: vec![Gate::Blackout(Window {
            at: Duration::from_secs(20),
            duration: Duration::from_secs(3),
            every: Some(Duration::from_secs(30)),
        })],
        ..LinkProfile::default()
    };
    assert_eq!(profile, expected);
}

#[test]
fn a_link_that_changes_nothing_is_written_none() {
    assert_eq!(LinkProfile::default().to_string(), "none");
    for text in ["", "  ", "none"] {
        assert_eq!(text.parse(), Ok(LinkProfile::default()));
    }
}

#[test]
fn a_profile_prints_as_people_write_it() {
    for text in [
        "loss=10% delay=50ms",
        "loss=every(10)",
        "loss=ge(p=1%,r=30%,bad=100%,good=0%) rate=20Mbit/s queue=100p",
        "delay=50ms jitter=5ms dist=normal queue=infinite",
        "blackout=1s+500ms blackout=20s+3s/30s",
    ] {
        let profile: LinkProfile = text.parse().expect("a valid spec");
        assert_eq!(profile.to_string(), text);
    }
}

#[test]
fn an_unknown_key_gets_the_nearest_known_one_and_its_place() {
    assert_eq!(error("delay=5ms los=10%"), "column 11: \"los\" is not a key; did you mean \"loss\"?");
    assert!(error("latency=5ms").contains("the keys are loss, delay, jitter"));
}

#[test]
fn wrong_values_say_what_to_write() {
    for (text, message) in [
        ("loss=120%", "column 1: loss: \"120%\" is not a probability; write 0% to 100%"),
        ("delay=50", "column 1: delay: \"50\" has no unit; write for example 50ms or 2.5s"),
        ("rate=fast", "column 1: rate: \"fast\" does not begin with a number"),
        ("queue=many", "column 1: queue: \"many\" is not understood; write 100p, 64KiB or infinite"),
        ("loss=ge(p=1%)", "write ge(p=1%,r=30%)"),
        ("loss=ge(p=1%,r=2%,x=3%)", "write ge(p=1%,r=30%)"),
        ("loss=often(3)", "write 10%, every(10) or ge(p=1%,r=30%)"),
        ("reorder=1%", "write for example 1%/8ms"),
        ("blackout=20s", "write at+duration, for example 20s+3s"),
        ("loss=1% loss=2%", "column 9: loss: it is given twice"),
        ("10%", "column 1: \"10%\" is not key=value"),
        ("dist=normal", "add for example jitter=5ms"),
        ("delay=1ms jitter=5ms", "jitter: 5ms is more than the delay of 1ms"),
        ("loss=every(0)", "write every(1) or more"),
    ] {
        let error = error(text);
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn what_is_written_over_another_spec_wins_key_by_key() {
    let base: Spec = "loss=1% delay=50ms jitter=5ms".parse().expect("valid");
    let top: Spec = "loss=10% rate=1Mbit/s".parse().expect("valid");
    let merged = top.over(base).profile().expect("valid");
    assert_eq!(merged.to_string(), "loss=10% delay=50ms jitter=5ms rate=1Mbit/s");
}

prop_compose! {
    fn any_profile()(
        loss in prop_oneof![
            Just(LossModel::None),
            probability().prop_map(|p| LossModel::Bernoulli { p }),
            (1_u64..1_000_000).prop_map(|n| LossModel::EveryNth { n }),
            (probability(), probability(), probability(), probability())
                .prop_filter("a chain that moves", |(p, r, _, _)| p.get() + r.get() > 0.0)
                .prop_map(|(p, r, loss_bad, loss_good)| {
                    LossModel::GilbertElliott { p, r, loss_bad, loss_good }
                }),
        ],
        delay in prop_oneof![
            span().prop_map(DelayModel::Constant),
            (span(), span()).prop_map(|(a, b)| DelayModel::Uniform { base: a.max(b), jitter: a.min(b) }),
            (span(), span()).prop_map(|(base, jitter)| DelayModel::Normal { base, jitter }),
        ],
        rate in proptest::option::of((1_u64..1_000_000_000_000).prop_map(|bits| {
            Bitrate::from_bits_per_second(bits).expect("above zero")
        })),
        queue in prop_oneof![
            Just(QueueLimit::Default),
            Just(QueueLimit::Infinite),
            (1_u64..1_000_000).prop_map(QueueLimit::Packets),
            (1_u64..1 << 40).prop_map(|bytes| QueueLimit::Bytes(ByteCount(bytes))),
        ],
        duplicate in probability(),
        corrupt in probability(),
        reorder in proptest::option::of((probability(), span()).prop_map(|(p, extra)| Reorder { p, extra })),
        order in prop_oneof![Just(Order::Fifo), Just(Order::Allow)],
        blackouts in proptest::collection::vec((span(), span(), proptest::option::of(span())), 0..3),
    ) -> LinkProfile {
        let blackouts = blackouts.into_iter().map(|(at, duration, gap)| {
            let duration = duration + Duration::from_nanos(1);
            Window { at, duration, every: gap.map(|gap| duration + gap) }
        });
        let rate = rate.map(|rate| RateModel::Constant { rate, overhead: Overhead::default() });
        let queue = QueueModel { limit: queue, ..QueueModel::default() };
        let gates = blackouts.map(Gate::Blackout).collect();
        LinkProfile { gates, loss, duplicate, corrupt, rate, queue, delay, order, reorder, ..LinkProfile::default() }
    }
}

/// Percentages with up to six decimals: what people write, and what prints exactly.
fn probability() -> impl Strategy<Value = Probability> {
    (0_u32..=100_000_000).prop_map(|millionths| {
        let text = format!("{}%", f64::from(millionths) / 1e6);
        text.parse().expect("a percentage")
    })
}

fn span() -> impl Strategy<Value = Duration> {
    (0_u64..10_000_000_000_000).prop_map(Duration::from_nanos)
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(profile in any_profile()) {
        prop_assert_eq!(profile.to_string().parse(), Ok(profile));
    }

    #[test]
    fn no_text_panics(text in "[a-z=%()+/, 0-9éms]{0,60}") {
        let _ = text.parse::<LinkProfile>();
    }
}
