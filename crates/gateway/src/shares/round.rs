//! One batch: what is asked for each key, and what becomes of the answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use jiff::Timestamp;
use outgate_store::KeyId;
use outgate_store::shared::{Answers, Asks, BytesAsk, RateAsk, RateGrant, ThreadsAsk};

use crate::accounts::{Account, Live};
use crate::admit::Thread;
use crate::shares::lot::{Left, Lot, SMALLEST_LEASE};
use crate::shares::{Granted, Waiter};

/// Looks at a key per second; see [`Tracked::look`].
const LOOKS_PER_SECOND: u32 = 10;
/// A gateway keeps no more unused threads or tokens of a key than this part of them, so that three keep less than a tenth.
const SPARE: u32 = 32;
/// The largest lease.
const LARGEST_LEASE: u64 = 1 << 30;
/// What is left of a period is leased out in no smaller parts, or its end would be all asking.
const LAST_LEASE: u64 = 64 * 1024;
/// Looks without any use after which what is leased is given back.
const IDLE: u32 = LOOKS_PER_SECOND;
/// A member says its levels again so often (in looks), so that they outlive the memory of whoever keeps them.
const SAY_AGAIN: u32 = LOOKS_PER_SECOND;

/// A key in use here.
pub(super) struct Tracked {
    live: Arc<Live>,
    /// Set-ups per look, smoothed.
    setups: f64,
    opened: u32,
    /// Bytes moved per look, smoothed.
    moved: u64,
    own: u64,
    idle: u32,
    peak: u32,
    since_said: u32,
}

/// The keys that a batch is about, and who waits for what of them.
#[derive(Default)]
pub(super) struct Round {
    pub(super) asks: Asks,
    rates: Vec<Arc<Account>>,
    threads: Vec<Arc<Account>>,
    bytes: Vec<(Arc<Account>, BytesAsk)>,
    /// What is known of rates, by the answers or from a moment ago.
    tokens: HashMap<KeyId, RateGrant>,
    waiters: HashMap<KeyId, Vec<Waiter>>,
}

/// A key that a batch is about.
#[derive(Clone, Copy)]
struct Keyed<'a> {
    account: &'a Arc<Account>,
    tracked: &'a Tracked,
    lot: &'a Lot,
    manner: Manner,
    looked: bool,
    nanos: u64,
}

/// How a batch is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// For what is used and wanted.
    Share,
    /// Only to say what is used, and what is held: others were not heard yet.
    Say,
    /// For the last time: all that is not used is given back.
    Leave,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        if let Some(lot) = self.live.lot.as_deref() {
            lot.track(false);
        }
    }
}

impl Tracked {
    pub(super) fn new(live: Arc<Live>) -> Self {
        let own = live.lot.as_deref().map_or(0, Lot::own);
        if let Some(lot) = live.lot.as_deref() {
            lot.track(true);
        }
        Self { live, setups: 0.0, opened: 0, moved: 0, own, idle: 0, peak: 0, since_said: SAY_AGAIN }
    }

    /// Measures a tenth of a second's use.
    pub(super) fn look(&mut self) {
        let Some(lot) = self.live.lot.as_deref() else { return };
        (self.opened, self.peak) = lot.demand(&self.live.open);
        self.setups += (f64::from(self.opened) - self.setups) / 4.0;
        let own = lot.own();
        let moved = own.saturating_sub(self.own);
        // Faster is followed at once, slower with time.
        self.moved = moved.max(self.moved - self.moved / 8);
        self.own = own;
        self.idle = if moved == 0 && self.opened == 0 && self.live.open.load(Relaxed) == 0 { self.idle + 1 } else { 0 };
        self.since_said = self.since_said.saturating_add(1);
    }

    /// Whether it needs no more looks: nothing is held that others could use.
    pub(super) fn is_at_rest(&self) -> bool {
        let lot = self.live.lot.as_deref();
        self.idle > IDLE && lot.is_none_or(|lot| lot.threads() == 0 && lot.level() <= lot.own())
    }

