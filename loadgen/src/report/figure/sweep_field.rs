//! A sweep over two axes as a field: one tile for each cell, the value printed on it.
//!
//! Colour finds the pattern, the number says how much. Other axes make more fields, on the same scale. Tiles of cells that
//! are INVALID are hatched: their number is the generator's. The difference of two arms is a field, too, with its zero in
//! the middle of the scale.

use serde_json::Value;

use crate::report::format::{self, json};
use crate::report::origin::{cell_name, short_path};
use crate::report::saved::ReportError;
use crate::result::Verdict;

use super::axis::{Axis, Scale, Tick};
use super::canvas::{self, Anchor, Canvas, DrawError, HEIGHT, Look, SMALL, TEXT, WIDTH};
use super::palette::{MUTED, difference, field, ink_on};
use super::panel::{Frame, Labels, Panel};
use super::{Figure, Input, Outcome};

const ID: &str = "sweep_field";
const READING: &str = "p99 of each cell in milliseconds, all repeats pooled; lighter is slower. Hatched cells are INVALID: \
                       the generator was at fault, and their number means nothing.";
const ID_DIFFERENCE: &str = "ab_difference";
const READING_DIFFERENCE: &str = "How much B differs from A in percent of A. Blue is less, orange more, white the same; for \
                                  latencies less is better. Medians of the repeats.";

/// Fields of tiles.
struct Fields {
    columns: Vec<String>,
    rows: Vec<String>,
    column_title: String,
    row_title: String,
    /// Name and tiles of each field.
    fields: Vec<(String, Vec<Tile>)>,
}

#[derive(Clone, Debug)]
struct Tile {
    column: usize,
    row: usize,
    text: String,
    /// On the scale of colours; `None` is off it.
    share: Option<f64>,
    is_invalid: bool,
}

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let cells = input.cells();
    let Some(grid) = Grid::of(input) else {
        return Ok(Outcome::Absent { id: ID, reason: "fewer than two axes were varied" });
    };
    let p99: Vec<Option<u64>> = cells.iter().map(|cell| cell.metrics.latency.delivery.p99_us).collect();
    let known = || p99.iter().flatten().map(|&us| (us.max(1) as f64).ln());
    let (low, high) = (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
    let tile = |cell: usize| {
        let summary = &cells[cell].metrics.latency.delivery;
        let text = match summary.p99_us {
            Some(us) => format::significant(us as f64 / 1e3),
            None => format::percentile(summary, None),
        };
        let share = summary.p99_us.map(|us| ((us.max(1) as f64).ln() - low) / (high - low).max(1e-9));
        (text, share, cells[cell].verdict == Verdict::Invalid)
    };
    let fields = grid.fields(tile);
    let valid = |cell: &usize| cells[*cell].verdict != Verdict::Invalid;
    let worst = (0..cells.len()).filter(valid).max_by_key(|&cell| {
        match cells[cell].metrics.latency.delivery.p99_us {
            None if cells[cell].metrics.latency.delivery.count > 0 => u64::MAX,
            us => us.unwrap_or(0),
        }
    });
    let worst = worst.map_or("every cell is INVALID".to_owned(), |cell| {
        let delivery = &cells[cell].metrics.latency.delivery;
        format!(
            "p99 is worst, {}, at {}",
            format::percentile(delivery, delivery.p99_us),
            cell_name(&cells[cell])
        )
    });
    let title = input.title(&worst);
    let words = input.words(
        &title,
        input.extent(&invalid(cells.iter().filter(|c| c.verdict == Verdict::Invalid).count())),
    );
    let legend = Legend {
        title: "p99 (ms)",
        ends: [format::significant(low.exp() / 1e3), format::significant(high.exp() / 1e3)],
        color: field,
        from: 0.0,
    };
    let svg = canvas::draw(ID, &words, |canvas| paint(canvas, &fields, &legend))?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "p99 of every cell",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

pub(super) fn draw_difference(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let cells = input.cells();
    if !input.has_arms() {
        return Ok(Outcome::Absent { id: ID_DIFFERENCE, reason: "there are no two arms to compare" });
    }
    let change = |cell: usize, quantity: &Quantity| Change::of(input, cell, quantity);
    let grid = Grid::of(input);
    let shown: &[Quantity] = if grid.is_some() { &QUANTITIES[1..2] } else { &QUANTITIES };
    let all = (0..cells.len())
        .flat_map(|cell| shown.iter().filter_map(move |quantity| change(cell, quantity).share()));
    let most = all.map(f64::abs).fold(0.0, f64::max).max(0.01);
    let tile = |cell: usize, quantity: &Quantity| {
        let value = change(cell, quantity);
        let invalid =
            [0, 1].into_iter().flat_map(|arm| input.of_cell(cell, arm)).any(|run| !run.invalid.is_empty());
        (value.text(), value.depth(most), invalid || cells[cell].verdict == Verdict::Invalid)
    };
    let fields = match &grid {
        Some(grid) => grid.fields(|cell| tile(cell, &QUANTITIES[1])),
        None => one_axis(input, shown, tile),
    };
    let changes: Vec<Change> = (0..cells.len()).map(|cell| change(cell, &QUANTITIES[1])).collect();
    let p99: Vec<f64> = changes.iter().filter_map(|change| change.share()).collect();
    let (low, high) = (
        p99.iter().copied().fold(f64::INFINITY, f64::min),
        p99.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    );
    let in_words = |share: f64| Change::By(share).text();
    let lost = |change: Change| changes.iter().filter(|other| **other == change).count();
    let finding = match (lost(Change::LostInB), lost(Change::LostInA), p99.len()) {
        (0, 0, 0) => "B and A cannot be compared by p99".to_owned(),
        (0, 0, 1) => format!("B's p99 is {} against A", in_words(p99[0])),
        (0, 0, _) => format!("B's p99 is {} to {} against A", in_words(low), in_words(high)),
        _ if cells.len() == 1 => format!("B's p99 is {}", changes[0].text()),
        (b, a, _) => {
            let cells = cells.len();
            format!("of {cells} cells p99 is lost in B alone in {b}, in A alone in {a}")
        }
    };
    let [a, b] = input.arm_names();
    let title = input.title(&finding);
    let words = input.words(&title, input.extent(&format!("{a} · {b}")));
    let legend = Legend {
        title: "B against A",
        ends: [format!("−{}", format::percent(round(most))), format!("+{}", format::percent(round(most)))],
        color: difference,
        from: -1.0,
    };
    let svg = canvas::draw(ID_DIFFERENCE, &words, |canvas| paint(canvas, &fields, &legend))?;
    Ok(Outcome::Drawn(Figure {
        id: ID_DIFFERENCE,
        name: "B against A",
        title,
        svg,
        reading: READING_DIFFERENCE,
        caption: words.caption,
    }))
}

/// What B's median over the repeats is against A's. A percentile among the lost is above all others.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    /// Share of A's.
    By(f64),
    LostInA,
    LostInB,
    LostInBoth,
    Unknown,
}

