//! The caller of the suite that never gives up: it repeats what is unclear, under the same number.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use crate::audit::{Audit, AuditQuery, AuditRow};
use crate::contract::{Change, Changes, Snapshot, Store, StoreError, StoreFuture};
use crate::id::KeyId;
use crate::unreliable::{Mishap, Unreliable};
use crate::usage::{Delivery, UsageBatch, UsageQuery, UsageRow};

/// A caller that does what the contract asks: repeats under the same number until the answer is clear.
pub(super) struct Patient {
    store: Unreliable,
}

/// How long it waits for a store that hangs. Far above what a healthy one takes.
const PATIENCE: Duration = Duration::from_millis(150);

impl Patient {
    pub(super) fn through_mishaps(store: Arc<dyn Store>) -> Self {
        // Hangs cost real time, so they are rare; everything else is common.
        const SCRIPT: [Mishap; 12] = [
            Mishap::LostAfter,
            Mishap::None,
            Mishap::Refused,
            Mishap::LostBefore,
            Mishap::LostAfter,
            Mishap::None,
            Mishap::None,
            Mishap::Refused,
            Mishap::LostAfter,
            Mishap::LostAfter,
            Mishap::None,
            Mishap::LostBefore,
        ];
        let calls = AtomicUsize::new(0);
        let script = move || match calls.fetch_add(1, Ordering::Relaxed) {
            2 => Mishap::HangsAfter,
            5 => Mishap::HangsBefore,
            call => SCRIPT[call % SCRIPT.len()],
        };
        Self { store: Unreliable::new(store, script) }
    }

    fn insist<'a, T: Send + 'a>(&'a self, call: impl Fn(&'a Unreliable) -> StoreFuture<'a, T> + Send + 'a) -> StoreFuture<'a, T> {
        Box::pin(async move {
            for _ in 0..50 {
                match tokio::time::timeout(PATIENCE, call(&self.store)).await {
                    Ok(Ok(done)) => return Ok(done),
                    Ok(Err(StoreError::Refused(_) | StoreError::Unclear(_))) | Err(_) => {}
                    Ok(Err(clear)) => return Err(clear),
                }
            }
            Err(StoreError::Unclear("fifty attempts".into()))
        })
    }
}

impl Store for Patient {
    fn load(&self, now: Timestamp) -> StoreFuture<'_, Snapshot> {
        self.insist(move |store| store.load(now))
    }

    fn change(&self, change: Change, seen: u64, audit: Audit) -> StoreFuture<'_, ()> {
        self.insist(move |store| store.change(change.clone(), seen, audit.clone()))
    }

    fn changes_after(&self, seen: u64, limit: usize) -> StoreFuture<'_, Option<Changes>> {
        self.insist(move |store| store.changes_after(seen, limit))
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.store.changed()
    }

    fn audit(&self, query: AuditQuery) -> StoreFuture<'_, Vec<AuditRow>> {
        self.insist(move |store| store.audit(query.clone()))
    }

    fn add_usage(&self, batch: UsageBatch) -> StoreFuture<'_, Delivery> {
        self.insist(move |store| store.add_usage(batch.clone()))
    }

    fn last_sequence(&self, gateway: &str) -> StoreFuture<'_, u64> {
        let gateway = gateway.to_owned();
        self.insist(move |store| store.last_sequence(&gateway))
    }

    fn usage(&self, query: UsageQuery) -> StoreFuture<'_, Vec<UsageRow>> {
        self.insist(move |store| store.usage(query.clone()))
    }

    fn used_since(&self, key: &KeyId, since: Timestamp) -> StoreFuture<'_, u64> {
        let key = key.clone();
        self.insist(move |store| store.used_since(&key, since))
    }
}