    /// The next batch says its levels.
    pub(super) fn say_again(&mut self) {
        self.since_said = SAY_AGAIN;
    }

    fn is_due(&self) -> bool {
        self.since_said >= SAY_AGAIN
    }

    /// Up to where the threads should go.
    fn wanted_threads(&self, lot: &Lot, limit: u32, waiting: u32, looked: bool) -> u32 {
        let open = self.live.open.load(Relaxed);
        let spare = self.opened.max(waiting).min(limit / SPARE);
        let wanted = open.max(self.peak).saturating_add(waiting + spare);
        // Only a look lowers: between two, a busy key goes up and down.
        if looked { wanted } else { wanted.max(lot.threads()) }
    }

    /// Up to where the bytes should go: half a second's worth, and never much of what is left for everybody.
    fn wanted_bytes(&self, lot: &Lot, limit: u64) -> u64 {
        let own = lot.own();
        if self.idle >= IDLE {
            return own;
        }
        let asked_in_vain = if lot.level() <= own { lot.lease.load(Relaxed) * 2 } else { 0 };
        let speed = self.moved * u64::from(LOOKS_PER_SECOND) / 2;
        let free = limit.saturating_sub(lot.used());
        let fair = (free / u64::from(2 * lot.shares.gateways.load(Relaxed).max(1))).max(LAST_LEASE);
        let lease = speed.max(asked_in_vain).clamp(SMALLEST_LEASE, LARGEST_LEASE).min(fair);
        lot.lease.store(lease, Relaxed);
        own.saturating_add(lease)
    }
}

impl Round {
    /// Adds what a key asks for. `looked`: it was just looked at, so that it may give back.
    pub(super) fn add(
        &mut self,
        account: &Arc<Account>,
        tracked: &mut Tracked,
        waiters: Vec<Waiter>,
        manner: Manner,
        looked: bool,
        nanos: u64,
    ) {
        let live = tracked.live.clone();
        let Some(lot) = live.lot.as_deref() else { return };
        let key = Keyed { account, tracked, lot, manner, looked, nanos };
        self.add_rate(&key, waiters.iter().filter(|waiter| waiter.lacks.token).count() as u32);
        self.add_threads(&key, waiters.iter().filter(|waiter| waiter.lacks.slot).count() as u32);
        self.add_bytes(&key);
        if tracked.is_due() {
            tracked.since_said = 0;
        }
        if !waiters.is_empty() {
            self.waiters.insert(account.key.id.clone(), waiters);
        }
    }

    fn add_rate(&mut self, key: &Keyed<'_>, waiting: u32) {
        let Keyed { account, tracked, lot, nanos, .. } = *key;
        let Some(rate) = account.plan.rate.filter(|_| waiting > 0) else { return };
        let id = account.key.id.clone();
        if let Some(wait) = lot.no_token_for(nanos) {
            // There was none a moment ago.
            let none = RateGrant { granted: 0, remaining: 0, wait: Duration::from_nanos(wait) };
            self.tokens.insert(id, none);
            return;
        }
        let burst = account.plan.burst.unwrap_or(rate).max(1);
        // What comes within a look, ahead; little of what all may take.
        let ahead = (tracked.setups as u32).min(rate / SPARE).min(burst / 4);
        self.asks.rates.push(RateAsk { key: id, rate: rate.max(1), burst, want: waiting + ahead });
        self.rates.push(account.clone());
    }

