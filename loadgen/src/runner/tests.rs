//! Experiments on systems of which the answer is known, and small ones in virtual time.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::backend::{Heeded, Progress};
use crate::records::PhaseSpan;
use crate::runner::search::Ground;
use crate::scenario::{Pace, RunOrder, Search, SearchMethod, SearchUnit, load_str};
use crate::ui::Nobody;

const CHAT: &str = r#"# How fast?
schema = 1
[scenario]
name = "chat"
title = "Four clients"
[run]
driver = "virtual"
seed = 5
repeats = 2
[link.l.both]
delay = "20ms"
[[clients]]
name = "chat"
count = 4
link = "l"
[[phase]]
name = "steady"
duration = "1s"
[[phase]]
name = "drain"
drain = "5s"
[[workload]]
name = "chat"
kind = "room"
arrival = { process = "poisson", rate = "4/s", per = "client" }
size = "100B"
[[assert]]
id = "tail"
expr = "p50(delivery_latency) < 100ms"
[sweep]
axis = [{ path = "link.l.both.delay.base", values = ["10ms", "20ms", "40ms"] }]
"#;

fn loaded(sets: &[&str]) -> Loaded {
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    load_str("chat.toml", CHAT, &sets).unwrap()
}

fn arm(loaded: Loaded) -> [Arm; 1] {
    [Arm { name: String::new(), loaded }]
}

/// A system that answers at once up to a rate, and late above it.
struct Knee {
    knee: f64,
    calls: usize,
    /// Sets this after so many runs.
    stops_after: Option<usize>,
}

impl Knee {
    fn at(knee: f64) -> Self {
        Self { knee, calls: 0, stops_after: None }
    }
}

impl CarryOut for Knee {
    fn carry_out(
        &mut self,
        order: &Order,
        interrupt: &AtomicBool,
        _progress: &mut dyn FnMut(Progress) -> Heeded,
    ) -> Result<Carried, RunError> {
        self.calls += 1;
        let Pace::Open { per_second, .. } = order.run.scenario.workloads[0].pace else {
            panic!("an open loop")
        };
        let us = if per_second <= self.knee { 10_000 } else { 2_000_000 };
        let is_last = self.stops_after == Some(self.calls);
        interrupt.fetch_or(is_last, Ordering::Relaxed);
        let mut run = RunFile { schema: crate::records::SCHEMA, ..RunFile::default() };
        let until_us = if is_last { 300_000 } else { 1_000_000 };
        run.phases.push(PhaseSpan { name: "steady".into(), from_us: 0, until_us, recorded: true });
        (0..1000).for_each(|_| run.all.delivery.record(Some(us)));
        run.metrics.messages.delivered = 1000;
        run.metrics.latency.delivery = crate::measure::summarise(&run.all.delivery);
        Ok(Carried { run, ..Carried::default() })
    }
}

fn experiment<'a>(
    arms: &'a [Arm],
    folder: &'a Folder,
    kept: &'a BTreeSet<Slot>,
    interrupt: &'a AtomicBool,
) -> Experiment<'a> {
    let repeats = 0..arms[0].loaded.scenario.run.repeats;
    Experiment { arms, server: ServerAt::InProcess, folder, repeats, kept, interrupt }
}

fn cells(arms: &[Arm], dir: &Path, carrier: &mut dyn CarryOut) -> Finished {
    let (folder, kept, interrupt) = (Folder::new(dir), BTreeSet::new(), AtomicBool::new(false));
    let experiment = experiment(arms, &folder, &kept, &interrupt);
    let ran = experiment.run(carrier, &mut Nobody).unwrap();
    experiment.conclude(ran).unwrap()
}

#[test]
fn the_order_of_runs_does_not_change_what_happens_in_them() {
    let results = [RunOrder::Interleaved, RunOrder::Shuffled, RunOrder::Listed].map(|order| {
        let dir = tempfile::tempdir().unwrap();
        let mut loaded = loaded(&[]);
        loaded.scenario.run.order = order;
        let finished = cells(&arm(loaded), dir.path(), &mut Drivers);
        let rows = std::fs::read(dir.path().join("deliveries.csv")).unwrap();
        (finished.arms, finished.verdict, rows)
    });
    assert_eq!(results[0].0[0].len(), 3);
    assert!(!results[0].2.is_empty());
    assert!(results[1] == results[0] && results[2] == results[0]);
    let seeds: Vec<u64> = results[0].0[0][0].repeats.iter().map(|repeat| repeat.seed).collect();
    assert_eq!(seeds, [5, 6]);
}

