//! What there is to read: a stream's files, the large ones in pieces that can be read side by side.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::files::{self, Form, Past};
use crate::stream::Stream;

/// Plain files are read in pieces of so many bytes.
const PIECE: u64 = 16 << 20;
/// What is read at once.
const CHUNK: usize = 1 << 20;
/// A line longer than this is no record, and is not waited for.
const LONGEST_LINE: usize = 4 << 20;
/// The live file may get its hour's name just while the folder is listed; not so often in a row.
const LOOKS: usize = 5;

/// Some of a stream's lines, in the order of writing.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// The lines that begin between two places of the live file. It is open: it may get another name meanwhile.
    Live(Arc<File>, u64, u64),
    /// The lines that begin between two places of a plain file, which may be sealed meanwhile.
    Plain { path: PathBuf, sealed: PathBuf, from: u64, to: u64 },
    /// A sealed file.
    Sealed(PathBuf),
}

/// The pieces of a stream, oldest first, without the files that were finished before a time. A folder that is not there has none.
pub(crate) fn pieces(folder: &Path, stream: Stream, since: Option<Timestamp>) -> io::Result<Vec<Piece>> {
    let (mut pieces, live) = past_and_live(folder, stream, since)?;
    if let Some(file) = live {
        let file = Arc::new(file);
        pieces.extend(ranges(file.metadata()?.len()).map(|(from, to)| Piece::Live(file.clone(), from, to)));
    }
    Ok(pieces)
}

/// The same in two: the pieces of hours that are over, and the live file. No line is in both, and none is missing.
pub(crate) fn past_and_live(folder: &Path, stream: Stream, since: Option<Timestamp>) -> io::Result<(Vec<Piece>, Option<File>)> {
    let live = files::live(folder, stream);
    for _ in 0..LOOKS {
        let before = missing_is_none(File::open(&live))?;
        let past = missing_is_none(files::past(folder, stream))?.unwrap_or_default();
        let mut pieces = Vec::new();
        for past in past.iter().filter(|past| since.is_none_or(|since| past.hour.end() > since)) {
            pieces_of(folder, stream, past, &mut pieces)?;
        }
        let identity = |found: fs::Metadata| (found.dev(), found.ino());
        let after = missing_is_none(fs::metadata(&live))?.map(identity);
        if after == before.as_ref().map(File::metadata).transpose()?.map(identity) {
            return Ok((pieces, before));
        }
    }
    Err(io::Error::other("the files of records change faster than they can be listed"))
}

fn pieces_of(folder: &Path, stream: Stream, past: &Past, pieces: &mut Vec<Piece>) -> io::Result<()> {
    let (path, sealed) = (past.path(folder, stream), past.in_form(Form::Zstd).path(folder, stream));
    let length = match past.form {
        Form::Plain => missing_is_none(fs::metadata(&path))?.map(|found| found.len()),
        Form::Zstd => None,
    };
    match length {
        Some(length) => {
            pieces.extend(ranges(length).map(|(from, to)| Piece::Plain { path: path.clone(), sealed: sealed.clone(), from, to }));
        }
        None => pieces.push(Piece::Sealed(sealed)),
    }
    Ok(())
}

fn ranges(length: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..length.div_ceil(PIECE)).map(move |piece| (piece * PIECE, length.min((piece + 1) * PIECE)))
}

fn missing_is_none<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Piece {
    /// Its lines. A file that was deleted since it was listed, because it is old, has none.
    pub(crate) fn open(&self) -> io::Result<Blocks> {
        let (source, from, to): (Box<dyn Read>, u64, u64) = match self {
            Self::Live(file, from, to) => (Box::new(At { file: file.clone(), at: from.saturating_sub(1) }), *from, *to),
            Self::Plain { path, sealed, from, to } => match missing_is_none(File::open(path))? {
                Some(mut file) => {
                    file.seek(SeekFrom::Start(from.saturating_sub(1)))?;
                    (Box::new(file), *from, *to)
                }
                None => {
                    let mut source = unsealed(sealed)?;
                    io::copy(&mut source.by_ref().take(from.saturating_sub(1)), &mut io::sink())?;
                    (source, *from, *to)
                }
            },
            Self::Sealed(path) => (unsealed(path)?, 0, u64::MAX),
        };
        let mut blocks = Blocks { source, buffer: Vec::new(), used: 0, at: from.saturating_sub(1), to };
        if from > 0 {
            blocks.skip_begun_line()?;
        }
        Ok(blocks)
    }
}

fn unsealed(path: &Path) -> io::Result<Box<dyn Read>> {
    match missing_is_none(File::open(path))? {
        Some(file) => Ok(Box::new(zstd::Decoder::new(file)?)),
        None => Ok(Box::new(io::empty())),
    }
}

