//! Settles usage: delivers what was counted to the ledger, in numbered batches, several times a second.
//!
//! A batch keeps its number until the ledger has it for certain, so that an unclear answer is repeated without counting
//! twice. While the ledger is away or slow, all that is owed is in the journal, too, so that a kill costs no more than it does
//! otherwise; it is summed up per key, pool and hour: bounded by the keys in use, not by traffic or time.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use outgate_faults::{Fault, raise};
use outgate_meter::Meters;
use outgate_store::live::UsageKept;
use outgate_store::{Counters, Delivery, Hour, KeyId, PoolName, Store, StoreError, UsageBatch, UsageDelta};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::accounts::Accounts;
use crate::journal::{Journal, Owed};
use crate::recount::{Recounting, recount};

/// Half of the 250 ms that a killed gateway may lose: the other half is for writing.
const EVERY: Duration = Duration::from_millis(100);
/// Pause after a failed delivery, and between attempts at a journal that can't be written.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a ledger may take for a batch before its answer counts as unclear.
const PATIENCE: Duration = Duration::from_secs(10);
/// A ledger that takes batches within this of being numbered keeps up: what was counted since is no more than a kill may cost.
const KEEPS_UP: Duration = Duration::from_millis(200);
/// Rows of one batch at most.
const BATCH: usize = 10_000;

/// Asks the settler to deliver now, and hears when it has tried.
pub(crate) type Ask = oneshot::Sender<()>;

/// Where the usage of this gateway is kept.
#[derive(Debug, Default)]
pub(crate) struct Keeping(AtomicU8);

impl Keeping {
    /// Where it is now.
    pub(crate) fn now(&self) -> UsageKept {
        match self.0.load(Ordering::Relaxed) {
            0 => UsageKept::Ledger,
            1 => UsageKept::Journal,
            _ => UsageKept::Nowhere,
        }
    }

    /// Accounts come before service: what can't be accounted for is not begun.
    pub(crate) fn refuse_unaccountable(&self) -> Result<(), Fault> {
        match self.now() {
            UsageKept::Ledger | UsageKept::Journal => Ok(()),
            UsageKept::Nowhere => Err(raise::ledger_unavailable()),
        }
    }

    /// Notes where it is; whether that is new.
    fn note(&self, kept: UsageKept) -> bool {
        self.0.swap(kept as u8, Ordering::Relaxed) != kept as u8
    }
}

/// What settling goes by.
pub(crate) struct Settling {
    /// Who is told of the bytes besides.
    pub(crate) meters: Arc<Meters>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) store: Arc<dyn Store>,
    /// This gateway's lasting name.
    pub(crate) gateway: String,
    pub(crate) keeping: Arc<Keeping>,
    /// None keeps what the ledger doesn't take in memory alone.
    pub(crate) journal: Option<Journal>,
    /// What an earlier run left in it.
    pub(crate) owed: Owed,
}

type Delivering = Pin<Box<dyn Future<Output = Result<Delivery, StoreError>>>>;

struct Settler {
    meters: Arc<Meters>,
    accounts: Arc<Accounts>,
    store: Arc<dyn Store>,
    gateway: String,
    keeping: Arc<Keeping>,
    journal: Option<Journal>,
    /// The number of the next batch.
    next: u64,
    /// Numbered and not known to be in the ledger; the first is the one to be delivered.
    queue: VecDeque<UsageBatch>,
    /// When the newest of them was numbered.
    numbered: Instant,
    /// Counted and in no batch.
    waiting: Waiting,
    /// What of it is not in the journal.
    fresh: Vec<UsageDelta>,
    /// Whether the ledger doesn't keep up, so that the journal is in use.
    behind: bool,
    /// Before this the ledger is asked for nothing.
    rest_until: Instant,
    /// Whether keys may be counted anew before the next delivery.
    may_recount: bool,
    /// Before this the journal is not tried again.
    unwritable_until: Instant,
}

