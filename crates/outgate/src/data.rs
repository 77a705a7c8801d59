//! The data folder: what a run leaves there for the next one.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use outgate_store::{ExitId, KeyId, Secret};
use ring::rand::SystemRandom;
use serde::{Deserialize, Serialize};

/// What `quickstart` must remember: secrets exist only as hashes in the ledger. Readable by the owner only.
#[derive(Serialize, Deserialize)]
pub(crate) struct Quickstart {
    pub(crate) key_id: KeyId,
    pub(crate) secret: String,
    pub(crate) exit_id: ExitId,
    pub(crate) exit_token: String,
}

/// Makes the folder, readable by its owner only.
pub(crate) fn create(folder: &Path) -> Result<(), String> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|e| format!("the data folder {} can't be made: {e}", folder.display()))
}

/// Writes a file that only its owner can read, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("new");
    let _none_left = std::fs::remove_file(&draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

/// This gateway's name in Via and Proxy-Status: made once, so that two gateways in a row never share it.
pub(crate) fn gateway_name(folder: &Path) -> Result<String, String> {
    let path = folder.join("name");
    if let Ok(name) = std::fs::read_to_string(&path)
        && !name.trim().is_empty()
    {
        return Ok(name.trim().to_owned());
    }
    let random = Secret::random(&SystemRandom::new()).map_err(|e| e.to_string())?;
    let name = format!("outgate-{}", random.expose().chars().take(6).collect::<String>());
    write_private(&path, name.as_bytes()).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(name)
}

impl Quickstart {
    fn path(folder: &Path) -> PathBuf {
        folder.join("quickstart.json")
    }

    /// What the last run left; none if it is missing or damaged.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        let text = std::fs::read(Self::path(folder)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Leaves it for the next run.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), String> {
        let path = Self::path(folder);
        let text = serde_json::to_vec(self).map_err(|e| e.to_string())?;
        write_private(&path, &text).map_err(|e| format!("{}: {e}", path.display()))
    }
}
