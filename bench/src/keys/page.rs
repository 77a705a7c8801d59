//! The findings as tables, and as the section of `docs/performance.md` that is theirs.

use std::time::Duration;

use super::{Plan, Row};
use crate::measure::Reading;
use crate::report::{machine, spread, table};
use crate::stats::Spread;

/// The section's heading, by which the next run finds it.
const HEADING: &str = "## A million keys";
/// Set-ups with the most keys against those with the fewest, at least.
const WANTED: f64 = 0.95;

/// A column: a reading's field, as it is or against the smallest ledger's.
struct Column {
    title: &'static str,
    of: fn(&Row) -> &Vec<Reading>,
    field: &'static str,
    scale: f64,
    digits: usize,
    ratio: bool,
}

const fn plain(title: &'static str, of: fn(&Row) -> &Vec<Reading>, field: &'static str, scale: f64, digits: usize) -> Column {
    Column { title, of, field, scale, digits, ratio: false }
}

const fn ratio(of: fn(&Row) -> &Vec<Reading>, field: &'static str) -> Column {
    Column { title: "÷", of, field, scale: 1.0, digits: 2, ratio: true }
}

fn starts(row: &Row) -> &Vec<Reading> {
    &row.starts
}

fn setups(row: &Row) -> &Vec<Reading> {
    &row.setups
}

fn latency(row: &Row) -> &Vec<Reading> {
    &row.latency
}

const STARTS: &[Column] = &[
    plain("ready after s", starts, "ready_s", 1.0, 2),
    ratio(starts, "ready_s"),
    plain("resident MiB", starts, "rss_kib", 1.0 / 1024.0, 1),
    ratio(starts, "rss_kib"),
    plain("MiB at most while starting", starts, "peak_kib", 1.0 / 1024.0, 1),
];

const ADMISSION: &[Column] = &[
    plain("set-ups per second", setups, "per_second", 1.0, 0),
    ratio(setups, "per_second"),
    plain("CPU µs each", setups, "cpu_us_each", 1.0, 1),
    ratio(setups, "cpu_us_each"),
    plain("of it serving", setups, "loop_us_each", 1.0, 1),
    ratio(setups, "loop_us_each"),
    plain("of it the ledger's threads", setups, "ledger_us_each", 1.0, 1),
];

const LATENCY: &[Column] = &[
    plain("p50 µs", latency, "p50_us", 1.0, 0),
    ratio(latency, "p50_us"),
    plain("p99 µs", latency, "p99_us", 1.0, 0),
    ratio(latency, "p99_us"),
    plain("CPU µs each", latency, "cpu_us_each", 1.0, 1),
    ratio(latency, "cpu_us_each"),
];

/// The three tables.
pub(super) fn tables(rows: &[Row], plan: &Plan) -> String {
    let mut text = format!("Starting:\n\n{}\n", table_of(rows, STARTS));
    text += &memory(rows);
    text += &format!("Tunnels set up, 64 at a time, each by a key drawn from all of them:\n\n{}\n", table_of(rows, ADMISSION));
    text += &verdict(rows);
    text += &format!(
        "Delay of the first echoed byte at {} set-ups per second (open loop), each by a key drawn from all of them:\n\n{}",
        plan.rate,
        table_of(rows, LATENCY)
    );
    text
}

/// The section, with the conditions it was measured under.
pub(super) fn section(rows: &[Row], plan: &Plan) -> String {
    let mut text = format!("{HEADING}\n\n");
    text += "Written by `bench/run keys`. A ledger in SQLite is filled by `outgate store import`; the gateway runs as `outgate quickstart` \
             sets it up, on one core, with a plan that limits bytes, rate and tunnels; generator and origin share the other core. All \
             gateways run at the same time and are worked in turn; each round begins with another one. Numbers are medians with minimum \
             and maximum; `÷` is the median of the rounds' own ratios to the first row.\n\n";
    text += &tables(rows, plan);
    text += &format!("\n{} starts of each, {} rounds of {} s", plan.starts, plan.rounds, plan.seconds);
    let noise =
        rows.iter().flat_map(|row| row.setups.iter().chain(&row.latency)).filter_map(|reading| reading.get("core_foreign"));
    let noise: Vec<f64> = noise.copied().collect();
    if let Some(noise) = Spread::of(&noise) {
        let percent = |share: f64| share * 100.0;
        text += &format!(
            "; other processes took {:.0} % of the gateways' core (median; at most {:.0} %)",
            percent(noise.median),
            percent(noise.max)
        );
    }
    text += &format!("; load average {} before and {} after.", plan.load_before, super::load_average());
    for row in rows {
        text += &format!(" Importing {} keys and checking them took {}.", row.keys, seconds(row.imported_in));
    }
    text += "\n\n";
    for (name, fact) in machine() {
        text += &format!("- {name}: {fact}\n");
    }
    text
}