impl Change {
    fn of(input: &Input<'_>, cell: usize, quantity: &Quantity) -> Self {
        let median = |arm: u32| {
            let value = |run: &crate::records::RunFile| {
                let lost = (!run.all.delivery.is_empty()).then_some(f64::INFINITY);
                (quantity.value)(run).or(lost)
            };
            let mut values: Vec<f64> = input.of_cell(cell, arm).into_iter().filter_map(value).collect();
            values.sort_by(f64::total_cmp);
            // Of an even number the upper one of the middle: there is nothing between a number and never.
            values.get(values.len() / 2).copied().map(|upper| match values.len() {
                n if n % 2 == 0 && upper.is_finite() => f64::midpoint(values[n / 2 - 1], upper),
                _ => upper,
            })
        };
        match median(0).zip(median(1)) {
            Some((a, b)) if a.is_finite() && b.is_finite() && a > 0.0 => Self::By(b / a - 1.0),
            Some((a, b)) if a.is_infinite() && b.is_infinite() => Self::LostInBoth,
            Some((a, _)) if a.is_infinite() => Self::LostInA,
            Some((_, b)) if b.is_infinite() => Self::LostInB,
            _ => Self::Unknown,
        }
    }

    fn share(self) -> Option<f64> {
        if let Self::By(share) = self { Some(share) } else { None }
    }

    fn text(self) -> String {
        match self {
            Self::By(share) => {
                let sign = if share >= 0.0 { "+" } else { "−" };
                format!("{sign}{}", format::percent(round(share.abs())))
            }
            Self::LostInA => "lost in A".to_owned(),
            Self::LostInB => "lost in B".to_owned(),
            Self::LostInBoth => "lost in both".to_owned(),
            Self::Unknown => "–".to_owned(),
        }
    }

    /// Place on the scale of colours, −1 to 1.
    fn depth(self, most: f64) -> Option<f64> {
        match self {
            Self::By(share) => Some(share / most),
            Self::LostInA => Some(-1.0),
            Self::LostInB => Some(1.0),
            Self::LostInBoth | Self::Unknown => None,
        }
    }
}

/// To a tenth of a percent.
fn round(share: f64) -> f64 {
    (share * 1e3).round() / 1e3
}