/// Reads a file that others read, too, each from its own place.
struct At {
    file: Arc<File>,
    at: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// The lines of a piece, some at a time.
pub(crate) struct Blocks {
    source: Box<dyn Read>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were shown.
    used: usize,
    /// Where in the file the buffer begins.
    at: u64,
    /// Lines that begin here or later are the next piece's.
    to: u64,
}

impl Blocks {
    /// The next whole lines, each with its end; none at the end. A last line that has no end is left out: it is being written,
    /// or was never finished.
    pub(crate) fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.at += self.used as u64;
        self.buffer.drain(..self.used);
        self.used = 0;
        if self.at >= self.to {
            return Ok(None);
        }
        let mut searched = 0;
        loop {
            if let Some(end) = self.end_of_lines(searched) {
                self.used = end + 1;
                return Ok(Some(&self.buffer[..self.used]));
            }
            searched = self.buffer.len();
            if searched > LONGEST_LINE {
                self.at += searched as u64;
                self.buffer.clear();
                self.skip_begun_line()?;
                searched = 0;
            } else if !self.read_more()? {
                return Ok(None);
            }
        }
    }

    /// Where the last whole line of this piece ends, as far as it is read. No line ends before `searched`.
    fn end_of_lines(&self, searched: usize) -> Option<usize> {
        // The last line may begin in this piece and end in the next.
        let last = self.to.saturating_sub(self.at + 1).min(self.buffer.len() as u64) as usize;
        let from = last.max(searched);
        match memchr::memchr(b'\n', &self.buffer[from..]) {
            Some(at) => Some(from + at),
            None => memchr::memrchr(b'\n', self.buffer.get(searched..last)?).map(|at| searched + at),
        }
    }

    fn skip_begun_line(&mut self) -> io::Result<()> {
        while self.read_more()? {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                self.buffer.drain(..=end);
                self.at += end as u64 + 1;
                return Ok(());
            }
            self.at += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    /// False at the end.
    fn read_more(&mut self) -> io::Result<bool> {
        let before = self.buffer.len();
        self.buffer.resize(before + CHUNK, 0);
        let read = loop {
            match self.source.read(&mut self.buffer[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(piece: &Piece) -> Vec<u8> {
        let mut blocks = piece.open().unwrap();
        let mut all = Vec::new();
        while let Some(lines) = blocks.next().unwrap() {
            assert!(lines.ends_with(b"\n"));
            all.extend_from_slice(lines);
        }
        all
    }

    #[test]
    fn every_line_is_in_one_piece_wherever_the_cuts_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.jsonl");
        let text = b"a\nbb\n\nccc\nd\neeeeeeeee\nf\n";
        fs::write(&path, [&text[..], b"half"].concat()).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        let length = text.len() as u64 + 4;
        for first in 1..length {
            for second in first..length {
                let cuts = [(0, first), (first, second), (second, length)];
                let live: Vec<u8> = cuts.iter().flat_map(|(from, to)| read(&Piece::Live(file.clone(), *from, *to))).collect();
                assert_eq!(live, text, "{first} {second}");
                let plain = |(from, to)| Piece::Plain { path: path.clone(), sealed: "".into(), from, to };
                let plain: Vec<u8> = cuts.into_iter().flat_map(|cut| read(&plain(cut))).collect();
                assert_eq!(plain, text, "{first} {second}");
            }
        }
    }

    #[test]
    fn a_file_that_is_sealed_meanwhile_is_read_on_from_the_same_place() {
        let folder = tempfile::tempdir().unwrap();
        let (path, sealed) = (folder.path().join("a.jsonl"), folder.path().join("a.jsonl.zst"));
        let text = b"a\nbb\nccc\n";
        fs::write(&sealed, zstd::encode_all(&text[..], 1).unwrap()).unwrap();
        let piece = |from, to| Piece::Plain { path: path.clone(), sealed: sealed.clone(), from, to };
        assert_eq!(read(&piece(0, 3)), b"a\nbb\n");
        assert_eq!(read(&piece(3, 9)), b"ccc\n");
        fs::remove_file(&sealed).unwrap();
        assert_eq!(read(&piece(0, 3)), b"", "deleted: it was old");
    }

    #[test]
    fn a_line_without_end_is_stepped_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl.zst");
        let text = [b"a\n".to_vec(), vec![b'x'; 3 * LONGEST_LINE], b"\nb\n".to_vec()].concat();
        fs::write(&path, zstd::encode_all(&text[..], 1).unwrap()).unwrap();
        assert_eq!(read(&Piece::Sealed(path)), b"a\nb\n");
    }

    #[test]
    fn the_live_file_is_last_and_what_ended_before_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(pieces(&folder.path().join("none"), Stream::Access, None).unwrap().len(), 0);
        for name in ["access-2026-11-21T16.jsonl.zst", "access-2026-11-21T17.jsonl", "access.jsonl"] {
            fs::write(folder.path().join(name), "x\n").unwrap();
        }
        let kinds = |since: Option<&str>| -> Vec<&str> {
            let since = since.map(|since| since.parse().unwrap());
            let kind = |piece: &Piece| match piece {
                Piece::Live(..) => "live",
                Piece::Plain { .. } => "plain",
                Piece::Sealed(_) => "sealed",
            };
            pieces(folder.path(), Stream::Access, since).unwrap().iter().map(kind).collect()
        };
        assert_eq!(kinds(None), ["sealed", "plain", "live"]);
        assert_eq!(kinds(Some("2026-11-21T16:59:59Z")), ["sealed", "plain", "live"]);
        assert_eq!(kinds(Some("2026-11-21T17:00:00Z")), ["plain", "live"]);
        assert_eq!(kinds(Some("2026-11-21T18:00:00Z")), ["live"]);
    }
}
