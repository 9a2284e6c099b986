//! SVG to PNG with resvg and the embedded face only, so that a picture is the same on every machine.

use std::sync::{Arc, OnceLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg;

use super::canvas::FACE;

/// Pixels of the PNG: two to each of a 1600 × 900 page, as sharp as a dense screen or a printed column.
const PNG_WIDTH: u32 = super::canvas::WIDTH as u32;
const PNG_HEIGHT: u32 = super::canvas::HEIGHT as u32;

/// Rasterises a figure.
pub(super) fn png(svg: &str) -> Result<Vec<u8>, String> {
    let options = usvg::Options { font_family: FACE.to_owned(), fontdb: fonts(), ..usvg::Options::default() };
    let tree = usvg::Tree::from_str(svg, &options).map_err(|error| error.to_string())?;
    let mut pixmap = Pixmap::new(PNG_WIDTH, PNG_HEIGHT).ok_or("no memory for the picture")?;
    let scale = PNG_WIDTH as f32 / tree.size().width();
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixmap.as_mut());
    pixmap.encode_png().map_err(|error| error.to_string())
}

fn fonts() -> Arc<usvg::fontdb::Database> {
    static FONTS: OnceLock<Arc<usvg::fontdb::Database>> = OnceLock::new();
    let fonts = FONTS.get_or_init(|| {
        let mut fonts = usvg::fontdb::Database::new();
        fonts.load_font_data(dejavu::sans::regular().to_vec());
        fonts.load_font_data(dejavu::sans::bold().to_vec());
        fonts.set_sans_serif_family(FACE);
        Arc::new(fonts)
    });
    Arc::clone(fonts)
}
