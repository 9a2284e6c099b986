//! The sheet every figure is drawn on: plotters' SVG backend, with the parts that plotters lacks.
//!
//! A figure is drawn once, as SVG; the same text goes into the HTML page and through resvg into a PNG. plotters does
//! the drawing and the coordinates; titles, ticks and labels are placed here, because plotters cannot share axes
//! between panels, put a legend outside the data, or say which ticks it wants. Two known defects are handled:
//! wide polylines are joined by unbounded mitres (the finished SVG asks for round joins), and a missing font leaves an
//! empty picture (the embedded face is registered first, and a failure is an error).

use std::sync::OnceLock;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontTransform, register_font};

use super::palette::{INK, MUTED, PAPER};
use crate::report::saved::ReportError;

/// Units of the drawing: two to a pixel of the PNG, since plotters rounds every coordinate to a whole unit.
pub(super) const WIDTH: i32 = 3200;
pub(super) const HEIGHT: i32 = 1800;
/// Font sizes in units; the smallest is 17 pixels in the PNG.
pub(super) const TEXT: f64 = 38.0;
pub(super) const SMALL: f64 = 34.0;
const TITLE: f64 = 62.0;
const SMALLEST_TITLE: f64 = 46.0;

/// Left of title, subtitle and caption, and the room between the margins.
const WORDS_LEFT: i32 = 60;
const WORDS_WIDTH: i32 = WIDTH - 2 * WORDS_LEFT;

/// The name of the embedded face, as SVG and resvg know it.
pub(super) const FACE: &str = "DejaVu Sans";

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Plane<'a> = DrawingArea<SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// plotters' errors differ by backend; what they say is enough.
#[derive(Debug)]
pub(super) struct DrawError(pub(super) String);

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for DrawError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self(error.to_string())
    }
}

/// Where a text hangs on its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Left,
    Center,
    Right,
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) size: f64,
    pub(super) color: RGBColor,
    pub(super) anchor: Anchor,
    pub(super) bold: bool,
    pub(super) upright: bool,
}

impl Look {
    pub(super) fn new(size: f64, anchor: Anchor) -> Self {
        Self { size, color: INK, anchor, bold: false, upright: false }
    }

    pub(super) fn color(self, color: RGBColor) -> Self {
        Self { color, ..self }
    }

    /// Turned by 90 degrees, to read from below.
    pub(super) fn upright(self) -> Self {
        Self { upright: true, ..self }
    }

    pub(super) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    fn style(self) -> TextStyle<'static> {
        let weight = if self.bold { FontStyle::Bold } else { FontStyle::Normal };
        // The SVG backend divides by 1.24, the ratio of line height to em that it assumes.
        let font = FontDesc::new(FontFamily::Name(FACE), self.size * 1.24, weight);
        let font = if self.upright { font.transform(FontTransform::Rotate270) } else { font };
        let h_pos = match self.anchor {
            Anchor::Left => HPos::Left,
            Anchor::Center => HPos::Center,
            Anchor::Right => HPos::Right,
        };
        let mut style = TextStyle::from(font).pos(Pos::new(h_pos, VPos::Center));
        style.color = self.color.to_backend_color();
        style
    }
}

/// Title, subtitle and caption of a figure.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    pub(super) title: String,
    pub(super) subtitle: String,
    pub(super) caption: String,
}

/// Draws one figure and returns it as SVG text.
pub(super) fn draw(
    figure: &str,
    words: &Words,
    paint: impl FnOnce(&Canvas<'_>) -> Result<(), DrawError>,
) -> Result<String, ReportError> {
    let fail = |problem: String| ReportError::Draw { figure: figure.to_owned(), problem };
    register_faces().map_err(&fail)?;
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH as u32, HEIGHT as u32)).into_drawing_area();
        let canvas = Canvas { root };
        let all = canvas
            .root
            .fill(&PAPER)
            .map_err(DrawError::from)
            .and_then(|()| canvas.words(words))
            .and_then(|()| paint(&canvas))
            .and_then(|()| canvas.root.present().map_err(DrawError::from));
        all.map_err(|error| fail(error.0))?;
    }
    Ok(finish(&svg, &words.title))
}

/// The first of `titles` that need not be cut; the last if all must.
pub(super) fn fitting_title(titles: Vec<String>) -> String {
    let mut svg = String::new();
    let canvas =
        Canvas { root: SVGBackend::with_string(&mut svg, (WIDTH as u32, HEIGHT as u32)).into_drawing_area() };
    let look = Look::new(SMALLEST_TITLE, Anchor::Left).bold();
    let fits = |title: &String| canvas.text_width(title, look).is_ok_and(|width| width <= WORDS_WIDTH);
    let fitting = register_faces().ok().and_then(|()| titles.iter().position(fits));
    let index = fitting.unwrap_or(titles.len().saturating_sub(1));
    titles.into_iter().nth(index).unwrap_or_default()
}

