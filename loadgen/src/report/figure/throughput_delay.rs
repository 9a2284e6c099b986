//! Throughput against delay: up and to the right is better.
//!
//! The delay axis is logarithmic and inverted, as in Pantheon's summaries (Yan et al., USENIX ATC 2018). Each run is a point,
//! each cell (or arm) an ellipse of one standard deviation around its median, so that one sees whether two cells differ
//! or only their runs do.

use crate::records::RunFile;
use crate::report::format;
use crate::report::origin::cell_name;
use crate::report::saved::ReportError;

use super::axis::Axis;
use super::canvas::{self, Canvas, DrawError, HEIGHT, WIDTH};
use super::direct::{Tag, margin};
use super::input::{ms, quantile};
use super::palette::{BLUE, VERMILION, sequential};
use super::panel::{Dash, Frame, Labels, Marker, Panel, Stroke};
use super::sweep_axis::SweepAxis;
use super::{Figure, Input, Outcome};

const ID: &str = "throughput_delay";
const READING: &str = "Each small mark is a run, each large one the median of a cell; the ellipse is one standard deviation \
                       of its runs. Further right is faster, further up is more: a cell that is both beats the others.";

/// The runs of one cell and arm.
struct Cloud {
    /// p95 of delivery in ms, goodput in kB/s.
    points: Vec<(f64, f64)>,
    /// Runs whose p95 is lost, which have no place on the axis.
    lost: usize,
    stroke: Stroke,
    marker: Marker,
    name: String,
}

impl Cloud {
    fn median(&self) -> (f64, f64) {
        let of = |pick: fn(&(f64, f64)) -> f64| {
            let mut values: Vec<f64> = self.points.iter().map(pick).collect();
            values.sort_by(f64::total_cmp);
            quantile(&values, 0.5)
        };
        (of(|point| point.0), of(|point| point.1))
    }
}

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let mut clouds = clouds(input);
    if clouds.iter().all(|cloud| cloud.points.is_empty()) {
        return Ok(Outcome::Absent { id: ID, reason: "no run has a p95" });
    }
    let lost: usize = clouds.iter().map(|cloud| cloud.lost).sum();
    // A cell that lost the p95 of a run is not praised for the others.
    let whole = clouds.iter().filter(|cloud| cloud.lost == 0 && !cloud.points.is_empty());
    let best = whole.max_by(|a, b| score(a).total_cmp(&score(b)));
    let best = best.map_or("no cell has a p95 in all of its runs".to_owned(), |cloud| {
        let (delay, goodput) = cloud.median();
        let rate = format::byte_rate(goodput * 1e3);
        format!("most goodput for its delay: {} ({rate} at p95 {})", cloud.name, format::micros(delay * 1e3))
    });
    let title = input.title(&best);
    let missing = match lost {
        0 => String::new(),
        lost => format!(" · {} without a p95, as it is lost, not shown", format::plural(lost as u64, "run")),
    };
    clouds.retain(|cloud| !cloud.points.is_empty());
    let words = input.words(&title, input.extent(&format!("ellipses are 1σ of the runs{missing}")));
    let svg = canvas::draw(ID, &words, |canvas| paint(canvas, &clouds))?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Throughput against delay",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

/// Kleinrock's power of a network: throughput over delay.
fn score(cloud: &Cloud) -> f64 {
    let (delay, goodput) = cloud.median();
    goodput / delay
}

