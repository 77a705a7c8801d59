//! A stream's live file: lines are appended to it until its hour is over or it is large.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use jiff::Timestamp;

use crate::files::{self, Form, Hour, Past};
use crate::stream::Stream;

/// How far back the end of the last whole line is looked for. No line is as long: a head has 64 KiB.
const LONGEST_LINE: u64 = 1 << 20;

/// A stream's live file.
pub(crate) struct Live {
    folder: PathBuf,
    stream: Stream,
    /// Bytes from which on a file is ended before its hour is over.
    part: u64,
    open: Option<Open>,
}

struct Open {
    file: File,
    /// Device and inode: another file may get its name.
    identity: (u64, u64),
    /// When it was written to last.
    hour: Hour,
    /// A half line is at its end that could not be taken back.
    torn: bool,
}

/// Lines that could not be written.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) lines: u64,
    pub(crate) error: io::Error,
}

impl Live {
    pub(crate) fn new(folder: PathBuf, stream: Stream, part: u64) -> Self {
        Self { folder, stream, part, open: None }
    }

    /// Opens it, and ends what a run that was killed left: a half line, a file of an hour that is over.
    pub(crate) fn prepare(&mut self, now: Timestamp) -> io::Result<()> {
        self.present()?;
        self.turn(now)?;
        self.present().map(|_| ())
    }

    /// Appends whole lines. What does not fit is lost, and counted; what is left ends with a whole line.
    pub(crate) fn append(&mut self, now: Timestamp, lines: &[u8]) -> Result<(), Lost> {
        let lost = |lines: &[u8], error| Lost { lines: count(lines), error };
        // Without its new name a file goes on under the old one: better a long hour than none.
        let _goes_on = self.turn(now);
        let (open, length) = self.present().map_err(|error| lost(lines, error))?;
        if open.torn {
            open.file.write_all(b"\n").map_err(|error| lost(lines, error))?;
            open.torn = false;
        }
        let (written, failed) = write(&mut open.file, lines);
        if written > 0 {
            open.hour = Hour::of(now);
        }
        if let Some(error) = failed {
            let whole = lines[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            if whole < written {
                open.torn = !take_back(&open.file, length, written, whole);
            }
            return Err(lost(&lines[whole..], error));
        }
        Ok(())
    }

    /// Gives the file its hour's name if that is over or the file is large; the next lines begin another.
    pub(crate) fn turn(&mut self, now: Timestamp) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let path = files::live(&self.folder, self.stream);
        let found = match fs::metadata(&path) {
            Ok(found) if (found.dev(), found.ino()) == open.identity => found,
            // Somebody else has given it another name, or deleted it.
            _ => {
                self.open = None;
                return Ok(());
            }
        };
        if found.len() == 0 || (open.hour == Hour::of(now) && found.len() < self.part) {
            return Ok(());
        }
        fs::rename(&path, self.free_name(open.hour)?)?;
        self.open = None;
        Ok(())
    }

    /// A name of that hour that no file has, sealed or not.
    fn free_name(&self, hour: Hour) -> io::Result<PathBuf> {
        let taken = files::everything_past(&self.folder, self.stream)?;
        let last = taken.iter().filter(|past| past.hour == hour).map(|past| past.part).max().unwrap_or(0);
        Ok(Past { hour, part: last.saturating_add(1), form: Form::Plain }.path(&self.folder, self.stream))
    }

    /// The file under the live name, opened if it is not, and its length.
    fn present(&mut self) -> io::Result<(&mut Open, u64)> {
        let path = files::live(&self.folder, self.stream);
        let found = fs::metadata(&path).ok();
        let same = |open: &Open| found.as_ref().is_some_and(|found| (found.dev(), found.ino()) == open.identity);
        if !self.open.as_ref().is_some_and(same) {
            fs::create_dir_all(&self.folder)?;
            // Who went where is nobody else's business; a group may ship the files.
            let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o640).open(&path)?;
            let found = file.metadata()?;
            // Before anything is done to it.
            let written = Timestamp::from_second(found.mtime()).unwrap_or_default();
            end_half_line(&mut file)?;
            self.open = Some(Open { file, identity: (found.dev(), found.ino()), hour: Hour::of(written), torn: false });
        }
        let open = self.open.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let length = open.file.metadata()?.len();
        Ok((open, length))
    }
}

/// Whole lines in a piece of text.
pub(crate) fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// Writes as much as goes; says how much that was and why not more.
fn write(file: &mut File, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Some(error)),
        }
    }
    (written, None)
}

/// Cuts off the half line behind what was written whole; false if somebody else has written behind it, or it can't be.
fn take_back(file: &File, before: u64, written: usize, whole: usize) -> bool {
    let end = before + written as u64;
    file.metadata().is_ok_and(|found| found.len() == end) && file.set_len(before + whole as u64).is_ok()
}

