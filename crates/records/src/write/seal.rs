//! Seals the files of hours that are over and deletes those that are old, on a thread that gives way to all others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rustix::fs::FlockOperation;

use super::writer::{Keep, Sealed};
use crate::files::{self, Form, Past};
use crate::read::give_way;
use crate::stream::Stream;

/// A file that was written to so lately may be written to again: by a gateway that is about to end, beside its successor, which
/// looks at each block whether the name has moved on.
const SETTLED: Duration = Duration::from_secs(2);
/// How often it looks without being told to.
const LOOK: Duration = Duration::from_secs(60);
/// zstd's own default: a fifteenth of the size, at some hundred megabytes a second.
const LEVEL: i32 = 3;
/// Between two looks whether the gateway ends.
const CHUNK: usize = 1 << 20;

/// What the sealer is asked.
pub(crate) enum Ask {
    /// A file's hour is over.
    Look,
}

/// What a look came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Looked {
    Done,
    /// Some file is not settled yet.
    Again,
    /// The gateway ends.
    Stopped,
}

/// Works until nobody can ask any more.
pub(crate) fn run(folder: &Path, keep: &Keep, asks: &Receiver<Ask>) {
    give_way();
    let mut complained = false;
    loop {
        let patience = match look(folder, keep, Timestamp::now(), &|| ends(asks)) {
            Ok(Looked::Stopped) => return,
            Ok(Looked::Done) => {
                complained = false;
                LOOK
            }
            Ok(Looked::Again) => SETTLED,
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::error!(%error, folder = %folder.display(), "records can't be sealed or deleted; this goes on being tried");
                }
                LOOK
            }
        };
        match asks.recv_timeout(patience) {
            Ok(Ask::Look) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Whether whoever asks is gone. Another ask changes nothing: it is being looked already, and will be once more.
fn ends(asks: &Receiver<Ask>) -> bool {
    matches!(asks.try_recv(), Err(TryRecvError::Disconnected))
}

/// One look at all files: seals what is to be sealed, deletes what is to be deleted.
pub(crate) fn look(folder: &Path, keep: &Keep, now: Timestamp, ends: &dyn Fn() -> bool) -> io::Result<Looked> {
    // A gateway and its successor, or one that uses the same folder by mistake: one of them seals.
    let only_one = File::open(folder)?;
    if rustix::fs::flock(&only_one, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(Looked::Done);
    }
    let mut looked = Looked::Done;
    for stream in Stream::ALL {
        delete_old(folder, stream, keep, now)?;
        for past in files::everything_past(folder, stream)?.iter().filter(|past| past.form == Form::Plain) {
            if keep.sealed == Sealed::Plain {
                continue;
            }
            match seal(&past.path(folder, stream), &past.in_form(Form::Zstd).path(folder, stream), ends)? {
                Looked::Done => {}
                Looked::Again => looked = Looked::Again,
                Looked::Stopped => return Ok(Looked::Stopped),
            }
        }
        // Sealed files count by what they take now.
        delete_old(folder, stream, keep, now)?;
    }
    Ok(looked)
}

/// Compresses a file into another and deletes it. At each moment one of the two is there and whole.
fn seal(plain: &Path, sealed: &Path, ends: &dyn Fn() -> bool) -> io::Result<Looked> {
    let mut source = File::open(plain)?;
    let found = source.metadata()?;
    let age = found.modified().and_then(|at| SystemTime::now().duration_since(at).map_err(io::Error::other));
    // A file of the future is as settled as it gets.
    if age.is_ok_and(|age| age < SETTLED) {
        return Ok(Looked::Again);
    }
    if !sealed.exists() {
        let unfinished = unfinished(sealed);
        // Readable by whoever could read it before.
        let target = OpenOptions::new().create(true).write(true).truncate(true).mode(found.mode() & 0o777).open(&unfinished)?;
        let target = match compress(&mut source, target, found.len(), ends) {
            Ok(Some(target)) => target,
            Ok(None) => {
                fs::remove_file(&unfinished)?;
                return Ok(Looked::Stopped);
            }
            Err(error) => {
                // On a full disk it would be in the way of the records themselves.
                let _gone = fs::remove_file(&unfinished);
                return Err(error);
            }
        };
        target.sync_all()?;
        if source.metadata()?.len() != found.len() {
            fs::remove_file(&unfinished)?;
            return Ok(Looked::Again);
        }
        fs::rename(&unfinished, sealed)?;
    }
    fs::remove_file(plain)?;
    Ok(Looked::Done)
}

/// What a file is called until it is whole.
fn unfinished(sealed: &Path) -> PathBuf {
    let mut name = sealed.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// `None`: it was asked to end.
fn compress(source: &mut File, target: File, length: u64, ends: &dyn Fn() -> bool) -> io::Result<Option<File>> {
    let mut encoder = zstd::Encoder::new(target, LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(length))?;
    let mut left = length;
    let mut chunk = vec![0; CHUNK];
    while left > 0 {
        if ends() {
            return Ok(None);
        }
        let most = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        let read = source.read(&mut chunk[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        encoder.write_all(&chunk[..read])?;
        left -= read as u64;
    }
    encoder.finish().map(Some)
}

/// Deletes what is older than is kept, and the oldest of what is more than is kept.
fn delete_old(folder: &Path, stream: Stream, keep: &Keep, now: Timestamp) -> io::Result<()> {
    let most = match stream {
        Stream::Access => keep.bytes,
        Stream::Auth => keep.bytes / 4,
    };
    let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    let past = files::everything_past(folder, stream)?;
    let sizes: Vec<u64> = past.iter().map(|past| size(&past.path(folder, stream))).collect();
    let mut all = sizes.iter().sum::<u64>() + size(&files::live(folder, stream));
    for (past, size) in past.iter().zip(sizes) {
        if all <= most && !is_old(past, keep.time, now) {
            return Ok(());
        }
        fs::remove_file(past.path(folder, stream))?;
        all -= size;
    }
    Ok(())
}

fn is_old(past: &Past, kept: Duration, now: Timestamp) -> bool {
    let age = now.as_second() - past.hour.end().as_second();
    u64::try_from(age).is_ok_and(|age| age >= kept.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: fn() -> bool = || false;

    fn keep(hours: u64, bytes: u64, sealed: Sealed) -> Keep {
        Keep { time: Duration::from_secs(hours * 3600), bytes, sealed }
    }

    fn file(folder: &Path, name: &str, text: &str) {
        fs::write(folder.join(name), text).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(60);
        File::options().write(true).open(folder.join(name)).unwrap().set_modified(long_ago).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn now() -> Timestamp {
        "2026-11-21T18:30:00Z".parse().unwrap()
    }

    #[test]
    fn what_is_over_is_sealed_and_reads_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let text = "a line\n".repeat(500_000);
        file(folder.path(), "access-2026-11-21T17.jsonl", &text);
        file(folder.path(), "auth-2026-11-21T17.jsonl", "b\n");
        file(folder.path(), "access.jsonl", "c\n");
        let keep = keep(1000, u64::MAX, Sealed::Zstd);
        assert_eq!(look(folder.path(), &keep, now(), &NEVER).unwrap(), Looked::Done);
        assert_eq!(names(folder.path()), ["access-2026-11-21T17.jsonl.zst", "access.jsonl", "auth-2026-11-21T17.jsonl.zst"]);
        let sealed = File::open(folder.path().join("access-2026-11-21T17.jsonl.zst")).unwrap();
        assert!(zstd::decode_all(sealed).unwrap() == text.as_bytes());
    }

    #[test]
    fn without_compression_files_keep_their_form() {
        let folder = tempfile::tempdir().unwrap();
        file(folder.path(), "access-2026-11-21T17.jsonl", "a\n");
        look(folder.path(), &keep(1000, u64::MAX, Sealed::Plain), now(), &NEVER).unwrap();
        assert_eq!(names(folder.path()), ["access-2026-11-21T17.jsonl"]);
    }

    #[test]
    fn a_file_that_may_still_be_written_to_is_left_for_later() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("access-2026-11-21T17.jsonl"), "a\n").unwrap();
        let keep = keep(1000, u64::MAX, Sealed::Zstd);
        assert_eq!(look(folder.path(), &keep, now(), &NEVER).unwrap(), Looked::Again);
        assert_eq!(names(folder.path()), ["access-2026-11-21T17.jsonl"]);
    }

    #[test]
    fn what_a_killed_sealer_left_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let keep = keep(1000, u64::MAX, Sealed::Zstd);
        // Killed while it wrote, and between the new name and the deletion of the old file.
        file(folder.path(), "access-2026-11-21T16.jsonl", "a\n");
        file(folder.path(), "access-2026-11-21T16.jsonl.zst.part", "rubbish");
        file(folder.path(), "access-2026-11-21T17.jsonl", "b\n");
        fs::write(folder.path().join("access-2026-11-21T17.jsonl.zst"), zstd::encode_all(&b"b\n"[..], 1).unwrap()).unwrap();
        look(folder.path(), &keep, now(), &NEVER).unwrap();
        assert_eq!(names(folder.path()), ["access-2026-11-21T16.jsonl.zst", "access-2026-11-21T17.jsonl.zst"]);
        for (name, text) in [("access-2026-11-21T16.jsonl.zst", b"a\n"), ("access-2026-11-21T17.jsonl.zst", b"b\n")] {
            assert_eq!(zstd::decode_all(File::open(folder.path().join(name)).unwrap()).unwrap(), text);
        }
    }

    #[test]
    fn a_gateway_that_ends_does_not_wait() {
        let folder = tempfile::tempdir().unwrap();
        file(folder.path(), "access-2026-11-21T17.jsonl", "a\n");
        let keep = keep(1000, u64::MAX, Sealed::Zstd);
        assert_eq!(look(folder.path(), &keep, now(), &|| true).unwrap(), Looked::Stopped);
        assert_eq!(names(folder.path()), ["access-2026-11-21T17.jsonl"]);
    }

    #[test]
    fn the_old_and_the_oldest_go_and_nobody_elses_files() {
        let folder = tempfile::tempdir().unwrap();
        for hour in 10..18 {
            file(folder.path(), &format!("access-2026-11-21T{hour}.jsonl"), "12345678\n");
            file(folder.path(), &format!("auth-2026-11-21T{hour}.jsonl"), "12345678\n");
        }
        file(folder.path(), "access-notes.txt", "mine");
        // Hour 12 ended at 13:00, five and a half hours ago.
        look(folder.path(), &keep(5, u64::MAX, Sealed::Plain), now(), &NEVER).unwrap();
        assert_eq!(names(folder.path()).len(), 2 * 5 + 1);
        // 27 bytes are three files, a quarter of it is none.
        look(folder.path(), &keep(5, 35, Sealed::Plain), now(), &NEVER).unwrap();
        let left = ["access-2026-11-21T15.jsonl", "access-2026-11-21T16.jsonl", "access-2026-11-21T17.jsonl", "access-notes.txt"];
        assert_eq!(names(folder.path()), left);
    }

    #[test]
    fn of_two_gateways_in_one_folder_one_seals() {
        let folder = tempfile::tempdir().unwrap();
        file(folder.path(), "access-2026-11-21T17.jsonl", "a\n");
        let other = File::open(folder.path()).unwrap();
        rustix::fs::flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
        let keep = keep(1000, u64::MAX, Sealed::Zstd);
        look(folder.path(), &keep, now(), &NEVER).unwrap();
        assert_eq!(names(folder.path()), ["access-2026-11-21T17.jsonl"]);
        drop(other);
        look(folder.path(), &keep, now(), &NEVER).unwrap();
        assert_eq!(names(folder.path()), ["access-2026-11-21T17.jsonl.zst"]);
    }
}
