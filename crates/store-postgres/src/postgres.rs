//! The store's handle: reaching the server, and each method of the contract as a job for the worker.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use outgate_store::{
    Archive, Audit, AuditQuery, AuditRow, Change, Changes, Delivery, Entry, KeyId, Snapshot, Store, StoreError, StoreFuture,
    UsageBatch, UsageQuery, UsageRow,
};
use tokio::sync::{Notify, mpsc};

use crate::pool::Locked;
use crate::schema::{self, KNOWN, MigrateError, Migrated};
use crate::server::ServerUrl;
use crate::tls::Tls;
use crate::worker::Worker;
use crate::{archive, feed, ledger, questions};

/// How long a change or a question may take. Less than the console waits, so that it hears why.
const CALL: Duration = Duration::from_secs(4);
/// How long a batch of usage may take, ten thousand rows at most. Less than the gateway waits before it asks again.
const DELIVERY: Duration = Duration::from_secs(7);
/// How long everything may take to be read: a million keys from a busy server.
const LOAD: Duration = Duration::from_secs(600);
/// How long everything may take to be told, taken or checked, as slow as the other end may be.
const WHOLE: Duration = Duration::from_secs(24 * 3_600);
/// How often a caller looks by itself, should nobody tell it that something was changed.
const LOOK: Duration = Duration::from_millis(500);

/// A ledger in a PostgreSQL database. Dropping it finishes what was begun.
pub struct Postgres {
    worker: Worker,
    changed: Arc<Notify>,
}

/// Why the ledger can't be used. Displays what to do.
#[derive(Debug)]
pub enum OpenError {
    /// It can't be reached, or not with these credentials; it may be in a moment.
    Unreachable {
        /// Where.
        place: String,
        /// Why.
        why: String,
    },
    /// The server says no, and will say it again: wrong credentials, no such database, no right to make tables.
    Denied {
        /// Where.
        place: String,
        /// Why.
        why: String,
    },
    /// A later version of Outgate wrote it.
    Newer {
        /// Where.
        place: String,
        /// Its schema.
        found: i64,
    },
    /// The URL asks for something that this machine doesn't have.
    Settings(String),
    /// No thread for it can be started.
    Io(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { place, why } | Self::Denied { place, why } => {
                write!(f, "the ledger can't be used ({place}): {why}")
            }
            Self::Newer { place, found } => write!(
                f,
                "the ledger ({place}) was written by a later version of Outgate (schema {found}, known here {KNOWN}): start that \
                 version, or restore a backup from before"
            ),
            Self::Settings(why) => write!(f, "the ledger's URL can't be used: {why}"),
            Self::Io(error) => write!(f, "the ledger's thread can't be started: {error}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Unreachable { .. } | Self::Denied { .. } | Self::Newer { .. } | Self::Settings(_) => None,
        }
    }
}

impl Postgres {
    /// Reaches the server and brings the schema up to date.
    pub async fn open(url: &ServerUrl) -> Result<Self, OpenError> {
        Ok(Self::open_migrated(url).await?.0)
    }

    /// As [`Self::open`], and says what was made of the schema.
    pub async fn open_migrated(url: &ServerUrl) -> Result<(Self, Migrated), OpenError> {
        let place = url.to_string();
        let tls = Tls::new(&url.trust).map_err(OpenError::Settings)?;
        let changed = Arc::new(Notify::new());
        let worker = Worker::spawn(url.clone(), tls, changed.clone()).map_err(OpenError::Io)?;
        let migrated = worker.run(async move |pool| {
            // Not within a deadline of ours: a step over a large table takes what it takes.
            let outcome = match pool.lease().await {
                Ok(lease) => schema::migrate(lease).await,
                Err(failure) => Err(MigrateError::Failed(failure)),
            };
            Ok(outcome.map_err(|error| match error {
                MigrateError::Newer { found } => OpenError::Newer { place, found },
                MigrateError::Failed(failure) if failure.is_lasting() => OpenError::Denied { place, why: failure.to_string() },
                MigrateError::Failed(failure) => OpenError::Unreachable { place, why: failure.to_string() },
            }))
        });
        let ended = |error: StoreError| OpenError::Io(io::Error::other(error));
        let migrated = migrated.await.map_err(ended)??;
        Ok((Self { worker, changed }, migrated))
    }
}

