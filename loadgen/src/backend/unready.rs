//! What the scenario language can say and no driver carries out yet: one line each, so that whoever teaches a driver
//! something removes its line and nothing is left that is read and silently ignored.

use std::time::Duration;

use crate::scenario::{
    Active, Activity, Arrival, ClientGroup, MeasureConfig, OutputConfig, Pace, Phase, Scenario, ServerConfig,
    Size, SpanLaw, Workload, WorkloadKind,
};

/// The first key that would be ignored, and what to write instead.
pub(super) fn unready(scenario: &Scenario) -> Option<String> {
    run(scenario)
        .or_else(|| scenario.clients.iter().find_map(group))
        .or_else(|| scenario.phases.iter().find_map(phase))
        .or_else(|| scenario.workloads.iter().find_map(|it| workload(it, scenario)))
        .or_else(|| judging(scenario))
}

fn run(scenario: &Scenario) -> Option<String> {
    (scenario.server != ServerConfig::default())
        .then(|| no("server", "a server other than the one that is part of the generator"))
}

fn group(group: &ClientGroup) -> Option<String> {
    let key = |key: &str| format!("clients.{}.{key}", group.name);
    if !group.rooms.is_single() {
        return Some(no(&key("rooms"), "several rooms a client, or popularity"));
    }
    (!group.stall.is_zero()).then(|| no(&key("reader.stall"), "slow readers"))
}

fn phase(phase: &Phase) -> Option<String> {
    let key = |key: &str| format!("phase.{}.{key}", phase.name);
    if phase.clients != Active::ALL {
        return Some(no(&key("clients"), "phases of some of the clients"));
    }
    if (phase.rate - 1.0).abs() > f64::EPSILON {
        return Some(no(&key("rate"), "phases with a rate of their own"));
    }
    phase.ramp.is_some().then(|| no(&key("ramp"), "ramps of phases"))
}

fn workload(workload: &Workload, scenario: &Scenario) -> Option<String> {
    let key = |key: &str| format!("workload.{}.{key}", workload.name);
    if !matches!(workload.kind, WorkloadKind::Room | WorkloadKind::Private | WorkloadKind::Broadcast) {
        return Some(no(&key("kind"), &format!("{} workloads", workload.kind.name())));
    }
    if let Pace::Open { arrival, .. } = &workload.pace
        && !matches!(arrival, Arrival::Poisson | Arrival::Constant)
    {
        return Some(no(&key("arrival.process"), "other processes than poisson and constant"));
    }
    if matches!(&workload.pace, Pace::Closed { think, .. } if *think != SpanLaw::Fixed(Duration::ZERO)) {
        return Some(no(&key("think"), "closed loops that think"));
    }
    if matches!(workload.size, Size::Pareto { .. } | Size::Trace(_)) {
        return Some(no(&key("size.dist"), "sizes by pareto or trace"));
    }
    let load = scenario.phases.iter().filter(|phase| phase.activity == Activity::Load).count();
    if workload.phases.len() != load {
        return Some(no(&key("phases"), "workloads of some phases"));
    }
    let others = [("weight", workload.weight.is_some()), ("max_in_flight", workload.max_in_flight.is_some())];
    others.iter().find(|(_, is_set)| *is_set).map(|(word, _)| no(&key(word), "it"))
}

fn judging(scenario: &Scenario) -> Option<String> {
    let (measure, default) = (&scenario.measure, MeasureConfig::default());
    if measure.invalid_if != default.invalid_if {
        return Some(no("measure.invalid_if", "other limits than its own"));
    }
    if measure.warmup_check != default.warmup_check {
        return Some(no("measure.warmup_check", "runs without it"));
    }
    (scenario.output != OutputConfig::default()).then(|| no("output", "another folder or other forms"))
}

/// `run.order: this version reads …, but cannot carry that out; remove the key`.
fn no(key: &str, what: &str) -> String {
    format!("{key}: this version reads {what}, but cannot carry that out; remove the key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load_str;

    const TEXT: &str = "schema = 1\nscenario.name = \"t\"\nclients = [{ name = \"c\", count = 2 }]\n\
                        phase = [{ name = \"p\", duration = \"1s\" }, { name = \"d\", drain = \"1s\" }]\n\
                        workload = [{ name = \"w\", arrival = { rate = \"1/s\" } }]\n\
                        assert = [{ id = \"a\", expr = \"lost == 0\" }]\n";

    #[test]
    fn what_is_not_carried_out_is_refused_by_its_key() {
        let refused = |set: &str| unready(&load_str("t.toml", TEXT, &[set.to_owned()]).unwrap().scenario);
        for (set, key) in [
            ("server={ mode = 'target', addr = '127.0.0.1:9' }", "server: "),
            ("clients.c.rooms={ count = 3, per_client = 2 }", "clients.c.rooms: "),
            ("phase.p.rate=2", "phase.p.rate: "),
            ("workload.w.kind=ping", "workload.w.kind: "),
            (
                "workload.w.arrival={ process = 'gamma', rate = '1/s', cv = 2 }",
                "workload.w.arrival.process: ",
            ),
            (
                "workload.w.size={ dist = 'pareto', min = '10B', alpha = 1.5, cap = '1kB' }",
                "workload.w.size.dist: ",
            ),
            ("workload.w.phases=[]", "workload.w.phases: "),
            ("workload.w.weight=2", "workload.w.weight: "),
            ("measure.invalid_if.hiccup_max=2s", "measure.invalid_if: "),
            ("output.formats=['json']", "output: "),
        ] {
            let problem = refused(set).unwrap_or_else(|| panic!("{set} is ignored"));
            assert!(problem.starts_with(key), "{set}: {problem}");
        }
        for set in [
            "run.order=listed",
            "assert.a.abort.after=5s",
            "search={ path = 'clients.c.count', lo = 2, hi = 9 }",
            "measure.interval=2s",
            "workload.w.timeout=5s",
            "clients.c.ramp={ over = '1s', shape = 'exp' }",
            "workload.w.kind=group",
        ] {
            assert_eq!(refused(set), None);
        }
    }
}
