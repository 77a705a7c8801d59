//! `outgate audit`: who changed what.

use clap::Args;

use super::Common;
use super::console::{Console, encoded};
use super::output::{Output, Paint};
use super::table::{Column, text, time};
use super::trouble::Trouble;
use super::usage::moment;

/// `audit`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  outgate audit
  outgate audit --subject KEY-ID --since 30d
  outgate audit --json
WHO is admin with the name that its command claimed (OUTGATE_WHO, else user@host; nobody checks it), key with its id for what a
key's owner did, or the part of the gateway that did it.")]
pub(crate) struct AuditTrail {
    #[command(flatten)]
    pub(super) common: Common,
    /// Only what was done to this key, plan or exit
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// From when on: back from now (24h, 30d), a date or a time; from the beginning if not said
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<String>,
}

const COLUMNS: &[Column] = &[
    Column::left("TIME", |row| (time(row, "at"), Paint::None)),
    Column::left("WHO", |row| (text(row, "who"), Paint::None)),
    Column::left("WHAT", |row| (text(row, "what"), Paint::None)),
    Column::left("SUBJECT", |row| (text(row, "subject"), Paint::None)),
    Column::left("DETAIL", |row| (text(row, "detail"), Paint::None)),
];

impl AuditTrail {
    pub(super) async fn run(self, console: &Console, output: &mut Output<'_>) -> Result<(), Trouble> {
        let asked = [("subject", self.subject), ("since", self.since)];
        let query: Vec<String> =
            asked.into_iter().filter_map(|(name, value)| value.map(|value| format!("{name}={}", encoded(&value)))).collect();
        let path = if query.is_empty() { "/v1/audit".to_owned() } else { format!("/v1/audit?{}", query.join("&")) };
        console.read_all(&path, output.list(COLUMNS, "Nothing was changed in that time.")).await
    }
}