/// Delivers until the asking side is gone, then once more.
pub(crate) async fn settle(settling: Settling, mut asks: mpsc::Receiver<Ask>) {
    let Some(mut settler) = Settler::begin(settling, &asks).await else { return };
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut delivering: Option<Delivering> = None;
    let mut recounting: Option<Recounting> = None;
    let mut askers: Vec<Ask> = Vec::new();
    let mut open = true;
    loop {
        let mut tried_in_vain = false;
        tokio::select! {
            outcome = finished(&mut delivering) => {
                delivering = None;
                tried_in_vain = !settler.delivered(outcome).await;
            }
            answered = finished(&mut recounting) => {
                recounting = None;
                tried_in_vain = !settler.recounted(answered);
            }
            _ = ticks.tick() => {
                settler.collect();
                settler.may_recount = open;
                if settler.behind || delivering.is_some() || recounting.is_some() {
                    settler.write_down();
                }
            }
            asked = asks.recv(), if open => {
                settler.collect();
                settler.rest_until = Instant::now();
                settler.may_recount = open;
                match asked {
                    Some(asker) => askers.push(asker),
                    None => open = false,
                }
            }
        }
        // One thing at a time: what the ledger says of a key must be what it has been given.
        if delivering.is_none() && recounting.is_none() && Instant::now() >= settler.rest_until {
            recounting = settler.recount();
            if recounting.is_none() {
                delivering = settler.deliver();
            }
        }
        let idle = delivering.is_none() && recounting.is_none() && settler.owes_nothing();
        if tried_in_vain || idle && !(open && settler.accounts.awaits_recount()) {
            askers.drain(..).for_each(|asker| {
                let _asker_gone = asker.send(());
            });
            if !open {
                return settler.leave();
            }
        }
    }
}

/// Ready when what was begun is over.
async fn finished<T>(begun: &mut Option<Pin<Box<dyn Future<Output = T>>>>) -> T {
    match begun {
        Some(begun) => begun.await,
        None => pending().await,
    }
}

impl Settler {
    /// Takes up what an earlier run left. `None`: the asking side was gone before the ledger said where to go on.
    async fn begin(settling: Settling, asks: &mpsc::Receiver<Ask>) -> Option<Self> {
        let Settling { meters, accounts, store, gateway, keeping, journal, owed } = settling;
        let now = Instant::now();
        let mut settler = Self {
            behind: owed != Owed::default(),
            meters,
            accounts,
            store,
            gateway,
            keeping,
            journal,
            next: 0,
            queue: owed.batches.into(),
            numbered: now,
            waiting: Waiting::default(),
            fresh: Vec::new(),
            rest_until: now,
            may_recount: false,
            unwritable_until: now,
        };
        settler.recall(owed.rows.iter());
        settler.waiting.add(owed.rows);
        while let Err(error) = settler.take_up().await {
            if !settler.behind {
                tracing::error!(%error, "the ledger doesn't tell the last usage batch; trying again");
            }
            settler.collect();
            settler.write_down();
            if asks.is_closed() {
                settler.leave();
                return None;
            }
            tokio::time::sleep(EVERY).await;
        }
        Some(settler)
    }

    /// Learns which batches the ledger has.
    async fn take_up(&mut self) -> Result<(), StoreError> {
        let mut undelivered = VecDeque::new();
        for batch in &self.queue {
            if batch.sequence > self.store.last_sequence(&batch.gateway).await? {
                undelivered.push_back(batch.clone());
            }
        }
        let last = self.store.last_sequence(&self.gateway).await?;
        let numbered = undelivered.iter().filter(|batch| batch.gateway == self.gateway).map(|batch| batch.sequence).max();
        self.next = last.max(numbered.unwrap_or(0)) + 1;
        self.recall(undelivered.iter().flat_map(|batch| &batch.rows));
        self.queue = undelivered;
        Ok(())
    }

