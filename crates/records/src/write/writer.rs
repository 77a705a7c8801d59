//! The thread that writes the files.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::stream::Stream;

/// Blocks that wait for the disk; beyond them records are dropped and counted, never waited for.
const QUEUE: usize = 256;

/// How long and how much is kept.
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
    /// 30 days, as SPEC says, within 20 GB.
    fn default() -> Self {
        Self { time: Duration::from_secs(30 * 86_400), bytes: 20_000_000_000, sealed: Sealed::Zstd }
    }
}

/// Writes the records of all event loops.
pub struct Writer {
    sender: SyncSender<Block>,
    dropped: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Block {
    Lines(Stream, Vec<u8>),
    Stop,
}

impl Writer {
    /// Opens `access.jsonl` and `auth.jsonl` in a folder and starts to write.
    ///
    /// # Errors
    /// The folder can't be made or written, in words for the operator.
    pub fn open(folder: &Path, _keep: Keep) -> Result<Arc<Self>, String> {
        let fail = |e: std::io::Error| format!("the records folder {} can't be written: {e}", folder.display());
        std::fs::create_dir_all(folder).map_err(fail)?;
        // Who went where is nobody else's business; a group may ship the files.
        let open = |stream: Stream| {
            let path = folder.join(format!("{}.jsonl", stream.name()));
            OpenOptions::new().create(true).append(true).mode(0o640).open(path).map_err(fail)
        };
        let (access, auth) = (open(Stream::Access)?, open(Stream::Auth)?);
        let (sender, receiver) = sync_channel(QUEUE);
        let work = move || write_all(&receiver, access, auth);
        let thread = std::thread::Builder::new().name("records".into()).spawn(work).map_err(fail)?;
        Ok(Arc::new(Self { sender, dropped: AtomicU64::new(0), thread: Mutex::new(Some(thread)) }))
    }

    /// Records that were lost because the disk took them not at all or not fast enough.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn send(&self, stream: Stream, lines: Vec<u8>) {
        if let Err(refused) = self.sender.try_send(Block::Lines(stream, lines)) {
            let (std::sync::mpsc::TrySendError::Full(block) | std::sync::mpsc::TrySendError::Disconnected(block)) = refused;
            if let Block::Lines(_, lines) = block {
                let lost = lines.iter().filter(|b| **b == b'\n').count() as u64;
                if self.dropped.fetch_add(lost, Ordering::Relaxed) == 0 {
                    tracing::error!(lost, "records are dropped: the disk doesn't keep up");
                }
            }
        }
    }

    /// Writes what was handed over and stops.
    pub fn close(&self) {
        // The thread reads until it sees this; a full queue is being emptied by it.
        let _gone_already = self.sender.send(Block::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _panicked = thread.join();
        }
    }
}

fn write_all(blocks: &Receiver<Block>, mut access: File, mut auth: File) {
    let mut complained = false;
    while let Ok(Block::Lines(stream, lines)) = blocks.recv() {
        let file = match stream {
            Stream::Access => &mut access,
            Stream::Auth => &mut auth,
        };
        if let Err(error) = file.write_all(&lines)
            && !std::mem::replace(&mut complained, true)
        {
            tracing::error!(%error, "records can't be written; traffic goes on without them");
        }
    }
}
