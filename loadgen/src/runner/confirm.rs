//! An experiment that is looked at, and made again where what it shows must be confirmed.
//!
//! Many metrics in many cells find something by chance now and then. A finding that shows again in a round of its own,
//! with other seeds, was not that chance. The second round has the same number of repeats, behind those of the first, and
//! both are kept.

use std::ops::Range;

use super::{CarryOut, Experiment, Ran, RunnerError, Slot, resume};
use crate::ui::{Event, View};

/// What was run.
#[derive(Clone, Debug)]
pub struct Rounds {
    pub ran: Ran,
    /// The repeats of each round that is complete: one or two.
    pub complete: Vec<Range<u32>>,
}

/// Runs the experiment, and once more with fresh repeats if `needs_confirmation` of the first round says so. Runs of the
/// second round that are there from before are kept too.
///
/// # Errors
/// Those of [`Experiment::run`].
pub fn run(
    experiment: &Experiment<'_>,
    needs_confirmation: &mut dyn FnMut(&Range<u32>) -> bool,
    carrier: &mut dyn CarryOut,
    view: &mut dyn View,
) -> Result<Rounds, RunnerError> {
    let first = experiment.repeats.clone();
    let mut ran = experiment.run(carrier, view)?;
    if ran.stop.is_some() {
        return Ok(Rounds { ran, complete: Vec::new() });
    }
    if !needs_confirmation(&first) {
        return Ok(Rounds { ran, complete: vec![first] });
    }
    let second = first.end..first.end + (first.end - first.start);
    view.on_event(Event::Said(
        "there is something to confirm: each run is made again with other seeds".to_owned(),
    ));
    let plans = super::plans(experiment.arms, &second);
    let is_of_second = |slot: &Slot| second.contains(&slot.repeat);
    // What an interrupted second round has left fits or does not, as in the first.
    let kept = resume::kept(experiment.folder, &plans).slots;
    let kept = kept.into_iter().filter(is_of_second).collect();
    let again = Experiment { repeats: second.clone(), kept: &kept, ..*experiment };
    let more = again.run(carrier, view)?;
    ran.done.extend(more.done);
    ran.stop = more.stop;
    let complete = if ran.stop.is_some() { vec![first] } else { vec![first, second] };
    Ok(Rounds { ran, complete })
}
