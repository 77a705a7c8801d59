//! What seeing costs: the same gateway with records and metrics on and off, each in turn.
//!
//! All settings run at the same time on one core, and one at a time is worked; each round begins with another one, and ratios
//! are those of a round, so that whatever slows the machine slows all of them.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::child::Running;
use crate::cli::SeeingLine;
use crate::failure::{During, Failure, Outcome};
use crate::measure::{Measure, Reading};
use crate::process::{self, Watched};
use crate::report::{headline, spread, table};
use crate::stage::{self, Doors, Generator};
use crate::stats::Spread;

/// The settings, the one that the others are compared with first.
const SETTINGS: [(&str, &[&str]); 4] = [
    ("nothing", &["OUTGATE_RECORDS_ENABLED=false", "OUTGATE_METRICS_ENABLED=false"]),
    ("metrics", &["OUTGATE_RECORDS_ENABLED=false"]),
    ("records", &["OUTGATE_METRICS_ENABLED=false"]),
    ("records and metrics", &[]),
];
const MEASURES: [(Measure, &str); 2] = [(Measure::Setups, "Tunnels set up"), (Measure::Gets, "Requests forwarded")];

/// A gateway under one setting, and what was found of it, by measure and round.
struct Row {
    name: &'static str,
    process: Running,
    proxy: String,
    found: [Vec<Reading>; MEASURES.len()],
}

/// Measures and prints the tables.
pub(crate) fn run(line: &SeeingLine) -> Outcome<()> {
    process::raise_open_files()?;
    let folder = tempfile::tempdir().during("making a temporary folder")?;
    let (_origin, origin) = stage::origin(line.load_core, folder.path().join("origin.log"))?;
    let start = |(name, variables): (&'static str, &[&str])| start(line, folder.path(), name, variables);
    let mut rows = SETTINGS.into_iter().map(start).collect::<Outcome<Vec<Row>>>()?;
    let generator = Generator { origin, seconds: line.seconds, core: line.load_core };
    for round in 0..line.rounds {
        for (at, (measure, _)) in MEASURES.into_iter().enumerate() {
            for turn in 0..rows.len() {
                let row = &mut rows[(round + turn) % SETTINGS.len()];
                let watched = Watched { pids: vec![row.process.pid()], core: Some(line.core) };
                let way = ["--proxy".to_owned(), row.proxy.clone()];
                let reading = generator.load(measure, &way, &watched)?.map_err(Failure::new)?;
                // Progress is a courtesy: without a terminal to read it the run goes on.
                let told = headline(measure, &reading);
                let _ = writeln!(std::io::stderr(), "round {} {:7} {:20} {told}", round + 1, measure.name(), row.name);
                row.found[at].push(reading);
            }
        }
    }
    for (at, (_, title)) in MEASURES.into_iter().enumerate() {
        writeln!(std::io::stdout(), "{title}:\n\n{}", tables(&rows, at)).during("printing the table")?;
    }
    Ok(())
}

fn start(line: &SeeingLine, folder: &Path, name: &'static str, variables: &[&str]) -> Outcome<Row> {
    let data = folder.join(name.replace(' ', "-"));
    fs::create_dir(&data).during("making the data folder")?;
    let (process, told) = stage::quickstart_under(variables, &line.outgate, Doors::any(), &data, line.core, data.join("log"))?;
    let url = told["proxy_url"].as_str().ok_or_else(|| Failure::new("quickstart's line has no proxy_url"))?;
    Ok(Row { name, process, proxy: url.to_owned(), found: Default::default() })
}

/// Rates and CPU of one measure, against the first setting's.
fn tables(rows: &[Row], at: usize) -> String {
    let header = ["what is on", "per second", "÷", "CPU µs each", "÷"].map(str::to_owned).to_vec();
    let values = |row: &Row, field: &str| -> Vec<Option<f64>> { row.found[at].iter().map(|of| of.get(field).copied()).collect() };
    let line = |row: &Row| {
        let plain = |field: &str, digits: usize| {
            let all: Vec<f64> = values(row, field).into_iter().flatten().collect();
            Spread::of(&all).map_or_else(|| "–".to_owned(), |found| spread(found, digits))
        };
        let ratio = |field: &str| {
            let found = Spread::of_ratios(&values(row, field), &values(&rows[0], field));
            found.map_or_else(|| "–".to_owned(), |found| spread(found, 3))
        };
        vec![row.name.to_owned(), plain("per_second", 0), ratio("per_second"), plain("cpu_us_each", 1), ratio("cpu_us_each")]
    };
    table(&std::iter::once(header).chain(rows.iter().map(line)).collect::<Vec<_>>())
}