fn invalid(count: usize) -> String {
    if count == 0 { String::new() } else { format!("{count} INVALID, hatched") }
}

/// What of a run two arms are compared by.
struct Quantity {
    name: &'static str,
    value: fn(&crate::records::RunFile) -> Option<f64>,
}

const QUANTITIES: [Quantity; 4] = [
    Quantity { name: "p50", value: |run| run.all.delivery.quantile(0.5).map(|us| us as f64) },
    Quantity { name: "p99", value: |run| run.all.delivery.quantile(0.99).map(|us| us as f64) },
    Quantity { name: "p99.9", value: |run| run.all.delivery.quantile(0.999).map(|us| us as f64) },
    Quantity { name: "goodput", value: |run| Some(run.metrics.throughput.goodput_bytes_per_s) },
];

/// Columns are cells, rows are quantities.
fn one_axis(
    input: &Input<'_>,
    shown: &[Quantity],
    tile: impl Fn(usize, &Quantity) -> (String, Option<f64>, bool),
) -> Fields {
    let cells = input.cells();
    let mut tiles = Vec::new();
    for column in 0..cells.len() {
        for (row, quantity) in shown.iter().enumerate() {
            let (text, share, is_invalid) = tile(column, quantity);
            // The first quantity is on top.
            tiles.push(Tile { column, row: shown.len() - 1 - row, text, share, is_invalid });
        }
    }
    Fields {
        columns: cells.iter().map(cell_name).collect(),
        rows: shown.iter().rev().map(|quantity| quantity.name.to_owned()).collect(),
        column_title: "cell".to_owned(),
        row_title: String::new(),
        fields: vec![(String::new(), tiles)],
    }
}

/// Which axis goes where.
struct Grid {
    column_title: String,
    row_title: String,
    columns: Vec<Value>,
    rows: Vec<Value>,
    /// Field, column and row of each cell.
    places: Vec<(usize, usize, usize)>,
    names: Vec<String>,
}

impl Grid {
    /// `None` unless two axes have two values or more. Loss is across, then whatever has the most values.
    fn of(input: &Input<'_>) -> Option<Self> {
        let cells = input.cells();
        let values = |path: &str| -> Vec<Value> {
            let mut values: Vec<Value> = Vec::new();
            for value in cells.iter().filter_map(|cell| cell.axes.get(path)) {
                if !values.contains(value) {
                    values.push(value.clone());
                }
            }
            values
        };
        let mut paths: Vec<(&String, Vec<Value>)> = cells
            .first()?
            .axes
            .keys()
            .map(|path| (path, values(path)))
            .filter(|(_, values)| values.len() > 1)
            .collect();
        let is_loss = |path: &str| path.ends_with(".loss") || path.ends_with(".loss.p");
        paths.sort_by_key(|(path, values)| std::cmp::Reverse((is_loss(path), values.len())));
        let [(across, columns), (down, rows), others @ ..] = paths.as_slice() else { return None };
        let mut names: Vec<String> = Vec::new();
        let places = cells.iter().map(|cell| {
            let other = others.iter().filter_map(|(path, _)| Some((path, cell.axes.get(*path)?)));
            let parts: Vec<String> =
                other.map(|(path, value)| format!("{} = {}", short_path(path), json(value))).collect();
            let name = parts.join(", ");
            let field = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            });
            let at = |values: &[Value], path: &str| {
                let value = cell.axes.get(path);
                values.iter().position(|known| Some(known) == value).unwrap_or(0)
            };
            (field, at(columns, across), at(rows, down))
        });
        let places = places.collect();
        Some(Self {
            column_title: short_path(across),
            row_title: short_path(down),
            columns: columns.clone(),
            rows: rows.clone(),
            places,
            names,
        })
    }

    fn fields(&self, tile: impl Fn(usize) -> (String, Option<f64>, bool)) -> Fields {
        let mut fields: Vec<(String, Vec<Tile>)> =
            self.names.iter().map(|name| (name.clone(), Vec::new())).collect();
        for (cell, &(field, column, row)) in self.places.iter().enumerate() {
            let (text, share, is_invalid) = tile(cell);
            fields[field].1.push(Tile { column, row, text, share, is_invalid });
        }
        fields.truncate(MOST_FIELDS);
        Fields {
            columns: self.columns.iter().map(json).collect(),
            rows: self.rows.iter().map(json).collect(),
            column_title: self.column_title.clone(),
            row_title: self.row_title.clone(),
            fields,
        }
    }
}

/// What colours mean.
struct Legend {
    title: &'static str,
    ends: [String; 2],
    color: fn(f64) -> plotters::style::RGBColor,
    /// Share at the lower end; the upper one is 1.
    from: f64,
}

