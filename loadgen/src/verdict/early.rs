//! Which assertions can be judged while their run goes on.

use super::expr::{Expr, Term};
use super::names::{Fact, Latency, Metric};

impl Expr {
    /// Why nothing can be said of it before the end of a run; `None` if it can. What is known by then is
    /// [`Standing`](crate::measure::Standing).
    pub(crate) fn only_known_at_the_end(&self) -> Option<String> {
        [(&self.left, &self.left_text), (&self.right, &self.right_text)]
            .into_iter()
            .find(|(term, _)| !is_known_early(term))
            .map(|(_, text)| format!("{text} is only known when a run is over"))
    }
}

fn is_known_early(term: &Term) -> bool {
    match term {
        Term::Literal { .. } => true,
        Term::Metric(metric) => match metric {
            Metric::Path(path) => path.starts_with("messages.") || path.starts_with("latency."),
            Metric::Latency { of, .. } => *of != Latency::Recovery,
            Metric::Rate(..) | Metric::Completion(_) => true,
            Metric::Fact(fact) => *fact != Fact::Outages,
            Metric::Jain(..) | Metric::Told(_) => false,
        },
        // There is only one repeat then.
        Term::OverRepeats { .. } => false,
        Term::Binary { left, right, .. } => is_known_early(left) && is_known_early(right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_up_as_a_run_goes_can_be_judged_early() {
        let why = |text: &str| Expr::parse(text).expect("an assertion").only_known_at_the_end();
        for known in [
            "p99(delivery_latency{workload='chat'}) < 3*rtt",
            "lost + duplicated == 0",
            "rate(connect_ok) >= 0.9",
            "messages.lost / intended <= 1%",
        ] {
            assert_eq!(why(known), None, "{known}");
        }
        assert_eq!(why("goodput > 0").unwrap(), "goodput is only known when a run is over");
        assert!(why("lost <= 2 * outages").unwrap().starts_with("2 * outages is only"));
        for late in
            ["jain(goodput_per_client) > 0.9", "median(lost / intended) < 1%", "p50(recovery_time) < 1s"]
        {
            assert!(why(late).is_some(), "{late}");
        }
    }
}
