//! `console.json` in the data folder: how a command on the same machine finds the running gateway and may speak to it.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use outgate_store::Secret;
use serde_json::{Value, json};

/// Its name in the data folder.
pub const FILE_NAME: &str = "console.json";

/// Far above what it holds; a file beyond it isn't ours.
const LARGEST: u64 = 64 << 10;

/// What it says.
pub struct ConsoleFile {
    /// Where the console listens: `http://127.0.0.1:8081`.
    pub console_url: String,
    /// The token the admin API wants.
    pub admin_token: Secret<String>,
    /// The gateway's process.
    pub pid: u32,
}

/// Why it can't be read.
#[derive(Debug)]
pub enum ConsoleFileError {
    /// There is none: no gateway was ever started with this folder, or it ended well.
    Missing(PathBuf),
    /// It is there and can't be read.
    Unreadable(PathBuf, io::Error),
    /// It doesn't say what it should.
    Damaged(PathBuf),
}

impl fmt::Display for ConsoleFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "{} is not there", path.display()),
            Self::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Damaged(path) => write!(f, "{} is damaged: restart the gateway, it writes a new one", path.display()),
        }
    }
}

impl std::error::Error for ConsoleFileError {}

impl ConsoleFile {
    /// Writes it into `folder`, readable by the owner only, replacing one of an earlier run at once: a reader sees the old one
    /// or the new one, never half of either.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let path = folder.join(FILE_NAME);
        let draft = folder.join(format!("{FILE_NAME}.{}.new", self.pid));
        // Left behind by a killed run that had the same process id.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let text = json!({ "console_url": self.console_url, "admin_token": self.admin_token.expose(), "pid": self.pid });
        writeln!(file, "{text:#}")?;
        file.sync_all()?;
        fs::rename(&draft, &path)
    }

    /// Reads it from `folder`.
    pub fn read(folder: &Path) -> Result<Self, ConsoleFileError> {
        let path = folder.join(FILE_NAME);
        let text = match fs::metadata(&path)
            .and_then(|found| if found.len() > LARGEST { Ok(String::new()) } else { fs::read_to_string(&path) })
        {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ConsoleFileError::Missing(path));
            }
            Err(error) => return Err(ConsoleFileError::Unreadable(path, error)),
        };
        Self::parse(&text).ok_or(ConsoleFileError::Damaged(path))
    }

    /// Removes it when the gateway ends, unless another gateway has put its own there.
    pub fn remove(&self, folder: &Path) {
        if Self::read(folder).is_ok_and(|file| file.pid == self.pid) {
            // What stays behind only costs the next command a refused connection.
            let _ = fs::remove_file(folder.join(FILE_NAME));
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        Some(Self {
            console_url: value.get("console_url")?.as_str()?.to_owned(),
            admin_token: Secret::new(value.get("admin_token")?.as_str()?.to_owned()),
            pid: u32::try_from(value.get("pid")?.as_u64()?).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(pid: u32) -> ConsoleFile {
        ConsoleFile { console_url: "http://127.0.0.1:1".into(), admin_token: Secret::new(format!("token{pid}")), pid }
    }

    #[test]
    fn it_is_replaced_whole_and_only_its_writer_removes_it() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(ConsoleFile::read(folder.path()), Err(ConsoleFileError::Missing(_))));
        for pid in [1, 2, 2] {
            file(pid).write(folder.path()).expect("written");
            let read = ConsoleFile::read(folder.path()).expect("read back");
            assert_eq!((read.pid, read.admin_token.expose().as_str()), (pid, format!("token{pid}").as_str()));
        }
        let path = folder.path().join(FILE_NAME);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "no drafts are left");
        file(1).remove(folder.path());
        assert!(path.exists());
        file(2).remove(folder.path());
        assert!(!path.exists());
    }

    #[test]
    fn a_damaged_one_is_told_apart() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in ["", "{", "{}", "[]", "{\"console_url\":1,\"admin_token\":\"a\",\"pid\":1}"] {
            fs::write(folder.path().join(FILE_NAME), text).expect("written");
            assert!(matches!(ConsoleFile::read(folder.path()), Err(ConsoleFileError::Damaged(_))), "{text:?}");
        }
    }
}
