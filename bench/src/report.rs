//! The findings as tables: on the terminal, and as the page `docs/performance.md`.

use std::fs;
use std::process::Command;

use crate::goals::GOALS;
use crate::measure::{Measure, Reading};
use crate::peers::{CONFIGS, Ground};
use crate::run::{Findings, NOISE_LIMIT, Plan};
use crate::stats::Spread;

/// What follows this line in an existing page was written by hand and is kept.
pub(crate) const BY_HAND: &str = "<!-- Below this line: written by hand, kept by the next run. -->";

/// A column of a measure's table: a reading's field, alone or against the measure's reference.
struct Column {
    title: &'static str,
    field: &'static str,
    scale: f64,
    digits: usize,
    ratio: bool,
}

const fn ratio(title: &'static str, field: &'static str) -> Column {
    Column { title, field, scale: 1.0, digits: 2, ratio: true }
}

const fn plain(title: &'static str, field: &'static str, scale: f64, digits: usize) -> Column {
    Column { title, field, scale, digits, ratio: false }
}

struct Section {
    measure: Measure,
    title: &'static str,
    /// The peer that the ratio columns divide by.
    reference: &'static str,
    columns: &'static [Column],
}

const CPU_EACH: Column = plain("CPU µs each", "cpu_us_each", 1.0, 1);
const USER_EACH: Column = plain("of it user", "user_us_each", 1.0, 1);
const CORE: Column = plain("core busy %", "core_share", 100.0, 0);

static SECTIONS: &[Section] = &[
    Section {
        measure: Measure::Setups,
        title: "Tunnels set up, 64 at a time: connect, CONNECT, one byte there and back, close",
        reference: "haproxy-tcp",
        columns: &[ratio("÷ haproxy-tcp", "per_second"), plain("per second", "per_second", 1.0, 0), CPU_EACH, USER_EACH, CORE],
    },
    Section {
        measure: Measure::Gets,
        title: "Forwarded GETs of 1 KiB, 64 keep-alive connections",
        reference: "haproxy-http",
        columns: &[
            ratio("÷ haproxy-http", "per_second"),
            plain("per second", "per_second", 1.0, 0),
            CPU_EACH,
            USER_EACH,
            CORE,
            plain("new connections %", "reconnect_share", 100.0, 0),
        ],
    },
    Section { measure: Measure::Down, title: "Bulk down, 8 tunnels", reference: "nginx", columns: BULK },
    Section { measure: Measure::Up, title: "Bulk up, 8 tunnels", reference: "nginx", columns: BULK },
    Section {
        measure: Measure::Latency,
        title: "Delay of the first echoed byte at 1,500 set-ups per second (open loop)",
        reference: "squid",
        columns: &[
            ratio("p50 ÷ squid", "p50_us"),
            ratio("p99 ÷ squid", "p99_us"),
            plain("p50 µs", "p50_us", 1.0, 0),
            plain("p99 µs", "p99_us", 1.0, 0),
            CPU_EACH,
        ],
    },
    Section {
        measure: Measure::Idle,
        title: "Resident memory per idle tunnel, fresh process",
        reference: "squid",
        columns: &[
            ratio("÷ squid", "kib_per_tunnel"),
            plain("KiB per tunnel", "kib_per_tunnel", 1.0, 1),
            plain("MiB with none", "rss_kib", 1.0 / 1024.0, 1),
        ],
    },
];

const BULK: &[Column] = &[
    ratio("÷ nginx", "gbit_per_second"),
    ratio("CPU per byte ÷ nginx", "cpu_s_per_gib"),
    plain("Gbit/s", "gbit_per_second", 1.0, 1),
    plain("CPU s per GiB", "cpu_s_per_gib", 1.0, 2),
    plain("slowest's fair share", "fair_share", 1.0, 2),
    plain("resident MiB", "rss_kib", 1.0 / 1024.0, 0),
    CORE,
];

/// One reading in a few words, for progress lines.
pub(crate) fn headline(measure: Measure, reading: &Reading) -> String {
    let section = SECTIONS.iter().find(|section| section.measure == measure);
    let columns = section.map(|section| section.columns).unwrap_or_default();
    let mut words: Vec<String> = columns
        .iter()
        .filter(|column| !column.ratio)
        .filter_map(|column| {
            let value = reading.get(column.field)? * column.scale;
            Some(format!("{} {value:.*}", column.title, column.digits))
        })
        .collect();
    if let Some(noise) = reading.get("core_foreign").filter(|noise| **noise > NOISE_LIMIT) {
        words.push(format!("(noise: others took {:.0} % of the core)", noise * 100.0));
    }
    words.join(", ")
}

