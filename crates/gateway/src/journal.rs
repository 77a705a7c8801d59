//! Keeps usage on this machine's disk while the ledger doesn't take it.
//!
//! A file of JSON lines that is there only while something is owed. `rows` are counted and in no batch yet; `batch` is one
//! under its number, which may have reached the ledger or not; `done` says that the ledger has it. What a kill tore off at the
//! end of the file is what was counted in the last tenth of a second. Appending is left to the page cache, which outlives a
//! killed process; a rewrite is synced and takes the old file's place at once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use outgate_store::{Counters, Hour, KeyId, PoolName, UsageBatch, UsageDelta};
use serde::{Deserialize, Serialize};

/// A file longer than this, in bytes, and than four times what a rewrite made of it, is rewritten with its rows summed up.
const BULKY: u64 = 8 << 20;

/// The file of one gateway.
pub(crate) struct Journal {
    path: PathBuf,
    /// Open while something is in it and every line in it is whole.
    file: Option<File>,
    length: u64,
    /// What the last rewrite came to.
    rewritten: u64,
}

/// What a journal holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Owed {
    /// Numbered, in order; the first may be in the ledger already.
    pub(crate) batches: Vec<UsageBatch>,
    /// In no batch.
    pub(crate) rows: Vec<UsageDelta>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Rows(Vec<Row>),
    Batch { gateway: String, sequence: u64, rows: Vec<Row> },
    Done { gateway: String, sequence: u64 },
}

/// Key, pool, hour, start of the period in Unix seconds; bytes up, bytes down, requests, tunnels.
#[derive(Serialize, Deserialize)]
struct Row(String, String, i64, i64, u64, u64, u64, u64);

impl Journal {
    /// Opens the journal at `path` and tells what an earlier run left in it.
    ///
    /// # Errors
    /// The file is there and can't be read: what it holds must not be passed over.
    pub(crate) fn open(path: &Path) -> Result<(Self, Owed), String> {
        let journal = Self { path: path.to_owned(), file: None, length: 0, rewritten: 0 };
        let owed = match File::open(path) {
            Ok(file) => read(path, BufReader::new(file)).map_err(|error| format!("{}: {error}", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Owed::default(),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        Ok((journal, owed))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a line can be appended; otherwise all that is owed has to be written anew.
    pub(crate) fn is_whole(&self) -> bool {
        self.file.is_some() && (self.length < BULKY || self.length < 4 * self.rewritten)
    }

    /// Adds what was counted.
    pub(crate) fn append(&mut self, rows: &[UsageDelta]) -> io::Result<()> {
        self.write(&Line::Rows(rows.iter().map(Row::from).collect()))
    }

    /// Notes that the ledger has a batch.
    pub(crate) fn done(&mut self, batch: &UsageBatch) -> io::Result<()> {
        self.write(&Line::Done { gateway: batch.gateway.clone(), sequence: batch.sequence })
    }

    /// Puts this in place of all there was.
    pub(crate) fn rewrite<'a>(&mut self, batches: impl Iterator<Item = &'a UsageBatch>, rows: &[UsageDelta]) -> io::Result<()> {
        self.file = None;
        let draft = self.path.with_extension("new");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        let mut writer = io::BufWriter::new(&file);
        for batch in batches {
            let UsageBatch { gateway, sequence, rows } = batch;
            let rows = rows.iter().map(Row::from).collect();
            put(&mut writer, &Line::Batch { gateway: gateway.clone(), sequence: *sequence, rows })?;
        }
        if !rows.is_empty() {
            put(&mut writer, &Line::Rows(rows.iter().map(Row::from).collect()))?;
        }
        writer.flush()?;
        drop(writer);
        file.sync_all()?;
        fs::rename(&draft, &self.path)?;
        self.length = file.metadata()?.len();
        self.rewritten = self.length;
        self.file = Some(file);
        Ok(())
    }

    /// Nothing is owed any more.
    pub(crate) fn clear(&mut self) {
        self.file = None;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                // What is read again from it carries numbers that the ledger knows.
                tracing::warn!(path = %self.path.display(), %error, "a settled journal can't be removed");
            }
            _ => {}
        }
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut bytes = Vec::new();
        put(&mut bytes, line)?;
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::BrokenPipe.into()) };
        match file.write_all(&bytes) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Perhaps a part of the line is there: nothing may follow it.
                self.file = None;
                Err(error)
            }
        }
    }
}

fn put(writer: &mut impl Write, line: &Line) -> io::Result<()> {
    serde_json::to_writer(&mut *writer, line)?;
    writer.write_all(b"\n")
}

