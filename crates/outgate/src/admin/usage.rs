//! `outgate usage`: what was used, grouped.

use clap::Args;
use jiff::Timestamp;
use outgate_store::{Grouping, KeyId, MomentError, parse_since};

use super::Common;
use super::console::{Console, encoded};
use super::output::{Output, Paint};
use super::plans::size;
use super::table::{Column, text};
use super::trouble::Trouble;

/// `usage`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  outgate usage
  outgate usage --since 30d --by day
  outgate usage --key ID --since 2026-11-01 --by pool --json")]
pub(crate) struct Usage {
    #[command(flatten)]
    pub(super) common: Common,
    /// Only this key
    #[arg(long, value_name = "ID")]
    key: Option<KeyId>,
    /// From when on: back from now (24h, 30d), a date or a time; usage is kept per hour
    #[arg(long, value_name = "WHEN", default_value = "24h", value_parser = moment)]
    since: String,
    /// A line per what: key, day, hour or pool
    #[arg(long, value_name = "key|day|hour|pool", default_value = "key")]
    by: Grouping,
}

/// Checked here, counted by the gateway's clock.
pub(super) fn moment(text: &str) -> Result<String, MomentError> {
    parse_since(text, Timestamp::now()).map(|_| text.to_owned())
}

macro_rules! columns {
    ($heading:literal, $field:literal) => {
        &[
            Column::left($heading, |row| (text(row, $field), Paint::None)),
            Column::right("UP", |row| (size(row, "up"), Paint::None)),
            Column::right("DOWN", |row| (size(row, "down"), Paint::None)),
            Column::right("TOTAL", |row| (size(row, "bytes"), Paint::None)),
            Column::right("REQUESTS", |row| (text(row, "requests"), Paint::None)),
            Column::right("TUNNELS", |row| (text(row, "tunnels"), Paint::None)),
        ]
    };
}

const BY_KEY: &[Column] = columns!("KEY", "key");
const BY_DAY: &[Column] = columns!("DAY", "day");
const BY_HOUR: &[Column] = columns!("HOUR", "hour");
const BY_POOL: &[Column] = columns!("POOL", "pool");

impl Usage {
    pub(super) async fn run(self, console: &Console, output: &mut Output<'_>) -> Result<(), Trouble> {
        let columns = match self.by {
            Grouping::Key => BY_KEY,
            Grouping::Day => BY_DAY,
            Grouping::Hour => BY_HOUR,
            Grouping::Pool => BY_POOL,
        };
        let key = self.key.map(|key| format!("&key={key}")).unwrap_or_default();
        let path = format!("/v1/usage?since={}&by={}{key}", encoded(&self.since), self.by);
        let list = output.list(columns, "Nothing was used in that time.");
        console.read_all(&path, list).await
    }
}
