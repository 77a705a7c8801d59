//! Holds the data folder for one process: a lock that ends with its holder, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The lock; dropping it lets the next one in.
///
/// The kernel ties it to the open file, not to the file's existence: one left behind by a killed run locks nobody out.
pub(crate) struct Hold {
    _file: File,
}

/// Why the folder can't be held.
pub(crate) enum HoldError {
    /// Someone else holds it; the process id it wrote, if readable.
    Taken(Option<u32>),
    /// The lock file can't be made.
    Io(io::Error),
}

impl Hold {
    pub(crate) fn take(path: &Path) -> Result<Self, HoldError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path).map_err(HoldError::Io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(HoldError::Taken(holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(HoldError::Io(error)),
        }
        // The number is a hint for people; without it the lock holds just the same.
        let _ =
            file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
