//! Counts keys' periods anew whose periods run otherwise than before: what was used since the new one began is in the ledger.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use outgate_store::{KeyId, Store, StoreError};
use tokio::time::timeout;

use crate::accounts::{Accounts, Live};

/// Keys counted anew at a time: a plan with many keys must not hold up the usage of all.
const AT_ONCE: usize = 1_000;
/// How long the ledger may take for one of them.
const PATIENCE: Duration = Duration::from_secs(2);

/// A recount under way; whether the ledger answered.
pub(crate) type Recounting = Pin<Box<dyn Future<Output = bool>>>;

/// A key to be counted anew.
pub(crate) struct Recount {
    pub(crate) live: Arc<Live>,
    pub(crate) key: KeyId,
    /// When its present period began.
    pub(crate) start: Timestamp,
    /// Bytes that were ever taken from its counters for the ledger.
    pub(crate) taken: u64,
}

/// Begins to count some of the keys anew that wait for it; `None` when none does. `owed` tells the bytes of a key since a moment
/// that were taken and are not in the ledger; none of them may be delivered until this is over.
pub(crate) fn recount(
    accounts: &Arc<Accounts>,
    store: &Arc<dyn Store>,
    owed: impl Fn(&KeyId, Timestamp) -> u64,
) -> Option<Recounting> {
    let waiting = std::iter::from_fn(|| accounts.take_recount()).take(AT_ONCE).map(Live::begin_recount);
    let waiting: Vec<(u64, Recount)> = waiting.map(|key| (owed(&key.key, key.start), key)).collect();
    if waiting.is_empty() {
        return None;
    }
    let (accounts, store) = (accounts.clone(), store.clone());
    Some(Box::pin(async move {
        let mut waiting = waiting.into_iter();
        while let Some((owed, key)) = waiting.next() {
            match in_ledger(&*store, &key).await {
                Ok(bytes) => key.live.recount(&key, bytes.saturating_add(owed)),
                Err(error) => {
                    tracing::error!(%error, "what keys used in their new period can't be read; trying again");
                    // It would keep the others waiting as long.
                    std::iter::once(key).chain(waiting.map(|(_, key)| key)).for_each(|key| accounts.recount_later(key.live));
                    return false;
                }
            }
        }
        true
    }))
}

async fn in_ledger(store: &dyn Store, key: &Recount) -> Result<u64, StoreError> {
    let answer = timeout(PATIENCE, store.used_since(&key.key, key.start)).await;
    answer.unwrap_or_else(|_| Err(StoreError::Refused(format!("no answer within {} s", PATIENCE.as_secs()))))
}