impl Postgres {
    /// Takes the name under which this process delivers usage, for as long as it is connected, and again whenever it is.
    ///
    /// # Errors
    /// Another process has it, or the server can't be reached; usage under this name is refused until it is ours.
    pub async fn claim(&self, gateway: &str) -> Result<(), StoreError> {
        let gateway = gateway.to_owned();
        let claimed = self.worker.run(async move |pool| {
            let slow = |_| StoreError::Refused("PostgreSQL can't be reached to hold this gateway's name".into());
            tokio::time::timeout(CALL, pool.name.claim(gateway)).await.map_err(slow)?
        });
        claimed.await
    }
}

impl Store for Postgres {
    fn load(&self, now: Timestamp) -> StoreFuture<'_, Snapshot> {
        self.worker.run(async move |pool| pool.read(LOAD, async |client| questions::load(client, now).await).await)
    }

    fn change(&self, change: Change, seen: u64, audit: Audit) -> StoreFuture<'_, ()> {
        self.worker.run(async move |pool| {
            change.check_range()?;
            pool.write(Locked::Changes, CALL, async |client| ledger::change(client, &change, seen, &audit).await).await
        })
    }

    fn changes_after(&self, seen: u64, limit: usize) -> StoreFuture<'_, Option<Changes>> {
        self.worker.run(async move |pool| pool.read(CALL, async |client| feed::changes_after(client, seen, limit).await).await)
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            // Told or not: the caller looks.
            let _told = tokio::time::timeout(LOOK, self.changed.notified()).await;
        })
    }

    fn audit(&self, query: AuditQuery) -> StoreFuture<'_, Vec<AuditRow>> {
        self.worker.run(async move |pool| pool.read(CALL, async |client| questions::audit(client, &query).await).await)
    }

    fn add_usage(&self, batch: UsageBatch) -> StoreFuture<'_, Delivery> {
        self.worker.run(async move |pool| {
            batch.check_range()?;
            pool.name.check(&batch.gateway)?;
            pool.write(Locked::Nothing, DELIVERY, async |client| ledger::add_usage(client, &batch).await).await
        })
    }

    fn last_sequence(&self, gateway: &str) -> StoreFuture<'_, u64> {
        let gateway = gateway.to_owned();
        self.worker.run(async move |pool| pool.read(CALL, async |client| ledger::last_sequence(client, &gateway).await).await)
    }

    fn usage(&self, query: UsageQuery) -> StoreFuture<'_, Vec<UsageRow>> {
        self.worker.run(async move |pool| pool.read(LOAD, async |client| questions::usage(client, &query).await).await)
    }

    fn used_since(&self, key: &KeyId, since: Timestamp) -> StoreFuture<'_, u64> {
        let key = key.clone();
        self.worker
            .run(async move |pool| pool.read(CALL, async |client| questions::used_since(client, key.as_str(), since).await).await)
    }
}

impl Archive for Postgres {
    fn export(&self, entries: mpsc::Sender<Entry>) -> StoreFuture<'_, ()> {
        self.worker.run(async move |pool| pool.read(WHOLE, async |client| archive::export(client, &entries).await).await)
    }

    fn import(&self, entries: mpsc::Receiver<Entry>) -> StoreFuture<'_, ()> {
        self.worker.run(async move |pool| {
            pool.write(Locked::Whole, WHOLE, async |client| archive::import(client, entries, Timestamp::now()).await).await
        })
    }

    fn check(&self) -> StoreFuture<'_, Vec<String>> {
        self.worker.run(async move |pool| pool.read(WHOLE, async |client| archive::check(client, Timestamp::now()).await).await)
    }
}
