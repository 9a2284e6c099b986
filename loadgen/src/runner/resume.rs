//! An experiment that goes on where it ended: which runs are there, and fit.
//!
//! A run is kept if its file is whole and its `plan` is what would be run now ([`super::plan::fingerprint`]); everything
//! else runs again. Nothing is trusted because of its name or its age.

use std::collections::{BTreeMap, BTreeSet};

use super::folder::{Folder, Found};
use super::plan::Slot;

/// Runs that need not be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub slots: BTreeSet<Slot>,
    /// One line for each kind of thing that is kept or not, for a reader.
    pub notes: Vec<String>,
}

/// Looks at every slot. `plans` has the fingerprint that each must have. Whole runs that have another one are set aside.
#[must_use]
pub fn kept(folder: &Folder, plans: &[(Slot, String)]) -> Kept {
    let mut slots = BTreeSet::new();
    // By reason, so that a hundred files of an older scenario make one line.
    let mut refused: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut missing = 0;
    for (slot, plan) in plans {
        let reason = match folder.find(*slot) {
            Found::Nothing => {
                missing += 1;
                continue;
            }
            Found::Run(run) if run.plan == *plan => {
                slots.insert(*slot);
                continue;
            }
            Found::Run(run) if run.plan.starts_with(CUT_SHORT) => "was cut short".to_owned(),
            // Hours of it may be of the right scenario, and this one mistyped.
            Found::Run(_) => match folder.keep_old(*slot) {
                Ok(()) => {
                    "is of another scenario, seed, driver or revision, and is kept in runs/old".to_owned()
                }
                Err(error) => format!("is of another scenario, seed, driver or revision; {error}"),
            },
            Found::Broken(why) => format!("cannot be read: {why}"),
        };
        let name = folder.run_path(*slot).file_name().map(|name| name.to_string_lossy().into_owned());
        refused.entry(reason).or_default().extend(name);
    }
    let mut notes = vec![format!(
        "keeps {} of {} runs, {missing} not run yet{}",
        slots.len(),
        plans.len(),
        if refused.is_empty() { "" } else { ", and repeats:" }
    )];
    notes.extend(refused.iter().map(|(reason, names)| match &names[..] {
        [one] => format!("  {one} {reason}"),
        [first, rest @ ..] => format!("  {first} and {} more: each {reason}", rest.len()),
        [] => reason.clone(),
    }));
    Kept { slots, notes }
}

/// Begins the `plan` of a run that was stopped before its end, so that it fits nothing.
pub(super) const CUT_SHORT: &str = "cut-short:";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::records::{RunFile, SCHEMA};
    use crate::runner::carry_out::Carried;

    #[test]
    fn only_whole_runs_of_the_same_plan_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let slot = |repeat| Slot { cell: 0, repeat, arm: 0 };
        for (repeat, plan) in [(0, "same"), (1, "other"), (2, "cut-short:same"), (3, "same")] {
            let run = RunFile { schema: SCHEMA, plan: plan.to_owned(), ..RunFile::default() };
            folder.save(slot(repeat), &Carried { run, ..Carried::default() }).unwrap();
        }
        fs::write(folder.run_path(slot(3)), "{").unwrap();
        let plans: Vec<(Slot, String)> = (0..5).map(|repeat| (slot(repeat), "same".to_owned())).collect();
        let kept = kept(&folder, &plans);
        assert_eq!(kept.slots, BTreeSet::from([slot(0)]));
        assert_eq!(kept.notes[0], "keeps 1 of 5 runs, 1 not run yet, and repeats:");
        let notes = kept.notes.join("\n");
        for part in
            ["c000-r1.json is of another", "c000-r2.json was cut short", "c000-r3.json cannot be read"]
        {
            assert!(notes.contains(part), "{notes}");
        }
    }
}
