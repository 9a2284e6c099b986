//! `[baseline]`: what an earlier result is compared with, and how much worse is too much.

/// A comparison that can fail a run.
#[derive(Clone, Debug, PartialEq)]
pub struct BaselineGate {
    /// Folder or `result.json` of the earlier run.
    pub path: String,
    pub regress: Vec<Regress>,
}

/// One metric that must not get worse.
#[derive(Clone, Debug, PartialEq)]
pub struct Regress {
    /// As in an assertion: `p99(delivery_latency)`.
    pub metric: String,
    /// Smallest change that counts, as a share of the earlier value.
    pub worse_by: f64,
    /// Chance of a false alarm, after correction.
    pub alpha: f64,
    pub correction: Correction,
    /// Runs that must show it again before it counts.
    pub confirm: u32,
}

/// What is done about many comparisons at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Correction {
    /// Holm's, over all metrics and cells.
    #[default]
    Holm,
    None,
}
