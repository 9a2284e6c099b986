//! `[[assert]]`: what must hold.

use std::time::Duration;

use crate::verdict::Expr;

#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    pub id: String,
    /// As written: `p99(delivery_latency) < 1500ms`.
    pub expr: String,
    /// The same, understood.
    pub parsed: Expr,
    /// A failed gate fails the run; otherwise it is a remark.
    pub gate: bool,
    /// As written: `link.lossy.both.loss.p <= 10%`. Decided when the scenario is loaded: the scenario of a cell holds
    /// only the assertions that apply to it.
    pub when: Option<String>,
    pub on_missing: OnMissing,
    pub min_samples: MinSamples,
    /// Ends the run as soon as it fails, looked at from this long after the first phase began.
    pub abort_after: Option<Duration>,
}

/// The verdict of an assertion whose metric has no sample at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    /// The default: what was not measured did not pass.
    Fail,
    Inconclusive,
    /// For metrics that need not occur.
    Pass,
}

/// With fewer samples a percentile decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MinSamples {
    /// 10 / (1 - q) for quantile q.
    #[default]
    Auto,
    AtLeast(u64),
}

impl Assertion {
    /// A gate on every cell.
    #[must_use]
    pub fn new(id: String, expr: String, parsed: Expr) -> Self {
        Self {
            id,
            expr,
            parsed,
            gate: true,
            when: None,
            on_missing: OnMissing::Fail,
            min_samples: MinSamples::Auto,
            abort_after: None,
        }
    }
}
