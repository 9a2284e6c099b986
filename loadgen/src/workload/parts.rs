//! Who takes part when: phases, shares of clients, ramps, weights, bounds, thinking, coming and going.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use units::Probability;

use super::*;
use crate::scenario::{
    Active, Arrival, Churn, Popularity, Ramp, RampShape, Rooms, Scenario, Seats, SpanLaw, WorkloadKind,
    load_str,
};

const START: Timestamp = Timestamp::from_secs(3);

/// Three phases of ten seconds (`a`, `b`, `c`) and a drain; one group of ten and one workload, 10/s each.
fn scenario() -> Scenario {
    let text = "schema = 1\nscenario.name = \"t\"\nclients = [{ name = \"g\", count = 10 }]\n\
        workload = [{ name = \"w\", arrival = { process = \"constant\", rate = \"10/s\" } }]\n\
        phase = [{ name = \"a\", duration = \"10s\" }, { name = \"b\", duration = \"10s\" }, \
        { name = \"c\", duration = \"10s\" }, { name = \"drain\", drain = \"5s\" }]";
    load_str("t.toml", text, &[]).unwrap_or_else(|error| panic!("{error}")).scenario
}

fn machine(scenario: &Scenario) -> Workload {
    let mut machine = Workload::new(scenario, Seed::root(7));
    machine.start(START);
    machine
}

fn steps(scenario: &Scenario) -> Vec<Step> {
    let mut machine = machine(scenario);
    std::iter::from_fn(|| machine.poll_step(Timestamp::from_secs(1000))).collect()
}

fn intents(scenario: &Scenario) -> Vec<Intent> {
    let sent = |step| match step {
        Step::Send(intent) => intent,
        other => panic!("nothing but messages was asked for: {other:?}"),
    };
    steps(scenario).into_iter().map(sent).collect()
}

/// Messages by the phase that they were meant for.
fn by_phase(intents: &[Intent]) -> [usize; 3] {
    [0, 1, 2].map(|phase| intents.iter().filter(|it| it.phase == phase).count())
}

#[test]
fn a_workload_is_done_in_its_phases_and_at_their_rates() {
    let mut scenario = scenario();
    assert_eq!(by_phase(&intents(&scenario)), [1000; 3]);
    scenario.workloads[0].phases = vec![0, 2];
    assert_eq!(by_phase(&intents(&scenario)), [1000, 0, 1000]);
    scenario.phases[2].rate = 0.5;
    assert_eq!(by_phase(&intents(&scenario)), [1000, 0, 500]);
    // Each client sends its first message of the third phase where its schedule stood at the end of the first.
    scenario.workloads[0].phases = vec![2];
    scenario.phases[2].rate = 1.0;
    let alone = intents(&scenario);
    scenario.workloads[0].phases = vec![0];
    let offset = |it: &Intent, from: u64| (it.sender, it.intended.since(START + Duration::from_secs(from)));
    let first: Vec<_> = intents(&scenario).iter().map(|it| offset(it, 0)).collect();
    assert_eq!(alone.iter().map(|it| offset(it, 20)).collect::<Vec<_>>(), first);
}

#[test]
fn a_faster_phase_is_the_same_process_on_a_faster_clock() {
    let mut scenario = scenario();
    let Pace::Open { arrival, .. } = &mut scenario.workloads[0].pace else { panic!("an open loop") };
    *arrival = Arrival::Burst { count: 3, every: Duration::from_secs(2) };
    scenario.phases[1].rate = 4.0;
    // 5 bursts of 3 by 10 clients, then four times as many.
    assert_eq!(by_phase(&intents(&scenario)), [150, 600, 150]);
}

#[test]
fn a_phase_for_some_is_for_the_first_of_each_group() {
    let mut scenario = scenario();
    scenario.phases[0].clients = Active::Fraction(0.25);
    scenario.phases[1].clients = Active::Count(5);
    let all = intents(&scenario);
    let senders =
        |phase| all.iter().filter(|it| it.phase == phase).map(|it| it.sender).collect::<BTreeSet<_>>();
    assert_eq!(senders(0), (0..3).collect());
    assert_eq!(senders(1), (0..5).collect());
    assert_eq!(senders(2), (0..10).collect());
    assert_eq!(by_phase(&all), [300, 500, 1000]);
}

