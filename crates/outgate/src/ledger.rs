//! The ledger that a configuration names: SQLite in the data folder, or a PostgreSQL that several gateways share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use outgate_store::Archive;
use outgate_store::amount::duration_text;
use outgate_store_postgres::{OpenError, Postgres, ServerUrl};
use outgate_store_sqlite::Sqlite;
use tokio::time::{Instant, sleep};

use crate::station::asked_to_stop;

/// How long between two attempts at a server that isn't there.
const AGAIN: Duration = Duration::from_secs(1);

/// Where the ledger is.
#[derive(Clone, Debug)]
pub(crate) struct LedgerSettings {
    /// The shared one; none: SQLite.
    pub(crate) postgres: Option<ServerUrl>,
    /// How long a start waits for a server that can't be reached.
    pub(crate) patience: Duration,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        // A database server that starts together with the gateway is there within this.
        Self { postgres: None, patience: Duration::from_secs(30) }
    }
}

/// The file of the embedded ledger.
pub(crate) fn sqlite_file(data: &Path) -> PathBuf {
    data.join("outgate.db")
}

/// Opens it for the gateway of this name. What it says when it can't is ready to print.
pub(crate) async fn open(settings: &LedgerSettings, data: &Path, name: &str) -> Result<Arc<dyn Archive>, String> {
    let Some(url) = &settings.postgres else {
        return Ok(Arc::new(Sqlite::open(&sqlite_file(data)).map_err(|error| error.to_string())?));
    };
    let stop = asked_to_stop();
    tokio::select! {
        opened = insist(url, name, settings.patience) => Ok(Arc::new(opened?)),
        () = stop => Err("stopped before the ledger could be reached".into()),
    }
}

async fn insist(url: &ServerUrl, name: &str, patience: Duration) -> Result<Postgres, String> {
    let until = Instant::now() + patience;
    loop {
        let why = match Postgres::open(url).await {
            // The name is a predecessor's until the server has noticed its end.
            Ok(store) => match store.claim(name).await {
                Ok(()) => return Ok(store),
                Err(error) => format!("the ledger can't be used ({url}): {error}"),
            },
            Err(error @ OpenError::Unreachable { .. }) => error.to_string(),
            Err(error) => return Err(error.to_string()),
        };
        if Instant::now() + AGAIN > until {
            return Err(format!("{why}; waited {} for it (store.patience)", duration_text(patience)));
        }
        tracing::warn!(why, "waiting for the ledger");
        sleep(AGAIN).await;
    }
}
