//! Connections that are kept, and transactions that say what became of them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use outgate_store::StoreError;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Client;

use crate::error::{Failure, explained, of_commit};
use crate::server::ServerUrl;
use crate::tls::Tls;

/// Connections at once, besides the one that listens: a gateway delivers usage on one and a console rarely needs more than two.
const CONNECTIONS: usize = 8;

/// How long the answer to a COMMIT is waited for, however late it was sent.
const COMMIT: Duration = Duration::from_secs(2);

/// What every session begins with. A statement may take as long as the largest batch of usage on a slow disk; a lock is
/// held for a transaction of ours, or for a person's at a prompt, which nobody waits for.
const SESSION: &str = "SET statement_timeout = '30s'; SET lock_timeout = '3s'; SET idle_in_transaction_session_timeout = '30s'; \
     SET synchronous_commit = on; SET client_min_messages = warning; SET default_transaction_isolation = 'read committed'";

/// What a transaction holds until it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Locked {
    /// Nothing of its own.
    Nothing,
    /// The order of changes.
    Changes,
    /// The shape of the tables.
    Schema,
    /// The order of changes, for as long as it takes to fill the tables.
    Whole,
    /// Nothing: it only reads, and all of it as of one moment.
    Moment,
}

impl Locked {
    /// The numbers are any: nobody else's in a database of ours.
    fn begin(self) -> &'static str {
        match self {
            Self::Nothing => "BEGIN",
            Self::Changes => "BEGIN; SELECT pg_advisory_xact_lock(7046801, 1)",
            Self::Whole => {
                "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
                 SELECT pg_advisory_xact_lock(7046801, 1)"
            }
            Self::Schema => "BEGIN; SET LOCAL lock_timeout = '30s'; SELECT pg_advisory_xact_lock(7046801, 2)",
            Self::Moment => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0",
        }
    }
}

/// The pool. Lives on the worker's thread.
pub(crate) struct Pool {
    url: ServerUrl,
    tls: Tls,
    places: Semaphore,
    idle: RefCell<Vec<Client>>,
}

/// A connection of the pool. Dropped, it is closed and the server rolls back; [`Lease::keep`] gives it back.
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    client: Client,
    _place: SemaphorePermit<'a>,
}

impl Pool {
    pub(crate) fn new(url: ServerUrl, tls: Tls) -> Rc<Self> {
        Rc::new(Self { url, tls, places: Semaphore::new(CONNECTIONS), idle: RefCell::default() })
    }

    /// A session of its own, ready for use.
    pub(crate) async fn connect(&self) -> Result<(Client, crate::feed::Messages), Failure> {
        let (client, connection) = self.url.config.connect(self.tls.clone()).await?;
        let messages = crate::feed::Messages::of(connection);
        Ok((client, messages))
    }

    /// A connection that was there a moment ago, or a new one.
    pub(crate) async fn lease(&self) -> Result<Lease<'_>, Failure> {
        let refused = |_| StoreError::Refused("the store's thread has ended".into());
        let place = self.places.acquire().await.map_err(refused)?;
        loop {
            let kept = self.idle.borrow_mut().pop();
            match kept {
                Some(client) if client.is_closed() => {}
                Some(client) => return Ok(Lease { pool: self, client, _place: place }),
                None => break,
            }
        }
        let (client, messages) = self.connect().await?;
        tokio::task::spawn_local(messages.ignored());
        client.batch_execute(SESSION).await?;
        Ok(Lease { pool: self, client, _place: place })
    }

    /// Does `work` in a transaction and commits it, all within `patience`.
    pub(crate) async fn write<T>(
        &self,
        locked: Locked,
        patience: Duration,
        work: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let until = Instant::now() + patience;
        let done = timeout_at(until, async {
            let lease = self.begun(locked).await?;
            match work(&lease.client).await {
                Ok(done) => Ok((lease, done)),
                Err(failure) => {
                    lease.undo().await;
                    Err(failure)
                }
            }
        });
        // Dropped before COMMIT was sent: it never will be.
        let (lease, done) = done.await.map_err(|_| too_slow(patience))??;
        match timeout_at(until.max(Instant::now() + COMMIT), lease.client.batch_execute("COMMIT")).await {
            Ok(Ok(())) => {
                lease.keep();
                Ok(done)
            }
            Ok(Err(error)) => Err(of_commit(&error)),
            Err(_) => Err(StoreError::Unclear("PostgreSQL did not answer to a COMMIT in time".into())),
        }
    }

    /// Does `work`, which only reads, as of one moment.
    pub(crate) async fn read<T>(
        &self,
        patience: Duration,
        work: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let done = timeout_at(Instant::now() + patience, async {
            let lease = self.begun(Locked::Moment).await?;
            let done = work(&lease.client).await;
            lease.undo().await;
            done
        });
        Ok(done.await.map_err(|_| too_slow(patience))??)
    }

    /// A transaction that has begun. A kept connection may have died unseen: then the others have, too, and a new one is made.
    async fn begun(&self, locked: Locked) -> Result<Lease<'_>, Failure> {
        loop {
            let lease = self.lease().await?;
            match lease.begin(locked).await {
                Ok(()) => return Ok(lease),
                Err(error)
                    if lease.client.is_closed()
                        && error.as_db_error().is_none_or(|said| said.code().code().starts_with("57P")) =>
                {
                    tracing::debug!(error = explained(&error), "a kept connection was dead");
                    if self.idle.borrow().is_empty() {
                        drop(lease);
                        let lease = self.lease().await?;
                        lease.begin(locked).await?;
                        return Ok(lease);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Lease<'_> {
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) async fn begin(&self, locked: Locked) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(locked.begin()).await
    }

    /// Gives the connection back for the next one.
    pub(crate) fn keep(self) {
        let Self { pool, client, .. } = self;
        pool.idle.borrow_mut().push(client);
    }

    async fn undo(self) {
        if self.client.batch_execute("ROLLBACK").await.is_ok() {
            self.keep();
        }
    }
}

fn too_slow(patience: Duration) -> StoreError {
    StoreError::Refused(format!("PostgreSQL did not do it within {} s", patience.as_secs()))
}