/// `page` with the section in the place of the one before, or at its end. What follows it is kept, from the next heading on.
pub(super) fn put(page: &str, section: &str) -> String {
    let Some((before, rest)) = page.split_once(&format!("{HEADING}\n")) else {
        return format!("{}\n\n{section}", page.trim_end());
    };
    match rest.find("\n##") {
        Some(next) => format!("{before}{section}{}", &rest[next..]),
        None => format!("{before}{section}"),
    }
}

fn table_of(rows: &[Row], columns: &[Column]) -> String {
    let mut cells = vec![vec!["keys".to_owned()]];
    cells[0].extend(columns.iter().map(|column| column.title.to_owned()));
    for row in rows {
        let mut line = vec![row.keys.to_string()];
        line.extend(columns.iter().map(|column| cell(row, &rows[0], column)));
        cells.push(line);
    }
    table(&cells)
}

fn cell(row: &Row, first: &Row, column: &Column) -> String {
    let found = match column.ratio {
        true => ratios(row, first, column.of, column.field),
        false => {
            Spread::of(&values(row, column.of, column.field).flatten().map(|value| value * column.scale).collect::<Vec<_>>())
        }
    };
    found.map_or_else(|| "–".into(), |found| spread(found, column.digits))
}

fn values<'a>(row: &'a Row, of: fn(&Row) -> &Vec<Reading>, field: &'a str) -> impl Iterator<Item = Option<f64>> + 'a {
    of(row).iter().map(move |reading| reading.get(field).copied())
}

fn ratios(row: &Row, first: &Row, of: fn(&Row) -> &Vec<Reading>, field: &str) -> Option<Spread> {
    let all = |row| values(row, of, field).collect::<Vec<_>>();
    Spread::of_ratios(&all(row), &all(first))
}

/// What each key beyond the first row's takes, of time and memory.
fn memory(rows: &[Row]) -> String {
    let [first, .., last] = rows else { return String::new() };
    let more = (last.keys - first.keys) as f64;
    let each = |field: &'static str, scale: f64| {
        let pairs = values(last, starts, field).zip(values(first, starts, field));
        let each: Vec<f64> = pairs.filter_map(|(last, first)| Some((last? - first?) * scale / more)).collect();
        Spread::of(&each).map_or_else(|| "–".into(), |found| spread(found, if scale > 1e5 { 2 } else { 0 }))
    };
    format!(
        "Each key from {} to {} adds {} bytes of memory and {} µs to the start.\n\n",
        first.keys,
        last.keys,
        each("rss_kib", 1024.0),
        each("ready_s", 1e6)
    )
}

fn verdict(rows: &[Row]) -> String {
    let [first, .., last] = rows else { return String::new() };
    let Some(found) = ratios(last, first, setups, "per_second") else { return String::new() };
    let met = if found.median >= WANTED { "met" } else { "not met" };
    let (most, fewest, found) = (last.keys, first.keys, spread(found, 2));
    let mut text = format!("Wanted: {most} keys at {WANTED} of the rate with {fewest}, or more; found {found}: {met}.");
    // What others take of the core is missing from a rate, not from the CPU of a set-up.
    if let Some(cpu) = ratios(first, last, setups, "cpu_us_each") {
        text += &format!(" By CPU, as on a core that nobody else uses: {}.", spread(cpu, 2));
    }
    text + "\n\n"
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_the_place_of_the_one_before() {
        let section = "## A million keys\n\nnew\n";
        let cases = [
            ("# Page\n", "# Page\n\n## A million keys\n\nnew\n"),
            ("# Page\n\n## A million keys\n\nold\n", "# Page\n\n## A million keys\n\nnew\n"),
            (
                "# Page\n\n## A million keys\n\nold\n\n### What it says\n",
                "# Page\n\n## A million keys\n\nnew\n\n### What it says\n",
            ),
        ];
        for (page, expected) in cases {
            assert_eq!(put(page, section), expected, "{page:?}");
            assert_eq!(put(expected, section), expected, "{page:?}, twice");
        }
    }
}
