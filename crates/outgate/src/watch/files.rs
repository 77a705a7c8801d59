//! What the watch keeps over restarts: `signals/history.json` and `signals/incidents.json` in the data folder, each replaced whole.

use std::path::{Path, PathBuf};

use outgate_signals::{KeptHistory, KeptIncidents};
use tokio::task::JoinHandle;

use crate::data;

/// The two files.
pub(crate) struct Files {
    folder: PathBuf,
    history: Option<JoinHandle<()>>,
    incidents: Option<JoinHandle<()>>,
}

impl Files {
    /// Those of a data folder.
    pub(crate) fn in_folder(data: &Path) -> Self {
        Self { folder: data.join("signals"), history: None, incidents: None }
    }

    /// What the last run kept. A file that can't be read is set aside, and the run begins without it.
    pub(crate) fn read(&self) -> (Option<KeptHistory>, Option<KeptIncidents>) {
        if let Err(why) = data::create(&self.folder) {
            tracing::error!(why, "signals are not kept over restarts");
        }
        (
            read(&self.folder.join("history.json"), KeptHistory::read),
            read(&self.folder.join("incidents.json"), KeptIncidents::read),
        )
    }

    /// Writes the history, on a thread that may wait for a disk.
    pub(crate) fn write_history(&mut self, json: impl FnOnce() -> Vec<u8> + Send + 'static) {
        write(&mut self.history, self.folder.join("history.json"), json);
    }

    /// Writes the incidents, likewise.
    pub(crate) fn write_incidents(&mut self, json: impl FnOnce() -> Vec<u8> + Send + 'static) {
        write(&mut self.incidents, self.folder.join("incidents.json"), json);
    }

    /// Writes both for the last time, and waits for it.
    pub(crate) async fn write_last(mut self, json: impl FnOnce() -> (Vec<u8>, Vec<u8>) + Send + 'static) {
        for before in [self.history.take(), self.incidents.take()].into_iter().flatten() {
            let _panicked = before.await;
        }
        let (history, incidents) = json();
        self.write_history(move || history);
        self.write_incidents(move || incidents);
        for last in [self.history, self.incidents].into_iter().flatten() {
            let _panicked = last.await;
        }
    }
}

fn read<T>(path: &Path, parse: impl FnOnce(&[u8]) -> Result<T, String>) -> Option<T> {
    let json = match std::fs::read(path) {
        Ok(json) => json,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(file = %path.display(), %error, "can't be read; beginning without it");
            return None;
        }
    };
    match parse(&json) {
        Ok(kept) => Some(kept),
        Err(why) => {
            let aside = path.with_extension("json.broken");
            let moved = std::fs::rename(path, &aside).map_or_else(|error| error.to_string(), |()| aside.display().to_string());
            tracing::error!(file = %path.display(), why, aside = moved, "is broken; it is set aside, and a new one begun");
            None
        }
    }
}

/// Writes unless the write before still waits for its disk: the next one then says it all.
fn write(writing: &mut Option<JoinHandle<()>>, path: PathBuf, json: impl FnOnce() -> Vec<u8> + Send + 'static) {
    if writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
        return;
    }
    *writing = Some(tokio::task::spawn_blocking(move || {
        if let Err(error) = data::write_private(&path, &json()) {
            tracing::error!(file = %path.display(), %error, "can't be written; what it holds is lost at the next restart");
        }
    }));
}
