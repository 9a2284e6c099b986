//! Progress as lines, for logs and pipes.
//!
//! One line for each interval, but no more than one a second: a virtual minute takes a second, and a log of every one of
//! its intervals would be longer than the report. Runs and cells always have their line.

use std::io::Write;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use units::{Clock, Timestamp};

use super::words::{grouped, rate, span};
use super::{Event, Moment, State};

pub(super) fn show(heard: &Receiver<Event>) {
    let clock = Clock::start();
    let mut lines = Lines::default();
    while let Ok(event) = heard.recv() {
        let Some(line) = lines.on_event(clock.now(), event) else { continue };
        if writeln!(std::io::stderr(), "{line}").is_err() {
            // Nobody reads; the measurement goes on.
            return;
        }
    }
}

#[derive(Debug, Default)]
struct Lines {
    state: State,
    /// Before this an interval has no line.
    next: Option<Timestamp>,
}

impl Lines {
    fn on_event(&mut self, now: Timestamp, event: Event) -> Option<String> {
        let told = event.clone();
        // A search plans again with each probe.
        let is_first = self.state.planned.runs == 0;
        self.state.on_event(now, event);
        match told {
            Event::Planned(planned) => (is_first && planned.runs > 1).then(|| {
                let kept = if planned.kept > 0 { format!(", {} kept", planned.kept) } else { String::new() };
                format!("{}: {} runs, driver {}{kept}", planned.name, planned.runs, planned.driver)
            }),
            Event::RunBegan { .. } => {
                self.next = None;
                Some(self.state.run_in_words())
            }
            Event::Interval(moment) => {
                if self.next.is_some_and(|next| now < next) {
                    return None;
                }
                self.next = Some(now + EVERY);
                Some(interval(&moment))
            }
            Event::RunEnded { summary, .. } => {
                Some(format!("  {} ({})", super::words(&summary), self.state.times_in_words(now)))
            }
            Event::CellEnded { line, .. } => Some(line),
            Event::Resting(span) => Some(format!("  cooling down for {:?}", span)),
            Event::Said(line) => Some(line),
            Event::Fraction(_) => None,
        }
    }
}

/// `   12 s  p50 52.1 ms  p99 312 ms  max 498 ms  1,029/s  lost 0  under way 37`.
fn interval(moment: &Moment) -> String {
    let interval = &moment.interval;
    let time = |us: Option<u64>| us.map_or("–".to_owned(), span);
    let per_s = interval.delivered as f64 * 1e6 / moment.width_us.max(1) as f64;
    let mut line = format!(
        "{:>5} s  p50 {:>7}  p99 {:>7}  max {:>7}  {:>7}/s  lost {}  under way {}",
        moment.at_us / 1_000_000,
        time(interval.p50_us),
        time(interval.p99_us),
        time(interval.max_us),
        rate(per_s),
        grouped(interval.lost),
        grouped(interval.under_way)
    );
    if interval.throttled > 0 {
        line += &format!("  throttled {}", grouped(interval.throttled));
    }
    warnings(moment).iter().for_each(|warning| line += &format!("  ! {warning}"));
    line
}

/// What is wrong with the generator in this interval.
pub(super) fn warnings(moment: &Moment) -> Vec<String> {
    let interval = &moment.interval;
    let late = interval.lag_p99_us.filter(|&us| us > LATE_US);
    let paused = interval.hiccup_max_us.filter(|&us| us > PAUSE_US);
    let dropped = Some(interval.harness_drops).filter(|&drops| drops > 0);
    [
        late.map(|us| format!("schedule lag p99 {}", span(us))),
        paused.map(|us| format!("machine paused {}", span(us))),
        dropped.map(|drops| format!("harness lost {} packets", grouped(drops))),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const EVERY: Duration = Duration::from_secs(1);
/// Where a reader should begin to worry: what makes a whole run INVALID by default.
const LATE_US: u64 = 5_000;
const PAUSE_US: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Interval;
    use crate::runner::plan::Slot;
    use crate::ui::{Planned, Summary};

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn an_interval_has_a_line_and_a_flood_has_one_a_second() {
        let interval = Interval {
            delivered: 1_029,
            p50_us: Some(52_134),
            p99_us: Some(312_000),
            lag_p99_us: Some(9_000),
            ..Interval::default()
        };
        let moment = Moment { at_us: 12_000_000, width_us: 1_000_000, interval, standing: None };
        let mut lines = Lines::default();
        let first = lines.on_event(at(0), Event::Interval(Box::new(moment.clone()))).unwrap();
        assert_eq!(
            first,
            "   12 s  p50 52.1 ms  p99  312 ms  max       –    1,029/s  lost 0  under way 0  ! schedule lag p99 9 ms"
        );
        let shown = (1..100).filter(|&step| {
            lines.on_event(at(step * 50), Event::Interval(Box::new(moment.clone()))).is_some()
        });
        assert_eq!(shown.count(), 4);
    }

    #[test]
    fn runs_are_named_where_there_are_several() {
        let mut lines = Lines::default();
        let slot = Slot { cell: 0, repeat: 1, arm: 0 };
        let planned = Planned {
            name: "loss10".into(),
            driver: "real".into(),
            cells: vec![String::new()],
            runs: 5,
            ..Planned::default()
        };
        let text = lines.on_event(at(0), Event::Planned(planned));
        assert_eq!(text.as_deref(), Some("loss10: 5 runs, driver real"));
        let text = lines.on_event(at(0), Event::RunBegan { index: 1, slot });
        assert_eq!(text.as_deref(), Some("run 2/5 repeat 2"));
        let text = lines.on_event(at(9_000), Event::RunEnded { slot, summary: Summary::default() }).unwrap();
        assert!(text.starts_with("  p50 –, p99 –, lost 0 of 0, 0/s (0:09 gone"), "{text}");
    }
}
