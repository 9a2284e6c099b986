//! Which run comes when.
//!
//! A slot is one repeat of one cell of one arm. Interleaving is the default because machines drift: what warms up,
//! throttles or gets a neighbour meanwhile must not favour a cell or an arm. The seed of a run depends on its repeat
//! alone, so neither the order nor what else is run changes what happens in it, and cells differ by their axes only.

use std::fmt::{self, Write};
use std::ops::Range;

use rand::seq::SliceRandom;
use serde_json::Value;
use sha2::{Digest, Sha256};
use units::Seed;

use crate::machine::revision;
use crate::records::axes_words;
use crate::scenario::{CellPlan, Driver, Loaded, RunOrder};

/// One run of an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    pub cell: u32,
    pub repeat: u32,
    /// 0 is A, or the only one.
    pub arm: u32,
}

/// How much there is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    pub cells: u32,
    pub repeats: Range<u32>,
    pub arms: u32,
}

/// All slots in the order in which they run. Arms of one cell and repeat always follow each other: A, B, A, B.
#[must_use]
pub fn slots(extent: Extent, order: RunOrder, seed: u64) -> Vec<Slot> {
    let Extent { cells, repeats, arms } = extent;
    let round = |repeat: u32| -> Vec<u32> {
        let mut cells: Vec<u32> = (0..cells).collect();
        if order == RunOrder::Shuffled {
            cells.shuffle(&mut Seed::root(seed).fork(&format!("order/{repeat}")).rng());
        }
        cells
    };
    let pairs: Vec<(u32, u32)> = match order {
        RunOrder::Listed => {
            (0..cells).flat_map(|cell| repeats.clone().map(move |repeat| (cell, repeat))).collect()
        }
        RunOrder::Interleaved | RunOrder::Shuffled => {
            repeats.flat_map(|repeat| round(repeat).into_iter().map(move |cell| (cell, repeat))).collect()
        }
    };
    pairs
        .into_iter()
        .flat_map(|(cell, repeat)| (0..arms).map(move |arm| Slot { cell, repeat, arm }))
        .collect()
}

/// The seed of a repeat: the scenario's own for the first, so that a single run has the seed it shows.
#[must_use]
pub fn repeat_seed(seed: u64, repeat: u32) -> u64 {
    seed.wrapping_add(u64::from(repeat))
}

/// Fingerprint of what a run of `cell` is: 16 hexadecimal digits over the effective scenario, the values of the axes, the
/// driver and the revision of this program, which holds the protocol that is measured. What only judges, compares, orders or renders runs is left out, so a run stays good when an assertion is
/// added.
#[must_use]
pub fn fingerprint(loaded: &Loaded, cell: &CellPlan, driver: Driver) -> String {
    let mut scenario = loaded.effective_json.clone();
    if let Value::Object(root) = &mut scenario {
        JUDGING.iter().for_each(|key| drop(root.remove(*key)));
        if let Some(Value::Object(run)) = root.get_mut("run") {
            ORDERING.iter().for_each(|key| drop(run.remove(*key)));
        }
    }
    let axes = serde_json::to_value(&cell.axes).unwrap_or_default();
    let whole = serde_json::json!([scenario, axes, driver_name(driver), revision()]).to_string();
    let mut hasher = Hasher(Sha256::new_with_prefix(whole.as_bytes()));
    // A scenario names recordings (arrivals, sizes, delays, losses, links) and holds what was read of them.
    write!(hasher, "{:?}{:?}", cell.scenario.links, cell.scenario.workloads)
        .expect("a digest takes everything");
    hasher.0.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes text as it comes: that of a recording may be long.
struct Hasher(Sha256);

impl fmt::Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

/// As scenarios and results write it.
#[must_use]
pub fn driver_name(driver: Driver) -> &'static str {
    match driver {
        Driver::Real => "real",
        Driver::Virtual => "virtual",
    }
}

/// A cell in words: `loss.p=0.1`; empty without a sweep.
#[must_use]
pub fn label(cell: &CellPlan) -> String {
    axes_words(&cell.axes)
}

