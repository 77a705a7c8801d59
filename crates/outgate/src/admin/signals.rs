//! `outgate signals` and `outgate incidents`: how the gateway is, and what was wrong with it.

use clap::{Args, Subcommand};
use outgate_signals::Kind;
use serde_json::Value;

use super::Common;
use super::console::{Console, encoded};
use super::output::{Colour, Output, Paint};
use super::table::{Column, text, time};
use super::trouble::Trouble;
use super::usage::moment;

/// `signals`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  outgate signals
  outgate signals --raised
  outgate signals --json
A signal is raised when it was over its threshold at several looks, and cleared when it was well below it for some minutes:
docs/signals.md. STATE unknown means too few requests to tell.")]
pub(crate) struct Signals {
    #[command(flatten)]
    pub(super) common: Common,
    /// Only those that are raised
    #[arg(long)]
    raised: bool,
}

/// `incidents`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  outgate incidents
  outgate incidents --open
  outgate incidents --since 7d
  outgate incidents show 2026-11-16T14-00-40
An incident consists of the signals that one cause raised. It closes when the last of them is cleared, and is kept for 90 days."
)]
pub(crate) struct Incidents {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    one: Option<One>,
    /// Only those that go on
    #[arg(long)]
    open: bool,
    /// Only those that went on at this time or later: back from now (24h, 30d), a date or a time
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<String>,
}

#[derive(Debug, Subcommand)]
enum One {
    /// Show one, with its cause and what to do
    Show {
        /// Its name
        #[arg(value_name = "INCIDENT")]
        id: String,
    },
}

const SIGNALS: &[Column] = &[
    Column::left("SIGNAL", |row| (text(row, "signal"), Paint::None)),
    Column::left("OF", |row| (text(row, "of"), Paint::None)),
    Column::left("STATE", |row| (text(row, "state"), paint(row))),
    Column::right("VALUE", |row| (amount(row, "value"), paint(row))),
    Column::right("THRESHOLD", |row| (threshold(row), Paint::None)),
    Column::left("SINCE", |row| (time(row, "since"), Paint::None)),
    Column::left("NOTE", |row| (text(row, "note"), Paint::Quiet)),
];

const INCIDENTS: &[Column] = &[
    Column::left("INCIDENT", |row| (text(row, "id"), Paint::None)),
    Column::left("STATE", |row| (state(row).to_owned(), if row["open"] == true { Paint::Bad } else { Paint::Quiet })),
    Column::left("OPENED", |row| (time(row, "opened"), Paint::None)),
    Column::left("CLOSED", |row| (time(row, "closed"), Paint::None)),
    Column::left("LAYER", |row| (text(row, "layer"), Paint::None)),
    Column::left("FAULT", |row| (text(row, "fault"), Paint::None)),
    Column::right("FAILED", |row| (failed(row), Paint::None)),
    Column::left("WHAT", |row| (text(row, "headline"), Paint::None)),
];

impl Signals {
    pub(super) async fn run(self, console: &Console, output: &mut Output<'_>) -> Result<(), Trouble> {
        let answer = console.read("/v1/signals").await?;
        let items = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_raised = |row: &&Value| matches!(row["state"].as_str(), Some("raised" | "clearing"));
        let shown: Vec<Value> = items.iter().filter(|row| !self.raised || is_raised(row)).cloned().collect();
        let none =
            if self.raised { "No signal is raised." } else { "Nothing was looked at yet: the first look is after ten seconds." };
        let mut list = output.list(SIGNALS, none);
        list.page(&shown)?;
        list.end()
    }
}

impl Incidents {
    pub(super) async fn run(self, console: &Console, output: &mut Output<'_>) -> Result<(), Trouble> {
        if let Some(One::Show { id }) = self.one {
            let incident = console.read(&format!("/v1/incidents/{}", encoded(&id))).await?;
            return output.one(&incident, told);
        }
        let open = self.open.then(|| "open=true".to_owned());
        let since = self.since.map(|since| format!("since={}", encoded(&since)));
        let query: Vec<String> = open.into_iter().chain(since).collect();
        let path = if query.is_empty() { "/v1/incidents".to_owned() } else { format!("/v1/incidents?{}", query.join("&")) };
        console.read_all(&path, output.list(INCIDENTS, "There is none.")).await
    }
}

/// One incident, for people.
fn told(incident: &Value, colour: Colour) -> String {
    let heading = |text: &str| colour.paint(Paint::Heading, text);
    let mut lines = vec![
        format!("{} {}", heading(&text(incident, "headline")), colour.paint(Paint::Quiet, &format!("({})", state(incident)))),
        String::new(),
        format!("Incident   {}", text(incident, "id")),
        format!("Began      {}", time(incident, "began")),
        format!("Opened     {}", time(incident, "opened")),
        format!("Closed     {}", time(incident, "closed")),
        format!("Severity   {}", text(incident, "severity")),
        format!("Layer      {}", text(incident, "layer")),
        format!("Failed     {}", failed(incident)),
    ];
    for fault in incident["faults"].as_array().into_iter().flatten() {
        lines.push(format!("           {} {} ({})", text(fault, "count"), text(fault, "fault"), text(fault, "layer")));
    }
    lines.push(String::new());
    lines.push(heading("Signals"));
    for part in incident["signals"].as_array().into_iter().flatten() {
        let (name, of) = (text(part, "signal"), text(part, "of"));
        let (worst, threshold) = (amount(part, "worst"), threshold(part));
        let (raised, cleared) = (time(part, "raised"), time(part, "cleared"));
        lines.push(format!("  {name} ({of}): worst {worst}, threshold {threshold}, raised {raised}, cleared {cleared}"));
    }
    for (name, field) in [("Cause", "why"), ("What to do", "fix")] {
        lines.extend([String::new(), heading(name), text(incident, field)]);
    }
    if let Some(fault) = incident["fault"].as_str() {
        lines.extend([String::new(), format!("More: outgate explain {fault}")]);
    }
    lines.join("\n")
}

fn state(incident: &Value) -> &'static str {
    if incident["open"] == true { "open" } else { "closed" }
}

fn failed(incident: &Value) -> String {
    let (failed, requests) = (incident["failed"].as_u64().unwrap_or(0), incident["requests"].as_u64().unwrap_or(0));
    let part = if requests == 0 { 0.0 } else { failed as f64 / requests as f64 * 100.0 };
    format!("{failed} of {requests} ({part:.1} %)")
}

/// A number of a signal in its unit.
fn amount(row: &Value, field: &str) -> String {
    let named = |row: &Value| Kind::ALL.into_iter().find(|kind| row["signal"].as_str() == Some(kind.name()));
    match (row[field].as_f64(), named(row)) {
        (Some(value), Some(kind)) => kind.unit().show(value),
        (Some(value), None) => value.to_string(),
        (None, _) => "-".to_owned(),
    }
}

/// What is so or not has no threshold.
fn threshold(row: &Value) -> String {
    if row["unit"] == "flag" { "-".to_owned() } else { amount(row, "threshold") }
}

fn paint(row: &Value) -> Paint {
    match row["state"].as_str() {
        Some("raised") => Paint::Bad,
        Some("pending" | "clearing") => Paint::Careful,
        Some("fine") => Paint::Good,
        _ => Paint::Quiet,
    }
}