#[test]
fn another_arm_does_not_change_the_first() {
    let (alone, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = arm(loaded(&[]));
    let [a] = one.clone();
    let b = Arm { name: "rto".into(), loaded: loaded(&["protocol.rto_min=50ms"]) };
    let single = cells(&one, alone.path(), &mut Drivers);
    let double = cells(&[a, b], beside.path(), &mut Drivers);
    assert_eq!(single.arms[0], double.arms[0]);
    assert_eq!(double.arms[1].len(), 3);
}

#[test]
fn what_is_kept_is_not_run_again_and_changes_nothing() {
    let (whole, split) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let arms = arm(loaded(&[]));
    let expected = cells(&arms, whole.path(), &mut Knee::at(4.0));
    let mut first = Knee { stops_after: Some(4), ..Knee::at(4.0) };
    let stopped = cells(&arms, split.path(), &mut first);
    assert!(matches!(stopped.stop, Some(Stop::Interrupted(_))));
    assert_eq!(stopped.verdict, Verdict::Invalid);
    assert!(stopped.reasons.iter().any(|reason| reason.contains("discarded")), "{:?}", stopped.reasons);

    let folder = Folder::new(split.path());
    let kept = resume::kept(&folder, &plans(&arms, &(0..2)));
    assert_eq!(kept.slots.len(), 3, "the fourth was cut short");
    let interrupt = AtomicBool::new(false);
    let experiment = experiment(&arms, &folder, &kept.slots, &interrupt);
    let mut second = Knee::at(4.0);
    let ran = experiment.run(&mut second, &mut Nobody).unwrap();
    let finished = experiment.conclude(ran).unwrap();
    assert_eq!((first.calls, second.calls), (4, 3));
    assert_eq!((finished.arms, finished.verdict), (expected.arms, expected.verdict));
}

#[test]
fn a_run_that_was_stopped_early_is_shown_if_there_is_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let finished = cells(&arm(loaded(&[])), dir.path(), &mut Knee { stops_after: Some(1), ..Knee::at(4.0) });
    assert_eq!(finished.arms[0].len(), 1);
    assert_eq!(finished.verdict, Verdict::Invalid);
}

#[test]
fn an_assertion_with_abort_ends_everything_and_says_so() {
    let mut loaded = loaded(&[]);
    for scenario in loaded.cells.iter_mut().map(|cell| &mut cell.scenario) {
        scenario.run.abort_on = vec![AbortOn::Assert];
        scenario.asserts[0].abort_after = Some(Duration::from_millis(500));
    }
    let dir = tempfile::tempdir().unwrap();
    let mut system = Knee::at(1.0);
    let finished = cells(&arm(loaded), dir.path(), &mut system);
    assert_eq!(system.calls, 1);
    assert!(matches!(finished.stop, Some(Stop::Asserted(_))));
    assert_eq!(finished.verdict, Verdict::Fail);
    let last = finished.reasons.last().unwrap();
    assert!(last.contains("assertion tail failed") && last.contains("abort_on"), "{last}");
}

