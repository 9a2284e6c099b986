use rand::RngExt;
use units::{Rng, Seed};

use super::*;
use crate::stats::cluster::Messages;

/// A run of 100 messages to one recipient each, which took as long as `scale` says.
fn run(repeat: u32, scale: f64) -> RunFile {
    let mut run = RunFile { repeat, seed: u64::from(repeat), ..RunFile::default() };
    for n in 1..=100 {
        run.all.delivery.record(Some((f64::from(n) * 5_000.0 * scale) as u64));
    }
    run
}

/// A value for each repeat, with a relative standard deviation of `spread` from run to run.
fn values(repeats: u32, scale: f64, spread: f64, rng: &mut Rng) -> Vec<f64> {
    let mut normal = || {
        let (u, v) = (1.0 - rng.random::<f64>(), rng.random::<f64>());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    };
    (0..repeats).map(|_| scale * (spread * normal()).exp()).collect()
}

fn side(repeats: u32, scale: f64, spread: f64, rng: &mut Rng) -> Vec<RunFile> {
    let values = values(repeats, scale, spread, rng);
    (0..repeats).zip(values).map(|(repeat, scale)| run(repeat, scale)).collect()
}

/// A comparison of five and five p99s around 400 ms.
fn round(slowdown: f64, spread: f64, rules: &Rules, rng: &mut Rng) -> Comparison {
    let (a, b) = (values(5, 4e5, spread, rng), values(5, 4e5 * slowdown, spread, rng));
    let change = Change { metric: "p99".into(), ..Change::default() };
    Comparison::of(vec![tested(Row { change, ..Row::default() }, &a, &b)], rules)
}

/// Alarms among `times` comparisons with one confirming round, as the runner does it.
fn alarms(times: u32, slowdown: f64, spread: f64) -> u32 {
    let (rules, mut rng) = (Rules::default(), Seed::root(11).fork("a/b").rng());
    let mut found = 0;
    for _ in 0..times {
        let first = round(slowdown, spread, &rules, &mut rng);
        let again = round(slowdown, spread, &rules, &mut rng);
        found += u32::from(!first.confirmed_by(&again, &rules).regressions.is_empty());
    }
    found
}

#[test]
fn equal_builds_raise_few_alarms() {
    // From run to run 5 % and 15 %: what p99 of a machine of one's own and of a shared one does. Improvements are alarms
    // too, and no round confirms them.
    let (rules, mut rng) = (Rules::default(), Seed::root(11).fork("null").rng());
    for spread in [0.05, 0.15] {
        let odd = |found: Comparison| !found.regressions.is_empty() || !found.improvements.is_empty();
        let found = (0..200).filter(|_| odd(round(1.0, spread, &rules, &mut rng))).count();
        assert!(found <= 10, "{found} of 200 at {spread}");
        assert!(alarms(200, 1.0, spread) <= 2, "confirmed at {spread}");
    }
}

#[test]
fn a_slowdown_of_a_fifth_is_found() {
    let found = alarms(200, 1.2, 0.05);
    assert!(found >= 190, "{found} of 200");
}

#[test]
fn three_repeats_decide_nothing() {
    let mut rng = Seed::root(11).fork("three").rng();
    let few = judge(&side(3, 1.0, 0.01, &mut rng), &side(3, 3.0, 0.01, &mut rng), &Rules::default(), None);
    assert_eq!(few.rows[0].finding, Finding::Inconclusive);
    assert!(few.rows[0].reason.contains("run at least 4 of each"), "{}", few.rows[0].reason);
    assert!(few.regressions.is_empty());
}

#[test]
fn virtual_runs_of_one_seed_are_equal_or_not() {
    let a: Vec<RunFile> = (0..2).map(|repeat| run(repeat, 1.0)).collect();
    let same = judge(&a, &a, &Rules::default(), None);
    assert_eq!(same.rows[0].finding, Finding::Equal);
    let mut b = a.clone();
    b[1].metrics.messages.sent = 1;
    assert_eq!(judge(&a, &b, &Rules::default(), None).rows[0].finding, Finding::Inconclusive);
}

#[test]
fn what_never_arrives_is_a_regression() {
    let mut rng = Seed::root(11).fork("lost").rng();
    let a = side(5, 1.0, 0.02, &mut rng);
    let mut b = side(5, 1.0, 0.02, &mut rng);
    b.iter_mut().for_each(|run| (0..5).for_each(|_| run.all.delivery.record(None)));
    let found = judge(&a, &b, &Rules::default(), None);
    assert_eq!((found.rows[0].finding, found.rows[0].change.ratio), (Finding::Regression, None));
    assert_eq!(found.headline(), "1 REGRESSION in 1 comparison, not confirmed by another round");
    let back = judge(&b, &a, &Rules::default(), None);
    assert_eq!(back.rows[0].finding, Finding::Improvement);
}

