//! The names of the files: which stream, which hour, live or over, sealed or not.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::stream::Stream;

/// A full hour, counted from 1970 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Hour(pub(crate) i64);

impl Hour {
    pub(crate) fn of(time: Timestamp) -> Self {
        Self(time.as_second().div_euclid(3600))
    }

    /// The first moment after it.
    pub(crate) fn end(self) -> Timestamp {
        Timestamp::from_second(self.0.saturating_add(1).saturating_mul(3600)).unwrap_or(Timestamp::MAX)
    }

    fn parse(text: &str) -> Option<Self> {
        let time = format!("{text}:00:00Z").parse().ok()?;
        Some(Self::of(time)).filter(|hour| hour.to_string() == text)
    }
}

impl fmt::Display for Hour {
    /// `2026-11-21T18`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Timestamp::from_second(self.0.saturating_mul(3600)).unwrap_or_default().to_string();
        f.write_str(time.split(':').next().unwrap_or_default())
    }
}

/// A file of an hour that is over. It holds what was written in that hour, and nothing that was written later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Past {
    pub(crate) hour: Hour,
    /// From 1; an hour has several when much was written in it, or the gateway was started anew.
    pub(crate) part: u32,
    pub(crate) form: Form,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    Plain,
    Zstd,
}

impl Past {
    /// `access-2026-11-21T18.jsonl`, with `-2` behind the hour for the second part and `.zst` at the end if it is sealed.
    pub(crate) fn name(&self, stream: Stream) -> String {
        let Self { hour, part, form } = self;
        let part = if *part > 1 { format!("-{part}") } else { String::new() };
        let end = if *form == Form::Zstd { ".zst" } else { "" };
        format!("{}-{hour}{part}.jsonl{end}", stream.name())
    }

    pub(crate) fn path(&self, folder: &Path, stream: Stream) -> PathBuf {
        folder.join(self.name(stream))
    }

    /// The same file in another form.
    pub(crate) fn in_form(&self, form: Form) -> Self {
        Self { form, ..self.clone() }
    }

    fn parse(name: &str) -> Option<(Stream, Self)> {
        let (stem, form) = match name.strip_suffix(".zst") {
            Some(stem) => (stem, Form::Zstd),
            None => (name, Form::Plain),
        };
        let (stream, rest) = stem.strip_suffix(".jsonl")?.split_once('-')?;
        let stream = Stream::ALL.into_iter().find(|known| known.name() == stream)?;
        let (hour, part) = match rest.rsplit_once('-').filter(|(hour, _)| hour.contains('T')) {
            Some((hour, part)) => (hour, part.parse().ok().filter(|part| *part > 1)?),
            None => (rest, 1),
        };
        let past = Self { hour: Hour::parse(hour)?, part, form };
        (past.name(stream) == name).then_some((stream, past))
    }
}

/// Where a stream's newest lines are.
pub(crate) fn live(folder: &Path, stream: Stream) -> PathBuf {
    folder.join(format!("{}.jsonl", stream.name()))
}

/// A stream's files of hours that are over, oldest first. One that is there in both forms is complete in the sealed one.
pub(crate) fn past(folder: &Path, stream: Stream) -> io::Result<Vec<Past>> {
    let mut found = everything_past(folder, stream)?;
    // Sorted, a file's sealed form comes right behind its plain one.
    found.reverse();
    found.dedup_by(|plain, sealed| (plain.hour, plain.part) == (sealed.hour, sealed.part));
    found.reverse();
    Ok(found)
}

/// The same, with both forms of those that have two.
pub(crate) fn everything_past(folder: &Path, stream: Stream) -> io::Result<Vec<Past>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(Past::parse).filter(|(of, _)| *of == stream).map(|(_, past)| past));
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_stream_hour_part_and_form_and_other_names_are_nobodys() {
        let hour = Hour::of("2026-11-21T18:59:59.999Z".parse().unwrap());
        for (name, part, form) in [
            ("access-2026-11-21T18.jsonl", 1, Form::Plain),
            ("access-2026-11-21T18.jsonl.zst", 1, Form::Zstd),
            ("access-2026-11-21T18-2.jsonl", 2, Form::Plain),
            ("access-2026-11-21T18-12.jsonl.zst", 12, Form::Zstd),
        ] {
            let past = Past { hour, part, form };
            assert_eq!(past.name(Stream::Access), name);
            assert_eq!(Past::parse(name), Some((Stream::Access, past)));
        }
        assert_eq!(Past::parse("auth-2026-11-21T18.jsonl").unwrap().0, Stream::Auth);
        for name in [
            "access.jsonl",
            "access-2026-11-21.jsonl",
            "access-2026-11-21T18.jsonl.zst.part",
            "access-2026-11-21T18-1.jsonl",
            "access-2026-11-21T18-02.jsonl",
            "access-2026-11-21T25.jsonl",
            "other-2026-11-21T18.jsonl",
            "access-2026-11-21T18.json",
        ] {
            assert_eq!(Past::parse(name), None, "{name}");
        }
        assert_eq!(hour.end().to_string(), "2026-11-21T19:00:00Z");
    }

    #[test]
    fn files_are_listed_by_hour_and_part_and_once() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "access-2026-11-21T18-10.jsonl",
            "access-2026-11-21T18-2.jsonl.zst",
            "access-2026-11-21T18-2.jsonl",
            "access-2026-11-21T18.jsonl",
            "access-2026-11-20T23.jsonl.zst",
            "auth-2026-11-21T18.jsonl",
            "access.jsonl",
            "notes.txt",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let listed: Vec<String> =
            past(folder.path(), Stream::Access).unwrap().iter().map(|past| past.name(Stream::Access)).collect();
        assert_eq!(
            listed,
            [
                "access-2026-11-20T23.jsonl.zst",
                "access-2026-11-21T18.jsonl",
                "access-2026-11-21T18-2.jsonl.zst",
                "access-2026-11-21T18-10.jsonl"
            ]
        );
        assert_eq!(everything_past(folder.path(), Stream::Access).unwrap().len(), 5);
    }
}