pub(crate) fn terminal(findings: &Findings, plan: &Plan) -> String {
    format!("\n{}{}", tables(findings, plan), remarks(findings))
}

/// The whole page; keeps what was written by hand at the end of the one `before`.
pub(crate) fn page(findings: &Findings, plan: &Plan, setting: &Setting, before: &str) -> String {
    let mut page = String::from("# Performance\n\n");
    page += "Written by `bench/run`: all numbers are of one run on one machine. Ratios carry over to other machines, absolutes don't.\n\n";
    page += "    bench/run                                        # everything, writes this page\n";
    page += "    bench/run --quick                                # one short round, writes nothing\n";
    page += "    bench/run --only outgate,squid --measure setups  # a part\n\n";
    page += "The proxy has one core to itself; the load generator and the origin share another one. Rounds are interleaved: each measure goes \
             through every proxy before the next, and each round begins with another proxy. Numbers are medians, with minimum and maximum in \
             brackets; ratios are medians of the rounds' own ratios. Every status, echoed byte and bulk byte is checked. Outgate runs as \
             `outgate quickstart` sets it up, with authentication, plan limits, metering, the target guard and records on; the others do less, \
             as the table of peers says.\n\n";
    page += &tables(findings, plan);
    page += &remarks(findings);
    page += &setting.markdown(plan);
    let by_hand = before.split_once(BY_HAND).map(|parts| parts.1).unwrap_or("\n");
    page + BY_HAND + by_hand
}

fn tables(findings: &Findings, plan: &Plan) -> String {
    let mut text = goals(findings);
    for section in SECTIONS.iter().filter(|section| plan.measures.contains(&section.measure)) {
        let mut rows = vec![vec![String::from("proxy")]];
        rows[0].extend(section.columns.iter().map(|column| column.title.to_string()));
        for peer in plan.peers.iter().filter(|peer| peer.measures.contains(&section.measure)) {
            let mut row = vec![peer.name.to_string()];
            row.extend(section.columns.iter().map(|column| cell(findings, section, column, peer.name)));
            rows.push(row);
        }
        text += &format!("## {}\n\n{}\n", section.title, table(&rows));
    }
    text
}

fn goals(findings: &Findings) -> String {
    let mut rows = vec![["goal", "against", "wanted", "found", ""].map(String::from).to_vec()];
    for goal in GOALS {
        let ours = findings.values(goal.measure, goal.ours, goal.field);
        let found = match goal.theirs {
            Some(theirs) => Spread::of_ratios(&ours, &findings.values(goal.measure, theirs, goal.field)),
            None => Spread::of(&ours.into_iter().flatten().collect::<Vec<f64>>()),
        };
        let Some(found) = found else { continue };
        let mut verdict = String::from(if goal.want.is_met(found.median) { "met" } else { "not met" });
        // Either may be the neighbours' doing.
        let disturbed =
            |peer: &str| findings.values(goal.measure, peer, "core_foreign").iter().flatten().any(|it| *it > NOISE_LIMIT);
        if disturbed(goal.ours) || goal.theirs.is_some_and(disturbed) {
            verdict += " (disturbed)";
        }
        let digits = if found.median >= 100.0 { 0 } else { 2 };
        rows.push(vec![
            goal.what.into(),
            goal.theirs.unwrap_or("itself").into(),
            goal.want.to_string(),
            spread(found, digits),
            verdict,
        ]);
    }
    if rows.len() == 1 {
        return String::new();
    }
    format!("## Goals\n\n{}\n", table(&rows))
}

fn cell(findings: &Findings, section: &Section, column: &Column, peer: &str) -> String {
    let values = findings.values(section.measure, peer, column.field);
    let found = if column.ratio {
        Spread::of_ratios(&values, &findings.values(section.measure, section.reference, column.field))
    } else {
        Spread::of(&values.iter().flatten().map(|value| value * column.scale).collect::<Vec<f64>>())
    };
    found.map_or_else(|| "–".into(), |found| spread(found, column.digits))
}

pub(crate) fn spread(found: Spread, digits: usize) -> String {
    let Spread { median, min, max } = found;
    if min == max { format!("{median:.digits$}") } else { format!("{median:.digits$} ({min:.digits$}–{max:.digits$})") }
}

/// A Markdown table that also reads well as plain text. The first row is the header.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            text += &format!("| {cell:width$} ");
        }
        text += "|\n";
        if index == 0 {
            for width in &widths {
                text += &format!("|{}", "-".repeat(width + 2));
            }
            text += "|\n";
        }
    }
    text
}