    /// Counts what the ledger didn't know of when the accounts were loaded from it.
    fn recall<'a>(&self, rows: impl Iterator<Item = &'a UsageDelta>) {
        rows.for_each(|row| self.accounts.recall(row));
    }

    fn owes_nothing(&self) -> bool {
        self.queue.is_empty() && self.waiting.0.is_empty()
    }

    /// Takes what was counted since the last time.
    fn collect(&mut self) {
        let rows = self.accounts.book().take(Timestamp::now());
        for row in rows.iter().filter(|row| row.counters.bytes() > 0) {
            self.meters.moved(row.pool.as_str(), row.counters.up, row.counters.down);
        }
        if self.behind {
            self.fresh.extend(rows.iter().cloned());
        }
        self.waiting.add(rows);
    }

    /// Begins to count keys anew, if any waits for it. A batch whose answer was unclear would count twice: then later.
    fn recount(&mut self) -> Option<Recounting> {
        if !std::mem::take(&mut self.may_recount) || !self.queue.is_empty() {
            return None;
        }
        if !self.accounts.awaits_recount() {
            return None;
        }
        let owed = self.waiting.by_key();
        let since = |key: &KeyId, start| {
            let hours = owed.get(key).map(Vec::as_slice).unwrap_or_default();
            hours.iter().filter(|(hour, _)| *hour >= Hour::of(start)).map(|(_, bytes)| bytes).sum()
        };
        recount(&self.accounts, &self.store, since)
    }

    /// Takes the end of a recount. Whether the ledger answered.
    fn recounted(&mut self, answered: bool) -> bool {
        if !answered {
            self.rest_until = Instant::now() + PAUSE;
        }
        answered
    }

    /// Begins a delivery, if anything is owed.
    fn deliver(&mut self) -> Option<Delivering> {
        if self.queue.is_empty() && !self.waiting.0.is_empty() {
            for rows in self.waiting.take().chunks(BATCH) {
                self.queue.push_back(UsageBatch { gateway: self.gateway.clone(), sequence: self.next, rows: rows.to_vec() });
                self.next += 1;
            }
            self.numbered = Instant::now();
            if self.behind {
                self.replace();
            }
        }
        let batch = self.queue.front()?.clone();
        let store = self.store.clone();
        Some(Box::pin(async move {
            let answer = timeout(PATIENCE, store.add_usage(batch)).await;
            answer.unwrap_or_else(|_| Err(StoreError::Unclear(format!("no answer within {} s", PATIENCE.as_secs()))))
        }))
    }

    /// Takes the ledger's answer to the first batch. Whether it has it.
    async fn delivered(&mut self, outcome: Result<Delivery, StoreError>) -> bool {
        match outcome {
            Ok(_) => {
                let batch = self.queue.pop_front();
                if self.behind {
                    self.catch_up(batch.as_ref());
                }
                true
            }
            // Another process delivered under this gateway's name: go on behind it.
            Err(StoreError::Conflict(reason)) => {
                tracing::error!(reason, "the ledger expects another usage batch");
                if let Ok(last) = self.store.last_sequence(&self.gateway).await {
                    self.next = last + 1;
                    for batch in &mut self.queue {
                        batch.gateway.clone_from(&self.gateway);
                        batch.sequence = self.next;
                        self.next += 1;
                    }
                }
                self.fall_behind();
                self.replace();
                false
            }
            Err(error) => {
                if !self.behind {
                    tracing::error!(%error, "the ledger doesn't take usage; it is kept and tried again");
                }
                self.fall_behind();
                self.write_down();
                false
            }
        }
    }

    fn fall_behind(&mut self) {
        self.behind = true;
        self.rest_until = Instant::now() + PAUSE;
    }

    /// The ledger took a batch again.
    fn catch_up(&mut self, delivered: Option<&UsageBatch>) {
        let keeps_up = self.waiting.0.is_empty() || self.numbered.elapsed() <= KEEPS_UP;
        if self.queue.is_empty() && keeps_up {
            // What was counted since goes with the next batch, as ever.
            self.behind = false;
            self.fresh.clear();
            if let Some(journal) = &mut self.journal {
                journal.clear();
            }
            if self.keeping.note(UsageKept::Ledger) {
                tracing::info!("the ledger has all usage again");
            }
        } else if let (Some(journal), Some(batch)) = (&mut self.journal, delivered)
            && journal.done(batch).is_err()
        {
            self.rewrite();
        }
    }

    /// Puts what is owed into the journal: what is new, or all of it where that is needed or shorter.
    fn write_down(&mut self) {
        self.behind = true;
        let Some(journal) = &mut self.journal else { return };
        if !journal.is_whole() {
            return self.rewrite();
        }
        let fresh = std::mem::take(&mut self.fresh);
        if !fresh.is_empty() && journal.append(&fresh).is_err() {
            self.rewrite();
        }
    }

    /// Puts batches under new numbers in place of what the journal holds, which must not outlast their delivery: a later run would
    /// take it for something else and deliver it again. If they can't be written it goes all the same; memory has them.
    fn replace(&mut self) {
        self.unwritable_until = Instant::now();
        self.rewrite();
        if let Some(journal) = self.journal.as_mut().filter(|journal| !journal.is_whole()) {
            journal.clear();
        }
    }

    fn rewrite(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        if Instant::now() < self.unwritable_until {
            return;
        }
        self.fresh.clear();
        match journal.rewrite(self.queue.iter(), &self.waiting.rows()) {
            Ok(()) => {
                if self.keeping.note(UsageKept::Journal) {
                    tracing::warn!(journal = %journal.path().display(), "usage is kept in the journal until the ledger takes it");
                }
            }
            Err(error) => {
                self.unwritable_until = Instant::now() + PAUSE;
                if self.keeping.note(UsageKept::Nowhere) {
                    let journal = journal.path().display();
                    tracing::error!(%journal, %error, "usage can be kept nowhere: new requests are refused as ledger_unavailable");
                }
            }
        }
    }

    /// The end: what is still owed is the next run's.
    fn leave(mut self) {
        self.unwritable_until = Instant::now();
        if self.owes_nothing() {
            return;
        }
        self.write_down();
        match (self.keeping.now(), &self.journal) {
            (UsageKept::Journal, Some(journal)) => {
                let journal = journal.path().display();
                tracing::warn!(%journal, "the gateway stops with usage undelivered; its next start delivers it");
            }
            _ => tracing::error!("the gateway stops with usage undelivered, and it is lost"),
        }
    }
}