/// Keys of a scenario that do not change what happens in a run.
const JUDGING: [&str; 6] = ["assert", "baseline", "output", "scenario", "search", "sweep"];
/// Keys of `[run]` that only say which runs there are, and when. The driver is told apart by itself.
const ORDERING: [&str; 6] = ["abort_on", "cooldown", "driver", "order", "repeats", "time_limit"];

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Extent = Extent { cells: 3, repeats: 0..2, arms: 1 };

    fn cells(slots: &[Slot]) -> Vec<(u32, u32)> {
        slots.iter().map(|slot| (slot.cell, slot.repeat)).collect()
    }

    #[test]
    fn interleaved_runs_go_round_and_listed_ones_stay() {
        let round = slots(SMALL, RunOrder::Interleaved, 1);
        assert_eq!(cells(&round), [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]);
        let listed = slots(SMALL, RunOrder::Listed, 1);
        assert_eq!(cells(&listed), [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]);
    }

    #[test]
    fn arms_alternate_in_every_order() {
        for order in [RunOrder::Interleaved, RunOrder::Shuffled, RunOrder::Listed] {
            let slots = slots(Extent { arms: 2, ..SMALL }, order, 1);
            assert_eq!(slots.len(), 12);
            for pair in slots.chunks(2) {
                assert_eq!((pair[0].arm, pair[1].arm), (0, 1));
                assert_eq!((pair[0].cell, pair[0].repeat), (pair[1].cell, pair[1].repeat));
            }
        }
    }

    #[test]
    fn shuffled_rounds_hold_every_cell_once_and_repeat_for_a_seed() {
        let extent = Extent { cells: 20, repeats: 0..4, arms: 1 };
        let once = slots(extent.clone(), RunOrder::Shuffled, 7);
        assert_eq!(once, slots(extent.clone(), RunOrder::Shuffled, 7));
        assert_ne!(once, slots(extent.clone(), RunOrder::Shuffled, 8));
        let rounds: Vec<Vec<u32>> =
            once.chunks(20).map(|round| round.iter().map(|slot| slot.cell).collect()).collect();
        assert_ne!(rounds[0], rounds[1], "every round has an order of its own");
        let mut sorted = once.clone();
        sorted.sort_unstable();
        let mut all = slots(extent.clone(), RunOrder::Listed, 7);
        all.sort_unstable();
        assert_eq!(sorted, all);
    }

    #[test]
    fn seeds_depend_on_the_repeat_alone() {
        assert_eq!([0, 1, 2].map(|repeat| repeat_seed(42, repeat)), [42, 43, 44]);
        assert_eq!(repeat_seed(u64::MAX, 1), 0);
    }

    #[test]
    fn a_fingerprint_is_of_the_run_and_not_of_its_judgement() {
        let of = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
            let text = crate::scenario::builtin::Builtin::Loss.toml(std::time::Duration::from_secs(1), 2);
            let loaded = crate::scenario::load_str("t", &text, &sets).expect("a sound scenario");
            fingerprint(&loaded, &loaded.cells[0], loaded.scenario.run.driver)
        };
        let one = of(&[]);
        assert_eq!(one.len(), 16);
        assert_eq!(one, of(&["run.repeats=9"]));
        assert_eq!(one, of(&["scenario.title=Another"]));
        assert_ne!(one, of(&["run.seed=9"]));
        assert_ne!(one, of(&["run.driver=virtual"]));
        assert_ne!(one, of(&["protocol.congestion=reno"]));
    }

    #[test]
    fn a_fingerprint_is_of_what_stands_in_a_recording() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let set =
            format!("workload.room-chat.arrival={{ process = 'trace', file = '{}' }}", file.path().display());
        let of = |lines: &str| {
            std::fs::write(file.path(), lines).unwrap();
            let text = crate::scenario::builtin::Builtin::Loss.toml(std::time::Duration::from_secs(1), 2);
            let loaded =
                crate::scenario::load_str("t", &text, std::slice::from_ref(&set)).expect("a sound scenario");
            fingerprint(&loaded, &loaded.cells[0], loaded.scenario.run.driver)
        };
        let one = of("1ms\n5ms\n");
        assert_ne!(one, of("1ms\n6ms\n"));
        assert_eq!(one, of("# the same\n1ms\n5ms\n"));
    }
}
