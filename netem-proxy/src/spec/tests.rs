//! What SPECs mean, how they print, and what is said about wrong ones.

use std::time::Duration;

use proptest::prelude::*;
use units::{Bitrate, ByteCount};

use super::*;
use crate::profile::{DelayModel, Discipline, Overhead, QueueLimit, RateModel, Window};

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
        "mtu=1400B loss=5%@wire hold=20s+3s flap=up(10s)/down(1s) rebind=30s/60s",
        "loss=ge(p=1%,r=30%,bad=100%,good=0%)@wire",
        "delay=50ms rate=1Mbit/s @3s(loss=10%) @10s+5s(rate=5Mbit/s delay=1s) @60s(blackout=61s+1s)",
    ] {
        let profile: LinkProfile = text.parse().expect("a valid spec");
        assert_eq!(profile.to_string(), text);
    }
}

#[test]
fn an_unknown_key_gets_the_nearest_known_one_and_its_place() {
    assert_eq!(error("delay=5ms los=10%"), "column 11: \"los\" is not a key; did you mean \"loss\"?");
    assert!(error("latency=5ms").contains("the keys are preset, mtu, loss, loss-at, delay, jitter"));
}

#[test]
fn wrong_values_say_what_to_write() {
    for (text, message) in [
        ("loss=120%", "column 1: loss: \"120%\" is not a probability; write 0% to 100%"),
        ("delay=50", "column 1: delay: \"50\" has no unit; write for example 50ms or 2.5s"),
        ("rate=fast", "column 1: rate: \"fast\" does not begin with a number"),
        ("queue=many", "column 1: queue: \"many\" is not understood; write 100p, 64KiB, 100ms"),
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
        ("mtu=0B", "nothing fits into 0 bytes"),
        ("loss=5%@air", "column 1: loss: \"5%@air\" has the unknown unit"),
        ("hold=1s+2s/2s", "hold: it lasts 2s, more than its period"),
        ("flap=10s/1s", "write the mean time up and down, for example up(10s)/down(1s)"),
        ("flap=up(0s)/down(1s)", "flap: a mean turn has at least 1ms"),
        ("flap=up(1s)/down(999us)", "flap: a mean turn has at least 1ms"),
        ("queue=pie(update=999us)", "queue: pie updates at most once in 1ms"),
        ("@3s", "column 1: schedule: \"@3s\" is not understood; write @3s(loss=10%)"),
        ("loss=1% @3s(lss=10%)", "column 13: \"lss\" is not a key; did you mean \"loss\"?"),
        ("@3s(@4s(loss=1%))", "a step has no steps of its own"),
        ("@3s(delay=1ms jitter=5ms)", "the step at 3s: jitter: 5ms is more than the delay of 1ms"),
        ("@3s+2s(loss=1%) @4s(loss=2%)", "the step at 4s is not after the one before it has ended"),
        ("@3s+0s(loss=1%)", "leave out +0s"),
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

#[test]
fn a_step_is_laid_over_what_was_before_it() {
    let profile: LinkProfile =
        "delay=50ms jitter=5ms blackout=1s+1s @3s(delay=80ms) @5s(loss=1% blackout=9s+1s)"
            .parse()
            .expect("valid");
    let later: Vec<String> = profile.schedule.iter().map(|step| step.profile.to_string()).collect();
    assert_eq!(
        later,
        ["delay=80ms jitter=5ms blackout=1s+1s", "loss=1% delay=80ms jitter=5ms blackout=9s+1s"]
    );
}

#[test]
fn gates_of_one_kind_replace_those_of_the_same_kind() {
    let base: Spec = "blackout=1s+1s hold=5s+1s".parse().expect("valid");
    let top: Spec = "blackout=2s+1s blackout=4s+1s".parse().expect("valid");
    let merged = top.over(base).profile().expect("valid");
    assert_eq!(merged.to_string(), "hold=5s+1s blackout=2s+1s blackout=4s+1s");
}

#[test]
fn every_key_can_be_written_apart() {
    let mut spec = Spec::default();
    for (key, value) in [("loss", "1%"), ("loss-at", "wire"), ("schedule", "@1s(loss=2%) @2s(loss=3%)")] {
        spec.write(key, value).expect("valid");
    }
    let profile = spec.profile().expect("valid");
    assert_eq!(profile.to_string(), "loss=1%@wire @1s(loss=2%) @2s(loss=3%)");
    let error = Spec::default().write("schedule", "@1s(loss=2%) @2s(los=3%)").expect_err("a wrong key");
    assert!(error.to_string().starts_with("column 18: \"los\" is not a key"), "{error}");
}

#[test]
fn a_preset_is_the_base_of_what_else_is_written() {
    let dsl = crate::preset::find("dsl").expect("a preset");
    let down: LinkProfile = dsl.down.parse().expect("valid");
    assert_eq!("preset=dsl.down".parse(), Ok(down.clone()));
    let mixed: LinkProfile = "preset=dsl.down mtu=900B".parse().expect("valid");
    assert_eq!(mixed, LinkProfile { mtu: Some(ByteCount(900)), ..down.clone() });

    let open: Spec = "preset=dsl".parse().expect("valid");
    assert_eq!(open.clone().for_side(Side::Down).profile(), Ok(down));
    assert_eq!(open.for_side(Side::Up).profile(), dsl.up.parse());
    assert!(error("preset=dsl").contains("write preset=dsl.up or preset=dsl.down"));
    assert!(error("preset=moon").contains("one that `netem-proxy presets` lists"));
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
            span().prop_map(|span| QueueLimit::Time(span + Duration::from_nanos(1))),
            (1_u32..1000).prop_map(|tenths| QueueLimit::Bdp(f64::from(tenths) / 10.0)),
        ],
        discipline in any_discipline(),
        overhead in any_overhead(),
        mtu in proptest::option::of((1_u64..1 << 20).prop_map(ByteCount)),
        on_wire in any::<bool>(),
        steps in proptest::collection::vec(((1_u64..1_000_000), proptest::option::of(1_u64..1000), probability()), 0..3),
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
        let rate = rate.map(|rate| RateModel::Constant { rate, overhead });
        let ecn = !matches!(discipline, Discipline::DropTail | Discipline::DropHead) && on_wire;
        let queue = QueueModel { limit: queue, discipline, ecn };
        let gates = blackouts.enumerate().map(|(n, window)| match n {
            0 => Gate::Blackout(window),
            // A hold has to open at times.
            1 => Gate::Hold(Window { every: window.every.map(|every| every + Duration::from_nanos(1)), ..window }),
            _ => Gate::Rebind { at: window.at, every: window.every },
        }).collect();
        let loss_at = if on_wire && loss != LossModel::None { LossPlace::Wire } else { LossPlace::Entry };
        let plain = LinkProfile { gates, mtu, loss_at, loss, duplicate, corrupt, rate, queue, delay, order, reorder, ..LinkProfile::default() };
        let mut written: String = plain.to_string();
        let mut at = 0;
        for (gap, over, p) in steps {
            at += gap;
            let ramp = over.map_or(String::new(), |over| format!("+{over}ms"));
            written.push_str(&format!(" @{at}ms{ramp}(corrupt={p} delay=10s)"));
            at += over.unwrap_or(0);
        }
        // A step may be refused (a delay below the jitter); then the plain link is as good a case.
        written.strip_prefix("none").unwrap_or(&written).parse().unwrap_or(plain)
    }
}