fn remarks(findings: &Findings) -> String {
    let mut text = String::from(
        "`core busy` is the proxy's part of its core: well below 100 % means that the generator or the origin was the limit, and then CPU \
         per operation is the number to compare.\n",
    );
    let noise = findings.worst_noise() * 100.0;
    text += &format!(
        "Other processes took at most {noise:.0} % of the proxies' core during any measurement. \
         A verdict is marked `disturbed` where it was more than {:.0} %: measure again on a quiet machine before believing it.\n\n",
        NOISE_LIMIT * 100.0
    );
    for (measure, peer, failure) in findings.failures() {
        text += &format!("- FAILED: {} through {peer}: {failure}\n", measure.name());
    }
    text
}

/// The machine and what ran on it.
pub(crate) struct Setting {
    facts: Vec<(String, String)>,
    peers: Vec<Vec<String>>,
    missing: Vec<String>,
}

impl Setting {
    pub(crate) fn look(plan: &Plan, ground: &Ground, missing: &[&str]) -> Self {
        let facts = machine();
        let mut peers = vec![["name", "version", "what"].map(String::from).to_vec()];
        for peer in &plan.peers {
            let version = peer.version(ground).unwrap_or_else(|| "–".into());
            peers.push(vec![peer.name.into(), version, peer.what.into()]);
        }
        Self { facts, peers, missing: missing.iter().map(ToString::to_string).collect() }
    }

    fn markdown(&self, plan: &Plan) -> String {
        let mut text = String::from("## Environment\n\n");
        for (name, fact) in &self.facts {
            text += &format!("- {name}: {fact}\n");
        }
        text += &format!("- {} rounds of {} s after a warm-up of a fifth of that; ", plan.rounds, plan.seconds);
        text += &format!("idle memory with {} tunnels, {} rounds\n", plan.idle_tunnels, plan.rounds.min(3));
        if !self.missing.is_empty() {
            text += &format!("- Not installed and left out: {}\n", self.missing.join(", "));
        }
        text += &format!("\n## Peers\n\n{}\n## Configurations\n\n", table(&self.peers));
        text += "Outgate: `outgate quickstart --listen ADDR --console ADDR --data DIR --allow-target 127.0.0.0/8 --allow-port 1-65535 --json`\n\n";
        text += "`@PORT@`, `@BRIDGE@` and `@ORIGIN@` stand for ports and addresses; a line with `@EACH@` is there for each of the origin's 16 addresses.\n\n";
        for (name, config) in CONFIGS {
            text += &format!("`{name}`\n\n```\n{config}```\n\n");
        }
        text
    }
}

/// The machine and the commit that was measured on it, as pairs of name and fact.
pub(crate) fn machine() -> Vec<(String, String)> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let value = |text: &str, key: &str| -> String {
        let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("unknown");
        line.trim_matches([' ', '\t', ':', '=', '"']).to_string()
    };
    let cpuinfo = read("/proc/cpuinfo");
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let mut facts = vec![
        ("CPU".into(), format!("{}, {cores} cores", value(&cpuinfo, "model name"))),
        ("Memory".into(), value(&read("/proc/meminfo"), "MemTotal")),
        ("Kernel".into(), read("/proc/sys/kernel/osrelease").trim().to_string()),
        ("System".into(), value(&read("/etc/os-release"), "PRETTY_NAME")),
    ];
    if let Some(commit) = commit() {
        facts.push(("Commit".into(), commit));
    }
    facts
}

/// The commit measured, with a `+` if the tree had changes.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let done = Command::new("git").args(arguments).output().ok()?;
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_string())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    Some(if changed { commit + "+" } else { commit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = [vec!["a".to_string(), "ratio".into()], vec!["haproxy".into(), "1.00 (0.90–1.10)".into()]];
        let expected = "| a       | ratio            |\n|---------|------------------|\n| haproxy | 1.00 (0.90–1.10) |\n";
        assert_eq!(table(&rows), expected);
    }

    #[test]
    fn every_measure_has_a_section() {
        for measure in Measure::ALL {
            assert!(SECTIONS.iter().any(|section| section.measure == *measure), "{}", measure.name());
        }
    }

    #[test]
    fn spreads() {
        let spread = |median, min, max| super::spread(Spread { median, min, max }, 1);
        assert_eq!(spread(1.0, 1.0, 1.0), "1.0");
        assert_eq!(spread(2.0, 1.0, 3.0), "2.0 (1.0–3.0)");
    }
}