#[test]
fn a_shared_rate_stays_what_it_is_and_is_dealt_to_who_takes_part() {
    let mut scenario = scenario();
    let Pace::Open { per, .. } = &mut scenario.workloads[0].pace else { panic!("an open loop") };
    *per = Per::Total;
    scenario.phases[0].clients = Active::Count(2);
    let all = intents(&scenario);
    assert_eq!(by_phase(&all), [100; 3]);
    assert!(all.iter().filter(|it| it.phase == 0).all(|it| it.sender < 2));
    assert!(all.iter().any(|it| it.phase == 1 && it.sender > 1));
}

#[test]
fn clients_that_a_phase_adds_come_by_its_ramp() {
    let mut scenario = scenario();
    scenario.phases[0].clients = Active::Count(2);
    scenario.phases[1].ramp = Some(Ramp { over: Duration::from_secs(8), shape: RampShape::Linear });
    let all = intents(&scenario);
    for sender in 2..10_u32 {
        let first = all.iter().find(|it| it.sender == sender).map(|it| it.intended.since(START));
        let begins = Duration::from_secs(10) + Duration::from_secs(8) * (sender - 2) / 8;
        let first = first.unwrap_or_default();
        assert!((begins..begins + Duration::from_millis(101)).contains(&first), "{sender}: {first:?}");
    }
    // Those who were there go on as they did.
    assert_eq!(all.iter().filter(|it| it.sender == 0).count(), 300);
}

#[test]
fn weights_share_out_the_clients_and_a_larger_group_changes_nobody() {
    let mut scenario = scenario();
    let mut other = scenario.workloads[0].clone();
    (other.name, other.weight) = ("v".to_owned(), Some(3.0));
    scenario.workloads[0].weight = Some(1.0);
    scenario.workloads.push(other);
    let parts = |scenario: &Scenario| -> BTreeMap<u32, BTreeSet<u16>> {
        let mut parts: BTreeMap<u32, BTreeSet<u16>> = BTreeMap::new();
        for it in intents(scenario) {
            parts.entry(it.sender).or_default().insert(it.workload);
        }
        parts
    };
    scenario.clients[0].count = 40;
    let few = parts(&scenario);
    assert!(few.values().all(|parts| parts.len() == 1));
    assert_eq!(few.values().filter(|parts| parts.contains(&1)).count(), 30);
    scenario.clients[0].count = 41;
    let more = parts(&scenario);
    assert!(few.iter().all(|(client, parts)| more[client] == *parts));
}

#[test]
fn another_client_shifts_nobody_whatever_the_process() {
    let laws = [
        Arrival::Gamma { cv: 2.0 },
        Arrival::Mmpp { factor: 5.0, calm: Duration::from_secs(3), busy: Duration::from_secs(1) },
        Arrival::Burst { count: 2, every: Duration::from_secs(1) },
    ];
    for law in laws {
        let mut scenario = scenario();
        let Pace::Open { arrival, .. } = &mut scenario.workloads[0].pace else { panic!("an open loop") };
        *arrival = law.clone();
        let of_client_3 = |scenario: &Scenario| -> Vec<Timestamp> {
            intents(scenario).iter().filter(|it| it.sender == 3).map(|it| it.intended).collect()
        };
        let before = of_client_3(&scenario);
        scenario.clients[0].count += 5;
        assert_eq!(of_client_3(&scenario), before, "{law:?}");
        assert!(before.len() > 50, "{law:?}");
    }
}

#[test]
fn who_has_as_many_under_way_as_it_may_is_throttled() {
    let mut scenario = scenario();
    scenario.clients[0].count = 2;
    scenario.workloads[0].max_in_flight = Some(3);
    let mut machine = machine(&scenario);
    let second = START + Duration::from_secs(1);
    let count = |machine: &mut Workload, until: Timestamp| {
        let steps: Vec<Step> = std::iter::from_fn(|| machine.poll_step(until)).collect();
        let sent = steps.iter().filter(|step| matches!(step, Step::Send(_))).count();
        (sent, steps.len() - sent)
    };
    // Ten messages of each in the first second, three of which may be under way.
    assert_eq!(count(&mut machine, second), (6, 14));
    machine.on_settled(second, 0);
    machine.on_settled(second, 0);
    // One place is free again, however often its end is told; a throttled message never had one.
    machine.on_settled(second, 19);
    assert_eq!(count(&mut machine, second + Duration::from_secs(1)), (1, 19));
}

