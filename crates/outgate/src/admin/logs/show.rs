//! Records and counts as they are shown.

use outgate_records::Record;
use outgate_records::read::{By, Group, Spread, Step, Summary};
use serde_json::{Value, json};

use super::super::output::{Colour, Output, Paint};
use super::super::plans::size;
use super::super::table::{Column, text};
use super::super::trouble::Trouble;

/// Records as lines.
pub(super) struct Lines<'o, 'a> {
    output: &'o mut Output<'a>,
    shown: u64,
}

impl<'o, 'a> Lines<'o, 'a> {
    pub(super) fn new(output: &'o mut Output<'a>) -> Self {
        Self { output, shown: 0 }
    }

    /// Shows one; as JSON it is the line that was written.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), Trouble> {
        let text = String::from_utf8_lossy(line);
        if self.output.form.is_json() {
            self.shown += 1;
            return self.output.line(&text);
        }
        let Some(record) = Record::parse(line) else { return Ok(()) };
        if self.shown == 0 && self.output.colour == Colour::Shown {
            let heading = Row::HEADING.told(Colour::Plain, Paint::None);
            self.output.line(&self.output.colour.paint(Paint::Heading, &heading))?;
        }
        self.shown += 1;
        self.output.line(&row(&record, self.output.colour))
    }

    pub(super) fn flush(&mut self) -> Result<(), Trouble> {
        self.output.end()
    }

    /// A person is told when there was nothing.
    pub(super) fn end(self, hint: &str) -> Result<(), Trouble> {
        if self.shown == 0 && self.output.colour == Colour::Shown {
            return self.output.line(&format!("There is no such record{hint}."));
        }
        Ok(())
    }
}

/// What a line shows, as texts.
struct Row<'a> {
    time: &'a str,
    status: &'a str,
    outcome: &'a str,
    took: &'a str,
    key: &'a str,
    asked: &'a str,
    way: &'a str,
    id: &'a str,
}

impl Row<'_> {
    const HEADING: Row<'static> = Row {
        time: "TIME",
        status: "STATUS",
        outcome: "OUTCOME",
        took: "SETUP",
        key: "KEY",
        asked: "REQUEST",
        way: "WAY",
        id: "REQUEST ID",
    };

    fn told(&self, colour: Colour, paint: Paint) -> String {
        let Self { time, status, outcome, took, key, asked, way, id } = self;
        let outcome = colour.paint(paint, &format!("{outcome:<22}"));
        format!("{time:<24}  {status:>6}  {outcome}  {took:>9}  {key:<10}  {asked:<40}  {way:<16}  {id}")
    }
}

fn row(record: &Record, colour: Colour) -> String {
    let (paint, status) = match record.status {
        _ if record.is_ok() => (Paint::Good, record.status),
        status => (Paint::Bad, status),
    };
    let way = match (&record.exit, &record.pool, &record.proxy) {
        (Some(exit), ..) => exit,
        (None, Some(pool), _) => pool,
        (None, None, Some(proxy)) => proxy,
        (None, None, None) => "-",
    };
    let row = Row {
        time: &format!("{:.3}", record.time),
        status: &status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
        outcome: &record.outcome,
        took: &record.ms.setup.map_or_else(|| "-".to_owned(), milliseconds),
        key: record.key.as_deref().unwrap_or("-"),
        asked: &format!("{} {}", record.method, record.target),
        way,
        id: &record.request_id,
    };
    // Names come from clients and agents: a control character must not reach the terminal, except for our own colours.
    let clean = |text: &str| -> String { text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect() };
    let [outcome, key, asked, way, id] = [row.outcome, row.key, row.asked, row.way, row.id].map(clean);
    Row { outcome: &outcome, key: &key, asked: &asked, way: &way, id: &id, ..row }.told(colour, paint)
}

/// Three digits, with their unit.
fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms >= 60_000.0 => format!("{:.0} s", ms / 1000.0),
        ms if ms >= 1000.0 => format!("{:.2} s", ms / 1000.0),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms => format!("{ms:.2} ms"),
    }
}

/// Counts as a table, or as one object.
pub(super) fn summary(summary: &Summary, by: By, step: Step, limit: usize, output: &mut Output<'_>) -> Result<(), Trouble> {
    let all = summary.all.requests;
    let groups = summary.groups();
    let rest = groups.len().saturating_sub(limit);
    let shown = groups.iter().take(limit).map(|(name, group)| group_json(name, group, all));
    if output.form.is_json() {
        let groups: Vec<Value> = shown.collect();
        let whole = json!({ "by": by.name(), "of": step.name(), "all": group_json("all", &summary.all, all), "groups": groups });
        return output.line(&whole.to_string());
    }
    let mut rows: Vec<Value> = shown.collect();
    if rows.len() > 1 {
        rows.push(group_json("all", &summary.all, all));
    }
    let mut list = output.list(COLUMNS, "There is no such record.");
    list.page(&rows)?;
    list.end()?;
    if output.colour == Colour::Shown && !rows.is_empty() {
        let rest = if rest > 0 { format!("{rest} more groups are not shown: --limit {}. ", groups.len()) } else { String::new() };
        output.line(&output.colour.paint(Paint::Quiet, &format!("{rest}Times are of {step}, within 3 %.")))?;
    }
    Ok(())
}

const COLUMNS: &[Column] = &[
    Column::left("GROUP", |row| (text(row, "group"), Paint::None)),
    Column::right("REQUESTS", |row| (text(row, "requests"), Paint::None)),
    Column::right("SHARE", |row| (percent(row, "share"), Paint::None)),
    Column::right("FAILED", |row| (percent(row, "failed_share"), if row["failed"] == 0 { Paint::None } else { Paint::Careful })),
    Column::right("UP", |row| (size(row, "bytes_up"), Paint::None)),
    Column::right("DOWN", |row| (size(row, "bytes_down"), Paint::None)),
    Column::right("MEAN", |row| (time(row, "mean"), Paint::None)),
    Column::right("P50", |row| (time(row, "p50"), Paint::None)),
    Column::right("P90", |row| (time(row, "p90"), Paint::None)),
    Column::right("P99", |row| (time(row, "p99"), Paint::None)),
    Column::right("MAX", |row| (time(row, "max"), Paint::None)),
];

fn percent(row: &Value, field: &str) -> String {
    row[field].as_f64().map_or_else(|| "-".to_owned(), |part| format!("{:.1} %", part * 100.0))
}

fn time(row: &Value, field: &str) -> String {
    row["ms"][field].as_f64().map_or_else(|| "-".to_owned(), milliseconds)
}

fn group_json(name: &str, group: &Group, all: u64) -> Value {
    let part = |of: u64, all: u64| if all == 0 { 0.0 } else { of as f64 / all as f64 };
    json!({
        "group": name,
        "requests": group.requests,
        "share": part(group.requests, all),
        "failed": group.failed,
        "failed_share": part(group.failed, group.requests),
        "bytes_up": group.bytes_up,
        "bytes_down": group.bytes_down,
        "ms": spread_json(&group.took),
    })
}

/// Milliseconds; nothing where no record has that time.
fn spread_json(took: &Spread) -> Value {
    let ms = |micros: u64| micros as f64 / 1000.0;
    let at = |part: f64| took.quantile(part).map(ms);
    match took.mean() {
        None => Value::Null,
        Some(mean) => json!({
            "count": took.count(),
            "mean": (mean.round()) / 1000.0,
            "p50": at(0.5),
            "p90": at(0.9),
            "p99": at(0.99),
            "max": ms(took.most()),
        }),
    }
}
