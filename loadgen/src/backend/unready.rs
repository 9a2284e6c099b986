//! What the scenario language can say and no driver carries out yet: one line each, so that whoever teaches a driver
//! something removes its line and nothing is left that is read and silently ignored.

use crate::scenario::{MeasureConfig, OutputConfig, Scenario, ServerConfig};

/// The first key that would be ignored, and what to write instead.
pub(super) fn unready(scenario: &Scenario) -> Option<String> {
    run(scenario).or_else(|| judging(scenario))
}

fn run(scenario: &Scenario) -> Option<String> {
    (scenario.server != ServerConfig::default())
        .then(|| no("server", "a server other than the one that is part of the generator"))
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
            "phase.p.rate=2",
            "clients.c.rooms={ count = 3, per_client = 2 }",
        ] {
            assert_eq!(refused(set), None);
        }
    }
}
