//! What a virtual run leaves behind, looked into.

use std::sync::atomic::AtomicBool;

use units::Seed;

use super::{RunPlan, ServerAt, run};
use crate::measure::{RunIndex, measure};
use crate::records::{Hop, StepKind};
use crate::scenario::load_str;

/// Sixty seconds of five clients behind 10 % loss each way.
const LOSSY: &str = "schema = 1\nscenario.name = \"t\"\nrun.driver = \"virtual\"\n\
    link.l.both = { loss = \"10%\", delay = \"40ms\" }\n\
    clients = [{ name = \"c\", count = 5, link = \"l\" }]\n\
    phase = [{ name = \"steady\", duration = \"60s\" }, { name = \"drain\", drain = \"10s\" }]\n\
    workload = [{ name = \"w\", arrival = { rate = \"4/s\" } }]\n\
    measure = { exemplars = 50 }\n";

#[test]
fn slow_messages_tell_their_losses_and_whom_they_waited_for() {
    let scenario = load_str("t.toml", LOSSY, &[]).unwrap_or_else(|error| panic!("{error}")).scenario;
    let plan = RunPlan { scenario, seed: Seed::root(3), server: ServerAt::InProcess };
    let record =
        run(&plan, &AtomicBool::new(false), &mut |_| std::ops::ControlFlow::Continue(())).expect("it runs");
    let file = measure(&plan.scenario, record, RunIndex { cell: 0, repeat: 0 }).run;
    assert_eq!(file.metrics.messages.lost, 0);
    assert_eq!(file.intervals.rows.last().map(|row| row.under_way), Some(0));
    let mut held = 0;
    // The run ends when the last message is heard, and what its acknowledgement tells is not waited for.
    for exemplar in file.exemplars.iter().filter(|exemplar| exemplar.intended_us < 58_000_000) {
        let steps =
            |hop, what| exemplar.steps.iter().filter(move |step| (step.hop, step.what) == (hop, what));
        assert_eq!(steps(Hop::Down, StepKind::Sent).count(), 1, "{exemplar:?}");
        assert_eq!(steps(Hop::Down, StepKind::Released).next().map(|step| step.at_us), exemplar.delivered_us);
        held += steps(Hop::Down, StepKind::HeldBack).count();
        // Nothing but a loss or somebody else's makes a message late here.
        let is_explained = exemplar
            .steps
            .iter()
            .any(|step| matches!(step.what, StepKind::Lost | StepKind::Timeout | StepKind::HeldBack));
        assert!(is_explained, "{exemplar:?}");
    }
    assert!(held > 0, "some waited for others");
}
