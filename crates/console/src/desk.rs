//! The desk: what an administrator can do to a running gateway, one change at a time.
//!
//! Every change goes the same way: check against the present state, store it together with its audit entry, then tell the
//! running gateway. The desk keeps its own copy of plans, keys and exits, so that neither checks nor lists touch the store.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use jiff::Timestamp;
use outgate_records::Records;
use outgate_signals::{Rules, Watch};
use outgate_store::live::{Live, RotateError, Standing};
use outgate_store::{
    Audit, AuditQuery, AuditRow, Change, Exit, ExitId, Key, KeyId, NoRandomness, Plan, PlanName, Secret, Snapshot, Store,
    StoreError, StoreFuture, UsageQuery, UsageRow,
};
use ring::rand::SystemRandom;

use crate::search::Search;

/// How long one attempt at the store may take, and how many attempts an unclear answer gets (always under the same audit id,
/// so that repeating is safe).
const PATIENCE: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 3;

/// How long a report waits for the gateway to deliver what it metered so far.
const FLUSH: Duration = Duration::from_secs(2);

/// Where time comes from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Why the desk didn't do it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeskError {
    /// What was asked for can't be: each field with its reason.
    Invalid(Vec<(&'static str, String)>),
    /// What it is about isn't there.
    NotFound {
        /// `plan`, `key` or `exit`.
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// The present state stands against it.
    Conflict(String),
    /// The store couldn't do it now; it didn't happen.
    Refused(String),
    /// The store didn't say; it may have happened.
    Unclear(String),
    /// The exit could not be rotated.
    Rotate(RotateError),
    /// No secret could be made.
    NoRandomness,
}

impl fmt::Display for DeskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(fields) => {
                for (number, (field, reason)) in fields.iter().enumerate() {
                    let separator = if number > 0 { "; " } else { "" };
                    write!(f, "{separator}{field}: {reason}")?;
                }
                Ok(())
            }
            Self::NotFound { what, id } => write!(f, "there is no {what} {id}"),
            Self::Conflict(reason) => f.write_str(reason),
            Self::Refused(reason) => write!(f, "it was not done, because the ledger can't be written now: {reason}"),
            Self::Unclear(reason) => write!(f, "it may or may not have been done, look before you repeat it: {reason}"),
            Self::Rotate(why) => why.fmt(f),
            Self::NoRandomness => NoRandomness.fmt(f),
        }
    }
}

impl std::error::Error for DeskError {}

impl From<NoRandomness> for DeskError {
    fn from(_: NoRandomness) -> Self {
        Self::NoRandomness
    }
}

impl From<StoreError> for DeskError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(reason) => Self::Refused(reason),
            StoreError::Unclear(reason) => Self::Unclear(reason),
            StoreError::Conflict(reason) => Self::Conflict(reason),
            // The desk checked that it is there; only another writer of the same store could have removed it.
            StoreError::NotFound => Self::Conflict("it was removed in the meantime".into()),
        }
    }
}

/// What the desk knows of what lasts. Ordered by name, so that lists come in pages.
pub(crate) struct Book {
    pub(crate) plans: BTreeMap<PlanName, Arc<Plan>>,
    pub(crate) keys: BTreeMap<KeyId, Key>,
    pub(crate) exits: BTreeMap<ExitId, Exit>,
    keys_on: HashMap<PlanName, usize>,
}

impl Book {
    /// How many keys are on a plan.
    pub(crate) fn keys_on(&self, plan: &PlanName) -> usize {
        self.keys_on.get(plan).copied().unwrap_or(0)
    }

    fn put_key(&mut self, key: Key) {
        *self.keys_on.entry(key.plan.clone()).or_default() += 1;
        if let Some(before) = self.keys.insert(key.id.clone(), key)
            && let Some(count) = self.keys_on.get_mut(&before.plan)
        {
            *count -= 1;
        }
    }
}

/// The desk. Share it as `Arc<Desk>`.
pub struct Desk {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) live: Arc<dyn Live>,
    pub(crate) search: Search,
    watch: Arc<Mutex<Watch>>,
    clock: Clock,
    pub(crate) random: SystemRandom,
    book: RwLock<Book>,
    // Held over check, store and telling: two changes of one key can't cross.
    changing: tokio::sync::Mutex<()>,
    /// The number of the last change in the book; see `follow`.
    pub(crate) seen: AtomicU64,
}

/// The right to change something: only one exists at a time.
pub(crate) struct Turn<'a>(#[expect(dead_code, reason = "held for its drop")] tokio::sync::MutexGuard<'a, ()>);

impl Desk {
    /// A desk over what `snapshot` says; `live` has already been given the same.
    pub fn new(store: Arc<dyn Store>, live: Arc<dyn Live>, snapshot: &Snapshot, clock: Clock) -> Self {
        let mut book = Book {
            plans: snapshot.plans.iter().map(|plan| (plan.name.clone(), Arc::new(plan.clone()))).collect(),
            keys: BTreeMap::new(),
            exits: snapshot.exits.iter().map(|exit| (exit.id.clone(), exit.clone())).collect(),
            keys_on: HashMap::new(),
        };
        for key in &snapshot.keys {
            book.put_key(key.clone());
        }
        Self {
            store,
            live,
            search: Search::new(None),
            watch: Arc::new(Mutex::new(Watch::new(Rules::default()))),
            clock,
            random: SystemRandom::new(),
            book: RwLock::new(book),
            changing: tokio::sync::Mutex::new(()),
            seen: AtomicU64::new(snapshot.change),
        }
    }

