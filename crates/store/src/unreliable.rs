//! A store that breaks another one on purpose: fails before, fails after the effect, hangs.

use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::audit::{Audit, AuditQuery, AuditRow};
use crate::contract::{Change, Changes, Snapshot, Store, StoreError, StoreFuture};
use crate::id::KeyId;
use crate::usage::{Delivery, UsageBatch, UsageQuery, UsageRow};

/// What goes wrong in one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mishap {
    /// Nothing.
    None,
    /// It didn't happen, and the caller is told so.
    Refused,
    /// It didn't happen, and the caller is told that nobody knows.
    LostBefore,
    /// It happened, and the caller is told that nobody knows.
    LostAfter,
    /// It didn't happen, and the caller is told nothing.
    HangsBefore,
    /// It happened, and the caller is told nothing.
    HangsAfter,
}

impl Mishap {
    /// What becomes of a call to which this happens.
    pub(crate) async fn befall<T>(self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let lost = || Err(StoreError::Unclear("lost on purpose".into()));
        match self {
            Self::None => call.await,
            Self::Refused => Err(StoreError::Refused("refused on purpose".into())),
            Self::LostBefore => lost(),
            Self::LostAfter => call.await.and_then(|_| lost()),
            Self::HangsBefore => pending().await,
            Self::HangsAfter => {
                call.await?;
                pending().await
            }
        }
    }
}

/// Another store behind a script of mishaps.
pub struct Unreliable {
    inner: Arc<dyn Store>,
    script: Mutex<Box<dyn FnMut() -> Mishap + Send>>,
}

impl Unreliable {
    /// `script` is asked once per call.
    pub fn new(inner: Arc<dyn Store>, script: impl FnMut() -> Mishap + Send + 'static) -> Self {
        Self { inner, script: Mutex::new(Box::new(script)) }
    }

    fn spoil<'a, T: Send + 'a>(
        &'a self,
        call: impl FnOnce(&'a dyn Store) -> StoreFuture<'a, T> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        let mishap = (self.script.lock().unwrap_or_else(PoisonError::into_inner))();
        Box::pin(mishap.befall(async move { call(&*self.inner).await }))
    }
}

impl Store for Unreliable {
    fn load(&self, now: Timestamp) -> StoreFuture<'_, Snapshot> {
        self.spoil(move |store| store.load(now))
    }

    fn change(&self, change: Change, seen: u64, audit: Audit) -> StoreFuture<'_, ()> {
        self.spoil(move |store| store.change(change, seen, audit))
    }

    fn changes_after(&self, seen: u64, limit: usize) -> StoreFuture<'_, Option<Changes>> {
        self.spoil(move |store| store.changes_after(seen, limit))
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.inner.changed()
    }

    fn audit(&self, query: AuditQuery) -> StoreFuture<'_, Vec<AuditRow>> {
        self.spoil(move |store| store.audit(query))
    }

    fn add_usage(&self, batch: UsageBatch) -> StoreFuture<'_, Delivery> {
        self.spoil(move |store| store.add_usage(batch))
    }

    fn last_sequence(&self, gateway: &str) -> StoreFuture<'_, u64> {
        let gateway = gateway.to_owned();
        self.spoil(move |store| {
            // The inner future may borrow the name only for the call; an owned copy outlives it.
            Box::pin(async move { store.last_sequence(&gateway).await })
        })
    }

    fn usage(&self, query: UsageQuery) -> StoreFuture<'_, Vec<UsageRow>> {
        self.spoil(move |store| store.usage(query))
    }

    fn used_since(&self, key: &KeyId, since: Timestamp) -> StoreFuture<'_, u64> {
        let key = key.clone();
        self.spoil(move |store| Box::pin(async move { store.used_since(&key, since).await }))
    }
}
