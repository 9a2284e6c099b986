//! One plot within a figure: a frame, two axes, and marks in the units of the data.

use plotters::coord::types::RangedCoordf64;
use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, DrawError, Look, Plane, SMALL, TEXT};
use super::palette::{GRID, INK, MUTED};

/// Where a panel's plotting area lies, in units of the canvas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) left: i32,
    pub(super) right: i32,
    pub(super) top: i32,
    pub(super) bottom: i32,
}

/// How a line looks: colour, width in units, dashes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stroke {
    pub(super) color: RGBColor,
    pub(super) alpha: f64,
    pub(super) width: u32,
    pub(super) dash: Dash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dash {
    Solid,
    Dashed,
    Dotted,
}

impl Dash {
    /// The `index`-th, again from the first when they have all been used.
    pub(super) fn nth(index: usize) -> Self {
        [Self::Solid, Self::Dashed, Self::Dotted][index % 3]
    }
}

impl Stroke {
    pub(super) fn new(color: RGBColor, width: u32) -> Self {
        Self { color, alpha: 1.0, width, dash: Dash::Solid }
    }

    pub(super) fn dash(self, dash: Dash) -> Self {
        Self { dash, ..self }
    }

    pub(super) fn alpha(self, alpha: f64) -> Self {
        Self { alpha, ..self }
    }

    fn shape(self) -> ShapeStyle {
        self.color.mix(self.alpha).stroke_width(self.width)
    }

    fn gap(self) -> Option<(i32, i32)> {
        match self.dash {
            Dash::Solid => None,
            Dash::Dashed => Some((24, 16)),
            Dash::Dotted => Some((7, 13)),
        }
    }
}

/// How a point looks; together with dashes, what tells series apart without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
}

impl Marker {
    /// The `index`-th, again from the first when they have all been used.
    pub(super) fn nth(index: usize) -> Self {
        [Self::Circle, Self::Square, Self::Triangle, Self::Diamond][index % 4]
    }
}

/// Whether the x axis shows its numbers: in a stack of panels only the lowest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Labels {
    Shown,
    Hidden,
}

pub(super) struct Panel<'c, 'a> {
    canvas: &'c Canvas<'a>,
    plane: Plane<'a>,
    pub(super) frame: Frame,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

impl<'c, 'a> Panel<'c, 'a> {
    /// Draws grid, ticks and titles; marks come on top.
    pub(super) fn new(
        canvas: &'c Canvas<'a>,
        frame: Frame,
        x: Axis,
        y: Axis,
        labels: Labels,
    ) -> Result<Self, DrawError> {
        let names =
            if x.named && labels == Labels::Shown { Some(Names::of(canvas, &x, frame)?) } else { None };
        let frame = Frame { bottom: frame.bottom - names.as_ref().map_or(0, |names| names.depth), ..frame };
        let plane = canvas.root.clone().apply_coord_spec(Cartesian2d::<RangedCoordf64, RangedCoordf64>::new(
            x.from..x.to,
            y.from..y.to,
            (frame.left..frame.right, frame.bottom..frame.top),
        ));
        let panel = Self { canvas, plane, frame, x, y };
        panel.furniture(labels, names.as_ref())?;
        Ok(panel)
    }

    /// A line through `points`, given in values.
    pub(super) fn line(&self, points: &[(f64, f64)], stroke: Stroke) -> Result<(), DrawError> {
        let positions: Vec<(f64, f64)> = points.iter().map(|&point| self.position(point)).collect();
        match stroke.gap() {
            None => self.plane.draw(&PathElement::new(positions, stroke.shape()))?,
            Some((dash, space)) => {
                self.plane.draw(&DashedPathElement::new(positions, dash, space, stroke.shape()))?;
            }
        }
        Ok(())
    }

    /// A line that keeps each value until the next one.
    pub(super) fn steps(&self, points: &[(f64, f64)], stroke: Stroke) -> Result<(), DrawError> {
        self.line(&stepped(points), stroke)
    }

    /// The area between a step line and zero (or the lower edge on a log axis).
    pub(super) fn area(&self, points: &[(f64, f64)], color: RGBColor, alpha: f64) -> Result<(), DrawError> {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return Ok(()) };
        let base = self.y.from;
        let mut outline = vec![(self.x.position(first.0), base)];
        outline.extend(stepped(points).into_iter().map(|point| self.position(point)));
        outline.push((self.x.position(last.0), base));
        Ok(self.plane.draw(&Polygon::new(outline, color.mix(alpha).filled()))?)
    }

