//! A store in memory: for tests and for gateways that may forget everything when they end.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::ready;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::audit::{Audit, AuditQuery, AuditRow};
use crate::contract::{Change, Changes, Snapshot, Store, StoreError, StoreFuture};
use crate::exit::Exit;
use crate::id::{ExitId, KeyId, PlanName, PoolName};
use crate::key::Key;
use crate::plan::Plan;
use crate::usage::{Counters, Delivery, Hour, PeriodUsage, UsageBatch, UsageQuery, UsageRow};

/// Audit entries kept; what lasts has a disk, memory doesn't.
const AUDIT_KEPT: usize = 10_000;

/// Keeps everything until it is dropped.
#[derive(Default)]
pub struct Memory {
    ledger: Mutex<Ledger>,
    changed: Notify,
}

#[derive(Default)]
struct Ledger {
    plans: BTreeMap<PlanName, Plan>,
    keys: BTreeMap<KeyId, Key>,
    exits: BTreeMap<ExitId, Exit>,
    usage: BTreeMap<(KeyId, Hour, PoolName), Counters>,
    sequences: HashMap<String, u64>,
    audit: VecDeque<AuditRow>,
    audited: HashSet<String>,
    entries: u64,
    /// The number of the last change of each thing, by kind and name; of what was removed, too.
    changes: HashMap<(&'static str, String), u64>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Every method checks before it writes, so a panic elsewhere can't leave half a change behind.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn load(&self, now: Timestamp) -> StoreFuture<'_, Snapshot> {
        Box::pin(ready(Ok(self.ledger().snapshot(now))))
    }

    fn change(&self, change: Change, seen: u64, audit: Audit) -> StoreFuture<'_, ()> {
        let done = self.ledger().change(change, seen, audit);
        self.changed.notify_one();
        Box::pin(ready(done))
    }

    fn changes_after(&self, seen: u64, limit: usize) -> StoreFuture<'_, Option<Changes>> {
        Box::pin(ready(Ok(self.ledger().changes_after(seen, limit))))
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.changed.notified())
    }

    fn audit(&self, query: AuditQuery) -> StoreFuture<'_, Vec<AuditRow>> {
        Box::pin(ready(Ok(self.ledger().audit(&query))))
    }

    fn add_usage(&self, batch: UsageBatch) -> StoreFuture<'_, Delivery> {
        Box::pin(ready(self.ledger().add_usage(batch)))
    }

    fn last_sequence(&self, gateway: &str) -> StoreFuture<'_, u64> {
        Box::pin(ready(Ok(self.ledger().last_sequence(gateway))))
    }

    fn usage(&self, query: UsageQuery) -> StoreFuture<'_, Vec<UsageRow>> {
        Box::pin(ready(Ok(self.ledger().usage(&query))))
    }

    fn used_since(&self, key: &KeyId, since: Timestamp) -> StoreFuture<'_, u64> {
        Box::pin(ready(Ok(self.ledger().used_since(key, Hour::of(since)).bytes())))
    }
}

impl Ledger {
    fn snapshot(&self, now: Timestamp) -> Snapshot {
        let used = self.keys.values().filter_map(|key| {
            let start = self.plans.get(&key.plan)?.period.start(key.period_anchor, now);
            let bytes = self.used_since(&key.id, Hour::of(start)).bytes();
            (bytes > 0).then(|| (key.id.clone(), PeriodUsage { start, bytes }))
        });
        Snapshot {
            change: self.entries,
            plans: self.plans.values().cloned().collect(),
            keys: self.keys.values().cloned().collect(),
            exits: self.exits.values().cloned().collect(),
            used: used.collect(),
        }
    }

    fn change(&mut self, change: Change, seen: u64, audit: Audit) -> Result<(), StoreError> {
        if self.audited.contains(&audit.id) {
            return Ok(());
        }
        change.check_range()?;
        let (kind, name) = change.subject();
        let subject = (kind, name.to_owned());
        if self.changes.get(&subject).is_some_and(|last| *last > seen) {
            return Err(StoreError::changed_meanwhile(&change));
        }
        match change {
            Change::PutPlan(plan) => {
                self.plans.insert(plan.name.clone(), plan);
            }
            Change::RemovePlan(name) => {
                let keys = self.keys.values().filter(|key| key.plan == name).count();
                if keys > 0 {
                    return Err(StoreError::plan_in_use(&name, keys));
                }
                self.plans.remove(&name).ok_or(StoreError::NotFound)?;
            }
            Change::PutKey(key) => {
                if !self.plans.contains_key(&key.plan) {
                    return Err(StoreError::no_such_plan(&key.plan));
                }
                self.keys.insert(key.id.clone(), key);
            }
            Change::PutExit(exit) => {
                self.exits.insert(exit.id.clone(), exit);
            }
            Change::RemoveExit(id) => {
                self.exits.remove(&id).ok_or(StoreError::NotFound)?;
            }
        }
        self.entries += 1;
        self.changes.insert(subject, self.entries);
        self.audited.insert(audit.id.clone());
        self.audit.push_back(AuditRow { number: self.entries, entry: audit });
        if self.audit.len() > AUDIT_KEPT
            && let Some(oldest) = self.audit.pop_front()
        {
            self.audited.remove(&oldest.entry.id);
        }
        Ok(())
    }

