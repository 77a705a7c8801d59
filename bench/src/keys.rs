//! What a ledger of a million keys costs: starting on it, holding it, and admitting its keys, against a small one.
//!
//! Every size gets a ledger and a gateway of its own. Each round takes all sizes in turn, and logins are spread over all keys
//! of a ledger ([`login`]), so that no cache holds them.

mod ledger;
mod login;
mod page;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::time::Duration;

use self::ledger::{Ledger, Started};
pub(crate) use self::login::Logins;
use crate::cli::KeysLine;
use crate::failure::{During, Failure, Outcome};
use crate::measure::{Measure, Reading};
use crate::process::{self, Watched};
use crate::report;
use crate::stage::{self, Generator};

/// Starts of each at most: they vary little.
const STARTS: usize = 5;
/// The gateway's threads that bring usage to the ledger.
const LEDGER_THREADS: [&str; 3] = ["settle", "ledger-writer", "ledger-reader"];

/// What was found of one size; a reading per round.
struct Row {
    keys: u64,
    imported_in: Duration,
    starts: Vec<Reading>,
    setups: Vec<Reading>,
    latency: Vec<Reading>,
}

/// How it was measured.
struct Plan {
    starts: usize,
    rounds: usize,
    seconds: f64,
    rate: u32,
    load_before: String,
}

/// Measures, prints the tables and writes the page's section.
pub(crate) fn run(line: &KeysLine) -> Outcome<()> {
    process::raise_open_files()?;
    let starts = line.rounds.min(STARTS);
    let plan = Plan { starts, rounds: line.rounds, seconds: line.seconds, rate: line.rate, load_before: load_average() };
    let folder = tempfile::tempdir().during("making a temporary folder")?;
    let (_origin, origin) = stage::origin(line.load_core, folder.path().join("origin.log"))?;
    let mut ledgers = Vec::new();
    for keys in &line.keys {
        let ledger = Ledger::make(&line.outgate, folder.path(), *keys, line.core)?;
        say(&format!("{keys} keys: imported and checked in {:.1} s", ledger.imported_in.as_secs_f64()));
        ledgers.push(ledger);
    }
    let generator = Generator { origin, seconds: line.seconds, core: line.load_core };
    let mut bench = Bench { line, generator, rows: ledgers.iter().map(Row::of).collect(), ledgers };
    bench.starts()?;
    bench.admission()?;
    write!(std::io::stdout(), "{}", page::tables(&bench.rows, &plan)).during("printing the tables")?;
    if let Some(file) = &line.out {
        let before = fs::read_to_string(file).during("reading the page")?;
        fs::write(file, page::put(&before, &page::section(&bench.rows, &plan))).during("writing the page")?;
        say(&format!("wrote {}", file.display()));
    }
    Ok(())
}

impl Row {
    fn of(ledger: &Ledger) -> Self {
        let none = Vec::new;
        Self { keys: ledger.keys, imported_in: ledger.imported_in, starts: none(), setups: none(), latency: none() }
    }

    fn of_measure(&mut self, measure: Measure) -> &mut Vec<Reading> {
        if measure == Measure::Setups { &mut self.setups } else { &mut self.latency }
    }
}

struct Bench<'a> {
    line: &'a KeysLine,
    generator: Generator,
    ledgers: Vec<Ledger>,
    rows: Vec<Row>,
}

impl Bench<'_> {
    /// One process at a time, fresh each time.
    fn starts(&mut self) -> Outcome<()> {
        for round in 0..self.line.rounds.min(STARTS) {
            for of in self.order(round) {
                let started = self.start(of)?;
                let settled = Watched { pids: vec![started.process.pid()], core: None }.settled_kib()?;
                let reading = Reading::from([
                    ("ready_s".into(), started.ready_in.as_secs_f64()),
                    ("rss_kib".into(), settled as f64),
                    ("peak_kib".into(), started.peak_kib() as f64),
                ]);
                let told = format!("ready after {:.2} s, {:.1} MiB", reading["ready_s"], reading["rss_kib"] / 1024.0);
                self.say(round, "start", of, &told);
                self.rows[of].starts.push(reading);
            }
        }
        Ok(())
    }

    /// All of them run all the time; one at a time is worked.
    fn admission(&mut self) -> Outcome<()> {
        let started = (0..self.ledgers.len()).map(|of| self.start(of)).collect::<Outcome<Vec<Started>>>()?;
        for round in 0..self.line.rounds {
            for measure in [Measure::Setups, Measure::Latency] {
                for of in self.order(round) {
                    let reading = self.load(measure, of, &started[of])?;
                    let told = report::headline(measure, &reading);
                    self.say(round, measure.name(), of, &told);
                    self.rows[of].of_measure(measure).push(reading);
                }
            }
        }
        Ok(())
    }

    fn say(&self, round: usize, what: &str, of: usize, told: &str) {
        say(&format!("round {} {what:7} {:>8} keys: {told}", round + 1, self.rows[of].keys));
    }

    /// Each round begins with another one.
    fn order(&self, round: usize) -> impl Iterator<Item = usize> + use<> {
        let sizes = self.ledgers.len();
        (0..sizes).map(move |turn| (round + turn) % sizes)
    }

    fn start(&self, of: usize) -> Outcome<Started> {
        self.ledgers[of].start(&self.line.outgate, self.line.core)
    }

    fn load(&self, measure: Measure, of: usize, through: &Started) -> Outcome<Reading> {
        let way = ["--proxy", &through.proxy, "--keys", &self.rows[of].keys.to_string(), "--rate", &self.line.rate.to_string()];
        let watched = Watched { pids: vec![through.process.pid()], core: Some(self.line.core) };
        let before = process::thread_ticks(through.process.pid())?;
        let mut reading = self.generator.load(measure, &way.map(String::from), &watched)?.map_err(Failure::new)?;
        let after = process::thread_ticks(through.process.pid())?;
        split(&mut reading, &before, &after);
        Ok(reading)
    }
}

/// Splits `cpu_us_each` into `ledger_us_each`, what the threads take that write usage to the ledger, and `loop_us_each`, the rest:
/// what a client waits for. In parts of the whole turn, its warm-up included.
fn split(reading: &mut Reading, before: &HashMap<String, u64>, after: &HashMap<String, u64>) {
    let taken = |name: &String| after[name].saturating_sub(before.get(name).copied().unwrap_or(0)) as f64;
    let whole: f64 = after.keys().map(taken).sum();
    let ledger: f64 = after.keys().filter(|name| LEDGER_THREADS.contains(&name.as_str())).map(taken).sum();
    if let Some(each) = reading.get("cpu_us_each").copied().filter(|_| whole > 0.0) {
        reading.insert("ledger_us_each".into(), each * ledger / whole);
        reading.insert("loop_us_each".into(), each * (whole - ledger) / whole);
    }
}

/// Of the last minute, as the kernel tells it.
fn load_average() -> String {
    let told = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    told.split(' ').next().unwrap_or("unknown").to_owned()
}

fn say(line: &str) {
    // Progress is a courtesy: without a terminal to read it the run goes on.
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_split_by_threads() {
        let ticks = |of: [(&str, u64); 3]| HashMap::from(of.map(|(name, ticks)| (name.to_owned(), ticks)));
        let mut reading = Reading::from([("cpu_us_each".to_owned(), 100.0)]);
        let before = ticks([("loop-0", 10), ("settle", 0), ("records", 5)]);
        split(&mut reading, &before, &ticks([("loop-0", 80), ("ledger-writer", 20), ("records", 15)]));
        assert_eq!((reading["ledger_us_each"], reading["loop_us_each"]), (20.0, 80.0));
    }
}