#[test]
fn a_closed_loop_thinks_before_it_goes_on() {
    let mut scenario = scenario();
    scenario.clients[0].count = 2;
    let think = SpanLaw::Fixed(Duration::from_millis(300));
    scenario.workloads[0].pace = Pace::Closed { in_flight: 1, think };
    scenario.workloads[0].phases = vec![1];
    let mut machine = machine(&scenario);
    let begins = START + Duration::from_secs(10);
    assert_eq!(machine.poll_step(begins - Duration::from_nanos(1)), None);
    let Some(Step::Send(first)) = machine.poll_step(begins) else { panic!("the phase has begun") };
    assert_eq!((first.sender, first.intended), (0, begins));
    assert!(machine.poll_step(begins).is_some());
    machine.on_settled(begins + Duration::from_millis(50), first.id);
    let again = begins + Duration::from_millis(350);
    assert_eq!(machine.poll_timeout(), Some(again));
    let Some(Step::Send(second)) = machine.poll_step(again) else { panic!("it has thought") };
    assert_eq!((second.sender, second.intended), (0, again));
    // What is settled when the phase is over has no successor.
    machine.on_settled(START + Duration::from_secs(20), second.id);
    assert_eq!(machine.poll_step(Timestamp::from_secs(1000)), None);
}

fn churning() -> Scenario {
    let mut scenario = scenario();
    let mut churn = scenario.workloads[0].clone();
    churn.name = "churn".to_owned();
    churn.kind = WorkloadKind::Churn;
    churn.pace = Pace::Still;
    churn.churn = Some(Churn {
        session: SpanLaw::Exponential { mean: Duration::from_secs(2) },
        off: SpanLaw::Fixed(Duration::from_millis(500)),
        abrupt: Probability::new(0.3).unwrap_or(Probability::ZERO),
    });
    scenario.workloads.push(churn);
    scenario
}

/// Plays a driver to which leaving takes 50 ms and coming back 100 ms.
fn played(scenario: &Scenario) -> Vec<(Timestamp, Step)> {
    let mut machine = machine(scenario);
    let mut steps = Vec::new();
    let mut under_way: BTreeSet<(Timestamp, u32, bool)> = BTreeSet::new();
    while let Some(now) = machine.poll_timeout().into_iter().chain(under_way.first().map(|it| it.0)).min() {
        while let Some(&(at, client, is_leaving)) = under_way.first().filter(|it| it.0 <= now) {
            under_way.pop_first();
            if is_leaving { machine.on_gone(at, client) } else { machine.on_present(at, client) }
        }
        while let Some(step) = machine.poll_step(now) {
            match step {
                Step::Leave { client, .. } => {
                    under_way.insert((now + Duration::from_millis(50), client, true));
                }
                Step::Return { client } => {
                    under_way.insert((now + Duration::from_millis(100), client, false));
                }
                Step::Send(_) | Step::Throttle(_) => {}
            }
            steps.push((now, step));
        }
    }
    steps
}

#[test]
fn clients_leave_and_come_back_and_say_nothing_meanwhile() {
    let steps = played(&churning());
    let mut left: BTreeMap<u32, Timestamp> = BTreeMap::new();
    let mut back: BTreeMap<u32, Timestamp> = BTreeMap::new();
    let (mut leaves, mut abrupt) = (0.0, 0.0);
    for (at, step) in steps {
        match step {
            Step::Leave { client, is_abrupt } => {
                assert_eq!(left.insert(client, at), None, "it is there to leave");
                leaves += 1.0;
                abrupt += f64::from(u8::from(is_abrupt));
            }
            Step::Return { client } => {
                // Gone 50 ms after it was told to leave, and away for 500 ms from then.
                let away = left.remove(&client).map(|left| at.since(left));
                assert_eq!(away, Some(Duration::from_millis(550)));
                back.insert(client, at + Duration::from_millis(100));
            }
            Step::Send(it) => {
                assert!(!left.contains_key(&it.sender), "{it:?} of somebody who is away");
                assert!(
                    back.get(&it.sender).is_none_or(|&back| it.intended >= back),
                    "{it:?} before it is back"
                );
            }
            Step::Throttle(_) => panic!("nothing is bounded"),
        }
    }
    assert!(left.is_empty(), "all come back, at the latest in the drain");
    // 10 clients, 30 s, cycles of 2.65 s on average: 113 departures. Each is a renewal; the variance of their number is
    // at most their mean, and five standard errors of the abrupt share at 113 are 0.22.
    assert!((60.0..=166.0).contains(&leaves), "{leaves}");
    assert!((abrupt / leaves - 0.3_f64).abs() < 0.22, "{abrupt} of {leaves}");
}

