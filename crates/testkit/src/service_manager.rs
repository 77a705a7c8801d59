//! A service manager's end of `NOTIFY_SOCKET` (sd_notify(3)).

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::patience::HANG;

/// One that listens.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    path: PathBuf,
    _folder: TempDir,
}

impl ServiceManager {
    /// Starts to listen.
    ///
    /// # Panics
    /// If the machine has no room for a socket.
    #[must_use]
    pub fn start() -> Self {
        let folder = TempDir::new().expect("the machine has a temporary folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("the folder is ours");
        socket.set_read_timeout(Some(HANG)).expect("a timeout above zero");
        Self { socket, path, _folder: folder }
    }

    /// The value of `NOTIFY_SOCKET`.
    ///
    /// # Panics
    /// Never: temporary paths are UTF-8.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.to_str().expect("temporary paths are UTF-8")
    }

    /// The next message that holds `part`.
    ///
    /// # Panics
    /// If none comes; with those that did.
    #[must_use]
    pub fn told(&self, part: &str) -> String {
        let mut heard = String::new();
        let mut message = [0; 4096];
        loop {
            let length = self.socket.recv(&mut message).unwrap_or_else(|error| panic!("no {part:?} ({error}) after:\n{heard}"));
            let text = String::from_utf8_lossy(&message[..length]).into_owned();
            if text.contains(part) {
                return text;
            }
            heard.push_str(&format!("{text}\n"));
        }
    }
}
