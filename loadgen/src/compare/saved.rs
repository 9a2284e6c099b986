//! `comparison.json`: what was set against what, and what came of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Comparison, DriverRow, Finding};
use crate::result::RunResult;

/// A comparison that is kept, and drawn again from what is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    pub schema: u32,
    /// What A and B are, for a reader: `protocol.congestion=reno`, a folder, a driver.
    pub a: String,
    pub b: String,
    /// What was not the same to begin with, as sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caveats: Vec<String>,
    #[serde(flatten)]
    pub found: Found,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Found {
    /// B was tested against A.
    Tested(Comparison),
    /// Sockets beside virtual time, which are not tested.
    Drivers { rows: Vec<DriverRow> },
}

impl Compared {
    #[must_use]
    pub fn tested(a: impl Into<String>, b: impl Into<String>, found: Comparison) -> Self {
        Self { schema: SCHEMA, a: a.into(), b: b.into(), caveats: Vec::new(), found: Found::Tested(found) }
    }

    #[must_use]
    pub fn drivers(a: impl Into<String>, b: impl Into<String>, rows: Vec<DriverRow>) -> Self {
        Self { schema: SCHEMA, a: a.into(), b: b.into(), caveats: Vec::new(), found: Found::Drivers { rows } }
    }

    /// 4 with a regression, otherwise 0. Drivers that part are none.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match &self.found {
            Found::Tested(comparison) if !comparison.regressions.is_empty() => 4,
            Found::Tested(_) | Found::Drivers { .. } => 0,
        }
    }

    /// Why a gate cannot go by it, if that is so. A regression is an answer, whatever else is open.
    #[must_use]
    pub fn undecided(&self) -> Option<String> {
        let Found::Tested(found) = &self.found else { return None };
        if !found.regressions.is_empty() || found.is_decided() {
            return None;
        }
        let open = || found.rows.iter().filter(|row| row.finding == Finding::Inconclusive);
        let (count, rows) = (open().count(), found.rows.len());
        let reason = open().map(|row| &row.reason).chain(&found.unmatched).next();
        let reason = reason.map_or("there is nothing to compare", String::as_str);
        Some(format!("{}: {count} of {rows} comparisons are INCONCLUSIVE: {reason}", self.a))
    }
}

/// What was not the same in two results to begin with, as sentences: a difference then may say nothing of the code.
#[must_use]
pub fn caveats(a: &RunResult, b: &RunResult) -> Vec<String> {
    let mut caveats: Vec<String> = unlike(&a.scenario, &b.scenario).into_iter().collect();
    let mut note = |what: &str, a: &str, b: &str| {
        if a != b {
            caveats.push(format!("{what} differs: {a} and {b}"));
        }
    };
    note("the driver", &a.run.driver, &b.run.driver);
    note("the seed", &a.run.seed.to_string(), &b.run.seed.to_string());
    note("the revision", &a.run.revision, &b.run.revision);
    caveats
}

/// Which parts of two effective scenarios make another experiment, if any do. Transport, server and what only judges or
/// orders runs may be what is compared.
#[must_use]
pub fn unlike(a: &Value, b: &Value) -> Option<String> {
    let odd: Vec<&str> = EXPERIMENT.into_iter().filter(|key| a.get(key) != b.get(key)).collect();
    (!odd.is_empty()).then(|| {
        format!(
            "not the same experiment: {} of the scenario differ, so a difference says little",
            odd.join(", ")
        )
    })
}

/// Tables of a scenario that say who does what, over which links.
const EXPERIMENT: [&str; 5] = ["clients", "link", "phase", "workload", "sweep"];

/// Version of the form of `comparison.json`.
pub const SCHEMA: u32 = 1;

#[cfg(test)]
mod tests {
    use super::super::{Change, Row};
    use super::*;
    use crate::report::synthetic::{self, Shape};

    #[test]
    fn what_is_written_reads_back() {
        let change = Change { a: vec![Some(1.5), None], metric: "p99".into(), ..Change::default() };
        let row = Row { change, p: 0.01, ..Row::default() };
        let found = Comparison { rows: vec![row], regressions: vec![0], ..Comparison::default() };
        let compared = Compared::tested("reno", "cubic", found);
        let text = serde_json::to_string(&compared).expect("plain data");
        assert_eq!(serde_json::from_str::<Compared>(&text).expect("just written"), compared);
        assert_eq!((compared.exit_code(), compared.undecided()), (4, None));
        let row = Row { finding: Finding::Inconclusive, ..Row::default() };
        let open = Comparison { rows: vec![row], ..Comparison::default() };
        let open = Compared::tested("reno", "cubic", open);
        assert_eq!(open.exit_code(), 0);
        let why = open.undecided().expect("nothing was decided");
        assert!(why.starts_with("reno: 1 of 1 comparisons are INCONCLUSIVE: "), "{why}");
        let drivers = Compared::drivers("real", "virtual", Vec::new());
        let text = serde_json::to_string(&drivers).expect("plain data");
        assert_eq!(serde_json::from_str::<Compared>(&text).expect("just written"), drivers);
        assert_eq!(drivers.exit_code(), 0);
    }

    #[test]
    fn other_seed_driver_or_load_is_said() {
        let shape = Shape { clients: 10, steady_s: 1, ..Shape::default() };
        let a = synthetic::chat(&shape, 1).result;
        let mut b = a.clone();
        assert_eq!(caveats(&a, &b), Vec::<String>::new());
        b.run.seed = 43;
        b.run.driver = "real".to_owned();
        b.scenario["clients"] = serde_json::json!([]);
        let text = caveats(&a, &b).join("\n");
        for part in
            ["the seed differs: 42 and 43", "the driver differs: virtual and real", "clients of the scenario"]
        {
            assert!(text.contains(part), "{text}");
        }
    }
}
