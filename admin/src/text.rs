//! Numbers as people read them, and tables.

/// `1,204`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 room`, `1,204 rooms`.
pub(crate) fn plural(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number))
}

/// `817 B`, `3.4 MiB`.
pub(crate) fn bytes(number: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = number;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{value:.0} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// `0.4 s`, `45 s`, `12 min`, `2 h 13 min`, `3 d 4 h`.
pub(crate) fn span(seconds: f64) -> String {
    let whole = seconds as u64;
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// `812 us`, `43.2 ms`, `1.5 s`.
pub(crate) fn micros(number: u64) -> String {
    match number {
        0..1000 => format!("{number} us"),
        1000..1_000_000 => format!("{:.1} ms", number as f64 / 1e3),
        _ => format!("{:.1} s", number as f64 / 1e6),
    }
}

/// Of `whole`, in percent: `9.8 %`; `-` of nothing.
pub(crate) fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / whole as f64) }
}

/// A rate with three digits that matter: `0.20`, `12.5`, `1,204`.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0".to_owned(),
        low if low < 10.0 => format!("{low:.2}"),
        middle if middle < 100.0 => format!("{middle:.1}"),
        high => count(high.round() as u64),
    }
}

/// Columns padded to their widest cell; names to the left, numbers to the right.
pub(crate) fn table(header: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([header[column].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut out = String::new();
    let mut line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .zip(header)
            .map(|((cell, &width), (_, align))| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            })
            .collect();
        out += padded.join("  ").trim_end();
        out.push('\n');
    };
    line(header.iter().map(|(name, _)| *name).collect());
    for row in rows {
        line(row.iter().map(String::as_str).collect());
    }
    out
}

/// To which side a column keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_read_them() {
        assert_eq!([count(0), count(999), count(1204), count(1_234_567)], ["0", "999", "1,204", "1,234,567"]);
        assert_eq!([plural(1, "room"), plural(1204, "room")], ["1 room", "1,204 rooms"]);
        assert_eq!([bytes(817.0), bytes(3_565_158.0)], ["817 B", "3.4 MiB"]);
        assert_eq!(
            [span(0.44), span(45.0), span(720.0), span(7980.0), span(273_600.0)],
            ["0.4 s", "45 s", "12 min", "2 h 13 min", "3 d 4 h"]
        );
        assert_eq!([micros(812), micros(43_200), micros(1_500_000)], ["812 us", "43.2 ms", "1.5 s"]);
        assert_eq!([share(98, 1000), share(0, 0)], ["9.8 %", "-"]);
        assert_eq!([rate(0.0), rate(0.2), rate(12.5), rate(1204.4)], ["0", "0.20", "12.5", "1,204"]);
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["alice".to_owned(), "7".to_owned()], vec!["bo".to_owned(), "1,204".to_owned()]];
        let table = table(&[("USER", Align::Left), ("N", Align::Right)], &rows);
        assert_eq!(table, "USER       N\nalice      7\nbo     1,204\n");
    }
}
