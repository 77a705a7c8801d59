//! A key's part of its limits at this gateway, in atomics: tokens of its rate, a level of threads, a level of bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence};

use outgate_store::shared::{BytesGrant, Known};

use crate::limits::{give_back, take_slot};
use crate::shares::Shares;

/// Tokens that were not used for so long are nobody's: others wait for them.
const TOKENS_LAST_MS: u64 = 1_000;
/// The smallest lease of bytes.
pub(crate) const SMALLEST_LEASE: u64 = 256 * 1024;
/// How long it is believed that no byte is left; then it is asked again. Others may have given back, or the plan grown.
const SPENT_NANOS: u64 = 1_000_000_000;

/// What a key has here.
#[derive(Debug)]
pub(crate) struct Lot {
    pub(crate) shares: Arc<Shares>,
    /// Milliseconds until which they last (40 bits), how many (24 bits).
    tokens: AtomicU64,
    /// Nanoseconds until which there are none anywhere.
    no_tokens_until: AtomicU64,
    /// How many were left for all when it was told last, and when that was, in nanoseconds.
    tokens_told: AtomicU64,
    tokens_told_at: AtomicU64,
    /// Set-ups since it was last looked at.
    setups: AtomicU32,
    /// Up to how many threads may be open here.
    threads: AtomicU32,
    /// Most that were open since it was last looked at.
    peak: AtomicU32,
    /// Bytes of the period that were moved here.
    own: AtomicU64,
    /// Up to where `own` may go.
    level: AtomicU64,
    /// What all gateways have used or may use by their levels, as of the last answer; before, the ledger's sum.
    total: AtomicU64,
    /// The level that is in `total`.
    told_level: AtomicU64,
    told: AtomicBool,
    /// Only the ledger knows what was used of this period, and has not said so yet.
    unknown: AtomicBool,
    /// The size of a lease now.
    pub(crate) lease: AtomicU64,
    /// No byte is left: until when that is believed, and of which limit it was said.
    spent_until: AtomicU64,
    spent_limit: AtomicU64,
    noted: AtomicBool,
    tracked: AtomicBool,
}

/// How a key's bytes stand here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// So many may be moved.
    Bytes(u64),
    /// None now, but more was asked for.
    Soon,
    /// None.
    Spent,
}

impl Lot {
    pub(crate) fn new(shares: Arc<Shares>) -> Self {
        Self {
            shares,
            tokens: AtomicU64::new(0),
            no_tokens_until: AtomicU64::new(0),
            tokens_told: AtomicU64::new(u64::from(u32::MAX)),
            tokens_told_at: AtomicU64::new(0),
            setups: AtomicU32::new(0),
            threads: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            own: AtomicU64::new(0),
            level: AtomicU64::new(0),
            total: AtomicU64::new(0),
            told_level: AtomicU64::new(0),
            told: AtomicBool::new(false),
            unknown: AtomicBool::new(false),
            lease: AtomicU64::new(SMALLEST_LEASE),
            spent_until: AtomicU64::new(0),
            spent_limit: AtomicU64::new(0),
            noted: AtomicBool::new(false),
            tracked: AtomicBool::new(false),
        }
    }