#[test]
fn a_search_finds_the_knee_and_keeps_every_probe() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, interrupt) = (Folder::new(dir.path()), AtomicBool::new(false));
    let load = |more: &[String]| {
        let sets: Vec<&str> = more.iter().map(String::as_str).collect();
        let mut loaded = loaded(&sets);
        loaded.cells.truncate(1);
        Ok(loaded)
    };
    let ground = Ground {
        load: &load,
        server: ServerAt::InProcess,
        folder: &folder,
        interrupt: &interrupt,
        is_resumed: false,
    };
    let search = Search {
        path: "workload.chat.arrival.rate".into(),
        lo: 1.0,
        hi: 500.0,
        unit: SearchUnit::PerSecond,
        method: SearchMethod::Bracket,
        tolerance: 0.05,
        repeats: 3,
    };
    let mut system = Knee::at(37.0);
    let (finished, searched) = search::run(&ground, &search, &mut system, &mut Nobody).unwrap();
    let rate = |text: &Option<String>| text.as_ref().unwrap().trim_end_matches("/s").parse::<f64>().unwrap();
    let (pass, fail) = (rate(&searched.highest_pass), rate(&searched.lowest_fail));
    assert!(pass <= 37.0 && 37.0 < fail && fail - pass <= 0.05 * pass, "{}", searched.answer);
    assert_eq!(finished.verdict, Verdict::Pass);
    assert_eq!(searched.probes.len(), finished.arms[0].len());
    assert_eq!(system.calls, 3 * searched.probes.len());
    assert_eq!(finished.arms[0][0].axes["workload.chat.arrival.rate"], "1/s");

    // An interrupted search goes on: everything is there.
    let ground = Ground { is_resumed: true, ..ground };
    let mut again = Knee::at(37.0);
    let (_, same) = search::run(&ground, &search, &mut again, &mut Nobody).unwrap();
    assert_eq!((again.calls, same), (0, searched));
}

#[test]
fn a_search_below_which_nothing_passes_fails() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, interrupt) = (Folder::new(dir.path()), AtomicBool::new(false));
    let load = |more: &[String]| Ok(loaded(&more.iter().map(String::as_str).collect::<Vec<_>>()));
    let ground = Ground {
        load: &load,
        server: ServerAt::InProcess,
        folder: &folder,
        interrupt: &interrupt,
        is_resumed: false,
    };
    let search = Search {
        path: "workload.chat.arrival.rate".into(),
        lo: 10.0,
        hi: 500.0,
        unit: SearchUnit::PerSecond,
        method: SearchMethod::Bracket,
        tolerance: 0.05,
        repeats: 1,
    };
    let (finished, searched) = search::run(&ground, &search, &mut Knee::at(4.0), &mut Nobody).unwrap();
    assert_eq!((finished.verdict, searched.probes.len()), (Verdict::Fail, 1));
    assert_eq!(searched.answer, "workload.chat.arrival.rate: the lowest value, 10/s, fails");
}

#[test]
fn an_assertion_with_abort_ends_its_run_as_soon_as_it_can_be_judged() {
    let ended = |more: &str, abort_on: &str| {
        let dir = tempfile::tempdir().unwrap();
        let one = arm(loaded(&[
            "phase.steady.duration=60s",
            "measure.interval=10ms",
            "assert.tail.expr=p50(delivery_latency) < 1ms",
            more,
            abort_on,
            "sweep.axis=[]",
        ]));
        let (folder, kept, interrupt) = (Folder::new(dir.path()), BTreeSet::new(), AtomicBool::new(false));
        let experiment = experiment(&one, &folder, &kept, &interrupt);
        let ran = experiment.run(&mut Drivers, &mut Nobody).unwrap();
        let runs = experiment.runs(0, &(0..2));
        let lasted: Vec<u64> = runs.iter().map(|run| run.phases[0].until_us).collect();
        (experiment.conclude(ran).unwrap(), lasted, runs[0].failures.clone())
    };
    // Nothing has arrived at first, which is no reason to end it; p50 takes 20 of 48 deliveries a second.
    let (finished, lasted, failures) = ended("assert.tail.abort.after=1ms", "run.abort_on=[]");
    assert_eq!((finished.verdict, finished.stop.is_none(), lasted.len()), (Verdict::Fail, true, 2));
    assert!(lasted.iter().all(|&us| (100_000..3_000_000).contains(&us)), "{lasted:?}");
    assert!(failures[0].contains("s by assertion tail: p50(delivery_latency) is "), "{failures:?}");
    let (finished, lasted, _) = ended("assert.tail.abort.after=5s", "run.abort_on=['assert']");
    assert!(lasted.len() == 1 && (5_000_000..5_100_000).contains(&lasted[0]), "{lasted:?}");
    assert!(matches!(finished.stop, Some(Stop::Asserted(_))), "{:?}", finished.stop);
}

