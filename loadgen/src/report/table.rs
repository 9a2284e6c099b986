//! A table once, printed three ways: aligned text, Markdown, HTML.

use super::html::escape;

/// Rows of cells under named columns. Every row has as many cells as there are columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) title: &'static str,
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    name: String,
    align: Align,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

/// A column of words.
pub(super) fn words(name: &str) -> Column {
    Column { name: name.to_owned(), align: Align::Left }
}

/// A column of numbers, aligned to the right.
pub(super) fn numbers(name: &str) -> Column {
    Column { name: name.to_owned(), align: Align::Right }
}

impl Table {
    pub(super) fn new(title: &'static str, columns: Vec<Column>) -> Self {
        Self { title, columns, rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Two spaces between columns, numbers to the right, no trailing blanks.
    pub(super) fn to_text(&self) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|index| {
                let cells = self.rows.iter().map(|row| width(&row[index]));
                cells.chain([width(&self.columns[index].name)]).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: &mut dyn Iterator<Item = &String>| {
            let mut text = String::new();
            for ((cell, column), wide) in cells.zip(&self.columns).zip(&widths) {
                let blanks = " ".repeat(wide - width(cell));
                text.push_str("  ");
                match column.align {
                    Align::Left => text.extend([cell.as_str(), &blanks]),
                    Align::Right => text.extend([&blanks, cell.as_str()]),
                }
            }
            format!("{}\n", text.trim_end())
        };
        let mut text = format!("{}\n", self.title);
        text.push_str(&line(&mut self.columns.iter().map(|column| &column.name)));
        for row in &self.rows {
            text.push_str(&line(&mut row.iter()));
        }
        text
    }

    pub(super) fn to_markdown(&self) -> String {
        let line = |cells: &mut dyn Iterator<Item = String>| {
            format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
        };
        let mut text = line(&mut self.columns.iter().map(|column| escape_markdown(&column.name)));
        text.push_str(&line(&mut self.columns.iter().map(|column| match column.align {
            Align::Left => "---".to_owned(),
            Align::Right => "---:".to_owned(),
        })));
        for row in &self.rows {
            text.push_str(&line(&mut row.iter().map(|cell| escape_markdown(cell))));
        }
        text
    }

    pub(super) fn to_html(&self) -> String {
        self.to_html_rows(|_| String::new())
    }

    /// With more attributes for each row, by its index; each begins with a blank.
    pub(super) fn to_html_rows(&self, attributes: impl Fn(usize) -> String) -> String {
        let class = |column: &Column| match column.align {
            Align::Left => "",
            Align::Right => " class=\"number\"",
        };
        let mut html = String::from("<div class=\"scroll\"><table>\n<thead><tr>");
        for column in &self.columns {
            html.push_str(&format!("<th scope=\"col\"{}>{}</th>", class(column), escape(&column.name)));
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        for (index, row) in self.rows.iter().enumerate() {
            html.push_str(&format!("<tr{}>", attributes(index)));
            for (cell, column) in row.iter().zip(&self.columns) {
                let verdict = match cell.as_str() {
                    "PASS" | "FAIL" | "INCONCLUSIVE" | "INVALID" => {
                        format!(" class=\"verdict {}\"", cell.to_lowercase())
                    }
                    "REGRESSION" => " class=\"verdict fail\"".to_owned(),
                    _ => class(column).to_owned(),
                };
                html.push_str(&format!("<td{verdict}>{}</td>", escape(cell)));
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table></div>\n");
        html
    }
}

/// Characters, not bytes; none of ours are wide.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// Text that Markdown (and the HTML within it) shows as it is.
pub(super) fn escape_markdown(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\n' | '\r' => escaped.push(' '),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' | '#' | '~' => escaped.extend(['\\', character]),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new("Fruit", vec![words("name"), numbers("n")]);
        table.row(["a|b".to_owned(), "1,000".to_owned()]);
        table.row(["<b>".to_owned(), "7".to_owned()]);
        table
    }

    #[test]
    fn text_is_aligned() {
        assert_eq!(table().to_text(), "Fruit\n  name      n\n  a|b   1,000\n  <b>       7\n");
    }

    #[test]
    fn markdown_and_html_show_text_as_it_is() {
        assert!(table().to_markdown().contains("| a\\|b | 1,000 |\n| &lt;b&gt; | 7 |"));
        assert!(table().to_html().contains("<td>&lt;b&gt;</td><td class=\"number\">7</td>"));
    }
}