    /// The band between two lines over the same `x`.
    pub(super) fn band(
        &self,
        points: &[(f64, f64, f64)],
        color: RGBColor,
        alpha: f64,
    ) -> Result<(), DrawError> {
        let low = points.iter().map(|&(x, low, _)| self.position((x, low)));
        let high = points.iter().rev().map(|&(x, _, high)| self.position((x, high)));
        Ok(self.plane.draw(&Polygon::new(low.chain(high).collect::<Vec<_>>(), color.mix(alpha).filled()))?)
    }

    pub(super) fn dots(
        &self,
        points: &[(f64, f64)],
        radius: i32,
        color: RGBColor,
        alpha: f64,
    ) -> Result<(), DrawError> {
        for &point in points {
            self.plane.draw(&Circle::new(self.position(point), radius, color.mix(alpha).filled()))?;
        }
        Ok(())
    }

    /// A large mark at each point.
    pub(super) fn markers(
        &self,
        points: &[(f64, f64)],
        marker: Marker,
        color: RGBColor,
    ) -> Result<(), DrawError> {
        points.iter().try_for_each(|&point| self.mark(self.pixel(point), marker, color))
    }

    /// A mark at a point of the canvas.
    pub(super) fn mark(&self, at: (i32, i32), marker: Marker, color: RGBColor) -> Result<(), DrawError> {
        let root = &self.canvas.root;
        let style = color.filled();
        match marker {
            Marker::Circle => root.draw(&Circle::new(at, 14, style))?,
            Marker::Square => {
                root.draw(&Rectangle::new([(at.0 - 12, at.1 - 12), (at.0 + 12, at.1 + 12)], style))?;
            }
            Marker::Triangle => root.draw(&TriangleMarker::new(at, 17, style))?,
            Marker::Diamond => {
                let corners = [(0, -17), (17, 0), (0, 17), (-17, 0)];
                let corners = corners.map(|(x, y)| (at.0 + x, at.1 + y));
                root.draw(&Polygon::new(corners.to_vec(), style))?;
            }
        }
        Ok(())
    }

    /// A filled rectangle between two corners, in values.
    pub(super) fn tile(
        &self,
        corners: [(f64, f64); 2],
        color: RGBColor,
        alpha: f64,
    ) -> Result<(), DrawError> {
        let [a, b] = corners.map(|corner| self.pixel(corner));
        Ok(self.canvas.root.draw(&Rectangle::new([a, b], color.mix(alpha).filled()))?)
    }

    /// A small filled circle at a point of the canvas.
    pub(super) fn dot(&self, at: (i32, i32), radius: i32, color: RGBColor) -> Result<(), DrawError> {
        Ok(self.canvas.root.draw(&Circle::new(at, radius, color.filled()))?)
    }

    /// A filled rectangle between two points of the canvas.
    pub(super) fn block(&self, from: (i32, i32), to: (i32, i32), color: RGBColor) -> Result<(), DrawError> {
        Ok(self.canvas.root.draw(&Rectangle::new([from, to], color.filled()))?)
    }

    /// The same, but what lies below shines through.
    pub(super) fn veil(
        &self,
        from: (i32, i32),
        to: (i32, i32),
        color: RGBColor,
        alpha: f64,
    ) -> Result<(), DrawError> {
        Ok(self.canvas.root.draw(&Rectangle::new([from, to], color.mix(alpha).filled()))?)
    }

    /// Diagonal lines over a rectangle of the canvas: what lies below does not count.
    pub(super) fn hatch(
        &self,
        (left, top): (i32, i32),
        (right, bottom): (i32, i32),
    ) -> Result<(), DrawError> {
        let (width, height) = (right - left, bottom - top);
        let stroke = Stroke::new(INK, 3).alpha(0.7);
        for start in (0..width + height).step_by(28).skip(1) {
            let from = (left + (start - height).max(0), top + start.min(height));
            let to = (left + start.min(width), top + (start - width).max(0));
            self.stroke(from, to, stroke)?;
        }
        Ok(())
    }

    /// A filled shape with an outline, its corners in positions of the axes.
    pub(super) fn shape(
        &self,
        positions: &[(f64, f64)],
        stroke: Stroke,
        alpha: f64,
    ) -> Result<(), DrawError> {
        let inside = positions
            .iter()
            .map(|&(x, y)| (x.clamp(self.x.from, self.x.to), y.clamp(self.y.from, self.y.to)));
        let mut corners: Vec<(f64, f64)> = inside.collect();
        self.plane.draw(&Polygon::new(corners.clone(), stroke.color.mix(alpha).filled()))?;
        corners.extend(corners.first().copied());
        Ok(self.plane.draw(&PathElement::new(corners, stroke.shape()))?)
    }

