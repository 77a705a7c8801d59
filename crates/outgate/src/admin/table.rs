//! Tables: aligned columns without lines, bold headings on a terminal.

use serde_json::Value;

use super::output::{Colour, Paint};

/// One column: its heading, and what it shows of an item.
pub(super) struct Column {
    pub(super) heading: &'static str,
    pub(super) align: Align,
    pub(super) show: fn(&Value) -> (String, Paint),
}

/// Numbers line up at their end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Align {
    Left,
    Right,
}

impl Column {
    pub(super) const fn left(heading: &'static str, show: fn(&Value) -> (String, Paint)) -> Self {
        Self { heading, align: Align::Left, show }
    }

    pub(super) const fn right(heading: &'static str, show: fn(&Value) -> (String, Paint)) -> Self {
        Self { heading, align: Align::Right, show }
    }
}

/// A table that grows page by page.
pub(super) struct Table {
    columns: &'static [Column],
    widths: Vec<usize>,
}

impl Table {
    pub(super) fn new(columns: &'static [Column]) -> Self {
        Self { columns, widths: Vec::new() }
    }

    /// The lines of one page; the first page with at least one item begins with the headings and sets the widths.
    pub(super) fn page(&mut self, items: &[Value], colour: Colour) -> String {
        let rows: Vec<Vec<(String, Paint)>> =
            items.iter().map(|item| self.columns.iter().map(|column| (column.show)(item)).collect()).collect();
        let mut text = String::new();
        if self.widths.is_empty() && !rows.is_empty() {
            let widest = |(number, column): (usize, &Column)| {
                let cells = rows.iter().filter_map(|row| row.get(number)).map(|(cell, _)| cell.chars().count());
                cells.max().unwrap_or(0).max(column.heading.len())
            };
            self.widths = self.columns.iter().enumerate().map(widest).collect();
            let headings: Vec<_> = self.columns.iter().map(|column| (column.heading.to_owned(), Paint::Heading)).collect();
            self.line(&headings, colour, &mut text);
        }
        for row in &rows {
            self.line(row, colour, &mut text);
        }
        text
    }

    fn line(&self, cells: &[(String, Paint)], colour: Colour, text: &mut String) {
        let mut line = String::new();
        let last = cells.len().saturating_sub(1);
        for (number, ((cell, paint), (column, width))) in cells.iter().zip(self.columns.iter().zip(&self.widths)).enumerate() {
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            // Padding stays outside the colour: an underlined or inverted style would show it.
            let painted = colour.paint(*paint, cell);
            match column.align {
                Align::Left if number == last => line.push_str(&painted),
                Align::Left => line.push_str(&format!("{painted}{padding}")),
                Align::Right => line.push_str(&format!("{padding}{painted}")),
            }
            if number < last {
                line.push_str("  ");
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// The text of a field; `-` when it is not set.
pub(super) fn text(item: &Value, field: &str) -> String {
    match &item[field] {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

/// A list of texts, comma-separated; `none` when it is empty.
pub(super) fn list(item: &Value, field: &str, none: &str) -> String {
    let texts: Vec<&str> =
        item[field].as_array().map(|items| items.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
    if texts.is_empty() { none.to_owned() } else { texts.join(",") }
}

/// A time in UTC to the second, as `2026-11-21T07:30:00Z`.
pub(super) fn time(item: &Value, field: &str) -> String {
    match item[field].as_str() {
        Some(time) => time.chars().take(19).chain(['Z']).collect(),
        None => "-".to_owned(),
    }
}

/// Names come from operators and agents: a control character must not reach the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: &[Column] = &[
        Column::left("NAME", |item| (text(item, "name"), Paint::Good)),
        Column::right("COUNT", |item| (text(item, "count"), Paint::None)),
        Column::left("NOTE", |item| (text(item, "note"), Paint::None)),
    ];

    #[test]
    fn columns_line_up_over_pages() {
        let mut table = Table::new(COLUMNS);
        assert_eq!(table.page(&[], Colour::Plain), "");
        let first = [json!({ "name": "größe", "count": 5, "note": "x" }), json!({ "name": "b", "count": 1_000_000 })];
        assert_eq!(table.page(&first, Colour::Plain), "NAME     COUNT  NOTE\ngröße        5  x\nb      1000000  -\n");
        let second = [json!({ "name": "c", "count": 7, "note": "\u{1b}[2J" })];
        assert_eq!(table.page(&second, Colour::Plain), "c            7  \u{fffd}[2J\n");
    }

    #[test]
    fn colours_do_not_move_columns() {
        let items = [json!({ "name": "a", "count": 1, "note": "x" })];
        let coloured = Table::new(COLUMNS).page(&items, Colour::Shown);
        assert!(coloured.contains("\u{1b}[1mNAME\u{1b}[0m") && coloured.contains("\u{1b}[32ma\u{1b}[0m"), "{coloured:?}");
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = after.split_once('m').map_or("", |(_, after)| after);
        }
        plain.push_str(rest);
        assert_eq!(plain, Table::new(COLUMNS).page(&items, Colour::Plain));
    }
}
