//! A folder of records as it is read: live and sealed files alike.

mod crew;
mod follow;
mod glance;
mod pieces;
mod sieve;
mod spread;
mod summary;

use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use jiff::Timestamp;

use crate::filter::Filter;
use crate::record::Record;
use crate::stream::Stream;

pub use follow::Follow;
pub use spread::Spread;
pub use summary::{By, Group, Step, Summary};

pub(crate) use glance::Glance;

use crew::{Hand, in_order};
use pieces::{Piece, past_and_live, pieces};
use sieve::Sieve;

/// Lines are handed over in batches of about so many bytes.
const BATCH: usize = 256 * 1024;
/// Threads that read at most: beyond, the disk is what is waited for.
const MOST_THREADS: usize = 16;

/// A folder of records.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
    threads: usize,
    deadline: Option<Instant>,
}

/// A record that was looked for by its id.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it says.
    pub record: Record,
    /// The stream that it lies in.
    pub stream: Stream,
    /// The line itself, without the line's end.
    pub line: String,
}

/// Looks for the record of a request.
///
/// # Errors
/// The folder or one of its files can't be read.
pub fn find(folder: &Path, id: &str) -> io::Result<Option<Found>> {
    Records::in_folder(folder).find(id)
}

/// Lets this thread, and those that it starts, give way to all others: records can wait, requests can't.
pub fn give_way() {
    /// The lowest priority there is.
    const NICE: i32 = 19;
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "records are looked through at the priority of everything else");
    }
}