/// A process that was killed may have left half a line: it says nothing, and would spoil the next.
fn end_half_line(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(LONGEST_LINE);
    let mut last = [0];
    if length == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(());
    }
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(length - from).read_to_end(&mut tail)?;
    match memchr::memrchr(b'\n', &tail) {
        Some(at) => file.set_len(from + at as u64 + 1),
        None if from == 0 => file.set_len(0),
        None => file.write_all(b"\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    fn names(folder: &std::path::Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn live(folder: &std::path::Path, part: u64) -> Live {
        Live::new(folder.to_owned(), Stream::Access, part)
    }

    #[test]
    fn each_hour_has_its_file_and_a_large_one_several() {
        let folder = tempfile::tempdir().unwrap();
        let mut live = live(folder.path(), 12);
        for (time, line) in [
            ("2090-01-01T17:59:59Z", "a\n"),
            ("2090-01-01T18:00:00Z", "b\n"),
            ("2090-01-01T18:00:01Z", "cccccccccc\n"),
            ("2090-01-01T18:00:02Z", "d\n"),
            ("2090-01-01T20:00:00Z", "e\n"),
        ] {
            live.append(at(time), line.as_bytes()).unwrap();
        }
        let expected = [
            ("access-2090-01-01T17.jsonl", "a\n"),
            ("access-2090-01-01T18-2.jsonl", "d\n"),
            ("access-2090-01-01T18.jsonl", "b\ncccccccccc\n"),
            ("access.jsonl", "e\n"),
        ];
        assert_eq!(names(folder.path()), expected.map(|(name, _)| name));
        for (name, text) in expected {
            assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), text, "{name}");
        }
        live.turn(at("2090-01-01T21:00:00Z")).unwrap();
        live.turn(at("2090-01-01T22:00:00Z")).unwrap();
        assert!(names(folder.path()).contains(&"access-2090-01-01T20.jsonl".to_owned()), "an idle hour ends, too");
    }

    #[test]
    fn a_start_ends_what_a_killed_run_left() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("access.jsonl"), "whole\nhal").unwrap();
        live(folder.path(), 1000).prepare(at("2090-01-01T17:00:00Z")).unwrap();
        let names = names(folder.path());
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(fs::read_to_string(folder.path().join(&names[0])).unwrap(), "whole\n", "{names:?}");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.jsonl");
        fs::write(&path, "whole\nhal").unwrap();
        let then = std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 3600);
        File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        live(folder.path(), 1000).prepare(Timestamp::now()).unwrap();
        let then = Hour::of(Timestamp::try_from(then).unwrap());
        assert_eq!(self::names(folder.path()), [format!("access-{then}.jsonl"), "access.jsonl".to_owned()]);

        fs::write(folder.path().join("access.jsonl"), "hal").unwrap();
        let mut second = live(folder.path(), 1000);
        second.prepare(Timestamp::now()).unwrap();
        second.append(Timestamp::now(), b"next\n").unwrap();
        let text = fs::read_to_string(folder.path().join("access.jsonl")).unwrap();
        assert_eq!(text, "next\n");
    }

    #[test]
    fn a_file_that_was_moved_or_deleted_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, now) = (folder.path().join("access.jsonl"), Timestamp::now());
        let mut live = live(folder.path(), 1000);
        live.append(now, b"a\n").unwrap();
        fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        live.append(now, b"b\n").unwrap();
        fs::remove_dir_all(folder.path()).unwrap();
        live.append(now, b"c\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "c\n");
    }

    #[test]
    fn half_a_line_is_taken_back_unless_somebody_wrote_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.jsonl");
        fs::write(&path, "before\nwhole\nhal").unwrap();
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        assert!(take_back(&file, 7, "whole\nhal".len(), "whole\n".len()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\nwhole\n");
        fs::write(&path, "before\nwhole\nhalother\n").unwrap();
        assert!(!take_back(&file, 7, "whole\nhal".len(), "whole\n".len()));
        assert_eq!(fs::read_to_string(&path).unwrap(), "before\nwhole\nhalother\n");
    }

    /// /dev/full takes nothing, as a full disk does.
    #[test]
    fn what_a_full_disk_does_not_take_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.path().join("access.jsonl")).unwrap();
        let mut live = live(folder.path(), 1000);
        let lost = live.append(Timestamp::now(), b"a\nb\n").unwrap_err();
        assert_eq!((lost.lines, lost.error.kind()), (2, io::ErrorKind::StorageFull));
        fs::remove_file(folder.path().join("access.jsonl")).unwrap();
        live.append(Timestamp::now(), b"c\n").unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("access.jsonl")).unwrap(), "c\n");
    }
}