    /// A shaded span of `x`, cut to the panel, over its whole height.
    pub(super) fn span(&self, from: f64, to: f64, color: RGBColor, alpha: f64) -> Result<(), DrawError> {
        let from = self.x.position(from).max(self.x.from);
        let to = self.x.position(to).min(self.x.to);
        if from < to {
            let corners = [(from, self.y.from), (to, self.y.to)];
            self.plane.draw(&Rectangle::new(corners, color.mix(alpha).filled()))?;
        }
        Ok(())
    }

    /// Pixel position of a value, for marks and texts that are placed by hand.
    pub(super) fn pixel(&self, point: (f64, f64)) -> (i32, i32) {
        self.plane.map_coordinate(&self.position(point))
    }

    /// A line between two points of the canvas.
    pub(super) fn stroke(&self, from: (i32, i32), to: (i32, i32), stroke: Stroke) -> Result<(), DrawError> {
        match stroke.gap() {
            None => self.canvas.root.draw(&PathElement::new(vec![from, to], stroke.shape()))?,
            Some((dash, space)) => {
                let path = DashedPathElement::new([from, to], dash, space, stroke.shape());
                self.canvas.root.draw(&path)?;
            }
        }
        Ok(())
    }

    /// A text on a white ground, so that lines behind it do not cross it out.
    pub(super) fn label(&self, at: (i32, i32), text: &str, look: Look) -> Result<(), DrawError> {
        let half = (look.size * 0.62) as i32;
        let width = self.canvas.text_width(text, look)?;
        let left = match look.anchor {
            Anchor::Left => at.0,
            Anchor::Center => at.0 - width / 2,
            Anchor::Right => at.0 - width,
        };
        let ground = [(left - 6, at.1 - half), (left + width + 6, at.1 + half)];
        self.canvas.root.draw(&Rectangle::new(ground, super::palette::PAPER.mix(0.8).filled()))?;
        self.canvas.text(at, text, look)
    }

    fn position(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (self.x.position(x), self.y.position(y))
    }

    fn furniture(&self, labels: Labels, names: Option<&Names>) -> Result<(), DrawError> {
        let Frame { left, right, top, bottom } = self.frame;
        let grid = Stroke::new(GRID, 2);
        let number = Look::new(TEXT, Anchor::Center).color(MUTED);
        let columns: Vec<i32> =
            self.x.ticks.iter().map(|tick| self.plane.map_coordinate(&(tick.at, self.y.from)).0).collect();
        for (index, (tick, &x)) in self.x.ticks.iter().zip(&columns).enumerate() {
            self.stroke((x, top), (x, bottom), grid)?;
            if let Some(names) = names {
                names.paint(self.canvas, index, (x, bottom))?;
            } else if labels == Labels::Shown {
                let next = columns.get(index + 1).map_or(right - left, |next| next - x);
                let before = if index == 0 { right - left } else { x - columns[index - 1] };
                let slot = next.min(before) - 16;
                self.canvas.text(
                    (x, bottom + 40),
                    &self.canvas.fitted(&tick.label, number, slot)?,
                    number,
                )?;
            }
        }
        for tick in &self.y.ticks {
            let y = self.plane.map_coordinate(&(self.x.from, tick.at)).1;
            self.stroke((left, y), (right, y), grid)?;
            let number = Look { anchor: Anchor::Right, ..number };
            self.canvas.text((left - 18, y), &tick.label, number)?;
        }
        self.stroke((left, bottom), (right, bottom), Stroke::new(INK, 3))?;
        self.stroke((left, top), (left, bottom), Stroke::new(INK, 3))?;
        if labels == Labels::Shown {
            let middle = (left + right) / 2;
            let depth = names.map_or(0, |names| names.depth);
            self.canvas.text(
                (middle, bottom + 108 + depth),
                &self.x.title,
                Look::new(TEXT, Anchor::Center),
            )?;
        }
        let upright = Look::new(TEXT, Anchor::Center).upright();
        self.canvas.text((left - 190, (top + bottom) / 2), &self.y.title, upright)
    }
}

