//! `outgate logs`: the records of requests, filtered, counted, followed; read from the files, so that no gateway need be running.

mod show;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use outgate_faults::{Layer, Slug};
use outgate_records::read::{By, Follow, Step};
use outgate_records::{Filter, Records, StatusRange, Stream};
use outgate_store::parse_since;

use super::Common;
use super::output::{Form, Output};
use super::trouble::Trouble;
use show::Lines;

/// How often the live file is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// Groups shown when nobody says.
const GROUPS: usize = 50;

/// `logs`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  outgate logs --failed
  outgate logs --since 24h --by outcome
  outgate logs --since 24h --status 5xx --by target --of connect
  outgate logs --key ID --follow
  outgate logs --auth --since 7d --by client
  outgate logs --since 30d --json | jq .sentence

With --json each record is a line; with --by it is one object. More: docs/records.md")]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(super) common: Common,
    /// The folder of the records, where the configuration names another than records/ in the data folder
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
    /// From when on: back from now (30m, 24h, 30d), a date or a time; 1h if nobody says, with --follow now
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
    /// Until when
    #[arg(long, value_name = "WHEN", value_parser = moment, conflicts_with = "follow")]
    until: Option<Timestamp>,
    /// Only this outcome: ok or a slug (repeatable)
    #[arg(long, value_name = "SLUG", value_delimiter = ',', value_parser = outcome)]
    outcome: Vec<String>,
    /// Only what did not end well
    #[arg(long)]
    failed: bool,
    /// Only faults of this layer
    #[arg(long, value_name = "L", value_parser = layer)]
    layer: Option<Layer>,
    /// Only this status: 502, 5xx or 500-504
    #[arg(long, value_name = "5xx")]
    status: Option<StatusRange>,
    /// Only this key
    #[arg(long, value_name = "ID")]
    key: Option<String>,
    /// Only this target: a host, host:port or *.example.com
    #[arg(long, value_name = "HOST")]
    target: Option<String>,
    /// Only through this exit
    #[arg(long, value_name = "ID")]
    exit: Option<String>,
    /// Only through exits in this country
    #[arg(long, value_name = "CC")]
    country: Option<String>,
    /// Only through this pool
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// Only of this session
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    /// Only from this client
    #[arg(long, value_name = "IP")]
    client: Option<String>,
    /// Only what took at least so long in all, such as 2s
    #[arg(long, value_name = "TIME", value_parser = outgate_store::amount::parse_duration)]
    slower: Option<Duration>,
    /// The records of failed authentication, which lie apart
    #[arg(long)]
    auth: bool,
    /// Count them: a line per what, with percentiles
    #[arg(long, value_name = "FIELD", conflicts_with = "follow")]
    by: Option<By>,
    /// Which time's percentiles: queue, dns, connect, tls, setup, first_byte, total
    #[arg(long, value_name = "STEP", default_value = "setup")]
    of: Step,
    /// The newest so many records, or the largest so many groups
    #[arg(long, value_name = "N", conflicts_with = "follow")]
    limit: Option<usize>,
    /// Show what is written from now on, too, until Ctrl-C
    #[arg(long, short = 'f')]
    follow: bool,
}

/// Where a gateway's records are.
pub(super) fn folder(common: &Common, records: Option<&Path>) -> Result<PathBuf, Trouble> {
    let folder = records.map_or_else(|| common.data.join("records"), Path::to_owned);
    if folder.is_dir() {
        return Ok(folder);
    }
    let next = "--data DIR is the gateway's data folder; where its configuration has records.folder, say --records DIR";
    Err(Trouble::failed(format!("there are no records in {}", folder.display())).next(next))
}

/// Why records can't be read.
pub(super) fn unreadable(folder: &Path) -> impl Fn(io::Error) -> Trouble + '_ {
    move |error| Trouble::failed(format!("the records in {} can't be read: {error}", folder.display()))
}