#[test]
fn comings_and_goings_are_those_of_the_client_alone() {
    let of = |scenario: &Scenario, client: u32| -> Vec<(Timestamp, bool)> {
        let moved = |(at, step)| match step {
            Step::Leave { client: who, is_abrupt } if who == client => Some((at, is_abrupt)),
            _ => None,
        };
        played(scenario).into_iter().filter_map(moved).collect()
    };
    let mut scenario = churning();
    let before = of(&scenario, 3);
    scenario.clients[0].count += 7;
    assert_eq!(of(&scenario, 3), before);
    assert!(before.len() > 3);
    // In a phase without churn nobody leaves.
    scenario.workloads[1].phases = vec![0, 2];
    let phase_b = START + Duration::from_secs(10)..START + Duration::from_secs(20);
    assert!((0..10).all(|client| of(&scenario, client).iter().all(|(at, _)| !phase_b.contains(at))));
}

#[test]
fn a_closed_loop_goes_on_when_its_client_is_back() {
    let mut scenario = churning();
    scenario.clients[0].count = 2;
    scenario.workloads[0].pace = Pace::Closed { in_flight: 2, think: SpanLaw::ZERO };
    let mut machine = machine(&scenario);
    let mut sent = Vec::new();
    let (gone, is_abrupt) = loop {
        let now = machine.poll_timeout().expect("there is churn");
        match machine.poll_step(now) {
            Some(Step::Send(it)) => sent.push(it),
            Some(Step::Leave { client: 0, is_abrupt }) => break (now, is_abrupt),
            _ => {}
        }
    };
    let _ = is_abrupt;
    machine.on_gone(gone, 0);
    // What it had under way ends while it is away: both turns wait for it.
    for it in sent.iter().filter(|it| it.sender == 0) {
        machine.on_settled(gone, it.id);
    }
    let mut at = gone;
    loop {
        at = machine.poll_timeout().expect("it comes back").max(at);
        match machine.poll_step(at) {
            Some(Step::Return { client: 0 }) => break,
            Some(Step::Send(it)) => assert_ne!(it.sender, 0, "it is away"),
            _ => {}
        }
    }
    machine.on_present(at, 0);
    let again: Vec<Step> = std::iter::from_fn(|| machine.poll_step(at)).collect();
    let its = again.iter().filter(|step| matches!(step, Step::Send(it) if it.sender == 0));
    assert_eq!(its.count(), 2);
}

#[test]
fn who_is_in_several_rooms_speaks_in_all_of_them() {
    let mut scenario = scenario();
    scenario.clients[0].rooms =
        Rooms { seats: Seats::Count(5), per_client: 3, popularity: Popularity::Zipf { exponent: 1.0 } };
    let all = intents(&scenario);
    for place in 0..3 {
        // 3,000 draws of one in three: 1,000, with a standard deviation of 26; five of them.
        let count = all.iter().filter(|it| it.target == Target::Room(place)).count();
        assert!((870..=1130).contains(&count), "{count} to room {place}");
    }
    scenario.workloads[0].kind = WorkloadKind::File;
    assert!(intents(&scenario).iter().all(|it| matches!(it.target, Target::File(0..3))));
    scenario.workloads[0].kind = WorkloadKind::Presence;
    assert!(intents(&scenario).iter().all(|it| matches!(it.target, Target::Members(0..3))));
    scenario.workloads[0].kind = WorkloadKind::Ping;
    assert!(intents(&scenario).iter().all(|it| it.target == Target::Oneself));
}