/// Names below an axis, whole: in lines below each other where that is enough, upright otherwise.
struct Names {
    lines: Vec<Vec<String>>,
    upright: bool,
    /// Where even upright ones touch, only each so-manyth is written.
    every: usize,
    /// Units needed below what a single line takes.
    depth: i32,
}

impl Names {
    fn of(canvas: &Canvas<'_>, axis: &Axis, frame: Frame) -> Result<Self, DrawError> {
        let slot = (frame.right - frame.left) / axis.ticks.len().max(1) as i32 - 16;
        let wrap = |width: i32| -> Result<(Vec<Vec<String>>, i32, i32), DrawError> {
            let (mut all, mut most, mut longest) = (Vec::new(), 1, 0);
            for tick in &axis.ticks {
                let (lines, length) = canvas.wrapped(&tick.label, NAME, width)?;
                most = most.max(lines.len() as i32);
                longest = longest.max(length);
                all.push(lines);
            }
            Ok((all, most, longest))
        };
        let words = axis.ticks.iter().flat_map(|tick| tick.label.split(' '));
        let widest =
            words.map(|word| canvas.text_width(word, NAME)).try_fold(0, |a, b| b.map(|b| b.max(a)))?;
        // In a wide slot even a long word is better broken than upright.
        if widest <= slot || slot >= WIDE_SLOT {
            let (lines, most, _) = wrap(slot)?;
            if most <= MAX_NAME_LINES {
                return Ok(Self { lines, upright: false, every: 1, depth: (most - 1) * NAME_LINE });
            }
        }
        let (lines, most, longest) = wrap(MAX_NAME_LENGTH)?;
        let way = (slot + 16).max(1);
        let every = (most * NAME_LINE + way - 1) / way;
        Ok(Self { lines, upright: true, every: every.max(1) as usize, depth: (longest - 40).max(0) })
    }

    /// Writes one name below `at`, its place on the axis.
    fn paint(&self, canvas: &Canvas<'_>, index: usize, (x, bottom): (i32, i32)) -> Result<(), DrawError> {
        let lines = self.lines.get(index).filter(|_| index.is_multiple_of(self.every));
        for (line, row) in lines.into_iter().flatten().zip(0..) {
            let count = lines.map_or(0, Vec::len) as i32;
            if self.upright {
                let look = Look { anchor: Anchor::Right, ..NAME }.upright();
                canvas.text((x + row * NAME_LINE - (count - 1) * NAME_LINE / 2, bottom + 22), line, look)?;
            } else {
                canvas.text((x, bottom + 40 + row * NAME_LINE), line, NAME)?;
            }
        }
        Ok(())
    }
}

/// Names of categories look like the numbers of other axes.
const NAME: Look = Look { size: TEXT, color: MUTED, anchor: Anchor::Center, bold: false, upright: false };
const NAME_LINE: i32 = 46;
const MAX_NAME_LINES: i32 = 4;

const WIDE_SLOT: i32 = 300;

/// Upright names longer than this leave too little for the data and are wrapped.
const MAX_NAME_LENGTH: i32 = 560;

/// One entry of a legend: what a stroke means.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    stroke: Stroke,
    text: String,
}

impl Entry {
    pub(super) fn new(stroke: Stroke, text: impl Into<String>) -> Self {
        Self { stroke, text: text.into() }
    }
}

/// A legend in the margin to the right of `panel`, from `top` downward, outside the data.
pub(super) fn legend(panel: &Panel<'_, '_>, top: i32, entries: &[Entry]) -> Result<(), DrawError> {
    let left = panel.frame.right + 36;
    let room = super::canvas::WIDTH - left - 96;
    for (index, entry) in entries.iter().enumerate() {
        let y = top + index as i32 * 62;
        panel.stroke((left, y), (left + 76, y), entry.stroke)?;
        let look = Look::new(SMALL, Anchor::Left);
        let text = panel.canvas.fitted(&entry.text, look, room)?;
        panel.canvas.text((left + 92, y), &text, look)?;
    }
    Ok(())
}

fn stepped(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut steps = Vec::with_capacity(points.len() * 2);
    let mut held = None;
    for &(x, y) in points {
        if let Some(before) = held
            && before != y
        {
            steps.push((x, before));
        }
        steps.push((x, y));
        held = Some(y);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_line_keeps_each_value_until_the_next() {
        let steps = stepped(&[(0.0, 1.0), (1.0, 2.0), (2.0, 2.0)]);
        assert_eq!(steps, [(0.0, 1.0), (1.0, 1.0), (1.0, 2.0), (2.0, 2.0)]);
    }
}
