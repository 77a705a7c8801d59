//! The keys and plans in force, in memory: what admission reads and the console changes.
//!
//! An [`Account`] is an immutable picture of a key and its plan. A change puts a new picture in its
//! place; what is in flight (slots, rates, bytes of the period) lives in [`Live`], which the old and
//! the new picture share, so no change loses a count.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use outgate_faults::{Fault, RateLimit, raise};
use outgate_store::amount::ByteSize;
use outgate_store::live::LiveUsage;
use outgate_store::shared::{BytesAsk, BytesGrant};
use outgate_store::{Counters, Hour, Key, KeyId, Period, Plan, PlanName, PoolName, Snapshot, UsageDelta};

use crate::ends::Ends;
use crate::limits::{Gcra, Pace};
use crate::recount::Recount;
use crate::shares::Shares;
use crate::shares::lot::{Left, Lot};
use crate::sources::Sources;

/// Locks are taken for a map access only; enough shards that event loops hardly ever meet.
const SHARDS: usize = 64;
/// A burst of the speed limit: what a tunnel may take at once before it is slowed, in seconds of its speed.
const SPEED_BURST_DIVISOR: u64 = 8;
/// How long to wait for bytes that were asked for before looking again: about what asking takes.
pub(crate) const MORE_BYTES: Duration = Duration::from_millis(2);

/// Every key the gateway knows.
pub(crate) struct Accounts {
    hasher: RandomState,
    shards: Vec<RwLock<HashMap<KeyId, Arc<Account>>>>,
    plans: RwLock<HashMap<PlanName, Arc<Plan>>>,
    sources: RwLock<Sources>,
    ends: Ends,
    /// Keys whose count of the period is to be made anew from the ledger.
    recounts: Mutex<Vec<Arc<Live>>>,
    book: Arc<Book>,
    /// With whom limits are shared.
    shares: Option<Arc<Shares>>,
}

/// A key with its plan, as of now.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) key: Key,
    pub(crate) plan: Arc<Plan>,
    pub(crate) live: Arc<Live>,
}

/// What a key is using, shared by every picture of it.
#[derive(Debug)]
pub(crate) struct Live {
    id: KeyId,
    rate: Gcra,
    speed: Gcra,
    /// Requests and tunnels open now.
    pub(crate) open: AtomicU32,
    /// Its part of the limits, when several gateways share them.
    pub(crate) lot: Option<Box<Lot>>,
    /// Bytes of the current period; where limits are shared, `lot` counts them.
    used: AtomicU64,
    /// Bytes allowed in a period; `u64::MAX` for no limit.
    limit: AtomicU64,
    /// Bytes per second; zero for no limit.
    speed_limit: AtomicU64,
    /// How the key's periods run, as of the newest change.
    terms: Mutex<Option<Terms>>,
    /// Bytes that were ever taken from its counters for the ledger.
    taken: AtomicU64,
    /// Whether it waits for a recount.
    awaits_recount: AtomicBool,
    /// The current period, in Unix seconds.
    period_start: AtomicI64,
    period_end: AtomicI64,
    counters: Mutex<Vec<Arc<PoolCounters>>>,
}

/// How a key's periods run: the plan's kind and the key's anchor.
type Terms = (Period, Timestamp);

/// What a key used through one pool since the last delivery to the ledger.
#[derive(Debug)]
struct PoolCounters {
    live: Arc<Live>,
    pool: PoolName,
    up: AtomicU64,
    down: AtomicU64,
    requests: AtomicU64,
    tunnels: AtomicU64,
    listed: AtomicBool,
}

/// The counters that changed since the last delivery.
#[derive(Debug, Default)]
pub(crate) struct Book {
    changed: Mutex<Vec<Arc<PoolCounters>>>,
}

/// Counts one request's or tunnel's bytes against its key.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    counters: Arc<PoolCounters>,
    book: Arc<Book>,
}

/// A direction of payload, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Client to target.
    Up,
    /// Target to client.
    Down,
}

