//! What the scenario language can say and no driver carries out yet: one line each, so that whoever teaches a driver
//! something removes its line and nothing is left that is read and silently ignored.

use crate::scenario::{OutputConfig, Scenario};

/// The first key that would be ignored, and what to write instead.
pub(super) fn unready(scenario: &Scenario) -> Option<String> {
    output(scenario)
}

fn output(scenario: &Scenario) -> Option<String> {
    (scenario.output.dir != OutputConfig::default().dir).then(|| no("output.dir", "another folder"))
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
        let problem = refused("output.dir='elsewhere'").expect("it would be ignored");
        assert!(problem.starts_with("output.dir: "), "{problem}");
        for set in [
            "run.order=listed",
            "server={ mode = 'target', addr = '127.0.0.1:9', admin = '127.0.0.1:8' }",
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
