//! The thread that writes the files, and what is known of how it goes.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;

use super::live::{Live, Lost, count};
use super::seal::{self, Ask};
use crate::files::Hour;
use crate::stream::Stream;

/// Blocks that wait for the disk; beyond them records are dropped and counted, never waited for.
const QUEUE: usize = 256;
/// The size from which on a file is ended before its hour is over: parts are read side by side, and deleted one by one.
const PART: u64 = 256 << 20;

/// What is kept, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Files older than this are deleted.
    pub time: Duration,
    /// The oldest files beyond so many bytes are deleted. Of failed authentications a quarter as much is kept, apart, so that
    /// guesses push out no requests.
    pub bytes: u64,
    /// What becomes of a file when its hour is over.
    pub sealed: Sealed,
}

/// What becomes of a file when its hour is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// It is compressed with zstd.
    Zstd,
    /// It stays as it is, under its hour's name.
    Plain,
}

impl Default for Keep {
    /// 30 days, within 20 GB.
    fn default() -> Self {
        Self { time: Duration::from_secs(30 * 86_400), bytes: 20_000_000_000, sealed: Sealed::Zstd }
    }
}

/// Writes the records of all event loops.
pub struct Writer {
    sender: SyncSender<Block>,
    state: Arc<State>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// How writing goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Records that were written.
    pub written: u64,
    /// Records that were lost because they came faster than the disk takes them.
    pub too_fast: u64,
    /// Records that were lost because the disk did not take them: it is full, or failed.
    pub refused: u64,
    /// Why nothing is written now; none when all is well.
    pub failing: Option<Failing>,
}

/// Why nothing is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Since when.
    pub since: Timestamp,
    /// What the system says.
    pub why: String,
}

#[derive(Default)]
struct State {
    written: AtomicU64,
    too_fast: AtomicU64,
    refused: AtomicU64,
    failing: Mutex<Option<Failing>>,
}

enum Block {
    Lines(Stream, Vec<u8>),
    Stop,
}

impl Writer {
    /// Opens `access.jsonl` and `auth.jsonl` in a folder, ends what a killed run left there, and starts to write and to seal.
    ///
    /// # Errors
    /// The folder can't be made or written, in words for the operator.
    pub fn open(folder: &Path, keep: Keep) -> Result<Arc<Self>, String> {
        let fail = |e: std::io::Error| format!("the records folder {} can't be written: {e}", folder.display());
        let mut streams = Stream::ALL.map(|stream| (stream, Live::new(folder.to_owned(), stream, PART)));
        for (_, live) in &mut streams {
            match live.prepare(Timestamp::now()) {
                // A disk that is full now has room later; traffic does not wait for that.
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {}
                prepared => prepared.map_err(fail)?,
            }
        }
        let (sender, blocks) = sync_channel(QUEUE);
        let (ask, asks) = sync_channel(1);
        let state = Arc::new(State::default());
        let writing = Writing { streams, ask, state: state.clone() };
        let thread = |name: &str, work: Box<dyn FnOnce() + Send>| std::thread::Builder::new().name(name.into()).spawn(work);
        let folder = folder.to_owned();
        let threads = [
            thread("records", Box::new(move || writing.run(&blocks))),
            thread("records-seal", Box::new(move || seal::run(&folder, &keep, &asks))),
        ];
        let threads = threads.into_iter().collect::<Result<_, _>>().map_err(|e| format!("a thread can't be started: {e}"))?;
        Ok(Arc::new(Self { sender, state, threads: Mutex::new(threads) }))
    }

    /// Records that were lost, for whatever reason.
    pub fn dropped(&self) -> u64 {
        self.state.too_fast.load(Relaxed) + self.state.refused.load(Relaxed)
    }

    /// How writing goes.
    pub fn health(&self) -> Health {
        let State { written, too_fast, refused, failing } = &*self.state;
        Health {
            written: written.load(Relaxed),
            too_fast: too_fast.load(Relaxed),
            refused: refused.load(Relaxed),
            failing: failing.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Hands lines over, or drops them: whoever serves requests does not wait for a disk.
    pub(crate) fn send(&self, stream: Stream, lines: Vec<u8>) {
        if let Err(TrySendError::Full(block) | TrySendError::Disconnected(block)) =
            self.sender.try_send(Block::Lines(stream, lines))
            && let Block::Lines(_, lines) = block
        {
            let lost = count(&lines);
            if self.state.too_fast.fetch_add(lost, Relaxed) == 0 {
                tracing::error!(lost, "records are dropped: they come faster than the disk takes them");
            }
        }
    }

    /// Writes what was handed over and stops.
    pub fn close(&self) {
        // The thread reads until it sees this; a full queue is being emptied by it.
        let _gone_already = self.sender.send(Block::Stop);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _panicked = thread.join();
        }
    }
}

/// What the writing thread has.
struct Writing {
    streams: [(Stream, Live); 2],
    ask: SyncSender<Ask>,
    state: Arc<State>,
}

impl Writing {
    fn run(mut self, blocks: &Receiver<Block>) {
        let mut hour = Hour::of(Timestamp::now());
        loop {
            let now = Timestamp::now();
            if Hour::of(now) != hour {
                hour = Hour::of(now);
                self.turn(now);
            }
            match blocks.recv_timeout(until(hour.end(), now)) {
                Ok(Block::Lines(stream, lines)) => self.write(stream, &lines),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Block::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// An hour is over, also where nothing is written.
    fn turn(&mut self, now: Timestamp) {
        for (_, live) in &mut self.streams {
            if let Err(error) = live.turn(now) {
                tracing::error!(%error, "a file of records can't be given its hour's name; it goes on as it is");
            }
        }
        // Full: it will look anyway.
        let _full = self.ask.try_send(Ask::Look);
    }

    fn write(&mut self, stream: Stream, lines: &[u8]) {
        let now = Timestamp::now();
        let Some((_, live)) = self.streams.iter_mut().find(|(of, _)| *of == stream) else { return };
        let State { written, refused, failing, .. } = &*self.state;
        // Nothing is locked while the disk works: whoever asks how it goes must not wait for it.
        let appended = live.append(now, lines);
        let mut failing = failing.lock().unwrap_or_else(PoisonError::into_inner);
        match appended {
            Ok(()) => {
                written.fetch_add(count(lines), Relaxed);
                if let Some(failed) = failing.take() {
                    let lost = refused.load(Relaxed);
                    tracing::info!(since = %failed.since, lost, "records are written again; so many were lost since the start");
                }
            }
            Err(Lost { lines: lost, error }) => {
                written.fetch_add(count(lines) - lost, Relaxed);
                refused.fetch_add(lost, Relaxed);
                if failing.is_none() {
                    tracing::error!(%error, "records can't be written; traffic goes on without them");
                    *failing = Some(Failing { since: now, why: error.to_string() });
                }
            }
        }
    }
}

/// How long it is until then: at least a moment, at most a minute, after which the clock is looked at again.
fn until(then: Timestamp, now: Timestamp) -> Duration {
    let wait = Duration::try_from(then.duration_since(now)).unwrap_or_default();
    wait.clamp(Duration::from_millis(10), Duration::from_secs(60))
}
