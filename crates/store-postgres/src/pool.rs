//! Connections that are kept, and transactions that say what became of them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use outgate_store::StoreError;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Client;

use crate::error::{Failure, is_of_connection, of_commit};
use crate::name::Name;
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
            Self::Schema => {
                "BEGIN; SET LOCAL lock_timeout = '30s'; SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock(7046801, 2)"
            }
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
    /// What the listening session holds.
    pub(crate) name: Name,
}

/// A connection of the pool. Dropped, it is closed and the server rolls back; [`Lease::keep`] gives it back.
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    client: Client,
    _place: SemaphorePermit<'a>,
}

impl Pool {
    pub(crate) fn new(url: ServerUrl, tls: Tls) -> Rc<Self> {
        Rc::new(Self { url, tls, places: Semaphore::new(CONNECTIONS), idle: RefCell::default(), name: Name::none() })
    }

    /// A session of its own, ready for use.
    pub(crate) async fn connect(&self) -> Result<(Client, crate::feed::Messages), Failure> {
        let (client, connection) = self.url.config.connect(self.tls.clone()).await?;
        let messages = crate::feed::Messages::of(connection);
        Ok((client, messages))
    }

    /// A new connection, in a place that was free.
    pub(crate) async fn lease(&self) -> Result<Lease<'_>, Failure> {
        let place = self.place().await?;
        self.fresh(place).await
    }

    async fn place(&self) -> Result<SemaphorePermit<'_>, Failure> {
        let ended = |_| StoreError::Refused("the store's thread has ended".into());
        Ok(self.places.acquire().await.map_err(ended)?)
    }

    async fn fresh<'a>(&'a self, place: SemaphorePermit<'a>) -> Result<Lease<'a>, Failure> {
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

    /// A transaction that has begun, on a kept connection or a new one.
    async fn begun(&self, locked: Locked) -> Result<Lease<'_>, Failure> {
        let place = self.place().await?;
        loop {
            let Some(client) = self.idle.borrow_mut().pop() else { break };
            match client.batch_execute(locked.begin()).await {
                Ok(()) => return Ok(Lease { pool: self, client, _place: place }),
                // It died while nobody looked; nothing was begun, so the next one may try.
                Err(error) if is_of_connection(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let lease = self.fresh(place).await?;
        lease.begin(locked).await?;
        Ok(lease)
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