    /// The same with records to look into.
    pub fn with_records(self, records: Option<Records>) -> Self {
        Self { search: Search::new(records), ..self }
    }

    /// The same desk, with the watch over the gateway beside it.
    pub fn watched_by(self, watch: Arc<Mutex<Watch>>) -> Self {
        Self { watch, ..self }
    }

    /// Looks into the watch over the gateway.
    pub(crate) fn watch<T>(&self, look: impl FnOnce(&Watch) -> T) -> T {
        look(&self.watch.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the desk knows; never held across an await.
    pub(crate) fn book(&self) -> RwLockReadGuard<'_, Book> {
        self.book.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn book_mut(&self) -> RwLockWriteGuard<'_, Book> {
        self.book.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its time comes from.
    pub(crate) fn clock(&self) -> Clock {
        Arc::clone(&self.clock)
    }

    /// Now, in whole milliseconds: what a store keeps of it.
    pub(crate) fn now(&self) -> Timestamp {
        let now = (self.clock)();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }

    pub(crate) async fn changing(&self) -> Turn<'_> {
        Turn(self.changing.lock().await)
    }

    /// The end of every change: stored with its audit entry, then written in the book, then live.
    pub(crate) async fn commit(&self, _turn: Turn<'_>, entry: Entry<'_>, change: Change) -> Result<(), DeskError> {
        let audit = Audit {
            id: Secret::random(&self.random)?.into_exposed(),
            at: self.now(),
            who: entry.who.to_owned(),
            what: entry.what.to_owned(),
            subject: entry.subject.to_owned(),
            detail: entry.detail,
        };
        self.insist(|| self.store.change(change.clone(), self.seen(), audit.clone())).await?;
        self.tell(change);
        Ok(())
    }

    pub(crate) fn tell(&self, change: Change) {
        match change {
            Change::PutPlan(plan) => {
                let plan = Arc::new(plan);
                self.book_mut().plans.insert(plan.name.clone(), Arc::clone(&plan));
                self.live.plan_changed(plan);
            }
            Change::RemovePlan(name) => {
                self.book_mut().plans.remove(&name);
                self.live.plan_removed(&name);
            }
            Change::PutKey(key) => {
                self.book_mut().put_key(key.clone());
                self.live.key_changed(key);
            }
            Change::PutExit(exit) => {
                self.book_mut().exits.insert(exit.id.clone(), exit.clone());
                self.live.exit_changed(exit);
            }
            Change::RemoveExit(id) => {
                if let Some(exit) = self.book_mut().exits.remove(&id) {
                    self.live.exit_changed(Exit { state: outgate_store::ExitState::Revoked, ..exit });
                }
            }
        }
    }

    /// Repeats what is unclear under its idempotency key, within bounds.
    pub(crate) async fn insist<'a, T>(&'a self, call: impl Fn() -> StoreFuture<'a, T>) -> Result<T, DeskError> {
        let mut unclear = None;
        for _ in 0..ATTEMPTS {
            match tokio::time::timeout(PATIENCE, call()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(StoreError::Unclear(reason))) => unclear = Some(reason),
                // It says that this attempt didn't happen; an unclear one before it still may have.
                Ok(Err(StoreError::Refused(_))) if unclear.is_some() => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => unclear = Some(format!("the store did not answer within {} s", PATIENCE.as_secs())),
            }
        }
        Err(DeskError::Unclear(unclear.unwrap_or_default()))
    }

    /// How the gateway stands with what it depends on.
    pub fn standing(&self) -> Standing {
        self.live.standing()
    }

    /// Sums of usage, with what the gateway has metered up to now.
    pub async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, DeskError> {
        if let Some(key) = &query.key {
            self.key(key)?;
        }
        // A store that can't take it now must not keep anybody from reading what it has.
        let _ = tokio::time::timeout(FLUSH, self.live.flush_usage()).await;
        self.delivered_usage(query).await
    }

    /// Sums of usage as the gateway delivered it, which it does several times a second.
    pub async fn delivered_usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, DeskError> {
        self.insist(|| self.store.usage(query.clone())).await
    }

    /// The audit trail, newest first.
    pub async fn audit(&self, query: AuditQuery) -> Result<Vec<AuditRow>, DeskError> {
        self.insist(|| self.store.audit(query.clone())).await
    }
}

/// What an audit entry says.
pub(crate) struct Entry<'a> {
    pub(crate) who: &'a str,
    pub(crate) what: &'static str,
    pub(crate) subject: &'a str,
    pub(crate) detail: String,
}

/// One page of an ordered map: what follows `after`, at most `limit` of it.
pub(crate) fn page<'a, K: Ord, V>(
    map: &'a BTreeMap<K, V>,
    after: Option<&K>,
    limit: usize,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    map.range((from, Bound::Unbounded)).take(limit)
}
