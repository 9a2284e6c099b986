//! Colours that hold for colour-blind readers, in grey print and on a projector.
//!
//! Categories take Okabe and Ito's colours (<https://jfly.uni-koeln.de/color/>), always together with a dash or a
//! marker, so that colour is never the only difference. Ordered things (the cells of a sweep) take steps of viridis,
//! whose lightness rises evenly.

use plotters::style::RGBColor;

pub(super) const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
pub(super) const MUTED: RGBColor = RGBColor(0x5a, 0x5a, 0x5a);
pub(super) const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
pub(super) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);

pub(super) const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xb2);
pub(super) const SKY: RGBColor = RGBColor(0x56, 0xb4, 0xe9);
pub(super) const GREEN: RGBColor = RGBColor(0x00, 0x9e, 0x73);
pub(super) const ORANGE: RGBColor = RGBColor(0xe6, 0x9f, 0x00);
pub(super) const VERMILION: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
pub(super) const PURPLE: RGBColor = RGBColor(0xcc, 0x79, 0xa7);

/// The `index`-th of `count` ordered colours, dark to light; the yellow end, too light on white, is left out.
pub(super) fn sequential(index: usize, count: usize) -> RGBColor {
    if count < 2 {
        return BLUE;
    }
    let position = index as f64 / (count - 1) as f64 * (VIRIDIS.len() - 1) as f64;
    let low = (position as usize).min(VIRIDIS.len() - 2);
    let mix = position - low as f64;
    let (a, b) = (VIRIDIS[low], VIRIDIS[low + 1]);
    let blend = |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * mix).round() as u8;
    RGBColor(blend(a.0, b.0), blend(a.1, b.1), blend(a.2, b.2))
}

/// Viridis (<https://bids.github.io/colormap/>) at 0, 0.2, 0.4, 0.6 and 0.8.
const VIRIDIS: [RGBColor; 5] = [
    RGBColor(0x44, 0x01, 0x54),
    RGBColor(0x41, 0x44, 0x87),
    RGBColor(0x2a, 0x78, 0x8e),
    RGBColor(0x22, 0xa8, 0x84),
    RGBColor(0x7a, 0xd1, 0x51),
];