/// The sheet.
pub(super) struct Canvas<'a> {
    pub(super) root: Area<'a>,
}

impl Canvas<'_> {
    pub(super) fn text(&self, at: (i32, i32), text: &str, look: Look) -> Result<(), DrawError> {
        Ok(self.root.draw_text(text, &look.style(), at)?)
    }

    /// Width of a text in units.
    pub(super) fn text_width(&self, text: &str, look: Look) -> Result<i32, DrawError> {
        // plotters measures 1.24 times the size as ascent plus descent, which is 1.164 em in this face.
        let look = Look { size: look.size * 1.164 / 1.24, ..look };
        Ok(self.root.estimate_text_size(text, &look.style())?.0 as i32)
    }

    /// Shortens a text, with an ellipsis, until it fits into `width`.
    pub(super) fn fitted(&self, text: &str, look: Look, width: i32) -> Result<String, DrawError> {
        if self.text_width(text, look)? <= width {
            return Ok(text.to_owned());
        }
        let mut kept: Vec<char> = text.chars().take(400).collect();
        while !kept.is_empty() {
            kept.pop();
            let shorter = format!("{}…", kept.iter().collect::<String>().trim_end());
            if self.text_width(&shorter, look)? <= width {
                return Ok(shorter);
            }
        }
        Ok(String::new())
    }

    /// `text` in lines of at most `width`, broken between words where a word fits, and the length of the longest.
    pub(super) fn wrapped(
        &self,
        text: &str,
        look: Look,
        width: i32,
    ) -> Result<(Vec<String>, i32), DrawError> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_inclusive(' ') {
            let joined = format!("{}{word}", lines.last().map_or("", String::as_str));
            if !lines.is_empty() && self.text_width(joined.trim_end(), look)? <= width {
                lines.pop();
                lines.push(joined);
                continue;
            }
            lines.push(String::new());
            for letter in word.chars() {
                let line = lines.last().map_or("", String::as_str);
                let longer = format!("{line}{letter}");
                if !line.is_empty() && self.text_width(longer.trim_end(), look)? > width {
                    lines.push(letter.to_string());
                } else {
                    lines.pop();
                    lines.push(longer);
                }
            }
        }
        let mut longest = 0;
        for line in &mut lines {
            line.truncate(line.trim_end().len());
            longest = longest.max(self.text_width(line, look)?);
        }
        Ok((lines, longest))
    }

    fn words(&self, words: &Words) -> Result<(), DrawError> {
        let (left, room) = (WORDS_LEFT, WORDS_WIDTH);
        let mut title = Look::new(TITLE, Anchor::Left).bold();
        while title.size > SMALLEST_TITLE && self.text_width(&words.title, title)? > room {
            title.size -= 4.0;
        }
        self.text((left, 72), &self.fitted(&words.title, title, room)?, title)?;
        let subtitle = Look::new(TEXT, Anchor::Left).color(MUTED);
        self.text((left, 148), &self.fitted(&words.subtitle, subtitle, room)?, subtitle)?;
        let caption = Look::new(SMALL, Anchor::Right).color(MUTED);
        self.text((WIDTH - left, HEIGHT - 40), &self.fitted(&words.caption, caption, room)?, caption)
    }
}

/// plotters measures text with these bytes, and resvg draws with the same.
fn register_faces() -> Result<(), String> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let registered = *REGISTERED.get_or_init(|| {
        register_font(FACE, FontStyle::Normal, dejavu::sans::regular()).is_ok()
            && register_font(FACE, FontStyle::Bold, dejavu::sans::bold()).is_ok()
    });
    if registered { Ok(()) } else { Err("the embedded font cannot be read".to_owned()) }
}

/// Round joins, a size that scales with the page, fallback fonts for browsers, and a text alternative.
fn finish(svg: &str, alternative: &str) -> String {
    let open = format!(
        "<svg role=\"img\" aria-label=\"{}\" stroke-linejoin=\"round\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\">",
        crate::report::html::escape(alternative),
        WIDTH / 2,
        HEIGHT / 2,
    );
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    let fonts = format!("font-family=\"{FACE}\"");
    let with_fallback = format!("font-family=\"{FACE}, Verdana, sans-serif\"");
    format!("{open}{}", body.replace(&fonts, &with_fallback).replace(" opacity=\"1\"", ""))
}
