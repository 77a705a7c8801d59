//! Settles usage: delivers what was counted to the ledger, in numbered batches, several times a second.
//!
//! A batch keeps its number until the ledger has it for certain, so that an unclear answer is repeated
//! without counting twice. While the ledger is away, what is counted meanwhile waits in memory, merged
//! per key, pool and hour: bounded by the keys in use, not by traffic.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use outgate_store::{Counters, Hour, KeyId, PoolName, Store, StoreError, UsageBatch, UsageDelta};
use tokio::sync::{mpsc, oneshot};

use crate::accounts::Accounts;

/// Half of the 250 ms that a killed gateway may lose: the other half is for writing.
const EVERY: Duration = Duration::from_millis(100);
/// Pause after a failed delivery.
const PAUSE: Duration = Duration::from_secs(1);

/// Asks the settler to deliver now, and hears when it has tried.
pub(crate) type Ask = oneshot::Sender<()>;

/// Delivers until the asking side is gone, then once more.
pub(crate) async fn settle(accounts: Arc<Accounts>, store: Arc<dyn Store>, gateway: String, mut asks: mpsc::Receiver<Ask>) {
    let mut sequence = loop {
        match store.last_sequence(&gateway).await {
            Ok(last) => break last + 1,
            Err(error) => {
                tracing::error!(%error, "the ledger doesn't tell the last usage batch; trying again");
                if asks.is_closed() {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    let mut waiting = Waiting::default();
    let mut batch: Option<UsageBatch> = None;
    let mut open = true;
    while open || batch.is_some() || !waiting.0.is_empty() {
        let mut ask = None;
        if open {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                asked = asks.recv() => match asked {
                    Some(asked) => ask = Some(asked),
                    None => open = false,
                },
            }
        }
        waiting.add(accounts.book().take(Timestamp::now()));
        if batch.is_none() && !waiting.0.is_empty() {
            batch = Some(UsageBatch { gateway: gateway.clone(), sequence, rows: waiting.take() });
        }
        if let Some(sent) = &batch {
            match store.add_usage(sent.clone()).await {
                Ok(_) => {
                    batch = None;
                    sequence += 1;
                }
                // Another process delivered under this gateway's name: go on behind it.
                Err(StoreError::Conflict(reason)) => {
                    tracing::error!(reason, "the ledger expects another usage batch");
                    if !open {
                        tracing::error!("the gateway stops with usage undelivered");
                        return;
                    }
                    if let Ok(last) = store.last_sequence(&gateway).await {
                        sequence = last + 1;
                        batch = batch.map(|b| UsageBatch { sequence, ..b });
                    }
                    tokio::time::sleep(EVERY).await;
                }
                Err(error) => {
                    tracing::error!(%error, "usage can't be delivered to the ledger; it is kept and tried again");
                    if !open {
                        tracing::error!("the gateway stops with usage undelivered");
                        return;
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        if let Some(ask) = ask {
            let _asker_gone = ask.send(());
        }
    }
}

/// Usage that waits for the next batch.
#[derive(Default)]
struct Waiting(HashMap<(KeyId, PoolName, Hour, Timestamp), Counters>);

impl Waiting {
    fn add(&mut self, rows: Vec<UsageDelta>) {
        for row in rows {
            self.0.entry((row.key, row.pool, row.hour, row.period_start)).or_default().add(&row.counters);
        }
    }

    fn take(&mut self) -> Vec<UsageDelta> {
        let rows = std::mem::take(&mut self.0).into_iter();
        rows.map(|((key, pool, hour, period_start), counters)| UsageDelta { key, pool, hour, period_start, counters }).collect()
    }
}