#[test]
fn traces_of_both_arms_are_there_when_their_run_is() {
    let dir = tempfile::tempdir().unwrap();
    let arms = ["protocol.congestion=reno", "protocol.congestion=cubic"].map(|set| Arm {
        name: set.to_owned(),
        loaded: loaded(&[set, "measure.traces.qlog=true", "run.repeats=1"]),
    });
    let (folder, kept, interrupt) = (Folder::new(dir.path()), BTreeSet::new(), AtomicBool::new(false));
    experiment(&arms, &folder, &kept, &interrupt).run(&mut Drivers, &mut Nobody).unwrap();
    let names = || {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".qlog")).collect::<BTreeSet<String>>()
    };
    assert_eq!(names().len(), 3 * 2 * 2, "{:?}", names());
    assert!(names().contains("trace-cell2.qlog") && names().contains("trace-cell2-server-b.qlog"));
    folder.clear().unwrap();
    assert!(names().is_empty());
}

#[test]
fn arms_that_a_sweep_makes_equal_are_refused() {
    let check_of = |a: &str, b: &str| {
        let arms = [a, b].map(|set| Arm { name: set.to_owned(), loaded: loaded(&[set]) });
        check(&arms).map_err(|error| error.to_string())
    };
    let swept = check_of("link.l.both.delay.base=5ms", "link.l.both.delay.base=80ms").unwrap_err();
    assert!(swept.contains("--ab: the sweep sets what the two sides set"), "{swept}");
    let others = check_of("sweep.axis=[]", "protocol.congestion=reno").unwrap_err();
    assert!(others.contains("same cells"), "{others}");
    assert_eq!(check_of("protocol.congestion=reno", "protocol.congestion=cubic"), Ok(()));
    // Nothing is different, which is how a comparison is tried out.
    assert_eq!(check_of("protocol.congestion=reno", "protocol.congestion=reno"), Ok(()));
}

#[test]
fn a_search_with_too_few_samples_answers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, interrupt) = (Folder::new(dir.path()), AtomicBool::new(false));
    let load = |more: &[String]| {
        let tail = "assert.tail.expr=p99.9(delivery_latency) < 10s".to_owned();
        let sets: Vec<&str> = more.iter().chain([&tail]).map(String::as_str).collect();
        let mut loaded = loaded(&sets);
        loaded.cells.truncate(1);
        Ok(loaded)
    };
    let ground = Ground {
        load: &load,
        server: ServerAt::InProcess,
        folder: &folder,
        interrupt: &interrupt,
        is_resumed: false,
    };
    let search = Search {
        path: "workload.chat.arrival.rate".into(),
        lo: 1.0,
        hi: 500.0,
        unit: SearchUnit::PerSecond,
        method: SearchMethod::Bracket,
        tolerance: 0.05,
        repeats: 1,
    };
    let (finished, searched) = search::run(&ground, &search, &mut Knee::at(37.0), &mut Nobody).unwrap();
    assert_eq!((finished.verdict, searched.lowest_fail.as_ref()), (Verdict::Inconclusive, None));
    assert!(searched.answer.contains("1/s is INCONCLUSIVE: tail: "), "{}", searched.answer);
}

#[test]
fn a_second_round_has_repeats_of_its_own_and_only_if_there_is_a_doubt() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, kept, interrupt) = (Folder::new(dir.path()), BTreeSet::new(), AtomicBool::new(false));
    let arms = arm(loaded(&[]));
    let experiment = experiment(&arms, &folder, &kept, &interrupt);
    let mut asked = Vec::new();
    let mut system = Knee::at(4.0);
    let mut doubts = |repeats: &Range<u32>| {
        asked.push(repeats.clone());
        true
    };
    let rounds = confirm::run(&experiment, &mut doubts, &mut system, &mut Nobody).unwrap();
    assert_eq!(asked.as_slice(), std::slice::from_ref(&(0..2)));
    assert_eq!(rounds.complete, [0..2, 2..4]);
    assert_eq!(system.calls, 12);
    let all = Experiment { repeats: 0..4, ..experiment };
    let finished = all.conclude(rounds.ran).unwrap();
    let seeds: Vec<u64> = finished.arms[0][2].repeats.iter().map(|repeat| repeat.seed).collect();
    assert_eq!(seeds, [5, 6, 7, 8]);

    let mut system = Knee::at(4.0);
    let rounds = confirm::run(&all, &mut |_| false, &mut system, &mut Nobody).unwrap();
    assert_eq!(rounds.complete.as_slice(), std::slice::from_ref(&(0..4)));
}