    fn add_threads(&mut self, key: &Keyed<'_>, waiting: u32) {
        let Keyed { account, tracked, lot, manner, looked, .. } = *key;
        let Some(limit) = account.plan.threads else { return };
        let open = &account.live.open;
        let want = match manner {
            Manner::Share => tracked.wanted_threads(lot, limit, waiting, looked),
            Manner::Say | Manner::Leave => open.load(Relaxed),
        };
        let level = lot.threads();
        if want == level && waiting == 0 && !(tracked.is_due() && level > 0) {
            return;
        }
        // Nobody takes here what is being given back.
        let want = if want < level { lot.lower_threads(want, open) } else { want };
        let used = open.load(Relaxed);
        self.asks.threads.push(ThreadsAsk { key: account.key.id.clone(), limit, used, want: want.max(used) });
        self.threads.push(account.clone());
    }

    fn add_bytes(&mut self, key: &Keyed<'_>) {
        let Keyed { account, tracked, lot, manner, looked, nanos } = *key;
        let Some(limit) = account.plan.bytes else { return };
        account.live.roll_over(Timestamp::now());
        if lot.is_unknown() {
            return;
        }
        let want = match manner {
            Manner::Share => tracked.wanted_bytes(lot, limit),
            Manner::Say => lot.own().max(lot.level()),
            Manner::Leave => lot.own(),
        };
        let lacking = lot.runs_low(limit, nanos) || lot.left(limit, nanos) == Left::Soon;
        let giving = looked && want < lot.level();
        if !lacking && !giving && !tracked.is_due() {
            return;
        }
        if giving {
            lot.lower_bytes(want);
        }
        let (used, period, known) = (lot.own(), account.live.period(), lot.known());
        let ask = BytesAsk { key: account.key.id.clone(), period, limit, known, used, want: want.max(used) };
        self.asks.bytes.push(ask.clone());
        self.bytes.push((account.clone(), ask));
    }

    /// Whether there is something to ask.
    pub(super) fn is_empty(&self) -> bool {
        let Asks { presence, rates, threads, bytes, sessions, .. } = &self.asks;
        presence.is_none()
            && rates.is_empty()
            && threads.is_empty()
            && bytes.is_empty()
            && sessions.is_empty()
            && self.waiters.is_empty()
    }

    /// Puts the answers where set-ups find them, and tells those who wait.
    pub(super) fn take_over(mut self, answers: &Answers, nanos: u64) {
        for (account, grant) in self.threads.iter().zip(&answers.threads) {
            if let Some(lot) = account.live.lot.as_deref() {
                lot.set_threads(*grant);
            }
        }
        for ((account, ask), grant) in self.bytes.iter().zip(&answers.bytes) {
            account.live.take_over(ask, *grant, nanos);
        }
        for (account, grant) in self.rates.iter().zip(&answers.rates) {
            self.tokens.insert(account.key.id.clone(), *grant);
        }
        for (key, waiters) in self.waiters {
            serve(waiters, self.tokens.get_mut(&key));
        }
        for account in &self.rates {
            let (Some(lot), Some(grant)) = (account.live.lot.as_deref(), self.tokens.get(&account.key.id)) else { continue };
            lot.tokens_told(grant.remaining, nanos);
            if grant.granted > 0 {
                lot.put_tokens(grant.granted, nanos);
            } else if !grant.wait.is_zero() {
                lot.no_tokens_until(nanos + grant.wait.as_nanos() as u64);
            }
        }
    }
}

/// Gives those who wait for a key what there is, in their order. No `tokens`: the plan has no rate any more.
fn serve(waiters: Vec<Waiter>, mut tokens: Option<&mut RateGrant>) {
    for Waiter { account, lacks, tell } in waiters {
        let Some(lot) = account.live.lot.as_deref() else { continue };
        let no_token = match &mut tokens {
            Some(grant) if lacks.token && grant.granted == 0 => Some(**grant),
            Some(grant) if lacks.token => {
                grant.granted -= 1;
                None
            }
            _ => None,
        };
        let takes = lacks.slot && no_token.is_none();
        let thread = if takes && lot.take_thread(&account.live.open) { Some(Thread::taken(account.clone())) } else { None };
        // Dropped when nobody waits any more, and the thread with it.
        let _gone = tell.send(Granted { no_token, thread });
    }
}
