//! Which percentiles an assertion takes, for whoever looks ahead.

use super::expr::{Expr, Term};
use super::names::{Latency, Metric, Stat};

/// One percentile of an assertion, of something whose samples can be counted beforehand.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted<'a> {
    /// 0 to 1.
    pub(crate) q: f64,
    pub(crate) of: Samples,
    /// Of this workload alone.
    pub(crate) workload: Option<&'a str>,
}

/// What makes a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Samples {
    /// Each pair of a message and a recipient.
    Pairs,
    /// Each message.
    Messages,
    /// Each attempt to connect.
    Connects,
}

impl Samples {
    /// As an assertion calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pairs => "deliveries",
            Self::Messages => "acknowledgements",
            Self::Connects => "connects",
        }
    }
}

impl Expr {
    pub(crate) fn wanted(&self) -> Vec<Wanted<'_>> {
        let mut found = Vec::new();
        collect(&self.left, &mut found);
        collect(&self.right, &mut found);
        found
    }
}

fn collect<'a>(term: &'a Term, found: &mut Vec<Wanted<'a>>) {
    match term {
        Term::Metric(Metric::Latency { stat: Stat::Quantile(q), of, selectors }) => {
            let of = match of {
                Latency::Delivery | Latency::Service => Samples::Pairs,
                Latency::AckRtt => Samples::Messages,
                Latency::Connect => Samples::Connects,
                _ => return,
            };
            found.push(Wanted { q: *q, of, workload: selectors.workload.as_deref() });
        }
        Term::Metric(_) | Term::Literal { .. } => {}
        Term::OverRepeats { of, .. } => collect(of, found),
        Term::Binary { left, right, .. } => {
            collect(left, found);
            collect(right, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_found_with_what_they_are_of() {
        let of = |text: &str| {
            let expr = Expr::parse(text).expect("an assertion");
            let found = expr.wanted();
            found
                .iter()
                .map(|it| ((it.q * 1e4).round() / 1e4, it.of, it.workload.map(str::to_owned)))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            of("p99(delivery_latency{workload='files'}) - p50(ack_rtt) < 2*max(service_latency)"),
            [(0.99, Samples::Pairs, Some("files".to_owned())), (0.5, Samples::Messages, None)]
        );
        assert_eq!(of("p99_9(connect_latency) < 1s"), [(0.999, Samples::Connects, None)]);
        assert_eq!(of("lost + duplicated == 0"), []);
    }
}