    fn changes_after(&self, seen: u64, limit: usize) -> Option<Changes> {
        let after = self.changes.iter().filter(|(_, number)| **number > seen);
        let changes: Vec<Change> = after.take(limit + 1).filter_map(|((kind, name), _)| self.present(kind, name)).collect();
        (seen <= self.entries && changes.len() <= limit).then(|| Changes::new(self.entries, changes))
    }

    /// The change that makes a thing what it is now.
    fn present(&self, kind: &str, name: &str) -> Option<Change> {
        match kind {
            Change::PLAN => match self.plans.get(name) {
                Some(plan) => Some(Change::PutPlan(plan.clone())),
                None => PlanName::parse(name).ok().map(Change::RemovePlan),
            },
            Change::EXIT => match self.exits.get(name) {
                Some(exit) => Some(Change::PutExit(exit.clone())),
                None => ExitId::parse(name).ok().map(Change::RemoveExit),
            },
            _ => self.keys.get(name).cloned().map(Change::PutKey),
        }
    }

    fn audit(&self, query: &AuditQuery) -> Vec<AuditRow> {
        let newest_first = self.audit.iter().rev();
        newest_first
            .filter(|row| query.before.is_none_or(|before| row.number < before))
            .filter(|row| query.subject.as_ref().is_none_or(|subject| row.entry.subject == *subject))
            .take(query.limit)
            .cloned()
            .collect()
    }

    fn add_usage(&mut self, batch: UsageBatch) -> Result<Delivery, StoreError> {
        let last = self.last_sequence(&batch.gateway);
        if batch.sequence <= last {
            return Ok(Delivery::Repeated);
        }
        if batch.sequence != last + 1 {
            return Err(StoreError::sequence_gap(&batch, last));
        }
        batch.check_range()?;
        for row in batch.rows {
            self.usage.entry((row.key, row.hour, row.pool)).or_default().add(&row.counters);
        }
        self.sequences.insert(batch.gateway, batch.sequence);
        Ok(Delivery::Added)
    }

    fn last_sequence(&self, gateway: &str) -> u64 {
        self.sequences.get(gateway).copied().unwrap_or(0)
    }

    fn usage(&self, query: &UsageQuery) -> Vec<UsageRow> {
        let since = Hour::of(query.since);
        let mut groups: BTreeMap<String, Counters> = BTreeMap::new();
        for ((key, hour, pool), counters) in &self.usage {
            if *hour >= since && query.key.as_ref().is_none_or(|wanted| wanted == key) {
                groups.entry(query.by.label(key.as_str(), pool.as_str(), *hour)).or_default().add(counters);
            }
        }
        groups
            .into_iter()
            .filter(|(group, _)| query.after.as_ref().is_none_or(|after| group > after))
            .take(query.limit)
            .map(|(group, counters)| UsageRow { group, counters })
            .collect()
    }

    fn used_since(&self, key: &KeyId, since: Hour) -> Counters {
        let mut sum = Counters::default();
        // No pool name is shorter than one character, so this range begins with the first pool of that hour.
        for ((of, hour, _), counters) in self.usage.range((key.clone(), since, first_pool())..) {
            if of != key {
                break;
            }
            debug_assert!(*hour >= since);
            sum.add(counters);
        }
        sum
    }
}

/// Sorts before every other pool name: the alphabet begins with the digits.
fn first_pool() -> PoolName {
    PoolName::parse("0").expect("a digit is a pool name")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::conformance;

    #[tokio::test]
    async fn conforms() {
        conformance::run(|| async { Arc::new(Memory::new()) as Arc<dyn Store> }).await;
    }

    #[tokio::test]
    async fn conforms_when_shared() {
        conformance::run_shared(|| async {
            let store: Arc<dyn Store> = Arc::new(Memory::new());
            [Arc::clone(&store), store]
        })
        .await;
    }
}