/// Usage that waits for a batch, summed up.
#[derive(Default)]
struct Waiting(HashMap<(KeyId, PoolName, Hour, Timestamp), Counters>);

impl Waiting {
    fn add(&mut self, rows: Vec<UsageDelta>) {
        for row in rows {
            self.0.entry((row.key, row.pool, row.hour, row.period_start)).or_default().add(&row.counters);
        }
    }

    fn rows(&self) -> Vec<UsageDelta> {
        let row = |((key, pool, hour, period_start), counters): (&(KeyId, PoolName, Hour, Timestamp), &Counters)| UsageDelta {
            key: key.clone(),
            pool: pool.clone(),
            hour: *hour,
            period_start: *period_start,
            counters: *counters,
        };
        self.0.iter().map(row).collect()
    }

    /// Each key's bytes of both directions, by hour.
    fn by_key(&self) -> HashMap<&KeyId, Vec<(Hour, u64)>> {
        let mut by_key: HashMap<&KeyId, Vec<(Hour, u64)>> = HashMap::new();
        for ((key, _, hour, _), counters) in &self.0 {
            by_key.entry(key).or_default().push((*hour, counters.bytes()));
        }
        by_key
    }

    fn take(&mut self) -> Vec<UsageDelta> {
        let rows = self.rows();
        self.0.clear();
        rows
    }
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
