//! Reads the configuration again, at SIGHUP or when its file changed, and says what came of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::{self, Config, Readings};
use crate::notify::Notify;
use crate::station::Station;

/// The settings that are read at a start only, and what is below them.
const FIXED: [&str; 16] = [
    "cluster.address",
    "console",
    "data",
    "exits.address",
    "fleet.check_interval",
    "fleet.eject_after",
    "fleet.eject_for",
    "fleet.eject_most",
    "fleet.slow_start",
    "metrics",
    "name",
    "pools",
    "records",
    "sessions.most",
    "store",
    "workers",
];

/// The configuration in force and where it came from.
pub(crate) struct Reload {
    file: PathBuf,
    readings: Readings,
    /// The drain deadline in force.
    pub(crate) drain: Duration,
}

impl Reload {
    pub(crate) fn new(file: PathBuf, config: &Config) -> Self {
        Self { file, readings: config.readings.clone(), drain: config.settings.timeouts.drain }
    }

    /// Reads the file again and puts it in force, or tells every problem and changes nothing.
    pub(crate) async fn run(&mut self, station: &Station, notify: Option<&Notify>) {
        let tell = |message: &str| notify.into_iter().for_each(|notify| notify.send(message));
        tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic().as_micros()));
        let status = match self.apply(station).await {
            Ok(()) => "reloaded".to_owned(),
            Err(problems) => {
                for problem in &problems {
                    tracing::error!(problem, "the configuration was not reloaded");
                }
                format!("not reloaded, as before: {}", problems.join("; ").replace('\n', " "))
            }
        };
        tell(&format!("READY=1\nSTATUS={status}"));
    }

    async fn apply(&mut self, station: &Station) -> Result<(), Vec<String>> {
        let config = config::load(&self.file)?;
        let changed = self.readings.changed(&config.readings);
        let (fixed, changed): (Vec<String>, Vec<String>) = changed.into_iter().partition(|setting| is_fixed(setting));
        let drain = config.settings.timeouts.drain;
        let listeners = station.reconfigure(config.settings, &config.seeing.signals).await.map_err(|why| vec![why])?;
        self.readings = config.readings.keeping(&fixed, &self.readings);
        self.drain = drain;
        let ledger = station
            .desk
            .resync()
            .await
            .map_or_else(|error| format!("can't be read again: {error}"), |differs| differs.to_string());
        if changed.is_empty() && ledger.is_empty() {
            tracing::info!("reloaded: nothing has changed");
        } else {
            let list = |addresses: &[std::net::SocketAddr]| {
                let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                texts.join(", ")
            };
            let (opened, closed) = (list(&listeners.opened), list(&listeners.closed));
            tracing::info!(changed = changed.join(", "), opened, closed, ledger, "reloaded");
        }
        if !fixed.is_empty() {
            tracing::warn!(settings = fixed.join(", "), "changed in the file, but in force after a restart only");
        }
        Ok(())
    }
}

fn is_fixed(setting: &str) -> bool {
    let below = |fixed: &str| setting.strip_prefix(fixed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    FIXED.into_iter().any(below)
}

/// `CLOCK_MONOTONIC`: by it a service manager knows which reload an answer is to.
fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}

/// Tells when a file has been changed and is no longer being written.
pub(crate) struct Watched {
    file: PathBuf,
    /// As it was when it was read last.
    read: Option<Stamp>,
    /// As it was at the last look, when that was another.
    found: Option<Stamp>,
}

type Stamp = (u64, Option<SystemTime>, u64);

impl Watched {
    pub(crate) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), read: stamp(file), found: None }
    }

    /// What is there now is about to be read.
    pub(crate) fn reading(&mut self) {
        (self.read, self.found) = (stamp(&self.file), None);
    }

    /// Whether it has changed since it was read, and not since the last look.
    pub(crate) fn look(&mut self) -> bool {
        // One that is gone is about to be replaced.
        let Some(now) = stamp(&self.file) else { return false };
        if self.read == Some(now) {
            self.found = None;
            return false;
        }
        self.found.replace(now) == Some(now)
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(file).ok()?;
    Some((found.len(), found.modified().ok(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_once_it_is_still() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("outgate.toml");
        let write = |text: &str| std::fs::write(&file, text).expect("ours");
        write("a");
        let mut watched = Watched::new(&file);
        assert!(!watched.look());
        write("ab");
        assert!(!watched.look(), "it may still be written");
        write("abc");
        assert!(!watched.look(), "it was");
        assert!(watched.look());
        watched.reading();
        assert!(!watched.look() && !watched.look());
        std::fs::remove_file(&file).expect("ours");
        assert!(!watched.look() && !watched.look(), "gone is not changed");
        std::fs::write(folder.path().join("new"), "abc").expect("ours");
        std::fs::rename(folder.path().join("new"), &file).expect("ours");
        assert!(!watched.look() && watched.look(), "another file under the name");
    }

    #[test]
    fn settings_that_need_a_restart() {
        for setting in [
            "workers",
            "console.address",
            "pools.default",
            "pools.phones.kind",
            "records.folder",
            "exits.address",
            "cluster.address",
        ] {
            assert!(is_fixed(setting), "{setting}");
        }
        for setting in
            ["exits.certificate", "cluster.peers", "listen[0].address", "timeouts.drain", "fleet.gather", "named", "policy.ports"]
        {
            assert!(!is_fixed(setting), "{setting}");
        }
    }
}