fn paint(canvas: &Canvas<'_>, fields: &Fields, legend: &Legend) -> Result<(), DrawError> {
    let count = fields.fields.len().max(1) as i32;
    let down = if count > 3 { 2 } else { 1 };
    let across = (count + down - 1) / down;
    let (left, right, top, bottom) = (360, WIDTH - 440, 290, HEIGHT - 220);
    let (gap, drop) = (70, 150);
    let width = (right - left - gap * (across - 1)) / across;
    let height = (bottom - top - drop * (down - 1)) / down;
    for (index, (name, tiles)) in (0..).zip(&fields.fields) {
        let (column, row) = (index % across, index / across);
        let from = (left + column * (width + gap), top + row * (height + drop));
        let frame = Frame { left: from.0, right: from.0 + width, top: from.1, bottom: from.1 + height };
        let mut x = Axis::categories(&fields.columns, &fields.column_title);
        // Numbers and short words; a name that does not fit is shortened as any tick.
        x.named = fields.columns.iter().any(|name| name.len() > 12);
        if row + 1 < down {
            x.title.clear();
        }
        let y = rows_axis(fields, column == 0);
        let panel = Panel::new(canvas, frame, x, y, Labels::Shown)?;
        if !name.is_empty() {
            let at = ((frame.left + frame.right) / 2, frame.top - 42);
            let look = Look::new(TEXT, Anchor::Center);
            canvas.text(at, &canvas.fitted(name, look, width)?, look)?;
        }
        for tile in tiles {
            draw_tile(canvas, &panel, tile, legend)?;
        }
    }
    let look = Look::new(SMALL, Anchor::Left);
    let (at, steps) = (right + 60, 24);
    canvas.text((at, top + 10), legend.title, look)?;
    let panel = Panel::new(
        canvas,
        Frame { left: at, right: at + 60, top: top + 60, bottom: top + 660 },
        bare(),
        bare(),
        Labels::Hidden,
    )?;
    for step in 0..steps {
        let share = legend.from + (1.0 - legend.from) * f64::from(step) / f64::from(steps - 1);
        let y = top + 660 - (step + 1) * 25;
        panel.block((at, y), (at + 60, y + 25), (legend.color)(share))?;
    }
    canvas.text((at + 84, top + 650), &legend.ends[0], look.color(MUTED))?;
    canvas.text((at + 84, top + 74), &legend.ends[1], look.color(MUTED))
}

/// An axis with neither ticks nor title.
fn bare() -> Axis {
    Axis { scale: Scale::Linear, from: 0.0, to: 1.0, ticks: Vec::new(), title: String::new(), named: false }
}

fn rows_axis(fields: &Fields, is_named: bool) -> Axis {
    let label = |name: &String| if is_named { name.clone() } else { String::new() };
    let ticks = fields.rows.iter().enumerate().map(|(row, name)| Tick { at: row as f64, label: label(name) });
    Axis {
        ticks: ticks.collect(),
        from: -0.5,
        to: fields.rows.len() as f64 - 0.5,
        title: if is_named { fields.row_title.clone() } else { String::new() },
        ..bare()
    }
}

fn draw_tile(
    canvas: &Canvas<'_>,
    panel: &Panel<'_, '_>,
    tile: &Tile,
    legend: &Legend,
) -> Result<(), DrawError> {
    let (column, row) = (tile.column as f64, tile.row as f64);
    let (low, high) = (panel.pixel((column - 0.5, row - 0.5)), panel.pixel((column + 0.5, row + 0.5)));
    let (from, to) = ((low.0 + 3, high.1 + 3), (high.0 - 3, low.1 - 3));
    let ground = tile.share.map_or(super::palette::GRID, legend.color);
    panel.block(from, to, ground)?;
    let middle = ((from.0 + to.0) / 2, (from.1 + to.1) / 2);
    let mut look = Look::new(TEXT, Anchor::Center).color(ink_on(ground));
    while look.size > SMALLEST && canvas.text_width(&tile.text, look)? > to.0 - from.0 - 12 {
        look.size -= 2.0;
    }
    if tile.is_invalid {
        panel.hatch(from, to)?;
        return panel.label(middle, &tile.text, look.color(super::palette::INK));
    }
    let text = canvas.fitted(&tile.text, look, to.0 - from.0)?;
    canvas.text(middle, &text, look)
}

/// Fourteen pixels at the size at which figures are looked at.
const SMALLEST: f64 = 28.0;
/// More fields than these are too small to read.
const MOST_FIELDS: usize = 6;
