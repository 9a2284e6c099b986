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
    blend(&VIRIDIS, index as f64 / (count - 1) as f64 * 0.8)
}

/// Viridis from 0 to 1, light to dark: more is darker, so that nothing is white paper.
pub(super) fn density(share: f64) -> RGBColor {
    blend(&VIRIDIS, 1.0 - share)
}

/// Cividis from 0 to 1, dark to light: fields that have a number printed on them.
pub(super) fn field(share: f64) -> RGBColor {
    blend(&CIVIDIS, share)
}

/// Differences from −1 to 1: blue is less, white is none, orange is more.
pub(super) fn difference(share: f64) -> RGBColor {
    blend(&[BLUE, SKY, PAPER, ORANGE, VERMILION], (share.clamp(-1.0, 1.0) + 1.0) / 2.0)
}

/// Black or white, whichever can be read on `ground` (relative luminance as in WCAG 2).
pub(super) fn ink_on(ground: RGBColor) -> RGBColor {
    let linear = |channel: u8| (f64::from(channel) / 255.0).powf(2.2);
    let luminance = 0.2126 * linear(ground.0) + 0.7152 * linear(ground.1) + 0.0722 * linear(ground.2);
    if luminance > 0.18 { INK } else { PAPER }
}

/// The colour at `share` of evenly spaced ones.
fn blend(colors: &[RGBColor], share: f64) -> RGBColor {
    let position = share.clamp(0.0, 1.0) * (colors.len() - 1) as f64;
    let low = (position as usize).min(colors.len() - 2);
    let mix = position - low as f64;
    let (a, b) = (colors[low], colors[low + 1]);
    let channel =
        |from: u8, to: u8| (f64::from(from) + (f64::from(to) - f64::from(from)) * mix).round() as u8;
    RGBColor(channel(a.0, b.0), channel(a.1, b.1), channel(a.2, b.2))
}

/// Viridis (<https://bids.github.io/colormap/>) at 0, 0.2, 0.4, 0.6, 0.8 and 1.
const VIRIDIS: [RGBColor; 6] = [
    RGBColor(0x44, 0x01, 0x54),
    RGBColor(0x41, 0x44, 0x87),
    RGBColor(0x2a, 0x78, 0x8e),
    RGBColor(0x22, 0xa8, 0x84),
    RGBColor(0x7a, 0xd1, 0x51),
    RGBColor(0xfd, 0xe7, 0x25),
];

/// Cividis (Nunez, Anderton and Renslow, 2018, <https://doi.org/10.1371/journal.pone.0199239>) at eighths.
const CIVIDIS: [RGBColor; 9] = [
    RGBColor(0x00, 0x22, 0x4e),
    RGBColor(0x12, 0x35, 0x70),
    RGBColor(0x3b, 0x49, 0x6c),
    RGBColor(0x57, 0x5d, 0x6d),
    RGBColor(0x70, 0x71, 0x73),
    RGBColor(0x8a, 0x86, 0x78),
    RGBColor(0xa5, 0x9c, 0x74),
    RGBColor(0xc3, 0xb3, 0x69),
    RGBColor(0xfe, 0xe8, 0x38),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_in_their_own_colours_and_bear_text() {
        assert_eq!(field(0.0), CIVIDIS[0]);
        assert_eq!(field(1.0), CIVIDIS[8]);
        assert_eq!(difference(0.0), PAPER);
        assert_eq!(difference(7.0), VERMILION);
        assert_eq!((ink_on(field(0.0)), ink_on(field(1.0))), (PAPER, INK));
    }
}
