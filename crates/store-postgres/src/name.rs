//! A gateway's name: held by one process at a time, because batches of usage are numbered under it.
//!
//! Two gateways of one name would each take the other's batch for its own that was repeated, and drop what it counted. So the
//! listening session holds a lock on the name, for as long as it lives, and without it nothing is delivered under it.

use std::cell::{Cell, RefCell};

use outgate_store::StoreError;
use tokio::sync::Notify;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::error::Failure;

/// Whose a name is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holder {
    /// Nobody knows: there is no session, or it has not asked yet.
    Unknown,
    /// Ours.
    Us,
    /// Another process's.
    Another,
}

/// The name of this process, once it has one.
pub(crate) struct Name {
    name: RefCell<Option<String>>,
    holder: Cell<Holder>,
    /// There is a name to take.
    wanted: Notify,
    /// It is known whose it is.
    known: Notify,
}

impl Name {
    pub(crate) fn none() -> Self {
        let holder = Cell::new(Holder::Unknown);
        Self { name: RefCell::default(), holder, wanted: Notify::new(), known: Notify::new() }
    }

    /// From now on this is the name; ready when it is known whose it is.
    pub(crate) async fn claim(&self, name: String) -> Result<(), StoreError> {
        *self.name.borrow_mut() = Some(name);
        self.holder.set(Holder::Unknown);
        self.wanted.notify_one();
        self.known.notified().await;
        self.checked()
    }

    /// Whether a batch may be delivered under `name`.
    pub(crate) fn check(&self, name: &str) -> Result<(), StoreError> {
        if self.name.borrow().as_deref() == Some(name) { self.checked() } else { Ok(()) }
    }

    fn checked(&self) -> Result<(), StoreError> {
        let name = self.name.borrow().clone().unwrap_or_default();
        match self.holder.get() {
            Holder::Us => Ok(()),
            Holder::Unknown => Err(StoreError::Refused("PostgreSQL can't be reached to hold this gateway's name".into())),
            Holder::Another => Err(StoreError::Refused(format!(
                "another gateway uses this ledger under the name {name}: give each a data folder and a `name` of its own"
            ))),
        }
    }

    /// Ready when there is a reason to take it (again).
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Takes it for as long as the session of `client` lives. Without a name there is nothing to take.
    pub(crate) async fn take(&self, client: &Client) -> Result<(), Failure> {
        let Some(name) = self.name.borrow().clone() else { return Ok(()) };
        if self.holder.get() == Holder::Us {
            return Ok(());
        }
        // One number of 64 bits: a space of its own, apart from the pairs of numbers that the pool locks.
        let text = "SELECT pg_try_advisory_lock(hashtextextended($1, 7046802))";
        let ours = client.query_typed_one(text, &[(&name, Type::TEXT)]).await?.try_get(0)?;
        self.holder.set(if ours { Holder::Us } else { Holder::Another });
        self.known.notify_one();
        Ok(())
    }

    /// Whether it is worth asking again in a moment.
    pub(crate) fn is_anothers(&self) -> bool {
        self.holder.get() == Holder::Another
    }

    /// The session has ended, and with it the lock.
    pub(crate) fn lost(&self) {
        self.holder.set(Holder::Unknown);
    }
}
