//! Random spans of time: how long a session lasts, how long a person thinks.

use std::time::Duration;

use units::format_duration;

use super::error::ScenarioError;
use super::read::View;
use super::schema;

/// The law of a span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SpanLaw {
    Fixed(Duration),
    Exponential {
        mean: Duration,
    },
    Uniform {
        min: Duration,
        max: Duration,
    },
    /// By its median and 99th percentile.
    LogNormal {
        median: Duration,
        p99: Duration,
    },
    /// The chance to be longer than x is (min / x)^alpha; what would be longer than `cap` is `cap`.
    Pareto {
        min: Duration,
        alpha: f64,
        cap: Duration,
    },
}

impl SpanLaw {
    pub const ZERO: Self = Self::Fixed(Duration::ZERO);
}

#[derive(Clone, Copy)]
enum Law {
    Exponential,
    Uniform,
    LogNormal,
    Pareto,
}

pub(super) fn read(view: &View<'_>) -> Result<SpanLaw, ScenarioError> {
    if view.node.as_table().is_none() {
        return Ok(SpanLaw::Fixed(view.duration()?));
    }
    let fields = view.fields(&schema::SPAN)?;
    let law = fields.need("dist")?.choice(&[
        ("exp", Law::Exponential),
        ("uniform", Law::Uniform),
        ("lognormal", Law::LogNormal),
        ("pareto", Law::Pareto),
    ])?;
    let own: &[&str] = match law {
        Law::Exponential => &["mean"],
        Law::Uniform => &["min", "max"],
        Law::LogNormal => &["median", "p99"],
        Law::Pareto => &["min", "alpha", "cap"],
    };
    fields.refuse_others(&["dist"], own, "with this dist")?;
    let span = |key: &str| fields.need(key)?.span();
    let ordered = |low: &str, high: &str| {
        let (low_span, high_span) = (span(low)?, span(high)?);
        if low_span > high_span {
            return Err(fields.need(low)?.error(format!("is above {high}; swap them")));
        }
        Ok((low_span, high_span))
    };
    Ok(match law {
        Law::Exponential => SpanLaw::Exponential { mean: span("mean")? },
        Law::Uniform => {
            let (min, max) = ordered("min", "max")?;
            SpanLaw::Uniform { min, max }
        }
        Law::LogNormal => {
            let (median, p99) = ordered("median", "p99")?;
            SpanLaw::LogNormal { median, p99 }
        }
        Law::Pareto => {
            let (min, cap) = ordered("min", "cap")?;
            SpanLaw::Pareto { min, alpha: fields.need("alpha")?.number(LEAST_ALPHA..=MOST_ALPHA)?, cap }
        }
    })
}

pub(super) fn decided(law: &SpanLaw) -> String {
    let text = |span: Duration| format!("\"{}\"", format_duration(span));
    match *law {
        SpanLaw::Fixed(span) => text(span),
        SpanLaw::Exponential { mean } => format!("{{ dist = \"exp\", mean = {} }}", text(mean)),
        SpanLaw::Uniform { min, max } => {
            format!("{{ dist = \"uniform\", min = {}, max = {} }}", text(min), text(max))
        }
        SpanLaw::LogNormal { median, p99 } => {
            format!("{{ dist = \"lognormal\", median = {}, p99 = {} }}", text(median), text(p99))
        }
        SpanLaw::Pareto { min, alpha, cap } => {
            format!("{{ dist = \"pareto\", min = {}, alpha = {alpha:?}, cap = {} }}", text(min), text(cap))
        }
    }
}

/// Below a tenth nearly every draw is the cap.
pub(super) const LEAST_ALPHA: f64 = 0.1;
/// Above this nearly every draw is the minimum.
pub(super) const MOST_ALPHA: f64 = 100.0;