    /// Takes a token, if there is one here.
    pub(crate) fn take_token(&self, nanos: u64) -> bool {
        let now = nanos / 1_000_000;
        let take = |held: u64| (held >> 24 > now && held & COUNT > 0).then(|| held - 1);
        self.tokens.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    /// Adds tokens; all last from now on.
    pub(crate) fn put_tokens(&self, more: u32, nanos: u64) {
        let now = nanos / 1_000_000;
        let put = |held: u64| {
            let left = if held >> 24 > now { held & COUNT } else { 0 };
            Some((now + TOKENS_LAST_MS) << 24 | (left + u64::from(more)).min(COUNT))
        };
        let _always = self.tokens.fetch_update(Relaxed, Relaxed, put);
    }

    /// Nanoseconds until there may be a token anywhere, when there was none a moment ago.
    pub(crate) fn no_token_for(&self, nanos: u64) -> Option<u64> {
        self.no_tokens_until.load(Relaxed).checked_sub(nanos).filter(|wait| *wait > 0)
    }

    pub(crate) fn no_tokens_until(&self, nanos: u64) {
        self.no_tokens_until.store(nanos, Relaxed);
    }

    /// So many were left for all a moment ago.
    pub(crate) fn tokens_told(&self, left: u32, nanos: u64) {
        self.tokens_told.store(left.into(), Relaxed);
        self.tokens_told_at.store(nanos, Relaxed);
    }

    /// How many tokens there are, as far as it is known here.
    pub(crate) fn tokens_anywhere(&self, rate: u32, burst: u32, nanos: u64) -> u64 {
        let since = nanos.saturating_sub(self.tokens_told_at.load(Relaxed));
        let grown = u128::from(since) * u128::from(rate) / 1_000_000_000;
        let held = self.tokens.load(Relaxed);
        let here = if held >> 24 > nanos / 1_000_000 { held & COUNT } else { 0 };
        let all = self.tokens_told.load(Relaxed).saturating_add(u64::try_from(grown).unwrap_or(u64::MAX));
        all.saturating_add(here).min(burst.into())
    }

    /// Counts a set-up.
    pub(crate) fn count_setup(&self) {
        self.setups.fetch_add(1, Relaxed);
    }

    /// How many set-ups came and most threads that were open since this was asked last.
    pub(crate) fn demand(&self, open: &AtomicU32) -> (u32, u32) {
        (self.setups.swap(0, Relaxed), self.peak.swap(open.load(Relaxed), Relaxed))
    }

    /// Takes one of the threads that are this gateway's.
    pub(crate) fn take_thread(&self, open: &AtomicU32) -> bool {
        if !take_slot(open, self.threads.load(Relaxed)) {
            return false;
        }
        // Either the level is seen here as it was lowered meanwhile, or whoever lowered it sees this thread.
        fence(SeqCst);
        if open.load(Relaxed) > self.threads.load(Relaxed) {
            give_back(open);
            return false;
        }
        self.peak.fetch_max(open.load(Relaxed), Relaxed);
        true
    }

    pub(crate) fn threads(&self) -> u32 {
        self.threads.load(Relaxed)
    }

    /// Lowers the level of threads, but not below what is open. Returns where it is.
    pub(crate) fn lower_threads(&self, want: u32, open: &AtomicU32) -> u32 {
        self.threads.store(want, Relaxed);
        fence(SeqCst);
        let level = want.max(open.load(Relaxed));
        self.threads.store(level, Relaxed);
        level
    }

    pub(crate) fn set_threads(&self, level: u32) {
        self.threads.store(level, Relaxed);
    }

    /// Begins a period of which the ledger knows so many bytes.
    pub(crate) fn begin_period(&self, ledger: u64) {
        for counter in [&self.own, &self.level, &self.told_level, &self.spent_until] {
            counter.store(0, Relaxed);
        }
        self.total.store(ledger, Relaxed);
        self.told.store(false, Relaxed);
        self.unknown.store(false, Relaxed);
    }

    /// Begins a period of which only the ledger knows what was used. Until it says so, what was used stays used, and nothing is
    /// shared: it would be believed by all.
    pub(crate) fn begin_unknown_period(&self) {
        self.begin_period(self.used());
        self.unknown.store(true, Relaxed);
    }

    /// Whether that is still to be said.
    pub(crate) fn is_unknown(&self) -> bool {
        self.unknown.load(Relaxed)
    }

    /// Counts bytes that were moved.
    pub(crate) fn count(&self, bytes: u64) {
        self.own.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn own(&self) -> u64 {
        self.own.load(Relaxed)
    }

    pub(crate) fn level(&self) -> u64 {
        self.level.load(Relaxed)
    }

    /// What all have used of the period, as far as it is known here.
    pub(crate) fn used(&self) -> u64 {
        (self.total.load(Relaxed) + self.own()).saturating_sub(self.told_level.load(Relaxed))
    }

    /// How many bytes may be moved within `limit`.
    pub(crate) fn left(&self, limit: u64, nanos: u64) -> Left {
        let (own, level) = (self.own(), self.level());
        if !self.shares.together() || self.is_unknown() {
            // What was leased, and this gateway's share of what nobody had leased.
            let free = limit.saturating_sub(self.total.load(Relaxed)) as f64 * self.shares.share();
            let left = level.saturating_add(free as u64).saturating_sub(own);
            return if left > 0 { Left::Bytes(left) } else { Left::Spent };
        }
        // A plan that became smaller is smaller at once.
        match level.saturating_sub(own).min(limit.saturating_sub(self.used())) {
            0 if self.is_spent(limit, nanos) => Left::Spent,
            0 => Left::Soon,
            left => Left::Bytes(left),
        }
    }

    /// Whether the task that syncs should look at this key now; it hears so once. It looks at all that it tracks anyway.
    pub(crate) fn calls(&self, limit: u64, nanos: u64) -> bool {
        let should = self.runs_low(limit, nanos) || !self.tracked.load(Relaxed);
        should && !self.noted.load(Relaxed) && !self.noted.swap(true, Relaxed)
    }

    /// Whether more bytes should be leased, ahead of their use.
    pub(crate) fn runs_low(&self, limit: u64, nanos: u64) -> bool {
        let left = self.level().saturating_sub(self.own());
        let low = left < self.lease.load(Relaxed) / 2;
        low && self.shares.together() && !self.is_unknown() && !self.is_spent(limit, nanos)
    }

    fn is_spent(&self, limit: u64, nanos: u64) -> bool {
        nanos < self.spent_until.load(Relaxed) && self.spent_limit.load(Relaxed) == limit
    }

    /// Gives up what is leased beyond `level`.
    pub(crate) fn lower_bytes(&self, level: u64) {
        self.level.store(level, Relaxed);
    }

    /// Takes an answer over. One that leaves nothing says that the limit is reached.
    pub(crate) fn set_bytes(&self, grant: BytesGrant, limit: u64, nanos: u64) {
        self.total.store(grant.total, Relaxed);
        self.told_level.store(grant.level, Relaxed);
        self.level.store(grant.level, Relaxed);
        self.told.store(true, Relaxed);
        if grant.total >= limit && grant.level <= self.own() {
            self.spent_limit.store(limit, Relaxed);
            self.spent_until.store(nanos + SPENT_NANOS, Relaxed);
        }
    }

    /// What is known of the period here, for whoever forgot it.
    pub(crate) fn known(&self) -> Known {
        let total = self.total.load(Relaxed);
        match self.told.load(Relaxed) {
            true => Known::Told(BytesGrant { level: self.told_level.load(Relaxed), total }),
            false => Known::Ledger(total),
        }
    }

    /// Whether somebody was told of what was used here, who may forget it.
    pub(crate) fn was_told(&self) -> bool {
        self.told.load(Relaxed)
    }

    /// Its call was heard.
    pub(crate) fn heard(&self) {
        self.noted.store(false, Relaxed);
    }

    pub(crate) fn track(&self, tracked: bool) {
        self.tracked.store(tracked, Relaxed);
    }
}

const COUNT: u64 = (1 << 24) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const LIMIT: u64 = 1_000;

    fn lot(share: f64) -> Lot {
        let shares = Arc::new(Shares::new(Some(share), std::time::Instant::now()));
        shares.join();
        Lot::new(shares)
    }

    #[test]
    fn tokens_are_taken_and_end() {
        let lot = lot(1.0);
        assert!(!lot.take_token(MS));
        lot.put_tokens(2, MS);
        assert!(lot.take_token(2 * MS));
        assert!(!lot.take_token((TOKENS_LAST_MS + 1) * MS), "others may have them now");
        lot.put_tokens(1, 5_000 * MS);
        assert!(lot.take_token(5_001 * MS) && !lot.take_token(5_001 * MS), "what ended doesn't come back");
        lot.no_tokens_until(6_000 * MS);
        assert_eq!((lot.no_token_for(5_999 * MS), lot.no_token_for(6_000 * MS)), (Some(MS), None));
    }

    #[test]
    fn threads_keep_to_the_level() {
        let (lot, open) = (lot(1.0), AtomicU32::new(0));
        assert!(!lot.take_thread(&open));
        lot.set_threads(2);
        assert!(lot.take_thread(&open) && lot.take_thread(&open) && !lot.take_thread(&open));
        assert_eq!(lot.lower_threads(0, &open), 2, "what is open stays");
        give_back(&open);
        assert_eq!(lot.lower_threads(0, &open), 1);
        assert!(!lot.take_thread(&open));
        assert_eq!(lot.demand(&open), (0, 2), "as many as were open at once");
        assert_eq!(lot.demand(&open), (0, 1));
    }

    #[test]
    fn bytes_keep_to_the_level_together() {
        let lot = lot(1.0);
        lot.begin_period(100);
        assert_eq!(lot.known(), Known::Ledger(100));
        assert_eq!((lot.left(LIMIT, 0), lot.used()), (Left::Soon, 100));
        let grant = BytesGrant { level: 50, total: 400 };
        lot.set_bytes(grant, LIMIT, 0);
        lot.count(20);
        assert_eq!((lot.left(LIMIT, 0), lot.used()), (Left::Bytes(30), 370), "370: the others' 350 and 20 here");
        assert_eq!(lot.left(380, 0), Left::Bytes(10), "a plan that became smaller is smaller at once");
        lot.lower_bytes(20);
        assert_eq!((lot.left(LIMIT, 0), lot.known()), (Left::Soon, Known::Told(grant)), "the answer is remembered as it was");
        lot.set_bytes(BytesGrant { level: 20, total: 1_000 }, LIMIT, 0);
        assert_eq!(lot.left(LIMIT, SPENT_NANOS - 1), Left::Spent);
        assert_eq!(lot.left(LIMIT, SPENT_NANOS), Left::Soon, "others may have given back");
        assert_eq!(lot.left(LIMIT + 1, 0), Left::Soon, "a larger plan is asked for at once");
    }

    #[test]
    fn a_period_that_only_the_ledger_knows_is_not_shared_until_it_says() {
        let lot = lot(0.5);
        lot.set_bytes(BytesGrant { level: 50, total: 200 }, LIMIT, 0);
        lot.begin_unknown_period();
        assert_eq!((lot.left(LIMIT, 0), lot.used(), lot.was_told()), (Left::Bytes(425), 150, false), "150 were used, 50 leased");
        lot.begin_period(30);
        assert_eq!((lot.left(LIMIT, 0), lot.known()), (Left::Soon, Known::Ledger(30)));
    }

    #[test]
    fn tokens_come_back_with_time() {
        let lot = lot(1.0);
        assert_eq!(lot.tokens_anywhere(10, 20, 0), 20);
        lot.tokens_told(3, 1_000 * MS);
        lot.put_tokens(2, 1_000 * MS);
        assert_eq!(lot.tokens_anywhere(10, 20, 1_500 * MS), 10, "3 told, 5 since, 2 here");
        assert_eq!(lot.tokens_anywhere(10, 20, 9_000 * MS), 20);
    }

    #[test]
    fn bytes_keep_to_the_share_alone() {
        let lot = lot(0.25);
        lot.set_bytes(BytesGrant { level: 50, total: 200 }, LIMIT, 0);
        lot.shares.part_ways("a test");
        assert_eq!(lot.left(LIMIT, 0), Left::Bytes(50 + 200), "what was leased and a quarter of the 800 that nobody had");
        lot.count(250);
        assert_eq!((lot.left(LIMIT, 0), lot.used()), (Left::Spent, 400));
        assert_eq!((lot.shares.part(100), lot.shares.part(2)), (25, 1), "one at least");
    }
}
