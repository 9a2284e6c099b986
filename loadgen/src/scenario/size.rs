//! How large a message or a file is.

use std::sync::Arc;

/// Bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Size {
    Fixed(u32),
    Uniform {
        min: u32,
        max: u32,
    },
    /// By its median and 99th percentile.
    LogNormal {
        median: u32,
        p99: u32,
    },
    /// The chance to be larger than x is (min / x)^alpha; what would be larger than `cap` is `cap`.
    Pareto {
        min: u32,
        alpha: f64,
        cap: u32,
    },
    /// One after the other, as recorded; begins again at its end.
    Trace(Arc<SizeTrace>),
}

/// Recorded sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeTrace {
    /// The file it came from.
    pub name: String,
    /// Not empty.
    pub bytes: Vec<u32>,
}