fn clouds(input: &Input<'_>) -> Vec<Cloud> {
    let cells = input.cells();
    let point = |run: &&RunFile| {
        let p95 = run.all.delivery.quantile(0.95)?;
        Some((ms(p95), run.metrics.throughput.goodput_bytes_per_s / 1e3))
    };
    let cloud = |cell: usize, arm: u32, stroke: Stroke, index: usize, name: String| {
        let runs = input.of_cell(cell, arm);
        let points: Vec<(f64, f64)> = runs.iter().filter_map(point).collect();
        let lost = runs.iter().filter(|run| !run.all.delivery.is_empty()).count() - points.len();
        Cloud { points, lost, stroke, marker: Marker::nth(index), name }
    };
    let order = SweepAxis::of(cells).order();
    let mut clouds = Vec::new();
    if cells.len() == 1 && input.has_arms() {
        let [a, b] = input.arm_names();
        clouds.push(cloud(0, 0, Stroke::new(BLUE, 4), 0, a));
        clouds.push(cloud(0, 1, Stroke::new(VERMILION, 4).dash(Dash::Dashed), 1, b));
    } else {
        let shown = cells.len().min(MOST_CLOUDS);
        for k in 0..shown {
            let cell = order[k * (cells.len() - 1) / (shown - 1).max(1)];
            clouds.push(cloud(cell, 0, Stroke::new(sequential(k, shown), 4), k, cell_name(&cells[cell])));
        }
    }
    clouds.retain(|cloud| cloud.lost > 0 || !cloud.points.is_empty());
    clouds
}

fn paint(canvas: &Canvas<'_>, clouds: &[Cloud]) -> Result<(), DrawError> {
    let points = || clouds.iter().flat_map(|cloud| &cloud.points);
    let low = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let high = points().map(|point| point.0).fold(0.0, f64::max);
    let most = points().map(|point| point.1).fold(0.0, f64::max);
    let x = Axis::inverse_log(low, high, "p95 of delivery latency (ms), faster to the right →");
    let y = Axis::from_zero(most * 1.05, "goodput, all receivers (kB/s) →");
    let frame = Frame { left: 320, right: WIDTH - 800, top: 250, bottom: HEIGHT - 220 };
    let panel = Panel::new(canvas, frame, x, y, Labels::Shown)?;
    for cloud in clouds {
        if let Some(ellipse) = ellipse(&panel, &cloud.points, cloud.median()) {
            panel.shape(&ellipse, cloud.stroke, 0.15)?;
        }
        panel.dots(&cloud.points, 9, cloud.stroke.color, 0.7)?;
    }
    let mut names = Vec::new();
    for cloud in clouds {
        panel.markers(&[cloud.median()], cloud.marker, cloud.stroke.color)?;
        let y = panel.pixel(cloud.median()).1;
        let text = format!("{} (n={})", cloud.name, cloud.points.len());
        names.push(Tag::new(Some(y), cloud.stroke, text).marked(cloud.marker));
    }
    let few = clouds.iter().all(|cloud| cloud.points.len() < 3);
    margin(canvas, &panel, &names, if few { "An ellipse takes three runs." } else { "" })
}

/// One standard deviation around `middle`, in positions of the axes; `None` with fewer than three points, or when they lie
/// on one another.
fn ellipse(panel: &Panel<'_, '_>, points: &[(f64, f64)], middle: (f64, f64)) -> Option<Vec<(f64, f64)>> {
    if points.len() < 3 {
        return None;
    }
    let position = |&(x, y): &(f64, f64)| (panel.x.position(x), panel.y.position(y));
    let n = points.len() as f64;
    let placed: Vec<(f64, f64)> = points.iter().map(position).collect();
    let mean = placed.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0 / n, sum.1 + point.1 / n));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for point in &placed {
        let (dx, dy) = (point.0 - mean.0, point.1 - mean.1);
        xx += dx * dx / (n - 1.0);
        xy += dx * dy / (n - 1.0);
        yy += dy * dy / (n - 1.0);
    }
    // The Cholesky factor of the covariance takes the unit circle to the ellipse.
    let a = xx.sqrt();
    let b = if a > 0.0 { xy / a } else { 0.0 };
    let c = (yy - b * b).max(0.0).sqrt();
    if a <= 0.0 && c <= 0.0 {
        return None;
    }
    let (x, y) = position(&middle);
    let at = |k: u32| {
        let angle = std::f64::consts::TAU * f64::from(k) / 72.0;
        (x + a * angle.cos(), y + b * angle.cos() + c * angle.sin())
    };
    Some((0..72).map(at).collect())
}

/// More clouds than this cannot be told apart.
const MOST_CLOUDS: usize = 12;
