//! How large a message or a file is.

use std::sync::Arc;

use units::ByteCount;

use super::error::ScenarioError;
use super::raw::quote;
use super::read::View;
use super::span::{LEAST_ALPHA, MOST_ALPHA};
use super::{WorkloadKind, schema, trace};
use crate::workload::{MAX_TEXT, MIN_TEXT};

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

impl Size {
    /// What a workload sends that says nothing: a line or two of chat, a small picture.
    pub(super) fn default_of(kind: WorkloadKind) -> Self {
        match kind {
            WorkloadKind::File => Self::Fixed(64 << 10),
            _ => Self::Fixed(200),
        }
    }

    /// Mean number of bytes; of the heavier laws without their cap.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match *self {
            Self::Fixed(size) => f64::from(size),
            Self::Uniform { min, max } => f64::midpoint(min.into(), max.into()),
            Self::LogNormal { median, p99 } => {
                let sigma = (f64::from(p99) / f64::from(median)).ln() / Z99;
                f64::from(median) * (sigma * sigma / 2.0).exp()
            }
            Self::Pareto { min, alpha, cap } => pareto_mean(min.into(), alpha, cap.into()),
            Self::Trace(ref trace) => {
                trace.bytes.iter().map(|&size| f64::from(size)).sum::<f64>() / trace.bytes.len().max(1) as f64
            }
        }
    }
}

/// Mean of a Pareto law whose draws above `cap` are `cap`: min + the integral of the tail from min to cap.
fn pareto_mean(min: f64, alpha: f64, cap: f64) -> f64 {
    let tail = if (alpha - 1.0).abs() < 1e-9 {
        min * (cap / min).ln()
    } else {
        min / (alpha - 1.0) * (1.0 - (min / cap).powf(alpha - 1.0))
    };
    min + tail
}

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;

#[derive(Clone, Copy)]
enum Law {
    Uniform,
    LogNormal,
    Pareto,
    Trace,
}

pub(super) fn read(view: &View<'_>, kind: WorkloadKind) -> Result<Size, ScenarioError> {
    if view.node.as_table().is_none() {
        return Ok(Size::Fixed(bytes(view, kind)?));
    }
    let fields = view.fields(&schema::SIZES)?;
    let dist = fields.need("dist")?;
    let law = dist.choice(&[
        ("uniform", Law::Uniform),
        ("lognormal", Law::LogNormal),
        ("pareto", Law::Pareto),
        ("trace", Law::Trace),
    ])?;
    let own: &[&str] = match law {
        Law::Uniform => &["min", "max"],
        Law::LogNormal => &["median", "p99"],
        Law::Pareto => &["min", "alpha", "cap"],
        Law::Trace => &["file"],
    };
    fields.refuse_others(&["dist"], own, &format!("with dist = {}", dist.node.describe()))?;
    let ordered = |low: &str, high: &str| {
        let (smaller, larger) = (bytes(&fields.need(low)?, kind)?, bytes(&fields.need(high)?, kind)?);
        if smaller > larger {
            return Err(fields.need(low)?.error(format!("is above {high}; swap them")));
        }
        Ok((smaller, larger))
    };
    Ok(match law {
        Law::Uniform => {
            let (min, max) = ordered("min", "max")?;
            Size::Uniform { min, max }
        }
        Law::LogNormal => {
            let (median, p99) = ordered("median", "p99")?;
            Size::LogNormal { median, p99 }
        }
        Law::Pareto => {
            let (min, cap) = ordered("min", "cap")?;
            Size::Pareto { min, alpha: fields.need("alpha")?.number(LEAST_ALPHA..=MOST_ALPHA)?, cap }
        }
        Law::Trace => {
            let file = fields.need("file")?;
            let size = |text: &str| {
                let size = text.parse::<ByteCount>().map_err(|error| error.to_string())?;
                within(size, kind).ok_or_else(|| out_of_range(size, kind))
            };
            Size::Trace(Arc::new(SizeTrace {
                name: file.text()?.to_owned(),
                bytes: trace::lines(&file, size)?,
            }))
        }
    })
}

/// The value of `size`.
pub(super) fn decided(size: &Size) -> String {
    let bytes = |size: u32| quote(&ByteCount(size.into()).to_string());
    match *size {
        Size::Fixed(size) => bytes(size),
        Size::Uniform { min, max } => {
            format!("{{ dist = \"uniform\", min = {}, max = {} }}", bytes(min), bytes(max))
        }
        Size::LogNormal { median, p99 } => {
            format!("{{ dist = \"lognormal\", median = {}, p99 = {} }}", bytes(median), bytes(p99))
        }
        Size::Pareto { min, alpha, cap } => {
            format!("{{ dist = \"pareto\", min = {}, alpha = {alpha:?}, cap = {} }}", bytes(min), bytes(cap))
        }
        Size::Trace(ref trace) => format!("{{ dist = \"trace\", file = {} }}", quote(&trace.name)),
    }
}

fn bytes(view: &View<'_>, kind: WorkloadKind) -> Result<u32, ScenarioError> {
    let size = view.bytes()?;
    within(size, kind).ok_or_else(|| view.error(out_of_range(size, kind)))
}

fn within(size: ByteCount, kind: WorkloadKind) -> Option<u32> {
    let most = if kind == WorkloadKind::File { MAX_FILE } else { MAX_TEXT };
    u32::try_from(size.0).ok().filter(|size| (MIN_TEXT..=most).contains(size))
}

fn out_of_range(size: ByteCount, kind: WorkloadKind) -> String {
    match kind {
        WorkloadKind::File => {
            format!("{size} is out of range; write {MIN_TEXT}B to {}", ByteCount(MAX_FILE.into()))
        }
        _ => format!("{size} is out of range; write {MIN_TEXT}B (a message's number) to {MAX_TEXT}B"),
    }
}

/// Longer files would be a test of the disk.
const MAX_FILE: u32 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_a_capped_pareto_is_its_integral() {
        // alpha 2, min 1: without a cap the mean is 2; the tail beyond 100 has 1/100 of a unit.
        assert!((pareto_mean(1.0, 2.0, 100.0) - 1.99).abs() < 1e-12);
        assert!((pareto_mean(2.0, 1.0, 2.0 * std::f64::consts::E) - 4.0).abs() < 1e-12);
    }
}