#[test]
fn more_throughput_is_better() {
    let metric = Quantity::parse("goodput_bytes_per_s").expect("known");
    let rules = Rules { rules: vec![Rule { metric, ..Rules::default().rules[0].clone() }] };
    let side = |scale: f64| -> Vec<RunFile> {
        (0..5)
            .map(|repeat| {
                let mut run = run(repeat, 1.0);
                run.metrics.throughput.goodput_bytes_per_s = scale * (1_000.0 + f64::from(repeat));
                run
            })
            .collect()
    };
    assert_eq!(judge(&side(1.0), &side(0.8), &rules, None).rows[0].finding, Finding::Regression);
    assert_eq!(judge(&side(1.0), &side(1.25), &rules, None).rows[0].finding, Finding::Improvement);
    assert_eq!(judge(&side(1.0), &side(0.95), &rules, None).rows[0].finding, Finding::Unchanged);
}

#[test]
fn many_comparisons_ask_for_more_repeats() {
    let mut rng = Seed::root(11).fork("many").rng();
    let cells = |scale: f64, rng: &mut Rng| -> Vec<RunFile> {
        (0..8_u32)
            .flat_map(|cell| {
                let mut runs = side(5, scale, 0.02, rng);
                for run in &mut runs {
                    run.cell = cell;
                    run.axes.insert("clients".into(), cell.into());
                }
                runs
            })
            .collect()
    };
    let found = judge(&cells(1.0, &mut rng), &cells(1.5, &mut rng), &Rules::default(), None);
    assert_eq!(found.rows.len(), 8);
    assert!(found.rows.iter().all(|row| row.finding == Finding::Inconclusive), "{found:?}");
    assert!(found.rows[0].reason.ends_with("6 of each can"), "{}", found.rows[0].reason);
    assert_eq!((found.tests, found.repeats_needed), (8, Some(6)));
    assert_eq!(found.described.len(), 8 * 3, "p50, p99.9 and goodput of each; nobody counted pairs");
}

#[test]
fn a_confirming_round_is_found_behind_the_first() {
    let mut rng = Seed::root(11).fork("rounds").rng();
    let shown = side(8, 1.0, 0.02, &mut rng);
    let is_worse = side(8, 1.5, 0.02, &mut rng);
    let rules = Rules::default();
    let found = judge_rounds(&shown, &is_worse, &(0..4), &rules, None);
    assert_eq!((found.rows[0].change.a.len(), found.regressions.len()), (4, 1));
    assert!(found.needs_confirmation.is_empty(), "{}", found.headline());
    // The second round does not show it.
    let mut once = is_worse.clone();
    once.splice(4.., shown[4..].iter().cloned());
    let found = judge_rounds(&shown, &once, &(0..4), &rules, None);
    assert!(found.regressions.is_empty() && found.rows[0].reason.contains("did not show it again"));
    // Without one it stays open.
    let found = judge_rounds(&shown[..4], &is_worse[..4], &(0..4), &rules, None);
    assert_eq!(found.needs_confirmation, [0]);
}

#[test]
fn invalid_runs_neither_confirm_nor_acquit() {
    let mut rng = Seed::root(11).fork("invalid").rng();
    let (a, b) = (side(5, 1.0, 0.02, &mut rng), side(5, 1.5, 0.02, &mut rng));
    let rules = Rules::default();
    let first = judge(&a, &b, &rules, None);
    let busy = |runs: &[RunFile]| -> Vec<RunFile> {
        let busy = |run: &RunFile| RunFile { invalid: vec!["the machine paused".into()], ..run.clone() };
        runs.iter().map(busy).collect()
    };
    let again = judge(&a, &busy(&b), &rules, None);
    let found = first.clone().confirmed_by(&again, &rules);
    assert_eq!((found.rows[0].finding, found.regressions.len()), (Finding::Inconclusive, 0));
    assert!(found.rows[0].reason.contains("could not be confirmed: 5 runs are INVALID"), "{found:?}");
    let empty = judge(&[], &[], &rules, None);
    assert_eq!(first.confirmed_by(&empty, &rules).rows[0].finding, Finding::Inconclusive);
}

#[test]
fn drivers_are_compared_by_distance_and_quantile() {
    let folded = |scale: f64| {
        let mut run = run(0, scale);
        let mut messages = Messages::default();
        (1..=100).for_each(|n| messages.settle(&mut [(f64::from(n) * 5_000.0 * scale) as u64], 0));
        run.quantiles = messages.estimates(&run.all.delivery);
        run
    };
    let rows = drivers(&[folded(1.0)], &[folded(1.1)]);
    let shift = rows[0].shifts[0];
    assert!((shift.ratio.expect("finite") - 1.1).abs() < 0.01, "{shift:?}");
    assert!((rows[0].distance.expect("samples").d - 0.1).abs() < 0.02);
}

#[test]
#[ignore = "prints the table of docs/METRICS.md"]
fn power_curve() {
    for spread in [0.02, 0.03, 0.05, 0.07, 0.10, 0.15] {
        let found = [1.0, 1.1, 1.15, 1.2, 1.3, 1.5].map(|slowdown| alarms(2_000, slowdown, spread) / 20);
        println!("{spread}: {found:?}");
    }
}
