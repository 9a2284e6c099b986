//! Names beside the ends of curves, instead of a legend that has to be looked up.
//!
//! Each name stands in the right margin at the height of its curve; names that would touch are pushed apart, and a short
//! line in the stroke of the curve leads from its end to its name.

use super::canvas::{Anchor, Canvas, DrawError, Look, SMALL, WIDTH};
use super::panel::{Marker, Panel, Stroke};

/// One name.
#[derive(Clone, Debug)]
pub(super) struct Tag {
    /// Height of the curve's end on the canvas; `None`: anywhere.
    pub(super) y: Option<i32>,
    pub(super) stroke: Stroke,
    pub(super) marker: Option<Marker>,
    pub(super) text: String,
}

impl Tag {
    pub(super) fn new(y: Option<i32>, stroke: Stroke, text: impl Into<String>) -> Self {
        Self { y, stroke, marker: None, text: text.into() }
    }

    pub(super) fn marked(self, marker: Marker) -> Self {
        Self { marker: Some(marker), ..self }
    }
}

/// Writes all names to the right of `panel`, and `note` in small grey lines where they leave room: below them, or above.
pub(super) fn margin(
    canvas: &Canvas<'_>,
    panel: &Panel<'_, '_>,
    names: &[Tag],
    note: &str,
) -> Result<(), DrawError> {
    let frame = panel.frame;
    let left = frame.right + LEADER;
    let look = Look::new(SMALL, Anchor::Left).color(super::palette::MUTED);
    let (lines, _) =
        if note.is_empty() { (Vec::new(), 0) } else { canvas.wrapped(note, look, WIDTH - left - 40)? };
    let height = lines.len() as i32 * LINE;
    let (top, bottom) = (frame.top - 30, frame.bottom + 130);
    let known: Vec<i32> = names.iter().filter_map(|tag| tag.y).collect();
    let middle = known.iter().sum::<i32>() / known.len().max(1) as i32;
    let is_below = known.is_empty() || middle < (frame.top + frame.bottom) / 2;
    let (span, from) = match is_below {
        true => ((top, bottom - height - 40), bottom - height),
        false => ((top + height + 40, frame.bottom + 40), top),
    };
    tags(canvas, panel, span, names)?;
    for (line, row) in lines.iter().zip(0..) {
        canvas.text((left, from + LINE / 2 + row * LINE), line, look)?;
    }
    Ok(())
}

/// Writes all names to the right of `panel`, between `top` and `bottom` while they fit.
pub(super) fn tags(
    canvas: &Canvas<'_>,
    panel: &Panel<'_, '_>,
    (top, bottom): (i32, i32),
    names: &[Tag],
) -> Result<(), DrawError> {
    let frame = panel.frame;
    let left = frame.right + LEADER;
    let look = Look::new(SMALL, Anchor::Left);
    let room = WIDTH - left - SAMPLE - 40;
    let mut placed = Vec::new();
    for tag in names {
        let (mut lines, _) = canvas.wrapped(&tag.text, look, room)?;
        if lines.len() > MOST_LINES {
            let rest = lines.split_off(MOST_LINES - 1).join(" ");
            lines.push(canvas.fitted(&rest, look, room)?);
        }
        let half = lines.len() as i32 * LINE / 2 + 6;
        placed.push((tag, lines, half));
    }
    // Without a height of its own a name stands at the top.
    placed.sort_by_key(|(tag, ..)| tag.y.unwrap_or(i32::MIN));
    let wanted: Vec<(i32, i32)> =
        placed.iter().map(|(tag, _, half)| (tag.y.unwrap_or(frame.top), *half)).collect();
    for ((tag, lines, _), y) in placed.iter().zip(spread(&wanted, top, bottom)) {
        if let Some(end) = tag.y.filter(|&end| (end - y).abs() > 3) {
            let thin = Stroke::new(tag.stroke.color, 2).alpha(0.6);
            panel.stroke((frame.right + 4, end), (left - 6, y), thin)?;
        }
        panel.stroke((left, y), (left + SAMPLE - 18, y), tag.stroke)?;
        if let Some(marker) = tag.marker {
            panel.mark((left + (SAMPLE - 18) / 2, y), marker, tag.stroke.color)?;
        }
        let first = y - (lines.len() as i32 - 1) * LINE / 2;
        for (line, row) in lines.iter().zip(0..) {
            canvas.text((left + SAMPLE, first + row * LINE), line, look)?;
        }
    }
    Ok(())
}

/// Moves centres (with their half heights, in order) apart until none touch, as near to where they were as may be; the
/// block is kept between `top` and `bottom` while it fits.
fn spread(wanted: &[(i32, i32)], top: i32, bottom: i32) -> Vec<i32> {
    let mut at: Vec<i32> = Vec::new();
    let mut floor = top;
    for &(y, half) in wanted {
        let y = y.max(floor + half);
        at.push(y);
        floor = y + half;
    }
    let mut ceiling = bottom;
    for (y, &(_, half)) in at.iter_mut().zip(wanted).rev() {
        *y = (*y).min(ceiling - half);
        ceiling = *y - half;
    }
    // Too many to fit: from the top downwards, whatever happens below.
    if at.first().zip(wanted.first()).is_some_and(|(&y, &(_, half))| y - half < top) {
        let mut floor = top;
        for (y, &(_, half)) in at.iter_mut().zip(wanted) {
            *y = floor + half;
            floor += half * 2;
        }
    }
    at
}

const LEADER: i32 = 60;
const SAMPLE: i32 = 96;
const LINE: i32 = 44;
const MOST_LINES: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_touch_are_pushed_apart() {
        assert_eq!(spread(&[(100, 20), (300, 20)], 0, 1000), [100, 300]);
        let close = spread(&[(500, 20), (505, 20), (510, 20)], 0, 1000);
        assert!(close.windows(2).all(|pair| pair[1] - pair[0] >= 40), "{close:?}");
        let low = spread(&[(995, 20), (1000, 20)], 0, 1000);
        assert!(low[1] + 20 <= 1000 && low[1] - low[0] >= 40, "{low:?}");
    }
}