fn any_discipline() -> impl Strategy<Value = Discipline> {
    let tick = || (1_u64..10_000_000_000).prop_map(Duration::from_nanos);
    prop_oneof![
        Just(Discipline::DropTail),
        Just(Discipline::DropHead),
        (tick(), tick()).prop_map(|(target, interval)| Discipline::CoDel { target, interval }),
        (tick(), tick(), tick()).prop_map(|(target, update, max_burst)| Discipline::Pie {
            target,
            update: update + Duration::from_millis(1),
            max_burst
        }),
        (1_u32..65_536, 1_u64..10_000, tick(), tick()).prop_map(|(flows, quantum, target, interval)| {
            Discipline::FqCoDel { flows, quantum: ByteCount(quantum), target, interval }
        }),
        (1_u64..1 << 30, 1_u64..1 << 30, probability(), 1_u32..=1000).prop_map(
            |(min, more, max_p, weight)| {
                let weight = f64::from(weight) / 1000.0;
                Discipline::Red { min: ByteCount(min), max: ByteCount(min + more), max_p, weight }
            }
        ),
    ]
}

fn any_overhead() -> impl Strategy<Value = Overhead> {
    let cell =
        (1_u32..1000, -10_i32..100).prop_map(|(size, overhead)| crate::profile::Cell { size, overhead });
    (-100_i32..1000, proptest::option::of(cell)).prop_map(|(per_packet, cell)| Overhead { per_packet, cell })
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