impl Logs {
    pub(super) async fn run(self, output: &mut Output<'_>) -> Result<(), Trouble> {
        let folder = folder(&self.common, self.records.as_deref())?;
        let records = Records::in_folder(&folder);
        let (stream, filter) = (self.stream(), self.filter(Timestamp::now()));
        let unreadable = unreadable(&folder);
        match self.by {
            Some(by) => {
                let summary = records.summarize(stream, &filter, by, self.of).map_err(unreadable)?;
                show::summary(&summary, by, self.of, self.limit.unwrap_or(GROUPS), output)
            }
            None if self.follow => {
                let mut lines = Lines::new(output);
                let mut follow = match self.since {
                    Some(_) => take(&mut lines, |show| records.each_and_follow(stream, &filter, show), &unreadable)?,
                    None => records.follow(stream).map_err(&unreadable)?,
                };
                go_on(&mut follow, &filter, &mut lines, &unreadable).await
            }
            None => {
                let mut lines = Lines::new(output);
                match self.limit {
                    Some(limit) => {
                        let newest = records.newest_lines(stream, &filter, limit).map_err(unreadable)?;
                        newest.iter().rev().try_for_each(|line| lines.line(line))?;
                    }
                    None => take(&mut lines, |show| records.each(stream, &filter, show), &unreadable)?,
                }
                let hint = if self.since.is_none() { " in the last hour; --since 24h looks further back" } else { "" };
                lines.end(hint)
            }
        }
    }

    /// What failed at authentication lies apart, and is looked for there when something else can't be meant.
    fn stream(&self) -> Stream {
        let of_auth = |slug: &String| Slug::parse(slug).is_some_and(|slug| slug.row().layer == Layer::Auth);
        let meant = self.layer == Some(Layer::Auth) || (!self.outcome.is_empty() && self.outcome.iter().all(of_auth));
        if self.auth || meant { Stream::Auth } else { Stream::Access }
    }

    fn filter(&self, now: Timestamp) -> Filter {
        let recent = || outgate_store::earlier(now, Duration::from_secs(3600));
        Filter {
            since: self.since.or_else(|| (!self.follow && self.until.is_none()).then(recent)),
            until: self.until,
            outcomes: self.outcome.clone(),
            failed: self.failed,
            layer: self.layer,
            status: self.status,
            key: self.key.clone(),
            target: self.target.as_ref().map(|target| target.to_ascii_lowercase()),
            exit: self.exit.clone(),
            country: self.country.as_ref().map(|country| country.to_ascii_lowercase()),
            pool: self.pool.clone(),
            session: self.session.clone(),
            client: self.client.clone(),
            slower_than_ms: self.slower.map(|least| least.as_secs_f64() * 1000.0),
        }
    }
}

/// Reads, and shows what is read; whichever of the two fails is told.
fn take<T>(
    lines: &mut Lines<'_, '_>,
    read: impl FnOnce(&mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<T>,
    unreadable: &impl Fn(io::Error) -> Trouble,
) -> Result<T, Trouble> {
    let mut shown = Ok(());
    let read = read(&mut |line| {
        shown = lines.line(line);
        if shown.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    shown?;
    read.map_err(unreadable)
}

/// Shows what is written, until nobody listens.
async fn go_on(
    follow: &mut Follow,
    filter: &Filter,
    lines: &mut Lines<'_, '_>,
    unreadable: &impl Fn(io::Error) -> Trouble,
) -> Result<(), Trouble> {
    loop {
        let _shown_all = take(lines, |show| follow.poll(filter, show), unreadable)?;
        lines.flush()?;
        tokio::time::sleep(LOOK).await;
    }
}

fn moment(text: &str) -> Result<Timestamp, String> {
    parse_since(text, Timestamp::now()).map_err(|error| error.to_string())
}

fn layer(name: &str) -> Result<Layer, String> {
    Layer::parse(name).ok_or_else(|| "no such layer; `outgate explain` shows the layers".to_owned())
}

fn outcome(name: &str) -> Result<String, String> {
    if name == "ok" || Slug::parse(name).is_some() {
        return Ok(name.to_owned());
    }
    let near = Slug::ALL.iter().map(|slug| (strsim::damerau_levenshtein(name, slug.name()), slug.name())).min();
    Err(match near {
        Some((distance, near)) if distance <= 4 => format!("no such fault; did you mean {near}?"),
        _ => "ok or a fault; `outgate explain` lists them".to_owned(),
    })
}

impl Form {
    pub(super) fn is_json(self) -> bool {
        self == Self::Json
    }
}