impl Accounts {
    /// The accounts of a snapshot. Keys whose plan is missing are refused by name.
    pub(crate) fn new(snapshot: Snapshot, shares: Option<Arc<Shares>>) -> Result<Self, String> {
        let accounts = Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            plans: RwLock::new(snapshot.plans.into_iter().map(|p| (p.name.clone(), Arc::new(p))).collect()),
            sources: RwLock::default(),
            ends: Ends::default(),
            recounts: Mutex::default(),
            book: Arc::default(),
            shares,
        };
        for key in snapshot.keys {
            let used = snapshot.used.get(&key.id).copied();
            let id = key.id.clone();
            let live = accounts.put_key(key).ok_or_else(|| format!("key {id} has a plan that the ledger doesn't hold"))?;
            if let Some(used) = used
                && used.start.as_second() == live.period_start.load(Relaxed)
            {
                live.begin(used.bytes);
            }
        }
        Ok(accounts)
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// The account of a key id.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Account>> {
        let shard = self.shard(id).read().unwrap_or_else(PoisonError::into_inner);
        shard.get(id).cloned()
    }

    /// The account that an address alone stands for: of the keys that take the address for proof, the one whose allowlist
    /// names it most narrowly. None when two name it alike.
    pub(crate) fn find_by_source(&self, source: IpAddr) -> Option<Arc<Account>> {
        let id = self.sources.read().unwrap_or_else(PoisonError::into_inner).find(source)?;
        self.find(id.as_str())
    }

    /// Puts a new or changed key in force. None when its plan is unknown.
    pub(crate) fn put_key(&self, key: Key) -> Option<Arc<Live>> {
        let plan = self.plans.read().unwrap_or_else(PoisonError::into_inner).get(&key.plan).cloned()?;
        let mut shard = self.shard(key.id.as_str()).write().unwrap_or_else(PoisonError::into_inner);
        let before = shard.get(&key.id);
        let live = match before {
            Some(account) => account.live.clone(),
            None => Arc::new(Live::new(key.id.clone(), self.shares.clone())),
        };
        self.ends.put(&key.id, before.and_then(|account| account.key.expires), key.expires);
        self.govern(&live, &plan, key.period_anchor);
        self.sources.write().unwrap_or_else(PoisonError::into_inner).put(&key);
        shard.insert(key.id.clone(), Arc::new(Account { key, plan, live: live.clone() }));
        Some(live)
    }

    /// Puts a new or changed plan in force, also for the keys that have it.
    pub(crate) fn put_plan(&self, plan: Arc<Plan>) {
        self.plans.write().unwrap_or_else(PoisonError::into_inner).insert(plan.name.clone(), plan.clone());
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            for account in shard.values_mut().filter(|a| a.plan.name == plan.name) {
                self.govern(&account.live, &plan, account.key.period_anchor);
                let (key, live) = (account.key.clone(), account.live.clone());
                *account = Arc::new(Account { key, plan: plan.clone(), live });
            }
        }
    }

    /// Forgets a plan that no key has.
    pub(crate) fn remove_plan(&self, name: &PlanName) {
        self.plans.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn govern(&self, live: &Arc<Live>, plan: &Plan, anchor: Timestamp) {
        if live.govern(plan, anchor, Timestamp::now()) {
            self.recount_later(live.clone());
        }
    }

    /// The accounts whose time has ended since the last call and that have requests in flight.
    pub(crate) fn take_expired(&self, now: Timestamp) -> Vec<Arc<Account>> {
        let ended = self.ends.take(now).into_iter().filter_map(|key| self.find(key.as_str()));
        ended.filter(|account| account.live.open.load(Relaxed) > 0).collect()
    }

    /// Has a key's count of its period made anew.
    pub(crate) fn recount_later(&self, live: Arc<Live>) {
        if !live.awaits_recount.swap(true, Relaxed) {
            self.recounts.lock().unwrap_or_else(PoisonError::into_inner).push(live);
        }
    }

    /// Whether a key waits for a recount.
    pub(crate) fn awaits_recount(&self) -> bool {
        !self.recounts.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// One of the keys that wait for a recount.
    pub(crate) fn take_recount(&self) -> Option<Arc<Live>> {
        self.recounts.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// The meter of a key's traffic through a pool.
    pub(crate) fn meter(&self, account: &Account, pool: &PoolName) -> Meter {
        let mut known = account.live.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = match known.iter().find(|c| c.pool == *pool) {
            Some(counters) => counters.clone(),
            None => {
                let counters = Arc::new(PoolCounters {
                    live: account.live.clone(),
                    pool: pool.clone(),
                    up: AtomicU64::new(0),
                    down: AtomicU64::new(0),
                    requests: AtomicU64::new(0),
                    tunnels: AtomicU64::new(0),
                    listed: AtomicBool::new(false),
                });
                known.push(counters.clone());
                counters
            }
        };
        Meter { counters, book: self.book.clone() }
    }

    /// Counts usage of an earlier run that the ledger had not been given when these accounts were loaded.
    pub(crate) fn recall(&self, row: &UsageDelta) {
        if let Some(account) = self.find(row.key.as_str())
            && account.live.period_start.load(Relaxed) == row.period_start.as_second()
        {
            match account.live.lot.as_deref() {
                None => drop(account.live.used.fetch_add(row.counters.bytes(), Relaxed)),
                Some(lot) => lot.count(row.counters.bytes()),
            }
        }
    }

    /// The keys of whose bytes whoever keeps what is shared was told.
    pub(crate) fn told(&self) -> Vec<Arc<Live>> {
        let was_told = |live: &Live| live.lot.as_deref().is_some_and(Lot::was_told);
        let mut told = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            told.extend(shard.values().filter(|account| was_told(&account.live)).map(|account| account.live.clone()));
        }
        told
    }

    /// The counters that wait for delivery.
    pub(crate) fn book(&self) -> &Book {
        &self.book
    }

    fn shard(&self, id: &str) -> &RwLock<HashMap<KeyId, Arc<Account>>> {
        &self.shards[self.hasher.hash_one(id) as usize % SHARDS]
    }
}

impl Live {
    fn new(id: KeyId, shares: Option<Arc<Shares>>) -> Self {
        Self {
            id,
            rate: Gcra::default(),
            speed: Gcra::default(),
            open: AtomicU32::new(0),
            lot: shares.map(|shares| Box::new(Lot::new(shares))),
            used: AtomicU64::new(0),
            limit: AtomicU64::new(u64::MAX),
            speed_limit: AtomicU64::new(0),
            terms: Mutex::default(),
            taken: AtomicU64::new(0),
            awaits_recount: AtomicBool::new(false),
            period_start: AtomicI64::new(i64::MIN),
            period_end: AtomicI64::new(i64::MIN),
            counters: Mutex::default(),
        }
    }

    /// Takes over the limits of a plan. Whether the periods run so much otherwise than before that only the ledger knows what was
    /// used in the present one.
    fn govern(&self, plan: &Plan, anchor: Timestamp, now: Timestamp) -> bool {
        self.limit.store(plan.bytes.unwrap_or(u64::MAX), Relaxed);
        self.speed_limit.store(plan.speed.unwrap_or(0), Relaxed);
        let terms = (plan.period, anchor);
        let before = self.terms.lock().unwrap_or_else(PoisonError::into_inner).replace(terms);
        if before.is_none_or(|before| before == terms) {
            self.enter_period(now);
            return false;
        }
        let (before, start) = self.set_period(terms, now);
        // Nothing since then is nothing since later.
        let unknown = start < before || self.used() > 0;
        if let Some(lot) = self.lot.as_deref().filter(|_| unknown) {
            lot.begin_unknown_period();
        }
        unknown
    }

    /// Begins the next period if the current one is over.
    pub(crate) fn roll_over(&self, now: Timestamp) {
        if now.as_second() >= self.period_end.load(Relaxed) {
            self.enter_period(now);
        }
    }

    /// Begins the period that `now` lies in, when it is not the current one.
    fn enter_period(&self, now: Timestamp) {
        // Held to the end, so that an answer about the period before can't be taken for one about this.
        let held = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(terms) = *held else { return };
        let (before, start) = self.set_period(terms, now);
        if before < start && before != i64::MIN {
            self.begin(0);
        }
    }

    /// Begins a period of which so many bytes are used.
    fn begin(&self, used: u64) {
        match self.lot.as_deref() {
            Some(lot) => lot.begin_period(used),
            None => self.used.store(used, Relaxed),
        }
    }

    pub(crate) fn id(&self) -> &KeyId {
        &self.id
    }

    /// The first and the last second of the current period, the end excluded.
    pub(crate) fn period(&self) -> (i64, i64) {
        (self.period_start.load(Relaxed), self.period_end.load(Relaxed))
    }

    /// Takes over what was answered to an ask for bytes, unless its period is over.
    pub(crate) fn take_over(&self, asked: &BytesAsk, grant: BytesGrant, nanos: u64) {
        let _held = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lot) = self.lot.as_deref().filter(|_| asked.period.0 == self.period_start.load(Relaxed)) {
            lot.set_bytes(grant, asked.limit, nanos);
        }
    }

    /// Bytes of the period, as far as it is known here.
    fn used(&self) -> u64 {
        self.lot.as_deref().map_or_else(|| self.used.load(Relaxed), Lot::used)
    }

    /// Makes the period that `now` lies in the current one. When the one before began, and when this one.
    fn set_period(&self, (period, anchor): Terms, now: Timestamp) -> (i64, i64) {
        let start = period.start(anchor, now).as_second();
        self.period_end.store(period.end(anchor, now).as_second(), Relaxed);
        (self.period_start.swap(start, Relaxed), start)
    }

    /// What a recount asks the ledger. For the one who takes for it.
    pub(crate) fn begin_recount(self: Arc<Self>) -> Recount {
        self.awaits_recount.store(false, Relaxed);
        Recount { key: self.id.clone(), start: self.period_start(), taken: self.taken.load(Relaxed), live: self }
    }

    /// Ends a recount: `taken` is what had been taken of the period when it began. For the one who takes. What is counted in
    /// this very moment may count twice towards the limit: a buffer's worth.
    pub(crate) fn recount(&self, begun: &Recount, taken: u64) {
        if self.period_start() != begun.start {
            // The next period has begun, and nothing is used of it.
            return;
        }
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting: u64 = counters.iter().map(|c| c.up.load(Relaxed) + c.down.load(Relaxed)).sum();
        let since = self.taken.load(Relaxed).saturating_sub(begun.taken);
        if let Some(lot) = self.lot.as_deref() {
            return lot.begin_period(taken.saturating_add(since + waiting));
        }
        let seen = self.used.load(Relaxed);
        let anew = |used: u64| Some(used.saturating_add(taken).saturating_add(since + waiting).saturating_sub(seen));
        let _always_set = self.used.fetch_update(Relaxed, Relaxed, anew);
    }

    fn period_start(&self) -> Timestamp {
        Timestamp::from_second(self.period_start.load(Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl Account {
    /// What the console shows. `nanos` is the gateway's monotonic time.
    pub(crate) fn usage(&self, nanos: u64) -> LiveUsage {
        LiveUsage {
            period_bytes: self.live.used(),
            period_start: self.live.period_start(),
            open: u64::from(self.live.open.load(Relaxed)),
            rate_left: self.rate_left(nanos),
        }
    }

    /// How many requests could come at once now, as far as it is known here.
    fn rate_left(&self, nanos: u64) -> Option<u64> {
        let rate = self.plan.rate?;
        match self.live.lot.as_deref() {
            Some(lot) if lot.shares.together() => Some(lot.tokens_anywhere(rate, self.plan.burst.unwrap_or(rate), nanos)),
            Some(lot) => Some(self.live.rate.remaining(self.pace(|limit| lot.shares.part(limit))?, nanos)),
            None => Some(self.live.rate.remaining(self.pace(|limit| limit)?, nanos)),
        }
    }

    /// How `part` of the plan's rate is kept.
    fn pace(&self, part: impl Fn(u32) -> u32) -> Option<Pace> {
        let rate = self.plan.rate?;
        Some(Pace::new(u64::from(part(rate)), u64::from(part(self.plan.burst.unwrap_or(rate)))))
    }

    /// Counts a request against `part` of the plan's rate. `nanos` is the gateway's monotonic time.
    pub(crate) fn take_rate(&self, part: impl Fn(u32) -> u32, nanos: u64) -> Result<(), Fault> {
        let Some(pace) = self.pace(part) else { return Ok(()) };
        self.live.rate.take(pace, nanos).map_err(|wait| self.rate_limited(wait, self.live.rate.remaining(pace, nanos)))
    }

    /// The refusal of a request that came `wait` too early.
    pub(crate) fn rate_limited(&self, wait: Duration, remaining: u64) -> Fault {
        let rate = self.plan.rate.unwrap_or_default();
        let fault = raise::rate_limited(rate).with_retry_after(wait.max(Duration::from_secs(1)));
        let (quota, reset) = (u64::from(rate), wait.as_secs().max(1));
        fault.with_rate_limit(RateLimit { policy: "rate".into(), quota, window: 1, remaining, reset })
    }
}

impl Meter {
    /// How many bytes may be moved now; the fault when the period's bytes are used up. None: more were asked for, try again in
    /// [`MORE_BYTES`]. `nanos` is the gateway's monotonic time.
    pub(crate) fn allowance(&self, nanos: u64) -> Result<u64, Fault> {
        let live = &self.counters.live;
        let limit = live.limit.load(Relaxed);
        if limit == u64::MAX {
            return Ok(u64::MAX);
        }
        self.allowance_at(Timestamp::now(), nanos)
    }

    fn allowance_at(&self, now: Timestamp, nanos: u64) -> Result<u64, Fault> {
        let live = &self.counters.live;
        let limit = live.limit.load(Relaxed);
        live.roll_over(now);
        let left = match live.lot.as_deref().map(|lot| lot.left(limit, nanos)) {
            None => limit.saturating_sub(live.used.load(Relaxed)),
            Some(Left::Bytes(left)) => left,
            Some(Left::Spent) => 0,
            Some(Left::Soon) => {
                self.call(limit, nanos);
                return Ok(0);
            }
        };
        match left {
            0 => {
                let end = Timestamp::from_second(live.period_end.load(Relaxed)).unwrap_or(now);
                let wait = Duration::from_secs(end.as_second().saturating_sub(now.as_second()).max(1) as u64);
                Err(raise::bandwidth_exhausted(ByteSize(limit), end.strftime("%Y-%m-%d %H:%M UTC")).with_retry_after(wait))
            }
            left => Ok(left),
        }
    }

    /// Counts bytes that were moved. Returns how long to pause to keep to the key's speed.
    pub(crate) fn count(&self, direction: Direction, bytes: u64, nanos: u64) -> Duration {
        let counters = &self.counters;
        match direction {
            Direction::Up => counters.up.fetch_add(bytes, Relaxed),
            Direction::Down => counters.down.fetch_add(bytes, Relaxed),
        };
        match counters.live.lot.as_deref() {
            None => drop(counters.live.used.fetch_add(bytes, Relaxed)),
            Some(lot) => {
                lot.count(bytes);
                self.call(counters.live.limit.load(Relaxed), nanos);
            }
        }
        self.list();
        match counters.live.speed_limit.load(Relaxed) {
            0 => Duration::ZERO,
            speed => counters.live.speed.charge(Pace::new(speed, speed / SPEED_BURST_DIVISOR), bytes, nanos),
        }
    }

    /// Has more bytes leased, if it is time.
    fn call(&self, limit: u64, nanos: u64) {
        let live = &self.counters.live;
        if let Some(lot) = live.lot.as_deref()
            && limit != u64::MAX
            && lot.calls(limit, nanos)
        {
            lot.shares.note(live);
        }
    }

    /// The most bytes to move at once so that a slow key is slowed evenly. Bytes are paid for after they moved, by every
    /// open tunnel on its own: the burst is shared among them, or a thousand tunnels would begin with a thousand bursts.
    pub(crate) fn stride(&self) -> usize {
        let live = &self.counters.live;
        match live.speed_limit.load(Relaxed) {
            0 => usize::MAX,
            speed => {
                let share = speed / SPEED_BURST_DIVISOR / u64::from(live.open.load(Relaxed).max(1));
                usize::try_from(share).unwrap_or(usize::MAX).max(1024)
            }
        }
    }

    /// Counts a forwarded request.
    pub(crate) fn count_request(&self) {
        self.counters.requests.fetch_add(1, Relaxed);
        self.list();
    }

    /// Counts a tunnel.
    pub(crate) fn count_tunnel(&self) {
        self.counters.tunnels.fetch_add(1, Relaxed);
        self.list();
    }

    fn list(&self) {
        if !self.counters.listed.load(Relaxed) && !self.counters.listed.swap(true, Relaxed) {
            self.book.changed.lock().unwrap_or_else(PoisonError::into_inner).push(self.counters.clone());
        }
    }
}

impl Book {
    /// Whether everything counted was taken.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Takes what was counted since the last call.
    pub(crate) fn take(&self, now: Timestamp) -> Vec<UsageDelta> {
        let changed = std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner));
        let hour = Hour::of(now);
        let delta = |c: Arc<PoolCounters>| {
            // Unlisted first: what is counted from here on lists the counters again.
            c.listed.store(false, Relaxed);
            c.live.roll_over(now);
            let take = |counter: &AtomicU64| counter.swap(0, Relaxed);
            let counters =
                Counters { up: take(&c.up), down: take(&c.down), requests: take(&c.requests), tunnels: take(&c.tunnels) };
            c.live.taken.fetch_add(counters.bytes(), Relaxed);
            UsageDelta { key: c.live.id.clone(), pool: c.pool.clone(), hour, period_start: c.live.period_start(), counters }
        };
        changed.into_iter().map(delta).filter(|d| !d.counters.is_zero()).collect()
    }
}

#[cfg(test)]
#[path = "accounts_tests.rs"]
pub(crate) mod tests;
