//! Colours, if wanted. Without them nothing else changes: every line says the same in plain text.

/// What a piece of text is, and so how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Times, history, notices: what may be overlooked.
    Dim,
    /// Someone's name.
    Name,
    /// Our own name.
    Own,
    /// Something went wrong.
    Alarm,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    pub(crate) color: bool,
}

impl Paint {
    pub(crate) fn paint(self, style: Style, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let code = match style {
            Style::Dim => 2,
            Style::Name => NAME_COLORS[color_of(text)],
            Style::Own => 1,
            Style::Alarm => 31,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// The same colour for a name in every line and every run.
fn color_of(name: &str) -> usize {
    name.bytes().fold(0, |sum: usize, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
        % NAME_COLORS.len()
}

/// Foregrounds that are readable on dark and on light: green, yellow, blue, magenta, cyan. Red means alarm.
const NAME_COLORS: [u8; 5] = [32, 33, 34, 35, 36];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colour_text_stays_as_it_is() {
        assert_eq!(Paint { color: false }.paint(Style::Alarm, "x"), "x");
        assert_eq!(Paint { color: true }.paint(Style::Alarm, "x"), "\u{1b}[31mx\u{1b}[0m");
    }

    #[test]
    fn a_name_keeps_its_colour() {
        let paint = Paint { color: true };
        assert_eq!(paint.paint(Style::Name, "alice"), paint.paint(Style::Name, "alice"));
        assert_ne!(paint.paint(Style::Name, "a"), paint.paint(Style::Name, "b").replace('b', "a"));
    }
}
