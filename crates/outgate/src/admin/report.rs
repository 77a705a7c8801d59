//! `outgate report`: what support needs to know of one request, ready to paste.

use std::path::PathBuf;

use clap::Args;
use outgate_records::{Privacy, Records, Report};
use serde_json::json;

use super::Common;
use super::logs::{folder, unreadable};
use super::output::Output;
use super::trouble::Trouble;

/// `report`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  outgate report 692155d1a1b2c3d4e5f60718

The id is in the answer's X-Outgate-Request-Id, and in the records. More: docs/records.md")]
pub(crate) struct Show {
    #[command(flatten)]
    pub(super) common: Common,
    /// The request's id
    #[arg(value_name = "REQUEST-ID", value_parser = id)]
    id: String,
    /// The folder of the records, where the configuration names another than records/ in the data folder
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
    /// Show the client's whole address, too, and what only the operator may know
    #[arg(long)]
    full: bool,
}

impl Show {
    pub(super) fn run(self, output: &mut Output<'_>) -> Result<(), Trouble> {
        let folder = folder(&self.common, self.records.as_deref())?;
        let found = Records::in_folder(&folder).find(&self.id).map_err(unreadable(&folder))?;
        let privacy = if self.full { Privacy::Full } else { Privacy::Public };
        match found {
            Some(found) => {
                let report = Report::of(&found.record, privacy);
                output.one(&json!(report), |_, _| report.to_string())
            }
            None => Err(Trouble::failed(format!("there is no record of a request {} in {}", self.id, folder.display())).next(
                "It may still be going on: a record is written when its request ends. It may be older than what is kept, or another \
                 gateway's.",
            )),
        }
    }
}

/// Ids are as the client has them; blanks come with pasting.
fn id(text: &str) -> Result<String, &'static str> {
    let id = text.trim();
    let fits = (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if fits { Ok(id.to_ascii_lowercase()) } else { Err("an id is what X-Outgate-Request-Id says: 24 hex digits") }
}
