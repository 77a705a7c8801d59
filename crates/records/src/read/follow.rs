//! What is written from now on.

use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::sieve::Sieve;
use crate::files;
use crate::filter::Filter;
use crate::stream::Stream;

/// What is read at once.
const CHUNK: usize = 64 * 1024;

/// Follows a stream from its present end on, from file to file.
#[derive(Debug)]
pub struct Follow {
    live: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// How far it was read.
    at: u64,
    /// A line of which the end is not there yet.
    begun: Vec<u8>,
}

impl Follow {
    /// From the present end of the stream on.
    pub(crate) fn from_now(folder: &Path, stream: Stream) -> io::Result<Self> {
        let mut follow = Self { live: files::live(folder, stream), open: None };
        follow.open = follow.look()?;
        if let Some(open) = &mut follow.open {
            open.at = open.file.metadata()?.len();
        }
        Ok(follow)
    }

    /// From the beginning of a live file on that is open already.
    pub(crate) fn from_beginning_of(file: Option<File>, folder: &Path, stream: Stream) -> Self {
        let open = file.map(|file| Open { file, at: 0, begun: Vec::new() });
        Self { live: files::live(folder, stream), open }
    }

    /// Shows the wanted lines that were written since the last call. To be called several times a second; does not wait.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn poll(&mut self, filter: &Filter, show: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
        let sieve = Sieve::new(filter);
        loop {
            // Looked at before the rest is read: what has another name by then is complete.
            let moved_on = self.has_moved_on()?;
            if let Some(open) = &mut self.open
                && open.read(&sieve, show)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            if !moved_on {
                return Ok(ControlFlow::Continue(()));
            }
            self.open = self.look()?;
            if self.open.is_none() {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }

    fn has_moved_on(&self) -> io::Result<bool> {
        let Some(open) = &self.open else { return Ok(true) };
        let ours = open.file.metadata()?;
        Ok(match fs::metadata(&self.live) {
            Ok(found) => (found.dev(), found.ino()) != (ours.dev(), ours.ino()),
            // The next file is made with the next record.
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        })
    }

    fn look(&self) -> io::Result<Option<Open>> {
        match File::open(&self.live) {
            Ok(file) => Ok(Some(Open { file, at: 0, begun: Vec::new() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Open {
    fn read(&mut self, sieve: &Sieve<'_>, show: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
        if self.file.metadata()?.len() < self.at {
            // A half line was taken back, with what was read of it.
            self.at -= self.begun.len() as u64;
            self.begun.clear();
        }
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = self.file.read_at(&mut chunk, self.at)?;
            if read == 0 {
                return Ok(ControlFlow::Continue(()));
            }
            self.at += read as u64;
            self.begun.extend_from_slice(&chunk[..read]);
            let Some(end) = memchr::memrchr(b'\n', &self.begun) else { continue };
            let rest = self.begun.split_off(end + 1);
            let lines = std::mem::replace(&mut self.begun, rest);
            if sieve.sift(&lines, &mut |line, _| show(line)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
}