impl Records {
    /// The records in a folder, which need not be there yet. They are read by as many threads as there are cores.
    pub fn in_folder(folder: &Path) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
        Self { folder: folder.to_owned(), threads, deadline: None }
    }

    /// The same, read by so many threads: one, where others need the cores.
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// The same, but what is not done by then fails as [`io::ErrorKind::TimedOut`].
    pub fn until(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// Shows each wanted line of a stream, in the order of writing, which is that of the requests' ends.
    ///
    /// # Errors
    /// The folder or one of its files can't be read.
    pub fn each(&self, stream: Stream, filter: &Filter, show: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<()> {
        self.show(&pieces(&self.folder, stream, filter.since)?, filter, show)
    }

    /// The newest wanted records of a stream, newest first, at most `limit`.
    ///
    /// # Errors
    /// The folder or one of its files can't be read.
    pub fn newest(&self, stream: Stream, filter: &Filter, limit: usize) -> io::Result<Vec<Record>> {
        let lines = self.newest_lines(stream, filter, limit)?;
        Ok(lines.iter().filter_map(|line| Record::parse(line)).collect())
    }

    /// The same, as the lines they are.
    ///
    /// # Errors
    /// The folder or one of its files can't be read.
    pub fn newest_lines(&self, stream: Stream, filter: &Filter, limit: usize) -> io::Result<Vec<Vec<u8>>> {
        let sieve = Sieve::new(filter);
        let mut backwards = pieces(&self.folder, stream, filter.since)?;
        backwards.reverse();
        let work = |piece: &Piece, hand: &Hand<'_, VecDeque<Vec<u8>>>| {
            let mut last = VecDeque::new();
            self.sift(piece, &sieve, hand, &mut |line, _| {
                if last.len() >= limit {
                    last.pop_front();
                }
                last.push_back(line.to_vec());
                ControlFlow::Continue(())
            })?;
            let _enough = hand.over(last);
            Ok(())
        };
        let mut newest = Vec::new();
        if limit > 0 {
            in_order(&backwards, self.threads, &work, &mut |last| {
                newest.extend(last.into_iter().rev().take(limit - newest.len()));
                if newest.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
        Ok(newest)
    }

    /// Counts the wanted records of a stream by what they have in common, with the percentiles of a time.
    ///
    /// # Errors
    /// The folder or one of its files can't be read.
    pub fn summarize(&self, stream: Stream, filter: &Filter, by: By, step: Step) -> io::Result<Summary> {
        let sieve = Sieve::new(filter);
        let work = |piece: &Piece, hand: &Hand<'_, Summary>| {
            let mut summary = Summary::new(by, step);
            self.sift(piece, &sieve, hand, &mut |_, glance| {
                summary.add(&glance);
                ControlFlow::Continue(())
            })?;
            let _enough = hand.over(summary);
            Ok(())
        };
        let mut all = Summary::new(by, step);
        in_order(&pieces(&self.folder, stream, filter.since)?, self.threads, &work, &mut |summary| {
            all.merge(summary);
            ControlFlow::Continue(())
        })?;
        Ok(all)
    }

    /// Follows a stream from its present end on.
    ///
    /// # Errors
    /// The live file can't be read.
    pub fn follow(&self, stream: Stream) -> io::Result<Follow> {
        Follow::from_now(&self.folder, stream)
    }

    /// Shows each wanted line of a stream, and follows it from there on: what is written meanwhile is shown once.
    ///
    /// # Errors
    /// The folder or one of its files can't be read.
    pub fn each_and_follow(
        &self,
        stream: Stream,
        filter: &Filter,
        show: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> io::Result<Follow> {
        let (past, live) = past_and_live(&self.folder, stream, filter.since)?;
        self.show(&past, filter, show)?;
        Ok(Follow::from_beginning_of(live, &self.folder, stream))
    }

    fn show(&self, pieces: &[Piece], filter: &Filter, show: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<()> {
        let sieve = Sieve::new(filter);
        let work = |piece: &Piece, hand: &Hand<'_, Vec<u8>>| self.sift_in_batches(piece, &sieve, hand);
        in_order(pieces, self.threads, &work, &mut |batch| lines(&batch).try_for_each(&mut *show))
    }

    /// Looks for the record of a request in both streams. An id says when its request began, so files of hours before are not
    /// looked at.
    ///
    /// # Errors
    /// The folder or one of its files can't be read.
    pub fn find(&self, id: &str) -> io::Result<Option<Found>> {
        let filter = Filter::default();
        let sieve = Sieve::with_id(&filter, id);
        let work = |piece: &Piece, hand: &Hand<'_, Vec<u8>>| {
            self.sift(piece, &sieve, hand, &mut |line, glance| match glance.request_id == id {
                true => hand.over(line.to_vec()),
                false => ControlFlow::Continue(()),
            })
        };
        for stream in Stream::ALL {
            let mut found = None;
            in_order(&pieces(&self.folder, stream, began(id))?, self.threads, &work, &mut |line| {
                found = Record::parse(&line).map(|record| {
                    let line = String::from_utf8_lossy(&line).into_owned();
                    Found { record, stream, line }
                });
                ControlFlow::Break(())
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Shows the wanted lines of a piece.
    fn sift<T>(
        &self,
        piece: &Piece,
        sieve: &Sieve<'_>,
        hand: &Hand<'_, T>,
        show: &mut dyn FnMut(&[u8], Glance<'_>) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let mut blocks = piece.open()?;
        while let Some(lines) = blocks.next()? {
            if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if hand.is_enough() || sieve.sift(lines, &mut |line, glance| show(line, glance)).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn sift_in_batches(&self, piece: &Piece, sieve: &Sieve<'_>, hand: &Hand<'_, Vec<u8>>) -> io::Result<()> {
        let mut batch = Vec::new();
        let mut wanted = ControlFlow::Continue(());
        self.sift(piece, sieve, hand, &mut |line, _| {
            batch.extend_from_slice(line);
            batch.push(b'\n');
            if batch.len() >= BATCH {
                wanted = hand.over(std::mem::take(&mut batch));
            }
            wanted
        })?;
        if wanted.is_continue() && !batch.is_empty() {
            let _enough = hand.over(batch);
        }
        Ok(())
    }
}

/// When the request with an id began; none if the id is not one of this gateway's: 8 hex digits of Unix seconds and 16 at random.
fn began(id: &str) -> Option<Timestamp> {
    let is_own = id.len() == 24 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let seconds = id.get(..8).filter(|_| is_own).and_then(|seconds| u32::from_str_radix(seconds, 16).ok())?;
    Timestamp::from_second(i64::from(seconds)).ok()
}

/// Lines without their ends.
fn lines(batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    batch.split_inclusive(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}
