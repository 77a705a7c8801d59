//! A folder of records as it is read: live and sealed files alike.

mod glance;
mod lines;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::filter::Filter;
use crate::record::Record;
use crate::stream::Stream;

pub(crate) use glance::Glance;

/// A folder of records.
#[derive(Clone, Debug)]
pub struct Records {
    folder: PathBuf,
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

impl Records {
    /// The records in a folder, which need not be there yet.
    pub fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Shows each wanted line of a stream, in the order of writing, which is that of the requests' ends.
    ///
    /// # Errors
    /// The folder or one of its files can't be read.
    pub fn each(&self, stream: Stream, filter: &Filter, show: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<()> {
        lines::each(
            &self.folder,
            stream,
            &mut |line| match Glance::parse(line).is_some_and(|glance| filter.wants_glance(&glance)) {
                true => show(line),
                false => ControlFlow::Continue(()),
            },
        )
    }

    /// The newest wanted records of a stream, newest first, at most `limit`.
    ///
    /// # Errors
    /// The folder or one of its files can't be read.
    pub fn newest(&self, stream: Stream, filter: &Filter, limit: usize) -> io::Result<Vec<Record>> {
        let mut kept = std::collections::VecDeque::with_capacity(limit.min(1024));
        self.each(stream, filter, &mut |line| {
            if let Some(record) = Record::parse(line) {
                if kept.len() == limit {
                    kept.pop_back();
                }
                kept.push_front(record);
            }
            ControlFlow::Continue(())
        })?;
        Ok(kept.into())
    }

    /// Looks for the record of a request in both streams.
    ///
    /// # Errors
    /// The folder or one of its files can't be read.
    pub fn find(&self, id: &str) -> io::Result<Option<Found>> {
        for stream in Stream::ALL {
            let mut found = None;
            lines::each(&self.folder, stream, &mut |line| match Record::parse(line) {
                Some(record) if record.request_id == id => {
                    found = Some(Found { record, stream, line: String::from_utf8_lossy(line).into_owned() });
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}