fn read(path: &Path, reader: impl BufRead) -> io::Result<Owed> {
    let mut owed = Owed::default();
    for (number, text) in reader.split(b'\n').enumerate() {
        let text = text?;
        let rows = |rows: Vec<Row>| rows.into_iter().map(UsageDelta::try_from).collect::<Result<Vec<_>, _>>();
        let taken = match serde_json::from_slice::<Line>(&text).map_err(|error| error.to_string()) {
            Ok(Line::Rows(more)) => rows(more).map(|mut more| owed.rows.append(&mut more)),
            Ok(Line::Batch { gateway, sequence, rows: more }) => {
                rows(more).map(|rows| owed.batches.push(UsageBatch { gateway, sequence, rows }))
            }
            Ok(Line::Done { gateway, sequence }) => {
                owed.batches.retain(|batch| batch.gateway != gateway || batch.sequence != sequence);
                Ok(())
            }
            Err(why) => Err(why),
        };
        if let Err(why) = taken {
            tracing::error!(path = %path.display(), line = number + 1, why, "a line of the journal can't be read and is passed over");
        }
    }
    Ok(owed)
}

impl From<&UsageDelta> for Row {
    fn from(row: &UsageDelta) -> Self {
        let Counters { up, down, requests, tunnels } = row.counters;
        Self(row.key.to_string(), row.pool.to_string(), row.hour.0, row.period_start.as_second(), up, down, requests, tunnels)
    }
}

impl TryFrom<Row> for UsageDelta {
    type Error = String;

    fn try_from(Row(key, pool, hour, start, up, down, requests, tunnels): Row) -> Result<Self, String> {
        Ok(Self {
            key: KeyId::parse(&key).map_err(|error| error.to_string())?,
            pool: PoolName::parse(&pool).map_err(|error| error.to_string())?,
            hour: Hour(hour),
            period_start: Timestamp::from_second(start).map_err(|error| error.to_string())?,
            counters: Counters { up, down, requests, tunnels },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, up: u64) -> UsageDelta {
        UsageDelta {
            key: KeyId::parse(key).unwrap(),
            pool: PoolName::parse("direct").unwrap(),
            hour: Hour(495_000),
            period_start: Timestamp::from_second(1_780_000_000).unwrap(),
            counters: Counters { up, down: 2, requests: 3, tunnels: 4 },
        }
    }

    fn batch(sequence: u64, rows: Vec<UsageDelta>) -> UsageBatch {
        UsageBatch { gateway: "gw".into(), sequence, rows }
    }

    fn at(name: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join(name);
        (folder, path)
    }

    #[test]
    fn what_is_owed_comes_back_and_what_is_done_does_not() {
        let (_folder, path) = at("usage.journal");
        let (mut journal, owed) = Journal::open(&path).unwrap();
        assert_eq!(owed, Owed::default());
        assert!(!path.exists(), "a file only when something is owed");
        let batches = [batch(7, vec![row("abcd", 1)]), batch(8, vec![row("efgh", 9)])];
        journal.rewrite(batches.iter(), &[row("abcd", 5)]).unwrap();
        journal.append(&[row("abcd", 6)]).unwrap();
        journal.done(&batches[0]).unwrap();
        let (_, owed) = Journal::open(&path).unwrap();
        let expected = Owed { batches: vec![batches[1].clone()], rows: vec![row("abcd", 5), row("abcd", 6)] };
        assert_eq!(owed, expected);
        journal.clear();
        assert_eq!(Journal::open(&path).unwrap().1, Owed::default());
    }

    #[test]
    fn a_torn_line_costs_only_itself() {
        let (_folder, path) = at("usage.journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.rewrite([].into_iter(), &[row("abcd", 5)]).unwrap();
        let mut torn = fs::read(&path).unwrap();
        let whole = torn.clone();
        torn.extend_from_slice(&whole[..whole.len() / 2]);
        fs::write(&path, &torn).unwrap();
        assert_eq!(Journal::open(&path).unwrap().1.rows, [row("abcd", 5)]);
    }

    #[test]
    fn a_failed_line_is_followed_by_none() {
        let (_folder, path) = at("usage.journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        assert!(!journal.is_whole() && journal.append(&[row("abcd", 5)]).is_err(), "there is no file yet");
        journal.file = Some(OpenOptions::new().write(true).open("/dev/full").unwrap());
        assert!(journal.append(&[row("abcd", 5)]).is_err());
        assert!(!journal.is_whole());
    }

    #[test]
    fn what_can_not_be_read_stops_the_start() {
        let (_folder, path) = at("usage.journal");
        fs::create_dir(&path).unwrap();
        assert!(Journal::open(&path).is_err());
    }
}
